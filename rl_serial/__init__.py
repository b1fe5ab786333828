"""rl_serial: how much serial computation does a value function need, and where can it come from?

Importing the package registers its environments with Gymnasium; torch, Stable-Baselines3 and
MuJoCo load only where they are used.
"""

from rl_serial.envs.registry import register, register_family

__version__ = "0.1.0"
__all__ = ["__version__", "register_family"]

register()
