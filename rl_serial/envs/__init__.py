"""Environments with long serial dependency chains, their exact values and their parallel twins."""

from rl_serial.envs.chain import Chain, State, TokenLayout
from rl_serial.envs.episodes import seeds_for
from rl_serial.envs.registry import (
    ENV_IDS,
    FAMILIES,
    Family,
    make_task,
    register_family,
    task_of,
)
from rl_serial.envs.tasks import Bet, Steer, Task, Transition
from rl_serial.envs.write import Write

__all__ = [
    "ENV_IDS",
    "FAMILIES",
    "Bet",
    "Chain",
    "Family",
    "State",
    "Steer",
    "Task",
    "TokenLayout",
    "Transition",
    "Write",
    "make_task",
    "register_family",
    "seeds_for",
    "task_of",
]
