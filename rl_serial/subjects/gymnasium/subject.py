"""Runs in Gymnasium environments: trainer and examination, from a configuration."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from rl_serial.agents.mpc import divergence_told
from rl_serial.agents.protocols import Log, Plays, Trainer
from rl_serial.agents.registry import AGENTS, kinds_playing
from rl_serial.config import RunConfig
from rl_serial.envs.control import CONTROL_TASKS, make_control
from rl_serial.envs.vectors import Vectors, has_goals, why_no_vector
from rl_serial.errors import UserError, wrong_in
from rl_serial.metrics import Measurement
from rl_serial.networks.configured import solved_trunk, vector_layout
from rl_serial.subjects.gymnasium import metrics as of
from rl_serial.subjects.gymnasium.evaluation import GymnasiumEvaluator, instance_seeds
from rl_serial.subjects.gymnasium.tables import draw_returns, tables
from rl_serial.subjects.gymnasium.watching import GymnasiumMoment, Recorder, shown_moments
from rl_serial.subjects.protocol import Examination, Examine


class GymnasiumSubject:
    """A Gymnasium environment; see :class:`rl_serial.subjects.protocol.Subject`.

    Raises:
        UserError: a setting of the agent that there is not or is out of its range, an environment
            that cannot be made, or spaces that the agent does not play with.
    """

    charts: ClassVar[dict[str, Any]] = {
        "Gymnasium environment": {
            "return": ["Multiline", [of.RETURN.tag, "train/return", "rollout/ep_rew_mean"]],
            "losses": ["Multiline", ["train/.*loss"]],
            "simulator steps of training": ["Multiline", ["train/simulator_steps"]],
            "episode": ["Multiline", [of.EPISODE_STEPS.tag, "rollout/ep_len_mean"]],
        }
    }

    drawn = "returns"

    def __init__(self, config: RunConfig) -> None:
        self.config, self.seed, self.agent = config, config.seed, config.agent
        self.row = AGENTS[config.agent.kind]
        self.row.check_arguments(config.agent)
        env = self.make()
        self.observations: Any = env.observation_space
        self.actions: Any = env.action_space
        env.close()
        self._check_spaces()

    def _check_spaces(self) -> None:
        id_, kind = self.config.env.id, self.row.kind
        if has_goals(self.observations):
            players = kinds_playing("goals")
            if kind in players:
                raise UserError(f"goals, as {id_} has them; or leave it out", "subject")
            raise UserError(
                f"{id_} has goals, where agent.kind {kind} does not play; {', '.join(players)} do",
                "env.id",
            )
        if why := why_no_vector(self.observations):
            raise UserError(f"{id_}: {why}", "env.id")
        actions = self.actions
        if type(actions).__name__ not in self.row.actions:
            others = [
                other
                for other in kinds_playing("gymnasium")
                if type(actions).__name__ in AGENTS[other].actions
            ]
            raise UserError(
                f"{id_} has the actions {actions}, and agent.kind {kind} plays with "
                f"{' and '.join(self.row.actions)}; "
                + (f"{', '.join(others)} play with them" if others else "no agent does with them"),
                "env.id",
            )
        box = isinstance(actions, gym.spaces.Box)
        if box and not (len(actions.shape) == 1 and actions.is_bounded()):
            raise UserError(
                f"{id_} has the actions {actions}; they must be a vector with bounds", "env.id"
            )

    @property
    def spaces(self) -> tuple[Any, Any]:
        """Those of the environment."""
        return self.observations, self.actions

    def check(self, keys: Collection[str]) -> None:
        """Refuse networks that cannot be built, and an environment that cannot be played in."""
        for key in set(keys) - {"agent"}:
            self.trunk(key)
        if "agent" in keys:
            self.row.check_environment(self)

    def examiner(self) -> GymnasiumEvaluator:
        """Draws the evaluation instances."""
        settings = self.config.evaluation
        return GymnasiumEvaluator(self.make, settings.instances, settings.seed, self.config.seed)

    def trainer(self, device: torch.device, log: Log) -> Trainer:
        """The trainer that the configuration describes."""
        trainer: Trainer = self.row.make_trainer(self, device, log)
        return trainer

    def last_examination(self, examine: Examine, trainer: Trainer) -> Examination:
        """The same as any other: there are no exact values to make a floor of."""
        return examine(trainer.agent)

    def further_measurements(
        self, trainer: Trainer, examine: Examine, device: torch.device
    ) -> list[Measurement]:
        """Nothing."""
        return []

    def watch(self, agent: Plays, instance: int = 0) -> list[GymnasiumMoment]:
        """An evaluation episode from its first state to its end.

        Its instance is the examination's; the noise of planning is not, as it plays alone.
        """
        seed = self.config.evaluation.seed
        generator = np.random.default_rng([self.config.seed, seed, 2, instance])
        env = Recorder(self.make)
        with divergence_told():
            agent.evaluate(instance_seeds(seed, 1, first=instance), generator, [env])
        env.close()
        return shown_moments(env)

    def make(self, **further: Any) -> gym.Env[Any, Any]:
        """The environment, with further keywords of ``gymnasium.make``.

        Raises:
            UserError: it cannot be made.
        """
        options = self.config.env.options
        if options.get("max_episode_steps") == -1:  # Gymnasium's word for none
            raise UserError("must be 1 or more: an episode has to end", "env.max_episode_steps")
        try:
            return make_environment(self.config.env.id, **options | further)
        except gym.error.DependencyNotInstalled:
            raise
        except (gym.error.UnregisteredEnv, ModuleNotFoundError) as error:
            raise UserError(
                f"{self.config.env.id}: no such environment: {error}", "env.id"
            ) from None
        except Exception as error:  # a wrong option may come to light anywhere in other code
            raise wrong_in("env", error) from None

    def make_vec(self, num_envs: int, processes: int = 1) -> Any:
        """That many environments with vectors as observations, and SAME_STEP autoreset.

        Args:
            num_envs: at least 1.
            processes: 1, or ``num_envs``: each environment in a process of its own.
        """
        single = partial(_single, self.config.env.id, self.config.env.options)
        vector = AsyncVectorEnv if processes > 1 else SyncVectorEnv
        return vector([single] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)

    def trunk(self, key: str) -> dict[str, Any]:
        """The settings of the trunk of values or critics, or of the policy's.

        Raises:
            UserError: a depth that the trunk cannot have, or a budget that no width meets.
        """
        sizes: Any = self.agent
        actions = self.actions
        count = actions.n if isinstance(actions, gym.spaces.Discrete) else actions.shape[0]
        inputs, outputs = sizes.network_sizes(
            key, gym.spaces.flatdim(self.observations), int(count)
        )
        if key == "policy_network" and self.config.policy_network is None:
            key = "network"
        network = getattr(self.config, key)
        assert network is not None
        return solved_trunk(network, key, vector_layout(inputs), outputs)

    tables = staticmethod(tables)
    draw = staticmethod(draw_returns)


def make_environment(env_id: str, /, **options: Any) -> gym.Env[Any, Any]:
    """``gymnasium.make``; of a planners' task that lacks a library, the error names the extra."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium's about ids with a newer version, and the like
        if env_id in CONTROL_TASKS:
            return make_control(env_id, **options)
        return gym.make(env_id, **options)


def _single(env_id: str, options: dict[str, Any]) -> Vectors:
    """One environment of training, in whatever process."""
    return Vectors(make_environment(env_id, disable_env_checker=True, **options))
