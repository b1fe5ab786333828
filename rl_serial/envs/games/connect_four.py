"""Connect Four on a board of any size: stones fall, ``line`` of them in a row win.

Source: Allis 1988, "A knowledge-based approach of Connect-Four", for the rules on 7 × 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from string import ascii_lowercase
from typing import ClassVar

import numpy as np

from rl_serial.envs.chain import (
    Array,
    TokenLayout,
    array_namespace,
    device_of,
)
from rl_serial.envs.games.game import (
    Symmetry,
    blank,
    cell_layout,
    heading,
    observed,
    result_for_next,
    row_numbers,
    text_rows,
)
from rl_serial.envs.tasks import Transition
from rl_serial.errors import require

MOST_SIDE = 26
"""Columns have letters."""


@dataclass(frozen=True)
class ConnectFourState:
    """A batch of positions; see :class:`rl_serial.envs.games.game.GameState`."""

    board: Array  # [B, height * width] int8: 1 mine, -1 the other's, 0 empty; the top row first
    player: Array  # [B] int64: 0 or 1
    ply: Array  # [B] int64
    ended: Array  # [B] bool
    result: Array  # [B] int8: for the player to move


@dataclass(frozen=True)
class ConnectFour:
    """Connect Four; see :class:`rl_serial.envs.games.game.Game`.

    An action is a column, from the left.

    Args:
        width: columns, 1 to 26.
        height: rows, 1 to 26.
        line: stones in a row, column or diagonal that win, at least 2.

    Raises:
        OptionError: an option outside its range; it is a ValueError.
    """

    name: ClassVar[str] = "ConnectFour"

    width: int = 7
    height: int = 6
    line: int = 4

    def __post_init__(self) -> None:
        for side in ("width", "height"):
            value = getattr(self, side)
            require(1 <= value <= MOST_SIDE, side, value, f"1 to {MOST_SIDE}")
        longest = max(self.width, self.height)
        require(2 <= self.line <= longest, "line", self.line, f"2 to the longer side, {longest}")

    @property
    def has_draws(self) -> bool:
        """The board can fill up."""
        return True

    @property
    def most_plies(self) -> int:
        """One for each cell."""
        return self.width * self.height

    @property
    def action_names(self) -> tuple[str, ...]:
        """The letters of the columns."""
        return tuple(ascii_lowercase[: self.width])

    @property
    def layout(self) -> TokenLayout:
        """Cells, and how many of them are empty."""
        return cell_layout(self.height, self.width)

    @cached_property
    def symmetries(self) -> tuple[Symmetry, ...]:
        """The board and its mirror image."""
        cells = np.arange(self.height * self.width).reshape(self.height, self.width)
        columns = range(self.width)
        same = Symmetry(tuple(cells.ravel().tolist()), tuple(columns))
        mirrored = Symmetry(tuple(cells[:, ::-1].ravel().tolist()), tuple(reversed(columns)))
        return same, mirrored

    def initial(self, batch: int, like: Array | None = None) -> ConnectFourState:
        """Empty boards, the first player to move."""
        xp, device = blank(batch, like)
        cells = self.height * self.width
        return ConnectFourState(
            board=xp.zeros((batch, cells), dtype=xp.int8, device=device),
            player=xp.zeros(batch, dtype=xp.int64, device=device),
            ply=xp.zeros(batch, dtype=xp.int64, device=device),
            ended=xp.zeros(batch, dtype=xp.bool, device=device),
            result=xp.zeros(batch, dtype=xp.int8, device=device),
        )

    def legal(self, state: ConnectFourState) -> Array:
        """The columns whose topmost cell is empty."""
        return (state.board[:, : self.width] == 0) & ~state.ended[:, None]

    def step(self, state: ConnectFourState, action: Array) -> Transition[ConnectFourState]:
        """Let a stone fall."""
        xp = array_namespace(state.board)
        board, running = state.board, ~state.ended
        columns = xp.reshape(board, (-1, self.height, self.width))[row_numbers(board), :, action]
        stones = xp.sum(xp.astype(columns != 0, xp.int64), axis=1)
        fits = running & (stones < self.height)
        cell = xp.where(fits, (self.height - 1 - stones) * self.width + action, -1)
        places = xp.arange(board.shape[1], dtype=xp.int16, device=device_of(board))
        put = places == xp.astype(cell, xp.int16)[:, None]
        after = board + xp.astype(put, xp.int8)
        won = fits & self.has_line(after > 0)
        illegal = running & ~fits
        turn = xp.astype(running, xp.int8)
        full = state.ply + 1 == board.shape[1]
        result = xp.where(running, result_for_next(won, illegal), state.result)
        moved = ConnectFourState(
            board=after * (1 - 2 * turn)[:, None],
            player=xp.where(running, 1 - state.player, state.player),
            ply=state.ply + turn,
            ended=state.ended | won | illegal | full,
            result=result,
        )
        reward = -xp.astype(result * turn, xp.float32)
        return Transition(moved, reward, moved.ended)

    def has_line(self, stones: Array) -> Array:
        """[B] whether stones [B, height * width] bool hold a line that wins."""
        xp = array_namespace(stones)
        grid = xp.reshape(stones, (-1, self.height, self.width))
        found = None
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            rows = self.height - down * (self.line - 1)
            columns = self.width - abs(right) * (self.line - 1)
            if rows < 1 or columns < 1:
                continue
            first = self.line - 1 if right < 0 else 0
            line = grid[:, :rows, first : first + columns]
            for i in range(1, self.line):
                left = first + i * right
                line = line & grid[:, i * down : i * down + rows, left : left + columns]
            there = xp.any(xp.reshape(line, (line.shape[0], -1)), axis=1)
            found = there if found is None else found | there
        assert found is not None  # a line is no longer than the longer side
        return found

    def observe(self, state: ConnectFourState) -> Array:
        """Cells, and how many of them are empty."""
        return observed(state.board)

    def on_board(self, action: Array, player: Array) -> Array:
        """Both players see the same board."""
        return action

    def absolute_board(self, state: ConnectFourState) -> Array:
        """The first player's stones as 1."""
        xp = array_namespace(state.board)
        sign = xp.astype(1 - 2 * state.player, xp.int8)[:, None]
        return xp.reshape(state.board * sign, (-1, self.height, self.width))

    def from_board(self, board: Array, player: Array, ply: Array | None = None) -> ConnectFourState:
        """The positions of boards that people see."""
        xp = array_namespace(board)
        flat = xp.astype(xp.reshape(board, (board.shape[0], -1)), xp.int8)
        own = flat * xp.astype(1 - 2 * player, xp.int8)[:, None]
        mine, others = self.has_line(own > 0), self.has_line(own < 0)
        stones = xp.sum(xp.astype(flat != 0, xp.int64), axis=1)
        full = stones == flat.shape[1]
        result = xp.astype(mine, xp.int8) - xp.astype(others, xp.int8)
        return ConnectFourState(
            own, player, stones if ply is None else ply, mine | others | full, result
        )

    def render(self, state: ConnectFourState) -> list[str]:
        """Columns have letters, rows numbers from the top."""
        boards = np.asarray(self.absolute_board(state))
        found = []
        for row, board in enumerate(boards):
            lines = [
                heading(
                    int(state.player[row]),
                    int(state.ply[row]),
                    bool(state.ended[row]),
                    int(state.result[row]),
                ),
                "   " + " ".join(self.action_names),
            ]
            lines += [f"{i + 1:2d} {' '.join(marks)}" for i, marks in enumerate(text_rows(board))]
            found.append("\n".join(lines))
        return found
