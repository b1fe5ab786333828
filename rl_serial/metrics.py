"""Metrics as data: what runs measure, under which tags, over which indices.

A subject owns its metrics. Studies, figures, reports, TensorBoard and pages ask a metric for what
they need; a tag is made from a metric and never taken apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from string import Formatter
from typing import Literal

IndexValue = str | int
"""What an index holds."""
Index = Mapping[str, IndexValue]
"""Where something was measured: ``{"remaining": 7}``."""


@dataclass(frozen=True)
class Metric:
    """Something that runs measure.

    Args:
        tag: its tag, indices in braces: ``value/accuracy/remaining_{remaining}``.
        label: what figures call it, with its unit; of an indexed one for a given index, which may
            lack names that the figure goes over.
        better: which values are better.
        counts_steps: whether it counts serial steps, from 0 to the serial depth.
        late: whether only the last examination has it.
        of_agent: whether it is about the agent itself, so that a floor says if it has learned.
        progress: what the progress bar calls it; empty: it is not shown there.
        heat_map: whether it is drawn over its one index and training time.
        floor: what it is compared with, at the same index.
        interval_of: the metric whose interval over instances is its own.
        asked_by: keys of a run that ask for it, where not every run has it.
        to_give: indices that its name in a study has to give.
        to_name: indices that a test or figure over them has to name.
    """

    tag: str
    label: str | Callable[[Index], str]
    better: Literal["higher", "lower", "neither"] = "higher"
    counts_steps: bool = False
    late: bool = False
    of_agent: bool = True
    progress: str = ""
    heat_map: bool = False
    floor: Metric | None = None
    interval_of: Metric | None = None
    asked_by: tuple[str, ...] = ()
    to_give: tuple[str, ...] = ()
    to_name: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of its indices."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.tag) if name)

    def at(self, index: Index | None = None, **given: IndexValue) -> str:
        """Its tag at an index."""
        return self.tag.format(**(index or {}), **given)

    def over(self, index: Index, free: Iterable[str]) -> str:
        """Its name over ``free`` indices: the tag without the parts that hold them."""
        marks = [f"{{{name}}}" for name in free]
        parts = [p for p in self.tag.split("/") if not any(mark in p for mark in marks)]
        return "/".join(parts).format(**index)

    @property
    def pattern(self) -> str:
        """A regular expression of its tags, for TensorBoard's page of charts."""
        return re.sub(r"\{\w+\}", "[^/]*", self.tag)

    @property
    def stem(self) -> str:
        """The beginning that its tags have in common."""
        return self.tag.partition("{")[0]

    def described(self, index: Index) -> str:
        """What figures call it at an index."""
        return self.label if isinstance(self.label, str) else self.label(index)


@dataclass(frozen=True)
class Measurement:
    """A value of a metric."""

    metric: Metric
    index: Index
    value: float

    @property
    def tag(self) -> str:
        """Its tag."""
        return self.metric.at(self.index)


def measured(metric: Metric, value: float, **index: IndexValue) -> Measurement:
    """A value of a metric at an index."""
    return Measurement(metric, index, float(value))


def tagged(measurements: Iterable[Measurement]) -> dict[str, float]:
    """Values by their tags; what was not measured (NaN) is left out."""
    return {m.tag: m.value for m in measurements if not math.isnan(m.value)}


def _always() -> str:
    return ""


@dataclass(frozen=True)
class Place:
    """A metric at an index, as the runs of a configuration log it when they are done.

    Args:
        metric: what is logged.
        index: where.
        tag: under which it is logged; None: the metric's own.
        why_not: says, at a price, why it is not logged after all; empty where it is.
    """

    metric: Metric
    index: Index = field(default_factory=dict)
    logged_as: str | None = None
    why_not: Callable[[], str] = _always

    @property
    def tag(self) -> str:
        """The tag that it is logged under."""
        return self.logged_as or self.metric.at(self.index)


@dataclass(frozen=True)
class Measure:
    """A metric as a study names it: at some of its indices, over the others.

    Args:
        name: ``search/true/score/4`` at all indices, ``search/true/score`` over simulations.
        metric: what it is of.
        index: what is given.
        over: the names of the indices that it goes over, which a study has as columns.
        places: by the levels of ``over``; one at () where it goes over none.
    """

    name: str
    metric: Metric
    index: Index
    over: tuple[str, ...]
    places: dict[tuple[IndexValue, ...], Place]

    @property
    def tags(self) -> list[str]:
        """Every tag that it stands for."""
        return [place.tag for place in self.places.values()]

    @property
    def label(self) -> str:
        """What figures call it, with its unit where it has one."""
        return self.metric.described(self.index)

    @property
    def floor(self) -> str:
        """The tag of the floor that it is compared with; empty without one."""
        return self.metric.floor.at(self.index) if self.metric.floor and not self.over else ""

    def levels(self, name: str) -> list[IndexValue]:
        """The levels of an index that it goes over."""
        which = self.over.index(name)
        return list(dict.fromkeys(place[which] for place in self.places))


def measures(places: Iterable[Place]) -> dict[str, Measure]:
    """Everything that a study may name of what a run logs, by its name."""
    found: dict[str, Measure] = {}
    for place in places:
        names = [name for name in place.metric.names if name not in place.metric.to_give]
        for count in range(len(names) + 1):
            for over in combinations(names, count):
                given = {n: level for n, level in place.index.items() if n not in over}
                name = place.metric.over(given, over) if over else place.metric.at(place.index)
                measure = found.setdefault(name, Measure(name, place.metric, given, over, {}))
                if measure.metric is place.metric and measure.over == over:
                    measure.places[tuple(place.index[n] for n in over)] = place
    return found


@dataclass(frozen=True)
class Profile:
    """What every report of a subject draws over one index, and what it draws beside it.

    Args:
        name: of the figure's file, without number and ending.
        title: of the figure.
        x_label: of the index.
        y_label: of the values.
        tags: by the index.
        floors: the tags of the floor, by the index.
        reference: a value that is marked.
        meaning: of the reference, as the caption says it.
        limits: of the values that the figure shows; None: of those that there are.
        beside: tags of another line, dashed, by the index; there are none where a run lacks them.
        beside_name: what the legend calls the other line.
        beside_words: what the caption says of it.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    tags: Mapping[int, str]
    floors: Mapping[int, str]
    reference: float
    meaning: str
    limits: tuple[float, float] | None = None
    beside: Mapping[int, str] = field(default_factory=dict)
    beside_name: str = ""
    beside_words: str = ""
