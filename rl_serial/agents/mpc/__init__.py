"""The ``cem`` and ``mppi`` agents: model-predictive control of continuous tasks.

:class:`MPCAgent` plans at every step in the true simulator or in a learned model, and plays the
first action of the plan; :class:`MPCTrainer` has it learn, an episode at a time.
"""

from rl_serial.agents.mpc.agent import Episode, MPCAgent
from rl_serial.agents.mpc.learner import Learner
from rl_serial.agents.mpc.memory import Steps
from rl_serial.agents.mpc.models import LearnedModel, SimulatorModel
from rl_serial.agents.mpc.settings import Learning, MPCSettings, read_settings
from rl_serial.agents.mpc.trainer import (
    MPCTrainer,
    check_environment,
    divergence_told,
    make_agent,
    make_trainer,
)

__all__ = [
    "Episode",
    "LearnedModel",
    "Learner",
    "Learning",
    "MPCAgent",
    "MPCSettings",
    "MPCTrainer",
    "SimulatorModel",
    "Steps",
    "check_environment",
    "divergence_told",
    "make_agent",
    "make_trainer",
    "read_settings",
]
