"""The certificate of puzzles: what is solved after so many rounds, and guesses at the rest.

What a chain's certificate says of its steps this says of rounds: short of them a puzzle is not
solved but by luck. A blank cell that has one candidate left is guessed rightly, which is a naked
single, so the guesses are worth up to a round.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.puzzles.sudoku import Sudoku, candidates
from rl_serial.envs.random import EVALUATION_SEEDS

INSTANCES = 256
ROUNDS = {4: (1, 2, 3), 6: (2, 3, 4, 5, 6, 7), 9: (7, 9, 11)}
"""Rounds that a certificate asks for, by size; rarer ones take long to make."""


def guess_chances(grid: NDArray[np.int8], size: int) -> NDArray[np.float64]:
    """[B] the chance that one uniform candidate for each blank cell of grids [B, C] is right."""
    counts = candidates(grid, size).sum(axis=2)
    chances: NDArray[np.float64] = np.where(grid == 0, 1 / np.maximum(counts, 1), 1.0).prod(axis=1)
    return chances


def certify_rounds(
    size: int, rounds: int, instances: int = INSTANCES, blanks: int | None = None
) -> list[float]:
    """Mean chances to solve puzzles that need so many rounds.

    Args:
        size: N.
        rounds: that singles need.
        instances: puzzles for tests.
        blanks: of a puzzle; None: the default.

    Returns:
        ``rounds + 1`` numbers: after 0, 1, … rounds, each cell that is blank then a candidate that
        it has left, all as likely.
    """
    seeds = EVALUATION_SEEDS + np.arange(instances, dtype=np.int64)
    puzzles = Sudoku(size, blanks, serial_depth=rounds).puzzles(seeds)
    found = []
    for done in range(rounds + 1):
        told = (puzzles.when > 0) & (puzzles.when <= done)
        grid = np.where(told, puzzles.solution, puzzles.givens)
        found.append(float(guess_chances(grid, size).mean()))
    return found
