"""The seriality certificate: does the outcome really depend on the whole chain?

A part of what one step reads is changed (:meth:`Chain.redraw_step`) and the chain run to its end;
the influence of the step is the share of instances whose payoff changes. Where the first step has
no influence, an agent can do without the beginning of the chain: a shortcut. Where every step has
influence, a closed form may still exist; that is the twin's part to show.

Beside it stands what of the outcome no serial computation is needed for: how far the best rule on
one number of the observation gets, and a linear model (:mod:`rl_serial.envs.shortcuts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl_serial.envs.chain import Chain
from rl_serial.envs.random import evaluation_seeds
from rl_serial.envs.registry import Family
from rl_serial.envs.shortcuts import BlindRule, LinearRule, Sample, kappa

DEPTHS = (4, 8, 16, 32, 64)
INSTANCES = 4096
LEAST_INSTANCES = 512
"""Fewer show no shortcut."""
ADVANCED = 2**22
"""Most serial steps that are made for the shortcuts of a setting and serial depth."""
SIMULATED = 2**18
"""The same of a family whose steps another library simulates."""
OBSERVED = 2**24
"""Most numbers of observations that are held (67 MB)."""


@dataclass(frozen=True)
class Influence:
    """Shares of instances whose payoff changes when a part of what a step reads is changed."""

    serial_depth: int
    first: float
    middle: float
    last: float
    payoff_mean: float  # of the undisturbed chain; zero within ±1/sqrt(instances) or so


def influence(chain: Chain[Any], instances: int = INSTANCES, seed: int = 0) -> Influence:
    """Measure the influence of the first, the middle and the last step of a chain.

    Args:
        chain: the chain.
        instances: how many are drawn; a share's standard error is at most 0.5 / sqrt(instances).
        seed: chooses the instances.
    """
    seeds = evaluation_seeds(seed, instances, np)
    depth = chain.serial_depth
    shares = {}
    undisturbed = _payoff_at_end(chain, chain.initial(seeds))
    for name, steps_before in (("first", 0), ("middle", depth // 2), ("last", depth - 1)):
        state = chain.initial(seeds)
        for _ in range(steps_before):
            state = chain.advance(state)
        disturbed = _payoff_at_end(chain, chain.redraw_step(state, seeds))
        shares[name] = float((disturbed != undisturbed).mean())
    return Influence(depth, **shares, payoff_mean=float(undisturbed.mean()))


@dataclass(frozen=True)
class CollisionInfluence:
    """Influence of contacts and first step among instances with one number of collisions."""

    collisions: int  # in the causal past of the outcome
    instances: int
    contacts: float  # share whose payoff the twin, which has no contacts, does not pay
    first: float  # share whose payoff changes when a part of what the first step reads is changed
    too_close: float  # share whose payoff changes with the time step of the simulation


def influence_by_collisions(
    chain: Any, twin: Any, instances: int = INSTANCES, seed: int = 0
) -> list[CollisionInfluence]:
    """The influence of contacts and first step of a chain that counts collisions, by their number.

    Args:
        chain: has the methods ``causal_collisions`` and ``too_close``.
        twin: the same without contacts.
        instances: how many are drawn.
        seed: chooses the instances.
    """
    seeds = evaluation_seeds(seed, instances, np)
    state = chain.initial(seeds)
    collisions, too_close = chain.causal_collisions(state), chain.too_close(state)
    payoff = _payoff_at_end(chain, state)
    apart = _payoff_at_end(twin, state) != payoff
    changed = _payoff_at_end(chain, chain.redraw_step(state, seeds)) != payoff
    rows = []
    for count in np.unique(collisions):
        these = collisions == count
        shares = (float(share[these].mean()) for share in (apart, changed, too_close))
        rows.append(CollisionInfluence(int(count), int(these.sum()), *shares))
    return rows


@dataclass(frozen=True)
class Shortcut:
    """What a rule without serial computation knows of the sign of the outcome."""

    largest: float  # chance-corrected accuracy, at the remaining steps where it is largest
    remaining: int  # there
    reach: float  # chance-corrected accuracy, summed over the remaining steps


def shortcuts(chain: Chain[Any], instances: int, seed: int = 0) -> dict[str, Shortcut]:
    """How far a blind and a linear rule get with each number of remaining steps.

    Half of the instances fit the rules, the other half examine them.

    Args:
        chain: the chain.
        instances: how many are drawn for each number of remaining steps; without a shortcut a
            chance-corrected accuracy has about the standard error sqrt(2 / instances), and a reach
            sqrt(serial_depth) times that.
        seed: chooses the instances.
    """
    found: dict[str, list[tuple[float, float]]] = {"blind": [], "linear": []}
    for remaining in range(1, chain.serial_depth + 1):
        state = chain.initial(evaluation_seeds(seed, instances, np, first=remaining * instances))
        for _ in range(chain.serial_depth - remaining):
            state = chain.advance(state)
        observations = chain.observe(state)
        for _ in range(remaining):
            state = chain.advance(state)
        outcome = chain.payoff(state)
        values = np.stack([np.zeros_like(outcome), outcome], axis=1)
        legal = np.ones(values.shape, dtype=np.bool_)
        fit, examined = (
            Sample.of(observations[half], values[half], legal[half])
            for half in np.split(np.arange(2 * (instances // 2)), 2)
        )
        for name, rule in (("blind", BlindRule.fit(fit)), ("linear", LinearRule.fit(fit))):
            choices = rule.choose(examined.observations, examined.legal)
            found[name].append(examined.grade(choices))
    results = {}
    for name, grades in found.items():
        corrected = kappa(*np.array(grades).T)
        best = int(np.nanargmax(corrected))
        results[name] = Shortcut(float(corrected[best]), best + 1, float(np.nansum(corrected)))
    return results


def certify(
    family: Family, options: dict[str, Any], depths: tuple[int, ...] = DEPTHS
) -> list[tuple[str, Influence]]:
    """Influences of every setting of a family by serial depth.

    ``options`` are other options of the chain. Sizes that must grow with the depth do: a circuit
    gets a wire for each layer.
    """
    return [
        (setting, influence(chain, family.instances))
        for setting, chain in _chains(family, options, depths)
    ]


def certify_shortcuts(
    family: Family, options: dict[str, Any], depths: tuple[int, ...] = DEPTHS
) -> list[tuple[str, int, dict[str, Shortcut] | str]]:
    """Shortcuts of every setting of a family by serial depth; arguments as of :func:`certify`.

    A text that says why, where too few instances to tell would fit in memory or be made in a
    minute.
    """
    rows: list[tuple[str, int, dict[str, Shortcut] | str]] = []
    steps = SIMULATED if family.requires else ADVANCED
    for setting, chain in _chains(family, options, depths):
        held, made = OBSERVED // chain.layout.size, steps // chain.serial_depth**2
        found: dict[str, Shortcut] | str
        if held < LEAST_INSTANCES:
            found = (
                f"not measured: of observations of {chain.layout.size} numbers {held} are held, "
                f"and fewer than {LEAST_INSTANCES} show nothing"
            )
        elif made < LEAST_INSTANCES:
            found = (
                f"not measured: {made} states are simulated in a minute, and fewer than "
                f"{LEAST_INSTANCES} show nothing"
            )
        else:
            found = shortcuts(chain, min(2 * family.instances, held, made))
        rows.append((setting, chain.serial_depth, found))
    return rows


def _chains(
    family: Family, options: dict[str, Any], depths: tuple[int, ...]
) -> Iterator[tuple[str, Chain[Any]]]:
    for value in family.settings:
        for depth in depths:
            sizes = family.sizes(depth) if family.sizes else {}
            settings = sizes | options | {family.option: value, "serial_depth": depth}
            yield f"{family.option}={value}", family.chain(**settings)


def _payoff_at_end(chain: Chain[Any], state: Any) -> Any:
    for _ in range(chain.serial_depth):
        state = chain.advance(state)
    return chain.payoff(state)
