"""What a user's own program calls: ``rl_serial.load``, ``train``, ``Study``.

These names are stable: a later version may add arguments with defaults, and no more.
"""

from rl_serial.api.agents import Decision, LoadedAgent, load
from rl_serial.api.studies import Study
from rl_serial.api.training import train

__all__ = ["Decision", "LoadedAgent", "Study", "load", "train"]
