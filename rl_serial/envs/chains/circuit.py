"""Circuit: layers of gates s'_i = s_a xor (s_b and s_c) xor n, drawn anew for each instance.

Evaluating a layered circuit is P-complete when its width grows with its depth (Ladner 1975); at
constant width it is in NC1, so ``wires >= serial_depth`` is what the claim needs. In the flat twin
every layer reads the inputs, so the outcome is one gate of the last layer: depth 1. The gate keeps
its sensitivity with depth (a flipped wire flips two of the next layer on average), which layers of
and, or and nand do not. Its negation n is a fair coin, so the outcome is one too: without n a layer
of zeros stays zero, and zeros gain on ones with every layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.chain import (
    Array,
    TokenLayout,
    array_namespace,
    count_down,
    device_of,
    kept_table,
    one_hot,
)
from rl_serial.envs.random import below, random_words
from rl_serial.errors import require

WIRINGS = ("layered", "flat")


# A gate is the number ((n * wires + a) * wires + b) * wires + c, so that a table look-up gives what
# it reads and how it is shown. Number -1, a layer that is gone, is the last row of each table.


def _parts(wires: int) -> tuple[NDArray[np.int64], ...]:
    """The n, a, b and c of every number of a gate, each [2 * wires**3] int64."""
    return np.unravel_index(np.arange(2 * wires**3), (2, *(wires,) * 3))


@kept_table
def _gates(wires: int, xp: Any, device: Any) -> Array:
    """[2 * wires * (wires - 1) * (wires - 2)] int32: the gates that read three different wires."""
    _, a, b, c = _parts(wires)
    different = np.flatnonzero((a != b) & (b != c) & (c != a))
    return xp.asarray(different.astype(np.int32), device=device)


@kept_table
def _gate_inputs(wires: int, xp: Any, device: Any) -> Array:
    """[2 * wires**3 + 1, 3] int64: the wires a, b, c of each gate."""
    inputs = np.stack(_parts(wires)[1:], axis=1)
    return xp.asarray(np.concatenate([inputs, [[0, 0, 0]]]), device=device)


@kept_table
def _gate_features(wires: int, xp: Any, device: Any) -> Array:
    """[2 * wires**3 + 1, 2 * wires + 1] int8: a as a one-hot, b and c as a two-hot, n."""
    n, a, b, c = _parts(wires)
    hot = np.eye(wires, dtype=np.int8)
    features = np.concatenate([hot[a], hot[b] | hot[c], n[:, None].astype(np.int8)], axis=1)
    return xp.asarray(np.concatenate([features, features[:1] * 0]), device=device)


@dataclass(frozen=True)
class CircuitState:
    """A batch of circuits."""

    wires: Array  # [B, wires] int8, 0 or 1: what the next layer reads; at the end, the outputs
    gates: Array  # [B, serial_depth, wires] int32: each gate's number, the next layer first
    bit: Array  # [B] int8, 0 or 1: the outcome that pays
    remaining: Array  # [B] int64


@dataclass(frozen=True)
class Circuit:
    """A circuit of ``serial_depth`` layers of ``wires`` gates; wire 0 is the outcome.

    Args:
        wiring: layered (each layer reads the one before) or flat (each layer reads the inputs).
        serial_depth: layers, at least 1.
        wires: wires of a layer, 3 to 64; at least serial_depth for the P-complete claim.

    Raises:
        ValueError: an option outside its range.
    """

    wiring: str = "layered"
    serial_depth: int = 8
    wires: int = 8

    def __post_init__(self) -> None:
        require(self.wiring in WIRINGS, "wiring", self.wiring, f"one of {', '.join(WIRINGS)}")
        require(self.serial_depth >= 1, "serial_depth", self.serial_depth, "at least 1")
        require(3 <= self.wires <= 64, "wires", self.wires, "3 to 64")

    @property
    def num_kicks(self) -> int:
        """Kick a flips wire a."""
        return self.wires

    @property
    def layout(self) -> TokenLayout:
        """A token per layer (one-hot a, two-hot b and c, n for each gate); wires, bit, steps."""
        features = self.wires * (2 * self.wires + 1)
        return TokenLayout(self.serial_depth, features, self.wires + 1 + self.serial_depth + 1)

    @property
    def working_size(self) -> int:
        """The wires."""
        return self.wires

    def initial(self, seeds: Array) -> CircuitState:
        """Inputs, bit and gates uniform; the a, b and c of a gate are three different wires."""
        xp = array_namespace(seeds)
        width = self.wires
        words = random_words(seeds, 1 + width + self.serial_depth * width)
        gates = self._draw_gates(words[:, 1 + width :])
        return CircuitState(
            wires=xp.astype(below(words[:, 1 : 1 + width], 2), xp.int8),
            gates=xp.reshape(gates, (-1, self.serial_depth, width)),
            bit=xp.astype(below(words[:, 0], 2), xp.int8),
            remaining=xp.full_like(seeds, self.serial_depth),
        )

    def kick(self, state: CircuitState, action: Array) -> CircuitState:
        """Flip wire ``action`` of those that the next layer reads."""
        xp = array_namespace(action)
        places = xp.arange(self.wires, dtype=action.dtype, device=device_of(action))
        flips = xp.astype(action[:, None] == places, xp.int8)
        return CircuitState(state.wires ^ flips, state.gates, state.bit, state.remaining)

    def advance(self, state: CircuitState) -> CircuitState:
        """Evaluate the next layer and take it off the circuit.

        Only the last layer's outputs are paid, so in the flat wiring those of the layers before it
        need not be kept: the wires stay the inputs until the last layer reads them.
        """
        xp = array_namespace(state.wires)
        device = device_of(state.wires)
        rows = xp.arange(state.wires.shape[0], dtype=xp.int64, device=device)
        gates = state.gates[:, 0]
        inputs = _gate_inputs(self.wires, xp, device)[gates]
        read = state.wires[rows[:, None, None], inputs]
        negation = xp.astype(gates >= self.wires**3, xp.int8)
        outputs = read[:, :, 0] ^ (read[:, :, 1] & read[:, :, 2]) ^ negation
        written = state.remaining == 1 if self.wiring == "flat" else state.remaining > 0
        consumed = xp.full_like(state.gates[:, :1], -1)
        return CircuitState(
            wires=xp.where(written[:, None], outputs, state.wires),
            gates=xp.concat([state.gates[:, 1:], consumed], axis=1),
            bit=state.bit,
            remaining=count_down(state.remaining),
        )

    def payoff(self, state: CircuitState) -> Array:
        """+1 if wire 0 equals the bit, else -1: fair, since the last negation is a fair coin."""
        xp = array_namespace(state.wires)
        return xp.astype(state.wires[:, 0] == state.bit, xp.float32) * 2 - 1

    def observe(self, state: CircuitState) -> Array:
        """Layers ahead as tokens, then wires, bit and remaining steps."""
        xp = array_namespace(state.wires)
        batch = state.wires.shape[0]
        table = _gate_features(self.wires, xp, device_of(state.gates))
        layers = xp.take(table, xp.reshape(state.gates, (-1,)), axis=0)
        steps = one_hot(state.remaining, self.serial_depth + 1, xp, xp.int8)
        shown = [xp.reshape(layers, (batch, -1)), state.wires, state.bit[:, None], steps]
        # One conversion of the whole: small integers move four times faster than floats.
        return xp.astype(xp.concat(shown, axis=1), xp.float32)

    def working(self, state: CircuitState) -> Array:
        """The wires."""
        xp = array_namespace(state.wires)
        return xp.astype(state.wires, xp.float32)

    def redraw_step(self, state: CircuitState, seeds: Array) -> CircuitState:
        """All gates of the next layer anew."""
        xp = array_namespace(seeds)
        layer = self._draw_gates(random_words(seeds, self.wires, stream=1))[:, None]
        head = xp.where(state.gates[:, :1] < 0, state.gates[:, :1], layer)
        gates = xp.concat([head, state.gates[:, 1:]], axis=1)
        return CircuitState(state.wires, gates, state.bit, state.remaining)

    def _draw_gates(self, words: Array) -> Array:
        """[B, n] int32: the gates that ``words`` [B, n] choose."""
        choices = _gates(self.wires, array_namespace(words), device_of(words))
        return choices[below(words, choices.shape[0])]
