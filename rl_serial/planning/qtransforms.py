"""Transformations of action values before they meet the prior.

Each is a frozen dataclass of its constants, called with the :class:`NodeStatistics` of a batch of
nodes; it returns [B, A].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from rl_serial.planning.checks import LARGEST, require_between
from rl_serial.planning.types import Array, NodeStatistics

EPSILON = 1e-4
"""Smallest range of values that is stretched to [0, 1], as a share of the largest magnitude.

Below it differences are float32 noise. A share, so that no decision depends on the scale.
"""
LARGEST_SCORE = 1e35
"""Most that a transformed value counts, so that sums with logits and noise stay within float32."""


def softmax(logits: Array) -> Array:
    """Softmax over the last axis; −inf gives 0, and each row needs one finite logit."""
    xp = array_namespace(logits)
    weights = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    return weights / xp.sum(weights, axis=-1, keepdims=True)


def stretched(values: Array, low: Array, high: Array, epsilon: float) -> Array:
    """[B, A]: ``values`` with ``low`` [B, 1] at 0 and ``high`` [B, 1] at 1."""
    xp = array_namespace(values)
    noise = epsilon * xp.maximum(xp.abs(low), xp.abs(high))
    return (values - low) / xp.clip(xp.maximum(high - low, noise), xp.finfo(low.dtype).tiny, None)


def mixed_value(node: NodeStatistics) -> Array:
    """[B]: v_mix, the value that stands in for actions not visited.

    The raw value and the prior-weighted mean of the visited action values, weighted 1 to the number
    of visits (Danihelka et al. 2022, appendix D, equation 33).
    """
    xp = array_namespace(node.qvalues)
    # A visited action whose probability underflowed still counts.
    tiny = xp.finfo(node.prior_logits.dtype).tiny
    prior = xp.clip(softmax(node.prior_logits), tiny, None)
    prior = xp.where(node.child_visits > 0, prior, xp.zeros_like(prior))
    # In units of the largest, so that small values do not vanish in the product.
    most = xp.max(prior, axis=-1, keepdims=True)
    prior = prior / xp.where(most > 0, most, 1.0)
    total = xp.sum(prior, axis=-1)
    weighted = xp.sum(prior * node.qvalues, axis=-1) / xp.where(total > 0, total, 1.0)
    visits = xp.astype(xp.sum(node.child_visits, axis=-1), node.qvalues.dtype)
    return (node.raw_value + visits * weighted) / (1 + visits)


def completed_qvalues(node: NodeStatistics) -> Array:
    """[B, A]: action values, v_mix where an action was not visited."""
    xp = array_namespace(node.qvalues)
    return xp.where(node.child_visits > 0, node.qvalues, mixed_value(node)[:, None])


@dataclass(frozen=True)
class MixValue:
    """σ(completed Q) of Gumbel MuZero: (maxvisit_init + max visits) · value_scale · Q.

    Unvisited actions get :func:`mixed_value`. With ``rescale`` the completed values of a node are
    first stretched to [0, 1] (illegal actions count as unvisited ones). Board games with values in
    [−1, 1] use value_scale 1 and no rescaling (Danihelka et al. 2022, equation 8, appendix F).

    Raises:
        ValueError: a constant that is negative or too large.
    """

    value_scale: float = 0.1
    maxvisit_init: float = 50.0
    rescale: bool = True
    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        require_between("value_scale", self.value_scale, 0, 1e15)
        require_between("maxvisit_init", self.maxvisit_init, 0, 1e15)
        require_between("epsilon", self.epsilon, 0, 1)

    def __call__(self, node: NodeStatistics) -> Array:
        """[B, A]."""
        return self.of_completed(completed_qvalues(node), node)

    def of_completed(self, values: Array, node: NodeStatistics) -> Array:
        """[B, A]: σ of completed action ``values`` [B, A]."""
        xp = array_namespace(values)
        if self.rescale:
            low = xp.min(values, axis=-1, keepdims=True)
            high = xp.max(values, axis=-1, keepdims=True)
            values = stretched(values, low, high, self.epsilon)
        most = xp.astype(xp.max(node.child_visits, axis=-1, keepdims=True), values.dtype)
        with np.errstate(over="ignore"):
            transformed = (self.maxvisit_init + most) * self.value_scale * values
        return xp.clip(transformed, -LARGEST_SCORE, LARGEST_SCORE)


@dataclass(frozen=True)
class ByParentAndSiblings:
    """Values stretched to [0, 1] by the least and greatest of the node's value and visited Q.

    Unvisited actions get 0. It needs no bounds on returns (in the spirit of Schrittwieser et al.
    2020, equation 5, but with the bounds of each node instead of the whole tree).

    Raises:
        ValueError: an epsilon outside [0, 1].
    """

    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        require_between("epsilon", self.epsilon, 0, 1)

    def __call__(self, node: NodeStatistics) -> Array:
        """[B, A] in [0, 1]."""
        xp = array_namespace(node.qvalues)
        own = node.value[:, None]
        known = xp.where(node.child_visits > 0, node.qvalues, own)
        low = xp.minimum(own, xp.min(known, axis=-1, keepdims=True))
        high = xp.maximum(own, xp.max(known, axis=-1, keepdims=True))
        values = xp.where(node.child_visits > 0, node.qvalues, low)
        return stretched(values, low, high, self.epsilon)


@dataclass(frozen=True)
class MinMax:
    """(Q − min_value) / (max_value − min_value); unvisited actions get 0.

    Raises:
        ValueError: min_value is not below max_value in float32, or one is too large.
    """

    min_value: float
    max_value: float

    def __post_init__(self) -> None:
        require_between("min_value", self.min_value, -LARGEST, LARGEST)
        require_between("max_value", self.max_value, -LARGEST, LARGEST)
        span = np.float32(self.max_value) - np.float32(self.min_value)
        if span < np.finfo(np.float32).tiny:
            raise ValueError(f"min_value {self.min_value} is not below max_value {self.max_value}")

    def __call__(self, node: NodeStatistics) -> Array:
        """[B, A]."""
        xp = array_namespace(node.qvalues)
        with np.errstate(over="ignore"):
            values = (node.qvalues - self.min_value) / (self.max_value - self.min_value)
        values = xp.clip(values, -LARGEST_SCORE, LARGEST_SCORE)
        return xp.where(node.child_visits > 0, values, xp.zeros_like(values))
