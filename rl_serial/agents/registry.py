"""The one table of agents: what a kind is configured by, where it plays, what trains it.

A row here and the agent's own file add a kind of agent; :func:`register_agent` adds one from
outside. Trainers are named, and imported where one is made, so that configurations load without
their libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from rl_serial.agents.settings import (
    AgentSettings,
    BaselineConfig,
    CloningAgentConfig,
    MPCAgentConfig,
    SB3AgentConfig,
    SearchAgentConfig,
    ValueAgentConfig,
)
from rl_serial.agents.settings_denoising import DenoisingAgentConfig
from rl_serial.agents.settings_goals import ContrastiveAgentConfig, SACAgentConfig
from rl_serial.agents.settings_solver import OrderingAgentConfig, SolverAgentConfig


@dataclass(frozen=True)
class Need:
    """How an agent takes one of a run's networks.

    Args:
        optional: it can do without.
        where: the key of the agent, and its value, with which alone the network is there.
    """

    optional: bool = False
    where: tuple[str, Any] | None = None

    def there(self, agent: AgentSettings) -> bool:
        """Whether an agent with these settings has the network."""
        return self.where is None or getattr(agent, self.where[0]) == self.where[1]


NEEDED, OPTIONAL = Need(), Need(optional=True)
NETWORK: Mapping[str, Need] = {"network": NEEDED}
WITH_POLICY: Mapping[str, Need] = {"network": NEEDED, "policy_network": OPTIONAL}


@dataclass(frozen=True)
class AgentKind:
    """A kind of agent.

    Args:
        kind: its name, the value of ``agent.kind``.
        config: the model of its keys.
        subjects: names of the subjects that it plays.
        trainer: makes its trainer from subject, device and log (see
            :class:`rl_serial.agents.protocols.Makes`), or ``module:function`` that does.
        networks: the networks of a run that it has.
        has_values: whether it gives values of states, which searches need.
        reads_loops: whether its trained network is examined at other numbers of loops.
        plans: whether a decision is a plan, whose cost an examination says.
        without_networks: what to say where a run gives it a network that it has not.
        actions: names of the spaces of actions that it plays with in Gymnasium environments.
        arguments: ``module:function`` that refuses (UserError) what of its settings a library's
            algorithm has not, at the price of importing it.
        answers_by: the network that a forward pass of an answer runs, by its name among the
            trainer's; empty where an answer takes others, or none.
        environment: ``module:function`` that refuses (UserError) a subject whose environment it
            cannot play in, at the price of making it.
    """

    kind: str
    config: type[AgentSettings]
    subjects: tuple[str, ...]
    trainer: str | Callable[..., Any]
    networks: Mapping[str, Need] = field(default_factory=lambda: NETWORK)
    has_values: bool = True
    reads_loops: bool = False
    plans: bool = False
    without_networks: str = ""
    actions: tuple[str, ...] = ()
    arguments: str | None = None
    environment: str | None = None
    answers_by: str = ""

    def check_arguments(self, agent: AgentSettings) -> None:
        """Refuse settings that a library's algorithm has not.

        Raises:
            UserError: an argument that there is not, or of a wrong kind.
        """
        if self.arguments is not None:
            named(self.arguments)(agent)

    def check_environment(self, world: Any) -> None:
        """Refuse a world that it cannot play in.

        Raises:
            UserError: an environment that cannot be made, or has not what the agent needs.
        """
        if self.environment is not None:
            named(self.environment)(world)

    def make_trainer(self, *given: Any) -> Any:
        """The trainer; arguments and errors are those of ``trainer``."""
        return named(self.trainer)(*given)


def named(what: str | Callable[..., Any]) -> Callable[..., Any]:
    """A function or class, imported where it is named as ``module:name``."""
    if not isinstance(what, str):
        return what
    module, _, name = what.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


AGENTS: dict[str, AgentKind] = {}
"""Every kind of agent by its name."""


def register_agent(agent: AgentKind) -> None:
    """Have configurations know a kind of agent.

    Raises:
        ValueError: another one has that name.
    """
    if AGENTS.setdefault(agent.kind, agent) != agent:
        raise ValueError(f"{agent.kind!r}: another kind of agent has this name; take another")


def kinds_playing(subject: str) -> list[str]:
    """The kinds of agents that play a subject."""
    return [kind for kind, row in AGENTS.items() if subject in row.subjects]


def _sb3(
    kind: str,
    config: type[AgentSettings],
    subjects: tuple[str, ...],
    actions: tuple[str, ...],
    networks: Mapping[str, Need] = NETWORK,
    answers_by: str = "policy",
) -> AgentKind:
    """The row of an algorithm of Stable-Baselines3 or sb3-contrib."""
    return AgentKind(
        kind,
        config,
        subjects,
        "rl_serial.agents.sb3:make_trainer",
        networks,
        actions=actions,
        arguments="rl_serial.agents.sb3:check_arguments",
        answers_by=answers_by,
    )


_ANYWHERE = ("chains", "gymnasium", "puzzles", "games")
_EXACT = ("chains", "puzzles", "games")
for _row in (
    AgentKind(
        "value",
        ValueAgentConfig,
        _EXACT,
        "rl_serial.agents.value:make_trainer",
        reads_loops=True,
        answers_by="value",
    ),
    AgentKind(
        "cloning",
        CloningAgentConfig,
        _EXACT,
        "rl_serial.agents.cloning:make_trainer",
        has_values=False,
        answers_by="policy",
    ),
    AgentKind(
        "denoising",
        DenoisingAgentConfig,
        ("chains",),
        "rl_serial.agents.denoising:make_trainer",
        has_values=False,
        answers_by="policy",
    ),
    _sb3("ppo", SB3AgentConfig, _ANYWHERE, ("Discrete", "Box"), WITH_POLICY),
    _sb3("dqn", SB3AgentConfig, _ANYWHERE, ("Discrete",), answers_by="value"),
    _sb3("qrdqn", SB3AgentConfig, _ANYWHERE, ("Discrete",), answers_by="value"),
    _sb3("maskable_ppo", SB3AgentConfig, _EXACT, ("Discrete",), WITH_POLICY),
    AgentKind(
        "search",
        SearchAgentConfig,
        _EXACT,
        "rl_serial.agents.search:make_trainer",
        {**WITH_POLICY, "model_network": Need(where=("dynamics", "learned"))},
    ),
    AgentKind(
        "random", BaselineConfig, _EXACT, "rl_serial.agents.baselines:make_trainer", {}, False
    ),
    AgentKind("optimal", BaselineConfig, _EXACT, "rl_serial.agents.baselines:make_trainer", {}),
    AgentKind(
        "solver",
        SolverAgentConfig,
        ("puzzles",),
        "rl_serial.agents.solver:make_trainer",
        has_values=False,
        reads_loops=True,
    ),
    AgentKind(
        "ordering",
        OrderingAgentConfig,
        ("puzzles",),
        "rl_serial.agents.solver:make_ordering_trainer",
        WITH_POLICY,
        has_values=False,
        reads_loops=True,
    ),
    AgentKind(
        "contrastive",
        ContrastiveAgentConfig,
        ("goals",),
        "rl_serial.agents.contrastive:make_trainer",
        WITH_POLICY,
    ),
    _sb3("sac", SACAgentConfig, ("goals", "gymnasium"), ("Box",), WITH_POLICY),
    _sb3("sac_her", SACAgentConfig, ("goals",), ("Box",), WITH_POLICY),
    *(
        AgentKind(
            kind,
            MPCAgentConfig,
            ("gymnasium",),
            "rl_serial.agents.mpc:make_trainer",
            {},
            plans=True,
            without_networks="agent.learning.width is that of what it learns",
            actions=("Box",),
            arguments="rl_serial.agents.mpc:read_settings",
            environment="rl_serial.agents.mpc:check_environment",
        )
        for kind in ("cem", "mppi")
    ),
):
    register_agent(_row)
