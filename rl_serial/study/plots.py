"""Figures of a study, from its stored tables alone.

A level of a column has the same colour and marker in every panel (:mod:`rl_serial.styles`). Where a
line stands for several seeds the seeds are shown too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from rl_serial.study.cells import (
    cells,
    lacking,
    measured_value,
    smaller_is_better,
    tuned_rows,
)
from rl_serial.study.measures import by_level, metric_of, profile_of, within_run
from rl_serial.study.panels import (
    MOST_LINES,
    Drawing,
    Layout,
    apart,
    dodged,
    draw_floor_over,
    finish,
    floor_of,
    left_out_panels,
    level_styles,
    line_with_band,
    missing_runs,
    panel_grid,
    present_levels,
    rest_of,
    slug,
    split_panels,
    words_of_floor,
    words_of_seeds,
)
from rl_serial.study.paths import against_metric
from rl_serial.study.schema import Scalar, Study
from rl_serial.study.statistics import aggregate, performance_profile
from rl_serial.study.table import Record
from rl_serial.styles import DASHES, REFERENCE, draw_floor, line_styles


def draw(study: Study, records: Sequence[Record], curves: Sequence[Record]) -> list[Drawing]:
    """Every figure of a study that has data.

    Args:
        study: its columns and the figures it asks for.
        records: the rows of ``results.csv``.
        curves: the rows of ``curves.csv``.
    """
    planned = tuned_rows(study, records)
    chosen = [record for record in planned if record["status"] == "done"]
    tuned = ""
    if study.config.tuned:
        tuned = f" Each cell at its best {', '.join(study.config.tuned)}."
    drawings: list[Drawing] = []
    plans = layouts(study)
    for layout in plans:
        if layout.x in study.config.metric:
            drawings += against_metric(study, chosen, layout)
            continue
        measure = metric_of(study, layout.metric)
        named = (layout.x, layout.series, *layout.panels)
        open_ = [column for column in measure.over if column not in named]
        layout = replace(layout, series=layout.series or next(iter(open_), None))
        shown, every = (study, chosen), records
        if measure.over:
            shown = by_level(study, chosen, layout.metric)
            every = by_level(study, records, layout.metric)[1]
        lacks = lacking(every, study.columns, layout.metric)
        drawings += [
            replace(d, caption=d.caption + missing_runs(lacks))
            for d in _against_axis(*shown, layout)
        ]
    inside = within_run(study) | {*study.config.metric}
    own = [p for p in plans if not {p.x, p.series, *p.panels} & inside]
    first = own[0] if own else default_layout(study)
    others = _profile_of_subject(study, chosen, first)
    others += _learning_curves(study, chosen, curves, first)
    others += _performance_profile(study, planned, first)
    undone = missing_runs(lacking(records, study.columns, None))
    drawings += [replace(d, caption=d.caption + undone) for d in others]
    return [
        replace(d, name=f"{i:02}_{d.name}", caption=d.caption + tuned)
        for i, d in enumerate(drawings, start=1)
    ]


def layouts(study: Study) -> list[Layout]:
    """The figures that the study asks for, or one a metric over its first column with numbers."""
    metrics = study.config.metric
    if study.config.figures:
        return [
            Layout(f.x, f.series, tuple(f.panels), f.metric or metrics[0], f.scale)
            for f in study.config.figures
        ]
    return [replace(default_layout(study), metric=metric) for metric in metrics]


def default_layout(study: Study) -> Layout:
    """The study's first metric over its first column with numbers."""
    columns = [c for c in study.columns if c not in study.config.tuned]
    many = [c for c in columns if len(study.levels(c)) > 1] or columns
    numbers = [c for c in many if _is_number(study, c)]
    x = numbers[0] if numbers else max(many, key=lambda c: len(study.levels(c)))
    others = [c for c in many if c != x and not _tied(study, c, x)]
    words = [c for c in others if not _is_number(study, c)] or others
    series = words[0] if words else None
    panels = tuple(c for c in others if c != series)
    levels = study.levels(x)
    wide = x in numbers and min(levels) > 0 and max(levels) >= 8 * min(levels)  # type: ignore
    scale = "log2" if wide else "linear"
    return Layout(x, series, panels, study.config.metric[0], scale)


def _is_number(study: Study, column: str) -> bool:
    levels = study.levels(column)
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in levels)


def _tied(study: Study, column: str, other: str) -> bool:
    """Whether each level of ``column`` goes with one level of ``other`` alone."""
    pairs = {(run.columns[column], run.columns[other]) for run in study.runs}
    return len(pairs) == len(study.levels(column)) and len(study.levels(other)) > 1


def _against_axis(study: Study, records: Sequence[Record], layout: Layout) -> list[Drawing]:
    """A metric over x: the interquartile mean with its interval, and every seed."""
    number = _is_number(study, layout.x)
    column = layout.series or ""
    series = study.levels(column) if column else [None]
    styles = level_styles(study, layout.series)
    floor = metric_of(study, layout.metric).floor
    panels, left_out = split_panels(study, records, layout.panels)
    if not panels:
        return []
    figure, axes = panel_grid(len(panels), share_y=True)
    for axis, (title, rows) in zip(axes, panels, strict=False):
        levels = present_levels(study, rows, layout.x)
        places = {level: float(level) if number else float(i) for i, level in enumerate(levels)}
        if layout.scale == "log2":  # no simulations stand half-way before one
            places = {level: place or 0.5 for level, place in places.items()}
        for i, name in enumerate(series):
            mine = [r for r in rows if name is None or r[column] == name]
            side = (i, len(series))
            _line_with_seeds(axis, mine, layout, study.columns, places, side, name, styles[name])
        floors = [floor_of(study, [r for r in rows if r[layout.x] == v], floor) for v in levels]
        if np.isfinite(floors).any():
            draw_floor_over(axis, list(places.values()), floors, number)
        axis.set_title(title, fontsize=9)
        if layout.scale == "log2":
            axis.set_xscale("log", base=2)
        if number:
            ticks = apart(places, layout.scale)
            axis.set_xticks([places[t] for t in ticks], [str(t) for t in ticks], fontsize=7)
            axis.minorticks_off()
        else:
            few = max(len(str(level)) for level in levels) * len(levels) < 40
            axis.set_xticks(
                list(places.values()),
                [str(level) for level in levels],
                rotation=0 if few else 35,
                ha="center" if few else "right",
                fontsize=7,
            )
            axis.set_xlim(-0.6, len(levels) - 0.4)
    names = series if len(series) > 1 else []
    finish(figure, axes, layout.x, metric_of(study, layout.metric).label, names, layout.series)
    caption = (
        f"Large marks: interquartile mean over seeds with its 95 % interval; "
        f"small marks: single seeds ({words_of_seeds(records)}).{words_of_floor(axes)}{left_out}"
    )
    title = f"{metric_of(study, layout.metric).label} over {layout.x}"
    return [
        Drawing(f"{slug(layout.metric)}_over_{slug(layout.x)}", title, caption, figure),
    ]


def _line_with_seeds(
    axis: Axes,
    records: Sequence[Record],
    layout: Layout,
    columns: Sequence[str],
    places: dict[Scalar, float],
    side: tuple[int, int],  # which of how many lines that stand side by side
    name: Scalar | None,
    style: dict[str, Any],
) -> None:
    by_place = cells(records, [layout.x], layout.metric)
    # Several cells at one place (columns that are not shown) are strata of their own.
    hidden = cells(records, [layout.x, *columns], layout.metric)
    shown, estimates, lows, highs = [], [], [], []
    for level, place in places.items():
        if (level,) not in by_place:
            continue
        strata = [list(s.values()) for cell, s in hidden.items() if cell[0] == level]
        interval = aggregate(strata, np.random.default_rng(0)).interval()
        x = dodged(place, *side, list(places.values()), layout.scale)
        shown.append(x)
        estimates.append(interval.estimate)
        lows.append(interval.estimate - (interval.low if interval.known else interval.estimate))
        highs.append((interval.high if interval.known else interval.estimate) - interval.estimate)
        seeds = [score for stratum in strata for score in stratum]
        axis.plot(
            [x] * len(seeds),
            seeds,
            linestyle="none",
            marker=style["marker"],
            markersize=3,
            markerfacecolor="none",
            markeredgewidth=0.6,
            color=style["color"],
        )
    if shown:
        errors = np.maximum(np.array([lows, highs]), 0)
        connected = len(set(places.values())) > 1 and all(
            isinstance(level, int | float) for level in places
        )
        axis.errorbar(
            shown,
            estimates,
            yerr=errors,
            capsize=2,
            elinewidth=0.8,
            linewidth=1.2,
            label=None if name is None else str(name),
            **style | {"linestyle": style["linestyle"] if connected else "none"},
        )


def _profile_of_subject(study: Study, records: Sequence[Record], layout: Layout) -> list[Drawing]:
    """What the subject draws in every report, over one index: a line a level of x."""
    profile = profile_of(study)
    there = records[0] if records else {}
    tags = {} if profile is None else {k: t for k, t in profile.tags.items() if t in there}
    if profile is None or not tags:
        return []
    places = np.array([*tags])
    beside = {k: tag for k, tag in profile.beside.items() if tag in there}
    styles = level_styles(study, layout.x)
    names: list[Scalar | None] = [*study.levels(layout.x)]
    if 2 * len(names) > MOST_LINES or len(beside) < 2:  # one: all episodes begin there
        beside = {}
    second = {name: f"{name} + {profile.beside_name}" for name in names}
    names += second.values()
    panels, left_out = split_panels(study, records, rest_of(layout))
    figure, axes = panel_grid(len(panels), share_y=True)
    for axis, (title, rows) in zip(axes, panels, strict=False):
        for level in present_levels(study, rows, layout.x, MOST_LINES):
            mine = [r for r in rows if r[layout.x] == level]
            values = np.array([[r.get(t) for t in tags.values()] for r in mine], dtype=np.float64)
            line_with_band(axis, places, values, str(level), styles[level])
            if beside:
                values = np.array([[r.get(t) for t in beside.values()] for r in mine], float)
                look = styles[level] | {"linestyle": DASHES[1], "markerfacecolor": "none"}
                look["markersize"] += 2.5
                line_with_band(axis, np.array([*beside]), values, second[level], look)
        floors = [floor_of(study, rows, profile.floors.get(k, "")) for k in tags]
        if np.isfinite(floors).any():
            draw_floor(axis, places.tolist(), floors)
        axis.axhline(profile.reference, **REFERENCE)
        first, last = axis.dataLim.intervalx
        if first < last:
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        else:
            axis.set_xticks([first], [f"{first:.0f}"])
        if profile.limits is not None:
            axis.set_ylim(*profile.limits)
        axis.set_title(title, fontsize=9)
    finish(figure, axes, profile.x_label, profile.y_label, names, layout.x)
    caption = (
        "Lines: mean over seeds; bands: from the lowest seed to the highest "
        f"({words_of_seeds(records)}); dotted: {profile.reference:g}, {profile.meaning}."
        f"{words_of_floor(axes)}"
    )
    if beside:
        caption += f" Dashed: {profile.beside_words}."
    return [
        Drawing(
            profile.name,
            profile.title,
            caption + left_out_panels(panels, layout) + left_out,
            figure,
        )
    ]


def _learning_curves(
    study: Study, records: Sequence[Record], curves: Sequence[Record], layout: Layout
) -> list[Drawing]:
    """A metric during training: a line a level of x."""
    metric = study.config.metric[0]
    by_run: dict[str, list[tuple[float, float]]] = {}
    for point in curves:
        if point.get(metric) is not None:
            by_run.setdefault(point["id"], []).append((point["step"], point[metric]))
    panels, left_out = split_panels(
        study, [r for r in records if r["id"] in by_run], rest_of(layout)
    )
    if not panels or max(len(points) for points in by_run.values()) < 2:
        return []
    styles = level_styles(study, layout.x)
    figure, axes = panel_grid(len(panels), share_y=True)
    for axis, (title, rows) in zip(axes, panels, strict=False):
        for level in present_levels(study, rows, layout.x, MOST_LINES):
            seeds = [np.array(by_run[r["id"]]) for r in rows if r[layout.x] == level]
            steps = np.unique(np.concatenate([s[:, 0] for s in seeds]))
            values = np.array(
                [np.interp(steps, s[:, 0], s[:, 1], left=np.nan, right=np.nan) for s in seeds]
            )
            line_with_band(axis, steps, values, str(level), styles[level])
        floor = floor_of(study, rows, metric_of(study, metric).floor)
        if np.isfinite(floor):
            draw_floor(axis, axis.dataLim.intervalx.tolist(), [floor, floor])
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.set_title(title, fontsize=9)
    finish(
        figure,
        axes,
        "training step",
        metric_of(study, metric).label,
        study.levels(layout.x),
        layout.x,
    )
    caption = (
        "Lines: mean over seeds; bands: from the lowest seed to the highest "
        f"({words_of_seeds(records)}).{words_of_floor(axes)}"
    )
    title = f"{metric_of(study, metric).label} during training"
    return [
        Drawing(
            "learning_curves", title, caption + left_out_panels(panels, layout) + left_out, figure
        )
    ]


def _performance_profile(study: Study, records: Sequence[Record], layout: Layout) -> list[Drawing]:
    """Performance profiles: the share of runs above each value of the first metric.

    A planned run without a value counts as the worst. A metric that has no worst has no profile.
    """
    metric = study.config.metric[0]
    if metric_of(study, metric).metric.better == "neither":
        return []
    columns = [c for c in study.columns if c not in study.config.tuned]
    done = cells(records, columns, metric)
    values = [score for seeds in done.values() for score in seeds.values()]
    if len(set(values)) < 2:
        return []
    worst = sys.float_info.max * (1 if smaller_is_better(study, metric) else -1)
    counted = [
        r | {"status": "done", metric: worst} if measured_value(r, metric) is None else r
        for r in records
    ]
    found = cells(counted, columns, metric)
    thresholds = np.linspace(min(values), max(values), 60)
    series = study.levels(layout.series) if layout.series else ["all runs"]
    figure, axes = panel_grid(1, share_y=False)
    for name, style in zip(series, line_styles(series), strict=True):
        place = columns.index(layout.series) if layout.series else 0
        strata = [
            list(seeds.values())
            for cell, seeds in found.items()
            if layout.series is None or cell[place] == name
        ]
        if not strata:
            continue
        profile, low, high = performance_profile(strata, thresholds, np.random.default_rng(0))
        axes[0].step(
            thresholds, profile, where="post", label=str(name), markevery=10, markersize=4, **style
        )
        axes[0].fill_between(
            thresholds, low, high, step="post", color=style["color"], alpha=0.15, linewidth=0
        )
    finish(
        figure, axes, metric_of(study, metric).label, "share of runs above", series, layout.series
    )
    caption = (
        "Over all runs of a line, whatever their other columns; one without a value counts as the "
        "worst; bands: 95 %, pointwise."
    )
    return [Drawing("performance_profile", "Performance profile", caption, figure)]
