"""Sudoku as a decision problem: an action fills a blank cell with a digit; the solved grid pays 1.

The rules are pure batched functions with the names that tasks on chains have
(:class:`rl_serial.envs.tasks.Task`), so that environments, agents and searches use them alike. They
run on NumPy arrays only.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.chain import TokenLayout
from rl_serial.envs.puzzles.generator import (
    SIZES,
    Puzzles,
    check_dial,
    make_puzzles,
    rate_puzzles,
)
from rl_serial.envs.puzzles.reading import Sides, read_sides
from rl_serial.envs.random import EVALUATION_SEEDS, below, episode_seeds, random_words
from rl_serial.envs.tasks import STARTS, Transition
from rl_serial.errors import OptionError, refuse_unknown, require

ENDS = ("full", "mistake")


@dataclass(frozen=True)
class SudokuState:
    """A batch of puzzles that are being filled."""

    givens: NDArray[np.int8]  # [B, N * N] digits, 0 for blank
    solution: NDArray[np.int8]  # [B, N * N]
    when: NDArray[np.int8]  # [B, N * N] round of singles that tells a cell; 0 given, -1 none
    grid: NDArray[np.int8]  # [B, N * N] givens and what was filled, 0 for blank
    ended: NDArray[np.bool_]  # [B]


@dataclass(frozen=True)
class Rounds:
    """The process that a puzzle's serial depth counts: synchronous rounds of singles.

    Args:
        size: N.
        serial_depth: rounds that puzzles need; where that is not dialled, the most there can be.
    """

    size: int
    serial_depth: int
    numpy_only = True
    binary_observations = True

    def advance(self, state: SudokuState) -> SudokuState:
        """Every cell filled that one round of naked and hidden singles tells."""
        found = rate_puzzles(state.grid, self.size)
        told = found.when == 1
        return replace(state, grid=np.where(told, found.solution, state.grid))

    def remaining(self, grid: NDArray[np.int8]) -> NDArray[np.int64]:
        """[B] rounds that singles need from grids [B, N * N]; -1 where they do not fill them."""
        rounds: NDArray[np.int64] = np.maximum(rate_puzzles(grid, self.size).rounds, -1)
        return rounds


@dataclass(frozen=True)
class Sudoku:
    """Fill the blank cells of a puzzle that has one solution.

    Action ``cell * size + digit - 1`` writes a digit into a blank cell; what is written stays. An
    episode ends when the grid is full, with 1 if it is the solution and else 0; an action on a cell
    that is not blank is not legal and ends it with 0.

    Args:
        size: 4, 6 (boxes of 2 rows and 3 columns) or 9.
        blanks: of a puzzle; None: 10, 26 or 56.
        serial_depth: synchronous rounds of naked and hidden singles that solve each puzzle; None:
            what digging at random gives.
        kind: singles (they solve every puzzle), twin (as many blanks, the fewest rounds) or search
            (puzzles that singles do not solve).
        file: puzzles from a file in place of made ones (:func:`read_puzzles`).
        ends: full, or mistake: the first wrong digit ends the episode.
        start: full (all blanks), or uniform: 1 to all of them, the others filled rightly.

    Raises:
        OptionError: (a ValueError) an option out of its range.
    """

    size: int = 6
    blanks: int | None = None
    serial_depth: int | None = None
    kind: str = "singles"
    file: str | None = None
    ends: str = "full"
    start: str = "full"

    def __post_init__(self) -> None:
        check_dial(self.size, self.blanks, self.serial_depth, self.kind)
        require(self.ends in ENDS, "ends", self.ends, f"one of {', '.join(ENDS)}")
        require(self.start in STARTS, "start", self.start, f"one of {', '.join(STARTS)}")
        if self.file is not None:
            for option in ("blanks", "serial_depth"):
                right = "left out: the file says it"
                require(getattr(self, option) is None, option, getattr(self, option), right)
            require(self.kind == "singles", "kind", self.kind, "left out: the file says it")

    @cached_property
    def chain(self) -> Rounds:
        """The rounds that are counted."""
        most = check_dial(self.size, self.blanks, self.serial_depth, self.kind)
        if self.file is not None:
            most = self.size**2
        return Rounds(self.size, self.serial_depth or most)

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        """Row, column and digit of each action: r1c1=1 is the first."""
        places = range(1, self.size + 1)
        return tuple(f"r{r}c{c}={digit}" for r in places for c in places for digit in places)

    @property
    def layout(self) -> TokenLayout:
        """A token for each cell: its digit as a one-hot (none if blank), and whether it is given.

        The globals are the number of blank cells as a one-hot.
        """
        return TokenLayout(self.size**2, self.size + 1, self.size**2 + 1)

    def puzzles(self, seeds: NDArray[np.int64]) -> Puzzles:
        """The puzzles of ``seeds`` [B] int64.

        Raises:
            OptionError: there is none such; a file that cannot be read, or has none of the side.
        """
        if self.file is None:
            return make_puzzles(seeds, self.size, self.blanks, self.serial_depth, self.kind)
        held = read_sides(self.file, self.size)
        word = random_words(seeds, 1, stream=65)[:, 0]
        index = np.zeros(seeds.shape, dtype=np.int64)
        for tests, wanted in ((True, seeds >= EVALUATION_SEEDS), (False, seeds < EVALUATION_SEEDS)):
            if wanted.any():
                there = rows_of_side(held, tests, self.file)
                index[wanted] = there[below(word[wanted], there.size)]
        return rows_of(held.puzzles, index)

    def examined(self, seed: int, count: int, first: int = 0) -> Puzzles:
        """The puzzles ``first``, … of the examination of ``seed``, ``count`` at most.

        Those of a file are examined once each, in an order that ``seed`` chooses, so there may be
        fewer.

        Raises:
            OptionError: as of :meth:`puzzles`.
        """
        if self.file is None:
            return self.puzzles(episode_seeds(seed, count, np, first=first))
        held = read_sides(self.file, self.size)
        there = rows_of_side(held, True, self.file)
        once = np.unique(held.puzzles.givens[there], axis=0, return_index=True)[1]
        there = there[np.sort(once)]
        word = random_words(episode_seeds(seed, there.size, np), 1, stream=65)[:, 0]
        order = np.argsort(word, kind="stable")[first : first + count]
        return rows_of(held.puzzles, there[order])

    def initial(self, seeds: NDArray[np.int64]) -> SudokuState:
        """Fresh episodes, with all blanks or a uniform number of them."""
        puzzles = self.puzzles(seeds)
        grid = puzzles.givens.copy()
        if self.start == "uniform":
            cells = self.size**2
            blank = puzzles.givens == 0
            words = random_words(seeds, cells + 1, stream=66)
            left = 1 + below(words[:, cells], blank.sum(axis=1))
            order = np.argsort(np.where(blank, words[:, :cells], 2**32), axis=1, kind="stable")
            rank = np.argsort(order, axis=1, kind="stable")
            grid = np.where(blank & (rank >= left[:, None]), puzzles.solution, grid)
        return started(puzzles, grid)

    def at_remaining(self, seeds: NDArray[np.int64], remaining: NDArray[np.int64]) -> SudokuState:
        """The same puzzles filled by singles until ``remaining`` [B] rounds are left.

        A puzzle of fewer rounds is at its beginning, as is one that singles do not solve.
        """
        puzzles = self.puzzles(seeds)
        done = (puzzles.rounds - remaining)[:, None]
        told = (puzzles.when > 0) & (puzzles.when <= done)
        return started(puzzles, np.where(told, puzzles.solution, puzzles.givens))

    def step(self, state: SudokuState, action: NDArray[np.int64]) -> Transition[SudokuState]:
        """Write a digit."""
        rows = np.arange(len(action))
        cell, digit = action // self.size, action % self.size + 1
        legal = ~state.ended & (state.grid[rows, cell] == 0)
        grid = state.grid.copy()
        grid[rows[legal], cell[legal]] = digit[legal]
        full = (grid > 0).all(axis=1)
        ended = state.ended | ~legal | full
        if self.ends == "mistake":
            ended |= digit != state.solution[rows, cell]
        solved = legal & full & (grid == state.solution).all(axis=1)
        after = replace(state, grid=grid, ended=ended)
        return Transition(after, solved.astype(np.float32), ended)

    def serial_step(
        self, state: SudokuState, action: NDArray[np.int64]
    ) -> tuple[Transition[SudokuState], NDArray[np.bool_]]:
        """A step is one serial step."""
        transition = self.step(state, action)
        return transition, np.zeros_like(transition.terminated)

    def observe(self, state: SudokuState) -> NDArray[np.float32]:
        """[B, layout.size]: digits, which cells are given, and how many are blank."""
        batch, cells = state.grid.shape
        tokens = np.zeros((batch, cells, self.size + 1), dtype=np.float32)
        tokens[:, :, :-1] = state.grid[:, :, None] == np.arange(1, self.size + 1)
        tokens[:, :, -1] = state.givens > 0
        blank = (state.grid == 0).sum(axis=1)
        count = (blank[:, None] == np.arange(cells + 1)).astype(np.float32)
        return np.concatenate([tokens.reshape(batch, -1), count], axis=1)

    def legal_actions(self, state: SudokuState) -> NDArray[np.bool_]:
        """[B, num_actions]: every digit in every blank cell; all actions after the end."""
        legal = (state.grid == 0) | state.ended[:, None]
        repeated: NDArray[np.bool_] = np.repeat(legal, self.size, axis=1)
        return repeated

    def on_course(self, state: SudokuState) -> NDArray[np.bool_]:
        """[B] whether an episode runs, and nothing in the grid is wrong."""
        wrong = (state.grid > 0) & (state.grid != state.solution)
        right: NDArray[np.bool_] = ~state.ended & ~wrong.any(axis=1)
        return right

    def action_values(self, state: SudokuState) -> NDArray[np.float32]:
        """[B, num_actions] float32: 1 of a right digit in a grid that is right, and else 0.

        The solution is unique, so after a wrong digit nothing is left to gain.
        """
        digits = np.arange(1, self.size + 1)
        right = (state.solution[:, :, None] == digits) & (state.grid == 0)[:, :, None]
        right &= self.on_course(state)[:, None, None]
        values: NDArray[np.float32] = right.reshape(len(right), -1).astype(np.float32)
        return values

    def random_values(self, state: SudokuState) -> NDArray[np.float32]:
        """[B] float32: size ** -blanks, as each digit is right once in ``size`` times."""
        blank = (state.grid == 0).sum(axis=1)
        chance = float(self.size) ** -blank.astype(np.float64)
        return np.where(self.on_course(state), chance, 0.0).astype(np.float32)

    def remaining(self, state: SudokuState) -> NDArray[np.int64]:
        """[B] int64: rounds of singles to the end, 0 after it.

        Where singles do not come to an end, or a digit is wrong, it is the number of blank cells.
        """
        rounds = self.chain.remaining(state.grid)
        blank = (state.grid == 0).sum(axis=1)
        left = np.where(self.on_course(state) & (rounds > 0), rounds, blank)
        return np.where(state.ended, 0, left)

    def candidates(self, grid: NDArray[np.int8]) -> NDArray[np.bool_]:
        """[B, N * N, N] the digits that row, column and box of a blank cell lack."""
        return candidates(grid, self.size)


def rows_of_side(held: Sides, tests: bool, file: str) -> NDArray[np.int64]:
    """The numbers of the puzzles of ``file`` that are for tests, or for training.

    Raises:
        OptionError: there are none.
    """
    rows = held.rows(tests)
    if rows.size == 0:
        what, other = ("tests", "training") if tests else ("training", "tests")
        right = f"the side hangs on the puzzle, and all are for {other}; add others"
        raise OptionError("file", f"{file}: holds no puzzle that is for {what}; {right}")
    return rows


def rows_of(puzzles: Puzzles, index: NDArray[np.int64]) -> Puzzles:
    """The puzzles with the numbers ``index`` [B]."""
    return Puzzles(*(getattr(puzzles, field.name)[index] for field in fields(Puzzles)))


def started(puzzles: Puzzles, grid: NDArray[np.int8] | None = None) -> SudokuState:
    """Episodes that begin with ``grid`` [B, N * N]; None: with the givens."""
    running = np.zeros(len(puzzles.givens), dtype=np.bool_)
    shown = puzzles.givens if grid is None else grid
    return SudokuState(puzzles.givens, puzzles.solution, puzzles.when, shown, running)


def candidates(grid: NDArray[np.int8], size: int) -> NDArray[np.bool_]:
    """[B, N * N, N] the digits that row, column and box of each blank cell of grids lack."""
    assert size in SIZES
    rows = 3 if size == 9 else 2
    r, c = np.divmod(np.arange(size**2), size)
    box = r // rows * rows + c // (size // rows)
    there = grid[:, :, None] == np.arange(1, size + 1)  # [B, N * N, N]
    seen = np.zeros(there.shape, dtype=np.bool_)
    for unit in (r, c, box):
        member = (unit[:, None] == np.arange(size)).astype(np.float32)  # [N * N, N]
        holds = np.einsum("bcd,cu->bud", there.astype(np.float32), member) > 0
        seen |= holds[:, unit]
    open_: NDArray[np.bool_] = ~seen & (grid == 0)[:, :, None]
    return open_


def make_sudoku(**options: Any) -> Sudoku:
    """The rules with these options.

    Raises:
        UnknownOption: one that there is not; it is a ValueError and a TypeError.
        OptionError: one out of its range; it is a ValueError.
    """
    refuse_unknown(options, [field.name for field in fields(Sudoku)], "Sudoku")
    for name, value in options.items():
        kinds: tuple[type, ...] = (int,) if name in ("size", "blanks", "serial_depth") else (str,)
        fine = isinstance(value, kinds) and not isinstance(value, bool)
        if value is not None and not fine:
            right = "a whole number" if int in kinds else "a text"
            require(False, name, value, right)
    return Sudoku(**options)
