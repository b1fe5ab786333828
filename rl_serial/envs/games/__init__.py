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
from rl_serial.envs.games.registry import GAMES, GameRow, make_game, register_game

__all__ = [
    "GAMES",
    "ConnectFour",
    "ConnectFourState",
    "Game",
    "GameRow",
    "GameState",
    "Hex",
    "HexState",
    "PerfectPlay",
    "Solved",
    "SolvedMoves",
    "Symmetry",
    "is_solvable",
    "make_game",
    "num_actions",
    "outcome",
    "perfect_play",
    "planes",
    "register_game",
    "turned_observations",
    "turned_policies",
]
