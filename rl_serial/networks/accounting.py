"""What a network spends: parameters, FLOPs, and the matrix products that must run in sequence.

Two torch modes watch the network run on one example. torch's own FLOP counter counts the matrix
products. :class:`_PathCounter` carries along with every entry of every tensor the number of matrix
products on the longest path that leads to it. Neither knows what kind of network runs.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakTensorKeyDictionary

from rl_serial.pytrees import leaves, map_leaves

aten = torch.ops.aten

_OPEN_DEVICES = {"cpu", "meta"}  # where every product can be made to show


@dataclass(frozen=True)
class Account:
    """What one sample costs. A product of [M, K] with [K, N] is 2 M N K FLOPs; nothing else is."""

    parameters: int
    """Numbers in the network's parameters; shared ones count once."""
    flops_forward: int
    """FLOPs of the forward pass, per sample."""
    flops_update: int
    """FLOPs of forward and backward pass, per sample."""
    critical_path: int
    """Sequential matrix products on the longest path to an output; input layer and head count."""


def account(network: nn.Module, example: Any) -> Account:
    """What ``network`` spends on a sample of ``example``.

    ``example`` is what the network is called with, batch first: a tensor, a dictionary of tensors,
    or a tuple of several arguments. The backward pass goes from every output that has a gradient to
    every trainable parameter; the example's own gradient is part of it only where the example
    requires one. Parameters, gradients, buffers and the random state are left as they were.

    On devices other than the CPU fused kernels hide their products; a copy is counted on the CPU.
    """
    arguments = example if isinstance(example, tuple) else (example,)
    if {p.device.type for p in network.parameters()} - _OPEN_DEVICES:
        network = copy.deepcopy(network).to("cpu")
        arguments = _map_tensors(lambda tensor: tensor.to("cpu"), arguments)
    inputs = _tensors(arguments)
    samples = len(inputs[0])
    parameters = list(network.parameters())
    with _left_as_found(network, inputs), _every_product_visible():
        with torch.enable_grad(), _flop_counter() as flops:
            outputs = [t for t in _tensors(network(*arguments)) if t.requires_grad]
            forward = flops.get_total_flops()
            if outputs:
                torch.autograd.backward(outputs, [torch.ones_like(t) for t in outputs])
            update = flops.get_total_flops()
        with torch.no_grad(), _PathCounter() as paths:
            longest = max(int(paths.to(t).max()) for t in _tensors(network(*arguments)))
    return Account(
        parameters=sum(p.numel() for p in parameters),
        flops_forward=round(forward / samples),
        flops_update=round(update / samples),
        critical_path=longest,
    )


# Matrix products by how entry [..., i, j] comes about: from row i of the first factor and column j
# of the second, or from what is not told apart here. FLOPs of the last three are unknown to torch's
# counter.
_ROW_BY_COLUMN = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm}
_OTHER_PRODUCTS = {aten.convolution, aten.mv, aten.addmv, aten.dot}

# Apart from views, what moves entries about without changing them.
_MOVES = {aten.cat, aten.stack, aten.copy_, aten._unsafe_view}


def _flop_counter() -> FlopCounterMode:
    def dot(a: Any, *_: Any, **__: Any) -> int:
        return 2 * int(a[0])

    def mv(a: Any, *_: Any, **__: Any) -> int:
        return 2 * int(a[0]) * int(a[1])

    def addmv(_: Any, a: Any, *__: Any, **___: Any) -> int:
        return mv(a)

    known = {aten.dot: dot, aten.mv: mv, aten.addmv: addmv}
    return FlopCounterMode(display=False, custom_mapping=known)


class _PathCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """For each tensor, the matrix products on the longest path to each of its entries.

    Counting by entry matters: a GRU keeps the outputs for all tokens in one tensor, and the next
    layer's first step needs only the first of them. The counts of a view are the same view of the
    counts, so what is written in place through one shows in the other. Operations that are none of
    those told apart below give every output the largest count among their inputs, which can only
    be too many.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._paths = WeakTensorKeyDictionary()

    def to(self, tensor: Tensor) -> Tensor:
        """The counts of ``tensor``, in its shape, int32; zeros for one not seen before."""
        if tensor not in self._paths:
            # The same strides, so that every view of the tensor exists of its counts too.
            extent = 1 + sum(
                (n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True)
            )
            zeros = torch.zeros(max(extent, 1), dtype=torch.int32, device="cpu")
            self._paths[tensor] = zeros.as_strided(tensor.shape, tensor.stride())
        return self._paths[tensor]  # type: ignore[no-any-return]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        # Before the operation runs, for it may change the shape of its argument.
        path_args, path_kwargs = _map_tensors(self.to, (args, kwargs))
        out = func(*args, **kwargs)
        if func.overloadpacket in _MOVES or _is_view(func):
            moved = func(*path_args, **path_kwargs)
            for tensor, path in zip(_tensors(out), _tensors(moved), strict=True):
                self._paths[tensor] = path
            return out
        paths = _tensors((path_args, path_kwargs))
        if func.overloadpacket in _ROW_BY_COLUMN:
            *added, a, b = paths
            path = torch.maximum(a.amax(-1, keepdim=True), b.amax(-2, keepdim=True)) + 1
            path = functools.reduce(torch.maximum, added, path)
        elif torch.Tag.pointwise in func.tags:
            nothing = torch.zeros((), dtype=torch.int32, device="cpu")
            path = functools.reduce(torch.maximum, paths, nothing)
        else:
            longest = max((int(p.max()) for p in paths if p.numel()), default=0)
            longest += func.overloadpacket in _OTHER_PRODUCTS
            path = torch.tensor(longest, device="cpu")
        for tensor in _tensors(out):
            self.to(tensor).copy_(path)
        return out


def _is_view(func: Any) -> bool:
    """Whether the operation's result shares memory with an argument that it does not write to."""
    shared = [r.alias_info for r in func._schema.returns if r.alias_info is not None]
    return torch.Tag.inplace_view in func.tags or any(not alias.is_write for alias in shared)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in leaves(tree) if isinstance(leaf, Tensor)]


def _map_tensors(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    return map_leaves(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, tree)


@contextmanager
def _every_product_visible() -> Iterator[None]:
    """Fused attention, LSTM and encoder kernels count as nothing; have them run in their parts."""
    mkldnn, fastpath = torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mkldnn.enabled = mkldnn
        torch.backends.mha.set_fastpath_enabled(fastpath)


@contextmanager
def _left_as_found(network: nn.Module, inputs: list[Tensor]) -> Iterator[None]:
    """Gradients, buffers (batch norm's statistics) and the CPU's random state are put back."""
    leaves = [t for t in (*network.parameters(), *inputs) if t.is_leaf]
    gradients = [leaf.grad for leaf in leaves]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    for leaf in leaves:
        leaf.grad = None
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = gradient
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
