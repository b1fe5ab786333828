"""From a study's table to verdicts on its hypotheses, and to the numbers of each cell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rl_serial.study.design import (
    ABOVE_FLOOR,
    SEED,
    SIMULATIONS,
    Comparison,
    Hypothesis,
    Scalar,
    Study,
    by_simulations,
    final_metrics,
)
from rl_serial.study.statistics import (
    Interval,
    Stratum,
    aggregate,
    paired_differences,
    probability_of_improvement,
    slope,
    slope_difference,
    slope_ratio,
)
from rl_serial.study.table import Record

Verdict = Literal["supported", "refuted", "undecided", "not learned", "not tested"]
SMALLER_IS_BETTER = {"value/rmse"}
Cell = tuple[Scalar, ...]


@dataclass(frozen=True)
class Finding:
    """What the runs say about a hypothesis."""

    hypothesis: Hypothesis
    verdict: Verdict
    quantity: str = ""  # what was measured
    interval: Interval | None = None
    improvement: Interval | None = None  # of a difference: P(first > second)
    note: str = ""


def judge(study: Study, records: Sequence[Record], seed: int = 0) -> list[Finding]:
    """The verdict on each hypothesis.

    Supported: the interval lies wholly on the side that was expected. Refuted: wholly on the other.
    Undecided: on both, or there is none. Not learned: every cell that is compared lies below its
    floor, so that its agents show no serial computation that anything could change.

    Args:
        study: with its hypotheses.
        records: the rows of ``results.csv``.
        seed: of the bootstrap.
    """
    return [_judge(study, h, records, np.random.default_rng(seed)) for h in study.config.hypotheses]


def cells(
    records: Sequence[Record], columns: Sequence[str], metric: str
) -> dict[Cell, dict[int, float]]:
    """The metric of each cell by seed; a seed with several runs there counts with their mean."""
    found: dict[Cell, dict[int, list[float]]] = {}
    for record in records:
        if record["status"] == "done" and record.get(metric) is not None:
            cell = tuple(record[column] for column in columns)
            found.setdefault(cell, {}).setdefault(record[SEED], []).append(record[metric])
    return {
        cell: {seed: float(np.mean(values)) for seed, values in sorted(seeds.items())}
        for cell, seeds in found.items()
    }


def tune(
    records: Sequence[Record], columns: Sequence[str], tuned: Sequence[str], metric: str
) -> list[Record]:
    """Of each cell only the rows at its best levels of the columns ``tuned``, by the mean.

    The best of several means is an optimistic one; cells compare fairly where each had as many.
    """
    if not tuned:
        return list(records)
    fixed = [column for column in columns if column not in tuned]
    sign = -1 if metric in SMALLER_IS_BETTER else 1
    best: dict[Cell, tuple[float, Cell]] = {}
    for cell, scores in cells(records, [*fixed, *tuned], metric).items():
        place, levels = cell[: len(fixed)], cell[len(fixed) :]
        mean = sign * float(np.mean(list(scores.values())))
        if place not in best or mean > best[place][0]:
            best[place] = (mean, levels)
    chosen = {place + levels for place, (_, levels) in best.items()}
    return [r for r in records if tuple(r[column] for column in [*fixed, *tuned]) in chosen]


def cell_intervals(
    study: Study, records: Sequence[Record], seed: int = 0
) -> Iterator[tuple[dict[str, Scalar], dict[str, Interval]]]:
    """Each cell's columns with the interval of every metric that it has, in the grid's order."""
    columns = study.columns
    by_metric = {metric: cells(records, columns, metric) for metric in final_metrics(study)}
    for place in dict.fromkeys(tuple(run.columns[c] for c in columns) for run in study.runs):
        generator = np.random.default_rng(seed)
        intervals = {
            metric: aggregate([list(found[place].values())], generator)
            for metric, found in by_metric.items()
            if place in found
        }
        yield dict(zip(columns, place, strict=True)), intervals


def _judge(
    study: Study,
    hypothesis: Hypothesis,
    records: Sequence[Record],
    generator: np.random.Generator,
) -> Finding:
    test = hypothesis.test
    if test is None:
        return Finding(hypothesis, "not tested", note="states no test; read the figures")
    metric = test.metric or study.config.metric[0]
    compared = [*test.where, *(test.difference or {}), *([test.slope] if test.slope else [])]
    per_compared = [*test.per.where, test.per.slope] if test.per else []
    if SIMULATIONS in (*compared, *per_compared):
        study, records = by_simulations(study, records)
    chosen = _choose(study, records, test.where, compared)
    quantity = _quantity(test, metric)
    divisor = _choose(study, records, test.per.where, per_compared) if test.per else None
    notes = _notes(chosen, "")
    if divisor is not None:
        notes += [note for note in _notes(divisor, "of the divisor ") if note not in notes]
    try:
        if divisor is not None:
            interval, improvement = _exchange_rate(test, chosen, divisor, metric, generator), None
        else:
            interval, improvement = _measure(
                test, chosen.records, chosen.columns, metric, generator
            )
    except ValueError as error:
        return Finding(hypothesis, "undecided", quantity, note="; ".join([*notes, str(error)]))
    if not interval.known:
        notes.append("an interval needs two seeds in each cell")
    verdict = _verdict(test, interval)
    if not metric.startswith("search/") and _below_floor(chosen.records, study.columns):
        verdict = "not learned"
        notes.append("every cell is below its floor, which needs no serial computation")
    return Finding(hypothesis, verdict, quantity, interval, improvement, "; ".join(notes))


def _below_floor(records: Sequence[Record], columns: Sequence[str]) -> bool:
    """Whether runs have a floor, and the mean of every cell's runs lies below it."""
    found = cells(records, columns, ABOVE_FLOOR)
    return bool(found) and all(np.mean(list(seeds.values())) < 0 for seeds in found.values())


@dataclass(frozen=True)
class _Choice:
    """The rows that a test is about."""

    records: list[Record]  # of each cell those at its best tuned levels
    columns: list[str]  # that tell its cells apart
    tuned: list[str]
    wanted: int  # rows before tuning
    undone: int


def _notes(choice: _Choice, whose: str) -> list[str]:
    notes = []
    if choice.undone:
        notes.append(f"{choice.undone} of {choice.wanted} runs {whose}are not done")
    if choice.tuned:
        notes.append(f"at each cell's best {', '.join(choice.tuned)}")
    return notes


def _choose(
    study: Study,
    records: Sequence[Record],
    where: dict[str, Scalar | list[Scalar]],
    compared: Sequence[str],
) -> _Choice:
    free = [column for column in study.config.tuned if column not in compared]
    wanted = [record for record in records if _matches(record, where)]
    chosen = tune(wanted, study.columns, free, study.config.metric[0])
    columns = [c for c in study.columns if c not in (*free, *where)]
    columns += [c for c in where if isinstance(where[c], list)]
    undone = sum(record["status"] != "done" for record in wanted)
    return _Choice(chosen, columns, free, len(wanted), undone)


def _exchange_rate(
    test: Comparison,
    first: _Choice,
    second: _Choice,
    metric: str,
    generator: np.random.Generator,
) -> Interval:
    assert test.slope is not None
    assert test.per is not None
    return slope_ratio(
        _strata(test.slope, first.records, first.columns, metric),
        _strata(test.per.slope, second.records, second.columns, metric),
        generator,
        scale=test.scale,
        second_scale=test.per.scale,
        confidence=test.confidence,
    )


def _verdict(test: Comparison, interval: Interval) -> Verdict:
    above, below = test.expect.above, test.expect.below
    if not interval.known:
        return "undecided"
    low, high = interval.low, interval.high
    if (above is not None and low > above) or (below is not None and high < below):
        return "supported"
    if (above is not None and high < above) or (below is not None and low > below):
        return "refuted"
    return "undecided"


def _measure(
    test: Comparison,
    records: Sequence[Record],
    columns: list[str],
    metric: str,
    generator: np.random.Generator,
) -> tuple[Interval, Interval | None]:
    """The tested quantity; of a difference also the probability of improvement."""
    if test.difference is None:
        if test.slope is None:
            strata = [list(seeds.values()) for seeds in cells(records, columns, metric).values()]
            found = aggregate(
                strata, generator, statistic=test.aggregate, confidence=test.confidence
            )
            return found, None
        places = _strata(test.slope, records, columns, metric)
        found = slope(places, generator, scale=test.scale, confidence=test.confidence)
        return found, None
    [(column, levels)] = test.difference.items()
    sides = [[r for r in records if r[column] == level] for level in levels]
    for level, side in zip(levels, sides, strict=True):
        if not any(r["status"] == "done" for r in side):
            raise ValueError(f"no finished run has {column} {level}")
    others = [c for c in columns if c != column]
    if test.slope is not None:
        first, second = (_strata(test.slope, side, others, metric) for side in sides)
        settings = {"scale": test.scale, "confidence": test.confidence}
        return slope_difference(first, second, generator, **settings), None  # type: ignore[arg-type]
    # A column that holds other levels on either side (the twin's own setting) cannot pair.
    shared = [c for c in others if {r[c] for r in sides[0]} & {r[c] for r in sides[1]}]
    ones, others_ = (cells(side, shared, metric) for side in sides)
    pairs = []
    for cell in ones.keys() & others_.keys():
        seeds = sorted(ones[cell].keys() & others_[cell].keys())
        if seeds:
            pairs.append(([ones[cell][s] for s in seeds], [others_[cell][s] for s in seeds]))
    if not pairs:
        raise ValueError("no two finished runs make a pair")
    pairs.sort()
    strata_of_differences = [paired_differences(a, b) for a, b in pairs]
    found = aggregate(
        strata_of_differences, generator, statistic=test.aggregate, confidence=test.confidence
    )
    return found, probability_of_improvement(pairs, generator, confidence=test.confidence)


def _strata(
    axis: str, records: Sequence[Record], columns: Sequence[str], metric: str
) -> list[Stratum]:
    """The cells as places on an axis, grouped by the other columns."""
    places: dict[str, dict[Scalar, set[float]]] = {}
    for record in records:
        for column in columns:
            places.setdefault(column, {}).setdefault(record[column], set()).add(record[axis])
    # A column that tells the place by itself (a label of the same axis) makes no groups.
    groups = [c for c in columns if c != axis and any(len(x) > 1 for x in places[c].values())]
    found = cells(records, [axis, *groups], metric)
    strata = []
    for cell, seeds in found.items():
        group = "/".join(str(part) for part in cell[1:])
        runs = group if axis == SIMULATIONS else None  # one run is searched with every number
        strata.append(Stratum(float(cell[0]), list(seeds.values()), group, runs))
    return strata


def _matches(record: Record, where: dict[str, Scalar | list[Scalar]]) -> bool:
    return all(
        record[column] in (level if isinstance(level, list) else [level])
        for column, level in where.items()
    )


def _quantity(test: Comparison, metric: str) -> str:
    words = metric
    if test.slope is not None:
        words = f"slope of {metric} over {'log2 ' if test.scale == 'log2' else ''}{test.slope}"
    if test.difference is not None:
        [(column, (first, second))] = test.difference.items()
        words += f", {column} {first} − {second}"
    if test.slope is None:
        words = (
            f"{test.aggregate.upper() if test.aggregate == 'iqm' else test.aggregate} of {words}"
        )
    words += _conditions(test.where)
    if test.per is not None:
        axis = f"{'log2 ' if test.per.scale == 'log2' else ''}{test.per.slope}"
        words += f"; divided by the slope over {axis}{_conditions(test.per.where)}"
    return words


def _conditions(where: dict[str, Scalar | list[Scalar]]) -> str:
    if not where:
        return ""
    chosen = (
        f"{c} {' or '.join(str(v) for v in level) if isinstance(level, list) else level}"
        for c, level in where.items()
    )
    return f", where {', '.join(chosen)}"


def shown(interval: Interval | None) -> str:
    """An interval as text: estimate (low to high)."""
    if interval is None:
        return ""
    digits = 2 if max(abs(interval.estimate), 0.1) < 100 else 0
    if not interval.known:
        return "" if math.isnan(interval.estimate) else f"{interval.estimate:.{digits}f}"
    return (
        f"{interval.estimate:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"
    )
