"""What planners ask of an environment."""

from __future__ import annotations

from rl_serial.agents.mpc import divergence_told, make_agent
from rl_serial.agents.protocols import ControlWorld

__all__ = ["check_environment", "divergence_told"]


def check_environment(world: ControlWorld) -> None:
    """Refuse an environment without a simulator to plan in, by making both.

    Raises:
        UserError: it has none, or cannot be made.
    """
    make_agent(world).close()
