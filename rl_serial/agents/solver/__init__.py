"""Solvers of puzzles: one network, trained once, and many ways to commit.

The network reads all cells of a puzzle and gives digits for the blank ones. What it does in one
forward pass is parallel; what it commits to is read by the passes that come later. So one set of
weights shows what the number of commitments is worth, and their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from rl_serial.agents.protocols import Log
    from rl_serial.agents.solver.ordering import OrderingTrainer
    from rl_serial.agents.solver.trainer import SolverTrainer


def make_trainer(world: Any, device: torch.device, log: Log) -> SolverTrainer:
    """The trainer that a run describes."""
    from rl_serial.agents.solver.agent import cells_head
    from rl_serial.agents.solver.trainer import SolverTrainer
    from rl_serial.networks import build_network, build_trunk

    task = world.task
    network = build_network(build_trunk(**world.trunk("network")), cells_head(task.size))
    return SolverTrainer(
        task.puzzles, task.size, world.agent, network.to(device), world.seed, device
    )


def make_ordering_trainer(world: Any, device: torch.device, log: Log) -> OrderingTrainer:
    """The same of a network with a policy; the network is the one that it is without."""
    from rl_serial.agents.solver.agent import cells_head, policy_head
    from rl_serial.agents.solver.ordering import OrderingTrainer
    from rl_serial.networks import build_network, build_trunk

    task = world.task
    network = build_network(build_trunk(**world.trunk("network")), cells_head(task.size))
    policy = build_network(build_trunk(**world.trunk("policy_network")), policy_head(task.size))
    return OrderingTrainer(
        task.puzzles,
        task.size,
        world.agent,
        network.to(device),
        policy.to(device),
        world.seed,
        device,
    )


__all__ = ["make_ordering_trainer", "make_trainer"]
