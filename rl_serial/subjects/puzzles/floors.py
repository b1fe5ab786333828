"""The floor of puzzles: what is solved without serial computation, and the exact chance of it.

In one parallel look every cell that a naked or hidden single tells gets its digit, and every other
blank cell one of the candidates it has left after that, all as likely, without a look at each
other. The chance to solve a puzzle so is the product of 1 / candidates, so the floor has no dice. A
table of the training puzzles solves none: no symmetric copy of a puzzle for tests is in training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.puzzles.certificate import guess_chances
from rl_serial.envs.puzzles.generator import Puzzles, rate_puzzles


def floor_chances(puzzles: Puzzles, size: int) -> NDArray[np.float64]:
    """[B] the chance of one round of singles and guesses at what it leaves blank."""
    told = rate_puzzles(puzzles.givens, size)
    grid = np.where(told.when == 1, told.solution, puzzles.givens)
    return guess_chances(grid, size)
