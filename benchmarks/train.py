"""PPO steps per second: the native VecEnv against stock Stable-Baselines3.

Same algorithm, network, settings and number of environments; only the VecEnv differs:
``SerialVecEnv`` against ``make_vec_env`` (DummyVecEnv with Monitor). Interleaved over rounds.

    rl-serial bench train [--num-envs 64] [--timesteps 40960] [--rounds 3] [ID …]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from rl_serial.agents.sb3 import SerialVecEnv
from rl_serial.tables import markdown_table

IDS = ("rl_serial/PermutationAutomatonBet-v0", "rl_serial/CellularAutomatonSteer-v0")


def steps_per_second(env: VecEnv, timesteps: int) -> float:
    """Timesteps a second of PPO with two hidden layers of 64, one epoch of large batches."""
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=1024, n_epochs=1, seed=0, device="cpu")
    started = time.perf_counter()
    model.learn(timesteps)
    return timesteps / (time.perf_counter() - started)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="rl-serial bench train", description=__doc__)
    parser.add_argument("ids", nargs="*", default=IDS, metavar="ID")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--timesteps", type=int, default=40_960)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for id_ in options.ids:
        native, stock = [], []
        for _ in range(options.rounds):
            env = SerialVecEnv(gymnasium.make_vec(id_, options.num_envs).unwrapped)  # type: ignore[arg-type]
            native.append(steps_per_second(env, options.timesteps))
            stock.append(steps_per_second(make_vec_env(id_, options.num_envs), options.timesteps))
        ours, theirs = statistics.median(native), statistics.median(stock)
        rows.append((f"`{id_}`", f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.1f}x"))
    print(f"{os.cpu_count()} cores, one torch thread, {options.num_envs} environments.\n")
    header = ("environment", "PPO steps/s, native", "PPO steps/s, make_vec_env", "ratio")
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
