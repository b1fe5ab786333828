"""What search adds to a trained agent: raw network, one-ply value, N simulations, same weights."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rl_serial.agents.agent import Agent
from rl_serial.agents.search import OnePlyAgent, SearchAgent
from rl_serial.training.evaluation import Evaluator

ONE_PLY = "one-ply"


@dataclass(frozen=True)
class SearchScore:
    """The score of an agent with a search on top."""

    simulations: int | str  # or "one-ply"; 0 is the raw network
    mean_return: float
    score: float
    interval: tuple[float, float]  # 95 % over instances
    right: dict[int, float]  # share of episodes played optimally, by remaining at their start
    seconds: float  # of play, all instances together

    @property
    def tag(self) -> str:
        """Its number among metrics."""
        return "one_ply" if self.simulations == ONE_PLY else str(self.simulations)


def search_scores(
    searcher: SearchAgent, evaluator: Evaluator, simulations: Sequence[int]
) -> list[SearchScore]:
    """Scores of the one-ply agent and of searches with each number of ``simulations``.

    Args:
        searcher: the search on top of an agent; its own number of simulations does not matter.
        evaluator: has the instances.
        simulations: 0 is the agent itself.
    """
    one_ply = OnePlyAgent(searcher.task, searcher.agent, searcher.dynamics)
    contenders: list[tuple[int | str, Agent]] = [(ONE_PLY, one_ply)]
    contenders += [(count, searcher.with_simulations(count)) for count in simulations]
    scores = []
    for name, contender in contenders:
        started = time.perf_counter()
        played = evaluator.score(contender)
        scores.append(SearchScore(name, *played, time.perf_counter() - started))
    return scores
