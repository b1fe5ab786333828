"""Goal-reaching environments: the package's Reach and Push, arms, and how to make any of them.

Nothing here imports MuJoCo or Gymnasium-Robotics before an environment is made.
"""

from rl_serial.envs.goals.arms import ArmGoalEnv
from rl_serial.envs.goals.making import (
    GOAL_ENVIRONMENTS,
    goal_environments,
    is_goal_environment,
    make_goal_vec,
    register,
    success_of,
)
from rl_serial.envs.goals.tabletop import Tabletop, TabletopState
from rl_serial.envs.goals.tabletop_envs import GoalEnv, GoalVectorEnv

__all__ = [
    "GOAL_ENVIRONMENTS",
    "ArmGoalEnv",
    "GoalEnv",
    "GoalVectorEnv",
    "Tabletop",
    "TabletopState",
    "goal_environments",
    "is_goal_environment",
    "make_goal_vec",
    "register",
    "success_of",
]
