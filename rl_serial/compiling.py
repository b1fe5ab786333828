"""Numba, where it is installed: kernels are compiled on their first call and kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

REORDERED: dict[str, Any] = {
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    "error_model": "numpy",
}
"""Options of arithmetic whose sums may be taken in any order, so that they use the vector unit."""


def compiled(function: F, **options: Any) -> F:
    """The function compiled by Numba; the function itself where there is none.

    Args:
        function: takes and returns what Numba's nopython mode knows; the GIL is released.
        options: of ``numba.njit``.
    """
    try:
        from numba import njit
    except ImportError:
        return function
    compiler: Any = njit  # its own types say nothing of what it compiles
    try:
        faster: F = compiler(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # no folder to write to
        faster = compiler(nogil=True, **options)(function)
    return faster
