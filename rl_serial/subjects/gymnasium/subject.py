"""Runs in Gymnasium environments: trainer and examination, from a configuration."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch

from rl_serial.agents.mpc import MPCAgent, divergence_told, make_agent, read_settings
from rl_serial.agents.protocols import Log, Trainer
from rl_serial.agents.registry import AGENTS
from rl_serial.agents.settings import MPCAgentConfig
from rl_serial.config import RunConfig
from rl_serial.envs.control import make_control
from rl_serial.envs.registry import KICK_ID
from rl_serial.errors import UserError
from rl_serial.metrics import Measurement
from rl_serial.subjects.animation import shown_steps
from rl_serial.subjects.gymnasium.evaluation import ControlEvaluator, control_seeds
from rl_serial.subjects.gymnasium.tables import draw_returns, tables
from rl_serial.subjects.gymnasium.watching import ControlMoment, Recorder
from rl_serial.subjects.protocol import Examination, Examine


class ControlSubject:
    """A task of continuous control; see :class:`rl_serial.subjects.protocol.Subject`.

    Networks are small and stay on the CPU, beside the planner.

    Raises:
        UserError: a setting of the agent that there is not, or out of its range.
    """

    charts: ClassVar[dict[str, Any]] = {
        "continuous control": {
            "return": ["Multiline", ["eval/return", "train/return"]],
            "losses": ["Multiline", ["train/dynamics_loss", "train/value_loss"]],
            "simulator steps of training": ["Multiline", ["train/simulator_steps"]],
            "episode": ["Multiline", ["eval/episode_steps"]],
        }
    }

    drawn = "return by serial steps a decision"

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.agent, MPCAgentConfig)
        self.config, self.seed, self.agent = config, config.seed, config.agent
        read_settings(config.agent)

    def check(self, keys: Collection[str]) -> None:
        """Refuse an environment that cannot be made or planned in."""
        make_agent(self).close()

    def examiner(self) -> ControlEvaluator:
        """Draws the evaluation instances."""
        settings = self.config.evaluation
        return ControlEvaluator(settings.instances, settings.seed, self.config.seed)

    def trainer(self, device: torch.device, log: Log) -> Trainer:
        """The trainer that the configuration describes."""
        trainer: Trainer = AGENTS[self.agent.kind].make_trainer(self, device, log)
        return trainer

    def last_examination(self, examine: Examine, trainer: Trainer) -> Examination:
        """The same as any other: there are no exact values to make a floor of."""
        return examine(trainer.agent)

    def further_measurements(
        self, trainer: Trainer, examine: Examine, device: torch.device
    ) -> list[Measurement]:
        """Nothing."""
        return []

    def watch(self, agent: MPCAgent, instance: int = 0) -> list[ControlMoment]:
        """An evaluation episode from its first state to its end.

        Its instance is the examination's; the noise of planning is not, as it plays alone.
        """
        seed = self.config.evaluation.seed
        generator = np.random.default_rng([self.config.seed, seed, 2, instance])
        drawn = self.config.env.id == KICK_ID
        env = Recorder(self.make(**{"render_mode": "rgb_array"} if drawn else {}), drawn)
        with divergence_told():
            agent.evaluate(control_seeds(seed, 1, first=instance), generator, [env])
        env.close()
        rewards = np.array(env.rewards)
        return [
            ControlMoment(
                step,
                env.actions[step - 1] if step else None,
                rewards,
                env.pictures[step] if drawn else None,
            )
            for step in shown_steps(rewards.size)
        ]

    def make(self, **further: Any) -> gym.Env[Any, Any]:
        """The environment, with further keywords of ``gymnasium.make``.

        Raises:
            UserError: it cannot be made.
        """
        options = self.config.env.options
        if options.get("max_episode_steps") == -1:  # Gymnasium's word for none
            raise UserError("must be 1 or more: an episode has to end", "env.max_episode_steps")
        try:
            return make_control(self.config.env.id, **options | further)
        except gym.error.DependencyNotInstalled:
            raise
        except Exception as error:  # a wrong option may come to light anywhere in other code
            raise UserError(error, "env") from None

    def trunk(self, key: str) -> dict[str, Any]:
        """None: what a planner learns has networks of its own."""
        raise UserError(f"the agent {self.agent.kind} has none of these", key)

    tables = staticmethod(tables)
    draw = staticmethod(draw_returns)
