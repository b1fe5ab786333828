"""The true simulator of Gymnasium's MuJoCo tasks, for planning: many action sequences at once.

A :class:`ControlSimulator` starts from states of an environment (`Reacher-v5`, `HalfCheetah-v5`,
`Hopper-v5`, with whatever options it was made), rolls action sequences out on MuJoCo's thread pool
(``mujoco.rollout``) and says what the environment would have: states, rewards, ends. It needs the
extra ``mujoco``, which is imported when a simulator is made.

Rewards, ends and observations are those documented with Gymnasium's environments (version 5 of
each), from state arrays instead of ``mjData``; the tests step the environments beside them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.simulation import load_mujoco, rollout
from rl_serial.errors import require, told_missing

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class ControlState:
    """B states that a simulation can start from."""

    physics: Floats  # [B, S] MuJoCo's full physics state: time, positions, velocities
    warmstart: Floats  # [B, nv] accelerations from which the constraint solver starts


@dataclass(frozen=True)
class Rollouts:
    """What N action sequences of H steps did from each of B states.

    After the step that ends an episode nothing counts: rewards are 0, and the states are those of
    a simulation that goes on all the same. So are they, and worth nothing, where it has failed.
    """

    joints: Floats  # [B, N, H, nq + nv] positions and velocities after each step
    seen: Floats  # [B, N, H, nq] positions at which rewards and observations place the bodies
    rewards: Floats  # [B, N, H]
    terminated: Bools  # [B, N, H] from the step that ended the episode on
    failed: Bools  # [B, N] the simulation diverged


class TaskRules(Protocol):
    """Rewards, ends and observations of a task, pure and batched over the leading axes."""

    def reward_and_end(
        self, before: Floats, after: Floats, seen: Floats, action: Floats
    ) -> tuple[Floats, Bools]:
        """(reward [...], terminated [...]) of a step.

        Args:
            before: [..., nq + nv] positions and velocities.
            after: [..., nq + nv] those that the step led to.
            seen: [..., nq] positions at which bodies are seen; ``after``'s, but see
                :class:`ReacherRules`.
            action: [..., A].
        """

    def observe(self, joints: Floats, seen: Floats) -> Floats:
        """[..., O] the environment's observation of positions and velocities [..., nq + nv]."""


@dataclass(frozen=True)
class HalfCheetahRules:
    """Forward speed less the cost of control; never ends."""

    forward_weight: float
    control_weight: float
    seconds: float  # of a step
    hide_place: bool  # whether the observation leaves out the place along the track

    def reward_and_end(
        self, before: Floats, after: Floats, seen: Floats, action: Floats
    ) -> tuple[Floats, Bools]:
        """As the protocol says."""
        speed = (after[..., 0] - before[..., 0]) / self.seconds
        cost = self.control_weight * np.sum(action**2, axis=-1)
        return self.forward_weight * speed - cost, np.zeros(cost.shape, dtype=np.bool_)

    def observe(self, joints: Floats, seen: Floats) -> Floats:
        """Positions and velocities."""
        shown: Floats = joints[..., 1:] if self.hide_place else joints
        return shown


@dataclass(frozen=True)
class HopperRules:
    """Forward speed plus a bonus for health less the cost of control; ends when it falls."""

    forward_weight: float
    control_weight: float
    healthy_reward: float
    ends: bool
    state_range: tuple[float, float]
    height_range: tuple[float, float]
    angle_range: tuple[float, float]
    seconds: float
    positions: int  # nq
    hide_place: bool

    def reward_and_end(
        self, before: Floats, after: Floats, seen: Floats, action: Floats
    ) -> tuple[Floats, Bools]:
        """As the protocol says."""

        def inside(numbers: Floats, limits: tuple[float, float]) -> Bools:
            return (limits[0] < numbers) & (numbers < limits[1])

        healthy = np.all(inside(after[..., 2:], self.state_range), axis=-1)
        healthy &= inside(after[..., 1], self.height_range)
        healthy &= inside(after[..., 2], self.angle_range)
        speed = (after[..., 0] - before[..., 0]) / self.seconds
        cost = self.control_weight * np.sum(action**2, axis=-1)
        reward = self.forward_weight * speed + healthy * self.healthy_reward - cost
        return reward, ~healthy & self.ends

    def observe(self, joints: Floats, seen: Floats) -> Floats:
        """Positions, and velocities cut off at ±10."""
        positions, velocities = joints[..., : self.positions], joints[..., self.positions :]
        start = 1 if self.hide_place else 0
        return np.concatenate([positions[..., start:], np.clip(velocities, -10, 10)], axis=-1)


@dataclass(frozen=True)
class ReacherRules:
    """Minus the distance of the fingertip from the target, less the cost of control; never ends.

    Gymnasium reads the bodies' places from ``mjData`` after a step of the Runge-Kutta integrator,
    where they are those of its last stage and not of the state that it arrived at: up to a
    millimetre apart under full torque. ``seen`` holds the positions of that stage.
    """

    distance_weight: float
    control_weight: float
    links: tuple[float, float]  # lengths in metres

    def reward_and_end(
        self, before: Floats, after: Floats, seen: Floats, action: Floats
    ) -> tuple[Floats, Bools]:
        """As the protocol says."""
        distance = np.linalg.norm(self._from_target(seen), axis=-1)
        cost = self.control_weight * np.sum(action**2, axis=-1)
        reward = -self.distance_weight * distance - cost
        return reward, np.zeros(cost.shape, dtype=np.bool_)

    def observe(self, joints: Floats, seen: Floats) -> Floats:
        """Cosines and sines of both angles, target, angular velocities, fingertip from target."""
        angles, target, speeds = joints[..., :2], joints[..., 2:4], joints[..., 4:6]
        parts = [np.cos(angles), np.sin(angles), target, speeds, self._from_target(seen)]
        return np.concatenate(parts, axis=-1)

    def _from_target(self, seen: Floats) -> Floats:
        """[..., 2]: the planar arm's fingertip less the target."""
        first, second = seen[..., 0], seen[..., 0] + seen[..., 1]
        x = self.links[0] * np.cos(first) + self.links[1] * np.cos(second)
        y = self.links[0] * np.sin(first) + self.links[1] * np.sin(second)
        return np.stack([x, y], axis=-1) - seen[..., 2:4]


MUJOCO_TASKS = ("Reacher-v5", "HalfCheetah-v5", "Hopper-v5")
"""Ids of Gymnasium's environments that a :class:`ControlSimulator` knows."""
CONTROL_TASKS = (*MUJOCO_TASKS, "rl_serial/ManyBodyKick-v0")
"""Ids of all environments that can be planned in."""


def make_control(name: str, /, **options: Any) -> gym.Env[Any, Any]:
    """``gym.make`` of one of :data:`CONTROL_TASKS`, with ``options`` of the environment.

    Raises:
        ValueError: another name.
        gymnasium.error.DependencyNotInstalled: what the environment needs is missing; the message
            names the extra.
    """
    if name not in CONTROL_TASKS:
        raise ValueError(f"{name!r} cannot be simulated; these can: {', '.join(CONTROL_TASKS)}")
    try:
        return gym.make(name, **options)
    except ImportError as error:
        told = told_missing(name, error.name, "mujoco")
        raise gym.error.DependencyNotInstalled(told) from error


class Simulator(Protocol):
    """What plans are rolled out in: :class:`ControlSimulator`, or what an environment brings."""

    rules: TaskRules
    low: Floats  # [A] least actions
    high: Floats  # [A] greatest
    num_positions: int  # nq
    num_joints: int  # nq + nv

    def state(self, env: gym.Env[Any, Any]) -> ControlState:
        """Where an environment of this task is now, B = 1."""

    def joints(self, state: ControlState) -> Floats:
        """[B, nq + nv]: all that changes, or tells one instance from another."""

    def rollout(self, state: ControlState, actions: Floats) -> Rollouts:
        """What the environment would do under ``actions`` [B, N, H, A], none of them cut off."""


def make_simulator(env: gym.Env[Any, Any], threads: int = 1) -> Simulator:
    """The environment's own, ``env.unwrapped.simulator(threads)``, or a :class:`ControlSimulator`.

    Raises: as :class:`ControlSimulator`.
    """
    own = getattr(env.unwrapped, "simulator", None)
    if own is None:
        return ControlSimulator(env, threads)
    _refuse_wrappers(env)
    simulator: Simulator = own(threads)
    return simulator


class ControlSimulator:
    """Rolls action sequences out from states of a Gymnasium environment.

    Args:
        env: made from one of :data:`MUJOCO_TASKS`; its model and options are read once.
        threads: that share the rollouts, at least 1; the result does not depend on them.

    Raises:
        gymnasium.error.DependencyNotInstalled: MuJoCo is missing; the message names the extra.
        ValueError: another environment, or one with a wrapper that changes actions or rewards.
    """

    def __init__(self, env: gym.Env[Any, Any], threads: int = 1) -> None:
        mujoco = load_mujoco("the simulator")
        require(threads >= 1, "threads", threads, "1 or more")
        _refuse_wrappers(env)
        task: Any = env.unwrapped
        self.rules = _rules(task)
        self._mujoco = mujoco
        self._model = copy.copy(task.model)
        self._signature = int(mujoco.mjtState.mjSTATE_FULLPHYSICS.value)
        self._size = int(mujoco.mj_stateSize(self._model, self._signature))
        self.frame_skip = int(task.frame_skip)
        self.num_positions = int(self._model.nq)
        self.num_joints = int(self._model.nq + self._model.nv)
        self.low, self.high = (np.asarray(b, float) for b in self._model.actuator_ctrlrange.T)
        self._threads = threads
        self._seen_apart = isinstance(self.rules, ReacherRules)
        if self._seen_apart and self._model.opt.integrator != mujoco.mjtIntegrator.mjINT_RK4:
            raise ValueError("the model of Reacher must have the integrator RK4")
        self._half = _half_steps(mujoco, self._model) if self._seen_apart else None

    def state(self, env: gym.Env[Any, Any]) -> ControlState:
        """Where an environment of this task is now, B = 1."""
        data: Any = env.unwrapped.data  # type: ignore[attr-defined]
        physics = np.empty(self._size)
        self._mujoco.mj_getState(self._model, data, physics, self._signature)
        return ControlState(physics[None], np.array(data.qacc_warmstart)[None])

    def joints(self, state: ControlState) -> Floats:
        """[B, nq + nv]: positions and velocities."""
        numbers: Floats = state.physics[:, 1 : 1 + self.num_joints]
        return numbers

    def rollout(self, state: ControlState, actions: Floats) -> Rollouts:
        """What the environment would do under ``actions`` [B, N, H, A], none of them cut off.

        Raises:
            ValueError: a shape that does not match, an action outside the bounds.
        """
        batch, num, horizon, _ = checked_actions(
            actions, state.physics.shape[0], self.low, self.high
        )
        skip, nq = self.frame_skip, self._model.nq
        start = np.repeat(state.physics, num, axis=0)
        controls = np.repeat(actions.reshape(batch * num, horizon, -1), skip, axis=1)
        warmstart = np.repeat(state.warmstart, num, axis=0)
        steps = horizon * skip
        after = rollout(self._model, start, steps, controls, self._threads, warmstart)
        path = np.concatenate([start[:, None], after], axis=1)
        joints = path[..., 1 : 1 + self.num_joints]
        ends = joints[:, skip::skip]
        seen = ends[..., :nq]
        if self._seen_apart:
            seen = self._last_stage(path[:, skip - 1 : -1 : skip], controls[:, skip - 1 :: skip])
        shape = (batch, num, horizon)
        reward, ended = self.rules.reward_and_end(
            joints[:, :-1:skip].reshape(*shape, -1),
            ends.reshape(*shape, -1),
            seen.reshape(*shape, -1),
            actions,
        )
        # A simulation that diverged stands still from there on, its clock too.
        elapsed = path[:, -1, 0] - path[:, 0, 0]
        expected = horizon * skip * self._model.opt.timestep
        failed = ~(np.abs(elapsed - expected) < 0.5 * self._model.opt.timestep)
        failed |= ~np.isfinite(path).all(axis=(1, 2))
        terminated = np.logical_or.accumulate(ended, axis=2)
        over = np.zeros_like(terminated)
        over[..., 1:] = terminated[..., :-1]
        return Rollouts(
            joints=ends.reshape(*shape, -1),
            seen=seen.reshape(*shape, -1),
            rewards=np.where(over, 0.0, reward),
            terminated=terminated,
            failed=failed.reshape(batch, num),
        )

    def _last_stage(self, physics: Floats, controls: Floats) -> Floats:
        """[M, H, nq]: positions in the last stage of a Runge-Kutta step from [M, H, S].

        With positions q, velocities v, accelerations F and time step h: v₁ = v + h/2 F(q, v), then
        v₂ = v + h/2 F(q + h/2 v, v₁), and the last stage is at q + h v₂. Two half steps of Euler's
        method give the accelerations.
        """
        nq, nv = self._model.nq, self._model.nv
        half, h = self._half, self._model.opt.timestep
        state = physics.reshape(-1, self._size)
        control = controls.reshape(state.shape[0], -1)
        place, speed = state[:, 1 : 1 + nq], state[:, 1 + nq : 1 + nq + nv]

        def pushed(from_state: Floats) -> Floats:
            after = rollout(half, from_state, 1, control, self._threads)
            return np.asarray(after[:, 0, 1 + nq : 1 + nq + nv])

        first = pushed(state)
        middle = state.copy()
        middle[:, 1 : 1 + nq] = place + h / 2 * speed
        middle[:, 1 + nq : 1 + nq + nv] = first
        second = speed + pushed(middle) - first
        return np.asarray(place + h * second).reshape(*physics.shape[:2], nq)


def checked_actions(
    actions: Floats, batch: int, low: Floats, high: Floats
) -> tuple[int, int, int, int]:
    """The shape (B, N, H, A) of actions that can be rolled out.

    Raises:
        ValueError: it does not match ``batch`` states and bounds [A]; an action outside them.
    """
    size = low.size
    right = actions.ndim == 4 and 0 not in actions.shape and actions.shape[3] == size
    if not right or actions.shape[0] != batch:
        raise ValueError(
            f"actions must be [B, N, H, A] with B = {batch} and A = {size}, "
            f"not of shape {actions.shape}"
        )
    inside = (low <= actions) & (actions <= high)
    for place in np.argwhere(~inside)[:1]:
        raise ValueError(
            f"actions[{', '.join(map(str, place))}] is {actions[tuple(place)]}, outside "
            f"[{low[place[3]]}, {high[place[3]]}]"
        )
    found: tuple[int, int, int, int] = actions.shape
    return found


def _half_steps(mujoco: Any, model: Any) -> Any:
    """The model with Euler's method, explicit throughout, and half the time step."""
    half = copy.copy(model)
    half.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER
    half.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_EULERDAMP
    half.opt.timestep = model.opt.timestep / 2
    return half


def _rules(task: Any) -> TaskRules:
    """The rules of an unwrapped environment, with its options."""
    name = f"{type(task).__module__}.{type(task).__name__}"
    if name == "gymnasium.envs.mujoco.reacher_v5.ReacherEnv":
        links = tuple(float(task.model.body(body).pos[0]) for body in ("body1", "fingertip"))
        reacher = ReacherRules(
            distance_weight=float(task._reward_dist_weight),
            control_weight=float(task._reward_control_weight),
            links=(links[0], links[1]),
        )
        _check_arm(task, reacher)
        return reacher
    if name == "gymnasium.envs.mujoco.half_cheetah_v5.HalfCheetahEnv":
        return HalfCheetahRules(
            forward_weight=float(task._forward_reward_weight),
            control_weight=float(task._ctrl_cost_weight),
            seconds=float(task.dt),
            hide_place=bool(task._exclude_current_positions_from_observation),
        )
    if name == "gymnasium.envs.mujoco.hopper_v5.HopperEnv":
        return HopperRules(
            forward_weight=float(task._forward_reward_weight),
            control_weight=float(task._ctrl_cost_weight),
            healthy_reward=float(task._healthy_reward),
            ends=bool(task._terminate_when_unhealthy),
            state_range=_pair(task._healthy_state_range),
            height_range=_pair(task._healthy_z_range),
            angle_range=_pair(task._healthy_angle_range),
            seconds=float(task.dt),
            positions=int(task.model.nq),
            hide_place=bool(task._exclude_current_positions_from_observation),
        )
    raise ValueError(f"{name} cannot be simulated; these can: {', '.join(MUJOCO_TASKS)}")


def _pair(limits: Any) -> tuple[float, float]:
    low, high = limits
    return float(low), float(high)


def _check_arm(task: Any, rules: ReacherRules) -> None:
    """Refuse a model file whose arm is not the planar one of two links."""
    mujoco = load_mujoco("the simulator")
    data = mujoco.MjData(task.model)
    data.qpos[:4] = (0.7, -1.1, 0.05, -0.03)
    mujoco.mj_kinematics(task.model, data)
    found = data.body("fingertip").xpos - data.body("target").xpos
    expected = [*rules.observe(np.r_[data.qpos, data.qvel], np.array(data.qpos))[-2:], 0]
    if not np.allclose(found, expected, atol=1e-9):
        raise ValueError("the model of Reacher has another arm than Gymnasium's reacher.xml")


def _refuse_wrappers(env: gym.Env[Any, Any]) -> None:
    wrapped: Any = env
    while isinstance(wrapped, gym.Wrapper):
        if isinstance(wrapped, (gym.ActionWrapper, gym.RewardWrapper)):
            raise ValueError(
                f"the wrapper {type(wrapped).__name__} changes actions or rewards, which the "
                "simulator would not know: leave it out"
            )
        wrapped = wrapped.env
