"""Trunks that read the tokens one after the other: recurrent, and a block for each group."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rl_serial.envs.chain import TokenLayout
from rl_serial.errors import require
from rl_serial.networks.trunks.base import Trunk, dense, even_shares, fold

PRODUCTS_IN_STEPWISE_BLOCK = 2


class RecurrentTrunk(Trunk):
    """GRUs over the tokens in their order; the features are what the top has after the last token.

    ``depth`` is the number of stacked layers. The path is serial along the tokens besides: between
    input layer and head lie ``depth + tokens * loops - 1`` sequential matrix products. Every layer
    above the first adds its outputs to those from below (residual stacking: Wu et al. 2016, arXiv
    1609.08144, section 3.1); without it no gradient reaches the first of 64 layers. The globals
    give the hidden states to start from. A loop is a further pass over the same tokens with the
    hidden states carried on. Tokens behind the end of a chain are zero vectors, and are read too.
    """

    reads_layers = False
    stackable = False  # its kernels take one network's weights

    def __init__(self, layout: TokenLayout, *, depth: int, width: int, loops: int = 1) -> None:
        super().__init__(layout, depth=depth, width=width, loops=loops)
        self.features_dim = width
        self.global_input = dense(layout.globals, depth * width)
        self.layers = nn.ModuleList(
            nn.GRU(layout.features if layer == 0 else width, width, batch_first=True)
            for layer in range(depth)
        )

    def forward(self, observation: Tensor, loops: int | None = None) -> Tensor:
        tokens, rest = fold(observation, self.layout)
        hidden = list(self.global_input(rest)[None].chunk(self.depth, dim=-1))  # [1, B, width] each
        for _ in range(loops or self.loops):
            x = tokens
            for layer, gru in enumerate(self.layers):
                out, hidden[layer] = gru(x, hidden[layer].contiguous())
                x = out if layer == 0 else x + out
        return x[:, -1]

    def forward_flops(self) -> int:
        layout, width = self.layout, self.width
        inputs = layout.features + (self.depth - 1) * width
        token = 3 * width * (inputs + self.depth * width)  # three gates
        return 2 * (layout.globals * self.depth * width + self.loops * layout.tokens * token)


class StepwiseBlock(nn.Module):
    """Reads its own tokens and adds to the stream: two dense layers, two sequential products.

    Layer norm of the stream, the tokens put beside it, dense, layer norm, swish, dense; the sum is
    left out in rows whose tokens are all zero, as they are behind the end of a chain.
    """

    def __init__(self, width: int, inputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = dense(width + inputs, width)
        self.inner_norm = nn.LayerNorm(width)
        self.down = dense(width, width)

    def forward(self, stream: Tensor, tokens: Tensor) -> Tensor:
        """The stream [B, width] after ``tokens`` [B, inputs] have been read."""
        read = torch.cat([self.norm(stream), tokens], dim=1)
        change = self.down(F.silu(self.inner_norm(self.up(read))))
        return stream + change * (tokens != 0).any(1, keepdim=True)  # type: ignore[no-any-return]


class StepwiseTrunk(Trunk):
    """A residual stream that meets the tokens one group after the other, one block per group.

    The globals make the stream, and each block (:class:`StepwiseBlock`) reads the next group of
    tokens, so that its number of blocks is depth that can meet the task: ``tokens`` blocks read
    one token each, one block reads them all at once. Groups are as even as can be. A loop is a
    further pass over the same tokens. A layer norm ends the trunk.

    Raises ValueError where ``depth`` is odd, since a block is two sequential matrix products, or
    asks for more blocks than there are tokens.
    """

    products_per_layer = PRODUCTS_IN_STEPWISE_BLOCK

    def __init__(
        self,
        layout: TokenLayout,
        *,
        depth: int,
        width: int,
        loops: int = 1,
        injection: str = "add",
    ) -> None:
        super().__init__(layout, depth=depth, width=width, loops=loops, injection=injection)
        blocks, rest = divmod(depth, PRODUCTS_IN_STEPWISE_BLOCK)
        right = f"even and at most {2 * layout.tokens}, two for each block that reads tokens"
        require(rest == 0 and blocks <= layout.tokens, "depth", depth, right)
        self.features_dim = width
        self.input = dense(layout.globals, width)
        self.groups = even_shares(layout.tokens, blocks)  # how many tokens each block reads
        self.stack = nn.ModuleList(
            StepwiseBlock(width, group * layout.features) for group in self.groups
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, observation: Tensor, loops: int | None = None) -> Tensor:
        return self.pool(self.streams(observation, loops)[-1])

    def streams(self, observation: Tensor, loops: int | None = None) -> list[Tensor]:
        tokens, rest = fold(observation, self.layout)
        groups = [group.flatten(1) for group in torch.split(tokens, self.groups, dim=1)]
        stack = [partial(block, tokens=g) for block, g in zip(self.stack, groups, strict=True)]
        return self.run_recorded(stack, self.input(rest), loops)

    def pool(self, stream: Tensor) -> Tensor:
        return self.norm(stream)  # type: ignore[no-any-return]

    def forward_flops(self) -> int:
        layout, width = self.layout, self.width
        read = layout.tokens * layout.features * width + self.depth * width * width
        return 2 * (layout.globals * width + self.loops * read + self.joining())
