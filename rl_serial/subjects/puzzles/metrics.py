"""What runs on puzzles measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rl_serial.agents.solver.ways import WAYS
from rl_serial.config import RunConfig
from rl_serial.metrics import Index, Metric, Place, Profile
from rl_serial.subjects.puzzles.config import (
    evaluation_of,
    rounds_of,
    task_of_run,
    ways_of,
)

RIGHT = 0.9
"""Share of solved puzzles that counts as solving them (serial horizon)."""
_WAYS = ("evaluation.ways", "agent.way")


def _solved(by: str = "") -> Callable[[Index], str]:
    def label(index: Index) -> str:
        parts = [f"puzzles solved{by}"]
        if "rounds" in index:
            parts.append(f"{index['rounds']} rounds")
        if "way" in index:
            name = str(index["way"])
            parts.append(WAYS[name].label if name in WAYS else name)
        return ", ".join(parts)

    return label


def _of_way(what: str) -> Callable[[Index], str]:
    def label(index: Index) -> str:
        name = str(index.get("way", ""))
        return f"{what}, {WAYS[name].label}" if name in WAYS else what

    return label


FLOOR = Metric("floor/solved", "puzzles solved by the floor", late=True)
SOLVED = Metric("eval/solved", "puzzles solved", progress="solved", floor=FLOOR)
ABOVE_FLOOR = Metric(
    "eval/solved_above_floor", "puzzles solved above the floor", late=True, interval_of=SOLVED
)
CELLS = Metric("eval/cells", "blank cells filled rightly")
HORIZON = Metric(
    "eval/serial_horizon", "serial horizon (rounds)", counts_steps=True, progress="horizon"
)
_ROUNDS = ("evaluation.rounds",)
FLOOR_BY = Metric(
    "floor/solved_by/rounds_{rounds}", _solved(" by the floor"), late=True, asked_by=_ROUNDS
)
SOLVED_BY = Metric(
    "eval/solved_by/rounds_{rounds}",
    _solved(),
    heat_map=True,
    floor=FLOOR_BY,
    asked_by=_ROUNDS,
)
WAY_SOLVED = Metric("ways/{way}/solved", _solved(), late=True, asked_by=_WAYS, to_name=("way",))
WAY_BY = Metric(
    "ways/{way}/solved_by/rounds_{rounds}",
    _solved(),
    late=True,
    asked_by=_WAYS,
    to_name=("way",),
    floor=FLOOR_BY,
)
WAY_HORIZON = Metric(
    "ways/{way}/serial_horizon",
    _of_way("serial horizon (rounds)"),
    counts_steps=True,
    late=True,
    asked_by=_WAYS,
    to_name=("way",),
)
PASSES = Metric(
    "ways/{way}/passes",
    _of_way("forward passes of a puzzle"),
    better="neither",
    late=True,
    asked_by=_WAYS,
    to_name=("way",),
)
FLOPS = Metric(
    "ways/{way}/flops",
    _of_way("FLOPs of a puzzle"),
    better="neither",
    late=True,
    asked_by=_WAYS,
    to_name=("way",),
)
PATH = Metric(
    "ways/{way}/critical_path",
    _of_way("sequential matrix products of a puzzle"),
    better="neither",
    late=True,
    asked_by=_WAYS,
    to_name=("way",),
)
LOOPS_SOLVED = Metric(
    "loops/{loops}/solved",
    lambda index: f"puzzles solved after {index.get('loops', 'some')} loops",
    asked_by=("evaluation.loops",),
)
LOOPS_BY = Metric(
    "loops/{loops}/solved_by/rounds_{rounds}", _solved(), asked_by=("evaluation.loops",)
)
"""What the same weights solve with another number of loops."""
SEARCHED = Metric(
    "search/solved/{simulations}",
    lambda index: f"puzzles solved with a search of {index.get('simulations', 'some')} on top",
    of_agent=False,
    asked_by=("evaluation.simulations",),
)
METRICS = (
    SOLVED, FLOOR, ABOVE_FLOOR, CELLS, HORIZON, SOLVED_BY, FLOOR_BY, WAY_SOLVED, WAY_BY,
    WAY_HORIZON, PASSES, FLOPS, PATH, LOOPS_SOLVED, LOOPS_BY, SEARCHED,
)  # fmt: skip


def places(config: RunConfig) -> Iterator[Place]:
    """What a run logs when it is done."""
    rounds, ways = rounds_of(config), ways_of(config)
    for metric in (SOLVED, FLOOR, ABOVE_FLOOR, CELLS):
        yield Place(metric)
    if rounds:
        yield Place(HORIZON)
    for count in rounds:
        yield Place(SOLVED_BY, {"rounds": count})
        yield Place(FLOOR_BY, {"rounds": count})
    for way in ways:
        for metric in (WAY_SOLVED, PASSES, FLOPS, PATH):
            yield Place(metric, {"way": way})
        if rounds:
            yield Place(WAY_HORIZON, {"way": way})
        for count in rounds:
            yield Place(WAY_BY, {"way": way, "rounds": count})
    for loops in evaluation_of(config).loops:
        yield Place(LOOPS_SOLVED, {"loops": loops})
        yield from (Place(LOOPS_BY, {"loops": loops, "rounds": count}) for count in rounds)
    for count in evaluation_of(config).simulations:
        yield Place(SEARCHED, {"simulations": count})


def profile(config: RunConfig) -> Profile:
    """Puzzles solved by the rounds they need."""
    rounds = rounds_of(config)
    return Profile(
        name="solved_by_rounds",
        limits=(-0.02, 1.02),
        title="Puzzles solved by the rounds of singles that they need",
        x_label="rounds",
        y_label="puzzles solved",
        tags={count: SOLVED_BY.at(rounds=count) for count in rounds},
        floors={count: FLOOR_BY.at(rounds=count) for count in rounds},
        reference=RIGHT,
        meaning="which the serial horizon asks for",
    )


def most_steps(config: RunConfig) -> int:
    """What a metric that counts rounds can reach."""
    return max(rounds_of(config), default=task_of_run(config).chain.serial_depth)
