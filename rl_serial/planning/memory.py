"""Memory that searches of the same shape use again."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_torch_array
from numpy.typing import NDArray

from rl_serial.planning.tree import LINE
from rl_serial.planning.types import Array


class Memory:
    """Keeps the arrays of the trees from search to search.

    A fresh array of a few megabytes is made of pages that the system has to find and clear, which
    can take as long as the search itself. Two sets of arrays take turns: a tree is whole until the
    search after the next one with this memory, so that the next one can go on from it. All else
    that a search gives is its own. Every array starts at a cache line. A search on a GPU takes
    fresh arrays. Not for several threads at once.
    """

    def __init__(self) -> None:
        self._sets: list[dict[Any, NDArray[Any]]] = [{}, {}]

    def turn(self) -> None:
        """Begin a search: what the one before the last had is free."""
        self._sets.reverse()

    def zeros(self, name: Any, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array of zeros; after every second turn in the same place."""
        kept = self._sets[0].get(name)
        if kept is None or kept.shape != shape or kept.dtype != dtype:
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            room = np.empty(size + LINE, np.uint8)
            skip = -room.ctypes.data % LINE
            kept = self._sets[0][name] = room[skip : skip + size].view(dtype).reshape(shape)
        kept.fill(0)
        return kept

    def room(self, name: Any, leaf: Array, count: int) -> Array:
        """Zeros [count, *leaf.shape] of the library and dtype of ``leaf``."""
        shape = (count, *leaf.shape)
        if is_torch_array(leaf):
            import torch

            dtype = getattr(np, str(leaf.dtype).removeprefix("torch."), None)
            if leaf.device.type == "cpu" and dtype is not None:
                return torch.from_numpy(self.zeros(name, shape, dtype))
        elif not leaf.dtype.hasobject:
            return self.zeros(name, shape, leaf.dtype)
        return array_namespace(leaf).zeros(shape, dtype=leaf.dtype)
