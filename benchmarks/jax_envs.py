"""The chains' rules under JAX beside the batched environment on NumPy and the rules on torch.

Steps per second over all instances with random actions, episodes begun anew as they end. NumPy is
``gymnasium.make_vec`` (observations, rewards, masks and infos as an agent gets them); torch is the
task's own rules, the same batch, finished rows replaced; JAX is ``vmap`` of ``JaxEnv.step`` in one
``scan``, compiled before. They take turns, medians over rounds; each as many threads as it likes.

    rl-serial bench jax_envs [--num-envs 1024] [--steps 64] [--rounds 5] [ID …]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import numpy as np
import torch
from _ratios import Ratio, report

from rl_serial.envs import ENV_IDS, jax_env
from rl_serial.envs.chain import is_numpy_only, select
from rl_serial.envs.registry import task_of
from rl_serial.envs.tasks import num_actions
from rl_serial.tables import markdown_table

LEVEL = {
    "rl_serial/PermutationAutomatonSteer-v0": "passes over memory, and two libraries' threads",
}
"""Where the native batch is to be level with the compiled one, and what limits it."""


def with_numpy(id_: str, batch: int, steps: int) -> Callable[[], object]:
    """Plays ``steps`` steps of the native batch."""
    envs = gymnasium.make_vec(id_, batch)
    envs.reset(seed=0)
    count = envs.single_action_space.n  # type: ignore[attr-defined]
    actions = np.random.default_rng(0).integers(0, count, (steps, batch))

    def play() -> object:
        for action in actions:
            envs.step(action)
        return None

    return play


def with_torch(id_: str, batch: int, steps: int) -> Callable[[], object]:
    """The same with the rules on torch tensors."""
    task = task_of(id_)
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(num_actions(task), (steps, batch), generator=generator)
    first = iter(range(0, 2**62, batch))

    def fresh() -> object:
        begin = next(first)
        return task.initial(torch.arange(begin, begin + batch))

    def play() -> object:
        state = fresh()
        for action in actions:
            transition = task.step(state, action)
            state = select(transition.terminated, fresh(), transition.state)
            task.observe(state)
            task.legal_actions(state)
        return None

    return play


def with_jax(id_: str, batch: int, steps: int) -> Callable[[], object]:
    """The same in one compiled loop."""
    env, params = jax_env.make(id_)
    reset = jax.vmap(env.reset, in_axes=(0, None))
    step = jax.vmap(env.step, in_axes=(0, 0, 0, None))

    def one(carried: tuple[jax.Array, Any], key: jax.Array) -> tuple[Any, jax.Array]:
        keys = jax.random.split(key, batch + 1)
        action = jax.random.randint(keys[-1], (batch,), 0, env.num_actions)
        observation, state, reward, _, _ = step(keys[:-1], carried[1], action, params)
        return (observation, state), reward

    @jax.jit
    def play(key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, batch + steps)
        begun = reset(keys[:batch], params)
        carried, rewards = jax.lax.scan(one, begun, keys[batch:])
        return rewards.sum() + carried[0].sum()

    key = jax.random.key(0)
    play(key).block_until_ready()
    return lambda: play(key).block_until_ready()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="rl-serial bench jax_envs", description=__doc__)
    there = [id_ for id_ in ENV_IDS if not is_numpy_only(ENV_IDS[id_][0].chain())]
    parser.add_argument("ids", nargs="*", default=there, metavar="ID")
    parser.add_argument("--num-envs", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows, ratios = [], []
    for id_ in options.ids:
        players = {
            name: make(id_, options.num_envs, options.steps)
            for name, make in (("numpy", with_numpy), ("torch", with_torch), ("jax", with_jax))
        }
        rates: dict[str, list[float]] = {name: [] for name in players}
        for _ in range(options.rounds):
            for name, play in players.items():
                started = time.perf_counter()
                play()
                spent = time.perf_counter() - started
                rates[name].append(options.num_envs * options.steps / spent)
        found = {name: statistics.median(values) for name, values in rates.items()}
        ratio = found["numpy"] / found["jax"]
        rows.append((f"`{id_}`", *(f"{found[name]:,.0f}" for name in rates), f"{ratio:.2f}x"))
        if id_ in LEVEL:
            ratios.append(Ratio(f"{id_.split('/')[1]}, NumPy over JAX", ratio, 1.0, LEVEL[id_]))
    where = f"{os.cpu_count()} cores, {jax.default_backend()}"
    print(f"{where}, jax {jax.__version__}, {options.num_envs} instances.\n")
    print(markdown_table(("environment", "NumPy", "torch", "JAX", "NumPy over JAX"), rows))
    report(ratios)


if __name__ == "__main__":
    main()
