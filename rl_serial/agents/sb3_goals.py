"""Stable-Baselines3's SAC on goal environments, with this package's trunks.

Soft actor-critic (Haarnoja et al. 2018, arXiv 1801.01290 and 1812.05905) learns from the rewards of
the environment. With hindsight experience replay (Andrychowicz et al. 2017, arXiv 1707.01495) most
of a batch gets, in place of its goal, one that was reached later in the same episode, and the
reward that belongs to it.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.buffers import DictReplayBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.her.goal_selection_strategy import KEY_TO_GOAL_STRATEGY
from stable_baselines3.sac.policies import Actor, MultiInputPolicy
from torch import nn

from rl_serial.agents.contrastive import Observation
from rl_serial.agents.protocols import GoalWorld, Log
from rl_serial.agents.sb3 import (
    SET_BY_THE_RUN,
    BatchedVecEnv,
    LogToMonitor,
    counters,
    learn,
    load_pending_log,
    load_random_state,
    pending_log,
    random_state,
    renewed,
    unknown_metrics,
    whole_rollouts,
)
from rl_serial.agents.sb3_arguments import constructor_arguments, hold_arguments
from rl_serial.agents.settings import GoalSB3AgentConfig
from rl_serial.envs.goals import success_of
from rl_serial.envs.random import fold_in
from rl_serial.errors import RunError, UserError
from rl_serial.networks import Network, build_trunk
from rl_serial.networks.trunks import dense

# Exploration by gSDE would need heads of its own behind the trunks and noise objects cannot be
# written in a configuration; SB3 has no n-step returns of Dict observations.
_SET_BY_THE_RUN = SET_BY_THE_RUN - {"replay_buffer_kwargs"} | {
    "action_noise",
    "n_steps",
    "sde_sample_freq",
    "use_sde",
    "use_sde_at_warmup",
}
_POLICY_KWARGS = ("n_critics", "optimizer_kwargs")
_REPLAY_KWARGS = ("n_sampled_goal", "goal_selection_strategy")


def check_goal_arguments(config: GoalSB3AgentConfig) -> None:
    """Hold ``agent.arguments`` against the signatures of SAC and its replay.

    Raises:
        UserError: an argument that there is not, that the run sets itself, or of a wrong kind; the
            message begins with the key.
    """
    taken = _SET_BY_THE_RUN | (set() if config.kind == "sac_her" else {"replay_buffer_kwargs"})
    hold_arguments(config, SAC, taken)
    where = "agent.arguments"
    _keys_of(config.arguments, "policy_kwargs", _POLICY_KWARGS, where)
    replay = _keys_of(config.arguments, "replay_buffer_kwargs", _REPLAY_KWARGS, where)
    where += ".replay_buffer_kwargs"
    strategy = replay.get("goal_selection_strategy", "future")
    sampled = replay.get("n_sampled_goal", 4)
    if strategy not in list(KEY_TO_GOAL_STRATEGY):  # which takes what is not hashable too
        raise UserError(
            f"must be one of {', '.join(KEY_TO_GOAL_STRATEGY)}, not {strategy!r}",
            f"{where}.goal_selection_strategy",
        )
    if not isinstance(sampled, int) or isinstance(sampled, bool) or sampled < 1:
        raise UserError(
            f"must be an integer of 1 or more, not {sampled!r}", f"{where}.n_sampled_goal"
        )


def _keys_of(arguments: dict[str, Any], key: str, known: Sequence[str], where: str) -> Any:
    """What ``arguments`` hold under ``key``: keys of ``known`` with values, or nothing."""
    given = arguments.get(key, {})
    if not isinstance(given, dict):
        raise UserError(f"must be keys with values, not {given!r}", f"{where}.{key}")
    for name in given:
        if name not in known:
            raise UserError(
                f"no such key, or the run sets it; there are {', '.join(known)}",
                f"{where}.{key}.{name}",
            )
    return given


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


class TrunkSACPolicy(MultiInputPolicy):
    """SAC's policy with a trunk and linear heads as actor, and as each critic.

    Both see the parts of the observation side by side, in the order of the space's keys: achieved
    goal, desired goal, observation [B, O + 2 G]; the critics see the action behind them
    [B, O + 2 G + A].

    Args:
        args: as of ``MultiInputPolicy``.
        actor_trunk: arguments of :func:`build_trunk`.
        critic_trunk: the same for each critic.
        kwargs: as of ``MultiInputPolicy``.
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


class GoalSB3Agent:
    """Plays the mean of SAC's policy, squashed, as ``predict`` with ``deterministic=True``."""

    def __init__(self, model: SAC) -> None:
        self.model = model

    def act(self, observation: Observation) -> NDArray[np.float32]:
        """Actions [N, A] within the environment's bounds."""
        action, _ = self.model.predict(cast(Any, dict(observation)), deterministic=True)
        bounds = cast(Any, self.model.action_space)
        # Scaling to the bounds rounds, and may miss them by a digit.
        within: NDArray[np.float32] = np.clip(action, bounds.low, bounds.high).astype(np.float32)
        return within


class GoalSB3Trainer:
    """Trains SAC, for ``sac_her`` with hindsight experience replay.

    After :meth:`state_dict` all environments begin new episodes, in the run that goes on as in one
    that is resumed: simulators need not be saved, and the two are the same. The episodes that are
    broken off so count as cut off by a time limit, and goals are drawn from them.

    Args:
        env: as :class:`GoalVecEnv` takes it.
        config: timesteps and constructor arguments.
        critic_trunk: arguments of :func:`build_trunk` for each critic.
        policy_trunk: the same for the policy.
        seed: of networks, exploration, batches and training episodes.
        device: where the networks are. The replay is on the CPU.
        log: receives (tag, value, step) of everything that SAC logs.

    Raises:
        UserError: a constructor argument of a wrong kind, or actions without bounds.
    """

    def __init__(
        self,
        env: Any,
        config: GoalSB3AgentConfig,
        critic_trunk: dict[str, Any],
        policy_trunk: dict[str, Any],
        seed: int,
        device: torch.device,
        log: Callable[[str, float, int], None],
    ) -> None:
        self.config, self.seed = config, seed
        self.env = GoalVecEnv(env)
        if not self.env.action_space.is_bounded():  # type: ignore[attr-defined]
            raise UserError(f"SAC needs actions with bounds, not {self.env.action_space}", "env")
        arguments = constructor_arguments(config.arguments)
        policy_kwargs = {"critic_trunk": critic_trunk, "actor_trunk": policy_trunk}
        policy_kwargs |= arguments.pop("policy_kwargs", {})
        replay = HerReplayBuffer if config.kind == "sac_her" else DictReplayBuffer
        try:
            self.model = SAC(
                policy=TrunkSACPolicy,
                env=self.env,
                seed=seed,
                device=device,
                replay_buffer_class=replay,
                policy_kwargs=policy_kwargs,
                **arguments,
            )
        except (TypeError, ValueError, AssertionError, RuntimeError) as error:
            raise UserError(error, "agent.arguments") from error
        self.model.set_logger(Logger(None, [LogToMonitor(log)]))
        self.total = whole_rollouts(self.model, config.timesteps)
        self.metrics = unknown_metrics(self.model)
        self.agent = GoalSB3Agent(self.model)

    @property
    def step(self) -> int:
        """Environment steps taken."""
        return int(self.model.num_timesteps)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that training spends its budget on; all critics together are one."""
        return {"critic": self.model.critic, "policy": self.model.actor}

    @property
    def examples(self) -> dict[str, Any]:
        """What each network is called with, one row."""
        spaces, actions = self.env.observation_space, self.env.action_space.shape
        assert actions is not None
        observation = {
            key: torch.zeros(1, *space.shape, device=self.model.device)
            for key, space in cast(Any, spaces).spaces.items()
        }
        action = torch.zeros(1, *actions, device=self.model.device)
        return {"critic": (observation, action), "policy": observation}

    def train(self, pause: Callable[[], None]) -> None:
        """Take the timesteps that are left; ``pause`` is called between rollouts.

        Raises:
            RunError: a loss is not finite, or hindsight finds no episode that has ended.
        """

        def pause_and_begin() -> None:
            self.metrics = renewed(self.metrics, self.model)
            pause()
            self._begin_episodes()

        self._begin_episodes()
        try:
            # A log for each round of episodes.
            learn(self.model, self.config.timesteps, pause_and_begin, self.env.num_envs)
        except RuntimeError as error:
            if "before the end of the first episode" in str(error):
                raise RunError(
                    f"no episode has ended by timestep {self.step}, and hindsight needs one: "
                    f"agent.arguments.learning_starts must be num_envs={self.env.num_envs} times "
                    "the steps of an episode, or more"
                ) from error
            raise
        self.metrics = renewed(self.metrics, self.model)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run needs to go on as if it had not been interrupted."""
        model: Any = self.model
        if isinstance(model.replay_buffer, HerReplayBuffer):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the running episodes are broken off
                model.replay_buffer.truncate_last_trajectory()
        model._last_obs = None
        return {
            "policy": model.policy.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self._optimizers().items()},
            "log_ent_coef": None if model.log_ent_coef is None else model.log_ent_coef.detach(),
            "counters": counters(model),
            "episodes": [dict(info) for info in model.ep_info_buffer or ()],
            "successes": [bool(success) for success in model.ep_success_buffer or ()],
            "replay": self._replay_state(),
            "random": random_state(model),
            "pending_log": pending_log(model),
            "metrics": dict(self.metrics),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        model: Any = self.model
        model.policy.load_state_dict(state["policy"])
        for name, optimizer in self._optimizers().items():
            optimizer.load_state_dict(state["optimizers"][name])
        if model.log_ent_coef is not None:
            with torch.no_grad():
                model.log_ent_coef.copy_(state["log_ent_coef"])
        for name, value in state["counters"].items():
            setattr(model, name, value)
        model.ep_info_buffer = deque(state["episodes"], maxlen=model._stats_window_size)
        model.ep_success_buffer = deque(state["successes"], maxlen=model._stats_window_size)
        self._load_replay_state(state["replay"])
        load_random_state(model, state["random"])
        load_pending_log(model, state["pending_log"])
        self.metrics = state["metrics"]
        model._last_obs = None

    def model_state(self) -> dict[str, Any]:
        """What a finished run keeps."""
        return self.model.policy.state_dict()

    def load_model_state(self, state: dict[str, Any]) -> None:
        """Load what a finished run kept."""
        self.model.policy.load_state_dict(state)

    def _begin_episodes(self) -> None:
        """Where none are running: new ones, which differ by the step at which they begin."""
        if self.model._last_obs is None:
            key = fold_in(np.array([self.seed]), np.array([self.step]))
            self.env.seed(int(key[0]))
            self.model._last_obs = self.env.reset()

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        model = self.model
        found = {"actor": model.actor.optimizer, "critic": model.critic.optimizer}
        if model.ent_coef_optimizer is not None:
            found["ent_coef"] = model.ent_coef_optimizer
        return found

    def _replay_state(self) -> dict[str, Any]:
        """What is filled of the replay, as it lies in the ring."""
        buffer = cast(Any, self.model.replay_buffer)
        filled = buffer.buffer_size if buffer.full else buffer.pos
        state: dict[str, Any] = {
            "pos": buffer.pos,
            "full": buffer.full,
            "arrays": {
                name: torch.as_tensor(array[:filled]) for name, array in _arrays(buffer).items()
            },
        }
        if isinstance(buffer, HerReplayBuffer):
            state["current_ep_start"] = torch.as_tensor(buffer._current_ep_start)
        return state

    def _load_replay_state(self, state: dict[str, Any]) -> None:
        buffer = cast(Any, self.model.replay_buffer)
        buffer.pos, buffer.full = state["pos"], state["full"]
        for name, array in _arrays(buffer).items():
            saved = state["arrays"][name]
            array[: len(saved)] = saved.numpy()
        if isinstance(buffer, HerReplayBuffer):
            buffer._current_ep_start[:] = state["current_ep_start"].numpy()


def _arrays(buffer: Any) -> dict[str, NDArray[Any]]:
    """A replay's arrays [size, num_envs, ...]: the buffer's own, by name."""
    names = ["actions", "rewards", "dones", "timeouts"]
    if isinstance(buffer, HerReplayBuffer):
        names += ["ep_start", "ep_length"]
    arrays = {name: getattr(buffer, name) for name in names}
    for group in ("observations", "next_observations"):
        arrays |= {f"{group}.{key}": array for key, array in getattr(buffer, group).items()}
    return arrays


def make_trainer(world: GoalWorld, device: torch.device, log: Log) -> GoalSB3Trainer:
    """The trainer that a run describes.

    Raises:
        UserError: a constructor argument that there is not.
    """
    config = world.agent
    assert isinstance(config, GoalSB3AgentConfig)
    check_goal_arguments(config)
    critic, policy = world.trunk("network"), world.trunk("policy_network")
    env = world.make_vec(config.num_envs, config.processes)
    return GoalSB3Trainer(env, config, critic, policy, world.seed, device, log)
