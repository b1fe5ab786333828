"""Heads of fixed-horizon values: a value for every start and horizon, pooled or token by token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rl_serial.errors import require
from rl_serial.networks.trunks import Network, Trunk, dense, even_shares

PLACES = ("pooled", "per_token")
READOUTS = ("last", "layerwise", "by_loop")


@dataclass(frozen=True)
class HorizonHead:
    """Which values a network gives, and where it reads them.

    Args:
        starts: of an instance, at least 1.
        horizons: values of each start, for 1 to ``horizons`` steps; at least 1.
        place: pooled (all starts from the trunk's features) or per_token (start i from token i, by
            the same weights for every token).
        readout: last (all horizons from the last layer), layerwise (each layer gives its own
            share of the horizons, the first layer the shortest) or by_loop (horizon k after loop k,
            by one head for all). The last two tell the network which step belongs to which layer:
            prior knowledge of the task. By loop no weight knows a horizon, so that more loops read
            longer horizons than were trained, as in value iteration networks (Tamar et al. 2016,
            arXiv 1602.02867). Horizons beyond the last loop get what that one gives.

    Raises:
        ValueError: an option outside its range.
    """

    starts: int
    horizons: int
    place: str = "pooled"
    readout: str = "last"

    def __post_init__(self) -> None:
        require(self.starts >= 1, "starts", self.starts, "1 or more")
        require(self.horizons >= 1, "horizons", self.horizons, "1 or more")
        require(self.place in PLACES, "head", self.place, f"one of {', '.join(PLACES)}")
        require(self.readout in READOUTS, "readout", self.readout, f"one of {', '.join(READOUTS)}")


class HorizonNetwork(nn.Module):
    """A trunk with fixed-horizon heads: observation [B, size] to [B, starts, horizons].

    Raises ValueError where the head is per token and the trunk has no tokens to read or not one a
    start, or where the readout is of layers or loops and the trunk's cannot be read.
    """

    def __init__(self, trunk: Trunk, head: HorizonHead) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head
        kind = type(trunk).__name__
        if head.place == "per_token":
            right = "pooled: the trunk has no tokens behind its layers"
            require(trunk.reads_tokens, "head", head.place, f"{right} ({kind})")
            right = f"pooled: there are {head.starts} starts and {trunk.layout.tokens} tokens"
            require(trunk.layout.tokens == head.starts, "head", head.place, right)
        if head.readout != "last":
            right = f"last: the layers of a {kind} cannot be read"
            require(trunk.reads_layers, "readout", head.readout, right)
        if head.readout == "by_loop":
            right = f"{head.horizons} at most, one for each horizon"
            require(trunk.loops <= head.horizons, "loops", trunk.loops, right)
        layers = trunk.num_streams if head.readout == "layerwise" else 1
        # How many horizons each layer reads; by loop one head reads one horizon, loop after loop.
        self.shares = even_shares(1 if head.readout == "by_loop" else head.horizons, layers)
        self.size = trunk.width if head.place == "per_token" else trunk.features_dim
        rows = 1 if head.place == "per_token" else head.starts
        self.heads = nn.ModuleList(dense(self.size, rows * share) for share in self.shares if share)

    def forward(self, observation: Tensor, loops: int | None = None, every: bool = False) -> Tensor:
        """The values [B, starts, horizons] of ``observation`` [B, layout.size].

        ``loops`` as in :meth:`Trunk.forward`; there can be no other number than the trunk's where
        the readout is layerwise, whose heads belong to one layer each. With ``every`` it is
        [loops, B, starts, horizons], what the readout last reads after each of them.
        """
        trunk, head = self.trunk, self.head
        if every:
            require(head.readout == "last", "readout", head.readout, "last, to be read every loop")
            streams = trunk.loop_streams(observation, loops)
            return torch.stack([self._read_stream(self.heads[0], stream) for stream in streams])
        if head.readout == "last":
            if head.place == "pooled":
                return self._read(self.heads[0], trunk(observation, loops))
            return self._read_stream(self.heads[0], trunk.streams(observation, loops)[-1])
        if head.readout == "layerwise":
            streams = trunk.streams(observation, loops)
            read = [stream for stream, share in zip(streams, self.shares, strict=True) if share]
            values = [self._read_stream(*pair) for pair in zip(self.heads, read, strict=True)]
            return torch.cat(values, dim=-1)
        run = min(loops or trunk.loops, head.horizons)  # further loops would not be read
        streams = trunk.loop_streams(observation, run)
        values = [self._read_stream(self.heads[0], stream) for stream in streams]
        return torch.cat([*values, *values[-1:] * (head.horizons - run)], dim=-1)

    def _read_stream(self, head: nn.Module, stream: Tensor) -> Tensor:
        per_token = self.head.place == "per_token"
        return self._read(head, (self.trunk.tokens if per_token else self.trunk.pool)(stream))

    def _read(self, head: nn.Module, features: Tensor) -> Tensor:
        """[B, starts, horizons of the head]."""
        values: Tensor = head(features)
        if self.head.place == "per_token":
            return values
        return values.reshape(len(values), self.head.starts, -1)

    def forward_flops(self) -> int:
        """FLOPs of one sample's forward pass, as :meth:`Trunk.forward_flops`."""
        rows = self.head.starts if self.head.place == "per_token" else 1
        read = self.trunk.loops if self.head.readout == "by_loop" else self.head.horizons
        outputs = read * (self.head.starts // rows)
        return self.trunk.forward_flops() + 2 * rows * self.size * outputs


def build_network(trunk: Trunk, outputs: int | HorizonHead) -> Network | HorizonNetwork:
    """The trunk with a linear head of so many outputs, or with fixed-horizon heads."""
    if isinstance(outputs, HorizonHead):
        return HorizonNetwork(trunk, outputs)
    return Network(trunk, outputs)
