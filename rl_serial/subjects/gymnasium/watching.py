"""Watching an episode of a Gymnasium environment."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rl_serial.subjects.animation import MOMENTS, shown_steps

_WIDTH, _HEIGHT, _EDGE = 320, 240, 20  # pixels of a picture, of the space around what it shows

_PAPER, _AXIS, _LINE, _HERE = (250, 250, 248), (200, 204, 210), (150, 160, 175), (43, 65, 98)


class Recorder(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps what an episode was: actions, rewards and, where it has them, pictures of states.

    Of a long episode pictures are kept evenly spread, with its first state and its last.

    Args:
        make: makes the environment, with keywords of ``gymnasium.make``.
    """

    def __init__(self, make: Callable[..., gym.Env[Any, Any]]) -> None:
        super().__init__(_with_pictures(make))
        self.drawn = self.env.render_mode == "rgb_array"
        self.actions: list[Any] = []
        self.rewards: list[float] = []
        self.pictures: dict[int, NDArray[np.uint8]] = {}  # by step
        self._apart = 1

    def reset(self, **options: Any) -> Any:
        """Begin an episode."""
        result = super().reset(**options)
        self.actions, self.rewards, self.pictures, self._apart = [], [], {}, 1
        self._draw(last=False)
        return result

    def step(self, action: Any) -> Any:
        """Take a step of it."""
        result = super().step(action)
        self.actions.append(action)
        self.rewards.append(float(result[1]))
        self._draw(last=bool(result[2] or result[3]))
        return result

    def _draw(self, last: bool) -> None:
        step = len(self.rewards)
        if not self.drawn or not (last or step % self._apart == 0):
            return
        self.pictures[step] = self.env.render()  # type: ignore[assignment]
        if len(self.pictures) > 2 * MOMENTS and not last:
            self._apart *= 2
            self.pictures = {k: p for k, p in self.pictures.items() if k % self._apart == 0}


def _with_pictures(make: Callable[..., gym.Env[Any, Any]]) -> gym.Env[Any, Any]:
    """The environment that draws itself as ``rgb_array``, or one that does not if it cannot."""
    plain = make()
    if "rgb_array" not in plain.metadata.get("render_modes", ()) or _needs_opengl(plain):
        return plain
    with warnings.catch_warnings(), _without_a_screen():
        warnings.simplefilter("ignore")
        try:
            drawn = make(render_mode="rgb_array")
            drawn.reset(seed=0)
            picture = drawn.render()
        except Exception:  # a library or a display is missing, of whatever kind it draws with
            return plain
    if not isinstance(picture, np.ndarray):
        drawn.close()
        return plain
    plain.close()
    return drawn


def _needs_opengl(env: gym.Env[Any, Any]) -> bool:
    """Whether it draws with MuJoCo's OpenGL, and nobody has said that there is one.

    Where there is none, MuJoCo ends the whole process.
    """
    return hasattr(env.unwrapped, "mujoco_renderer") and "MUJOCO_GL" not in os.environ


@contextmanager
def _without_a_screen() -> Iterator[None]:
    """Have pygame begin without looking for screen and sound, and without a greeting."""
    quiet = {
        "SDL_VIDEODRIVER": "dummy",
        "SDL_AUDIODRIVER": "dummy",
        "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    }
    added = [name for name in quiet if name not in os.environ]
    os.environ.update({name: quiet[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@dataclass(frozen=True)
class GymnasiumMoment:
    """A moment of an episode: what was done last, what it was paid, and the return so far."""

    step: int
    action: Any  # [A] numbers or a choice; None before the first
    rewards: NDArray[np.float64]  # [steps] of the whole episode
    own: NDArray[np.uint8] | None = None  # [height, width, 3] the environment's own picture

    def text(self) -> str:
        """As text."""
        if self.action is None:
            return f"step {self.step:4d}"
        action = str(self.action)
        if np.ndim(self.action):
            action = "(" + ", ".join(f"{number:.2f}" for number in self.action) + ")"
        return (
            f"step {self.step:4d}: action {action}, reward {self.rewards[self.step - 1]:.3f}, "
            f"return {self.rewards[: self.step].sum():.3f}"
        )

    def picture(self) -> NDArray[np.uint8]:
        """The environment's own, or the return over steps, with the whole episode in view."""
        if self.own is not None:
            return self.own
        returns = np.concatenate([[0.0], np.cumsum(self.rewards)])
        low, extent = returns.min(), max(float(np.ptp(returns)), 1e-9)
        across = _EDGE + np.arange(returns.size) / self.rewards.size * (_WIDTH - 2 * _EDGE)
        down = _HEIGHT - _EDGE - (returns - low) / extent * (_HEIGHT - 2 * _EDGE)
        image = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
        draw = ImageDraw.Draw(image)
        zero = float(down[0])
        draw.line((_EDGE, zero, _WIDTH - _EDGE, zero), fill=_AXIS)
        places = zip(across[: self.step + 1], down[: self.step + 1], strict=True)
        passed = [(float(x), float(y)) for x, y in places]
        if len(passed) > 1:
            draw.line(passed, fill=_LINE, width=2)
        x, y = passed[-1]
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=_HERE)
        draw.text((_EDGE, 4), f"return {returns[self.step]:.2f}", fill=_HERE)
        return np.asarray(image)


def shown_moments(recorder: Recorder) -> list[GymnasiumMoment]:
    """The moments of a recorded episode that are shown."""
    rewards = np.array(recorder.rewards)
    steps = sorted(recorder.pictures) if recorder.drawn else list(range(rewards.size + 1))
    return [
        GymnasiumMoment(
            step,
            recorder.actions[step - 1] if step else None,
            rewards,
            recorder.pictures.get(step),
        )
        for step in (steps[index] for index in shown_steps(len(steps) - 1))
    ]
