"""Solving puzzles with a network: masked denoising that commits, and Gaussian denoising."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rl_serial.agents.solver.ways import Order, Way

Predict = Callable[[Tensor, Tensor], Tensor]
"""Cells [B, C, N + 1] and noise levels [B] to logits of digits [B, C, N]."""

Choose = Callable[[Tensor, Tensor], Tensor]
"""Grids [B, C] and the network's chances [B, C, N] to preferences of cells [B, C]."""


@dataclass(frozen=True)
class Solved:
    """What a way makes of puzzles."""

    grid: Tensor  # [B, C] int64 digits
    when: Tensor  # [B, C] int64 the pass that committed a cell, from 1 on; 0 of a given
    passes: Tensor  # [B] int64 forward passes that a puzzle needs


def shown_cells(grid: Tensor, size: int) -> Tensor:
    """[B, C, N + 1] float32: a one-hot digit for each cell of ``grid`` [B, C], and if it is blank.

    A blank cell has no digit.
    """
    blank = (grid == 0).float()[:, :, None]
    digits = F.one_hot(grid, size + 1)[:, :, 1:].float()
    return torch.cat([digits, blank], dim=2)


def noised_cells(grid: Tensor, noised: Tensor, size: int) -> Tensor:
    """The same with the numbers ``noised`` [B, C, N] in blank cells."""
    cells = shown_cells(grid, size)
    blank = cells[:, :, -1:]
    return torch.cat([cells[:, :, :-1] + blank * noised, blank], dim=2)


def clean_cells(grid: Tensor, size: int) -> Tensor:
    """[B, C, N] what Gaussian denoising comes to: one-hot digits of mean 0 and variance 1."""
    spread = math.sqrt((1 / size) * (1 - 1 / size))
    hot = F.one_hot((grid - 1).clamp(min=0), size).float()
    return (hot - 1 / size) / spread


def rates(level: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of signal and noise at ``level`` in [0, 1]: their squares sum to 1, 1 is all noise."""
    angle = level * (math.pi / 2)
    return torch.cos(angle), torch.sin(angle)


def commit(
    way: Way,
    givens: Tensor,
    size: int,
    predict: Predict,
    told: Tensor,
    noise: torch.Generator,
    choose: Choose | None = None,
    rows: slice = slice(None),
) -> Solved:
    """Solve puzzles in a way.

    Args:
        way: how.
        givens: [B, C] int64, 0 for blank.
        size: N.
        predict: the network.
        told: [B, C] int64 the round of singles that tells a cell; -1 where none does, which then
            comes last.
        noise: of random orders and Gaussian noise, on the CPU.
        choose: the policy of a way that asks one.
        rows: which of the puzzles are solved, with the dice that they have among all.
    """
    dice = drawn(way, givens, size, noise)[rows]
    late = torch.where(told < 0, told.amax() + 1, told)[rows]
    givens = givens[rows]
    if way.noised:
        return _denoised(way, givens, size, predict, dice)
    grid, when = givens.clone(), torch.zeros_like(givens)
    level = torch.ones(len(givens), device=givens.device)
    blanks = (givens == 0).sum(1)
    passes = torch.zeros_like(blanks)
    number = 0
    while bool((grid == 0).any()):
        number += 1
        chances = predict(shown_cells(grid, size), level).softmax(2)
        blank = grid == 0
        passes = passes + blank.any(1)
        if way.by_rounds:
            fills = blank & (late == torch.where(blank, late, late.amax() + 1).amin(1)[:, None])
        else:
            if way.passes is None:
                count = torch.ones_like(blanks)
            else:  # so many that after pass k of n the share k / n of the blanks is filled, and one
                steps = blanks.clamp(min=1, max=way.passes)
                count = -(-blanks * number // steps) - (blanks - blank.sum(1))
            assert way.order is not None
            if way.asks_policy:
                assert choose is not None
                scores = choose(grid, chances)
            else:
                scores = _scores(way.order, chances, late, dice)
            fills = _first(scores, blank, count)
        grid = torch.where(fills, chances.argmax(2) + 1, grid)
        when = torch.where(fills, number, when)
    return Solved(grid, when, passes)


def drawn(way: Way, givens: Tensor, size: int, noise: torch.Generator) -> Tensor:
    """The dice of a way for puzzles ``givens`` [B, C]: [B, C] of orders, or noise [B, C, N]."""
    if way.noised:
        return torch.randn(*givens.shape, size, generator=noise).to(givens.device)
    return torch.rand(givens.shape, generator=noise).to(givens.device)


def _scores(order: Order, chances: Tensor, told: Tensor, dice: Tensor) -> Tensor:
    """[B, C] the larger, the earlier."""
    if order == Order.RANDOM:
        return dice
    if order in (Order.RASTER, Order.SINGLES):
        cells = chances.shape[1]
        place = torch.arange(cells, device=chances.device).expand(len(chances), cells)
        return -(told * cells + place if order == Order.SINGLES else place).float()
    best = chances.topk(2, dim=2).values
    return best[:, :, 0] - best[:, :, 1] if order == Order.MARGIN else best[:, :, 0]


def _first(scores: Tensor, among: Tensor, count: Tensor) -> Tensor:
    """[B, C] bool: the ``count`` [B] cells of the largest scores ``among`` [B, C] those."""
    order = torch.where(among, scores, -torch.inf).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(1)
    return among & (rank < count[:, None])


def _denoised(way: Way, givens: Tensor, size: int, predict: Predict, x: Tensor) -> Solved:
    """All blank cells from noise ``x`` to digits, in steps of deterministic (DDIM) denoising."""
    steps = way.passes
    assert steps is not None
    spread = math.sqrt((1 / size) * (1 - 1 / size))
    chances = x
    for step in range(steps):
        level = torch.full((len(givens),), 1 - step / steps, device=givens.device)
        chances = predict(noised_cells(givens, x, size), level).softmax(2)
        expected = (chances - 1 / size) / spread
        signal, noisy = (rate[:, None, None] for rate in rates(level))
        rest = (x - signal * expected) / noisy
        signal, noisy = (rate[:, None, None] for rate in rates(level - 1 / steps))
        x = signal * expected + noisy * rest
    blank = givens == 0
    grid = torch.where(blank, chances.argmax(2) + 1, givens)
    when = torch.where(blank, steps, 0)
    return Solved(grid, when, torch.full((len(givens),), steps, device=givens.device))
