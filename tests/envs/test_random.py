"""Threefry: published known answers, an independent implementation, uniformity, disjoint seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.envs.random import (
    EVALUATION_SEEDS,
    below,
    episode_seeds,
    evaluation_seeds,
    fold_in,
    random_words,
    state_seeds,
    threefry,
)

MASK = 0xFFFFFFFF
# Random123's kat_vectors for threefry2x32, 20 rounds: counter, key, result.
KNOWN_ANSWERS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((MASK, MASK), (MASK, MASK), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def int32(*words: int) -> list[Any]:
    return [np.array([word], dtype=np.uint32).view(np.int32) for word in words]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_published_known_answers(
    counter: tuple[int, int], key: tuple[int, int], result: tuple[int, int]
) -> None:
    words = threefry(tuple(int32(*key)), tuple(int32(*counter)))  # type: ignore[arg-type]
    assert tuple(int(word[0]) & MASK for word in words) == result


def scalar_threefry(key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
    """Skein's threefish of two 32-bit words in Python's unbounded integers."""
    ks = [key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA]
    x = [(counter[0] + ks[0]) & MASK, (counter[1] + ks[1]) & MASK]
    distances = [13, 15, 26, 6, 17, 29, 16, 24]
    for r in range(20):
        d = distances[r % 8]
        x[0] = (x[0] + x[1]) & MASK
        x[1] = ((x[1] << d) | (x[1] >> (32 - d))) & MASK
        x[1] ^= x[0]
        if r % 4 == 3:
            j = r // 4 + 1
            x[0] = (x[0] + ks[j % 3]) & MASK
            x[1] = (x[1] + ks[(j + 1) % 3] + j) & MASK
    return x[0], x[1]


def test_words_are_those_of_the_scalar_implementation(array: Callable[..., Any]) -> None:
    generator = np.random.default_rng(0)
    seeds = generator.integers(0, 2**63, 300)
    words = np.asarray(random_words(array(seeds), 5, stream=7))
    folded = np.asarray(fold_in(array(seeds), array(seeds[::-1].copy())))
    for i, seed in enumerate(seeds.tolist()):
        key = (seed & MASK, seed >> 32)
        blocks = [word for block in range(3) for word in scalar_threefry(key, (block, 7))]
        assert words[i].tolist() == blocks[:5]
        index = seeds[::-1][i].item()
        low, high = scalar_threefry(key, (index & MASK, index >> 32))
        assert folded[i] == ((high & 0x3FFFFFFF) << 32) | low


def test_an_instance_does_not_depend_on_its_batch() -> None:
    seeds = np.arange(50, dtype=np.int64) ** 7
    together = random_words(seeds, 9)
    apart = np.concatenate([random_words(seeds[i : i + 1], 9) for i in range(50)])
    np.testing.assert_array_equal(together, apart)
    np.testing.assert_array_equal(together, random_words(torch.as_tensor(seeds), 9).numpy())


@pytest.mark.parametrize("bound", [2, 3, 5, 16])
def test_below_is_uniform(bound: int) -> None:
    draws = below(random_words(np.arange(20_000), 5), bound)
    counts = np.bincount(draws.ravel(), minlength=bound)
    assert counts.size == bound
    expected = draws.size / bound
    statistic = ((counts - expected) ** 2 / expected).sum()
    degrees = bound - 1  # chi-square: mean its degrees of freedom, variance twice them
    assert statistic < degrees + 5 * np.sqrt(2 * degrees) + 5


def test_streams_and_positions_are_independent() -> None:
    seeds = np.arange(20_000)
    bits = [random_words(seeds, 3, stream)[:, i] >> 31 for stream in (0, 1) for i in range(3)]
    correlation = np.corrcoef(np.stack(bits).astype(float))
    off_diagonal = correlation[~np.eye(6, dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(20_000)


def test_no_episode_of_an_evaluation_begins_at_a_state_that_one_examines() -> None:
    episodes = [episode_seeds(seed, 200, np) for seed in range(5)]
    states = [state_seeds(seed, 200, np) for seed in range(5)]
    assert np.unique(np.concatenate(episodes + states)).size == 10 * 200
    np.testing.assert_array_equal(episode_seeds(3, 2, np, first=7), episodes[3][7:9])
    np.testing.assert_array_equal(state_seeds(3, 2, np, first=7), states[3][7:9])
    # The instances that results of this package were made on.
    assert episode_seeds(0, 1, np).tolist() == [6465567069669687641]
    assert state_seeds(0, 1, np).tolist() == [6263143161996355578]


def test_training_and_evaluation_seeds_are_disjoint() -> None:
    training = fold_in(np.zeros(1000, dtype=np.int64), np.arange(1000))
    evaluation = evaluation_seeds(0, 1000, np)
    assert training.min() >= 0
    assert training.max() < EVALUATION_SEEDS <= evaluation.min()
    assert np.unique(evaluation).size == 1000
