"""Statistics against numbers worked by hand and against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from rl_serial.study.statistics import (
    Stratum,
    aggregate,
    improvement,
    iqm,
    mean,
    median,
    paired_differences,
    performance_profile,
    probability_of_improvement,
    resampled,
    slope,
    slope_difference,
    slope_ratio,
)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_iqm_by_hand() -> None:
    # A quarter of eight is two at either end: (3 + 4 + 5 + 6) / 4, in whatever order.
    assert iqm([8, 1, 100, 3, 4, 5, 6, 2]) == 4.5
    assert iqm([1, 2, 9]) == 4  # of three none is cut off
    assert iqm([1, 2, 4, 100]) == 3
    assert iqm([[0, 0, 0, 4], [1, 2, 3, 4]]).tolist() == [0, 2.5]


def test_mean_and_median_by_hand() -> None:
    assert mean([1, 2, 9]) == 4
    assert median([1, 2, 9]) == 2
    assert median([[1, 2, 9, 10]]).tolist() == [5.5]


def test_resampling_is_within_a_stratum_and_uniform() -> None:
    drawn = resampled(np.array([1.0, 2.0, 3.0]), generator(), 30_000)
    assert drawn.shape == (30_000, 3)
    shares = [(drawn == value).mean() for value in (1, 2, 3)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.01)


def test_strata_are_not_mixed() -> None:
    # Each cell has seeds that agree: the only uncertainty would come from mixing cells.
    interval = aggregate([[0.0, 0.0], [10.0, 10.0]], generator(), statistic="mean")
    assert (interval.estimate, interval.low, interval.high) == (5, 5, 5)
    assert interval.runs == 4


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_interval_against_scipy(statistic: str) -> None:
    scores = generator(1).normal(size=25)
    ours = aggregate([scores], generator(2), statistic=statistic, resamples=20_000)
    scipy_statistic = {"mean": np.mean, "median": np.median}[statistic]
    theirs = stats.bootstrap(
        (scores,),
        scipy_statistic,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(3),
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_interval_of_two_seeds_by_hand() -> None:
    # Resamples of (0, 1): means 0, 1/2, 1 with chances 1/4, 1/2, 1/4.
    interval = aggregate([[0.0, 1.0]], generator(), statistic="mean", confidence=0.4)
    assert (interval.low, interval.high) == (0.5, 0.5)
    interval = aggregate([[0.0, 1.0]], generator(), statistic="mean", confidence=0.95)
    assert (interval.low, interval.high) == (0, 1)


def test_one_seed_gives_no_interval() -> None:
    interval = aggregate([[1.0, 2.0], [3.0]], generator())
    assert interval.estimate == 2
    assert not interval.known
    assert math.isnan(interval.low)


def test_no_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="no scores"):
        aggregate([[]], generator())


def test_same_generator_same_interval() -> None:
    strata = [generator(5).normal(size=5), generator(6).normal(size=4)]
    assert aggregate(strata, generator(1)) == aggregate(strata, generator(1))
    assert aggregate(strata, generator(1)) != aggregate(strata, generator(2))


def test_improvement_by_hand_and_against_mann_whitney() -> None:
    # 2 > 1, 2 = 2 (half), 2 < 3; 4 exceeds all: (1 + 0.5 + 0 + 3) / 6.
    assert improvement([2, 4], [1, 2, 3]) == 0.75
    a, b = generator(1).normal(size=7), generator(2).normal(0.5, size=9)
    expected = stats.mannwhitneyu(a, b).statistic / (7 * 9)
    assert improvement(a, b) == pytest.approx(expected)


def test_probability_of_improvement_averages_cells() -> None:
    pairs = [([1.0, 2.0], [3.0, 4.0]), ([5.0, 6.0], [3.0, 4.0])]
    interval = probability_of_improvement(pairs, generator())
    assert (interval.estimate, interval.low, interval.high) == (0.5, 0.5, 0.5)
    assert interval.runs == 8


def test_profile_by_hand() -> None:
    scores = [[0.0, 1.0], [2.0, 3.0]]
    profile, low, high = performance_profile(scores, [-1, 0, 1.5, 3], generator())
    assert profile.tolist() == [1, 0.75, 0.5, 0]
    assert low[0] == high[0] == 1
    assert low[1] == 0.5  # both draws of the first cell may be its 0
    assert high[1] == 1
    assert low[3] == high[3] == 0


def test_paired_differences_take_out_what_a_pair_shares() -> None:
    shared = generator(3).normal(scale=100, size=6)
    differences = paired_differences(shared + 1, shared)
    assert differences == pytest.approx(np.ones(6))
    interval = aggregate([differences], generator())
    assert (interval.low, interval.high) == pytest.approx((1, 1))
    with pytest.raises(ValueError, match="2 and 1"):
        paired_differences([1, 2], [1])


def test_slope_by_hand() -> None:
    strata = [Stratum(1, [1.0, 3.0]), Stratum(2, [4.0, 6.0])]
    assert slope(strata, generator()).estimate == 3
    assert slope([*strata, Stratum(9, [])], generator()).estimate == 3
    doubling = [Stratum(x, [float(y), float(y)]) for x, y in ((2, 1), (8, 5), (32, 9))]
    interval = slope(doubling, generator(), scale="log2")
    assert (interval.estimate, interval.low, interval.high) == pytest.approx((2, 2, 2))


def test_slope_against_scipy() -> None:
    random = generator(4)
    strata = [Stratum(x, random.normal(0.3 * x, 1, size=4)) for x in (1, 2, 4, 8)]
    x = np.repeat([1, 2, 4, 8], 4)
    y = np.concatenate([np.asarray(stratum.scores) for stratum in strata])
    expected = stats.linregress(x, y)
    found = slope(strata, generator(), resamples=5000)
    assert found.estimate == pytest.approx(expected.slope)
    # The bootstrap's width is near that of the normal theory.
    assert (found.high - found.low) == pytest.approx(2 * 1.96 * expected.stderr, rel=0.35)


def test_groups_have_levels_of_their_own() -> None:
    # Two groups with slope 1 whose levels would make a pooled fit negative.
    strata = [
        Stratum(1, [10.0, 10.0], "a"),
        Stratum(2, [11.0, 11.0], "a"),
        Stratum(3, [0.0, 0.0], "b"),
        Stratum(4, [1.0, 1.0], "b"),
    ]
    assert slope(strata, generator()).estimate == pytest.approx(1)
    pooled = [Stratum(stratum.x, stratum.scores) for stratum in strata]
    assert slope(pooled, generator()).estimate < 0


def test_difference_of_slopes_by_hand() -> None:
    first = [Stratum(1, [0.0, 0.0]), Stratum(2, [3.0, 3.0])]
    second = [Stratum(1, [5.0, 5.0]), Stratum(2, [6.0, 6.0])]
    interval = slope_difference(first, second, generator())
    assert (interval.estimate, interval.low, interval.high) == (2, 2, 2)
    assert interval.runs == 8


def test_slope_within_runs_does_not_see_what_runs_differ_by() -> None:
    """Three runs of slopes 1, 1 and 4 whose levels lie far apart, each measured at two places."""
    strata = [
        Stratum(0, [0.0, 100.0, 200.0], runs="a"),
        Stratum(1, [1.0, 101.0, 204.0], runs="a"),
    ]
    interval = slope(strata, generator())
    assert interval.estimate == pytest.approx(2)
    assert (interval.low, interval.high) == (pytest.approx(1), pytest.approx(4))
    assert interval.runs == 3
    independent = slope([Stratum(s.x, s.scores) for s in strata], generator())
    assert independent.high - independent.low > 50


def test_ratio_of_slopes_by_hand() -> None:
    first = [Stratum(1, [0.0, 0.0]), Stratum(2, [3.0, 3.0])]  # 3 a unit
    second = [Stratum(1, [5.0, 5.0]), Stratum(8, [9.5, 9.5])]  # 1.5 a doubling
    interval = slope_ratio(first, second, generator(), second_scale="log2")
    assert (interval.estimate, interval.low, interval.high) == (2, 2, 2)
    assert interval.runs == 8


def test_ratio_of_slopes_holds_the_true_one() -> None:
    """Normal scores about slopes 6 and 3: of nominal 95 % intervals of ten seeds most hold 2."""
    random, hits = generator(1), 0
    for _ in range(200):
        first = [Stratum(x, 6 * x + random.normal(size=10)) for x in (0, 1, 2)]
        second = [Stratum(x, 3 * x + random.normal(size=10)) for x in (0, 1, 2)]
        interval = slope_ratio(first, second, random, resamples=300)
        hits += interval.low <= 2 <= interval.high
    assert 0.85 < hits / 200 < 0.99


def test_dividing_by_a_slope_that_may_be_zero_is_refused() -> None:
    first = [Stratum(1, [0.0, 0.0]), Stratum(2, [3.0, 3.0])]
    with pytest.raises(ValueError, match="not told from 0"):
        slope_ratio(first, [Stratum(1, [-1.0, 1.0]), Stratum(2, [-1.0, 1.2])], generator())
    with pytest.raises(ValueError, match="not told from 0"):
        slope_ratio(first, [Stratum(1, [1.0]), Stratum(2, [1.0])], generator())


def test_what_has_no_slope_is_refused() -> None:
    with pytest.raises(ValueError, match="two places"):
        slope([Stratum(1, [0.0, 1.0])], generator())
    with pytest.raises(ValueError, match="greater than 0"):
        slope([Stratum(0, [0.0]), Stratum(1, [0.0])], generator(), scale="log2")


def test_coverage_from_many_seeds() -> None:
    """Of nominal 95 % intervals from 20 normal scores about 92 % hold the true mean."""
    random, hits = generator(7), 0
    for _ in range(400):
        interval = aggregate([random.normal(size=20)], random, statistic="mean", resamples=300)
        hits += interval.low <= 0 <= interval.high
    assert 0.88 < hits / 400 < 0.97
