"""Sudoku: puzzles of a chosen serial depth, their environment, pictures and files.

Nothing here imports Numba before a puzzle is made.
"""

import gymnasium

SUDOKU_ID = "rl_serial/Sudoku-v0"
"""The Gymnasium id."""


def is_puzzle(id_: str) -> bool:
    """Whether an id is that of a puzzle."""
    return id_ == SUDOKU_ID


def register() -> None:
    """Have Gymnasium know them."""
    gymnasium.register(
        SUDOKU_ID,
        entry_point="rl_serial.envs.puzzles.gym:SudokuEnv",
        vector_entry_point="rl_serial.envs.puzzles.gym:SudokuVectorEnv",
    )


__all__ = ["SUDOKU_ID", "is_puzzle", "register"]
