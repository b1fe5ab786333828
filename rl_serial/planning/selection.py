"""Which action a simulation follows at a node: Gumbel MuZero's rules and PUCT.

Ties go to the first action.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from rl_serial.planning.checks import LARGEST, require_between
from rl_serial.planning.qtransforms import ByParentAndSiblings, MinMax, MixValue, softmax
from rl_serial.planning.types import Array, NodeStatistics


def considered_visits(num_considered: int, num_simulations: int) -> list[int]:
    """Sequential halving as a list [num_simulations]: how often visited an action may be.

    Simulation i goes to the best of the root actions that were visited ``considered_visits[i]``
    times. Source: Karnin, Koren, Somekh 2013; Danihelka et al. 2022, figure 1.
    """
    if num_considered <= 1:
        return list(range(num_simulations))
    rounds = math.ceil(math.log2(num_considered))
    sequence: list[int] = []
    visits, remaining = 0, num_considered
    while len(sequence) < num_simulations:
        for _ in range(max(1, num_simulations // (rounds * remaining))):
            sequence += [visits] * remaining
            visits += 1
        remaining = max(2, remaining // 2)
    return sequence[:num_simulations]


@lru_cache(maxsize=64)
def visits_table(max_considered: int, num_simulations: int) -> NDArray[np.int64]:
    """[max_considered + 1, num_simulations]: :func:`considered_visits` for each number of them.

    It is kept for the next search; do not write into it.
    """
    rows = [considered_visits(count, num_simulations) for count in range(max_considered + 1)]
    return np.array(rows, np.int64)


def is_legal(node: NodeStatistics) -> Array:
    """[B, A] bool."""
    return node.prior_logits > -math.inf


def best_legal(scores: Array, node: NodeStatistics) -> Array:
    """[B] int64: the first legal action of greatest score."""
    xp = array_namespace(scores)
    # Finite, so that an illegal action is taken for none, whatever its score.
    scores = xp.clip(scores, xp.finfo(scores.dtype).min, None)
    return xp.argmax(xp.where(is_legal(node), scores, -math.inf), axis=-1)


def likeliest_first(scores: Array, likelihood: Array, node: NodeStatistics) -> Array:
    """[B, A]: ``scores``, −inf for unvisited actions but the legal one of greatest likelihood.

    All unvisited actions have the same value, so it is the best of them, also where rounding takes
    the difference away.
    """
    xp = array_namespace(scores)
    unvisited = node.child_visits == 0
    first = xp.argmax(xp.where(unvisited & is_legal(node), likelihood, -math.inf), axis=-1)
    actions = xp.arange(scores.shape[-1], dtype=first.dtype, device=device(first))
    return xp.where(unvisited & (actions != first[:, None]), -math.inf, scores)


@dataclass(frozen=True)
class Gumbel:
    """Sequential halving with Gumbel at the root, a deterministic rule below (Danihelka et al.).

    With a reused tree the halving counts the visits of this search only; older ones inform the
    values. ``table`` and ``earlier`` are zero-size where there are no simulations.
    """

    qtransform: MixValue
    noise: Array  # [B, A] Gumbel noise, times its scale
    table: Array  # [max_considered + 1, simulations] int64, see :func:`visits_table`
    earlier: Array  # [B, A] int32 visits of the root's children before this search

    def scores_with_visits(
        self, node: NodeStatistics, considered: Array, transformed: Array
    ) -> Array:
        """[B, A]: noise + logits + σ(completed Q) where an action has ``considered`` [B] visits.

        −inf elsewhere; ``transformed`` [B, A] is σ.
        """
        xp = array_namespace(self.noise)
        logits = node.prior_logits - xp.max(node.prior_logits, axis=-1, keepdims=True)
        order = self.noise + logits
        scores = likeliest_first(order + transformed, order, node)
        candidate = node.child_visits - self.earlier == considered[:, None]
        return xp.where(candidate, scores, -math.inf)

    def scores_at_root(self, node: NodeStatistics) -> Array:
        """[B, A]: the root's legal action of greatest score is followed."""
        xp = array_namespace(self.noise)
        num_legal = xp.sum(xp.astype(is_legal(node), xp.int64), axis=-1)
        row = xp.clip(num_legal, None, self.table.shape[0] - 1)
        simulation = xp.sum(node.child_visits - self.earlier, axis=-1)
        considered = self.table[row, simulation]
        return self.scores_with_visits(node, considered, self.qtransform(node))

    def scores_below_root(self, node: NodeStatistics) -> Array:
        """[B, A]: the improved policy minus the share of visits (equation 14)."""
        xp = array_namespace(self.noise)
        policy = softmax(node.prior_logits + self.qtransform(node))
        visits = xp.astype(node.child_visits, policy.dtype)
        scores = policy - visits / (1 + xp.sum(visits, axis=-1, keepdims=True))
        return likeliest_first(scores, node.prior_logits, node)


@dataclass(frozen=True)
class Puct:
    """Predictor + UCB (Silver et al. 2018; Schrittwieser et al. 2020, equation 2).

    Q + P(a) · √N / (1 + n(a)) · (pb_c_init + ln((N + pb_c_base + 1) / pb_c_base)) with N the visits
    of the node, its own evaluation included, and Q after the ``qtransform``.

    Raises:
        ValueError: a constant out of its range.
    """

    qtransform: ByParentAndSiblings | MinMax = field(default_factory=ByParentAndSiblings)
    pb_c_init: float = 1.25
    pb_c_base: float = 19652.0

    def __post_init__(self) -> None:
        require_between("pb_c_init", self.pb_c_init, 0, LARGEST)
        require_between("pb_c_base", self.pb_c_base, 1 / LARGEST, LARGEST)

    def scores_below_root(self, node: NodeStatistics) -> Array:
        """[B, A]: a node's legal action of greatest score is followed."""
        xp = array_namespace(node.qvalues)
        total = xp.astype(node.visits, node.qvalues.dtype)
        weight = self.pb_c_init + xp.log((total + self.pb_c_base + 1) / self.pb_c_base)
        visits = xp.astype(node.child_visits, node.qvalues.dtype)
        prior = softmax(node.prior_logits)
        exploration = (xp.sqrt(total) * weight)[:, None] * prior / (visits + 1)
        return likeliest_first(self.qtransform(node) + exploration, node.prior_logits, node)

    def scores_at_root(self, node: NodeStatistics) -> Array:
        """[B, A]: at the root as anywhere; noise is in its prior."""
        return self.scores_below_root(node)
