"""Which Gymnasium environments are known by their ids, and how runs in them are checked."""

from __future__ import annotations

from typing import Annotated

import gymnasium as gym
from pydantic import Field

from rl_serial.config import EvaluationConfig, RunConfig
from rl_serial.envs.control import CONTROL_TASKS
from rl_serial.subjects.vectors import check_vectors


class GymnasiumEvaluationConfig(EvaluationConfig, extra="forbid"):
    """The examination in a Gymnasium environment."""

    instances: Annotated[int, Field(ge=2)] = 100  # episodes played


def check(config: RunConfig) -> None:
    """What the parts of a run in a Gymnasium environment ask of each other.

    Raises:
        UserError: parts that do not go together.
    """
    check_vectors(config)
    config.agent.check(config, None)


def owns(env_id: str) -> bool:
    """Whether an id is one of the planners' tasks or comes with Gymnasium, which has no goals."""
    spec = gym.registry.get(env_id)
    ours = spec is not None and str(spec.entry_point).startswith("gymnasium.envs.")
    return ours or env_id in CONTROL_TASKS
