"""Watching a puzzle being solved, step by step or pass by pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.agents.protocols import Agent, Preference, decide
from rl_serial.agents.solver.agent import SolverAgent
from rl_serial.envs.puzzles.pictures import ansi, rgb_array
from rl_serial.envs.puzzles.sudoku import Sudoku, SudokuState
from rl_serial.envs.random import episode_seeds
from rl_serial.envs.rendering import Scene


@dataclass(frozen=True)
class PuzzleMoment:
    """What is shown of an episode at a time."""

    scene: Scene

    def text(self) -> str:
        """As text."""
        return ansi(self.scene)

    def picture(self) -> NDArray[np.uint8]:
        """As a picture [height, width, 3], of the same size all through an episode."""
        return rgb_array(self.scene)


def watch_puzzle(agent: Any, task: Sudoku, instance: int = 0, seed: int = 0) -> list[PuzzleMoment]:
    """An evaluation puzzle from its givens to its end.

    Args:
        agent: a solver, which is shown in its own way, or any agent of the environment.
        task: the rules.
        instance: which of the evaluation puzzles of ``seed``.
        seed: as in the evaluation.
    """
    task = replace(task, start="full")
    seeds = episode_seeds(seed, 1, np, first=instance)
    if isinstance(agent, SolverAgent):
        return _passes(agent, task, seeds)
    return _steps(agent, task, seeds)


def _passes(agent: SolverAgent, task: Any, seeds: NDArray[np.int64]) -> list[PuzzleMoment]:
    """A moment after each forward pass that commits to something."""
    start = task.initial(seeds)
    grid, when, _ = agent.solve(task.puzzles(seeds))
    states = [start]
    for number in np.unique(when[when > 0]).tolist():
        shown = np.where(when <= number, grid, 0).astype(np.int8)
        states.append(replace(start, grid=shown))
    solved = float((grid == start.solution).all())
    last = len(states) - 1
    return [
        PuzzleMoment(
            Scene(
                task,
                tuple(states[: place + 1]),
                total_reward=solved if place == last else 0.0,
                ended=place == last,
            )
        )
        for place in range(len(states))
    ]


def _steps(agent: Agent, task: Any, seeds: NDArray[np.int64]) -> list[PuzzleMoment]:
    """A moment before each step, with the agent's numbers beside the exact ones, and the end."""
    state = task.initial(seeds)
    states: list[SudokuState] = [state]
    actions: list[int] = []
    moments: list[PuzzleMoment] = []
    total = 0.0
    while True:
        judgement = agent.judge(state)
        values = {"exact": task.action_values(state)[0]}
        if agent.preference != Preference.NONE:
            values[f"agent ({agent.preference})"] = np.asarray(judgement.preferences)[0]
        scene = Scene(task, tuple(states), tuple(actions), total, values=values)
        moments.append(PuzzleMoment(scene))
        action = decide(judgement, task.legal_actions(state))
        transition = task.step(state, action)
        state = transition.state
        states.append(state)
        actions.append(int(action[0]))
        total += float(transition.reward[0])
        if bool(transition.terminated[0]):
            last = Scene(task, tuple(states), tuple(actions), total, ended=True)
            return [*moments, PuzzleMoment(last)]
