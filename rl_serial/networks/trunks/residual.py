"""The residual trunk, on the flat observation; on a CPU fused (:mod:`rl_serial.networks.fused`)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor, nn

from rl_serial.envs.chain import TokenLayout
from rl_serial.errors import require
from rl_serial.networks import fused
from rl_serial.networks.trunks.base import Trunk, dense


class Entry(nn.Sequential):
    """Dense, layer norm, swish."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__(dense(size, width), nn.LayerNorm(width), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        if fused.applies(x):
            return fused.run(x, _parameters(self), 1, 1.0, entry=True)
        return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]


class ResidualBlock(nn.Module):
    """``length`` dense layers with norms and swishes, scaled and added to the block's input.

    ``wang``: dense, layer norm, swish. ``pre_norm``: layer norm, swish, dense.
    """

    def __init__(self, block: str, width: int, length: int, scale: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(length):
            if block == "wang":
                layers += [dense(width, width), nn.LayerNorm(width), nn.SiLU()]
            else:
                layers += [nn.LayerNorm(width), nn.SiLU(), dense(width, width)]
        self.layers = nn.Sequential(*layers)
        self.kind, self.length, self.scale = block, length, scale

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "wang" and fused.applies(x):
            return fused.run(x, _parameters(self.layers), self.length, self.scale, entry=False)
        return x + self.scale * self.layers(x)  # type: ignore[no-any-return]


class ResidualStack(nn.Sequential):
    """Blocks one after the other."""

    def forward(self, x: Tensor, entry: Entry | None = None) -> Tensor:
        """What they make of ``x`` [B, width], or with an ``entry`` of what that makes of ``x``."""
        first: ResidualBlock = self[0]  # type: ignore[assignment]
        if first.kind == "wang" and fused.applies(x):
            layers = list(entry or ())
            for block in self:
                layers += list(block.layers)  # type: ignore[arg-type]
            enters = entry is not None
            return fused.run(x, _parameters(layers), first.length, first.scale, entry=enters)
        start = x if entry is None else entry(x)
        return super().forward(start)  # type: ignore[no-any-return, no-untyped-call]


def _parameters(layers: Iterable[nn.Module]) -> list[Tensor]:
    """Weights and biases of dense layers and norms, in their order."""
    return [p for layer in layers for p in layer._parameters.values() if p is not None]


class ResidualTrunk(Trunk):
    """A residual MLP on the flat observation: input layer swish(LN(dense)), then blocks.

    Args:
        block: ``wang``, blocks of four dense layers (two or one where 4 does not divide the depth),
            the residual added after the last activation, no norm at the end (Wang et al. 2025,
            arXiv 2503.14858); or ``pre_norm``, blocks of two (one where the depth is odd) with the
            norms before the dense layers and one at the end (He et al. 2016, arXiv 1603.05027).
        scaled: every block's output times 1 / sqrt(blocks run), so that deep stacks do not grow.
            What loops and recall add again is not scaled.
        recall: every block but the first gets the observation once more, through a dense layer of
            its own that is added to the block's input (Bansal et al. 2022, arXiv 2202.05826).

    Raises:
        ValueError: an unknown block, or recall with a single block.
    """

    takes_vectors = True
    LENGTHS: ClassVar[dict[str, int]] = {"wang": 4, "pre_norm": 2}  # dense layers of a block

    def __init__(
        self,
        layout: TokenLayout,
        *,
        depth: int,
        width: int,
        loops: int = 1,
        block: str = "wang",
        scaled: bool = True,
        recall: bool = False,
        injection: str = "add",
    ) -> None:
        super().__init__(layout, depth=depth, width=width, loops=loops, injection=injection)
        require(block in self.LENGTHS, "block", block, f"one of {', '.join(self.LENGTHS)}")
        self.features_dim = width
        self.input = Entry(layout.size, width)
        length = math.gcd(depth, self.LENGTHS[block])
        blocks = depth // length
        require(blocks > 1 or not recall, "recall", recall, f"off where depth {depth} is one block")
        scale = (blocks * loops) ** -0.5 if scaled else 1.0
        self.stack = ResidualStack(
            *(ResidualBlock(block, width, length, scale) for _ in range(blocks))
        )
        self.recall = nn.ModuleList(
            dense(layout.size, width, bias=False) for _ in range(blocks - 1 if recall else 0)
        )
        self.norm = nn.LayerNorm(width) if block == "pre_norm" else nn.Identity()

    def forward(self, observation: Tensor, loops: int | None = None) -> Tensor:
        if len(self.recall):
            return self.pool(self.streams(observation, loops)[-1])
        if self.join is None and (loops or self.loops) == 1:
            return self.pool(self.stack(observation, self.input))
        return self.pool(self.run_loops(self.stack, self.input(observation), loops))

    def streams(self, observation: Tensor, loops: int | None = None) -> list[Tensor]:
        recalled: list[Tensor | float] = [0.0, *(layer(observation) for layer in self.recall)]
        if len(recalled) < len(self.stack):
            recalled = [0.0] * len(self.stack)
        stack = [
            lambda h, block=block, seen_again=seen_again: block(h + seen_again)
            for block, seen_again in zip(self.stack, recalled, strict=True)
        ]
        return self.run_recorded(stack, self.input(observation), loops)

    def pool(self, stream: Tensor) -> Tensor:
        return self.norm(stream)  # type: ignore[no-any-return]

    def forward_flops(self) -> int:
        inputs = (1 + len(self.recall)) * self.layout.size
        layers = self.width * (inputs + self.loops * self.depth * self.width)
        return 2 * (layers + self.joining())
