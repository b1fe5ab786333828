"""Anyone's agent examined as the package's own are: the same instances, the same floors."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.agents.protocols import Judgement, Preference, on_host
from rl_serial.api.agents import LoadedAgent
from rl_serial.api.training import read_config
from rl_serial.config import RunConfig
from rl_serial.envs.chain import Array
from rl_serial.envs.registry import UnknownEnvironment, known_env, plain_id
from rl_serial.envs.tasks import num_actions
from rl_serial.errors import UserError
from rl_serial.loading import parse_config
from rl_serial.metrics import tagged
from rl_serial.runs.files import write_json
from rl_serial.subjects import subject_of

BATCH = 4096
"""Observations that an agent is given together at most."""
GIVES = ("auto", "actions", "action_values", "preferences")
_MASKED = ("mask", "masks", "action_mask", "action_masks", "legal")
"""Names by which a function's further argument is known to be the legal actions."""
_ACCURACY, _FLOOR_ACCURACY = "value/accuracy/remaining_{}", "floor/accuracy/remaining_{}"


@dataclass(frozen=True)
class ChainExamination:
    """What an examination found; ``metrics`` are those of docs/metrics.md, by tag."""

    name: str  # of the agent
    env: dict[str, Any]  # id and options
    evaluation: dict[str, Any]  # instances, per_remaining, seed
    trained_on: int  # states of training instances that the memoriser of the floor knows
    serial_depth: int
    metrics: dict[str, float]
    final: dict[str, Any] = field(default_factory=dict)  # intervals, and what scores refer to

    @property
    def score(self) -> float:
        """Of the return: 0 random, 1 optimal play."""
        return self.metrics["eval/score"]

    @property
    def serial_horizon(self) -> int:
        """The largest number of remaining steps up to which nine decisions in ten are right."""
        return int(self.metrics["eval/serial_horizon"])

    @property
    def serial_reach(self) -> float:
        """Accuracy above chance, summed over the remaining steps."""
        return self.metrics["eval/serial_reach"]

    @property
    def floor(self) -> float:
        """Serial reach of what needs no serial computation, on the same states."""
        return self.metrics["floor/reach"]

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """[serial_depth] of decisions, with 1, 2, … steps remaining; NaN where there are none."""
        return self._by_remaining(_ACCURACY)

    @property
    def floor_accuracy(self) -> NDArray[np.float64]:
        """[serial_depth] the same of the floor."""
        return self._by_remaining(_FLOOR_ACCURACY)

    def _by_remaining(self, tag: str) -> NDArray[np.float64]:
        steps = range(1, self.serial_depth + 1)
        return np.array([self.metrics.get(tag.format(k), math.nan) for k in steps])

    def headline(self) -> str:
        """In a line."""
        low, high = self.final["eval/score_interval"]
        return (
            f"{self.name}: score {self.score:.3f} (95 % of instances {low:.3f} to {high:.3f}), "
            f"serial horizon {self.serial_horizon} of {self.serial_depth}, "
            f"serial reach {self.serial_reach:.1f} (floor {self.floor:.1f})"
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "agent": self.name,
            "env": self.env,
            "evaluation": self.evaluation,
            "trained_on": self.trained_on,
            "serial_depth": self.serial_depth,
            "metrics": self.metrics | self.final,
        }

    def to_json(self, file: str | Path | None = None) -> str:
        """As JSON, written into a file where one is named."""
        if file is not None:
            write_json(Path(file), self.to_dict())
        return json.dumps(self.to_dict(), indent=2)


def examine(
    act: Any,
    env_id: str,
    *,
    name: str | None = None,
    gives: str = "auto",
    instances: int = 2048,
    per_remaining: int = 512,
    evaluation_seed: int = 0,
    trained_on: int | None = None,
    trained_seed: int | None = None,
    **options: Any,
) -> ChainExamination:
    """Examine an agent in a chain exactly as the package's own agents are examined.

    Args:
        act: ``act(observations)`` or ``act(observations, masks)``, of observations [N, size]
            float32 and masks [N, num_actions] bool (true where an action is legal) to actions [N]
            or action values [N, num_actions], NumPy or torch. Or what has ``predict`` as a model
            of Stable-Baselines3, or an agent of :func:`rl_serial.load`.
        env_id: of a chain, as ``rl-serial envs`` lists them.
        name: in the result; None: that of the function.
        gives: what ``act`` gives: actions, action_values, or preferences (logits, probabilities),
            whose largest legal one is taken and which say nothing of values; auto: numbers [N] are
            actions, [N, num_actions] action values.
        instances: episodes played for the score.
        per_remaining: states judged at each number of remaining steps.
        evaluation_seed: chooses them.
        trained_on: states of training instances that the agent has learned from, which the
            floor's look-up table is given too; None: those of a loaded agent's run, else none, so
            that the table only guesses.
        trained_seed: chooses those instances; None: that of a loaded agent's run, else 0.
        options: of the environment, as of ``gymnasium.make``.

    Raises:
        UserError: no such environment or option, or an agent that gives something else.
    """
    try:
        known_env(env_id)
    except UnknownEnvironment as error:
        raise UserError(error, "env_id") from None
    if gives not in GIVES:
        raise UserError(f"must be one of {', '.join(GIVES)}, not {gives!r}", "gives")
    loaded = act if isinstance(act, LoadedAgent) else None
    if trained_on is None:
        trained_on = getattr(loaded.trainer, "instances", 0) if loaded else 0
    if trained_seed is None:
        trained_seed = loaded.config.seed if loaded else 0
    env = {"id": plain_id(env_id), **options}
    evaluation = {
        "instances": instances,
        "per_remaining": per_remaining,
        "seed": evaluation_seed,
    }
    changes = {"env": env, "evaluation": evaluation, "seed": trained_seed}
    if loaded is not None:  # whose training may have had other starts
        config = read_config(loaded.config, changes)
    else:
        config = parse_config({"agent": {"kind": "random"}, **changes}, "examine")
    found = _examined(act, config, gives, trained_on)
    return ChainExamination(
        name or _name_of(act),
        env,
        evaluation,
        trained_on,
        config.env.task().chain.serial_depth,
        tagged(found.measurements()),
        found.final(),
    )


def _examined(act: Any, config: RunConfig, gives: str, trained_on: int) -> Any:
    subject = subject_of(config)
    task = config.env.task()
    agent = act.agent if isinstance(act, LoadedAgent) else FunctionAgent(task, act, gives)
    own = getattr(agent, "task", task)
    if (own.layout, own.action_names) != (task.layout, task.action_names):
        raise UserError(
            f"{act!r} sees {own.layout.size} numbers and has the actions "
            f"{', '.join(own.action_names)}; {config.env.id} with these options shows "
            f"{task.layout.size} and has {', '.join(task.action_names)}"
        )
    if isinstance(act, LoadedAgent) and own != task:
        if not hasattr(agent, "assess"):
            raise UserError(f"{act!r} reads states, those of {own}, not of {task}")
        agent = FunctionAgent(task, _assessing(agent), "auto", agent.preference)
    trainer: Any = Outsider(agent, trained_on)
    return subject.last_examination(subject.examiner(), trainer)


def _assessing(agent: Any) -> Callable[[Any, Any], Judgement]:
    """An agent of ours by what it sees alone."""

    def assess(observations: Any, masks: Any) -> Judgement:
        judgement: Judgement = agent.assess(observations, masks)
        return judgement

    return assess


@dataclass(frozen=True)
class Outsider:
    """What an examination asks of a trainer: the agent, and what it has learned from."""

    agent: Any
    instances: int


class FunctionAgent:
    """A function of observations as an agent of a task.

    Args:
        task: the rules.
        act: as of :func:`examine`.
        gives: as of :func:`examine`.
        preference: what its preferences are; None: as it gives them.
    """

    def __init__(
        self, task: Any, act: Any, gives: str = "auto", preference: Preference | None = None
    ) -> None:
        self.task, self.gives = task, gives
        self._call = _called(act)
        self.preference = preference or (
            Preference.PROBABILITY if gives == "preferences" else Preference.ACTION_VALUE
        )

    def judge(self, state: Any) -> Judgement:
        """What the function makes of the states' observations."""
        return self.assess(self.task.observe(state), self.task.legal_actions(state))

    def assess(self, observations: Array, legal: Array) -> Judgement:
        """The same from observations [B, size] and legal actions [B, num_actions]."""
        rows = len(observations)
        parts = [
            self._read(observations[first : first + BATCH], legal[first : first + BATCH])
            for first in range(0, rows, BATCH)
        ]
        columns = zip(*((p.preferences, p.values, p.action) for p in parts), strict=True)
        joined = [None if c[0] is None else np.concatenate(c) for c in columns]
        return Judgement(*joined)

    def _read(self, observations: Any, legal: Any) -> Judgement:
        given = self._call(observations, legal)
        if isinstance(given, Judgement):
            return given
        found, actions = np.asarray(on_host(_detached(given))), num_actions(self.task)
        rows = len(observations)
        if found.shape not in ((rows,), (rows, actions)) or found.dtype.kind not in "iuf":
            raise UserError(
                f"the agent gave {found.dtype} {list(found.shape)} for {rows} observations; "
                f"actions [{rows}] or action values [{rows}, {actions}] are wanted"
            )
        if found.ndim == 1:
            if self.gives in ("action_values", "preferences"):
                raise UserError(f"gives={self.gives!r}, but the agent gave actions")
            return self._chosen(found, legal)
        if self.gives == "actions":
            raise UserError("gives='actions', but the agent gave a number for each action")
        if np.isnan(np.where(legal, found, 0)).any():
            raise UserError("the agent gave NaN")
        preferences = found.astype(np.float32)
        best = np.where(legal, preferences, -np.inf).max(axis=1)
        return Judgement(preferences, None if self.gives == "preferences" else best)

    def _chosen(self, found: NDArray[Any], legal: NDArray[np.bool_]) -> Judgement:
        chosen, actions = found.astype(np.int64), num_actions(self.task)
        if (chosen != found).any() or chosen.min() < 0 or chosen.max() >= actions:
            raise UserError(
                f"the agent gave actions from {found.min()} to {found.max()}; they are whole "
                f"numbers from 0 to {actions - 1}"
            )
        # As the environments do: what is not legal counts as action 0.
        chosen = np.where(np.take_along_axis(legal, chosen[:, None], axis=1)[:, 0], chosen, 0)
        return Judgement(np.eye(actions, dtype=np.float32)[chosen], None, chosen)


def _detached(given: Any) -> Any:
    return given.detach() if hasattr(given, "detach") else given


def _called(act: Any) -> Callable[[Any, Any], Any]:
    """An agent as a function of observations and masks."""
    if hasattr(act, "predict"):
        masked = "action_masks" in inspect.signature(act.predict).parameters

        def predict(observations: Any, masks: Any) -> Any:
            further = {"action_masks": masks} if masked else {}
            return act.predict(observations, deterministic=True, **further)[0]

        return predict
    if not callable(act):
        raise UserError("an agent is a function of observations, or has predict", source=repr(act))
    try:
        parameters: Mapping[str, Any] = inspect.signature(act).parameters
    except (TypeError, ValueError):  # of what is not written in Python
        parameters = {}
    free = [
        p
        for p in parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        and (p.default is p.empty or p.name in _MASKED)
    ]
    if len(free) >= 2:
        return lambda observations, masks: act(observations, masks)
    return lambda observations, _: act(observations)


def _name_of(act: Any) -> str:
    if isinstance(act, LoadedAgent):
        on_top = f" with {act.simulations} simulations" if act.simulations else ""
        return f"{act.config.name}{on_top}"
    return str(getattr(act, "__name__", type(act).__name__))
