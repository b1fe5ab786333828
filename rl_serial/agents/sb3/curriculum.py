"""The curriculum of Write: from the answer back, one word at a time.

The answer alone is paid for, so a word is worth something only once the agent reads it rightly.
Training therefore begins where all words of right reasoning are there, then where the last may be
missing, and so on (start states from a demonstration, from its end back: Salimans and Chen 2018,
arXiv 1812.03381). What to do there is never shown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rl_serial.agents.protocols import Agent, decide
from rl_serial.envs.gym import SerialVectorEnv
from rl_serial.envs.random import fold_in

TESTED = 2048
"""Training instances that are answered before the next word is left out."""


class Curriculum:
    """Leaves out one more right word whenever the agent answers well without those before.

    Args:
        env: of training; its task begins with all right words there (``missing`` 0).
        enough: the share of right answers, greedily played, at which it goes on.
        seed: of the run; chooses the instances that are answered.
    """

    def __init__(self, env: SerialVectorEnv, enough: float, seed: int) -> None:
        self.env, self.enough = env, enough
        self.key = fold_in(np.array([seed]), np.array([1]))[0]
        self.tested_at = 0  # the timestep; a resumed run comes by the same one again

    @property
    def missing(self) -> int:
        """The most words that are missing where training begins."""
        return int(self.env.task.missing)

    def consider(self, agent: Agent, timestep: int) -> None:
        """Between two rollouts: have the agent answer, and go on where it does well."""
        task = self.env.task
        if timestep == self.tested_at or self.missing >= task.most_missing:
            return
        self.tested_at = timestep
        seeds = fold_in(np.full(TESTED, self.key), timestep * TESTED + np.arange(TESTED))
        if right_answers(agent, task, seeds, self.missing) >= self.enough:
            self.env.task = replace(task, missing=self.missing + 1)

    def state_dict(self) -> dict[str, int]:
        """Where it stands."""
        return {"missing": self.missing, "tested_at": self.tested_at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go back to where it stood."""
        self.env.task = replace(self.env.task, missing=state["missing"])
        self.tested_at = state["tested_at"]


def right_answers(agent: Agent, task: Any, seeds: Any, missing: int) -> float:
    """The share of instances that an agent, playing greedily, answers rightly.

    Args:
        agent: plays.
        task: Write, with start written.
        seeds: [B] of the instances.
        missing: words of right reasoning that are yet to be written where they begin.
    """
    state = first = task.with_missing(seeds, missing)
    total = np.zeros(len(seeds))
    while not state.ended.all():
        transition = task.step(state, decide(agent.judge(state), task.legal_actions(state)))
        state, total = transition.state, total + transition.reward
    return float((total == np.maximum(first.outcome, 0)).mean())
