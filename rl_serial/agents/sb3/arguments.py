"""``agent.arguments``: what constructors of Stable-Baselines3 take, and schedules among them.

Types are read off the constructors' own annotations; the ranges of numbers, which no annotation
says, are in a table here.
"""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Callable, Collection
from reprlib import repr as short
from typing import Any, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import LinearSchedule
from torch.optim import Adam

from rl_serial.agents.settings import SB3Settings
from rl_serial.errors import UserError

Limit = tuple[str, Callable[[float], bool]]
"""The words for a range of numbers, and whether a number lies in it."""

_ANY: Limit = ("", lambda x: True)
_POSITIVE: Limit = (" above 0", lambda x: x > 0)
_FROM_0: Limit = (" of 0 or more", lambda x: x >= 0)
_FROM_1: Limit = (" of 1 or more", lambda x: x >= 1)
_SHARE: Limit = (" from 0 to 1", lambda x: 0 <= x <= 1)
_LIMITS: dict[str, Limit] = {
    "batch_size": _FROM_1,
    "betas": (" of 0 or more and below 1", lambda x: 0 <= x < 1),
    "buffer_size": _FROM_1,
    "clip_range": _POSITIVE,
    "clip_range_vf": _POSITIVE,
    "ent_coef": _FROM_0,
    "eps": _POSITIVE,
    "exploration_final_eps": _SHARE,
    "exploration_fraction": _SHARE,
    "exploration_initial_eps": _SHARE,
    "gae_lambda": _SHARE,
    "gamma": _SHARE,
    "gradient_steps": (" of -1 or more", lambda x: x >= -1),
    "learning_rate": _FROM_0,
    "learning_starts": _FROM_0,
    "max_grad_norm": _POSITIVE,
    "n_critics": _FROM_1,
    "n_epochs": _FROM_1,
    "n_quantiles": _FROM_1,
    "n_steps": _FROM_1,
    "net_arch": _FROM_1,
    "sde_sample_freq": (" of -1 or more", lambda x: x >= -1),
    "stats_window_size": _FROM_1,
    "target_kl": _POSITIVE,
    "target_update_interval": _FROM_1,
    "tau": (" above 0 and at most 1", lambda x: 0 < x <= 1),
    "train_freq": _FROM_1,
    "verbose": _FROM_0,
    "vf_coef": _FROM_0,
    "weight_decay": _FROM_0,
}
_TEXTS = {
    "ent_coef": ("auto, auto_ before a number", re.compile(r"auto(_.+)?")),
    "target_entropy": ("auto", re.compile("auto")),
    "train_freq": ("step or episode", re.compile("step|episode")),
}
"""What an argument that may be a text may be."""

_LARGEST = 2**31 - 1  # of an integer; what NumPy and torch count with ends not far behind it
_LARGEST_FLOAT = 3.4e38  # of the single precision in which networks train
_PARTS_OF_NET_ARCH = ("pi", "vf", "qf")
_STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
# What the run or the algorithm sets of a policy; of an optimiser, also what fails in training.
_OF_THE_POLICY = {
    "observation_space",
    "action_space",
    "lr_schedule",
    "use_sde",
    "features_extractor_kwargs",
}
_OF_THE_OPTIMISER = {"params", "lr", "capturable", "differentiable"}


def hold_arguments(
    config: SB3Settings,
    algorithm: type[BaseAlgorithm],
    taken: Collection[str],
) -> None:
    """Hold ``agent.arguments`` against the signatures of those who get them.

    These are the algorithm's constructor, with ``policy_kwargs`` the policy's, and with
    ``optimizer_kwargs`` in them that of Adam.

    Args:
        config: of the agent.
        algorithm: whose constructor gets the arguments.
        taken: its arguments that the run sets itself.

    Raises:
        UserError: an argument that there is not, that is taken, or of a wrong type or range; the
            message begins with its key.
    """
    where, arguments = "agent.arguments", config.arguments
    _hold(arguments, algorithm, taken, where)
    policy = arguments.get("policy_kwargs", {})
    where += ".policy_kwargs"
    _hold(policy, algorithm.policy_aliases["MlpPolicy"], _OF_THE_POLICY, where)
    _hold(policy.get("optimizer_kwargs", {}), Adam, _OF_THE_OPTIMISER, f"{where}.optimizer_kwargs")
    frequency = arguments.get("train_freq")
    if isinstance(frequency, list) and frequency[1] == "episode" and config.num_envs > 1:
        raise UserError(
            "episodes can be counted in one environment only; with "
            f"agent.num_envs={config.num_envs} count steps",
            "agent.arguments.train_freq",
        )


def _hold(
    arguments: dict[str, Any], constructor: type[Any], taken: Collection[str], where: str
) -> None:
    known = inspect.signature(constructor).parameters
    free = [name for name in known if name not in taken and _can_be_written(known[name].annotation)]
    for name, value in arguments.items():
        key = f"{where}.{name}"
        if name not in free:
            raise UserError(
                f"{constructor.__name__} has no such argument, or the run sets it; there are "
                f"{', '.join(free)}",
                key,
            )
        hint: Any = dict[str, Any] if name.endswith("_kwargs") else known[name].annotation
        kinds, default = _kinds(hint), known[name].default
        if not _has_type(value, kinds, hint) or not _in_range(value, name):
            usual = "" if isinstance(default, dict | None) else f" (default {default!r})"
            raise UserError(f"must be {_words(kinds, name)}{usual}, not {short(value)}", key)
        if any(isinstance(number, int) and number > _LARGEST for number in _leaves(value)):
            raise UserError(f"must be at most {_LARGEST}, not {short(value)}", key)
        starts = (linear_start(number) or number for number in _leaves(value))
        if any(isinstance(start, float) and start > _LARGEST_FLOAT for start in starts):
            raise UserError(f"must be at most {_LARGEST_FLOAT:g}, not {short(value)}", key)
        if name == "net_arch" and isinstance(value, dict):
            for part in value:
                if part not in _PARTS_OF_NET_ARCH:
                    there = ", ".join(_PARTS_OF_NET_ARCH)
                    raise UserError(f"no such key; there are {there}", f"{key}.{part}")


def _kinds(hint: Any) -> list[Any]:
    """The parts of a union, as plain types where they have parameters."""
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else [hint]
    return [get_origin(part) or part for part in parts]


def _can_be_written(hint: Any) -> bool:
    """Whether a configuration can hold such a value: classes and functions it cannot."""
    return bool({bool, int, float, str, tuple, list, dict} & set(_kinds(hint)))


def _has_type(value: Any, kinds: list[Any], hint: Any) -> bool:
    if Callable in kinds and linear_start(value) is not None:
        return True
    if tuple in kinds and isinstance(value, list):
        value = tuple(value)  # YAML has no pairs
    try:
        TypeAdapter(hint, config=_STRICT).validate_python(value)
    except ValidationError:
        return False
    return True


def _in_range(value: Any, name: str) -> bool:
    _, lies_in = _LIMITS.get(name, _ANY)
    for leaf in _leaves(value):
        start = linear_start(leaf)
        if isinstance(leaf, str) and start is None and name in _TEXTS:
            if not _TEXTS[name][1].fullmatch(leaf):
                return False
            start = _number_behind("auto_", leaf)
            if leaf.startswith("auto_") and not start:
                return False
        number = leaf if start is None else start
        if isinstance(number, int | float) and not lies_in(number):
            return False
    return True


def _leaves(value: Any) -> list[Any]:
    """The plain values in a list, or in keys with lists; those of other keys are held apart."""
    if isinstance(value, dict):
        value = [leaf for item in value.values() if isinstance(item, list) for leaf in item]
    return [v for v in (value if isinstance(value, list) else [value]) if not isinstance(v, bool)]


def _words(kinds: list[Any], name: str) -> str:
    """What would be right."""
    limit, _ = _LIMITS.get(name, _ANY)
    texts, _ = _TEXTS.get(name, ("a text", None))
    words = {
        bool: "true or false",
        int: f"an integer{limit}",
        float: f"a number{limit}",
        Callable: "lin_ before one, which falls to 0",
        str: texts,
        tuple: f"a pair of one and {texts}"
        if name == "train_freq"
        else f"a pair of numbers{limit}",
        list: f"a list of integers{limit}",
        dict: "keys with such lists" if list in kinds else "keys with values",
        type(None): "null",
    }
    return ", or ".join(words[kind] for kind in kinds if kind in words)


def linear_start(value: object) -> float | None:
    """5e-4 of "lin_5e-4", a schedule that falls linearly to 0, as rl-zoo3 writes it; else None."""
    return _number_behind("lin_", value)


def _number_behind(prefix: str, value: object) -> float | None:
    if not isinstance(value, str) or not value.startswith(prefix):
        return None
    try:
        number = float(value.removeprefix(prefix))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def constructor_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments as SB3 takes them: schedules are functions of the progress remaining (1 to 0)."""
    return {name: _scheduled(value) for name, value in arguments.items()}


def _scheduled(value: Any) -> Any:
    start = linear_start(value)
    if start is not None:
        # It stays at 0 beyond the last step, which training in whole episodes may pass.
        return LinearSchedule(start, end=0.0, end_fraction=1.0)
    return tuple(value) if isinstance(value, list) else value  # YAML has no pairs
