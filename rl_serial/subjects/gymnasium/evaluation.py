"""The examination of planners in continuous control.

There is no optimal play to compare with, so an examination says the return and what it cost: the
serial steps of a decision (horizon × iterations), and the steps of model and simulator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from rl_serial.agents.mpc import Episode, MPCAgent, divergence_told
from rl_serial.envs.random import evaluation_seeds
from rl_serial.metrics import Measurement, measured
from rl_serial.subjects.gymnasium import metrics as of

MOST_AT_A_TIME = 64
"""Evaluation episodes that are played side by side."""


@dataclass(frozen=True)
class ControlEvaluation:
    """What an examination found, by episode."""

    episodes: tuple[Episode, ...]
    serial_steps: int  # of a decision: horizon × iterations

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
        return [
            measured(of.RETURN, self.returns.mean()),
            measured(of.EPISODE_STEPS, self.mean("steps")),
            measured(of.SERIAL_STEPS, self.serial_steps),
            measured(of.MODEL_STEPS, self.mean("model_steps")),
            measured(of.SIMULATOR_STEPS, self.mean("simulator_steps")),
        ]

    def final(self) -> dict[str, Any]:
        """What ``summary.json`` keeps beside the measurements."""
        return {"eval/return_interval": list(self.interval), "eval/instances": len(self.episodes)}

    def headline(self) -> str:
        """Return, and what a decision cost."""
        low, high = self.interval
        return (
            f"return {self.returns.mean():.4g} (95 % of instances {low:.4g} to {high:.4g}), "
            f"{self.serial_steps} serial steps a decision, "
            f"{self.mean('model_steps'):.0f} model steps an episode of {self.mean('steps'):.0f}"
        )


class ControlEvaluator:
    """Plays an agent's episodes on evaluation instances.

    Args:
        instances: episodes.
        seed: chooses the instances.
        run_seed: chooses, with ``seed``, the noise of planning.
    """

    def __init__(self, instances: int, seed: int, run_seed: int) -> None:
        self.seeds = control_seeds(seed, instances)
        self.entropy = [run_seed, seed, 1]

    def __call__(self, agent: MPCAgent) -> ControlEvaluation:
        """Examine an agent, always with the same noise.

        Raises:
            RunError: the simulation of the environment diverged.
        """
        generator = np.random.default_rng(self.entropy)
        episodes: list[Episode] = []
        with divergence_told():
            for first in range(0, len(self.seeds), MOST_AT_A_TIME):
                seeds = self.seeds[first : first + MOST_AT_A_TIME]
                episodes += agent.evaluate(seeds, generator)
        return ControlEvaluation(tuple(episodes), agent.accounts.critical_path)


def control_seeds(seed: int, count: int, first: int = 0) -> list[int]:
    """Evaluation instances ``first``, … of ``seed``: resets above those that training draws."""
    return [int(number) for number in evaluation_seeds(2 * seed, count, np, first=first)]
