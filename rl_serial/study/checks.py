"""What the parts of a study ask of each other: metrics, columns, levels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

from rl_serial.errors import UserError
from rl_serial.loading import resolved_config
from rl_serial.study.measures import check_levels, check_metric, metric_of, refuse_unable_to_choose
from rl_serial.study.schema import (
    SEED,
    FigureConfig,
    PlannedRun,
    Scalar,
    Study,
    canonical,
    describe,
)
from rl_serial.subjects import row_of


def check_metrics(study: Study) -> None:
    """Every run reports each metric, and the first one can choose tuned columns.

    Raises:
        UserError: there is no metric, a run does not report one, or columns are tuned and the
            first cannot choose.
    """
    if not study.config.metric:
        raise UserError("empty", "metric")
    for metric in study.config.metric:
        found = {
            run.id: check_metric(metric, run, "metric", describe(run.columns)) for run in study.runs
        }
        check_levels(metric, found, study, "metric")
    first = study.config.metric[0]
    if study.config.tuned:
        refuse_unable_to_choose(
            metric_of(study, first), "metric", "comes first, by which columns are tuned"
        )


def check_columns(study: Study, smoke: bool) -> None:
    """Hypotheses, figures and tuned columns name what the grid has."""
    columns = study.columns
    levels: dict[str, list[Scalar]] = {c: study.levels(c) for c in (*columns, SEED)}
    over: dict[str, list[Scalar]] = {}
    for name in study.config.metric:
        measure = metric_of(study, name)
        for column in measure.over:
            if column in study.columns:
                raise UserError(
                    f"{name!r} goes over {column}, which the grid has as a column; give the "
                    "column another name",
                    "metric",
                )
        over |= {column: list(measure.levels(column)) for column in measure.over}
    columns, levels = (*columns, *over), levels | over

    def check(column: str, path: str) -> None:
        if column not in levels:
            raise UserError(f"no column of the grid; there are {', '.join(columns)}", path)

    def check_level(column: str, level: Scalar, path: str) -> None:
        check(column, path)
        if level not in levels[column] and not smoke:
            there = ", ".join(str(value) for value in levels[column])
            raise UserError(f"{column} is never {level!r}; it is {there}", path)

    def check_number(column: str, scale: str, path: str) -> None:
        check(column, path)
        numbers = [v for v in levels[column] if isinstance(v, int | float)]
        if len(numbers) < len(levels[column]):
            raise UserError(f"{column} holds no numbers", path)
        if scale == "log2" and min(numbers) <= 0 and column not in over:
            raise UserError(f"{column} holds {min(numbers)}, which has no log2", path)

    def check_metric(metric: str | None, path: str) -> None:
        if metric is not None and metric not in study.config.metric:
            raise UserError(
                f"{metric!r} is none of the study's; there are {', '.join(study.config.metric)}",
                path,
            )

    def check_over(metric: str | None, named: Sequence[str | None], path: str) -> None:
        measure = metric_of(study, metric or study.config.metric[0])
        for name in measure.metric.to_name:
            if name in measure.over and name not in named:
                raise UserError(
                    f"{measure.name!r} has a value for each {name}: name the column {name}",
                    path,
                )
        for column in filter(None, named):
            if column in over and column not in measure.over:
                going = [m for m in study.config.metric if column in metric_of(study, m).over]
                raise UserError(
                    f"the column {column} goes with {', '.join(going)}, not with {measure.name!r}",
                    path,
                )

    def check_spent(figure: FigureConfig, path: str) -> None:
        for metric, key in ((figure.x, "x"), (figure.metric or study.config.metric[0], "metric")):
            if going := metric_of(study, metric).over:
                raise UserError(
                    f"{metric!r} goes over {', '.join(going)}; a figure of a metric over another "
                    "takes metrics with one number a run",
                    f"{path}.{key}",
                )
        for column in (*figure.panels, *([figure.series] if figure.series else [])):
            if column not in study.columns:
                raise UserError(
                    f"{column!r} is no column of the grid; there are {', '.join(study.columns)}",
                    path,
                )

    for i, column in enumerate(study.config.tuned):
        check(column, f"tuned.{i}")
    for i, figure in enumerate(study.config.figures):
        path = f"figures.{i}"
        check_metric(figure.metric, f"{path}.metric")
        if figure.x in study.config.metric:
            check_spent(figure, path)
            continue
        check(figure.x, f"{path}.x")
        if figure.scale == "log2":
            check_number(figure.x, figure.scale, f"{path}.x")
        if figure.series is not None:
            check(figure.series, f"{path}.series")
        for column in figure.panels:
            check(column, f"{path}.panels")
        check_over(figure.metric, (figure.x, figure.series, *figure.panels), path)
    for i, plane in enumerate(study.config.planes):
        path = f"planes.{i}"
        check_metric(plane.metric, f"{path}.metric")
        metric = plane.metric or study.config.metric[0]
        if not metric_of(study, metric).metric.counts_steps:
            raise UserError(
                f"{metric!r} does not count serial steps, which a plane needs",
                f"{path}.metric",
            )
        check_number(plane.x, plane.scale, f"{path}.x")
        check_number(plane.y, plane.scale, f"{path}.y")
        for column in plane.panels:
            check(column, f"{path}.panels")
        places = [plane.x, plane.y, *plane.panels]
        if len(set(places)) < len(places):
            raise UserError(f"the same column twice in {', '.join(places)}", path)
        if inside := [column for column in places if column in over]:
            raise UserError(f"{inside[0]} is no column of a plane", path)
    known: set[str] = set()
    for i, hypothesis in enumerate(study.config.hypotheses):
        if hypothesis.id in known:
            raise UserError(f"{hypothesis.id} is there twice", f"hypotheses.{i}.id")
        known.add(hypothesis.id)
        test, path = hypothesis.test, f"hypotheses.{i}.test"
        if test is None:
            continue
        check_metric(test.metric, f"{path}.metric")
        wheres = {f"{path}.where": test.where}
        if test.per is not None:
            wheres[f"{path}.per.where"] = test.per.where
        for place, where in wheres.items():
            for column, value in where.items():
                for level in value if isinstance(value, list) else [value]:
                    check_level(column, level, f"{place}.{column}")
        for column, pair in (test.difference or {}).items():
            for level in pair:
                check_level(column, level, f"{path}.difference.{column}")
        if test.slope is not None:
            check_number(test.slope, test.scale, f"{path}.slope")
        if test.per is not None:
            check_number(test.per.slope, test.per.scale, f"{path}.per.slope")
        check_over(test.metric, (*test.where, *(test.difference or {}), test.slope), path)
        if test.per is not None:
            check_over(test.metric, (*test.per.where, test.per.slope), f"{path}.per")


def most_steps(run: PlannedRun) -> int:
    """What a metric of a run that counts serial steps can reach."""
    return _most_steps(canonical({**run.config, "seed": 0, "name": "run"}))


@lru_cache(maxsize=64)
def _most_steps(config: str) -> int:
    run = resolved_config(json.loads(config))
    steps = row_of(run.env.id, run.agent.kind, run.subject).most_steps
    return 0 if steps is None else steps(run)
