"""The two searches: :func:`gumbel_muzero_policy` and :func:`muzero_policy`.

Both are deterministic unless noise is asked for, and then it comes from the generator that is
given. Nothing is read from global state.
"""

from __future__ import annotations

import importlib.util
import math

import numpy as np
from array_api_compat import array_namespace, device, to_device

from rl_serial.errors import require, told_missing
from rl_serial.planning.checks import LARGEST, check_reused, check_root
from rl_serial.planning.memory import Memory
from rl_serial.planning.qtransforms import (
    ByParentAndSiblings,
    MinMax,
    MixValue,
    completed_qvalues,
    softmax,
)
from rl_serial.planning.randomness import (
    Generator,
    dirichlet_noise,
    gumbel_noise,
    numpy_generator,
)
from rl_serial.planning.search import Found, Search, search
from rl_serial.planning.selection import Gumbel, Puct, best_legal, visits_table
from rl_serial.planning.tree import check_memory, root_statistics
from rl_serial.planning.types import (
    Array,
    PolicyOutput,
    RecurrentFn,
    Root,
    Tree,
)
from rl_serial.pytrees import leaves

BACKENDS = ("auto", "compiled", "plain")
NO_LIMIT = 2**31 - 1
"""A depth that no tree comes to: more nodes than fit into memory."""


def gumbel_muzero_policy(
    root: Root,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    *,
    max_depth: int | None = None,
    gumbel_scale: float = 0.0,
    generator: Generator | None = None,
    max_considered: int = 16,
    qtransform: MixValue | None = None,
    reused: Tree | None = None,
    memory: Memory | None = None,
    memory_limit: int | None = None,
    backend: str = "auto",
) -> PolicyOutput:
    """Gumbel MuZero: sequential halving at the root, an improved policy from few simulations.

    The played action is the best of those visited most; ``action_weights`` is the improved policy
    softmax(logits + σ(completed Q)), without noise. No simulation at all gives the prior.

    Args:
        root: states to plan from.
        recurrent_fn: the model.
        num_simulations: how often the model is asked, at least 0.
        max_depth: most actions from the root to a leaf; None: no limit.
        gumbel_scale: 0 for evaluation; 1 samples root actions without replacement, for training.
        generator: of NumPy or torch; needed for noise only.
        max_considered: most root actions that sequential halving starts from.
        qtransform: σ; None: :class:`MixValue` with its defaults.
        reused: what :func:`reuse` kept of an earlier search.
        memory: keeps the tree's arrays for the search after the next one (:class:`Memory`), whose
            tree is written over this one; None: fresh arrays.
        memory_limit: bytes the trees may take; None: half of the memory that is free.
        backend: compiled (NumPy arrays and torch tensors on the CPU; needs Numba), plain (any
            device), or auto: compiled where that is possible.

    Raises:
        ValueError: an argument or a number of the model that is wrong; the message names it.
        MemoryError: the trees would need more than the limit; the message says how much.

    Source: Danihelka, Guez, Schrittwieser, Silver 2022, *Policy improvement by planning with
    Gumbel*.
    """
    root = check_root(root)
    max_depth = _check_numbers(num_simulations, max_depth, backend)
    _check_whole("max_considered", max_considered, 1)
    fits = 0 <= gumbel_scale <= LARGEST
    require(fits, "gumbel_scale", gumbel_scale, f"0 or more, at most {LARGEST:g}")
    check_reused(reused, root)
    check_memory(root, num_simulations, reused, memory_limit)
    like = root.prior_logits
    xp = array_namespace(like)
    noise = xp.zeros_like(like)
    if gumbel_scale > 0:
        source = numpy_generator(generator, f"gumbel_scale={gumbel_scale}")
        noise = _like(gumbel_scale * gumbel_noise(source, _shape(like)), like)
    table = visits_table(min(max_considered, like.shape[1]), num_simulations)
    earlier = xp.zeros(like.shape, dtype=xp.int32, device=device(like))
    if reused is not None:
        earlier = root_statistics(reused).child_visits
    rule = Gumbel(
        qtransform=MixValue() if qtransform is None else qtransform,
        noise=noise,
        table=xp.asarray(table, dtype=xp.int64, device=device(like)),
        earlier=earlier,
    )
    run = choose(backend, root)
    found = run(root, recurrent_fn, num_simulations, rule, max_depth, reused, memory)
    node = found.root
    values = completed_qvalues(node)
    transformed = rule.qtransform.of_completed(values, node)
    most = xp.max(node.child_visits - earlier, axis=-1)
    action = best_legal(rule.scores_with_visits(node, most, transformed), node)
    weights = softmax(node.prior_logits + transformed)
    return _output(found, action, weights, values)


def muzero_policy(
    root: Root,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    *,
    max_depth: int | None = None,
    temperature: float = 0.0,
    dirichlet_fraction: float = 0.0,
    dirichlet_alpha: float = 0.3,
    generator: Generator | None = None,
    qtransform: ByParentAndSiblings | MinMax | None = None,
    pb_c_init: float = 1.25,
    pb_c_base: float = 19652.0,
    reused: Tree | None = None,
    memory: Memory | None = None,
    memory_limit: int | None = None,
    backend: str = "auto",
) -> PolicyOutput:
    """MuZero's and AlphaZero's search by PUCT.

    ``action_weights`` are the visits of the root's actions over their sum. The action is the most
    visited one at temperature 0, else drawn with weights^(1/temperature). No simulation at all
    gives the prior.

    Args:
        root: states to plan from.
        recurrent_fn: the model.
        num_simulations: how often the model is asked, at least 0.
        max_depth: most actions from the root to a leaf; None: no limit.
        temperature: 0 for evaluation.
        dirichlet_fraction: share of noise in the root's prior, in [0, 1]; 0 for evaluation.
        dirichlet_alpha: of that noise, which goes to legal actions only.
        generator: of NumPy or torch; needed for noise or a temperature only.
        qtransform: None: :class:`ByParentAndSiblings` with its defaults.
        pb_c_init: constant of PUCT's exploration.
        pb_c_base: visits after which PUCT explores more.
        reused: what :func:`reuse` kept of an earlier search.
        memory: keeps the tree's arrays for the search after the next one (:class:`Memory`), whose
            tree is written over this one; None: fresh arrays.
        memory_limit: bytes the trees may take; None: half of the memory that is free.
        backend: compiled (NumPy arrays and torch tensors on the CPU; needs Numba), plain (any
            device), or auto: compiled where that is possible.

    Raises:
        ValueError: an argument or a number of the model that is wrong; the message names it.
        MemoryError: the trees would need more than the limit; the message says how much.

    Sources: Silver et al. 2018, *A general reinforcement learning algorithm that masters chess,
    shogi, and Go*; Schrittwieser et al. 2020, *Mastering Atari, Go, chess and shogi by planning
    with a learned model*, appendix B.
    """
    root = check_root(root)
    max_depth = _check_numbers(num_simulations, max_depth, backend)
    require(0 <= temperature < math.inf, "temperature", temperature, "0 or more, and finite")
    right = "in [0, 1]"
    require(0 <= dirichlet_fraction <= 1, "dirichlet_fraction", dirichlet_fraction, right)
    right = "more than 0, and finite"
    require(0 < dirichlet_alpha < math.inf, "dirichlet_alpha", dirichlet_alpha, right)
    check_reused(reused, root)
    check_memory(root, num_simulations, reused, memory_limit)
    source = None
    if temperature > 0 or dirichlet_fraction > 0:
        what = f"temperature={temperature}, dirichlet_fraction={dirichlet_fraction}"
        source = numpy_generator(generator, what)
    noisy = root
    if dirichlet_fraction > 0 and source is not None:
        noisy = _with_dirichlet(root, dirichlet_fraction, dirichlet_alpha, source)
    rule = Puct(
        qtransform=ByParentAndSiblings() if qtransform is None else qtransform,
        pb_c_init=pb_c_init,
        pb_c_base=pb_c_base,
    )
    run = choose(backend, root)
    found = run(noisy, recurrent_fn, num_simulations, rule, max_depth, reused, memory)
    node = found.root
    xp = array_namespace(node.qvalues)
    visits = xp.astype(node.child_visits, xp.float32)
    total = xp.sum(visits, axis=-1, keepdims=True)
    weights = xp.where(total > 0, visits / xp.clip(total, 1, None), softmax(node.prior_logits))
    scores = weights
    if temperature > 0 and source is not None:
        # The largest of log-weights with Gumbel noise is a draw from their softmax.
        share = weights / xp.max(weights, axis=-1, keepdims=True)
        float32 = xp.finfo(weights.dtype)
        logits = xp.log(xp.clip(share, float32.tiny, None))
        # Of two shares of visits the logarithms differ by so much that the least temperature is 0.
        with np.errstate(over="ignore"):
            logits = logits / min(max(temperature, float32.tiny), float32.max)
        logits = xp.where(weights > 0, xp.clip(logits, -LARGEST, None), -math.inf)
        scores = logits + _like(gumbel_noise(source, _shape(logits)), logits)
    return _output(found, best_legal(scores, node), weights, completed_qvalues(node))


def _check_numbers(num_simulations: int, max_depth: int | None, backend: str) -> int:
    """The depth limit; without one, the number of simulations is none."""
    _check_whole("num_simulations", num_simulations, 0)
    if max_depth is not None:
        _check_whole("max_depth", max_depth, 1)
    require(backend in BACKENDS, "backend", backend, f"one of {', '.join(BACKENDS)}")
    return NO_LIMIT if max_depth is None else min(max_depth, NO_LIMIT)


def _check_whole(name: str, number: int, least: int) -> None:
    whole = isinstance(number, int | np.integer) and number >= least
    require(whole, name, number, f"{least} or more, a whole number")


def choose(backend: str, root: Root) -> Search:
    """The compiled search or the plain one."""
    arrays = [root.prior_logits, *leaves(root.embedding)]
    on_host = all(str(device(array)) == "cpu" for array in arrays)
    has_numba = importlib.util.find_spec("numba") is not None
    if backend == "compiled" and not on_host:
        raise ValueError("backend='compiled' works on the CPU; the root is on another device")
    if backend == "compiled" and not has_numba:
        raise ValueError(told_missing("backend='compiled'", "Numba", "train"))
    if backend == "plain" or not on_host or not has_numba:
        return search
    from rl_serial.planning.compiled import compiled_search

    return compiled_search


def _shape(array: Array) -> tuple[int, int]:
    return int(array.shape[0]), int(array.shape[1])


def _like(numbers: np.ndarray, like: Array) -> Array:
    """A NumPy array as one of the library and on the device of ``like``."""
    return array_namespace(like).asarray(numbers, dtype=like.dtype, device=device(like))


def _with_dirichlet(root: Root, fraction: float, alpha: float, source: np.random.Generator) -> Root:
    """The root with noise in its prior; illegal actions get none of it."""
    logits = root.prior_logits
    xp = array_namespace(logits)
    legal = xp.ones_like(logits, dtype=xp.bool) if root.legal is None else root.legal
    noise = _like(dirichlet_noise(source, alpha, _numpy(legal)), logits)
    prior = softmax(xp.where(legal, logits, -math.inf))
    mixed = (1 - fraction) * prior + fraction * noise
    noisy = xp.log(xp.clip(mixed, xp.finfo(mixed.dtype).tiny, None))
    return Root(noisy, root.value, root.embedding, root.legal)


def _numpy(array: Array) -> np.ndarray:
    return np.asarray(to_device(array, "cpu"))


def _output(found: Found, action: Array, weights: Array, values: Array) -> PolicyOutput:
    xp = array_namespace(weights)
    logs = xp.log(xp.where(weights > 0, weights, xp.ones_like(weights)))
    return PolicyOutput(
        action=xp.astype(action, xp.int64, copy=False),
        action_weights=weights,
        visit_counts=found.root.child_visits,
        value=found.root.value,
        qvalues=values,
        depth=found.depth,
        root_entropy=-xp.sum(weights * logs, axis=-1),
        tree=found.tree,
    )
