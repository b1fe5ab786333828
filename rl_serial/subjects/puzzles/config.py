"""How runs on puzzles are examined and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from rl_serial.agents.registry import AGENTS, kinds_playing
from rl_serial.agents.settings_solver import OrderingAgentConfig, SolverSettings, WayName
from rl_serial.agents.solver.agent import policy_layout
from rl_serial.config import EvaluationConfig, RunConfig
from rl_serial.envs.chain import MOST_NUMBERS
from rl_serial.envs.puzzles.generator import check_dial
from rl_serial.envs.puzzles.reading import read_sides
from rl_serial.envs.puzzles.sudoku import Sudoku, make_sudoku, rows_of_side
from rl_serial.errors import OptionError, UserError
from rl_serial.settings import Loops, Once


class PuzzleEvaluationConfig(EvaluationConfig, extra="forbid"):
    """The examination on puzzles."""

    instances: Annotated[int, Field(ge=2)] = 512  # puzzles as the environment makes them
    rounds: list[PositiveInt] = Field(
        default_factory=list
    )  # puzzles of singles that need just so many, whatever training sees
    per_rounds: PositiveInt = 256  # of each of them
    ways: list[WayName] | None = None  # of a solver, at the end; None: all it is trained for
    simulations: Annotated[list[NonNegativeInt], Once] = Field(
        default_factory=list
    )  # of a search on top of the trained agent, at the end
    loops: Annotated[list[Loops], Once] = Field(
        default_factory=list
    )  # of the trained network, examined at the end with so many, too


def evaluation_of(config: RunConfig) -> PuzzleEvaluationConfig:
    """The evaluation of a run on puzzles."""
    assert isinstance(config.evaluation, PuzzleEvaluationConfig)
    return config.evaluation


def ways_of(config: RunConfig) -> list[str]:
    """The ways in which the end of a run has puzzles solved."""
    if not isinstance(config.agent, SolverSettings):
        return []
    asked = evaluation_of(config).ways
    return config.agent.ways if asked is None else list(dict.fromkeys(asked))


def rounds_of(config: RunConfig) -> list[int]:
    """The numbers of rounds that a run is examined at, by themselves."""
    return sorted(set(evaluation_of(config).rounds))


def task_of_run(config: RunConfig) -> Sudoku:
    """The rules of a run's puzzles.

    Raises:
        ValueError: an option that there is not, or out of its range.
    """
    return make_sudoku(**config.env.options)


def check(config: RunConfig) -> None:
    """What the parts of a run on puzzles ask of each other.

    Raises:
        UserError: parts that do not go together.
    """
    evaluation, agent = evaluation_of(config), AGENTS[config.agent.kind]
    try:
        task = task_of_run(config)
    except OptionError as error:
        raise UserError(error.message, f"env.{error.option}") from None
    if evaluation.rounds:
        _check_rounds(evaluation.rounds, task)
    if evaluation.ways is not None and not isinstance(config.agent, SolverSettings):
        kinds = [kind for kind, row in AGENTS.items() if issubclass(row.config, SolverSettings)]
        raise UserError(
            f"only the agents {', '.join(kinds)} have ways to commit, not {agent.kind}; leave them "
            "out",
            "evaluation.ways",
        )
    if evaluation.loops and not agent.reads_loops:
        kinds = [kind for kind in kinds_playing("puzzles") if AGENTS[kind].reads_loops]
        raise UserError(
            f"only the agents {', '.join(kinds)} are examined at other loops, not {agent.kind}",
            "evaluation.loops",
        )
    if evaluation.simulations and not agent.has_values:
        raise UserError(f"the agent {agent.kind} has no values", "evaluation.simulations")
    _check_memory(config, task)
    config.agent.check(config, task)
    if task.file is not None and Path(task.file).is_file():
        _check_file(task.file, task.size, trains=config.agent.length is not None)


def _check_file(file: str, size: int, trains: bool) -> None:
    """Puzzles of a file are there of the sides that a run needs.

    A file that is missing is none of a configuration's faults: a trained run is loaded without it,
    and who examines it is told.
    """
    try:
        held = read_sides(file, size)
        for tests in (True, False) if trains else (True,):
            rows_of_side(held, tests, file)
    except OptionError as error:
        raise UserError(error.message, f"env.{error.option}") from None
    if held.tests.size == 1:
        raise UserError(f"{file}: holds one puzzle that is for tests; 2 at least", "env.file")


def _check_rounds(rounds: list[int], task: Sudoku) -> None:
    """Rounds are dialled in puzzles that are made, with as many blanks as the run's."""
    if task.file is not None:
        raise UserError("puzzles of a file have the rounds they have: []", "evaluation.rounds")
    blanks = check_dial(task.size, task.blanks, None, task.kind)
    for count in rounds:
        if count > blanks:
            raise UserError(
                f"at most {blanks}, as many as there are blanks, not {count}", "evaluation.rounds"
            )


def _check_memory(config: RunConfig, task: Sudoku) -> None:
    """Refuse what would hold more numbers at once than MOST_NUMBERS."""
    size, evaluation, agent = task.layout.size, evaluation_of(config), config.agent
    held: dict[str, tuple[int, int]] = {
        "evaluation.instances": (evaluation.instances, size),
        "evaluation.per_rounds": (evaluation.per_rounds, size),
        **{
            f"agent.{key}": (getattr(agent, key), size)
            for key in ("num_envs", "batch_size", "buffer_size")
            if hasattr(agent, key)
        },
    }
    if isinstance(agent, OrderingAgentConfig):  # the policy sees each step of an update
        blanks = task.size**2 if task.file else check_dial(task.size, task.blanks, None, task.kind)
        steps = blanks * policy_layout(task.size).size
        held["agent.rollouts"] = (agent.rollouts, steps)
        held["agent.puzzles"] = (agent.puzzles, agent.rollouts * steps)
    for key, (rows, numbers) in held.items():
        if rows * numbers > MOST_NUMBERS:
            raise UserError(
                f"{rows} times {numbers} numbers of observations are held at once; {MOST_NUMBERS} "
                f"are the most: {MOST_NUMBERS // numbers} rows, or a smaller puzzle",
                key,
            )
