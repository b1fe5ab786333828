"""The examination of an agent: score, accuracy by remaining steps, serial horizon and reach.

Everything is measured on evaluation instances, whose seeds no training ever draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rl_serial.agents.protocols import Agent, TakesPasses, decide
from rl_serial.envs.random import episode_seeds, state_seeds
from rl_serial.envs.shortcuts import Sample, right_actions, serial_reach
from rl_serial.envs.tasks import Task
from rl_serial.envs.write import FIRST_WORD, Write
from rl_serial.metrics import Measurement, measured
from rl_serial.networks import Account
from rl_serial.subjects.chains import metrics as of
from rl_serial.subjects.chains.floors import CPU, Floor, measure_floor
from rl_serial.subjects.chains.metrics import RIGHT

CLOSE = 0.5
"""Error below which a value counts as right; the payoffs of a chain lie 1 or more apart."""
ROUNDING = 1e-5
"""Of sums of rewards: a return this close to the optimal one is optimal."""
LEAST_LABELLED = 64
"""States with a number of collisions that make an accuracy."""


@dataclass(frozen=True)
class Evaluation:
    """What an examination found; accuracies are by remaining steps 1 … serial_depth."""

    instances: int  # episodes played
    mean_return: float
    random_return: float
    optimal_return: float
    score: float  # 0 random, 1 optimal
    score_interval: tuple[float, float]  # 95 % over instances
    accuracy: NDArray[np.float64]  # [serial_depth]; NaN where no state has a decision to make
    chance: NDArray[np.float64]  # [serial_depth]: accuracy of the best constant action
    serial_horizon: int
    serial_reach: float
    serial_reach_interval: tuple[float, float]  # 95 % over instances
    value_rmse: float  # of state values against V*, at all remaining steps; NaN without values
    value_horizon: float  # as serial_horizon, of values less than CLOSE from V*; NaN without values
    # [most collisions + 1]: accuracy by collisions until the end; empty for chains without them
    collision_accuracy: NDArray[np.float64]
    collision_horizon: (
        float  # largest c with RIGHT decisions at every count <= c, or -1; NaN without
    )
    words: float = float("nan")  # written before the answer, in the mean; NaN where there are none
    right_words: float = float("nan")  # share of them that are right
    floor: Floor | None = None  # measured once, at the end of a run
    critical_path: float = float("nan")  # of an answer, in the mean; the same

    def measurements(self) -> list[Measurement]:
        """What was measured; NaN where nothing was."""
        found = [
            measured(of.RETURN, self.mean_return),
            measured(of.SCORE, self.score),
            measured(of.HORIZON, self.serial_horizon),
            measured(of.REACH, self.serial_reach),
            measured(of.RMSE, self.value_rmse),
            measured(of.VALUE_HORIZON, self.value_horizon),
        ]
        for remaining, accuracy in enumerate(self.accuracy.tolist(), start=1):
            found.append(measured(of.ACCURACY, accuracy, remaining=remaining))
        found += [measured(of.WORDS, self.words), measured(of.RIGHT_WORDS, self.right_words)]
        found.append(measured(of.COLLISION_HORIZON, self.collision_horizon))
        for collisions, accuracy in enumerate(self.collision_accuracy.tolist()):
            found.append(measured(of.COLLISIONS, accuracy, collisions=collisions))
        if not math.isnan(self.critical_path):
            found.append(measured(of.PATH, self.critical_path))
        if self.floor is not None:
            above = self.serial_reach - self.floor.highest.reach
            found += [measured(of.ABOVE_FLOOR, above), *self.floor.measurements()]
        return found

    def after_loops(self, loops: int) -> list[Measurement]:
        """The same of an examination with so many loops of the network."""
        return [
            Measurement(of.LOOPS[found.metric], {"loops": loops, **found.index}, found.value)
            for found in self.measurements()
            if found.metric in of.LOOPS
        ]

    def final(self) -> dict[str, Any]:
        """What ``summary.json`` keeps beside the measurements."""
        final = {
            "eval/score_interval": list(self.score_interval),
            "eval/serial_reach_interval": list(self.serial_reach_interval),
            "eval/instances": self.instances,
            "eval/random_return": self.random_return,
            "eval/optimal_return": self.optimal_return,
        }
        return final if self.floor is None else final | {"floor/instances": self.floor.instances}

    def headline(self) -> str:
        """Score, serial horizon, serial reach and, where it was measured, the floor's."""
        low, high = self.score_interval
        floor = f" (floor {self.floor.highest.reach:.1f})" if self.floor else ""
        return (
            f"score {self.score:.3f} (95 % of instances {low:.3f} to {high:.3f}), "
            f"serial horizon {self.serial_horizon} of {self.accuracy.size}, "
            f"serial reach {self.serial_reach:.1f}{floor}"
        )


class Played(NamedTuple):
    """What an agent's episodes earned."""

    mean_return: float
    score: float  # 0 random, 1 optimal
    interval: tuple[float, float]  # of the score, 95 % over instances
    # By how many steps remained at the start: share of the episodes that earn what optimal play
    # earns. Of a Bet without THINK it is the accuracy of decisions.
    right: dict[int, float]


def play(agent: Agent, task: Task[Any], seeds: NDArray[np.int64]) -> NDArray[np.float64]:
    """[B] the returns of the agent's episodes on the instances ``seeds`` [B]."""
    state = task.initial(seeds)
    returns = np.zeros(seeds.shape[0])
    running = np.ones(seeds.shape[0], dtype=np.bool_)
    while running.any():
        action = decide(agent.judge(state), task.legal_actions(state))
        transition = task.step(state, action)
        returns += transition.reward
        state, running = transition.state, ~transition.terminated
    return returns


def decisions(agent: Agent, task: Task[Any], seeds: NDArray[np.int64]) -> float:
    """Mean number of decisions in the agent's episodes on the instances ``seeds`` [B]."""
    state = task.initial(seeds)
    running, count = np.ones(seeds.shape[0], dtype=np.bool_), 0
    while running.any():
        count += int(running.sum())
        action = decide(agent.judge(state), task.legal_actions(state))
        transition = task.step(state, action)
        state, running = transition.state, running & ~transition.terminated
    return count / seeds.size


class Answers(NamedTuple):
    """How the agent's episodes of Write ended, and what came before."""

    action: NDArray[np.int64]  # [B]: PASS or BET
    words: float  # mean number written
    right_words: float  # share of them that right reasoning has in their place; NaN without any


def answers(agent: Agent, task: Write[Any], state: Any) -> Answers:
    """What the agent writes and answers in episodes from ``state`` on, B rows."""
    right = task.right_words(state)
    rows = np.arange(right.shape[0])
    last = np.zeros(rows.size, dtype=np.int64)
    running = np.ones(rows.size, dtype=np.bool_)
    written = hits = 0
    while running.any():
        place = np.minimum(task.written(state), right.shape[1] - 1)
        action = decide(agent.judge(state), task.legal_actions(state))
        last = np.where(running, action, last)
        transition = task.step(state, action)
        state, running = transition.state, running & ~transition.terminated
        written += int(running.sum())
        hits += int((running & (action == right[rows, place] + FIRST_WORD)).sum())
    return Answers(last, written / rows.size, hits / written if written else float("nan"))


def score_with_interval(
    returns: NDArray[np.float64], random: NDArray[np.float64], optimal: NDArray[np.float64]
) -> tuple[float, tuple[float, float]]:
    """The score and its 95 % interval over instances, [B] returns on the same instances.

    The interval is the delta method's for a ratio of means.
    """
    span = float((optimal - random).mean())
    score = float((returns - random).mean()) / span
    residual = (returns - random) - score * (optimal - random)
    half = 1.96 * float(residual.std(ddof=1)) / math.sqrt(returns.size) / span
    return score, (score - half, score + half)


def serial_horizon(accuracy: NDArray[np.float64]) -> int:
    """Largest k such that the accuracy is at least 0.9 at every remaining <= k.

    Remaining steps at which there is nothing to decide (NaN) neither count nor break it.
    """
    horizon = 0
    for remaining, value in enumerate(accuracy, start=1):
        if value >= RIGHT:
            horizon = remaining
        elif not np.isnan(value):
            break
    return horizon


def reach_error(
    accuracy: NDArray[np.float64], expected: NDArray[np.float64], states: NDArray[np.int64]
) -> float:
    """Standard error over instances of :func:`serial_reach`, for that many ``states`` at each step.

    Accuracies are shares of independent states, by Wilson's centre where all or none are right, so
    that a perfect agent's error is not 0. What varies of ``expected`` is left out.
    """
    told = (expected < 1) & (states > 0)
    n, right = states[told], accuracy[told]
    centre = (right * n + 1.92) / (n + 3.84)  # Wilson 1927 at 95 %
    variance = centre * (1 - centre) / n / (1 - expected[told]) ** 2
    return float(np.sqrt(variance.sum()))


def collision_horizon(accuracy: NDArray[np.float64]) -> float:
    """Largest c such that the accuracy is at least 0.9 at every number of collisions <= c.

    -1 if it is less without a collision. ``accuracy`` [C] is by 0, 1, … collisions, NaN where no
    state counts; NaN if it is empty.
    """
    return float(serial_horizon(accuracy) - 1) if accuracy.size else float("nan")


class Evaluator:
    """Examines agents on the same instances, which are made once.

    Args:
        task: the rules.
        instances: episodes to play for the score.
        per_remaining: states to judge at each number of remaining steps.
        seed: chooses the evaluation instances.

    Raises:
        ValueError: the task's exact values cannot be enumerated, or optimal play earns no more than
            random play, so that there is no score.
    """

    def __init__(
        self, task: Task[Any], instances: int = 2048, per_remaining: int = 512, seed: int = 0
    ) -> None:
        self.task = task
        self.seeds = episode_seeds(seed, instances, np)
        first = task.initial(self.seeds)
        self.starts = task.remaining(first)  # [instances]
        # Both exact: dice would move every agent's score by some thousandths.
        self.random_returns = task.random_values(first).astype(np.float64)
        self.optimal_returns = task.action_values(first).max(axis=1)
        if self.optimal_returns.mean() <= self.random_returns.mean():
            raise ValueError(
                f"optimal play earns no more than random play on {instances} evaluation instances: "
                "there is nothing to decide (decisions: 0), or too few instances to tell"
            )
        depth = task.chain.serial_depth
        self.remaining = np.repeat(np.arange(1, depth + 1), per_remaining)
        seeds = state_seeds(seed, depth * per_remaining, np)
        self.states = task.at_remaining(seeds, self.remaining)
        self.exact = task.action_values(self.states)
        self.legal = task.legal_actions(self.states)
        self.examined, self.worth = task.examined(self.states)
        self.right = right_actions(self.worth, self.examined)
        # Where every one of them is as good as any other there is nothing to decide.
        self.counted = (self.examined & ~self.right).any(axis=1)
        # [serial_depth]: states that count.
        self.states_counted = self.counted.reshape(depth, -1).sum(axis=1)
        # [serial_depth, num_actions]: how often each action would be right.
        self.right_shares = self._by_remaining(self.right)
        self.collisions = self._count_collisions()
        self.floors: dict[tuple[str, int, int], Floor] = {}  # measured before

    def score(self, agent: Agent) -> Played:
        """Play the episodes and say what they earned."""
        returns = play(agent, self.task, self.seeds)
        score = score_with_interval(returns, self.random_returns, self.optimal_returns)
        optimal = returns > self.optimal_returns - ROUNDING
        right = {
            int(k): float(optimal[self.starts == k].mean()) for k in np.unique(self.starts).tolist()
        }
        return Played(float(returns.mean()), *score, right)

    def __call__(self, agent: Agent) -> Evaluation:
        """Examine an agent."""
        mean_return, score, interval, _ = self.score(agent)
        judgement = agent.judge(self.states)
        words = right_words = float("nan")
        if isinstance(self.task, Write) and self.task.deliberates:
            choices, words, right_words = answers(agent, self.task, self.states)
        else:
            choices = decide(judgement, self.legal)
        chosen = choices[:, None] == np.arange(self.right.shape[1])
        hits = (self.right & chosen).any(axis=1)
        accuracy = self._by_remaining(hits[:, None])[:, 0]
        by_collisions = self._by_collisions(hits)
        expected = (self._by_remaining(chosen) * self.right_shares).sum(axis=1)
        reach = serial_reach(accuracy, expected)
        half = 1.96 * reach_error(accuracy, expected, self.states_counted)
        rmse = horizon = float("nan")
        if judgement.values is not None:
            best = np.where(self.legal, self.exact, -np.inf).max(axis=1)
            errors = judgement.values - best
            rmse = float(np.sqrt(np.mean(errors**2)))
            close = np.abs(errors) < CLOSE
            horizon = serial_horizon(close.reshape(accuracy.size, -1).mean(axis=1))
        return Evaluation(
            instances=self.seeds.size,
            mean_return=mean_return,
            random_return=float(self.random_returns.mean()),
            optimal_return=float(self.optimal_returns.mean()),
            score=score,
            score_interval=interval,
            accuracy=accuracy,
            chance=self.right_shares.max(axis=1),
            serial_horizon=serial_horizon(accuracy),
            serial_reach=reach,
            serial_reach_interval=(reach - half, reach + half),
            value_rmse=rmse,
            value_horizon=float(horizon),
            collision_accuracy=by_collisions,
            collision_horizon=collision_horizon(by_collisions),
            words=words,
            right_words=right_words,
        )

    def critical_path(self, agent: Agent, account: Account) -> float:
        """Matrix products in sequence of an answer, the mean over the episodes that are played.

        Decisions of an episode times passes of a decision times products of a pass. What the rules
        compute, of a THINK or in the model of a search, is no product of the network.

        Args:
            agent: acts.
            account: of a forward pass.
        """
        passes = agent.passes if isinstance(agent, TakesPasses) else 1
        return decisions(agent, self.task, self.seeds) * passes * account.critical_path

    def floor(
        self,
        instances: int,
        seed: int,
        trained_in: Task[Any] | None = None,
        device: torch.device = CPU,
    ) -> Floor:
        """What needs no serial computation gets on the same states; see :func:`measure_floor`.

        ``trained_in``: the rules with the starts of training, where those are others.
        """
        rules = trained_in or self.task
        key = rules.start, instances, seed
        if key not in self.floors:
            observations = self.task.observe(self.states)
            states = np.arange(self.remaining.size)
            samples = [
                Sample.of(observations[rows], self.worth[rows], self.examined[rows])
                for rows in np.split(states, self.task.chain.serial_depth)
            ]
            self.floors[key] = measure_floor(rules, samples, instances, seed, device)
        return self.floors[key]

    def _count_collisions(self) -> NDArray[np.int64] | None:
        """[B] of each state that counts, where the chain has them; -1 of states that do not.

        States too close to call would measure the time step of the simulation.
        """
        chain: Any = self.task.chain
        if not hasattr(chain, "causal_collisions"):
            return None
        states = self.task.chain_state(self.states)
        counted = self.counted & ~chain.too_close(states)
        collisions: NDArray[np.int64] = np.where(counted, chain.causal_collisions(states), -1)
        return collisions

    def _by_collisions(self, hits: NDArray[np.bool_]) -> NDArray[np.float64]:
        """[C] share of ``hits`` [B] by number of collisions; NaN for fewer than LEAST_LABELLED."""
        if self.collisions is None:
            return np.zeros(0)
        counted = self.collisions >= 0
        states = np.bincount(self.collisions[counted])
        right = np.bincount(self.collisions[counted], weights=hits[counted])
        shares = np.full(states.shape, np.nan)
        np.divide(right, states, out=shares, where=states >= LEAST_LABELLED)
        return shares

    def _by_remaining(self, values: NDArray[np.bool_]) -> NDArray[np.float64]:
        """[serial_depth, columns]: shares of true ``values`` among the states that count."""
        depth = self.task.chain.serial_depth
        counted = self.counted.reshape(depth, -1, 1)
        hits = (values.reshape(depth, -1, values.shape[1]) & counted).sum(axis=1).astype(np.float64)
        states = counted.sum(axis=1)
        shares = np.full(hits.shape, np.nan)
        np.divide(hits, states, out=shares, where=states > 0)
        return shares
