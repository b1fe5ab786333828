"""ManyBody: discs on a table with walls, simulated by MuJoCo.

Discs collide elastically with each other and with the walls; where one of them is after a time
depends on collisions that depend on collisions. In the twin the contacts between discs are switched
off, so that each disc moves on a closed-form path between the walls.

The rules need the extra ``mujoco`` and run on NumPy arrays only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.chain import TokenLayout, count_down, each_place, one_hot
from rl_serial.envs.chains.many_body_model import AREA, RADIUS, SPEED, TIME_STEP, compiled_model
from rl_serial.envs.chains.many_body_pictures import drawing
from rl_serial.envs.random import below, random_words
from rl_serial.envs.simulation import load_mujoco, rollout
from rl_serial.errors import require

CONTACTS = ("elastic", "none")

NUM_KICKS = 3

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
        return compiled_model(self.discs, self.contacts, self.interval / self._steps() / refine)

    def drawing(self, state: ManyBodyState, side: int) -> NDArray[np.uint8]:
        """[side, side, 3]: the first table of the batch from above, the marked half shaded."""
        return drawing(state.position[0], state.velocity[0], int(state.half[0]), side)

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
