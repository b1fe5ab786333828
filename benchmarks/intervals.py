"""How often 95 % intervals over seeds hold the true value: the table of docs/studies.md.

``rl-serial bench intervals`` draws scores of studies with a known truth and makes of each the
interval that verdicts rest on (Student's) and those of three bootstraps. One cell has scores about
0; four cells lie one unit apart from the next. The truth of a mean is exact, that of an
interquartile mean is taken from a million scores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rl_serial.study.statistics import AGGREGATES, aggregate
from rl_serial.tables import markdown_table

Array = NDArray[np.float64]
SCORES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "normal": lambda random, size: random.normal(size=size),
    "skewed": lambda random, size: random.lognormal(size=size),  # of skewness 6
}
SEEDS = (3, 5, 10, 20)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="rl-serial bench intervals", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=500)
    options = parser.parse_args(arguments)
    rows = []
    for statistic in ("mean", "iqm"):
        for name in SCORES:
            for cells in (1, 4):
                for seeds in SEEDS:
                    shares = coverage(
                        statistic, name, cells, seeds, options.repetitions, options.resamples
                    )
                    rows.append((statistic, name, cells, seeds, *(f"{s:.2f}" for s in shares)))
                    print(*rows[-1], flush=True)
    header = ("statistic", "scores", "cells", "seeds a cell", "Student", *METHODS)
    print(markdown_table(header, rows))


def coverage(
    statistic: str, name: str, cells: int, seeds: int, repetitions: int, resamples: int
) -> list[float]:
    """The share of intervals that hold the truth: Student's, then one of each of ``METHODS``."""
    random = np.random.default_rng([cells, seeds])
    draw = SCORES[name]
    places = np.arange(cells, dtype=np.float64)[:, None]
    many = draw(np.random.default_rng(0), (cells, 1_000_000 // cells)) + places
    truth = float(AGGREGATES[statistic](many.ravel()))
    if statistic == "mean":
        truth = float(places.mean()) + (np.exp(0.5) if name == "skewed" else 0.0)
    hits = np.zeros(1 + len(METHODS))
    for _ in range(repetitions):
        scores = draw(random, (cells, seeds)) + places
        found = aggregate(scores, random, statistic=statistic, resamples=resamples).interval()
        intervals = [(found.low, found.high)]
        intervals += [method(scores, statistic, random, resamples) for method in METHODS.values()]
        hits += [low <= truth <= high for low, high in intervals]
    return [float(share) for share in hits / repetitions]


def _scipy(method: str) -> Callable[..., tuple[float, float]]:
    def interval(
        scores: Array, statistic: str, random: np.random.Generator, resamples: int
    ) -> tuple[float, float]:
        function = AGGREGATES[statistic]

        def pooled(*cells: Array, axis: int = -1) -> Array:
            del axis  # always the last
            return function(np.concatenate(cells, axis=-1))

        found = stats.bootstrap(
            tuple(scores), pooled, n_resamples=resamples, vectorized=True, method=method, rng=random
        ).confidence_interval
        return float(found.low), float(found.high)

    return interval


def _studentised(
    scores: Array, statistic: str, random: np.random.Generator, resamples: int
) -> tuple[float, float]:
    """Bootstrap-t (Efron and Tibshirani 1993, section 12.5), of winsorised standard errors."""
    function = AGGREGATES[statistic]
    cells, seeds = scores.shape
    chosen = random.integers(0, seeds, size=(resamples, cells, seeds))
    drawn = np.take_along_axis(np.broadcast_to(scores, chosen.shape), chosen, axis=-1)
    cut = scores.size // 4 if statistic == "iqm" else 0

    def error(values: Array) -> Array:
        """Of values [..., cells, seeds]."""
        ordered = np.sort(values.reshape(*values.shape[:-2], -1), axis=-1)
        low, high = ordered[..., cut, None, None], ordered[..., -cut - 1, None, None]
        kept = np.clip(values, low, high) / (1 - 2 * cut / scores.size)
        return np.asarray(np.sqrt(kept.var(axis=-1, ddof=1).sum(axis=-1) / seeds) / cells)

    estimate, errors = float(function(scores.ravel())), error(drawn)
    usable = errors > 1e-9
    t = (function(drawn.reshape(resamples, -1))[usable] - estimate) / errors[usable]
    low, high = np.quantile(t, [0.025, 0.975])
    spread = float(error(scores))
    return estimate - float(high) * spread, estimate - float(low) * spread


METHODS: dict[str, Callable[..., tuple[float, float]]] = {
    "percentile": _scipy("percentile"),
    "BCa": _scipy("BCa"),
    "bootstrap-t": _studentised,
}

if __name__ == "__main__":
    main()
