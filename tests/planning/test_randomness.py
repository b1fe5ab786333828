"""Noise: its distribution in closed form, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.planning import (
    MixValue,
    RecurrentOutput,
    Root,
    gumbel_muzero_policy,
    muzero_policy,
)
from rl_serial.planning.randomness import dirichlet_noise

Make = Callable[..., Any]
MANY = 20_000
PRIOR = (0.5, 0.3, 0.15, 0.05)


def flat_game(batch: int, legal: list[bool] | None = None) -> tuple[Root, Any]:
    """One decision between four actions that all pay nothing."""
    logits = np.tile(np.log(np.array(PRIOR, np.float32)), (batch, 1))
    zeros = np.zeros(batch, np.float32)
    mask = None if legal is None else np.tile(np.array(legal), (batch, 1))

    def recurrent_fn(action: Any, embedding: Any) -> Any:
        return RecurrentOutput(zeros, zeros, np.zeros_like(logits), zeros), embedding

    return Root(logits, zeros, zeros, mask), recurrent_fn


def shares(action: Any) -> Any:
    return np.bincount(np.asarray(action), minlength=4) / len(action)


def tolerance(probability: float) -> float:
    """Four standard deviations of a share."""
    return 4 * (probability * (1 - probability) / MANY) ** 0.5 + 1e-9


def test_gumbel_noise_samples_the_prior() -> None:
    """The largest of logits with Gumbel noise is a draw from their softmax."""
    root, recurrent_fn = flat_game(MANY)
    options: dict[str, Any] = {"gumbel_scale": 1.0, "qtransform": MixValue(rescale=False)}
    generator = np.random.default_rng(0)
    output = gumbel_muzero_policy(root, recurrent_fn, 1, generator=generator, **options)
    for found, expected in zip(shares(output.action), PRIOR, strict=True):
        assert found == pytest.approx(expected, abs=tolerance(expected))
    # The target has no noise.
    np.testing.assert_allclose(output.action_weights, np.tile(PRIOR, (MANY, 1)), atol=1e-6)


def test_temperature() -> None:
    """Actions are drawn with visits^(1/T): squares at one half."""
    root, recurrent_fn = flat_game(MANY)
    for temperature, power in ((1.0, 1), (0.5, 2)):
        output = muzero_policy(
            root,
            recurrent_fn,
            20,
            temperature=temperature,
            generator=np.random.default_rng(0),
        )
        visits = output.visit_counts[0].astype(float) ** power
        for found, expected in zip(shares(output.action), visits / visits.sum(), strict=True):
            assert found == pytest.approx(expected, abs=tolerance(expected))
    greedy = muzero_policy(root, recurrent_fn, 20)
    assert np.all(greedy.action == greedy.visit_counts[0].argmax())


@pytest.mark.parametrize("alpha", [0.03, 0.3, 5.0])
def test_dirichlet_noise(alpha: float) -> None:
    """Mean 1/k and variance (1/k)(1 − 1/k)/(kα + 1) over the k = 3 legal actions."""
    legal = np.tile([True, False, True, True], (MANY, 1))
    noise = dirichlet_noise(np.random.default_rng(1), alpha, legal)
    assert not np.any(noise[:, 1])
    np.testing.assert_allclose(noise.sum(axis=1), 1, atol=1e-6)
    variance = (1 / 3) * (2 / 3) / (3 * alpha + 1)
    for action in (0, 2, 3):
        assert noise[:, action].mean() == pytest.approx(1 / 3, abs=4 * (variance / MANY) ** 0.5)
        assert noise[:, action].var() == pytest.approx(variance, rel=0.05)


def test_dirichlet_noise_enters_the_roots_prior() -> None:
    root, recurrent_fn = flat_game(MANY, [True, True, True, False])
    generator = np.random.default_rng(2)
    output = muzero_policy(
        root, recurrent_fn, 0, dirichlet_fraction=0.25, dirichlet_alpha=0.3, generator=generator
    )
    prior = np.array([0.5, 0.3, 0.15, 0]) / 0.95
    expected = 0.75 * prior + 0.25 * np.array([1, 1, 1, 0]) / 3
    np.testing.assert_allclose(output.action_weights.mean(axis=0), expected, atol=0.005)
    assert not np.any(output.action_weights[:, 3])


def make_generator(kind: str, seed: int) -> Any:
    if kind == "numpy":
        return np.random.default_rng(seed)
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("backend", ["plain", "compiled"])
def test_a_seed_repeats_a_search(kind: str, backend: str, random_model: Make) -> None:
    model = random_model(np.random.default_rng(0), 400, 6)
    root = model.root(np.arange(50))

    def gumbel(seed: int) -> Any:
        generator = make_generator(kind, seed)
        options: dict[str, Any] = {"generator": generator, "backend": backend}
        first = gumbel_muzero_policy(root, model, 16, gumbel_scale=1.0, **options)
        second = gumbel_muzero_policy(root, model, 16, gumbel_scale=1.0, **options)
        # The generator goes on from search to search.
        assert not np.array_equal(first.visit_counts, second.visit_counts)
        return np.asarray(second.visit_counts)

    def puct(seed: int) -> Any:
        output = muzero_policy(
            root,
            model,
            16,
            temperature=1.0,
            dirichlet_fraction=0.25,
            generator=make_generator(kind, seed),
            backend=backend,
        )
        return np.concatenate([output.visit_counts, output.action[:, None]], axis=1)

    for search in (gumbel, puct):
        assert np.array_equal(search(3), search(3))
        assert not np.array_equal(search(3), search(4))
