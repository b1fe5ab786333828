"""ManyBodyKick: push one disc of ManyBody so that another comes to rest nearer to a target.

Continuous control of the package's own simulation: at each of the first ``decisions`` intervals
the agent adds a velocity to the cue disc, then the table is simulated for an interval; after the
last decision it runs to its end. What is paid for is the *marked* disc. Where that is another disc
than the cue, the agent reaches it through collisions only, and what a kick does is known when
everything that follows it has been simulated.

:class:`ManyBodyKick` holds the rules, pure and batched; :class:`KickEnv` serves them to Gymnasium
and :class:`KickSimulator` to the planner. Both play the same ``step``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rl_serial.envs.chain import MOST_SERIAL_DEPTH, count_down
from rl_serial.envs.chains.many_body import ManyBody, ManyBodyState
from rl_serial.envs.chains.many_body_model import RADIUS, SPEED
from rl_serial.envs.control import Bools, ControlState, Floats, Rollouts, checked_actions
from rl_serial.envs.episodes import named_instance, reset_needed, stream
from rl_serial.envs.random import fold_in, random_words
from rl_serial.errors import refuse_unknown, require

MARKED = ("other", "cue")
PICTURE = 384  # pixels of a side
_TARGET, _CUE = (196, 106, 46), (214, 168, 60)


@dataclass(frozen=True)
class KickState:
    """A batch of tables, each with a target for disc 0, the marked one."""

    discs: ManyBodyState
    target: Floats  # [B, 2] m


@dataclass(frozen=True)
class KickStep:
    """What a step led to."""

    state: KickState
    reward: Floats  # [B] m
    terminated: Bools  # [B]
    failed: Bools  # [B] a disc left the table: the state is what it was, and the reward 0


@dataclass(frozen=True)
class ManyBodyKick:
    """The rules. The reward of a step is by how many metres the marked disc came nearer.

    The return is thus the distance at the start less the one at the end, whatever comes between.

    Args:
        contacts: elastic or none: discs that go through each other.
        serial_depth: intervals, at least 1; steps of an episode.
        discs: 2 to 25.
        interval: seconds of a step, 0.01 to 10.
        decisions: steps that begin with a kick, 1 to ``serial_depth``; later actions do nothing.
        max_kick: largest velocity that is added along each axis, m/s, above 0 and at most 1.
        marked: ``other``: the marked disc is not the cue and must be hit; ``cue``: it is.

    Raises:
        ValueError: an option outside its range; ``other`` where discs go through each other, as
            nothing that the agent does would matter.
    """

    contacts: str = "elastic"
    serial_depth: int = 8
    discs: int = 4
    interval: float = 0.15
    decisions: int = 4
    max_kick: float = 1.0
    marked: str = "other"
    table: ManyBody = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        deep = f"{MOST_SERIAL_DEPTH} at most"
        within = self.serial_depth <= MOST_SERIAL_DEPTH
        require(within, "serial_depth", self.serial_depth, deep)
        table = ManyBody(self.contacts, self.serial_depth, self.discs, self.interval)
        object.__setattr__(self, "table", table)
        most = self.serial_depth
        require(1 <= self.decisions <= most, "decisions", self.decisions, f"1 to {most}")
        require(0 < self.max_kick <= 1, "max_kick", self.max_kick, "above 0 and at most 1 (m/s)")
        require(self.marked in MARKED, "marked", self.marked, f"one of {', '.join(MARKED)}")
        possible = self.marked == "cue" or self.contacts == "elastic"
        require(possible, "marked", self.marked, "cue with contacts none: nothing else is moved")

    @property
    def cue(self) -> int:
        """The disc that is kicked."""
        return 0 if self.marked == "cue" else 1

    @property
    def top_speed(self) -> float:
        """No disc gets faster, m/s: all energy of the start and of every kick in one disc.

        The velocities of all discs are one vector, whose length contacts keep and a kick of length
        k raises by at most k.
        """
        return SPEED * math.sqrt(self.discs) + self.decisions * self.max_kick * math.sqrt(2)

    @property
    def observation_size(self) -> int:
        """Four numbers a disc, the target, the remaining steps as a one-hot."""
        return 4 * self.discs + 2 + self.serial_depth + 1

    def initial(self, seeds: NDArray[np.int64]) -> KickState:
        """The tables of :meth:`ManyBody.initial`; targets uniform where a centre can be."""
        unit = random_words(seeds, 2, stream=2) / 2.0**32
        discs = replace(self.table.initial(seeds), half=np.full(seeds.shape, -1, dtype=np.int8))
        return KickState(discs, RADIUS + unit * (self.table.side - 2 * RADIUS))

    def step(self, state: KickState, action: Floats, threads: int | None = None) -> KickStep:
        """Kick, and simulate an interval; after the end nothing happens.

        Args:
            state: of B tables.
            action: [B, 2] m/s, within ±``max_kick``.
            threads: that simulate; the result does not depend on them.
        """
        discs = state.discs
        running = discs.remaining > 0
        decides = running & (discs.remaining > self.serial_depth - self.decisions)
        position, velocity = discs.position.copy(), discs.velocity.copy()
        velocity[decides, self.cue] += action[decides]
        failed = np.zeros(running.shape, dtype=np.bool_)
        rows = np.flatnonzero(running)
        if rows.size:
            after = self.table.interval_of(position[rows], velocity[rows], threads)
            position[rows], velocity[rows] = after[:2]
            failed[rows] = ~after[2]
            position[failed], velocity[failed] = discs.position[failed], discs.velocity[failed]
        remaining = count_down(discs.remaining)
        moved = replace(discs, position=position, velocity=velocity, remaining=remaining)
        after_state = KickState(moved, state.target)
        reward = self.distance(state) - self.distance(after_state)
        return KickStep(after_state, reward, remaining == 0, failed)

    def distance(self, state: KickState) -> Floats:
        """[B] m from the marked disc's centre to the target."""
        return np.asarray(np.linalg.norm(state.discs.position[:, 0] - state.target, axis=1))

    def observe(self, state: KickState) -> NDArray[np.float32]:
        """[B, observation_size] in [0, 1]."""
        return self.shown(self.joints(state)).astype(np.float32)

    def joints(self, state: KickState) -> Floats:
        """[B, 4 discs + 3]: positions of the discs, target, remaining steps; velocities."""
        size = 2 * self.discs
        flat = (array.reshape(-1, size) for array in (state.discs.position, state.discs.velocity))
        position, velocity = flat
        left = state.discs.remaining[:, None].astype(np.float64)
        return np.concatenate([position, state.target, left, velocity], axis=1)

    def state(self, joints: Floats) -> KickState:
        """The reverse of :meth:`joints`."""
        size = 2 * self.discs
        position, target, left, velocity = np.split(joints, [size, size + 2, size + 3], axis=1)
        discs = ManyBodyState(
            position=position.reshape(-1, self.discs, 2),
            velocity=velocity.reshape(-1, self.discs, 2),
            half=np.full(joints.shape[0], -1, dtype=np.int8),
            remaining=np.rint(left[:, 0]).astype(np.int64),
        )
        return KickState(discs, target)

    def shown(self, joints: Floats) -> Floats:
        """[..., observation_size] from joints [..., 4 discs + 3].

        Of each disc position over side and velocity over its bound, disc 0 marked; the target over
        side; the remaining steps.
        """
        size = 2 * self.discs
        position, target, left, velocity = np.split(joints, [size, size + 2, size + 3], axis=-1)
        pairs = (*joints.shape[:-1], self.discs, 2)
        place = position.reshape(pairs) / self.table.side
        speed = 0.5 + velocity.reshape(pairs) / (2 * self.top_speed)
        tokens = np.concatenate([place, speed], axis=-1).reshape(*joints.shape[:-1], 2 * size)
        steps = (np.rint(left) == np.arange(self.serial_depth + 1)).astype(np.float64)
        numbers = np.concatenate([tokens, target / self.table.side, steps], axis=-1)
        return np.asarray(np.clip(numbers, 0, 1))


@dataclass(frozen=True)
class KickRules:
    """Rewards, ends and observations from joints; :class:`rl_serial.envs.control.TaskRules`."""

    rules: ManyBodyKick

    def reward_and_end(
        self, before: Floats, after: Floats, seen: Floats, action: Floats
    ) -> tuple[Floats, Bools]:
        """As the protocol says; what a kick costs is nothing."""
        size = 2 * self.rules.discs

        def distance(joints: Floats) -> Floats:
            target = joints[..., size : size + 2]
            return np.asarray(np.linalg.norm(joints[..., :2] - target, axis=-1))

        return distance(before) - distance(after), np.rint(after[..., size + 2]) <= 0

    def observe(self, joints: Floats, seen: Floats) -> Floats:
        """As :meth:`ManyBodyKick.shown`."""
        return self.rules.shown(joints)


class KickSimulator:
    """Rolls kicks out from states of a :class:`KickEnv`; as ``ControlSimulator`` does for MuJoCo's.

    Args:
        rules: of the environment.
        threads: that share the rollouts, at least 1; the result does not depend on them.

    Raises:
        ValueError: fewer threads.
    """

    def __init__(self, rules: ManyBodyKick, threads: int = 1) -> None:
        require(threads >= 1, "threads", threads, "1 or more")
        self._task, self._threads = rules, threads
        self.rules = KickRules(rules)
        self.num_positions = 2 * rules.discs + 3  # target and remaining steps among them
        self.num_joints = 4 * rules.discs + 3
        self.low, self.high = (
            np.full(2, sign * float(np.float32(rules.max_kick))) for sign in (-1, 1)
        )

    def state(self, env: gymnasium.Env[Any, Any]) -> ControlState:
        """Where an environment of this task is now, B = 1."""
        task: Any = env.unwrapped
        if task.state is None:
            raise reset_needed("state")
        return ControlState(self._task.joints(task.state), np.empty((1, 0)))

    def joints(self, state: ControlState) -> Floats:
        """[B, 4 discs + 3]: see :meth:`ManyBodyKick.joints`."""
        return state.physics

    def rollout(self, state: ControlState, actions: Floats) -> Rollouts:
        """What the environment would do under ``actions`` [B, N, H, A].

        Raises:
            ValueError: a shape that does not match, an action outside the bounds.
        """
        batch, num, horizon, _ = checked_actions(
            actions, state.physics.shape[0], self.low, self.high
        )
        here = self._task.state(np.repeat(state.physics, num, axis=0))
        shape = batch * num, horizon
        joints, rewards = np.empty((*shape, self.num_joints)), np.empty(shape)
        terminated = np.empty(shape, dtype=np.bool_)
        failed = np.zeros(shape[0], dtype=np.bool_)
        for step in range(horizon):
            found = self._task.step(here, actions[:, :, step].reshape(-1, 2), self._threads)
            here = found.state
            joints[:, step] = self._task.joints(here)
            rewards[:, step], terminated[:, step] = found.reward, found.terminated
            failed |= found.failed
        paths = joints.reshape(batch, num, horizon, -1)
        return Rollouts(
            joints=paths,
            seen=paths[..., : self.num_positions],
            rewards=rewards.reshape(batch, num, horizon),
            terminated=terminated.reshape(batch, num, horizon),
            failed=failed.reshape(batch, num),
        )


class KickEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """One episode at a time.

    ``reset(seed=s)`` plays the first instance of seed s, every further ``reset()`` the next;
    ``reset(options={"instance": i})`` plays instance i. An episode ends by ``terminated`` only.

    Args:
        render_mode: None or rgb_array.
        options: those of :class:`ManyBodyKick`; ``max_kick`` may be called ``kick``, as it was.

    Raises:
        UnknownOption: an option that does not exist; it is a ValueError and a TypeError.
        ValueError: a render mode that does not exist, an option out of range.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, *, render_mode: str | None = None, **options: Any) -> None:
        require(render_mode in (None, "rgb_array"), "render_mode", render_mode, "rgb_array or None")
        if "kick" in options and "max_kick" not in options:
            options["max_kick"] = options.pop("kick")
        refuse_unknown(options, [f.name for f in fields(ManyBodyKick) if f.init], "ManyBodyKick")
        try:
            self.rules = ManyBodyKick(**options)
        except TypeError as error:
            raise ValueError(f"ManyBodyKick: {error}") from None
        self.observation_space = Box(0.0, 1.0, (self.rules.observation_size,), np.float32)
        self.action_space = Box(-self.rules.max_kick, self.rules.max_kick, (2,), np.float32)
        self.render_mode = render_mode
        self.state: Any = None
        self._seed: int | None = None
        self._episode = 0

    def simulator(self, threads: int) -> KickSimulator:
        """What plans in this environment roll out in."""
        return KickSimulator(self.rules, threads)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """The first observation [observation_size] of the next episode; infos have the distance.

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
        self.state = self.rules.initial(seeds)
        return self.rules.observe(self.state)[0], self._info()

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Kick the cue disc by ``action`` [2] m/s and simulate an interval.

        Raises:
            ValueError: an action outside the space.
            FloatingPointError: a disc left the table.
            gymnasium.error.ResetNeeded: there was no ``reset`` yet.
        """
        if self.state is None:
            raise reset_needed("step")
        kick = np.asarray(action, dtype=np.float64)
        if kick.shape != (2,) or not np.all(np.abs(kick) <= np.float32(self.rules.max_kick)):
            raise ValueError(f"action {action!r} is outside {self.action_space}")
        found = self.rules.step(self.state, kick[None])
        if found.failed[0]:
            raise FloatingPointError("a disc has left the table: too fast for the time step")
        self.state = found.state
        observation = self.rules.observe(self.state)[0]
        return observation, float(found.reward[0]), bool(found.terminated[0]), False, self._info()

    def _info(self) -> dict[str, Any]:
        return {"distance": float(self.rules.distance(self.state)[0])}  # m

    def render(self) -> Any:
        """[384, 384, 3] uint8: the table, the target as a cross and the cue with a ring."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render_mode: gym.make(id, render_mode=...)")
            return None
        if self.state is None:
            raise reset_needed("render")
        table = self.rules.table
        image = Image.fromarray(table.drawing(self.state.discs, PICTURE))
        draw = ImageDraw.Draw(image)
        scale = PICTURE / table.side

        def place(point: Floats) -> tuple[float, float]:
            return float(point[0] * scale), float((table.side - point[1]) * scale)

        x, y = place(self.state.target[0])
        arm = RADIUS / 2 * scale
        draw.line((x - arm, y - arm, x + arm, y + arm), fill=_TARGET, width=4)
        draw.line((x - arm, y + arm, x + arm, y - arm), fill=_TARGET, width=4)
        x, y = place(self.state.discs.position[0, self.rules.cue])
        ring = RADIUS * scale
        draw.ellipse((x - ring, y - ring, x + ring, y + ring), outline=_CUE, width=5)
        return np.asarray(image)
