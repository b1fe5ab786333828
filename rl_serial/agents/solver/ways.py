"""The ways in which one network commits to digits, and what each costs in forward passes.

A commitment is what later passes see. Masked ways write digits into blank cells, so that a pass
reads what those before it wrote: serial computation as long as there are passes. Gaussian ones
never commit before the end: each pass moves all noised cells towards the digits that it expects,
and converges as the noise goes. Sources: masked diffusion, Sahoo et al. 2024 (arXiv 2406.07524);
order by margin, Kim et al. 2025 (arXiv 2502.06768); deterministic denoising, Song et al. 2021
(arXiv 2010.02502); cross-entropy in place of the noise's square, Dieleman et al. 2022
(arXiv 2211.15089).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Order(StrEnum):
    """Which blank cells a pass fills first."""

    PROBABILITY = "probability"  # where the likeliest digit is likeliest
    MARGIN = "margin"  # where the likeliest digit is farthest before the second
    RANDOM = "random"
    RASTER = "raster"  # row by row
    SINGLES = "singles"  # as rounds of singles tell the cells: knowledge of the puzzle
    LEARNED = "learned"  # as a policy has learned by reinforcement


@dataclass(frozen=True)
class Way:
    """A way to commit.

    Args:
        label: what figures call it.
        order: which cells come first; None: all noised cells together, by Gaussian denoising.
        passes: forward passes that share the blank cells evenly among them; None: one cell a pass.
        by_rounds: a pass fills the cells of one round of singles.
    """

    label: str
    order: Order | None
    passes: int | None = None
    by_rounds: bool = False

    @property
    def noised(self) -> bool:
        """Whether it shows the network noised boards in place of blank cells."""
        return self.order is None

    @property
    def asks_policy(self) -> bool:
        """Whether a policy that was trained for it says which cell comes first."""
        return self.order == Order.LEARNED


STEPS = (2, 4, 8, 16)
"""Denoising steps, masked and Gaussian."""

WAYS: dict[str, Way] = {
    "one_shot": Way("one shot", Order.PROBABILITY, 1),
    **{f"parallel_{n}": Way(f"{n} parallel steps", Order.PROBABILITY, n) for n in STEPS},
    "random": Way("cell by cell, at random", Order.RANDOM),
    "raster": Way("cell by cell, row by row", Order.RASTER),
    "probability": Way("cell by cell, by probability", Order.PROBABILITY),
    "margin": Way("cell by cell, by margin", Order.MARGIN),
    "learned": Way("cell by cell, as a policy learned it", Order.LEARNED),
    "singles": Way("cell by cell, as singles tell them", Order.SINGLES),
    "rounds": Way("round by round of singles", Order.SINGLES, by_rounds=True),
    **{f"gaussian_{n}": Way(f"{n} Gaussian steps", None, n) for n in (1, *STEPS, 64)},
}
"""Every way by its name."""
