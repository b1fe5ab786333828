"""The compiled work on trees: one call enters what the model said and finds what to ask it next.

A tree is a row of node records, 16 words of 4 bytes each, which is one cache line, and a row of
prior logits a node. Children hang on their parent as a linked list of *visited* ones, so that a
selection costs what was visited and not A. It can, because all actions not yet visited have the
same value (v_mix, or the least): the best of them is the one of greatest logit, and together they
weigh the sum of their priors. Both are found once each time a node is first entered or gains a
child.

Everything is float32, as in the plain search, which these functions must agree with. Kernels hold
no lock of Python's, so rows can be shared out between threads.

They stay in one file of more than 500 lines: they read and write the same records by the same word
numbers, and Numba's cache knows a kernel by its own file only, not by those that it calls into.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from rl_serial.compiling import REORDERED, F, compiled
from rl_serial.planning import checks, qtransforms

Array = Any

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
    BEST,  # int: 1 + unvisited action of greatest logit; NONE_LEFT; or not yet looked for: 0, or
    # −2 − the action visited last
    MASS,  # sum of exp(logit − that logit) over unvisited actions
    TOP,  # greatest logit
    TOTAL,  # sum of exp(logit − TOP); 0: not yet known
) = range(WORDS)

NONE_LEFT = -1
SCRATCH = 5
"""Rows of scratch a selection needs: q, visits, logit, score (float) and action (as float)."""
ONE = np.float32(1)
ZERO = np.float32(0)
INFINITY = np.float32(np.inf)
TINY = np.finfo(np.float32).tiny
LARGEST = np.float32(checks.LARGEST)
LARGEST_SCORE = np.float32(qtransforms.LARGEST_SCORE)
LOG2_E = np.float32(1.44269504088896341)
LN2_HIGH = np.float32(0.693359375)  # few bits, so that its product with an integer is exact
LN2_LOW = np.float32(-2.12194440e-4)
HALF = np.float32(0.5)
LEAST_EXPONENT = np.float32(-87.0)
# exp(r) = 1 + r + r² (c0 + c1 r + …) on |r| ≤ ln(2)/2: Taylor's, to 2e-8.
C0, C1, C2, C3, C4, C5 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))


def kernel(function: F) -> F:
    """Compile on the first call; kept on disk where a folder for that can be written to."""
    return compiled(function, **REORDERED)


def part(function: F) -> F:
    """A piece of a kernel. It takes whole arrays and indices: a slice would cost a reference."""
    return compiled(function, inline="always", **REORDERED)


def exact(function: F) -> F:
    """A piece of a kernel whose arithmetic is done as it is written."""
    return compiled(function, **REORDERED | {"fastmath": False})


def _float_of_bits(context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


float_of_bits: Any = intrinsic(_float_of_bits)


def _take_one(context: Any, counters: Any, index: Any) -> Any:
    """``counters[index]``, to which 1 is added before another thread can read it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        return builder.atomic_rmw("add", place, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(counters, types.int64), generate


take_one: Any = intrinsic(_take_one)
NEXT, DONE, UNSOUND = 0, 8, 16
"""Places of what threads share, each in a cache line of its own: pieces that were taken, pieces
that are done, and whether a row was not sound."""
SHARED = 24


@part
def exponential(x: Any) -> Any:
    """exp(x) of a float32 x ≤ 88, to 3 units in the last place; 0 below −87."""
    bounded = max(x, LEAST_EXPONENT)
    power = np.floor(bounded * LOG2_E + HALF)
    r = bounded - power * LN2_HIGH - power * LN2_LOW
    tail = ((((C5 * r + C4) * r + C3) * r + C2) * r + C1) * r + C0
    scale = float_of_bits((np.int32(power) + np.int32(127)) << np.int32(23))
    result = (tail * r * r + r + ONE) * scale
    return result if x >= LEAST_EXPONENT else ZERO


@part
def survey(floats: Any, logits: Any, b: Any, node: Any) -> None:
    """Know a node's greatest logit and the sum of its exponentials."""
    top = -INFINITY
    for a in range(logits.shape[2]):
        top = max(top, logits[b, node, a])
    total = ZERO
    if top > -INFINITY:
        for a in range(logits.shape[2]):
            total += exponential(logits[b, node, a] - top)
    floats[b, node, TOP] = top
    floats[b, node, TOTAL] = total


@part
def look_below_root(ints: Any, floats: Any, logits: Any, b: Any, node: Any) -> None:
    """Find a node's best unvisited action, by falling logit and then by index.

    Below the root actions are visited in this order and no other, so the last one visited says
    which are left.
    """
    last = -ints[b, node, BEST] - 2
    best, top, total = -1, -INFINITY, ZERO
    if last < 0:
        for a in range(logits.shape[2]):
            if logits[b, node, a] > top:
                best, top = a, logits[b, node, a]
        for a in range(logits.shape[2]):
            total += exponential(logits[b, node, a] - top)
        floats[b, node, TOP] = top
        floats[b, node, TOTAL] = total
    else:
        bound = logits[b, node, last]
        for a in range(logits.shape[2]):
            logit = logits[b, node, a]
            if logit > top and (logit < bound or (logit == bound and a > last)):
                best, top = a, logit
        if best >= 0:
            for a in range(logits.shape[2]):
                logit = logits[b, node, a]
                left = logit < top or (logit == top and a >= best)
                total += exponential(logit - top) if left else ZERO
    ints[b, node, BEST] = best + 1 if best >= 0 else NONE_LEFT
    floats[b, node, MASS] = total


@part
def look_at_root(ints: Any, logits: Any, order: Any, root_child: Any, b: Any) -> None:
    """Find the root's best unvisited action by ``order``; nothing asks for their mass there."""
    best, top = -1, -INFINITY
    for a in range(logits.shape[2]):
        is_left = root_child[b, a] == 0 and logits[b, 0, a] > -INFINITY
        if is_left and (best < 0 or order[b, a] > top):
            best, top = a, order[b, a]
    ints[b, 0, BEST] = best + 1 if best >= 0 else NONE_LEFT


@part
def gather(ints: Any, floats: Any, b: Any, node: Any, scratch: Any) -> Any:
    """Write what is known of the children of ``node`` into ``scratch``, and say how many."""
    count = 0
    child = ints[b, node, FIRST_CHILD]
    while child != 0:
        q = floats[b, child, REWARD] + floats[b, child, DISCOUNT] * floats[b, child, VALUE]
        scratch[0, count] = q
        scratch[1, count] = np.float32(ints[b, child, VISITS])
        scratch[2, count] = floats[b, child, LOGIT]
        scratch[3, count] = floats[b, child, PRIOR]
        scratch[4, count] = np.float32(ints[b, child, ACTION])
        count += 1
        child = ints[b, child, NEXT_SIBLING]
    return count


@exact
def quotient(x: Any, y: Any) -> Any:
    """x / y, not x · (1 / y): with a constant factor beside it that would overflow for a tiny y."""
    return x / y


@part
def score_of(value: Any) -> Any:
    """A transformed value within the bounds of scores."""
    return min(max(value, -LARGEST_SCORE), LARGEST_SCORE)


@part
def span_of(low: Any, high: Any, epsilon: Any) -> Any:
    """By what values are divided to be stretched to [0, 1]."""
    return max(max(high - low, epsilon * max(abs(low), abs(high))), TINY)


@part
def transform(raw: Any, scratch: Any, count: Any, num_actions: Any, numbers: Any) -> Any:
    """σ of the children's completed values, in place of q; returns σ(v_mix) and all visits."""
    value_scale, maxvisit_init, rescale, epsilon = numbers[0], numbers[1], numbers[2], numbers[3]
    visits, most, mass, weighted, likeliest = ZERO, ZERO, ZERO, ZERO, ZERO
    low, high = INFINITY, -INFINITY
    for c in range(count):
        likeliest = max(likeliest, scratch[3, c])
    for c in range(count):
        # In units of the largest, so that small values do not vanish in the product.
        scratch[3, c] = quotient(scratch[3, c], likeliest)
    for c in range(count):
        q = scratch[0, c]
        visits += scratch[1, c]
        most = max(most, scratch[1, c])
        mass += scratch[3, c]
        weighted += scratch[3, c] * q
        low = min(low, q)
        high = max(high, q)
    mixed = raw
    if count > 0:
        mixed = (mixed + visits * (weighted / mass)) / (ONE + visits)
    scale = (maxvisit_init + most) * value_scale
    if rescale != ZERO:
        if count < num_actions:
            low = min(low, mixed)
            high = max(high, mixed)
        span = span_of(low, high, epsilon)
        for c in range(count):
            scratch[0, c] = score_of(scale * quotient(scratch[0, c] - low, span))
        mixed = quotient(mixed - low, span)
    else:
        for c in range(count):
            scratch[0, c] = score_of(scale * scratch[0, c])
    return score_of(scale * mixed), visits


@part
def gumbel_below_root(
    ints: Any, floats: Any, logits: Any, b: Any, node: Any, scratch: Any, numbers: Any
) -> Any:
    """The action that maximises the improved policy minus the share of visits."""
    best = ints[b, node, BEST] - 1
    count = gather(ints, floats, b, node, scratch)
    if count > 0:
        raw = floats[b, node, RAW_VALUE]
        mixed, visits = transform(raw, scratch, count, logits.shape[2], numbers)
        unvisited = -INFINITY
        if best >= 0:
            unvisited = logits[b, node, best] - floats[b, node, TOP] + mixed
        top = unvisited
        for c in range(count):
            scratch[3, c] = scratch[2, c] + scratch[0, c]
            top = max(top, scratch[3, c])
        total = ZERO
        for c in range(count):
            weight = exponential(scratch[3, c] - top)
            scratch[3, c] = weight
            total += weight
        score = -INFINITY
        if best >= 0:
            weight = exponential(unvisited - top)
            total += weight * floats[b, node, MASS]
            score = weight / total
        for c in range(count):
            own = scratch[3, c] / total - scratch[1, c] / (ONE + visits)
            action = int(scratch[4, c])
            if scratch[2, c] > -INFINITY and (own > score or (own == score and action < best)):
                score, best = own, action
    return best


@part
def gumbel_at_root(
    ints: Any,
    floats: Any,
    order: Any,
    earlier: Any,
    b: Any,
    considered: Any,
    scratch: Any,
    numbers: Any,
) -> Any:
    """The best root action among those that this search visited ``considered`` times."""
    best = ints[b, 0, BEST] - 1 if considered == 0 else -1
    count = gather(ints, floats, b, 0, scratch)
    eligible = False
    for c in range(count):
        here = int(scratch[1, c]) - earlier[b, int(scratch[4, c])]
        eligible |= here == considered and scratch[2, c] > -INFINITY
    if eligible:
        mixed, _ = transform(floats[b, 0, RAW_VALUE], scratch, count, order.shape[1], numbers)
        score = order[b, best] + mixed if best >= 0 else -INFINITY
        for c in range(count):
            action = int(scratch[4, c])
            here = int(scratch[1, c]) - earlier[b, action]
            if here == considered and scratch[2, c] > -INFINITY:
                own = order[b, action] + scratch[0, c]
                if own > score or (own == score and action < best):
                    score, best = own, action
    return best


@part
def puct(ints: Any, floats: Any, logits: Any, b: Any, node: Any, scratch: Any, numbers: Any) -> Any:
    """The action of greatest predictor + upper confidence bound."""
    best = ints[b, node, BEST] - 1
    count = gather(ints, floats, b, node, scratch)
    if count > 0:
        pb_c_init, pb_c_base, by_siblings = numbers[0], numbers[1], numbers[2]
        low = numbers[3]
        span = numbers[4] - numbers[3]
        if by_siblings != ZERO:
            low = floats[b, node, VALUE]
            high = low
            for c in range(count):
                low = min(low, scratch[0, c])
                high = max(high, scratch[0, c])
            span = span_of(low, high, numbers[3])
        visits = np.float32(ints[b, node, VISITS])
        weight = np.float32(np.log((visits + pb_c_base + ONE) / pb_c_base)) + pb_c_init
        weight = np.sqrt(visits) * weight
        score = -INFINITY
        if best >= 0:
            logit = logits[b, node, best] - floats[b, node, TOP]
            score = weight * (exponential(logit) / floats[b, node, TOTAL])
        for c in range(count):
            exploration = weight * scratch[3, c] / (scratch[1, c] + ONE)
            own = score_of(quotient(scratch[0, c] - low, span)) + exploration
            action = int(scratch[4, c])
            if scratch[2, c] > -INFINITY and (own > score or (own == score and action < best)):
                score, best = own, action
    return best


@part
def child_of(ints: Any, b: Any, node: Any, action: Any) -> Any:
    """The child of ``node`` by ``action``; 0 where there is none."""
    child = ints[b, node, FIRST_CHILD]
    while child != 0 and ints[b, child, ACTION] != action:
        child = ints[b, child, NEXT_SIBLING]
    return child


@part
def attach(ints: Any, floats: Any, logits: Any, b: Any, parent: Any, child: Any) -> None:
    """Enter ``child`` in its parent's list, with the logit and prior of its action there."""
    logit = logits[b, parent, ints[b, child, ACTION]] - floats[b, parent, TOP]
    floats[b, child, LOGIT] = logit
    floats[b, child, PRIOR] = max(exponential(logit) / floats[b, parent, TOTAL], TINY)
    ints[b, child, NEXT_SIBLING] = ints[b, parent, FIRST_CHILD]
    ints[b, parent, FIRST_CHILD] = child


@part
def is_sound(
    reward: Any, discount: Any, value: Any, prior: Any, legal: Any, b: Any, has_legal: Any
) -> Any:
    """Whether a row of the model's output can be used and leaves an action where it goes on."""
    sound = abs(reward[b]) <= LARGEST and abs(discount[b]) <= LARGEST and abs(value[b]) <= LARGEST
    if has_legal:
        some = False
        for a in range(prior.shape[1]):
            sound &= abs(prior[b, a]) <= LARGEST or not legal[b, a]
            some |= legal[b, a]
        sound &= some or discount[b] == ZERO
    else:
        for a in range(prior.shape[1]):
            sound &= abs(prior[b, a]) <= LARGEST
    return sound


@kernel
def prepare(low: Any, high: Any, head: Any, logits: Any, root_child: Any, order: Any) -> None:
    """Build lists of children and what is known of unvisited actions, of trees just planted."""
    floats = head
    ints = head.view(np.int32)
    for b in range(low, high):
        for node in range(ints.shape[1]):
            if ints[b, node, VISITS] > 0:
                survey(floats, logits, b, node)
                if node > 0:
                    parent, action = ints[b, node, PARENT], ints[b, node, ACTION]
                    attach(ints, floats, logits, b, parent, node)
                    if parent == 0:
                        root_child[b, action] = node
                        continue
                    # The last action visited is the one of least logit; BEST says which it is.
                    last = -ints[b, parent, BEST] - 2
                    if last < 0:
                        ints[b, parent, BEST] = -action - 2
                    else:
                        x, y = logits[b, parent, action], logits[b, parent, last]
                        if x < y or (x == y and action > last):
                            ints[b, parent, BEST] = -action - 2
        look_at_root(ints, logits, order, root_child, b)


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
    logits: Any,
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
    memory [N, B] into ``place`` [B]. Returns whether the answers and the returns that they make
    were sound; one row that is not stops it.
    """
    floats = head
    ints = head.view(np.int32)
    batch, num_nodes, num_actions = logits.shape
    has_legal = legal.shape[0] > 0
    scratch = np.empty((SCRATCH, min(num_actions, num_nodes)), np.float32)
    for b in range(low, high):
        if index >= 0:
            if not is_sound(reward, discount, value, prior, legal, b, has_legal):
                return False
            # Expand.
            parent, action = pending[b, 0], pending[b, 1]
            leaf = child_of(ints, b, parent, action)
            if leaf == 0:
                leaf = index
                ints[b, leaf, VISITS] = 1
                floats[b, leaf, VALUE] = value[b]
                floats[b, leaf, RAW_VALUE] = value[b]
                floats[b, leaf, REWARD] = reward[b]
                floats[b, leaf, DISCOUNT] = discount[b]
                ints[b, leaf, PARENT] = parent
                ints[b, leaf, ACTION] = action
                ints[b, leaf, DEPTH] = ints[b, parent, DEPTH] + 1
                if has_legal:
                    for a in range(num_actions):
                        logits[b, leaf, a] = prior[b, a] if legal[b, a] else -INFINITY
                else:
                    for a in range(num_actions):
                        logits[b, leaf, a] = prior[b, a]
                attach(ints, floats, logits, b, parent, leaf)
                if parent == 0:
                    root_child[b, action] = leaf
                    look_at_root(ints, logits, order, root_child, b)
                else:
                    ints[b, parent, BEST] = -action - 2
            else:
                ints[b, leaf, VISITS] += 1
                error = value[b] - floats[b, leaf, VALUE]
                floats[b, leaf, VALUE] += error / np.float32(ints[b, leaf, VISITS])
            # Carry the value up to the root.
            gain = value[b]
            while leaf != 0:
                gain = floats[b, leaf, REWARD] + floats[b, leaf, DISCOUNT] * gain
                if not abs(gain) <= LARGEST:
                    return False
                leaf = ints[b, leaf, PARENT]
                visits = np.float32(ints[b, leaf, VISITS])
                floats[b, leaf, VALUE] = (floats[b, leaf, VALUE] * visits + gain) / (visits + ONE)
                ints[b, leaf, VISITS] += 1
        if simulation >= 0:
            # Select.
            child, depth = 0, 0
            while True:
                node = child
                depth += 1
                if node > 0 and ints[b, node, BEST] <= 0 and ints[b, node, BEST] != NONE_LEFT:
                    look_below_root(ints, floats, logits, b, node)
                if not is_gumbel:
                    action = puct(ints, floats, logits, b, node, scratch, numbers)
                elif node > 0:
                    action = gumbel_below_root(ints, floats, logits, b, node, scratch, numbers)
                else:
                    considered = table[table_row[b], simulation]
                    action = gumbel_at_root(
                        ints, floats, order, earlier, b, considered, scratch, numbers
                    )
                child = child_of(ints, b, node, action) if node > 0 else root_child[b, action]
                if child == 0 or floats[b, child, DISCOUNT] == ZERO or depth >= max_depth:
                    break
            pending[b, 0] = node
            pending[b, 1] = action
            place[b] = node * batch + b
            action_out[b] = action
    return True


@kernel
def step_in_pieces(shared: Any, rows: Any, batch: Any, *arguments: Any) -> None:
    """:func:`step` for pieces of so many ``rows``, as long as another thread has not taken them.

    ``shared``: [SHARED] int64, zeros before the first thread begins.
    """
    while True:
        low = take_one(shared, np.int64(NEXT)) * rows
        if low >= batch:
            break
        if not step(low, min(low + rows, batch), *arguments):
            shared[UNSOUND] = 1
        take_one(shared, np.int64(DONE))


@kernel
def report(
    low: Any, high: Any, head: Any, root_child: Any, visits: Any, qvalues: Any, depth: Any
) -> None:
    """Read the root's ``visits`` and ``qvalues`` [B, A] and each tree's ``depth`` [B]."""
    ints = head.view(np.int32)
    for b in range(low, high):
        for a in range(root_child.shape[1]):
            child = root_child[b, a]
            if child != 0:
                visits[b, a] = ints[b, child, VISITS]
                value = head[b, child, DISCOUNT] * head[b, child, VALUE]
                qvalues[b, a] = head[b, child, REWARD] + value
        deepest = 0
        for node in range(head.shape[1]):
            deepest = max(deepest, ints[b, node, DEPTH])
        depth[b] = deepest
