"""The compiled search: the plain search's trees, with the work on them in compiled code.

NumPy arrays and torch tensors on the CPU. Python is left with one call of the model, one of a
kernel and one gather a simulation.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np
from array_api_compat import is_torch_array
from numpy.typing import NDArray

from rl_serial.planning import kernels
from rl_serial.planning.checks import (
    as_mask,
    as_numbers,
    check_embedding,
    check_output,
    refuse_returns,
)
from rl_serial.planning.memory import Memory
from rl_serial.planning.qtransforms import ByParentAndSiblings
from rl_serial.planning.search import Found
from rl_serial.planning.selection import Gumbel, Puct
from rl_serial.planning.tree import fill, masked_logits
from rl_serial.planning.types import (
    Array,
    NodeStatistics,
    RecurrentFn,
    RecurrentOutput,
    Root,
    Tree,
)
from rl_serial.pytrees import leaves, rebuild

ROWS_A_THREAD = 512
"""Fewest rows of a batch that are worth a thread: to hand them over costs some 40 µs."""
ROWS_A_PIECE = 128
"""Rows that a thread takes at a time."""
MOST_CALLED = 4
"""Calls that a thread may be behind with."""


def compiled_search(
    root: Root,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    rule: Gumbel | Puct,
    max_depth: int,
    reused: Tree | None = None,
    memory: Memory | None = None,
) -> Found:
    """The trees after ``num_simulations`` further simulations, as by the plain search.

    The tree lies in ``memory``, and is gone with the search after the next one that is given it.

    Raises:
        ValueError: what the model said is wrong; the message names field and row.
    """
    batch, num_actions = root.prior_logits.shape
    kept = 1 if reused is None else int(reused.visits.shape[1])
    num_nodes = kept + num_simulations
    memory = Memory() if memory is None else memory
    memory.turn()
    head = memory.zeros("head", (batch, num_nodes, kernels.WORDS), np.float32)
    ints = head.view(np.int32)
    ints[:, :, [kernels.PARENT, kernels.ACTION]] = -1
    logits = memory.zeros("logits", (batch, num_nodes, num_actions), np.float32)
    as_torch = is_torch_array(root.prior_logits)
    like = leaves(root.embedding)
    stored = [memory.room(i, leaf, num_nodes) for i, leaf in enumerate(like)]  # [N, B, ...]
    embedding = rebuild(root.embedding, [leaf.swapaxes(0, 1) for leaf in stored])
    tree = fill(_tree_of(head, logits, embedding, as_torch), root, reused)
    order = logits[:, 0].copy()
    earlier = np.zeros((batch, num_actions), np.int32)
    table = np.zeros((1, 0), np.int64)
    table_row = np.zeros(batch, np.int64)
    is_gumbel = isinstance(rule, Gumbel)
    if isinstance(rule, Gumbel):
        order = _numpy(rule.noise) + (order - order.max(axis=1, keepdims=True))
        earlier = np.ascontiguousarray(_numpy(rule.earlier), np.int32)
        table = np.ascontiguousarray(_numpy(rule.table))
        num_legal = np.count_nonzero(logits[:, 0] > -np.inf, axis=1)
        table_row = np.minimum(num_legal, len(table) - 1)
    numbers = _numbers(rule)
    root_child = np.zeros((batch, num_actions), np.int32)
    pending = np.zeros((batch, 2), np.int32)
    kernels.prepare(0, batch, head, logits, root_child, order)
    team = Team(batch)

    flat = [leaf.reshape(-1, *leaf.shape[2:]) for leaf in stored]
    output: RecurrentOutput | None = None
    answer = _no_answer(batch, num_actions)
    for simulation in range(num_simulations + 1 if num_simulations else 0):
        place = np.empty(batch, np.int64)
        action = np.empty(batch, np.int64)
        last = simulation == num_simulations
        sound = team.step(
            kept + simulation - 1 if simulation else -1,
            -1 if last else simulation,
            max_depth,
            is_gumbel,
            numbers,
            head,
            logits,
            root_child,
            order,
            earlier,
            table,
            table_row,
            pending,
            *answer,
            place,
            action,
        )
        if output is not None and not sound:
            check_output(output, root)
            refuse_returns()
        if last:
            break
        arrays = [_take(leaf, place) for leaf in flat]
        given = _torch(action) if as_torch else action
        output, following = recurrent_fn(given, rebuild(root.embedding, arrays))
        answer = _answer(output, root)
        new = check_embedding(following, like)
        for room, array in zip(stored, new, strict=True):
            room[kept + simulation] = array

    child_visits = np.zeros((batch, num_actions), np.int32)
    qvalues = np.zeros((batch, num_actions), np.float32)
    depth = np.zeros(batch, np.int32)
    kernels.report(0, batch, head, root_child, child_visits, qvalues, depth)
    wrap = _torch if as_torch else np.asarray
    at_root = NodeStatistics(
        visits=wrap(ints[:, 0, kernels.VISITS].copy()),
        value=wrap(head[:, 0, kernels.VALUE].copy()),
        raw_value=root.value,
        prior_logits=masked_logits(root.prior_logits, root.legal),
        child_visits=wrap(child_visits),
        qvalues=wrap(qvalues),
    )
    return Found(tree, at_root, wrap(depth))


@cache
def _threads(process: int) -> ThreadPoolExecutor:
    """Helpers of this ``process``; a fork has none of its parent's threads."""
    return ThreadPoolExecutor(most_threads(), "rl_serial-search")


def most_threads() -> int:
    """NUMBA_NUM_THREADS, by default the cores this process may use."""
    return int(getattr(numba.config, "NUMBA_NUM_THREADS"))  # noqa: B009


class Team:
    """Threads that share out the rows of a batch, in pieces that whoever is free takes.

    A thread whose core has other work takes few of them or none, and nobody waits for it but to
    finish the piece that it is at.
    """

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.rows = min(batch, ROWS_A_PIECE)
        self.pieces = -(-batch // self.rows)
        self.helpers = min(most_threads(), batch // ROWS_A_THREAD) - 1
        self.called: list[Future[None]] = []

    def step(self, *arguments: Any) -> bool:
        """:func:`rl_serial.planning.kernels.step` of all rows; False where one is not sound."""
        if self.helpers < 1:
            return bool(kernels.step(0, self.batch, *arguments))
        shared = np.zeros(kernels.SHARED, np.int64)
        given = (shared, self.rows, self.batch, *arguments)
        # Those that have not come to earlier calls yet find nothing to do there; they are not
        # given ever more.
        self.called = [call for call in self.called if not call.done()]
        if len(self.called) <= MOST_CALLED * self.helpers:
            pool = _threads(os.getpid())
            self.called += [
                pool.submit(kernels.step_in_pieces, *given) for _ in range(self.helpers)
            ]
        kernels.step_in_pieces(*given)
        while shared[kernels.DONE] < self.pieces:
            time.sleep(0)
        return not shared[kernels.UNSOUND]


def _numbers(rule: Gumbel | Puct) -> NDArray[np.float32]:
    """The constants of a rule as the kernels take them."""
    if isinstance(rule, Gumbel):
        mix = rule.qtransform
        constants = [mix.value_scale, mix.maxvisit_init, mix.rescale, mix.epsilon, 0]
    elif isinstance(rule.qtransform, ByParentAndSiblings):
        constants = [rule.pb_c_init, rule.pb_c_base, 1, rule.qtransform.epsilon, 0]
    else:
        bounds = rule.qtransform
        constants = [rule.pb_c_init, rule.pb_c_base, 0, bounds.min_value, bounds.max_value]
    return np.array(constants, np.float32)


def _tree_of(
    head: NDArray[np.float32], logits: NDArray[np.float32], embedding: Any, as_torch: bool
) -> Tree:
    """A tree whose arrays are views of the records."""
    wrap = _torch if as_torch else np.asarray
    ints = head.view(np.int32)
    return Tree(
        visits=wrap(ints[:, :, kernels.VISITS]),
        value=wrap(head[:, :, kernels.VALUE]),
        raw_value=wrap(head[:, :, kernels.RAW_VALUE]),
        reward=wrap(head[:, :, kernels.REWARD]),
        discount=wrap(head[:, :, kernels.DISCOUNT]),
        parent=wrap(ints[:, :, kernels.PARENT]),
        action=wrap(ints[:, :, kernels.ACTION]),
        depth=wrap(ints[:, :, kernels.DEPTH]),
        prior_logits=wrap(logits),
        embedding=embedding,
    )


def _torch(array: NDArray[Any]) -> Any:
    import torch

    return torch.from_numpy(array)


def _numpy(array: Array) -> NDArray[Any]:
    """The same memory as a NumPy array."""
    return np.asarray(array)


def _take(leaf: Array, place: NDArray[np.int64]) -> Array:
    """[B, ...]: rows of [N · B, ...]."""
    if isinstance(leaf, np.ndarray):
        return leaf.take(place, axis=0)
    return leaf.index_select(0, _torch(place))


Answer = tuple[NDArray[Any], ...]
"""reward, discount, value [B], prior_logits [B, A] float32, legal [B, A] or [0, A] bool."""


def _no_answer(batch: int, num_actions: int) -> Answer:
    row = np.zeros(batch, np.float32)
    return row, row, row, np.zeros((batch, num_actions), np.float32), _any(num_actions)


def _any(num_actions: int) -> NDArray[np.bool_]:
    return np.zeros((0, num_actions), np.bool_)


def _answer(output: RecurrentOutput, root: Root) -> Answer:
    """What the model said, as the kernels take it."""
    like = root.prior_logits
    batch, num_actions = like.shape
    row, grid = (batch,), (batch, num_actions)
    legal = _any(num_actions)
    if output.legal is not None:
        legal = _plain(as_mask(output.legal, "legal", grid, like))
    return (
        _float32(output.reward, "reward", row, like),
        _float32(output.discount, "discount", row, like),
        _float32(output.value, "value", row, like),
        _float32(output.prior_logits, "prior_logits", grid, like),
        legal,
    )


def _float32(array: Array, name: str, shape: tuple[int, ...], like: Array) -> NDArray[Any]:
    """``array`` as the kernels take it, without detours where it is nearly so already."""
    if is_torch_array(array) and array.device.type == "cpu":
        array = array.detach().numpy()
    if type(array) is np.ndarray and array.dtype == np.float32 and array.shape == shape:
        return array if array.flags.carray else array.copy()
    return _plain(as_numbers(array, name, shape, like))


def _plain(array: Array) -> NDArray[Any]:
    """A NumPy array that kernels take: contiguous and not marked read-only."""
    plain: NDArray[Any] = np.ascontiguousarray(_numpy(array))
    return plain if plain.flags.carray else plain.copy()
