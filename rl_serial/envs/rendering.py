"""Pictures of an episode: the space-time diagram of the chain, what is ahead, the decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.tasks import Task


@dataclass(frozen=True)
class Scene:
    """What is drawn: an episode up to now."""

    task: Task[Any]
    states: tuple[Any, ...]  # states of the task with B = 1, the first of the episode first
    actions: tuple[int, ...] = ()  # the actions between them, one fewer than the states
    total_reward: float = 0.0
    ended: bool = False
    # Numbers beside each action of the last state, by what they are: {"exact": [num_actions], …}
    values: dict[str, NDArray[np.float32]] = field(default_factory=dict)


def ansi(scene: Scene) -> str:
    """The scene as text."""
    raise NotImplementedError


def rgb_array(scene: Scene) -> NDArray[np.uint8]:
    """The scene as a picture [height, width, 3]; the size is the same all through an episode."""
    raise NotImplementedError


class Window:
    """The window of ``render_mode="human"``."""

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Show a picture, and keep to the frame rate."""

    def close(self) -> None:
        """Close the window."""
