"""The keys of a study, and what it plans."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from rl_serial.errors import OptionError, shown
from rl_serial.settings import Seed

Scalar = str | int | float | bool
"""What a cell of a column holds."""

Cell = tuple[Scalar, ...]
"""What the columns hold that tell cells apart, in the order of the grid."""

SEED = "seed"

SCREEN = "screen"
"""The axis of a screening: the levels of its key, with what else differs in its runs."""

AT_END = "at_end"
"""The column that says whether a chosen level lies at the end of the screened range."""

LEAST_LEVELS = 3
"""Of a screened key: of two, each lies at an end of the range."""

MOST_SEEDS = 10_000

MOST_LEVELS = 100_000
"""Of a range of the grid."""

MOST_RUNS = 100_000
"""Of a study: levels of all axes times seeds."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _listed(seeds: Any) -> Any:
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if seeds < 1:
            raise ValueError(f"at least one, not {seeds}")
        if seeds > MOST_SEEDS:
            raise ValueError(f"at most {MOST_SEEDS}, not {seeds}")
        return list(range(seeds))
    return seeds


Seeds = Annotated[list[Seed], Field(min_length=1), BeforeValidator(_listed)]
"""A list of seeds, or how many (counted from 0)."""

Bound = Annotated[float, Field(allow_inf_nan=False)]


class Expectation(_Model):
    """Where the measured quantity is expected: on one side of a number, or between two.

    ``between`` is an equivalence test: no effect beyond the smallest one of interest.
    """

    above: Bound | None = None
    below: Bound | None = None
    between: tuple[Bound, Bound] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Expectation:
        if sum(bound is not None for bound in (self.above, self.below, self.between)) != 1:
            raise ValueError("give above, below or between, and one of them")
        if self.between is not None and self.between[0] >= self.between[1]:
            low, high = self.between
            raise ValueError(f"between: from a lower number to a higher one, not [{low}, {high}]")
        return self

    def words(self) -> str:
        """As text."""
        if self.between is not None:
            return f"between {self.between[0]:g} and {self.between[1]:g}"
        return f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"


class Slope(_Model):
    """A slope to divide by."""

    slope: str
    scale: Literal["linear", "log2"] = "linear"
    where: dict[str, Scalar | list[Scalar]] = {}


class Comparison(_Model):
    """What a hypothesis says in numbers; see docs/studies.md.

    Without ``difference`` and ``slope`` the metric itself is tested; with one of them a difference
    between two levels of a column or a slope over a column; with both a difference of slopes. With
    ``slope`` and ``per`` it is the ratio of two slopes: an exchange rate.
    """

    metric: str | None = None  # None: the study's first
    where: dict[str, Scalar | list[Scalar]] = {}
    difference: dict[str, tuple[Scalar, Scalar]] | None = None  # {column: [first, second]}
    slope: str | None = None
    scale: Literal["linear", "log2"] = "linear"
    per: Slope | None = None
    aggregate: Literal["iqm", "mean", "median"] = "iqm"
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    expect: Expectation

    @field_validator("difference")
    @classmethod
    def _one_column(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and len(value) != 1:
            raise ValueError("give one column with two of its levels, as in {group: [z5, s5]}")
        return value

    @model_validator(mode="after")
    def _ratio_of_slopes(self) -> Comparison:
        if self.per is not None and (self.slope is None or self.difference is not None):
            raise ValueError("per: divides a slope, and goes with slope and without difference")
        return self


class Hypothesis(_Model):
    """A statement made before the runs; an exploratory one was not, or has too few seeds."""

    id: Annotated[str, Field(pattern=r"^[\w.\-]+$")]
    statement: str
    exploratory: bool = False
    test: Comparison | None = None


class FigureConfig(_Model):
    """A figure of a metric against a column, or against another metric of the study."""

    x: str
    series: str | None = None
    panels: list[str] = []
    metric: str | None = None  # None: the study's first
    scale: Literal["linear", "log2"] = "linear"


class PlaneConfig(_Model):
    """How far runs come over two numbers, width and depth; see rl_serial/study/planes.py."""

    x: str  # the width
    y: str  # the depth: layers or blocks
    panels: list[str] = []
    metric: str | None = None  # None: the study's first
    scale: Literal["linear", "log2"] = "log2"  # of both


class SmokeConfig(_Model):
    """What makes a study finish in well under a minute."""

    base: dict[str, Any] = {}  # dotted keys set in the base run
    grid: dict[str, Any] = {}  # axes of the grid with fewer levels
    seeds: Seeds | None = None


class ScreenConfig(_Model):
    """A key whose level each cell chooses at seeds of its own, before the study's own runs."""

    key: str
    levels: list[int | float]
    seeds: Seeds
    metric: str | None = None  # None: the study's first
    share: list[str] = []  # columns of the grid whose levels share one choice
    base: dict[str, Any] = {}  # dotted keys that differ in the screening's runs

    @field_validator("levels", mode="before")
    @classmethod
    def _ascending(cls, value: Any) -> Any:
        levels = range_levels(value) if isinstance(value, dict) else value
        if not isinstance(levels, list) or not all(_is_number(level) for level in levels):
            raise ValueError(
                f"must be numbers or {{start, stop, step or factor}}, not {shown(value)}"
            )
        if len(levels) < LEAST_LEVELS or any(a >= b for a, b in itertools.pairwise(levels)):
            raise ValueError(f"at least {LEAST_LEVELS} levels, ascending, not {shown(levels)}")
        return levels

    def cell(self, columns: Mapping[str, Scalar]) -> Cell:
        """Which cell a row belongs to: its columns without seed, key and shared ones."""
        return tuple(v for c, v in columns.items() if c not in (SEED, self.key, *self.share))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class StudyConfig(_Model):
    """Everything that determines a study."""

    question: str
    hypotheses: list[Hypothesis] = []
    base: dict[str, Any]
    grid: dict[str, Any]
    seeds: Seeds
    # Keys of a run with levels that the seeds take in turn: the draw of the task, say.
    by_seed: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    metric: list[str]
    tuned: list[str] = []  # columns of which each cell takes its best level
    screen: ScreenConfig | None = None
    figures: list[FigureConfig] = []
    planes: list[PlaneConfig] = []
    smoke: SmokeConfig | None = None

    @field_validator("metric", "tuned", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


@dataclass(frozen=True)
class Level:
    """A place on an axis: what its columns hold, and the keys of the run that it sets."""

    columns: dict[str, Scalar]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Axis:
    """A dimension of the grid."""

    name: str
    levels: tuple[Level, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the axis gives the table."""
        return tuple(self.levels[0].columns)


@dataclass(frozen=True)
class PlannedRun:
    """A row of the study."""

    id: str
    columns: dict[str, Scalar]  # the grid's columns, then the seed
    config: dict[str, Any]  # resolved, as plain data; its name is the id
    recorded: dict[str, Scalar] = field(default_factory=dict)  # shown in tables, but no column


@dataclass(frozen=True)
class Choice:
    """The level that a cell took in a screening."""

    level: int | float
    at_end: bool  # the first or the last of the levels
    means: tuple[float | None, ...] = ()  # of the metric at each level, over seeds
    lacking: tuple[int | float, ...] = ()  # levels some of whose runs have no value


@dataclass(frozen=True)
class Study:
    """A study that was found right, and its rows.

    One with a ``screening`` waits for its choices: until :func:`with_choices` its ``runs`` stand at
    the lowest level of the screened key. They say how many there will be, and not which.
    """

    name: str
    config: StudyConfig
    runs: tuple[PlannedRun, ...]
    screening: Study | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The grid's columns, without the seed."""
        return tuple(column for column in self.runs[0].columns if column != SEED)

    def levels(self, column: str) -> list[Scalar]:
        """The levels of a column, in the order of the grid."""
        return list(dict.fromkeys(run.columns[column] for run in self.runs))


def describe(columns: Mapping[str, Scalar]) -> str:
    """The columns of a row in a line."""
    return ", ".join(f"{column}={value}" for column, value in columns.items())


def range_levels(value: dict[str, Any]) -> list[Any]:
    """``{start, stop, step}`` or ``{start, stop, factor}``; the stop belongs to it.

    Raises:
        ValueError: what is no range, or one of too many levels.
        OptionError: a part of it that is out of its range.
    """
    grows = [key for key in ("step", "factor") if key in value]
    if set(value) != {"start", "stop", *grows} or len(grows) != 1:
        raise ValueError("a range has start, stop and either step or factor")
    for key, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise OptionError(key, f"must be a number, not {shown(number)}")
    start, stop, by = value["start"], value["stop"], value[grows[0]]
    if stop < start:
        return []
    if grows == ["step"]:
        if by <= 0:
            raise OptionError("step", f"must be greater than 0, not {by!r}")
        count = _count((stop - start) / by)
        return [start + by * i for i in range(count)]
    if by <= 1 or start <= 0:
        raise OptionError("factor", "must be greater than 1, and start greater than 0")
    count = _count(math.log(stop / start, by))
    return [start * by**i for i in range(count)]


def _count(steps: float) -> int:
    """Levels of a range whose stop is that many steps from its start."""
    if not steps < MOST_LEVELS:
        raise ValueError(f"a range can have {MOST_LEVELS} levels at most")
    return math.floor(steps + 1e-9) + 1


def canonical(data: Any) -> str:
    """Plain data as text, the same whatever the order of its keys."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))
