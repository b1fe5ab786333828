"""The two agents that bound the score: uniformly random play is 0, exact action values are 1.

They have nothing to learn, and so their trainer has nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rl_serial.agents.protocols import ChainWorld, Judgement, Log, Preference
from rl_serial.envs.tasks import Task, num_actions


class RandomAgent:
    """Takes each legal action with the same probability."""

    preference = Preference.NONE

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

    preference = Preference.ACTION_VALUE

    def __init__(self, task: Task[Any]) -> None:
        self.task = task

    def judge(self, state: Any) -> Judgement:
        """The exact action values."""
        action_values = self.task.action_values(state)
        return Judgement(action_values, action_values.max(axis=1))


class Untrained:
    """The trainer of an agent with nothing to learn.

    Args:
        agent: as it stays.
    """

    total = step = 0
    instances = 0  # of training, that a floor may use too

    def __init__(self, agent: Any) -> None:
        self.agent = agent
        self.metrics: dict[str, float] = {}
        self.networks: dict[str, Any] = {}
        self.examples: dict[str, Any] = {}

    def train(self, pause: Callable[[], None]) -> None:
        """Nothing is left to do."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to go back to."""

    def model_state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_model_state(self, state: dict[str, Any]) -> None:
        """Nothing to take."""


def make_trainer(world: ChainWorld, device: Any, log: Log) -> Untrained:
    """The trainer of the random or the optimal agent."""
    if world.agent.kind == "optimal":
        return Untrained(OptimalAgent(world.task))
    # The random agent's dice differ from those of the evaluator's own random play.
    return Untrained(RandomAgent(world.task, world.seed + 1_000_003))
