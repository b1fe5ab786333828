"""Positions of games that are examined, with what perfect play makes of them.

They come from random play. Who wins within 2n plies needs n moves: of positions that end within
2n - 1 plies the player to move has won, of those that end within 2n plies it has lost. Both are one
group, with as many of each (and of draws, where there are any), so that neither the number of plies
nor a constant tells who wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.chain import map_state
from rl_serial.envs.games.duel import Duel, DuelState, random_positions
from rl_serial.envs.games.perfect import take
from rl_serial.envs.random import below, random_words
from rl_serial.envs.shortcuts import Sample

ROUND, ROUNDS = 2048, 6
"""Random positions that are drawn together, and how often."""
LEAST = 8
"""Fewest positions of a class that count."""


@dataclass(frozen=True)
class Positions:
    """Positions in which the agent is to move."""

    state: DuelState  # N rows
    plies: NDArray[np.int64]  # [N] the group: 2, 4, …, within which they end
    values: NDArray[np.int8]  # [N] 1 won, -1 lost, 0 drawn, for the agent
    keeping: NDArray[np.bool_]  # [N, A] moves that keep the value
    legal: NDArray[np.bool_]  # [N, A]
    observations: NDArray[np.float32]  # [N, size]

    @property
    def choice(self) -> NDArray[np.bool_]:
        """[N] where a legal move would give something away."""
        choice: NDArray[np.bool_] = np.any(self.legal & ~self.keeping, axis=1)
        return choice

    def signs(self) -> Sample:
        """The question who wins, with the answers lost, drawn, won."""
        right = self.values[:, None] == np.array([-1, 0, 1])
        return Sample(self.observations, right, np.ones_like(right))

    def moves(self) -> Sample:
        """The question which move to take, where that matters."""
        rows = self.choice
        return Sample(self.observations[rows], self.keeping[rows], self.legal[rows])


def draw_positions(task: Duel, seeds: NDArray[np.int64], per_plies: int) -> Positions:
    """Different positions of random play, balanced by who wins within each group.

    Args:
        task: the rules, of a board that can be solved.
        seeds: [ROUND * ROUNDS] int64, of the dice.
        per_plies: most positions of a group.
    """
    perfect, game = task.perfect, task.game
    assert perfect is not None
    rooms: dict[tuple[int, int], list[int]] = {}
    seen: set[bytes] = set()
    drawn: list[Any] = []
    kept = 0
    for number in range(ROUNDS):
        some = seeds[number * ROUND : (number + 1) * ROUND]
        plies = below(random_words(some, 1, stream=99)[:, 0], game.most_plies)
        state = random_positions(game, some, plies)
        keys = [row.tobytes() for row in np.packbits(game.observe(state) > 0, axis=1)]
        firsts = {key: row for row, key in reversed([*enumerate(keys)]) if key not in seen}
        seen |= firsts.keys()
        state = take(state, np.array(sorted(firsts.values()), dtype=np.int64))
        solved = perfect.solve(state)
        groups = (solved.plies + 1) // 2 * 2
        chosen: list[int] = []
        for row, label in enumerate(zip(groups.tolist(), solved.values.tolist(), strict=True)):
            room = rooms.setdefault(label, [])
            if len(room) < per_plies // 2:
                room.append(kept + len(chosen))
                chosen.append(row)
        drawn.append(take(state, np.array(chosen, dtype=np.int64)))
        kept += len(chosen)
    state = map_state(lambda *arrays: np.concatenate(arrays), *drawn)
    rows, labels = _balanced(rooms, per_plies)
    state = take(state, rows)
    moves = perfect.moves(state)
    duel = DuelState(state, np.arange(len(rows)), np.asarray(state.player))
    return Positions(
        duel,
        plies=labels[:, 0],
        values=labels[:, 1].astype(np.int8),
        keeping=moves.keeping,
        legal=moves.legal,
        observations=game.observe(state),
    )


def _balanced(
    rooms: dict[tuple[int, int], list[int]], per_plies: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of groups with as many of each class, and group and class of each row, [N, 2]."""
    rows: list[int] = []
    labels: list[tuple[int, int]] = []
    for plies in sorted({plies for plies, _ in rooms}):
        classes = [v for v in (-1, 0, 1) if len(rooms.get((plies, v), [])) >= LEAST]
        if len(classes) < 2:
            continue
        count = min(per_plies // len(classes), *(len(rooms[plies, v]) for v in classes))
        for value in classes:
            rows += rooms[plies, value][:count]
            labels += [(plies, value)] * count
    return np.array(rows, dtype=np.int64), np.array(labels, dtype=np.int64).reshape(-1, 2)
