"""The floor: what is decided rightly without serial computation, on the same states as the agent.

Three rules, each given what the run's training had: ``memoriser``, a look-up table of as many
training instances as the run consumed; ``blind``, the best rule on one number of the observation;
``linear``, a linear model on the observation. Which of them is the floor at a number of remaining
steps is settled on states of its own, so that luck on the examined ones does not lift it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rl_serial.agents.fitted import visited_states
from rl_serial.envs.chain import has_binary_observations, is_numpy_only
from rl_serial.envs.random import fold_in
from rl_serial.envs.shortcuts import (
    BlindRule,
    ConstantRule,
    LinearRule,
    Rule,
    Sample,
    kappa,
    serial_reach,
)
from rl_serial.envs.tasks import Task
from rl_serial.metrics import Measurement, measured
from rl_serial.subjects.chains import metrics as of
from rl_serial.subjects.chains.metrics import FLOOR_KINDS as KINDS

FITTED = 4096
"""Most states with each number of remaining steps that blind and linear rules are fitted on."""
CHOOSING = 512
"""States with each number of remaining steps on which the highest of the three is chosen."""
FITTED_NUMBERS = 2**25
"""Most numbers of observations that a fit holds (134 MB)."""
CHUNK, CHUNK_ON_GPU = 8192, 2**18
"""Training states that the memoriser looks at together."""
CPU = torch.device("cpu")
UNUSED = 2**40
"""First instance of a run's seed that no training comes to."""


@dataclass(frozen=True)
class Grades:
    """What a rule got, by remaining steps 1 … serial_depth; NaN where there is no decision."""

    accuracy: NDArray[np.float64]  # [serial_depth]
    expected: NDArray[np.float64]  # [serial_depth]: of choosing each action as often, blindly

    @property
    def reach(self) -> float:
        """Chance-corrected accuracy, summed over the remaining steps."""
        return serial_reach(self.accuracy, self.expected)


@dataclass(frozen=True)
class Floor:
    """What the three rules got on the examined states, and the highest of them."""

    instances: int  # in the memoriser's table
    grades: dict[str, Grades]  # by KINDS
    kinds: tuple[str, ...]  # [serial_depth]: which of them is the floor there
    highest: Grades

    def measurements(self) -> list[Measurement]:
        """What was measured."""
        found = [measured(of.FLOOR_REACH, self.highest.reach)]
        found += [measured(of.REACH_OF_KIND, self.grades[kind].reach, kind=kind) for kind in KINDS]
        for remaining, accuracy in enumerate(self.highest.accuracy.tolist(), start=1):
            found.append(measured(of.FLOOR_ACCURACY, accuracy, remaining=remaining))
        return found


def measure_floor(
    task: Task[Any],
    examined: list[Sample],
    instances: int,
    seed: int,
    device: torch.device = CPU,
) -> Floor:
    """Give the three rules what training had and examine them.

    Args:
        task: the rules, with the starts of training.
        examined: the evaluation states with 1, 2, … serial_depth steps remaining.
        instances: states that the run's training consumed; 0: there was none, so the memoriser
            only guesses and the others are fitted as after a long one.
        seed: the run's. The memoriser's states are those of its instances under random play, which
            are a value agent's very own; other agents make theirs by their own play. Of a task that
            deliberates they are the instances' first states.
        device: where those states are made; the rest is NumPy's.
    """
    depth = task.chain.serial_depth
    fitted = min(
        max(1, instances // depth) if instances else FITTED,
        FITTED,
        max(64, FITTED_NUMBERS // task.layout.size),
    )
    choosing, choices = [], []
    for remaining in range(1, depth + 1):
        fit, chosen_on = (
            _training_sample(task, remaining, count, seed, stream)
            for stream, count in enumerate((fitted, CHOOSING))
        )
        choosing.append(chosen_on)
        guess = ConstantRule.fit(fit)
        rules: tuple[Rule, ...] = (guess, guess, guess)
        if len(fit.right):
            rules = (guess, BlindRule.fit(fit), LinearRule.fit(fit))
        choices.append(
            [
                [rule.choose(sample.observations, sample.legal) for rule in rules]
                for sample in (chosen_on, examined[remaining - 1])
            ]
        )
    graded_choosing: list[list[tuple[float, float]]] = []
    graded: list[list[tuple[float, float]]] = []
    seen = _seen(task, [*choosing, *examined], instances, seed, device)
    for remaining, by_sample in enumerate(choices):
        for samples, all_choices, grades in (
            (choosing, by_sample[0], graded_choosing),
            (examined, by_sample[1], graded),
        ):
            sample = samples[remaining]
            known = np.fromiter((key in seen for key in _keys(sample.observations)), np.bool_)
            # A state that the table has is decided rightly: training told its exact values.
            all_choices[0] = np.where(known, sample.right.argmax(axis=1), all_choices[0])
            grades.append([sample.grade(choice) for choice in all_choices])
    by_kind = np.array(graded).transpose(1, 2, 0)  # [kind, (accuracy, expected), remaining]
    tried = np.array(graded_choosing).transpose(1, 2, 0)
    best = np.nan_to_num(kappa(tried[:, 0], tried[:, 1]), nan=-np.inf).argmax(axis=0)
    highest = by_kind[best, :, np.arange(depth)].T
    return Floor(
        instances,
        {kind: Grades(*by_kind[i]) for i, kind in enumerate(KINDS)},
        tuple(KINDS[i] for i in best),
        Grades(*highest),
    )


def _training_sample(task: Task[Any], remaining: int, count: int, seed: int, stream: int) -> Sample:
    """States of instances that neither evaluation nor the run's own training draws."""
    first = UNUSED + (2 * remaining + stream) * FITTED
    index = np.arange(first, first + count, dtype=np.int64)
    seeds = fold_in(np.full_like(index, seed), index)
    state = task.at_remaining(seeds, np.full_like(index, remaining))
    return Sample.of(task.observe(state), task.action_values(state), task.examined_actions(state))


def _seen(
    task: Task[Any], samples: list[Sample], instances: int, seed: int, device: torch.device
) -> set[bytes]:
    """Which of the samples' observations are among the run's instances; no others are kept.

    Observations of real numbers never come twice.
    """
    if not has_binary_observations(task.chain):
        return set()
    asked = {key for sample in samples for key in _keys(sample.observations)}
    found: set[bytes] = set()
    on_cpu = device.type == "cpu" or is_numpy_only(task.chain)
    xp: Any = np if on_cpu else torch
    chunk = CHUNK if on_cpu else CHUNK_ON_GPU
    for first in range(0, instances, chunk):
        last = min(first + chunk, instances)
        index = xp.arange(first, last, dtype=xp.int64, device="cpu" if on_cpu else device)
        seeds = fold_in(xp.full_like(index, seed), index)
        # Where words come before the answer the question is asked with nothing written.
        states = task.initial(seeds) if task.deliberates else visited_states(task, seeds)
        observations = task.observe(states)
        if not on_cpu:
            observations = (observations != 0).cpu().numpy()
        found.update(asked.intersection(_keys(observations)))
    return found


def _keys(observations: NDArray[Any]) -> list[bytes]:
    """A key for each of ``observations`` [N, size] of zeros and ones."""
    bits = np.packbits(observations.astype(np.bool_), axis=1)
    keys: list[bytes] = bits.view(f"V{bits.shape[1]}").ravel().tolist()
    return keys
