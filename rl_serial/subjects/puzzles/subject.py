"""Runs on puzzles: trainers, examination and searches on top, from a configuration."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch

from rl_serial.agents.dynamics import CountedDynamics, DynamicsNetwork
from rl_serial.agents.fitted import fitted_outputs
from rl_serial.agents.protocols import Log, ReadsLoops, Trainer
from rl_serial.agents.registry import AGENTS
from rl_serial.agents.search.agent import SearchAgent
from rl_serial.agents.search.judgement import OnePlyAgent
from rl_serial.agents.settings_solver import SolverSettings
from rl_serial.agents.solver.agent import cells_head, cells_layout, policy_head, policy_layout
from rl_serial.config import EnvConfig, RunConfig
from rl_serial.envs.puzzles.gym import SudokuVectorEnv
from rl_serial.envs.puzzles.reading import Stamp, file_stamp
from rl_serial.envs.puzzles.sudoku import Sudoku, make_sudoku
from rl_serial.envs.tasks import num_actions
from rl_serial.errors import OptionError, UserError, wrong_in
from rl_serial.metrics import Measurement, measured
from rl_serial.networks import account
from rl_serial.networks.config import NetworkConfig
from rl_serial.networks.configured import solved_trunk
from rl_serial.subjects.protocol import ONE_PLY, Examine, SearchScore
from rl_serial.subjects.puzzles import metrics as of
from rl_serial.subjects.puzzles.config import evaluation_of, rounds_of, task_of_run, ways_of
from rl_serial.subjects.puzzles.evaluation import PuzzleEvaluation, PuzzleEvaluator, play
from rl_serial.subjects.puzzles.tables import draw_solved, tables
from rl_serial.subjects.puzzles.watching import PuzzleMoment, watch_puzzle
from rl_serial.subjects.searching import searcher


class PuzzleSubject:
    """The rules of puzzles; see :class:`rl_serial.subjects.protocol.Subject`."""

    charts: ClassVar[dict[str, Any]] = {
        "puzzles": {
            "solved": ["Multiline", [of.SOLVED.tag, of.FLOOR.tag, of.CELLS.tag]],
            "solved by rounds": ["Multiline", [of.SOLVED_BY.pattern]],
            "solved in each way": ["Multiline", [of.WAY_SOLVED.pattern]],
            "loss": ["Multiline", ["train/loss"]],
        }
    }
    drawn = "puzzles solved by rounds"

    def __init__(self, config: RunConfig) -> None:
        self.config, self.seed, self.agent = config, config.seed, config.agent
        self.row, self.settings = AGENTS[config.agent.kind], evaluation_of(config)
        self.task: Any = task_of_run(config)

    @property
    def training_task(self) -> Sudoku:
        """The rules that training plays by: the run's, with exploring starts where it has them."""
        return make_sudoku(**self._training_options)

    @property
    def _training_options(self) -> dict[str, Any]:
        return self.config.env.options | self.agent.training_options

    def check(self, keys: Collection[str]) -> None:
        """Refuse networks that cannot be built and arguments that the algorithm has not."""
        for key in set(keys) - {"agent"}:
            self.trunk(key)
        if "agent" in keys:
            self.row.check_arguments(self.agent)

    def trunk(self, key: str) -> dict[str, Any]:
        """The settings of the trunk that ``key`` describes, its width solved where a budget is.

        Raises:
            UserError: a depth that the trunk cannot have, or a budget that no width meets.
        """
        shared = key == "policy_network" and self.config.policy_network is None
        found = "network" if shared else key
        network: NetworkConfig | None = getattr(self.config, found)
        assert network is not None
        if isinstance(self.agent, SolverSettings):
            size = self.task.size
            if key == "policy_network":
                return solved_trunk(network, found, policy_layout(size), policy_head(size))
            return solved_trunk(network, found, cells_layout(size), cells_head(size))
        layout, outputs = self.task.layout, fitted_outputs(self.agent, self.task)
        if key == "model_network":
            layout = DynamicsNetwork.input_layout(layout, num_actions(self.task))
            outputs = 1
        return solved_trunk(network, found, layout, outputs)

    def make_vec(self, num_envs: int, processes: int = 1) -> SudokuVectorEnv:
        """A native vector environment of the training task, which is one batch in one process."""
        assert processes == 1
        return SudokuVectorEnv(num_envs, **self._training_options)

    def trainer(self, device: torch.device, log: Log) -> Trainer:
        """The trainer that the configuration describes."""
        torch.manual_seed(self.config.seed)
        trainer: Trainer = self.row.make_trainer(self, device, log)
        return trainer

    def examiner(self) -> PuzzleEvaluator:
        """Makes the evaluation puzzles."""
        settings, rounds = self.settings, tuple(rounds_of(self.config))
        try:
            return shared_evaluator(
                self.config.env.model_dump_json(),
                None if self.task.file is None else file_stamp(self.task.file),
                settings.instances,
                rounds,
                settings.per_rounds,
                settings.seed,
            )
        except OptionError as error:
            # It is the examination that asks for puzzles with so many rounds.
            part = "evaluation" if error.option == "rounds" else "env"
            raise UserError(error.message, f"{part}.{error.option}") from None

    def last_examination(self, examine: Examine, trainer: Trainer) -> PuzzleEvaluation:
        """What the agent solves beside the floor; a solver in all its ways."""
        assert isinstance(examine, PuzzleEvaluator)
        found = replace(examine(trainer.agent), floor=examine.floor())
        ways = ways_of(self.config)
        if not ways:
            return found
        examples = trainer.examples
        costs = {
            name: account(network, examples[name]) for name, network in trainer.networks.items()
        }
        return replace(found, ways={way: examine.way(trainer.agent, way, costs) for way in ways})

    def further_measurements(
        self, trainer: Trainer, examine: Examine, device: torch.device
    ) -> list[Measurement]:
        """Puzzles solved with other numbers of loops, and with searches on top."""
        assert isinstance(examine, PuzzleEvaluator)
        found: list[Measurement] = []
        for loops in self.settings.loops:
            assert isinstance(trainer, ReadsLoops)
            found += examine(trainer.agent_after(loops)).after_loops(loops)
        for count in self.settings.simulations:
            searcher = self.searcher(trainer, device, simulations=count)
            state = play(searcher, examine.task, examine.whole.state)
            share = (state.grid == state.solution).all(axis=1).mean()
            found.append(measured(of.SEARCHED, share, simulations=count))
        return found

    def search_scores(self, searcher: SearchAgent, simulations: Sequence[int]) -> list[SearchScore]:
        """Scores of the one-ply agent and of searches with each number of ``simulations``."""
        examine = self.examiner()
        counted = CountedDynamics(searcher.dynamics)
        contender = searcher.within(counted)
        agents: dict[int | str, Any] = {
            ONE_PLY: OnePlyAgent(self.task, searcher.agent, counted),
            **{count: contender.with_simulations(count) for count in simulations},
        }
        scores = []
        for count, agent in agents.items():
            counted.decisions = counted.steps = 0
            started = time.perf_counter()
            state = play(agent, examine.task, examine.whole.state)
            seconds = time.perf_counter() - started
            scores.append(_score(count, state, examine, seconds, counted.steps_per_decision))
        return scores

    def watch(self, agent: Any, instance: int = 0) -> list[PuzzleMoment]:
        """An evaluation puzzle from its givens to its end."""
        settings = self.settings
        try:
            return watch_puzzle(agent, self.task, instance, settings.seed, settings.instances)
        except OptionError as error:
            raise wrong_in("env", error) from None

    searcher = searcher
    tables = staticmethod(tables)
    draw = staticmethod(draw_solved)


def _score(
    simulations: int | str,
    state: Any,
    examine: PuzzleEvaluator,
    seconds: float,
    model_steps: float,
) -> SearchScore:
    """What the last states of episodes earned; random play earns next to nothing."""
    solved = (state.grid == state.solution).all(axis=1)
    random = examine.task.random_values(examine.whole.state).mean()
    score = (solved - random) / (1 - random)
    half = 1.96 * float(score.std(ddof=1)) / np.sqrt(score.size)
    mean, rounds = float(score.mean()), examine.whole.puzzles.rounds
    right = {int(r): float(solved[rounds == r].mean()) for r in np.unique(rounds)}
    return SearchScore(
        simulations,
        float(solved.mean()),
        mean,
        (mean - half, mean + half),
        right,
        seconds,
        model_steps,
    )


@lru_cache(maxsize=4)
def shared_evaluator(
    env: str,
    file: Stamp | None,
    instances: int,
    rounds: tuple[int, ...],
    per_rounds: int,
    seed: int,
) -> PuzzleEvaluator:
    """The evaluation puzzles, which the runs of a process share; errors as of PuzzleEvaluator.

    ``file`` is the stamp of the file that they are from.
    """
    task = make_sudoku(**EnvConfig.model_validate_json(env).options)
    return PuzzleEvaluator(task, instances, list(rounds), per_rounds, seed)
