"""The one table of chain families, and the Gymnasium ids made from it.

:func:`register_family` adds a row, from outside the package too (docs/own_chain.md). A row here, a
file in :mod:`rl_serial.envs.chains` and a page in ``docs/chains`` add a family to the package.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from types import NoneType
from typing import Any, get_args, get_type_hints

import gymnasium

from rl_serial.envs import games, goals, puzzles
from rl_serial.envs.chain import MOST_OBSERVED, MOST_SERIAL_DEPTH, WORDS, Chain
from rl_serial.envs.chains.cellular_automaton import CellularAutomaton
from rl_serial.envs.chains.circuit import Circuit
from rl_serial.envs.chains.many_body import ManyBody
from rl_serial.envs.chains.permutation_automaton import PermutationAutomaton
from rl_serial.envs.chains.pointer_chase import PointerChase
from rl_serial.envs.chains.word_problem import WordProblem
from rl_serial.envs.simulation import REQUIREMENT
from rl_serial.envs.tasks import Bet, Steer, Task
from rl_serial.envs.write import Write
from rl_serial.errors import OptionError, did_you_mean, refuse_unknown, require, shown

NAMESPACE = "rl_serial"
VERSION = "v0"
MOST = dict.fromkeys(("serial_depth", "think_budget", "scratchpad"), MOST_SERIAL_DEPTH)
"""The largest values of options; of the others it is what an observation holds."""
TASKS: dict[str, type[Any]] = {"Bet": Bet, "Steer": Steer, "Write": Write}


@dataclass(frozen=True)
class Family:
    """A chain family: what sets its serial setting and its twins, and the claim about them."""

    chain: type[Any]
    option: str  # the option in which serial setting and twins differ, and nothing else does
    serial: tuple[Any, ...]  # its serial values, the default first
    twins: tuple[Any, ...]  # its values with a closed form, the main twin first
    complexity: str
    source: str
    between: tuple[Any, ...] = ()  # values that are neither
    sizes: Callable[[int], dict[str, int]] | None = None  # options that a serial depth asks for
    requires: str | None = None  # what its rules need beside the base install
    instances: int = 4096  # drawn for the certificate: fewer where a step is a simulation

    @property
    def name(self) -> str:
        """The name in ids, configs and docs: that of the chain's class."""
        return self.chain.__name__

    @property
    def settings(self) -> tuple[Any, ...]:
        """Every value of the option, serial ones first, twins last."""
        return (*self.serial, *self.between, *self.twins)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that its chains can be under: Write where they have words."""
        words = all(hasattr(self.chain, part) for part in WORDS)
        return tuple(task for task in TASKS if words or TASKS[task] is not Write)

    @property
    def is_own(self) -> bool:
        """Whether the family is the package's own, and no user's."""
        return self.chain.__module__.partition(".")[0] == NAMESPACE

    @property
    def extra(self) -> str | None:
        """The module that the rules need; the package's own have an extra of that name."""
        return self.requires and re.split(r"\W", self.requires)[0]


FAMILIES: dict[str, Family] = {}
"""Every family by its name."""

ENV_IDS: dict[str, tuple[Family, str]] = {}
"""Family and task by Gymnasium id."""


def env_id(family: str, task: str) -> str:
    """The Gymnasium id of a family under a task."""
    return f"{NAMESPACE}/{family}{task}-{VERSION}"


def plain_id(id_: str) -> str:
    """The id without the ``rl_serial:`` with which Gymnasium imports this package first."""
    return id_.removeprefix(f"{NAMESPACE}:")


KICK_ID = env_id("ManyBody", "Kick")
"""Continuous kicks (docs/control.md): no chain of the table, as its payoff is another."""


def register_family(
    chain: type[Any],
    *,
    option: str,
    serial: tuple[Any, ...],
    twins: tuple[Any, ...],
    complexity: str,
    source: str,
    between: tuple[Any, ...] = (),
    sizes: Callable[[int], dict[str, int]] | None = None,
    requires: str | None = None,
    instances: int = 4096,
) -> Family:
    """Make a chain family known: to Gymnasium, configurations, commands, studies, the planner.

    The ids are ``rl_serial/<name of the class>Bet-v0``, ``…Steer-v0`` and, of a chain with words,
    ``…Write-v0``. The same family may be registered again; so may a class that was made again by
    the same module (a reload, a cell of a notebook), and takes the place of the former one. Whether
    the rules keep the contract is what :func:`rl_serial.envs.testing.check_family` finds out.

    Args:
        chain: the class of the chain (:class:`rl_serial.envs.chain.Chain`): a frozen dataclass
            whose fields are options of the types int, float or str, with a default each.
        option: the field in which serial setting and twins differ.
        serial: its serial values, the default first.
        twins: its values with a closed form, the main twin first.
        complexity: what is claimed of serial setting and twins, in a line.
        source: where that is shown.
        between: values that are neither.
        sizes: the options that grow with a serial depth, where some must.
        requires: what the rules need beside the base install, as pip takes it, by a name that
            begins with that of its module.
        instances: drawn for the certificate of a setting.

    Returns:
        The row.

    Raises:
        ValueError: another family has that name, or the row does not fit the class; it says where.
    """
    row = Family(
        chain,
        option=option,
        serial=tuple(serial),
        twins=tuple(twins),
        complexity=complexity,
        source=source,
        between=tuple(between),
        sizes=sizes,
        requires=requires,
        instances=instances,
    )
    _check_row(row)
    there = FAMILIES.get(row.name)
    if there is not None and not _is_again(row, there):
        raise ValueError(
            f"{row.name}: another family has this name, that of {there.chain.__module__}"
            f".{there.chain.__qualname__}; give the class another name"
        )
    FAMILIES[row.name] = row
    for task in row.tasks:
        id_ = env_id(row.name, task)
        ENV_IDS[id_] = row, task
        if id_ not in gymnasium.registry:
            gymnasium.register(
                id_,
                entry_point="rl_serial.envs.gym:SerialEnv",
                vector_entry_point="rl_serial.envs.gym:SerialVectorEnv",
                kwargs={"family": row.name, "task": task},
            )
    return row


def _is_again(row: Family, there: Family) -> bool:
    """Whether a row is one that is there, or the same code made again."""
    if row.chain is there.chain:  # a function in the row may have been made anew
        return replace(row, sizes=None) == replace(there, sizes=None)
    mine, theirs = row.chain, there.chain
    return (mine.__module__, mine.__qualname__) == (theirs.__module__, theirs.__qualname__)


def _check_row(row: Family) -> None:
    """Raise a ValueError where row and class do not fit each other."""
    chain = row.chain
    name = getattr(chain, "__name__", shown(chain))
    if not (isinstance(chain, type) and is_dataclass(chain)):
        raise ValueError(f"{name}: must be a class with @dataclass(frozen=True)")
    if not chain.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise ValueError(f"{name}: must be frozen: @dataclass(frozen=True)")
    options = {field.name: field for field in fields(chain)}
    hints = get_type_hints(chain)
    for field in options.values():
        _check_field(name, field, hints[field.name])
    for needed in ("serial_depth", row.option):
        if needed not in options:
            near = did_you_mean(needed, options)
            raise ValueError(f"{name}: has no field {needed}; there are {', '.join(options)}{near}")
    for values, what in ((row.serial, "serial"), (row.twins, "twins")):
        if not values:
            raise ValueError(f"{name}: {what} is empty; name a value of {row.option} at least")
    if len(set(row.settings)) < len(row.settings):
        raise ValueError(f"{name}: a value of {row.option} stands twice in serial, between, twins")
    default = options[row.option].default
    if default != row.serial[0]:
        raise ValueError(
            f"{name}: the default of {row.option} is {shown(default)}; it must be the first of "
            f"serial, {shown(row.serial[0])}"
        )


def _check_field(name: str, field: Field[Any], hint: Any) -> None:
    """Raise a ValueError if a field of the chain ``name`` cannot be an option."""
    kinds = set(get_args(hint)) or {hint}
    if not (kinds <= {int, float, str, NoneType} and kinds != {NoneType}):
        raise ValueError(
            f"{name}.{field.name}: an option is an int, a float or a str (or None), not "
            f"{getattr(hint, '__name__', hint)}"
        )
    if field.default is MISSING:
        raise ValueError(f"{name}.{field.name}: has no default; each option needs one")
    if field.name in _TAKEN:
        raise ValueError(
            f"{name}.{field.name}: this is an option of the tasks and environments; take another "
            "name"
        )


_TAKEN = {field.name for task in TASKS.values() for field in fields(task)} | {
    "id",
    "family",
    "task",
    "num_envs",
    "autoreset_mode",
    "render_mode",
}
"""Options of tasks, environments and configurations, which no chain's may be called."""


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
        task: Bet, Steer or, of a family with words, Write.
        options: fields of the chain or of the task, see :func:`options_of`.

    Raises:
        UnknownOption: an option that does not exist; it is a ValueError and a TypeError.
        ValueError: an option of the wrong type or outside its range.
        gymnasium.error.DependencyNotInstalled: what the family's rules need is missing.
    """
    _check_installed(FAMILIES[family])
    tasks = FAMILIES[family].tasks
    if task not in tasks:
        raise ValueError(f"{family} is under {', '.join(tasks)} alone, not {task}")
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
        package = f"rl_serial[{family.extra}]" if family.is_own else family.requires
        raise gymnasium.error.DependencyNotInstalled(
            f"{family.name} needs {family.requires}, which is not installed: "
            f"pip install '{package}'"
        )


class UnknownEnvironment(ValueError):
    """An id that no chain has."""


def task_of(env: str, /, **options: Any) -> Task[Any]:
    """The rules of an environment by its Gymnasium id.

    Raises:
        UnknownEnvironment: an unknown id; it is a ValueError.
        ValueError: an unknown option.
    """
    family, task = known_env(env)
    return make_task(family.name, task, **options)


def known_env(env: str) -> tuple[Family, str]:
    """The family and the task of a Gymnasium id.

    Raises:
        UnknownEnvironment: an unknown id; it is a ValueError.
    """
    if plain_id(env) not in ENV_IDS:
        near = did_you_mean(env, ENV_IDS)
        raise UnknownEnvironment(
            f"{env}: no such environment; there are {', '.join(ENV_IDS)}; "
            f"--import MODULE loads a family of your own{near}"
        )
    return ENV_IDS[plain_id(env)]


def register() -> None:
    """Register goal environments, puzzles, games and the continuous task, beside the families."""
    goals.register()
    puzzles.register()
    games.register()
    gymnasium.register(KICK_ID, entry_point="rl_serial.envs.many_body_kick:KickEnv")


register_family(
    PermutationAutomaton,
    option="group",
    serial=("s5", "a5"),
    between=("d5", "f20"),
    twins=("z5",),
    complexity="NC1-complete; twin in TC0",
    source="Barrington 1989",
)
register_family(
    CellularAutomaton,
    option="rule",
    serial=(110, 30, 54),
    twins=(170, 90),
    complexity="P-complete (rule 110); twins have a closed form",
    source="Neary and Woods 2006",
)
register_family(
    Circuit,
    option="wiring",
    serial=("layered",),
    twins=("flat",),
    complexity="P-complete when wires grow with serial depth; twin has depth 1",
    source="Ladner 1975",
    sizes=lambda serial_depth: {"wires": max(8, serial_depth)},
)
register_family(
    PointerChase,
    option="table",
    serial=("random",),
    twins=("shift",),
    complexity="logspace-complete; twin is arithmetic",
    source="Cook and McKenzie 1987",
    sizes=lambda serial_depth: {"nodes": max(16, 2 * serial_depth)},
)
register_family(
    WordProblem,
    option="graph",
    serial=("deep",),
    twins=("shallow",),
    complexity="logspace-complete path of sentences; twin has depth 1",
    source="Cook and McKenzie 1987",
    sizes=lambda serial_depth: {"facts": max(16, 2 * serial_depth)},
)
register_family(
    ManyBody,
    option="contacts",
    serial=("elastic",),
    twins=("none",),
    complexity="colliding discs can compute any circuit; twin has a closed form",
    source="Fredkin and Toffoli 1982",
    requires=REQUIREMENT,
    instances=1024,
)
