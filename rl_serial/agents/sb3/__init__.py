"""Stable-Baselines3 and sb3-contrib with this package's trunks, on batched VecEnvs.

On chains, in goal environments and in any other Gymnasium environment: PPO (Schulman et al. 2017,
arXiv 1707.06347), DQN (Mnih et al. 2015), QR-DQN (Dabney et al. 2018, arXiv 1710.10044),
MaskablePPO (Huang and Ontañón 2020, arXiv 2006.14171), soft actor-critic (Haarnoja et al. 2018,
arXiv 1812.05905) and the same with hindsight experience replay (Andrychowicz et al. 2017, arXiv
1707.01495), where most of a batch gets, in place of its goal, one that was reached later in the
same episode, and the reward that belongs to it.
"""

from rl_serial.agents.sb3.acting import ActingAgent, SB3Agent
from rl_serial.agents.sb3.algorithms import KINDS
from rl_serial.agents.sb3.checks import SET_BY_THE_RUN, check_arguments
from rl_serial.agents.sb3.policies import TrunkExtractor, TrunkSACPolicy
from rl_serial.agents.sb3.trainer import LogToMonitor, SB3Trainer, make_trainer
from rl_serial.agents.sb3.vec_env import BatchedVecEnv, GoalVecEnv, SerialVecEnv

__all__ = [
    "KINDS",
    "SET_BY_THE_RUN",
    "ActingAgent",
    "BatchedVecEnv",
    "GoalVecEnv",
    "LogToMonitor",
    "SB3Agent",
    "SB3Trainer",
    "SerialVecEnv",
    "TrunkExtractor",
    "TrunkSACPolicy",
    "check_arguments",
    "make_trainer",
]
