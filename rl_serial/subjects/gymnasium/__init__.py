"""Gymnasium environments, judged by their return."""

from rl_serial.envs.control import CONTROL_TASKS
from rl_serial.subjects.gymnasium.config import GymnasiumEvaluationConfig, check
from rl_serial.subjects.gymnasium.metrics import METRICS, places
from rl_serial.subjects.protocol import SubjectRow

GYMNASIUM = SubjectRow(
    name="gymnasium",
    place="in Gymnasium environments",
    a_member="a Gymnasium environment",
    owns=lambda id_: id_ in CONTROL_TASKS,
    may_own=lambda id_: True,
    evaluation=GymnasiumEvaluationConfig,
    check=check,
    subject="rl_serial.subjects.gymnasium.subject:ControlSubject",
    metrics=METRICS,
    places=places,
)
