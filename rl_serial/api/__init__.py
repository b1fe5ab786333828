"""What a program calls: ``rl_serial.load``, ``train``, ``Study``, ``examine``, ``suite``.

These names are stable: a later version may add arguments with defaults, and no more.
"""

from rl_serial.api.agents import Decision, LoadedAgent, load
from rl_serial.api.examining import ChainExamination, examine
from rl_serial.api.studies import Study
from rl_serial.api.suites import SUITES, Setting, Suite, SuiteResult, suite
from rl_serial.api.training import train

__all__ = [
    "SUITES",
    "ChainExamination",
    "Decision",
    "LoadedAgent",
    "Setting",
    "Study",
    "Suite",
    "SuiteResult",
    "examine",
    "load",
    "suite",
    "train",
]
