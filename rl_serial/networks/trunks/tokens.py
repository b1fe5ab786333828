"""Trunks that read all tokens at once: a transformer, and convolutions over a line or a board."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rl_serial.envs.chain import TokenLayout
from rl_serial.networks.trunks.base import Trunk, dense, fold

HEADS = 4
PRODUCTS_IN_ATTENTION_LAYER = 6  # qkv, scores, mix, out, up, down
KERNEL = 3


class AttentionLayer(nn.Module):
    """Pre-norm self-attention and MLP on [B, N, width]: six sequential matrix products.

    The size of a head is width / 4 rounded up, so that any width will do.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head_size = math.ceil(width / HEADS)
        inner = HEADS * self.head_size
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = dense(width, 3 * inner)
        self.out = dense(inner, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.up = dense(width, 4 * width)
        self.down = dense(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(self.attention_norm(x)).unflatten(-1, (3, HEADS, self.head_size))
        q, k, v = heads.transpose(1, 3).unbind(2)  # [B, HEADS, N, head_size] each
        weights = (q @ k.transpose(-1, -2) * self.head_size**-0.5).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.mlp_norm(x))))  # type: ignore[no-any-return]


class TransformerTrunk(Trunk):
    """A pre-norm Transformer encoder on the tokens and one more token made of the globals.

    That one is read out, after a last layer norm. Positions are learned. Raises ValueError where
    ``depth`` is not a multiple of six, the sequential matrix products of one layer.
    """

    products_per_layer = PRODUCTS_IN_ATTENTION_LAYER
    reads_tokens = True

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
        layers, rest = divmod(depth, PRODUCTS_IN_ATTENTION_LAYER)
        if rest:
            below = PRODUCTS_IN_ATTENTION_LAYER * max(layers, 1)
            raise ValueError(
                f"depth={depth}: a layer of the transformer is {PRODUCTS_IN_ATTENTION_LAYER} "
                "sequential matrix products, so its depth must be a multiple of that; the nearest "
                f"are {below} and {below + PRODUCTS_IN_ATTENTION_LAYER}"
            )
        self.features_dim = width
        self.token_input = dense(layout.features, width)
        self.global_input = dense(layout.globals, width)
        self.positions = nn.Parameter(torch.empty(layout.tokens, width))
        # A position starts out as large as the embedding of a one-hot token.
        nn.init.uniform_(self.positions, -(layout.features**-0.5), layout.features**-0.5)
        self.stack = nn.Sequential(*(AttentionLayer(width) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, observation: Tensor, loops: int | None = None) -> Tensor:
        return self.pool(self.run_loops(self.stack, self._embedding(observation), loops))

    def streams(self, observation: Tensor, loops: int | None = None) -> list[Tensor]:
        return self.run_recorded(self.stack, self._embedding(observation), loops)

    def pool(self, stream: Tensor) -> Tensor:
        return self.norm(stream[:, 0])  # type: ignore[no-any-return]

    def tokens(self, stream: Tensor) -> Tensor:
        return self.norm(stream[:, 1:])  # type: ignore[no-any-return]

    def _embedding(self, observation: Tensor) -> Tensor:
        tokens, rest = fold(observation, self.layout)
        return torch.cat(
            [self.global_input(rest)[:, None], self.token_input(tokens) + self.positions], dim=1
        )

    def forward_flops(self) -> int:
        layout, width = self.layout, self.width
        rows = layout.tokens + 1
        inner = HEADS * math.ceil(width / HEADS)
        dense_layers = rows * (4 * width * inner + 8 * width * width)  # qkv, out; up, down
        attention = 2 * rows * rows * inner  # scores, mix
        layers = self.loops * self.depth // PRODUCTS_IN_ATTENTION_LAYER
        inputs = (layout.tokens * layout.features + layout.globals) * width
        return 2 * (inputs + layers * (dense_layers + attention) + rows * self.joining())


class ConvBlock(nn.Module):
    """``length`` times layer norm over channels, swish, convolution; added to the input, scaled.

    Maps [B, tokens, width] to the same shape; places outside the tokens count as zero. With a
    ``grid`` (rows, columns) tokens are cells of a board, and a kernel covers three by three.
    """

    def __init__(
        self, width: int, length: int, scale: float, grid: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(length))
        kind = nn.Conv1d if grid is None else nn.Conv2d
        self.convolutions = nn.ModuleList(
            kind(width, width, KERNEL, padding=KERNEL // 2) for _ in range(length)
        )
        for convolution in self.convolutions:
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        self.scale, self.grid = scale, grid

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            channels = F.silu(norm(h)).transpose(1, 2)
            if self.grid is not None:
                channels = channels.reshape(*channels.shape[:2], *self.grid)
            h = convolution(channels).flatten(2).transpose(1, 2)
        return x + self.scale * h


class ConvTrunk(Trunk):
    """A residual convolution over the tokens; features are tokens * width, positions kept.

    It goes along the line of tokens, or, where the layout says that they are cells of a board, over
    that board in two dimensions.
    Every token gets the globals through the input layer. ``depth`` counts convolutions; they come
    in pre-norm blocks of two (of one where the depth is odd), each scaled by 1 / sqrt(blocks run)
    so that deep stacks neither explode nor forget their input; a layer norm ends the trunk.
    """

    reads_tokens = True

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
        self.features_dim = layout.tokens * width
        self.token_input = dense(layout.features, width)
        self.global_input = dense(layout.globals, width, bias=False)
        length = math.gcd(depth, 2)
        blocks = depth // length
        scale = (blocks * loops) ** -0.5
        self.stack = nn.Sequential(
            *(ConvBlock(width, length, scale, layout.grid) for _ in range(blocks))
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, observation: Tensor, loops: int | None = None) -> Tensor:
        return self.pool(self.run_loops(self.stack, self._embedding(observation), loops))

    def streams(self, observation: Tensor, loops: int | None = None) -> list[Tensor]:
        return self.run_recorded(self.stack, self._embedding(observation), loops)

    def pool(self, stream: Tensor) -> Tensor:
        return self.tokens(stream).flatten(1)

    def tokens(self, stream: Tensor) -> Tensor:
        return self.norm(stream)  # type: ignore[no-any-return]

    def _embedding(self, observation: Tensor) -> Tensor:
        tokens, rest = fold(observation, self.layout)
        return self.token_input(tokens) + self.global_input(rest)[:, None]  # type: ignore[no-any-return]

    def forward_flops(self) -> int:
        layout, width = self.layout, self.width
        inputs = (layout.tokens * layout.features + layout.globals) * width
        taps = KERNEL if layout.grid is None else KERNEL**2
        convolution = layout.tokens * taps * width * width
        convolutions = self.loops * self.depth * convolution
        return 2 * (inputs + convolutions + layout.tokens * self.joining())
