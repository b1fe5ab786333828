"""Games between two players, in pairs: from one opening, each player once in each colour.

What happens in a pair is a function of its seed, of the players and of who is the first of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.chain import map_state
from rl_serial.envs.episodes import put
from rl_serial.envs.games import Game, Player
from rl_serial.envs.games.duel import random_positions
from rl_serial.envs.games.perfect import take
from rl_serial.envs.random import fold_in
from rl_serial.errors import RunError

SEEDS = 2**62
"""Seeds are below it."""


@dataclass(frozen=True)
class PairOfGames:
    """Two games from one opening, the colours exchanged."""

    opening: int  # which one of these two players
    as_x: float  # what the first player got with the first player's stones: 1, 0.5 or 0
    as_o: float  # with those of the second
    plies_x: int  # moves of the game in which he had the first player's stones, opening included
    plies_o: int

    @property
    def score(self) -> float:
        """The mean of both."""
        return (self.as_x + self.as_o) / 2


def opening_plies(game: Game[Any]) -> int:
    """Random moves of an opening: an eighth of the cells, 1 to 6."""
    return min(6, max(1, game.height * game.width // 8))


def meeting_seed(seed: int, first: str, second: str) -> int:
    """The seed of the games of two players, by their names."""
    told = f"{seed}\n{first}\n{second}".encode()
    return int.from_bytes(hashlib.sha256(told).digest()[:8], "big") % SEEDS


def play_pairs(
    game: Game[Any],
    players: tuple[Player, Player],
    seed: int,
    openings: range,
    plies: int,
    names: tuple[str, str] = ("first", "second"),
) -> list[PairOfGames]:
    """Play the pairs of games of some openings, all as one batch.

    Args:
        game: the rules.
        players: the two.
        seed: of the openings and of all dice.
        openings: which ones.
        plies: random moves of an opening; a shorter game's last position before its end.
        names: what errors call the players.

    Raises:
        RunError: a player gives moves that are not legal.
    """
    count = len(openings)
    index = np.arange(openings.start, openings.stop, dtype=np.int64)
    seeds = fold_in(np.full(count, seed, dtype=np.int64), index)
    opened = random_positions(game, seeds, np.full(count, plies, dtype=np.int64))
    # Games 0 … count - 1: the first of the players has the first stones; behind them the second.
    state = take(opened, np.tile(np.arange(count), 2))
    dice = np.concatenate([fold_in(seeds, np.full(count, which)) for which in (1, 2)])
    holds_x = np.repeat([0, 1], count)  # which of the players has the first stones
    while not np.asarray(state.ended).all():
        running = ~np.asarray(state.ended)
        turn = np.asarray(state.player) ^ holds_x
        for which in (0, 1):
            rows = np.flatnonzero(running & (turn == which))
            if rows.size:
                state = _moved(game, players[which], state, rows, dice, names[which])
    won_by_x = _result_of_x(state)
    mine = np.where(holds_x == 0, won_by_x, 1 - won_by_x).reshape(2, count)
    length = np.asarray(state.ply).reshape(2, count)
    return [
        PairOfGames(
            openings[i],
            float(mine[0, i]),
            float(mine[1, i]),
            int(length[0, i]),
            int(length[1, i]),
        )
        for i in range(count)
    ]


def _moved(
    game: Game[Any],
    player: Player,
    state: Any,
    rows: NDArray[np.int64],
    dice: NDArray[np.int64],
    name: str,
) -> Any:
    """The states after the player's move in ``rows``."""
    some = take(state, rows)
    legal = np.asarray(game.legal(some))
    action = np.asarray(player.act(some, fold_in(dice[rows], np.asarray(some.ply))))
    whole = action.shape == (rows.size,) and np.issubdtype(action.dtype, np.integer)
    if whole:
        whole = bool(((action >= 0) & (action < legal.shape[1])).all())
    if not (whole and legal[np.arange(rows.size), action].all()):
        raise RunError(f"{name}: gave moves that are not legal in {game}")
    after = game.step(some, action.astype(np.int64)).state
    return map_state(lambda old, new: put(old, rows, new), state, after)


def _result_of_x(state: Any) -> NDArray[np.float64]:
    """[B] 1 where who has the first stones has won, 0 where he has lost, 0.5 of a draw."""
    result = np.asarray(state.result).astype(np.float64)
    won: NDArray[np.float64] = (np.where(np.asarray(state.player) == 0, result, -result) + 1) / 2
    return won
