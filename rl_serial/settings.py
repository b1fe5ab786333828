"""What every part of a configuration is made of: a frozen model, limits, and words for errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import InitErrorDetails

from rl_serial.arguments import MOST_SEED
from rl_serial.errors import Fault, OptionError, did_you_mean, shown
from rl_serial.yaml_core import shown_key

MOST = {
    "depth": 1024,  # Wang et al. 2025 train to this depth
    "layers": 512,
    "loops": 1024,
    "width": 2**15,
    "parameters": 2**30,  # 16 GiB with gradient and Adam's two moments
    "flops": 10**15,
    "num_envs": 2**16,
    "processes": 1024,
    "unroll": 2**20,
    "n_steps": 2**20,
    "batch_size": 2**20,
    "buffer_size": 10**9,
    "prefill": 10**9,
    "representation": 2**15,
    "simulations": 2**17,
    "max_depth": 2**20,
    "horizon": 2**12,
    "carry": 2**20,
    "samples": 2**20,
    "iterations": 2**12,
    "memory": 10**9,
    "random_steps": 10**9,
    "instances": 2**20,
    "per_remaining": 2**20,
    "max_episode_steps": 100_000,
    "frame_skip": 1000,
}
"""The largest whole number that a key of this name may hold."""

MOST_STEPS = 10**12
"""The largest that any other key may hold: steps and updates of a training."""

MOST_ROWS = 10**9
"""Steps that a memory holds, those of all environments together."""

MOST_PLANNED = 2**24
"""Actions of a planner's samples: samples * horizon."""

MOST_PATH = 4096
"""Of a network: depth * loops."""

Seed = Annotated[int, Field(ge=0, lt=MOST_SEED + 1)]
"""What NumPy, torch and Stable-Baselines3 all take as a seed."""

Loops = Annotated[int, Field(gt=0, le=MOST["loops"])]
"""How often a network runs its stack."""

Once = AfterValidator(lambda values: list(dict.fromkeys(values)))
"""Of a list: what is asked for twice is done once, where it comes first."""

ModelKind = Annotated[
    Literal["true", "learned"], BeforeValidator(lambda value: "true" if value is True else value)
]
"""The model that a planner uses: ``true``, which YAML reads as a truth value, or ``learned``."""


class Settings(BaseModel):
    """A part of a configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _not_too_large(cls, value: Any, info: ValidationInfo) -> Any:
        refuse_too_large(value, info.field_name or "")
        return value


def refuse_too_large(value: Any, key: str, path: str = "") -> None:
    """Hold whole numbers, also those inside lists and mappings, against :data:`MOST`.

    Raises:
        ValueError: one that is larger; the message begins with its path below ``key``, if any.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            refuse_too_large(item, name, f"{path}{name}.")
    elif isinstance(value, list):
        for item in value:
            refuse_too_large(item, key, path)
    elif isinstance(value, int) and abs(value) > (most := MOST.get(key, MOST_STEPS)):
        message = f"must be {most} at most, not {shown(value)}"
        raise OptionError(path.removesuffix("."), message) if path else ValueError(message)


def one_of(known: Iterable[str], given: str) -> str:
    """A word that a registry knows.

    Raises:
        ValueError: it does not; the message lists those that it knows.
    """
    known = list(known)
    if given not in known:
        raise ValueError(f"must be {listed(known)}, not {shown(given)}{did_you_mean(given, known)}")
    return given


def listed(words: Sequence[str]) -> str:
    """Words as a message gives a choice: ``'a', 'b' or 'c'``."""
    *first, last = map(repr, words)
    return f"{', '.join(first)} or {last}" if first else last


_EXPECTED = {
    "int": "a valid integer",
    "float": "a number",
    "finite_number": "finite",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "keys with values",
    "model": "keys with values",
    "mapping": "keys with values",
}
"""What each kind of pydantic's errors wants, by the beginning of its type."""
_RANGES = {
    "greater_than": "greater than {gt}",
    "greater_than_equal": "greater than or equal to {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "less than or equal to {le}",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of at most {max_length}",
    "string_too_short": "a text of {min_length} or more characters",
    "string_too_long": "a text of at most {max_length} characters",
}
"""What errors want that have a limit."""
_LIMITS = ("gt", "ge", "lt", "le", "min_length", "max_length")

_MEMBERS = re.compile(r"(str|int|float|bool|list\[.*|tuple\[.*|dict\[.*)")
"""What pydantic adds to the path of an error inside a union: the member that it tried."""

Location = tuple[int | str, ...]


def inside(key: str, error: ValidationError | ValueError) -> ValidationError:
    """An error of a part of a configuration as one of the whole, whose ``key`` the part is."""
    details: list[InitErrorDetails] = []
    if isinstance(error, ValidationError):
        for item in error.errors(include_url=False):
            kind = item["type"]
            found: Any = InitErrorDetails(type=kind, loc=(key, *item["loc"]), input=item["input"])
            if "ctx" in item:
                found["ctx"] = item["ctx"]
            details.append(found)
    else:
        wrong = InitErrorDetails(type="value_error", loc=(key,), input=None, ctx={"error": error})
        details.append(wrong)
    return ValidationError.from_exception_data(key, details)


def faults_of(
    error: ValidationError, keys_at: Callable[[Location], list[str]] = lambda _: []
) -> list[Fault]:
    """What pydantic found wrong, in the words of this package.

    Args:
        error: of pydantic.
        keys_at: the keys that there are at a place, for an unknown one.
    """
    faults = []
    for item in error.errors(include_url=False):
        location, message = list(item["loc"]), _readable(item, keys_at)
        # A union adds the name of the member it tried to the path; keys are what a reader knows.
        members = [i for i, part in enumerate(location) if _MEMBERS.fullmatch(str(part))]
        if members and item["type"] not in ("missing", "extra_forbidden"):
            location, message = location[: members[0]], "must be a text, a number or a list of them"
        told = item.get("ctx", {}).get("error")
        if isinstance(told, OptionError):
            location.append(told.option)
            message = told.message
        faults.append(Fault(".".join(shown_key(str(part)) for part in location), message))
    return faults


def _readable(item: Any, keys_at: Callable[[Location], list[str]]) -> str:
    kind, given, context = item["type"], item["input"], item.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "unknown_kind":
        return str(context["told"])
    if kind == "extra_forbidden":
        known = keys_at(item["loc"][:-1])
        near = did_you_mean(item["loc"][-1], known)
        return f"unknown key; there are {', '.join(known)}{near}" if known else "unknown key"
    if kind == "missing":
        return "missing"
    if kind in _RANGES:
        limits = {k: int(v) if v == int(v) else v for k, v in context.items() if k in _LIMITS}
        return f"must be {_RANGES[kind].format(**limits)}, not {shown(given)}"
    wanted = _EXPECTED.get(kind) or _EXPECTED.get(kind.partition("_")[0])
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        return f"must be {context['expected']}, not {shown(given)}{did_you_mean(given, known)}"
    if kind == "int_from_float":
        wanted = "a whole number"
    if kind == "string_pattern_mismatch":
        wanted = f"of letters, digits and the like, as the pattern {context['pattern']} says"
    if wanted is None:
        wanted = f"another value ({kind.replace('_', ' ')})"
    return f"must be {wanted}, not {shown(given)}"
