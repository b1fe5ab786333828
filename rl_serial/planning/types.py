"""What goes into a search and what comes out of it.

B is the batch, N the nodes of a tree, A the actions. Arrays are NumPy or torch arrays; numbers are
float32, indices int32 unless stated. The search knows neither environment nor network: the caller
gives the root of each row and a :data:`RecurrentFn` that applies one action to a batch of nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Array = Any
"""A NumPy or torch array; shapes and dtypes are stated where it is used."""
Embedding = Any
"""An array, or a tuple, list, dict or dataclass (nested as one likes) of arrays [B, ...]."""


@dataclass(frozen=True)
class Root:
    """The states to plan from, as the network sees them."""

    prior_logits: Array  # [B, A] the policy's logits
    value: Array  # [B] the network's value
    embedding: Embedding  # [B, ...] what the recurrent function needs to go on from here
    legal: Array | None = None  # [B, A] bool; None: every action is legal


@dataclass(frozen=True)
class RecurrentOutput:
    """What the model says about one action at one node of each row.

    A step that ends the episode has discount 0 (and value 0); nothing is searched below it. With
    two players who alternate, values are those of the player to move and the discount is −1.
    """

    reward: Array  # [B] of the step
    discount: Array  # [B] factor on the value of the node that the step leads to
    prior_logits: Array  # [B, A] at that node
    value: Array  # [B] of that node
    legal: Array | None = None  # [B, A] bool, at that node; None: every action is legal


RecurrentFn = Callable[[Array, Embedding], tuple[RecurrentOutput, Embedding]]
"""(action [B] int64, embedding [B, ...]) → (what the model says, next embedding [B, ...])."""


@dataclass(frozen=True)
class Tree:
    """One search tree a row. Node 0 is the root, a parent comes before its children.

    The node that simulation i adds has index i + (nodes at the start); a simulation that ends at a
    node which exists already (a terminal one, or one at the depth limit) leaves its index unused. A
    child is reached by one edge only, so what belongs to an edge is stored at the child.
    """

    visits: Array  # [B, N] int32; 0: there is no such node
    value: Array  # [B, N] mean of the returns from this node on, its own evaluation included
    raw_value: Array  # [B, N] what the network said
    reward: Array  # [B, N] of the step from the parent
    discount: Array  # [B, N] of the step from the parent; 0 at a terminal node, 1 at the root
    parent: Array  # [B, N] int32; −1 at the root and where there is no node
    action: Array  # [B, N] int32, taken at the parent; −1 at the root and where there is no node
    depth: Array  # [B, N] int32 edges from the root
    prior_logits: Array  # [B, N, A]; −inf where the action is illegal
    embedding: Embedding  # [B, N, ...]

    @property
    def num_actions(self) -> int:
        """A."""
        return int(self.prior_logits.shape[2])


@dataclass(frozen=True)
class NodeStatistics:
    """What is known about one node of each row; where it is chosen from."""

    visits: Array  # [B] int32
    value: Array  # [B] mean of the returns from this node on
    raw_value: Array  # [B] what the network said
    prior_logits: Array  # [B, A]; −inf where the action is illegal
    child_visits: Array  # [B, A] int32
    qvalues: Array  # [B, A] reward + discount × value of the child; 0 where it was not visited


@dataclass(frozen=True)
class PolicyOutput:
    """What a search found."""

    action: Array  # [B] int64, to be played
    action_weights: Array  # [B, A] sums to one: the target for a policy network
    visit_counts: Array  # [B, A] int32 visits of the root's children
    value: Array  # [B] mean return at the root, its raw value included
    qvalues: Array  # [B, A] action values at the root; where not visited, the mixed value
    depth: Array  # [B] int32 edges from the root to the deepest node
    root_entropy: Array  # [B] of action_weights, in nats
    tree: Tree  # the whole search, for looking at and for :func:`rl_serial.planning.reuse`
