"""The axes of a grid: their levels, and the keys of a run that each sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rl_serial.config import RunConfig
from rl_serial.errors import OptionError, UserError, shown
from rl_serial.study.schema import SEED, Axis, Cell, Level, Scalar, describe, range_levels


def sets_key(settings: Mapping[str, Any], key: str) -> bool:
    """Whether settings, dotted or nested, set a key or a part of it."""
    return any(
        path == key
        or path.startswith(f"{key}.")
        or (
            key.startswith(f"{path}.")
            and isinstance(value, dict)
            and sets_key(value, key.removeprefix(f"{path}."))
        )
        for path, value in settings.items()
    )


def first_of_shared(axis: Axis, share: Sequence[str]) -> Axis:
    """The axis without the levels that differ from an earlier one in shared columns alone."""
    first: dict[Cell, Level] = {}
    for level in axis.levels:
        own = tuple(cell for column, cell in level.columns.items() if column not in share)
        first.setdefault(own, level)
    return Axis(axis.name, tuple(first.values()))


def as_data(axis: Axis) -> list[Any]:
    """The levels of an axis as a study's file has them."""
    if axis.name.partition(".")[0] in RunConfig.model_fields:
        return [level.settings[axis.name] for level in axis.levels]
    return [{"label": level.columns, **level.settings} for level in axis.levels]


def axes_of(grid: dict[str, Any]) -> list[Axis]:
    """The axes of the key ``grid`` of a study's file, in its order.

    Raises:
        UserError: it is empty, or has a wrong axis.
    """
    if not grid:
        raise UserError("empty; a study needs an axis, as in network.depth: [2, 8]", "grid")
    return [_axis(name, value, f"grid.{name}") for name, value in grid.items()]


def _axis(name: str, value: Any, key: str) -> Axis:
    """The axis that ``key`` of a study gives."""
    if name in (SEED, "name") or name.startswith(f"{SEED}."):
        right = "the key seeds says how many" if name == SEED else "rows are named by their ids"
        raise UserError(f"no axis of a grid; {right}", key)
    try:
        values = range_levels(value) if isinstance(value, dict) else value
    except OptionError as error:
        raise UserError(error.message, f"{key}.{error.option}") from None
    except ValueError as error:
        raise UserError(error, key) from None
    if not isinstance(values, list):
        raise UserError(
            f"must be a list or {{start, stop, step or factor}}, not {shown(value)}", key
        )
    if not values:
        raise UserError("empty", key)
    if name.partition(".")[0] in RunConfig.model_fields:
        levels = [Level({name: shown_cell(item)}, {name: item}) for item in values]
    else:
        levels = [_paired(name, item, key, f"{key}.{i}") for i, item in enumerate(values)]
    axis = Axis(name, tuple(levels))
    for i, level in enumerate(axis.levels):
        if tuple(level.columns) != axis.columns:
            raise UserError(
                f"has the columns {', '.join(level.columns)}, but the first level has "
                f"{', '.join(axis.columns)}",
                f"{key}.{i}.label",
            )
        if level.columns in [other.columns for other in axis.levels[:i]]:
            raise UserError(f"{describe(level.columns)} is there twice", f"{key}.{i}")
    return axis


def _paired(name: str, item: Any, axis: str, place: str) -> Level:
    """A level that sets several keys, ``{label: …, key: value, …}``, at a place of an axis."""
    if not isinstance(item, dict):
        raise UserError(
            f"no key of a run; there are {', '.join(RunConfig.model_fields)}; paired keys are "
            "{label: …, key: value}",
            axis,
        )
    settings = dict(item)
    label = settings.pop("label", None)
    columns = label if isinstance(label, dict) else {name: label}
    if label is None or not columns:
        raise UserError("missing; it names the level in tables and figures", f"{place}.label")
    for column, cell in columns.items():
        if not isinstance(column, str) or not isinstance(cell, Scalar):
            raise UserError("must be a text, a number or columns with them", f"{place}.label")
        if column == SEED:
            raise UserError("the column of that name is the run's seed", f"{place}.label.{SEED}")
    for key in settings:
        if key in (SEED, "name") or str(key).partition(".")[0] not in RunConfig.model_fields:
            raise UserError(
                "no key of a run that a level can set; there are "
                f"{', '.join(k for k in RunConfig.model_fields if k not in (SEED, 'name'))}",
                f"{place}.{key}",
            )
    return Level(dict(columns), settings)


def shown_cell(value: Any) -> Scalar:
    """A level as a table shows it."""
    if isinstance(value, dict):
        return " ".join(f"{key}={shown_cell(item)}" for key, item in value.items())
    return value if isinstance(value, Scalar) else str(value)


def check_clashes(axes: Sequence[Axis]) -> None:
    """No key is set twice, and a whole is set before its parts."""
    owner: dict[str, str] = {}
    columns: dict[str, str] = {}
    for axis in axes:
        for column in axis.columns:
            if column in columns:
                raise UserError(
                    f"clashes with grid.{columns[column]}, which has the column {column} too",
                    f"grid.{axis.name}",
                )
            columns[column] = axis.name
        keys = {key for level in axis.levels for key in level.settings}
        for key in sorted(keys):
            for earlier, other in owner.items():
                if key == earlier or earlier.startswith(f"{key}."):
                    part = "" if key == axis.name else f"{key}: "
                    raise UserError(
                        f"{part}clashes with grid.{other}, which sets {earlier}",
                        f"grid.{axis.name}",
                    )
        owner |= dict.fromkeys(keys, axis.name)


def touches(key: str, path: str) -> bool:
    """Whether two dotted keys are the same or one lies within the other."""
    return key == path or path.startswith(f"{key}.") or key.startswith(f"{path}.")
