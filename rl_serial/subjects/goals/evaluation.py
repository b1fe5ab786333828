"""The examination in goal environments.

Goals are reached or not, so there is no score between random and optimal play: an examination
counts the episodes that end at the goal, those that were there at all, and the steps spent there,
all of them also by how far the goal was at the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from rl_serial.agents.contrastive import GoalAgent
from rl_serial.envs.episodes import refuse_endless
from rl_serial.envs.goals import success_of
from rl_serial.envs.random import episode_seeds
from rl_serial.errors import UserError
from rl_serial.metrics import Measurement, measured
from rl_serial.subjects.goals import metrics as of
from rl_serial.subjects.goals.metrics import DISTANCES

MOST_AT_A_TIME = 128
"""Evaluation episodes that are played side by side."""


@dataclass(frozen=True)
class GoalEvaluation:
    """What an examination found, by episode."""

    distance: NDArray[np.float64]  # [E] from the goal at the start, in the units of the goal
    length: NDArray[np.int64]  # [E] steps
    at_goal: NDArray[np.int64]  # [E] steps after which the agent was at the goal
    success: NDArray[np.bool_]  # [E] at the goal after the last step
    returns: NDArray[np.float64]  # [E] sum of the environment's rewards

    @property
    def classes(self) -> list[NDArray[np.int64]]:
        """Episodes of each class of distance, the nearest first."""
        return np.array_split(np.argsort(self.distance, kind="stable"), DISTANCES)

    @property
    def distances(self) -> dict[int, float]:
        """The mean distance of each class, by its number; without those that have no episode."""
        return {
            k: float(self.distance[rows].mean())
            for k, rows in enumerate(self.classes, start=1)
            if rows.size
        }

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of success over instances (Wilson 1927)."""
        return _wilson(int(self.success.sum()), self.success.size)

    def measurements(self) -> list[Measurement]:
        """What was measured."""
        found = [
            measured(of.SUCCESS, self.success.mean()),
            measured(of.SUCCESS_EVER, (self.at_goal > 0).mean()),
            measured(of.TIME_AT_GOAL, self.at_goal.mean()),
            measured(of.RETURN, self.returns.mean()),
        ]
        for k, rows in enumerate(self.classes, start=1):
            found.append(measured(of.SUCCESS_BY_DISTANCE, self.success[rows].mean(), distance=k))
            found.append(measured(of.TIME_BY_DISTANCE, self.at_goal[rows].mean(), distance=k))
        return found

    def final(self) -> dict[str, Any]:
        """What ``summary.json`` keeps beside the measurements."""
        return {
            "eval/success_interval": list(self.interval),
            "eval/instances": int(self.success.size),
            "eval/episode_steps": float(self.length.mean()),
        } | {f"eval/distance_{k}": distance for k, distance in self.distances.items()}

    def headline(self) -> str:
        """Success, and time at the goal."""
        low, high = self.interval
        return (
            f"success {self.success.mean():.3f} (95 % of instances {low:.3f} to {high:.3f}), "
            f"at the goal at some time {(self.at_goal > 0).mean():.3f}, "
            f"for {self.at_goal.mean():.1f} of {self.length.mean():.0f} steps"
        )


def _wilson(hits: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927)."""
    found = binomtest(hits, trials).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


class GoalEvaluator:
    """Plays an agent's episodes on evaluation instances.

    Args:
        make: makes that many environments.
        instances: episodes, at least one for each class of distance.
        seed: chooses the instances.
    """

    def __init__(self, make: Any, instances: int, seed: int) -> None:
        self.seeds = episode_seeds(seed, instances, np)
        self.env: Any = make(min(instances, MOST_AT_A_TIME))

    def __call__(self, agent: GoalAgent) -> GoalEvaluation:
        """Examine an agent."""
        size = self.env.num_envs
        parts = [
            self._play(agent, self.seeds[first : first + size])
            for first in range(0, self.seeds.size, size)
        ]
        return GoalEvaluation(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _play(self, agent: GoalAgent, seeds: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        size, episodes = self.env.num_envs, seeds.size
        # The last round fills up with instances that do not count.
        observation, _ = self.env.reset(seed=[int(s) for s in np.resize(seeds, size)])
        gap = observation["achieved_goal"] - observation["desired_goal"]
        distance = np.linalg.norm(gap.astype(np.float64), axis=1)
        running = np.ones(size, dtype=np.bool_)
        length, at_goal = np.zeros((2, size), dtype=np.int64)
        returns, success = np.zeros(size), np.zeros(size, dtype=np.bool_)
        while running.any():
            observation, reward, terminated, truncated, info = self.env.step(agent.act(observation))
            there = success_at_end(info)
            length += running
            at_goal += running & there
            returns += np.where(running, reward, 0.0)
            success = np.where(running, there, success)
            running &= ~(terminated | truncated)
            if running.any():
                refuse_endless(int(length.max()))
        return tuple(column[:episodes] for column in (distance, length, at_goal, success, returns))


def success_at_end(info: dict[str, Any]) -> NDArray[np.bool_]:
    """[N] whether each environment is at its goal, from the info of a step.

    Raises:
        UserError: the info does not say.
    """
    try:
        return success_of(info)
    except ValueError as error:
        raise UserError(f"nothing says when a goal is reached: {error}", "env") from None
