"""Sudoku puzzles in batches, each a pure function of its seed, at a chosen depth and side.

Grids are drawn uniformly: of 4 by 4 and 6 by 6 from the table of all there are with a first row in
order, of 9 by 9 by rejection (:func:`rl_serial.envs.puzzles.kernels.draw_grid`). Puzzles are dug
from them. Seeds from ``EVALUATION_SEEDS`` on make puzzles of the test side, those below of the
training side; which side a puzzle is on hangs on what it has in common with all its symmetric
copies, so that none of those is on the other side.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.puzzles import kernels
from rl_serial.envs.random import EVALUATION_SEEDS
from rl_serial.errors import OptionError, require

SIZES = (4, 6, 9)
BLANKS = {4: 10, 6: 26, 9: 56}
"""Of a puzzle, where nothing else is said."""
MOST_BLANKS = {4: 12, 6: 28, 9: 64}
"""With fewer givens no puzzle has one solution (McGuire et al. 2014 for 9 by 9)."""
KINDS = ("singles", "twin", "search")
MOST_GRIDS = {4: 300, 6: 2000, 9: 200}
"""Drawn for a puzzle before it counts as one that there is not."""
TESTS_OF_FOUR = 1
"""Classes of puzzles that are for tests, of four."""
FEW = 8
"""Puzzles that are made to tell why others were not found."""
ROWS_OF_A_THREAD = 64
"""Fewer are not worth another thread."""


@dataclass(frozen=True)
class Puzzles:
    """A batch of puzzles with their solutions."""

    givens: NDArray[np.int8]  # [B, N * N] digits, 0 for blank
    solution: NDArray[np.int8]  # [B, N * N]
    when: NDArray[np.int8]  # [B, N * N] round that fills a cell; 0 of a given, -1 if none does
    rounds: NDArray[np.int64]  # [B] synchronous rounds of singles; -1: they do not solve it


def make_puzzles(
    seeds: NDArray[np.int64],
    size: int,
    blanks: int | None = None,
    serial_depth: int | None = None,
    kind: str = "singles",
) -> Puzzles:
    """The puzzles of ``seeds`` [B] int64.

    Args:
        seeds: in [0, 2**63); from 2**62 on the puzzles are of the test side.
        size: 4, 6 (boxes of 2 rows and 3 columns) or 9.
        blanks: of each; None: as BLANKS says.
        serial_depth: rounds of singles that each needs; None: what digging gives.
        kind: singles (they solve it), twin (the same with as few rounds as exchanges of givens
            reach) or search (singles do not solve it).

    Raises:
        ValueError: an option out of range, or that no puzzle was found for.
    """
    blanks = check_dial(size, blanks, serial_depth, kind)
    puzzles = _made(seeds, size, blanks, serial_depth, kind)
    missing = np.flatnonzero(puzzles.rounds == kernels.CONTRADICTION)
    if missing.size:
        of_tests = bool(seeds[missing[0]] >= EVALUATION_SEEDS)
        raise _none_found(size, blanks, serial_depth, kind, of_tests)
    return puzzles


def _made(
    seeds: NDArray[np.int64], size: int, blanks: int, serial_depth: int | None, kind: str
) -> Puzzles:
    """Puzzles; ``rounds`` is CONTRADICTION of one that was not found, and others may be missing."""
    count = seeds.shape[0]
    keys = np.stack([seeds & 0xFFFFFFFF, seeds >> 32], axis=1)
    target = kernels.FEWEST if kind == "twin" else serial_depth or kernels.ANY
    boards = np.zeros((3, count, size * size), dtype=np.int64)
    rounds = np.zeros(count, dtype=np.int64)
    arguments = (
        keys,
        size,
        blanks,
        kernels.SEARCH if kind == "search" else kernels.SINGLES,
        np.full(count, target),
        (seeds >= EVALUATION_SEEDS).astype(np.int64),
        TESTS_OF_FOUR,
        first_row_grids(size),
        *boards,
        rounds,
        MOST_GRIDS[size],
    )
    _in_parts(kernels.make_many, count, *arguments)
    givens, solution, when = boards.astype(np.int8)
    return Puzzles(givens, solution, when, rounds)


def _none_found(
    size: int, blanks: int, serial_depth: int | None, kind: str, of_tests: bool
) -> OptionError:
    """The error of puzzles of a side that were not found, with what would be right.

    A few others are made to tell why: of the other side, or of any rounds.
    """
    side, other = ("tests", "training") if of_tests else ("training", "tests")
    here, there = (
        EVALUATION_SEEDS * int(tests) + np.arange(FEW, dtype=np.int64)
        for tests in (of_tests, not of_tests)
    )
    option, of_side, default = "blanks", "", f"{BLANKS[size]}, for example"
    if (_made(there, size, blanks, serial_depth, kind).rounds != kernels.CONTRADICTION).all():
        of_side = f" for {side}"
        right = (
            f"what is found is for {other}, as all symmetric copies of a puzzle are on one side; "
            "with more blanks there are more puzzles that are no copies of each other"
        )
    elif kind == "search" and size == 4:
        option, right = "kind", "singles solve every puzzle of 4 by 4: size 6 or 9"
    elif kind == "search" and blanks < BLANKS[size]:
        right = f"more blanks are easier to find: {default}"
    elif serial_depth is None:
        right = f"fewer blanks are easier to find: {default}"
    else:
        option = "serial_depth"
        dug = _made(here, size, blanks, None, kind).rounds
        least, most = int(dug.min()), int(dug.max())
        usual = str(least) if least == most else f"{least} to {most}"
        easier = "more" if serial_depth < np.median(dug) else "fewer"
        right = f"{easier} rounds are easier to find: puzzles dug at random need {usual}"
        if least == kernels.CONTRADICTION:
            option, right = "blanks", f"fewer blanks are easier to find: {default}"
    deep = f" that {_counted(serial_depth, 'round')} of singles can solve" if serial_depth else ""
    return OptionError(
        option,
        f"no puzzle of {size} by {size} with {_counted(blanks, 'blank')}{deep} ({kind}){of_side} "
        f"was found on {MOST_GRIDS[size]} grids; {right}",
    )


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def check_dial(size: int, blanks: int | None, serial_depth: int | None, kind: str) -> int:
    """The blanks of a puzzle, where what is asked for is in range.

    Raises:
        OptionError: it is not; it is a ValueError.
    """
    require(size in SIZES, "size", size, f"one of {', '.join(map(str, SIZES))}")
    most = MOST_BLANKS[size]
    blanks = BLANKS[size] if blanks is None else blanks
    require(1 <= blanks <= most, "blanks", blanks, f"1 to {most} of {size} by {size}")
    require(kind in KINDS, "kind", kind, f"one of {', '.join(KINDS)}")
    if serial_depth is not None:
        right = "left out, but for kind singles, which alone can be dialled"
        require(kind == "singles", "serial_depth", serial_depth, right)
        right = f"1 to blanks = {blanks}: a round fills a cell at least"
        require(1 <= serial_depth <= blanks, "serial_depth", serial_depth, right)
    return blanks


def rate_puzzles(givens: NDArray[Any], size: int) -> Puzzles:
    """What synchronous rounds of singles make of ``givens`` [B, N * N].

    ``solution`` is as far as they come; ``rounds`` is -1 where that is not the end, and -2 where
    the givens contradict each other.
    """
    work = np.ascontiguousarray(givens, dtype=np.int64).copy()
    when = np.zeros_like(work)
    rounds = np.zeros(len(work), dtype=np.int64)
    kernels.rate_many(work, size, when, rounds)
    return Puzzles(givens.astype(np.int8), work.astype(np.int8), when.astype(np.int8), rounds)


def solve_puzzles(givens: NDArray[Any], size: int) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """How many solutions ``givens`` [B, N * N] have, counted up to 2: [B]; and one, [B, N * N]."""
    grids = np.ascontiguousarray(givens, dtype=np.int64)
    solutions, counts = np.zeros_like(grids), np.zeros(len(grids), dtype=np.int64)
    kernels.solve_many(grids, size, solutions, counts)
    return counts, solutions.astype(np.int8)


def class_keys(givens: NDArray[Any], size: int) -> NDArray[np.int64]:
    """[B] numbers that are equal for puzzles [B, N * N] which are symmetric copies of each other.

    See :func:`rl_serial.envs.puzzles.kernels.class_key`.
    """
    grids = np.ascontiguousarray(givens, dtype=np.int64)
    keys = np.zeros(len(grids), dtype=np.int64)
    kernels.key_many(grids, size, keys)
    return keys


def for_tests(givens: NDArray[Any], size: int) -> NDArray[np.bool_]:
    """[B] whether puzzles [B, N * N] are of the test side; their symmetric copies are, too."""
    grids = np.ascontiguousarray(givens, dtype=np.int64)
    sides = [kernels.on_side(grid, size, 1, TESTS_OF_FOUR) for grid in grids]
    return np.array(sides, dtype=np.bool_)


@cache
def first_row_grids(size: int) -> NDArray[np.int64]:
    """[G, N * N] every grid whose first row is 1 … N: 12 of 4, 39,168 of 6; of 9 a stand-in.

    With other names for the digits they are all the 288 and 28,200,960 grids there are, each once.
    """
    cells = size * size
    grids = np.zeros((1, cells), dtype=np.int64)
    if size == 9:
        return grids
    grids[0, :size] = np.arange(1, size + 1)
    row, column, box = (table[size] for table in (kernels.ROW, kernels.COLUMN, kernels.BOX))
    for cell in range(size, cells):
        earlier = np.arange(cell)
        seen = grids[:, [
            other
            for other in earlier
            if row[other] == row[cell] or column[other] == column[cell] or box[other] == box[cell]
        ]]  # fmt: skip
        longer = []
        for digit in range(1, size + 1):
            fits = grids[(seen != digit).all(axis=1)]
            fits[:, cell] = digit
            longer.append(fits)
        grids = np.concatenate(longer)
    return grids


def _in_parts(kernel: Any, count: int, *arguments: Any) -> None:
    """Run a kernel on rows 0 to ``count``, shared out between threads."""
    parts = max(1, min(_most_threads(), count // ROWS_OF_A_THREAD))
    bounds = [part * count // parts for part in range(parts + 1)]
    if parts == 1:
        kernel(0, count, *arguments)
        return
    pool = _threads(os.getpid())
    for part in [
        pool.submit(kernel, low, high, *arguments) for low, high in itertools.pairwise(bounds)
    ]:
        part.result()


@cache
def _threads(process: int) -> ThreadPoolExecutor:
    """Helpers of this ``process``; a fork has none of its parent's threads."""
    return ThreadPoolExecutor(_most_threads(), "rl_serial-puzzles")


@cache
def _most_threads() -> int:
    """NUMBA_NUM_THREADS, by default the cores this process may use; 1 without Numba."""
    if importlib.util.find_spec("numba") is None:
        return 1
    import numba

    return int(getattr(numba.config, "NUMBA_NUM_THREADS"))  # noqa: B009
