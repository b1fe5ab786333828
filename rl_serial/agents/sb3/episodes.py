"""What becomes of running episodes at a checkpoint: they are kept, or begun anew."""

from __future__ import annotations

from typing import Any, Protocol, cast

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecMonitor

from rl_serial.agents.sb3.state import break_off_episodes
from rl_serial.agents.sb3.vec_env import SerialVecEnv
from rl_serial.envs.chain import map_state
from rl_serial.envs.random import fold_in


class Episodes(Protocol):
    """The running episodes of a model's environments."""

    def begin(self, model: BaseAlgorithm) -> None:
        """Before training and after each pause: have episodes run."""

    def state_dict(self, model: BaseAlgorithm) -> dict[str, Any]:
        """What a checkpoint holds of them."""

    def load_state_dict(self, model: BaseAlgorithm, state: dict[str, Any]) -> None:
        """Go back to a saved state."""


class KeptEpisodes:
    """Those of a chain, whose state a checkpoint holds.

    Args:
        env: of the chain.
        monitor: around it.
        seed: of training instances.
    """

    def __init__(self, env: SerialVecEnv, monitor: VecMonitor, seed: int) -> None:
        self.env, self.monitor, self.seed = env.env, monitor, seed
        # SB3 would give neighbouring seeds nearly the same instances.
        env.seed(int(fold_in(np.array([seed]), np.array([0]))[0]))

    def begin(self, model: BaseAlgorithm) -> None:
        """Nothing: the first begin with training, and go on."""

    def state_dict(self, model: BaseAlgorithm) -> dict[str, Any]:
        """States of the chain, which instances they are of, and what was counted of them."""
        found, env = cast(Any, model), self.env
        return {
            "last_obs": torch.as_tensor(found._last_obs.copy()),
            "last_episode_starts": torch.as_tensor(found._last_episode_starts.copy()),
            "state": _arrays_to_tensors(env.state),
            "seeds": torch.as_tensor(cast(Any, env.instances.seeds).copy()),
            "episodes": torch.as_tensor(env.instances.episodes.copy()),
            "returns": torch.as_tensor(self.monitor.episode_returns.copy()),
            "lengths": torch.as_tensor(self.monitor.episode_lengths.copy()),
        }

    def load_state_dict(self, model: BaseAlgorithm, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        found, env = cast(Any, model), self.env
        env.reset(seed=self.seed)
        env.state = _tensors_to_arrays(env.state, state["state"])
        env.instances.seeds = state["seeds"].numpy()
        env.instances.episodes = state["episodes"].numpy()
        self.monitor.episode_returns = state["returns"].numpy()
        self.monitor.episode_lengths = state["lengths"].numpy()
        found._last_obs = state["last_obs"].numpy()
        found._last_episode_starts = state["last_episode_starts"].numpy()


class NewEpisodes:
    """Those of environments whose state cannot be saved: new ones after every checkpoint.

    They begin in the run that goes on as in one that is resumed, so that the two are the same. The
    episodes that are broken off so count as cut off by a time limit.

    Args:
        seed: of training episodes, which differ by the step at which they begin.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def begin(self, model: BaseAlgorithm) -> None:
        """Where none are running: new ones."""
        found = cast(Any, model)
        if found._last_obs is None:
            key = fold_in(np.array([self.seed]), np.array([model.num_timesteps]))
            found.env.seed(int(key[0]))
            found._last_obs = found.env.reset()
            found._last_episode_starts = np.ones(found.n_envs, dtype=np.bool_)
            if found._vec_normalize_env is not None:
                found._last_original_obs = found._vec_normalize_env.get_original_obs()

    def state_dict(self, model: BaseAlgorithm) -> dict[str, Any]:
        """Nothing; the running ones are broken off."""
        break_off_episodes(model)
        cast(Any, model)._last_obs = None
        return {}

    def load_state_dict(self, model: BaseAlgorithm, state: dict[str, Any]) -> None:
        """None are running."""
        cast(Any, model)._last_obs = None


def _arrays_to_tensors(state: Any) -> list[torch.Tensor]:
    """The arrays of a state, depth first."""
    arrays: list[torch.Tensor] = []
    map_state(lambda array: arrays.append(torch.as_tensor(array.copy())), state)
    return arrays


def _tensors_to_arrays(like: Any, arrays: list[torch.Tensor]) -> Any:
    """A state of the kind of ``like`` with these arrays."""
    following = iter(arrays)
    return map_state(lambda _: next(following).numpy(), like)
