"""Training an algorithm of Stable-Baselines3 or sb3-contrib, and what its run asks of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize
from torch import nn

from rl_serial.agents.protocols import Log, World
from rl_serial.agents.sb3.acting import ActingAgent, SB3Agent
from rl_serial.agents.sb3.algorithms import KINDS, Trunk, make_model, unknown_metrics
from rl_serial.agents.sb3.checks import check_arguments
from rl_serial.agents.sb3.curriculum import Curriculum
from rl_serial.agents.sb3.episodes import KeptEpisodes, NewEpisodes
from rl_serial.agents.sb3.normalization import load_statistics, normalized, statistics
from rl_serial.agents.sb3.past import PastSelves
from rl_serial.agents.sb3.state import load_model_state, model_state, pending_log
from rl_serial.agents.sb3.vec_env import BatchedVecEnv, GoalVecEnv, SerialVecEnv
from rl_serial.agents.settings import SB3Settings
from rl_serial.envs.gym import SerialVectorEnv
from rl_serial.errors import RunError, UserError

_LOG = logging.getLogger(__name__)


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


class _Rollouts(BaseCallback):
    """Calls back between two rollouts, where a model's state is whole, and before each update."""

    def __init__(self, pause: Callable[[], None], before_update: Callable[[], None]) -> None:
        super().__init__()
        self.pause, self.before_update = pause, before_update

    def _on_rollout_start(self) -> None:
        self.pause()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.before_update()


class SB3Trainer:
    """Trains an algorithm of Stable-Baselines3 or sb3-contrib.

    What differs between environments is how their episodes survive a checkpoint
    (:mod:`~rl_serial.agents.sb3.episodes`); what differs between algorithms is how model and
    networks are made (:mod:`~rl_serial.agents.sb3.algorithms`).

    Args:
        env: a vector environment with SAME_STEP autoreset: of a chain, of goals, or with vectors
            as observations.
        config: algorithm, timesteps and constructor arguments.
        value_trunk: arguments of :func:`build_trunk` for values, action values or critics.
        policy_trunk: the same for the policy, where the algorithm has one.
        seed: of networks, exploration, batches and training episodes.
        device: where the networks are. The replay is on the CPU.
        log: receives (tag, value, step) of everything that the algorithm logs.

    Raises:
        UserError: a constructor argument of a wrong kind, or actions without bounds.
    """

    def __init__(
        self,
        env: Any,
        config: SB3Settings,
        value_trunk: Trunk,
        policy_trunk: Trunk,
        seed: int,
        device: torch.device,
        log: Log,
    ) -> None:
        self.config, self.kind = config, KINDS[config.kind]
        self.vectors = _view_of(env)
        monitor = VecMonitor(self.vectors)
        self.env = normalized(monitor, config)
        self.model = make_model(config, self.env, value_trunk, policy_trunk, seed, device)
        self.model.set_logger(Logger(None, [LogToMonitor(log)]))
        self.total = whole_rollouts(self.model, config.timesteps)
        self.metrics = unknown_metrics(config.kind, self.model)
        self.episodes: KeptEpisodes | NewEpisodes
        self.agent: Any
        if isinstance(self.vectors, SerialVecEnv):
            self.episodes = KeptEpisodes(self.vectors, monitor, seed)
            self.agent = SB3Agent(env.task, self.model)
        else:
            self.episodes = NewEpisodes(seed)
            self.agent = ActingAgent(self.model, self._normalize)
        enough = getattr(config, "curriculum", None)
        self.curriculum = None if enough is None else Curriculum(env, enough, seed)
        if self.curriculum is not None:
            self.metrics["train/missing_words"] = 0.0
        own: Any = config
        self.selves = None
        if getattr(config, "self_play", None) is not None:
            self.selves = PastSelves(env, self.model, own.self_play, own.snapshot_every)

    def _normalize(self, observations: Any) -> Any:
        if isinstance(self.env, VecNormalize):
            return self.env.normalize_obs(observations)
        return observations

    @property
    def step(self) -> int:
        """Environment steps taken."""
        return int(self.model.num_timesteps)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that training spends its budget on; all critics together are one."""
        return self.kind.networks(self.model)

    @property
    def examples(self) -> dict[str, Any]:
        """What each network is called with, one row."""
        space: Any = self.env.observation_space
        observation: Any = _zeros(space, self.model.device)
        examples = dict.fromkeys(self.networks, observation)
        if "critic" in examples:
            examples["critic"] = (observation, _zeros(self.env.action_space, self.model.device))
        return examples

    @property
    def instances(self) -> int:
        """States of training instances that the whole training consumes; a step sees one."""
        return self.total

    def train(self, pause: Callable[[], None]) -> None:
        """Take the timesteps that are left; ``pause`` is called between rollouts.

        Raises:
            RunError: a loss or weight is not finite, or hindsight finds no episode that has ended.
        """
        if self.total != self.config.timesteps:
            _LOG.warning(
                "agent.timesteps: %s are no whole number of rollouts; %s are trained",
                f"{self.config.timesteps:,}",
                f"{self.total:,}",
            )

        def between_rollouts() -> None:
            self._check_losses()
            self._renew_metrics()
            if self.curriculum is not None and self.step > 0:
                self.curriculum.consider(self.agent, self.step)
                self.metrics["train/missing_words"] = float(self.curriculum.missing)
            if self.selves is not None:
                self.selves.consider(self.step)
            pause()
            self.episodes.begin(self.model)

        self.episodes.begin(self.model)
        try:
            self.model.learn(
                self.total - self.step,
                callback=_Rollouts(between_rollouts, self._check_hindsight),
                log_interval=self._log_interval(),
                reset_num_timesteps=False,
            )
        except ValueError as error:
            # torch's distributions refuse a network's NaN before any loss is logged.
            self._check_weights()
            self._check_outputs(error)
            raise
        self._check_losses()
        # The last update can spoil weights whose losses were finite before it.
        self._check_weights()
        self._renew_metrics()

    def _log_interval(self) -> int:
        """Rollouts between two logs; off-policy algorithms count episodes."""
        if not isinstance(self.model, OffPolicyAlgorithm):
            return 1
        # Episodes of a chain are a few steps long; of others there is a log for each round.
        return self.env.num_envs * (50 if isinstance(self.vectors, SerialVecEnv) else 1)

    def _renew_metrics(self) -> None:
        """Metrics as the last update has recorded them, where that has not been logged yet."""
        self.metrics = self.metrics | {
            tag: value
            for tag, value in pending_log(self.model)["values"].items()
            if tag in self.metrics
        }

    def _check_losses(self) -> None:
        for tag, value in self.model.logger.name_to_value.items():
            if tag.startswith("train/") and "loss" in tag and not np.isfinite(value):
                raise self._diverged(tag, value)

    def _check_weights(self) -> None:
        if not all(bool(p.isfinite().all()) for p in self.model.policy.parameters()):
            raise self._diverged("a weight of the policy", "not finite")

    def _check_outputs(self, cause: Exception) -> None:
        """Where the policy's outputs are not finite, on what it has seen last."""
        model: Any = self.model
        seen = [model._last_obs]
        if isinstance(self.model, OnPolicyAlgorithm):
            held = model.rollout_buffer.observations
            seen.append(held.reshape(-1, *held.shape[held.ndim - model._last_obs.ndim + 1 :]))
        for observations in seen:
            with torch.no_grad():
                outputs = self.kind.outputs(model, obs_as_tensor(observations, model.device))
            if not bool(outputs.isfinite().all()):
                raise self._diverged("the policy's output", "not finite") from cause

    def _diverged(self, what: str, value: object) -> RunError:
        return RunError(
            f"{what} is {value} at timestep {self.step}: a smaller agent.arguments.learning_rate "
            "may help"
        )

    def _check_hindsight(self) -> None:
        """Before an update: hindsight draws goals from episodes that have ended."""
        model = cast(Any, self.model)
        if not isinstance(model, OffPolicyAlgorithm) or self.step <= model.learning_starts:
            return
        buffer: Any = model.replay_buffer
        if isinstance(buffer, HerReplayBuffer) and not (buffer.ep_length > 0).any():
            raise RunError(
                f"no episode has ended by timestep {self.step}, and hindsight needs one: "
                f"agent.arguments.learning_starts must be num_envs={self.env.num_envs} times "
                "the steps of an episode, or more"
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run needs to go on as if it had not been interrupted."""
        return {
            "episodes": self.episodes.state_dict(self.model),  # breaks some off in the replay
            "model": model_state(self.model),
            "statistics": statistics(self.env),
            "metrics": dict(self.metrics),
            "curriculum": None if self.curriculum is None else self.curriculum.state_dict(),
            "selves": None if self.selves is None else self.selves.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        if self.curriculum is not None:
            self.curriculum.load_state_dict(state["curriculum"])
        if self.selves is not None:
            self.selves.load_state_dict(state["selves"])
        self.episodes.load_state_dict(self.model, state["episodes"])
        load_model_state(self.model, state["model"])
        load_statistics(self.env, state["statistics"])
        self.metrics = state["metrics"]

    def model_state(self) -> dict[str, Any]:
        """What a finished run keeps: weights, and the statistics of what they were trained on."""
        return {"policy": self.model.policy.state_dict(), "statistics": statistics(self.env)}

    def load_model_state(self, state: dict[str, Any]) -> None:
        """Load what a finished run kept."""
        self.model.policy.load_state_dict(state["policy"])
        load_statistics(self.env, state["statistics"])

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
            raise UserError(
                f"not a zip of {type(self.model).__name__}: {error}", source=file
            ) from error
        if shapes != (self.env.observation_space.shape, self.env.action_space):
            raise UserError(
                f"made for observations {shapes[0]} and {shapes[1]}, but the run's "
                f"environment has {self.env.observation_space.shape} and {self.env.action_space}",
                source=file,
            )


def _view_of(env: Any) -> BatchedVecEnv:
    """A vector environment as Stable-Baselines3 sees it."""
    if isinstance(env, SerialVectorEnv):
        return SerialVecEnv(env)
    has_goals = isinstance(env.single_observation_space, gymnasium.spaces.Dict)
    return GoalVecEnv(env) if has_goals else BatchedVecEnv(env)


def _zeros(space: gymnasium.Space[Any], device: torch.device) -> Any:
    """One row of a Box, or of each part of a Dict."""
    if isinstance(space, gymnasium.spaces.Dict):
        return {key: _zeros(part, device) for key, part in space.spaces.items()}
    assert space.shape is not None
    return torch.zeros(1, *space.shape, device=device)


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


def make_trainer(world: World, device: torch.device, log: Log) -> SB3Trainer:
    """The trainer that a run describes.

    Raises:
        UserError: a constructor argument that there is not.
    """
    config = world.agent
    assert isinstance(config, SB3Settings)
    check_arguments(config)
    value, policy = world.trunk("network"), world.trunk("policy_network")
    env = cast(Any, world).make_vec(config.num_envs, config.processes)
    return SB3Trainer(env, config, value, policy, world.seed, device, log)
