"""The one table of chain families, and the Gymnasium ids made from it.

A row here, a file in :mod:`rl_serial.envs.chains` and a page in ``docs/chains`` add a family.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

import gymnasium

from rl_serial.envs import goals
from rl_serial.envs.chain import MOST_OBSERVED, MOST_SERIAL_DEPTH, Chain
from rl_serial.envs.chains.cellular_automaton import CellularAutomaton
from rl_serial.envs.chains.circuit import Circuit
from rl_serial.envs.chains.many_body import ManyBody
from rl_serial.envs.chains.permutation_automaton import PermutationAutomaton
from rl_serial.envs.chains.pointer_chase import PointerChase
from rl_serial.envs.simulation import REQUIREMENT
from rl_serial.envs.tasks import Bet, Steer, Task
from rl_serial.errors import OptionError, did_you_mean, refuse_unknown, require, shown

NAMESPACE = "rl_serial"
VERSION = "v0"
MOST = {"serial_depth": MOST_SERIAL_DEPTH, "think_budget": MOST_SERIAL_DEPTH}
"""The largest values of options; of the others it is what an observation holds."""
TASKS: dict[str, type[Bet[Any]] | type[Steer[Any]]] = {"Bet": Bet, "Steer": Steer}


@dataclass(frozen=True)
class Family:
    """A chain family: what sets its serial setting and its twins, and the claim about them."""

    chain: type[Any]
    option: str  # the option in which serial setting and twins differ, and nothing else does
    serial: tuple[Any, ...]  # its serial values, the default first
    between: tuple[Any, ...]  # values that are neither
    twins: tuple[Any, ...]  # its values with a closed form, the main twin first
    complexity: str
    source: str
    sizes: Callable[[int], dict[str, int]] | None = None  # options that a serial depth asks for
    requires: str | None = None  # what its rules need beside the base install
    instances: int = 4096  # drawn for the certificate: fewer where a step is a simulation

    @property
    def name(self) -> str:
        """The name in ids, configs and docs: that of the chain's class."""
        return self.chain.__name__

    @property
    def extra(self) -> str | None:
        """The extra that brings what the rules need, and the module that it brings."""
        return self.requires and re.split(r"\W", self.requires)[0]


FAMILIES = {
    family.name: family
    for family in (
        Family(
            PermutationAutomaton,
            option="group",
            serial=("s5", "a5"),
            between=("d5", "f20"),
            twins=("z5",),
            complexity="NC1-complete; twin in TC0",
            source="Barrington 1989",
        ),
        Family(
            CellularAutomaton,
            option="rule",
            serial=(110, 30, 54),
            between=(),
            twins=(170, 90),
            complexity="P-complete (rule 110); twins have a closed form",
            source="Neary and Woods 2006",
        ),
        Family(
            Circuit,
            option="wiring",
            serial=("layered",),
            between=(),
            twins=("flat",),
            complexity="P-complete when wires grow with serial depth; twin has depth 1",
            source="Ladner 1975",
            sizes=lambda serial_depth: {"wires": max(8, serial_depth)},
        ),
        Family(
            PointerChase,
            option="table",
            serial=("random",),
            between=(),
            twins=("shift",),
            complexity="logspace-complete; twin is arithmetic",
            source="Cook and McKenzie 1987",
            sizes=lambda serial_depth: {"nodes": max(16, 2 * serial_depth)},
        ),
        Family(
            ManyBody,
            option="contacts",
            serial=("elastic",),
            between=(),
            twins=("none",),
            complexity="colliding discs can compute any circuit; twin has a closed form",
            source="Fredkin and Toffoli 1982",
            requires=REQUIREMENT,
            instances=1024,
        ),
    )
}


def env_id(family: str, task: str) -> str:
    """The Gymnasium id of a family under a task."""
    return f"{NAMESPACE}/{family}{task}-{VERSION}"


def plain_id(id_: str) -> str:
    """The id without the ``rl_serial:`` with which Gymnasium imports this package first."""
    return id_.removeprefix(f"{NAMESPACE}:")


KICK_ID = env_id("ManyBody", "Kick")
"""Continuous kicks (docs/control.md): no chain of the table, as its payoff is another."""

ENV_IDS: dict[str, tuple[Family, str]] = {
    env_id(family.name, task): (family, task) for family in FAMILIES.values() for task in TASKS
}


def options_of(family: str, task: str) -> dict[str, Any]:
    """Every option of an environment with its default, the chain's before the task's."""
    return {
        field.name: field.default
        for owner in (FAMILIES[family].chain, TASKS[task])
        for field in fields(owner)
        if field.default is not MISSING
    }


def make_task(family: str, task: str, /, **options: Any) -> Task[Any]:
    """The rules of an environment: the chain with its options under the task with its own.

    Args:
        family: a name of ``FAMILIES``.
        task: Bet or Steer.
        options: fields of the chain or of the task, see :func:`options_of`.

    Raises:
        UnknownOption: an option that does not exist; it is a ValueError and a TypeError.
        ValueError: an option of the wrong type or outside its range.
        gymnasium.error.DependencyNotInstalled: what the family's rules need is missing.
    """
    _check_installed(FAMILIES[family])
    known = options_of(family, task)
    refuse_unknown(options, known, f"{family}{task}")
    for name, value in options.items():
        hints = get_type_hints(FAMILIES[family].chain) | get_type_hints(TASKS[task])
        hint = hints[name] | int if hints[name] is float else hints[name]
        if not isinstance(value, hint) or isinstance(value, bool):
            wanted = getattr(hints[name], "__name__", hints[name])
            given = type(value).__name__
            raise OptionError(
                name,
                f"must be {wanted}, not {given}",
                f"{name}={shown(value)}: must be {wanted}, not {given}",
            )
        if isinstance(value, int | float):
            most = MOST.get(name, MOST_OBSERVED)
            require(abs(value) <= most, name, value, f"{most} at most")
    chain_fields = {field.name for field in fields(FAMILIES[family].chain)}
    chain: Chain[Any] = FAMILIES[family].chain(
        **{name: value for name, value in options.items() if name in chain_fields}
    )
    made: Task[Any] = TASKS[task](
        chain, **{name: value for name, value in options.items() if name not in chain_fields}
    )
    if made.layout.size > MOST_OBSERVED:
        raise ValueError(
            f"{', '.join(options)}: an observation would have {made.layout.size} numbers; "
            f"{MOST_OBSERVED} are the most"
        )
    return made


def _check_installed(family: Family) -> None:
    if family.extra and importlib.util.find_spec(family.extra) is None:
        raise gymnasium.error.DependencyNotInstalled(
            f"{family.name} needs {family.requires}, which is not installed: "
            f"pip install 'rl_serial[{family.extra}]'"
        )


class UnknownEnvironment(ValueError):
    """An id that no chain has."""


def task_of(env: str, /, **options: Any) -> Task[Any]:
    """The rules of an environment by its Gymnasium id.

    Raises:
        UnknownEnvironment: an unknown id; it is a ValueError.
        ValueError: an unknown option.
    """
    if plain_id(env) not in ENV_IDS:
        near = did_you_mean(env, ENV_IDS)
        raise UnknownEnvironment(
            f"{env}: no such environment; there are {', '.join(ENV_IDS)}{near}"
        )
    family, task = ENV_IDS[plain_id(env)]
    return make_task(family.name, task, **options)


def register() -> None:
    """Register the families under every task, the goal environments and the continuous task."""
    goals.register()
    for id_, (family, task) in ENV_IDS.items():
        gymnasium.register(
            id_,
            entry_point="rl_serial.envs.gym:SerialEnv",
            vector_entry_point="rl_serial.envs.gym:SerialVectorEnv",
            kwargs={"family": family.name, "task": task},
        )
    gymnasium.register(KICK_ID, entry_point="rl_serial.envs.kick:KickEnv")
