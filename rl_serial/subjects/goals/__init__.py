"""Goal environments: reached or not."""

from rl_serial.envs.goals import is_goal_environment
from rl_serial.subjects.goals.config import GoalEvaluationConfig, check
from rl_serial.subjects.goals.metrics import METRICS, places
from rl_serial.subjects.protocol import SubjectRow

GOALS = SubjectRow(
    name="goals",
    place="in goal environments",
    a_member="a goal environment",
    owns=is_goal_environment,
    may_own=lambda id_: True,
    evaluation=GoalEvaluationConfig,
    check=check,
    subject="rl_serial.subjects.goals.subject:GoalSubject",
    metrics=METRICS,
    places=places,
)
