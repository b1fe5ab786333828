"""What plans make of another agent's judgement, and the agent that plans one step ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.agents.dynamics import Dynamics
from rl_serial.agents.protocols import Agent, Judgement, Preference
from rl_serial.envs.chain import Array, array_namespace, map_state
from rl_serial.envs.tasks import Task, num_actions
from rl_serial.errors import RunError

SEARCH_BATCH = 1024
"""Rows that are searched at a time; rows do not depend on each other."""

BOLTZMANN_TEMPERATURE = 0.1
"""An agent that has action values but no policy gets softmax(Q / 0.1) as its prior."""


def prior_logits(agent: Agent, judgement: Judgement) -> Array:
    """[B, num_actions] float32: the logits of the agent's policy, whatever its preferences are."""
    xp = array_namespace(judgement.preferences)
    if agent.preference == Preference.PROBABILITY:
        return xp.log(xp.clip(judgement.preferences, 1e-8, None))
    if agent.preference == Preference.NONE:
        return xp.zeros_like(judgement.preferences)
    return judgement.preferences / BOLTZMANN_TEMPERATURE


def state_values(agent: Agent, judgement: Judgement, legal: Array) -> Array:
    """[B]: the agent's values; of action values the largest legal one."""
    if judgement.values is None:
        raise ValueError(f"{type(agent).__name__} has no values to search with")
    if agent.preference != Preference.ACTION_VALUE:
        return judgement.values
    # Within a model fewer actions may be legal than the agent knows of (a BET that is on its way).
    xp = array_namespace(judgement.preferences)
    return xp.max(xp.where(legal, judgement.preferences, -xp.inf), axis=1)


def planned_judgement(
    task: Task[Any],
    agent: Agent,
    own: Judgement,
    state: Any,
    plan: Callable[[Any], Judgement],
    most: int,
) -> Judgement:
    """A planner's judgement where there is a choice, and the agent's own where there is none.

    Args:
        task: the rules.
        agent: made ``own``; needs values.
        own: of ``state``, B rows.
        state: of the task.
        plan: from states to the planner's judgement of them, its action included.
        most: rows that are planned for together.
    """
    legal = task.legal_actions(state)
    preferences = np.array(own.preferences, dtype=np.float32)
    values = np.array(state_values(agent, own, legal), dtype=np.float32)
    action = np.argmax(legal, axis=1).astype(np.int64)
    open_rows = np.flatnonzero(legal.sum(axis=1) > 1)
    for first in range(0, open_rows.size, most):
        rows = open_rows[first : first + most]
        found = plan(take_rows(state, rows))
        preferences[rows], values[rows] = found.preferences, found.values
        action[rows] = found.action
    return Judgement(preferences, values, action)


class OnePlyAgent:
    """Takes the action with the largest reward plus value of the state that it leads to.

    Args:
        task: the rules, which say what is legal.
        agent: judges states; needs values.
        dynamics: the model of the one step.
    """

    preference = Preference.ONE_PLY

    def __init__(self, task: Task[Any], agent: Agent, dynamics: Dynamics) -> None:
        self.task, self.agent, self.dynamics = task, agent, dynamics

    def judge(self, state: Any) -> Judgement:
        """Action values of one step, and the largest legal one.

        Raises:
            RunError: a value is not finite.
        """
        embedding = self.dynamics.embed(state)
        columns = []
        for action in range(num_actions(self.task)):
            batch = self.task.remaining(state).shape[0]
            step = self.dynamics.step(embedding, np.full(batch, action, dtype=np.int64))
            judgement = self.dynamics.judge(self.agent, step.embedding, step.legal)
            following = np.where(
                step.terminated, 0, state_values(self.agent, judgement, step.legal)
            )
            columns.append(step.reward + self.dynamics.discount * following)
        preferences = np.stack(columns, axis=1).astype(np.float32)
        legal = self.task.legal_actions(state)
        if not np.isfinite(preferences[legal]).all():
            raise RunError(f"one-ply with {type(self.agent).__name__}: values are not finite")
        return Judgement(preferences, np.where(legal, preferences, -np.inf).max(axis=1))


def take_rows(state: Any, rows: NDArray[np.int64]) -> Any:
    """The given rows, ``(rows,)`` indices of the batch, of every array of a state."""
    return map_state(lambda array: array[rows], state)
