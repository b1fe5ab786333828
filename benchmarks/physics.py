"""Steps per second of what MuJoCo simulates: in batches against Gymnasium's AsyncVectorEnv.

One run measures, interleaved over rounds, with random actions and episodes reset as they end:

- native: the package's vector environment, ``mujoco.rollout`` on all instances at once;
- AsyncVectorEnv of the package's own single environment, one a process;
- AsyncVectorEnv of a plain Gymnasium environment on the same compiled model, which calls
  ``mujoco.mj_step`` for a step as Gymnasium's MuJoCo environments do, and nothing more: starts are
  drawn beforehand. Bet has none, as it would have to compute its outcome.

A step of ManyBody is an interval of simulated time, and for Bet a whole episode; one of Reach and
Push is an action.

    rl-serial bench physics [ID ...] [--num-envs 1024] [--processes 16] [--seconds 1] [--rounds 3]
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
from _ratios import Ratio, report
from gymnasium.vector import AsyncVectorEnv

from rl_serial.envs.chains.many_body import ManyBody
from rl_serial.envs.goals import Tabletop
from rl_serial.envs.goals.tabletop import SUBSTEPS
from rl_serial.envs.random import evaluation_seeds
from rl_serial.envs.simulation import thread_count, use_threads
from rl_serial.tables import markdown_table

IDS = (
    "rl_serial/ManyBodySteer-v0",
    "rl_serial/ManyBodyBet-v0",
    "rl_serial/Reach-v0",
    "rl_serial/Push-v0",
)


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


class PlainGoals(gymnasium.Env[Any, Any]):
    """Reach or Push, written as one writes a single MuJoCo environment."""

    def __init__(self, task: str) -> None:
        self.table = Tabletop(task)
        self.model = self.table.model()
        self.data = mujoco.MjData(self.model)
        self.starts = self.table.initial(evaluation_seeds(0, 256, np))
        self.observation_space = self.table.observation_space
        self.action_space = self.table.action_space
        self.episode = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.steps = (self.episode + 1) % 256, 0
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = self.starts.physics[self.episode, 1 : 1 + self.model.nq]
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, nstep=SUBSTEPS)
        self.steps += 1
        observation = self._observation()
        gap = observation["achieved_goal"] - observation["desired_goal"]
        success = bool(np.linalg.norm(gap) <= self.table.distance_threshold)
        truncated = self.steps >= self.table.episode_steps
        return observation, float(success), False, truncated, {"is_success": success}

    def _observation(self) -> Any:
        return {
            "observation": np.concatenate([self.data.qpos, self.data.qvel], dtype=np.float32),
            "achieved_goal": self.data.qpos[-2:].astype(np.float32),
            "desired_goal": self.starts.goal[self.episode],
        }


PLAIN: dict[str, Any] = {
    "rl_serial/ManyBodySteer-v0": PlainTable,
    "rl_serial/Reach-v0": partial(PlainGoals, "Reach"),
    "rl_serial/Push-v0": partial(PlainGoals, "Push"),
}


LIMIT = "MuJoCo's own time, on the same cores on either side"


def substeps(id_: str) -> float:
    """Time steps of MuJoCo in a step of an environment."""
    if "ManyBody" not in id_:
        return SUBSTEPS
    chain = ManyBody()
    interval = chain.interval / chain.model().opt.timestep
    return interval * (chain.serial_depth if "Bet" in id_ else 1)


def steps_per_second(env: Any, instances: int, seconds: float, generator: Any) -> float:
    """Instances stepped a second, over at least ``seconds`` and 16 calls."""
    space = env.single_action_space
    if isinstance(space, gymnasium.spaces.Box):
        shape = (64, instances, *space.shape)
        actions = generator.uniform(space.low, space.high, shape).astype(space.dtype)
    else:
        actions = generator.integers(0, space.n, (64, instances))
    started, calls = time.perf_counter(), 0
    while calls < 16 or time.perf_counter() - started < seconds:
        env.step(actions[calls % 64])
        calls += 1
    return instances * calls / (time.perf_counter() - started)


def measure(id_: str, options: argparse.Namespace) -> tuple[list[str], list[Ratio]]:
    """A row of the table, medians over rounds of every contender; and what has a target."""
    processes = options.processes
    singles = [partial(gymnasium.make, id_)] * processes
    contenders: dict[str, tuple[Any, int]] = {
        "async": (AsyncVectorEnv(singles, context="fork"), processes),
    }
    if id_ in PLAIN:
        plain = AsyncVectorEnv([PLAIN[id_]] * processes, context="fork")
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
    ratios = [
        f"{medians['native'] / medians[name]:.1f}x" if name in medians else ""
        for name in ("async", "plain")
    ]
    native = medians["native"]
    row = [f"`{id_}`", f"{native:,.0f}", f"{native * substeps(id_):,.0f}", *ratios]
    with_targets = [
        Ratio(
            f"{id_.split('/')[1]} over AsyncVectorEnv ({name})", native / medians[name], 5.0, LIMIT
        )
        for name in ("async", "plain")
        if name in medians
    ]
    return row, with_targets


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="rl-serial bench physics", description=__doc__)
    parser.add_argument("ids", nargs="*", default=list(IDS), metavar="ID")
    parser.add_argument("--num-envs", type=int, default=1024)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--threads", type=int, default=thread_count(), help="of the native one")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each contender and round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if unknown := set(options.ids) - set(IDS):
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(IDS)}")
    use_threads(options.threads)
    rows, ratios = zip(*(measure(id_, options) for id_ in options.ids), strict=True)
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
    report(ratio for of_one in ratios for ratio in of_one)


if __name__ == "__main__":
    main()
