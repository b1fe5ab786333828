"""A metric over another one: what runs reach against what they spend, on one axis.

Layers, loops, words, simulations and denoising steps are counted in different units. Against a
metric that all of them have, the matrix products in sequence of an answer, they are comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from rl_serial.study.cells import cells
from rl_serial.study.measures import metric_of
from rl_serial.study.panels import (
    Drawing,
    Layout,
    draw_floor_over,
    finish,
    floor_of,
    level_styles,
    panel_grid,
    slug,
    split_panels,
    words_of_floor,
    words_of_seeds,
)
from rl_serial.study.schema import Scalar, Study
from rl_serial.study.statistics import aggregate
from rl_serial.study.table import Record


def against_metric(study: Study, records: Sequence[Record], layout: Layout) -> list[Drawing]:
    """A metric over the metric ``layout.x``: a point for each cell, joined along x.

    A cell stands at its mean x, with the interquartile mean of the metric and its interval.
    """
    column = layout.series or ""
    series: list[Scalar | None] = [*study.levels(column)] if column else [None]
    styles = level_styles(study, layout.series)
    floor = metric_of(study, layout.metric).floor
    panels, left_out = split_panels(study, records, layout.panels)
    if not panels:
        return []
    figure, axes = panel_grid(len(panels), share_y=True)
    for axis, (title, rows) in zip(axes, panels, strict=False):
        places: list[float] = []
        for name in series:
            mine = [r for r in rows if name is None or r[column] == name]
            label = None if name is None else str(name)
            places += _cells(axis, mine, study.columns, layout, label, styles[name])
        height = floor_of(study, rows, floor)
        if places and np.isfinite(height):
            ends = [min(places), max(places)]
            draw_floor_over(axis, ends, [height, height], number=True)
        axis.set_title(title, fontsize=9)
        if layout.scale == "log2":
            axis.set_xscale("log", base=2)
    x, y = (metric_of(study, name).label for name in (layout.x, layout.metric))
    finish(figure, axes, x, y, series if len(series) > 1 else [], layout.series)
    caption = (
        "Each large mark is a cell: interquartile mean over seeds with its 95 % interval, over the "
        f"mean of x; small marks: single seeds ({words_of_seeds(records)})."
        f"{words_of_floor(axes)}{left_out}"
    )
    name = f"{slug(layout.metric)}_over_{slug(layout.x)}"
    return [Drawing(name, f"{y} over {x}", caption, figure)]


def _cells(
    axis: Axes,
    records: Sequence[Record],
    columns: Sequence[str],
    layout: Layout,
    label: str | None,
    style: dict[str, Any],
) -> list[float]:
    """Draw the cells of a line; gives their places."""
    spent, reached = (cells(records, columns, metric) for metric in (layout.x, layout.metric))
    points = []
    for cell, scores in reached.items():
        both = [seed for seed in scores if seed in spent.get(cell, {})]
        if both:
            each = [(spent[cell][seed], scores[seed]) for seed in both]
            interval = aggregate([list(scores.values())], np.random.default_rng(0)).interval()
            points.append((float(np.mean([x for x, _ in each])), interval, each))
    points.sort(key=lambda point: point[0])
    if not points:
        return []
    small = [pair for _, _, each in points for pair in each]
    axis.plot(
        *zip(*small, strict=True),
        linestyle="none",
        marker=style["marker"],
        markersize=3,
        markerfacecolor="none",
        markeredgewidth=0.6,
        color=style["color"],
    )
    found = [interval for _, interval, _ in points]
    errors = [
        [i.estimate - i.low if i.known else 0.0 for i in found],
        [i.high - i.estimate if i.known else 0.0 for i in found],
    ]
    places = [place for place, _, _ in points]
    axis.errorbar(
        places,
        [i.estimate for i in found],
        yerr=np.maximum(errors, 0),
        capsize=2,
        elinewidth=0.8,
        linewidth=1.2,
        label=label,
        **style,
    )
    return places
