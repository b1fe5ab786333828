"""Gymnasium environments, judged by their return."""

from rl_serial.subjects.gymnasium.config import GymnasiumEvaluationConfig, check, owns
from rl_serial.subjects.gymnasium.metrics import METRICS, places
from rl_serial.subjects.protocol import SubjectRow

GYMNASIUM = SubjectRow(
    name="gymnasium",
    place="in Gymnasium environments",
    a_member="a Gymnasium environment",
    owns=owns,
    may_own=lambda id_: True,
    evaluation=GymnasiumEvaluationConfig,
    check=check,
    subject="rl_serial.subjects.gymnasium.subject:GymnasiumSubject",
    metrics=METRICS,
    places=places,
)
