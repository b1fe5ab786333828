"""Models of Stable-Baselines3 as agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from rl_serial.envs.tasks import Task

Observations = NDArray[np.float32] | Mapping[str, NDArray[np.float32]]
"""[N, O], or arrays [N, ...] by the key of the observation space."""


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
        policy: Any = self.model.policy
        policy.set_training_mode(False)
        with torch.no_grad():
            if self.preference is Preference.PROBABILITY:
                masks = {"action_masks": legal} if isinstance(self.model, MaskablePPO) else {}
                preferences = policy.get_distribution(inputs, **masks).distribution.probs
                values = policy.predict_values(inputs)[:, 0]
            else:
                if isinstance(self.model, QRDQN):
                    preferences = policy.quantile_net(inputs).mean(dim=1)
                else:
                    preferences = policy.q_net(inputs)
                allowed = torch.as_tensor(legal, device=self.model.device)
                values = torch.where(allowed, preferences, -torch.inf).amax(dim=1)
        if isinstance(observations, torch.Tensor):
            return Judgement(preferences, values)
        return Judgement(preferences.cpu().numpy(), values.cpu().numpy())


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
