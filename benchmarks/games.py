"""Moves per second of the batched rules of games, beside OpenSpiel's, and of the solver.

python -P benchmarks/games.py [--seconds S]

Both play uniformly random games and ask for the legal moves at every ply. OpenSpiel (extra
``peers``) is called from Python, a game at a time, as its users do.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

import numpy as np

from rl_serial.envs.games import ConnectFour, Game, Hex, RandomPlayer, perfect_play
from rl_serial.envs.games.duel import random_positions
from rl_serial.tables import markdown_table

BATCH = 4096
BOARDS: list[tuple[Game[Any], str]] = [
    (Hex(4), "hex(board_size=4)"),
    (Hex(11), "hex(board_size=11)"),
    (ConnectFour(5, 4), "connect_four(rows=4,columns=5)"),
    (ConnectFour(7, 6), "connect_four"),
]
SOLVED: list[Game[Any]] = [Hex(4), ConnectFour(5, 4), ConnectFour(5, 5)]


def ours(game: Game[Any], seconds: float) -> float:
    """Moves per second of batches of random games, those that are over left out."""
    player, count, spent, round_ = RandomPlayer(game), 0, 0.0, 0
    while spent < seconds:
        started = time.process_time()
        state = game.initial(BATCH)
        while not state.ended.all():
            round_ += 1
            action = player.act(state, np.arange(BATCH) + BATCH * round_)
            count += int((~state.ended).sum())
            state = game.step(state, action).state
        spent += time.process_time() - started
    return count / spent


def peer(name: str, seconds: float) -> float:
    """The same of OpenSpiel, a game at a time; NaN where it is not installed."""
    try:
        import pyspiel
    except ImportError:
        return float("nan")
    rules, count, dice = pyspiel.load_game(name), 0, random.Random(0)
    started = time.process_time()
    while time.process_time() - started < seconds:
        state = rules.new_initial_state()
        while not state.is_terminal():
            state.apply_action(dice.choice(state.legal_actions()))
            count += 1
    return count / (time.process_time() - started)


def main() -> None:
    """Print both, and how long perfect play takes to find."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    seconds = parser.parse_args().seconds
    rows = []
    for game, name in BOARDS:
        own, other = ours(game, seconds), peer(name, seconds)
        rows.append((str(game), f"{own:,.0f}", f"{other:,.0f}", f"{own / other:.1f}"))
    print(markdown_table(("moves per second of one core", "ours", "OpenSpiel", "ratio"), rows))
    perfect_play(Hex(2)).solve(Hex(2).initial(1))  # compiled, or read from the cache
    rows = []
    for game in SOLVED:
        solver, seeds = perfect_play(game), np.arange(1000)
        started = time.process_time()
        solver.solve(game.initial(1))
        whole = time.process_time() - started
        state = random_positions(game, seeds, seeds % game.most_plies)
        started = time.process_time()
        solver.solve(state)
        rows.append((str(game), f"{whole:.2f}", f"{(time.process_time() - started) * 1e3:.0f}"))
    header = ("perfect play", "empty board, s", "microseconds for each of 1,000 positions")
    print()
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
