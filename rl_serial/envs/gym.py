"""The tasks served as Gymnasium environments, one at a time and in batches."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rl_serial.envs import rendering
from rl_serial.envs.chain import map_state
from rl_serial.envs.episodes import (
    InstanceSeeds,
    autoreset_mode_of,
    named_instance,
    put,
    refuse_step_of_ended,
    reset_needed,
    rows_to_reset,
    stream,
)
from rl_serial.envs.random import fold_in
from rl_serial.envs.registry import make_task
from rl_serial.envs.tasks import Task, num_actions

Observation = NDArray[np.float32]
RENDER_MODES = ("ansi", "rgb_array", "human")
MOST_NAMED = 24
"""Actions that an error lists."""


def observation_space(task: Task[Any]) -> gymnasium.Space[Observation]:
    """Flat Box [0, 1] of the length of the task's layout."""
    return gymnasium.spaces.Box(0.0, 1.0, (task.layout.size,), np.float32)


def action_space(task: Task[Any]) -> gymnasium.Space[np.int64]:
    """One discrete action a name."""
    return gymnasium.spaces.Discrete(num_actions(task))


def _check_render_mode(render_mode: str | None, modes: tuple[str, ...]) -> None:
    if render_mode is not None and render_mode not in modes:
        raise ValueError(f"render_mode={render_mode!r}: must be one of {', '.join(modes)}")


class SerialEnv(gymnasium.Env[Observation, np.int64]):
    """One episode of a task at a time.

    ``reset(seed=s)`` plays the first instance of seed s, every further ``reset()`` the next;
    ``reset(options={"instance": i})`` plays instance seed i. An episode ends by ``terminated``
    only: the horizon is part of the task. ``info["action_mask"]`` [num_actions] int8 of ``reset``
    and ``step`` is 1 where an action is legal, as ``action_space.sample(mask)`` takes it; through
    wrappers it is ``env.get_wrapper_attr("action_masks")()``.

    Args:
        family: a chain family of the registry.
        task: Bet, Steer or Write.
        render_mode: None, ansi, rgb_array or human.
        options: those of the chain and of the task (:func:`rl_serial.envs.registry.options_of`).

    Raises:
        UnknownOption: an option that does not exist; it is a ValueError and a TypeError.
        ValueError: a render mode that does not exist, an option out of range.
    """

    metadata = {  # noqa: RUF012
        "render_modes": list(RENDER_MODES),
        "render_fps": rendering.FRAMES_PER_SECOND,
    }
    pictures: ClassVar[Any] = rendering  # draws scenes: ansi and rgb_array

    def __init__(
        self, *, family: str, task: str, render_mode: str | None = None, **options: Any
    ) -> None:
        self._serve(make_task(family, task, **options), render_mode)

    def _serve(self, task: Any, render_mode: str | None) -> None:
        """Begin to play by the rules ``task``: what a chain's task and puzzles have in common."""
        _check_render_mode(render_mode, RENDER_MODES)
        self.task = task
        self.observation_space = observation_space(self.task)
        self.action_space = action_space(self.task)
        self.render_mode = render_mode
        self._seed: int | None = None
        self._episode = 0
        self._window: rendering.Window | None = None
        self.state: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """The first observation [layout.size] float32 of the next episode.

        Args:
            seed: play the instances of this seed from the first on.
            options: {"instance": int in [0, 2**63)} plays that instance.

        Raises:
            ValueError: another option, or an instance out of range.
        """
        seeds = named_instance(options)
        super().reset(seed=seed)
        if seed is not None or self._seed is None:
            self._seed = stream(seed if seed is not None else self.np_random.integers(2**31))
            self._episode = 0
        if seeds is None:
            seeds = fold_in(np.array([self._seed]), np.array([self._episode]))
            self._episode += 1
        self.state = self.task.initial(seeds)
        self._states = [self.state]
        self._actions: list[int] = []
        self._total_reward = 0.0
        self._ended = False
        if self.render_mode == "human":
            self.render()
        return self.task.observe(self.state)[0], self._info()

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take an action.

        Raises:
            ValueError: an action outside the space.
            gymnasium.error.ResetNeeded: there was no ``reset`` yet, here and in what follows.
        """
        if self.state is None:
            raise reset_needed("step")
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is outside {_named(self.task)}")
        transition = self.task.step(self.state, np.array([action], dtype=np.int64))
        self.state = transition.state
        reward = float(transition.reward[0])
        self._ended = bool(transition.terminated[0])
        if self.render_mode is not None:
            self._states.append(self.state)
            self._actions.append(int(action))
            self._total_reward += reward
            if self.render_mode == "human":
                self.render()
        return self.task.observe(self.state)[0], reward, self._ended, False, self._info()

    def action_values(self) -> NDArray[np.float32]:
        """[num_actions] float32: the exact Q* of the current state; zero after the end."""
        if self.state is None:
            raise reset_needed("action_values")
        values: NDArray[np.float32] = self.task.action_values(self.state)[0]
        return values

    def action_masks(self) -> NDArray[np.bool_]:
        """[num_actions] bool: the legal actions of the current state."""
        if self.state is None:
            raise reset_needed("action_masks")
        masks: NDArray[np.bool_] = self.task.legal_actions(self.state)[0]
        return masks

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.action_masks().astype(np.int8)}

    def scene(self) -> rendering.Scene:
        """The episode up to now; only a render mode keeps its past."""
        if self.state is None:
            raise reset_needed("render")
        return rendering.Scene(
            self.task, tuple(self._states), tuple(self._actions), self._total_reward, self._ended
        )

    def render(self) -> Any:
        """A string (ansi), a picture [height, width, 3] uint8 (rgb_array), or a window (human)."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render_mode: gym.make(id, render_mode=...)")
            return None
        if self.render_mode == "ansi":
            return self.pictures.ansi(self.scene())
        frame = self.pictures.rgb_array(self.scene())
        if self.render_mode == "rgb_array":
            return frame
        if self._window is None:
            self._window = rendering.Window()
        self._window.show(frame)
        return None

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()
            self._window = None


class SerialVectorEnv(VectorEnv[Observation, NDArray[np.int64], Any]):
    """A batch of episodes, stepped by the batched rules.

    With ``reset(seed=s)`` environment i plays the instances of seed s + i: the same episodes as
    :class:`SerialEnv` with that seed. Runs with neighbouring seeds thus share instances;
    ``reset(seed=seeds_for(s, num_envs))`` (:func:`rl_serial.envs.seeds_for`) shares none.

    ``infos["action_mask"]`` [num_envs, num_actions] int8 of ``reset`` and ``step`` is 1 where an
    action of the state that is returned is legal; that of the last state of an episode which ends
    under SAME_STEP is in ``infos["final_info"]``.

    Args:
        num_envs: episodes side by side.
        family: a chain family of the registry.
        task: Bet, Steer or Write.
        autoreset_mode: SAME_STEP (``final_obs`` in the info), NEXT_STEP or DISABLED, as a member
            of Gymnasium's AutoresetMode, its name or its value.
        render_mode: None, ansi or rgb_array.
        options: those of the chain and of the task.

    Raises:
        UnknownOption: an option that does not exist; it is a ValueError and a TypeError.
        ValueError: a mode that does not exist, an option out of range.
    """

    pictures: ClassVar[Any] = rendering

    def __init__(
        self,
        num_envs: int = 1,
        *,
        family: str,
        task: str,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        self._serve(num_envs, make_task(family, task, **options), autoreset_mode, render_mode)

    def _serve(
        self,
        num_envs: int,
        task: Any,
        autoreset_mode: AutoresetMode | str,
        render_mode: str | None,
    ) -> None:
        """Begin to play ``num_envs`` episodes by the rules ``task``."""
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs!r}: must be at least 1")
        _check_render_mode(render_mode, RENDER_MODES[:2])
        self.num_envs = num_envs
        self.task = task
        self.single_observation_space = observation_space(self.task)
        self.single_action_space = action_space(self.task)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.render_mode = render_mode
        self.autoreset_mode = autoreset_mode_of(autoreset_mode)
        self.metadata = {
            "render_modes": list(RENDER_MODES[:2]),
            "render_fps": rendering.FRAMES_PER_SECOND,
            "autoreset_mode": self.autoreset_mode,
        }
        self.state: Any = None
        self.instances = InstanceSeeds(num_envs)
        self._ended = np.zeros(num_envs, dtype=np.bool_)
        self._last_scenes: dict[int, rendering.Scene] = {}

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """The first observations [num_envs, layout.size] float32.

        Args:
            seed: environment i plays the instances of seed + i, so the next seed plays most of
                the same ones; or of the i-th seed of a list, as of ``seeds_for``, whose lists
                share none.
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
        return self.task.observe(self.state), self._info()

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observation, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Take ``actions`` [num_envs] in each environment.

        Raises:
            ValueError: actions of another shape or outside the space; in DISABLED mode an
                environment that has ended.
            gymnasium.error.ResetNeeded: there was no ``reset`` yet, here and in what follows.
        """
        if self.state is None:
            raise reset_needed("step")
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,) or actions.dtype.kind not in "iu":
            raise ValueError(
                f"actions: must be [num_envs={self.num_envs}] integers, "
                f"not {list(actions.shape)} {actions.dtype}"
            )
        if actions.min() < 0 or actions.max() >= num_actions(self.task):
            raise ValueError(
                f"actions hold {actions.min()} to {actions.max()}, outside {_named(self.task)}"
            )
        begins = np.flatnonzero(self._ended)  # empty except under NEXT_STEP
        if self.autoreset_mode is AutoresetMode.DISABLED:
            refuse_step_of_ended(begins)
        transition = self.task.step(self.state, actions.astype(np.int64))
        self.state = transition.state
        rewards = transition.reward.astype(np.float64)
        terminated = transition.terminated.copy()
        self._record(actions, rewards)
        if begins.size:
            self._start_episodes(begins)
            rewards[begins], terminated[begins] = 0.0, False
        infos: dict[str, Any] = {}
        ends = np.flatnonzero(terminated)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            if self.render_mode is not None:
                self._last_scenes = {int(row): self._scenes[row] for row in ends}
            if ends.size:
                infos = self._final_info(ends)
                self._start_episodes(ends)
        else:
            self._ended = terminated.copy()
        observations = self.task.observe(self.state)
        infos |= self._info()
        return observations, rewards, terminated, np.zeros_like(terminated), infos

    def action_values(self) -> NDArray[np.float32]:
        """[num_envs, num_actions] float32: the exact Q* of the current states."""
        if self.state is None:
            raise reset_needed("action_values")
        values: NDArray[np.float32] = self.task.action_values(self.state)
        return values

    def action_masks(self) -> NDArray[np.bool_]:
        """[num_envs, num_actions] bool: the legal actions of the current states."""
        if self.state is None:
            raise reset_needed("action_masks")
        masks: NDArray[np.bool_] = self.task.legal_actions(self.state)
        return masks

    def _info(self) -> dict[str, Any]:
        masks = self.action_masks().astype(np.int8)
        return {"action_mask": masks, "_action_mask": np.ones(self.num_envs, dtype=np.bool_)}

    def render(self) -> tuple[Any, ...] | None:
        """A string (ansi) or a picture (rgb_array) for each environment."""
        if self.render_mode is None:
            return None
        if self.state is None:
            raise reset_needed("render")
        text = self.render_mode == "ansi"
        draw = self.pictures.ansi if text else self.pictures.rgb_array
        return tuple(draw(scene) for scene in self._scenes)

    def picture(self, row: int, ended: bool = False) -> NDArray[np.uint8]:
        """A picture [height, width, 3] of environment ``row`` alone; it needs a render mode.

        Args:
            row: which one.
            ended: of the last state of its episode that ended in the last step, which ``render``
                does not show under SAME_STEP.
        """
        scene = self._last_scenes.get(row, self._scenes[row]) if ended else self._scenes[row]
        frame: NDArray[np.uint8] = self.pictures.rgb_array(scene)
        return frame

    def _start_episodes(self, rows: NDArray[np.int64]) -> None:
        """Put the next instance of each of ``rows`` in their places."""
        fresh = self.task.initial(self.instances.take(rows))
        self._ended[rows] = False
        if rows.size == self.num_envs:
            self.state = fresh
        else:
            self.state = map_state(lambda old, new: put(old, rows, new), self.state, fresh)
        if self.render_mode is not None:
            if rows.size == self.num_envs:
                self._scenes = [rendering.Scene(self.task, ())] * self.num_envs
            for row in rows:
                self._scenes[row] = rendering.Scene(self.task, (self._row(row),))

    def _final_info(self, ends: NDArray[np.int64]) -> dict[str, Any]:
        """What Gymnasium's SAME_STEP mode tells of episodes that end in this step."""
        mask = np.zeros(self.num_envs, dtype=np.bool_)
        mask[ends] = True
        last = self.state
        if ends.size < self.num_envs:
            last = map_state(lambda array: array[ends], self.state)
        final, legal = self.task.observe(last), self.task.legal_actions(last).astype(np.int8)
        if ends.size < self.num_envs:
            final, legal = (_spread(rows, ends, self.num_envs) for rows in (final, legal))
        info = {"action_mask": legal, "_action_mask": mask.copy()}
        return {
            "final_obs": final,
            "_final_obs": mask,
            "final_info": info,
            "_final_info": mask.copy(),
        }

    def _record(self, actions: NDArray[np.int64], rewards: NDArray[np.float64]) -> None:
        if self.render_mode is None:
            return
        for row, scene in enumerate(self._scenes):
            self._scenes[row] = rendering.Scene(
                self.task,
                (*scene.states, self._row(row)),
                (*scene.actions, int(actions[row])),
                scene.total_reward + float(rewards[row]),
            )

    def _row(self, row: int | np.int64) -> Any:
        return map_state(lambda array: array[row : row + 1], self.state)


def _spread(some: NDArray[Any], rows: NDArray[np.int64], count: int) -> NDArray[Any]:
    """[count, ...]: ``some`` in ``rows``, zeros elsewhere."""
    everywhere = np.zeros((count, *some.shape[1:]), dtype=some.dtype)
    everywhere[rows] = some
    return everywhere


def _named(task: Task[Any]) -> str:
    names = [f"{i} {name}" for i, name in enumerate(task.action_names[:MOST_NAMED])]
    more = ["…"] if num_actions(task) > MOST_NAMED else []
    return f"Discrete({num_actions(task)}): {', '.join(names + more)}"
