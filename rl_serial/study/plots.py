"""Figures of a study, from its stored tables alone.

A level of a column has the same colour and marker in every panel (:mod:`rl_serial.styles`). Where a
line stands for several seeds the seeds are shown too.
"""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from rl_serial.study.design import (
    SEED,
    Scalar,
    Study,
)
from rl_serial.study.findings import (
    Lack,
    cells,
    lacking,
    measured_value,
    named,
    smaller_is_better,
    tuned_rows,
)
from rl_serial.study.measures import by_level, metric_of, profile_of
from rl_serial.study.statistics import aggregate, performance_profile
from rl_serial.study.table import Record
from rl_serial.styles import DASHES, REFERENCE, draw_floor, line_styles

MOST_PANELS, MOST_LINES = 16, 8
_MOST_NAMES = 14  # in one legend above all panels
_GRID = "0.9"


@dataclass(frozen=True)
class Layout:
    """What a figure shows: a metric over x, a line a series, a panel each level of the rest."""

    x: str
    series: str | None
    panels: tuple[str, ...]
    metric: str
    scale: str = "linear"


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name, title and what a reader must know."""

    name: str
    title: str
    caption: str
    figure: Figure


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
    first = plans[0]
    others = _profiles(study, chosen, first)
    others += _learning_curves(study, chosen, curves, first)
    others += _profile(study, planned, first)
    undone = missing_runs(lacking(records, study.columns, None))
    drawings += [replace(d, caption=d.caption + undone) for d in others]
    return [
        replace(d, name=f"{i:02}_{d.name}", caption=d.caption + tuned)
        for i, d in enumerate(drawings, start=1)
    ]


def missing_runs(lacks: Sequence[Lack]) -> str:
    """What a caption says of cells that have fewer runs than planned."""
    return f" Runs are missing: there are {named(lacks)}." if lacks else ""


def layouts(study: Study) -> list[Layout]:
    """The figures that the study asks for, or one a metric over its first column with numbers."""
    columns = [c for c in study.columns if c not in study.config.tuned]
    metrics = study.config.metric
    if study.config.figures:
        return [
            Layout(f.x, f.series, tuple(f.panels), f.metric or metrics[0], f.scale)
            for f in study.config.figures
        ]
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
    return [Layout(x, series, panels, metric, scale) for metric in metrics]


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
    styles = _styles(study, layout.series)
    floor = metric_of(study, layout.metric).floor
    panels, left_out = split_panels(study, records, layout.panels)
    if not panels:
        return []
    figure, axes = _grid(len(panels), share_y=True)
    for axis, (title, rows) in zip(axes, panels, strict=False):
        levels = _present(study, rows, layout.x)
        places = {level: float(level) if number else float(i) for i, level in enumerate(levels)}
        if layout.scale == "log2":  # no simulations stand half-way before one
            places = {level: place or 0.5 for level, place in places.items()}
        for i, name in enumerate(series):
            mine = [r for r in rows if name is None or r[column] == name]
            side = (i, len(series))
            _line_with_seeds(axis, mine, layout, study.columns, places, side, name, styles[name])
        floors = [_floor(study, [r for r in rows if r[layout.x] == v], floor) for v in levels]
        if np.isfinite(floors).any():
            _draw_floor_over(axis, list(places.values()), floors, number)
        axis.set_title(title, fontsize=9)
        if layout.scale == "log2":
            axis.set_xscale("log", base=2)
        if number:
            ticks = _apart(places, layout.scale)
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
    _finish(figure, axes, layout.x, metric_of(study, layout.metric).label, names, layout.series)
    caption = (
        f"Large marks: interquartile mean over seeds with its 95 % interval; "
        f"small marks: single seeds ({_seeds(records)}).{_of_floor(axes)}{left_out}"
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
        x = _dodged(place, *side, list(places.values()), layout.scale)
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


def _profiles(study: Study, records: Sequence[Record], layout: Layout) -> list[Drawing]:
    """What the subject draws in every report, over one index: a line a level of x."""
    profile = profile_of(study)
    there = records[0] if records else {}
    tags = {} if profile is None else {k: t for k, t in profile.tags.items() if t in there}
    if profile is None or not tags:
        return []
    places = np.array([*tags])
    beside = {k: tag for k, tag in profile.beside.items() if tag in there}
    styles = _styles(study, layout.x)
    names: list[Scalar | None] = [*study.levels(layout.x)]
    if 2 * len(names) > MOST_LINES or len(beside) < 2:  # one: all episodes begin there
        beside = {}
    second = {name: f"{name} + {profile.beside_name}" for name in names}
    names += second.values()
    panels, left_out = split_panels(study, records, _rest(layout))
    figure, axes = _grid(len(panels), share_y=True)
    for axis, (title, rows) in zip(axes, panels, strict=False):
        for level in _present(study, rows, layout.x, MOST_LINES):
            mine = [r for r in rows if r[layout.x] == level]
            values = np.array([[r.get(t) for t in tags.values()] for r in mine], dtype=np.float64)
            _line_with_band(axis, places, values, str(level), styles[level])
            if beside:
                values = np.array([[r.get(t) for t in beside.values()] for r in mine], float)
                look = styles[level] | {"linestyle": DASHES[1], "markerfacecolor": "none"}
                look["markersize"] += 2.5
                _line_with_band(axis, np.array([*beside]), values, second[level], look)
        floors = [_floor(study, rows, profile.floors.get(k, "")) for k in tags]
        if np.isfinite(floors).any():
            draw_floor(axis, places.tolist(), floors)
        axis.axhline(profile.reference, **REFERENCE)
        first, last = axis.dataLim.intervalx
        if first < last:
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        else:
            axis.set_xticks([first], [f"{first:.0f}"])
        axis.set_ylim(-0.02, 1.07)
        axis.set_title(title, fontsize=9)
    _finish(figure, axes, profile.x_label, profile.y_label, names, layout.x)
    caption = (
        "Lines: mean over seeds; bands: from the lowest seed to the highest "
        f"({_seeds(records)}); dotted: {profile.reference:g}, {profile.meaning}.{_of_floor(axes)}"
    )
    if beside:
        caption += f" Dashed: {profile.beside_words}."
    return [
        Drawing(
            "accuracy_by_remaining",
            profile.title,
            caption + _left_out(panels, layout) + left_out,
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
    panels, left_out = split_panels(study, [r for r in records if r["id"] in by_run], _rest(layout))
    if not panels or max(len(points) for points in by_run.values()) < 2:
        return []
    styles = _styles(study, layout.x)
    figure, axes = _grid(len(panels), share_y=True)
    for axis, (title, rows) in zip(axes, panels, strict=False):
        for level in _present(study, rows, layout.x, MOST_LINES):
            seeds = [np.array(by_run[r["id"]]) for r in rows if r[layout.x] == level]
            steps = np.unique(np.concatenate([s[:, 0] for s in seeds]))
            values = np.array(
                [np.interp(steps, s[:, 0], s[:, 1], left=np.nan, right=np.nan) for s in seeds]
            )
            _line_with_band(axis, steps, values, str(level), styles[level])
        floor = _floor(study, rows, metric_of(study, metric).floor)
        if np.isfinite(floor):
            draw_floor(axis, axis.dataLim.intervalx.tolist(), [floor, floor])
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.set_title(title, fontsize=9)
    _finish(
        figure,
        axes,
        "training step",
        metric_of(study, metric).label,
        study.levels(layout.x),
        layout.x,
    )
    caption = (
        f"Lines: mean over seeds; bands: from the lowest seed to the highest ({_seeds(records)})."
        f"{_of_floor(axes)}"
    )
    title = f"{metric_of(study, metric).label} during training"
    return [
        Drawing("learning_curves", title, caption + _left_out(panels, layout) + left_out, figure)
    ]


def _profile(study: Study, records: Sequence[Record], layout: Layout) -> list[Drawing]:
    """Performance profiles: the share of runs above each value of the first metric.

    A planned run without a value counts as the worst.
    """
    metric = study.config.metric[0]
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
    figure, axes = _grid(1, share_y=False)
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
    _finish(
        figure, axes, metric_of(study, metric).label, "share of runs above", series, layout.series
    )
    caption = (
        "Over all runs of a line, whatever their other columns; one without a value counts as the "
        "worst; bands: 95 %, pointwise."
    )
    return [Drawing("performance_profile", "Performance profile", caption, figure)]


def _line_with_band(
    axis: Axes, x: NDArray[Any], values: NDArray[np.float64], name: str, style: dict[str, Any]
) -> None:
    """The mean of ``values`` [seeds, len(x)] with the range of the seeds."""
    shown = ~np.isnan(values).all(axis=0)
    if not shown.any():
        return
    x, values = x[shown], values[:, shown]
    axis.plot(
        x,
        np.nanmean(values, axis=0),
        label=name,
        linewidth=1.2,
        markevery=max(1, len(x) // 8),
        **style,
    )
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    axis.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)


def split_panels(
    study: Study, records: Sequence[Record], columns: Sequence[str]
) -> tuple[list[tuple[str, list[Record]]], str]:
    """The records of each level of the columns that has any, with its title; at most 16.

    And what the caption must say if there are more.
    """
    panels = []
    for levels in itertools.product(*(study.levels(column) for column in columns)):
        mine = [r for r in records if all(r[c] == v for c, v in zip(columns, levels, strict=True))]
        if mine:
            title = ", ".join(f"{c} {v}" for c, v in zip(columns, levels, strict=True))
            panels.append((textwrap.fill(title, 34), mine))
    chosen = [panels[i] for i in _evenly(len(panels), MOST_PANELS)]
    left_out = f" {MOST_PANELS} of {len(panels)} panels are shown."
    return chosen, left_out if len(panels) > MOST_PANELS else ""


def _rest(layout: Layout) -> list[str]:
    return [*layout.panels, *([layout.series] if layout.series else [])]


def _present(
    study: Study, records: Sequence[Record], column: str, most: int | None = None
) -> list[Scalar]:
    """The levels of a column that the records have, in the grid's order; evenly chosen ones."""
    there = {record[column] for record in records}
    levels = [level for level in study.levels(column) if level in there]
    return [levels[i] for i in _evenly(len(levels), most or len(levels))]


def _evenly(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return [int(i) for i in np.linspace(0, count - 1, most).round()]


def _left_out(panels: Sequence[tuple[str, list[Record]]], layout: Layout) -> str:
    most = max(len({record[layout.x] for record in rows}) for _, rows in panels)
    return f" At most {MOST_LINES} levels of {layout.x} a panel." if most > MOST_LINES else ""


def _grid(count: int, share_y: bool) -> tuple[Figure, list[Axes]]:
    columns = min(count, 4 if count > 4 else max(count, 1))
    columns = 3 if count in (5, 6, 9) else columns
    rows = -(-count // columns)
    width = 6.4 if count == 1 else 3.1 * columns + 0.6
    height = (3.8 if count == 1 else 2.6 * rows) + 0.4
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=share_y, squeeze=False)
    flat = list(axes.ravel())
    for empty in flat[count:]:
        empty.set_visible(False)
    return figure, flat[:count]


def _styles(study: Study, column: str | None) -> dict[Scalar | None, dict[str, Any]]:
    """How the line of each level is drawn, the same in every panel; of None where there is one."""
    if column is None:
        return {None: line_styles(["the only one"])[0] | {"markersize": 5}}
    levels = study.levels(column)
    # The first marks are the largest, so that they show under later ones at the same place.
    styles = [s | {"markersize": max(3.5, 6 - 1.25 * i)} for i, s in enumerate(line_styles(levels))]
    return dict(zip(levels, styles, strict=True))


def _as_number(name: Scalar | None) -> float:
    return float(name or 0)


def _floor(study: Study, records: Sequence[Record], tag: str) -> float:
    """The floor of the cell whose floor is highest, the mean of its seeds; NaN without any."""
    found = cells(records, study.columns, tag).values()
    return max((float(np.mean(list(seeds.values()))) for seeds in found), default=float("nan"))


def _draw_floor_over(
    axis: Axes, places: Sequence[float], floors: Sequence[float], number: bool
) -> None:
    """The floor at places on an axis: joined where they are numbers, else a step for each."""
    if number and len(places) > 1:
        order = np.argsort(places)
        draw_floor(axis, np.array(places)[order].tolist(), np.array(floors)[order])
        return
    edges = [edge for place in places for edge in (place - 0.45, place + 0.45)]
    draw_floor(axis, edges, np.repeat(floors, 2))


def _of_floor(axes: Sequence[Axes]) -> str:
    """What a caption says of the floor, where one is drawn."""
    drawn = any("floor" in axis.get_legend_handles_labels()[1] for axis in axes)
    return (
        " Hatched: the floor, which needs no serial computation; where a panel has several, the "
        "highest."
        if drawn
        else ""
    )


def _finish(
    figure: Figure,
    axes: Sequence[Axes],
    x: str,
    y: str,
    names: Sequence[Scalar | None],
    title: str | None,
) -> None:
    """Label axes and lines; numbers among ``names`` stand in their order in the legend."""
    for axis in axes:
        axis.grid(color=_GRID, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=7)
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    entries: dict[str, Any] = {}
    for axis in axes:
        for line, name in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, line)
    in_order = [*names] if any(isinstance(n, str) for n in names) else sorted(names, key=_as_number)
    listed = [str(name) for name in in_order if str(name) in entries]
    listed += [name for name in entries if name not in listed]
    if len(listed) > _MOST_NAMES:
        for axis in axes:
            axis.legend(frameon=False, fontsize=6.5, title=title, title_fontsize=6.5)
    elif listed:
        room = 13 * figure.get_figwidth() / (max(len(name) for name in listed) + 6)
        ncols = max(1, min(len(listed), 8, int(room)))
        rows = -(-len(listed) // ncols)
        figure.set_figheight(figure.get_figheight() + 0.18 * rows)
        figure.legend(
            [entries[name] for name in listed],
            listed,
            loc="outside upper center",
            ncols=ncols,
            frameon=False,
            fontsize=8,
            title=title if names else None,
            title_fontsize=8,
        )


def _dodged(place: float, index: int, total: int, places: list[float], scale: str) -> float:
    """Series stand side by side, so that their intervals do not hide each other."""
    step = (index - (total - 1) / 2) / max(total, 1)
    if scale == "log2":
        return float(place * 2 ** (0.25 * step))
    gaps = np.diff(sorted(set(places)))
    return place + 0.15 * step * (float(gaps.min()) if gaps.size else 1.0)


def _apart(places: dict[Scalar, float], scale: str) -> list[Scalar]:
    """The levels that have room for a tick's label."""
    height = np.log2 if scale == "log2" else np.float64
    at = {level: float(height(place)) for level, place in places.items()}
    room = 0.05 * (max(at.values()) - min(at.values()))
    chosen: list[Scalar] = []
    for level in sorted(at, key=lambda level: at[level]):
        if not chosen or at[level] - at[chosen[-1]] >= room:
            chosen.append(level)
    return chosen


def _seeds(records: Sequence[Record]) -> str:
    count = len({record[SEED] for record in records})
    return f"{count} seed{'' if count == 1 else 's'}"


def slug(name: str) -> str:
    """The last part of a metric's or column's name, as files are named by it."""
    return name.rpartition("/")[2].replace(".", "_").replace(" ", "_")
