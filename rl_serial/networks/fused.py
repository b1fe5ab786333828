"""Stacks of residual blocks on a CPU at little more than the cost of their matrix products.

A deep-narrow network is many small products, and between them torch starts a kernel and takes fresh
memory for every norm, activation and sum. Here each layer is its product and one kernel
(:mod:`rl_serial.networks.kernels`), rows go through the layers in pieces that fit a core's cache, a
whole stack is one node of autograd's graph, and its memory is used again. Backwards the layers'
outputs are worked out once more from what their norms gave, which saves half the memory.

Results are those of the plain modules within rounding. :func:`applies` says where they must run
themselves: on other devices and types, and wherever something watches or transforms operations.
"""

from __future__ import annotations

import importlib.util
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

PIECE = 2**16
"""Numbers of one layer's output that go through the layers together: a few of these arrays fit the
cache of a core."""

KEPT = 4
"""Shapes whose memory is kept."""

HAS_NUMBA = importlib.util.find_spec("numba") is not None


def applies(x: Tensor) -> bool:
    """Whether :func:`run_blocks` takes ``x`` as things are, and not only the plain modules."""
    return (
        HAS_NUMBA
        and type(x) is Tensor
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.ndim == 2
        and len(x) > 0
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch.is_autocast_enabled("cpu")
        and torch._C._len_torch_function_stack() == 0
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch._C._are_functorch_transforms_active()
    )


def run_blocks(x: Tensor, parameters: Sequence[Tensor], length: int, scale: float) -> Tensor:
    """What residual blocks of the kind ``wang`` make of ``x``, one after the other.

    Args:
        x: [B, W] float32 on the CPU.
        parameters: of each layer the dense layer's weight [W, W] and bias [W], and the layer norm's
            weight and bias [W]; a multiple of ``length`` layers.
        length: layers of a block.
        scale: what the output of a block's last layer is multiplied by before it is added.

    Returns:
        [B, W]; its gradient can be taken, and not that of its gradient.
    """
    if torch.is_grad_enabled():
        result: Tensor = _Blocks.apply(x, length, scale, *parameters)  # type: ignore[no-untyped-call]
        return result
    return _forward(x.contiguous(), parameters, length, scale, keeps=False)[0]


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, length: int, scale: float, *parameters: Tensor) -> Tensor:
        x = x.contiguous()
        output, ctx.lease = _forward(x, parameters, length, scale, keeps=True)
        ctx.scale = scale
        ctx.save_for_backward(x)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        [x] = ctx.saved_tensors
        space: _Space = ctx.lease.space
        of_x, of_weights, of_affine = space.backward(x, gradient.contiguous(), ctx.scale)
        of_parameters = []
        for weight, (bias, gain, shift) in zip(
            of_weights.unbind(), of_affine.unbind(), strict=True
        ):
            of_parameters += [weight, bias, gain, shift]
        return of_x, None, None, *of_parameters


def _forward(
    x: Tensor, parameters: Sequence[Tensor], length: int, scale: float, *, keeps: bool
) -> tuple[Tensor, _Lease]:
    lease = _Lease((*x.shape, len(parameters) // 4, length, keeps))
    with torch.no_grad():
        torch._foreach_copy_(lease.space.parameters, list(parameters))
    return lease.space.forward(x, scale), lease


class _Lease:
    """Memory of a shape, free for others when nobody can ask for what is in it any more."""

    free: ClassVar[OrderedDict[tuple[Any, ...], list[_Space]]] = OrderedDict()

    def __init__(self, shape: tuple[Any, ...]) -> None:
        try:
            self.space = self.free[shape].pop()
        except (KeyError, IndexError):
            self.space = _Space(*shape)
        self.shape = shape

    def __del__(self) -> None:
        if hasattr(self, "space"):
            self.free.setdefault(self.shape, []).append(self.space)
            while len(self.free) > KEPT:
                self.free.popitem(last=False)


class _Both(NamedTuple):
    """The same numbers for torch's products and for the kernels."""

    tensor: Tensor
    array: NDArray[np.float32]

    @staticmethod
    def of(tensor: Tensor) -> _Both:
        return _Both(tensor, tensor.numpy())


class _Space:
    """The memory of a run through a stack, and all views of it that the run needs.

    Args:
        rows: of the input.
        width: of every layer.
        layers: of the stack.
        length: layers of a block.
        keeps: what a gradient needs.
    """

    def __init__(self, rows: int, width: int, layers: int, length: int, keeps: bool) -> None:
        self.weights = torch.empty(layers, width, width)
        self.affine = torch.empty(layers, 3, width)
        self.parameters = [
            part
            for weight, affine in zip(self.weights, self.affine, strict=True)
            for part in (weight, *affine)
        ]
        piece = min(rows, max(PIECE // width, 1))
        height = rows if keeps else piece
        blocks = layers // length
        # One of each for every layer and block, or what all of them share in turns.
        normed = torch.empty(layers if keeps else 1, height, width)
        deviations = torch.empty(layers if keeps else 1, height)
        streams = torch.empty(max(blocks - 1, 1) if keeps else 2, height, width)
        working = torch.empty(WORKING, piece, width)
        self.pieces = []
        for first in range(0, rows, piece):
            last = min(first + piece, rows)
            own = slice(first, last) if keeps else slice(last - first)
            views = [
                [_Both.of(part) for part in whole[:, place]]
                for whole, place in (
                    (normed, own),
                    (deviations, own),
                    (streams, own),
                    (working, slice(last - first)),
                )
            ]
            self.pieces.append(_Piece(slice(first, last), self, length, *views))

    def forward(self, x: Tensor, scale: float) -> Tensor:
        """The output [B, W] of the stack."""
        output = torch.empty_like(x)
        for piece in self.pieces:
            piece.forward(x[piece.rows], output[piece.rows], np.float32(scale))
        return output

    def backward(
        self, x: Tensor, gradient: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of ``x``, of all weights and of what is added and multiplied."""
        of_x, of_weights = torch.empty_like(x), torch.zeros_like(self.weights)
        of_affine = torch.zeros_like(self.affine)
        parts = of_weights.unbind(), of_affine.numpy()
        for piece in self.pieces:
            rows = piece.rows
            piece.backward(x[rows], gradient[rows], of_x[rows], *parts, np.float32(scale))
        return of_x, of_weights, of_affine


WORKING = 6


class _Piece:
    """Some rows on their way through the stack; arguments as of :class:`_Space`.

    Args:
        rows: which.
        space: has the parameters.
        length: layers of a block.
        normed: what each layer's norm gave [B, W].
        deviations: by what it had divided [B].
        streams: what stands behind each block but the last [B, W].
        working: :data:`WORKING` arrays [B, W].
    """

    def __init__(
        self,
        rows: slice,
        space: _Space,
        length: int,
        normed: list[_Both],
        deviations: list[_Both],
        streams: list[_Both],
        working: list[_Both],
    ) -> None:
        from rl_serial.networks import kernels  # Numba takes a second

        self.kernels = kernels
        self.rows, self.length = rows, length
        self.layers = len(space.weights)
        self.weights = list(space.weights)
        self.transposed = [weight.T for weight in space.weights]
        self.affine = list(space.affine.numpy())
        blocks = self.layers // length
        self.normed = cycled(normed, self.layers)
        self.deviations = [both.array for both in cycled(deviations, self.layers)]
        self.streams = cycled(streams, blocks - 1)
        self.hidden, *self.of_products, self.of_hidden = working[:4]
        self.of_streams = working[4:]
        self.means = np.empty((2, rows.stop - rows.start), np.float32)
        self.nothing = np.empty((0, 0), np.float32)

    def forward(self, x: Tensor, output: Tensor, scale: np.float32) -> None:
        """``output`` [B, W] becomes what the stack makes of ``x``."""
        run, (means, _) = self.kernels.forward, self.means
        stream = inputs = _Both.of(x.detach())
        after = [*self.streams, _Both.of(output)]
        for layer in range(self.layers):
            normed, affine = self.normed[layer], self.affine[layer]
            deviations = self.deviations[layer]
            torch.mm(inputs.tensor, self.transposed[layer], out=normed.tensor)
            if (layer + 1) % self.length:
                inputs, added, factor = self.hidden, self.nothing, self.kernels.ONE
            else:
                added, factor = stream.array, scale
                inputs = stream = after[layer // self.length]
            run(normed.array, affine, means, deviations, inputs.array, added, factor)

    def backward(
        self,
        x: Tensor,
        gradient: Tensor,
        of_x: Tensor,
        of_weights: Sequence[Tensor],
        of_affine: NDArray[np.float32],
        scale: np.float32,
    ) -> None:
        """``of_x`` becomes the gradient of ``x``; those of the parameters are added to theirs."""
        run, hidden, of_hidden = self.kernels.backward, self.hidden, self.of_hidden
        streams = [_Both.of(x.detach()), *self.streams]
        of_stream = _Both.of(gradient)
        above: Tensor | None = None  # the gradient of the products of the layer above, in its block
        for layer in reversed(range(self.layers)):
            block, place = divmod(layer, self.length)
            of_products = self.of_products[layer % 2]
            ends = place == self.length - 1
            run(
                of_stream.array if ends else of_hidden.array,
                scale if ends else self.kernels.ONE,
                self.normed[layer].array,
                self.deviations[layer],
                self.affine[layer],
                hidden.array,
                of_products.array,
                self.means,
                of_affine[layer],
            )
            if above is not None:
                of_weights[layer + 1].addmm_(above.T, hidden.tensor)
            if place:
                torch.mm(of_products.tensor, self.weights[layer], out=of_hidden.tensor)
                above = of_products.tensor
                continue
            of_weights[layer].addmm_(of_products.tensor.T, streams[block].tensor)
            before = _Both.of(of_x) if not block else self.of_streams[block % 2]
            torch.addmm(
                of_stream.tensor, of_products.tensor, self.weights[layer], out=before.tensor
            )
            of_stream, above = before, None


def cycled(parts: list[_Both], count: int) -> list[_Both]:
    """So many of them, over and over."""
    return [parts[i % len(parts)] for i in range(count)]
