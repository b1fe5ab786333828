"""Pytrees: built by hand, and against torch's own."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from torch.utils import _pytree

from rl_serial.pytrees import leaves, map_leaves, rebuild

Pair = namedtuple("Pair", ["left", "right"])


@dataclass(frozen=True)
class Node:
    number: Any
    below: Any = field(kw_only=True)

    @cached_property
    def twice(self) -> Any:
        return 2 * self.number


def test_every_container_is_taken_apart_and_put_together() -> None:
    tree = [1, (2, Pair(3, {"b": 4, "a": None})), Node(5, below=Node("x", below=()))]
    assert leaves(tree) == [1, 2, 3, 4, 5, "x"]
    built = rebuild(tree, list("abcdef"))
    assert built == [
        "a",
        ("b", Pair("c", {"b": "d", "a": None})),
        Node("e", below=Node("f", below=())),
    ]
    assert rebuild(built, leaves(tree)) == tree


def test_what_a_dataclass_remembers_is_no_field() -> None:
    node = Node(1, below=None)
    assert node.twice == 2
    assert map_leaves(lambda number: number + 1, node).twice == 4


def test_several_trees_are_mapped_together() -> None:
    first, second = Node(np.ones(2), below=[1]), Node(np.ones(2), below=[10])
    found = map_leaves(lambda a, b: a + b, first, second)
    assert found.number.tolist() == [2, 2]
    assert found.below == [11]
    with pytest.raises(ValueError, match="zip"):
        map_leaves(lambda a, b: a, [1, 2], [1])


def test_the_leaves_are_torchs() -> None:
    tree = {"a": [1, (2.5, None)], "b": {"c": "text", "d": [[]]}, "e": Pair(True, 3)}
    assert leaves(tree) == [leaf for leaf in _pytree.tree_leaves(tree) if leaf is not None]
    assert map_leaves(str, tree) == _pytree.tree_map(
        lambda leaf: None if leaf is None else str(leaf), tree
    )
