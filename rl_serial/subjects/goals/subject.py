"""Runs in goal environments: trainers and examination, from a configuration."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np
import torch

from rl_serial.agents.contrastive import GoalAgent
from rl_serial.agents.protocols import Log, Trainer
from rl_serial.agents.registry import AGENTS
from rl_serial.agents.settings_goals import GoalAgentSettings
from rl_serial.config import RunConfig
from rl_serial.envs.episodes import LONGEST_EPISODE
from rl_serial.envs.goals.making import NoGoals, make_goal_vec
from rl_serial.envs.random import episode_seeds
from rl_serial.errors import UserError, wrong_in
from rl_serial.metrics import Measurement
from rl_serial.networks.configured import solved_trunk, vector_layout
from rl_serial.subjects.animation import shown_steps
from rl_serial.subjects.goals import metrics as of
from rl_serial.subjects.goals.evaluation import GoalEvaluator, success_at_end
from rl_serial.subjects.goals.metrics import DISTANCES
from rl_serial.subjects.goals.tables import draw_success, tables
from rl_serial.subjects.goals.watching import GoalMoment
from rl_serial.subjects.protocol import AnotherSubject, Examination, Examine


class GoalSubject:
    """A goal environment; see :class:`rl_serial.subjects.protocol.Subject`.

    Raises:
        UserError: an environment that cannot be made, or is none with goals.
    """

    charts: ClassVar[dict[str, Any]] = {
        "goals": {
            "success": ["Multiline", [of.SUCCESS.tag, of.SUCCESS_EVER.tag]],
            "time at goal": ["Multiline", [of.TIME_AT_GOAL.tag]],
            "success by distance": ["Multiline", [of.SUCCESS_BY_DISTANCE.pattern]],
            "time at goal by distance": ["Multiline", [of.TIME_BY_DISTANCE.pattern]],
            "critic": ["Multiline", ["train/accuracy", "train/critic_loss"]],
        }
    }

    drawn = "success by distance"

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.agent, GoalAgentSettings)
        self.config, self.seed, self.agent = config, config.seed, config.agent
        env = self._make(1)
        if config.evaluation.instances < DISTANCES:
            env.close()
            raise UserError(
                f"at least {DISTANCES}, one for each class of distance, not "
                f"{config.evaluation.instances}",
                "evaluation.instances",
            )
        self.observations, self.actions = env.single_observation_space, env.single_action_space
        spaces = self.observations.spaces
        env.close()
        for name, space in {**spaces, "action": self.actions}.items():
            if len(space.shape) != 1:
                raise UserError(f"{name} must be a vector, and has the shape {space.shape}", "env")
        if not self.actions.is_bounded():
            raise UserError(f"actions must have bounds, and are {self.actions}", "env")
        observation, self.goal = (spaces[key].shape[0] for key in ("observation", "desired_goal"))
        self.state = observation + self.goal  # the achieved goal is part of it
        self.action = self.actions.shape[0]

    @property
    def spaces(self) -> tuple[Any, Any]:
        """The Dict of observation and goals, and the Box of actions."""
        return self.observations, self.actions

    def check(self, keys: Collection[str]) -> None:
        """Refuse networks that cannot be built and arguments that the algorithm has not."""
        for key in set(keys) - {"agent"}:
            self.trunk(key)
        if "agent" in keys:
            AGENTS[self.agent.kind].check_arguments(self.agent)

    def examiner(self) -> GoalEvaluator:
        """Makes the evaluation environments."""
        settings = self.config.evaluation
        return GoalEvaluator(self._make, settings.instances, settings.seed)

    def trainer(self, device: torch.device, log: Log) -> Trainer:
        """The trainer that the configuration describes."""
        torch.manual_seed(self.config.seed)
        trainer: Trainer = AGENTS[self.agent.kind].make_trainer(self, device, log)
        return trainer

    def make_vec(self, num_envs: int, processes: int = 1) -> Any:
        """That many environments, as ``make_goal_vec`` makes them."""
        return self._make(num_envs, processes)

    def last_examination(self, examine: Examine, trainer: Trainer) -> Examination:
        """The same as any other: there are no exact values to make a floor of."""
        return examine(trainer.agent)

    def further_measurements(
        self, trainer: Trainer, examine: Examine, device: torch.device
    ) -> list[Measurement]:
        """Nothing."""
        return []

    def watch(self, agent: GoalAgent, instance: int = 0) -> list[GoalMoment]:
        """An evaluation episode from its first state to its end."""
        env = self._make(1)
        seeds = episode_seeds(self.config.evaluation.seed, 1, np, first=instance)
        observation, _ = env.reset(seed=[int(seeds[0])])
        goal = observation["desired_goal"][0]
        path = [observation["achieved_goal"][0]]
        there = [False]
        ended = False
        while not ended and len(path) < LONGEST_EPISODE:
            observation, _, terminated, truncated, info = env.step(agent.act(observation))
            ended = bool(terminated[0] | truncated[0])
            now = info["final_obs"] if ended else observation
            path.append(now["achieved_goal"][0])
            there.append(bool(success_at_end(info)[0]))
        env.close()
        steps = shown_steps(len(path) - 1)
        return [GoalMoment(np.array(path), goal, step, there[step]) for step in steps]

    def _make(self, num_envs: int, processes: int = 1) -> Any:
        options = self.config.env.options
        try:
            for name in ("num_envs", "processes"):
                if name in options:
                    raise UserError(f"belongs to the agent: agent.{name}", f"env.{name}")
            return make_goal_vec(self.config.env.id, num_envs, processes=processes, **options)
        except NoGoals as error:
            raise AnotherSubject(error, "env") from None
        except ValueError as error:
            raise wrong_in("env", error) from None

    def trunk(self, key: str) -> dict[str, Any]:
        """The settings of the critic's trunk (in contrastive RL of φ), or of the policy's.

        Raises:
            UserError: a depth that the trunk cannot have, or a budget that no width meets.
        """
        config = self.config
        network = config.network
        assert network is not None
        if key == "network":
            inputs, outputs = self.agent.critic_sizes(self.state, self.action, self.goal)
            return solved_trunk(network, key, vector_layout(inputs), outputs)
        if config.policy_network is None:
            key = "network"
        policy = config.policy_network or network
        return solved_trunk(policy, key, vector_layout(self.state + self.goal), 2 * self.action)

    def psi_trunk(self) -> dict[str, Any]:
        """The settings of the trunk of ψ in contrastive RL: φ's on goals."""
        return self.trunk("network") | {"layout": vector_layout(self.goal)}

    tables = staticmethod(tables)
    draw = staticmethod(draw_success)
