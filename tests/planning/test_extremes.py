"""Extremes of every input: a legal action, the same compiled and plain, or all is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_serial.planning import (
    ByParentAndSiblings,
    MinMax,
    MixValue,
    PolicyOutput,
    RecurrentOutput,
    Root,
    gumbel_muzero_policy,
    muzero_policy,
)
from rl_serial.planning.qtransforms import mixed_value
from rl_serial.planning.types import NodeStatistics

from .conftest import make_random_model

STATES, ACTIONS, SIMULATIONS = 200, 5, 24
NORMALISING = {
    "gumbel": (gumbel_muzero_policy, MixValue()),
    "puct": (muzero_policy, ByParentAndSiblings()),
}
BOARD = MixValue(value_scale=1.0, rescale=False)
EVERY = NORMALISING | {
    "gumbel, no rescaling": (gumbel_muzero_policy, BOARD),
    "puct, bounds": (muzero_policy, MinMax(-1.0, 1.0)),
}
"""Magnitudes from none to what float32 cannot hold."""
MAGNITUDES = st.sampled_from([0.0, 1e-45, 1e-38, 1e-20, 1.0, 1e9, 1e20, 1e29, 1e30, 1e31, 3e38])


def model_of(seed: int, **changes: float) -> Any:
    drawn = np.random.default_rng(seed)
    return make_random_model(drawn, STATES, ACTIONS, ends=0.1, illegal=0.3, **changes)


def scaled(model: Any, rewards: float, values: float, logits: float = 1.0) -> Any:
    with np.errstate(over="ignore"):
        return replace(
            model,
            reward=np.float32(rewards) * model.reward,
            value=np.float32(values) * model.value,
            prior_logits=np.float32(logits) * model.prior_logits,
        )


def plan(name: str, model: Any, **options: Any) -> PolicyOutput:
    policy, transform = EVERY[name]
    return policy(model.root(np.arange(8)), model, SIMULATIONS, qtransform=transform, **options)  # type: ignore[operator, no-any-return]


def both(plans: Callable[[str], PolicyOutput]) -> tuple[PolicyOutput, PolicyOutput] | None:
    """Plain and compiled; None where both refuse, with the same words."""
    found: list[Any] = []
    for backend in ("plain", "compiled"):
        try:
            found.append(plans(backend))
        except ValueError as error:
            found.append(str(error))
    if isinstance(found[0], str):
        assert found[0] == found[1]
        return None
    assert not isinstance(found[1], str)
    return found[0], found[1]


def assert_sound(output: PolicyOutput, legal: Any) -> None:
    assert legal[np.arange(len(legal)), output.action].all()
    assert not np.asarray(output.visit_counts)[~legal].any()
    np.testing.assert_allclose(output.action_weights.sum(axis=1), 1, rtol=1e-4)
    assert np.isfinite(output.value).all()
    assert np.isfinite(output.qvalues).all()


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(sorted(NORMALISING)),
    seed=st.integers(0, 1000),
    power=st.integers(-90, 90),
    backend=st.sampled_from(["plain", "compiled"]),
    kind=st.sampled_from([np.asarray, torch.as_tensor]),
)
def test_the_scale_of_rewards_and_values_changes_no_decision(
    name: str, seed: int, power: int, backend: str, kind: Any
) -> None:
    """Powers of two, which float32 takes without rounding: every visit is the same."""
    policy, transform = NORMALISING[name]
    found = []
    for scale in (1.0, 2.0**power):
        model = scaled(model_of(seed), scale, scale).converted(kind)
        root = model.root(kind(np.arange(8)))
        found.append(policy(root, model, SIMULATIONS, qtransform=transform, backend=backend))  # type: ignore[operator]
    one, other = found
    for field in ("action", "visit_counts", "action_weights"):
        np.testing.assert_array_equal(np.asarray(getattr(other, field)), getattr(one, field))
    np.testing.assert_array_equal(np.asarray(other.qvalues), np.asarray(one.qvalues) * 2.0**power)


@settings(deadline=None, max_examples=100)
@given(
    name=st.sampled_from(sorted(EVERY)),
    seed=st.integers(0, 1000),
    rewards=MAGNITUDES,
    values=MAGNITUDES,
    logits=MAGNITUDES,
    discount=st.sampled_from([-1.0, 1e-30, 0.9, 1.0, 3.0, 1e20, 3e38]),
)
def test_extreme_numbers_are_refused_or_give_a_legal_action(
    name: str, seed: int, rewards: float, values: float, logits: float, discount: float
) -> None:
    model = scaled(model_of(seed, discount=discount), rewards, values, logits)
    found = both(lambda backend: plan(name, model, backend=backend))
    for output in found or ():
        assert_sound(output, model.legal[:8])
    # Values far outside known bounds leave of the prior only what rounding does.
    if found is not None and name != "puct, bounds":
        np.testing.assert_array_equal(found[0].action, found[1].action)


@settings(deadline=None, max_examples=30)
@given(
    temperature=st.floats(0, allow_infinity=False),
    fraction=st.floats(0, 1),
    alpha=st.floats(0, exclude_min=True, allow_infinity=False),
    scale=st.floats(0, 1e30),
    depth=st.integers(1, 10**30),
    considered=st.integers(1, 10**30),
    seed=st.integers(0, 1000),
)
def test_extreme_options_give_a_legal_action(
    temperature: float,
    fraction: float,
    alpha: float,
    scale: float,
    depth: int,
    considered: int,
    seed: int,
) -> None:
    model = model_of(seed)
    noise: dict[str, dict[str, Any]] = {
        "gumbel": {"gumbel_scale": scale, "max_considered": considered},
        "puct": {
            "temperature": temperature,
            "dirichlet_fraction": fraction,
            "dirichlet_alpha": alpha,
        },
    }
    for name, options in noise.items():
        for backend in ("plain", "compiled"):
            generator = np.random.default_rng(seed)
            more = options | {"backend": backend, "generator": generator, "max_depth": depth}
            assert_sound(plan(name, model, **more), model.legal[:8])


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-40])
def test_the_coldest_temperature_is_the_most_visited(temperature: float) -> None:
    """Of legal actions alone; where several tie, one of these."""
    for seed in range(20):
        model = model_of(seed)
        generator = np.random.default_rng(seed)
        cold = plan("puct", model, temperature=temperature, generator=generator)
        chosen = cold.visit_counts[np.arange(8), cold.action]
        np.testing.assert_array_equal(chosen, cold.visit_counts.max(axis=1))


def test_the_hottest_temperature_is_uniform_over_what_was_visited() -> None:
    """Two visited actions of three: as often one as the other, whatever their visits."""

    def recurrent_fn(action: Any, embedding: Any) -> Any:
        zeros = np.zeros(4000, np.float32)
        return RecurrentOutput(zeros, zeros, np.zeros((4000, 3)), zeros), embedding

    logits = np.tile([1.0, 0.0, 0.0], (4000, 1))
    legal = np.tile([True, True, False], (4000, 1))
    root = Root(logits, np.zeros(4000), np.zeros(4000), legal)
    hot = muzero_policy(
        root, recurrent_fn, 32, temperature=1e300, generator=np.random.default_rng(0)
    )
    assert hot.visit_counts[0, 0] > 2 * hot.visit_counts[0, 1] > 0
    counts = np.bincount(hot.action, minlength=3)
    assert counts[2] == 0
    assert abs(counts[0] - 2000) < 5 * np.sqrt(1000)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20])
def test_values_of_an_unlikely_action_count_in_full(scale: float) -> None:
    """By hand: only the action of prior e^-80 was visited; v_mix is the mean of 0 and its Q."""
    node = NodeStatistics(
        visits=np.int32([2]),
        value=np.float32([scale / 2]),
        raw_value=np.float32([0]),
        prior_logits=np.float32([[-80, 0]]),
        child_visits=np.int32([[1, 0]]),
        qvalues=np.float32([[scale, 0]]),
    )
    np.testing.assert_allclose(mixed_value(node), scale / 2, rtol=1e-5)


@pytest.mark.parametrize("backend", ["plain", "compiled"])
def test_without_rescaling_large_losses_still_decide(backend: str) -> None:
    """Returns -1e8 and -2e8 of two actions: the lesser loss, though both scores are far below 0."""

    def recurrent_fn(action: Any, embedding: Any) -> Any:
        reward = np.where(action == 1, -1e8, -2e8)
        return RecurrentOutput(reward, np.zeros(1), np.zeros((1, 2)), np.zeros(1)), embedding

    root = Root(np.zeros((1, 2)), np.full(1, -1.5e8), np.zeros(1))
    output = gumbel_muzero_policy(root, recurrent_fn, 8, qtransform=BOARD, backend=backend)
    assert output.action.tolist() == [1]


@pytest.mark.parametrize("backend", ["plain", "compiled"])
@pytest.mark.parametrize("policy", [gumbel_muzero_policy, muzero_policy])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": 3e38}, r"reward of the model is beyond ±1e\+30 in row 0: 3\.0"),
        ({"value": -2e30}, r"value of the model is beyond ±1e\+30 in row 0: -2\.0"),
        ({"reward": np.nan}, "reward of the model is not finite in row 0: nan"),
        ({"reward": 1.0, "discount": 1e4}, r"returns of the model grow beyond 1e\+30: rewards"),
    ],
)
def test_numbers_that_float32_cannot_add_up_are_refused(
    policy: Any, backend: str, changes: dict[str, float], message: str
) -> None:
    given_ = {"reward": 0.0, "discount": 1.0, "value": 0.0} | changes

    def recurrent_fn(action: Any, embedding: Any) -> Any:
        numbers = {name: np.float32([number]) for name, number in given_.items()}
        return RecurrentOutput(prior_logits=np.zeros((1, 2)), **numbers), embedding

    root = Root(np.array([[9.0, 0.0]]), np.zeros(1), np.zeros(1))
    with pytest.raises(ValueError, match=message):
        policy(root, recurrent_fn, 60, backend=backend)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixValue(value_scale=1e20), r"value_scale=1e\+20: must be from 0 to 1e\+15"),
        (lambda: MixValue(maxvisit_init=np.nan), "maxvisit_init=nan"),
        (lambda: MixValue(epsilon=-1.0), "epsilon=-1.0: must be from 0 to 1"),
        (lambda: ByParentAndSiblings(epsilon=2.0), "epsilon=2.0"),
        (lambda: MinMax(-3e38, 3e38), r"min_value=-3e\+38"),
        (lambda: MinMax(1.0, 1.0 + 1e-12), "is not below max_value"),  # the same in float32
    ],
)
def test_constants_of_transformations(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pb_c_init": np.inf}, r"pb_c_init=inf: must be from 0 to 1e\+30"),
        ({"pb_c_base": 0.0}, r"pb_c_base=0.0: must be from 1e-30"),
        ({"max_depth": 2.5}, "max_depth=2.5: must be 1 or more, a whole number"),
    ],
)
def test_constants_of_puct(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan("puct", model_of(0), **options)
