"""The compiled work on trees: one call enters what the model said and finds what to ask it next.

A tree is a row of node records, 16 words of 4 bytes each, which is one cache line, and a row of
prior logits a node. Children hang on their parent as a linked list of *visited* ones, so that a
selection costs what was visited and not A. It can, because all actions not yet visited have the
same value (v_mix, or the least): the best of them is the one of greatest logit, and together they
weigh the sum of their priors. Both are found once each time a node is first entered or gains a
child.

Everything is float32, as in the plain search, which these functions must agree with. Kernels hold
no lock of Python's, so rows can be shared out between threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from rl_serial.planning.selection import LOWEST_SCORE

Array = Any
F = TypeVar("F", bound=Callable[..., Any])

WORDS = 16
"""Words of a node record. The first eight are fields of :class:`~rl_serial.planning.Tree`."""
(
    VISITS,  # int
    VALUE,
    RAW_VALUE,
    REWARD,
    DISCOUNT,
    PARENT,  # int
    ACTION,  # int
    DEPTH,  # int
    FIRST_CHILD,  # int: node; 0: none
    NEXT_SIBLING,  # int: node; 0: none
    LOGIT,  # of the action at the parent, less the greatest there
    PRIOR,  # of the action at the parent
    BEST,  # int: 1 + unvisited action of greatest logit; 0: not yet looked for; −1: none is left
    MASS,  # sum of exp(logit − that logit) over unvisited actions
    TOP,  # greatest logit
    TOTAL,  # sum of exp(logit − TOP); 0: not yet known
) = range(WORDS)

SCRATCH = 5
"""Rows of scratch a selection needs: q, visits, logit, score (float) and action (as float)."""
ONE = np.float32(1)
ZERO = np.float32(0)
INFINITY = np.float32(np.inf)
TINY = np.finfo(np.float32).tiny
LOWEST = np.float32(LOWEST_SCORE)
LOG2_E = np.float32(1.44269504088896341)
LN2_HIGH = np.float32(0.693359375)  # few bits, so that its product with an integer is exact
LN2_LOW = np.float32(-2.12194440e-4)
HALF = np.float32(0.5)
LEAST_EXPONENT = np.float32(-87.0)
# exp(r) = 1 + r + r² (c0 + c1 r + …) on |r| ≤ ln(2)/2: Taylor's, to 2e-8.
C0, C1, C2, C3, C4, C5 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))


def kernel(function: F) -> F:
    """Compile on the first call, kept on disk where a folder for that can be written to."""
    return _compile(function, fastmath=False)


def sums(function: F) -> F:
    """A kernel whose sums may be taken in any order, so that they use the vector unit."""
    return _compile(function, fastmath={"reassoc", "contract", "nsz", "arcp"})


def _compile(function: F, **options: Any) -> F:
    try:
        compiled: F = njit(cache=True, nogil=True, error_model="numpy", **options)(function)
    except RuntimeError:  # no folder to write to
        compiled = njit(nogil=True, error_model="numpy", **options)(function)
    return compiled


def _float_of_bits(context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


float_of_bits: Any = intrinsic(_float_of_bits)


@sums
def exponential(x: Any) -> Any:
    """exp(x) of a float32 x ≤ 88, to 2 units in the last place; 0 below −87."""
    bounded = max(x, LEAST_EXPONENT)
    power = np.floor(bounded * LOG2_E + HALF)
    r = bounded - power * LN2_HIGH - power * LN2_LOW
    tail = ((((C5 * r + C4) * r + C3) * r + C2) * r + C1) * r + C0
    scale = float_of_bits((np.int32(power) + np.int32(127)) << np.int32(23))
    result = (tail * r * r + r + ONE) * scale
    return result if x >= LEAST_EXPONENT else ZERO


@sums
def sum_exponentials(logits: Any, top: Any) -> Any:
    """Sum of exp(logit − top) over a row of logits."""
    total = ZERO
    for a in range(logits.size):
        total += exponential(logits[a] - top)
    return total


@sums
def sum_after(logits: Any, best: Any) -> Any:
    """The same over the actions that come at or behind ``best`` by falling logit, then index."""
    top = logits[best]
    total = ZERO
    for a in range(logits.size):
        behind = logits[a] < top or (logits[a] == top and a >= best)
        total += exponential(logits[a] - top) if behind else ZERO
    return total


@kernel
def survey(ints: Any, floats: Any, logits: Any) -> None:
    """Know a node's greatest logit and the sum of its exponentials."""
    top = -INFINITY
    for a in range(logits.size):
        top = max(top, logits[a])
    floats[TOP] = top
    floats[TOTAL] = sum_exponentials(logits, top)


@kernel
def look_below_root(ints: Any, floats: Any, logits: Any, last: Any) -> None:
    """Find a node's best unvisited action, the next after ``last`` (−1: none was visited).

    Below the root actions are visited in this order and no other.
    """
    best, top = -1, -INFINITY
    if last < 0:
        for a in range(logits.size):
            if logits[a] > top:
                best, top = a, logits[a]
    else:
        bound = logits[last]
        for a in range(logits.size):
            behind = logits[a] < bound or (logits[a] == bound and a > last)
            if behind and logits[a] > top:
                best, top = a, logits[a]
    if best < 0:
        ints[BEST] = -1
        floats[MASS] = ZERO
        return
    ints[BEST] = best + 1
    if last < 0:
        floats[TOP] = top
        floats[TOTAL] = sum_exponentials(logits, top)
        floats[MASS] = floats[TOTAL]
    else:
        floats[MASS] = sum_after(logits, best)


@kernel
def look_at_root(ints: Any, floats: Any, logits: Any, order: Any, child: Any) -> None:
    """Find the root's best unvisited action by ``order`` [A]; nothing asks for their mass there."""
    best, top = -1, -INFINITY
    for a in range(logits.size):
        if child[a] == 0 and logits[a] > -INFINITY and (best < 0 or order[a] > top):
            best, top = a, order[a]
    ints[BEST] = best + 1 if best >= 0 else -1


@kernel
def gather(ints: Any, floats: Any, node: Any, scratch: Any) -> Any:
    """Write what is known of the children of ``node`` into ``scratch``, and say how many."""
    count = 0
    child = ints[node, FIRST_CHILD]
    while child != 0:
        scratch[0, count] = floats[child, REWARD] + floats[child, DISCOUNT] * floats[child, VALUE]
        scratch[1, count] = np.float32(ints[child, VISITS])
        scratch[2, count] = floats[child, LOGIT]
        scratch[3, count] = floats[child, PRIOR]
        scratch[4, count] = np.float32(ints[child, ACTION])
        count += 1
        child = ints[child, NEXT_SIBLING]
    return count


@kernel
def transform(
    floats: Any, node: Any, scratch: Any, count: Any, num_actions: Any, numbers: Any
) -> Any:
    """σ of the children's completed values, in place of q; returns σ(v_mix) and all visits."""
    value_scale, maxvisit_init, rescale, epsilon = numbers[0], numbers[1], numbers[2], numbers[3]
    visits, most, mass, weighted = ZERO, ZERO, ZERO, ZERO
    low, high = INFINITY, -INFINITY
    for c in range(count):
        q = scratch[0, c]
        visits += scratch[1, c]
        most = max(most, scratch[1, c])
        mass += scratch[3, c]
        weighted += scratch[3, c] * q
        low = min(low, q)
        high = max(high, q)
    mixed = floats[node, RAW_VALUE]
    if count > 0:
        mixed = (mixed + visits * (weighted / mass)) / (ONE + visits)
    scale = (maxvisit_init + most) * value_scale
    if rescale != ZERO:
        if count < num_actions:
            low = min(low, mixed)
            high = max(high, mixed)
        span = max(high - low, epsilon)
        for c in range(count):
            scratch[0, c] = scale * ((scratch[0, c] - low) / span)
        mixed = (mixed - low) / span
    else:
        for c in range(count):
            scratch[0, c] = scale * scratch[0, c]
    return scale * mixed, visits


@sums
def softmax_scratch(scratch: Any, count: Any, top: Any) -> Any:
    """Turn scores (row 3) into exp(score − top) and return their sum."""
    total = ZERO
    for c in range(count):
        weight = exponential(scratch[3, c] - top)
        scratch[3, c] = weight
        total += weight
    return total


@kernel
def gumbel_below_root(
    ints: Any, floats: Any, logits: Any, node: Any, scratch: Any, numbers: Any
) -> Any:
    """The action that maximises the improved policy minus the share of visits."""
    best = ints[node, BEST] - 1
    count = gather(ints, floats, node, scratch)
    if count == 0:
        return best
    mixed, visits = transform(floats, node, scratch, count, logits.shape[1], numbers)
    unvisited = -INFINITY
    if best >= 0:
        unvisited = logits[node, best] - floats[node, TOP] + mixed
    top = unvisited
    for c in range(count):
        scratch[3, c] = scratch[2, c] + scratch[0, c]
        top = max(top, scratch[3, c])
    total = softmax_scratch(scratch, count, top)
    weight = ZERO
    if best >= 0:
        weight = exponential(unvisited - top)
        total += weight * floats[node, MASS]
    score = weight / total if best >= 0 else -INFINITY
    for c in range(count):
        own = scratch[3, c] / total - scratch[1, c] / (ONE + visits)
        action = int(scratch[4, c])
        if scratch[2, c] > -INFINITY and (own > score or (own == score and action < best)):
            score, best = own, action
    return best


@kernel
def gumbel_at_root(
    ints: Any,
    floats: Any,
    order: Any,
    earlier: Any,
    considered: Any,
    scratch: Any,
    numbers: Any,
) -> Any:
    """The best root action among those that this search visited ``considered`` times."""
    best = ints[0, BEST] - 1 if considered == 0 else -1
    count = gather(ints, floats, 0, scratch)
    mixed = ZERO
    eligible = False
    for c in range(count):
        action = int(scratch[4, c])
        if int(scratch[1, c]) - earlier[action] == considered and scratch[2, c] > -INFINITY:
            eligible = True
    if not eligible:
        return best
    mixed, _ = transform(floats, 0, scratch, count, order.size, numbers)
    score = max(order[best] + mixed, LOWEST) if best >= 0 else -INFINITY
    for c in range(count):
        action = int(scratch[4, c])
        if int(scratch[1, c]) - earlier[action] == considered and scratch[2, c] > -INFINITY:
            own = max(order[action] + scratch[0, c], LOWEST)
            if own > score or (own == score and action < best):
                score, best = own, action
    return best


@kernel
def puct(ints: Any, floats: Any, logits: Any, node: Any, scratch: Any, numbers: Any) -> Any:
    """The action of greatest predictor + upper confidence bound."""
    best = ints[node, BEST] - 1
    count = gather(ints, floats, node, scratch)
    if count == 0:
        return best
    pb_c_init, pb_c_base, by_siblings = numbers[0], numbers[1], numbers[2]
    if by_siblings != ZERO:
        low = floats[node, VALUE]
        high = low
        for c in range(count):
            low = min(low, scratch[0, c])
            high = max(high, scratch[0, c])
        span = max(high - low, numbers[3])
    else:
        low = numbers[3]
        span = numbers[4] - numbers[3]
    visits = np.float32(ints[node, VISITS])
    weight = np.float32(np.log((visits + pb_c_base + ONE) / pb_c_base)) + pb_c_init
    weight = np.sqrt(visits) * weight
    score = -INFINITY
    if best >= 0:
        prior = exponential(logits[node, best] - floats[node, TOP]) / floats[node, TOTAL]
        score = weight * prior
    for c in range(count):
        own = (scratch[0, c] - low) / span + weight * scratch[3, c] / (scratch[1, c] + ONE)
        action = int(scratch[4, c])
        if scratch[2, c] > -INFINITY and (own > score or (own == score and action < best)):
            score, best = own, action
    return best


@kernel
def child_of(ints: Any, node: Any, action: Any) -> Any:
    """The child of ``node`` by ``action``; 0 where there is none."""
    child = ints[node, FIRST_CHILD]
    while child != 0 and ints[child, ACTION] != action:
        child = ints[child, NEXT_SIBLING]
    return child


@kernel
def attach(ints: Any, floats: Any, logits: Any, parent: Any, child: Any) -> None:
    """Enter ``child`` in its parent's list, with the logit and prior of its action there."""
    action = ints[child, ACTION]
    logit = logits[parent, action] - floats[parent, TOP]
    floats[child, LOGIT] = logit
    floats[child, PRIOR] = max(exponential(logit) / floats[parent, TOTAL], TINY)
    ints[child, NEXT_SIBLING] = ints[parent, FIRST_CHILD]
    ints[parent, FIRST_CHILD] = child


@kernel
def is_sound(reward: Any, discount: Any, value: Any, prior: Any, legal: Any, has_legal: Any) -> Any:
    """Whether a row of the model's output is finite and leaves an action where it goes on."""
    sound = math.isfinite(reward) and math.isfinite(discount) and math.isfinite(value)
    if not has_legal:
        for a in range(prior.size):
            sound &= abs(prior[a]) < INFINITY
        return sound
    some = False
    for a in range(prior.size):
        sound &= abs(prior[a]) < INFINITY or not legal[a]
        some |= legal[a]
    return sound and (some or discount == ZERO)


@kernel
def enter(
    ints: Any,
    floats: Any,
    logits: Any,
    root_child: Any,
    order: Any,
    index: Any,
    node: Any,
    action: Any,
    reward: Any,
    discount: Any,
    value: Any,
    prior: Any,
    legal: Any,
    has_legal: Any,
) -> None:
    """Expand ``action`` at ``node`` into ``index`` and carry the value up to the root."""
    leaf = root_child[action] if node == 0 else child_of(ints, node, action)
    if leaf == 0:
        leaf = index
        ints[leaf, VISITS] = 1
        floats[leaf, VALUE] = value
        floats[leaf, RAW_VALUE] = value
        floats[leaf, REWARD] = reward
        floats[leaf, DISCOUNT] = discount
        ints[leaf, PARENT] = node
        ints[leaf, ACTION] = action
        ints[leaf, DEPTH] = ints[node, DEPTH] + 1
        if has_legal:
            for a in range(prior.size):
                logits[leaf, a] = prior[a] if legal[a] else -INFINITY
        else:
            for a in range(prior.size):
                logits[leaf, a] = prior[a]
        attach(ints, floats, logits, node, leaf)
        if node == 0:
            root_child[action] = leaf
            look_at_root(ints[0], floats[0], logits[0], order, root_child)
        else:
            look_below_root(ints[node], floats[node], logits[node], action)
    else:
        ints[leaf, VISITS] += 1
        floats[leaf, VALUE] += (value - floats[leaf, VALUE]) / np.float32(ints[leaf, VISITS])
    gain = value
    while leaf != 0:
        gain = floats[leaf, REWARD] + floats[leaf, DISCOUNT] * gain
        leaf = ints[leaf, PARENT]
        visits = np.float32(ints[leaf, VISITS])
        floats[leaf, VALUE] = (floats[leaf, VALUE] * visits + gain) / (visits + ONE)
        ints[leaf, VISITS] += 1


@kernel
def prepare(low: Any, high: Any, head: Any, prior_logits: Any, root_child: Any, order: Any) -> None:
    """Build lists of children and what is known of unvisited actions, of trees just planted."""
    for b in range(low, high):
        floats = head[b]
        ints = head[b].view(np.int32)
        logits = prior_logits[b]
        for node in range(ints.shape[0]):
            if ints[node, VISITS] > 0:
                survey(ints[node], floats[node], logits[node])
                if node > 0:
                    attach(ints, floats, logits, ints[node, PARENT], node)
                    if ints[node, PARENT] == 0:
                        root_child[b, ints[node, ACTION]] = node
        for node in range(1, ints.shape[0]):
            if ints[node, VISITS] > 0 and ints[node, FIRST_CHILD] > 0:
                # The last visited action is that of the least logit.
                child = ints[node, FIRST_CHILD]
                last = ints[child, ACTION]
                while child != 0:
                    a = ints[child, ACTION]
                    x, y = logits[node, a], logits[node, last]
                    if x < y or (x == y and a > last):
                        last = a
                    child = ints[child, NEXT_SIBLING]
                look_below_root(ints[node], floats[node], logits[node], last)
        look_at_root(ints[0], floats[0], logits[0], order[b], root_child[b])


@kernel
def step(
    low: Any,
    high: Any,
    index: Any,
    simulation: Any,
    max_depth: Any,
    is_gumbel: Any,
    numbers: Any,
    head: Any,
    prior_logits: Any,
    root_child: Any,
    order: Any,
    earlier: Any,
    table: Any,
    table_row: Any,
    pending: Any,
    reward: Any,
    discount: Any,
    value: Any,
    prior: Any,
    legal: Any,
    place: Any,
    action_out: Any,
) -> Any:
    """Enter the model's answers as nodes ``index`` (−1: none yet), then select for the next.

    Rows ``low`` to ``high`` of the batch. ``simulation`` −1: nothing is selected any more. The
    selected (node, action) goes into ``pending`` [B, 2], the place of the node's embedding in
    memory [N, B] into ``place`` [B]. Returns whether the answers were sound; one row that is not
    stops it.
    """
    batch, num_nodes = head.shape[0], head.shape[1]
    num_actions = prior_logits.shape[2]
    has_legal = legal.size > 0
    scratch = np.empty((SCRATCH, min(num_actions, num_nodes)), np.float32)
    for b in range(low, high):
        floats = head[b]
        ints = floats.view(np.int32)
        logits = prior_logits[b]
        if index >= 0:
            mask = legal[b] if has_legal else legal[0:0].reshape(0)
            if not is_sound(reward[b], discount[b], value[b], prior[b], mask, has_legal):
                return False
            enter(
                ints, floats, logits, root_child[b], order[b], index, pending[b, 0],
                pending[b, 1], reward[b], discount[b], value[b], prior[b], mask, has_legal,
            )  # fmt: skip
        if simulation < 0:
            continue
        if is_gumbel:
            considered = table[table_row[b], simulation]
            action = gumbel_at_root(
                ints, floats, order[b], earlier[b], considered, scratch, numbers
            )
        else:
            action = puct(ints, floats, logits, 0, scratch, numbers)
        node = 0
        child = root_child[b, action]
        depth = 1
        while child != 0 and floats[child, DISCOUNT] != ZERO and depth < max_depth:
            node = child
            depth += 1
            if ints[node, BEST] == 0:
                look_below_root(ints[node], floats[node], logits[node], -1)
            if is_gumbel:
                action = gumbel_below_root(ints, floats, logits, node, scratch, numbers)
            else:
                action = puct(ints, floats, logits, node, scratch, numbers)
            child = child_of(ints, node, action)
        pending[b, 0] = node
        pending[b, 1] = action
        place[b] = node * batch + b
        action_out[b] = action
    return True
