"""Players of known strength, and whoever else plays a game by its rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.games.game import Game
from rl_serial.envs.games.perfect import perfect_play, take
from rl_serial.envs.random import random_words
from rl_serial.errors import require

STREAM = 96
"""Of the random words that players throw dice with."""


@runtime_checkable
class Player(Protocol):
    """Someone who moves in a game."""

    def act(self, state: Any, seeds: NDArray[np.int64]) -> NDArray[np.int64]:
        """Legal moves [B] int64 in B positions that are not over, as NumPy arrays.

        Args:
            state: of the game; the player is the one to move.
            seeds: [B] int64, of the dice of this move; other ones at every move.
        """


@runtime_checkable
class PlayerByGame(Protocol):
    """Someone who is another player in every game."""

    def act_in(
        self, state: Any, seeds: NDArray[np.int64], games: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Legal moves [B] int64 as of :class:`Player`.

        Args:
            state: of the game; the player is the one to move.
            seeds: [B] int64, of the dice of this move; other ones at every move.
            games: [B] int64, which games these are: the same all through a game.
        """


@dataclass(frozen=True)
class Thought:
    """What a player makes of positions before it moves."""

    action: NDArray[np.int64]  # [B] what it plays
    value: NDArray[np.float32] | None  # [B] for the player to move, 1 won, -1 lost; None: no idea
    numbers: Mapping[str, NDArray[Any]]  # of each move, by what they are (visits, value): [B, A]


@runtime_checkable
class ThinkingPlayer(Player, Protocol):
    """A player that shows what it thinks."""

    def think(self, state: Any, seeds: NDArray[np.int64]) -> Thought:
        """The moves that :meth:`Player.act` gives for the same arguments, and why."""


class RandomPlayer:
    """Each legal move is as likely as any other."""

    def __init__(self, game: Game[Any]) -> None:
        self.game = game

    def act(self, state: Any, seeds: NDArray[np.int64]) -> NDArray[np.int64]:
        """See :class:`Player`."""
        return one_of(np.asarray(self.game.legal(state)), random_words(seeds, 1, STREAM)[:, 0])


class PerfectPlayer:
    """Plays perfectly, wins soonest and loses latest, and at random in a share of its moves.

    Of several best moves each is as likely.

    Args:
        game: the rules.
        mistakes: the share of moves, 0 to 1, that are drawn from all legal ones instead.

    Raises:
        OptionError: a share out of range, a board that is too large to be solved.
    """

    def __init__(self, game: Game[Any], mistakes: float = 0.0) -> None:
        require(0 <= mistakes <= 1, "mistakes", mistakes, "a share, 0 to 1")
        self.game, self.mistakes, self.perfect = game, mistakes, perfect_play(game)

    def act(self, state: Any, seeds: NDArray[np.int64]) -> NDArray[np.int64]:
        """See :class:`Player`."""
        words = random_words(seeds, 2, STREAM)
        allowed = np.asarray(self.game.legal(state)).copy()
        plays = np.flatnonzero(words[:, 0] >= int(self.mistakes * 2**32))
        if plays.size:
            some = state if plays.size == len(words) else take(state, plays)
            allowed[plays] = self.perfect.optimal_actions(some)
        return one_of(allowed, words[:, 1])

    def think(self, state: Any, seeds: NDArray[np.int64]) -> Thought:
        """See :class:`ThinkingPlayer`: exact values and plies of all moves."""
        moves = self.perfect.moves(state)
        value = np.where(moves.legal, moves.values, -1).max(axis=1).astype(np.float32)
        numbers: dict[str, NDArray[Any]] = {
            "exact value": moves.values,
            "plies to the end": moves.plies,
        }
        return Thought(self.act(state, seeds), value, numbers)


class ObservingPlayer:
    """Plays by what is seen of a position, as trained networks do.

    Args:
        game: the rules.
        choose: observations [B, layout.size] and legal moves [B, A] to actions [B].
        explain: of the same two arguments what is thought, its actions those of ``choose``; None:
            nothing is shown.
    """

    def __init__(
        self,
        game: Game[Any],
        choose: Callable[[NDArray[Any], NDArray[np.bool_]], NDArray[Any]],
        explain: Callable[[NDArray[Any], NDArray[np.bool_]], Thought] | None = None,
    ) -> None:
        self.game, self.choose, self.explain = game, choose, explain

    def act(self, state: Any, seeds: NDArray[np.int64]) -> NDArray[np.int64]:
        """See :class:`Player`."""
        return np.asarray(self.choose(*self._seen(state))).astype(np.int64)

    def think(self, state: Any, seeds: NDArray[np.int64]) -> Thought:
        """See :class:`ThinkingPlayer`."""
        if self.explain is None:
            return Thought(self.act(state, seeds), None, {})
        return self.explain(*self._seen(state))

    def _seen(self, state: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        return np.asarray(self.game.observe(state)), np.asarray(self.game.legal(state))


def one_of(allowed: NDArray[np.bool_], words: NDArray[np.int64]) -> NDArray[np.int64]:
    """[B] a uniformly drawn action of ``allowed`` [B, A] by ``words`` [B] in [0, 2**32)."""
    rank = (words * allowed.sum(axis=1)) >> 32
    place = np.cumsum(allowed, axis=1) - 1
    drawn: NDArray[np.int64] = (allowed & (place == rank[:, None])).argmax(axis=1)
    return drawn
