"""Gymnasium's vector environments as those of Stable-Baselines3, one batched step each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from rl_serial.envs.goals import success_of
from rl_serial.envs.gym import SerialVectorEnv


class BatchedVecEnv(VecEnv):
    """Stable-Baselines3's view of a Gymnasium vector environment: one batched step.

    Args:
        env: a vector environment with SAME_STEP autoreset.
    """

    def __init__(self, env: Any) -> None:
        self.env = env
        self.render_mode = env.render_mode
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._actions: Any = None

    def reset(self) -> Any:
        """The first observations; a seed given before (``seed``) is used once."""
        seeds = None if self._seeds[0] is None else self._seeds
        observations, _ = self.env.reset(seed=seeds)
        self._reset_seeds()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Take the step. SB3 changes rewards in place, so they are a fresh array."""
        observations, rewards, terminated, truncated, info = self.env.step(self._actions)
        dones = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        ended = np.flatnonzero(dones)
        further = self.of_ended(info) if ended.size else {}
        for row in ended.tolist():
            infos[row] = {
                "terminal_observation": _row(info["final_obs"], row),
                "TimeLimit.truncated": bool(truncated[row] and not terminated[row]),
            } | {name: value[row] for name, value in further.items()}
        return observations, rewards.astype(np.float32), dones, infos

    def of_ended(self, info: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """What else is told of episodes that end, [num_envs] each, from the info of the step."""
        return {}

    def close(self) -> None:
        """Close the vector environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute, once for each index."""
        return [getattr(self.env, attr_name)] * len(self._rows(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set the attribute; it is one for all environments."""
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        """The rows of a batched method (``action_masks``, ``action_values``)."""
        batched = getattr(self.env, method_name)(*args, **kwargs)
        return [batched[row] for row in self._rows(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Never."""
        return [False] * len(self._rows(indices))

    def get_images(self) -> list[Any]:
        """A picture of each environment."""
        return list(self.env.render() or ())

    def _rows(self, indices: Any) -> list[int]:
        return list(self._get_indices(indices))


def _row(observations: Any, row: int) -> Any:
    """One of a batch of observations, arrays or dictionaries of arrays."""
    if isinstance(observations, dict):
        return {key: array[row] for key, array in observations.items()}
    return observations[row]


class SerialVecEnv(BatchedVecEnv):
    """The same of a :class:`SerialVectorEnv`: no processes, no loop over environments."""

    env: SerialVectorEnv


class GoalVecEnv(BatchedVecEnv):
    """Stable-Baselines3's view of the vector environments of ``make_goal_vec``.

    Observations are dictionaries of arrays [num_envs, ...], and so is, without num_envs, the
    ``terminal_observation`` in the info of an environment whose episode ends. That info has
    ``is_success`` too: at the goal after the last step.

    Args:
        env: a vector environment with Dict observations, bounded Box actions, SAME_STEP autoreset
            and a batched ``compute_reward``.
    """

    def of_ended(self, info: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """``is_success`` [num_envs] bool, from the info of a step that ended episodes."""
        return {"is_success": success_of(info)}

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        """What the vector environment's method returns, once for each index.

        ``HerReplayBuffer`` calls ``compute_reward`` of one environment with goals [B, G].
        """
        result = np.asarray(getattr(self.env, method_name)(*args, **kwargs))
        return [result] * len(self._rows(indices))
