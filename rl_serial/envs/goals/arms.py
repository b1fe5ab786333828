"""Gymnasium's Reacher-v5 and Pusher-v5 as goal environments (extra ``mujoco``).

The simulation, the starts and the targets are Gymnasium's; the reward is 1 at the target and else
0, and what the original observation tells of the target is taken out.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.episodes import refuse_reset_options
from rl_serial.envs.goals.tabletop import GoalObservation
from rl_serial.envs.simulation import load_mujoco
from rl_serial.errors import require, told_missing

ARMS = {
    # environment, body to be brought, body to bring it to, what of the observation is not the goal
    "Reacher": ("Reacher-v5", "fingertip", "target", [0, 1, 2, 3, 6, 7]),
    "Pusher": ("Pusher-v5", "object", "goal", list(range(20))),
}


class ArmGoalEnv(gymnasium.Env[GoalObservation, NDArray[np.float32]]):
    """Reacher-v5 or Pusher-v5 with the goal beside the observation.

    - Reacher: achieved goal is the fingertip's place [2], desired goal the target's; observation
      [6] cosines and sines of both angles, angular velocities.
    - Pusher: achieved goal is the object's place on the table [2], desired goal the target's, which
      Gymnasium has at one place; observation [20] seven angles, seven angular velocities, places
      [3] of the fingertips and of the object.

    Places are in m, angles in rad. The reward is 1 within ``distance_threshold``, else 0, and so is
    ``info["is_success"]``; ``info`` also has the original environment's terms. It never
    terminates; the registered ids are truncated by ``max_episode_steps``.

    Args:
        arm: Reacher or Pusher.
        distance_threshold: m, above 0, at most 1.
        render_mode: of the original environment.
        options: of the original environment (``frame_skip``, ``width``, …).

    Raises:
        ValueError: an arm or threshold that does not exist or is out of range.
        gymnasium.error.DependencyNotInstalled: MuJoCo is missing.
    """

    metadata = {  # noqa: RUF012
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
    }

    def __init__(
        self,
        *,
        arm: str,
        distance_threshold: float,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        require(arm in ARMS, "arm", arm, f"one of {', '.join(ARMS)}")
        require(
            0 < distance_threshold <= 1, "distance_threshold", distance_threshold, "above 0 to 1"
        )
        name, self._brought, self._target, self._shown = ARMS[arm]
        load_mujoco(f"Goal{arm}")
        try:
            self.original: Any = gymnasium.make(name, render_mode=render_mode, **options).unwrapped
        except ImportError as error:
            told = told_missing(f"Goal{arm}", error.name, "mujoco")
            raise gymnasium.error.DependencyNotInstalled(told) from error
        self.distance_threshold = distance_threshold
        self.metadata = {**self.original.metadata}
        self.render_mode = render_mode
        self.action_space = self.original.action_space
        unbounded = {
            "observation": len(self._shown),
            "achieved_goal": 2,
            "desired_goal": 2,
        }
        self.observation_space = gymnasium.spaces.Dict(
            {
                key: gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
                for key, size in unbounded.items()
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[GoalObservation, dict[str, Any]]:
        """The original's start under ``seed``.

        Raises:
            ValueError: ``options`` hold anything.
        """
        refuse_reset_options(options)
        super().reset(seed=seed)
        original, info = self.original.reset(seed=seed)
        observation = self._observation(original)
        return observation, {**info, "is_success": self._success(observation)}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[GoalObservation, float, bool, bool, dict[str, Any]]:
        """Step the original; what its reward would be is not used."""
        original, _, _, _, info = self.original.step(action)
        observation = self._observation(original)
        success = self._success(observation)
        return observation, float(success), False, False, {**info, "is_success": success}

    def compute_reward(
        self,
        achieved_goal: NDArray[np.floating[Any]],
        desired_goal: NDArray[np.floating[Any]],
        info: Any,
    ) -> Any:
        """1.0 where ``achieved_goal`` [..., 2] is at ``desired_goal`` [..., 2], else 0.0: [...]."""
        gap = np.asarray(achieved_goal, np.float64) - np.asarray(desired_goal, np.float64)
        near = np.linalg.norm(gap, axis=-1) <= self.distance_threshold
        return near.astype(np.float64)[()]

    def render(self) -> Any:
        """As the original."""
        return self.original.render()

    def close(self) -> None:
        """Close the original."""
        self.original.close()

    def _observation(self, original: NDArray[np.float64]) -> GoalObservation:
        places = (self.original.get_body_com(body)[:2] for body in (self._brought, self._target))
        achieved, desired = (place.astype(np.float32) for place in places)
        return {
            "observation": original[self._shown].astype(np.float32),
            "achieved_goal": achieved,
            "desired_goal": desired,
        }

    def _success(self, observation: GoalObservation) -> bool:
        desired = observation["desired_goal"]
        return bool(self.compute_reward(observation["achieved_goal"], desired, {}))
