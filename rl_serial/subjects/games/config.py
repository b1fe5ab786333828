"""How runs on games are examined and checked."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, NonNegativeInt

from rl_serial.agents.registry import AGENTS, kinds_playing
from rl_serial.config import EvaluationConfig, RunConfig
from rl_serial.envs.chain import MOST_NUMBERS
from rl_serial.envs.games import game_name, is_solvable
from rl_serial.envs.games.duel import Duel, make_duel
from rl_serial.errors import OptionError, UserError, wrong_in
from rl_serial.settings import Loops, Once


class GameEvaluationConfig(EvaluationConfig, extra="forbid"):
    """The examination on games."""

    instances: Annotated[int, Field(ge=2)] = 512  # games played against the opponent
    per_plies: Annotated[int, Field(ge=4)] = 256  # positions that end within so many plies
    loops: Annotated[list[Loops], Once] = Field(
        default_factory=list
    )  # of the trained network, examined at the end with so many, too
    simulations: Annotated[list[NonNegativeInt], Once] = Field(
        default_factory=list
    )  # of searches on top of the trained agent, examined at the end; 0 is its network alone


def evaluation_of(config: RunConfig) -> GameEvaluationConfig:
    """The evaluation of a run on games."""
    assert isinstance(config.evaluation, GameEvaluationConfig)
    return config.evaluation


def duel_of(config: RunConfig, **further: Any) -> Duel:
    """The rules of a run's game and opponent, with ``further`` options.

    Raises:
        ValueError: an option that there is not, or out of its range.
    """
    return make_duel(str(game_name(config.env.id)), **config.env.options | further)


def plies_of(config: RunConfig) -> list[int]:
    """The numbers of plies that a run is examined at: 2, 4, …; none of a board that is too large.

    Positions that end within 2n plies are those that who wins needs n moves for.
    """
    game = duel_of(config).game
    return list(range(2, game.most_plies + 2, 2)) if is_solvable(game) else []


def check(config: RunConfig) -> None:
    """What the parts of a run on games ask of each other.

    Raises:
        UserError: parts that do not go together.
    """
    try:
        task = duel_of(config)
    except OptionError as error:
        raise wrong_in("env", error) from None
    exact = config.agent.kind in ("value", "cloning", "optimal")
    if exact and not is_solvable(task.game):
        raise UserError(
            f"{config.agent.kind} needs exact values, which {task.game} is too large for",
            "agent.kind",
        )
    if evaluation_of(config).loops and not AGENTS[config.agent.kind].reads_loops:
        kinds = [kind for kind in kinds_playing("games") if AGENTS[kind].reads_loops]
        raise UserError(
            f"only the agents {', '.join(kinds)} are examined at other loops, not "
            f"{config.agent.kind}",
            "evaluation.loops",
        )
    if evaluation_of(config).simulations and not AGENTS[config.agent.kind].has_values:
        raise UserError(f"the agent {config.agent.kind} has no values", "evaluation.simulations")
    for key, rows in (
        ("evaluation.instances", evaluation_of(config).instances),
        ("evaluation.per_plies", evaluation_of(config).per_plies * task.game.most_plies),
    ):
        if rows * task.layout.size > MOST_NUMBERS:
            raise UserError(f"more than {MOST_NUMBERS} numbers of observations at once", key)
    config.agent.check(config, task)
