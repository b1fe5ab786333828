"""Rules that need no serial computation: one number of the observation, or a weighted sum of all.

Both answer with the action that is right more often, given what they see, than it is over all
states: no rule that sees as much has a larger excess of its accuracy over chance, where chance is
what its own habits would get right without a look at the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.chain import Array, array_namespace

TIE = 1e-6
"""Action values this close count as equal."""
BINS = 8
"""Into how many groups of equal size the values of a real number are sorted."""
LINEAR_WORK = 2**33
"""Most multiplications of a linear fit; beyond it the fit uses fewer states."""


def right_actions(values: Array, legal: Array) -> Array:
    """[N, A] bool: the legal actions than which none has a larger value (``values`` [N, A])."""
    xp = array_namespace(values)
    masked = xp.where(legal, values, -xp.inf)
    return masked >= xp.max(masked, axis=1, keepdims=True) - TIE


def kappa(accuracy: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance-corrected accuracy (accuracy - expected) / (1 - expected); NaN where expected is 1.

    ``expected`` is the accuracy of an agent that takes each action as often, but without a look at
    the state (Cohen 1960): a blind agent has 0 in the mean, whatever its habits.
    """
    corrected = np.full(accuracy.shape, np.nan)
    np.divide(accuracy - expected, 1 - expected, out=corrected, where=expected < 1)
    return corrected


def serial_reach(accuracy: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """:func:`kappa` summed over the remaining steps that have one."""
    return float(np.nansum(kappa(accuracy, expected)))


@dataclass(frozen=True)
class Sample:
    """States with equally many serial steps remaining, at which there is something to decide."""

    observations: NDArray[np.float32]  # [N, size]
    right: NDArray[np.bool_]  # [N, A]
    legal: NDArray[np.bool_]  # [N, A]

    @classmethod
    def of(
        cls,
        observations: NDArray[np.float32],
        values: NDArray[np.float32],
        legal: NDArray[np.bool_],
    ) -> Sample:
        """Of states [N] with their exact action values those whose legal actions differ in them."""
        right = right_actions(values, legal)
        counted = (legal & ~right).any(axis=1)
        return cls(observations[counted], right[counted], legal[counted])

    def grade(self, choices: NDArray[np.int64]) -> tuple[float, float]:
        """Accuracy of ``choices`` [N], and what choosing each action as often gets without a look.

        NaN if there is no state.
        """
        if not choices.size:
            return float("nan"), float("nan")
        chosen = choices[:, None] == np.arange(self.right.shape[1])
        accuracy = (self.right & chosen).any(axis=1).mean()
        return float(accuracy), float((chosen.mean(axis=0) * self.right.mean(axis=0)).sum())


class Rule(Protocol):
    """Something that decides from an observation."""

    def choose(self, observations: NDArray[np.float32], legal: NDArray[np.bool_]) -> NDArray[Any]:
        """[N] int64: a legal action for each of ``observations`` [N, size]."""


@dataclass(frozen=True)
class ConstantRule:
    """The action that is right most often."""

    action: int

    @classmethod
    def fit(cls, sample: Sample) -> ConstantRule:
        """Of a sample; action 0 of an empty one."""
        return cls(int(sample.right.sum(axis=0).argmax()))

    def choose(self, observations: NDArray[np.float32], legal: NDArray[np.bool_]) -> NDArray[Any]:
        """See :class:`Rule`."""
        preferences = np.broadcast_to(np.arange(legal.shape[1]) == self.action, legal.shape)
        return _best_legal(preferences, legal)


@dataclass(frozen=True)
class BlindRule:
    """Sees one number of the observation.

    The number is the one that serves best on the sample of the fit, so that its luck there does not
    show in what it gets elsewhere.
    """

    feature: int
    edges: NDArray[np.float32]  # [E] ascending
    preferences: NDArray[np.float64]  # [E + 1, A]: by how many edges the number exceeds

    @classmethod
    def fit(cls, sample: Sample) -> BlindRule:
        """Of a sample with at least one state.

        A number that is only ever 0 or 1 is taken as it is, any other by its quantiles.
        """
        numbers, right = sample.observations, sample.right.astype(np.float32)
        size, actions = numbers.shape[1], right.shape[1]
        binary = ((numbers == 0) | (numbers == 1)).all(axis=0)
        edges = np.full((1 if binary.all() else BINS - 1, size), 0.5, dtype=np.float32)
        if not binary.all():
            levels = np.arange(1, BINS) / BINS
            edges[:, ~binary] = np.quantile(numbers[:, ~binary], levels, axis=0)
        base = right.mean(axis=0, dtype=np.float64)
        # By group of a number's values: states, and how often each action is right there.
        counts = np.zeros((len(edges) + 1, size))
        rights = np.zeros((len(edges) + 1, size, actions))
        groups = _groups(numbers, edges)
        for group in range(len(edges) + 1):
            members = (groups == group).astype(np.float32)
            counts[group] = members.sum(axis=0)
            rights[group] = members.T @ right
        lifts = rights - counts[:, :, None] * base
        # An action that is not legal everywhere is none to take blindly.
        allowed = sample.legal.all(axis=0)
        choices = np.where(allowed, lifts, -np.inf).argmax(axis=2)
        lift = np.take_along_axis(lifts, choices[:, :, None], axis=2).sum(axis=(0, 2))
        expected = (counts * base[choices]).sum(axis=0)
        gains = lift / np.maximum(len(numbers) - expected, TIE)
        feature = int(gains.argmax())
        return cls(feature, edges[:, feature], lifts[:, feature])

    def choose(self, observations: NDArray[np.float32], legal: NDArray[np.bool_]) -> NDArray[Any]:
        """See :class:`Rule`."""
        group = _groups(observations[:, self.feature], self.edges)
        return _best_legal(self.preferences[group], legal)


@dataclass(frozen=True)
class LinearRule:
    """Adds up the numbers of the observation, with a weight for each number and action."""

    mean: NDArray[np.float32]  # [size]
    weights: NDArray[np.float32]  # [size, A]

    @classmethod
    def fit(cls, sample: Sample) -> LinearRule:
        """Ridge regression of which actions are right, on a sample with at least one state.

        The penalty is the summed variance of the numbers: next to none for a sample of many more
        states than numbers, and half of what there is to learn for one of many fewer.
        """
        states, size = sample.observations.shape
        used = min(states, max(int(LINEAR_WORK / size**2), int((LINEAR_WORK / size) ** 0.5)))
        numbers = sample.observations[:used]
        mean = numbers.mean(axis=0, dtype=np.float64).astype(np.float32)
        numbers = numbers - mean
        wanted = sample.right[:used] - sample.right[:used].mean(axis=0)
        penalty = max(float(np.square(numbers).sum(dtype=np.float64)) / used, TIE)
        if size <= used:
            gram = (numbers.T @ numbers).astype(np.float64)
            moments = (numbers.T @ wanted).astype(np.float64)
            weights = np.linalg.solve(gram + penalty * np.eye(size), moments)
        else:  # the same by way of the states, of which there are fewer (the kernel form)
            gram = (numbers @ numbers.T).astype(np.float64)
            weights = numbers.T @ np.linalg.solve(gram + penalty * np.eye(used), wanted)
        return cls(mean, weights.astype(np.float32))

    def choose(self, observations: NDArray[np.float32], legal: NDArray[np.bool_]) -> NDArray[Any]:
        """See :class:`Rule`."""
        return _best_legal((observations - self.mean) @ self.weights, legal)


def _groups(numbers: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.int8]:
    """How many of ``edges`` [E, …] each of ``numbers`` [N, …] exceeds."""
    groups = np.zeros(numbers.shape, dtype=np.int8)
    for edge in edges:
        groups += numbers > edge
    return groups


def _best_legal(preferences: NDArray[Any], legal: NDArray[np.bool_]) -> NDArray[Any]:
    choices: NDArray[np.int64] = np.where(legal, preferences, -np.inf).argmax(axis=1)
    return choices
