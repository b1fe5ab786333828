"""Estimates with intervals over seeds, from few runs.

The ideas are those of Agarwal et al. 2021 (arXiv 2108.13264): aggregate over all runs of all cells,
resample the seeds of each cell (a stratified bootstrap), report intervals and not points. Pure
functions of arrays; randomness comes from an explicit generator.

A *stratum* is the scores of one cell of the grid, one a seed: seeds are exchangeable within a cell,
cells are not. Intervals are percentile intervals. From few seeds they are too narrow, as any
interval that knows no distribution is: docs/studies.md has the measured coverage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""Maps scores [..., N] to a number for each row [...]."""

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval; NaN where a stratum has fewer than two seeds."""

    estimate: float
    low: float
    high: float
    runs: int  # scores that went in
    seeds: int = 0  # of the stratum that has the fewest
    equal: bool = False  # no stratum has two different scores: an interval would say nothing

    @property
    def known(self) -> bool:
        """Whether there is an interval at all."""
        return not (math.isnan(self.low) or math.isnan(self.high))


def iqm(scores: ArrayLike) -> Array:
    """The interquartile mean over the last axis: a quarter is cut off at either end.

    What is cut off is rounded down to whole scores, as by SciPy: of up to three none.
    """
    return np.asarray(stats.trim_mean(np.asarray(scores, dtype=np.float64), 0.25, axis=-1))


def mean(scores: ArrayLike) -> Array:
    """The mean over the last axis."""
    return np.asarray(np.asarray(scores, dtype=np.float64).mean(axis=-1))


def median(scores: ArrayLike) -> Array:
    """The median over the last axis."""
    return np.asarray(np.median(np.asarray(scores, dtype=np.float64), axis=-1))


AGGREGATES: dict[str, Statistic] = {"iqm": iqm, "mean": mean, "median": median}


def resampled(stratum: Array, generator: np.random.Generator, resamples: int = RESAMPLES) -> Array:
    """[resamples, n]: the n scores of a stratum drawn with replacement."""
    drawn: Array = stratum[_draws(stratum.size, generator, resamples)]
    return drawn


def _draws(size: int, generator: np.random.Generator, resamples: int) -> NDArray[np.int64]:
    """[resamples, size]: which scores of a stratum are drawn."""
    return generator.integers(0, size, size=(resamples, size))


def aggregate(
    strata: Sequence[ArrayLike],
    generator: np.random.Generator,
    *,
    statistic: str = "iqm",
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """IQM, mean or median over the scores of all strata, with its interval over seeds.

    Args:
        strata: for each cell its scores, one a seed.
        generator: of the bootstrap.
        statistic: iqm, mean or median.
        confidence: of the interval, in (0, 1).
        resamples: of the bootstrap.

    Raises:
        ValueError: there is no score at all.
    """
    scores = _strata(strata)
    function = AGGREGATES[statistic]
    estimate = float(function(np.concatenate(scores)))
    if min(stratum.size for stratum in scores) < 2:
        return _unknown(estimate, scores)
    drawn = np.concatenate([resampled(s, generator, resamples) for s in scores], axis=1)
    return _interval(estimate, function(drawn), scores, confidence)


def paired_differences(first: ArrayLike, second: ArrayLike) -> Array:
    """first − second, seed by seed: [n] each. Their strata go to :func:`aggregate`.

    Raises:
        ValueError: the two are not of one length.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"pairs need as many scores on either side, not {a.size} and {b.size}")
    return a - b


def improvement(first: ArrayLike, second: ArrayLike) -> float:
    """P(a score of ``first`` exceeds one of ``second``), ties half: Mann–Whitney's U / (n m)."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return float(_improvement(a[None], b[None])[0])


def probability_of_improvement(
    pairs: Sequence[tuple[ArrayLike, ArrayLike]],
    generator: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """:func:`improvement` averaged over cells, with its interval over seeds.

    Args:
        pairs: for each cell the scores of the one and of the other, one a seed.
        generator: of the bootstrap.
        confidence: of the interval.
        resamples: of the bootstrap.
    """
    firsts = _strata([a for a, _ in pairs])
    seconds = _strata([b for _, b in pairs])
    cells = list(zip(firsts, seconds, strict=True))
    estimate = float(np.mean([improvement(a, b) for a, b in cells]))
    drawn = [
        _improvement(resampled(a, generator, resamples), resampled(b, generator, resamples))
        for a, b in cells
    ]
    return _interval(estimate, np.mean(drawn, axis=0), [*firsts, *seconds], confidence)


def performance_profile(
    strata: Sequence[ArrayLike],
    thresholds: ArrayLike,
    generator: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> tuple[Array, Array, Array]:
    """The share of runs whose score exceeds each threshold, with its pointwise interval.

    Args:
        strata: for each cell its scores, one a seed.
        thresholds: [T].
        generator: of the bootstrap.
        confidence: of each point's interval.
        resamples: of the bootstrap.

    Returns:
        The profile, its lower and its upper bounds: [T] each.
    """
    scores = _strata(strata)
    levels = np.asarray(thresholds, dtype=np.float64)
    drawn = np.concatenate([resampled(s, generator, resamples) for s in scores], axis=1)
    shares = np.stack([(drawn > level).mean(axis=1) for level in levels], axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(shares, [tail, 1 - tail], axis=0)
    profile = (np.concatenate(scores) > levels[:, None]).mean(axis=1)
    return profile, low, high


@dataclass(frozen=True)
class Stratum:
    """The scores of a cell that has a place on an axis; one line is fitted to each group.

    Strata with the same ``runs`` are of the same runs, measured at several places: their seeds are
    drawn together.
    """

    x: float
    scores: ArrayLike  # [n], one a seed
    group: tuple[Hashable, ...] = ()
    runs: tuple[Hashable, ...] | None = None


def slope(
    strata: Sequence[Stratum],
    generator: np.random.Generator,
    *,
    scale: str = "linear",
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """The least-squares slope of the scores over x, or over log2 x, with its interval over seeds.

    Groups have levels of their own and share the slope.

    Raises:
        ValueError: no group has two places on the axis, or log2 of one that is not positive.
    """
    estimate, drawn, scores = _slopes(strata, generator, scale, resamples)
    return _interval(estimate, drawn, scores, confidence)


def slope_difference(
    first: Sequence[Stratum],
    second: Sequence[Stratum],
    generator: np.random.Generator,
    *,
    scale: str = "linear",
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """The slope of ``first`` minus that of ``second``, with its interval over seeds."""
    a, drawn_a, scores_a = _slopes(first, generator, scale, resamples)
    b, drawn_b, scores_b = _slopes(second, generator, scale, resamples)
    return _interval(a - b, drawn_a - drawn_b, [*scores_a, *scores_b], confidence)


def slope_ratio(
    first: Sequence[Stratum],
    second: Sequence[Stratum],
    generator: np.random.Generator,
    *,
    scale: str = "linear",
    second_scale: str = "linear",
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """The slope of ``first`` divided by that of ``second``, with its interval over seeds.

    Raises:
        ValueError: the interval of the second slope holds 0, so that the ratio may be anything.
    """
    a, drawn_a, scores_a = _slopes(first, generator, scale, resamples)
    b, drawn_b, scores_b = _slopes(second, generator, second_scale, resamples)
    divisor = _interval(b, drawn_b, scores_b, confidence)
    if divisor.low <= 0 <= divisor.high or b == 0:
        raise ValueError(f"the slope divided by is not told from 0: {b:.3g}")
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.nan_to_num(drawn_a / drawn_b, nan=np.inf, posinf=np.inf, neginf=-np.inf)
    return _interval(a / b, drawn, [*scores_a, *scores_b], confidence)


def _slopes(
    strata: Sequence[Stratum], generator: np.random.Generator, scale: str, resamples: int
) -> tuple[float, Array, list[Array]]:
    """The slope, that of each resample [resamples], and the scores, one a run."""
    strata = [stratum for stratum in strata if np.size(stratum.scores)]
    scores = _strata([stratum.scores for stratum in strata])
    if scale == "log2" and any(stratum.x <= 0 for stratum in strata):
        raise ValueError("a place on a log2 axis must be greater than 0")
    places = [math.log2(s.x) if scale == "log2" else float(s.x) for s in strata]
    x = np.concatenate([np.full(s.size, place) for s, place in zip(scores, places, strict=True)])
    numbers = {group: i for i, group in enumerate({s.group: None for s in strata})}
    groups = np.concatenate(
        [np.full(s.size, numbers[stratum.group]) for s, stratum in zip(scores, strata, strict=True)]
    )
    centred = x.copy()
    for group in numbers.values():
        centred[groups == group] -= x[groups == group].mean()
    spread = float((centred**2).sum())
    if spread < 1e-12:
        raise ValueError("a slope needs two places on the axis")
    seeds: dict[tuple[Hashable, ...], NDArray[np.int64]] = {}
    drawn, runs = [], []
    for stratum, values in zip(strata, scores, strict=True):
        if stratum.runs is None or stratum.runs not in seeds:
            chosen = _draws(values.size, generator, resamples)
            runs.append(values)
            if stratum.runs is not None:
                seeds[stratum.runs] = chosen
        else:
            chosen = seeds[stratum.runs]
        drawn.append(values[chosen])
    slopes = np.concatenate(drawn, axis=1) @ centred / spread
    return float(centred @ np.concatenate(scores)) / spread, slopes, runs


def _improvement(first: Array, second: Array) -> Array:
    """[R] of scores [R, n] and [R, m]."""
    higher = first[:, :, None] > second[:, None, :]
    equal = first[:, :, None] == second[:, None, :]
    share: Array = (higher + 0.5 * equal).mean(axis=(1, 2))
    return share


def _strata(strata: Sequence[ArrayLike]) -> list[Array]:
    scores = [np.asarray(stratum, dtype=np.float64).ravel() for stratum in strata]
    scores = [stratum for stratum in scores if stratum.size]
    if not scores:
        raise ValueError("there are no scores")
    return scores


def _interval(
    estimate: float, drawn: Array, scores: Sequence[Array], confidence: float
) -> Interval:
    """The percentile interval of a bootstrap."""
    if min(stratum.size for stratum in scores) < 2:
        return _unknown(estimate, scores)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(
        estimate,
        float(low),
        float(high),
        sum(stratum.size for stratum in scores),
        min(stratum.size for stratum in scores),
        all(np.ptp(stratum) == 0 for stratum in scores),
    )


def _unknown(estimate: float, scores: Sequence[Array]) -> Interval:
    sizes = [stratum.size for stratum in scores]
    return Interval(estimate, math.nan, math.nan, sum(sizes), min(sizes))
