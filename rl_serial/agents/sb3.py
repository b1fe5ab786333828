"""Stable-Baselines3 and sb3-contrib with this package's trunks, on a native batched VecEnv."""

from __future__ import annotations

import json
import logging
import random
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import QRDQN, MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from rl_serial.agents.protocols import ChainWorld, Judgement, Preference
from rl_serial.agents.sb3_arguments import constructor_arguments, hold_arguments
from rl_serial.agents.settings import SB3AgentConfig
from rl_serial.envs.chain import Array, map_state
from rl_serial.envs.gym import SerialVectorEnv
from rl_serial.envs.random import fold_in
from rl_serial.envs.tasks import Task
from rl_serial.errors import RunError, UserError
from rl_serial.networks import build_trunk

_LOG = logging.getLogger(__name__)

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    "ppo": PPO,
    "dqn": DQN,
    "qrdqn": QRDQN,
    "maskable_ppo": MaskablePPO,
}


class _TrunkPolicy(ActorCriticPolicy):
    """A policy whose value trunk may have another width than its policy trunk."""

    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()
        _fit_value_head(self)


class _MaskableTrunkPolicy(MaskableActorCriticPolicy):
    """The same with action masks."""

    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()
        _fit_value_head(self)


def _fit_value_head(policy: Any) -> None:
    """Stable-Baselines3 takes the policy trunk's features for both; without layers behind the
    trunks (``net_arch: []``) the value head follows its own."""
    if not policy.net_arch:
        policy.mlp_extractor.latent_dim_vf = policy.vf_features_extractor.features_dim


POLICIES: dict[str, type[BasePolicy]] = {
    "ppo": _TrunkPolicy,
    "maskable_ppo": _MaskableTrunkPolicy,
}
# What the run sets itself; a config that sets it again would be contradicted.
SET_BY_THE_RUN = {
    "self",
    "policy",
    "env",
    "seed",
    "device",
    "tensorboard_log",
    "_init_setup_model",
    "optimize_memory_usage",  # its replay buffer has a layout that checkpoints do not know
    "replay_buffer_class",
    "replay_buffer_kwargs",
}


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
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, dtype=np.int64)

    def reset(self) -> Any:
        """The first observations; a seed given before (``seed``) is used once."""
        seeds = None if self._seeds[0] is None else self._seeds
        observations, _ = self.env.reset(seed=seeds)
        self._reset_seeds()
        self._returns[:] = 0
        self._lengths[:] = 0
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
        self._returns += rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        ended = np.flatnonzero(dones)
        further = self.of_ended(info) if ended.size else {}
        for row in ended.tolist():
            infos[row] = {
                "terminal_observation": _row(info["final_obs"], row),
                "TimeLimit.truncated": bool(truncated[row] and not terminated[row]),
                "episode": {
                    "r": float(self._returns[row]),
                    "l": int(self._lengths[row]),
                    "t": 0.0,
                },
            } | {name: value[row] for name, value in further.items()}
        self._returns[dones] = 0
        self._lengths[dones] = 0
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


def check_arguments(config: SB3AgentConfig) -> None:
    """Hold ``agent.arguments`` against the signature of the algorithm's constructor.

    Raises:
        UserError: an argument that it has not, that the run sets itself, or of a wrong type or
            range.
    """
    hold_arguments(config, ALGORITHMS[config.kind], SET_BY_THE_RUN)


class LogToMonitor(KVWriter):
    """Passes what Stable-Baselines3 logs on to the run's monitor."""

    def __init__(self, log: Callable[[str, float, int], None]) -> None:
        self.log = log

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        for tag, value in key_values.items():
            if "tensorboard" in (key_excluded.get(tag) or ()):
                continue  # counters, some of which begin anew where a run is resumed
            if isinstance(value, int | float | np.number):
                self.log(tag, float(value), step)

    def close(self) -> None:
        pass


class _Pause(BaseCallback):
    """Calls the run back between two rollouts, where a model's state is whole."""

    def __init__(self, pause: Callable[[], None]) -> None:
        super().__init__()
        self.pause = pause

    def _on_rollout_start(self) -> None:
        self.pause()

    def _on_step(self) -> bool:
        return True


def whole_rollouts(model: BaseAlgorithm, timesteps: int) -> int:
    """The timesteps that a model takes when it is asked for ``timesteps``: its rollouts are whole.

    Rollouts that are counted in episodes have no length to round up to.
    """
    if isinstance(model, OffPolicyAlgorithm):
        frequency, unit = cast(TrainFreq, model.train_freq)
        rollout = frequency * model.n_envs if unit == TrainFrequencyUnit.STEP else 1
    else:
        rollout = cast(OnPolicyAlgorithm, model).n_steps * model.n_envs
    return -(-timesteps // rollout) * rollout


def learn(
    model: BaseAlgorithm, timesteps: int, pause: Callable[[], None], log_interval: int
) -> None:
    """Let a model take the timesteps that are left; ``pause`` is called between rollouts.

    Args:
        model: its counters go on from where they are.
        timesteps: of all environments together, from the beginning; rounded up to
            :func:`whole_rollouts`.
        pause: called where the model's state is whole.
        log_interval: rollouts between two logs; of an off-policy algorithm, episodes.

    Raises:
        RunError: a loss, or at the end a weight, is not finite.
    """

    def check_and_pause() -> None:
        _check_losses(model)
        pause()

    total = whole_rollouts(model, timesteps)
    if total != timesteps:
        _LOG.warning(
            "agent.timesteps: %s are no whole number of rollouts; %s are trained",
            f"{timesteps:,}",
            f"{total:,}",
        )
    try:
        model.learn(
            total - model.num_timesteps,
            callback=_Pause(check_and_pause),
            log_interval=log_interval,
            reset_num_timesteps=False,
        )
    except ValueError as error:
        # torch's distributions meet a network's NaN before any loss is logged.
        if "to satisfy the constraint" in str(error):
            raise RunError(_diverged("the policy's output", "NaN", model.num_timesteps)) from error
        raise
    _check_losses(model)
    # The last update can spoil weights whose losses were finite before it.
    if not all(bool(p.isfinite().all()) for p in model.policy.parameters()):
        raise RunError(_diverged("a weight of the policy", "not finite", model.num_timesteps))


def _check_losses(model: BaseAlgorithm) -> None:
    for tag, value in model.logger.name_to_value.items():
        if tag.startswith("train/") and "loss" in tag and not np.isfinite(value):
            raise RunError(_diverged(tag, value, model.num_timesteps))


def _diverged(what: str, value: object, step: int) -> str:
    return f"{what} is {value} at timestep {step}: a smaller agent.arguments.learning_rate may help"


def counters(model: BaseAlgorithm) -> dict[str, Any]:
    """The numbers in which a model counts its training, by attribute."""
    names = ["num_timesteps", "_episode_num", "_n_updates", "_current_progress_remaining"]
    names += [name for name in ("_n_calls", "exploration_rate") if hasattr(model, name)]
    return {name: getattr(model, name) for name in names}


def pending_log(model: BaseAlgorithm) -> dict[str, Any]:
    """What a model has recorded since it last logged, of which its next log is made."""
    logger = model.logger
    return {
        "values": {
            tag: float(value)
            for tag, value in logger.name_to_value.items()
            if isinstance(value, int | float | np.number)
        },
        "counts": dict(logger.name_to_count),
        "excluded": dict(logger.name_to_excluded),
    }


def load_pending_log(model: BaseAlgorithm, state: dict[str, Any]) -> None:
    """Set that back."""
    model.logger.name_to_value.update(state["values"])
    model.logger.name_to_count.update(state["counts"])
    model.logger.name_to_excluded.update(state["excluded"])


def unknown_metrics(model: BaseAlgorithm) -> dict[str, float]:
    """NaN for each tag that an update of the model records, but for the number of updates."""
    if isinstance(model, SAC):
        auto = ["ent_coef_loss"] if model.ent_coef_optimizer is not None else []
        names = ["actor_loss", "critic_loss", *auto, "ent_coef", "learning_rate"]
    elif isinstance(model, PPO | MaskablePPO):
        clipped = [] if model.clip_range_vf is None else ["clip_range_vf"]
        names = [
            "loss", "policy_gradient_loss", "value_loss", "entropy_loss", "approx_kl",
            "clip_fraction", "explained_variance", "clip_range", *clipped, "learning_rate",
        ]  # fmt: skip
    else:
        names = ["loss", "learning_rate"]
    return {f"train/{name}": float("nan") for name in names}


def renewed(metrics: dict[str, float], model: BaseAlgorithm) -> dict[str, float]:
    """The metrics as the last update has recorded them, where that has not been logged yet."""
    return metrics | {
        tag: value for tag, value in pending_log(model)["values"].items() if tag in metrics
    }


def random_state(model: BaseAlgorithm) -> dict[str, Any]:
    """The state of every generator that a model draws from, as tensors and plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": [t.cpu() for t in torch.cuda.get_rng_state_all()],
        "numpy": (
            kind,
            torch.as_tensor(np.asarray(keys, dtype=np.int64)),
            position,
            has_gauss,
            gauss,
        ),
        "python": json.dumps(random.getstate()),
        "action_space": json.dumps(model.action_space.np_random.bit_generator.state),
    }


def load_random_state(model: BaseAlgorithm, state: dict[str, Any]) -> None:
    """Set those generators back."""
    kind, keys, position, has_gauss, gauss = state["numpy"]
    legacy = (kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss)
    np.random.set_state(legacy)  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    version, internal, gauss_next = json.loads(state["python"])
    random.setstate((version, tuple(internal), gauss_next))
    model.action_space.np_random.bit_generator.state = json.loads(state["action_space"])


class SB3Trainer:
    """Trains an algorithm of Stable-Baselines3 or sb3-contrib.

    Args:
        env: the batched environment.
        config: algorithm, timesteps and constructor arguments.
        value_trunk: arguments of :func:`build_trunk` for the value or action values.
        policy_trunk: the same for the policy, where the algorithm has one.
        seed: of network, exploration and training instances.
        device: where the networks train.
        log: receives (tag, value, step) of everything that the algorithm logs.

    Raises:
        UserError: a constructor argument of a wrong kind.
    """

    def __init__(
        self,
        env: SerialVectorEnv,
        config: SB3AgentConfig,
        value_trunk: dict[str, Any],
        policy_trunk: dict[str, Any],
        seed: int,
        device: torch.device,
        log: Callable[[str, float, int], None],
    ) -> None:
        self.config, self.seed, self.log = config, seed, log
        self.env = SerialVecEnv(env)
        arguments = constructor_arguments(config.arguments)
        has_policy = config.kind in ("ppo", "maskable_ppo")
        policy_kwargs: dict[str, Any] = {
            "features_extractor_class": TrunkExtractor,
            "features_extractor_kwargs": {
                "trunks": cycle([policy_trunk, value_trunk] if has_policy else [value_trunk]),
            },
            "net_arch": [],
        }
        if has_policy:
            # Orthogonal initialisation would undo the trunks' own.
            policy_kwargs |= {"share_features_extractor": False, "ortho_init": False}
        policy_kwargs |= arguments.pop("policy_kwargs", {})
        try:
            with warnings.catch_warnings():
                # SB3 advises CPUs for small policies and remarks on target updates per batch.
                warnings.simplefilter("ignore", UserWarning)
                self.model: BaseAlgorithm = ALGORITHMS[config.kind](
                    policy=POLICIES.get(config.kind, "MlpPolicy"),
                    env=self.env,
                    seed=seed,
                    device=device,
                    policy_kwargs=policy_kwargs,
                    **arguments,
                )
        except (TypeError, ValueError, AssertionError, RuntimeError) as error:
            raise UserError(error, "agent.arguments") from error
        # SB3 would give neighbouring seeds nearly the same instances.
        self.env.seed(int(fold_in(np.array([seed]), np.array([0]))[0]))
        self.model.set_logger(Logger(None, [LogToMonitor(log)]))
        self.total = whole_rollouts(self.model, config.timesteps)
        self.metrics = unknown_metrics(self.model)
        self.agent = SB3Agent(env.task, self.model)

    @property
    def step(self) -> int:
        """Environment steps taken."""
        return int(self.model.num_timesteps)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that training spends its budget on: observation to output."""
        policy: Any = self.model.policy
        if isinstance(self.model, PPO | MaskablePPO):
            return {
                "policy": nn.Sequential(
                    policy.pi_features_extractor,
                    policy.mlp_extractor.policy_net,
                    policy.action_net,
                ),
                "value": nn.Sequential(
                    policy.vf_features_extractor,
                    policy.mlp_extractor.value_net,
                    policy.value_net,
                ),
            }
        return {"value": policy.quantile_net if isinstance(self.model, QRDQN) else policy.q_net}

    @property
    def examples(self) -> dict[str, torch.Tensor]:
        """An input of one row for each network."""
        example = torch.zeros(1, self.env.env.task.layout.size, device=self.model.device)
        return dict.fromkeys(self.networks, example)

    @property
    def instances(self) -> int:
        """States of training instances that the whole training consumes; a step sees one."""
        return self.total

    def train(self, pause: Callable[[], None]) -> None:
        """Take the timesteps that are left; ``pause`` is called between rollouts.

        Raises:
            RunError: a loss is not finite.
        """

        def keep_and_pause() -> None:
            self.metrics = renewed(self.metrics, self.model)
            pause()

        # An off-policy algorithm counts its log interval in episodes.
        interval = 50 * self.env.num_envs if isinstance(self.model, OffPolicyAlgorithm) else 1
        learn(self.model, self.config.timesteps, keep_and_pause, interval)
        self.metrics = renewed(self.metrics, self.model)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run needs to go on as if it had not been interrupted."""
        model: Any = self.model
        state: dict[str, Any] = {
            "policy": model.policy.state_dict(),
            "optimizer": model.policy.optimizer.state_dict(),
            "counters": counters(model),
            "last_obs": torch.as_tensor(model._last_obs.copy()),
            "last_episode_starts": torch.as_tensor(model._last_episode_starts.copy()),
            "episodes": [dict(info) for info in model.ep_info_buffer],
            "env": self._env_state(),
            "random": random_state(model),
            "pending_log": pending_log(model),
            "metrics": dict(self.metrics),
        }
        if isinstance(model, OffPolicyAlgorithm):
            state["replay"] = self._replay_state()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        model: Any = self.model
        self._load_env_state(state["env"])
        model.policy.load_state_dict(state["policy"])
        model.policy.optimizer.load_state_dict(state["optimizer"])
        for name, value in state["counters"].items():
            setattr(model, name, value)
        model._last_obs = state["last_obs"].numpy()
        model._last_episode_starts = state["last_episode_starts"].numpy()
        model.ep_info_buffer = deque(state["episodes"], maxlen=model._stats_window_size)
        model.ep_success_buffer = deque(maxlen=model._stats_window_size)
        if isinstance(model, OffPolicyAlgorithm):
            self._load_replay_state(state["replay"])
        load_random_state(model, state["random"])
        load_pending_log(model, state["pending_log"])
        self.metrics = state["metrics"]

    def model_state(self) -> dict[str, Any]:
        """What a finished run keeps."""
        return self.model.policy.state_dict()

    def load_model_state(self, state: dict[str, Any]) -> None:
        """Load what a finished run kept."""
        self.model.policy.load_state_dict(state)

    def load_zip(self, file: Path) -> None:
        """Take the policy of a zip that Stable-Baselines3 saved. Unpickles: trusted files only.

        Raises:
            UserError: the file is no such zip, or of another policy.
        """
        try:
            loaded = type(self.model).load(file, device=self.model.device)
            self.model.policy = loaded.policy
            shapes = (loaded.observation_space.shape, loaded.action_space)
        except Exception as error:  # whatever a foreign pickle may raise
            raise UserError(f"{file}: not a zip of {type(self.model).__name__}: {error}") from error
        if shapes != (self.env.observation_space.shape, self.env.action_space):
            raise UserError(
                f"{file}: made for observations {shapes[0]} and {shapes[1]}, but the run's "
                f"environment has {self.env.observation_space.shape} and {self.env.action_space}"
            )

    def _env_state(self) -> dict[str, Any]:
        env, vec_env = self.env.env, self.env
        return {
            "state": _arrays_to_tensors(env.state),
            "seeds": torch.as_tensor(cast(Any, env.instances.seeds).copy()),
            "episodes": torch.as_tensor(env.instances.episodes.copy()),
            "returns": torch.as_tensor(vec_env._returns.copy()),
            "lengths": torch.as_tensor(vec_env._lengths.copy()),
        }

    def _load_env_state(self, state: dict[str, Any]) -> None:
        env, vec_env = self.env.env, self.env
        env.reset(seed=self.seed)
        env.state = _tensors_to_arrays(env.state, state["state"])
        env.instances.seeds = state["seeds"].numpy()
        env.instances.episodes = state["episodes"].numpy()
        vec_env._returns, vec_env._lengths = state["returns"].numpy(), state["lengths"].numpy()

    def _replay_state(self) -> dict[str, Any]:
        buffer = cast(Any, self.model).replay_buffer
        filled = buffer.buffer_size if buffer.full else buffer.pos
        return {
            "pos": buffer.pos,
            "full": buffer.full,
            "arrays": {
                name: torch.as_tensor(getattr(buffer, name)[:filled]) for name in _REPLAY_ARRAYS
            },
        }

    def _load_replay_state(self, state: dict[str, Any]) -> None:
        buffer = cast(Any, self.model).replay_buffer
        buffer.pos, buffer.full = state["pos"], state["full"]
        for name, tensor in state["arrays"].items():
            getattr(buffer, name)[: tensor.shape[0]] = tensor.numpy()


_REPLAY_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def _arrays_to_tensors(state: Any) -> list[torch.Tensor]:
    """The arrays of a state, depth first."""
    arrays: list[torch.Tensor] = []
    map_state(lambda array: arrays.append(torch.as_tensor(array.copy())), state)
    return arrays


def _tensors_to_arrays(like: Any, arrays: list[torch.Tensor]) -> Any:
    """A state of the kind of ``like`` with these arrays."""
    following = iter(arrays)
    return map_state(lambda _: next(following).numpy(), like)


def make_trainer(
    world: ChainWorld, device: torch.device, log: Callable[[str, float, int], None]
) -> SB3Trainer:
    """The trainer that a run describes.

    Raises:
        UserError: a constructor argument that there is not.
    """
    config = world.agent
    assert isinstance(config, SB3AgentConfig)
    check_arguments(config)
    value_trunk, policy_trunk = world.trunk("network"), world.trunk("policy_network")
    env = world.make_vec(config.num_envs)
    return SB3Trainer(env, config, value_trunk, policy_trunk, world.seed, device, log)
