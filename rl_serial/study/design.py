"""A study as data: a question, hypotheses, a base run and a grid, and the runs that they plan.

A planned run is a row. Its id is a hash of its configuration, so the same run has the same id in
every study, and a grid that grows keeps the rows that it had.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from rl_serial.config import RunConfig, checked_name
from rl_serial.errors import Fault, UserError, shown
from rl_serial.loading import parse_config, read_yaml, resolved_config, set_key
from rl_serial.settings import Seed, faults_of
from rl_serial.study.measures import check_levels, check_metric, metric_of
from rl_serial.subjects import row_of
from rl_serial.yaml_core import dump_yaml

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
    """A figure of a metric against a column."""

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
        try:
            levels = _range(value, "") if isinstance(value, dict) else value
        except UserError as error:
            raise ValueError(str(error).lstrip(":. ")) from None
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


def load_study(file: Path, smoke: bool = False) -> Study:
    """Read a study's YAML file and plan its runs.

    Args:
        file: see docs/studies.md for its keys.
        smoke: plan the small size that the key ``smoke`` gives.

    Raises:
        UserError: every key that is wrong, with its path.
    """
    data = read_yaml(file)
    if isinstance(data.get("base"), str):
        path = file.parent / data["base"]
        try:
            data["base"] = read_yaml(path)
        except UserError as error:
            raise UserError(f"{file}: base: {error}") from None
    try:
        name = checked_name(file.stem)
    except ValueError as error:
        raise UserError(
            f"{file}: the name of the file, which names the study's folder: {error}"
        ) from None
    return plan(data, str(file), name, smoke=smoke)


def plan(data: Mapping[str, Any], source: str, name: str, *, smoke: bool = False) -> Study:
    """The study that plain data describes; ``source`` is what errors call it."""
    try:
        config = StudyConfig.model_validate(dict(data))
    except ValidationError as error:
        raise UserError.of(faults_of(error, _keys_at), source) from None
    if smoke:
        config = _smoke_size(config, source)
    axes = _axes(config.grid, source)
    _check_clashes(axes, source)
    screening, stand_in = None, None
    if (screen := config.screen) is not None:
        config, screening = _screening(config, screen, axes, source, name)
        stand_in = Choice(screen.levels[0], at_end=True)
    runs = tuple(_planned(config, axes, source, lambda _: stand_in))
    study = Study(name, config, runs, screening)
    _check_distinct(runs, source)
    _check_metrics(study, source)
    _check_columns(study, source, smoke)
    return study


def with_choices(study: Study, choices: Mapping[Cell, Choice], source: str = "study") -> Study:
    """The study after its screening: the rows of the cells that have chosen.

    Their configurations, and so their ids, are those of a study that sets the chosen levels itself.

    Args:
        study: with a screening.
        choices: of each :meth:`ScreenConfig.cell`; one without a choice has no rows.
        source: what errors call the study.
    """
    axes = _axes(study.config.grid, source)
    runs = tuple(_planned(study.config, axes, source, choices.get))
    return Study(study.name, study.config, runs)


def content_id(config: Mapping[str, Any]) -> str:
    """12 hexadecimal digits of the SHA-256 of what a run sets, without its name.

    What is at its default is left out before, so an option that a later version adds leaves the ids
    of earlier runs as they are.
    """
    return hashlib.sha256(_canonical({**config, "name": None}).encode()).hexdigest()[:12]


def write_study(config: StudyConfig) -> str:
    """The study as YAML; planning it again gives the same rows."""
    return dump_yaml(config.model_dump(mode="json", exclude_none=True))


def describe(columns: Mapping[str, Scalar]) -> str:
    """The columns of a row in a line."""
    return ", ".join(f"{column}={value}" for column, value in columns.items())


def _smoke_size(config: StudyConfig, source: str) -> StudyConfig:
    if config.smoke is None:
        raise UserError(f"{source}: smoke: missing; it gives the size that --smoke runs")
    for axis in config.smoke.grid:
        if axis not in config.grid:
            raise UserError(
                f"{source}: smoke.grid.{axis}: no axis of the grid; there are "
                f"{', '.join(config.grid)}"
            )
    base = copy.deepcopy(config.base)
    for key, value in config.smoke.base.items():
        try:
            set_key(base, key, copy.deepcopy(value))
        except UserError as error:
            raise error.under("smoke.base").at(source) from None
    changes = {
        "base": base,
        "grid": config.grid | config.smoke.grid,
        "seeds": config.smoke.seeds or config.seeds,
        "screen": config.screen and _smoke_screen(config.screen, config.smoke),
        "smoke": None,
    }
    return config.model_copy(update=changes)


def _smoke_screen(screen: ScreenConfig, smoke: SmokeConfig) -> ScreenConfig:
    """Three levels at one seed; a key that the smoke size sets counts in the screening too."""
    base = {
        key: value
        for key, value in screen.base.items()
        if not any(_touches(other, key) for other in smoke.base)
    }
    levels = [screen.levels[i] for i in (0, len(screen.levels) // 2, -1)]
    return screen.model_copy(update={"levels": levels, "seeds": screen.seeds[:1], "base": base})


def _screening(
    config: StudyConfig, screen: ScreenConfig, axes: Sequence[Axis], source: str, name: str
) -> tuple[StudyConfig, Study]:
    """The study that chooses: every cell at each level and each of the screening's seeds.

    With it comes the study's configuration, its screening's metric filled in.
    """
    _check_screen(config, screen, axes, source)
    if screen.metric is None and not config.metric:
        raise UserError(f"{source}: metric: empty")
    metric = screen.metric or config.metric[0]
    levels = [
        Level({screen.key: level}, screen.base | {screen.key: level}) for level in screen.levels
    ]
    kept = [*(_first_of_shared(axis, screen.share) for axis in axes), Axis(SCREEN, tuple(levels))]
    derived = StudyConfig(
        question=f"Which {screen.key} suits each cell of {name}?",
        base=config.base,
        grid={axis.name: _as_data(axis) for axis in kept},
        seeds=screen.seeds,
        metric=[metric],
    )
    runs = tuple(_planned(derived, kept, source))
    _check_distinct(runs, source)
    for run in runs:
        where = f"{source}: screen.metric"
        if over := check_metric(metric, run, where, describe(run.columns)).over:
            raise UserError(
                f"{where}: {metric!r} chooses a level; that takes one number per run, and this "
                f"one goes over {', '.join(over)}"
            )
    told = config.model_copy(update={"screen": screen.model_copy(update={"metric": metric})})
    return told, Study(f"{name}_screening", derived, runs)


def _check_screen(
    config: StudyConfig, screen: ScreenConfig, axes: Sequence[Axis], source: str
) -> None:
    """The screening has seeds and a key of its own, and the grid has the columns that it names."""
    if both := sorted({*screen.seeds} & {*config.seeds}):
        raise UserError(
            f"{source}: screen.seeds: {', '.join(map(str, both[:5]))} "
            f"{'is' if len(both) == 1 else 'are'} among the study's own seeds; a screening needs "
            "others, as in [1000, 1001]"
        )
    places = {"screen.key": screen.key} | {f"screen.base.{key}": key for key in screen.base}
    for place, key in places.items():
        if key in (SEED, "name") or key.partition(".")[0] not in RunConfig.model_fields:
            raise UserError(
                f"{source}: {place}: no key of a run; there are "
                f"{', '.join(k for k in RunConfig.model_fields if k not in (SEED, 'name'))}"
            )
    if _sets(screen.base, screen.key):
        raise UserError(f"{source}: screen.base: sets {screen.key}, which is screened")
    columns = {column: axis.name for axis in axes for column in axis.columns}
    for i, column in enumerate(screen.share):
        if column not in columns:
            raise UserError(
                f"{source}: screen.share.{i}: no column of the grid; there are {', '.join(columns)}"
            )
    for axis in axes:
        if axis.name == SCREEN:
            raise UserError(f"{source}: grid.{SCREEN}: the name of the screening's own axis")
        if any(_sets(level.settings, screen.key) for level in axis.levels):
            raise UserError(
                f"{source}: screen.key: clashes with grid.{axis.name}, which sets {screen.key}"
            )
    for column in (screen.key, AT_END):
        if column in columns:
            raise UserError(
                f"{source}: grid.{columns[column]}: has the column {column}, which the screening "
                "adds to the tables"
            )


def _sets(settings: Mapping[str, Any], key: str) -> bool:
    """Whether settings, dotted or nested, set a key or a part of it."""
    return any(
        path == key
        or path.startswith(f"{key}.")
        or (
            key.startswith(f"{path}.")
            and isinstance(value, dict)
            and _sets(value, key.removeprefix(f"{path}."))
        )
        for path, value in settings.items()
    )


def _first_of_shared(axis: Axis, share: Sequence[str]) -> Axis:
    """The axis without the levels that differ from an earlier one in shared columns alone."""
    first: dict[Cell, Level] = {}
    for level in axis.levels:
        own = tuple(cell for column, cell in level.columns.items() if column not in share)
        first.setdefault(own, level)
    return Axis(axis.name, tuple(first.values()))


def _as_data(axis: Axis) -> list[Any]:
    """The levels of an axis as a study's file has them."""
    if axis.name.partition(".")[0] in RunConfig.model_fields:
        return [level.settings[axis.name] for level in axis.levels]
    return [{"label": level.columns, **level.settings} for level in axis.levels]


def _axes(grid: dict[str, Any], source: str) -> list[Axis]:
    if not grid:
        raise UserError(
            f"{source}: grid: empty; a study needs an axis, as in network.depth: [2, 8]"
        )
    return [_axis(name, value, f"{source}: grid.{name}") for name, value in grid.items()]


def _axis(name: str, value: Any, where: str) -> Axis:
    if name in (SEED, "name") or name.startswith(f"{SEED}."):
        right = "the key seeds says how many" if name == SEED else "rows are named by their ids"
        raise UserError(f"{where}: no axis of a grid; {right}")
    values = _range(value, where) if isinstance(value, dict) else value
    if not isinstance(values, list):
        raise UserError(
            f"{where}: must be a list or {{start, stop, step or factor}}, not {shown(value)}"
        )
    if not values:
        raise UserError(f"{where}: empty")
    if name.partition(".")[0] in RunConfig.model_fields:
        levels = [Level({name: _cell(item)}, {name: item}) for item in values]
    else:
        levels = [_paired(name, item, f"{where}.{i}") for i, item in enumerate(values)]
    axis = Axis(name, tuple(levels))
    for i, level in enumerate(axis.levels):
        if tuple(level.columns) != axis.columns:
            raise UserError(
                f"{where}.{i}.label: has the columns {', '.join(level.columns)}, but the first "
                f"level has {', '.join(axis.columns)}"
            )
        if level.columns in [other.columns for other in axis.levels[:i]]:
            raise UserError(f"{where}.{i}: {describe(level.columns)} is there twice")
    return axis


def _paired(name: str, item: Any, where: str) -> Level:
    """A level that sets several keys: ``{label: …, key: value, …}``."""
    if not isinstance(item, dict):
        raise UserError(
            f"{where.rpartition('.')[0]}: no key of a run; there are "
            f"{', '.join(RunConfig.model_fields)}; paired keys are {{label: …, key: value}}"
        )
    settings = dict(item)
    label = settings.pop("label", None)
    columns = label if isinstance(label, dict) else {name: label}
    if label is None or not columns:
        raise UserError(f"{where}.label: missing; it names the level in tables and figures")
    for column, cell in columns.items():
        if not isinstance(column, str) or not isinstance(cell, Scalar):
            raise UserError(f"{where}.label: must be a text, a number or columns with them")
        if column == SEED:
            raise UserError(f"{where}.label.{SEED}: the column of that name is the run's seed")
    for key in settings:
        if key in (SEED, "name") or str(key).partition(".")[0] not in RunConfig.model_fields:
            raise UserError(
                f"{where}.{key}: no key of a run that a level can set; there are "
                f"{', '.join(k for k in RunConfig.model_fields if k not in (SEED, 'name'))}"
            )
    return Level(dict(columns), settings)


def _range(value: dict[str, Any], where: str) -> list[Any]:
    """``{start, stop, step}`` or ``{start, stop, factor}``; the stop belongs to it."""
    grows = [key for key in ("step", "factor") if key in value]
    if set(value) != {"start", "stop", *grows} or len(grows) != 1:
        raise UserError(f"{where}: a range has start, stop and either step or factor")
    for key, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise UserError(f"{where}.{key}: must be a number, not {shown(number)}")
    start, stop, by = value["start"], value["stop"], value[grows[0]]
    if stop < start:
        return []
    if grows == ["step"]:
        if by <= 0:
            raise UserError(f"{where}.step: must be greater than 0, not {by!r}")
        count = _count((stop - start) / by, where)
        return [start + by * i for i in range(count)]
    if by <= 1 or start <= 0:
        raise UserError(f"{where}.factor: must be greater than 1, and start greater than 0")
    count = _count(math.log(stop / start, by), where)
    return [start * by**i for i in range(count)]


def _count(steps: float, where: str) -> int:
    """Levels of a range whose stop is that many steps from its start."""
    if not steps < MOST_LEVELS:
        raise UserError(f"{where}: a range can have {MOST_LEVELS} levels at most")
    return math.floor(steps + 1e-9) + 1


def _cell(value: Any) -> Scalar:
    """A level as a table shows it."""
    if isinstance(value, dict):
        return " ".join(f"{key}={_cell(item)}" for key, item in value.items())
    return value if isinstance(value, Scalar) else str(value)


def _check_clashes(axes: Sequence[Axis], source: str) -> None:
    """No key is set twice, and a whole is set before its parts."""
    owner: dict[str, str] = {}
    columns: dict[str, str] = {}
    for axis in axes:
        for column in axis.columns:
            if column in columns:
                raise UserError(
                    f"{source}: grid.{axis.name}: clashes with grid.{columns[column]}, which has "
                    f"the column {column} too"
                )
            columns[column] = axis.name
        keys = {key for level in axis.levels for key in level.settings}
        for key in sorted(keys):
            for earlier, other in owner.items():
                if key == earlier or earlier.startswith(f"{key}."):
                    path = axis.name if key == axis.name else f"{axis.name}: {key}"
                    raise UserError(
                        f"{source}: grid.{path}: clashes with grid.{other}, which sets {earlier}"
                    )
        owner |= dict.fromkeys(keys, axis.name)


def _planned(
    config: StudyConfig,
    axes: Sequence[Axis],
    source: str,
    choice_of: Callable[[Cell], Choice | None] = lambda _: None,
) -> Iterator[PlannedRun]:
    """The rows, the last axis changing fastest and the seeds before all.

    Args:
        config: with a ``screen``, a cell without a choice has no rows.
        axes: of its grid.
        source: what errors call the study.
        choice_of: the choice of a cell, by :meth:`ScreenConfig.cell`.
    """
    seeds = config.seeds
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{source}: seeds: the same seed twice in {shown(seeds)}")
    size = math.prod(len(axis.levels) for axis in axes) * len(seeds)
    if size > MOST_RUNS:
        raise UserError(f"{source}: grid: plans {size} runs; {MOST_RUNS} are the most")
    _check_by_seed(config, axes, source)
    turns = math.lcm(*(len(levels) for levels in config.by_seed.values()))
    cells = []
    for levels in itertools.product(*(axis.levels for axis in axes)):
        columns = {column: cell for level in levels for column, cell in level.columns.items()}
        recorded: dict[str, Scalar] = {}
        if config.screen is not None:
            choice = choice_of(config.screen.cell(columns))
            if choice is None:
                continue
            levels = (*levels, Level({}, {config.screen.key: choice.level}))
            recorded = {config.screen.key: choice.level, AT_END: choice.at_end}
        variants = []
        for turn in range(min(turns, len(seeds))):
            own = {key: values[turn % len(values)] for key, values in config.by_seed.items()}
            run = _resolved(config, (*levels, Level({}, own)), columns, source)
            shown_own = {key: _cell(value) for key, value in own.items()}
            variants.append((recorded | shown_own, *run))
        cells.append((columns, variants))
    # Seed by seed: a study that is stopped has whole grids, not a few cells with all their seeds.
    for place, seed in enumerate(seeds):
        for columns, variants in cells:
            recorded, resolved, particular = variants[place % turns]
            id_ = content_id(particular | {SEED: seed})
            yield PlannedRun(
                id_, columns | {SEED: seed}, resolved | {SEED: seed, "name": id_}, recorded
            )


def _check_by_seed(config: StudyConfig, axes: Sequence[Axis], source: str) -> None:
    """Each is a key of a run that nothing else sets."""
    others = {
        key: f"grid.{axis.name}" for axis in axes for lv in axis.levels for key in lv.settings
    }
    if config.screen is not None:
        others[config.screen.key] = "screen.key"
    for key in config.by_seed:
        if key in (SEED, "name") or key.partition(".")[0] not in RunConfig.model_fields:
            raise UserError(
                f"{source}: by_seed.{key}: no key of a run that a seed can set; there are "
                f"{', '.join(k for k in RunConfig.model_fields if k not in (SEED, 'name'))}"
            )
        for other, owner in others.items():
            if _touches(key, other):
                raise UserError(
                    f"{source}: by_seed.{key}: clashes with {owner}, which sets {other}"
                )


def _resolved(
    config: StudyConfig,
    levels: Sequence[Level],
    columns: Mapping[str, Scalar],
    source: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The run of a cell of the grid, checked: resolved, and what of it is not at its default."""
    data = {"name": "run", **copy.deepcopy(config.base)}
    try:
        for level in levels:
            for key, value in level.settings.items():
                set_key(data, key, copy.deepcopy(value))
        run = parse_config(data, "")
    except UserError as error:
        raise blamed(error, config, columns, source) from None
    particular = run.model_dump(mode="json", exclude_defaults=True)
    if not particular.get("evaluation", True):  # all at its default, in the subject's own model
        del particular["evaluation"]
    return run.model_dump(mode="json"), particular


def blamed(
    error: UserError, config: StudyConfig, columns: Mapping[str, Scalar], source: str
) -> UserError:
    """An error of a run's key, told by the key of the study that set it."""
    faults = [_told_by_setter(fault, config) for fault in error.faults]
    return UserError.of(faults, source, f"(in the run with {describe(columns)})")


def _told_by_setter(fault: Fault, config: StudyConfig) -> Fault:
    """A run's error, its path led by what in the study set it."""
    path = fault.key
    if any(_touches(key, path) for key in config.by_seed):
        return fault.under("by_seed")
    for axis, values in reversed(config.grid.items()):
        if axis.partition(".")[0] in RunConfig.model_fields:
            if axis.startswith(f"{path}."):  # a part was set, and the whole is found wrong
                return Fault(f"grid.{axis}", fault.message)
            if _touches(axis, path):
                return fault.under("grid")
        elif any(_touches(key, path) for item in values for key in item if key != "label"):
            return Fault(axis if axis == SCREEN else f"grid.{axis}", str(fault))
    return fault.under("base")


def _touches(key: str, path: str) -> bool:
    return key == path or path.startswith(f"{key}.") or key.startswith(f"{path}.")


def _check_distinct(runs: Sequence[PlannedRun], source: str) -> None:
    first: dict[str, PlannedRun] = {}
    for run in runs:
        other = first.setdefault(run.id, run)
        if other is not run:
            raise UserError(
                f"{source}: grid: two rows are the same run: {describe(other.columns)} and "
                f"{describe(run.columns)}"
            )


def _check_metrics(study: Study, source: str) -> None:
    if not study.config.metric:
        raise UserError("empty", "metric", source)
    for metric in study.config.metric:
        where = f"{source}: metric"
        found = {
            run.id: check_metric(metric, run, where, describe(run.columns)) for run in study.runs
        }
        check_levels(metric, found, study, where)
    first = study.config.metric[0]
    if study.config.tuned and (over := metric_of(study, first).over):
        raise UserError(
            f"{first!r} comes first, by which columns are tuned; that takes one number per run, "
            f"and this one goes over {', '.join(over)}",
            "metric",
            source,
        )


def _check_columns(study: Study, source: str, smoke: bool) -> None:
    """Hypotheses, figures and tuned columns name what the grid has."""
    columns = study.columns
    levels: dict[str, list[Scalar]] = {c: study.levels(c) for c in (*columns, SEED)}
    over: dict[str, list[Scalar]] = {}
    for name in study.config.metric:
        measure = metric_of(study, name)
        over |= {column: list(measure.levels(column)) for column in measure.over}
    columns, levels = (*columns, *over), levels | over

    def check(column: str, path: str) -> None:
        if column not in levels:
            raise UserError(
                f"{source}: {path}: no column of the grid; there are {', '.join(columns)}"
            )

    def check_level(column: str, level: Scalar, path: str) -> None:
        check(column, path)
        if level not in levels[column] and not smoke:
            there = ", ".join(str(value) for value in levels[column])
            raise UserError(f"{source}: {path}: {column} is never {level!r}; it is {there}")

    def check_number(column: str, scale: str, path: str) -> None:
        check(column, path)
        numbers = [v for v in levels[column] if isinstance(v, int | float)]
        if len(numbers) < len(levels[column]):
            raise UserError(f"{source}: {path}: {column} holds no numbers")
        if scale == "log2" and min(numbers) <= 0 and column not in over:
            raise UserError(f"{source}: {path}: {column} holds {min(numbers)}, which has no log2")

    def check_metric(metric: str | None, path: str) -> None:
        if metric is not None and metric not in study.config.metric:
            raise UserError(
                f"{source}: {path}: {metric!r} is none of the study's; there are "
                f"{', '.join(study.config.metric)}"
            )

    def check_over(metric: str | None, named: Sequence[str | None], path: str) -> None:
        measure = metric_of(study, metric or study.config.metric[0])
        for name in measure.metric.to_name:
            if name in measure.over and name not in named:
                raise UserError(
                    f"{measure.name!r} has a value for each {name}: name the column {name}",
                    path,
                    source,
                )
        for column in filter(None, named):
            if column in over and column not in measure.over:
                going = [m for m in study.config.metric if column in metric_of(study, m).over]
                raise UserError(
                    f"the column {column} goes with {', '.join(going)}, not with {measure.name!r}",
                    path,
                    source,
                )

    for i, column in enumerate(study.config.tuned):
        check(column, f"tuned.{i}")
    for i, figure in enumerate(study.config.figures):
        path = f"figures.{i}"
        check_metric(figure.metric, f"{path}.metric")
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
                source,
            )
        check_number(plane.x, plane.scale, f"{path}.x")
        check_number(plane.y, plane.scale, f"{path}.y")
        for column in plane.panels:
            check(column, f"{path}.panels")
        places = [plane.x, plane.y, *plane.panels]
        if len(set(places)) < len(places):
            raise UserError(f"{source}: {path}: the same column twice in {', '.join(places)}")
        if inside := [column for column in places if column in over]:
            raise UserError(f"{inside[0]} is no column of a plane", path, source)
    known: set[str] = set()
    for i, hypothesis in enumerate(study.config.hypotheses):
        if hypothesis.id in known:
            raise UserError(f"{source}: hypotheses.{i}.id: {hypothesis.id} is there twice")
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
    return _most_steps(_canonical({**run.config, "seed": 0, "name": "run"}))


@lru_cache(maxsize=64)
def _most_steps(config: str) -> int:
    run = resolved_config(json.loads(config))
    steps = row_of(run.env.id, run.agent.kind).most_steps
    return 0 if steps is None else steps(run)


def _canonical(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "": StudyConfig,
        "hypotheses": Hypothesis,
        "test": Comparison,
        "expect": Expectation,
        "per": Slope,
        "screen": ScreenConfig,
        "figures": FigureConfig,
        "planes": PlaneConfig,
        "smoke": SmokeConfig,
    }
    names = [str(part) for part in location if not isinstance(part, int)]
    return list(models[names[-1] if names else ""].model_fields)
