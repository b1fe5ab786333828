"""A network that reads the cells of a puzzle and gives digits for the blank ones, as an agent."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rl_serial.agents.protocols import Judgement, Preference
from rl_serial.agents.solver.commit import commit, drawn, shown_cells
from rl_serial.agents.solver.ways import WAYS
from rl_serial.envs.chain import TokenLayout
from rl_serial.envs.puzzles.generator import Puzzles
from rl_serial.networks import HorizonHead

AT_A_TIME = 1024
"""Puzzles that the network reads at once."""


def cells_layout(size: int) -> TokenLayout:
    """What the network reads: a token for each cell, with a number for each digit and whether the
    cell is blank; one global, the noise level (1 where blank cells show nothing)."""
    return TokenLayout(size * size, size + 1, 1)


def cells_head(size: int) -> HorizonHead:
    """A head that is the same for every cell and gives a logit for each digit."""
    return HorizonHead(size * size, size, "per_token")


def policy_layout(size: int) -> TokenLayout:
    """What a policy reads that chooses cells: of each cell what the network reads, and the chances
    that this one gives its digits; one global, the share of blank cells."""
    return TokenLayout(size * size, 2 * size + 1, 1)


def policy_head(size: int) -> HorizonHead:
    """A head that is the same for every cell and gives a preference."""
    return HorizonHead(size * size, 1, "per_token")


def seen_by_policy(grid: Tensor, chances: Tensor) -> Tensor:
    """[B, policy_layout.size] of grids [B, C] and the network's chances [B, C, N]."""
    size = chances.shape[2]
    blank = (grid == 0)[:, :, None]
    cells = torch.cat([shown_cells(grid, size), chances * blank], dim=2).flatten(1)
    return torch.cat([cells, blank.float().mean(1)], dim=1)


def preferences_of(policy: nn.Module, seen: Tensor) -> Tensor:
    """[B, C] a policy's preferences for cells."""
    preferences: Tensor = policy(seen)
    return preferences[:, :, 0]


def logits_of(network: nn.Module, cells: Tensor, level: Tensor, **asked: Any) -> Tensor:
    """The network's logits [..., B, C, N] for cells [B, C, N + 1] and noise levels [B]."""
    logits: Tensor = network(torch.cat([cells.flatten(1), level[:, None]], dim=1), **asked)
    return logits


class SolverAgent:
    """Solves puzzles with a network, in any of the ways there are.

    As an agent of the environment it fills one cell at a time, that of the largest margin first.

    Args:
        network: on ``device``; reads :func:`cells_layout`, gives :func:`cells_head`.
        size: of the puzzles.
        device: of the network.
        way: its own, by name.
        seed: of its dice.
        policy: which cell next, for the way ``learned``; reads :func:`policy_layout`, gives
            :func:`policy_head`.
    """

    preference = Preference.PROBABILITY

    def __init__(
        self,
        network: nn.Module,
        size: int,
        device: torch.device,
        way: str,
        seed: int = 0,
        policy: nn.Module | None = None,
    ) -> None:
        self.network, self.size, self.device = network, size, device
        self.way, self.seed, self.policy = way, seed, policy

    def solve(
        self, puzzles: Puzzles, way: str | None = None, only: int | None = None
    ) -> tuple[NDArray[Any], ...]:
        """Fill puzzles; the same puzzles in the same order always alike.

        Args:
            puzzles: B of them.
            way: by name; None: the agent's own.
            only: the one that is solved, as it is among all of them: B of what is returned is 1.

        Returns:
            grid [B, C] int64, the pass that committed each cell [B, C] int64 (0 of a given), and
            passes [B] int64.
        """
        noise = torch.Generator().manual_seed(self.seed)
        how = WAYS[way or self.way]
        parts = []
        for first in range(0, len(puzzles.givens), AT_A_TIME):
            batch = slice(first, first + AT_A_TIME)
            givens = torch.as_tensor(puzzles.givens[batch].astype(np.int64), device=self.device)
            told = torch.as_tensor(puzzles.when[batch].astype(np.int64), device=self.device)
            rows = slice(None)
            if only is not None:
                if not 0 <= only - first < AT_A_TIME:
                    drawn(how, givens, self.size, noise)  # the dice of those before it
                    continue
                rows = slice(only - first, only - first + 1)
            with torch.no_grad():
                parts.append(
                    commit(how, givens, self.size, self._predict, told, noise, self._choose, rows)
                )
        return tuple(
            torch.cat([getattr(part, name) for part in parts]).cpu().numpy()
            for name in ("grid", "when", "passes")
        )

    def judge(self, state: Any) -> Judgement:
        """Preferences: a digit's probability, and above those the margin of each cell's best."""
        grid = torch.as_tensor(state.grid.astype(np.int64), device=self.device)
        level = torch.ones(len(grid), device=self.device)
        with torch.no_grad():
            chances = self._predict(shown_cells(grid, self.size), level).softmax(2)
        best = chances.topk(2, dim=2)
        margin = best.values[:, :, :1] - best.values[:, :, 1:]
        own = torch.zeros_like(chances).scatter(2, best.indices[:, :, :1], margin)
        # Of one cell the best comes first, of several that of the largest margin.
        preferences = own + 1e-6 * chances
        return Judgement(preferences.flatten(1).cpu().numpy(), values=None)

    def _predict(self, cells: Tensor, level: Tensor) -> Tensor:
        return logits_of(self.network, cells, level)

    def _choose(self, grid: Tensor, chances: Tensor) -> Tensor:
        assert self.policy is not None
        return preferences_of(self.policy, seen_by_policy(grid, chances))
