"""Games of two players: Hex and Connect Four, as pure batched rules, and what is known of them.

Nothing here imports Numba before a position is solved.
"""

from typing import Any

import gymnasium

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
from rl_serial.envs.games.registry import GAMES, GameRow, make_game
from rl_serial.envs.games.registry import register_game as _register_game

PREFIX, SUFFIX = "rl_serial/", "-v0"


def game_id(name: str) -> str:
    """The Gymnasium id of a game against an opponent."""
    return f"{PREFIX}{name}{SUFFIX}"


def game_name(id_: str) -> str | None:
    """The game that an id is of, if it is one's."""
    name = id_.removeprefix(PREFIX).removesuffix(SUFFIX)
    return name if name in GAMES and id_ == game_id(name) else None


def is_game(id_: str) -> bool:
    """Whether an id is that of a game."""
    return game_name(id_) is not None


def register_game(rules: type[Any], source: str) -> None:
    """Have Gymnasium, solvers and agents know a game.

    Args:
        rules: a frozen dataclass that follows :class:`rl_serial.envs.games.game.Game`.
        source: of the rules.

    Raises:
        ValueError: another one has that name.
    """
    _register_game(rules, source)
    gymnasium.register(
        game_id(rules.name),
        entry_point="rl_serial.envs.games.gym:GameEnv",
        vector_entry_point="rl_serial.envs.games.gym:GameVectorEnv",
        kwargs={"game": rules.name},
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
