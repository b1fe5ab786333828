"""Perfect play: who wins, in how many moves, and which moves keep it so.

Who wins shortens the game and who loses prolongs it, as far as the other lets them; so the plies to
the end are a property of a position, its serial depth. A draw in Connect Four fills the board.

Hex and Connect Four have compiled kernels (:mod:`rl_serial.envs.games.kernels`) for boards of at
most 30 cells. What has none is played out by its own rules, which is for small games.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.chain import map_state
from rl_serial.envs.games.connect_four import ConnectFour
from rl_serial.envs.games.game import Game
from rl_serial.envs.games.hex import Hex
from rl_serial.errors import OptionError, RunError

MOST_CELLS = 30
"""Of a board that a kernel solves."""
POSITIONS = 500_000_000
"""Looked at for one position before it is given up: minutes."""


@dataclass(frozen=True)
class Solved:
    """What perfect play makes of positions."""

    values: NDArray[np.int8]  # [B] 1 the player to move wins, -1 loses, 0 draws
    plies: NDArray[np.int64]  # [B] moves to the end; 0 once it is over


@dataclass(frozen=True)
class SolvedMoves:
    """What perfect play makes of every move of positions; where one is not legal all is 0."""

    legal: NDArray[np.bool_]  # [B, A]
    values: NDArray[np.int8]  # [B, A] for the player to move
    plies: NDArray[np.int64]  # [B, A] moves to the end, this one included

    @property
    def keeping(self) -> NDArray[np.bool_]:
        """[B, A] the moves that keep the position's value."""
        reach = np.where(self.legal, self.values, -2)
        kept: NDArray[np.bool_] = self.legal & (reach == reach.max(axis=1, keepdims=True))
        return kept

    @property
    def best(self) -> NDArray[np.bool_]:
        """[B, A] of the moves that keep the value those that win soonest or lose latest."""
        far = np.where(self.values > 0, -self.plies, self.plies)
        far = np.where(self.keeping, far, np.iinfo(np.int64).min)
        best: NDArray[np.bool_] = self.keeping & (far == far.max(axis=1, keepdims=True))
        return best


class PerfectPlay:
    """The solver of a game; keeps what it has found. Made by :func:`perfect_play`.

    States are those of the rules, as NumPy arrays.

    Args:
        game: the rules.

    Raises:
        OptionError: a board that is too large to be solved.
    """

    def __init__(self, game: Game[Any]) -> None:
        self.game = game
        self._solver = _Kernel(game) if isinstance(game, Hex | ConnectFour) else _ByRules(game)

    def solve(self, state: Any) -> Solved:
        """Value and plies of B positions.

        Raises:
            RunError: a position that takes too long.
        """
        board = np.asarray(state.board)
        values = np.asarray(state.result).astype(np.int8).copy()
        plies = np.zeros(len(board), dtype=np.int64)
        open_ = np.flatnonzero(~np.asarray(state.ended))
        if not open_.size:
            return Solved(values, plies)
        if isinstance(self.game, Hex) and self.game.swap:
            swapping = np.asarray(state.ply)[open_] < 2
            values[open_[swapping]], plies[open_[swapping]] = self._with_swap(
                take(state, open_[swapping])
            )
            open_ = open_[~swapping]
        if open_.size:
            values[open_], plies[open_] = self._solver(take(state, open_))
        return Solved(values, plies)

    def values(self, state: Any) -> NDArray[np.int8]:
        """[B] int8: 1 the player to move wins, -1 loses, 0 draws."""
        return self.solve(state).values

    def plies(self, state: Any) -> NDArray[np.int64]:
        """[B] int64: moves to the end; 0 once it is over."""
        return self.solve(state).plies

    def moves(self, state: Any) -> SolvedMoves:
        """Value and plies of every move of B positions.

        Raises:
            RunError: a position that takes too long.
        """
        legal = np.asarray(self.game.legal(state))
        rows, actions = np.nonzero(legal)
        values = np.zeros(legal.shape, dtype=np.int8)
        plies = np.zeros(legal.shape, dtype=np.int64)
        if rows.size:
            after = self.game.step(take(state, rows), actions.astype(np.int64)).state
            found = self.solve(after)
            values[rows, actions], plies[rows, actions] = -found.values, found.plies + 1
        return SolvedMoves(legal, values, plies)

    def optimal_actions(self, state: Any) -> NDArray[np.bool_]:
        """[B, A] bool: the moves of perfect play, which win soonest or lose latest."""
        return self.moves(state).best

    def _with_swap(self, state: Any) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        """Positions in which a swap is, or comes, into question: by their moves."""
        moves = self.moves(state)
        rows, chosen = np.arange(len(moves.legal)), moves.best.argmax(axis=1)
        return moves.values[rows, chosen], moves.plies[rows, chosen]


def perfect_play(game: Game[Any]) -> PerfectPlay:
    """The solver of a game, the same one for the same rules.

    Raises:
        OptionError: a board that is too large to be solved.
    """
    return _kept_solver(cast(Hashable, game))


@lru_cache(maxsize=8)
def _kept_solver(game: Any) -> PerfectPlay:
    return PerfectPlay(game)


def is_solvable(game: Game[Any]) -> bool:
    """Whether perfect play of every position can be found in seconds: 4 × 4 Hex, 5 × 5 lines."""
    if isinstance(game, Hex):
        return game.size <= 4
    return game.height * game.width <= 25


def take(state: Any, rows: NDArray[Any]) -> Any:
    """The given rows of a batch of states."""
    return map_state(lambda array: np.asarray(array)[rows], state)


class _Kernel:
    """The compiled search, with its table of positions."""

    def __init__(self, game: Hex | ConnectFour) -> None:
        cells = game.height * game.width
        if cells > MOST_CELLS:
            option = "size" if isinstance(game, Hex) else "height"
            raise OptionError(option, f"perfect play is found on at most {MOST_CELLS} cells")
        from rl_serial.envs.games import kernels

        self.kernels, self.game, self.cells = kernels, game, cells
        kind = kernels.HEX if isinstance(game, Hex) else kernels.CONNECT_FOUR
        self.numbers = np.array([kind, game.height, game.width], dtype=np.int64)
        places = np.arange(cells).reshape(game.height, game.width)
        if isinstance(game, Hex):
            self.mirror = places[::-1, ::-1].ravel().astype(np.int64)
            rows, columns = np.divmod(np.arange(cells), game.size)
            centre = (game.size - 1) / 2
            down, right = rows - centre, columns - centre
            self.order = np.argsort(down**2 + right**2 + down * right, kind="stable")
            self.lines = np.zeros((cells, 1), dtype=np.int64)
        else:
            self.mirror = places[:, ::-1].ravel().astype(np.int64)
            self.order = np.argsort(
                np.abs(np.arange(game.width) - (game.width - 1) / 2), kind="stable"
            )
            self.lines = _lines_of_cells(game)
        size = 2 ** min(cells + 5, 23)
        self.table = np.zeros(size, dtype=np.int64)
        self.found = np.zeros((size, 4), dtype=np.int8)

    def __call__(self, state: Any) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        board = np.asarray(state.board)
        stones = (board != 0).sum(axis=1)
        if isinstance(self.game, Hex):
            # An odd number of stones: seen by the second player, who connects left and right.
            seen = board.reshape(-1, self.game.size, self.game.size).transpose(0, 2, 1)
            board = np.where((stones % 2 == 1)[:, None], seen.reshape(len(board), -1), board)
        bits = np.int64(1) << np.arange(self.cells, dtype=np.int64)
        positions = np.stack(
            [(board > 0) @ bits, (board < 0) @ bits, stones.astype(np.int64)], axis=1
        )
        scores = np.empty(len(board), dtype=np.int64)
        self.kernels.solve(
            self.numbers,
            self.lines,
            self.order.astype(np.int64),
            self.mirror,
            self.table,
            self.found,
            POSITIONS,
            np.ascontiguousarray(positions),
            scores,
        )
        if (scores == self.kernels.NOT_SOLVED).any():
            raise RunError(f"{self.game}: a position was not solved within {POSITIONS:,} others")
        end = np.where(scores == 0, self.cells, self.cells + 1 - np.abs(scores))
        return np.sign(scores).astype(np.int8), end - stones


def _lines_of_cells(game: ConnectFour) -> NDArray[np.int64]:
    """[cells, L] int64: the lines through each cell as sets of bits, 0 behind the last."""
    found: list[list[int]] = [[] for _ in range(game.height * game.width)]
    for row in range(game.height):
        for column in range(game.width):
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                places = [(row + i * down, column + i * right) for i in range(game.line)]
                if all(0 <= r < game.height and 0 <= c < game.width for r, c in places):
                    cells = [r * game.width + c for r, c in places]
                    for cell in cells:
                        found[cell].append(sum(1 << other for other in cells))
    most = max(1, *(len(lines) for lines in found))
    table = np.zeros((len(found), most), dtype=np.int64)
    for cell, lines in enumerate(found):
        table[cell, : len(lines)] = lines
    return table


class _ByRules:
    """Perfect play by the rules alone, position by position, remembering each."""

    def __init__(self, game: Game[Any]) -> None:
        self.game = game
        self.known: dict[bytes, tuple[int, int]] = {}

    def __call__(self, state: Any) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        found = [self._of(take(state, np.array([row]))) for row in range(len(state.board))]
        values, plies = zip(*found, strict=True)
        return np.array(values, dtype=np.int8), np.array(plies, dtype=np.int64)

    def _of(self, state: Any) -> tuple[int, int]:
        """Value and plies of one position."""
        if state.ended[0]:
            return int(state.result[0]), 0
        key = np.asarray(self.game.observe(state)).tobytes()
        if key not in self.known:
            actions = np.flatnonzero(np.asarray(self.game.legal(state))[0])
            after = self.game.step(take(state, np.zeros(len(actions), np.int64)), actions).state
            best = (-2, 0)
            for row in range(len(actions)):
                value, plies = self._of(take(after, np.array([row])))
                best = max(best, (-value, plies if value > 0 else -plies))
            self.known[key] = best[0], abs(best[1]) + 1
        return self.known[key]
