"""What a search refuses, and how it says so; a search that is too large among it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.planning import (
    RecurrentOutput,
    Root,
    gumbel_muzero_policy,
    muzero_policy,
    search_bytes,
)

POLICIES = (gumbel_muzero_policy, muzero_policy)
both_policies = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
both_backends = pytest.mark.parametrize("backend", ["plain", "compiled"])
both_libraries = pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor], ids=["np", "pt"])
B, A = 3, 4


def root(convert: Any = np.asarray, **changes: Any) -> Root:
    arrays = {
        "prior_logits": np.zeros((B, A), np.float32),
        "value": np.zeros(B, np.float32),
        "embedding": np.zeros((B, 2), np.float32),
        "legal": np.ones((B, A), bool),
        **changes,
    }
    return Root(**{name: convert(array) for name, array in arrays.items()})


def model(convert: Any = np.asarray, at_call: int = 1, **changes: Any) -> Callable[..., Any]:
    """Says nothing much, and from call ``at_call`` on what ``changes`` has."""
    calls = 0

    def recurrent_fn(action: Any, embedding: Any) -> Any:
        nonlocal calls
        calls += 1
        arrays: dict[str, Any] = {
            "reward": np.zeros(B, np.float32),
            "discount": np.ones(B, np.float32),
            "prior_logits": np.zeros((B, A), np.float32),
            "value": np.zeros(B, np.float32),
            "legal": np.ones((B, A), bool),
        }
        if calls >= at_call:
            arrays |= {name: array for name, array in changes.items() if name != "embedding"}
            embedding = changes.get("embedding", embedding)
        return RecurrentOutput(
            **{name: convert(array) for name, array in arrays.items()}
        ), embedding

    return recurrent_fn


def one(number: float, *place: int, shape: tuple[int, ...] = (B, A)) -> Any:
    array = np.zeros(shape, np.float32)
    array[place] = number
    return array


def none_legal() -> Any:
    legal = np.ones((B, A), bool)
    legal[1] = False
    return legal


@both_libraries
@both_policies
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prior_logits": one(np.nan, 1, 2)}, r"prior_logits of root .* row 1, action 2: nan"),
        ({"prior_logits": one(-np.inf, 0, 3)}, r"row 0, action 3: -inf .* goes into `legal`"),
        ({"value": one(np.inf, 2, shape=(B,))}, r"root.value is not finite in row 2: inf"),
        ({"legal": none_legal()}, r"legal of root leaves no action in row 1"),
        ({"value": np.zeros((B, 1))}, r"root.value has shape \(3, 1\), expected \[B\] = \(3,\)"),
        ({"prior_logits": np.zeros(B)}, r"root.prior_logits must be \[B, A\]"),
        ({"prior_logits": np.zeros((0, A))}, r"root.prior_logits must be \[B, A\] with B, A ≥ 1"),
        ({"legal": np.ones((B, A + 1), bool)}, r"root.legal has shape \(3, 5\), expected \[B, A\]"),
        ({"legal": np.ones((B, A))}, r"root.legal must be of type bool"),
        ({"embedding": np.zeros((B + 1, 2))}, r"root.embedding: array 0 .* must be B = 3"),
    ],
)
def test_root(policy: Any, convert: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy(root(convert, **changes), model(convert), 4)


@both_libraries
@both_backends
@both_policies
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prior_logits": one(np.nan, 1, 2)}, r"prior_logits of the model .* row 1, action 2: nan"),
        ({"value": one(np.nan, 2, shape=(B,))}, r"value of the model is not finite in row 2: nan"),
        ({"reward": one(np.inf, 0, shape=(B,))}, r"reward of the model is not finite in row 0"),
        (
            {"discount": one(-np.inf, 1, shape=(B,))},
            r"discount of the model is not finite in row 1",
        ),
        ({"legal": none_legal()}, r"legal of the model leaves no action in row 1"),
        ({"value": np.zeros((B, 1))}, r"value has shape \(3, 1\), expected \[B\] = \(3,\)"),
        (
            {"prior_logits": np.zeros((B, A + 1))},
            r"prior_logits has shape \(3, 5\), expected \[B, A\]",
        ),
        ({"legal": np.ones((B, A), np.int64)}, r"legal must be of type bool"),
    ],
)
@pytest.mark.parametrize("at_call", [1, 4])
def test_model(
    policy: Any, backend: str, convert: Any, changes: dict[str, Any], message: str, at_call: int
) -> None:
    """At the first simulation and at the last of four."""
    with pytest.raises(ValueError, match=message):
        policy(root(convert), model(convert, at_call, **changes), 4, backend=backend)


@both_backends
@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        (np.zeros((B, 3), np.float32), r"array 0 is float32 \(3, 3\), the root's is float32"),
        ((np.zeros(B), np.zeros(B)), r"next embedding has 2 arrays, the root's has 1"),
        (np.zeros((B, 2), np.int64), r"array 0 is int64 \(3, 2\), the root's is float32 \(3, 2\)"),
        ("text", r"embedding holds a str; it may hold NumPy or torch arrays"),
    ],
)
def test_next_embedding(backend: str, embedding: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gumbel_muzero_policy(root(), model(embedding=embedding), 4, backend=backend)


@both_backends
def test_what_is_beyond_an_end_may_be_anything_finite(backend: str) -> None:
    """After a step that ends the episode there need be no legal action."""
    ends = model(discount=np.zeros(B, np.float32), legal=np.zeros((B, A), bool))
    output = gumbel_muzero_policy(root(), ends, 8, backend=backend)
    assert output.depth.tolist() == [1, 1, 1]


@both_backends
def test_a_masked_logit_may_be_anything(backend: str) -> None:
    legal = np.ones((B, A), bool)
    legal[:, 2] = False
    logits = np.zeros((B, A), np.float32)
    logits[:, 2] = np.nan
    masked = {"prior_logits": logits, "legal": legal}
    output = gumbel_muzero_policy(root(**masked), model(**masked), 20, backend=backend)
    assert np.all(output.visit_counts[:, 2] == 0)
    assert np.all(np.isfinite(output.action_weights))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_simulations": -1}, r"num_simulations=-1: must be 0 or more"),
        ({"max_depth": 0}, r"max_depth=0: must be 1 or more"),
        ({"backend": "fast"}, r"backend='fast': must be one of auto, compiled, plain"),
    ],
)
@both_policies
def test_options(policy: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy(root(), model(), **{"num_simulations": 4, **options})


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        (gumbel_muzero_policy, {"max_considered": 0}, r"max_considered=0: must be 1 or more"),
        (gumbel_muzero_policy, {"gumbel_scale": -1.0}, r"gumbel_scale=-1.0: must be 0 or more"),
        (
            gumbel_muzero_policy,
            {"gumbel_scale": 1.0},
            r"gumbel_scale=1.0 is random: give generator",
        ),
        (muzero_policy, {"temperature": np.nan}, r"temperature=nan: must be 0 or more"),
        (muzero_policy, {"temperature": 1.0}, r"temperature=1.0, .* is random: give generator"),
        (
            muzero_policy,
            {"dirichlet_fraction": 1.5},
            r"dirichlet_fraction=1.5: must be in \[0, 1\]",
        ),
        (muzero_policy, {"dirichlet_fraction": 0.25}, r"dirichlet_fraction=0.25 is random"),
        (muzero_policy, {"dirichlet_alpha": 0.0}, r"dirichlet_alpha=0.0: must be more than 0"),
    ],
)
def test_noise_options(policy: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy(root(), model(), 4, **options)


def test_a_generator_of_another_kind() -> None:
    with pytest.raises(TypeError, match=r"generator must be a numpy\.random\.Generator or a torch"):
        gumbel_muzero_policy(root(), model(), 4, gumbel_scale=1.0, generator=7)


@both_backends
@both_policies
def test_a_search_that_is_too_large_is_refused(policy: Any, backend: str) -> None:
    """Three rows of 5 nodes, each 64 bytes, 16 of logits rounded to 64, and 8 of embedding."""
    needed = 3 * 5 * (64 + 64 + 8)
    assert search_bytes(3, 4, 4, 8) == needed
    policy(root(), model(), 4, backend=backend, memory_limit=needed)
    message = r"3 rows × 5 nodes × 4 actions with 8 bytes .* needs 2,040 bytes .* limit is 2,039"
    with pytest.raises(MemoryError, match=message):
        policy(root(), model(), 4, backend=backend, memory_limit=needed - 1)


def test_a_search_larger_than_the_machine_is_refused_at_once() -> None:
    with pytest.raises(MemoryError, match=r"bytes \(.* GiB\); the limit is"):
        gumbel_muzero_policy(root(), model(), 10**12)


@both_backends
@both_policies
@pytest.mark.parametrize(("num_actions", "width"), [(3, 1), (25, 40), (300, 7)])
def test_trees_stay_within_the_stated_memory(
    policy: Any, backend: str, num_actions: int, width: int
) -> None:
    batch, simulations = 5, 30
    zeros = np.zeros(batch, np.float32)
    logits = np.zeros((batch, num_actions), np.float32)
    embedding = np.zeros((batch, width), np.float32)

    def recurrent_fn(action: Any, embedding: Any) -> Any:
        return RecurrentOutput(zeros, zeros + 1, logits, zeros), embedding

    tree = policy(Root(logits, zeros, embedding), recurrent_fn, simulations, backend=backend).tree
    held = {
        id(array if array.base is None else array.base): (
            array.nbytes if array.base is None else array.base.nbytes
        )
        for array in vars(tree).values()
    }
    if backend == "plain":
        held[0] = tree.prior_logits.nbytes  # the children's indices, while it runs
    stated = search_bytes(batch, simulations, num_actions, 4 * width)
    assert stated / 3 < sum(held.values()) <= stated + 64


def test_replacing_a_field_checks_anew() -> None:
    """A root is data; what is wrong shows when a search takes it."""
    wrong = replace(root(), value=one(np.nan, 0, shape=(B,)))
    with pytest.raises(ValueError, match=r"root.value is not finite in row 0"):
        gumbel_muzero_policy(wrong, model(), 1)
