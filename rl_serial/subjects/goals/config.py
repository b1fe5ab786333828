"""How runs in goal environments are examined and checked."""

from __future__ import annotations

from rl_serial.config import EvaluationConfig, RunConfig
from rl_serial.subjects.vectors import check_vectors


class GoalEvaluationConfig(EvaluationConfig, extra="forbid"):
    """The examination in a goal environment."""


def check(config: RunConfig) -> None:
    """What the parts of a run in a goal environment ask of each other.

    Raises:
        UserError: parts that do not go together.
    """
    check_vectors(config)
    config.agent.check(config, None)
