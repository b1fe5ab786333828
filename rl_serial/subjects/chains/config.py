"""How runs on chains are examined and checked."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from rl_serial.agents.registry import AGENTS, kinds_playing
from rl_serial.agents.settings import OWN_RATES
from rl_serial.config import EvaluationConfig, RunConfig
from rl_serial.envs.chain import MOST_NUMBERS
from rl_serial.envs.registry import UnknownEnvironment
from rl_serial.envs.tasks import Task
from rl_serial.errors import UserError, wrong_in
from rl_serial.networks.trunks import TRUNKS
from rl_serial.settings import Loops, Once


class ChainEvaluationConfig(EvaluationConfig, extra="forbid"):
    """The examination on a chain."""

    per_remaining: PositiveInt = 512  # states judged at each number of remaining steps
    simulations: Annotated[list[NonNegativeInt], Once] = Field(
        default_factory=list
    )  # of a search on top of the trained agent, at the end
    # What is scored beside the search, with as many model steps as it has simulations.
    baselines: Annotated[list[Literal["enumeration", "rollouts"]], Once] = Field(
        default_factory=list
    )
    loops: Annotated[list[Loops], Once] = Field(
        default_factory=list
    )  # of the trained network, judged at the end with so many, too


def evaluation_of(config: RunConfig) -> ChainEvaluationConfig:
    """The evaluation of a run on a chain."""
    assert isinstance(config.evaluation, ChainEvaluationConfig)
    return config.evaluation


def check(config: RunConfig) -> None:
    """What the parts of a run on a chain ask of each other.

    Raises:
        UserError: parts that do not go together.
    """
    evaluation, agent = evaluation_of(config), AGENTS[config.agent.kind]
    if evaluation.baselines and not evaluation.simulations:
        raise UserError(
            "have the model steps of evaluation.simulations, which are none; [0, 4, 16] for "
            "example",
            "evaluation.baselines",
        )
    if evaluation.loops and not agent.reads_loops:
        kinds = [kind for kind in kinds_playing("chains") if AGENTS[kind].reads_loops]
        raise UserError(
            f"only the agent {', '.join(kinds)} is examined at other loops, not {agent.kind}",
            "evaluation.loops",
        )
    try:
        task = config.env.task()
    except UnknownEnvironment as error:
        raise UserError(error, "env.id") from None
    except ValueError as error:
        raise wrong_in("env", error) from None
    _check_memory(config, task)
    if evaluation.simulations and not agent.has_values:
        raise UserError(f"the agent {agent.kind} has no values", "evaluation.simulations")
    config.agent.check(config, task)


def _check_memory(config: RunConfig, task: Task[Any]) -> None:
    """Refuse what would hold more numbers at once than :data:`MOST_NUMBERS`."""
    size, depth = task.layout.size, task.chain.serial_depth
    evaluation = evaluation_of(config)
    held = {
        "evaluation.instances": (evaluation.instances, size),
        "evaluation.per_remaining": (evaluation.per_remaining, size * depth),
        **{
            f"agent.{key}": (getattr(config.agent, key), size)
            for key in ("num_envs", "batch_size", "buffer_size")
            if hasattr(config.agent, key)
        },
    }
    for key, (rows, numbers) in held.items():
        if rows * numbers > MOST_NUMBERS:
            raise UserError(
                f"{rows} times {numbers} numbers of observations are held at once; {MOST_NUMBERS} "
                f"are the most: {MOST_NUMBERS // numbers} rows, or a smaller environment",
                key,
            )


def together(config: RunConfig) -> str | None:
    """What runs have in common that can be trained as one batch; None where none can.

    Seeds, rates and the options of the environment may differ, where they change no shape.
    """
    network = config.network
    if not config.agent.stacks or network is None or not TRUNKS[network.kind].stackable:
        return None
    task = config.env.task()
    shapes = {
        "layout": str(task.layout),
        "depth": task.chain.serial_depth,
        "network": network.model_dump(),
        "agent": config.agent.model_dump(exclude=set(OWN_RATES)),
        "every": config.evaluation.every,
    }
    return json.dumps(shapes, sort_keys=True)
