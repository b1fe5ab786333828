"""What batched environments share: which instance comes next, autoreset modes, masks of resets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from rl_serial.envs.random import fold_in


class InstanceSeeds:
    """The instance that each of ``num_envs`` environments plays next.

    Environment i plays the instances of its seed one after the other: the same ones whatever is
    beside it.
    """

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.seeds: NDArray[np.int64] | None = None
        self.episodes = np.zeros(num_envs, dtype=np.int64)

    @property
    def drawn(self) -> bool:
        """Whether there are seeds yet."""
        return self.seeds is not None

    def reseed(
        self,
        seed: int | list[int | None] | None,
        rows: NDArray[np.int64],
        generator: Callable[[], np.random.Generator],
    ) -> None:
        """Start the environments ``rows`` anew from seed + i, or from the i-th seed of a list.

        Without a seed they go on, at first with seeds that ``generator`` draws.

        Raises:
            ValueError: a list of another length.
        """
        if self.seeds is None:
            self.seeds = generator().integers(2**31, size=self.num_envs)
        if seed is None:
            return
        if isinstance(seed, int | np.integer):
            given: list[int | None] = [int(seed) + row for row in range(self.num_envs)]
        else:
            given = list(seed)
            if len(given) != self.num_envs:
                raise ValueError(f"seed: {len(given)} seeds for {self.num_envs} environments")
        for row in rows:
            if (row_seed := given[row]) is not None:
                self.seeds[row], self.episodes[row] = stream(row_seed), 0

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The seeds of the next instances of ``rows``, each of which is played once."""
        assert self.seeds is not None
        seeds: NDArray[np.int64] = fold_in(self.seeds[rows], self.episodes[rows])
        self.episodes[rows] += 1
        return seeds


def stream(seed: int | np.int64) -> int:
    """A seed of any size as the int64 that instances are drawn from."""
    return int(seed) % 2**63


def autoreset_mode_of(mode: AutoresetMode | str) -> AutoresetMode:
    """The mode by its member, name or value.

    Raises:
        ValueError: there is no such mode.
    """
    for member in AutoresetMode:
        if mode in (member, member.name, member.value):
            return member
    names = ", ".join(member.name for member in AutoresetMode)
    raise ValueError(f"autoreset_mode={mode!r}: must be one of {names}")


def rows_to_reset(
    options: dict[str, Any] | None, num_envs: int, after_first: bool
) -> NDArray[np.int64]:
    """The environments that ``reset(options=...)`` asks for: all, or those of ``reset_mask``.

    Raises:
        ValueError: a mask that is not [num_envs] bool, or given before the first reset.
    """
    mask = (options or {}).get("reset_mask")
    if mask is None:
        return np.arange(num_envs)
    mask = np.asarray(mask)
    if mask.shape != (num_envs,) or mask.dtype != np.bool_ or not after_first:
        raise ValueError(
            f"options.reset_mask: must be [num_envs={num_envs}] bool, "
            "and come after a first reset of all"
        )
    return np.flatnonzero(mask)


def refuse_step_of_ended(rows: NDArray[np.int64]) -> None:
    """Raise a ValueError if there are environments whose episode has ended (DISABLED mode)."""
    if rows.size:
        raise ValueError(
            f"environments {rows.tolist()} have ended: "
            'reset them with options={"reset_mask": ...} before the next step'
        )


def put(old: NDArray[Any], rows: NDArray[np.int64], new: NDArray[Any]) -> NDArray[Any]:
    """A copy of ``old`` with ``new`` in its ``rows``."""
    merged = old.copy()
    merged[rows] = new
    return merged
