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
from typing import Any

import torch
from torch import Tensor, nn

from rl_serial.envs.chain import TokenLayout
from rl_serial.errors import require
from rl_serial.networks.trunks.base import INJECTIONS, Trunk, dense, even_shares, fold
from rl_serial.networks.trunks.residual import ResidualTrunk
from rl_serial.networks.trunks.sequential import RecurrentTrunk, StepwiseTrunk
from rl_serial.networks.trunks.tokens import ConvTrunk, TransformerTrunk

TRUNKS: dict[str, type[Trunk]] = {
    "residual": ResidualTrunk,
    "transformer": TransformerTrunk,
    "conv": ConvTrunk,
    "recurrent": RecurrentTrunk,
    "stepwise": StepwiseTrunk,
}
"""The trunk of each kind; :func:`register_trunk` adds one."""

_OPTIONS: dict[type[Trunk], tuple[str, ...]] = {}  # to ask a signature takes long
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
    names = _OPTIONS.get(TRUNKS[kind])
    if names is None:
        keywords = inspect.signature(TRUNKS[kind]).parameters
        names = _OPTIONS[TRUNKS[kind]] = tuple(name for name in keywords if name not in _OF_ALL)
    return names


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


__all__ = [
    "INJECTIONS",
    "TRUNKS",
    "ConvTrunk",
    "Network",
    "RecurrentTrunk",
    "ResidualTrunk",
    "StepwiseTrunk",
    "TransformerTrunk",
    "Trunk",
    "build_trunk",
    "dense",
    "even_shares",
    "fold",
    "register_trunk",
    "trunk_options",
]
