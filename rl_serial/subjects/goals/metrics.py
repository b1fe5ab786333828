"""What runs in goal environments measure."""

from __future__ import annotations

from collections.abc import Iterator

from rl_serial.config import RunConfig
from rl_serial.metrics import Index, Metric, Place

DISTANCES = 4
"""Classes of goals by distance, with as many evaluation episodes in each."""


def _success(index: Index) -> str:
    return f"success (at the goal at the end){_far(index)}"


def _time(index: Index) -> str:
    return f"time at the goal (steps){_far(index)}"


def _far(index: Index) -> str:
    return f", distance class {index['distance']} of {DISTANCES}" if "distance" in index else ""


SUCCESS = Metric("eval/success", "success (at the goal at the end)", progress="success")
SUCCESS_EVER = Metric("eval/success_ever", "success (at the goal at some time)")
TIME_AT_GOAL = Metric("eval/time_at_goal", "time at the goal (steps)", progress="time_at_goal")
RETURN = Metric("eval/return", "return")
SUCCESS_BY_DISTANCE = Metric("eval/success/distance_{distance}", _success)
TIME_BY_DISTANCE = Metric("eval/time_at_goal/distance_{distance}", _time)
METRICS = (SUCCESS, SUCCESS_EVER, TIME_AT_GOAL, RETURN, SUCCESS_BY_DISTANCE, TIME_BY_DISTANCE)


def places(config: RunConfig) -> Iterator[Place]:
    """What a run logs when it is done."""
    yield from (Place(metric) for metric in METRICS if not metric.names)
    for metric in (SUCCESS_BY_DISTANCE, TIME_BY_DISTANCE):
        yield from (Place(metric, {"distance": k}) for k in range(1, DISTANCES + 1))
