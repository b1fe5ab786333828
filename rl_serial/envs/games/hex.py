"""Hex: the first player connects top and bottom, the second left and right; there are no draws.

A cell has six neighbours: left, right, above, below, above right and below left. With the swap rule
the second player may answer the first move by taking its stone over, mirrored at the long diagonal,
so that it lies for the second player as it lay for the first (Hein 1942; Nash 1952).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from string import ascii_lowercase
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.chain import (
    Array,
    TokenLayout,
    array_namespace,
    device_of,
    kept_table,
    select,
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

MOST_SIZE = 26
"""Columns have letters."""
TOP, BOTTOM, LEFT, RIGHT = range(4)
"""Places of the edges behind the cells; the first two are mine."""
NEIGHBOURS = ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, 1), (1, -1))


@dataclass(frozen=True)
class HexState:
    """A batch of positions; see :class:`rl_serial.envs.games.game.GameState`."""

    groups: Array  # [B, size ** 2 + 4] int16: the group of each stone, then of top, bottom, left
    # and right; the player to move's are positive, the other's negative, 0 is an empty cell
    player: Array  # [B] int64: 0 or 1
    ply: Array  # [B] int64
    ended: Array  # [B] bool
    result: Array  # [B] int8: for the player to move

    @property
    def board(self) -> Array:
        """[B, size ** 2] int8: 1 mine, -1 the other's, 0 empty; mine connect top and bottom."""
        xp = array_namespace(self.groups)
        return xp.astype(xp.sign(self.groups[:, :-4]), xp.int8)


@dataclass(frozen=True)
class Hex:
    """Hex; see :class:`rl_serial.envs.games.game.Game`.

    An action is a cell in the view of the player to move, row by row, who connects top and bottom
    there: the second player's view is the board mirrored at its long diagonal. The last action, if
    there is the swap rule, is the swap.

    Args:
        size: rows and columns, 1 to 26.
        swap: whether the second player may swap.

    Raises:
        OptionError: an option outside its range; it is a ValueError.
    """

    name: ClassVar[str] = "Hex"

    size: int = 4
    swap: bool = False

    def __post_init__(self) -> None:
        require(1 <= self.size <= MOST_SIZE, "size", self.size, f"1 to {MOST_SIZE}")
        require(not (self.swap and self.size == 1), "swap", self.swap, "False on one cell")

    @property
    def height(self) -> int:
        """Rows."""
        return self.size

    @property
    def width(self) -> int:
        """Columns."""
        return self.size

    @property
    def has_draws(self) -> bool:
        """A full board connects one player's edges (Nash 1952)."""
        return False

    @property
    def most_plies(self) -> int:
        """One for each cell, and the swap."""
        return self.size**2 + self.swap

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        """Column and row, as in b3, and swap."""
        numbers = range(1, self.size + 1)
        names = [f"{ascii_lowercase[c - 1]}{r}" for r in numbers for c in numbers]
        return (*names, "swap") if self.swap else tuple(names)

    @property
    def layout(self) -> TokenLayout:
        """Cells, how many of them are empty, and with the swap rule whether one may swap now."""
        return cell_layout(self.size, self.size, int(self.swap))

    @cached_property
    def symmetries(self) -> tuple[Symmetry, ...]:
        """The board and the board turned by half."""
        cells = tuple(range(self.size**2))
        last = (self.size**2,) if self.swap else ()
        return Symmetry(cells, cells + last), Symmetry(cells[::-1], cells[::-1] + last)

    def initial(self, batch: int, like: Array | None = None) -> HexState:
        """Empty boards, the first player to move."""
        xp, device = blank(batch, like)
        cells = self.size**2
        groups = np.zeros(cells + 4, dtype=np.int16)
        groups[cells:] = (cells + 1, cells + 2, -cells - 1, -cells - 2)
        return HexState(
            groups=xp.tile(xp.asarray(groups, device=device)[None], (batch, 1)),
            player=xp.zeros(batch, dtype=xp.int64, device=device),
            ply=xp.zeros(batch, dtype=xp.int64, device=device),
            ended=xp.zeros(batch, dtype=xp.bool, device=device),
            result=xp.zeros(batch, dtype=xp.int8, device=device),
        )

    def legal(self, state: HexState) -> Array:
        """The empty cells, and the swap as second move."""
        xp = array_namespace(state.groups)
        legal = (state.groups[:, :-4] == 0) & ~state.ended[:, None]
        if not self.swap:
            return legal
        return xp.concat([legal, self._may_swap(state)[:, None]], axis=1)

    def _may_swap(self, state: HexState) -> Array:
        return (state.ply == 1) & ~state.ended

    def step(self, state: HexState, action: Array) -> Transition[HexState]:
        """Place a stone, or swap."""
        xp = array_namespace(state.groups)
        cells = self.size**2
        swaps = action == cells
        cell = xp.where(swaps, xp.zeros_like(action), action)
        groups, rows = state.groups, row_numbers(state.groups)
        fits = (groups[rows, cell] == 0) & ~swaps
        around = groups[rows[:, None], _neighbours(self.size, xp, device_of(groups))[cell]]
        own = xp.where(around > 0, around, xp.full_like(around, -cells - 3))  # that no group has
        places = xp.arange(cells + 4, dtype=xp.int16, device=device_of(groups))
        joined = places == xp.astype(cell, xp.int16)[:, None]
        for neighbour in range(len(NEIGHBOURS)):
            joined = joined | (groups == own[:, neighbour : neighbour + 1])
        joined = joined & fits[:, None]
        label = xp.astype(cell + 1, groups.dtype)[:, None]
        after = xp.where(joined, label, groups)
        won = fits & (after[:, cells + TOP] == after[:, cells + BOTTOM])
        turned = -after[:, _transposed(self.size, xp, device_of(groups))]
        illegal = ~fits
        if self.swap:
            # What the other's stone is to me it will be to the other, once it is mine: the board
            # stays as it is seen.
            swapped = swaps & self._may_swap(state)
            turned = xp.where(swapped[:, None], groups, turned)
            illegal = illegal & ~swapped
        moved = HexState(
            groups=turned,
            player=1 - state.player,
            ply=state.ply + 1,
            ended=won | illegal,
            result=result_for_next(won, illegal),
        )
        reward = -xp.astype(moved.result, xp.float32)
        reward = xp.where(state.ended, xp.zeros_like(reward), reward)
        moved = select(state.ended, state, moved)
        return Transition(moved, reward, moved.ended)

    def observe(self, state: HexState) -> Array:
        """Cells, how many of them are empty, and with the swap rule whether one may swap now."""
        return observed(state.board, *((self._may_swap(state),) if self.swap else ()))

    def on_board(self, action: Array, player: Array) -> Array:
        """The second player's places are mirrored at the long diagonal; a swap is a swap."""
        xp = array_namespace(action)
        mirrored = action % self.size * self.size + action // self.size
        return xp.where((player == 1) & (action < self.size**2), mirrored, action)

    def absolute_board(self, state: HexState) -> Array:
        """The first player's stones as 1."""
        xp = array_namespace(state.groups)
        seen = xp.reshape(state.board, (-1, self.size, self.size))
        return xp.where((state.player == 0)[:, None, None], seen, -_mirrored(seen))

    def from_board(self, board: Array, player: Array, ply: Array | None = None) -> HexState:
        """The positions of boards that people see, built up stone by stone."""
        xp = array_namespace(board)
        batch, cells = board.shape[0], self.size**2
        own = xp.where((player == 0)[:, None, None], board, -_mirrored(board))
        own = xp.reshape(own, (batch, cells))
        state = Hex(self.size).initial(batch, board)
        won = lost = state.ended
        for sign in (1, -1):
            for cell in range(cells):
                action = xp.full_like(player, cell if sign > 0 else self._mirror(cell))
                after = Hex(self.size).step(state, action)
                here = own[:, cell] == sign
                if sign > 0:
                    won = won | (here & (after.reward > 0))
                else:
                    lost = lost | (here & (after.reward > 0))
                # The same player's turn again: see the board from there.
                again = _turned(after.state.groups, self.size)
                groups = xp.where(here[:, None], again, state.groups)
                state = HexState(groups, state.player, state.ply, state.ended, state.result)
            groups = _turned(state.groups, self.size)
            state = HexState(groups, state.player, state.ply, state.ended, state.result)
        stones = xp.sum(xp.astype(own != 0, xp.int64), axis=1)
        result = xp.astype(won, xp.int8) - xp.astype(lost, xp.int8)
        return HexState(state.groups, player, stones if ply is None else ply, won | lost, result)

    def _mirror(self, cell: int) -> int:
        return cell % self.size * self.size + cell // self.size

    def render(self, state: HexState) -> list[str]:
        """Rows are shifted so that neighbours touch; X connects top and bottom."""
        boards = np.asarray(self.absolute_board(state))
        letters = " ".join(ascii_lowercase[: self.size])
        found = []
        for row, board in enumerate(boards):
            lines = [
                heading(
                    int(state.player[row]),
                    int(state.ply[row]),
                    bool(state.ended[row]),
                    int(state.result[row]),
                ),
                f"   {letters}",
            ]
            lines += [
                f"{' ' * i}{i + 1:2d} {' '.join(marks)}" for i, marks in enumerate(text_rows(board))
            ]
            found.append("\n".join(lines))
        return found


def _mirrored(boards: Array) -> Array:
    """Boards [B, size, size] mirrored at the long diagonal."""
    return array_namespace(boards).permute_dims(boards, (0, 2, 1))


def _turned(groups: Array, size: int) -> Array:
    """Groups as the other player sees them."""
    return -groups[:, _transposed(size, array_namespace(groups), device_of(groups))]


@kept_table
def _neighbours(size: int, xp: object, device: object) -> Array:
    """[cells, 6] int64: the places around each cell; beyond the board those of its edges."""
    cells = size**2
    table: NDArray[np.int64] = np.empty((cells, 6), dtype=np.int64)
    for cell in range(cells):
        for number, (down, right) in enumerate(NEIGHBOURS):
            r, c = cell // size + down, cell % size + right
            if r < 0 or r >= size:
                table[cell, number] = cells + (TOP if r < 0 else BOTTOM)
            elif c < 0 or c >= size:
                table[cell, number] = cells + (LEFT if c < 0 else RIGHT)
            else:
                table[cell, number] = r * size + c
    return xp.asarray(table, device=device)  # type: ignore[attr-defined]


@kept_table
def _transposed(size: int, xp: object, device: object) -> Array:
    """[cells + 4] int64: where each place of the other player's view is in mine."""
    cells = size**2
    mirrored = np.arange(cells).reshape(size, size).T.ravel()
    edges = cells + np.array([LEFT, RIGHT, TOP, BOTTOM])
    return xp.asarray(np.concatenate([mirrored, edges]), device=device)  # type: ignore[attr-defined]
