"""Games of two players: Hex and Connect Four, as pure batched rules, and what is known of them.

Nothing here imports Numba before a position is solved.
"""

from rl_serial.envs.games.connect_four import ConnectFour, ConnectFourState
from rl_serial.envs.games.game import (
    Game,
    GameState,
    Symmetry,
    num_actions,
    outcome,
    planes,
    turned_observations,
    turned_policies,
)
from rl_serial.envs.games.hex import Hex, HexState
from rl_serial.envs.games.perfect import (
    PerfectPlay,
    Solved,
    SolvedMoves,
    is_solvable,
    perfect_play,
)
from rl_serial.envs.games.players import (
    ObservingPlayer,
    PerfectPlayer,
    Player,
    PlayerByGame,
    RandomPlayer,
    ThinkingPlayer,
    Thought,
)
from rl_serial.envs.games.registry import (
    GAMES,
    GameRow,
    game_id,
    game_name,
    is_game,
    make_game,
    register_game,
)


def register() -> None:
    """Have Gymnasium know the package's own."""
    register_game(Hex, "Hein 1942; Nash 1952")
    register_game(ConnectFour, "Allis 1988")


__all__ = [
    "GAMES",
    "ConnectFour",
    "ConnectFourState",
    "Game",
    "GameRow",
    "GameState",
    "Hex",
    "HexState",
    "ObservingPlayer",
    "PerfectPlay",
    "PerfectPlayer",
    "Player",
    "PlayerByGame",
    "RandomPlayer",
    "Solved",
    "SolvedMoves",
    "Symmetry",
    "ThinkingPlayer",
    "Thought",
    "game_id",
    "game_name",
    "is_game",
    "is_solvable",
    "make_game",
    "num_actions",
    "outcome",
    "perfect_play",
    "planes",
    "register",
    "register_game",
    "turned_observations",
    "turned_policies",
]
