"""JSON schemas of configurations, for editors, and what each key means.

The schemas are made from the models that loading checks with, the registry of environments and the
tables of agents, trunks and subjects. What a schema refuses loading refuses too, but not the other
way round: how keys go together only loading knows.
"""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import fields
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticUndefined

from rl_serial.agents.registry import AGENTS
from rl_serial.config import NETWORKS, EnvConfig, EvaluationConfig, RunConfig, WandbConfig
from rl_serial.envs.registry import ENV_IDS, NAMESPACE, TASKS, options_of
from rl_serial.networks.config import BudgetConfig, NetworkConfig
from rl_serial.networks.trunks import TRUNKS
from rl_serial.settings import MOST, MOST_STEPS
from rl_serial.study.schema import StudyConfig
from rl_serial.subjects import SUBJECTS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
AGENTS_KEY = "agent"
Schema = dict[str, Any]


class _Lenient(GenerateJsonSchema):
    """What pydantic cannot say in a schema is left open; here it is said by hand."""

    ignored_warning_kinds = {"non-serializable-default", "skipped-choice"}  # noqa: RUF012

    def function_plain_schema(self, schema: Any) -> Schema:
        return {}


def run_schema() -> Schema:
    """The JSON schema of a run's file."""
    whole = _schema_of(RunConfig)
    kinds = {row.config.__name__: _schema_of(row.config) for row in AGENTS.values()}
    definitions = whole.pop("$defs")
    for name, schema in kinds.items():
        definitions |= schema.pop("$defs", {})
        definitions[name] = schema
    definitions["agent"] = _agents()
    definitions["EnvConfig"] = _environments()
    definitions["NetworkConfig"] = _networks(definitions["NetworkConfig"])
    definitions["evaluation"] = _evaluations(definitions)
    whole["properties"]["agent"] = {"$ref": "#/$defs/agent"}
    whole["properties"]["evaluation"] = {"$ref": "#/$defs/evaluation"}
    definitions.pop(EvaluationConfig.__name__, None)
    whole["required"] = ["env", "agent"]  # the file names the run
    return _finished(whole | {"$defs": definitions}, "A run of rl_serial")


def study_schema() -> Schema:
    """The JSON schema of a study's file."""
    run = run_schema()
    whole = _schema_of(StudyConfig)
    definitions = whole.pop("$defs") | run.pop("$defs")
    base = {key: run[key] for key in ("type", "properties", "additionalProperties")}
    definitions["base"] = base | {"description": "The run from which the grid's runs differ."}
    file = {"type": "string", "description": "the file of a run, from this one's folder"}
    whole["properties"]["base"] = {"anyOf": [file, {"$ref": "#/$defs/base"}]}
    for key in ("metric", "tuned"):
        several = whole["properties"][key]
        one = {"type": "string"}
        whole["properties"][key] = {"anyOf": [one, several]}
    _open_lists(definitions, whole)
    return _finished(whole | {"$defs": definitions}, "A study of rl_serial")


def _open_lists(definitions: Schema, whole: Schema) -> None:
    """Where a number, a range or a text stands for a list."""
    for owner, key in ((whole, "seeds"), (definitions["ScreenConfig"], "seeds")):
        count = {"type": "integer", "minimum": 1}
        owner["properties"][key] = {"anyOf": [count, owner["properties"][key]]}
    seeds = definitions["SmokeConfig"]["properties"]["seeds"]
    seeds["anyOf"].append({"type": "integer", "minimum": 1})
    levels = definitions["ScreenConfig"]["properties"]["levels"]
    definitions["ScreenConfig"]["properties"]["levels"] = {"anyOf": [{"type": "object"}, levels]}


def _schema_of(model: type[BaseModel]) -> Schema:
    """Pydantic's schema, with the notes of the models' own source as descriptions."""
    return deepcopy(_described(model))


@cache
def _described(model: type[BaseModel]) -> Schema:
    schema = model.model_json_schema(schema_generator=_Lenient)
    for name, part in [(model.__name__, schema), *schema.get("$defs", {}).items()]:
        owner = models().get(name)
        if owner is None:
            continue
        told = notes(owner)
        for key, property_ in part.get("properties", {}).items():
            property_.pop("title", None)
            if told.get(key):
                property_["description"] = told[key]
    return schema


def models() -> dict[str, type[BaseModel]]:
    """Every model of a configuration by its name."""
    from rl_serial.study import schema

    found: list[type[BaseModel]] = [RunConfig, EnvConfig, EvaluationConfig]
    found += [NetworkConfig, BudgetConfig, WandbConfig]
    found += [m for m in vars(schema).values() if isinstance(m, type) and issubclass(m, BaseModel)]
    found += [row.config for row in AGENTS.values()]
    found += [row.evaluation for row in SUBJECTS.values()]
    return {model.__name__: model for model in found}


def _agents() -> Schema:
    return {
        "type": "object",
        "description": "Who plays, and how it learns.",
        "required": ["kind"],
        "properties": {"kind": {"enum": list(AGENTS)}},
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/{row.config.__name__}"},
            }
            for kind, row in AGENTS.items()
        ],
    }


def _environments() -> Schema:
    """An id, and of the package's own chains the options that there are."""
    cases = []
    for id_, (family, _) in ENV_IDS.items():
        if not family.is_own:
            continue
        options = {"id": {}, **{key: _option(*found) for key, found in _options(id_).items()}}
        same = [id_, f"{NAMESPACE}:{id_}"]
        options[family.option]["enum"] = list(family.settings)
        cases.append(
            {
                "if": {"properties": {"id": {"enum": same}}, "required": ["id"]},
                "then": {"properties": options, "additionalProperties": False},
            }
        )
    own = [id_ for id_, (family, _) in ENV_IDS.items() if family.is_own]
    return {
        "type": "object",
        "description": "An environment's id and, beside it, its options.",
        "required": ["id"],
        "properties": {"id": {"type": "string", "examples": own}},
        "allOf": cases,
    }


def _options(id_: str) -> dict[str, tuple[Any, type[Any]]]:
    """The options of a chain: default, and class that has them."""
    family, task = ENV_IDS[id_]
    owners = {field.name: owner for owner in (TASKS[task], family.chain) for field in fields(owner)}
    return {key: (value, owners[key]) for key, value in options_of(family.name, task).items()}


def _option(default: Any, owner: type[Any]) -> Schema:
    schema: Schema = {"default": default}
    if type(default) in JSON_TYPES:
        schema["type"] = JSON_TYPES[type(default)]
    return schema


def _networks(schema: Schema) -> Schema:
    """With the kinds that there are, and what trunks from outside have."""
    schema["properties"]["kind"] |= {"enum": list(TRUNKS)}
    schema["properties"]["budget"] |= {"default": None}
    schema["additionalProperties"] = True
    return schema


def _evaluations(definitions: Schema) -> Schema:
    """The keys of every subject's examination."""
    properties: Schema = {}
    for row in SUBJECTS.values():
        schema = _schema_of(row.evaluation)
        definitions |= schema.pop("$defs", {})
        properties |= schema["properties"]
    return {
        "type": "object",
        "description": "How often and on how many evaluation instances an agent is examined.",
        "properties": properties,
        "additionalProperties": False,
    }


def _finished(schema: Schema, title: str) -> Schema:
    """With limits of whole numbers, and without what says nothing."""
    _limit(schema)
    about = {"description": "Made by `rl-serial config --schema`; see docs/configuration.md."}
    return {"$schema": DIALECT, "title": title, **about, **_without_titles(schema)}


def _limit(node: Any, key: str = "") -> None:
    if isinstance(node, list):
        for item in node:
            _limit(item, key)
    elif isinstance(node, dict):
        if node.get("type") == "integer" and "exclusiveMaximum" not in node:
            node.setdefault("maximum", MOST.get(key, MOST_STEPS))
        if "true" in node.get("enum", ()):  # what YAML reads as a truth value
            node["enum"] = [*node["enum"], True]
            node.pop("type", None)
        for name, item in node.items():
            if name == "properties":
                for inner, schema in item.items():
                    _limit(schema, inner)
            elif name not in ("default", "enum", "const", "examples"):
                _limit(item, key)


def _without_titles(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key not in ("title", "description")}


@cache
def notes(model: type[BaseModel]) -> dict[str, str]:
    """What the source says of each field: its comment, behind it or in the lines above it."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, BaseModel) and owner is not BaseModel:
            found |= dict(_comments(owner))
    return {key: text for key, text in found.items() if key in model.model_fields}


def _comments(owner: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Of the fields that the class itself has."""
    try:
        source = textwrap.dedent(inspect.getsource(owner))
    except (OSError, TypeError):  # made without a file
        return
    comments: dict[int, tuple[str, bool]] = {}  # by line: the text, and whether it stands alone
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith("# type:"):
            (line, column), text = token.start, token.string.removeprefix("#").strip()
            comments[line] = text, not token.line[:column].strip()
    [made] = ast.parse(source).body
    assert isinstance(made, ast.ClassDef)
    for node in made.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        told = [comments[line][0] for line in lines if line in comments]
        above = node.lineno - 1
        while not told and above in comments and comments[above][1]:
            above -= 1
        told = told or [comments[line][0] for line in range(above + 1, node.lineno)]
        if told:
            yield node.target.id, " ".join(told)


def keys() -> dict[str, type[BaseModel] | str]:
    """Every dotted key of a run, with the model that has it, or the id of the environment."""
    found: dict[str, Any] = {}
    for key in RunConfig.model_fields:
        found.setdefault(key, RunConfig)
    for name in NETWORKS:
        for key in NetworkConfig.model_fields:
            found[f"{name}.{key}"] = NetworkConfig
        for key in BudgetConfig.model_fields:
            found[f"{name}.budget.{key}"] = BudgetConfig
    for id_ in ENV_IDS:
        for key in ("id", *_options(id_)):
            found.setdefault(f"env.{key}", id_)
    for row in AGENTS.values():
        for key in row.config.model_fields:
            found.setdefault(f"agent.{key}", row.config)
    for subject in SUBJECTS.values():
        for key in subject.evaluation.model_fields:
            found.setdefault(f"evaluation.{key}", subject.evaluation)
    for key in WandbConfig.model_fields:
        found[f"wandb.{key}"] = WandbConfig
    return found


def explained(key: str) -> list[tuple[str, ...]]:
    """What a dotted key can hold: rows (where it is, values, default, what it means)."""
    part, _, rest = key.partition(".")
    if part == "env" and rest not in ("", "id"):
        return _explained_options(rest)
    owners: list[tuple[str, type[BaseModel]]] = []
    if part == AGENTS_KEY and rest:
        owners = [(f"agent.kind {kind}", row.config) for kind, row in AGENTS.items()]
    elif part == "evaluation" and rest:
        owners = [(f"on {name}", row.evaluation) for name, row in SUBJECTS.items()]
    elif part == "wandb" and rest:
        owners = [(part, WandbConfig)]
    elif part in NETWORKS and rest:
        owners = [(part, BudgetConfig if rest.startswith("budget.") else NetworkConfig)]
        rest = rest.removeprefix("budget.")
    elif part == "env" and rest == "id":
        owners = [("every run", EnvConfig)]
    else:
        owners, rest = [("every run", RunConfig)], key
    rows: list[tuple[str, ...]] = [
        (where, *_explained(model, rest)) for where, model in owners if rest in model.model_fields
    ]
    return _merged(rows)


def _explained(model: type[BaseModel], key: str) -> tuple[str, str, str]:
    schema = _schema_of(model)
    _limit(schema)
    field, property_ = model.model_fields[key], schema["properties"][key]
    if model is NetworkConfig and key == "kind":
        property_ = {"enum": list(TRUNKS)}
    if model is RunConfig and key == AGENTS_KEY:
        property_ = _agents()
    default = field.get_default(call_default_factory=True)
    shown = "needed" if default is PydanticUndefined else _word(default)
    if model is RunConfig and key == "name":
        shown = "the file's"
    return values_in_words(property_, schema.get("$defs", {})), shown, notes(model).get(key, "")


def _explained_options(option: str) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for id_, (family, _) in ENV_IDS.items():
        if option in (found := _options(id_)):
            default, owner = found[option]
            values = JSON_TYPES.get(type(default)) or ""
            if option == family.option:
                values = ", ".join(map(str, family.settings))
            rows.append((id_, values, _word(default), _argument(owner, option)))
    return _merged(rows)


def _argument(owner: type[Any], name: str) -> str:
    """What the ``Args`` of a docstring say of one."""
    lines = iter(inspect.cleandoc(owner.__doc__ or "").partition("Args:\n")[2].splitlines())
    for line in lines:
        if line.strip().startswith(f"{name}:"):
            told = [line.strip().partition(":")[2].strip()]
            for further in lines:
                if not further.startswith(" " * 8):
                    break
                told.append(further.strip())
            return " ".join(told)
    return ""


def _merged(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Rows that differ in the first column alone as one."""
    merged: dict[tuple[str, ...], list[str]] = {}
    for where, *rest in rows:
        merged.setdefault(tuple(rest), []).append(where)
    return [(_together(places), *rest) for rest, places in merged.items()]


def _together(places: list[str]) -> str:
    first = places[0]
    lead = first[: first.rfind(" ") + 1]
    if len(places) > 1 and lead and all(place.startswith(lead) for place in places):
        return lead + ", ".join(place.removeprefix(lead) for place in places)
    return ", ".join(places)


def values_in_words(schema: Schema, definitions: Schema) -> str:
    """What a schema takes, in a line."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        inner = definitions.get(name, {}).get("properties", {})
        return f"keys: {', '.join(inner)}" if inner else "keys with values"
    if "enum" in schema or "const" in schema:
        return ", ".join(map(_word, schema.get("enum", [schema.get("const")])))
    if "anyOf" in schema:
        return " or ".join(values_in_words(part, definitions) for part in schema["anyOf"])
    kind = schema.get("type", "")
    if kind == "array":
        inner = schema.get("items") or {}
        several = [values_in_words(p, definitions) for p in schema.get("prefixItems", [])]
        return f"list of {' and '.join(several) or values_in_words(inner, definitions)}"
    if schema.get("properties"):
        return f"keys: {', '.join(schema['properties'])}"
    words = {"integer": "whole number", "object": "keys with values", "string": "text"}
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    limits = [f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema]
    return f"{words.get(kind, kind)} {', '.join(limits)}".strip()


def _word(value: Any) -> str:
    """A value as YAML writes it in a line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        return "its defaults"
    return str(value)
