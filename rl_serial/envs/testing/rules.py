"""The rules of a chain as the contract test calls them, with errors that say where."""

from __future__ import annotations

import copy
from dataclasses import is_dataclass
from typing import Any

import numpy as np

from rl_serial.envs.chain import Array, Chain, array_namespace, map_state
from rl_serial.errors import shown

BATCH = 200
"""Instances that are followed step by step."""


class ChainContractError(AssertionError):
    """A chain that does not keep the contract: what was found, where, and what is asked."""


def arrays_of(thing: Any, name: str = "") -> dict[str, Any]:
    """Every array of a state by the name of its field, or an array that stands by itself."""
    if not is_dataclass(thing):
        return {name: thing}
    found: dict[str, Any] = {}
    for field, value in vars(thing).items():
        found |= arrays_of(value, f"{name}.{field}" if name else field)
    return found


def numpy_of(array: Array) -> Any:
    """The same numbers as a NumPy array."""
    return np.asarray(array)


def difference(one: Any, other: Any) -> str | None:
    """How two states or arrays differ, in a few words; None: they are the same."""
    mine, theirs = arrays_of(one), arrays_of(other)
    if mine.keys() != theirs.keys():
        return f"fields {', '.join(mine)} against {', '.join(theirs)}"
    for name, array in mine.items():
        a, b = numpy_of(array), numpy_of(theirs[name])
        lead = f"{name} " if name else ""
        if a.shape != b.shape:
            return f"{lead}has the shape {list(a.shape)} against {list(b.shape)}"
        if a.dtype != b.dtype:
            return f"{lead}is {a.dtype} against {b.dtype}"
        unlike = a != b
        if a.dtype.kind == "f":
            unlike &= ~(np.isnan(a) & np.isnan(b))
        if unlike.any():
            place = tuple(int(i) for i in np.argwhere(unlike)[0])
            return f"{lead}at {list(place)} is {a[place]} against {b[place]}"
    return None


def rows_that_differ(one: Any, other: Any) -> Any:
    """[B] bool: the rows in which two states or arrays of the same shapes differ anywhere."""
    parts = [
        (numpy_of(a) != numpy_of(b)).reshape(numpy_of(a).shape[0], -1).any(axis=1)
        for a, b in zip(arrays_of(one).values(), arrays_of(other).values(), strict=True)
    ]
    return np.any(parts, axis=0)


def is_frozen(thing: Any) -> bool:
    """Whether a thing is a frozen dataclass."""
    parameters = getattr(thing, "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


def rows_of(thing: Any, rows: Any) -> Any:
    """Some rows of a state or array."""
    if is_dataclass(thing):
        return map_state(lambda array: array[rows], thing)
    return thing[rows]


class Rules:
    """A chain whose rules are called twice each, with a look at what they leave behind."""

    def __init__(self, chain: Chain[Any]) -> None:
        self.chain: Any = chain

    def error(self, where: str, found: str, asked: str) -> ChainContractError:
        """The error: ``where`` is a rule and a state, as in "advance, 2 steps from the end"."""
        return ChainContractError(f"{self.chain!r}: {where}: {found}; {asked}")

    def require(self, condition: Any, where: str, found: str, asked: str) -> None:
        """Raise the error unless the condition holds."""
        if not condition:
            raise self.error(where, found, asked)

    def call(self, rule: str, *arguments: Any, where: str = "") -> Any:
        """What a rule gives.

        Raises:
            ChainContractError: it raises, changes an argument, or gives something else when it is
                called again.
        """
        place = f"{rule}{where}"
        before = copy.deepcopy(arguments)
        try:
            found = getattr(self.chain, rule)(*arguments)
            again = getattr(self.chain, rule)(*arguments)
        except Exception as error:
            raise self.error(
                place,
                f"raises {type(error).__name__}: {shown(str(error))}",
                "a rule takes every batch of seeds, states and actions in range",
            ) from error
        for argument, was in zip(arguments, before, strict=True):
            changed = difference(was, argument)
            self.require(
                changed is None,
                place,
                f"changes its argument in place: {changed}",
                "rules are pure: they give new arrays and leave their arguments alone",
            )
        unlike = difference(found, again)
        self.require(
            unlike is None,
            place,
            f"gives another result when it is called again: {unlike}",
            "rules are pure: the result depends on the arguments alone, chance on the seeds",
        )
        return found

    def kick(self, state: Any, action: Array, where: str = "") -> Any:
        """The states after ``action`` [B], taken modulo the number of kicks."""
        return self.call("kick", state, action % self.chain.num_kicks, where=where)

    def course(self, seeds: Array) -> list[Any]:
        """The states from the start to the end, kicked once half-way; serial_depth + 1 of them."""
        states = [self.call("initial", seeds)]
        for step in range(self.chain.serial_depth):
            where = steps_from(self.chain.serial_depth - step)
            if step == self.chain.serial_depth // 2:
                states[-1] = self.kick(states[-1], seeds, where)
            states.append(self.call("advance", states[-1], where=where))
        return states

    def to_end(self, state: Any, steps: int) -> Any:
        """The payoffs [B] at the end, ``steps`` ahead; without the checks of :meth:`call`."""
        for _ in range(steps):
            state = self.chain.advance(state)
        return numpy_of(self.chain.payoff(state))

    def every_action(self, seeds: Array) -> list[Array]:
        """Each kick as the action of a whole batch."""
        xp = array_namespace(seeds)
        return [xp.full_like(seeds, kick) for kick in range(self.chain.num_kicks)]


def steps_from(remaining: int) -> str:
    """Where a state is, for an error."""
    if remaining == 0:
        return " at the end"
    return f" {remaining} step{'s' if remaining > 1 else ''} from the end"


def check_numbers(
    rules: Rules, where: str, array: Any, shape: tuple[int, ...], least: float
) -> None:
    """A float32 array of a shape, with numbers from ``least`` to 1."""
    found = list(getattr(array, "shape", ()))
    rules.require(
        found == list(shape), where, f"has the shape {found}", f"the shape is {list(shape)}"
    )
    rules.require(array.dtype == np.float32, where, f"is {array.dtype}", "it is float32")
    rules.require(
        ((array >= least) & (array <= 1)).all(),  # NaN is neither
        where,
        f"has the values {values_of(array)}",
        f"they are from {least} to 1",
    )


def values_of(array: Any) -> str:
    """The range of an array's numbers and its type."""
    low, high = array.min(), array.max()
    return f"{low} ({array.dtype})" if low == high else f"{low} to {high} ({array.dtype})"
