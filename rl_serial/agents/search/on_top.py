"""A search on top of a trained agent, as a run or the person who evaluates it asks for."""

from __future__ import annotations

from typing import Any

import torch

from rl_serial.agents.dynamics import Dynamics
from rl_serial.agents.protocols import Trainer
from rl_serial.agents.search.agent import SearchAgent, tensors_on
from rl_serial.agents.search.games import true_dynamics
from rl_serial.agents.settings import AgentSettings
from rl_serial.agents.settings_search import SearchAgentConfig
from rl_serial.envs.tasks import Task
from rl_serial.errors import UserError

DEFAULTS = SearchAgentConfig(kind="search")


def search_on_top(
    task: Task[Any],
    trainer: Trainer,
    settings: AgentSettings,
    device: torch.device,
    dynamics: str | None,
    algorithm: str | None,
    simulations: int,
    run: str,
) -> SearchAgent:
    """The search over what a trainer has learned.

    Args:
        task: the rules.
        trainer: with an agent that has values.
        settings: of the agent: what a search agent's run says of its search holds here too.
        device: where networks are.
        dynamics: what is searched in, true or learned; None: as the run says, else true.
        algorithm: gumbel or puct; None: as the run says, else gumbel.
        simulations: of a decision.
        run: its name, for the error.

    Raises:
        UserError: dynamics that the trainer has not learned.
    """
    models = searchable(trainer, task)
    own = settings if isinstance(settings, SearchAgentConfig) else DEFAULTS
    chosen = dynamics or own.dynamics
    if chosen not in models:
        raise UserError(
            f"has no {chosen} dynamics; there are {', '.join(models)} "
            "(agent.kind search with agent.dynamics learned trains its own)",
            source=run,
        )
    return SearchAgent(
        task,
        getattr(trainer, "raw_agent", trainer.agent),  # as the networks alone make it
        models[chosen],
        simulations,
        algorithm or own.algorithm,
        own.max_depth,
        tensors_on(device, task),
    )


def searchable(trainer: Trainer, task: Task[Any]) -> dict[str, Dynamics]:
    """The models that a trained agent can be searched in: true, and learned where it has one."""
    models: dict[str, Dynamics] = getattr(trainer, "searchable", {"true": true_dynamics(task)})
    return models
