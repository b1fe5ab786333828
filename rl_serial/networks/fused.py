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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

_in_place = False


@contextmanager
def gradients_in_place() -> Iterator[None]:
    """Within it ``backward`` leaves the gradients of fused layers at their parameters directly.

    To autograd they are no longer inputs, which saves it hundreds of small steps: ``torch.autograd
    .grad`` and hooks do not see them. For plain updates; holds for all threads.
    """
    global _in_place
    before, _in_place = _in_place, True
    try:
        yield
    finally:
        _in_place = before


HAS_NUMBA = importlib.util.find_spec("numba") is not None

CAN_TELL = all(
    hasattr(torch._C, name)
    for name in (
        "_get_tracing_state",
        "_len_torch_function_stack",
        "_len_torch_dispatch_stack",
        "_are_functorch_transforms_active",
    )
)
"""Whether this torch can be asked what watches operations; with one that cannot all modules are
plain ones. It has no public way to ask."""


def applies(x: Tensor) -> bool:
    """Whether :func:`run` takes ``x`` as things are, and not only the plain modules."""
    return (
        HAS_NUMBA
        and CAN_TELL
        and type(x) is Tensor
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.ndim == 2
        and len(x) > 0
        and not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None
        and not torch.is_autocast_enabled("cpu")
        and torch._C._len_torch_function_stack() == 0
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch._C._are_functorch_transforms_active()
    )


def run(
    x: Tensor, parameters: Sequence[Tensor], length: int, scale: float, *, entry: bool
) -> Tensor:
    """What residual blocks of the kind ``wang`` make of ``x``, one after the other.

    Args:
        x: [B, N] float32 on the CPU; N = W where there is no entry.
        parameters: of each layer the dense layer's weight [W, W] and bias [W], and the layer norm's
            weight and bias [W].
        length: layers of a block.
        scale: what the output of a block's last layer is multiplied by before it is added.
        entry: whether the first layer stands before the blocks, with a weight [W, N].

    Returns:
        [B, W]; its gradient can be taken, and not that of its gradient.
    """
    x = x.contiguous()
    if not torch.is_grad_enabled():
        return _Lease.of(x, parameters, length, entry, keeps=False).space.forward(
            x, parameters, scale
        )
    aside, inputs = None, parameters
    if _in_place and parameters[0].requires_grad:
        # The first stands for all, so that there is a gradient to ask for.
        aside, inputs = parameters, parameters[:1]
    result: Tensor = _Run.apply(x, aside, length, scale, entry, *inputs)  # type: ignore[no-untyped-call]
    return result


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        aside: Sequence[Tensor] | None,
        length: int,
        scale: float,
        entry: bool,
        *parameters: Tensor,
    ) -> Tensor:
        own = parameters if aside is None else aside
        ctx.lease = _Lease.of(x, own, length, entry, keeps=True)
        ctx.scale, ctx.aside = scale, aside
        ctx.save_for_backward(x, *own[::4])  # of all others the space has a copy
        output: Tensor = ctx.lease.space.forward(x, own, scale)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, *weights = ctx.saved_tensors
        of_x, gradients = ctx.lease.space.backward(
            x, weights, gradient.contiguous(), ctx.scale, ctx.needs_input_grad[0]
        )
        if ctx.aside is None:
            return of_x, None, None, None, None, *gradients
        for parameter, own in zip(ctx.aside, gradients, strict=True):
            if parameter.requires_grad:
                parameter.grad = own if parameter.grad is None else parameter.grad + own
        return of_x, None, None, None, None, None


class _Lease:
    """Memory of a shape, free for others when nobody can ask for what is in it any more."""

    free: ClassVar[OrderedDict[tuple[Any, ...], list[_Space]]] = OrderedDict()

    def __init__(self, shape: tuple[Any, ...]) -> None:
        try:
            self.space = self.free[shape].pop()
        except (KeyError, IndexError):
            self.space = _Space(*shape)
        self.shape = shape

    @classmethod
    def of(
        cls, x: Tensor, parameters: Sequence[Tensor], length: int, entry: bool, *, keeps: bool
    ) -> _Lease:
        return cls((len(x), len(parameters[1]), len(parameters) // 4, length, entry, keeps))

    def __del__(self) -> None:
        if hasattr(self, "shape"):
            self.free.setdefault(self.shape, []).append(self.space)
            while len(self.free) > KEPT:
                self.free.popitem(last=False)


class _Both(NamedTuple):
    """The same numbers for torch's products and for the kernels."""

    tensor: Tensor
    array: NDArray[np.float32]

    @classmethod
    def of(cls, tensor: Tensor) -> _Both:
        return cls(tensor, tensor.detach().numpy())


class _Space:
    """The memory of a run through the layers, and all views of it that the run needs.

    Args:
        rows: of the input.
        width: of every layer.
        layers: with the entry.
        length: layers of a block.
        entry: whether one layer stands before the blocks.
        keeps: what a gradient needs.
    """

    def __init__(
        self, rows: int, width: int, layers: int, length: int, entry: bool, keeps: bool
    ) -> None:
        self.affine = torch.empty(layers, 3, width)
        # Which layers end what is added to, the entry included.
        ends = [(layer + 1 - entry) % length == 0 for layer in range(layers)]
        piece = min(rows, max(PIECE // width, 1))
        height = rows if keeps else piece
        # One of each for every layer and stream, or what all of them share in turns.
        normed = torch.empty(layers if keeps else 1, height, width)
        deviations = torch.empty(layers if keeps else 1, height)
        streams = torch.empty(max(sum(ends) - 1, 1) if keeps else 2, height, width)
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
            rows_of_affine = list(self.affine.numpy())
            self.pieces.append(_Piece(slice(first, last), ends, entry, rows_of_affine, *views))

    def forward(self, x: Tensor, parameters: Sequence[Tensor], scale: float) -> Tensor:
        """The output [B, W] of the last layer."""
        # One copy of many small tensors: to look at each from NumPy takes longer.
        torch.cat(_affine(parameters), out=self.affine.view(-1))
        transposed = [weight.T for weight in parameters[::4]]
        output = x.new_empty(len(x), self.affine.shape[-1])
        for piece in self.pieces:
            rows = piece.rows
            piece.forward(x[rows], transposed, output[rows], np.float32(scale))
        return output

    def backward(
        self,
        x: Tensor,
        weights: Sequence[Tensor],
        gradient: Tensor,
        scale: float,
        to_input: bool,
    ) -> tuple[Tensor | None, list[Tensor]]:
        """The gradients of ``x``, if asked for, and of the parameters."""
        of_x = torch.empty_like(x) if to_input else None
        of_weights = [torch.empty_like(weight) for weight in weights]
        of_affine = torch.zeros_like(self.affine)
        rows_of_affine = list(of_affine.numpy())
        for piece in self.pieces:
            own = None if of_x is None else of_x[piece.rows]
            piece.backward(
                x[piece.rows],
                weights,
                gradient[piece.rows],
                own,
                of_weights,
                rows_of_affine,
                np.float32(scale),
            )
        gradients: list[Tensor] = []
        for weight, affine in zip(of_weights, of_affine.unbind(), strict=True):
            gradients += [weight, *affine.unbind()]
        return of_x, gradients


def _affine(parameters: Sequence[Tensor]) -> list[Tensor]:
    """All but the weights."""
    return [parameter.detach() for i, parameter in enumerate(parameters) if i % 4]


WORKING = 6


class _Piece:
    """Some rows on their way through the layers.

    Args:
        rows: which.
        ends: of each layer, whether it ends a block or is the entry.
        entry: whether the first is that.
        affine: of each layer, [3, W].
        normed: what each layer's norm gave [B, W].
        deviations: by what it had divided [B].
        streams: what stands behind each end but the last [B, W].
        working: :data:`WORKING` arrays [B, W].
    """

    def __init__(
        self,
        rows: slice,
        ends: Sequence[bool],
        entry: bool,
        affine: Sequence[NDArray[np.float32]],
        normed: Sequence[_Both],
        deviations: Sequence[_Both],
        streams: Sequence[_Both],
        working: Sequence[_Both],
    ) -> None:
        from rl_serial.networks import kernels  # Numba takes a second

        self.kernels, self.rows, self.ends, self.entry = kernels, rows, ends, entry
        self.layers = list(
            zip(
                _cycled(normed, len(ends)),
                [both.array for both in _cycled(deviations, len(ends))],
                affine,
                strict=True,
            )
        )
        self.streams = _cycled(streams, sum(ends) - 1)
        self.hidden, *self.of_products, self.of_hidden = working[:4]
        self.of_streams = working[4:]
        self.means = np.empty((2, rows.stop - rows.start), np.float32)
        self.nothing = np.empty((0, 0), np.float32)

    def forward(
        self, x: Tensor, transposed: Sequence[Tensor], output: Tensor, scale: np.float32
    ) -> None:
        """``output`` [B, W] becomes what the layers make of ``x``."""
        run, means, one = self.kernels.forward, self.means[0], self.kernels.ONE
        stream = inputs = _Both.of(x)
        following = iter([*self.streams, _Both.of(output)])
        for layer, (normed, deviations, affine) in enumerate(self.layers):
            torch.mm(inputs.tensor, transposed[layer], out=normed.tensor)
            added, factor = self.nothing, one
            if not self.ends[layer]:
                inputs = self.hidden
            else:
                if layer or not self.entry:
                    added, factor = stream.array, scale
                inputs = stream = next(following)
            run(normed.array, affine, means, deviations, inputs.array, added, factor)

    def backward(
        self,
        x: Tensor,
        weights: Sequence[Tensor],
        gradient: Tensor,
        of_x: Tensor | None,
        of_weights: Sequence[Tensor],
        of_affine: Sequence[NDArray[np.float32]],
        scale: np.float32,
    ) -> None:
        """``of_x`` becomes the gradient of ``x``.

        Those of the weights are set by the first piece, and all else is added.
        """
        run, one, hidden, of_hidden = (
            self.kernels.backward,
            self.kernels.ONE,
            self.hidden,
            self.of_hidden,
        )
        before = iter([*reversed(self.streams), _Both.of(x)])  # what blocks and entry had read
        of_stream, place = _Both.of(gradient), 0
        share = 1 if self.rows.start else 0  # of what is already in the gradients of weights
        for layer in reversed(range(len(self.layers))):
            normed, deviations, affine = self.layers[layer]
            ends, starts = self.ends[layer], not layer or self.ends[layer - 1]
            enters = self.entry and not layer
            of_products = self.of_products[layer % 2]
            run(
                of_stream.array if ends else of_hidden.array,
                scale if ends and not enters else one,
                normed.array,
                deviations,
                affine,
                hidden.array,
                of_products.array,
                self.means,
                of_affine[layer],
            )
            if not ends:  # the layer above has read what this one gave
                above = self.of_products[(layer + 1) % 2].tensor
                _product(above.T, hidden.tensor, of_weights[layer + 1], share)
            if not starts:
                torch.mm(of_products.tensor, weights[layer], out=of_hidden.tensor)
                continue
            _product(of_products.tensor.T, next(before).tensor, of_weights[layer], share)
            if layer:
                target = self.of_streams[place]
            elif of_x is None:
                return
            else:
                target = _Both.of(of_x)
            if enters:
                torch.mm(of_products.tensor, weights[layer], out=target.tensor)
            else:
                torch.addmm(of_stream.tensor, of_products.tensor, weights[layer], out=target.tensor)
            of_stream, place = target, 1 - place


def _product(a: Tensor, b: Tensor, out: Tensor, share: int) -> None:
    """``out`` = ``share`` · ``out`` + ab."""
    if share:
        out.addmm_(a, b)
    else:
        torch.mm(a, b, out=out)


def _cycled(parts: Sequence[Any], count: int) -> list[Any]:
    """So many of them, over and over."""
    return [parts[i % len(parts)] for i in range(count)]
