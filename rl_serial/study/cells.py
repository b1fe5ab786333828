"""The rows of a study by cell: values, what is missing, the best level, intervals."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rl_serial.study.measures import final_metrics, metric_of
from rl_serial.study.schema import AT_END, SEED, Cell, Scalar, Study, describe
from rl_serial.study.statistics import Interval, aggregate
from rl_serial.study.table import Record

MOST_NAMED = 3
"""Cells that a line names."""


@dataclass(frozen=True)
class Lack:
    """A cell some of whose runs have no value of a metric."""

    columns: dict[str, Scalar]
    troubles: tuple[str, ...]  # of each such run: its status, or done without the metric
    planned: int

    @property
    def found(self) -> int:
        """Runs with a value."""
        return self.planned - len(self.troubles)


WITHOUT = "done without the metric"


def lacking(records: Sequence[Record], columns: Sequence[str], metric: str | None) -> list[Lack]:
    """The cells in which runs failed, are unfinished or have not got the metric.

    Args:
        records: a row per planned run, or several with its values at several levels.
        columns: that tell cells apart, without those of which one run holds all levels.
        metric: that they should have; None asks for finished runs alone.
    """
    troubles: dict[Cell, dict[int, str]] = {}  # by cell and seed; empty for none
    for record in records:
        trouble = "" if record["status"] == "done" else record["status"]
        if not trouble and metric is not None and measured_value(record, metric) is None:
            trouble = WITHOUT
        runs = troubles.setdefault(tuple(record[column] for column in columns), {})
        runs[record[SEED]] = runs.get(record[SEED], "") or trouble
    return [
        Lack(dict(zip(columns, place, strict=True)), tuple(filter(None, runs.values())), len(runs))
        for place, runs in troubles.items()
        if any(runs.values())
    ]


def measured_value(record: Record, metric: str) -> float | None:
    """A run's value of a metric; None where there is none, or what is there is no finite number."""
    value = record.get(metric)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= sys.float_info.max else None  # which NaN is not


def named(lacks: Sequence[Lack]) -> str:
    """Cells with the number of their runs that count, in a line; empty for none."""
    parts = [f"{lack.found} of {lack.planned} at {describe(lack.columns)}" for lack in lacks]
    return _few(parts)


def cells(
    records: Sequence[Record], columns: Sequence[str], metric: str
) -> dict[Cell, dict[int, float]]:
    """The metric of each cell by seed; a seed with several runs there counts with their mean."""
    found: dict[Cell, dict[int, list[float]]] = {}
    for record in records:
        value = measured_value(record, metric)
        if record["status"] == "done" and value is not None:
            cell = tuple(record[column] for column in columns)
            found.setdefault(cell, {}).setdefault(record[SEED], []).append(value)
    return {
        cell: {
            seed: float(np.mean(values)) if len(values) > 1 else float(values[0])
            for seed, values in sorted(seeds.items())
        }
        for cell, seeds in found.items()
    }


def tuned_rows(
    study: Study, records: Sequence[Record], tuned: Sequence[str] | None = None
) -> list[Record]:
    """Of each cell only the rows at its best levels of the study's first metric.

    ``tuned``: which columns have levels to choose from; None: the study's.
    """
    metric = study.config.metric[0]
    chosen = study.config.tuned if tuned is None else tuned
    return tune(records, study.columns, chosen, metric, smaller_is_better(study, metric))


def smaller_is_better(study: Study, metric: str) -> bool:
    """Whether smaller values of a study's metric are the better ones.

    Where neither are (steps of an episode), a study that would choose by it is refused.
    """
    return metric_of(study, metric).metric.better == "lower"


def tune(
    records: Sequence[Record],
    columns: Sequence[str],
    tuned: Sequence[str],
    metric: str,
    smaller: bool = False,
) -> list[Record]:
    """Of each cell only the rows at its best levels of the columns ``tuned``, by the mean.

    The best of several means is an optimistic one; cells compare fairly where each had as many. A
    level that lacks runs is chosen only where every level does: the runs may be gone that were bad.
    """
    if not tuned:
        return list(records)
    fixed = [column for column in columns if column not in tuned]
    chosen = set()
    for place, levels in level_scores(records, fixed, tuned, metric, smaller).items():
        best = max(levels, key=lambda level: levels[level].rank)  # of equal ones the first
        chosen.add(place + best)
    return [r for r in records if tuple(r[column] for column in [*fixed, *tuned]) in chosen]


@dataclass(frozen=True)
class LevelScore:
    """What a level of a cell came to."""

    mean: float
    complete: bool  # every run of it has the metric
    rank: tuple[bool, float]  # the larger the better; one that lacks runs is behind all others


def level_scores(
    records: Sequence[Record],
    fixed: Sequence[str],
    tuned: Sequence[str],
    metric: str,
    smaller: bool = False,
) -> dict[Cell, dict[Cell, LevelScore]]:
    """Of each cell (its columns ``fixed``) its levels (the columns ``tuned``) that have a value."""
    sign = -1 if smaller else 1
    lacks: set[Cell] = set()
    for record in records:
        if record["status"] != "done" or measured_value(record, metric) is None:
            lacks.add(tuple(record[column] for column in [*fixed, *tuned]))
    found: dict[Cell, dict[Cell, LevelScore]] = {}
    for cell, scores in cells(records, [*fixed, *tuned], metric).items():
        mean, complete = float(np.mean(list(scores.values()))), cell not in lacks
        place, level = cell[: len(fixed)], cell[len(fixed) :]
        found.setdefault(place, {})[level] = LevelScore(mean, complete, (complete, sign * mean))
    return found


def chosen_levels(study: Study, records: Sequence[Record]) -> dict[Cell, str]:
    """The level that each cell of the grid took in the screening, as text; none without one."""
    screen = study.config.screen
    if screen is None:
        return {}
    return {
        tuple(record[column] for column in study.columns): str(record[screen.key])
        + (f", {END_OF_RANGE}" if record[AT_END] else "")
        for record in records
    }


END_OF_RANGE = "at the end of the range"
"""What tables say of a screened level beyond which a better one may lie."""


def ends_of_range(study: Study, records: Sequence[Record]) -> str:
    """The cells whose screened level lies at the end of the range, in a line; empty for none."""
    screen = study.config.screen
    if screen is None:
        return ""
    columns = [column for column in study.columns if column not in screen.share]
    ends = {
        tuple(record[column] for column in columns): record[screen.key]
        for record in records
        if record[AT_END]
    }
    if not ends:
        return ""
    parts = [
        f"{level} at {describe(dict(zip(columns, cell, strict=True)))}" if columns else f"{level}"
        for cell, level in ends.items()
    ]
    return f"{screen.key} {END_OF_RANGE}: {_few(parts)}"


def _few(cells: Sequence[str]) -> str:
    """The first ones, and how many more there are."""
    more = [f"and {len(cells) - MOST_NAMED} cells more"] if len(cells) > MOST_NAMED else []
    return "; ".join([*cells[:MOST_NAMED], *more])


def cell_intervals(
    study: Study, records: Sequence[Record], seed: int = 0
) -> Iterator[tuple[dict[str, Scalar], dict[str, Interval], int]]:
    """Each cell's columns, the interval of every metric that it has, and how many runs it plans.

    Cells come in the grid's order.
    """
    columns = study.columns
    by_metric = {metric: cells(records, columns, metric) for metric in final_metrics(study)}
    planned: dict[Cell, int] = {}
    for run in study.runs:
        place = tuple(run.columns[c] for c in columns)
        planned[place] = planned.get(place, 0) + 1
    for place, number in planned.items():
        generator = np.random.default_rng(seed)
        intervals = {
            metric: aggregate([list(found[place].values())], generator).interval()
            for metric, found in by_metric.items()
            if place in found
        }
        yield dict(zip(columns, place, strict=True)), intervals, number


def interval_words(interval: Interval | None) -> str:
    """An interval as text: estimate (low to high)."""
    if interval is None:
        return ""
    digits = 2 if max(abs(interval.estimate), 0.1) < 100 else 0
    if not interval.known:
        return "" if math.isnan(interval.estimate) else f"{interval.estimate:.{digits}f}"
    return (
        f"{interval.estimate:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"
    )


def interval_words_of(interval: Interval | None, planned: int) -> str:
    """An interval as text, with the number of runs in it where it lacks some."""
    runs = 0 if interval is None else interval.runs
    short = f"[{runs} of {planned} runs]" if runs < planned else ""
    return " ".join(part for part in (interval_words(interval), short) if part)
