"""What the figures of a study share: panels, lines, floors, legends."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rl_serial.study.cells import Lack, cells, named
from rl_serial.study.schema import SEED, Scalar, Study
from rl_serial.study.table import Record
from rl_serial.styles import draw_floor, line_styles

MOST_PANELS, MOST_LINES = 16, 8

_MOST_NAMES = 14  # in one legend above all panels

GRID_COLOUR = "0.9"


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


def missing_runs(lacks: Sequence[Lack]) -> str:
    """What a caption says of cells that have fewer runs than planned."""
    return f" Runs are missing: there are {named(lacks)}." if lacks else ""


def line_with_band(
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


def rest_of(layout: Layout) -> list[str]:
    """The columns that a figure shows beside its x: of its panels, then of its lines."""
    return [*layout.panels, *([layout.series] if layout.series else [])]


def present_levels(
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


def left_out_panels(panels: Sequence[tuple[str, list[Record]]], layout: Layout) -> str:
    """The sentence of a caption that says that levels of x were left out, or nothing."""
    most = max(len({record[layout.x] for record in rows}) for _, rows in panels)
    return f" At most {MOST_LINES} levels of {layout.x} a panel." if most > MOST_LINES else ""


def panel_grid(count: int, share_y: bool) -> tuple[Figure, list[Axes]]:
    """A figure of as many panels, four to a row at most, and its axes in reading order."""
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


def level_styles(study: Study, column: str | None) -> dict[Scalar | None, dict[str, Any]]:
    """How the line of each level is drawn, the same in every panel; of None where there is one."""
    if column is None:
        return {None: line_styles(["the only one"])[0] | {"markersize": 5}}
    levels = study.levels(column)
    # The first marks are the largest, so that they show under later ones at the same place.
    styles = [s | {"markersize": max(3.5, 6 - 1.25 * i)} for i, s in enumerate(line_styles(levels))]
    return dict(zip(levels, styles, strict=True))


def as_number(name: Scalar | None) -> float:
    """A level as a number to sort by; none counts as 0."""
    return float(name or 0)


def floor_of(study: Study, records: Sequence[Record], tag: str) -> float:
    """The floor of the cell whose floor is highest, the mean of its seeds; NaN without any."""
    found = cells(records, study.columns, tag).values()
    return max((float(np.mean(list(seeds.values()))) for seeds in found), default=float("nan"))


def draw_floor_over(
    axis: Axes, places: Sequence[float], floors: Sequence[float], number: bool
) -> None:
    """The floor at places on an axis: joined where they are numbers, else a step for each."""
    if number and len(places) > 1:
        order = np.argsort(places)
        draw_floor(axis, np.array(places)[order].tolist(), np.array(floors)[order])
        return
    edges = [edge for place in places for edge in (place - 0.45, place + 0.45)]
    draw_floor(axis, edges, np.repeat(floors, 2))


def words_of_floor(axes: Sequence[Axes]) -> str:
    """What a caption says of the floor, where one is drawn."""
    drawn = any("floor" in axis.get_legend_handles_labels()[1] for axis in axes)
    return (
        " Hatched: the floor, which needs no serial computation; where a panel has several, the "
        "highest."
        if drawn
        else ""
    )


def finish(
    figure: Figure,
    axes: Sequence[Axes],
    x: str,
    y: str,
    names: Sequence[Scalar | None],
    title: str | None,
) -> None:
    """Label axes and lines; numbers among ``names`` stand in their order in the legend."""
    for axis in axes:
        axis.grid(color=GRID_COLOUR, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=7)
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    entries: dict[str, Any] = {}
    for axis in axes:
        for line, name in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, line)
    in_order = [*names] if any(isinstance(n, str) for n in names) else sorted(names, key=as_number)
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


def dodged(place: float, index: int, total: int, places: list[float], scale: str) -> float:
    """Series stand side by side, so that their intervals do not hide each other."""
    step = (index - (total - 1) / 2) / max(total, 1)
    if scale == "log2":
        return float(place * 2 ** (0.25 * step))
    gaps = np.diff(sorted(set(places)))
    return place + 0.15 * step * (float(gaps.min()) if gaps.size else 1.0)


def apart(places: dict[Scalar, float], scale: str) -> list[Scalar]:
    """The levels that have room for a tick's label."""
    height = np.log2 if scale == "log2" else np.float64
    at = {level: float(height(place)) for level, place in places.items()}
    room = 0.05 * (max(at.values()) - min(at.values()))
    chosen: list[Scalar] = []
    for level in sorted(at, key=lambda level: at[level]):
        if not chosen or at[level] - at[chosen[-1]] >= room:
            chosen.append(level)
    return chosen


def words_of_seeds(records: Sequence[Record]) -> str:
    """How many seeds the rows have, in words, as "5 seeds"."""
    count = len({record[SEED] for record in records})
    return f"{count} seed{'' if count == 1 else 's'}"


def slug(name: str) -> str:
    """The last part of a metric's or column's name, as files are named by it."""
    return name.rpartition("/")[2].replace(".", "_").replace(" ", "_")
