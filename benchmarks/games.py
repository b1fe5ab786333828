"""Moves per second of the batched rules of games, beside OpenSpiel's and pgx's; solver, self-play.

rl-serial bench games [--seconds S]

All play uniformly random games and ask for the legal moves at every ply. OpenSpiel (extra
``peers``) is called from Python, a game at a time, as its users do. pgx (beside the ``peers`` by
``pip install --no-deps pgx svgwrite``) plays a batch as large as ours, compiled by JAX as a whole;
its Hex is 11 by 11 with the swap. Self-play of Hex is timed with the same network in both, of as
many simulations a move: a batch of games by the agent ``search``, and a plain loop of OpenSpiel's
MCTS bot in Python, which asks the network about a leaf at a time.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

import numpy as np
import torch

from rl_serial.envs.games import ConnectFour, Game, Hex, RandomPlayer, perfect_play
from rl_serial.envs.games.duel import random_positions
from rl_serial.loading import parse_config
from rl_serial.subjects import subject_of
from rl_serial.tables import markdown_table

BATCH = 4096
BOARDS: list[tuple[Game[Any], str, str]] = [
    (Hex(4), "hex(board_size=4)", ""),
    (Hex(11), "hex(board_size=11)", "hex"),
    (ConnectFour(5, 4), "connect_four(rows=4,columns=5)", ""),
    (ConnectFour(7, 6), "connect_four", "connect_four"),
]
"""With the names of OpenSpiel and of pgx, where it has the board."""
SELF_PLAY = [(4, 32, 64), (4, 32, 512)]
"""Size of Hex, simulations of a move, games at once."""
SOLVED: list[Game[Any]] = [Hex(4), ConnectFour(5, 4), ConnectFour(5, 5)]
ALONE: list[Game[Any]] = [Hex(5)]
"""Whose empty board can be solved, but not a thousand positions in a short time."""


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


def pgx_peer(name: str, seconds: float) -> float:
    """The same of pgx, batches of as many games; NaN where it or the board is not there."""
    try:
        import jax
        import pgx
    except ImportError:
        return float("nan")
    if not name:
        return float("nan")
    rules = pgx.make(name)

    @jax.jit
    def play(key: Any) -> Any:
        """Moves of a batch of random games."""

        def move(carry: Any) -> Any:
            key, state, count = carry
            key, dice = jax.random.split(key)
            logits = jax.numpy.where(state.legal_action_mask, 0.0, -jax.numpy.inf)
            action = jax.random.categorical(dice, logits)
            count += (~state.terminated).sum()
            return key, jax.vmap(rules.step)(state, action), count

        key, dice = jax.random.split(key)
        state = jax.vmap(rules.init)(jax.random.split(dice, BATCH))
        carry = jax.lax.while_loop(lambda c: ~c[1].terminated.all(), move, (key, state, 0))
        return carry[2]

    play(jax.random.PRNGKey(0)).block_until_ready()  # compiled
    count, round_ = 0, 0
    started = time.process_time()
    while time.process_time() - started < seconds:
        round_ += 1
        count += int(play(jax.random.PRNGKey(round_)))
    return count / (time.process_time() - started)


def selfplay_games(size: int, simulations: int, batch: int, rounds: int) -> tuple[float, float]:
    """Games and moves an hour of one core by the agent ``search``, learning left out."""
    trainer = _trainer(size, simulations, batch)
    trainer._play()  # compiles what is compiled
    moves, started = 0, time.process_time()
    for _ in range(rounds):
        moves += trainer._play().value.size
    hours = (time.process_time() - started) / 3600
    return batch * rounds / hours, moves / hours


def peer_selfplay(size: int, simulations: int, seconds: float) -> tuple[float, float]:
    """The same of OpenSpiel's MCTS with the same network; NaN where it is not installed.

    Moves are drawn by visits, as in AlphaZero's self-play.
    """
    try:
        import pyspiel
        from open_spiel.python.algorithms import mcts
    except ImportError:
        return float("nan"), float("nan")
    trainer = _trainer(size, simulations, 1)
    game, cells = pyspiel.load_game(f"hex(board_size={size})"), size**2
    mirrored = np.arange(cells).reshape(size, size).T.ravel()  # the second player's view
    cache: dict[tuple[int, ...], Any] = {}

    class Evaluator(mcts.Evaluator):  # type: ignore[misc]
        """Asks the network; positions come over by the moves made."""

        def _judged(self, state: Any) -> Any:
            """The board turned to who is to move, and what the network says of it."""
            key = tuple(state.history())
            if key not in cache:
                board, second = np.zeros(cells, np.int64), len(key) % 2 == 1
                board[list(key[0::2])], board[list(key[1::2])] = 1, -1
                if second:
                    board = -board[mirrored]
                one_hot = np.eye(cells + 1, dtype=np.float32)[(board == 0).sum()]
                tokens = np.stack([board > 0, board < 0, board == 0], axis=1)
                seen = np.concatenate([tokens.ravel().astype(np.float32), one_hot])[None]
                judged = trainer.raw_agent.assess(seen, (board == 0)[None])
                shares = judged.preferences[0][mirrored] if second else judged.preferences[0]
                cache[key] = float(judged.values[0]), shares
            return cache[key]

        def evaluate(self, state: Any) -> Any:
            """Values of both players."""
            value = self._judged(state)[0] * (1 - 2 * state.current_player())
            return np.array([value, -value])

        def prior(self, state: Any) -> Any:
            """Moves with their probabilities."""
            actions = state.legal_actions()
            return list(zip(actions, self._judged(state)[1][actions], strict=True))

    dice = np.random.default_rng(0)
    bot = mcts.MCTSBot(
        game, 1.25, simulations, Evaluator(), solve=False, random_state=np.random.RandomState(0),
        child_selection_fn=mcts.SearchNode.puct_value, dirichlet_noise=(0.25, 0.3),
    )  # fmt: skip
    games = moves = 0
    started = time.process_time()
    while time.process_time() - started < seconds or not games:
        state = game.new_initial_state()
        cache.clear()
        while not state.is_terminal():
            root = bot.mcts_search(state)
            visits = np.array([child.explore_count for child in root.children], dtype=np.float64)
            chosen = dice.choice(len(visits), p=visits / visits.sum())
            state.apply_action(root.children[chosen].action)
            moves += 1
        games += 1
    hours = (time.process_time() - started) / 3600
    return games / hours, moves / hours


def _trainer(size: int, simulations: int, batch: int) -> Any:
    """Of self-play on Hex with an untrained network."""
    config = parse_config(
        {
            "name": "bench",
            "env": {"id": "rl_serial/Hex-v0", "size": size},
            "network": {"kind": "residual", "depth": 4, "width": 64},
            "agent": {"kind": "search", "simulations": simulations, "num_envs": batch},
        },
        "bench",
    )
    return subject_of(config).trainer(torch.device("cpu"), lambda *_: None)


def main() -> None:
    """Print both, and how long perfect play takes to find."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    seconds = parser.parse_args().seconds
    rows = []
    for game, name, name_of_pgx in BOARDS:
        own, other, jitted = (
            ours(game, seconds),
            peer(name, seconds),
            pgx_peer(name_of_pgx, seconds),
        )
        numbers = (f"{own:,.0f}", f"{other:,.0f}", f"{own / other:.1f}")
        rows.append((str(game), *numbers, f"{jitted:,.0f}", f"{own / jitted:.2f}"))
    header = ("moves per second of one core", "ours", "OpenSpiel", "ratio", "pgx", "ratio")
    print(markdown_table(header, rows))
    perfect_play(Hex(2)).solve(Hex(2).initial(1))  # compiled, or read from the cache
    rows = []
    for game in [*SOLVED, *ALONE]:
        solver, seeds = perfect_play(game), np.arange(1000)
        started = time.process_time()
        solver.solve(game.initial(1))
        whole = time.process_time() - started
        if game in ALONE:
            rows.append((str(game), f"{whole:.2f}", ""))
            continue
        state = random_positions(game, seeds, seeds % game.most_plies)
        started = time.process_time()
        solver.solve(state)
        rows.append((str(game), f"{whole:.2f}", f"{(time.process_time() - started) * 1e3:.0f}"))
    header = ("perfect play", "empty board, s", "microseconds for each of 1,000 positions")
    print()
    print(markdown_table(header, rows))
    torch.set_num_threads(1)
    rows = []
    for size, simulations, batch in SELF_PLAY:
        own = selfplay_games(size, simulations, batch, 2)
        other = peer_selfplay(size, simulations, seconds)
        numbers = [f"{n:,.0f}" for n in (own[0], other[0], own[1], other[1])]
        name, ratio = f"Hex({size}), {simulations} simulations", f"{own[1] / other[1]:.1f}"
        rows.append((name, f"{batch}", *numbers, ratio))
    header = (
        "self-play an hour of one core", "at once", "games, ours", "OpenSpiel's MCTS",
        "moves, ours", "OpenSpiel's MCTS", "ratio of moves",
    )  # fmt: skip
    print()
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
