"""What an MPC agent is and how it learns, and both from the keys of a run."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import inf
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from rl_serial.agents.settings import MPCAgentConfig
from rl_serial.errors import OptionError, UserError, did_you_mean, require
from rl_serial.planning.mpc import CEM, MPPI
from rl_serial.settings import faults_of

PLANNERS: dict[str, type[CEM | MPPI]] = {"cem": CEM, "mppi": MPPI}


@dataclass(frozen=True)
class Learning:
    """How the networks of a :class:`MPCAgent` learn; each after every episode of training.

    Args:
        width: of the two hidden layers of each network.
        learning_rate: of Adam.
        batch_size: steps drawn for an update.
        updates: of each network for every step that was played, positive.
        memory: newest steps that are learned from.
        random_steps: a learned model only: whole episodes are played at random until there are as
            many steps to learn from.
        trace: λ in [0, 1] of the value's targets, :func:`lambda_returns`.

    Raises:
        ValueError: a setting out of its range; the message names it.
    """

    width: int = 200
    learning_rate: float = 1e-3
    batch_size: int = 256
    updates: float = 1.0
    memory: int = 100_000
    random_steps: int = 1000
    trace: float = 0.95

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name in ("width", "batch_size", "memory", "random_steps"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(0 < self.learning_rate < inf, "learning_rate", self.learning_rate, "positive")
        require(0 < self.updates < inf, "updates", self.updates, "positive")
        require(0 <= self.trace <= 1, "trace", self.trace, "in [0, 1]")


@dataclass(frozen=True)
class MPCSettings:
    """What a :class:`MPCAgent` is.

    Args:
        planner: CEM or MPPI with its settings.
        horizon: H, actions planned ahead, at least 1.
        model: the ``true`` simulator, or one ``learned`` from what was played.
        reward: in a learned model the rules of the task (``known``) say reward and end, or the
            network does (``learned``). The true simulator knows them anyhow.
        terminal_value: whether a learned value of the last state is added to a plan's return.
        discount: γ in (0, 1] of rewards along a plan, less than 1 with a terminal value.
        carry: elites of a plan that, shifted, are candidates for the next one (iCEM), at most what
            the planner hands on: its elites, or 1 with MPPI.
        learning: of model and value.

    Raises:
        ValueError: a setting out of its range; the message names it.
    """

    planner: CEM | MPPI = field(default_factory=CEM)
    horizon: int = 20
    model: Literal["true", "learned"] = "true"
    reward: Literal["known", "learned"] = "known"
    terminal_value: bool = False
    discount: float = 0.99
    carry: int = 0
    learning: Learning = field(default_factory=Learning)

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        require(self.horizon >= 1, "horizon", self.horizon, "1 or more")
        require(self.model in ("true", "learned"), "model", self.model, "'true' or 'learned'")
        known = self.reward == "known"
        require(known or self.reward == "learned", "reward", self.reward, "'known' or 'learned'")
        if self.model == "true":
            require(known, "reward", self.reward, "'known' with the true model")
        require(0 < self.discount <= 1, "discount", self.discount, "in (0, 1]")
        if self.terminal_value:
            right = "less than 1 with terminal_value"
            require(self.discount < 1, "discount", self.discount, right)
        most = self.planner.elites if isinstance(self.planner, CEM) else 1
        require(0 <= self.carry <= most, "carry", self.carry, f"from 0 to {most}")
        if self.model == "learned":
            memory, least = self.learning.memory, self.learning.random_steps
            right = f"random_steps = {least} or more with a learned model"
            require(memory >= least, "learning.memory", memory, right)

    @property
    def learns(self) -> bool:
        """Whether there is anything to train."""
        return self.terminal_value or self.model == "learned"


def read_settings(agent: MPCAgentConfig) -> MPCSettings:
    """The agent's settings, each part built and checked.

    Raises:
        UserError: an option that there is not, or one out of its range; the message begins with
            its key.
    """
    planner = _built(PLANNERS[agent.kind], agent.planner, "agent.planner")
    learning = _built(Learning, agent.learning, "agent.learning")
    own = {f.name: getattr(agent, f.name) for f in fields(MPCSettings)}
    try:
        return MPCSettings(**own | {"planner": planner, "learning": learning})
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
