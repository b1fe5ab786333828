"""Figures of planes of width and depth: the plane, and the least of each that reaches k steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rl_serial.study.cells import interval_words, lacking
from rl_serial.study.measures import metric_of
from rl_serial.study.panels import Drawing, missing_runs, slug, split_panels
from rl_serial.study.planes import (
    BEST,
    LAWS,
    MAP,
    Array,
    Direction,
    Plane,
    _least_fits,
    least,
    planes,
)
from rl_serial.study.schema import SEED, Study
from rl_serial.study.statistics import iqm
from rl_serial.study.table import Record
from rl_serial.styles import line_styles


def draw_planes(study: Study, records: Sequence[Record]) -> list[Drawing]:
    """Of each plane that a study asks for: the plane, the least depths, the least widths."""
    drawings: list[Drawing] = []
    for config in study.config.planes:
        found = planes(study, records, config)
        if not found:
            continue
        metric, label = found[0].metric, metric_of(study, found[0].metric).label
        left_out = split_panels(study, records, config.panels)[1]
        lacks = missing_runs(lacking(records, study.columns, metric))
        seeds = len({r[SEED] for r in records})
        end = f" Of up to {seeds} seed{'' if seeds == 1 else 's'}.{left_out}{lacks}"
        drawings += [
            replace(d, caption=d.caption + end)
            for d in (_plane(found, label), _least(found, "depth"), _least(found, "width"))
        ]
    return [replace(d, name=f"plane_{i:02}_{d.name}") for i, d in enumerate(drawings, start=1)]


def _plane(found: Sequence[Plane], label: str) -> Drawing:
    """Cells coloured by the mean, the mean in them, and lines of equal means."""
    figure, axes = _panels(len(found))
    top = max(plane.top for plane in found)
    for axis, plane in zip(axes, found, strict=True):
        x, y = plane.placed(plane.xs), plane.placed(plane.ys)
        means = np.ma.masked_invalid(plane.means)
        image = axis.pcolormesh(_edges(x), _edges(y), means, cmap=MAP, vmin=0, vmax=top)
        for (row, column), scores in plane.scores.items():
            value = float(iqm(scores))
            axis.annotate(  # a little above the middle, through which lines pass
                f"{value:.1f}",
                (x[column], y[row]),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=7,
                color="black" if value > 0.55 * top else "white",
            )
        _equal_lines(axis, plane, x, y, means)
        axis.set_xticks(x, [f"{place:g}" for place in plane.xs])
        axis.set_yticks(y, [f"{place:g}" for place in plane.ys])
        axis.set_title(plane.title, fontsize=9)
        axis.tick_params(labelsize=7)
    figure.colorbar(image, ax=axes, label=label, shrink=0.9)
    figure.supxlabel(found[0].x, fontsize=9)
    figure.supylabel(found[0].y, fontsize=9)
    caption = (
        "Numbers: interquartile mean over seeds. Lines: equal numbers of steps k. Level lines "
        f"mean that only {found[0].y} count, upright ones that only {found[0].x} counts."
    )
    title = f"{label} over {found[0].x} and {found[0].y}"
    return Drawing(f"{slug(found[0].metric)}_plane", title, caption, figure)


def _equal_lines(axis: Axes, plane: Plane, x: Array, y: Array, means: Any) -> None:
    """Lines where k steps are reached, with k at their right ends."""
    levels = [float(k) for k in range(1, plane.top + 1) if means.min() < k <= means.max()]
    if not levels or min(means.shape) < 2:
        return
    axis.contour(x, y, means, levels, colors="white", linewidths=2.2)
    lines = axis.contour(x, y, means, levels, colors="black", linewidths=0.9)
    for level, path in zip(levels, lines.get_paths(), strict=True):
        vertices = np.asarray(path.vertices, dtype=np.float64)
        if len(vertices):
            right, height = vertices[vertices[:, 0].argmax()].tolist()
            axis.annotate(
                f"{level:g}",
                (right, height),
                xytext=(11, 0),
                textcoords="offset points",
                va="center",
                fontsize=6.5,
                bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "linewidth": 0.4},
            )


def _least(found: Sequence[Plane], direction: Direction) -> Drawing:
    """The least depth or width over k: a line for each place on the other axis, and the best."""
    figure, axes = _panels(len(found))
    first = found[0]
    name, across = (first.y, first.x) if direction == "depth" else (first.x, first.y)
    every = sorted({p for f in found for p in (f.xs if direction == "depth" else f.ys)})
    looks = dict(zip(every, line_styles(every), strict=True))  # the same in every panel
    for axis, plane in zip(axes, found, strict=True):
        others = plane.xs if direction == "depth" else plane.ys
        own = plane.ys if direction == "depth" else plane.xs
        steps = np.arange(1.0, plane.top + 1)
        for i, place in enumerate((*others, None)):
            places = least(plane, plane.means[None], direction, None if place is None else i)[0]
            style: dict[str, Any] = {
                "color": "black",
                "linewidth": 2.0,
                "marker": "o",
                "markersize": 5,
            }
            if place is not None:
                style = looks[place] | {"linewidth": 1.0, "markersize": 4}
            label = f"best {across}" if place is None else f"{across} {place:g}"
            known = np.isfinite(places)
            axis.plot(steps[known], plane.unplaced(places[known]), label=label, **style)
            if place is None:
                _censored(axis, steps, places, own)
        if direction == "depth":
            fine = np.linspace(1, plane.top, 100)
            for law, (function, line) in LAWS.items():
                axis.plot(fine, function(fine), color="0.4", linestyle=line[1], label=law)
        if plane.scale == "log2":
            axis.set_yscale("log", base=2)
        axis.set_yticks(own, [f"{place:g}" for place in own])
        axis.minorticks_off()
        axis.set_xlim(0.7, plane.top + 0.3)
        axis.set_title(f"{plane.title}\n{_best_slopes(plane, name)}".strip(), fontsize=8)
        axis.grid(color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=7)
    entries = {
        name: line
        for axis in axes
        for line, name in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside right center",
        frameon=False,
        fontsize=7,
    )
    figure.supxlabel("k, the steps that are reached", fontsize=9)
    figure.supylabel(f"least {name}", fontsize=9)
    caption = (
        f"For each k the least {name} with which the plane reaches it, by straight lines between "
        f"the cells. Triangles: at the best {across} it is at most the lowest of the grid "
        "(pointing down), or more than the highest (pointing up); such k are in no slope. "
        "Slopes, at the best: with their 95 % intervals over seeds."
    )
    if direction == "depth":
        caption += " Grey: the laws log2 k + 2 (k hops) and k (one step a layer)."
    title = f"Least {name} for k steps"
    return Drawing(f"least_{slug(name)}", title, caption, figure)


def _best_slopes(plane: Plane, name: str) -> str:
    """The slopes at the best place of the other axis, as text; empty where there are none."""
    return "\n".join(
        f"over {fit.quantity.rpartition(' over ')[2]}: {interval_words(fit.interval)}"
        for fit in _least_fits(plane)
        if fit.at == BEST
        and fit.quantity.partition(" over ")[0].endswith(f"least {name}")
        and not math.isnan(fit.interval.estimate)
    )


def _censored(axis: Axes, steps: Array, places: Array, own: Array) -> None:
    """Triangles where the least place is at most the first, or more than the last."""
    for bound, end, marker in ((-np.inf, own[0], "v"), (np.inf, own[-1], "^")):
        there = steps[places == bound]
        axis.plot(
            there,
            np.full(len(there), end),
            linestyle="none",
            marker=marker,
            markersize=7,
            markerfacecolor="none",
            color="black",
        )


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.3 * columns + 1.4, 3.3 * rows + 0.3), layout="constrained")
    axes: list[Any] = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for empty in axes[count:]:
        empty.set_visible(False)
    return figure, axes[:count]


def _edges(places: Array) -> Array:
    """[N + 1] borders half-way between places [N]."""
    if len(places) == 1:
        return np.array([places[0] - 0.5, places[0] + 0.5])
    middle = (places[1:] + places[:-1]) / 2
    ends = 2 * places[0] - middle[0], 2 * places[-1] - middle[-1]
    return np.concatenate([[ends[0]], middle, [ends[1]]])
