"""Embeddings: arrays in tuples, lists, dicts and dataclasses, taken apart and put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj, is_torch_array

from rl_serial.planning.types import Array, Embedding


def leaves(embedding: Embedding) -> list[Array]:
    """The arrays of an embedding, in a fixed order.

    Raises:
        ValueError: it holds something that is neither an array nor a container.
    """
    found: list[Array] = []
    _collect(embedding, found)
    return found


def _collect(embedding: Embedding, found: list[Array]) -> None:
    if isinstance(embedding, np.ndarray) or is_array_api_obj(embedding):
        found.append(embedding)
    elif isinstance(embedding, tuple | list):
        for part in embedding:
            _collect(part, found)
    elif isinstance(embedding, dict):
        for part in embedding.values():
            _collect(part, found)
    elif embedding is None:
        pass
    elif is_dataclass(embedding) and not isinstance(embedding, type):
        for field in fields(embedding):
            _collect(getattr(embedding, field.name), found)
    else:
        raise ValueError(
            f"embedding holds a {type(embedding).__name__}; it may hold NumPy or torch arrays "
            "in tuples, lists, dicts and dataclasses, or None"
        )


def rebuild(like: Embedding, arrays: list[Array]) -> Embedding:
    """An embedding built as ``like``, with ``arrays`` in the order of :func:`leaves`."""
    following: Iterator[Array] = iter(arrays)
    return map_arrays(lambda _: next(following), like)


def detached(array: Array) -> Array:
    """The array without gradients; a search does not follow them."""
    return array.detach() if is_torch_array(array) else array


def map_arrays(function: Callable[[Array], Any], embedding: Embedding) -> Embedding:
    """The same embedding with ``function`` applied to each array."""
    if isinstance(embedding, np.ndarray) or is_array_api_obj(embedding):
        return function(embedding)
    if isinstance(embedding, tuple | list):
        parts = [map_arrays(function, part) for part in embedding]
        # A named tuple takes its fields one by one.
        return type(embedding)(*parts) if hasattr(embedding, "_fields") else type(embedding)(parts)
    if isinstance(embedding, dict):
        return {key: map_arrays(function, part) for key, part in embedding.items()}
    if embedding is None:
        return None
    if is_dataclass(embedding) and not isinstance(embedding, type):
        parts_by_name = {
            f.name: map_arrays(function, getattr(embedding, f.name)) for f in fields(embedding)
        }
        return replace(embedding, **parts_by_name)
    raise TypeError(f"embedding holds a {type(embedding).__name__}")
