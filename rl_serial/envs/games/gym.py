"""Games against a fixed opponent as Gymnasium environments, one at a time and in batches."""

from __future__ import annotations

from typing import Any, ClassVar

from gymnasium.vector import AutoresetMode

from rl_serial.envs.games import pictures
from rl_serial.envs.games.duel import make_duel
from rl_serial.envs.gym import SerialEnv, SerialVectorEnv


class GameEnv(SerialEnv):
    """One game at a time; see :class:`rl_serial.envs.gym.SerialEnv` for what is shared.

    Args:
        game: its name.
        render_mode: None, ansi, rgb_array or human.
        options: those of the game and of :class:`rl_serial.envs.games.duel.Duel`.

    Raises:
        UnknownOption: an option that does not exist; it is a ValueError and a TypeError.
        ValueError: a render mode that does not exist, an option out of range.
    """

    pictures: ClassVar[Any] = pictures

    def __init__(self, *, game: str, render_mode: str | None = None, **options: Any) -> None:
        self._serve(make_duel(game, **options), render_mode)


class GameVectorEnv(SerialVectorEnv):
    """A batch of games; see :class:`rl_serial.envs.gym.SerialVectorEnv` for what is shared.

    Args:
        num_envs: games side by side.
        game: its name.
        autoreset_mode: SAME_STEP, NEXT_STEP or DISABLED.
        render_mode: None, ansi or rgb_array.
        options: those of the game and of :class:`rl_serial.envs.games.duel.Duel`.

    Raises:
        UnknownOption: an option that does not exist; it is a ValueError and a TypeError.
        ValueError: a mode that does not exist, an option out of range.
    """

    pictures: ClassVar[Any] = pictures

    def __init__(
        self,
        num_envs: int = 1,
        *,
        game: str,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        self._serve(num_envs, make_duel(game, **options), autoreset_mode, render_mode)
