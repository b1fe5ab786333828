"""Training of planners in continuous control: an episode at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from rl_serial.agents.control import ControlAgent, ControlSettings, Episode, Learning
from rl_serial.agents.protocols import ControlWorld, Log
from rl_serial.agents.settings import ControlAgentConfig
from rl_serial.envs.simulation import thread_count
from rl_serial.errors import OptionError, RunError, UserError, did_you_mean
from rl_serial.planning.mpc import CEM, MPPI
from rl_serial.settings import faults_of

PLANNERS: dict[str, type[CEM | MPPI]] = {"cem": CEM, "mppi": MPPI}


def settings_of(agent: ControlAgentConfig) -> ControlSettings:
    """The agent's settings, each part built and checked.

    Raises:
        UserError: an option that there is not, or one out of its range; the message begins with
            its key.
    """
    planner = _built(PLANNERS[agent.kind], agent.planner, "agent.planner")
    learning = _built(Learning, agent.learning, "agent.learning")
    own = {f.name: getattr(agent, f.name) for f in fields(ControlSettings)}
    try:
        return ControlSettings(**own | {"planner": planner, "learning": learning})
    except OptionError as error:
        raise UserError(error.message, f"agent.{error.option}") from None


def _built(kind: type[Any], given: dict[str, Any], key: str) -> Any:
    """A dataclass from what a configuration gives of it, of the right types."""
    known = [f.name for f in fields(kind)]
    for name in given:
        if name not in known:
            raise UserError(
                f"{kind.__name__} has no such option; there are {', '.join(known)}"
                f"{did_you_mean(name, known)}",
                f"{key}.{name}",
            )
    try:
        return TypeAdapter(kind).validate_python(given)
    except ValidationError as error:
        raise UserError.of(faults_of(error)[:1]).under(key) from None


class ControlTrainer:
    """Trains an agent that learns, an episode at a time.

    Args:
        agent: which plays and learns.
        total: steps of the environment; the last episode is cut off there.
        log: takes the scalars of each episode.
    """

    def __init__(self, agent: ControlAgent, total: int, log: Log) -> None:
        self.agent, self.total, self.log = agent, total, log
        self.step, self.simulator_steps = 0, 0  # of training, without evaluations
        self.metrics: dict[str, float] = {}

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Those that learn."""
        settings = self.agent.settings
        learned = {"dynamics": settings.model == "learned", "value": settings.terminal_value}
        return {name: getattr(self.agent, name) for name, learns in learned.items() if learns}

    @property
    def examples(self) -> dict[str, torch.Tensor]:
        """An input of one row for each network."""
        networks: dict[str, Any] = self.networks
        return {
            name: torch.zeros(1, network.inputs.mean.numel()) for name, network in networks.items()
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
        losses = {f"train/{name}_loss": loss for name, loss in self.agent.losses.items()}
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


def make_trainer(world: ControlWorld, device: torch.device, log: Log) -> ControlTrainer:
    """The trainer that a run describes; networks are small and stay on the CPU."""
    config = world.agent
    assert isinstance(config, ControlAgentConfig)
    return ControlTrainer(make_agent(world), config.timesteps, log)


def make_agent(world: ControlWorld) -> ControlAgent:
    """The planner of a run.

    Raises:
        UserError: a setting that there is not, or an environment that cannot be planned in.
    """
    config = world.agent
    assert isinstance(config, ControlAgentConfig)
    try:
        return ControlAgent(world.make, settings_of(config), world.seed, thread_count())
    except ValueError as error:  # of the simulator
        raise UserError(error, "env") from None


@contextmanager
def divergence_told() -> Iterator[None]:
    """Tell a simulation that diverged as a failure of the run."""
    try:
        yield
    except FloatingPointError as error:
        raise RunError(f"env: {error}") from error
