"""Training of MPC agents, an episode at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from rl_serial.agents.mpc.agent import Episode, MPCAgent
from rl_serial.agents.mpc.settings import read_settings
from rl_serial.agents.protocols import ControlWorld, Log
from rl_serial.agents.settings import MPCAgentConfig
from rl_serial.envs.simulation import thread_count
from rl_serial.errors import RunError, wrong_in


class MPCTrainer:
    """Trains an agent that learns, an episode at a time.

    Args:
        agent: which plays and learns.
        total: steps of the environment; the last episode is cut off there.
        log: takes the scalars of each episode.
    """

    def __init__(self, agent: MPCAgent, total: int, log: Log) -> None:
        self.agent, self.total, self.log = agent, total, log
        self.step, self.simulator_steps = 0, 0  # of training, without evaluations
        self.metrics: dict[str, float] = {}

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Those that learn."""
        return dict(self.agent.learner.networks)

    @property
    def examples(self) -> dict[str, torch.Tensor]:
        """An input of one row for each network."""
        return {
            name: torch.zeros(1, network.inputs.mean.numel())
            for name, network in self.agent.learner.networks.items()
        }

    def train(self, pause: Callable[[], None]) -> None:
        """Play and learn what is left; ``pause`` is called before each episode but the first.

        Raises:
            RunError: a loss is not finite, or the simulation of the environment diverged.
        """
        while self.step < self.total:
            if self.step:  # before the first a learned model is nothing to plan in
                pause()
            end = self.agent.env_steps + self.total - self.step
            with divergence_told():
                episode = self.agent.train_episode(lambda end=end: self.agent.env_steps >= end)  # type: ignore[misc]
            self.step += episode.steps
            self.simulator_steps += episode.simulator_steps
            self._report(episode)

    def _report(self, episode: Episode) -> None:
        losses = {f"train/{name}_loss": loss for name, loss in self.agent.learner.losses.items()}
        self.metrics = {
            "train/return": episode.total,
            "train/simulator_steps": float(self.simulator_steps),
        } | losses
        for tag, value in self.metrics.items():
            self.log(tag, value, self.step)
            if tag in losses and not math.isfinite(value):
                raise RunError(
                    f"{tag} is {value} at timestep {self.step}: a smaller "
                    "agent.learning.learning_rate may help"
                )

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run needs to go on as if it had not been interrupted."""
        return {
            "step": self.step,
            "simulator_steps": self.simulator_steps,
            "metrics": dict(self.metrics),
            "agent": self.agent.training_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.agent.load_training_state(state["agent"])
        self.step, self.simulator_steps = state["step"], state["simulator_steps"]
        self.metrics = state["metrics"]

    def model_state(self) -> dict[str, Any]:
        """What a finished run keeps."""
        return self.agent.state_dict()

    def load_model_state(self, state: dict[str, Any]) -> None:
        """Load what a finished run kept."""
        self.agent.load_state_dict(state)


def make_trainer(world: ControlWorld, device: torch.device, log: Log) -> MPCTrainer:
    """The trainer that a run describes; networks are small and stay on the CPU."""
    config = world.agent
    assert isinstance(config, MPCAgentConfig)
    return MPCTrainer(make_agent(world), config.timesteps, log)


def make_agent(world: ControlWorld) -> MPCAgent:
    """The planner of a run.

    Raises:
        UserError: a setting that there is not, or an environment that cannot be planned in.
    """
    config = world.agent
    assert isinstance(config, MPCAgentConfig)
    try:
        return MPCAgent(world.make, read_settings(config), world.seed, thread_count())
    except ValueError as error:  # of the simulator
        raise wrong_in("env", error) from None


def check_environment(world: ControlWorld) -> None:
    """Refuse an environment without a simulator to plan in, by making both.

    Raises:
        UserError: it has none, or cannot be made.
    """
    make_agent(world).close()


@contextmanager
def divergence_told() -> Iterator[None]:
    """Tell a simulation that diverged as a failure of the run."""
    try:
        yield
    except FloatingPointError as error:
        raise RunError(f"env: {error}") from error
