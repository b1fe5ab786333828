"""Runs of planners in continuous control: trainer and examination, from a configuration.

There is no optimal play to compare with, so an examination says the return and what it cost: the
serial steps of a decision (horizon × iterations), and the steps of model and simulator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import TypeAdapter, ValidationError
from scipy.special import stdtrit
from torch import nn

from rl_serial.agents.control import (
    ControlAgent,
    ControlSettings,
    Episode,
    Learning,
)
from rl_serial.config import ControlAgentConfig, RunConfig, readable_error
from rl_serial.envs.control import make_control
from rl_serial.envs.random import evaluation_seeds
from rl_serial.envs.registry import KICK_ID
from rl_serial.envs.simulation import thread_count
from rl_serial.errors import RunError, UserError, did_you_mean
from rl_serial.networks import Account, account
from rl_serial.planning import CEM, MPPI
from rl_serial.training.subject import Examination, Examine, Log, Trainer
from rl_serial.training.watching import shown_steps

PLANNERS: dict[str, type[CEM | MPPI]] = {"cem": CEM, "mppi": MPPI}
MOST_AT_A_TIME = 64
"""Evaluation episodes that are played side by side."""


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
    except ValueError as error:
        raise UserError(f"agent.{_by_key(error)}") from None


def _built(kind: type[Any], given: dict[str, Any], key: str) -> Any:
    """A dataclass from what a configuration gives of it, of the right types."""
    known = [f.name for f in fields(kind)]
    for name in given:
        if name not in known:
            raise UserError(
                f"{key}.{name}: {kind.__name__} has no such option; there are {', '.join(known)}"
                f"{did_you_mean(name, known)}"
            )
    try:
        return TypeAdapter(kind).validate_python(given)
    except ValidationError as error:
        found = error.errors()[0]
        if found["type"] == "value_error":  # of the dataclass itself
            raise UserError(f"{key}.{_by_key(found['ctx']['error'])}") from None
        path = ".".join(map(str, (key, *found["loc"])))
        raise UserError(f"{path}: {readable_error(found)}") from None


def _by_key(error: ValueError) -> str:
    """``CEM: samples is 1, must be …`` as ``samples: is 1, must be …``."""
    name, _, rest = str(error).rpartition(": ")[2].partition(" ")
    return f"{name}: {rest}"


@dataclass(frozen=True)
class ControlEvaluation:
    """What an examination found, by episode."""

    episodes: tuple[Episode, ...]
    serial_steps: int  # of a decision: horizon × iterations

    @property
    def returns(self) -> NDArray[np.float64]:
        """[E] undiscounted."""
        return np.array([episode.total for episode in self.episodes])

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean return over instances (Student's t)."""
        returns = self.returns
        count = returns.size
        half = float(stdtrit(count - 1, 0.975)) * float(returns.std(ddof=1)) / math.sqrt(count)
        return float(returns.mean()) - half, float(returns.mean()) + half

    def metrics(self) -> dict[str, float]:
        """Scalars under their TensorBoard tags; steps of model and simulator are an episode's."""
        means = {
            name: float(np.mean([getattr(episode, name) for episode in self.episodes]))
            for name in ("steps", "model_steps", "simulator_steps")
        }
        return {
            "eval/return": float(self.returns.mean()),
            "eval/episode_steps": means["steps"],
            "eval/serial_steps_per_decision": float(self.serial_steps),
            "eval/model_steps": means["model_steps"],
            "eval/simulator_steps": means["simulator_steps"],
        }

    def final(self) -> dict[str, Any]:
        """What ``summary.json`` keeps."""
        return self.metrics() | {
            "eval/return_interval": list(self.interval),
            "eval/instances": len(self.episodes),
        }

    def headline(self) -> str:
        """Return, and what a decision cost."""
        low, high = self.interval
        found = self.metrics()
        return (
            f"return {found['eval/return']:.4g} (95 % of instances {low:.4g} to {high:.4g}), "
            f"{self.serial_steps} serial steps a decision, "
            f"{found['eval/model_steps']:.0f} model steps an episode of "
            f"{found['eval/episode_steps']:.0f}"
        )


class ControlEvaluator:
    """Plays an agent's episodes on evaluation instances.

    Args:
        instances: episodes.
        seed: chooses the instances.
        run_seed: chooses, with ``seed``, the noise of planning.
    """

    def __init__(self, instances: int, seed: int, run_seed: int) -> None:
        self.seeds = control_seeds(seed, instances)
        self.entropy = [run_seed, seed, 1]

    def __call__(self, agent: ControlAgent) -> ControlEvaluation:
        """Examine an agent, always with the same noise.

        Raises:
            RunError: the simulation of the environment diverged.
        """
        generator = np.random.default_rng(self.entropy)
        episodes: list[Episode] = []
        with _diverging():
            for first in range(0, len(self.seeds), MOST_AT_A_TIME):
                seeds = self.seeds[first : first + MOST_AT_A_TIME]
                episodes += agent.evaluate(seeds, generator)
        return ControlEvaluation(tuple(episodes), agent.accounts.critical_path)


def control_seeds(seed: int, count: int, first: int = 0) -> list[int]:
    """Evaluation instances ``first``, … of ``seed``: resets above those that training draws."""
    return [int(number) for number in evaluation_seeds(2 * seed, count, np, first=first)]


@contextmanager
def _diverging() -> Iterator[None]:
    try:
        yield
    except FloatingPointError as error:
        raise RunError(f"env: {error}") from error


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

    def train(self, pause: Callable[[], None]) -> None:
        """Play and learn what is left; ``pause`` is called before each episode but the first.

        Raises:
            RunError: a loss is not finite, or the simulation of the environment diverged.
        """
        while self.step < self.total:
            if self.step:  # before the first a learned model is nothing to plan in
                pause()
            end = self.agent.env_steps + self.total - self.step
            with _diverging():
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


class ControlSubject:
    """A task of continuous control; see :class:`rl_serial.training.subject.Subject`.

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

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.agent, ControlAgentConfig)
        self.config, self.agent = config, config.agent
        self.settings = settings_of(config.agent)

    def check(self, keys: Collection[str]) -> None:
        """Refuse an environment that cannot be made or planned in."""
        self._make_agent().close()

    def examiner(self) -> ControlEvaluator:
        """Draws the evaluation instances."""
        settings = self.config.evaluation
        return ControlEvaluator(settings.instances, settings.seed, self.config.seed)

    def trainer(self, device: torch.device, log: Log) -> ControlTrainer:
        """The trainer that the configuration describes."""
        return ControlTrainer(self._make_agent(), self.agent.timesteps, log)

    def baseline(self) -> ControlAgent | None:
        """The agent, where it learns nothing."""
        return None if self.settings.learns else self._make_agent()

    def accounts(self, trainer: Trainer) -> dict[str, Account]:
        """What each network costs."""
        networks: dict[str, Any] = trainer.networks
        return {
            name: account(network, torch.zeros(1, network.inputs.mean.numel()))
            for name, network in networks.items()
        }

    def last_examination(
        self, examine: Examine, agent: Any, trainer: Trainer | None
    ) -> Examination:
        """The same as any other: there are no exact values to make a floor of."""
        return examine(agent)

    def further_metrics(
        self, trainer: Trainer, examine: Examine, device: torch.device
    ) -> dict[str, float]:
        """Nothing."""
        return {}

    def watch(self, agent: ControlAgent, instance: int = 0) -> list[ControlMoment]:
        """An evaluation episode from its first state to its end.

        Its instance is the examination's; the noise of planning is not, as it plays alone.
        """
        seed = self.config.evaluation.seed
        generator = np.random.default_rng([self.config.seed, seed, 2, instance])
        drawn = self.config.env.id == KICK_ID
        env = Recorder(self._make(**{"render_mode": "rgb_array"} if drawn else {}), drawn)
        with _diverging():
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

    def _make(self, **further: Any) -> gym.Env[Any, Any]:
        options = self.config.env.options
        if options.get("max_episode_steps") == -1:  # Gymnasium's word for none
            raise UserError("env.max_episode_steps: must be 1 or more: an episode has to end")
        try:
            return make_control(self.config.env.id, **options | further)
        except gym.error.DependencyNotInstalled:
            raise
        except Exception as error:  # a wrong option may come to light anywhere in other code
            raise UserError(f"env: {error}") from None

    def _make_agent(self) -> ControlAgent:
        try:
            return ControlAgent(self._make, self.settings, self.config.seed, thread_count())
        except ValueError as error:  # of the simulator
            raise UserError(f"env: {error}") from None


_WIDTH, _HEIGHT, _EDGE = 320, 240, 20  # pixels of a picture, of the space around what it shows
_PAPER, _AXIS, _LINE, _HERE = (250, 250, 248), (200, 204, 210), (150, 160, 175), (43, 65, 98)


class Recorder(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps what an episode was: actions, rewards and, if asked for, a picture of each state."""

    def __init__(self, env: gym.Env[Any, Any], pictures: bool) -> None:
        super().__init__(env)
        self.drawn = pictures
        self.actions: list[NDArray[np.float32]] = []
        self.rewards: list[float] = []
        self.pictures: list[NDArray[np.uint8]] = []

    def reset(self, **options: Any) -> Any:
        """Begin an episode."""
        result = super().reset(**options)
        self.actions, self.rewards, self.pictures = [], [], []
        self._draw()
        return result

    def step(self, action: Any) -> Any:
        """Take a step of it."""
        result = super().step(action)
        self.actions.append(action)
        self.rewards.append(float(result[1]))
        self._draw()
        return result

    def _draw(self) -> None:
        if self.drawn:
            self.pictures.append(self.env.render())  # type: ignore[arg-type]


@dataclass(frozen=True)
class ControlMoment:
    """A moment of an episode: what was done last, what it was paid, and the return so far."""

    step: int
    action: NDArray[np.float32] | None  # [A]; None before the first
    rewards: NDArray[np.float64]  # [steps] of the whole episode
    own: NDArray[np.uint8] | None = None  # [height, width, 3] the environment's own picture

    def text(self) -> str:
        """As text."""
        if self.action is None:
            return f"step {self.step:4d}"
        action = ", ".join(f"{number:.2f}" for number in self.action)
        return (
            f"step {self.step:4d}: action ({action}), reward {self.rewards[self.step - 1]:.3f}, "
            f"return {self.rewards[: self.step].sum():.3f}"
        )

    def picture(self) -> NDArray[np.uint8]:
        """The environment's own, or the return over steps, with the whole episode in view."""
        if self.own is not None:
            return self.own
        returns = np.concatenate([[0.0], np.cumsum(self.rewards)])
        low, extent = returns.min(), max(float(np.ptp(returns)), 1e-9)
        across = _EDGE + np.arange(returns.size) / self.rewards.size * (_WIDTH - 2 * _EDGE)
        down = _HEIGHT - _EDGE - (returns - low) / extent * (_HEIGHT - 2 * _EDGE)
        image = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
        draw = ImageDraw.Draw(image)
        zero = float(down[0])
        draw.line((_EDGE, zero, _WIDTH - _EDGE, zero), fill=_AXIS)
        places = zip(across[: self.step + 1], down[: self.step + 1], strict=True)
        passed = [(float(x), float(y)) for x, y in places]
        if len(passed) > 1:
            draw.line(passed, fill=_LINE, width=2)
        x, y = passed[-1]
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=_HERE)
        draw.text((_EDGE, 4), f"return {returns[self.step]:.2f}", fill=_HERE)
        return np.asarray(image)
