"""One way to a batch of any goal environment: the package's own, Gymnasium-Robotics', a user's."""

from __future__ import annotations

import difflib
import importlib
import io
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from rl_serial.errors import OptionError, UnknownOption, told_missing

T = TypeVar("T")

if TYPE_CHECKING:
    _Wrapper = VectorWrapper[Any, Any, Any, Any, Any]
else:
    _Wrapper = VectorWrapper  # generic since Gymnasium 1.4

GOAL_KEYS = ("observation", "achieved_goal", "desired_goal")

GOAL_ENVIRONMENTS: dict[str, dict[str, Any]] = {
    **{
        f"rl_serial/{task}-v0": {
            "entry_point": "rl_serial.envs.goals.tabletop_envs:GoalEnv",
            "vector_entry_point": "rl_serial.envs.goals.tabletop_envs:GoalVectorEnv",
            "kwargs": {"task": task},
        }
        for task in ("Reach", "Push")
    },
    "rl_serial/GoalReacher-v0": {
        "entry_point": "rl_serial.envs.goals.arms:ArmGoalEnv",
        "kwargs": {"arm": "Reacher", "distance_threshold": 0.05},
        "max_episode_steps": 50,
    },
    "rl_serial/GoalPusher-v0": {
        "entry_point": "rl_serial.envs.goals.arms:ArmGoalEnv",
        "kwargs": {"arm": "Pusher", "distance_threshold": 0.1},
        "max_episode_steps": 100,
    },
}
"""The package's own: what each is registered with."""

MAZES = ("PointMaze_", "AntMaze_")
ROBOTICS = (*MAZES, "Fetch", "HandReach", "HandManipulate")
"""Beginnings of the ids of Gymnasium-Robotics' goal environments (extra ``robotics``)."""

_MAZE_OPTIONS = {"continuing_task": True, "reset_target": False}


class NoGoals(ValueError):
    """An environment whose observations hold no goals."""


def is_goal_environment(env_id: str) -> bool:
    """Whether the id is one of those that are known to have goals; a user's own are not."""
    return env_id in GOAL_ENVIRONMENTS or env_id.startswith(ROBOTICS)


def register() -> None:
    """Register the package's own goal environments with Gymnasium."""
    for id_, registration in GOAL_ENVIRONMENTS.items():
        gymnasium.register(id_, **registration)


def goal_environments() -> list[str]:
    """Ids that :func:`make_goal_vec` makes: the package's, then Gymnasium-Robotics' if installed.

    Of the latter the newest version of each; those that need the retired mujoco-py are left out.
    """
    newest: dict[str, int] = {}
    if _register_robotics() is None:
        for spec in gymnasium.registry.values():
            retired = "MujocoPy" in str(spec.entry_point)
            if spec.id.startswith(ROBOTICS) and not retired and spec.version is not None:
                newest[spec.name] = max(spec.version, newest.get(spec.name, 0))
    return [*GOAL_ENVIRONMENTS, *(f"{name}-v{version}" for name, version in newest.items())]


def make_goal_vec(
    env_id: str, num_envs: int, /, *, processes: int = 1, **options: Any
) -> VectorEnv[Any, Any, Any]:
    """``num_envs`` of a goal environment with SAME_STEP autoreset.

    Observations are float32 and actions a Box, whatever the environment. ``final_obs`` in the infos
    of a step that ends episodes is a dictionary of arrays [num_envs, ...] (zeros where none ended),
    and the result has ``compute_reward(achieved_goal, desired_goal, info)``, batched. Rewards are
    the environment's own: 0 and 1, in Fetch and Hand −1 and 0; :func:`success_of` reads success
    from the infos of all.

    Args:
        env_id: one of :func:`goal_environments`, or any registered goal environment, also as
            ``module:id``.
        num_envs: at least 1.
        processes: 1, or ``num_envs``: each environment in a process of its own
            (AsyncVectorEnv). Reach and Push are simulated by threads and take 1 only.
        options: of ``gymnasium.make``: the environment's own, and ``max_episode_steps`` of those
            that are not Reach or Push. Mazes have ``continuing_task=True`` and
            ``reset_target=False`` unless said otherwise: an episode goes on at the goal, so that
            the time there can be measured.

    Raises:
        ValueError: an unknown id, a package that is missing (the message names the extra), an
            environment that has no goals or other actions than a Box, an option that it does not
            take, or ``processes`` out of range.
    """
    if num_envs < 1:
        raise ValueError(f"num_envs={num_envs!r}: must be at least 1")
    spec = _spec(env_id)
    fixed = {"autoreset_mode": "SAME_STEP"} | (spec.kwargs if spec.namespace == "rl_serial" else {})
    for name in options.keys() & (fixed.keys() - {"distance_threshold"}):
        raise OptionError(name, f"is {fixed[name]} in {env_id}, and no option")
    if spec.name.startswith(MAZES):
        options = _MAZE_OPTIONS | options
    if spec.namespace == "rl_serial" and spec.vector_entry_point is not None:
        if processes != 1:
            raise ValueError(f"processes={processes!r}: {env_id} runs in one process, on threads")
        native = partial(gymnasium.make_vec, env_id, num_envs, "vector_entry_point", **options)
        env = _made(env_id, native)
        _check_spaces(env_id, env, env.single_observation_space, env.single_action_space)
        return env
    if processes not in (1, num_envs):
        raise ValueError(
            f"processes={processes!r}: must be 1 or num_envs={num_envs}, a process for each "
            "environment"
        )
    single = partial(_single, env_id, options)
    probe = _made(env_id, single)
    vector: VectorEnv[Any, Any, Any]
    if processes > 1:
        vector = AsyncVectorEnv([single] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    else:
        vector = SyncVectorEnv([single] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    return _GoalVec(vector, probe)


def success_of(info: dict[str, Any]) -> NDArray[np.bool_]:
    """[num_envs] bool: success after the step that returned ``info``, a vector environment's.

    Reads ``is_success`` (the package's own, Fetch, Hand) or ``success`` (mazes). Of an episode
    that this step ended under SAME_STEP autoreset it is the success of its last step, from
    ``final_info``, and not that of the start of the next.

    Raises:
        ValueError: ``info`` has neither.
    """
    final = info.get("final_info", {})
    for key in ("is_success", "success"):
        if key not in info and key not in final:
            continue
        shape = np.shape(info[key] if key in info else final[key])
        success = np.zeros(shape, dtype=np.bool_)
        if key in info:
            success |= np.asarray(info[key]).astype(np.bool_)
        if key in final:
            ended = np.asarray(info["_final_info"])
            success[ended] = np.asarray(final[key]).astype(np.bool_)[ended]
        return success
    raise ValueError(
        f"info holds neither is_success nor success, but {', '.join(info) or 'nothing'}"
    )


class _GoalVec(_Wrapper):
    """Adds batched rewards, and makes arrays of the last observations of episodes."""

    def __init__(self, env: VectorEnv[Any, Any, Any], probe: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._probe = probe

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            final = {key: np.zeros_like(value) for key, value in observations.items()}
            for row in np.flatnonzero(info["_final_obs"]):
                for key, value in info["final_obs"][row].items():
                    final[key][row] = value
            info["final_obs"] = final
        return observations, rewards, terminated, truncated, info

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        return cast(Any, self._probe.unwrapped).compute_reward(achieved_goal, desired_goal, info)

    def close(self, **kwargs: Any) -> None:
        super().close(**kwargs)
        self._probe.close()


class _Float32(gymnasium.ObservationWrapper[Any, Any, Any]):
    """A goal environment whose observations are float32, and are those of GOAL_KEYS only."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        spaces: Any = env.observation_space
        self.observation_space = gymnasium.spaces.Dict(
            {
                key: gymnasium.spaces.Box(
                    spaces[key].low.astype(np.float32), spaces[key].high.astype(np.float32)
                )
                for key in GOAL_KEYS
            }
        )

    def observation(self, observation: Any) -> Any:
        return {key: np.asarray(observation[key], np.float32) for key in GOAL_KEYS}


def _single(env_id: str, options: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    """One environment, in whatever process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium's about ids with a newer version, and the like
        _spec(env_id)
        env = gymnasium.make(env_id, disable_env_checker=True, **options)
    _check_spaces(env_id, env, env.observation_space, env.action_space)
    return _Float32(env)


def _made(env_id: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except UnknownOption:
        raise  # names the option, and those that there are
    except (TypeError, AssertionError, ArithmeticError, LookupError) as error:
        # An option that it does not take, or a value of one that it does not expect.
        raise ValueError(f"{env_id}: {type(error).__name__}: {error}") from error
    except gymnasium.error.DependencyNotInstalled as error:
        raise ValueError(str(error)) from error


def _register_robotics() -> ImportError | gymnasium.error.DependencyNotInstalled | None:
    """Register Gymnasium-Robotics' environments, or return why it cannot be imported.

    What it prints when it is imported is about its Adroit hands, which have no goals.
    """
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            gymnasium.register_envs(importlib.import_module("gymnasium_robotics"))
        except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
            return error
    return None


def _spec(env_id: str) -> Any:
    module, _, name = env_id.rpartition(":")
    if name.startswith(ROBOTICS) and (error := _register_robotics()):
        but = f"which cannot be imported ({error})"
        raise ValueError(told_missing(env_id, "gymnasium-robotics", "robotics", but)) from error
    try:
        if module:
            importlib.import_module(module)
        return gymnasium.spec(name)
    except (gymnasium.error.Error, ImportError) as error:
        known = goal_environments()
        near = difflib.get_close_matches(env_id, known, n=3)
        listed = [*GOAL_ENVIRONMENTS, *(f"{beginning}…" for beginning in ROBOTICS)]
        raise ValueError(
            f"{env_id}: no such environment ({error}); there are {', '.join(listed)} "
            f"(rl_serial.envs.goals.goal_environments() lists all)"
            + (f"; near are {', '.join(near)}" if near else "")
        ) from error


def _check_spaces(env_id: str, env: Any, observations: Any, actions: Any) -> None:
    box = gymnasium.spaces.Box
    goals = isinstance(observations, gymnasium.spaces.Dict) and all(
        isinstance(observations.spaces.get(key), box) for key in GOAL_KEYS
    )
    if goals and isinstance(actions, box):
        return
    env.close()
    if goals:
        raise ValueError(f"{env_id} has the actions {actions}; they must be a Box")
    raise NoGoals(
        f"{env_id} is no goal environment: its observations must be a Dict of the Boxes "
        f"{', '.join(GOAL_KEYS)}, and are {type(observations).__name__}"
    )
