"""Statistics against numbers worked by hand and against SciPy."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rl_serial.study.statistics import (
    Estimate,
    Ratio,
    Stratum,
    aggregate,
    difference,
    holm,
    improvement,
    iqm,
    mean,
    median,
    paired_differences,
    performance_profile,
    probability_of_improvement,
    resampled,
    slope,
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
    # Cells far apart whose seeds agree but for one: mixing cells would give a wide interval.
    found = aggregate([[0.0, 0.0, 0.3], [10.0, 10.0, 10.0]], generator(), statistic="mean")
    assert found.value == pytest.approx(5.05)
    assert (found.runs, found.seeds) == (6, 3)
    # The mean of six: 3/6 of the first cell's, whose standard error is that of one score in three.
    assert found.error == pytest.approx(0.5 * stats.sem([0, 0, 0.3]))
    assert found.freedom == pytest.approx(2)


def test_equal_runs_give_no_interval() -> None:
    found = aggregate([[0.1 + 0.2] * 5, [10.0] * 5], generator(), statistic="mean")
    assert not found.interval().known
    assert found.lack == "all runs of each cell are equal: no interval"
    # A sign test over the five seeds, which is exact.
    assert found.p_above(0) == found.p_below(20) == stats.binomtest(5, 5).pvalue / 2
    assert found.p_above(6) == found.p_below(5) == 1
    # A mean of equal numbers may differ from them in its last digit.
    assert not aggregate([[0.1] * 7], generator(), statistic="mean").interval().known


@pytest.mark.parametrize("size", [2, 3, 5, 25])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_interval_and_p_of_a_mean_against_scipy(size: int, confidence: float) -> None:
    scores = generator(size).normal(size=size)
    ours = aggregate([scores], generator(), statistic="mean")
    theirs = stats.ttest_1samp(scores, 0.2)
    expected = theirs.confidence_interval(confidence)
    found = ours.interval(confidence)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert 2 * min(ours.p_above(0.2), ours.p_below(0.2)) == pytest.approx(theirs.pvalue)
    assert ours.p_above(0.2) == pytest.approx(
        stats.ttest_1samp(scores, 0.2, alternative="greater").pvalue
    )


def test_interval_over_cells_against_welch() -> None:
    """Two cells of other spreads and sizes: the difference of their means is Welch's."""
    a, b = generator(1).normal(size=4), generator(2).normal(3, 5, size=7)
    ours = difference(
        aggregate([a], generator(), statistic="mean"), aggregate([b], generator(), statistic="mean")
    )
    theirs = stats.ttest_ind(a, b, equal_var=False)
    expected = theirs.confidence_interval()
    found = ours.interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert ours.freedom == pytest.approx(theirs.df)
    # The mean of two cells of one size is half of a difference from the mirrored one.
    whole = aggregate([a, b[:4]], generator(), statistic="mean")
    mirrored = stats.ttest_ind(a, -b[:4], equal_var=False)
    assert whole.freedom == pytest.approx(mirrored.df)
    assert whole.value / whole.error == pytest.approx(mirrored.statistic)


def test_spread_of_a_median_against_scipy() -> None:
    scores = generator(1).normal(size=25)
    ours = aggregate([scores], generator(2), statistic="median", resamples=20_000)
    theirs = stats.bootstrap(
        (scores,), np.median, n_resamples=20_000, rng=np.random.default_rng(3)
    ).standard_error
    assert ours.error == pytest.approx(theirs * math.sqrt(25 / 24), rel=0.03)


@pytest.mark.parametrize("seeds", [1, 3, 4, 5, 10, 39])
def test_iqm_is_scipys_trimmed_mean(seeds: int) -> None:
    scores = np.random.default_rng(seeds).normal(size=(7, seeds))
    assert iqm(scores).tolist() == stats.trim_mean(scores, 0.25, axis=-1).tolist()
    assert float(iqm(scores[0])) == stats.trim_mean(scores[0], 0.25)


def test_iqm_of_three_is_their_mean() -> None:
    scores = generator(4).normal(size=3)
    expected = stats.ttest_1samp(scores, 0).confidence_interval()
    found = aggregate([scores], generator()).interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_one_seed_gives_no_interval() -> None:
    found = aggregate([[1.0, 2.0], [3.0]], generator())
    assert found.value == 2
    assert not found.interval().known
    assert math.isnan(found.interval().low)
    assert found.p_above(-100) == 1


def test_holm_by_hand() -> None:
    # Four: 4 · 0.005, 3 · 0.01, 2 · 0.03, and the last not below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


def test_holm_keeps_false_rejections_rare() -> None:
    """Of five true nulls one is rejected in about 5 % of families; uncorrected in 23 %."""
    p = generator(3).uniform(size=(4000, 5))
    assert np.mean([min(holm(row)) <= 0.05 for row in p.tolist()]) == pytest.approx(0.05, abs=0.012)
    assert (p.min(axis=1) <= 0.05).mean() > 0.2


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
    assert (interval.estimate, interval.runs) == (0.5, 8)
    assert not interval.known  # every draw separates the sides: that is no sure thing of two seeds


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
    assert not aggregate([differences], generator()).interval().known  # but for rounding equal
    with pytest.raises(ValueError, match="2 and 1"):
        paired_differences([1, 2], [1])


def test_slope_by_hand() -> None:
    strata = [Stratum(1, [1.0, 3.0]), Stratum(2, [4.0, 6.0])]
    assert slope(strata).value == 3
    assert slope([*strata, Stratum(9, [])]).value == 3
    doubling = [Stratum(x, [float(y), float(y)]) for x, y in ((2, 1), (8, 5), (32, 9))]
    found = slope(doubling, scale="log2")
    assert found.value == pytest.approx(2)
    assert not found.interval().known


def test_slope_between_two_places_against_welch() -> None:
    a, b = generator(1).normal(size=5), generator(2).normal(3, 5, size=4)
    found = slope([Stratum(1, a), Stratum(3, b)])
    theirs = stats.ttest_ind(b, a, equal_var=False)
    low, high = theirs.confidence_interval()
    assert (found.interval().low, found.interval().high) == pytest.approx((low / 2, high / 2))
    assert 2 * min(found.p_above(0), found.p_below(0)) == pytest.approx(theirs.pvalue)


def test_slope_against_scipy() -> None:
    random = generator(4)
    strata = [Stratum(x, random.normal(0.3 * x, 1, size=40)) for x in (1, 2, 4, 8)]
    x = np.repeat([1, 2, 4, 8], 40)
    y = np.concatenate([np.asarray(stratum.scores) for stratum in strata])
    expected = stats.linregress(x, y)
    found = slope(strata)
    assert found.value == pytest.approx(expected.slope)
    # Each cell's own spread, not one of all: near each other where the spreads are the same.
    assert found.error == pytest.approx(expected.stderr, rel=0.1)


def test_groups_have_levels_of_their_own() -> None:
    # Two groups with slope 1 whose levels would make a pooled fit negative.
    strata = [
        Stratum(1, [10.0, 10.0], ("a",)),
        Stratum(2, [11.0, 11.0], ("a",)),
        Stratum(3, [0.0, 0.0], ("b",)),
        Stratum(4, [1.0, 1.0], ("b",)),
    ]
    assert slope(strata).value == pytest.approx(1)
    pooled = [Stratum(stratum.x, stratum.scores) for stratum in strata]
    assert slope(pooled).value < 0


def test_difference_of_slopes_by_hand() -> None:
    first = [Stratum(1, [0.0, 0.0]), Stratum(2, [2.0, 4.0])]
    second = [Stratum(1, [5.0, 5.0]), Stratum(2, [6.0, 6.0])]
    found = difference(slope(first), slope(second))
    assert (found.value, found.runs) == (2, 8)
    assert found.error == pytest.approx(1)  # that of the mean of 2 and 4
    assert found.freedom == pytest.approx(1)


def test_slope_within_runs_does_not_see_what_runs_differ_by() -> None:
    """Three runs of slopes 1, 1 and 4 whose levels lie far apart, each measured at two places."""
    strata = [
        Stratum(0, [0.0, 100.0, 200.0], runs="a"),
        Stratum(1, [1.0, 101.0, 204.0], runs="a"),
    ]
    found, expected = slope(strata), stats.ttest_1samp([1, 1, 4], 0)
    assert found.value == pytest.approx(2)
    low, high = expected.confidence_interval()
    assert (found.interval().low, found.interval().high) == pytest.approx((low, high))
    assert found.runs == 3
    independent = slope([Stratum(s.x, s.scores) for s in strata]).interval()
    assert independent.high - independent.low > 50
    with pytest.raises(ValueError, match="at every place"):
        slope([strata[0], Stratum(1, [1.0, 2.0], runs="a")])


def test_ratio_of_slopes_by_hand() -> None:
    first = [Stratum(1, [0.0, 0.0]), Stratum(2, [3.0, 3.0])]  # 3 a unit
    second = [Stratum(1, [5.0, 5.0]), Stratum(8, [9.5, 9.5])]  # 1.5 a doubling
    found = Ratio(slope(first), slope(second, scale="log2"))
    assert (found.value, found.runs) == (pytest.approx(2), 8)
    assert not found.interval().known


def test_ratio_is_fiellers() -> None:
    """By hand: 6 ± 1 by 3 ± 0, and the reciprocal, with t from a table (4 degrees of freedom)."""
    a, b = Estimate(6, 1, 4, 5, 5), Estimate(3, 0, math.nan, 5, 5)
    found = Ratio(a, b).interval()
    assert (found.low, found.high) == pytest.approx((2 - 2.7764 / 3, 2 + 2.7764 / 3), abs=1e-4)
    inverse = Ratio(b, a).interval()
    assert (inverse.low, inverse.high) == pytest.approx((1 / found.high, 1 / found.low))
    negative = Ratio(a, Estimate(-3, 0, math.nan, 5, 5))
    assert (negative.interval().low, negative.interval().high) == pytest.approx(
        (-found.high, -found.low)
    )
    both = Ratio(Estimate(6, 1, 4, 5, 5), Estimate(3, 0.5, 4, 5, 5))
    for ratio in (Ratio(a, b), both, negative):
        low, high = ratio.interval().low, ratio.interval().high
        assert ratio.p_above(low) == pytest.approx(0.025)
        assert ratio.p_below(high) == pytest.approx(0.025)


def test_ratio_of_slopes_holds_the_true_one() -> None:
    """Normal scores about slopes 6 and 3: of nominal 95 % intervals of five seeds most hold 2."""
    random, hits = generator(1), 0
    for _ in range(1000):
        first = [Stratum(x, 6 * x + random.normal(size=5)) for x in (0, 1, 2)]
        second = [Stratum(x, 3 * x + random.normal(size=5)) for x in (0, 1, 2)]
        interval = Ratio(slope(first), slope(second)).interval()
        hits += interval.low <= 2 <= interval.high
    assert 0.93 < hits / 1000 < 0.97


def test_dividing_by_a_slope_that_may_be_zero_is_refused() -> None:
    first = slope([Stratum(1, [0.0, 0.0]), Stratum(2, [3.0, 3.0])])
    unsure = slope([Stratum(1, [-1.0, 1.0]), Stratum(2, [-1.0, 1.2])])
    with pytest.raises(ValueError, match="not told from 0"):
        Ratio(first, unsure).interval()
    with pytest.raises(ValueError, match="not told from 0"):
        Ratio(first, slope([Stratum(1, [1.0]), Stratum(2, [1.0])])).interval()


def test_what_has_no_slope_is_refused() -> None:
    with pytest.raises(ValueError, match="two places"):
        slope([Stratum(1, [0.0, 1.0])])
    with pytest.raises(ValueError, match="greater than 0"):
        slope([Stratum(0, [0.0]), Stratum(1, [0.0])], scale="log2")


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("statistic", ["mean", "iqm"])
@pytest.mark.parametrize("cells", [1, 4])
def test_coverage_from_few_seeds(seeds: int, statistic: str, cells: int) -> None:
    """Of nominal 95 % intervals of normal scores no fewer hold the true value.

    Two standard errors of 600 repetitions are 1.8 %; a percentile bootstrap has 74 % to 91 %.
    """
    random, hits = generator(7), 0
    for _ in range(600):
        strata = [random.normal(cell, size=seeds) for cell in range(cells)]
        found = aggregate(strata, random, statistic=statistic, resamples=200).interval()
        hits += found.low <= (cells - 1) / 2 <= found.high
    assert hits / 600 > 0.93


def test_bench_coverage_tells_students_from_percentile_intervals() -> None:
    """A percentile interval of three scores lies within them: 1 − 2 · (1/2)³ = 75 % at most."""
    file = Path(__file__).parents[2] / "benchmarks/intervals.py"
    coverage = runpy.run_path(str(file))["coverage"]
    student, percentile, bca, _ = coverage("mean", "normal", 1, 3, 300, 200)
    assert student == pytest.approx(0.95, abs=0.03)
    assert percentile == pytest.approx(0.73, abs=0.06)
    assert bca < 0.8
