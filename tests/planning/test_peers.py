"""mctx itself, under JAX, on random models: what its golden trees do not cover.

Run by `make peers`. A tie that float32 decides otherwise in JAX may send a row another way: one in
a hundred rows may differ, and every other must have the same visits and values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from rl_serial.planning import (
    ByParentAndSiblings,
    MinMax,
    MixValue,
    gumbel_muzero_policy,
    muzero_policy,
)

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
BATCH = 300
STATES = 3000


class Given(np.random.Generator):
    """A generator whose Gumbel noise is what mctx drew."""

    noise: Any = None

    def gumbel(self, *_: Any, **__: Any) -> Any:
        return self.noise


@dataclass(frozen=True)
class Case:
    name: str
    transform: MixValue | ByParentAndSiblings | MinMax
    num_actions: int = 6
    num_simulations: int = 50
    gumbel_scale: float = 0.0
    max_considered: int = 16
    max_depth: int | None = None
    model: dict[str, float] = field(default_factory=dict)


CASES = [
    Case("rescaled", MixValue(epsilon=1e-8)),
    Case("rescaled, masked", MixValue(epsilon=1e-8), model={"illegal": 0.4}),
    Case("plain values", MixValue(value_scale=0.3, maxvisit_init=20, rescale=False)),
    Case("two players", MixValue(value_scale=0.5, rescale=False), model={"discount": -1.0}),
    Case("noise", MixValue(epsilon=1e-8), 12, 64, gumbel_scale=1.0),
    Case("noise, masked", MixValue(epsilon=1e-8), 12, gumbel_scale=1.0, model={"illegal": 0.5}),
    Case("few considered", MixValue(epsilon=1e-8), 12, 40, gumbel_scale=1.0, max_considered=4),
    Case("one considered", MixValue(epsilon=1e-8), 5, 20, gumbel_scale=1.0, max_considered=1),
    Case("fewer simulations than actions", MixValue(epsilon=1e-8), 30, 7, gumbel_scale=1.0),
    Case("depth 2", MixValue(epsilon=1e-8), 4, max_depth=2),
    Case("depth 3, masked", MixValue(epsilon=1e-8), 4, 80, max_depth=3, model={"illegal": 0.3}),
    Case("ends", MixValue(epsilon=1e-8), model={"ends": 0.3, "illegal": 0.2}),
    Case("puct", ByParentAndSiblings(epsilon=1e-8)),
    Case("puct, masked", ByParentAndSiblings(epsilon=1e-8), model={"illegal": 0.4}),
    Case("puct, depth 2", ByParentAndSiblings(epsilon=1e-8), 4, max_depth=2),
    Case("puct, ends", ByParentAndSiblings(epsilon=1e-8), model={"ends": 0.3}),
    Case("puct, bounds", MinMax(-5.0, 5.0), 8, model={"discount": -1.0, "illegal": 0.3}),
]


def by_mctx(case: Case, model: Any, states: Any) -> tuple[Any, Any]:
    """mctx's output, and the Gumbel noise it drew."""
    jax = pytest.importorskip("jax")
    mctx = pytest.importorskip("mctx")
    jnp = jax.numpy
    tables = model.converted(jnp.asarray)
    lowest = -1e9
    legal = tables.legal if tables.legal is not None else jnp.ones_like(tables.reward, dtype=bool)
    logits = jnp.where(legal, tables.prior_logits, lowest)

    def recurrent_fn(params: Any, key: Any, action: Any, state: Any) -> Any:
        following = tables.following[state, action]
        output = mctx.RecurrentFnOutput(
            reward=tables.reward[state, action],
            discount=tables.discount[state, action],
            prior_logits=logits[following],
            value=tables.value[following],
        )
        return output, following

    key = jax.random.PRNGKey(3)
    state = jnp.asarray(states)
    common = {
        "params": (),
        "rng_key": key,
        "root": mctx.RootFnOutput(
            prior_logits=logits[state], value=tables.value[state], embedding=state
        ),
        "recurrent_fn": recurrent_fn,
        "num_simulations": case.num_simulations,
        "invalid_actions": ~legal[state],
        "max_depth": case.max_depth,
    }
    transform = case.transform
    if not isinstance(transform, MixValue):

        def scaled(tree: Any, node: Any) -> Any:
            if isinstance(transform, MinMax):
                bounds = {"min_value": transform.min_value, "max_value": transform.max_value}
                return mctx.qtransform_by_min_max(tree, node, **bounds)
            return mctx.qtransform_by_parent_and_siblings(tree, node)

        output = jax.jit(
            lambda: mctx.muzero_policy(
                **common, qtransform=scaled, dirichlet_fraction=0.0, temperature=0.0
            )
        )()
        return output, None

    def completed(tree: Any, node: Any) -> Any:
        return mctx.qtransform_completed_by_mix_value(
            tree,
            node,
            value_scale=transform.value_scale,
            maxvisit_init=transform.maxvisit_init,
            rescale_values=transform.rescale,
        )

    output = jax.jit(
        lambda: mctx.gumbel_muzero_policy(
            **common,
            qtransform=completed,
            gumbel_scale=case.gumbel_scale,
            max_num_considered_actions=case.max_considered,
        )
    )()
    return output, np.asarray(output.search_tree.extra_data.root_gumbel)


@pytest.mark.parametrize("backend", ["plain", "compiled"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_as_mctx(case: Case, backend: str, random_model: Callable[..., Any]) -> None:
    generator = np.random.default_rng(CASES.index(case))
    model = random_model(generator, STATES, case.num_actions, **case.model)
    states = generator.integers(STATES, size=BATCH)
    expected, noise = by_mctx(case, model, states)
    options: dict[str, Any] = {"qtransform": case.transform, "max_depth": case.max_depth}
    policy: Any = muzero_policy
    if isinstance(case.transform, MixValue):
        policy = gumbel_muzero_policy
        options["max_considered"] = case.max_considered
        if case.gumbel_scale:
            given = Given(np.random.PCG64(0))
            given.noise = noise / case.gumbel_scale
            options |= {"gumbel_scale": case.gumbel_scale, "generator": given}
    found = policy(model.root(states), model, case.num_simulations, backend=backend, **options)

    summary = expected.search_tree.summary()
    theirs = np.asarray(summary.visit_counts)
    same = np.all(found.visit_counts == theirs, axis=1)
    assert same.mean() >= 0.99
    same &= found.action == np.asarray(expected.action)
    assert same.mean() >= 0.99
    np.testing.assert_allclose(found.value[same], np.asarray(summary.value)[same], atol=2e-5)
    visited = same[:, None] & (theirs > 0)
    np.testing.assert_allclose(
        found.qvalues[visited], np.asarray(summary.qvalues)[visited], rtol=1e-5, atol=2e-5
    )
    weights = np.asarray(expected.action_weights)
    if isinstance(case.transform, MixValue):
        np.testing.assert_allclose(found.action_weights[same], weights[same], atol=1e-4)
    if "ends" in case.model:
        return  # mctx goes on below an end, where nothing counts
    tree = found.tree
    there = tree.visits > 0
    for name, mine in (("parents", "parent"), ("action_from_parent", "action")):
        other = np.asarray(getattr(expected.search_tree, name))
        rows = np.all((getattr(tree, mine) == other) | ~there, axis=1)
        assert rows.mean() >= 0.99, name
