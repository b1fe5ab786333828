"""How each kind of algorithm is made with this package's trunks, and what its networks are."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import gymnasium
import torch
from sb3_contrib import QRDQN, MaskablePPO
from stable_baselines3 import DQN, PPO, SAC, HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from rl_serial.agents.sb3.arguments import constructor_arguments
from rl_serial.agents.sb3.policies import (
    MaskableTrunkPolicy,
    TrunkExtractor,
    TrunkPolicy,
    TrunkSACPolicy,
)
from rl_serial.agents.settings import SB3Settings
from rl_serial.errors import UserError

Trunk = dict[str, Any]
"""Arguments of :func:`rl_serial.networks.build_trunk`."""


@dataclass(frozen=True)
class Algorithm:
    """A kind of algorithm.

    Args:
        constructor: of Stable-Baselines3 or sb3-contrib.
        policy: its policy.
        policy_kwargs: the arguments that bring the trunks, from those of values and of policy and
            the space of observations.
        networks: what training spends its budget on, by name, from a model.
        outputs: what actions are drawn from, [B, ...], from a model and observations as tensors.
        recorded: the names under ``train/`` of what an update of a model records.
        further: other arguments of the constructor.
    """

    constructor: type[BaseAlgorithm]
    policy: str | type[BasePolicy]
    policy_kwargs: Callable[[Trunk, Trunk, gymnasium.Space[Any]], dict[str, Any]]
    networks: Callable[[Any], dict[str, nn.Module]]
    outputs: Callable[[Any, Any], torch.Tensor]
    recorded: Callable[[Any], list[str]]
    further: dict[str, Any]


def _actor_critic_kwargs(value: Trunk, policy: Trunk, _: Any) -> dict[str, Any]:
    return {
        "features_extractor_class": TrunkExtractor,
        "features_extractor_kwargs": {"trunks": cycle([policy, value])},
        "net_arch": [],
        "share_features_extractor": False,
        "ortho_init": False,  # it would undo the trunks' own initialisation
    }


def _actor_critic_networks(model: Any) -> dict[str, nn.Module]:
    policy = model.policy
    return {
        "policy": nn.Sequential(
            policy.pi_features_extractor, policy.mlp_extractor.policy_net, policy.action_net
        ),
        "value": nn.Sequential(
            policy.vf_features_extractor, policy.mlp_extractor.value_net, policy.value_net
        ),
    }


def _ppo_records(model: Any) -> list[str]:
    clipped = [] if model.clip_range_vf is None else ["clip_range_vf"]
    continuous = ["std"] if isinstance(model.action_space, gymnasium.spaces.Box) else []
    return [
        "loss", "policy_gradient_loss", "value_loss", "entropy_loss", "approx_kl",
        "clip_fraction", "explained_variance", "clip_range", *clipped, *continuous, "learning_rate",
    ]  # fmt: skip


def _value_kwargs(value: Trunk, _: Trunk, __: Any) -> dict[str, Any]:
    return {
        "features_extractor_class": TrunkExtractor,
        "features_extractor_kwargs": {"trunks": cycle([value])},
        "net_arch": [],
    }


def _sac_kwargs(value: Trunk, policy: Trunk, space: gymnasium.Space[Any]) -> dict[str, Any]:
    parts = isinstance(space, gymnasium.spaces.Dict)
    return {
        "critic_trunk": value,
        "actor_trunk": policy,
        "features_extractor_class": CombinedExtractor if parts else FlattenExtractor,
    }


def _sac_outputs(model: SAC, observations: Any) -> torch.Tensor:
    mean, log_std, _ = model.actor.get_action_dist_params(observations)
    return torch.cat([mean, log_std], dim=1)


def _sac_records(model: SAC) -> list[str]:
    auto = ["ent_coef_loss"] if model.ent_coef_optimizer is not None else []
    return ["actor_loss", "critic_loss", *auto, "ent_coef", "learning_rate"]


def _ppo(constructor: type[BaseAlgorithm], policy: type[BasePolicy]) -> Algorithm:
    return Algorithm(
        constructor,
        policy,
        _actor_critic_kwargs,
        _actor_critic_networks,
        lambda model, observations: _actor_critic_networks(model)["policy"](observations),
        _ppo_records,
        {},
    )


def _dqn(constructor: type[BaseAlgorithm], network: str) -> Algorithm:
    return Algorithm(
        constructor,
        "MlpPolicy",
        _value_kwargs,
        lambda model: {"value": getattr(model.policy, network)},
        lambda model, observations: getattr(model.policy, network)(observations),
        lambda _: ["loss", "learning_rate"],
        {},
    )


def _sac(**further: Any) -> Algorithm:
    return Algorithm(
        SAC,
        TrunkSACPolicy,
        _sac_kwargs,
        lambda model: {"critic": model.critic, "policy": model.actor},
        _sac_outputs,
        _sac_records,
        further,
    )


KINDS: dict[str, Algorithm] = {
    "ppo": _ppo(PPO, TrunkPolicy),
    "maskable_ppo": _ppo(MaskablePPO, MaskableTrunkPolicy),
    "dqn": _dqn(DQN, "q_net"),
    "qrdqn": _dqn(QRDQN, "quantile_net"),
    "sac": _sac(),
    "sac_her": _sac(replay_buffer_class=HerReplayBuffer),
}
"""Every kind of agent that is an algorithm of these libraries."""


def make_model(
    config: SB3Settings,
    env: VecEnv,
    value_trunk: Trunk,
    policy_trunk: Trunk,
    seed: int,
    device: torch.device,
) -> BaseAlgorithm:
    """The model of an agent.

    Raises:
        UserError: a constructor argument of a wrong kind, or spaces that the algorithm has not.
    """
    kind = KINDS[config.kind]
    arguments = constructor_arguments(config.arguments)
    policy_kwargs = kind.policy_kwargs(value_trunk, policy_trunk, env.observation_space)
    policy_kwargs |= arguments.pop("policy_kwargs", {})
    try:
        with warnings.catch_warnings():
            # SB3 advises CPUs for small policies and remarks on target updates per batch.
            warnings.simplefilter("ignore", UserWarning)
            return kind.constructor(
                policy=kind.policy,
                env=env,
                seed=seed,
                device=device,
                policy_kwargs=policy_kwargs,
                **kind.further,
                **arguments,
            )
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise UserError(error, "agent.arguments") from error


def unknown_metrics(kind: str, model: BaseAlgorithm) -> dict[str, float]:
    """NaN for each tag that an update of the model records, but for the number of updates."""
    return {f"train/{name}": float("nan") for name in KINDS[kind].recorded(model)}
