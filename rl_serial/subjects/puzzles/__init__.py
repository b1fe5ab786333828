"""Puzzles: solved or not, by the rounds of singles that they need."""

from rl_serial.envs.puzzles import is_puzzle
from rl_serial.subjects.protocol import SubjectRow
from rl_serial.subjects.puzzles.config import PuzzleEvaluationConfig, check
from rl_serial.subjects.puzzles.metrics import (
    ABOVE_FLOOR,
    METRICS,
    most_steps,
    places,
    profile,
)

PUZZLES = SubjectRow(
    name="puzzles",
    place="on puzzles",
    a_member="a puzzle",
    owns=is_puzzle,
    may_own=lambda id_: False,
    evaluation=PuzzleEvaluationConfig,
    check=check,
    subject="rl_serial.subjects.puzzles.subject:PuzzleSubject",
    metrics=METRICS,
    places=places,
    profile=profile,
    above_floor=ABOVE_FLOOR,
    most_steps=most_steps,
)
