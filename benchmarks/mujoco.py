"""Steps per second of ManyBody: the batched simulation against Gymnasium's AsyncVectorEnv.

One run measures, interleaved over rounds, with random actions and episodes reset as they end:

- native: the package's vector environment, ``mujoco.rollout`` on all instances at once;
- AsyncVectorEnv of the package's own single environment, one a process;
- AsyncVectorEnv of a plain Gymnasium environment on the same compiled model, which calls
  ``mujoco.mj_step`` for an interval as Gymnasium's MuJoCo environments do, and nothing more. It
  draws its starts beforehand and computes no outcome; it is there for Steer.

A step is an interval of simulated time, and for Bet a whole episode.

    rl-serial bench mujoco [--num-envs 1024] [--processes 16] [--seconds 1] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.vector import AsyncVectorEnv

from rl_serial.envs.chains.many_body import ManyBody
from rl_serial.envs.random import evaluation_seeds
from rl_serial.envs.simulation import thread_count, use_threads
from rl_serial.tables import markdown_table

IDS = ("rl_serial/ManyBodySteer-v0", "rl_serial/ManyBodyBet-v0")


class PlainTable(gymnasium.Env[Any, Any]):
    """The same model under the same actions, written as one writes a single MuJoCo environment."""

    def __init__(self) -> None:
        self.chain = ManyBody()
        self.model = self.chain.model()
        self.data = mujoco.MjData(self.model)
        self.substeps = round(self.chain.interval / self.model.opt.timestep)
        self.starts = self.chain.initial(evaluation_seeds(0, 256, np))
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (self.model.nq + self.model.nv,), np.float64
        )
        self.action_space = gymnasium.spaces.Discrete(1 + self.chain.num_kicks)
        self.episode = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.steps = (self.episode + 1) % 256, 0
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = self.starts.position[self.episode].ravel()
        self.data.qvel[:] = self.starts.velocity[self.episode].ravel()
        return self._observation(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.steps < 2:
            for _ in range(action):
                self.data.qvel[0], self.data.qvel[1] = -self.data.qvel[1], self.data.qvel[0]
        mujoco.mj_step(self.model, self.data, nstep=self.substeps)
        self.steps += 1
        ended = self.steps == self.chain.serial_depth
        right = self.data.qpos[0] >= self.chain.side / 2
        reward = (1.0 if right == self.starts.half[self.episode] else -1.0) if ended else 0.0
        return self._observation(), reward, ended, False, {}

    def _observation(self) -> Any:
        return np.concatenate([self.data.qpos, self.data.qvel])


def steps_per_second(env: Any, instances: int, seconds: float, generator: Any) -> float:
    """Instances stepped a second, over at least ``seconds`` and 16 calls."""
    actions = generator.integers(0, env.single_action_space.n, (64, instances))
    started, calls = time.perf_counter(), 0
    while calls < 16 or time.perf_counter() - started < seconds:
        env.step(actions[calls % 64])
        calls += 1
    return instances * calls / (time.perf_counter() - started)


def measure(id_: str, options: argparse.Namespace) -> list[str]:
    """A row of the table: medians over rounds of every contender."""
    processes = options.processes
    singles = [partial(gymnasium.make, id_)] * processes
    contenders: dict[str, tuple[Any, int]] = {
        "async": (AsyncVectorEnv(singles, context="fork"), processes),
    }
    if "Steer" in id_:
        plain = AsyncVectorEnv([PlainTable] * processes, context="fork")
        contenders["plain"] = (plain, processes)
    # Last, so that no process is forked from one that has threads.
    contenders["native"] = (gymnasium.make_vec(id_, options.num_envs), options.num_envs)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    generator = np.random.default_rng(0)
    for env, _ in contenders.values():
        env.reset(seed=0)
    for _ in range(options.rounds):
        for name, (env, instances) in contenders.items():
            rates[name].append(steps_per_second(env, instances, options.seconds, generator))
    for env, _ in contenders.values():
        env.close()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    chain = ManyBody()
    substeps = chain.interval / chain.model().opt.timestep
    if "Bet" in id_:
        substeps *= chain.serial_depth
    ratios = [
        f"{medians['native'] / medians[name]:.1f}x" if name in medians else ""
        for name in ("async", "plain")
    ]
    native = medians["native"]
    return [f"`{id_}`", f"{native:,.0f}", f"{native * substeps:,.0f}", *ratios]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="rl-serial bench mujoco", description=__doc__)
    parser.add_argument("--num-envs", type=int, default=1024)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--threads", type=int, default=thread_count(), help="of the native one")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each contender and round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    use_threads(options.threads)
    rows = [measure(id_, options) for id_ in IDS]
    print(
        f"native: {options.num_envs} instances, {options.threads} threads; "
        f"AsyncVectorEnv: {options.processes} processes; median of rounds.\n"
    )
    header = (
        "environment",
        "native steps/s",
        "MuJoCo steps/s",
        "over AsyncVectorEnv",
        "over AsyncVectorEnv of a plain environment",
    )
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
