"""The two agents that bound the score: uniformly random play is 0, exact action values are 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from rl_serial.agents.agent import Judgement
from rl_serial.envs.tasks import Task, num_actions


class RandomAgent:
    """Takes each legal action with the same probability."""

    preference = "none"

    def __init__(self, task: Task[Any], seed: int) -> None:
        self.task = task
        self.generator = np.random.default_rng(seed)

    def judge(self, state: Any) -> Judgement:
        """Preferences drawn uniformly."""
        batch = self.task.remaining(state).shape[0]
        shape = (batch, num_actions(self.task))
        return Judgement(self.generator.random(shape, dtype=np.float32), values=None)


class OptimalAgent:
    """Takes an action of the largest exact value."""

    preference = "action value"

    def __init__(self, task: Task[Any]) -> None:
        self.task = task

    def judge(self, state: Any) -> Judgement:
        """The exact action values."""
        action_values = self.task.action_values(state)
        return Judgement(action_values, action_values.max(axis=1))
