"""The plain search: simulate, expand, backward, on NumPy arrays or torch tensors of any device.

It is the reference that the compiled search is compared with, and the search on a GPU: trees stay
where the root is. Each function does one step of all rows at once and writes into the tree's
arrays, which the search owns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace

from rl_serial.planning.checks import check_embedding, check_output, fits, refuse_returns
from rl_serial.planning.memory import Memory
from rl_serial.planning.selection import best_legal
from rl_serial.planning.tree import children, masked_logits, plant, rows_of, statistics
from rl_serial.planning.types import (
    Array,
    Embedding,
    NodeStatistics,
    RecurrentFn,
    RecurrentOutput,
    Root,
    Tree,
)
from rl_serial.pytrees import leaves, map_leaves


class Rule(Protocol):
    """Which action a simulation follows: the first legal one of greatest score."""

    def scores_at_root(self, node: NodeStatistics) -> Array:
        """[B, A] at the root."""

    def scores_below_root(self, node: NodeStatistics) -> Array:
        """[B, A] at any other node."""


@dataclass(frozen=True)
class Found:
    """What a search leaves behind."""

    tree: Tree
    root: NodeStatistics
    depth: Array  # [B] int32: edges from the root to the deepest node


class Search(Protocol):
    """:func:`search`, or another that makes the same trees."""

    def __call__(
        self,
        root: Root,
        recurrent_fn: RecurrentFn,
        num_simulations: int,
        rule: Any,
        max_depth: int,
        reused: Tree | None = None,
        memory: Memory | None = None,
    ) -> Found:
        """The trees after the simulations."""


def search(
    root: Root,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    rule: Rule,
    max_depth: int,
    reused: Tree | None = None,
    memory: Memory | None = None,
) -> Found:
    """The trees after ``num_simulations`` further simulations.

    They take fresh arrays, whatever ``memory`` has.

    Raises:
        ValueError: what the model said is wrong; the message names field and row.
    """
    tree = plant(root, num_simulations, reused)
    child = children(tree)
    xp = array_namespace(child)
    room, like = leaves(tree.embedding), leaves(root.embedding)
    first = tree.visits.shape[1] - num_simulations
    for index in range(first, first + num_simulations):
        parent, action = simulate(tree, child, rule, max_depth)
        output, embedding = recurrent_fn(action, embedding_at(tree, parent))
        output = check_output(output, root)
        for stored, new in zip(room, check_embedding(embedding, like), strict=True):
            stored[:, index] = new
        leaf = expand(tree, child, index, parent, action, output)
        if not bool(xp.all(fits(backward(tree, leaf, output.value)))):
            refuse_returns()
    at_root = statistics(tree, xp.zeros_like(rows_of(child)), child[:, 0])
    return Found(tree, at_root, xp.max(tree.depth, axis=1))


def simulate(tree: Tree, child: Array, rule: Rule, max_depth: int) -> tuple[Array, Array]:
    """Follow ``rule`` from the root: the (node [B], action [B]) to evaluate, both int64.

    A row stops before an action not yet visited, one that ended the episode, or the depth limit.
    """
    xp = array_namespace(child)
    rows = rows_of(child)
    node = xp.zeros_like(rows)
    at = statistics(tree, node, child[rows, node])
    action = best_legal(rule.scores_at_root(at), at)
    for _ in range(1, max_depth):
        following = xp.astype(child[rows, node, action], xp.int64)
        goes_on = (following >= 0) & (tree.discount[rows, following] != 0)
        if not bool(xp.any(goes_on)):
            break
        node = xp.where(goes_on, following, node)
        at = statistics(tree, node, child[rows, node])
        action = xp.where(goes_on, best_legal(rule.scores_below_root(at), at), action)
    return node, action


def expand(
    tree: Tree, child: Array, index: int, parent: Array, action: Array, output: RecurrentOutput
) -> Array:
    """Enter what the model said about ``action`` at ``parent``: the leaves [B] int64.

    A leaf is the node ``index`` or, where the action had been visited, the node that exists.
    The model is taken to be deterministic: an existing node keeps what was said at first.
    """
    xp = array_namespace(child)
    rows = rows_of(child)
    existing = xp.astype(child[rows, parent, action], xp.int64)
    is_new = existing < 0
    leaf = xp.where(is_new, xp.full_like(existing, index), existing)
    child[rows, parent, action] = xp.astype(leaf, child.dtype)
    # The place at ``index`` is written in every row; where the action had been visited, its node
    # stays what it is but for the mean of its evaluations, and that place counts as empty.
    tree.raw_value[:, index] = output.value
    tree.reward[:, index] = output.reward
    tree.discount[:, index] = output.discount
    tree.prior_logits[:, index] = masked_logits(output.prior_logits, output.legal)
    none = xp.full_like(tree.parent[:, index], -1)
    tree.parent[:, index] = xp.where(is_new, xp.astype(parent, none.dtype), none)
    tree.action[:, index] = xp.where(is_new, xp.astype(action, none.dtype), none)
    depth = tree.depth[rows, parent] + 1
    tree.depth[:, index] = xp.where(is_new, depth, xp.zeros_like(depth))
    visits = tree.visits[rows, leaf] + 1
    tree.visits[rows, leaf] = visits
    mean = tree.value[rows, leaf]
    tree.value[rows, leaf] = mean + (output.value - mean) / xp.astype(visits, mean.dtype)
    return leaf


def backward(tree: Tree, leaf: Array, value: Array) -> Array:
    """Carry the ``value`` [B] of each ``leaf`` [B] up to the root: G ← r + γG, V ← mean of G.

    Returns the greatest magnitude of G [B] on the way; NaN where one was.
    """
    xp = array_namespace(leaf)
    rows = rows_of(leaf)
    node, gain, largest = leaf, value, xp.abs(value)
    while bool(xp.any(node > 0)):
        below_root = node > 0
        with np.errstate(over="ignore", invalid="ignore"):  # refused by the caller
            step = tree.reward[rows, node] + tree.discount[rows, node] * gain
        gain = xp.where(below_root, step, gain)
        largest = xp.maximum(largest, xp.abs(gain))
        parent = xp.where(below_root, xp.astype(tree.parent[rows, node], xp.int64), node)
        old, visits = tree.value[rows, parent], tree.visits[rows, parent]
        total = xp.astype(visits, old.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = (old * total + gain) / (total + 1)
        tree.value[rows, parent] = xp.where(below_root, mean, old)
        tree.visits[rows, parent] = visits + xp.astype(below_root, visits.dtype)
        node = parent
    return largest


def embedding_at(tree: Tree, node: Array) -> Embedding:
    """[B, ...]: the embeddings of one node of each row."""
    rows = rows_of(node)

    def gather(leaf: Array) -> Any:
        return leaf[rows, node]

    return map_leaves(gather, tree.embedding)
