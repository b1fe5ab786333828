"""The file of a search: a run, keys with ranges, what is to be best."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from rl_serial.config import RunConfig, checked_name
from rl_serial.errors import Fault, UserError, did_you_mean
from rl_serial.loading import parse_config, read_yaml, set_key
from rl_serial.metrics import Measure
from rl_serial.settings import Settings, faults_of
from rl_serial.shipped import resolved
from rl_serial.study.measures import measures_of

Scalar = str | int | float | bool


class Range(Settings):
    """Numbers from ``low`` to ``high``, both included; whole ones where both are."""

    low: int | float
    high: int | float
    log: bool = False  # drawn evenly by their logarithm
    step: Annotated[int | float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low must be less than high, not {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"with log low must be greater than 0, not {self.low}")
        if self.log and self.step is not None:
            raise ValueError("log and step do not go together")
        return self

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers alone."""
        return all(isinstance(n, int) for n in (self.low, self.high, self.step or 1))


class TuneConfig(Settings):
    """Everything that determines a search."""

    base: dict[str, Any] | str  # a run: its keys, its file from this one's folder, or a name
    search: dict[str, list[Scalar] | Range]  # by dotted keys: levels, or a range
    metric: str  # of the run's last examination
    direction: Literal["maximize", "minimize"] | None = None  # None: as the metric says
    trials: Annotated[int, Field(gt=0, le=100_000)] = 20
    seeds: Annotated[int, Field(gt=0, le=100)] = 1  # runs of a trial, whose mean counts
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    pruner: Literal["median", "halving", "none"] = "median"  # ends trials that lag, seed 0 alone
    startup_trials: Annotated[int, Field(ge=0)] = 5  # before which nothing is pruned or modelled
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0  # of the sampler

    @field_validator("search")
    @classmethod
    def _levels(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not value:
            raise ValueError("is empty; give keys of the run with levels or ranges")
        for key, levels in value.items():
            if isinstance(levels, list) and len(levels) < 2:
                raise ValueError(f"{key}: a list of two levels or more, not {levels}")
        return value

    @model_validator(mode="after")
    def _grid_of_levels(self) -> TuneConfig:
        ranges = [key for key, levels in self.search.items() if isinstance(levels, Range)]
        if self.sampler == "grid" and ranges:
            raise ValueError(f"sampler grid wants lists of levels, and {ranges[0]} is a range")
        return self


def read_tune(file: Path) -> tuple[str, TuneConfig, dict[str, Any]]:
    """The name of a search, its keys, and the plain data of its base run.

    Raises:
        UserError: every key that is wrong, with its path; also a run that the search can draw and
            that is wrong, and a metric that it does not log.
    """
    data = read_yaml(file)
    try:
        name = checked_name(file.stem)
        config = TuneConfig.model_validate(data)
    except ValidationError as error:
        raise UserError.of(
            faults_of(error, lambda _: list(TuneConfig.model_fields)), str(file)
        ) from None
    except ValueError as error:
        raise UserError(
            f"the name of the file, which names the folder: {error}", source=file
        ) from None
    if isinstance(config.base, str):
        path = file.parent / config.base
        base = read_yaml(path if path.is_file() else resolved(Path(config.base), "train"))
    else:
        base = dict(config.base)
    base.pop("name", None)
    for levels in _corners(config):
        try:
            run = run_of(base, levels, "trial")
        except UserError as error:
            told = ", ".join(f"{key}={value}" for key, value in levels.items())
            raise UserError.of(
                (Fault(f.key, f.message) for f in error.faults),
                str(file),
                f"(in a run with {told})",
            ) from None
    measure_of(run, config.metric, str(file))
    return name, config, base


def run_of(base: dict[str, Any], levels: dict[str, Any], name: str, seed: int = 0) -> RunConfig:
    """The run of a trial: the base with the drawn levels, ``seed`` seeds further."""
    data = deepcopy(base)
    for key, value in levels.items():
        set_key(data, key, value)
    data["name"] = name
    if seed:
        data["seed"] = data.get("seed", 0) + seed
    return parse_config(data, "")


def measure_of(run: RunConfig, metric: str, source: str) -> Measure:
    """The metric that a search is about.

    Raises:
        UserError: the run does not log it, or it is several numbers.
    """
    there = measures_of(run.model_dump(mode="json"))
    single = [name for name, measure in there.items() if not measure.over]
    if metric not in single:
        near = did_you_mean(metric, single)
        raise UserError(
            f"{metric!r} is no number that the run logs; there are {', '.join(single)}{near}",
            "metric",
            source,
        )
    return there[metric]


def _corners(config: TuneConfig) -> list[dict[str, Any]]:
    """Levels that are tried before anything runs: each key's lowest with the rest's first."""
    first = {key: _ends(levels)[0] for key, levels in config.search.items()}
    corners = [first]
    for key, levels in config.search.items():
        corners += [{**first, key: end} for end in _ends(levels)[1:]]
    return corners


def _ends(levels: list[Scalar] | Range) -> list[Scalar]:
    return levels if isinstance(levels, list) else [levels.low, levels.high]
