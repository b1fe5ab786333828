"""Width against depth: how far runs come over the two, and the least of each that reaches k steps.

A *plane* is the interquartile mean over seeds of a metric that counts serial steps, in cells of
width x and depth y (Merrill and Sabharwal 2025, arXiv 2503.03961, is the template). From it follow

- how many steps a doubling of the depth buys at each width, and a doubling of the width at each
  depth: slopes of the metric, with Student's intervals;
- the **least depth** at which the plane reaches k steps, for k = 1, 2, …, at each width and at the
  best one (the width that is best at that depth), and the least width likewise. Between two places
  of the grid the plane is taken as a straight line on the scale of the axis.

Where the least place of the grid reaches k already, the least depth is at most that place; where no
place reaches k, it is more than the last. Such k are *censored*: they enter no slope and are
counted beside it. The slopes of the least depth over log2 k and over k stand beside two laws:
log2 k + 2 (layers that k hops need, Sanford, Hsu, Telgarsky 2024, arXiv 2402.09268) and k (one
layer for each step). Cells at the serial depth could be right further than there are steps; they
are counted too, for they flatten the slopes of the metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from rl_serial.study.cells import cells, interval_words, tuned_rows
from rl_serial.study.checks import most_steps
from rl_serial.study.panels import split_panels
from rl_serial.study.schema import PlaneConfig, Study
from rl_serial.study.statistics import (
    RESAMPLES,
    Estimate,
    Interval,
    Stratum,
    iqm,
    of_cells,
    slope,
)
from rl_serial.study.table import Record

Array = NDArray[np.float64]
Direction = Literal["depth", "width"]
LEAST_POINTS = 3
"""Numbers of steps that a slope of least depths or widths needs."""
_LEAST_SLOPES: tuple[tuple[Direction, str], ...] = (
    ("depth", "log2 k"),
    ("depth", "k"),
    ("width", "k"),
)
LAWS: dict[str, tuple[Callable[[Array], Array], tuple[int, str]]] = {
    "log2 k + 2": (lambda k: np.log2(k) + 2, (0, "--")),
    "k": (lambda k: k, (0, ":")),
}
"""Laws of the least depth: each with its line."""
MAP = colormaps["cividis"]
"""Even in lightness, and the same to a colour-blind reader (Nuñez, Anderton, Renslow 2018)."""
BEST = "best"


@dataclass(frozen=True)
class Plane:
    """The scores of one panel over width and depth."""

    title: str
    metric: str
    x: str  # the name of the width
    y: str  # the name of the depth
    scale: str  # of both: linear or log2
    xs: Array  # [X] ascending
    ys: Array  # [Y] ascending
    scores: dict[tuple[int, int], list[float]]  # by indices of depth and width; one per seed
    top: int  # the serial depth, beyond which no score can lie

    def __post_init__(self) -> None:
        if not self.scores:
            raise ValueError("a plane needs a score")

    @cached_property
    def means(self) -> Array:
        """[Y, X]; NaN where no run is."""
        means: Array = self.arranged(np.array([[iqm(s) for s in self.scores.values()]]))[0]
        return means

    def arranged(self, values: Array) -> Array:
        """[R, cells] numbers of the cells with scores, in their order, as [R, Y, X]."""
        full = np.full((len(values), len(self.ys), len(self.xs)), np.nan)
        rows, columns = np.array(list(self.scores)).T
        full[:, rows, columns] = values
        return full

    def placed(self, places: Array) -> Array:
        """Places on the scale of the axes."""
        return np.log2(places) if self.scale == "log2" else places

    def unplaced(self, places: Array) -> Array:
        """The other way round."""
        return np.exp2(places) if self.scale == "log2" else places


def planes(study: Study, records: Sequence[Record], config: PlaneConfig) -> list[Plane]:
    """The planes of a study that have scores, one for each panel.

    Seeds whose runs lie in one cell of the plane (columns that it does not name) count with their
    mean, as everywhere in a study.
    """
    metric = config.metric or study.config.metric[0]
    tuned = tuned_rows(study, records)
    depths = {run.id: most_steps(run) for run in study.runs}
    found = []
    for title, rows in split_panels(study, tuned, config.panels)[0]:
        by_cell = cells(rows, [config.y, config.x], metric)
        if not by_cell:
            continue
        ys, xs = (sorted({float(row[c]) for row in rows}) for c in (config.y, config.x))
        scores = {
            (ys.index(float(y)), xs.index(float(x))): list(seeds.values())
            for (y, x), seeds in by_cell.items()
        }
        top = max(depths[row["id"]] for row in rows)
        axes = np.array(xs), np.array(ys)
        found.append(Plane(title, metric, config.x, config.y, config.scale, *axes, scores, top))
    return found


def crossings(means: Array, places: Array, steps: Array) -> Array:
    """Where the means first reach each number of steps.

    Args:
        means: [..., N] along an axis; NaN where nothing is known, which is passed over.
        places: [N] ascending.
        steps: [K].

    Returns:
        [..., K]: places between two of ``places`` by a straight line; −inf where the first known
        mean reaches it already, inf where none does.
    """
    *leading, _ = means.shape
    flat = means.reshape(-1, means.shape[-1])
    found = np.full((len(flat), len(steps)), np.inf)
    last = np.full(len(flat), np.nan)  # the last known mean, and its place
    last_place = np.full(len(flat), np.nan)
    for i, place in enumerate(places):
        here = flat[:, i]
        reached = (here[:, None] >= steps) & np.isinf(found) & (found > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = (steps - last[:, None]) / (here - last)[:, None]
            between = last_place[:, None] + share * (place - last_place)[:, None]
        between = np.where(np.isnan(last)[:, None], -np.inf, between)
        found = np.where(reached, between, found)
        known = ~np.isnan(here)
        last, last_place = np.where(known, here, last), np.where(known, place, last_place)
    return found.reshape(*leading, len(steps))


def least(plane: Plane, means: Array, direction: Direction, at: int | None) -> Array:
    """The least depth or width that reaches 1, 2, …, ``top`` steps, on the plane's scale.

    Args:
        plane: whose axes they are.
        means: [R, Y, X].
        direction: depth, at one width; or width, at one depth.
        at: the index of that width or depth; None for the best at each place.

    Returns:
        [R, top]; −inf and inf where it is censored (:func:`crossings`).
    """
    along = means if direction == "width" else means.swapaxes(1, 2)  # [R, other, direction]
    if at is None:
        unknown = np.isnan(along).all(axis=1)
        lines = np.where(unknown, np.nan, np.nan_to_num(along, nan=-np.inf).max(axis=1))
    else:
        lines = along[:, at]
    places = plane.placed(plane.xs if direction == "width" else plane.ys)
    return crossings(lines, places, np.arange(1.0, plane.top + 1))


@dataclass(frozen=True)
class Fit:
    """A slope of a plane with its interval."""

    panel: str
    quantity: str
    at: str  # the width or depth at which it is; best, or all
    law: str  # what the laws say of it, empty where they say nothing
    interval: Interval  # NaN where there is none
    censored: str  # what does not enter, in a few words
    note: str = ""  # why there is no interval

    @property
    def summary(self) -> bool:
        """Whether it is of the whole plane."""
        return self.at in (BEST, "all")


HEADER = ("plane", "slope", "at", "estimate", "law", "left out or cut off")


def cells_of_fit(fit: Fit) -> tuple[str, ...]:
    """A row of the table of fits, under :data:`HEADER`."""
    left_out = "; ".join(part for part in (fit.censored, fit.note) if part)
    return (
        fit.panel.replace("\n", " "),
        fit.quantity,
        fit.at,
        interval_words(fit.interval),
        fit.law,
        left_out,
    )


def fits(plane: Plane, seed: int = 0, resamples: int = RESAMPLES) -> list[Fit]:
    """Every slope of a plane; see the module's docstring.

    Args:
        plane: with the scores of its cells.
        seed: of the bootstrap, which the slopes of least depths and widths take.
        resamples: of it.
    """
    return [*_gains(plane), *_least_fits(plane, seed, resamples)]


def study_fits(study: Study, records: Sequence[Record]) -> list[Fit]:
    """The fits of all planes of a study."""
    return [
        fit
        for config in study.config.planes
        for plane in planes(study, records, config)
        for fit in fits(plane)
    ]


def _gains(plane: Plane) -> Iterator[Fit]:
    """Slopes of the metric over depth at each width, over width at each depth, and over both."""
    unit = "doubling" if plane.scale == "log2" else "unit"
    for direction in ("depth", "width"):
        axis, other = (0, 1) if direction == "depth" else (1, 0)
        places = (plane.ys, plane.xs)
        name, across = (plane.y, plane.x) if direction == "depth" else (plane.x, plane.y)
        quantity = f"steps per {unit} of {name}"
        for at in (None, *range(len(places[other]))):
            chosen = {c: s for c, s in plane.scores.items() if at is None or c[other] == at}
            strata = [
                Stratum(float(places[axis][cell[axis]]), scores, cell[other])
                for cell, scores in chosen.items()
            ]
            where = "all" if at is None else f"{across} {places[other][at]:g}"
            full = sum(bool(iqm(scores) >= plane.top) for scores in chosen.values())
            censored = f"{full} of {len(chosen)} cells at the end of the chain" if full else ""
            try:
                estimate = slope(strata, scale=plane.scale)
            except ValueError as error:
                nothing = Interval(math.nan, math.nan, math.nan, 0)
                yield Fit(plane.title, quantity, where, "", nothing, censored, str(error))
                continue
            yield Fit(
                plane.title, quantity, where, "", estimate.interval(), censored, estimate.lack
            )


@dataclass(frozen=True)
class _Question:
    """Which slope of least depths or widths is asked for."""

    direction: Direction
    over: str  # log2 k or k
    at: int | None  # of the other axis; None for the best

    def slopes(self, plane: Plane, means: Array) -> Array:
        """[R] of planes [R, Y, X]; of the least depth itself, of the least width on its scale."""
        places = least(plane, means, self.direction, self.at)
        steps = np.arange(1.0, plane.top + 1)
        if self.direction == "depth":  # the laws are about layers, not their logarithms
            places = np.where(np.isfinite(places), plane.unplaced(places), np.nan)
        return _slopes(np.log2(steps) if self.over == "log2 k" else steps, places)


def _least_fits(plane: Plane, seed: int = 0, resamples: int = RESAMPLES) -> list[Fit]:
    """The slopes of the least depth over log2 k and over k, and of the least width over k."""
    questions = [
        _Question(direction, over, at)
        for direction, over in _LEAST_SLOPES
        for at in (None, *range(len(plane.xs if direction == "depth" else plane.ys)))
    ]

    def answers(numbers: Array) -> Array:
        means = plane.arranged(numbers)
        return np.stack([question.slopes(plane, means) for question in questions], axis=1)

    estimates = of_cells(
        list(plane.scores.values()), answers, np.random.default_rng(seed), resamples=resamples
    )
    return [_least_fit(plane, q, e) for q, e in zip(questions, estimates, strict=True)]


def _least_fit(plane: Plane, question: _Question, estimate: Estimate) -> Fit:
    places = least(plane, plane.means[None], question.direction, question.at)[0]
    below, above = int((places == -np.inf).sum()), int((places == np.inf).sum())
    law, log = "", ""
    if question.direction == "depth":
        name, end, across, others = plane.y, plane.ys, plane.x, plane.xs
        law = "1 (log2 k + 2)" if question.over == "log2 k" else "1 (k)"
    else:
        name, end, across, others = plane.x, plane.xs, plane.y, plane.ys
        log = "log2 of " if plane.scale == "log2" else ""
    parts = [f"{below} k reached with {end[0]:g}"] if below else []
    parts += [f"{above} k not reached with {end[-1]:g}"] if above else []
    return Fit(
        plane.title,
        f"{log}least {name} over {question.over}",
        BEST if question.at is None else f"{across} {others[question.at]:g}",
        law,
        estimate.interval(),
        f"of {plane.top}: {'; '.join(parts)}" if parts else "",
        _why_unknown(estimate, plane.top - below - above),
    )


def _why_unknown(estimate: Estimate, points: int) -> str:
    if points < LEAST_POINTS:
        return f"no slope: {points} k between, {LEAST_POINTS} are needed"
    if estimate.seeds >= 2 and math.isnan(estimate.error):
        return "no interval: too many draws of the seeds leave too few k"
    return estimate.lack


def _slopes(x: Array, y: Array) -> Array:
    """[R] least-squares slopes of y [R, K] over x [K], of what is finite in y."""
    counts = np.isfinite(y)
    number = counts.sum(axis=1)
    kept = np.where(counts, y, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = np.where(counts, x - ((counts * x).sum(axis=1) / number)[:, None], 0.0)
        slopes = (centred * kept).sum(axis=1) / (centred**2).sum(axis=1)
    return np.where(number >= LEAST_POINTS, slopes, np.nan)
