"""What trunks are made of and have in common: layers, the folding of observations, loops."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rl_serial.envs.chain import TokenLayout
from rl_serial.errors import require

INJECTIONS = ("add", "concat")


def dense(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer whose weights are uniform with variance 1 / (3 inputs), and whose bias is 0.

    This is variance scaling 1/3 by fan-in (Wang et al. 2025, arXiv 2503.14858).
    """
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.uniform_(layer.weight, -(inputs**-0.5), inputs**-0.5)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def even_shares(number: int, parts: int) -> list[int]:
    """``number`` things in ``parts`` shares that differ by one at most and sum to all of them."""
    bounds = [part * number // parts for part in range(parts + 1)]
    return [end - start for start, end in itertools.pairwise(bounds)]


def fold(observation: Tensor, layout: TokenLayout) -> tuple[Tensor, Tensor]:
    """The tokens [B, tokens, features] and globals [B, globals] of ``observation`` [B, size]."""
    end = layout.tokens * layout.features
    tokens = observation[:, :end].reshape(-1, layout.tokens, layout.features)
    return tokens, observation[:, end:]


class Trunk(nn.Module):
    """Maps a flat observation [B, layout.size] float32 to features [B, features_dim] float32.

    ``injection`` says how a loop sees the input: add (the embedding is added to the stream before
    each further loop) or concat (before every loop, a dense layer joins the stream, normalised as
    the head reads it, with the embedding, of the same size, so that streams do not grow).

    Raises ValueError for a depth, width or number of loops below 1, for another injection and for a
    layout without tokens or globals, where the trunk does not take vectors.
    """

    features_dim: int
    products_per_layer: ClassVar[int | None] = None  # where depth may be given in layers
    reads_layers: ClassVar[bool] = True  # whether :meth:`streams` tells the layers apart
    reads_tokens: ClassVar[bool] = False  # whether :meth:`tokens` is there
    takes_vectors: ClassVar[bool] = False  # whether an observation without tokens is as good
    stackable: ClassVar[bool] = True  # whether torch.func runs several as one batch
    norm: nn.Module  # the last one

    def __init__(
        self,
        layout: TokenLayout,
        *,
        depth: int,
        width: int,
        loops: int = 1,
        injection: str = "add",
    ) -> None:
        super().__init__()
        for option, value in (("depth", depth), ("width", width), ("loops", loops)):
            require(isinstance(value, int) and value >= 1, option, value, "an integer of 1 or more")
        parts = (layout.tokens, layout.features, layout.globals)
        require(
            (layout.size if self.takes_vectors else min(parts)) >= 1,
            "layout",
            layout,
            "one with at least one token, one feature and one global number",
        )
        self.layout = layout
        require(injection in INJECTIONS, "injection", injection, f"one of {', '.join(INJECTIONS)}")
        self.depth = depth
        self.width = width
        self.loops = loops
        self.join = dense(2 * width, width) if injection == "concat" else None

    def forward(self, observation: Tensor, loops: int | None = None) -> Tensor:
        """The features [B, features_dim] of ``observation`` [B, layout.size].

        ``loops`` runs the stack another number of times than the trunk was built for.
        """
        raise NotImplementedError

    @property
    def num_streams(self) -> int:
        """How many :meth:`streams` there are: one per layer or block, in every loop."""
        return self.loops * len(self.stack)  # type: ignore[arg-type]

    def streams(self, observation: Tensor, loops: int | None = None) -> list[Tensor]:
        """What stands in the trunk after each layer or block of each loop, before its last norm.

        A head may read any of them, through :meth:`pool` or :meth:`tokens`.
        """
        raise NotImplementedError

    def loop_streams(self, observation: Tensor, loops: int | None = None) -> list[Tensor]:
        """Those of the :meth:`streams` that end a loop: one after each."""
        last = len(self.stack) - 1  # type: ignore[arg-type]
        return self.streams(observation, loops)[last :: last + 1]

    def pool(self, stream: Tensor) -> Tensor:
        """The features [B, features_dim] of a stream; of the last one they are the trunk's."""
        raise NotImplementedError

    def tokens(self, stream: Tensor) -> Tensor:
        """The features [B, tokens, width] of each token of a stream."""
        raise NotImplementedError

    def forward_flops(self) -> int:
        """FLOPs of one sample's forward pass, 2 M N K for each matrix product.

        Worked out from the shapes, for the budget search tries many widths;
        :func:`rl_serial.networks.account` counts what really runs.
        """
        raise NotImplementedError

    def run_loops(
        self, stack: Callable[[Tensor], Tensor], embedding: Tensor, loops: int | None
    ) -> Tensor:
        """``stack`` run ``loops`` times (None: as often as the trunk was built for).

        Each run sees ``embedding`` as the trunk's injection says.
        """
        h = embedding
        again = embedding if self.join is None else F.layer_norm(embedding, embedding.shape[-1:])
        for loop in range(loops or self.loops):
            if self.join is not None:
                h = self.join(torch.cat([self.norm(h), again], dim=-1))
            elif loop:
                h = h + again
            h = stack(h)
        return h

    def joining(self) -> int:
        """Multiplications of one row of the stream in all loops, for the injection concat."""
        return 0 if self.join is None else self.loops * 2 * self.width**2

    def run_recorded(
        self,
        stack: Iterable[Callable[[Tensor], Tensor]],
        embedding: Tensor,
        loops: int | None,
    ) -> list[Tensor]:
        """What :meth:`run_loops` passes through: the output of every part of ``stack``."""
        seen: list[Tensor] = []

        def recording(h: Tensor) -> Tensor:
            for part in stack:
                h = part(h)
                seen.append(h)
            return h

        self.run_loops(recording, embedding, loops)
        return seen
