"""What a run asks of its subject, and the row that makes a subject known.

A subject is what runs are about: chains with exact values, goal environments, Gymnasium
environments. It makes the trainer and the examination; :mod:`rl_serial.runs` does the rest, folder,
checkpoints and monitoring, for all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from rl_serial.agents.protocols import Agent, Log, Trainer
from rl_serial.config import EvaluationConfig, RunConfig
from rl_serial.errors import UserError
from rl_serial.metrics import Measurement, Metric, Place, Profile


class AnotherSubject(UserError):
    """An environment that turns out, when it is made, to be none of the subject's."""


class Examination(Protocol):
    """What an examination found."""

    def measurements(self) -> list[Measurement]:
        """What was measured; NaN where nothing was."""

    def final(self) -> dict[str, Any]:
        """What ``summary.json`` keeps beside the measurements: intervals, what they refer to."""

    def headline(self) -> str:
        """The one line that a command prints."""


Examine = Callable[[Any], Examination]
"""Examines an agent, always on the same instances."""


class Shown(Protocol):
    """A moment of an episode."""

    def text(self) -> str:
        """As text."""

    def picture(self) -> NDArray[np.uint8]:
        """As a picture [height, width, 3], of the same size all through an episode."""


@dataclass(frozen=True)
class ExaminedRun:
    """A run and what its agent's examination found."""

    config: RunConfig
    evaluation: Any  # the subject's own kind of examination


class Subject(Protocol):
    """What a run is about; made from its configuration."""

    charts: ClassVar[dict[str, Any]]  # the page of TensorBoard's custom-scalars tab
    drawn: ClassVar[str]  # what the figure of :meth:`draw` shows

    def check(self, keys: Collection[str]) -> None:
        """Refuse what these keys of the configuration (networks, agent) cannot have: UserError."""

    def examiner(self) -> Examine:
        """Makes the evaluation instances."""

    def last_examination(self, examine: Examine, trainer: Trainer) -> Examination:
        """Examines the agent of a finished training, beside what is examined only then."""

    def trainer(self, device: torch.device, log: Log) -> Trainer:
        """The trainer that the configuration describes."""

    def further_measurements(
        self, trainer: Trainer, examine: Examine, device: torch.device
    ) -> list[Measurement]:
        """What is measured once, at the end."""

    def watch(self, agent: Any, instance: int = 0) -> Sequence[Shown]:
        """An evaluation episode from its first state to its end."""

    @staticmethod
    def tables(examined: list[ExaminedRun]) -> list[str]:
        """Examined runs side by side, as Markdown tables."""

    @staticmethod
    def draw(examined: list[ExaminedRun], file: Path) -> None:
        """Draw examined runs into one figure."""


@dataclass(frozen=True)
class SearchScore:
    """The score of an agent with a search on top."""

    simulations: int | str  # or "one-ply"; 0 is the raw network
    mean_return: float
    score: float
    interval: tuple[float, float]  # 95 % over instances
    right: dict[int, float]  # share of episodes played optimally, by remaining at their start
    seconds: float  # of play, all instances together
    model_steps: float  # of a decision with a choice, as the model counted them

    @property
    def tag(self) -> str:
        """Its number among metrics."""
        return "one_ply" if self.simulations == ONE_PLY else str(self.simulations)


ONE_PLY = "one-ply"


class Searcher(Agent, Protocol):
    """An agent with a search on top."""

    algorithm: str

    @property
    def dynamics_kind(self) -> str:
        """What is searched in: true or learned."""


@runtime_checkable
class HasSpaces(Protocol):
    """A subject that says what its agents see and do."""

    @property
    def spaces(self) -> tuple[Any, Any]:
        """The spaces of observations and actions, as a single environment has them."""


@runtime_checkable
class SearchableSubject(Subject, Protocol):
    """A subject with rules that a search can run in."""

    def searcher(
        self,
        trainer: Trainer,
        device: torch.device,
        dynamics: str | None = None,
        algorithm: str | None = None,
        simulations: int = 0,
    ) -> Searcher:
        """A search on top of a trained agent; None: as the run searched itself, if it did.

        Args:
            trainer: trained.
            device: where the networks are, and then the trees.
            dynamics: true or learned; else the run's own.
            algorithm: gumbel or puct; else the run's own.
            simulations: of a decision.

        Raises:
            UserError: an agent without values; dynamics that were not learned.
        """

    def search_scores(self, searcher: Searcher, simulations: Sequence[int]) -> list[SearchScore]:
        """Scores of the one-ply agent and of searches with each number of ``simulations``."""


@dataclass(frozen=True)
class SubjectRow:
    """How a subject is known.

    Args:
        name: in the rows of agents.
        place: where its agents are, in words: "on chains".
        a_member: what an environment of it is: "a chain".
        owns: whether an environment's id is known to be one of its.
        may_own: whether an id that no subject is known to own may be one of its.
        evaluation: the model of ``evaluation``.
        check: what the parts of a run ask of each other; UserError.
        subject: makes the :class:`Subject` of a run, or ``module:class`` that does.
        metrics: everything that its runs may measure.
        places: what the runs of a configuration log when they are done.
        profile: what every report draws of the runs of a configuration.
        above_floor: says how far an agent is above what needs no skill.
        most_steps: what a metric that counts serial steps can reach.
        together: the key of runs that can be trained as one batch; None: none can.
    """

    name: str
    place: str
    a_member: str
    owns: Callable[[str], bool]
    may_own: Callable[[str], bool]
    evaluation: type[EvaluationConfig]
    check: Callable[[RunConfig], None]
    subject: str | Callable[[RunConfig], Subject]
    metrics: tuple[Metric, ...]
    places: Callable[[RunConfig], Iterable[Place]]
    profile: Callable[[RunConfig], Profile] | None = None
    above_floor: Metric | None = None
    most_steps: Callable[[RunConfig], int] | None = None
    together: Callable[[RunConfig], str | None] | None = None
