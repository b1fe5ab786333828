"""Which cell next, learned by reinforcement: a policy beside the rules of order.

First the network that gives digits is trained, as a :class:`SolverTrainer` does and to the same
weights. Then it stays as it is, and a policy learns which cell to fill with its likeliest digit.
An episode pays 1 for the solved grid and ends with the first wrong digit, after which nothing
could be gained. Each puzzle is played several times, and the mean return of the others is a
play's baseline (REINFORCE with leave-one-out baselines, Kool et al. 2019). The steps of an update
are gone over several times with PPO's clipped objective (Schulman et al. 2017, arXiv 1707.06347).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rl_serial.agents.settings_solver import OrderingAgentConfig
from rl_serial.agents.solver.agent import (
    SolverAgent,
    logits_of,
    policy_layout,
    preferences_of,
    seen_by_policy,
)
from rl_serial.agents.solver.commit import shown_cells
from rl_serial.agents.solver.trainer import SolverTrainer
from rl_serial.envs.puzzles.generator import Puzzles
from rl_serial.envs.random import fold_in


class Steps(NamedTuple):
    """The S steps of an update's episodes, each of which filled a cell."""

    seen: Tensor  # [S, policy_layout.size]
    blank: Tensor  # [S, C] bool: cells that could be filled
    cell: Tensor  # [S] int64: the one that was
    log_chance: Tensor  # [S] of it, as the policy was
    episode: Tensor  # [S] int64


class OrderingTrainer(SolverTrainer):
    """Trains a network to give digits, then a policy to say which cell is filled next.

    Args:
        puzzles, size, config, network, seed, device: as of :class:`SolverTrainer`.
        policy: on ``device``; see :class:`SolverAgent`.
    """

    config: OrderingAgentConfig

    def __init__(
        self,
        puzzles: Callable[[NDArray[np.int64]], Puzzles],
        size: int,
        config: OrderingAgentConfig,
        network: nn.Module,
        policy: nn.Module,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(puzzles, size, config, network, seed, device)
        self.policy = policy
        self.total = config.updates + config.policy_updates
        self.metrics |= {"train/rollouts_solved": float("nan")}
        self.agent = SolverAgent(network, size, device, config.way, seed, policy)
        self.policy_optimizer = torch.optim.AdamW(
            policy.parameters(), config.policy_learning_rate, weight_decay=0.0
        )

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Both."""
        return {**super().networks, "policy": self.policy}

    @property
    def examples(self) -> dict[str, Tensor]:
        """An input of one row for each."""
        seen = torch.zeros(1, policy_layout(self.size).size, device=self.device)
        return {**super().examples, "policy": seen}

    @property
    def instances(self) -> int:
        """Puzzles that the whole training consumes."""
        config = self.config
        return config.updates * config.batch_size + config.policy_updates * config.puzzles

    @property
    def key_and_rate(self) -> tuple[str, float]:
        """The network's, and later the policy's."""
        if self.step <= self.config.updates:
            return super().key_and_rate
        return "agent.policy_learning_rate", self.config.policy_learning_rate

    def agent_after(self, loops: int) -> SolverAgent:
        """Solves with what the network gives after so many loops, by the same policy."""
        agent = super().agent_after(loops)
        agent.policy = self.policy
        return agent

    def _update(self) -> None:
        if self.step < self.config.updates:
            super()._update()
            return
        steps, returns = self.episodes()
        advantage = self.advantages(returns)[steps.episode]
        loss = torch.zeros(())
        for _ in range(self.config.epochs):
            loss = self.policy_loss(steps, advantage)
            self.policy_optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.policy_optimizer.step()
        self.updated(loss.detach())
        self.metrics["train/rollouts_solved"] = float(returns.mean())

    def episodes(self) -> tuple[Steps, Tensor]:
        """The next update's episodes: their steps, and returns [puzzles * rollouts], 0 or 1."""
        config = self.config
        count, done = config.puzzles, self.step - config.updates
        first = config.updates * config.batch_size + done * count
        index = np.arange(first, first + count, dtype=np.int64)
        seeds = fold_in(np.full_like(index, self.seed), index)
        puzzles = self.puzzles(seeds)
        givens, solution = (
            torch.as_tensor(part.astype(np.int64), device=self.device).repeat_interleave(
                config.rollouts, 0
            )
            for part in (puzzles.givens, puzzles.solution)
        )
        dice = torch.Generator().manual_seed(int(seeds[0]) % 2**63)
        return self.play(givens, solution, dice)

    @torch.no_grad()
    def play(self, givens: Tensor, solution: Tensor, dice: torch.Generator) -> tuple[Steps, Tensor]:
        """Episodes of puzzles ``givens`` with ``solution`` [B, C]; cells are drawn by the policy.

        Args:
            givens: [B, C] int64, 0 for blank.
            solution: [B, C] int64.
            dice: on the CPU.

        Returns:
            The steps of all, and returns [B].
        """
        grid = givens.clone()
        running = torch.arange(len(grid), device=self.device)
        steps: list[tuple[Tensor, ...]] = []
        while len(running):
            here = grid[running]
            level = torch.ones(len(here), device=self.device)
            chances = logits_of(self.network, shown_cells(here, self.size), level).softmax(2)
            seen, blank = seen_by_policy(here, chances), here == 0
            log_chances = self._log_chances(seen, blank)
            # A draw by its chances: the largest of log-chances with Gumbel noise.
            noise = -torch.rand(blank.shape, generator=dice).log().to(self.device)
            cell = (log_chances - noise.log()).argmax(1)
            place = cell[:, None]
            digit = chances.gather(1, place[:, :, None].expand(-1, 1, self.size)).argmax(2) + 1
            grid[running] = here.scatter(1, place, digit)
            steps.append((seen, blank, cell, log_chances.gather(1, place)[:, 0], running))
            right = (digit == solution[running].gather(1, place))[:, 0]
            running = running[right & (blank.sum(1) > 1)]
        solved = (grid == solution).all(1).float()
        return Steps(*(torch.cat(parts) for parts in zip(*steps, strict=True))), solved

    def advantages(self, returns: Tensor) -> Tensor:
        """[B] each return less the mean of the other plays of its puzzle."""
        plays = returns.view(-1, self.config.rollouts)
        others = (plays.sum(1, keepdim=True) - plays) / (plays.shape[1] - 1)
        return (plays - others).flatten()

    def policy_loss(self, steps: Steps, advantage: Tensor) -> Tensor:
        """PPO's clipped objective, negative, less the weighted entropy; means over steps.

        Args:
            steps: S of them.
            advantage: [S].
        """
        log_chances = self._log_chances(steps.seen, steps.blank)
        chosen = log_chances.gather(1, steps.cell[:, None])[:, 0]
        ratio = (chosen - steps.log_chance).exp()
        clip = self.config.clip
        gain = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
        # A cell that is not blank has the chance 0, whose product with its logarithm is 0.
        entropy = -(log_chances.exp() * log_chances.clamp(min=-1e9)).sum(1)
        return -gain.mean() - self.config.entropy * entropy.mean()

    def _log_chances(self, seen: Tensor, blank: Tensor) -> Tensor:
        preferences = preferences_of(self.policy, seen)
        return preferences.masked_fill(~blank, -torch.inf).log_softmax(1)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run needs to go on as if it had not been interrupted."""
        return {
            **super().state_dict(),
            "policy": self.policy.state_dict(),
            "policy_optimizer": self.policy_optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        super().load_state_dict(state)
        self.policy.load_state_dict(state["policy"])
        self.policy_optimizer.load_state_dict(state["policy_optimizer"])

    def model_state(self) -> dict[str, Any]:
        """What a finished run keeps."""
        return {"network": self.network.state_dict(), "policy": self.policy.state_dict()}

    def load_model_state(self, state: dict[str, Any]) -> None:
        """Load what a finished run kept."""
        self.network.load_state_dict(state["network"])
        self.policy.load_state_dict(state["policy"])
