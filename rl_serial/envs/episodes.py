"""What environments share: which instance comes next, autoreset modes, options of resets."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from rl_serial.envs.random import fold_in
from rl_serial.errors import UserError, require

LONGEST_EPISODE = 100_000
"""Steps after which an episode is taken to have no end."""


def refuse_endless(steps: int) -> None:
    """Refuse an episode that goes on after LONGEST_EPISODE ``steps``.

    Raises:
        UserError: it has no end.
    """
    if steps >= LONGEST_EPISODE:
        raise UserError(
            f"no end of an episode within {LONGEST_EPISODE} steps; env.max_episode_steps (in Reach "
            "and Push env.episode_steps) gives it one",
            "env",
        )


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
            ValueError: a list of another length, or a seed that is not a whole number >= 0.
        """
        if self.seeds is None:
            self.seeds = generator().integers(2**31, size=self.num_envs)
        if seed is None:
            return
        if isinstance(seed, int | np.integer):
            given: list[int | None] = [int(seed) + row for row in range(self.num_envs)]
        else:
            given = list(seed) if isinstance(seed, Collection) else [seed]
            for row_seed in given:
                if row_seed is not None and not _is_whole(row_seed):
                    raise ValueError(
                        f"seed={row_seed!r}: must be a whole number of at least 0, or a list of "
                        "them with one for each environment"
                    )
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


def seeds_for(seed: int, num_envs: int) -> list[int]:
    """A list for ``reset(seed=...)`` of a vector environment that no other ``seed`` shares any of.

    ``reset(seed=s)`` gives environment i the seed s + i, as all of Gymnasium's vector environments
    do: runs with the seeds 0 and 1 then play nearly the same instances. The lists of this function
    have no seed in common, for any two values of ``seed`` and whatever the numbers of environments:
    environment i has ``seed * 2**32 + i``.

    Args:
        seed: of the run, in [0, 2**31).
        num_envs: the length of the list, in [1, 2**32).

    Raises:
        ValueError: one of them out of range.
    """
    require(_is_whole(seed) and seed < 2**31, "seed", seed, "a whole number, 0 to 2**31 - 1")
    right = "a whole number, 1 to 2**32 - 1"
    require(_is_whole(num_envs) and 0 < num_envs < 2**32, "num_envs", num_envs, right)
    return [int(seed) * 2**32 + row for row in range(num_envs)]


def _is_whole(number: object) -> bool:
    integer = isinstance(number, int | np.integer) and not isinstance(number, bool)
    return integer and number >= 0  # type: ignore[operator]


def reset_needed(call: str) -> gymnasium.error.ResetNeeded:
    """Gymnasium's error for a call that comes before the first ``reset``."""
    return gymnasium.error.ResetNeeded(f"{call}: call reset() first")


def refuse_reset_options(options: dict[str, Any] | None, known: Collection[str] = ()) -> None:
    """Raise a ValueError that names the first key of ``reset(options=...)`` not ``known``."""
    for name in options or {}:
        if name not in known:
            there = f"there is {', '.join(known)}" if known else "there are none"
            raise ValueError(f"options.{name}: reset has no such option; {there}")


def named_instance(options: dict[str, Any] | None) -> NDArray[np.int64] | None:
    """[1], the seed of the instance that ``reset(options={"instance": seed})`` asks for, if any.

    Raises:
        ValueError: it is not a whole number in [0, 2**63), or there are other options.
    """
    refuse_reset_options(options, ("instance",))
    instance = (options or {}).get("instance")
    if instance is None:
        return None
    right = "a whole number, 0 to 2**63 - 1"
    require(_is_whole(instance) and instance < 2**63, "options.instance", instance, right)
    return np.array([instance], dtype=np.int64)


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
        ValueError: a mask that is not [num_envs] bool, has no True or comes before the first
            reset; any other option.
    """
    refuse_reset_options(options, ("reset_mask",))
    mask = (options or {}).get("reset_mask")
    if mask is None:
        return np.arange(num_envs)
    mask = np.asarray(mask)
    if mask.shape != (num_envs,) or mask.dtype != np.bool_ or not after_first:
        raise ValueError(
            f"options.reset_mask: must be [num_envs={num_envs}] bool, "
            "and come after a first reset of all"
        )
    if not mask.any():
        raise ValueError("options.reset_mask: must be True for at least one environment")
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
