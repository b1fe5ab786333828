"""What runs in Gymnasium environments measure."""

from __future__ import annotations

from collections.abc import Iterator

from rl_serial.agents.registry import AGENTS
from rl_serial.config import RunConfig
from rl_serial.metrics import Metric, Place

RETURN = Metric("eval/return", "return", progress="return")
EPISODE_STEPS = Metric("eval/episode_steps", "steps of an episode", better="neither")
SERIAL_STEPS = Metric(
    "eval/serial_steps_per_decision", "serial steps of a decision", better="neither"
)
MODEL_STEPS = Metric("eval/model_steps", "model steps of an episode", better="neither")
SIMULATOR_STEPS = Metric("eval/simulator_steps", "simulator steps of an episode", better="neither")
METRICS = (RETURN, EPISODE_STEPS, SERIAL_STEPS, MODEL_STEPS, SIMULATOR_STEPS)


def places(config: RunConfig) -> Iterator[Place]:
    """What a run logs when it is done; what planning costs is there where an agent plans."""
    plans = AGENTS[config.agent.kind].plans
    yield from (Place(metric) for metric in (METRICS if plans else (RETURN, EPISODE_STEPS)))
