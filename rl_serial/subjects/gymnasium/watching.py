"""Watching an episode of a Gymnasium environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_WIDTH, _HEIGHT, _EDGE = 320, 240, 20  # pixels of a picture, of the space around what it shows

_PAPER, _AXIS, _LINE, _HERE = (250, 250, 248), (200, 204, 210), (150, 160, 175), (43, 65, 98)


class Recorder(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps what an episode was: actions, rewards and, if asked for, a picture of each state."""

    def __init__(self, env: gym.Env[Any, Any], pictures: bool) -> None:
        super().__init__(env)
        self.drawn = pictures
        self.actions: list[NDArray[np.float32]] = []
        self.rewards: list[float] = []
        self.pictures: list[NDArray[np.uint8]] = []

    def reset(self, **options: Any) -> Any:
        """Begin an episode."""
        result = super().reset(**options)
        self.actions, self.rewards, self.pictures = [], [], []
        self._draw()
        return result

    def step(self, action: Any) -> Any:
        """Take a step of it."""
        result = super().step(action)
        self.actions.append(action)
        self.rewards.append(float(result[1]))
        self._draw()
        return result

    def _draw(self) -> None:
        if self.drawn:
            self.pictures.append(self.env.render())  # type: ignore[arg-type]


@dataclass(frozen=True)
class ControlMoment:
    """A moment of an episode: what was done last, what it was paid, and the return so far."""

    step: int
    action: NDArray[np.float32] | None  # [A]; None before the first
    rewards: NDArray[np.float64]  # [steps] of the whole episode
    own: NDArray[np.uint8] | None = None  # [height, width, 3] the environment's own picture

    def text(self) -> str:
        """As text."""
        if self.action is None:
            return f"step {self.step:4d}"
        action = ", ".join(f"{number:.2f}" for number in self.action)
        return (
            f"step {self.step:4d}: action ({action}), reward {self.rewards[self.step - 1]:.3f}, "
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
