"""Pytrees: leaves in tuples, lists, dicts and dataclasses, nested as one likes.

States, embeddings and checkpoints are such trees. What is none of these containers is a leaf; None
holds nothing. A dataclass is built anew from its fields, all arguments of its constructor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any


def map_leaves(function: Callable[..., Any], *trees: Any) -> Any:
    """The tree whose every leaf is ``function`` of the corresponding leaves of ``trees``.

    Args:
        function: of as many leaves as there are trees.
        trees: one or more of the same structure.
    """
    first = trees[0]
    if first is None:
        return None
    if is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in fields(first)]
        columns = ((getattr(tree, name) for tree in trees) for name in names)
        mapped = (map_leaves(function, *column) for column in columns)
        return type(first)(**dict(zip(names, mapped, strict=True)))
    if isinstance(first, dict):
        return {key: map_leaves(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, tuple | list):
        parts = [map_leaves(function, *column) for column in zip(*trees, strict=True)]
        # A named tuple takes its fields one by one.
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    return function(*trees)


def leaves(tree: Any) -> list[Any]:
    """The leaves of a tree, depth first."""
    found: list[Any] = []
    map_leaves(found.append, tree)
    return found


def rebuild(like: Any, values: list[Any]) -> Any:
    """A tree built as ``like``, with ``values`` in the order of :func:`leaves`."""
    following = iter(values)
    return map_leaves(lambda _: next(following), like)
