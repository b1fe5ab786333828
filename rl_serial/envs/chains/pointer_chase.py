"""PointerChase: a pointer follows a table, p <- f(p).

The table random is a random single cycle, shown whole: following it is complete for logspace. In
the table shift, f(p) = p + c modulo the number of nodes, so where the pointer ends is arithmetic.
A fair coin says which half of the nodes pays, and each node shows whether it does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rl_serial.envs.chain import (
    Array,
    TokenLayout,
    array_namespace,
    count_down,
    device_of,
    each_place,
    one_hot,
)
from rl_serial.envs.random import below, random_words
from rl_serial.errors import require

TABLES = ("random", "shift")
NUM_KICKS = 3


@dataclass(frozen=True)
class PointerChaseState:
    """A batch of pointers and their tables."""

    pointer: Array  # [B] int64 in [0, nodes)
    successor: Array  # [B, nodes] int64: f
    bit: Array  # [B] int64, 0 or 1: which half of the nodes pays, 0 the first
    remaining: Array  # [B] int64


@dataclass(frozen=True)
class PointerChase:
    """A pointer that follows a permutation of ``nodes`` nodes for ``serial_depth`` steps.

    Args:
        table: random (a random single cycle) or shift (f(p) = p + c).
        serial_depth: steps, at least 1.
        nodes: an even number, at least 4, and more than serial_depth, so that the pointer does
            not come back to where it started.

    Raises:
        ValueError: an option outside its range.
    """

    table: str = "random"
    serial_depth: int = 8
    nodes: int = 16

    def __post_init__(self) -> None:
        require(self.table in TABLES, "table", self.table, f"one of {', '.join(TABLES)}")
        require(self.serial_depth >= 1, "serial_depth", self.serial_depth, "at least 1")
        require(self.nodes >= 4 and self.nodes % 2 == 0, "nodes", self.nodes, "even and at least 4")
        right = f"more than serial_depth = {self.serial_depth}"
        require(self.nodes > self.serial_depth, "nodes", self.nodes, right)

    @property
    def num_kicks(self) -> int:
        """Kick a moves the pointer a + 1 nodes on."""
        return NUM_KICKS

    @property
    def layout(self) -> TokenLayout:
        """A token per node (successor, whether the pointer is here, whether it pays); steps."""
        return TokenLayout(self.nodes, self.nodes + 2, self.serial_depth + 1)

    @property
    def working_size(self) -> int:
        """The nodes."""
        return self.nodes

    def initial(self, seeds: Array) -> PointerChaseState:
        """Pointer and bit uniform; the table a uniform single cycle or a uniform shift c >= 1."""
        xp = array_namespace(seeds)
        words = random_words(seeds, 2 + self.nodes)
        places = xp.arange(self.nodes, dtype=xp.int64, device=device_of(seeds))
        if self.table == "random":
            # The node's number in the low digits makes the keys different, so that every sorting
            # algorithm gives the same permutation.
            order = xp.argsort(words[:, 1 : 1 + self.nodes] * self.nodes + places, axis=1)
            # The cycle visits the nodes in this order: a node's successor stands behind it.
            successor = xp.take_along_axis(
                xp.concat([order[:, 1:], order[:, :1]], axis=1), xp.argsort(order, axis=1), axis=1
            )
        else:
            step = 1 + below(words[:, 1:2], self.nodes - 1)
            successor = (places + step) % self.nodes
        return PointerChaseState(
            pointer=below(words[:, 0], self.nodes),
            successor=successor,
            bit=below(words[:, 1 + self.nodes], 2),
            remaining=xp.full_like(seeds, self.serial_depth),
        )

    def kick(self, state: PointerChaseState, action: Array) -> PointerChaseState:
        """Move the pointer ``action`` + 1 nodes on, past the last node to the first."""
        pointer = (state.pointer + 1 + action) % self.nodes
        return PointerChaseState(pointer, state.successor, state.bit, state.remaining)

    def advance(self, state: PointerChaseState) -> PointerChaseState:
        """Follow the table once."""
        xp = array_namespace(state.pointer)
        rows = xp.arange(state.pointer.shape[0], dtype=xp.int64, device=device_of(state.pointer))
        after = state.successor[rows, state.pointer]
        return PointerChaseState(
            pointer=xp.where(state.remaining > 0, after, state.pointer),
            successor=state.successor,
            bit=state.bit,
            remaining=count_down(state.remaining),
        )

    def payoff(self, state: PointerChaseState) -> Array:
        """+1 on a node of the half that the bit names, else -1: fair, since the bit is."""
        xp = array_namespace(state.pointer)
        return xp.astype(self._pays(state.pointer, state.bit), xp.float32) * 2 - 1

    def observe(self, state: PointerChaseState) -> Array:
        """Nodes with successor, pointer and whether they pay, then the remaining steps."""
        xp = array_namespace(state.pointer)
        places = xp.arange(self.nodes, dtype=xp.int64, device=device_of(state.pointer))
        here = one_hot(state.pointer, self.nodes, xp)[:, :, None]
        pays = xp.astype(self._pays(places, state.bit[:, None]), xp.float32)[:, :, None]
        tokens = xp.concat([one_hot(state.successor, self.nodes, xp), here, pays], axis=2)
        return xp.concat(
            [
                xp.reshape(tokens, (tokens.shape[0], -1)),
                one_hot(state.remaining, self.serial_depth + 1, xp),
            ],
            axis=1,
        )

    def working(self, state: PointerChaseState) -> Array:
        """The pointer as a one-hot."""
        return one_hot(state.pointer, self.nodes, array_namespace(state.pointer))

    def redraw_step(self, state: PointerChaseState, seeds: Array) -> PointerChaseState:
        """The table entry under the pointer changed places with another one, drawn uniformly."""
        xp = array_namespace(seeds)
        rows = xp.arange(seeds.shape[0], dtype=xp.int64, device=device_of(seeds))
        offset = 1 + below(random_words(seeds, 1, stream=1)[:, 0], self.nodes - 1)
        other = (state.pointer + offset) % self.nodes
        here, there = state.successor[rows, state.pointer], state.successor[rows, other]
        places = xp.arange(self.nodes, dtype=xp.int64, device=device_of(seeds))
        successor = xp.where(places == state.pointer[:, None], there[:, None], state.successor)
        successor = xp.where(places == other[:, None], here[:, None], successor)
        return PointerChaseState(state.pointer, successor, state.bit, state.remaining)

    @property
    def num_starts(self) -> int:
        """The nodes: the table is whole, wherever the pointer is."""
        return self.nodes

    @property
    def starts_are_tokens(self) -> bool:
        """A token is a node."""
        return True

    def own_start(self, state: PointerChaseState) -> Array:
        """The pointer's node."""
        return state.pointer

    def start_payoffs(self, state: PointerChaseState) -> Array:
        """What every node pays."""
        nodes = each_place(state.pointer, self.nodes)
        xp = array_namespace(nodes)
        return xp.astype(self._pays(nodes, state.bit[:, None]), xp.float32) * 2 - 1

    def start_successors(self, state: PointerChaseState) -> Array:
        """The table."""
        return state.successor

    def rewind(self, state: PointerChaseState) -> PointerChaseState:
        """All steps: following the table leaves it as it is."""
        xp = array_namespace(state.remaining)
        return replace(state, remaining=xp.full_like(state.remaining, self.serial_depth))

    @property
    def num_words(self) -> int:
        """A word is a node."""
        return self.nodes

    @property
    def word_size(self) -> int:
        """A one-hot of the node."""
        return self.nodes

    def word(self, state: PointerChaseState) -> Array:
        """The pointer's node."""
        return state.pointer

    def show_words(self, words: Array) -> Array:
        """Nodes as one-hots."""
        return one_hot(words, self.nodes, array_namespace(words))

    def word_name(self, word: int) -> str:
        """As in "node 3"."""
        return f"node {word}"

    def _pays(self, node: Array, bit: Array) -> Array:
        """Whether ``node`` lies in the half of the nodes that ``bit`` names; they broadcast."""
        return (node >= self.nodes // 2) == (bit == 1)
