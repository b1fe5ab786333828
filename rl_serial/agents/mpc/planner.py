"""Plans of episodes side by side, each begun from the one before it."""

from __future__ import annotations

from typing import Any

import numpy as np

from rl_serial.agents.mpc.settings import MPCSettings
from rl_serial.envs.control import Floats
from rl_serial.errors import RunError
from rl_serial.planning.mpc import ControlOutput, RolloutFn, first_plan, plan_control, shift


class WarmStartedPlanner:
    """CEM or MPPI for B episodes, whose plans, and elites to carry, start the next ones.

    Args:
        settings: of the agent.
        low: [A] least actions.
        high: [A] greatest.
        episodes: B.
        generator: of the noise.
    """

    def __init__(
        self,
        settings: MPCSettings,
        low: Floats,
        high: Floats,
        episodes: int,
        generator: np.random.Generator,
    ) -> None:
        self.settings, self.low, self.high, self.generator = settings, low, high, generator
        self._plan = first_plan(episodes, settings.horizon, low, high)
        self._carried = np.empty((episodes, settings.carry, *self._plan.shape[1:]))
        self._planned = False

    def __call__(self, model: RolloutFn, state: Any, rows: list[int]) -> ControlOutput:
        """Plans for ``rows`` of the episodes, which are in ``state`` (its batch is the rows).

        Raises:
            RunError: no plan can be made, as every rollout diverged.
        """
        settings = self.settings
        candidates = self._carried[rows] if self._planned and settings.carry else None
        try:
            found = plan_control(
                model,
                state,
                self._plan[rows],
                self.low,
                self.high,
                settings.planner,
                self.generator,
                candidates,
            )
        except ValueError as error:
            raise RunError(f"planning in the {settings.model} model: {error}") from error
        self._plan[rows] = shift(found.plan)
        if settings.carry:
            self._carried[rows] = shift(found.elites[:, : settings.carry])
        self._planned = True
        return found
