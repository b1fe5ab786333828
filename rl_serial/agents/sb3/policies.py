"""Policies of Stable-Baselines3 and sb3-contrib whose networks are this package's trunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import gymnasium
import torch
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.sac.policies import Actor, SACPolicy

from rl_serial.networks import Network, build_trunk
from rl_serial.networks.trunks import dense


class TrunkExtractor(BaseFeaturesExtractor):
    """A trunk of :mod:`rl_serial.networks` as Stable-Baselines3's features extractor.

    Args:
        observation_space: the flat Box of the environment.
        trunks: arguments of :func:`build_trunk`; each extractor takes the next. An actor-critic
            policy builds the policy's extractor first and then the value's, from the same
            arguments, so this is how the two come to differ.
    """

    def __init__(
        self,
        observation_space: gymnasium.spaces.Box,
        trunks: Iterator[dict[str, Any]],
    ) -> None:
        trunk = build_trunk(**next(trunks))
        super().__init__(observation_space, trunk.features_dim)
        self.trunk = trunk

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """[B, layout.size] to [B, features_dim]."""
        return cast(torch.Tensor, self.trunk(observations))


class TrunkPolicy(ActorCriticPolicy):
    """A policy whose value trunk may have another width than its policy trunk."""

    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()
        _fit_value_head(self)


class MaskableTrunkPolicy(MaskableActorCriticPolicy):
    """The same with action masks."""

    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()
        _fit_value_head(self)


def _fit_value_head(policy: Any) -> None:
    """Stable-Baselines3 takes the policy trunk's features for both; without layers behind the
    trunks (``net_arch: []``) the value head follows its own."""
    if not policy.net_arch:
        policy.mlp_extractor.latent_dim_vf = policy.vf_features_extractor.features_dim


class TrunkSACPolicy(SACPolicy):
    """SAC's policy with a trunk and linear heads as actor, and as each critic.

    Both see an observation of several parts side by side, in the order of the space's keys
    (achieved goal, desired goal, observation); the critics see the action behind it.

    Args:
        args: as of ``SACPolicy``.
        actor_trunk: arguments of :func:`build_trunk`.
        critic_trunk: the same for each critic.
        kwargs: as of ``SACPolicy``.
    """

    def __init__(
        self,
        *args: Any,
        actor_trunk: dict[str, Any],
        critic_trunk: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        # Building the networks is part of the parent's construction.
        self.actor_trunk, self.critic_trunk = actor_trunk, critic_trunk
        super().__init__(*args, **kwargs | {"net_arch": []})

    def make_actor(self, features_extractor: Any = None) -> Actor:
        """Stable-Baselines3's actor with the trunk before its heads."""
        actor = super().make_actor(features_extractor)
        trunk = build_trunk(**self.actor_trunk)
        actions = self.action_space.shape
        assert actions is not None
        actor.latent_pi = cast(Any, trunk)
        actor.mu = dense(trunk.features_dim, actions[0])
        actor.log_std = cast(Any, dense(trunk.features_dim, actions[0]))
        return actor.to(self.device)

    def make_critic(self, features_extractor: Any = None) -> ContinuousCritic:
        """Stable-Baselines3's critic with networks on the trunk."""
        critic = super().make_critic(features_extractor)
        critic.q_networks = [
            Network(build_trunk(**self.critic_trunk), 1) for _ in range(critic.n_critics)
        ]
        for i, network in enumerate(critic.q_networks):
            setattr(critic, f"qf{i}", network)
        return critic.to(self.device)
