"""Noise of a search, from the generator that the caller gives.

It is drawn on the host, so that NumPy and torch roots see the same noise for the same generator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Generator = Any
"""A ``numpy.random.Generator`` or a ``torch.Generator`` of any device."""


def numpy_generator(generator: Generator, what_for: str) -> np.random.Generator:
    """The generator itself, or one seeded by the next number of a torch generator.

    Raises:
        ValueError: there is none, though noise was asked for.
        TypeError: it is something else.
    """
    if isinstance(generator, np.random.Generator):
        return generator
    if generator is None:
        raise ValueError(
            f"{what_for} is random: give generator=numpy.random.default_rng(seed) or a "
            "torch.Generator"
        )
    if not type(generator).__module__.startswith("torch"):
        raise TypeError(
            f"generator must be a numpy.random.Generator or a torch.Generator, not a "
            f"{type(generator).__name__}"
        )
    import torch

    where = generator.device
    seed = torch.randint(2**62, (), generator=generator, device=where, dtype=torch.int64)
    return np.random.default_rng(int(seed))


def gumbel_noise(generator: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """[B, A]: standard Gumbel numbers."""
    return generator.gumbel(size=shape).astype(np.float32)


def dirichlet_noise(
    generator: np.random.Generator, alpha: float, legal: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """[B, A]: each row drawn from a symmetric Dirichlet over its ``legal`` [B, A] actions.

    A gamma variate of shape α is one of shape α + 1 times U^(1/α); in logarithms nothing underflows
    however small α is (Marsaglia and Tsang 2000, section 6).
    """
    alpha = min(max(alpha, 1e-100), 1e100)  # one action alone, or all alike, long before
    logs = np.log(generator.standard_gamma(alpha + 1, legal.shape))
    logs -= generator.standard_exponential(legal.shape) / alpha
    logs = np.where(legal, logs, -np.inf)
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(weights, dtype=np.float32)
