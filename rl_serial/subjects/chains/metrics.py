"""What runs on chains measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import numpy as np

from rl_serial.agents.registry import AGENTS
from rl_serial.config import EnvConfig, RunConfig
from rl_serial.envs.random import state_seeds
from rl_serial.envs.shortcuts import right_actions
from rl_serial.metrics import Index, Metric, Place, Profile
from rl_serial.subjects.chains.config import evaluation_of

RIGHT = 0.9
"""Share of right decisions that counts as deciding rightly (serial horizon)."""
FLOOR_KINDS = ("memoriser", "blind", "linear")


def _accuracy(whose: str = "") -> Callable[[Index], str]:
    def label(index: Index) -> str:
        after = f" after {index['loops']} loops" if "loops" in index else ""
        if "remaining" not in index:
            return f"accuracy of decisions{whose}{after}"
        return f"accuracy{whose} with {index['remaining']} steps remaining{after}"

    return label


def _looped(what: str) -> Callable[[Index], str]:
    return lambda index: f"{what} after {index['loops']} loops" if "loops" in index else what


_WITH = {
    "true": "search on top",
    "learned": "search in learned dynamics",
    "enumeration": "brute-force enumeration",
    "rollouts": "random rollouts",
}


def _searched(index: Index) -> str:
    planner = str(index.get("dynamics") or index.get("baseline") or "a planner")
    score = f"score with {_WITH.get(planner, planner)}"
    return f"{score}, {index['simulations']} model steps" if "simulations" in index else score


RETURN = Metric("eval/return", "return")
SCORE = Metric("eval/score", "score (0 random, 1 optimal)", progress="score")
HORIZON = Metric(
    "eval/serial_horizon", "serial horizon (steps)", counts_steps=True, progress="horizon"
)
FLOOR_REACH = Metric("floor/reach", "serial reach of the floor (steps)", late=True)
REACH = Metric("eval/serial_reach", "serial reach (steps)", counts_steps=True, floor=FLOOR_REACH)
ABOVE_FLOOR = Metric(
    "eval/serial_reach_above_floor",
    "serial reach above the floor (steps)",
    late=True,
    interval_of=REACH,
)
REACH_OF_KIND = Metric(
    "floor/{kind}/reach",
    lambda index: f"serial reach of the {index.get('kind', 'floors')} rule (steps)",
    late=True,
    to_give=("kind",),
)
RMSE = Metric("value/rmse", "value RMSE", better="lower")
VALUE_HORIZON = Metric("value/horizon", "horizon of the value (steps)", counts_steps=True)
FLOOR_ACCURACY = Metric(
    "floor/accuracy/remaining_{remaining}", _accuracy(" of the floor"), late=True
)
ACCURACY = Metric(
    "value/accuracy/remaining_{remaining}", _accuracy(), heat_map=True, floor=FLOOR_ACCURACY
)
WORDS = Metric("eval/words", "words written before the answer", better="neither")
RIGHT_WORDS = Metric("eval/right_words", "share of right words among those written")
PATH = Metric(
    "eval/critical_path",
    "matrix products in sequence of an answer",
    better="neither",
    late=True,
)
COLLISION_HORIZON = Metric("value/collision_horizon", "collision horizon (collisions)")
COLLISIONS = Metric(
    "value/accuracy/collisions_{collisions}",
    lambda index: f"accuracy with {index.get('collisions', 'some')} collisions ahead",
)
LOOPS = {
    SCORE: Metric(
        "loops/{loops}/score",
        _looped("score (0 random, 1 optimal)"),
        asked_by=("evaluation.loops",),
    ),
    HORIZON: Metric(
        "loops/{loops}/serial_horizon",
        _looped("serial horizon (steps)"),
        asked_by=("evaluation.loops",),
        counts_steps=True,
    ),
    REACH: Metric(
        "loops/{loops}/serial_reach",
        _looped("serial reach (steps)"),
        asked_by=("evaluation.loops",),
        counts_steps=True,
    ),
    ACCURACY: Metric(
        "loops/{loops}/accuracy/remaining_{remaining}", _accuracy(), asked_by=("evaluation.loops",)
    ),
}
"""What is logged of the same weights at another number of loops."""
_ASKED = ("evaluation.simulations", "agent.dynamics")
_COMPARED = ("evaluation.simulations", "evaluation.baselines")
SEARCH_SCORE = Metric(
    "search/{dynamics}/score/{simulations}",
    _searched,
    of_agent=False,
    asked_by=_ASKED,
    to_give=("dynamics",),
)
ONE_PLY_SCORE = Metric(
    "search/{dynamics}/score/one_ply",
    "score one step ahead in the model",
    of_agent=False,
    asked_by=_ASKED,
    to_give=("dynamics",),
)
SEARCH_RIGHT = Metric(
    "search/{dynamics}/right/{simulations}/remaining_{remaining}",
    "episodes played optimally with search on top",
    of_agent=False,
    asked_by=_ASKED,
    to_give=("dynamics",),
)
SEARCH_STEPS = Metric(
    "search/{dynamics}/model_steps/{simulations}",
    "model steps of a decision",
    better="neither",
    of_agent=False,
    asked_by=_COMPARED,
    to_give=("dynamics",),
)
BASELINE_SCORE = Metric(
    "search/{baseline}/score/{simulations}",
    _searched,
    of_agent=False,
    asked_by=_COMPARED,
    to_give=("baseline",),
)
BASELINE_RIGHT = Metric(
    "search/{baseline}/right/{simulations}/remaining_{remaining}",
    "episodes played optimally by the baseline",
    of_agent=False,
    asked_by=_COMPARED,
    to_give=("baseline",),
)
BASELINE_STEPS = Metric(
    "search/{baseline}/model_steps/{simulations}",
    "model steps of a decision",
    better="neither",
    of_agent=False,
    asked_by=_COMPARED,
    to_give=("baseline",),
)
COMPARED_SCORE = Metric(
    "search/score/{planner}/{simulations}",
    "score with the true rules",
    of_agent=False,
    asked_by=_COMPARED,
    to_name=("planner",),
)
"""The search beside the baselines: logged under the tags of each."""
COMPARED_STEPS = Metric(
    "search/model_steps/{planner}/{simulations}",
    "model steps of a decision",
    better="neither",
    of_agent=False,
    asked_by=_COMPARED,
    to_name=("planner",),
)
MODEL_ERROR = Metric(
    "model/{quantity}/step_{step}",
    lambda index: f"error of the learned model ({index.get('quantity', 'all')})",
    better="lower",
    of_agent=False,
)
METRICS = (
    RETURN, SCORE, HORIZON, REACH, ABOVE_FLOOR, FLOOR_REACH, REACH_OF_KIND, RMSE, VALUE_HORIZON,
    ACCURACY, FLOOR_ACCURACY, WORDS, RIGHT_WORDS, PATH, COLLISION_HORIZON, COLLISIONS,
    *LOOPS.values(), SEARCH_SCORE, ONE_PLY_SCORE, SEARCH_RIGHT, SEARCH_STEPS, BASELINE_SCORE,
    BASELINE_RIGHT, BASELINE_STEPS, COMPARED_SCORE, COMPARED_STEPS, MODEL_ERROR,
)  # fmt: skip


def places(config: RunConfig) -> Iterator[Place]:
    """What a run logs when it is done, but for what only its data can say.

    Those are accuracies by collisions, the share of right words (there may be none written), and
    episodes played optimally by the steps remaining at their start.
    """
    evaluation, agent = evaluation_of(config), AGENTS[config.agent.kind]
    task = config.env.task()
    chain = task.chain
    for metric in (RETURN, SCORE, HORIZON, REACH):
        yield Place(metric)
    if agent.has_values:
        yield from (Place(RMSE), Place(VALUE_HORIZON))
    if hasattr(chain, "causal_collisions"):
        yield Place(COLLISION_HORIZON)
    if task.deliberates:
        yield Place(WORDS)
    if agent.answers_by:
        yield Place(PATH)
    yield from (Place(ABOVE_FLOOR), Place(FLOOR_REACH))
    yield from (Place(REACH_OF_KIND, {"kind": kind}) for kind in FLOOR_KINDS)
    env = config.env.model_dump_json()
    for remaining in range(1, chain.serial_depth + 1):
        index = {"remaining": remaining}
        why_not = partial(_undecided, env, remaining, evaluation.seed, evaluation.per_remaining)
        yield Place(ACCURACY, index, why_not=why_not)
        yield Place(FLOOR_ACCURACY, index, why_not=why_not)
        for loops in evaluation.loops:
            yield Place(LOOPS[ACCURACY], {"loops": loops} | index, why_not=why_not)
    for loops in evaluation.loops:
        yield from (Place(LOOPS[m], {"loops": loops}) for m in (SCORE, HORIZON, REACH))
    yield from _of_searches(config)


def _of_searches(config: RunConfig) -> Iterator[Place]:
    """Scores of searches on top, and of what they are held against."""
    evaluation = evaluation_of(config)
    if not evaluation.simulations:
        return
    learned = getattr(config.agent, "dynamics", "true") == "learned"
    for dynamics in ("true", "learned") if learned else ("true",):
        yield Place(ONE_PLY_SCORE, {"dynamics": dynamics})
        for count in evaluation.simulations:
            index: Index = {"dynamics": dynamics, "simulations": count}
            yield Place(SEARCH_SCORE, index)
            if evaluation.baselines:
                yield Place(SEARCH_STEPS, index)
    for baseline in evaluation.baselines:
        for count in evaluation.simulations:
            index = {"baseline": baseline, "simulations": count}
            yield from (Place(BASELINE_SCORE, index), Place(BASELINE_STEPS, index))
    if not evaluation.baselines:
        return
    for planner in ("search", *dict.fromkeys(evaluation.baselines)):
        for count in evaluation.simulations:
            compared: Index = {"planner": planner, "simulations": count}
            score, steps, name = BASELINE_SCORE, BASELINE_STEPS, {"baseline": planner}
            if planner == "search":
                score, steps, name = SEARCH_SCORE, SEARCH_STEPS, {"dynamics": "true"}
            yield Place(COMPARED_SCORE, compared, score.at(name, simulations=count))
            yield Place(COMPARED_STEPS, compared, steps.at(name, simulations=count))


@lru_cache
def _undecided(env: str, remaining: int, seed: int, instances: int) -> str:
    """Why no state that an evaluation judges at ``remaining`` has a decision; empty if one has."""
    task = EnvConfig.model_validate_json(env).task()
    first = (remaining - 1) * instances
    seeds = state_seeds(seed, instances, np, first=first)
    states = task.at_remaining(seeds, np.full(instances, remaining))
    try:
        legal, values = task.examined(states)
    except ValueError as error:  # too many decisions to enumerate
        return str(error)
    if (legal & ~right_actions(values, legal)).any():
        return ""
    steps = "step" if remaining == 1 else "steps"
    return f"nothing is decided with {remaining} {steps} remaining"


def profile(config: RunConfig) -> Profile:
    """Accuracy by remaining steps, beside it that of the largest search on top."""
    depth = config.env.task().chain.serial_depth
    steps, most = range(1, depth + 1), max(evaluation_of(config).simulations, default=0)
    beside: Index = {"dynamics": "true", "simulations": most}
    return Profile(
        name="accuracy_by_remaining",
        title="Accuracy of decisions by remaining serial steps",
        x_label="remaining serial steps",
        y_label="accuracy of decisions",
        tags={k: ACCURACY.at(remaining=k) for k in steps},
        floors={k: FLOOR_ACCURACY.at(remaining=k) for k in steps},
        reference=RIGHT,
        meaning="which the serial horizon asks for",
        limits=(-0.02, 1.07),
        beside={k: SEARCH_RIGHT.at(beside, remaining=k) for k in steps} if most else {},
        beside_name=f"search of {most}",
        beside_words=f"the same weights with a search of {most} simulations on top, in episodes "
        "that begin with so many steps remaining",
    )


def most_steps(config: RunConfig) -> int:
    """What a metric that counts serial steps can reach."""
    return config.env.task().chain.serial_depth
