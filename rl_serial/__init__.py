"""rl_serial: how much serial computation does a value function need, and where can it come from?

Importing the package registers its environments with Gymnasium; torch, Stable-Baselines3 and
MuJoCo load only where they are used.
"""

from typing import TYPE_CHECKING, Any

from rl_serial.envs.registry import register, register_family

if TYPE_CHECKING:
    from rl_serial.agents.registry import register_agent
    from rl_serial.networks import register_trunk
    from rl_serial.subjects import register_subject

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "register_agent",
    "register_family",
    "register_subject",
    "register_trunk",
]
_WITH_TORCH = {
    "register_agent": "rl_serial.agents.registry",
    "register_subject": "rl_serial.subjects",
    "register_trunk": "rl_serial.networks",
}
"""What loads with its first use, and where it is."""


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module 'rl_serial' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WITH_TORCH[name]), name)


register()
