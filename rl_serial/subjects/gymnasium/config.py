"""The row of the Gymnasium environments: which ids are theirs, and how runs in them are checked."""

from __future__ import annotations

from rl_serial.config import EvaluationConfig, RunConfig
from rl_serial.envs.control import CONTROL_TASKS
from rl_serial.errors import UserError


class GymnasiumEvaluationConfig(EvaluationConfig, extra="forbid"):
    """The examination in a Gymnasium environment."""


def check(config: RunConfig) -> None:
    """What the parts of a run in a Gymnasium environment ask of each other.

    Raises:
        UserError: parts that do not go together.
    """
    if config.env.id not in CONTROL_TASKS:
        raise UserError(
            f"agent.kind {config.agent.kind} cannot plan in {config.env.id}; it can in "
            f"{', '.join(CONTROL_TASKS)}",
            "env.id",
        )
    config.agent.check(config, None)
