"""Updates of the value agent's networks, one by one and as a population.

The configurations are those of the studies of depth. A row has the milliseconds of an update of one
network by itself, and of one network of a population of N, which are updated together; then how
many times more updates that makes, and what all N together cost beside one. Lessons (instances and
their targets) are included, evaluations not; what they add is told from the same update with a
lesson that is there. Interleaved over rounds, one torch thread; the least of the rounds counts.

    rl-serial bench population [--members 8] [--updates 10] [--rounds 5] [--device cpu]
        [--least-on-gpu ROWS] [--plain]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _ratios import Ratio, report

from rl_serial.agents import fitted, updates
from rl_serial.agents.population import Population
from rl_serial.agents.value import ValueTrainer
from rl_serial.loading import load_config
from rl_serial.runs.devices import choose_device
from rl_serial.subjects import subject_of
from rl_serial.tables import markdown_table

CONFIGS = Path(__file__).parents[1] / "configs/train"
CASES = (
    ("automaton_s5_depth_pays", 16),
    ("automaton_s5_depth_pays", 4),
    ("automaton_s5_depth_pays", 1),
    ("pointer_random_depth_pays", 8),
    ("pointer_random_depth_pays", 1),
)

DEEP = ("16 x 40", "8 x 47")
"""Shapes whose populations have a target on a CPU."""

LIMIT = "the GPU's own time: it is busy"
LIMIT_CPU = "products of many small matrices, which one after the other take as long"
LIMIT_LESSONS = "the rules, played in NumPy for several updates at once"


def always(lesson: list[torch.Tensor]) -> updates.LessonsAhead:
    """A lesson that is there, for every update."""
    return updates.LessonsAhead(lambda count: lesson, ahead=1)


def trainers(name: str, layers: int, members: int, device: torch.device) -> list[ValueTrainer]:
    """Of the configuration with so many layers at the same budget, with seeds 0, 1, …"""
    configs = [
        load_config(CONFIGS / f"{name}.yaml", [f"network.layers={layers}", f"seed={seed}"])
        for seed in range(members)
    ]
    made = [subject_of(config).trainer(device, lambda *_: None) for config in configs]
    return [trainer for trainer in made if isinstance(trainer, ValueTrainer)]


def milliseconds(update: Callable[[], object], updates: int, device: torch.device) -> float:
    """Of an update."""
    started = time.perf_counter()
    for _ in range(updates):
        update()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - started) / updates


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="rl-serial bench population", description=__doc__)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument(
        "--least-on-gpu",
        type=int,
        default=fitted.LEAST_ON_GPU,
        help="instances of an update from which on the GPU plays the rules",
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="each lesson made by itself, every kernel launched by Python: no graphs",
    )
    options = parser.parse_args()
    fitted.LEAST_ON_GPU = options.least_on_gpu
    if options.plain:
        fitted.AHEAD.clear()
        updates.GRAPHS_ON = ()
    torch.set_num_threads(1)
    device = choose_device(options.device)
    rows, ratios = [], []
    for name, layers in CASES:
        single, taught = trainers(name, layers, 2, device)
        taught._update()
        assert taught.lessons is not None
        taught.lessons = always(taught.lessons.at(1, taught.total))
        population = Population(trainers(name, layers, options.members, device))
        alone, together, bare = [], [], []
        for round_ in range(-1, options.rounds):  # the first one warms up
            times = [
                milliseconds(update, options.updates, device)
                for update in (single._update, population.update, taught._update)
            ]
            if round_ >= 0:
                for kept, time_ in zip((alone, together, bare), times, strict=True):
                    kept.append(time_)
        one, all_, lessons = min(alone), min(together), min(alone) / min(bare)
        each = all_ / options.members
        shape = f"{layers} x {single.network.trunk.width}"
        figures = f"{one:.1f}", f"{each:.1f}", f"{one / each:.2f}x", f"{all_ / one:.2f}x"
        rows.append((f"`{name}`", shape, *figures, f"{lessons:.2f}x"))
        what = f"{name}, {shape}"
        if device.type == "cuda":
            cost = f"{options.members} seeds of {what}, over one"
            ratios.append(Ratio(cost, all_ / one, 2.0, LIMIT, at_most=True))
        elif shape in DEEP:
            updates_of = f"updates in a population of {options.members} of {what}, over alone"
            ratios.append(Ratio(updates_of, one / each, 1.5, LIMIT_CPU))
        whole = f"an update with its lesson of {what}, over the update alone"
        ratios.append(Ratio(whole, lessons, 1.25, LIMIT_LESSONS, at_most=True))
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} cores"
    how = "plain updates" if options.plain else "lessons ahead, graphs on a GPU"
    print(
        f"{where}, one torch thread, populations of {options.members}, {how}; "
        f"rules on the GPU from {options.least_on_gpu} instances on.\n"
    )
    header = ("configuration", "layers x width", "alone (ms)", "in a population (ms)")
    print(markdown_table((*header, "updates", "cost of all", "lessons"), rows))
    report(ratios)


if __name__ == "__main__":
    main()
