"""Self-play without a model: a learner's opponent in training is itself, now or as it once was.

For each game one of the last snapshots or the learner as it is now is drawn, each as likely. A
learner that meets itself alone can go round in circles, since what beats it today is beaten by what
it has forgotten. Averaging over the past is fictitious play (Brown 1951); opponents drawn from
snapshots are those of Bansal et al. 2018 (arXiv 1710.03748).
"""

from __future__ import annotations

from copy import copy, deepcopy
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_serial.agents.protocols import Preference
from rl_serial.agents.sb3.acting import SB3Agent
from rl_serial.envs.games.players import one_of
from rl_serial.envs.gym import SerialVectorEnv
from rl_serial.envs.random import below, random_words

STREAM = 95
"""Of the random words that say who plays in a game, and that moves are drawn with."""


@dataclass(frozen=True)
class Self:
    """A learner at one time."""

    agent: SB3Agent

    @property
    def exploration(self) -> float:
        """Share of moves that it draws at random; a policy of probabilities needs none."""
        return float(getattr(self.agent.model, "exploration_rate", 0.0))

    def moves(
        self, observations: NDArray[Any], legal: NDArray[np.bool_], words: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Legal moves [B] as it makes them in training, by words [B, 2] in [0, 2**32).

        Drawn by its probabilities; or the one with the largest action value, and at random where it
        explores.
        """
        inputs = torch.as_tensor(observations, device=self.agent.model.device)
        preferences = self.agent.preferences(inputs, legal).cpu().numpy()
        if self.agent.preference == Preference.PROBABILITY:
            shares = np.where(legal, preferences, 0).astype(np.float64).cumsum(axis=1)
            drawn: NDArray[np.int64] = (shares > words[:, :1] / 2**32 * shares[:, -1:]).argmax(1)
            explores = shares[:, -1] <= 0  # all that it would do is illegal
        else:
            drawn = np.where(legal, preferences, -np.inf).argmax(axis=1)
            explores = words[:, 1] < int(self.exploration * 2**32)
        return np.where(explores, one_of(legal, words[:, 0]), drawn)


class PastSelves:
    """Who a learner plays against; a :class:`rl_serial.envs.games.PlayerByGame`.

    Args:
        env: of training; its opponent becomes this.
        model: learns.
        most: snapshots that are kept, the oldest of which goes; 0: against itself as it is.
        every: timesteps between two snapshots.
    """

    def __init__(self, env: SerialVectorEnv, model: BaseAlgorithm, most: int, every: int) -> None:
        task: Any = env.task
        self.game, self.model, self.most, self.every = task.game, model, most, every
        self.now = Self(SB3Agent(task, model))
        self.blank = deepcopy(model.policy)  # later it holds a graph, which cannot be copied
        self.past: list[Self] = []
        self.taken = 0  # snapshots
        self.due = every  # the timestep of the next one
        env.task = replace(task, opponent=self, mistakes=0.0)

    def act_in(
        self, state: Any, seeds: NDArray[np.int64], games: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """See :class:`rl_serial.envs.games.PlayerByGame`.

        A snapshot that is taken while a game is running can take a seat in it.
        """
        observations, legal = self.game.observe(state), np.asarray(self.game.legal(state))
        words = random_words(seeds, 2, STREAM)
        selves = [self.now, *self.past]
        who = below(random_words(games, 1, STREAM)[:, 0], len(selves))
        action = np.zeros(len(seeds), dtype=np.int64)
        for number, one in enumerate(selves):
            rows = np.flatnonzero(who == number)
            if rows.size:
                action[rows] = one.moves(observations[rows], legal[rows], words[rows])
        return action

    def consider(self, timestep: int) -> None:
        """Between two rollouts: take a snapshot where one is due."""
        if not self.most or timestep < self.due:
            return
        self.due = (timestep // self.every + 1) * self.every
        place = self.taken % self.most
        self.past[place : place + 1] = [self._past(self.model.policy.state_dict())]
        self.taken += 1

    def _past(self, weights: dict[str, Any]) -> Self:
        """The learner with these weights, which are copied."""
        model = copy(self.model)
        model.policy = deepcopy(self.blank)
        model.policy.load_state_dict(weights)
        return Self(SB3Agent(self.now.agent.task, model))

    def state_dict(self) -> dict[str, Any]:
        """The snapshots."""
        return {
            "taken": self.taken,
            "due": self.due,
            "weights": [one.agent.model.policy.state_dict() for one in self.past],
            "exploration": [one.exploration for one in self.past],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.taken, self.due, self.past = state["taken"], state["due"], []
        for weights, rate in zip(state["weights"], state["exploration"], strict=True):
            one = self._past(weights)
            cast(Any, one.agent.model).exploration_rate = rate
            self.past.append(one)
