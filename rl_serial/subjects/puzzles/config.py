"""How runs on puzzles are examined and checked."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt

from rl_serial.agents.registry import AGENTS, kinds_playing
from rl_serial.agents.settings_solver import SolverSettings, WayName
from rl_serial.config import EvaluationConfig, RunConfig
from rl_serial.envs.chain import MOST_NUMBERS
from rl_serial.envs.puzzles.generator import check_dial
from rl_serial.envs.puzzles.sudoku import Sudoku, make_sudoku
from rl_serial.errors import OptionError, UserError
from rl_serial.settings import Loops


class PuzzleEvaluationConfig(EvaluationConfig, extra="forbid"):
    """The examination on puzzles."""

    instances: Annotated[int, Field(ge=2)] = 512  # puzzles as the environment makes them
    rounds: list[PositiveInt] = Field(
        default_factory=list
    )  # puzzles of singles that need just so many, whatever training sees
    per_rounds: PositiveInt = 256  # of each of them
    ways: list[WayName] | None = None  # of a solver, at the end; None: all it is trained for
    simulations: list[NonNegativeInt] = Field(
        default_factory=list
    )  # of a search on top of the trained agent, at the end
    loops: list[Loops] = Field(
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
        raise UserError(
            f"only the agent solver has ways to commit, not {agent.kind}; leave them out",
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
    size, evaluation = task.layout.size, evaluation_of(config)
    held: dict[str, Any] = {
        "evaluation.instances": evaluation.instances,
        "evaluation.per_rounds": evaluation.per_rounds,
        **{
            f"agent.{key}": getattr(config.agent, key)
            for key in ("num_envs", "batch_size", "buffer_size")
            if hasattr(config.agent, key)
        },
    }
    for key, rows in held.items():
        if rows * size > MOST_NUMBERS:
            raise UserError(
                f"{rows} times {size} numbers of observations are held at once; {MOST_NUMBERS} "
                f"are the most: {MOST_NUMBERS // size} rows, or a smaller puzzle",
                key,
            )
