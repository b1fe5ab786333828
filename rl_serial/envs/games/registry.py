"""The one table of games."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gymnasium

from rl_serial.envs.games.game import Game
from rl_serial.errors import did_you_mean, refuse_unknown, require


@dataclass(frozen=True)
class GameRow:
    """How a game is known.

    Args:
        rules: the class of its rules, a frozen dataclass of options.
        source: of the rules.
    """

    rules: type[Any]
    source: str

    @property
    def name(self) -> str:
        """The game's."""
        name: str = self.rules.name
        return name


GAMES: dict[str, GameRow] = {}
"""Every game by its name."""
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
    row = GameRow(rules, source)
    if GAMES.setdefault(row.name, row) != row:
        raise ValueError(f"{row.name!r}: another game has this name; take another")
    gymnasium.register(
        game_id(row.name),
        entry_point="rl_serial.envs.games.gym:GameEnv",
        vector_entry_point="rl_serial.envs.games.gym:GameVectorEnv",
        kwargs={"game": row.name},
    )


def make_game(name: str, /, **options: Any) -> Game[Any]:
    """The rules of a game by its name.

    Raises:
        UnknownOption: an option that there is not; it is a ValueError and a TypeError.
        ValueError: an unknown name, an option out of its range.
    """
    if name not in GAMES:
        near = did_you_mean(name, GAMES)
        raise ValueError(f"{name}: no such game; there are {', '.join(GAMES)}{near}")
    rules = GAMES[name].rules
    kinds = {field.name: type(field.default) for field in fields(rules)}
    refuse_unknown(options, list(kinds), name)
    for option, value in options.items():
        kind = kinds[option]
        right = {int: "a whole number", bool: "True or False", str: "a text"}.get(kind)
        require(right is None or type(value) is kind, option, value, str(right))
    game: Game[Any] = rules(**options)
    return game
