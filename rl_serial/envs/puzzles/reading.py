"""Puzzles from a file: the common format of 81 characters a line, 16 and 36 of the small sizes."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.puzzles.generator import Puzzles, rate_puzzles, solve_puzzles
from rl_serial.errors import OptionError

BLANK_MARKS = ".0*_-"
"""Characters that stand for a blank cell."""
MOST_LINES = 10_000_000
"""Of a file."""


def read_puzzles(file: str | Path, size: int = 9) -> Puzzles:
    """The puzzles of a file, with their solutions and rounds of singles.

    A line is a puzzle: ``size * size`` characters, row by row, blanks as one of ``.0*_-``. What
    stands behind a comma or a blank (a solution, a rating) is left out, and so are empty lines,
    lines that begin with ``#``, and a first line of other words.

    Args:
        file: text.
        size: 4, 6 or 9.

    Raises:
        OptionError: (a ValueError) a file that cannot be read, a line that is no puzzle, or a
            puzzle without a solution or with several; it names the line.
    """
    path = Path(file)
    try:
        stamp = path.stat().st_mtime_ns
    except OSError as error:
        raise OptionError("file", f"{file}: {error.strerror or error}") from None
    return _read(path, size, stamp)


@lru_cache(maxsize=8)
def _read(file: Path, size: int, stamp: int) -> Puzzles:
    """The same; ``stamp`` is the time of the file's last change."""
    rows, numbers = [], []
    try:
        with file.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                words = line.replace(",", " ").split()
                if not words or words[0].startswith("#"):
                    continue
                wrong = _wrong(words[0], size)
                if wrong and number == 1 and words[0].isalpha():
                    continue  # names of columns
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
