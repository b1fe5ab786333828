"""PPO steps per second beside what people would use.

The same algorithm, network (two layers of 64), settings and number of environments:

- native: PPO of Stable-Baselines3 with this package's ``VecEnv``;
- make_vec_env: stock Stable-Baselines3, DummyVecEnv with Monitor;
- SBX: Stable-Baselines3's PPO in JAX, with make_vec_env, and with the native ``VecEnv``;
- compiled: a loop in the manner of PureJaxRL, rules and updates one compiled function
  (``benchmarks/_jax_training.py``).

They take turns, medians of rounds; torch has one thread, JAX as many as it likes and is compiled
before. The last three run in a process of another Python, which `make .venv-sbx/installed` sets up,
and are left out where there is none.

    rl-serial bench train [--num-envs 64] [--timesteps 40960] [--rounds 3] [--peers PYTHON] [ID …]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import gymnasium
import torch
from _ratios import Ratio, report
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from rl_serial.agents.sb3 import SerialVecEnv
from rl_serial.tables import markdown_table

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv-sbx/bin/python"
TARGETS = (
    ("make_vec_env", 3.0, "Stable-Baselines3's own loop and its update, which both have"),
    ("sbx", 1.0, "SBX's compiled update; its environments are Python's"),
)
"""Contender, by how much native is faster, what keeps it from more."""

IDS = ("rl_serial/PermutationAutomatonBet-v0", "rl_serial/CellularAutomatonSteer-v0")


def steps_per_second(env: VecEnv, timesteps: int) -> float:
    """Timesteps a second of PPO with two hidden layers of 64, one epoch of large batches."""
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=1024, n_epochs=1, seed=0, device="cpu")
    started = time.perf_counter()
    model.learn(timesteps)
    return timesteps / (time.perf_counter() - started)


class Peers:
    """A process of another Python that trains in JAX."""

    CONTENDERS = ("sbx", "sbx native", "compiled")

    def __init__(self, python: Path) -> None:
        self.process = subprocess.Popen(
            [python, ROOT / "benchmarks/_jax_training.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        )

    def steps_per_second(self, *asked: object) -> float:
        """Of a contender, an id, a number of environments and of timesteps."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the process that trains in JAX has ended; its error is above")
        return float(line)

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def has_peers(python: Path) -> bool:
    """Whether a Python is there and has SBX."""
    code = "import importlib.util as u; raise SystemExit(u.find_spec('sbx') is None)"
    return python.exists() and subprocess.run([python, "-c", code], check=False).returncode == 0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="rl-serial bench train", description=__doc__)
    parser.add_argument("ids", nargs="*", default=IDS, metavar="ID")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--timesteps", type=int, default=40_960)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, default=PEERS, help="a Python that has SBX")
    options = parser.parse_args()
    torch.set_num_threads(1)
    peers = Peers(options.peers) if has_peers(options.peers) else None
    names = ("native", "make_vec_env", *(Peers.CONTENDERS if peers else ()))
    rows, ratios = [], []
    for id_ in options.ids:
        rates: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(options.rounds):
            env = SerialVecEnv(gymnasium.make_vec(id_, options.num_envs).unwrapped)  # type: ignore[arg-type]
            rates["native"].append(steps_per_second(env, options.timesteps))
            stock = make_vec_env(id_, options.num_envs)
            rates["make_vec_env"].append(steps_per_second(stock, options.timesteps))
            for name in names[2:]:
                assert peers is not None
                asked = (name, id_, options.num_envs, options.timesteps)
                rates[name].append(peers.steps_per_second(*asked))
        found = {name: statistics.median(values) for name, values in rates.items()}
        over = {name: found["native"] / found[name] for name in names[1:]}
        rows.append(
            (
                f"`{id_}`",
                *(f"{found[name]:,.0f}" for name in names),
                *(f"{over[name]:.2f}x" for name in over),
            )
        )
        for name, target, limit in TARGETS:
            if name in over:
                what = f"PPO on {id_.split('/')[1]}, native over {name}"
                ratios.append(Ratio(what, over[name], target, limit))
    if peers:
        peers.close()
    else:
        print(f"Without SBX and JAX: {options.peers} has no sbx (make .venv-sbx/installed).\n")
    print(f"{os.cpu_count()} cores, one torch thread, {options.num_envs} environments.\n")
    header = ["environment", "native", *names[1:], *(f"native over {name}" for name in names[1:])]
    print(markdown_table(header, rows))
    report(ratios)


if __name__ == "__main__":
    main()
