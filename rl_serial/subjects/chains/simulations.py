"""What search adds to a trained agent: raw network, one-ply value, N simulations, same weights.

Beside it, at equal model steps, what the same rules give without a tree search: brute-force
enumeration and random rollouts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from rl_serial.agents.brute_force import EnumerationAgent, RolloutAgent
from rl_serial.agents.dynamics import CountedDynamics, Dynamics
from rl_serial.agents.protocols import Agent
from rl_serial.agents.search import OnePlyAgent, SearchAgent
from rl_serial.metrics import Index, Measurement, measured
from rl_serial.subjects.chains import metrics as of
from rl_serial.subjects.chains.evaluation import Evaluator
from rl_serial.subjects.protocol import ONE_PLY, SearchScore


def search_scores(
    searcher: SearchAgent, evaluator: Evaluator, simulations: Sequence[int]
) -> list[SearchScore]:
    """Scores of the one-ply agent and of searches with each number of ``simulations``.

    Args:
        searcher: the search on top of an agent; its own number of simulations does not matter.
        evaluator: has the instances.
        simulations: 0 is the agent itself.
    """
    scores = [
        _scored(
            ONE_PLY,
            lambda counted: OnePlyAgent(searcher.task, searcher.agent, counted),
            searcher.dynamics,
            evaluator,
        )
    ]
    for count in simulations:
        contender = searcher.with_simulations(count)
        scores.append(_scored(count, contender.within, searcher.dynamics, evaluator))
    return scores


def baseline_scores(
    baseline: str,
    searcher: SearchAgent,
    evaluator: Evaluator,
    simulations: Sequence[int],
    seed: int,
) -> list[SearchScore]:
    """Scores of a baseline with as many model steps as searches with ``simulations`` make.

    Args:
        baseline: enumeration or rollouts.
        searcher: whose agent judges the leaves of an enumeration, in whose dynamics, the true ones.
        evaluator: has the instances.
        simulations: 0 is the agent itself; of rollouts, random play.
        seed: of the rollouts.
    """
    task, agent = searcher.task, searcher.agent

    def contender(model: Dynamics, steps: int) -> Agent:
        if baseline == "enumeration":
            return EnumerationAgent(task, agent, model, steps)
        return RolloutAgent(task, model, steps, seed)

    return [
        _scored(steps, partial(contender, steps=steps), searcher.dynamics, evaluator)
        for steps in simulations
    ]


def _scored(
    simulations: int | str,
    contender: Callable[[Dynamics], Agent],
    dynamics: Dynamics,
    evaluator: Evaluator,
) -> SearchScore:
    """The score of what ``contender`` makes of a model, which counts the steps."""
    counted = CountedDynamics(dynamics)
    started = time.perf_counter()
    played = evaluator.score(contender(counted))
    seconds = time.perf_counter() - started
    return SearchScore(simulations, *played, seconds, counted.steps_per_decision)


def measurements_of_searches(
    scores: Sequence[SearchScore], planner: Index, with_steps: bool
) -> Iterator[Measurement]:
    """Scores as measurements.

    Args:
        scores: of one planner.
        planner: which: dynamics or baseline, and its name.
        with_steps: the model steps of a decision too.
    """
    searched = "dynamics" in planner
    score, right, steps = (
        (of.SEARCH_SCORE, of.SEARCH_RIGHT, of.SEARCH_STEPS)
        if searched
        else (of.BASELINE_SCORE, of.BASELINE_RIGHT, of.BASELINE_STEPS)
    )
    for found in scores:
        index = {**planner, "simulations": found.tag}
        yield measured(score, found.score, **index)
        for remaining, share in found.right.items():
            yield measured(right, share, **index, remaining=remaining)
        if with_steps:
            yield measured(steps, found.model_steps, **index)
