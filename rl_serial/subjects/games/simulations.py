"""What search adds to a trained agent in games: raw network, one ply, N simulations."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.agents.baselines import OptimalAgent, RandomAgent
from rl_serial.agents.dynamics import CountedDynamics
from rl_serial.agents.protocols import Agent
from rl_serial.agents.search import OnePlyAgent, SearchAgent
from rl_serial.envs.chain import map_state
from rl_serial.envs.games import Game, is_solvable, perfect_play
from rl_serial.envs.games.duel import Duel, DuelState
from rl_serial.envs.games.perfect import take
from rl_serial.metrics import Measurement, measured
from rl_serial.subjects.games import metrics as of
from rl_serial.subjects.games.evaluation import GameEvaluator, play_out
from rl_serial.subjects.protocol import ONE_PLY, SearchScore

OPENING = 2
"""Most moves of an opening."""


def search_scores(
    searcher: SearchAgent, examine: GameEvaluator, simulations: Sequence[int]
) -> list[SearchScore]:
    """Scores in the games against the run's opponent, 0 as random play and 1 as perfect play.

    On a board that is too large to be solved 1 is to win every game. What is ``right`` is the share
    of moves that keep the value, by plies to the end.

    Args:
        searcher: the search on top of an agent; its own number of simulations does not matter.
        examine: has games and positions.
        simulations: 0 is the agent itself.
    """
    task = examine.task
    random = examine.play(RandomAgent(task, 0)).mean()
    best = examine.play(OptimalAgent(task)).mean() if is_solvable(task.game) else 1.0
    counted = CountedDynamics(searcher.dynamics)
    contender = searcher.within(counted)
    agents: dict[int | str, Agent] = {
        ONE_PLY: OnePlyAgent(task, searcher.agent, counted),
        **{count: contender.with_simulations(count) for count in simulations},
    }
    scores = []
    for count, agent in agents.items():
        counted.decisions = counted.steps = 0
        started = time.perf_counter()
        returns = examine.play(agent)
        seconds = time.perf_counter() - started
        steps = counted.steps_per_decision
        score = (returns - random) / max(best - random, 1e-9)
        half = 1.96 * float(score.std(ddof=1)) / math.sqrt(score.size)
        mean = float(score.mean())
        scores.append(
            SearchScore(
                count,
                float(returns.mean()),
                mean,
                (mean - half, mean + half),
                _kept_by(agent, examine),
                seconds,
                steps,
            )
        )
    return scores


def _kept_by(agent: Agent, examine: GameEvaluator) -> dict[int, float]:
    """Share of moves that keep the value, where that matters, by plies to the end."""
    part = examine.positions
    if part is None or not len(part.plies):
        return {}
    kept = examine.answers(agent).kept
    groups = np.unique(part.plies[part.choice])
    return {int(g): float(kept[part.choice & (part.plies == g)].mean()) for g in groups}


def measured_search(searcher: SearchAgent, examine: GameEvaluator) -> list[Measurement]:
    """What a search on top makes of positions, openings and players of known strength."""
    task, count = examine.task, searcher.simulations
    part = examine.positions
    found = []
    for name in of.KNOWN_PLAYERS if part is not None else ("random",):
        against: Any = Duel(task.game, name, seat=task.seat)
        returns = examine.play(searcher, against)
        index: dict[str, str | int] = {"opponent": name, "simulations": count}
        found.append(measured(of.SEARCHED_RETURN, returns.mean(), **index))
    if part is None or not len(part.plies):
        return found
    answers = examine.answers(searcher)
    found.append(measured(of.SEARCHED_KEPT, answers.kept[part.choice].mean(), simulations=count))
    if answers.sign is not None:
        found.append(measured(of.SEARCHED_SIGN, answers.sign.mean(), simulations=count))
    share = openings_not_won(searcher, task.game)
    found.append(measured(of.SEARCHED_OPENINGS, share, simulations=count))
    return found


def measured_one_ply(searcher: SearchAgent, examine: GameEvaluator) -> list[Measurement]:
    """What the agent that a search stands on makes of positions and openings, one ply ahead."""
    part, task = examine.positions, examine.task
    if part is None or not len(part.plies):
        return []
    agent = OnePlyAgent(task, searcher.agent, searcher.dynamics)
    kept = examine.answers(agent).kept[part.choice].mean()
    return [
        measured(of.ONE_PLY_KEPT, kept),
        measured(of.ONE_PLY_OPENINGS, openings_not_won(agent, task.game)),
    ]


def openings_not_won(agent: Agent, game: Game[Any]) -> float:
    """Share of the openings that are won for who is to move, and that an agent does not win.

    It plays each of them once, against perfect play, which loses as late as it can. Openings are
    all different positions after at most two moves; NaN where none is won.
    """
    task = Duel(game, "perfect")
    state = won_openings(game)
    count = len(np.asarray(state.ply))
    if not count:
        return math.nan
    start = DuelState(state, np.arange(count), np.asarray(state.player))
    lost: NDArray[np.bool_] = play_out(agent, task, start) < 1
    return float(lost.mean())


def won_openings(game: Game[Any], most: int = OPENING) -> Any:
    """The different positions after at most ``most`` moves that are won for who is to move."""
    state, found = game.initial(1), []
    for _ in range(most + 1):
        found.append(take(state, np.flatnonzero(perfect_play(game).values(state) == 1)))
        row, action = np.nonzero(np.asarray(game.legal(state)))
        state = game.step(take(state, row), action).state
        keys = np.packbits(np.asarray(game.observe(state)) > 0, axis=1)
        _, first = np.unique(keys, axis=0, return_index=True)
        going = first[~np.asarray(state.ended)[first]]
        state = take(state, np.sort(going))
    return map_state(lambda *arrays: np.concatenate(arrays), *found)
