"""Configurations of runs from YAML files and ``key=value`` overrides, checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rl_serial.agents.registry import AGENTS, AgentKind, Need, kinds_playing
from rl_serial.config import (
    NETWORKS,
    RunConfig,
    refuse_truth_values,
)
from rl_serial.errors import OptionError, UserError, shown
from rl_serial.networks.config import BudgetConfig, NetworkConfig
from rl_serial.settings import faults_of, inside, listed
from rl_serial.subjects import row_of, settled, subjects_of
from rl_serial.yaml_core import MOST_CHARACTERS, MOST_NESTING, YAMLError, load_yaml


def load_config(file: Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a run's YAML file and apply ``key.path=value`` overrides.

    Raises:
        UserError: every key that is wrong, each on a line with its path.
    """
    return parse_config(read_yaml(file), str(file), overrides, default_name=file.stem)


def parse_config(
    data: dict[str, Any], source: str, overrides: list[str] | None = None, default_name: str = "run"
) -> RunConfig:
    """Build a configuration from plain data.

    Args:
        data: the keys of a run; overrides are set in it.
        source: what errors call it.
        overrides: ``key.path=value``.
        default_name: of a run that gives itself none.

    Raises:
        UserError: every key that is wrong, or parts that do not go together.
    """
    for override in overrides or []:
        _override(data, override)
    try:
        config = _examined_by_its_subject(RunConfig.model_validate({"name": default_name} | data))
    except ValidationError as error:
        raise UserError.of(faults_of(error, partial(_keys_at, data)), source) from None
    try:
        check_config(config)
    except UserError as error:
        raise error.at(source) from None
    return config


def settled_config(config: RunConfig) -> RunConfig:
    """The configuration with its subject where only the environment tells it, which is then made.

    Raises:
        UserError: an environment that cannot be made.
    """
    subject = settled(config)
    if subject == config.subject:
        return config
    return _examined_by_its_subject(config.model_copy(update={"subject": subject}))


def resolved_config(data: Mapping[str, Any]) -> RunConfig:
    """A configuration from the plain data of one that was checked before."""
    return _examined_by_its_subject(RunConfig.model_validate(data))


def _examined_by_its_subject(config: RunConfig) -> RunConfig:
    """The configuration with its evaluation as its subject has it."""
    model = row_of(config.env.id, config.agent.kind, config.subject).evaluation
    given = config.evaluation.model_dump(exclude_unset=True)
    try:
        evaluation = model.model_validate(given)
        refuse_truth_values(given, evaluation.model_dump())
    except (ValidationError, OptionError) as error:
        raise inside("evaluation", error) from None
    return config.model_copy(update={"evaluation": evaluation})


def check_config(config: RunConfig) -> None:
    """What the parts of a run ask of each other.

    Raises:
        UserError: parts that do not go together.
    """
    agent = AGENTS[config.agent.kind]
    row = row_of(config.env.id, agent.kind, config.subject)
    if config.subject not in (None, *(there := subjects_of(config.env.id, agent.kind))):
        raise UserError(
            f"must be {listed(there)} with this environment and agent, not {shown(config.subject)}",
            "subject",
        )
    if row.name not in agent.subjects:
        raise UserError(
            f"{config.env.id} is {row.a_member}, where agent.kind {agent.kind} does not play; "
            f"{', '.join(kinds_playing(row.name))} do",
            "env.id",
        )
    for key in NETWORKS:
        _check_network(key, getattr(config, key) is not None, agent, config)
    row.check(config)


def _check_network(key: str, given: bool, agent: AgentKind, config: RunConfig) -> None:
    """Which networks an agent has."""
    need = agent.networks.get(key)
    if need is not None and need.there(config.agent):
        if not given and not need.optional:
            what = f"the agent {agent.kind}"
            if need.where is not None:
                what = f"agent.{need.where[0]} {need.where[1]}"
            raise UserError(f"missing; {what} needs one", key)
        return
    if not given:
        return
    having = [
        f"{kind}{_with(row.networks[key])}" for kind, row in AGENTS.items() if key in row.networks
    ]
    instead = agent.without_networks or f"only agent.kind {', '.join(having)} can have one"
    raise UserError(f"the agent {agent.kind} has no {key}; {instead}", key)


def _with(need: Need) -> str:
    return "" if need.where is None else f" with agent.{need.where[0]} {need.where[1]}"


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file, read as :mod:`rl_serial.yaml_core` says.

    Raises:
        UserError: there is no such file, or it holds something else; with the line and the key.
    """
    try:
        if file.exists() and not file.is_file():  # a pipe would be waited for
            raise UserError("not a file", source=file)
        with file.open("rb") as stream:
            data = load_yaml(stream.read(4 * MOST_CHARACTERS + 1).decode())
    except OSError as error:
        raise UserError(error.strerror or error, source=file) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError("not YAML: not UTF-8", source=f"{file}, line {line}") from None
    except YAMLError as error:
        place = file if error.line is None else f"{file}, line {error.line}"
        told = f"{error.problem}; a run is keys with values, see configs/"
        raise UserError(told, error.key, place) from None
    if not isinstance(data, dict):
        raise UserError("holds no keys with values; see configs/ for examples", source=file)
    return data


def _override(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(
            "an override is key.path=value, as in network.depth=8", source=shown(override)
        )
    try:
        value = load_yaml(text)
    except YAMLError as error:
        raise UserError(f"{shown(text)} is not a YAML value: {error}", path) from None
    set_key(data, path, value)


def set_key(data: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted key of a run's plain data, in place.

    Another ``agent.kind`` drops the keys of the old one; ``width`` and ``budget`` replace each
    other.

    Raises:
        UserError: the path leads through something that holds no keys.
    """
    *parents, key = path.split(".")
    if len(parents) >= MOST_NESTING:
        raise UserError(f"nested more than {MOST_NESTING} deep", path)
    for parent in parents:
        if parent == "budget":
            data.pop("width", None)
        child = data.setdefault(parent, {})
        if child is None:
            child = data[parent] = {}
        if not isinstance(child, dict):
            raise UserError(f"{parent} holds {shown(child)}, not keys with values", path)
        data = child
    if path == "agent.kind" and data.get("kind") != value:
        data.clear()  # the keys of one agent mean nothing to another; networks share theirs
    if key in ("width", "budget"):
        data.pop("budget" if key == "width" else "width", None)
    data[key] = value


def _keys_at(data: dict[str, Any], location: tuple[int | str, ...]) -> list[str]:
    """The keys that there are at a place of a run."""
    name = str(location[-1]) if location else ""
    models: dict[str, type[BaseModel]] = {"": RunConfig, "budget": BudgetConfig}
    models |= dict.fromkeys(NETWORKS, NetworkConfig)
    if name == "agent":
        models[name] = AGENTS[data["agent"]["kind"]].config
    if name == "evaluation":
        models[name] = row_of(
            data["env"]["id"], data["agent"]["kind"], data.get("subject")
        ).evaluation
    return list(models[name].model_fields) if name in models else []
