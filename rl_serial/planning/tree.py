"""Search trees in batch: making, reading, measuring and reusing them."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from array_api_compat import array_namespace, device, is_torch_array

from rl_serial.planning.types import Array, Embedding, NodeStatistics, Root, Tree
from rl_serial.pytrees import leaves, map_leaves

LINE = 64
"""Bytes that a node's own numbers take, and to which its record is rounded up: a cache line."""
SMALL = 64 * 2**20
"""Bytes up to which a search is not compared with the memory there is."""


def search_bytes(
    batch: int, num_simulations: int, num_actions: int, embedding_bytes: int = 0
) -> int:
    """Most bytes that the trees of a search take; ``embedding_bytes`` is that of one node.

    A node takes 64 bytes, 8 an action (rounded up to 64), and its embedding.
    """
    record = LINE + -(-8 * num_actions // LINE) * LINE
    return batch * (num_simulations + 1) * (record + embedding_bytes)


def available_bytes(array: Array) -> int:
    """Bytes of memory free on the device that holds ``array``."""
    if is_torch_array(array) and array.device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(array.device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_memory(root: Root, num_simulations: int, reused: Tree | None, limit: int | None) -> None:
    """Refuse a search whose trees do not fit.

    Args:
        root: what is planned from.
        num_simulations: simulations of this search.
        reused: the tree that it goes on from.
        limit: bytes; None: half of the memory that is free.

    Raises:
        MemoryError: it needs more; the message says how much and for what.
    """
    batch, num_actions = root.prior_logits.shape
    num_nodes = num_simulations + (1 if reused is None else int(reused.visits.shape[1]))
    embedding = sum(_bytes_per_row(leaf) for leaf in leaves(root.embedding))
    needed = search_bytes(batch, num_nodes - 1, num_actions, embedding)
    if limit is None:
        if needed <= SMALL:
            return
        limit = available_bytes(root.prior_logits) // 2
    if needed > limit:
        raise MemoryError(
            f"a search of {batch} rows × {num_nodes} nodes × {num_actions} actions with "
            f"{embedding} bytes of embedding a node needs {needed:,} bytes "
            f"({needed / 2**30:,.2f} GiB); the limit is {limit:,} bytes: take fewer rows at a time "
            "or fewer simulations"
        )


def _bytes_per_row(leaf: Array) -> int:
    size = 1
    for length in leaf.shape[1:]:
        size *= int(length)
    return size * int(leaf.dtype.itemsize)


def masked_logits(prior_logits: Array, legal: Array | None) -> Array:
    """[B, A]: the logits, −inf where an action is illegal."""
    if legal is None:
        return prior_logits
    xp = array_namespace(prior_logits)
    return xp.where(legal, prior_logits, -float("inf"))


def plant(root: Root, num_simulations: int, reused: Tree | None = None) -> Tree:
    """The tree before the first simulation: the root alone, or what is left of an earlier tree."""
    like = root.prior_logits
    xp = array_namespace(like)
    batch, num_actions = like.shape
    num_nodes = num_simulations + (1 if reused is None else reused.visits.shape[1])

    def blank(dtype: Any, value: int, *more: int) -> Array:
        return xp.full((batch, num_nodes, *more), value, dtype=dtype, device=device(like))

    tree = Tree(
        visits=blank(xp.int32, 0),
        value=blank(xp.float32, 0),
        raw_value=blank(xp.float32, 0),
        reward=blank(xp.float32, 0),
        discount=blank(xp.float32, 0),
        parent=blank(xp.int32, -1),
        action=blank(xp.int32, -1),
        depth=blank(xp.int32, 0),
        prior_logits=blank(xp.float32, 0, num_actions),
        embedding=room_for_embeddings(root.embedding, num_nodes),
    )
    return fill(tree, root, reused)


def fill(tree: Tree, root: Root, reused: Tree | None) -> Tree:
    """Write root and reused nodes into a blank ``tree``, which has room for them.

    ``root`` says prior, value and embedding of the root also where a tree is reused; then its
    visits and mean value go on from those of the earlier search.
    """
    xp = array_namespace(tree.visits)
    if reused is not None:
        kept = reused.visits.shape[1]
        for field in fields(Tree):
            if field.name != "embedding":
                getattr(tree, field.name)[:, :kept] = getattr(reused, field.name)
        for stored, old in zip(leaves(tree.embedding), leaves(reused.embedding), strict=True):
            stored[:, :kept] = old
    for stored, own in zip(leaves(tree.embedding), leaves(root.embedding), strict=True):
        stored[:, 0] = own
    fresh = tree.visits[:, 0] == 0
    tree.visits[:, 0] = xp.where(fresh, xp.ones_like(tree.visits[:, 0]), tree.visits[:, 0])
    tree.value[:, 0] = xp.where(fresh, root.value, tree.value[:, 0])
    tree.raw_value[:, 0] = root.value
    tree.discount[:, 0] = 1.0
    tree.prior_logits[:, 0] = masked_logits(root.prior_logits, root.legal)
    return tree


def room_for_embeddings(root: Embedding, num_nodes: int) -> Embedding:
    """Room for the embeddings of all nodes, as views [B, N, ...] of arrays [N, B, ...].

    Nodes come first in memory because a simulation writes one node of every row at once.
    """

    def room(leaf: Array) -> Array:
        xp = array_namespace(leaf)
        stored = xp.zeros((num_nodes, *leaf.shape), dtype=leaf.dtype, device=device(leaf))
        return stored.swapaxes(0, 1)

    return map_leaves(room, root)


def rows_of(array: Array) -> Array:
    """[B] int64: 0, 1, … for the rows of ``array``, on its device."""
    xp = array_namespace(array)
    return xp.arange(array.shape[0], dtype=xp.int64, device=device(array))


def children(tree: Tree) -> Array:
    """[B, N, A] int32: the node that each action leads to, −1 where there is none."""
    xp = array_namespace(tree.parent)
    index = xp.full(tree.prior_logits.shape, -1, dtype=xp.int32, device=device(tree.parent))
    row, node = xp.nonzero(tree.parent >= 0)
    parent = xp.astype(tree.parent[row, node], xp.int64)
    action = xp.astype(tree.action[row, node], xp.int64)
    index[row, parent, action] = xp.astype(node, xp.int32)
    return index


def root_children(tree: Tree) -> Array:
    """[B, A] int32: the node that each action leads to from the root, −1 where there is none."""
    xp = array_namespace(tree.parent)
    shape = (tree.parent.shape[0], tree.num_actions)
    index = xp.full(shape, -1, dtype=xp.int32, device=device(tree.parent))
    row, node = xp.nonzero(tree.parent == 0)
    index[row, xp.astype(tree.action[row, node], xp.int64)] = xp.astype(node, xp.int32)
    return index


def statistics(tree: Tree, node: Array, child: Array) -> NodeStatistics:
    """What is known at ``node`` [B] int64 of each row, whose children are ``child`` [B, A]."""
    xp = array_namespace(node)
    rows = rows_of(node)
    exists = child >= 0
    at = (rows[:, None], xp.astype(xp.where(exists, child, xp.zeros_like(child)), xp.int64))
    qvalues = tree.reward[at] + tree.discount[at] * tree.value[at]
    return NodeStatistics(
        visits=tree.visits[rows, node],
        value=tree.value[rows, node],
        raw_value=tree.raw_value[rows, node],
        prior_logits=tree.prior_logits[rows, node],
        child_visits=xp.where(exists, tree.visits[at], xp.zeros_like(child)),
        qvalues=xp.where(exists, qvalues, xp.zeros_like(qvalues)),
    )


def root_statistics(tree: Tree) -> NodeStatistics:
    """What is known at the roots."""
    child = root_children(tree)
    xp = array_namespace(child)
    return statistics(tree, xp.zeros_like(rows_of(child)), child)


def reuse(tree: Tree, action: Array) -> Tree:
    """The part of each tree below ``action`` [B], as a tree whose root is the node it led to.

    Give it to the next search together with the new root's prior, value and embedding. A row with
    action −1 (its episode has ended), or with an action that was never visited, starts afresh:
    its root has no visits.

    Raises:
        ValueError: an action outside [−1, A).
    """
    xp = array_namespace(tree.visits)
    if bool(xp.any((action < -1) | (action >= tree.num_actions))):
        raise ValueError(f"action to reuse must be in [-1, {tree.num_actions}), not {action}")
    rows = rows_of(tree.visits)
    chosen = root_children(tree)[rows, xp.clip(xp.astype(action, xp.int64), 0, None)]
    chosen = xp.where(action >= 0, chosen, xp.full_like(chosen, -1))
    kept = _ancestors_at_depth_one(tree) == chosen[:, None]
    kept = kept & (tree.visits > 0) & (tree.depth > 0)
    place = xp.cumulative_sum(xp.astype(kept, xp.int64), axis=1) - 1  # new index of a kept node
    num_nodes = max(1, int(xp.max(place)) + 1)
    row, node = xp.nonzero(kept)
    new = place[row, node]
    # A new root has no parent; a node of another branch is never asked for.
    parent = xp.astype(tree.parent[row, node], xp.int64)
    is_root = new == 0
    new_parent = xp.where(is_root, -xp.ones_like(new), place[row, parent])
    new_action = xp.where(is_root, -xp.ones_like(new), xp.astype(tree.action[row, node], xp.int64))

    def compact(old: Array, fill: float, values: Array | None = None) -> Array:
        shape = (old.shape[0], num_nodes, *old.shape[2:])
        array = xp.full(shape, fill, dtype=old.dtype, device=device(old))
        array[row, new] = old[row, node] if values is None else xp.astype(values, old.dtype)
        return array

    return Tree(
        visits=compact(tree.visits, 0),
        value=compact(tree.value, 0.0),
        raw_value=compact(tree.raw_value, 0.0),
        reward=compact(tree.reward, 0.0),
        discount=compact(tree.discount, 0.0),
        parent=compact(tree.parent, -1, new_parent),
        action=compact(tree.action, -1, new_action),
        depth=compact(tree.depth, 0, tree.depth[row, node] - 1),
        prior_logits=compact(tree.prior_logits, 0.0),
        embedding=map_leaves(lambda leaf: compact(leaf, 0), tree.embedding),
    )


def _ancestors_at_depth_one(tree: Tree) -> Array:
    """[B, N] int32: each node's ancestor that is a child of the root (itself where it is one)."""
    xp = array_namespace(tree.parent)
    own = xp.arange(tree.parent.shape[1], dtype=xp.int32, device=device(tree.parent))[None, :]
    ancestor = xp.where(tree.depth <= 1, own, tree.parent)
    # Every pass doubles the distance looked ahead, so their number is logarithmic in the depth.
    for _ in range(int(xp.max(tree.depth)).bit_length()):
        ancestor = xp.take_along_axis(ancestor, xp.astype(ancestor, xp.int64), axis=1)
    return ancestor


@dataclass(frozen=True)
class MaxBackup:
    """Values of a finished tree when the best child counts instead of the mean of all."""

    value: Array  # [B] of the root
    qvalues: Array  # [B, A] of the root's actions; −inf where not visited


def max_backup(tree: Tree) -> MaxBackup:
    """Action values by dynamic programming over the tree.

    A leaf is worth its raw value, any other node the best reward + discount × value of its visited
    children. Where the tree holds every action down to the ends these are the exact action values
    of the model.
    """
    xp = array_namespace(tree.value)
    best = xp.full_like(xp.asarray(tree.value, copy=True), -float("inf"))
    rows = rows_of(tree.value)
    child = root_children(tree)
    qvalues = xp.full(child.shape, -float("inf"), dtype=tree.value.dtype, device=device(tree.value))
    for node in range(tree.value.shape[1] - 1, 0, -1):
        exists = tree.visits[:, node] > 0
        own = _best_or_raw(best[:, node], tree.raw_value[:, node])
        q = tree.reward[:, node] + tree.discount[:, node] * own
        parent = xp.astype(tree.parent[:, node], xp.int64)
        known = best[rows, parent]
        best[rows, parent] = xp.where(exists, xp.maximum(known, q), known)
        action = xp.astype(tree.action[:, node], xp.int64)
        known = qvalues[rows, action]
        qvalues[rows, action] = xp.where(exists & (parent == 0), q, known)
    return MaxBackup(_best_or_raw(best[:, 0], tree.raw_value[:, 0]), qvalues)


def _best_or_raw(best: Array, raw: Array) -> Array:
    xp = array_namespace(best)
    return xp.where(best > -float("inf"), best, raw)
