"""From a study's table to verdicts on its hypotheses, and to the numbers of each cell."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rl_serial.metrics import Measure
from rl_serial.study.cells import WITHOUT, Lack, cells, ends_of_range, lacking, named, tuned_rows
from rl_serial.study.measures import above_floor, by_level, metric_of, within_run
from rl_serial.study.schema import (
    SEED,
    Comparison,
    Expectation,
    Hypothesis,
    Scalar,
    Study,
)
from rl_serial.study.statistics import (
    Interval,
    Measured,
    Ratio,
    Stratum,
    aggregate,
    difference,
    holm,
    paired_differences,
    probability_of_improvement,
    slope,
)
from rl_serial.study.table import Record

Verdict = Literal["supported", "refuted", "undecided", "not learned", "not tested"]
CONFIRMATORY_SEEDS, EXPLORATORY_SEEDS = 5, 3
"""Seeds that each cell must have for a verdict."""
CLEARLY = 0.25
"""Serial steps by which an agent is clearly below its floor."""


@dataclass(frozen=True)
class Finding:
    """What the runs say about a hypothesis."""

    hypothesis: Hypothesis
    verdict: Verdict
    reason: str = ""  # of an undecided verdict, in a few words, where it is not the interval
    quantity: str = ""  # what was measured
    interval: Interval | None = None
    improvement: Interval | None = None  # of a difference: P(first > second)
    p: float | None = None  # of the verdict; where there are several confirmatory ones, Holm's
    note: str = ""

    @property
    def words(self) -> str:
        """The verdict as a reader is told it."""
        words: str = self.verdict + (f" ({self.reason})" if self.reason else "")
        return f"exploratory: {words}" if self.hypothesis.exploratory else words


@dataclass(frozen=True)
class _Evidence:
    """A finding whose verdict waits for the other hypotheses."""

    finding: Finding
    supports: float = 1.0  # p-value of the null "it is not as expected"
    refutes: float = 1.0  # p-value of the null "it is as expected"

    @property
    def p(self) -> float:
        return min(self.supports, self.refutes)


def judge(study: Study, records: Sequence[Record], seed: int = 0) -> list[Finding]:
    """The verdict on each hypothesis.

    Supported: it is told that the quantity lies where it was expected. Refuted: that it does not.
    Undecided: neither, or runs are missing, or a cell has too few seeds. Of one hypothesis on one
    side of a number that is whether the interval lies wholly on one side. An equivalence
    (``between``) is supported by two one-sided tests at 5 %, that is where the 90 % interval lies
    inside (Lakens 2017, Soc. Psychol. Personal. Sci. 8), and refuted where the 95 % interval lies
    outside. Several confirmatory hypotheses are corrected by Holm's method; those that have no
    p-value (runs missing, too few seeds) count among them.
    Not learned: every cell that is compared lies below its floor, so that its agents show no serial
    computation that anything could change.

    Args:
        study: with its hypotheses.
        records: the rows of ``results.csv``.
        seed: of the bootstrap.
    """
    found = [
        _weigh(study, hypothesis, records, np.random.default_rng(seed))
        for hypothesis in study.config.hypotheses
    ]
    family = [
        e for e in found if e.finding.hypothesis.test and not e.finding.hypothesis.exploratory
    ]
    adjusted = dict(
        zip((e.finding.hypothesis.id for e in family), holm([e.p for e in family]), strict=True)
    )
    return [_decided(e, adjusted.get(e.finding.hypothesis.id, e.p), len(family)) for e in found]


def _decided(evidence: _Evidence, p: float, family: int) -> Finding:
    """The finding with its verdict, given the p-value that counts."""
    finding, test = evidence.finding, evidence.finding.hypothesis.test
    if test is None or finding.interval is None or finding.reason:
        return finding
    if finding.verdict == "not learned":
        return finding
    level = 1 - test.confidence
    alone: Verdict = "supported" if evidence.supports <= evidence.refutes else "refuted"
    if p <= level:
        return replace(finding, verdict=alone, p=p)
    note = finding.note
    if evidence.p <= level:
        correction = (
            f"{alone} if it were the only hypothesis; not after Holm's correction for {family}"
        )
        note = "; ".join(part for part in (note, correction) if part)
    return replace(finding, p=p, note=note)


def _evidence(expect: Expectation, measured: Measured) -> tuple[float, float]:
    """The p-values of support and of refutation."""
    if expect.between is not None:
        low, high = expect.between
        supports = max(measured.p_above(low), measured.p_below(high))
        return supports, min(1.0, 2 * min(measured.p_below(low), measured.p_above(high)))
    above = expect.above is not None
    bound = expect.above if expect.above is not None else expect.below
    assert bound is not None
    sides = [min(1.0, 2 * p) for p in (measured.p_above(bound), measured.p_below(bound))]
    return (sides[0], sides[1]) if above else (sides[1], sides[0])


def _weigh(
    study: Study,
    hypothesis: Hypothesis,
    records: Sequence[Record],
    generator: np.random.Generator,
) -> _Evidence:
    test = hypothesis.test
    if test is None:
        return _Evidence(Finding(hypothesis, "not tested", note="states no test; read the figures"))
    metric = test.metric or study.config.metric[0]
    compared = [*test.where, *(test.difference or {}), *([test.slope] if test.slope else [])]
    per_compared = [*test.per.where, test.per.slope] if test.per else []
    within = within_run(study)
    if metric_of(study, metric).over:
        study, records = by_level(study, records, metric)
    chosen = _choose(study, records, test.where, compared, metric)
    divisor = _choose(study, records, test.per.where, per_compared, metric) if test.per else None
    notes, missing = _notes(chosen, "", metric), bool(chosen.lacking)
    sides = _compared(test, chosen.records)
    behind = [*sides, *(divisor.records if divisor else [])]
    if at_ends := ends_of_range(study, behind):
        notes.append(at_ends)
    if divisor is not None:
        notes += [n for n in _notes(divisor, "of the divisor ", metric) if n not in notes]
        missing = missing or bool(divisor.lacking)
    finding = Finding(hypothesis, "undecided", quantity=_quantity(test, metric))
    try:
        improvement, unpaired = None, 0
        measured: Measured
        if divisor is not None:
            measured = _exchange_rate(test, chosen, divisor, metric, within)
        else:
            measured, improvement, unpaired = _measure(
                test, chosen.records, chosen.columns, metric_of(study, metric), generator, within
            )
        # Two one-sided tests at 5 % are a 90 % interval.
        two_sided = test.expect.between is None
        interval = measured.interval(test.confidence if two_sided else 2 * test.confidence - 1)
    except ValueError as error:
        notes.append(str(error))
        return _Evidence(
            replace(finding, reason="runs missing" if missing else "", note="; ".join(notes))
        )
    if unpaired:
        notes.append(f"{unpaired} cells have no partner on the other side and do not count")
    if measured.equal:
        notes.append("all runs of each cell are equal: a sign test over seeds decides")
    elif measured.lack:
        notes.append(measured.lack)
    elif test.difference is None and test.slope is None:
        shared = 1.96 * _instance_error(chosen.records, metric_of(study, metric))
        notes += [f"± {shared:.2g} of the interval is over evaluation instances"] if shared else []
    needed = EXPLORATORY_SEEDS if hypothesis.exploratory else CONFIRMATORY_SEEDS
    reason = ""
    if measured.seeds < needed:
        notes.append(f"a verdict needs {needed} seeds in each cell")
    if missing:
        reason = "runs missing"
    elif measured.seeds < needed:
        reason = f"{measured.seeds} seed{'' if measured.seeds == 1 else 's'}"
    elif measured.lack and not measured.equal:
        reason = "no interval"
    finding = replace(
        finding, reason=reason, interval=interval, improvement=improvement, note="; ".join(notes)
    )
    if reason:
        return _Evidence(finding)
    if metric_of(study, metric).metric.of_agent and _below_floor(study, sides):
        notes.append("every cell is below its floor, which needs no serial computation")
        return _Evidence(replace(finding, verdict="not learned", note="; ".join(notes)))
    return _Evidence(finding, *_evidence(test.expect, measured))


def _compared(test: Comparison, records: Sequence[Record]) -> list[Record]:
    """The rows on either side of a difference; without one all."""
    sides = (test.difference or {}).items()
    return [r for r in records if all(r[column] in levels for column, levels in sides)]


def _instance_error(records: Sequence[Record], measure: Measure) -> float:
    """Standard error over the evaluation instances, which runs share; 0 where they do not say.

    What a run is above its floor has that of its reach.
    """
    of = measure.name
    if (base := measure.metric.interval_of) is not None:
        of = base.at(measure.index)
    widths = [
        record[f"{of}_high"] - record[f"{of}_low"]
        for record in records
        if record.get(f"{of}_low") is not None and record.get(f"{of}_high") is not None
    ]
    return float(np.mean(widths)) / (2 * 1.96) if widths else 0.0


def _below_floor(study: Study, records: Sequence[Record]) -> bool:
    """Whether runs have a floor, and the mean of every cell's runs lies clearly below it.

    A floor may reach the end of the chain, as where the table of a twin knows every instance;
    agents that are right but for a few states are not below it.
    """
    metric, columns = above_floor(study), study.columns
    if metric is None:
        return False
    found = cells(records, columns, metric.tag)
    there = {tuple(record[column] for column in columns) for record in records}
    return (
        found.keys() == there
        and bool(found)
        and all(np.mean(list(seeds.values())) <= -CLEARLY for seeds in found.values())
    )


@dataclass(frozen=True)
class _Choice:
    """The rows that a test is about."""

    records: list[Record]  # of each cell those at its best tuned levels
    columns: list[str]  # that tell its cells apart
    tuned: list[str]
    wanted: int  # runs before tuning
    lacking: list[Lack]  # of them


def _notes(choice: _Choice, whose: str, metric: str) -> list[str]:
    notes = []
    troubles = [trouble for lack in choice.lacking for trouble in lack.troubles]
    undone = [trouble for trouble in troubles if trouble != WITHOUT]
    if undone:
        counted = ", ".join(f"{undone.count(status)} {status}" for status in dict.fromkeys(undone))
        notes.append(f"{len(undone)} of {choice.wanted} runs {whose}are not done ({counted})")
    if len(undone) < len(troubles):
        number = len(troubles) - len(undone)
        notes.append(f"{number} of {choice.wanted} runs {whose}are done without {metric}")
    if troubles:
        notes.append(f"there are {named(choice.lacking)}")
    if choice.tuned:
        notes.append(f"at each cell's best {', '.join(choice.tuned)}")
    return notes


def _choose(
    study: Study,
    records: Sequence[Record],
    where: dict[str, Scalar | list[Scalar]],
    compared: Sequence[str],
    metric: str,
) -> _Choice:
    free = [column for column in study.config.tuned if column not in compared]
    wanted = [record for record in records if _matches(record, where)]
    chosen = tuned_rows(study, wanted, free)
    columns = [c for c in study.columns if c not in (*free, *where)]
    columns += [c for c in where if isinstance(where[c], list)]
    # The values of one run at several levels are no runs of several cells.
    within = within_run(study)
    columns = [c for c in columns if c not in within]
    own = [c for c in study.columns if c not in within]
    runs = {(*(record[column] for column in own), record[SEED]) for record in wanted}
    return _Choice(chosen, columns, free, len(runs), lacking(wanted, own, metric))


def _exchange_rate(
    test: Comparison, first: _Choice, second: _Choice, metric: str, within: Collection[str]
) -> Ratio:
    assert test.slope is not None
    assert test.per is not None
    return Ratio(
        slope(_strata(test.slope, first.records, first.columns, metric, within), scale=test.scale),
        slope(
            _strata(test.per.slope, second.records, second.columns, metric, within),
            scale=test.per.scale,
        ),
    )


def _measure(
    test: Comparison,
    records: Sequence[Record],
    columns: list[str],
    measure: Measure,
    generator: np.random.Generator,
    within: Collection[str],
) -> tuple[Measured, Interval | None, int]:
    """The tested quantity; of a difference also the probability of improvement, and lone cells."""
    metric = measure.name
    if test.difference is None:
        if test.slope is None:
            strata = [list(seeds.values()) for seeds in cells(records, columns, metric).values()]
            found = aggregate(strata, generator, statistic=test.aggregate)
            return found.with_common_error(_instance_error(records, measure)), None, 0
        places = _strata(test.slope, records, columns, metric, within)
        return slope(places, scale=test.scale), None, 0
    [(column, levels)] = test.difference.items()
    sides = [[r for r in records if r[column] == level] for level in levels]
    for level, side in zip(levels, sides, strict=True):
        if not any(r["status"] == "done" for r in side):
            raise ValueError(f"no finished run has {column} {level}")
    others = [c for c in columns if c != column]
    if test.slope is not None:
        first, second = (
            slope(_strata(test.slope, side, others, metric, within), scale=test.scale)
            for side in sides
        )
        return difference(first, second), None, 0
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
    found = aggregate(
        [paired_differences(a, b) for a, b in pairs], generator, statistic=test.aggregate
    )
    improvement = probability_of_improvement(pairs, generator, confidence=test.confidence)
    return found, improvement, len(ones.keys() ^ others_.keys())


def _strata(
    axis: str,
    records: Sequence[Record],
    columns: Sequence[str],
    metric: str,
    within: Collection[str],
) -> list[Stratum]:
    """The cells as places on an axis, grouped by the other columns.

    ``within``: columns of which one run holds all levels.
    """
    places: dict[str, dict[Scalar, set[float]]] = {}
    for record in records:
        for column in columns:
            places.setdefault(column, {}).setdefault(record[column], set()).add(record[axis])
    # A column that tells the place by itself (a label of the same axis) makes no groups.
    groups = [
        c for c in columns if c != axis and any(len(x) > 1 for x in places.get(c, {}).values())
    ]
    found = cells(records, [axis, *groups], metric)
    strata = []
    for cell, seeds in found.items():
        runs = cell[1:] if axis in within else None  # one run is at every place
        strata.append(Stratum(float(cell[0]), list(seeds.values()), cell[1:], runs))
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
