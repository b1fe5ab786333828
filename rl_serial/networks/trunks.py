"""Trunks: from a flat observation to features, at a chosen depth, width and number of loops.

``depth`` counts sequential matrix products between the input layer and the head. With ``loops`` the
same stack runs several times with the same weights, and the input embedding is added again before
each further run, so ``depth * loops`` products lie between input layer and head. That a looped
network must see its input again is from Bansal et al. 2022 (arXiv 2202.05826), who concatenate it;
so does ``injection`` concat, at the price of one more product per loop.
The recurrent trunk is the exception: see :class:`RecurrentTrunk`.

A trunk runs as often as it was built for, or as often as a call asks: the same weights give
features after any number of loops.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rl_serial.envs.chain import TokenLayout
from rl_serial.errors import require

HEADS = 4
PRODUCTS_IN_ATTENTION_LAYER = 6  # qkv, scores, mix, out, up, down
PRODUCTS_IN_STEPWISE_BLOCK = 2
KERNEL = 3
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
    layout without tokens or globals.
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
        require(
            min(layout.tokens, layout.features, layout.globals) >= 1,
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
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.layers(x)  # type: ignore[no-any-return]


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
        self.input = nn.Sequential(dense(layout.size, width), nn.LayerNorm(width), nn.SiLU())
        length = math.gcd(depth, self.LENGTHS[block])
        blocks = depth // length
        require(blocks > 1 or not recall, "recall", recall, f"off where depth {depth} is one block")
        scale = (blocks * loops) ** -0.5 if scaled else 1.0
        self.stack = nn.Sequential(
            *(ResidualBlock(block, width, length, scale) for _ in range(blocks))
        )
        self.recall = nn.ModuleList(
            dense(layout.size, width, bias=False) for _ in range(blocks - 1 if recall else 0)
        )
        self.norm = nn.LayerNorm(width) if block == "pre_norm" else nn.Identity()

    def forward(self, observation: Tensor, loops: int | None = None) -> Tensor:
        if len(self.recall):
            return self.pool(self.streams(observation, loops)[-1])
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

    Maps [B, tokens, width] to the same shape; places outside the tokens count as zero.
    """

    def __init__(self, width: int, length: int, scale: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(length))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2) for _ in range(length)
        )
        for convolution in self.convolutions:
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            h = convolution(F.silu(norm(h)).transpose(1, 2)).transpose(1, 2)
        return x + self.scale * h


class ConvTrunk(Trunk):
    """A residual 1-D convolution over the tokens; features are tokens * width, positions kept.

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
        self.stack = nn.Sequential(*(ConvBlock(width, length, scale) for _ in range(blocks)))
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
        convolution = layout.tokens * KERNEL * width * width
        convolutions = self.loops * self.depth * convolution
        return 2 * (inputs + convolutions + layout.tokens * self.joining())


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


TRUNKS: dict[str, type[Trunk]] = {
    "residual": ResidualTrunk,
    "transformer": TransformerTrunk,
    "conv": ConvTrunk,
    "recurrent": RecurrentTrunk,
    "stepwise": StepwiseTrunk,
}
"""The trunk of each kind; :func:`register_trunk` adds one."""

_OF_ALL = ("self", "layout", "depth", "width", "loops")


def register_trunk(kind: str, trunk: type[Trunk]) -> None:
    """Have configurations and :func:`build_trunk` know a trunk under ``kind``.

    Args:
        kind: its name in ``network.kind``.
        trunk: takes the keywords layout, depth, width and loops; its further keywords are keys of
            the network in configurations.

    Raises:
        ValueError: another trunk has that name.
    """
    if TRUNKS.setdefault(kind, trunk) is not trunk:
        raise ValueError(f"{kind!r}: {TRUNKS[kind].__name__} has this name; take another")


def trunk_options(kind: str) -> tuple[str, ...]:
    """The keywords of a kind of trunk beside those that every one has."""
    return tuple(name for name in inspect.signature(TRUNKS[kind]).parameters if name not in _OF_ALL)


def build_trunk(
    kind: str, layout: TokenLayout, *, depth: int, width: int, loops: int = 1, **options: Any
) -> Trunk:
    """The trunk of that kind; ValueError for an unknown kind or an option it cannot have.

    ``options`` are ``injection`` and, of :class:`ResidualTrunk` alone, block, scaled and recall.
    """
    require(kind in TRUNKS, "kind", kind, f"one of {', '.join(TRUNKS)}")
    for option in options:
        having = [k for k in TRUNKS if option in trunk_options(k)]
        if kind not in having:
            raise ValueError(f"{option}: only kind {', '.join(having)} has it, not {kind}")
    return TRUNKS[kind](layout, depth=depth, width=width, loops=loops, **options)


class Network(nn.Module):
    """A trunk with a linear head: observation [B, layout.size] to outputs [B, num_outputs]."""

    def __init__(self, trunk: Trunk, num_outputs: int) -> None:
        super().__init__()
        require(num_outputs >= 1, "num_outputs", num_outputs, "1 or more")
        self.trunk = trunk
        self.head = dense(trunk.features_dim, num_outputs)

    def forward(self, observation: Tensor, loops: int | None = None, every: bool = False) -> Tensor:
        """The outputs [B, num_outputs] of ``observation`` [B, layout.size].

        ``loops`` as in :meth:`Trunk.forward`; with ``every`` [loops, B, num_outputs], what the head
        reads after each of them.
        """
        if not every:
            return self.head(self.trunk(observation, loops))  # type: ignore[no-any-return]
        streams = self.trunk.loop_streams(observation, loops)
        return self.head(torch.stack([self.trunk.pool(stream) for stream in streams]))  # type: ignore[no-any-return]

    def forward_flops(self) -> int:
        """FLOPs of one sample's forward pass, as :meth:`Trunk.forward_flops`."""
        return self.trunk.forward_flops() + 2 * self.head.in_features * self.head.out_features
