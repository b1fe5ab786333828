"""What else the true rules are good for: brute-force enumeration and random rollouts.

A tree search in the true rules may look good only because any use of the rules does. These two get
as many model steps as the search, where a model step is a serial step of the task: a BET is as many
as the chain has steps left. Both are plain: nothing is chosen by what was found so far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.agents.dynamics import Dynamics
from rl_serial.agents.fitted import random_legal
from rl_serial.agents.protocols import Agent, Judgement, Preference
from rl_serial.agents.search import planned_judgement, state_values
from rl_serial.envs.chain import map_state, select
from rl_serial.envs.tasks import Task, num_actions
from rl_serial.errors import RunError

NODES = 2**16
"""Most nodes of the trees that are enumerated together."""


class EnumerationAgent:
    """Tries all sequences of actions, breadth first, as deep as the model steps allow.

    A node is expanded whole, with a model step for each legal action, in the order of the breadth;
    the first one for which too few steps are left ends the expansion, so that of the steps fewer
    than one per action are left over. Where the whole tree is smaller the rest is not needed, and
    the values are exact. Leaves have the other agent's values, as in a search, so that the two
    differ in which sequences they try and in nothing else; the best is backed up.

    Args:
        task: the rules, which say what is legal now.
        agent: judges states; needs values. It decides itself where the steps are too few for one
            expansion.
        dynamics: the true rules, whose embeddings are states.
        model_steps: most model steps of a decision, at least 0.
    """

    preference = Preference.ENUMERATED

    def __init__(self, task: Task[Any], agent: Agent, dynamics: Dynamics, model_steps: int) -> None:
        self.task, self.agent, self.dynamics = task, agent, dynamics
        self.model_steps = model_steps

    def judge(self, state: Any) -> Judgement:
        """Action values of the enumerated trees, their largest, and the action that has it.

        Raises:
            RunError: a value is not finite.
        """
        own = self.agent.judge(state)
        if self.model_steps == 0:
            return own
        most = max(1, NODES // self.model_steps)
        return planned_judgement(self.task, self.agent, own, state, self._enumerate, most)

    def _enumerate(self, state: Any) -> Judgement:
        levels = self._expand(state)
        below = np.zeros(0, dtype=np.float32)
        for level in reversed(levels):
            values = np.full(level.legal.shape, -np.inf, dtype=np.float32)
            # A leaf's own judgement, which is the root's too if it is not expanded.
            leaves = np.flatnonzero(level.alive & ~level.expanded)
            best = np.zeros(level.alive.size, dtype=np.float32)
            if leaves.size:
                legal = level.legal[leaves]
                embedding = map_state(lambda array, i=leaves: array[i], level.embedding)
                judgement = self.dynamics.judge(self.agent, embedding, legal)
                best[leaves] = state_values(self.agent, judgement, legal)
                values[leaves] = np.where(legal, judgement.preferences, -np.inf)
            values[level.parents_below, level.actions_below] = below
            best[level.expanded] = values[level.expanded].max(axis=1)
            if not np.isfinite(best).all():
                name = type(self.agent).__name__
                raise RunError(f"enumeration with {name}: values are not finite")
            below = level.reward + best
        action = values.argmax(axis=1)
        return Judgement(np.where(levels[0].legal, values, 0), best, action)

    def _expand(self, state: Any) -> list[_Level]:
        """The trees of all rows, level by level from the roots."""
        embedding = self.dynamics.embed(state)
        legal = self.task.legal_actions(state)
        batch = legal.shape[0]
        row, reward = np.arange(batch), np.zeros(batch, dtype=np.float32)
        alive = np.ones(batch, dtype=np.bool_)
        left = np.full(batch, self.model_steps)
        levels: list[_Level] = []
        while row.size:
            cost = np.where(alive, legal.sum(axis=1), 0)
            wanted = np.bincount(row, cost, minlength=batch).astype(np.int64)
            # Nodes are in the order of their rows: steps up to a node, within its row.
            so_far = np.cumsum(cost) - (np.cumsum(wanted) - wanted)[row]
            expanded = alive & (so_far <= left[row])
            parents, actions = np.nonzero(legal & expanded[:, None])
            levels.append(_Level(embedding, legal, alive, expanded, reward, parents, actions))
            if not parents.size:
                break
            # A row that could not expand all nodes of a level is through.
            left = np.where(wanted <= left, left - wanted, 0)
            row = row[parents]
            step = self.dynamics.step(map_state(lambda a, i=parents: a[i], embedding), actions)
            embedding, legal, reward = step.embedding, step.legal, step.reward
            alive = ~step.terminated
        return levels


@dataclass(frozen=True)
class _Level:
    """The N nodes of all trees that are equally far from their roots."""

    embedding: Any  # [N, ...]
    legal: NDArray[np.bool_]  # [N, A]
    alive: NDArray[np.bool_]  # [N]: the episode goes on there
    expanded: NDArray[np.bool_]  # [N]
    reward: NDArray[np.float32]  # [N]: of the step that led there
    parents_below: NDArray[np.int64]  # [M]: the node above each of the next level's nodes
    actions_below: NDArray[np.int64]  # [M]: the action that led from it


class RolloutAgent:
    """Flat Monte Carlo: random play from each action in turn; the largest mean return is taken.

    It needs no network. A rollout that the model steps do not bring to its end does not count. An
    action without a rollout is worth 0, which is what payoffs are in the mean. Of equal actions one
    is drawn.

    Args:
        task: the rules, which say what is legal now.
        dynamics: the true rules, whose embeddings are states.
        model_steps: model steps of a decision, at least 0; all are made.
        seed: of the play. The same states in the same order are judged alike.

    Source: flat Monte Carlo with uniform sampling (Browne et al. 2012, *A Survey of Monte Carlo
    Tree Search Methods*, section 2.3).
    """

    preference = Preference.MEAN_RETURN

    def __init__(self, task: Task[Any], dynamics: Dynamics, model_steps: int, seed: int) -> None:
        self.task, self.dynamics = task, dynamics
        self.model_steps, self.seed = model_steps, seed

    def judge(self, state: Any) -> Judgement:
        """Mean returns of the actions, their largest, and an action that has it."""
        generator = np.random.default_rng(self.seed)
        batch = self.task.remaining(state).shape[0]
        nothing = Judgement(
            np.zeros((batch, num_actions(self.task)), np.float32), np.zeros(batch, np.float32)
        )
        return planned_judgement(
            self.task, self, nothing, state, lambda rows: self._roll_out(rows, generator), batch
        )

    def _roll_out(self, state: Any, generator: np.random.Generator) -> Judgement:
        legal = self.task.legal_actions(state)
        batch, actions = legal.shape
        rows = np.arange(batch)
        totals, counts = np.zeros((batch, actions)), np.zeros((batch, actions), dtype=np.int64)
        # Each row plays its rollouts one after the other, all rows a step at a time.
        here, legal_here = self.dynamics.embed(state), legal
        first = legal.argmax(axis=1)
        fresh, gain = np.ones(batch, dtype=np.bool_), np.zeros(batch)
        for _ in range(self.model_steps):
            words = generator.integers(0, 2**32, batch)
            action = np.where(fresh, first, random_legal(legal_here, words))
            step = self.dynamics.step(here, action)
            gain += step.reward
            fresh = step.terminated
            totals[rows[fresh], first[fresh]] += gain[fresh]
            counts[rows[fresh], first[fresh]] += 1
            here = select(fresh, state, step.embedding)
            legal_here = np.where(fresh[:, None], legal, step.legal)
            gain = np.where(fresh, 0, gain)
            first = np.where(fresh, _next_legal(legal, first), first)
        means = (totals / np.maximum(counts, 1)).astype(np.float32)
        best = np.where(legal, means, -np.inf).max(axis=1)
        among = legal & (means == best[:, None])
        action = random_legal(among, generator.integers(0, 2**32, batch))
        return Judgement(means, best.astype(np.float32), action)


def _next_legal(legal: NDArray[np.bool_], action: NDArray[np.int64]) -> NDArray[np.int64]:
    """[B] the first legal action behind ``action`` [B], from the first one again after the last."""
    actions = legal.shape[1]
    order = (action[:, None] + 1 + np.arange(actions)) % actions
    steps = np.take_along_axis(legal, order, axis=1).argmax(axis=1)
    following: NDArray[np.int64] = (action + 1 + steps) % actions
    return following
