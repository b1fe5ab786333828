"""Training a solver: cross-entropy of the digits of blank cells, masked or noised.

Of a masked example a uniform share of the blank cells is filled rightly, those at random (of a
share ``unrevealed`` of the examples none); the network learns the rest. Of a noised one all blank
cells hold their digits under Gaussian noise of a uniform level. Every update is a pure function of
seed and step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rl_serial.agents.fitted import NetworkTrainer
from rl_serial.agents.settings_solver import SolverSettings
from rl_serial.agents.solver.agent import SolverAgent, cells_layout, logits_of
from rl_serial.agents.solver.commit import clean_cells, noised_cells, rates, shown_cells
from rl_serial.envs.puzzles.generator import Puzzles
from rl_serial.envs.random import below, fold_in, random_words

REVEALS = 70
"""Stream of the random words that say what is revealed."""


class SolverTrainer(NetworkTrainer):
    """Trains a network to fill puzzles.

    Args:
        puzzles: makes the puzzles of seeds [B].
        size: of the puzzles.
        config: examples, optimiser.
        network: on ``device``; see :class:`SolverAgent`.
        seed: of the run; chooses training puzzles and what is revealed.
        device: where the network is.
    """

    role = "solver"

    def __init__(
        self,
        puzzles: Callable[[NDArray[np.int64]], Puzzles],
        size: int,
        config: SolverSettings,
        network: nn.Module,
        seed: int,
        device: torch.device,
    ) -> None:
        self.puzzles, self.size, self.config = puzzles, size, config
        super().__init__(config, network, seed, device)
        self.agent = SolverAgent(network, size, device, config.way, seed)

    @property
    def examples(self) -> dict[str, Tensor]:
        """An input of one row."""
        return {"solver": torch.zeros(1, cells_layout(self.size).size, device=self.device)}

    @property
    def instances(self) -> int:
        """Puzzles that the whole training consumes."""
        return self.total * self.config.batch_size

    def _update(self) -> None:
        loss = self.loss(*self.lesson())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        self.updated(loss.detach())

    def lesson(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The next update's examples.

        Returns:
            cells [B, C, N + 1], noise levels [B], which cells are asked for [B, C] bool, and their
            digits [B, C] int64, from 0 on.
        """
        count, config = self.config.batch_size, self.config
        index = np.arange(self.step * count, (self.step + 1) * count, dtype=np.int64)
        seeds = fold_in(np.full_like(index, self.seed), index)
        puzzles = self.puzzles(seeds)
        noised = config.noised
        shown = revealed(puzzles, seeds, config.unrevealed)
        shown[:noised] = puzzles.givens[:noised]
        grid = torch.as_tensor(shown.astype(np.int64), device=self.device)
        solution = torch.as_tensor(puzzles.solution.astype(np.int64), device=self.device)
        cells, level = shown_cells(grid, self.size), torch.ones(count, device=self.device)
        if noised:
            dice = torch.Generator().manual_seed(int(seeds[0]) % 2**63)
            level[:noised] = torch.rand(noised, generator=dice).to(self.device)
            shape = (noised, self.size**2, self.size)
            noise = torch.randn(shape, generator=dice).to(self.device)
            signal, noisy = (rate[:, None, None] for rate in rates(level[:noised]))
            mixed = signal * clean_cells(solution[:noised], self.size) + noisy * noise
            cells[:noised] = noised_cells(grid[:noised], mixed, self.size)
        return cells, level, grid == 0, solution - 1

    def loss(self, cells: Tensor, level: Tensor, asked: Tensor, digits: Tensor) -> Tensor:
        """The mean cross-entropy of the cells that are asked for, in nats a cell."""
        every = self.config.losses == "every_loop"
        logits = logits_of(self.network, cells, level, **({"every": True} if every else {}))
        if every:  # the same cells after each loop
            asked, digits = (part.expand(len(logits), *part.shape) for part in (asked, digits))
        return F.cross_entropy(logits[asked], digits[asked])

    def agent_after(self, loops: int) -> SolverAgent:
        """Solves with what the network gives after so many loops."""
        return SolverAgent(
            _AfterLoops(self.network, loops), self.size, self.device, self.config.way, self.seed
        )


class _AfterLoops(nn.Module):
    """A network that runs another number of loops."""

    def __init__(self, network: nn.Module, loops: int) -> None:
        super().__init__()
        self.network, self.loops = network, loops

    def forward(self, observation: Tensor) -> Tensor:
        logits: Tensor = self.network(observation, self.loops)
        return logits


def revealed(puzzles: Puzzles, seeds: NDArray[np.int64], unrevealed: float) -> NDArray[np.int8]:
    """[B, C] puzzles with some blank cells filled rightly; one at least stays blank.

    How many is uniform from none to all but one, which of them at random; of a share
    ``unrevealed`` of the puzzles none is.
    """
    cells = puzzles.givens.shape[1]
    words = random_words(seeds, cells + 2, stream=REVEALS)
    blank = puzzles.givens == 0
    count = below(words[:, cells], blank.sum(axis=1))
    count = np.where(words[:, cells + 1] < unrevealed * 2**32, 0, count)
    order = np.argsort(np.where(blank, words[:, :cells], 2**32), axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    return np.where(blank & (rank < count[:, None]), puzzles.solution, puzzles.givens)
