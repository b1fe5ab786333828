"""Estimates with intervals over seeds, from few runs.

Scores of all runs of all cells are aggregated and intervals reported, not points, as Agarwal et al.
2021 (arXiv 2108.13264) have it. The intervals are Student's: what a percentile bootstrap makes of
three or five seeds is far too narrow (``rl-serial bench intervals``, docs/studies.md).
Pure functions of arrays; randomness comes from an explicit generator.

A *stratum* is the scores of one cell of the grid, one per seed: seeds are exchangeable within a
cell, cells are not. The variance of an estimate is the sum of those that its cells add to it, and
its degrees of freedom are Satterthwaite's (1946, Biometrics Bulletin 2).

One file: each estimator is short, and all share the strata, the degrees of freedom and the
bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""Maps scores [..., N] to a number for each row [...]."""

RESAMPLES = 2000
KNOWN_DRAWS = 0.9
"""Share of a bootstrap's draws that must give a number."""
MOST_FREEDOM = 1e6
"""Degrees of freedom from which on Student's t is the normal distribution."""
ROUNDING = 1e-9
"""A standard error this small beside the scores is no spread but rounding."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; NaN where the runs give none."""

    estimate: float
    low: float
    high: float
    runs: int  # scores that went in

    @property
    def known(self) -> bool:
        """Whether there is an interval at all."""
        return not (math.isnan(self.low) or math.isnan(self.high))


class Measured(Protocol):
    """An estimate that knows how sure it is."""

    @property
    def value(self) -> float:
        """The estimate."""

    @property
    def seeds(self) -> int:
        """Seeds of the cell that has fewest."""

    @property
    def lack(self) -> str:
        """Why there is no interval; empty where there is one."""

    @property
    def equal(self) -> bool:
        """Whether the runs of every cell are equal: p-values are a sign test's over seeds."""

    def interval(self, confidence: float = 0.95) -> Interval:
        """The two-sided interval.

        Raises:
            ValueError: a ratio whose divisor is not told from 0.
        """

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the null "the true value is at most ``bound``"; 1 without one."""

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the null "the true value is at least ``bound``"; 1 without one."""


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error over seeds, and Student's t for what it may be."""

    value: float
    error: float  # standard error; NaN where a cell has fewer than two seeds
    freedom: float  # degrees of freedom
    runs: int  # scores that went in
    seeds: int  # of the cell that has fewest
    scale: float = 1.0  # largest score: a standard error is rounding beside it

    @property
    def lack(self) -> str:
        """Why there is no interval; empty where there is one."""
        if math.isnan(self.error):
            return "an interval needs two seeds in each cell"
        if self.equal:
            return "all runs of each cell are equal: no interval"
        return ""

    @property
    def equal(self) -> bool:
        """Whether the runs of every cell are equal, so that Student's t has no spread to go by."""
        return self.error <= ROUNDING * self.scale  # which NaN is not

    def interval(self, confidence: float = 0.95) -> Interval:
        """The two-sided interval with that confidence, in (0, 1)."""
        if self.lack:
            return Interval(self.value, math.nan, math.nan, self.runs)
        half = float(stats.t.ppf((1 + confidence) / 2, self.freedom)) * self.error
        return Interval(self.value, self.value - half, self.value + half, self.runs)

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the null "the true value is at most ``bound``"; 1 without one."""
        if self.equal:
            return self._sign_test(self.value > bound)
        if self.lack:
            return 1.0
        return float(stats.t.sf((self.value - bound) / self.error, self.freedom))

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the null "the true value is at least ``bound``"; 1 without one."""
        if self.equal:
            return self._sign_test(self.value < bound)
        return 1.0 if self.lack else 1 - self.p_above(bound)

    def with_common_error(self, error: float) -> Estimate:
        """The same with a standard error more that all runs share, which seeds do not show."""
        total = math.hypot(self.error, error)
        if error == 0 or math.isnan(self.error):
            return self
        freedom = self.freedom * (total / self.error) ** 4 if self.error > 0 else math.inf
        return replace(self, error=total, freedom=min(freedom, MOST_FREEDOM))

    def _sign_test(self, beyond: bool) -> float:
        """Of equal seeds, all beyond a bound or none: a half for each seed (Dixon, Mood 1946)."""
        return 0.5**self.seeds if beyond else 1.0


@dataclass(frozen=True)
class Ratio:
    """One estimate divided by another of other runs, with the interval of Fieller (1954).

    A number x is held by the interval where a test does not tell first − x · second from 0.
    """

    first: Estimate
    second: Estimate

    @property
    def value(self) -> float:
        """The quotient of the estimates."""
        return self.first.value / self.second.value if self.second.value else math.nan

    @property
    def seeds(self) -> int:
        """Seeds of the cell that has fewest."""
        return min(self.first.seeds, self.second.seeds)

    @property
    def runs(self) -> int:
        """Scores that went in."""
        return self.first.runs + self.second.runs

    @property
    def lack(self) -> str:
        """Why there is no interval; empty where there is one."""
        if math.isnan(self.first.error):
            return self.first.lack
        return self.second.lack if math.isnan(self.second.error) else self._difference().lack

    @property
    def equal(self) -> bool:
        """A ratio is told by its spread alone."""
        return False

    def _difference(self, bound: float | None = None) -> Estimate:
        """first − bound · second, with the degrees of freedom that it has at the ratio itself."""
        ratio = self.value
        parts = [(1.0, self.first), (-ratio, self.second)]
        freedom = _freedom(
            [(factor * e.error) ** 2 for factor, e in parts], [e.freedom for _, e in parts]
        )
        factor = ratio if bound is None else bound
        return Estimate(
            self.first.value - factor * self.second.value,
            math.hypot(self.first.error, factor * self.second.error),
            freedom,
            self.runs,
            self.seeds,
            max(self.first.scale, abs(factor) * self.second.scale),
        )

    def interval(self, confidence: float = 0.95) -> Interval:
        """The two-sided interval with that confidence, in (0, 1).

        Raises:
            ValueError: the second estimate is not told from 0, so that the ratio may be anything.
        """
        a, b = self.first.value, self.second.value
        unknown = Interval(self.value, math.nan, math.nan, self.runs)
        if b == 0:
            raise ValueError("the slope divided by is not told from 0: 0")
        if self.lack:
            return unknown
        t = float(stats.t.ppf((1 + confidence) / 2, self._difference().freedom))
        va, vb = (t * self.first.error) ** 2, (t * self.second.error) ** 2
        if b * b <= vb:
            raise ValueError(f"the slope divided by is not told from 0: {b:.3g}")
        root = math.sqrt(max(a * a * vb + b * b * va - va * vb, 0.0))
        low, high = sorted(((a * b - root) / (b * b - vb), (a * b + root) / (b * b - vb)))
        return Interval(self.value, low, high, self.runs)

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the null "the true value is at most ``bound``"; 1 without one."""
        if self.lack:
            return 1.0
        tested = self._difference(bound)
        return tested.p_above(0) if self.second.value > 0 else tested.p_below(0)

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the null "the true value is at least ``bound``"; 1 without one."""
        return 1.0 if self.lack else 1 - self.p_above(bound)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for there being several (Holm 1979, Scand. J. Statist. 6).

    Rejecting where the adjusted value is at most α makes a false rejection anywhere at most α
    likely, however the tests depend on each other.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def iqm(scores: ArrayLike) -> Array:
    """The interquartile mean over the last axis: a quarter is cut off at either end.

    What is cut off is rounded down to whole scores: of up to three none. The same as SciPy's
    ``trim_mean``, whose checks take a hundred times as long as this for the seeds of a cell.
    """
    scores = np.asarray(scores, dtype=np.float64)
    cut, end = scores.shape[-1] // 4, scores.shape[-1] - scores.shape[-1] // 4
    inner = np.partition(scores, (cut, end - 1), axis=-1)[..., cut:end]
    return np.asarray(inner.mean(axis=-1))


def mean(scores: ArrayLike) -> Array:
    """The mean over the last axis."""
    return np.asarray(np.asarray(scores, dtype=np.float64).mean(axis=-1))


def median(scores: ArrayLike) -> Array:
    """The median over the last axis."""
    return np.asarray(np.median(np.asarray(scores, dtype=np.float64), axis=-1))


AGGREGATES: dict[str, Statistic] = {"iqm": iqm, "mean": mean, "median": median}


def resampled(
    stratum: NDArray[Any], generator: np.random.Generator, resamples: int = RESAMPLES
) -> NDArray[Any]:
    """[resamples, n]: the n scores of a stratum drawn with replacement."""
    drawn: NDArray[Any] = stratum[
        generator.integers(0, stratum.size, size=(resamples, stratum.size))
    ]
    return drawn


def aggregate(
    strata: Sequence[ArrayLike],
    generator: np.random.Generator,
    *,
    statistic: str = "iqm",
    resamples: int = RESAMPLES,
) -> Estimate:
    """IQM, mean or median over the scores of all strata.

    The standard error of a mean is known; that of the others is the spread of a bootstrap that is
    stratified by cell, its scores' distances from their cell's mean stretched by √(n / (n − 1)),
    without which n seeds look too much alike (Rao and Wu 1988, J. Am. Statist. Assoc. 83).

    Args:
        strata: for each cell its scores, one per seed.
        generator: of the bootstrap.
        statistic: iqm, mean or median.
        resamples: of the bootstrap.

    Raises:
        ValueError: there is no score at all.
    """
    scores = _strata(strata)
    function = AGGREGATES[statistic]
    pooled = np.concatenate(scores)
    value = float(function(pooled))
    seeds = min(stratum.size for stratum in scores)
    if seeds < 2:
        return Estimate(value, math.nan, math.nan, pooled.size, seeds)
    # What each cell's mean adds to the variance of the mean of all.
    parts = [stratum.size * float(stratum.var(ddof=1)) / pooled.size**2 for stratum in scores]
    error = math.sqrt(sum(parts))
    trimmed = statistic == "median" or (statistic == "iqm" and pooled.size >= 4)
    if trimmed and error > 0:
        drawn = np.concatenate(
            [resampled(_stretched(s), generator, resamples) for s in scores], axis=1
        )
        error = float(function(drawn).std(ddof=1))
    freedom = _freedom(parts, [stratum.size - 1 for stratum in scores])
    return Estimate(value, error, freedom, pooled.size, seeds, float(np.abs(pooled).max()))


def of_cells(
    strata: Sequence[ArrayLike],
    function: Callable[[Array], Array],
    generator: np.random.Generator,
    *,
    statistic: str = "iqm",
    resamples: int = RESAMPLES,
) -> list[Estimate]:
    """Numbers that are made of one number for each cell, whatever the function.

    Their standard errors are the spread of a bootstrap that is stratified by cell and stretched as
    in :func:`aggregate`. Cells are drawn independently of one another, so what each adds to the
    variance, for the degrees of freedom, is the part that the drawn results share with the cell's
    drawn numbers. Draws where a result has no value are left out; where they are a tenth or more
    it has no error.

    Args:
        strata: for each cell its scores, one per seed.
        function: numbers of cells [R, cells] to results [R, M], NaN where there is none.
        generator: of the bootstrap.
        statistic: iqm, mean or median, the number of a cell.
        resamples: of the bootstrap.

    Returns:
        M estimates.

    Raises:
        ValueError: a cell has no score.
    """
    scores = [np.asarray(stratum, dtype=np.float64).ravel() for stratum in strata]
    if not scores or any(stratum.size == 0 for stratum in scores):
        raise ValueError("every cell needs a score")
    number = AGGREGATES[statistic]
    found = function(np.array([[number(stratum) for stratum in scores]]))[0]
    runs, seeds = sum(s.size for s in scores), min(s.size for s in scores)
    if seeds < 2:
        return [Estimate(float(v), math.nan, math.nan, runs, seeds) for v in found]
    drawn = np.stack([number(resampled(_stretched(s), generator, resamples)) for s in scores], 1)
    freedoms = [s.size - 1 for s in scores]
    return [
        _of_draws(float(value), drawn, results, freedoms, runs, seeds)
        for value, results in zip(found, function(drawn).T, strict=True)
    ]


def _of_draws(
    value: float, drawn: Array, results: Array, freedoms: Sequence[float], runs: int, seeds: int
) -> Estimate:
    """The estimate of which ``results`` [R] came of the drawn cells [R, cells]."""
    known = np.isfinite(results)
    if math.isnan(value) or known.mean() <= KNOWN_DRAWS:
        return Estimate(value, math.nan, math.nan, runs, seeds)
    drawn, results = drawn[known], results[known]
    away = drawn - drawn.mean(axis=0)
    spread = (away**2).mean(axis=0)
    shared = (away * (results - results.mean())[:, None]).mean(axis=0)
    parts = np.divide(shared**2, spread, out=np.zeros_like(spread), where=spread > 0)
    error, largest = float(results.std(ddof=1)), float(np.abs(results).max())
    return Estimate(value, error, _freedom(list(parts), freedoms), runs, seeds, largest)


def _stretched(scores: Array) -> Array:
    """Scores [n] whose distances from their mean a bootstrap does not make too small."""
    middle = float(scores.mean())
    stretched: Array = middle + (scores - middle) * math.sqrt(scores.size / (scores.size - 1))
    return stretched


def _freedom(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Satterthwaite's degrees of freedom of a sum of independent variances."""
    total = sum(variances)
    if total <= 0 or not math.isfinite(total):
        return math.nan
    return 1 / sum((v / total) ** 2 / f for v, f in zip(variances, freedoms, strict=True) if v > 0)


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
    """:func:`improvement` averaged over cells, with a percentile interval over seeds.

    The interval is orientation: no verdict depends on it.

    Args:
        pairs: for each cell the scores of the one and of the other, one per seed.
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
    return _percentiles(estimate, np.mean(drawn, axis=0), [*firsts, *seconds], confidence)


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
        thresholds: [T], ascending.
        generator: of the bootstrap.
        confidence: of each point's interval.
        resamples: of the bootstrap.

    Returns:
        The profile, its lower and its upper bounds: [T] each.
    """
    scores = _strata(strata)
    levels = np.asarray(thresholds, dtype=np.float64)
    exceeded = [np.searchsorted(levels, stratum) for stratum in scores]  # how many levels each
    drawn = np.concatenate([resampled(e, generator, resamples) for e in exceeded], axis=1)
    bins = levels.size + 1
    places = (drawn + np.arange(resamples)[:, None] * bins).ravel()
    counts = np.bincount(places, minlength=resamples * bins).reshape(resamples, bins)
    shares = counts[:, :0:-1].cumsum(axis=1)[:, ::-1] / drawn.shape[1]
    tail = (1 - confidence) / 2
    low, high = np.quantile(shares, [tail, 1 - tail], axis=0)
    profile = (np.concatenate(scores) > levels[:, None]).mean(axis=1)
    return profile, low, high


@dataclass(frozen=True)
class Stratum:
    """The scores of a cell that has a place on an axis; one line is fitted to each group.

    Strata with the same ``runs`` are of the same runs, in the same order, measured at several
    places.
    """

    x: float
    scores: ArrayLike  # [n], one per seed
    group: Hashable = ()
    runs: Hashable | None = None


def slope(strata: Sequence[Stratum], *, scale: str = "linear") -> Estimate:
    """The least-squares slope of the scores over x, or over log2 x.

    Groups have levels of their own and share the slope.

    Raises:
        ValueError: no group has two places on the axis, log2 of one that is not positive, or runs
            that were not measured at every place.
    """
    strata = [stratum for stratum in strata if np.size(stratum.scores)]
    scores = _strata([stratum.scores for stratum in strata])
    if scale == "log2" and any(stratum.x <= 0 for stratum in strata):
        raise ValueError("a place on a log2 axis must be greater than 0")
    places = np.array([math.log2(s.x) if scale == "log2" else float(s.x) for s in strata])
    sizes = np.array([stratum.size for stratum in scores])
    numbers = {group: i for i, group in enumerate(dict.fromkeys(s.group for s in strata))}
    groups = np.array([numbers[stratum.group] for stratum in strata])
    means = np.bincount(groups, sizes * places) / np.bincount(groups, sizes)
    centred = places - means[groups]
    spread = float((sizes * centred**2).sum())
    if spread < 1e-12:
        raise ValueError("a slope needs two places on the axis")
    # A slope is a sum over runs; what a run adds to it at several places is one number.
    added: dict[Hashable, Array] = {}
    for i, (stratum, values) in enumerate(zip(strata, scores, strict=True)):
        key = ("a cell", i) if stratum.runs is None else ("runs", stratum.runs)
        share = values * centred[i] / spread
        if key in added and added[key].shape != share.shape:
            raise ValueError("the same runs must be measured at every place")
        added[key] = added[key] + share if key in added else share
    value = float(sum(share.sum() for share in added.values()))
    runs, seeds = sum(share.size for share in added.values()), min(int(n) for n in sizes)
    if seeds < 2:
        return Estimate(value, math.nan, math.nan, runs, seeds)
    variances = [share.size * float(share.var(ddof=1)) for share in added.values()]
    freedom = _freedom(variances, [share.size - 1 for share in added.values()])
    scale_of_slope = max(float(np.abs(share).max()) for share in added.values())
    return Estimate(value, math.sqrt(sum(variances)), freedom, runs, seeds, scale_of_slope)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """``first`` − ``second``, of other runs."""
    variances = [first.error**2, second.error**2]
    return Estimate(
        first.value - second.value,
        math.sqrt(sum(variances)),
        _freedom(variances, [first.freedom, second.freedom]),
        first.runs + second.runs,
        min(first.seeds, second.seeds),
        max(first.scale, second.scale),
    )


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


def _percentiles(
    estimate: float, drawn: Array, scores: Sequence[Array], confidence: float
) -> Interval:
    """The percentile interval of a bootstrap; none where all that is drawn is the same."""
    runs = sum(stratum.size for stratum in scores)
    if min(stratum.size for stratum in scores) < 2 or np.ptp(drawn) == 0:
        return Interval(estimate, math.nan, math.nan, runs)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high), runs)
