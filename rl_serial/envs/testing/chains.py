"""One chain held to the contract of :mod:`rl_serial.envs.chain`."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np

from rl_serial.envs.chain import (
    WORDS,
    ChainWithStarts,
    ChainWithWords,
    TokenLayout,
    has_binary_observations,
    is_numpy_only,
    map_state,
)
from rl_serial.envs.random import evaluation_seeds
from rl_serial.envs.testing.powers import STARTS, check_starts, check_words
from rl_serial.envs.testing.rules import (
    BATCH,
    ChainContractError,
    Rules,
    arrays_of,
    check_numbers,
    difference,
    is_frozen,
    rows_of,
    rows_that_differ,
    steps_from,
    values_of,
)
from rl_serial.errors import shown

INSTANCES, SIMULATED = 100_000, 4_000
"""Instances of the mean payoff; of a chain whose steps another library simulates."""
CHUNK = 20_000
SIGMAS = 5
"""Standard errors that chance may account for."""

RULES = ("initial", "kick", "advance", "payoff", "observe", "working", "redraw_step")


def check_chain(chain_class: type[Any], /, **options: Any) -> None:
    """Hold a chain to the contract (:class:`rl_serial.envs.chain.Chain`).

    It follows a few hundred instances through every rule, on NumPy arrays and, where torch is
    installed, on torch tensors, and draws 100,000 for the mean payoff (4,000 of a chain that is
    ``numpy_only``). Seconds; a serial depth of about 6 will do.

    Args:
        chain_class: the class.
        options: of the chain; others have their defaults.

    Raises:
        ChainContractError: the contract is not kept. It is an AssertionError.
    """
    rules = Rules(_made(chain_class, options))
    _check_description(rules)
    seeds = evaluation_seeds(1, BATCH, np)
    states = rules.course(seeds)
    for step, state in enumerate(states):
        _check_state(rules, state, rules.chain.serial_depth - step)
    _check_end(rules, states[-1])
    _check_rows(rules, seeds, states)
    _check_mean_payoff(rules)
    _check_kicks(rules, states[0], seeds)
    _check_redraw(rules, states, seeds)
    _check_consumed(rules, seeds)
    _check_torch(rules, seeds, states)
    check_starts(rules, states)
    check_words(rules, states)


def _made(chain_class: type[Any], options: dict[str, Any]) -> Any:
    try:
        return chain_class(**options)
    except Exception as error:
        given = ", ".join(f"{name}={shown(value)}" for name, value in options.items())
        raise ChainContractError(
            f"{chain_class.__name__}({given}): raises {type(error).__name__}: {error}; a chain is "
            "made from its options"
        ) from error


def _check_description(rules: Rules) -> None:
    """What the chain says of itself."""
    chain = rules.chain
    rules.require(
        is_frozen(chain),
        "the class",
        "is no frozen dataclass",
        "its fields are its options, and stay",
    )
    same = replace(chain)
    rules.require(
        same == chain and hash(same) == hash(chain),
        "the class",
        "another of the same options is unequal to it",
        "chains of the same options are equal and have the same hash",
    )
    wanted = ("serial_depth", "num_kicks", "layout", "working_size", *RULES)
    missing = [name for name in wanted if not hasattr(chain, name)]
    rules.require(not missing, "the class", f"has no {', '.join(missing)}", "the contract has them")
    for name in ("serial_depth", "num_kicks", "working_size"):
        number = getattr(chain, name)
        rules.require(
            isinstance(number, int) and number >= 1,
            name,
            f"is {shown(number)}",
            "it is a whole number, at least 1",
        )
    layout = chain.layout
    rules.require(
        isinstance(layout, TokenLayout), "layout", f"is {shown(layout)}", "it is a TokenLayout"
    )
    least = chain.serial_depth + 1
    rules.require(
        layout.globals >= least,
        "layout",
        f"has {layout.globals} globals",
        f"they end with the remaining steps as a one-hot of serial_depth + 1 = {least} numbers",
    )
    for parts, what in ((STARTS, "starts"), (WORDS, "words")):
        present = [name for name in parts if hasattr(chain, name)]
        rules.require(
            not present or len(present) == len(parts),
            "the class",
            f"has {', '.join(present)} and not {', '.join(s for s in parts if s not in present)}",
            f"a chain has all that {what} need (ChainWith{what.capitalize()}), or none of it",
        )


def _check_state(rules: Rules, state: Any, remaining: int) -> None:
    """A state, and what the rules show of it."""
    chain, at = rules.chain, steps_from(remaining)
    rules.require(
        is_frozen(state),
        f"a state{at}",
        f"is {type(state).__name__}",
        "a state is a frozen dataclass of arrays",
    )
    for name, array in arrays_of(state).items():
        shape = list(getattr(array, "shape", ()))
        rules.require(
            isinstance(array, np.ndarray) and shape[:1] == [BATCH],
            f"{name} of a state{at}",
            f"is {type(array).__name__} {shape}",
            f"every field is an array whose first dimension is the batch, {BATCH} here",
        )
    left = getattr(state, "remaining", None)
    rules.require(
        left is not None and left.dtype == np.int64 and (left == remaining).all(),
        f"remaining of a state{at}",
        f"is {'missing' if left is None else values_of(left)}",
        f"it is {remaining} (int64): serial_depth at the start, one fewer with every advance, and "
        "a kick leaves it alone",
    )
    payoff = rules.call("payoff", state, where=at)
    check_numbers(rules, f"payoff{at}", payoff, (BATCH,), -1)
    observation = rules.call("observe", state, where=at)
    check_numbers(rules, f"observe{at}", observation, (BATCH, chain.layout.size), 0)
    if has_binary_observations(chain):
        rules.require(
            ((observation == 0) | (observation == 1)).all(),
            f"observe{at}",
            f"has numbers between 0 and 1, {values_of(observation)}",
            "a chain whose observations are not zeros and ones says binary_observations = False "
            "(a ClassVar)",
        )
    steps = chain.serial_depth + 1
    shown_steps = observation[:, -steps:]
    rules.require(
        (shown_steps == np.eye(steps, dtype=np.float32)[[remaining] * BATCH]).all(),
        f"observe{at}",
        f"ends with {shown_steps[0].tolist()}",
        f"the last {steps} numbers are the remaining steps, {remaining}, as a one-hot",
    )
    working = rules.call("working", state, where=at)
    check_numbers(rules, f"working{at}", working, (BATCH, chain.working_size), 0)


def _check_end(rules: Rules, end: Any) -> None:
    unlike = difference(end, rules.call("advance", end, where=steps_from(0)))
    rules.require(
        unlike is None,
        "advance at the end",
        f"changes the state: {unlike}",
        "a chain at its end stays as it is",
    )


def _check_rows(rules: Rules, seeds: Any, states: list[Any]) -> None:
    """Every row by itself: an instance is a function of its seed, a successor of its state."""
    rows = np.arange(BATCH)[::-3]  # another order, another size
    for some in (rows, rows[:1]):
        few = seeds[some]
        calls: list[tuple[str, tuple[Any, ...], str]] = [("initial", (seeds,), "")]
        for step, state in enumerate(states):
            at = steps_from(rules.chain.serial_depth - step)
            calls += [(rule, (state,), at) for rule in ("advance", "payoff", "observe", "working")]
            calls.append(("redraw_step", (state, seeds), at))
            calls.append(("kick", (state, seeds % rules.chain.num_kicks), at))
        for rule, arguments, at in calls:
            whole = rows_of(rules.call(rule, *arguments, where=at), some)
            part = rules.call(rule, *(rows_of(each, some) for each in arguments), where=at)
            unlike = difference(whole, part)
            rules.require(
                unlike is None,
                f"{rule}{at}",
                f"a row depends on the rest of its batch: among {BATCH} rows and among "
                f"{few.size}, {unlike}",
                "an instance depends on its seed alone, and what a rule does to a row on that row",
            )


def _check_kicks(rules: Rules, start: Any, seeds: Any) -> None:
    """Every kick does something, no two the same, and some change an outcome."""
    depth = rules.chain.serial_depth
    actions = rules.every_action(seeds)
    kicked = [rules.call("kick", start, action) for action in actions]
    for kick, after in enumerate(kicked):
        rules.require(
            rows_that_differ(start, after).any(),
            "kick",
            f"kick {kick} changes nothing in {BATCH} instances",
            f"num_kicks = {rules.chain.num_kicks} says how many different pushes there are",
        )
        for other in range(kick):
            rules.require(
                rows_that_differ(kicked[other], after).any(),
                "kick",
                f"kicks {other} and {kick} do the same in {BATCH} instances",
                f"num_kicks = {rules.chain.num_kicks} says how many different pushes there are",
            )
    untouched = rules.to_end(start, depth)
    rules.require(
        any((rules.to_end(after, depth) != untouched).any() for after in kicked),
        "kick",
        f"no kick at the start changes the payoff at the end, in {BATCH} instances",
        "an agent steers the chain by its kicks",
    )


def _check_redraw(rules: Rules, states: list[Any], seeds: Any) -> None:
    """A part of what the next step reads is changed, and nothing else is."""
    for step, state in enumerate(states):
        remaining = rules.chain.serial_depth - step
        at = steps_from(remaining)
        redrawn = rules.call("redraw_step", state, seeds, where=at)
        shapes = {name: np.shape(array) for name, array in arrays_of(state).items()}
        found = {name: np.shape(array) for name, array in arrays_of(redrawn).items()}
        rules.require(
            shapes == found and (redrawn.remaining == remaining).all(),
            f"redraw_step{at}",
            f"gives a state of the shapes {found} with {values_of(redrawn.remaining)} remaining",
            f"it gives states of the same shapes, {shapes}, with as many steps remaining",
        )
        rules.require(
            remaining == 0 or rows_that_differ(state, redrawn).any(),
            f"redraw_step{at}",
            f"changes nothing in {BATCH} instances",
            "it changes a part of what the next step reads",
        )


def _check_consumed(rules: Rules, seeds: Any) -> None:
    """What a step has read for good is gone from the observation.

    Two instances differ in a part that a step reads. Where they come to the same working state
    behind the step, by chance or by a kick, and nothing that happens later tells them apart, that
    part is consumed: the observations must be the same.
    """
    chain = rules.chain
    state = chain.initial(seeds)
    shows, matters = None, False
    for step in range(chain.serial_depth - 1):
        remaining = chain.serial_depth - step - 1
        one = chain.advance(state)
        other = chain.advance(chain.redraw_step(state, seeds))
        pairs = [(one, other)]
        if not is_numpy_only(chain):  # its kicks cost a simulation each
            pairs += [(one, chain.kick(other, action)) for action in rules.every_action(seeds)]
        for mine, theirs in pairs:
            alike = ~rows_that_differ(chain.working(mine), chain.working(theirs))
            if not alike.any():
                continue
            mine, theirs = rows_of(mine, alike), rows_of(theirs, alike)
            matters = matters or _come_apart(rules, mine, theirs, remaining)
            unlike = difference(chain.observe(mine), chain.observe(theirs))
            if unlike is not None and shows is None:
                shows = steps_from(remaining), unlike
        state = one
    if shows is not None and not matters:
        raise rules.error(
            f"observe{shows[0]}",
            f"shows what the step before has consumed: two states with the same future differ in "
            f"the observation, {shows[1]}",
            "it shows the working state, what is ahead and the remaining steps; what is consumed "
            "is gone, and the next step stands in front",
        )


def _come_apart(rules: Rules, one: Any, other: Any, remaining: int) -> bool:
    """Whether working states or payoffs of two states ever differ, kicked or not."""
    chain = rules.chain
    for kicks in (False, True):
        mine, theirs = one, other
        for step in range(remaining + 1):
            for rule in (chain.working, chain.payoff):
                if rows_that_differ(rule(mine), rule(theirs)).any():
                    return True
            if kicks:
                action = (np.arange(mine.remaining.shape[0]) + step) % chain.num_kicks
                mine, theirs = chain.kick(mine, action), chain.kick(theirs, action)
            mine, theirs = chain.advance(mine), chain.advance(theirs)
    return False


def _check_torch(rules: Rules, seeds: Any, states: list[Any]) -> None:
    """The same bits on torch, or a refusal; nothing where torch is not installed."""
    if importlib.util.find_spec("torch") is None:
        return
    torch = importlib.import_module("torch")
    chain = rules.chain
    if is_numpy_only(chain):
        try:
            chain.initial(torch.as_tensor(seeds))
        except ValueError as error:
            told = str(error)
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
        else:
            told = "takes torch tensors"
        rules.require(
            "runs on NumPy arrays, not on torch" in told,
            "initial",
            f"a numpy_only chain answers to torch tensors: {shown(told)}",
            'it raises a ValueError with "runs on NumPy arrays, not on torch"',
        )
        return

    def tensors(thing: Any) -> Any:
        return map_state(torch.as_tensor, thing) if is_dataclass(thing) else torch.as_tensor(thing)

    calls: list[tuple[str, tuple[Any, ...], str]] = [("initial", (seeds,), "")]
    for step, state in enumerate(states):
        at = steps_from(chain.serial_depth - step)
        calls += [(rule, (state,), at) for rule in ("advance", "payoff", "observe", "working")]
        calls.append(("redraw_step", (state, seeds), at))
        calls.append(("kick", (state, seeds % chain.num_kicks), at))
        if isinstance(chain, ChainWithStarts):
            calls += [(rule, (state,), at) for rule in ("own_start", "start_payoffs", "rewind")]
        if isinstance(chain, ChainWithWords):
            calls += [
                ("word", (state,), at),
                ("show_words", (seeds[:, None] % chain.num_words,), at),
            ]
    for rule, arguments, at in calls:
        mine = rules.call(rule, *arguments, where=f" on NumPy arrays{at}")
        theirs = rules.call(rule, *map(tensors, arguments), where=f" on torch tensors{at}")
        for name, array in arrays_of(theirs).items():
            rules.require(
                isinstance(array, torch.Tensor),
                f"{rule} on torch tensors{at}",
                f"{name or 'the result'} is {type(array).__name__}",
                "a rule gives arrays of the library that it is given",
            )
        unlike = difference(mine, theirs)
        rules.require(
            unlike is None,
            f"{rule}{at}",
            f"NumPy and torch disagree: {unlike}",
            "rules give the same bits and types on both, or the chain says numpy_only = True",
        )


def _check_mean_payoff(rules: Rules) -> None:
    payoffs = payoffs_at_end(rules.chain).astype(np.float64)
    mean, error = payoffs.mean(), payoffs.std() / np.sqrt(payoffs.size)
    rules.require(
        error > 0,
        "payoff at the end",
        f"is {payoffs[0]:g} in all of {payoffs.size} instances",
        "there is something to decide: instances pay differently",
    )
    rules.require(
        abs(mean) < SIGMAS * error,
        "payoff at the end",
        f"has the mean {mean:+.4f} over {payoffs.size} instances, {abs(mean) / error:.0f} standard "
        "errors from zero",
        "the mean over instances is zero, so that a blind agent can do no better",
    )


def payoffs_at_end(chain: Any) -> Any:
    """[N] float32: what N instances pay if nobody touches them."""
    instances = SIMULATED if is_numpy_only(chain) else INSTANCES
    parts = np.array_split(evaluation_seeds(3, instances, np), -(-instances // CHUNK))
    rules = Rules(chain)
    return np.concatenate(
        [rules.to_end(chain.initial(seeds), chain.serial_depth) for seeds in parts]
    )
