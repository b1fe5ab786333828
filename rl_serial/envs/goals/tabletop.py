"""Reach and Push: a disc on a table is brought to a goal, or pushes a puck there.

MuJoCo simulates all environments of a batch at once on its thread pool (extra ``mujoco``). The
pusher is a disc under a force of two components; in Push there is a puck beside it, which slides
against its damping and is moved by contact alone. Contacts have no friction; the walls are the
limits of the joints (docs/goals.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rl_serial.envs.random import random_words
from rl_serial.envs.simulation import load_mujoco, rollout
from rl_serial.errors import require

TASKS = ("Reach", "Push")

RADIUS = 0.1
"""Of pusher and puck, m."""
PUSHER_MASS, PUSHER_DAMPING = 1.0, 4.0
"""kg; N s/m."""
PUCK_MASS, PUCK_DAMPING = 0.5, 4.0
"""kg; N s/m."""
FORCE = 4.0
"""Of an action component of 1, N."""
SPEED = FORCE / PUSHER_DAMPING
"""That a component of 1 leads to, m/s."""
TIME_STEP, SUBSTEPS = 0.0125, 4
"""Of the simulation, s; time steps of an action."""
MARGIN = 4 * RADIUS
"""Of puck's start and goal from the walls, m: the pusher has room behind the puck."""

_OBSERVED = 2.0  # observations lie well within ± this; contacts may exceed 1 a little
_CONTACT = [2 * TIME_STEP, 1.0]  # time constant and damping ratio: the stiffest that is stable

GoalObservation = dict[str, Any]
"""float32 arrays by observation, achieved_goal and desired_goal."""


@dataclass(frozen=True)
class TabletopState:
    """A batch of tables."""

    physics: NDArray[np.float64]  # [B, 1 + nq + nv] time, positions, velocities: pusher, puck
    goal: NDArray[np.float32]  # [B, 2] m
    remaining: NDArray[np.int64]  # [B] actions until the episode is cut off


@dataclass(frozen=True)
class Tabletop:
    """The rules of Reach and Push, pure and batched.

    Places are metres from the middle of the table, x to the right and y up.

    Args:
        task: Reach or Push.
        episode_steps: actions after which an episode is cut off, 1 to 100000.
        distance_threshold: within which of its goal the pusher or puck is at it, m; above 0, at
            most a quarter of the side.
        side: of the table, m; 1.2 to 10. The pusher takes about 20 actions a metre.

    Raises:
        ValueError: an option outside its range.
    """

    task: str
    episode_steps: int = 100
    distance_threshold: float = 0.1
    side: float = 2.0

    def __post_init__(self) -> None:
        require(self.task in TASKS, "task", self.task, f"one of {', '.join(TASKS)}")
        for name, kinds in (
            ("episode_steps", int | np.integer),
            ("distance_threshold", int | float | np.number),
            ("side", int | float | np.number),
        ):
            value = getattr(self, name)
            number = isinstance(value, kinds) and not isinstance(value, bool)
            require(number, name, value, "int" if name == "episode_steps" else "a number")
        require(
            1 <= self.episode_steps <= 100_000, "episode_steps", self.episode_steps, "1 to 100000"
        )
        require(1.2 <= self.side <= 10, "side", self.side, "1.2 to 10 (metres)")
        require(
            0 < self.distance_threshold <= self.side / 4,
            "distance_threshold",
            self.distance_threshold,
            f"above 0 and at most a quarter of the side, {self.side / 4}",
        )

    @property
    def discs(self) -> int:
        """On the table: the pusher, and in Push the puck."""
        return 1 + (self.task == "Push")

    @property
    def observation_space(self) -> gymnasium.spaces.Dict:
        """See :meth:`observe`."""
        box, half = gymnasium.spaces.Box, self.side / 2
        return gymnasium.spaces.Dict(
            {
                "observation": box(-_OBSERVED, _OBSERVED, (4 * self.discs,), np.float32),
                "achieved_goal": box(-half, half, (2,), np.float32),
                "desired_goal": box(-half, half, (2,), np.float32),
            }
        )

    @property
    def action_space(self) -> gymnasium.Space[NDArray[np.float32]]:
        """The force on the pusher along x and y, in units of FORCE."""
        return gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def initial(self, seeds: NDArray[np.int64]) -> TabletopState:
        """Everything at rest; a pure function of each of ``seeds`` [B].

        Goal and pusher are uniform over what the pusher can reach, puck and goal of Push over what
        is ``MARGIN`` from the walls. A pusher that would lie on the puck starts half a table to the
        side.
        """
        unit = random_words(seeds, 6).reshape(-1, 3, 2) / 2.0**32
        reach = self.side - 2 * RADIUS
        pusher = (unit[:, 0] - 0.5) * reach
        places = [pusher]
        goal_range = reach
        if self.task == "Push":
            goal_range = self.side - 2 * MARGIN
            puck = (unit[:, 2] - 0.5) * goal_range
            on_puck = ((pusher - puck) ** 2).sum(axis=1) < (2.1 * RADIUS) ** 2
            aside = pusher[:, 0] - np.copysign(reach / 2, pusher[:, 0])
            pusher[:, 0] = np.where(on_puck, aside, pusher[:, 0])
            places.append(puck)
        time, rest = np.zeros((len(seeds), 1)), np.zeros((len(seeds), 2 * self.discs))
        return TabletopState(
            physics=np.concatenate([time, *places, rest], axis=1),
            goal=((unit[:, 1] - 0.5) * goal_range).astype(np.float32),
            remaining=np.full(len(seeds), self.episode_steps, dtype=np.int64),
        )

    def step(self, state: TabletopState, action: NDArray[np.float64]) -> TabletopState:
        """Simulate an action [B, 2] in [-1, 1]; what an environment does depends on its row."""
        physics = rollout(self.model(), state.physics, SUBSTEPS, action)[:, -1]
        return replace(state, physics=physics, remaining=state.remaining - 1)

    def places(self, state: TabletopState) -> NDArray[np.float64]:
        """[B, discs, 2] m: pusher, then puck."""
        return state.physics[:, 1 : 1 + 2 * self.discs].reshape(-1, self.discs, 2)

    def observe(self, state: TabletopState) -> GoalObservation:
        """Observation [B, 4 * discs], achieved_goal [B, 2] and desired_goal [B, 2].

        The observation is the places over half the side, then the velocities over SPEED, of pusher
        and puck; goals are places in m. The goal is not in the observation.
        """
        scale = np.repeat([self.side / 2, SPEED], 2 * self.discs)
        seen = np.clip(state.physics[:, 1:] / scale, -_OBSERVED, _OBSERVED)
        return {
            "observation": seen.astype(np.float32),
            "achieved_goal": self.places(state)[:, -1].astype(np.float32),
            "desired_goal": state.goal.copy(),
        }

    def at_goal(
        self, achieved_goal: NDArray[np.floating[Any]], desired_goal: NDArray[np.floating[Any]]
    ) -> NDArray[np.bool_]:
        """[...] bool: whether two goals [..., 2] are within ``distance_threshold``."""
        gap = np.asarray(achieved_goal, np.float64) - np.asarray(desired_goal, np.float64)
        near: NDArray[np.bool_] = np.linalg.norm(gap, axis=-1) <= self.distance_threshold
        return near

    def compute_reward(
        self,
        achieved_goal: NDArray[np.floating[Any]],
        desired_goal: NDArray[np.floating[Any]],
        info: Any,
    ) -> Any:
        """1.0 where ``achieved_goal`` [..., 2] is at ``desired_goal`` [..., 2], else 0.0: [...].

        ``info`` is not looked at; it is there for Stable-Baselines3's HerReplayBuffer.
        """
        return self.at_goal(achieved_goal, desired_goal).astype(np.float64)[()]

    def model(self) -> Any:
        """The compiled ``mujoco.MjModel``: x and y of the pusher, then of the puck."""
        return _model(self.discs, float(self.side))


@lru_cache(maxsize=32)
def _model(discs: int, side: float) -> Any:
    """Spheres on two slide joints each, in a plane; the walls are the joints' limits."""
    mujoco = load_mujoco("Reach and Push")
    spec = mujoco.MjSpec()
    spec.modelname = "table"
    spec.option.timestep = TIME_STEP
    spec.option.gravity = [0, 0, 0]
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_EULER
    # Without a warm start a step depends on nothing but its state.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART
    bodies = (("pusher", PUSHER_MASS, PUSHER_DAMPING), ("puck", PUCK_MASS, PUCK_DAMPING))
    for name, mass, damping in bodies[:discs]:
        body = spec.worldbody.add_body(name=name)
        for along, axis in (("x", [1, 0, 0]), ("y", [0, 1, 0])):
            body.add_joint(
                name=f"{name}_{along}",
                type=mujoco.mjtJoint.mjJNT_SLIDE,
                axis=axis,
                damping=damping,
                limited=mujoco.mjtLimited.mjLIMITED_TRUE,
                range=[RADIUS - side / 2, side / 2 - RADIUS],
                solref_limit=_CONTACT,
            )
        body.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[RADIUS, 0, 0],
            mass=mass,
            condim=1,  # no friction
            solref=_CONTACT,
        )
    for along in ("x", "y"):
        actuator = spec.add_actuator(
            name=f"force_{along}",
            target=f"pusher_{along}",
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            ctrllimited=mujoco.mjtLimited.mjLIMITED_TRUE,
            ctrlrange=[-1, 1],
        )
        actuator.gainprm[0] = FORCE
    return spec.compile()


_SIDE = 320  # of a picture, pixels
_FELT, _EDGE = (244, 244, 241), (140, 140, 140)
_PUSHER, _PUCK, _GOAL = (43, 65, 98), (196, 106, 46), (60, 140, 80)


def drawing(rules: Tabletop, state: TabletopState, row: int) -> NDArray[np.uint8]:
    """[320, 320, 3]: a table from above; the ring is ``distance_threshold`` around the goal."""
    size = 2 * _SIDE  # drawn at twice the size for smooth edges
    scale = size / rules.side
    image = Image.new("RGB", (size, size), _FELT)
    draw = ImageDraw.Draw(image)

    def box(place: NDArray[Any], radius: float) -> list[float]:
        x, y = rules.side / 2 + place[0], rules.side / 2 - place[1]
        corners = (x - radius, y - radius, x + radius, y + radius)
        return [float(corner) * scale for corner in corners]

    for place, ink in zip(rules.places(state)[row], (_PUSHER, _PUCK), strict=False):
        draw.ellipse(box(place, RADIUS), fill=ink)
    draw.ellipse(box(state.goal[row], rules.distance_threshold), outline=_GOAL, width=6)
    draw.ellipse(box(state.goal[row], 0.015 * rules.side / 2), fill=_GOAL)
    draw.rectangle((0, 0, size - 1, size - 1), outline=_EDGE, width=4)
    return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))
