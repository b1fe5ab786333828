"""Models of Stable-Baselines3 as agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import QRDQN, MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_serial.agents.protocols import Judgement, Preference
from rl_serial.envs.chain import Array
from rl_serial.envs.episodes import refuse_endless
from rl_serial.envs.tasks import Task
from rl_serial.envs.vectors import Vectors

Observations = NDArray[np.float32] | Mapping[str, NDArray[np.float32]]
"""[N, O], or arrays [N, ...] by the key of the observation space."""


@dataclass(frozen=True)
class Episode:
    """An episode that was played."""

    seed: int  # of the environment's reset
    total: float  # undiscounted return
    steps: int


class SB3Agent:
    """Acts greedily as a Stable-Baselines3 model does with ``deterministic=True``."""

    def __init__(self, task: Task[Any], model: BaseAlgorithm) -> None:
        self.task = task
        self.model = model
        self.preference = (
            Preference.PROBABILITY
            if isinstance(model, PPO | MaskablePPO)
            else Preference.ACTION_VALUE
        )

    def judge(self, state: Any) -> Judgement:
        """Action values (DQN, QR-DQN's mean quantile) or probabilities and state values (PPO)."""
        return self.assess(self.task.observe(state), self.task.legal_actions(state))

    def assess(self, observations: Array, legal: Array) -> Judgement:
        """The same from observations."""
        inputs = torch.as_tensor(observations, device=self.model.device)
        preferences = self.preferences(inputs, legal)
        with torch.no_grad():
            if self.preference == Preference.PROBABILITY:
                policy: Any = self.model.policy
                values = policy.predict_values(inputs)[:, 0]
            else:
                allowed = torch.as_tensor(legal, device=self.model.device)
                values = torch.where(allowed, preferences, -torch.inf).amax(dim=1)
        if isinstance(observations, torch.Tensor):
            return Judgement(preferences, values)
        return Judgement(preferences.cpu().numpy(), values.cpu().numpy())

    def preferences(self, inputs: torch.Tensor, legal: Array) -> torch.Tensor:
        """[B, num_actions] action values or probabilities, of observations [B, size]."""
        policy: Any = self.model.policy
        policy.set_training_mode(False)
        with torch.no_grad():
            found: torch.Tensor
            if self.preference == Preference.PROBABILITY:
                masks = {"action_masks": legal} if isinstance(self.model, MaskablePPO) else {}
                found = policy.get_distribution(inputs, **masks).distribution.probs
            elif isinstance(self.model, QRDQN):
                found = policy.quantile_net(inputs).mean(dim=1)
            else:
                found = policy.q_net(inputs)
        return found


class ActingAgent:
    """Plays what ``predict`` gives with ``deterministic=True``: the likeliest, best or mean action.

    Args:
        model: trained or in training.
        normalize: gives observations as the model has learned to see them.
    """

    def __init__(self, model: BaseAlgorithm, normalize: Callable[[Any], Any]) -> None:
        self.model, self.normalize = model, normalize

    def act(self, observations: Observations) -> NDArray[Any]:
        """Actions: [N] int64, or [N, A] float32 within the environment's bounds."""
        seen = dict(observations) if isinstance(observations, Mapping) else observations
        action, _ = self.model.predict(self.normalize(seen), deterministic=True)
        bounds = cast(Any, self.model.action_space)
        if isinstance(bounds, gymnasium.spaces.Box):
            # Scaling to the bounds rounds, and may miss them by a digit.
            action = np.clip(action, bounds.low, bounds.high).astype(np.float32)
        return action

    def evaluate(
        self,
        seeds: Sequence[int],
        generator: np.random.Generator,
        envs: Sequence[gymnasium.Env[Any, Any]],
    ) -> list[Episode]:
        """Play an episode for each seed; see :class:`rl_serial.agents.protocols.Plays`.

        Raises:
            UserError: an episode has no end.
        """
        views = [Vectors(env) for env in envs]
        observations = [env.reset(seed=seed)[0] for env, seed in zip(views, seeds, strict=True)]
        total, steps = np.zeros(len(views)), np.zeros(len(views), dtype=np.int64)
        running = list(range(len(views)))
        while running:
            actions = self.act(np.stack([observations[index] for index in running]))
            still = []
            for index, action in zip(running, actions, strict=True):
                observations[index], reward, terminated, truncated, _ = views[index].step(action)
                total[index] += float(reward)
                steps[index] += 1
                if not (terminated or truncated):
                    still.append(index)
            running = still
            if running:
                refuse_endless(int(steps.max()))
        return [
            Episode(*found) for found in zip(seeds, total.tolist(), steps.tolist(), strict=True)
        ]
