"""Heads of fixed-horizon values: a value for every start and horizon, pooled or token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rl_serial.envs.chain import require
from rl_serial.networks.trunks import Network, Trunk, dense, even_shares

PLACES = ("pooled", "per_token")
READOUTS = ("last", "layerwise")


@dataclass(frozen=True)
class HorizonHead:
    """Which values a network gives, and where it reads them.

    Args:
        starts: of an instance, at least 1.
        horizons: values of each start, for 1 to ``horizons`` steps; at least 1.
        place: pooled (all starts from the trunk's features) or per_token (start i from token i, by
            the same weights for every token).
        readout: last (all horizons from the last layer) or layerwise (each layer gives its own
            share of the horizons, the first layer the shortest). Layerwise tells the network which
            step belongs to which layer: prior knowledge of the task.

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
    start, or where the readout is layerwise and the trunk's layers cannot be read.
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
        if head.readout == "layerwise":
            right = f"last: the layers of a {kind} cannot be read"
            require(trunk.reads_layers, "readout", head.readout, right)
        layers = trunk.num_streams if head.readout == "layerwise" else 1
        self.shares = even_shares(head.horizons, layers)  # how many horizons each layer reads
        self.size = trunk.width if head.place == "per_token" else trunk.features_dim
        rows = 1 if head.place == "per_token" else head.starts
        self.heads = nn.ModuleList(dense(self.size, rows * share) for share in self.shares if share)

    def forward(self, observation: Tensor) -> Tensor:
        """The values [B, starts, horizons] of ``observation`` [B, layout.size]."""
        features = self._features(observation)
        read = [stream for stream, share in zip(features, self.shares, strict=True) if share]
        values = [
            head(stream).unflatten(-1, (self.head.starts, -1))
            if self.head.place == "pooled"
            else head(stream)
            for head, stream in zip(self.heads, read, strict=True)
        ]
        return torch.cat(values, dim=-1)

    def _features(self, observation: Tensor) -> Sequence[Tensor]:
        trunk, layerwise = self.trunk, self.head.readout == "layerwise"
        if self.head.place == "pooled" and not layerwise:
            return [trunk(observation)]
        streams = trunk.streams(observation)
        of_stream = trunk.tokens if self.head.place == "per_token" else trunk.pool
        return [of_stream(stream) for stream in (streams if layerwise else streams[-1:])]

    def forward_flops(self) -> int:
        """FLOPs of one sample's forward pass, as :meth:`Trunk.forward_flops`."""
        rows = self.head.starts if self.head.place == "per_token" else 1
        outputs = self.head.horizons * (self.head.starts // rows)
        return self.trunk.forward_flops() + 2 * rows * self.size * outputs


def build_network(trunk: Trunk, outputs: int | HorizonHead) -> Network | HorizonNetwork:
    """The trunk with a linear head of so many outputs, or with fixed-horizon heads."""
    if isinstance(outputs, HorizonHead):
        return HorizonNetwork(trunk, outputs)
    return Network(trunk, outputs)
