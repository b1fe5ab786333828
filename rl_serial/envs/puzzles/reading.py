"""Puzzles from a file: the common format of 81 characters a line, 16 and 36 of the small sizes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.puzzles.generator import (
    Puzzles,
    for_tests,
    rate_puzzles,
    solve_puzzles,
)
from rl_serial.errors import OptionError

BLANK_MARKS = ".0*_-"
"""Characters that stand for a blank cell."""
MOST_LINES = 10_000_000
"""Of a file."""

Stamp = tuple[int, ...]
"""What is another one when a file has changed: time, size, and which file it is."""


@dataclass(frozen=True)
class Sides:
    """The puzzles of a file, and which of them are of which side."""

    puzzles: Puzzles  # P of them
    training: NDArray[np.int64]  # [T] their numbers, from 0 on
    tests: NDArray[np.int64]  # [E] the same

    def rows(self, tests: bool) -> NDArray[np.int64]:
        """The numbers of the puzzles of a side."""
        return self.tests if tests else self.training


def read_puzzles(file: str | Path, size: int = 9) -> Puzzles:
    """The puzzles of a file, with their solutions and rounds of singles.

    A line is a puzzle: ``size * size`` characters, row by row, blanks as one of ``.0*_-``. What
    stands behind a comma or a blank (a solution, a rating) is left out, and so are empty lines,
    lines that begin with ``#``, and a first line of other words (``puzzle_text,solution``).

    Args:
        file: text in UTF-8, with or without a byte order mark.
        size: 4, 6 or 9.

    Raises:
        OptionError: (a ValueError) a file that cannot be read, a line that is no puzzle, or a
            puzzle without a solution or with several; it names the line.
    """
    return _read(Path(file), size, file_stamp(file))


def read_sides(file: str | Path, size: int = 9) -> Sides:
    """The same with their sides; a file is looked through once as long as it does not change.

    Raises:
        OptionError: as of :func:`read_puzzles`.
    """
    return _sides(Path(file), size, file_stamp(file))


def file_stamp(file: str | Path) -> Stamp:
    """What is another one when the file has changed.

    Raises:
        OptionError: there is no such file.
    """
    try:
        found = Path(file).stat()
    except OSError as error:
        raise OptionError("file", f"{file}: {error.strerror or error}") from None
    return found.st_mtime_ns, found.st_size, found.st_dev, found.st_ino


@lru_cache(maxsize=8)
def _sides(file: Path, size: int, stamp: Stamp) -> Sides:
    puzzles = _read(file, size, stamp)
    tests = for_tests(puzzles.givens, size)
    return Sides(puzzles, np.flatnonzero(~tests), np.flatnonzero(tests))


@lru_cache(maxsize=8)
def _read(file: Path, size: int, stamp: Stamp) -> Puzzles:
    """The puzzles of the file that has this ``stamp``."""
    rows, numbers = [], []
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, start=1):
                words = line.replace(",", " ").split()
                if not words or words[0].startswith("#"):
                    continue
                wrong = _wrong(words[0], size)
                if wrong and number == 1 and _is_name(words[0], size):
                    continue
                if wrong:
                    raise OptionError("file", f"{file}, line {number}: {wrong}")
                rows.append([0 if c in BLANK_MARKS else int(c) for c in words[0]])
                numbers.append(number)
                if len(rows) > MOST_LINES:
                    raise OptionError("file", f"{file}: {MOST_LINES} puzzles are the most")
    except OSError as error:
        raise OptionError("file", f"{file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise OptionError("file", f"{file}: not a text in UTF-8") from None
    if not rows:
        raise OptionError("file", f"{file}: holds no puzzle")
    givens = np.array(rows, dtype=np.int8)
    counts, solution = solve_puzzles(givens, size)
    for row in np.flatnonzero(counts != 1)[:1]:
        many = "no solution" if counts[row] == 0 else "more than one solution"
        raise OptionError("file", f"{file}, line {numbers[row]}: has {many}; a puzzle has one")
    full = np.flatnonzero((givens > 0).all(axis=1))
    for row in full[:1]:
        raise OptionError("file", f"{file}, line {numbers[row]}: has no blank cell")
    rated = rate_puzzles(givens, size)
    return Puzzles(givens, solution, rated.when, rated.rounds)


def _is_name(word: str, size: int) -> bool:
    """Whether a word is the name of a column, and not a puzzle with a wrong character."""
    return word.isalpha() or (word[0].isalpha() and len(word) != size * size)


def _wrong(word: str, size: int) -> str:
    """What is wrong with a word that should be a puzzle; empty if nothing is."""
    if len(word) != size * size:
        return f"{len(word)} characters; a puzzle of {size} by {size} has {size * size}"
    digits = "".join(str(digit) for digit in range(1, size + 1))
    for place, character in enumerate(word, start=1):
        if character not in digits + BLANK_MARKS:
            return (
                f"character {place} is {character!r}; a cell is a digit of 1 to {size}, or blank: "
                f"{' '.join(BLANK_MARKS)}"
            )
    return ""


def written(grids: NDArray[np.int8]) -> list[str]:
    """Grids [B, N * N] in the same format, blanks as dots."""
    return ["".join(str(digit) if digit else "." for digit in grid) for grid in grids.tolist()]
