"""ManyBody: discs on a table with walls, simulated by MuJoCo.

Discs collide elastically with each other and with the walls; where one of them is after a time
depends on collisions that depend on collisions. In the twin the contacts between discs are switched
off, so that each disc moves on a closed-form path between the walls.

The rules need the extra ``mujoco`` and run on NumPy arrays only. A contact is a spring without
damping whose force grows about as the cube of its depth. It sets in so smoothly that symplectic
steps (semi-implicit Euler) of 8 ms keep the energy within 0.3 % over ten seconds; a linear spring
of the same impedance needs steps of 1 ms and RK4 for as much (docs/chains/many_body.md).
"""

from __future__ import annotations

import atexit
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rl_serial.envs.chain import TokenLayout, count_down, each_place, one_hot
from rl_serial.envs.random import below, random_words
from rl_serial.envs.simulation import load_mujoco, rollout
from rl_serial.errors import require

CONTACTS = ("elastic", "none")

AREA = 0.25
"""Of the table for each disc, m^2: more discs get a larger table, and meet each other as often."""
RADIUS = 0.12
"""Of a disc, m."""
MASS = 1.0
"""Of a disc, kg."""
SPEED = 1.0
"""Of each disc at the start, m/s."""
DEPTH_AT_UNIT_SPEED = 0.036
"""How deep a contact gets that closes at 1 m/s, m; at v m/s about the root of v times that."""
TIME_STEP = 1 / 120
"""Largest time step, s: an interval is divided into equal steps that are not longer."""
NUM_KICKS = 3

# MuJoCo separates a contact of depth p with the acceleration k (d(p) / d_max)^2 p. The impedance d
# may grow linearly with p, but from 1e-4 on: with a slope s the acceleration is
# STIFFNESS p (p + ONSET)^2 with ONSET = 1e-4 / s. The slope must be small all the same: where a
# disc has two contacts at once, a share d of each force depends on the other, and no energy belongs
# to that share.
_LEAST_IMPEDANCE = 1e-4
_IMPEDANCE_SLOPE = 0.1  # per m
_IMPEDANCE_DEPTH = 0.1  # m, where the slope ends: no contact gets this deep
ONSET = _LEAST_IMPEDANCE / _IMPEDANCE_SLOPE
"""Depth below which the force is nearly linear, m."""
STIFFNESS = (SPEED**2 / 2) / (
    DEPTH_AT_UNIT_SPEED**4 / 4
    + 2 * ONSET * DEPTH_AT_UNIT_SPEED**3 / 3
    + ONSET**2 * DEPTH_AT_UNIT_SPEED**2 / 2
)
"""Of a contact, 1 / (m s)^2: a disc of 1 m/s is brought to rest at DEPTH_AT_UNIT_SPEED."""

_DISC_STEPS = 160_000  # simulated at a time, which bounds the memory of paths
_CELLS = 32  # of the space-time diagram
_MOST_DISCS = 25


@dataclass(frozen=True)
class ManyBodyState:
    """A batch of tables. Disc 0 is the marked disc, which is also the cue disc."""

    position: NDArray[np.float64]  # [B, discs, 2] m, of the centres
    velocity: NDArray[np.float64]  # [B, discs, 2] m/s
    half: NDArray[np.int8]  # [B] the marked half of the table: 0 left, 1 right; -1 none
    remaining: NDArray[np.int64]  # [B]


@dataclass(frozen=True)
class ManyBody:
    """``discs`` discs that move for ``serial_depth`` intervals of ``interval`` seconds.

    Args:
        contacts: elastic or none: discs that go through each other.
        serial_depth: intervals, at least 1.
        discs: 2 to 25; the side of the table is half the root of their number, m.
        interval: seconds a serial step lasts, 0.01 to 10.

    Raises:
        ValueError: an option outside its range.
        gymnasium.error.DependencyNotInstalled: MuJoCo is missing, or another version than the rules
            were checked with; when the first instance is drawn.
    """

    numpy_only: ClassVar[bool] = True
    binary_observations: ClassVar[bool] = False

    contacts: str = "elastic"
    serial_depth: int = 8
    discs: int = 4
    interval: float = 0.15

    def __post_init__(self) -> None:
        require(
            self.contacts in CONTACTS, "contacts", self.contacts, f"one of {', '.join(CONTACTS)}"
        )
        require(self.serial_depth >= 1, "serial_depth", self.serial_depth, "at least 1")
        require(2 <= self.discs <= _MOST_DISCS, "discs", self.discs, f"2 to {_MOST_DISCS}")
        require(0.01 <= self.interval <= 10, "interval", self.interval, "0.01 to 10 (seconds)")

    @property
    def num_kicks(self) -> int:
        """Kick a turns the cue disc's velocity by (a + 1) quarter turns."""
        return NUM_KICKS

    @property
    def layout(self) -> TokenLayout:
        """A token a disc (x, y, two of velocity), disc 0 marked; global: marked half, steps."""
        return TokenLayout(self.discs, 4, 1 + self.serial_depth + 1)

    @property
    def side(self) -> float:
        """Of the table, m."""
        return math.sqrt(AREA * self.discs)

    @property
    def working_size(self) -> int:
        """Cells of the table from left to right."""
        return _CELLS

    def initial(self, seeds: NDArray[np.int64]) -> ManyBodyState:
        """Discs uniform in different cells of a grid, at 1 m/s in any direction; half uniform.

        Nothing touches at the start, as a disc lies within its cell; at least one cell is empty.

        Raises:
            ValueError: ``seeds`` of another library than NumPy.
        """
        if not isinstance(seeds, np.ndarray):
            raise ValueError(
                f"seeds: {type(self).__name__} runs on NumPy arrays, not on "
                f"{type(seeds).__module__}'s; keep its rules on the CPU"
            )
        load_mujoco("ManyBody")
        across = math.isqrt(self.discs) + 1
        cells, width = across**2, self.side / across
        words = random_words(seeds, 1 + cells + 3 * self.discs)
        # The cell's number in the low digits makes the keys different.
        order = np.argsort(words[:, 1 : 1 + cells] * cells + np.arange(cells), axis=1)
        cell = order[:, : self.discs]
        corner = np.stack([cell % across, cell // across], axis=2) * width
        unit = words[:, 1 + cells :].reshape(-1, self.discs, 3) / 2.0**32
        angle = 2 * np.pi * unit[:, :, 2]
        return ManyBodyState(
            position=corner + RADIUS + unit[:, :, :2] * (width - 2 * RADIUS),
            velocity=SPEED * np.stack([np.cos(angle), np.sin(angle)], axis=2),
            half=below(words[:, 0], 2).astype(np.int8),
            remaining=np.full_like(seeds, self.serial_depth),
        )

    def kick(self, state: ManyBodyState, action: NDArray[np.int64]) -> ManyBodyState:
        """Turn the cue disc's velocity by ``action`` + 1 quarter turns to the left.

        The marked disc is the cue disc, since in the twin no other kick could matter to it; its
        speed stays, so a kick brings no energy.
        """
        x, y = state.velocity[:, 0, 0], state.velocity[:, 0, 1]
        turned = np.stack([np.stack([-y, x], 1), np.stack([-x, -y], 1), np.stack([y, -x], 1)], 1)
        cue = turned[np.arange(action.shape[0]), action]
        velocity = np.concatenate([cue[:, None], state.velocity[:, 1:]], axis=1)
        return replace(state, velocity=velocity)

    def advance(self, state: ManyBodyState) -> ManyBodyState:
        """Simulate one interval."""
        rows = np.flatnonzero(state.remaining > 0)
        if rows.size == 0:
            return state
        position, velocity = state.position.copy(), state.velocity.copy()
        position[rows], velocity[rows], inside = self.interval_of(position[rows], velocity[rows])
        _refuse_to_leave(inside)
        return ManyBodyState(position, velocity, state.half, count_down(state.remaining))

    def interval_of(
        self,
        position: NDArray[np.float64],
        velocity: NDArray[np.float64],
        threads: int | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """One interval: positions and velocities [B, discs, 2] after it, and where they are usable.

        Args:
            position: [B, discs, 2] m.
            velocity: [B, discs, 2] m/s.
            threads: that simulate, in place of those set for the process.

        Returns:
            Positions, velocities, and [B] whether all discs stayed on the table: where not, they
            are faster than the time step allows for and the numbers mean nothing.
        """
        parts = []
        at_a_time = self._rows_at_a_time(self._steps())
        for rows in np.split(
            np.arange(position.shape[0]), range(at_a_time, position.shape[0], at_a_time)
        ):
            path = self._path(position[rows], velocity[rows], 1, threads=threads)
            parts.append((path[0][:, -1], path[1][:, -1], self._inside(path[0])))
        ends, speeds, inside = (np.concatenate(part) for part in zip(*parts, strict=True))
        return ends, speeds, inside

    def payoff(self, state: ManyBodyState) -> NDArray[np.float32]:
        """+1 if the marked disc's centre is in the marked half, else -1: fair, as the half is."""
        right = state.position[:, 0, 0] >= self.side / 2
        return np.where(right == (state.half == 1), 1, -1).astype(np.float32)

    def observe(self, state: ManyBodyState) -> NDArray[np.float32]:
        """Discs with position over side and velocity over its bound, then half and steps.

        The energy of the start bounds a disc's speed: all of it in one disc is sqrt(discs) m/s.
        """
        bound = SPEED * math.sqrt(self.discs)
        tokens = np.concatenate(
            [state.position / self.side, 0.5 + state.velocity / (2 * bound)], axis=2
        ).reshape(-1, 4 * self.discs)
        steps = one_hot(state.remaining, self.serial_depth + 1, np)
        observation = np.concatenate([tokens, state.half[:, None], steps], axis=1)
        clipped: NDArray[np.float32] = np.clip(observation, 0, 1).astype(np.float32)
        return clipped

    def working(self, state: ManyBodyState) -> NDArray[np.float32]:
        """The table seen from its lower side: the marked disc in full ink, the others in less."""
        middle = (np.arange(_CELLS) + 0.5) * (self.side / _CELLS)
        covers = np.abs(state.position[:, :, :1] - middle) < RADIUS
        ink = np.where(np.arange(self.discs) == 0, 1, 0.4).astype(np.float32)
        working: NDArray[np.float32] = (covers * ink[:, None]).max(axis=1).astype(np.float32)
        return working

    def redraw_step(self, state: ManyBodyState, seeds: NDArray[np.int64]) -> ManyBodyState:
        """The velocity of one disc, each equally often, turned by a uniform angle."""
        words = random_words(seeds, 2, stream=1)
        disc = below(words[:, 0], self.discs)
        angle = 2 * np.pi * (words[:, 1] / 2.0**32)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        x, y = state.velocity[:, :, 0], state.velocity[:, :, 1]
        turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=2)
        chosen = (np.arange(self.discs) == disc[:, None])[:, :, None]
        return replace(state, velocity=np.where(chosen, turned, state.velocity))

    @property
    def num_starts(self) -> int:
        """The discs: any of them could have been the marked one."""
        return self.discs

    @property
    def starts_are_tokens(self) -> bool:
        """A token is a disc."""
        return True

    def own_start(self, state: ManyBodyState) -> NDArray[np.int64]:
        """The marked disc."""
        return np.zeros_like(state.remaining)

    def start_payoffs(self, state: ManyBodyState) -> NDArray[np.float32]:
        """+1 for every disc whose centre is in the marked half, else -1."""
        right = state.position[:, :, 0] >= self.side / 2
        return np.where(right == (state.half[:, None] == 1), 1, -1).astype(np.float32)

    def start_successors(self, state: ManyBodyState) -> NDArray[np.int64]:
        """Every disc stays itself."""
        places: NDArray[np.int64] = each_place(state.remaining, self.discs)
        return places

    def rewind(self, state: ManyBodyState) -> ManyBodyState:
        """All steps: the discs keep moving."""
        return replace(state, remaining=np.full_like(state.remaining, self.serial_depth))

    def causal_collisions(self, state: ManyBodyState) -> NDArray[np.int64]:
        """[B]: collisions of discs between now and the end in the marked disc's causal past.

        A collision counts if one of its discs is the marked one or goes on to a later collision
        that counts. Counted from the simulation: a collision is two discs that begin to overlap, or
        do so now. Walls do not count.
        """
        pairs = list(itertools.combinations(range(self.discs), 2))
        first, second = (np.array(side) for side in zip(*pairs, strict=True))
        counts = np.zeros(state.remaining.shape, dtype=np.int64)
        if self.contacts == "none":
            return counts
        for rows, position in self._paths_to_the_end(state):
            gap = position[:, :, first] - position[:, :, second]
            overlap = (gap**2).sum(axis=3) < (2 * RADIUS) ** 2  # [b, steps + 1, pairs]
            overlap[:, 1:] &= ~overlap[:, :-1]
            steps = state.remaining[rows] * self._steps()
            begins = overlap & (np.arange(overlap.shape[1])[:, None] <= steps[:, None, None])
            relevant = np.zeros((rows.size, self.discs), dtype=np.bool_)
            relevant[:, 0] = True
            for step in np.flatnonzero(begins.any(axis=(0, 2)))[::-1]:
                for pair in np.flatnonzero(begins[:, step].any(axis=0)):
                    i, j = pairs[pair]
                    counted = begins[:, step, pair] & (relevant[:, i] | relevant[:, j])
                    counts[rows] += counted
                    relevant[:, i] |= counted
                    relevant[:, j] |= counted
        return counts

    def too_close(self, state: ManyBodyState) -> NDArray[np.bool_]:
        """[B]: whether half the time step would give another payoff at the end.

        Each collision multiplies small differences, those that a finite time step makes included.
        The values of the environment are those of its own time step; where this is true they are
        not those of the discs.
        """
        payoffs = []
        for refine in (1, 2):
            end = state.position.copy()
            for rows, position in self._paths_to_the_end(state, refine):
                last = state.remaining[rows] * self._steps() * refine
                end[rows] = position[np.arange(rows.size), last]
            payoffs.append(self.payoff(replace(state, position=end)))
        changed: NDArray[np.bool_] = payoffs[0] != payoffs[1]
        return changed

    def model(self, refine: int = 1) -> Any:
        """The compiled ``mujoco.MjModel``, with a time step ``refine`` times as fine.

        qpos and qvel hold x and y of disc 0, then of disc 1 and so on.
        """
        return _model(self.discs, self.contacts, self.interval / self._steps() / refine)

    def drawing(self, state: ManyBodyState, side: int) -> NDArray[np.uint8]:
        """[side, side, 3]: the first table of the batch from above, the marked half shaded.

        MuJoCo's renderer draws it where there is a GL to draw with, Pillow where there is none.
        """
        return _renderer(self.discs, side)(state) if _has_gl() else _plain_drawing(state, side)

    def _steps(self) -> int:
        """Time steps of an interval."""
        return math.ceil(self.interval / TIME_STEP - 1e-9)

    def _rows_at_a_time(self, steps: int) -> int:
        return max(1, _DISC_STEPS // (steps * self.discs))

    def _path(
        self,
        position: NDArray[np.float64],
        velocity: NDArray[np.float64],
        intervals: int,
        refine: int = 1,
        threads: int | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions and velocities [b, steps, discs, 2] after each time step, wherever they are."""
        batch, size = position.shape[0], 2 * self.discs
        flat = (position.reshape(batch, size), velocity.reshape(batch, size))
        start = np.concatenate([np.zeros((batch, 1)), *flat], axis=1)
        steps = intervals * self._steps() * refine
        states = rollout(self.model(refine), start, steps, threads=threads)
        shape = (batch, -1, self.discs, 2)
        return states[:, :, 1 : 1 + size].reshape(shape), states[:, :, 1 + size :].reshape(shape)

    def _inside(self, path: NDArray[np.float64]) -> NDArray[np.bool_]:
        """[b]: whether all centres [b, steps, discs, 2] are on the table.

        MuJoCo starts a simulation anew that has become unstable: with all centres in a corner.
        """
        return np.asarray(((path > 0) & (path < self.side)).all(axis=(1, 2, 3)))

    def _paths_to_the_end(
        self, state: ManyBodyState, refine: int = 1
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Rows of the batch that end at about the same time, and their positions until then.

        The positions [b, steps + 1, discs, 2] begin with those of now, and go on to the end of the
        longest of the rows.
        """
        order = np.argsort(state.remaining, kind="stable")
        at_a_time = self._rows_at_a_time(self.serial_depth * self._steps() * refine)
        for rows in np.split(order, range(at_a_time, order.size, at_a_time)):
            positions = state.position[rows][:, None]
            intervals = int(state.remaining[rows].max(initial=0))
            if intervals:
                path, _ = self._path(state.position[rows], state.velocity[rows], intervals, refine)
                _refuse_to_leave(self._inside(path))
                positions = np.concatenate([positions, path], axis=1)
            yield rows, positions


def _refuse_to_leave(inside: NDArray[np.bool_]) -> None:
    if not inside.all():
        raise FloatingPointError(
            "a disc has left the table: the discs are faster than the time step allows for"
        )


@lru_cache(maxsize=32)
def _model(discs: int, contacts: str, time_step: float) -> Any:
    """Spheres on two slide joints each; the walls are the joints' limits."""
    mujoco = load_mujoco("ManyBody")
    side = math.sqrt(AREA * discs)
    spec = mujoco.MjSpec()
    spec.modelname = "many_body"
    spec.option.timestep = time_step
    spec.option.gravity = [0, 0, 0]
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_EULER
    # Without a warm start a step depends on nothing but its state.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART
    deepest = _LEAST_IMPEDANCE + _IMPEDANCE_SLOPE * _IMPEDANCE_DEPTH
    spring = [-STIFFNESS * (deepest / _IMPEDANCE_SLOPE) ** 2, 0.0]  # no damping
    impedance = [_LEAST_IMPEDANCE, deepest, _IMPEDANCE_DEPTH, 0.5, 1]
    for disc in range(discs):
        body = spec.worldbody.add_body(name=f"disc_{disc}")
        for name, axis in (("x", [1, 0, 0]), ("y", [0, 1, 0])):
            body.add_joint(
                name=f"{name}_{disc}",
                type=mujoco.mjtJoint.mjJNT_SLIDE,
                axis=axis,
                limited=mujoco.mjtLimited.mjLIMITED_TRUE,
                range=[RADIUS, side - RADIUS],
                solref_limit=spring,
                solimp_limit=impedance,
            )
        body.add_geom(
            name=f"disc_{disc}",
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[RADIUS, 0, 0],
            mass=MASS,
            condim=1,  # no friction
            contype=int(contacts == "elastic"),
            conaffinity=int(contacts == "elastic"),
            solref=spring,
            solimp=impedance,
            rgba=[*(np.array(_MARKED if disc == 0 else _DISC) / 255), 1],
        )
    return spec.compile()


_FELT, _SHADED, _EDGE = (244, 244, 241), (214, 226, 240), (140, 140, 140)
_DISC, _MARKED = (43, 65, 98), (196, 106, 46)


def _plain_drawing(state: ManyBodyState, side: int) -> NDArray[np.uint8]:
    """The table in Pillow's circles and lines, drawn at twice the size for smooth edges."""
    size = 2 * side
    table = math.sqrt(AREA * state.position.shape[1])
    scale = size / table
    image = Image.new("RGB", (size, size), _FELT)
    draw = ImageDraw.Draw(image)
    if state.half[0] >= 0:
        left = side if state.half[0] else 0
        draw.rectangle((left, 0, left + side, size), fill=_SHADED)
    for disc in range(state.position.shape[1] - 1, -1, -1):  # the marked disc on top
        x, y = state.position[0, disc] * (1, -1) + (0, table)
        ink = _MARKED if disc == 0 else _DISC
        box = [(x - RADIUS), (y - RADIUS), (x + RADIUS), (y + RADIUS)]
        draw.ellipse([corner * scale for corner in box], fill=ink)
        ahead = state.velocity[0, disc] * (0.15, -0.15)
        line = [x * scale, y * scale, (x + ahead[0]) * scale, (y + ahead[1]) * scale]
        draw.line(line, fill=_EDGE, width=5)
    draw.rectangle((0, 0, size - 1, size - 1), outline=_EDGE, width=4)
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))


@lru_cache(maxsize=1)
def _has_gl() -> bool:
    """Whether MuJoCo finds a GL, tried in another process: some drivers end the one that asks.

    On a machine without a display MuJoCo looks for one only where MUJOCO_GL says which.
    """
    if sys.platform == "linux" and not {"MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"} & set(
        os.environ
    ):
        return False
    program = (
        "import os, mujoco\n"
        "model = mujoco.MjModel.from_xml_string('<mujoco/>')\n"
        "mujoco.Renderer(model, 8, 8).render()\n"
        "os._exit(0)\n"
    )
    with suppress(OSError, subprocess.SubprocessError):
        tried = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
        return tried.returncode == 0
    return False


@lru_cache(maxsize=8)
def _renderer(discs: int, side: int) -> Callable[[ManyBodyState], NDArray[np.uint8]]:
    """Draws the first table of a batch with MuJoCo, from above."""
    mujoco = load_mujoco("ManyBody")
    spec = mujoco.MjSpec()
    spec.visual.global_.offwidth = spec.visual.global_.offheight = side
    spec.visual.headlight.ambient = [0.45] * 3
    spec.visual.headlight.diffuse = [0.5] * 3
    spec.visual.headlight.specular = [0.2] * 3
    world = spec.worldbody
    table = math.sqrt(AREA * discs)
    camera = world.add_camera(name="above", pos=[table / 2, table / 2, 2], fovy=table)
    camera.proj = mujoco.mjtProjection.mjPROJ_ORTHOGRAPHIC
    box = mujoco.mjtGeom.mjGEOM_BOX
    for half in range(2):
        place = [table * (1 + 2 * half) / 4, table / 2, -RADIUS - 0.01]
        world.add_geom(type=box, size=[table / 4, table / 2, 0.01], pos=place)
    for disc in range(discs):
        body = world.add_body(mocap=True)
        ink = np.array(_MARKED if disc == 0 else _DISC) / 255
        sphere = mujoco.mjtGeom.mjGEOM_SPHERE
        body.add_geom(type=sphere, size=[RADIUS, 0, 0], rgba=[*ink, 1])
    model = spec.compile()
    data = mujoco.MjData(model)
    renderer = mujoco.Renderer(model, side, side)
    atexit.register(renderer.close)

    def draw(state: ManyBodyState) -> NDArray[np.uint8]:
        for half in range(2):
            felt = _SHADED if half == state.half[0] else _FELT
            model.geom_rgba[half, :3] = np.array(felt) / 255
        data.mocap_pos[:, :2] = state.position[0]
        mujoco.mj_forward(model, data)
        renderer.update_scene(data, camera="above")
        picture: NDArray[np.uint8] = renderer.render().copy()
        return picture

    return draw
