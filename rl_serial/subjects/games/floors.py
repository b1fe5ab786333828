"""The floor of games: what is answered rightly without looking ahead.

Three rules, none of which is told the plies to the end: ``constant``, the answer that is right most
often; ``linear``, a linear model on the observation; ``memoriser``, a table of the positions that
the run's training saw, which takes the constant elsewhere. The floor in a group of positions is the
highest of the three there, so luck can only lift it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rl_serial.agents.fitted import visited_states
from rl_serial.envs.games.duel import Duel
from rl_serial.envs.random import fold_in
from rl_serial.envs.shortcuts import ConstantRule, LinearRule, Sample
from rl_serial.metrics import Measurement, measured
from rl_serial.subjects.games import metrics as of
from rl_serial.subjects.games.metrics import KINDS
from rl_serial.subjects.games.positions import ROUND, ROUNDS, Positions, draw_positions

UNUSED = 2**40
"""First instance of a run's seed that no training comes to."""
MOST_SEEN, CHUNK = 2**17, 8192
"""Most training positions in the memoriser's table, and how many are made together."""
PER_PLIES = 256
"""Positions of a group that constant and linear rules are fitted on."""


@dataclass(frozen=True)
class GameFloor:
    """What the three rules answer rightly."""

    instances: int  # in the memoriser's table
    sign: dict[str, NDArray[np.bool_]]  # by KINDS: [N] of who wins
    kept: dict[str, NDArray[np.bool_]]  # by KINDS: [M] of moves, where they matter

    def measurements(self, sign_plies: NDArray[np.int64], kept_plies: NDArray[np.int64],
                     groups: list[int]) -> list[Measurement]:  # fmt: skip
        """What was measured; ``groups`` of plies, and those of the answers."""
        found = [measured(of.SIGN_OF_KIND, self.sign[kind].mean(), kind=kind) for kind in KINDS]
        found += [measured(of.KEPT_OF_KIND, self.kept[kind].mean(), kind=kind) for kind in KINDS]
        found.append(measured(of.SIGN_FLOOR, max(right.mean() for right in self.sign.values())))
        found.append(measured(of.KEPT_FLOOR, max(right.mean() for right in self.kept.values())))
        for metric, rights, plies in (
            (of.SIGN_FLOOR_BY, self.sign, sign_plies),
            (of.KEPT_FLOOR_BY, self.kept, kept_plies),
        ):
            for group in groups:
                rows = plies == group
                share = max((right[rows].mean() for right in rights.values()), default=np.nan) \
                    if rows.any() else np.nan  # fmt: skip
                found.append(measured(metric, share, plies=group))
        return found


def measure_floor(task: Duel, examined: Positions, instances: int, seed: int) -> GameFloor:
    """Give the three rules what training had, and examine them.

    Args:
        task: the rules, with the starts of training.
        examined: the evaluation positions.
        instances: positions that the run's training consumed; the table has at most MOST_SEEN.
        seed: the run's. The table's positions are those of its instances when both sides play at
            random, which are a value agent's own where its opponent does.
    """
    index = np.arange(UNUSED, UNUSED + ROUND * ROUNDS, dtype=np.int64)
    fitted = draw_positions(task, fold_in(np.full_like(index, seed), index), PER_PLIES)
    known = _seen(task, examined.observations, min(instances, MOST_SEEN), seed)
    return GameFloor(
        min(instances, MOST_SEEN),
        _graded(fitted.signs(), examined.signs(), known),
        _graded(fitted.moves(), examined.moves(), known[examined.choice]),
    )


def _graded(
    fitted: Sample, asked: Sample, known: NDArray[np.bool_]
) -> dict[str, NDArray[np.bool_]]:
    """Which questions [N] each rule answers rightly."""
    rows = np.arange(len(asked.right))
    constant, linear = ConstantRule.fit(fitted), LinearRule.fit(fitted)
    choices = [rule.choose(asked.observations, asked.legal) for rule in (constant, linear)]
    right = [asked.right[rows, choice] for choice in choices]
    return dict(zip(KINDS, [*right, right[0] | known], strict=True))


def _seen(
    task: Duel, observations: NDArray[np.float32], instances: int, seed: int
) -> NDArray[np.bool_]:
    """[N] which observations are among the positions of the run's instances."""
    keys = _keys(observations)
    asked, found = set(keys), set()
    both_random = replace(task, opponent="random", mistakes=0.0)
    for first in range(0, instances, CHUNK):
        index = np.arange(first, min(first + CHUNK, instances), dtype=np.int64)
        state = visited_states(both_random, fold_in(np.full_like(index, seed), index))  # type: ignore[arg-type]
        found.update(asked.intersection(_keys(both_random.observe(state))))
    return np.array([key in found for key in keys], dtype=np.bool_)


def _keys(observations: NDArray[np.float32]) -> list[bytes]:
    return [row.tobytes() for row in np.packbits(observations > 0, axis=1)]
