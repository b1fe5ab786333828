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

from rl_serial.envs.chain import TokenLayout
from rl_serial.errors import require
from rl_serial.networks import TRUNKS, Network, build_trunk, solve_width
from rl_serial.networks.configured import vector_layout
from rl_serial.networks.trunks import dense


class TrunkExtractor(BaseFeaturesExtractor):
    """A trunk of :mod:`rl_serial.networks` as Stable-Baselines3's features extractor.

    For any environment with a flat Box and any algorithm, through ``policy_kwargs``::

        PPO("MlpPolicy", env, policy_kwargs=dict(
            features_extractor_class=rl_serial.TrunkExtractor,
            features_extractor_kwargs=dict(kind="residual", depth=8, parameters=100_000),
            net_arch=[],                     # linear heads on the trunk, and nothing between
            share_features_extractor=False,  # of actor and critic: a trunk for each
            ortho_init=False,                # it would undo the trunk's own initialisation
        ))

    DQN and QR-DQN take the first three. docs/libraries.md says more.

    Args:
        observation_space: a flat Box, [size].
        trunks: arguments of :func:`build_trunk`; each extractor takes the next, in place of
            everything below. An actor-critic policy builds the policy's extractor first and then
            the value's, from the same arguments, so this is how the two come to differ.
        kind: of the trunk: residual takes the vector as it is; transformer, conv, recurrent and
            stepwise fold it into tokens, and need ``layout``.
        depth: sequential matrix products.
        width: of the trunk.
        parameters: in place of width: those of the trunk with a linear head of one output, within
            2 %.
        loops: how often the same layers run.
        layout: how observations fold into tokens, as ``env.unwrapped.task.layout``.
        options: of the kind of trunk: injection, block, scaled, recall.

    Raises:
        ValueError: another space, both or none of width and parameters, no layout where one is
            needed, or what :func:`build_trunk` refuses.
    """

    def __init__(
        self,
        observation_space: gymnasium.spaces.Box,
        trunks: Iterator[dict[str, Any]] | None = None,
        *,
        kind: str = "residual",
        depth: int = 4,
        width: int | None = None,
        parameters: int | None = None,
        loops: int = 1,
        layout: TokenLayout | None = None,
        **options: Any,
    ) -> None:
        if trunks is not None:
            settings = next(trunks)
        else:
            settings = {"kind": kind, "depth": depth, "loops": loops, **options}
            settings["layout"] = _layout_of(observation_space, kind, layout)
            if (width is None) == (parameters is None):
                raise ValueError(
                    f"width={width!r}, parameters={parameters!r}: give one of them, which sets how "
                    "wide the trunk is"
                )
            if parameters is not None:
                width = solve_width(num_outputs=1, parameters=parameters, **settings)
            settings["width"] = width
        trunk = build_trunk(**settings)
        super().__init__(observation_space, trunk.features_dim)
        self.trunk = trunk

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """[B, layout.size] to [B, features_dim]."""
        return cast(torch.Tensor, self.trunk(observations))


def _layout_of(
    space: gymnasium.spaces.Space[Any], kind: str, layout: TokenLayout | None
) -> TokenLayout:
    """The layout of a flat Box: the given one, or that of a vector for a trunk that takes it."""
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise ValueError(
            f"{space}: a trunk takes a flat Box; Gymnasium's FlattenObservation makes one"
        )
    size = space.shape[0]
    if layout is None:
        require(kind in TRUNKS, "kind", kind, f"one of {', '.join(TRUNKS)}")
        if not TRUNKS[kind].takes_vectors:
            vectors = ", ".join(name for name, trunk in TRUNKS.items() if trunk.takes_vectors)
            raise ValueError(
                f"kind={kind!r} folds observations into tokens, and needs layout=TokenLayout(...), "
                f"for this package's chains env.unwrapped.task.layout; without one there is "
                f"{vectors}"
            )
        return vector_layout(size)
    require(layout.size == size, "layout", layout, f"of {size} numbers, as the observations are")
    return layout


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
