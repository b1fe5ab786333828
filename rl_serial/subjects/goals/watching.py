"""Watching an agent on its way to a goal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_SIDE, _EDGE = 240, 20  # pixels of a picture, of the space around what it shows

_PAPER, _PATH, _GOAL, _HERE = (250, 250, 248), (150, 160, 175), (196, 106, 46), (43, 65, 98)


@dataclass(frozen=True)
class GoalMoment:
    """A moment of an episode: where the achieved goal was until now, and the goal."""

    path: NDArray[np.float32]  # [steps + 1, G] of the whole episode
    goal: NDArray[np.float32]  # [G]
    step: int
    at_goal: bool

    def text(self) -> str:
        """As text."""
        here = self.path[self.step]
        distance = float(np.linalg.norm(here - self.goal))
        there = ", at the goal" if self.at_goal else ""
        return (
            f"step {self.step:4d}: {_numbers(here)}, goal {_numbers(self.goal)}, "
            f"distance {distance:.3f}{there}"
        )

    def picture(self) -> NDArray[np.uint8]:
        """The first two numbers of the goal space, with all that the episode passes in view."""
        points = np.concatenate([self.path[:, :2], self.goal[None, :2]]).astype(np.float64)
        if points.shape[1] == 1:
            points = np.concatenate([points, np.zeros_like(points)], axis=1)
        low = points.min(axis=0)
        extent = max(float((points.max(axis=0) - low).max()), 1e-9)
        places = _EDGE + (points - low) / extent * (_SIDE - 2 * _EDGE)
        places[:, 1] = _SIDE - places[:, 1]
        image = Image.new("RGB", (_SIDE, _SIDE), _PAPER)
        draw = ImageDraw.Draw(image)
        passed = [(float(x), float(y)) for x, y in places[: self.step + 1]]
        if len(passed) > 1:
            draw.line(passed, fill=_PATH, width=2)
        x, y = places[-1]
        draw.ellipse((x - 7, y - 7, x + 7, y + 7), outline=_GOAL, width=3)
        x, y = passed[-1]
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=_HERE)
        return np.asarray(image)


def _numbers(goal: NDArray[np.float32]) -> str:
    return "(" + ", ".join(f"{number:.2f}" for number in goal) + ")"
