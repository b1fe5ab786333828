"""rl_serial: how much serial computation does a value function need, and where can it come from?

Importing the package registers its environments with Gymnasium; torch, Stable-Baselines3 and
MuJoCo load only where they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rl_serial.envs.registry import register, register_family

if TYPE_CHECKING:
    from rl_serial.agents.registry import register_agent
    from rl_serial.agents.sb3 import SerialVecEnv, TrunkExtractor
    from rl_serial.api import LoadedAgent, Study, examine, load, suite, train
    from rl_serial.networks import register_trunk
    from rl_serial.subjects import register_subject

__version__ = "0.1.0"
__all__ = [
    "LoadedAgent",
    "SerialVecEnv",
    "Study",
    "TrunkExtractor",
    "__version__",
    "examine",
    "load",
    "register_agent",
    "register_family",
    "register_subject",
    "register_trunk",
    "suite",
    "train",
]
_WITH_TORCH = {
    "LoadedAgent": "rl_serial.api",
    "SerialVecEnv": "rl_serial.agents.sb3",
    "Study": "rl_serial.api",
    "TrunkExtractor": "rl_serial.agents.sb3",
    "examine": "rl_serial.api",
    "load": "rl_serial.api",
    "register_agent": "rl_serial.agents.registry",
    "register_subject": "rl_serial.subjects",
    "register_trunk": "rl_serial.networks",
    "suite": "rl_serial.api",
    "train": "rl_serial.api",
}
"""What loads with its first use, and where it is."""


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module 'rl_serial' has no attribute {name!r}")
    try:
        module = import_module(_WITH_TORCH[name])
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "rl_serial":
            raise
        raise ImportError(
            f"rl_serial.{name} needs {error.name}, which is not installed: "
            "pip install 'rl_serial[train]'",
            name=error.name,
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register()
