"""What the rest of the package asks of agents and of those who train them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.chain import Array

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rl_serial.agents.settings import AgentSettings
    from rl_serial.envs.tasks import Task

Log = Callable[[str, float, int], None]
"""Receives (TensorBoard tag, value, step)."""


class Preference(StrEnum):
    """What an agent's preferences are."""

    ACTION_VALUE = "action value"
    PROBABILITY = "probability"
    SEARCHED = "searched value"
    ONE_PLY = "one-ply value"
    ENUMERATED = "enumerated value"
    MEAN_RETURN = "mean return"
    NONE = "none"


@dataclass(frozen=True)
class Judgement:
    """What an agent makes of a batch of states, as arrays of the states' library."""

    preferences: Array  # [B, num_actions] float32: the legal action with the largest is taken
    values: Array | None  # [B] float32: estimates of the states' values, where it has any
    action: Array | None = None  # [B] int64: what it takes where that is not the most preferred


class Agent(Protocol):
    """Anything that decides in a task."""

    @property
    def preference(self) -> Preference:
        """What its preferences are."""

    def judge(self, state: Any) -> Judgement:
        """Judge a batch of states of its task."""


@runtime_checkable
class ObservingAgent(Agent, Protocol):
    """An agent that sees of a state only its observation and its legal actions."""

    def assess(self, observations: Array, legal: Array) -> Judgement:
        """Judge ``observations`` [B, layout.size] float32 with ``legal`` [B, num_actions] bool.

        NumPy arrays give NumPy arrays, tensors give tensors on their device.
        """


@runtime_checkable
class TakesPasses(Protocol):
    """An agent of which a decision takes several forward passes, one after the other."""

    @property
    def passes(self) -> int:
        """So many; any other agent's decision takes one."""


@runtime_checkable
class ActsOnObservations(Protocol):
    """An agent that takes observations of an environment to actions, without noise."""

    def act(self, observations: Any) -> NDArray[Any]:
        """Actions [N, ...] for observations [N, O], or for a dictionary of arrays [N, ...]."""


def on_host(array: Array) -> NDArray[Any]:
    """A NumPy or torch array of any device as a NumPy array."""
    return array.cpu().numpy() if hasattr(array, "cpu") else np.asarray(array)


def decide(judgement: Judgement, legal: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[B] the agent's action: by its word, or the legal one with the largest preference.

    Of equal ones the first.
    """
    if judgement.action is not None:
        return on_host(judgement.action)
    choices: NDArray[np.int64] = np.where(legal, judgement.preferences, -np.inf).argmax(axis=1)
    return choices


class PlayedEpisode(Protocol):
    """An episode that an agent has played."""

    @property
    def seed(self) -> int:
        """Of the environment's reset."""

    @property
    def total(self) -> float:
        """The undiscounted return."""

    @property
    def steps(self) -> int:
        """Until its end."""


class Plays(Protocol):
    """An agent that plays episodes of Gymnasium environments."""

    def evaluate(
        self, seeds: Sequence[int], generator: np.random.Generator, envs: Sequence[Any]
    ) -> Sequence[PlayedEpisode]:
        """Play an episode for each seed, side by side, without learning anything.

        Args:
            seeds: of the environments' resets, none that training draws.
            generator: of what is random in the agent.
            envs: one for each seed, as ``gymnasium.make`` makes them; they stay open.
        """


@runtime_checkable
class PlaysByPlanning(Plays, Protocol):
    """The same by plans, whose episodes say ``model_steps`` and ``simulator_steps`` too."""

    @property
    def accounts(self) -> Any:
        """What a decision costs, as :class:`rl_serial.planning.mpc.SerialAccounts`."""


class Trainer(Protocol):
    """What a run asks of an agent in training; a baseline is one with nothing to do."""

    total: int  # steps of the whole training
    metrics: dict[str, float]  # what it last logged itself

    @property
    def step(self) -> int:
        """Steps made."""

    @property
    def agent(self) -> Any:
        """The agent as it is now, as the subject's examination takes it."""

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that are trained."""

    @property
    def examples(self) -> dict[str, Any]:
        """An input of one row for each of the networks, a tensor or a tuple of them."""

    def train(self, pause: Callable[[], None]) -> None:
        """Make the steps that are left, calling ``pause`` where the state is whole."""

    def state_dict(self) -> dict[str, Any]:
        """The whole state of training, as tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""

    def model_state(self) -> dict[str, Any]:
        """The trained weights."""

    def load_model_state(self, state: dict[str, Any]) -> None:
        """Take trained weights."""


@runtime_checkable
class LoadsZips(Protocol):
    """A trainer that takes weights which Stable-Baselines3 saved."""

    def load_zip(self, file: Any) -> None:
        """Take the policy of a zip. Unpickles: trusted files only.

        Raises:
            UserError: the file is no such zip, or of another policy.
        """


@runtime_checkable
class ReadsLoops(Protocol):
    """A trainer whose network gives something after other numbers of loops."""

    def agent_after(self, loops: int) -> Agent:
        """The agent on what the network gives after so many loops."""


class World(Protocol):
    """What a subject gives those who make a trainer."""

    @property
    def seed(self) -> int:
        """Of the run."""

    @property
    def agent(self) -> AgentSettings:
        """Of the run."""

    def trunk(self, key: str) -> dict[str, Any]:
        """The arguments of ``build_trunk`` for a network of the run, its width solved.

        Args:
            key: network, policy_network (where the run has none, network) or model_network.

        Raises:
            UserError: a depth that the trunk cannot have, or a budget that no width meets.
        """


class ChainWorld(World, Protocol):
    """The same of a chain under a task."""

    task: Task[Any]

    @property
    def training_task(self) -> Task[Any]:
        """The rules that training plays by, which may start elsewhere."""

    def make_vec(self, num_envs: int, processes: int = 1) -> Any:
        """A native vector environment of the training task, which is one batch in one process."""


class GoalWorld(World, Protocol):
    """The same of a goal environment."""

    actions: Any  # the space of actions, a bounded Box [A]
    state: int  # numbers of a state, the achieved goal included
    action: int  # A
    goal: int  # numbers of a goal

    def make_vec(self, num_envs: int, processes: int = 1) -> Any:
        """Vector environments, as ``make_goal_vec`` makes them."""

    def psi_trunk(self) -> dict[str, Any]:
        """As :meth:`trunk`, of the network of contrastive RL that embeds goals."""


class ControlWorld(World, Protocol):
    """The same of a Gymnasium environment that is planned in."""

    def make(self, **further: Any) -> Any:
        """The environment, with further keywords of ``gymnasium.make``."""


Makes = Callable[[Any, "torch.device", Log], Trainer]
"""Makes a trainer from a :class:`World`, the device of the networks and what takes the log."""
