"""Replay of whole episodes of many environments, from which goals are relabelled in hindsight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Relabelled:
    """B steps, each with a goal that its episode reached later."""

    state: Floats  # [B, S]
    action: Floats  # [B, A]
    goal: Floats  # [B, G] the achieved goal of a later state


def future_offsets(
    uniform: NDArray[np.float64], remaining: NDArray[np.int64], discount: float
) -> NDArray[np.int64]:
    """[B]: k in 1 … remaining with probability proportional to discount^k.

    Inverts the cumulative distribution of the geometric law cut off at ``remaining``.

    Args:
        uniform: [B] in [0, 1).
        remaining: [B] at least 1.
        discount: in (0, 1).
    """
    covered = -np.expm1(remaining * np.log(discount))  # 1 - discount^remaining
    offsets = 1 + np.floor(np.log1p(-uniform * covered) / np.log(discount)).astype(np.int64)
    found: NDArray[np.int64] = np.clip(offsets, 1, remaining)
    return found


class EpisodeReplay:
    """The newest ``capacity`` steps of each of ``num_envs`` environments.

    A step is a state as it was seen, the action taken, and the achieved goal of the state that
    followed. Future goals are looked for within the step's own episode.

    Args:
        capacity: steps kept of each environment.
        num_envs: N.
        sizes: numbers in a state, an action and a goal.
    """

    def __init__(self, capacity: int, num_envs: int, sizes: tuple[int, int, int]) -> None:
        self.capacity, self.num_envs = capacity, num_envs
        self.time = 0  # steps of each environment so far
        self.state, self.action, self.reached = (
            np.zeros((capacity, num_envs, size), dtype=np.float32) for size in sizes
        )
        # Time of the last step of the step's episode; -1 while the episode goes on.
        self.last = np.full((capacity, num_envs), -1, dtype=np.int64)
        self._begun = np.zeros(num_envs, dtype=np.int64)

    def add(self, state: Floats, action: Floats, reached: Floats, ended: NDArray[np.bool_]) -> None:
        """Add a step of every environment.

        Args:
            state: [N, S] before the step.
            action: [N, A].
            reached: [N, G] achieved goal after it.
            ended: [N] whether the step was its episode's last.
        """
        row = self.time % self.capacity
        self.state[row], self.action[row], self.reached[row] = state, action, reached
        self.last[row] = -1
        self.time += 1
        self.end(ended)

    def end(self, ended: NDArray[np.bool_]) -> None:
        """The episodes of these environments [N] are over; the next step begins others."""
        last = self.time - 1
        for env in np.flatnonzero(ended):
            first = max(self._begun[env], self.time - self.capacity)
            self.last[np.arange(first, self.time) % self.capacity, env] = last
            self._begun[env] = self.time

    def sample(self, batch: int, discount: float, generator: np.random.Generator) -> Relabelled:
        """Steps drawn uniformly, each with a goal from k steps later, P(k) ~ discount^k."""
        first = max(0, self.time - self.capacity)
        time = generator.integers(first, self.time, batch)
        env = generator.integers(0, self.num_envs, batch)
        row = time % self.capacity
        last = self.last[row, env]
        last = np.where(last < 0, self.time - 1, last)
        offset = future_offsets(generator.random(batch), last - time + 1, discount)
        later = (time + offset - 1) % self.capacity
        return Relabelled(self.state[row, env], self.action[row, env], self.reached[later, env])

    def state_dict(self) -> dict[str, Any]:
        """What is held, as plain values and arrays."""
        held = min(self.time, self.capacity)
        arrays = ("state", "action", "reached", "last")
        return {
            "time": self.time,
            "begun": self._begun.copy(),
            **{name: getattr(self, name)[:held].copy() for name in arrays},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hold what was held then."""
        self.time = state["time"]
        self._begun = np.array(state["begun"])
        held = min(self.time, self.capacity)
        for name in ("state", "action", "reached", "last"):
            getattr(self, name)[:held] = state[name]
