"""The examination on puzzles: how many are solved, by the rounds that they need.

Everything is measured on puzzles for tests, no symmetric copy of which is in training.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from rl_serial.agents.protocols import Agent, decide
from rl_serial.agents.solver.agent import SolverAgent
from rl_serial.agents.solver.ways import WAYS
from rl_serial.envs.puzzles.generator import Puzzles
from rl_serial.envs.puzzles.sudoku import Sudoku, SudokuState, started
from rl_serial.envs.random import state_seeds
from rl_serial.errors import OptionError
from rl_serial.metrics import Measurement, measured
from rl_serial.networks import Account
from rl_serial.subjects.puzzles import metrics as of
from rl_serial.subjects.puzzles.floors import floor_chances
from rl_serial.subjects.puzzles.metrics import RIGHT


@dataclass(frozen=True)
class WayScore:
    """What a way to commit makes of the puzzles, and what it costs."""

    solved: float
    solved_by: dict[int, float]  # by rounds
    passes: float  # forward passes of a puzzle, one after the other
    flops: float  # of a puzzle
    critical_path: float  # sequential matrix products of a puzzle

    def measurements(self, way: str) -> list[Measurement]:
        """The same as measurements."""
        found = [
            measured(of.WAY_SOLVED, self.solved, way=way),
            measured(of.PASSES, self.passes, way=way),
            measured(of.FLOPS, self.flops, way=way),
            measured(of.PATH, self.critical_path, way=way),
        ]
        if self.solved_by:
            found.append(measured(of.WAY_HORIZON, serial_horizon(self.solved_by), way=way))
        for rounds, share in self.solved_by.items():
            found.append(measured(of.WAY_BY, share, way=way, rounds=rounds))
        return found


@dataclass(frozen=True)
class PuzzleFloor:
    """What one parallel look solves."""

    solved: float
    solved_by: dict[int, float]


@dataclass(frozen=True)
class PuzzleEvaluation:
    """What an examination found."""

    solved: NDArray[np.bool_]  # [E] of the puzzles that the environment makes
    cells: float  # share of their blank cells that were filled rightly
    rounds: NDArray[np.int64]  # [E] that they need; -1 where singles do not solve one
    solved_by: dict[int, float]  # share of the puzzles that need just so many rounds
    floor: PuzzleFloor | None = None  # measured once, at the end of a run
    ways: dict[str, WayScore] = field(default_factory=dict)  # the same

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share solved over puzzles (Wilson 1927)."""
        found = binomtest(int(self.solved.sum()), self.solved.size).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def measurements(self) -> list[Measurement]:
        """What was measured."""
        share = float(self.solved.mean())
        found = [measured(of.SOLVED, share), measured(of.CELLS, self.cells)]
        if self.solved_by:
            found.append(measured(of.HORIZON, serial_horizon(self.solved_by)))
        found += [measured(of.SOLVED_BY, s, rounds=r) for r, s in self.solved_by.items()]
        if self.floor is not None:
            found.append(measured(of.FLOOR, self.floor.solved))
            found.append(measured(of.ABOVE_FLOOR, share - self.floor.solved))
            found += [measured(of.FLOOR_BY, s, rounds=r) for r, s in self.floor.solved_by.items()]
        for way, score in self.ways.items():
            found += score.measurements(way)
        return found

    def after_loops(self, loops: int) -> list[Measurement]:
        """What was measured with so many loops of the network."""
        return [
            measured(of.LOOPS_SOLVED, self.solved.mean(), loops=loops),
            *(
                measured(of.LOOPS_BY, share, loops=loops, rounds=rounds)
                for rounds, share in self.solved_by.items()
            ),
        ]

    def final(self) -> dict[str, Any]:
        """What ``summary.json`` keeps beside the measurements."""
        dialled = self.rounds[self.rounds > 0]
        found = {
            "eval/solved_interval": list(self.interval),
            "eval/instances": int(self.solved.size),
        }
        return found | ({"eval/mean_rounds": float(dialled.mean())} if dialled.size else {})

    def headline(self) -> str:
        """Puzzles solved and, where it was measured, the floor's."""
        low, high = self.interval
        floor = f" (floor {self.floor.solved:.3f})" if self.floor else ""
        by = ", ".join(f"{share:.2f} of {rounds}" for rounds, share in self.solved_by.items())
        return (
            f"solved {self.solved.mean():.3f}{floor} (95 % of puzzles {low:.3f} to {high:.3f})"
            + (f"; by rounds {by}" if by else "")
        )


def serial_horizon(solved_by: dict[int, float]) -> int:
    """Largest number of rounds up to which 0.9 of the puzzles of each number are solved; or 0."""
    horizon = 0
    for rounds in sorted(solved_by):
        if solved_by[rounds] < RIGHT:
            break
        horizon = rounds
    return horizon


class _Set(NamedTuple):
    """Puzzles to be solved, and the episodes that begin with them."""

    puzzles: Puzzles
    state: SudokuState


class PuzzleEvaluator:
    """Has agents solve the same puzzles, which are made once.

    Args:
        task: the rules.
        instances: puzzles as the environment makes them; of a file as many as there are, at most.
        rounds: puzzles that need just so many, too.
        per_rounds: of each of them.
        seed: chooses the puzzles.

    Raises:
        OptionError: (a ValueError) there are no such puzzles; of ``rounds`` it names that option.
    """

    def __init__(
        self,
        task: Sudoku,
        instances: int = 512,
        rounds: list[int] | None = None,
        per_rounds: int = 256,
        seed: int = 0,
    ) -> None:
        self.task = replace(task, start="full")
        self.whole = self._set(self.task.examined(seed, instances))
        self.by_rounds = {
            count: self._dialled(count, state_seeds(seed, per_rounds, np, first=count * per_rounds))
            for count in rounds or ()
        }

    def _dialled(self, rounds: int, seeds: NDArray[np.int64]) -> _Set:
        """Puzzles of singles that need just so many rounds, whatever the run's need."""
        task = replace(self.task, kind="singles", serial_depth=rounds)
        try:
            return self._set(task.puzzles(seeds))
        except OptionError as error:
            raise OptionError("rounds", error.message) from None

    @staticmethod
    def _set(puzzles: Puzzles) -> _Set:
        return _Set(puzzles, started(puzzles))

    def __call__(self, agent: Any) -> PuzzleEvaluation:
        """Examine an agent: a solver in its own way, any other by playing."""
        grid = self._filled(agent, self.whole)
        blank = self.whole.puzzles.givens == 0
        right = grid == self.whole.puzzles.solution
        return PuzzleEvaluation(
            solved=right.all(axis=1),
            cells=float(right[blank].mean()),
            rounds=self.whole.puzzles.rounds,
            solved_by={r: self._share(agent, puzzles) for r, puzzles in self.by_rounds.items()},
        )

    def way(self, agent: SolverAgent, name: str, accounts: dict[str, Account]) -> WayScore:
        """Have a solver solve the puzzles in a way.

        Args:
            agent: the solver.
            name: of the way.
            accounts: what one forward pass of each of its networks costs; a policy comes after
                the network whose chances it reads.
        """
        parts = ("solver", "policy") if WAYS[name].asks_policy else ("solver",)
        costs = [accounts[part] for part in parts]
        grid, _, passes = agent.solve(self.whole.puzzles, name)
        mean = float(passes.mean())
        return WayScore(
            solved=float((grid == self.whole.puzzles.solution).all(axis=1).mean()),
            solved_by={
                rounds: float(
                    (agent.solve(part.puzzles, name)[0] == part.puzzles.solution).all(axis=1).mean()
                )
                for rounds, part in self.by_rounds.items()
            },
            passes=mean,
            flops=mean * sum(cost.flops_forward for cost in costs),
            critical_path=mean * sum(cost.critical_path for cost in costs),
        )

    def floor(self) -> PuzzleFloor:
        """What one parallel look solves of the same puzzles."""
        size = self.task.size
        return PuzzleFloor(
            float(floor_chances(self.whole.puzzles, size).mean()),
            {
                rounds: float(floor_chances(part.puzzles, size).mean())
                for rounds, part in self.by_rounds.items()
            },
        )

    def _share(self, agent: Any, part: _Set) -> float:
        grid = self._filled(agent, part)
        return float((grid == part.puzzles.solution).all(axis=1).mean())

    def _filled(self, agent: Any, part: _Set) -> NDArray[Any]:
        """[B, C] what an agent makes of puzzles."""
        if isinstance(agent, SolverAgent):
            return agent.solve(part.puzzles)[0]
        return play(agent, self.task, part.state).grid


def play(agent: Agent, task: Sudoku, state: SudokuState) -> SudokuState:
    """The last states of an agent's episodes from ``state``."""
    while not state.ended.all():
        action = decide(agent.judge(state), task.legal_actions(state))
        state = task.step(state, action).state
    return state
