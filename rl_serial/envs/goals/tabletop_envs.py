"""Reach and Push served to Gymnasium, one episode at a time and in batches."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rl_serial.envs.chain import map_state
from rl_serial.envs.episodes import (
    InstanceSeeds,
    autoreset_mode_of,
    put,
    refuse_reset_options,
    refuse_step_of_ended,
    reset_needed,
    rows_to_reset,
)
from rl_serial.envs.goals.tabletop import SUBSTEPS, TIME_STEP, GoalObservation, Tabletop, drawing
from rl_serial.errors import refuse_unknown

RENDER_MODES = ("rgb_array",)
FRAMES_PER_SECOND = round(1 / (TIME_STEP * SUBSTEPS))


class GoalEnv(gymnasium.Env[GoalObservation, NDArray[np.float32]]):
    """One episode of Reach or Push at a time: a batch of one of :class:`GoalVectorEnv`.

    ``reset(seed=s)`` plays the first instance of seed s, every further ``reset()`` the next. It
    never terminates, and is truncated after ``episode_steps``. The reward is 1 at the goal and else
    0, and so is ``info["is_success"]``. Actions outside the box are clipped, as Gymnasium's MuJoCo
    environments do.

    Args:
        task: Reach or Push.
        render_mode: None or rgb_array.
        options: those of :class:`Tabletop`.

    Raises:
        ValueError: an option or render mode that does not exist or is out of range.
        gymnasium.error.DependencyNotInstalled: MuJoCo is missing.
    """

    metadata = {  # noqa: RUF012
        "render_modes": list(RENDER_MODES),
        "render_fps": FRAMES_PER_SECOND,
    }

    def __init__(self, *, task: str, render_mode: str | None = None, **options: Any) -> None:
        self.rules = _tabletop(task, render_mode, options)
        self.observation_space = self.rules.observation_space
        self.action_space = self.rules.action_space
        self.render_mode = render_mode
        self.instances = InstanceSeeds(1)
        self.state: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[GoalObservation, dict[str, Any]]:
        """The first observation (see :meth:`Tabletop.observe`, without its B) of the next episode.

        Raises:
            ValueError: ``options`` hold anything.
        """
        refuse_reset_options(options)
        super().reset(seed=seed)
        row = np.zeros(1, dtype=np.int64)
        self.instances.reseed(seed, row, lambda: self.np_random)
        self.state = self.rules.initial(self.instances.take(row))
        observation = self._observation()
        return observation, {"is_success": self._success(observation)}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[GoalObservation, float, bool, bool, dict[str, Any]]:
        """Push with the force ``action`` [2].

        Raises:
            ValueError: an action of another shape, or that is not finite.
            gymnasium.error.ResetNeeded: there was no ``reset`` yet.
        """
        if self.state is None:
            raise reset_needed("step")
        self.state = self.rules.step(self.state, _clipped(np.asarray(action)[None], 1))
        observation = self._observation()
        success = self._success(observation)
        truncated = bool(self.state.remaining[0] <= 0)
        return observation, float(success), False, truncated, {"is_success": success}

    def compute_reward(
        self,
        achieved_goal: NDArray[np.floating[Any]],
        desired_goal: NDArray[np.floating[Any]],
        info: Any,
    ) -> Any:
        """As :meth:`Tabletop.compute_reward`."""
        return self.rules.compute_reward(achieved_goal, desired_goal, info)

    def render(self) -> Any:
        """A picture [height, width, 3] uint8."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render_mode: gym.make(id, render_mode=...)")
            return None
        if self.state is None:
            raise reset_needed("render")
        return drawing(self.rules, self.state, 0)

    def _observation(self) -> GoalObservation:
        return {key: value[0] for key, value in self.rules.observe(self.state).items()}

    def _success(self, observation: GoalObservation) -> bool:
        return bool(self.rules.at_goal(observation["achieved_goal"], observation["desired_goal"]))


class GoalVectorEnv(VectorEnv[GoalObservation, NDArray[np.float32], Any]):
    """A batch of episodes of Reach or Push, simulated together.

    With ``reset(seed=s)`` environment i plays the instances of seed s + i: the same episodes as
    :class:`GoalEnv` with that seed, to the bit, whatever the batch and the threads
    (:func:`rl_serial.envs.simulation.use_threads`).

    Args:
        num_envs: episodes side by side.
        task: Reach or Push.
        autoreset_mode: SAME_STEP (``final_obs`` and ``final_info`` in the info), NEXT_STEP or
            DISABLED, as a member of Gymnasium's AutoresetMode, its name or its value.
        render_mode: None or rgb_array.
        options: those of :class:`Tabletop`.

    Raises:
        ValueError: an option or mode that does not exist or is out of range.
        gymnasium.error.DependencyNotInstalled: MuJoCo is missing.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        task: str,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs!r}: must be at least 1")
        self.num_envs = num_envs
        self.rules = _tabletop(task, render_mode, options)
        self.single_observation_space = self.rules.observation_space
        self.single_action_space = self.rules.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.render_mode = render_mode
        self.autoreset_mode = autoreset_mode_of(autoreset_mode)
        self.metadata = {
            "render_modes": list(RENDER_MODES),
            "render_fps": FRAMES_PER_SECOND,
            "autoreset_mode": self.autoreset_mode,
        }
        self.state: Any = None
        self.instances = InstanceSeeds(num_envs)
        self._ended = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[GoalObservation, dict[str, Any]]:
        """The first observations (see :meth:`Tabletop.observe`).

        Args:
            seed: environment i plays the instances of seed + i, so the next seed plays most of
                the same ones; or of the i-th seed of a list, as of
                :func:`rl_serial.envs.seeds_for`, whose lists share none.
            options: {"reset_mask": [num_envs] bool} resets only those environments.

        Raises:
            ValueError: a mask that is not of this shape, has no True or comes before the first
                reset; any other option; a list of seeds that are not whole numbers >= 0.
        """
        rows = rows_to_reset(options, self.num_envs, self.instances.drawn)
        if isinstance(seed, int | np.integer):
            self._np_random, self._np_random_seed = gymnasium.utils.seeding.np_random(int(seed))
        self.instances.reseed(seed, rows, lambda: self.np_random)
        self._start_episodes(rows)
        observations = self.rules.observe(self.state)
        return observations, self._info(self._successes(observations))

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[
        GoalObservation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """Push with the forces ``actions`` [num_envs, 2], clipped to [-1, 1].

        Raises:
            ValueError: actions of another shape, or that are not finite; in DISABLED mode an
                environment that has ended.
            gymnasium.error.ResetNeeded: there was no ``reset`` yet.
        """
        if self.state is None:
            raise reset_needed("step")
        clipped = _clipped(np.asarray(actions), self.num_envs)
        begins = np.flatnonzero(self._ended)  # empty except under NEXT_STEP
        if self.autoreset_mode is AutoresetMode.DISABLED:
            refuse_step_of_ended(begins)
        self.state = self.rules.step(self.state, clipped)
        truncated = self.state.remaining <= 0
        if begins.size:
            self._start_episodes(begins)
            truncated[begins] = False
        observations = self.rules.observe(self.state)
        successes = self._successes(observations)
        rewards = successes.astype(np.float64)
        rewards[begins] = 0.0
        infos: dict[str, Any] = {}
        ends = np.flatnonzero(truncated)
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            self._ended = truncated.copy()
        elif ends.size:
            # What Gymnasium's SAME_STEP mode tells of episodes that end in this step.
            final_info = self._info(successes & truncated, truncated)
            infos = {"final_obs": _only(observations, truncated), "_final_obs": truncated.copy()}
            infos |= {"final_info": final_info, "_final_info": truncated.copy()}
            self._start_episodes(ends)
            observations = self.rules.observe(self.state)
            successes = self._successes(observations)
        infos |= self._info(successes)
        return observations, rewards, np.zeros_like(truncated), truncated, infos

    def compute_reward(
        self,
        achieved_goal: NDArray[np.floating[Any]],
        desired_goal: NDArray[np.floating[Any]],
        info: Any,
    ) -> Any:
        """As :meth:`Tabletop.compute_reward`."""
        return self.rules.compute_reward(achieved_goal, desired_goal, info)

    def render(self) -> tuple[Any, ...] | None:
        """A picture [height, width, 3] uint8 for each environment."""
        if self.render_mode is None:
            return None
        if self.state is None:
            raise reset_needed("render")
        return tuple(drawing(self.rules, self.state, row) for row in range(self.num_envs))

    def _start_episodes(self, rows: NDArray[np.int64]) -> None:
        """Put the next instance of each of ``rows`` in their places."""
        fresh = self.rules.initial(self.instances.take(rows))
        self._ended[rows] = False
        if rows.size == self.num_envs:
            self.state = fresh
        else:
            self.state = map_state(lambda old, new: put(old, rows, new), self.state, fresh)

    def _successes(self, observations: GoalObservation) -> NDArray[np.bool_]:
        return self.rules.at_goal(observations["achieved_goal"], observations["desired_goal"])

    def _info(
        self, successes: NDArray[np.bool_], present: NDArray[np.bool_] | None = None
    ) -> dict[str, Any]:
        mask = np.ones(self.num_envs, dtype=np.bool_) if present is None else present.copy()
        return {"is_success": successes, "_is_success": mask}


def _only(observations: GoalObservation, rows: NDArray[np.bool_]) -> GoalObservation:
    """The observations of ``rows`` [B] bool, zeros elsewhere."""
    return {key: np.where(rows[:, None], value, 0) for key, value in observations.items()}


def _tabletop(task: str, render_mode: str | None, options: dict[str, Any]) -> Tabletop:
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise ValueError(f"render_mode={render_mode!r}: must be one of {', '.join(RENDER_MODES)}")
    known = [name for name in Tabletop.__dataclass_fields__ if name != "task"]
    refuse_unknown(options, known, task)
    rules = Tabletop(task, **options)
    rules.model()
    return rules


def _clipped(actions: NDArray[Any], num_envs: int) -> NDArray[np.float64]:
    if actions.shape != (num_envs, 2) or actions.dtype.kind not in "fiu":
        raise ValueError(
            f"actions: must be [num_envs={num_envs}, 2] numbers, "
            f"not {list(actions.shape)} {actions.dtype}"
        )
    if not np.isfinite(actions).all():
        raise ValueError("actions: must be finite")
    return np.clip(actions.astype(np.float64), -1, 1)
