"""Any Gymnasium environment with vectors as observations, as trunks take them."""

from __future__ import annotations

from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class Vectors(gym.Wrapper[Any, Any, Any, Any]):
    """Flattens observations to float32 as Gymnasium's ``FlattenObservation`` does.

    Numbers of a Box stand in its own order, a Discrete is one-hot, a MultiDiscrete one-hot after
    one-hot. Discrete actions count from 0, whatever the environment's begin with.

    Args:
        env: with an observation space of which :func:`why_no_vector` says nothing.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._seen, actions = env.observation_space, env.action_space
        flat = cast(spaces.Box, spaces.flatten_space(self._seen))
        with np.errstate(over="ignore"):  # of bounds beyond single precision
            low, high = flat.low.astype(np.float32), flat.high.astype(np.float32)
        self.observation_space = spaces.Box(low, high)
        self._first = 0
        if isinstance(actions, spaces.Discrete):
            self._first = int(actions.start)
            self.action_space = spaces.Discrete(int(actions.n))

    def reset(self, **options: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode: the first observation [O], and the info."""
        observation, info = self.env.reset(**options)
        return self._flat(observation), info

    def step(self, action: Any) -> tuple[NDArray[np.float32], Any, bool, bool, dict[str, Any]]:
        """Take a step; as of ``gymnasium.Env``, with the observation [O]."""
        if isinstance(self.action_space, spaces.Discrete):
            action = int(action) + self._first
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._flat(observation), reward, terminated, truncated, info

    def _flat(self, observation: Any) -> NDArray[np.float32]:
        return np.asarray(spaces.flatten(self._seen, observation), np.float32)


def has_goals(space: spaces.Space[Any]) -> bool:
    """Whether observations hold goals beside what is observed."""
    return isinstance(space, spaces.Dict) and "achieved_goal" in space.spaces


def why_no_vector(space: spaces.Space[Any]) -> str:
    """Why observations of a space are no vectors, or an empty text where they are."""
    if isinstance(space, spaces.Box) and len(space.shape) > 2:
        return (
            f"observations are images of shape {space.shape}, and trunks here take vectors: an "
            "environment whose observations have two dimensions at most"
        )
    if not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete):
        return f"observations must be Box, Discrete or MultiDiscrete, and are {space}"
    return ""
