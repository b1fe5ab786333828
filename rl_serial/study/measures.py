"""A study's metrics: which there are in its runs, and what they go over inside a run.

A metric at all its indices is a number a run. One that leaves indices open, as
``search/true/score`` does with the simulations, has a number for each level of them: the open
indices are columns of the study, and one run gives several rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rl_serial.errors import Fault, UserError, did_you_mean
from rl_serial.loading import check_config, resolved_config
from rl_serial.metrics import Measure, Metric, Profile, measures
from rl_serial.subjects import row_of

if TYPE_CHECKING:
    from rl_serial.study.schema import PlannedRun, Study


_FOUND: dict[str, dict[str, Measure]] = {}
MOST_FOUND = 256
"""Kinds of runs whose metrics are kept."""


def measures_of(config: Mapping[str, Any]) -> dict[str, Measure]:
    """What a study may name of a run, by name."""
    # Networks and the numbers of an agent (rates, sizes) change nothing of what is measured.
    agent = {k: v for k, v in config["agent"].items() if isinstance(v, str | bool | None)}
    known = [config["env"], config.get("subject"), config["evaluation"], agent]
    key = json.dumps(known, sort_keys=True)
    if key not in _FOUND:
        if len(_FOUND) == MOST_FOUND:
            _FOUND.clear()
        run = resolved_config(config)
        check_config(run)
        _FOUND[key] = measures(row_of(run.env.id, run.agent.kind, run.subject).places(run))
    return _FOUND[key]


def metric_of(study: Study, name: str) -> Measure:
    """A metric that the study's runs were found to have."""
    return measures_of(study.runs[0].config)[name]


def profile_of(study: Study) -> Profile | None:
    """What the subject of a study draws in every report."""
    run = study.runs[0].config
    draws = _row(run).profile
    return None if draws is None else draws(resolved_config(run))


def above_floor(study: Study) -> Metric | None:
    """What says how far the agents of a study are above their floor, if anything does."""
    metric: Metric | None = _row(study.runs[0].config).above_floor
    return metric


def check_metric(name: str, run: PlannedRun, key: str, columns: str) -> Measure:
    """Refuse a metric that a run will not have logged when it is done.

    Args:
        name: as the study gives it.
        run: of the study.
        key: of the study that gives it.
        columns: the run's, in a line.

    Raises:
        UserError: with ``key``.
    """
    there = measures_of(run.config)
    place = f"(in the run with {columns})"
    if name not in there:
        row = _row(run.config)
        asked = {
            f"base.{asking} is {value}"
            for metric in row.metrics
            if metric.asked_by and name.startswith(metric.stem)
            for asking in metric.asked_by
            if (value := _at(run.config, asking)) is not None
        }
        listed = [known for known, measure in there.items() if not measure.index]
        here = f" where {' and '.join(sorted(asked))}" if asked else ""
        told = (
            f"{name!r} is never logged{here}; there are {', '.join(listed)}"
            f"{did_you_mean(name, there)}"
        )
        raise UserError.of([Fault(key, told)], note=place)
    measure = there[name]
    reasons = {at: why for at, p in measure.places.items() if (why := p.why_not())}
    if len(reasons) == len(measure.places):
        why = next(iter(reasons.values()))
        raise UserError.of([Fault(key, f"{name!r} is never logged: {why}")], note=place)
    for at in reasons:  # one that goes over places is there at the others
        del measure.places[at]
    return measure


def refuse_unable_to_choose(measure: Measure, key: str, chooses: str) -> None:
    """Refuse a metric by which levels are chosen and that cannot choose.

    Args:
        measure: the metric.
        key: of the study that gives it.
        chooses: what it chooses, in words.

    Raises:
        UserError: it gives a run several numbers, or none of its values is better than another.
    """
    if over := measure.over:
        raise UserError(
            f"{measure.name!r} {chooses}; that takes one number per run, and this one goes over "
            f"{', '.join(over)}",
            key,
        )
    if measure.metric.better == "neither":
        raise UserError(
            f"{measure.name!r} {chooses}; that takes a metric with better and worse values, and "
            "of this one neither high nor low ones are better",
            key,
        )


def _at(config: Mapping[str, Any], key: str) -> Any:
    part, _, rest = key.partition(".")
    return config.get(part, {}).get(rest)


def _row(config: Mapping[str, Any]) -> Any:
    return row_of(config["env"]["id"], config["agent"]["kind"], config.get("subject"))


def check_levels(name: str, found: Mapping[str, Measure], study: Study, key: str) -> None:
    """Refuse a metric that goes over other levels in some runs than in others.

    Args:
        name: of the metric.
        found: what it is in each run, by the run's id.
        study: whose runs they are.
        key: of the study that gives it.

    Raises:
        UserError: with ``key``.
    """
    if len({id(measure.metric) for measure in found.values()}) > 1:
        raise UserError(f"{name!r} means different things in runs of several subjects", key)
    if len({tuple(measure.places) for measure in found.values()}) > 1:
        asked = next(iter(found.values())).metric.asked_by
        differ = [k for k in asked if len({str(_at(run.config, k)) for run in study.runs}) > 1]
        raise UserError(f"{name!r} needs the same {' and '.join(differ)} in every run", key)


def final_metrics(study: Study) -> list[str]:
    """The study's metrics as ``results.csv`` has them, those over indices level by level."""
    tags = [tag for name in study.config.metric for tag in metric_of(study, name).tags]
    return list(dict.fromkeys(tags))


def within_run(study: Study) -> frozenset[str]:
    """Columns whose levels one run holds all."""
    return frozenset(
        name for metric in study.config.metric for name in metric_of(study, metric).over
    )


def by_level(
    study: Study, records: Sequence[dict[str, Any]], name: str
) -> tuple[Study, list[dict[str, Any]]]:
    """The study with a row per run and level of what a metric goes over.

    The rows hold every metric of the study that goes over the same columns.
    """
    over = metric_of(study, name).over
    same = [metric_of(study, other) for other in study.config.metric]
    same = [measure for measure in same if measure.over == over]
    places = list(metric_of(study, name).places)
    columns: list[dict[str, Any]] = [dict(zip(over, place, strict=True)) for place in places]
    runs = tuple(
        replace(run, columns=run.columns | given) for run in study.runs for given in columns
    )
    rows = []
    for record in records:
        for place, given in zip(places, columns, strict=True):
            tags = {m.name: m.places[place].tag for m in same if place in m.places}
            found = {metric: record.get(tag) for metric, tag in tags.items()}
            rows.append(record | found | given)
    return replace(study, runs=runs), rows
