"""The examination in Gymnasium environments.

There is no optimal play to compare with, so an examination says the return and the length of an
episode. Of a planner it says too what that cost: the serial steps of a decision (horizon ×
iterations), and the steps of model and simulator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from rl_serial.agents.mpc import divergence_told
from rl_serial.agents.protocols import PlayedEpisode, Plays, PlaysByPlanning
from rl_serial.envs.random import episode_seeds
from rl_serial.metrics import Measurement, measured
from rl_serial.subjects.gymnasium import metrics as of

MOST_AT_A_TIME = 64
"""Evaluation episodes that are played side by side."""


@dataclass(frozen=True)
class GymnasiumEvaluation:
    """What an examination found, by episode."""

    episodes: tuple[PlayedEpisode, ...]
    serial_steps: int | None = None  # of a planner's decision: horizon × iterations

    @property
    def returns(self) -> NDArray[np.float64]:
        """[E] undiscounted."""
        return np.array([episode.total for episode in self.episodes])

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean return over instances (Student's t)."""
        returns = self.returns
        count = returns.size
        half = float(stdtrit(count - 1, 0.975)) * float(returns.std(ddof=1)) / math.sqrt(count)
        return float(returns.mean()) - half, float(returns.mean()) + half

    def mean(self, name: str) -> float:
        """Of a field of the episodes."""
        return float(np.mean([getattr(episode, name) for episode in self.episodes]))

    def measurements(self) -> list[Measurement]:
        """What was measured; steps of model and simulator are an episode's."""
        found = [
            measured(of.RETURN, self.returns.mean()),
            measured(of.EPISODE_STEPS, self.mean("steps")),
        ]
        if self.serial_steps is not None:
            found += [
                measured(of.SERIAL_STEPS, self.serial_steps),
                measured(of.MODEL_STEPS, self.mean("model_steps")),
                measured(of.SIMULATOR_STEPS, self.mean("simulator_steps")),
            ]
        return found

    def final(self) -> dict[str, Any]:
        """What ``summary.json`` keeps beside the measurements."""
        return {"eval/return_interval": list(self.interval), "eval/instances": len(self.episodes)}

    def headline(self) -> str:
        """Return, and how long an episode took or what a planner's decision cost."""
        low, high = self.interval
        told = f"return {self.returns.mean():.4g} (95 % of instances {low:.4g} to {high:.4g}), "
        steps = f"{self.mean('steps'):.0f}"
        if self.serial_steps is None:
            return f"{told}{steps} steps an episode"
        return (
            f"{told}{self.serial_steps} serial steps a decision, "
            f"{self.mean('model_steps'):.0f} model steps an episode of {steps}"
        )


class GymnasiumEvaluator:
    """Plays an agent's episodes on evaluation instances.

    Args:
        make: makes an environment.
        instances: episodes.
        seed: chooses the instances.
        run_seed: chooses, with ``seed``, the noise of planning.
    """

    def __init__(
        self, make: Callable[[], gym.Env[Any, Any]], instances: int, seed: int, run_seed: int
    ) -> None:
        self.make, self.seeds = make, instance_seeds(seed, instances)
        self.entropy = [run_seed, seed, 1]
        self.envs: list[gym.Env[Any, Any]] = []

    def __call__(self, agent: Plays) -> GymnasiumEvaluation:
        """Examine an agent, always with the same noise.

        Raises:
            RunError: the simulation of the environment diverged.
            UserError: an episode has no end.
        """
        generator = np.random.default_rng(self.entropy)
        episodes: list[PlayedEpisode] = []
        for first in range(0, len(self.seeds), MOST_AT_A_TIME):
            seeds = self.seeds[first : first + MOST_AT_A_TIME]
            self.envs += [self.make() for _ in range(len(seeds) - len(self.envs))]
            with divergence_told():
                episodes += agent.evaluate(seeds, generator, self.envs[: len(seeds)])
        serial = agent.accounts.critical_path if isinstance(agent, PlaysByPlanning) else None
        return GymnasiumEvaluation(tuple(episodes), serial)


def instance_seeds(seed: int, count: int, first: int = 0) -> list[int]:
    """Evaluation instances ``first``, … of ``seed``: resets above those that training draws."""
    return [int(number) for number in episode_seeds(seed, count, np, first=first)]
