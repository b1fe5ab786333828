"""Observations and rewards at mean 0 and spread 1, by Stable-Baselines3's VecNormalize."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rl_serial.agents.settings import SB3Settings


def normalized(env: VecEnv, config: SB3Settings) -> VecEnv:
    """The environment as the agent's settings want it: observations, rewards or neither.

    Rewards are divided by the spread of the discounted return.
    """
    if not (config.normalize_observations or config.normalize_rewards):
        return env
    return VecNormalize(
        env,
        norm_obs=config.normalize_observations,
        norm_reward=config.normalize_rewards,
        gamma=config.arguments.get("gamma", 0.99),
    )


def statistics(env: VecEnv) -> dict[str, Any]:
    """Means, variances and counts of what a normalised environment has seen; of others nothing."""
    return {
        name: {
            "mean": torch.as_tensor(found.mean),
            "var": torch.as_tensor(found.var),
            "count": float(found.count),
        }
        for name, found in _running(env).items()
    }


def load_statistics(env: VecEnv, state: dict[str, Any]) -> None:
    """Take saved ones.

    Raises:
        KeyError: they are of another normalisation.
    """
    for name, running in _running(env).items():
        saved = state[name]
        running.mean, running.var = saved["mean"].numpy(), saved["var"].numpy()
        running.count = saved["count"]


def _running(env: VecEnv) -> dict[str, RunningMeanStd]:
    if not isinstance(env, VecNormalize):
        return {}
    found = {"returns": env.ret_rms}
    if env.norm_obs:
        parts: Any = env.obs_rms
        keyed = parts if isinstance(parts, dict) else {"": parts}
        found |= {f"observations.{key}": running for key, running in keyed.items()}
    return found
