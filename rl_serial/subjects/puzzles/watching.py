"""Watching a puzzle being solved, step by step or pass by pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.agents.protocols import Agent, Preference, decide
from rl_serial.agents.solver.agent import SolverAgent
from rl_serial.envs.puzzles.pictures import ansi, rgb_array
from rl_serial.envs.puzzles.sudoku import Sudoku, SudokuState, rows_of, started
from rl_serial.envs.rendering import Scene
from rl_serial.errors import OptionError


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


def watch_puzzle(
    agent: Any, task: Sudoku, instance: int = 0, seed: int = 0, instances: int = 1
) -> list[PuzzleMoment]:
    """An evaluation puzzle from its givens to its end.

    A solver is shown as it solves the puzzle among all of the examination, with the same dice. An
    agent of the environment plays it alone: one that draws its actions may draw others.

    Args:
        agent: a solver, which is shown in its own way, or any agent of the environment.
        task: the rules.
        instance: which of the evaluation puzzles of ``seed``.
        seed: as in the evaluation.
        instances: as in the evaluation.

    Raises:
        OptionError: (a ValueError) a file with fewer puzzles for tests.
    """
    task = replace(task, start="full")
    puzzles = task.examined(seed, max(instances, instance + 1))
    there = len(puzzles.givens)
    if instance >= there:
        raise OptionError("file", f"{task.file}: has {there} puzzles for tests: up to {there - 1}")
    start = started(rows_of(puzzles, np.array([instance])))
    if isinstance(agent, SolverAgent):
        return _passes(task, start, agent.solve(puzzles, only=instance))
    return _steps(agent, task, start)


def _passes(task: Any, start: SudokuState, solved: tuple[NDArray[Any], ...]) -> list[PuzzleMoment]:
    """A moment after each forward pass that commits to something."""
    grid, when, _ = solved
    states = [start]
    for number in np.unique(when[when > 0]).tolist():
        shown = np.where(when <= number, grid, 0).astype(np.int8)
        states.append(replace(start, grid=shown))
    reward = float((grid == start.solution).all())
    last = len(states) - 1
    return [
        PuzzleMoment(
            Scene(
                task,
                tuple(states[: place + 1]),
                total_reward=reward if place == last else 0.0,
                ended=place == last,
            )
        )
        for place in range(len(states))
    ]


def _steps(agent: Agent, task: Any, state: SudokuState) -> list[PuzzleMoment]:
    """A moment before each step, with the agent's numbers beside the exact ones, and the end."""
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
