"""The search on top of a trained agent, the same for every subject with rules to search in."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from rl_serial.agents.protocols import Trainer
from rl_serial.agents.registry import AgentKind
from rl_serial.agents.search.agent import SearchAgent
from rl_serial.agents.search.on_top import search_on_top
from rl_serial.config import RunConfig
from rl_serial.errors import UserError


class HasRules(Protocol):
    """A subject with rules."""

    config: RunConfig
    row: AgentKind
    task: Any


def searcher(
    self: HasRules,
    trainer: Trainer,
    device: torch.device,
    dynamics: str | None = None,
    algorithm: str | None = None,
    simulations: int = 0,
) -> SearchAgent:
    """A search on top of a trained agent: what a ``SearchableSubject`` has as its method.

    Args:
        self: whose rules say what is legal.
        trainer: trained.
        device: where the networks are, and then the trees.
        dynamics: true or learned; None: as the run searched itself, else true.
        algorithm: gumbel or puct; None: as the run searched itself, else gumbel.
        simulations: of a decision.

    Raises:
        UserError: an agent without values; dynamics that were not learned.
    """
    config = self.config
    if not self.row.has_values:
        raise UserError(
            f"the agent {self.row.kind} has no values to search with", "agent.kind", config.name
        )
    return search_on_top(
        self.task, trainer, config.agent, device, dynamics, algorithm, simulations, config.name
    )
