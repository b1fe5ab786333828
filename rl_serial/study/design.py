"""A study as data: a question, hypotheses, a base run and a grid, and the runs that they plan.

A planned run is a row. Its id is a hash of its configuration, so the same run has the same id in
every study, and a grid that grows keeps the rows that it had.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ValidationError,
)

from rl_serial.config import RunConfig, checked_name
from rl_serial.errors import Fault, UserError, shown
from rl_serial.loading import parse_config, read_yaml, set_key, settled_config
from rl_serial.settings import faults_of
from rl_serial.study.checks import check_columns, check_metrics
from rl_serial.study.grid import (
    as_data,
    axes_of,
    check_clashes,
    first_of_shared,
    sets_key,
    shown_cell,
    touches,
)
from rl_serial.study.measures import check_metric, refuse_unable_to_choose
from rl_serial.study.schema import (
    AT_END,
    MOST_RUNS,
    SCREEN,
    SEED,
    Axis,
    Cell,
    Choice,
    Comparison,
    Expectation,
    FigureConfig,
    Hypothesis,
    Level,
    PlaneConfig,
    PlannedRun,
    Scalar,
    ScreenConfig,
    Slope,
    SmokeConfig,
    Study,
    StudyConfig,
    canonical,
    describe,
)
from rl_serial.yaml_core import dump_yaml


def load_study(file: Path, smoke: bool = False, seeds: int | Sequence[int] | None = None) -> Study:
    """Read a study's YAML file and plan its runs.

    Args:
        file: see docs/studies.md for its keys.
        smoke: plan the small size that the key ``smoke`` gives.
        seeds: in place of the file's.

    Raises:
        UserError: every key that is wrong, with its path.
    """
    data = read_yaml(file)
    if isinstance(data.get("base"), str):
        path = file.parent / data["base"]
        try:
            data["base"] = read_yaml(path)
        except UserError as error:
            raise UserError(error, "base", file) from None
    if seeds is not None:
        data["seeds"] = seeds
    try:
        name = checked_name(file.stem)
    except ValueError as error:
        told = f"the name of the file, which names the study's folder: {error}"
        raise UserError(told, source=file) from None
    return plan(data, str(file), name, smoke=smoke)


def plan(data: Mapping[str, Any], source: str, name: str, *, smoke: bool = False) -> Study:
    """The study that plain data describes.

    Args:
        data: the keys of the study.
        source: what errors call it.
        name: of its folder.
        smoke: plan the small size.

    Raises:
        UserError: a key that is wrong, found in ``source``.
    """
    try:
        config = StudyConfig.model_validate(dict(data))
    except ValidationError as error:
        raise UserError.of(faults_of(error, _keys_at), source) from None
    try:
        return _plan(config, name, smoke)
    except UserError as error:
        raise error.at(source) from None


def _plan(config: StudyConfig, name: str, smoke: bool) -> Study:
    if smoke:
        config = _smoke_size(config)
    axes = axes_of(config.grid)
    check_clashes(axes)
    screening, stand_in = None, None
    if (screen := config.screen) is not None:
        config, screening = _screening(config, screen, axes, name)
        stand_in = Choice(screen.levels[0], at_end=True)
    runs = tuple(_planned(config, axes, lambda _: stand_in))
    study = Study(name, config, runs, screening)
    _check_distinct(runs)
    check_metrics(study)
    check_columns(study, smoke)
    return study


def with_choices(study: Study, choices: Mapping[Cell, Choice], source: str = "study") -> Study:
    """The study after its screening: the rows of the cells that have chosen.

    Their configurations, and so their ids, are those of a study that sets the chosen levels itself.

    Args:
        study: with a screening.
        choices: of each :meth:`ScreenConfig.cell`; one without a choice has no rows.
        source: what errors call the study.
    """
    try:
        runs = tuple(_planned(study.config, axes_of(study.config.grid), choices.get))
    except UserError as error:
        raise error.at(source) from None
    return Study(study.name, study.config, runs)


def content_id(config: Mapping[str, Any]) -> str:
    """12 hexadecimal digits of the SHA-256 of what a run sets, without its name.

    What is at its default is left out before, so an option that a later version adds leaves the ids
    of earlier runs as they are.
    """
    return hashlib.sha256(canonical({**config, "name": None}).encode()).hexdigest()[:12]


def write_study(config: StudyConfig) -> str:
    """The study as YAML; planning it again gives the same rows."""
    return dump_yaml(config.model_dump(mode="json", exclude_none=True))


def _smoke_size(config: StudyConfig) -> StudyConfig:
    if config.smoke is None:
        raise UserError("missing; it gives the size that --smoke runs", "smoke")
    for axis in config.smoke.grid:
        if axis not in config.grid:
            raise UserError(
                f"no axis of the grid; there are {', '.join(config.grid)}", f"smoke.grid.{axis}"
            )
    base = copy.deepcopy(config.base)
    for key, value in config.smoke.base.items():
        try:
            set_key(base, key, copy.deepcopy(value))
        except UserError as error:
            raise error.under("smoke.base") from None
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
        if not any(touches(other, key) for other in smoke.base)
    }
    levels = [screen.levels[i] for i in (0, len(screen.levels) // 2, -1)]
    return screen.model_copy(update={"levels": levels, "seeds": screen.seeds[:1], "base": base})


def _screening(
    config: StudyConfig, screen: ScreenConfig, axes: Sequence[Axis], name: str
) -> tuple[StudyConfig, Study]:
    """The study that chooses: every cell at each level and each of the screening's seeds.

    With it comes the study's configuration, its screening's metric filled in.
    """
    _check_screen(config, screen, axes)
    if screen.metric is None and not config.metric:
        raise UserError("empty", "metric")
    metric = screen.metric or config.metric[0]
    levels = [
        Level({screen.key: level}, screen.base | {screen.key: level}) for level in screen.levels
    ]
    kept = [*(first_of_shared(axis, screen.share) for axis in axes), Axis(SCREEN, tuple(levels))]
    derived = StudyConfig(
        question=f"Which {screen.key} suits each cell of {name}?",
        base=config.base,
        grid={axis.name: as_data(axis) for axis in kept},
        seeds=screen.seeds,
        metric=[metric],
    )
    runs = tuple(_planned(derived, kept))
    _check_distinct(runs)
    for run in runs:
        measure = check_metric(metric, run, "screen.metric", describe(run.columns))
        refuse_unable_to_choose(measure, "screen.metric", "chooses a level")
    told = config.model_copy(update={"screen": screen.model_copy(update={"metric": metric})})
    return told, Study(f"{name}_screening", derived, runs)


def _check_screen(config: StudyConfig, screen: ScreenConfig, axes: Sequence[Axis]) -> None:
    """The screening has seeds and a key of its own, and the grid has the columns that it names."""
    if both := sorted({*screen.seeds} & {*config.seeds}):
        raise UserError(
            f"{', '.join(map(str, both[:5]))} {'is' if len(both) == 1 else 'are'} among the "
            "study's own seeds; a screening needs others, as in [1000, 1001]",
            "screen.seeds",
        )
    places = {"screen.key": screen.key} | {f"screen.base.{key}": key for key in screen.base}
    for place, key in places.items():
        if key in (SEED, "name") or key.partition(".")[0] not in RunConfig.model_fields:
            raise UserError(
                "no key of a run; there are "
                f"{', '.join(k for k in RunConfig.model_fields if k not in (SEED, 'name'))}",
                place,
            )
    if sets_key(screen.base, screen.key):
        raise UserError(f"sets {screen.key}, which is screened", "screen.base")
    columns = {column: axis.name for axis in axes for column in axis.columns}
    for i, column in enumerate(screen.share):
        if column not in columns:
            raise UserError(
                f"no column of the grid; there are {', '.join(columns)}", f"screen.share.{i}"
            )
    for axis in axes:
        if axis.name == SCREEN:
            raise UserError("the name of the screening's own axis", f"grid.{SCREEN}")
        if any(sets_key(level.settings, screen.key) for level in axis.levels):
            raise UserError(f"clashes with grid.{axis.name}, which sets {screen.key}", "screen.key")
    for column in (screen.key, AT_END):
        if column in columns:
            raise UserError(
                f"has the column {column}, which the screening adds to the tables",
                f"grid.{columns[column]}",
            )


def _planned(
    config: StudyConfig,
    axes: Sequence[Axis],
    choice_of: Callable[[Cell], Choice | None] = lambda _: None,
) -> Iterator[PlannedRun]:
    """The rows, the last axis changing fastest and the seeds before all.

    Args:
        config: with a ``screen``, a cell without a choice has no rows.
        axes: of its grid.
        choice_of: the choice of a cell, by :meth:`ScreenConfig.cell`.
    """
    seeds = config.seeds
    if len(set(seeds)) < len(seeds):
        raise UserError(f"the same seed twice in {shown(seeds)}", "seeds")
    size = math.prod(len(axis.levels) for axis in axes) * len(seeds)
    if size > MOST_RUNS:
        raise UserError(f"plans {size} runs; {MOST_RUNS} are the most", "grid")
    _check_by_seed(config, axes)
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
            run = _resolved(config, (*levels, Level({}, own)), columns)
            shown_own = {key: shown_cell(value) for key, value in own.items()}
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


def _check_by_seed(config: StudyConfig, axes: Sequence[Axis]) -> None:
    """Each is a key of a run that nothing else sets."""
    others = {
        key: f"grid.{axis.name}" for axis in axes for lv in axis.levels for key in lv.settings
    }
    if config.screen is not None:
        others[config.screen.key] = "screen.key"
    for key in config.by_seed:
        if key in (SEED, "name") or key.partition(".")[0] not in RunConfig.model_fields:
            raise UserError(
                "no key of a run that a seed can set; there are "
                f"{', '.join(k for k in RunConfig.model_fields if k not in (SEED, 'name'))}",
                f"by_seed.{key}",
            )
        for other, owner in others.items():
            if touches(key, other):
                raise UserError(f"clashes with {owner}, which sets {other}", f"by_seed.{key}")


def _resolved(
    config: StudyConfig,
    levels: Sequence[Level],
    columns: Mapping[str, Scalar],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The run of a cell of the grid, checked: resolved, and what of it is not at its default."""
    data = {"name": "run", **copy.deepcopy(config.base)}
    try:
        for level in levels:
            for key, value in level.settings.items():
                set_key(data, key, copy.deepcopy(value))
        run = settled_config(parse_config(data, ""))
    except UserError as error:
        raise blamed(error, config, columns) from None
    particular = run.model_dump(mode="json", exclude_defaults=True, exclude={"subject"})
    if not particular.get("evaluation", True):  # all at its default, in the subject's own model
        del particular["evaluation"]
    return run.model_dump(mode="json"), particular


def blamed(error: UserError, config: StudyConfig, columns: Mapping[str, Scalar]) -> UserError:
    """An error of a run's key, told by the key of the study that set it."""
    faults = [_told_by_setter(fault, config) for fault in error.faults]
    return UserError.of(faults, note=f"(in the run with {describe(columns)})")


def _told_by_setter(fault: Fault, config: StudyConfig) -> Fault:
    """A run's error, its path led by what in the study set it."""
    path = fault.key
    if any(touches(key, path) for key in config.by_seed):
        return fault.under("by_seed")
    for axis, values in reversed(config.grid.items()):
        if axis.partition(".")[0] in RunConfig.model_fields:
            if axis.startswith(f"{path}."):  # a part was set, and the whole is found wrong
                return Fault(f"grid.{axis}", fault.message)
            if touches(axis, path):
                return fault.under("grid")
        elif any(touches(key, path) for item in values for key in item if key != "label"):
            return Fault(axis if axis == SCREEN else f"grid.{axis}", str(fault))
    return fault.under("base")


def _check_distinct(runs: Sequence[PlannedRun]) -> None:
    first: dict[str, PlannedRun] = {}
    for run in runs:
        other = first.setdefault(run.id, run)
        if other is not run:
            raise UserError(
                f"two rows are the same run: {describe(other.columns)} and {describe(run.columns)}",
                "grid",
            )


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
