"""Games against an opponent: value signs and moves that keep the value, by plies to the end."""

from rl_serial.envs.games import is_game
from rl_serial.subjects.games.config import GameEvaluationConfig, check
from rl_serial.subjects.games.metrics import (
    ABOVE_FLOOR,
    METRICS,
    most_steps,
    places,
    profile,
)
from rl_serial.subjects.protocol import SubjectRow

GAMES = SubjectRow(
    name="games",
    place="in games",
    a_member="a game",
    owns=is_game,
    may_own=lambda id_: False,
    evaluation=GameEvaluationConfig,
    check=check,
    subject="rl_serial.subjects.games.subject:GameSubject",
    metrics=METRICS,
    places=places,
    profile=profile,
    above_floor=ABOVE_FLOOR,
    most_steps=most_steps,
)
