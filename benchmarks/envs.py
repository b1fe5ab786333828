"""Environment steps per second: the batched environment against the same one under its peers.

One run measures, interleaved over rounds: this package's vector environment, the same environment
under Stable-Baselines3's DummyVecEnv and SubprocVecEnv and under Gymnasium's SyncVectorEnv and
AsyncVectorEnv, all with random actions, and a single ``env.step``. Steps per second are counted
over all instances; the in-process environments hold --num-envs of them, the multi-process ones
--processes, one a process.

    rl-serial bench envs [--num-envs 1024] [--processes 16] [--seconds 1] [--rounds 3] [ID …]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from _ratios import Ratio, report
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from rl_serial.envs import ENV_IDS
from rl_serial.tables import markdown_table

TARGETS = {"DummyVecEnv": 50.0, "SubprocVecEnv": 50.0}
SINGLE_STEP = 60.0
"""Microseconds of a single step, over all environments."""

Step = Callable[[Any], Any]


def steps_per_second(step: Step, actions: Any, per_call: int, seconds: float) -> float:
    """Instances stepped a second, over at least ``seconds`` and two calls."""
    started, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - started < seconds:
        step(actions[calls % len(actions)])
        calls += 1
    return per_call * calls / (time.perf_counter() - started)


def single_step_microseconds(env: gymnasium.Env[Any, Any], seconds: float) -> float:
    """Mean duration of ``env.step``, resets not counted."""
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, env.action_space.n, 4096).tolist()  # type: ignore[attr-defined]
    spent, steps = 0.0, 0
    while spent < seconds:
        started = time.perf_counter()
        terminated = env.step(actions[steps % 4096])[2]
        spent += time.perf_counter() - started
        steps += 1
        if terminated:
            env.reset()
    return 1e6 * spent / steps


def measure(
    id_: str, num_envs: int, processes: int, seconds: float, rounds: int
) -> tuple[dict[str, float], float]:
    """Medians over rounds: steps a second of every contender, microseconds of a single step."""
    make = [partial(gymnasium.make, id_)]
    native = gymnasium.make_vec(id_, num_envs)
    contenders: dict[str, tuple[Any, int]] = {
        "native": (native, num_envs),
        "DummyVecEnv": (DummyVecEnv(make * num_envs), num_envs),
        "SubprocVecEnv": (SubprocVecEnv(make * processes, start_method="fork"), processes),
        "SyncVectorEnv": (SyncVectorEnv(make * num_envs), num_envs),
        "AsyncVectorEnv": (AsyncVectorEnv(make * processes, context="fork"), processes),
    }
    single = gymnasium.make(id_)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    singles = []
    generator = np.random.default_rng(0)
    for _ in range(rounds):
        for name, (env, instances) in contenders.items():
            env.reset()
            actions = generator.integers(0, native.single_action_space.n, (64, instances))  # type: ignore[attr-defined]
            rates[name].append(steps_per_second(env.step, actions, instances, seconds))
        singles.append(single_step_microseconds(single, seconds / 4))
    for env, _ in contenders.values():
        env.close()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return medians, statistics.median(singles)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="rl-serial bench envs", description=__doc__)
    parser.add_argument("ids", nargs="*", default=list(ENV_IDS), metavar="ID")
    parser.add_argument("--num-envs", type=int, default=1024)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each contender and round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows, singles = [], []
    over: dict[str, list[float]] = {name: [] for name in TARGETS}
    for id_ in options.ids:
        found, single = measure(
            id_, options.num_envs, options.processes, options.seconds, options.rounds
        )
        native = found.pop("native")
        ratios = [f"{native / rate:.0f}x" for rate in found.values()]
        rows.append([f"`{id_}`", f"{native:,.0f}", *ratios, f"{single:.0f}"])
        singles.append(single)
        for name in TARGETS:
            over[name].append(native / found[name])
    print(f"{os.cpu_count()} cores; native with {options.num_envs} instances; median of rounds.\n")
    header = (
        "environment",
        "native steps/s",
        "over DummyVecEnv",
        "over SubprocVecEnv",
        "over SyncVectorEnv",
        "over AsyncVectorEnv",
        "one env.step (µs)",
    )
    print(markdown_table(header, rows))
    limit = "drawing instances and writing observations; most so of circuits"
    report(
        Ratio(f"batch over {name}, least of the environments", min(over[name]), target, limit)
        for name, target in TARGETS.items()
    )
    mean = statistics.mean(singles)
    limit = "array functions on one row, a microsecond each"
    report([Ratio("one env.step, mean of environments", mean, SINGLE_STEP, limit, True, " µs")])


if __name__ == "__main__":
    main()
