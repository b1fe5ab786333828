"""Sudoku served as Gymnasium environments, one at a time and in batches."""

from __future__ import annotations

from typing import Any, ClassVar

from gymnasium.vector import AutoresetMode

from rl_serial.envs.gym import SerialEnv, SerialVectorEnv
from rl_serial.envs.puzzles import pictures
from rl_serial.envs.puzzles.sudoku import make_sudoku


class SudokuEnv(SerialEnv):
    """One puzzle at a time; see :class:`rl_serial.envs.gym.SerialEnv` for what is shared.

    Args:
        render_mode: None, ansi, rgb_array or human.
        options: those of :class:`rl_serial.envs.puzzles.sudoku.Sudoku`.

    Raises:
        UnknownOption: an option that does not exist; it is a ValueError and a TypeError.
        ValueError: a render mode that does not exist, an option out of range.
    """

    pictures: ClassVar[Any] = pictures

    def __init__(self, *, render_mode: str | None = None, **options: Any) -> None:
        self._serve(make_sudoku(**options), render_mode)


class SudokuVectorEnv(SerialVectorEnv):
    """A batch of puzzles; see :class:`rl_serial.envs.gym.SerialVectorEnv` for what is shared.

    Args:
        num_envs: puzzles side by side.
        autoreset_mode: SAME_STEP, NEXT_STEP or DISABLED.
        render_mode: None, ansi or rgb_array.
        options: those of :class:`rl_serial.envs.puzzles.sudoku.Sudoku`.

    Raises:
        UnknownOption: an option that does not exist; it is a ValueError and a TypeError.
        ValueError: a mode that does not exist, an option out of range.
    """

    pictures: ClassVar[Any] = pictures

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        self._serve(num_envs, make_sudoku(**options), autoreset_mode, render_mode)
