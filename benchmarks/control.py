"""Planning against SAC and PPO in continuous control, at equal simulator steps and equal seconds.

One row a run goes to ``OUT/results.csv`` as soon as it is finished; a second start makes the rows
that are missing and repeats none. What a budget buys:

- ``sac``, ``ppo`` (Stable-Baselines3), ``cem-learned``, ``cem-learned-value`` (a learned model) and
  ``cem-value`` (true simulator, a quarter of the horizon, learned terminal value): training, the
  planning of ``cem-value`` included. Evaluation comes on top.
- ``cem``, ``mppi`` (true simulator): the planning of one episode, by the number of samples. They
  learn nothing, so every episode costs a budget.

What was really spent is in the row: steps of the simulator (one is ``frame_skip`` steps of MuJoCo)
and seconds, in training and in evaluation, and horizon × iterations, the serial steps a decision.

    rl-serial bench control [--smoke] [--tasks …] [--methods …] [--seeds 3] [--steps 20000 200000]
                            [--seconds 60] [--episodes 5] [--threads 2] [--out results/…]
    rl-serial bench control --peer       # against pytorch-mppi on a pendulum; needs the extra peers
"""

from __future__ import annotations

import argparse
import itertools
import math
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rl_serial.planning import CEM, MPPI, first_plan, plan_control, shift
from rl_serial.study.table import read_table, table_text
from rl_serial.tables import markdown_table
from rl_serial.training.files import write_text

LEAST_SAMPLES = 4
HEADER = (
    "task", "method", "seed", "budget", "amount", "limit", "episodes", "status",
    "return_mean", "return_std", "returns", "length_mean",
    "horizon", "iterations", "samples", "serial_steps_a_decision",
    "train_env_steps", "train_simulator_steps", "train_seconds",
    "eval_env_steps", "eval_simulator_steps", "eval_model_steps", "eval_seconds",
)  # fmt: skip
KEY = ("task", "method", "seed", "budget", "amount", "limit", "episodes")
TEXTS = ("task", "method", "budget", "status", "returns")


@dataclass(frozen=True)
class Task:
    """A task's planning settings; none was tuned beyond a first look at Reacher."""

    limit: int  # steps of an episode
    horizon: int
    cem: CEM
    mppi: MPPI


TASKS = {
    "Reacher-v5": Task(
        50,
        16,
        CEM(iterations=3, std=0.15, min_std=0.01, keep=1),
        MPPI(std=0.1),
    ),
    "HalfCheetah-v5": Task(
        1000,
        20,
        CEM(iterations=2, std=0.5, min_std=0.1, noise_exponent=2.0, keep=1),
        MPPI(std=0.5, noise_exponent=2.0),
    ),
    "Hopper-v5": Task(
        1000,
        40,
        CEM(iterations=2, std=0.5, min_std=0.1, noise_exponent=2.0, keep=1),
        MPPI(std=0.5, noise_exponent=2.0),
    ),
}
PLANNERS = ("cem", "mppi")
LEARNERS = ("cem-value", "cem-learned", "cem-learned-value")
METHODS = (*PLANNERS, *LEARNERS, "sac", "ppo")


@dataclass(frozen=True)
class Run:
    """A row that is to be made."""

    task: str
    method: str
    seed: int
    budget: str  # "steps" or "seconds"
    amount: float
    limit: int  # steps of an episode
    episodes: int

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from other rows."""
        return tuple(_text(getattr(self, name)) for name in KEY)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def with_samples(planner: CEM | MPPI, samples: int) -> CEM | MPPI:
    """The planner with as many samples, an eighth of them elites."""
    if isinstance(planner, CEM):
        return replace(planner, samples=samples, elites=max(2, samples // 8))
    return replace(planner, samples=samples)


class Lacking(Exception):
    """A budget that buys nothing; the message says how much would."""


def run_planner(run: Run, threads: int) -> dict[str, Any]:
    """CEM or MPPI in the true simulator; the budget is that of one episode."""
    from rl_serial.agents.control import ControlAgent, ControlSettings
    from rl_serial.envs.control import make_control

    task = TASKS[run.task]
    planner: CEM | MPPI = task.cem if run.method == "cem" else task.mppi

    def make() -> Any:
        return make_control(run.task, max_episode_steps=run.limit)

    def agent(samples: int) -> ControlAgent:
        settings = ControlSettings(with_samples(planner, samples), task.horizon, discount=1.0)
        return ControlAgent(make, settings, run.seed, threads)

    a_sample = run.limit * task.horizon * planner.iterations  # steps of an episode
    affordable = run.amount
    if run.budget == "seconds":
        with agent(64) as tried:  # how long an episode of 64 samples would take
            begun, few = time.perf_counter(), min(run.limit, 10)
            tried.train(few)
            affordable *= 64 * a_sample * few / run.limit / (time.perf_counter() - begun)
    samples = int((affordable - (run.limit if run.budget == "steps" else 0)) // a_sample)
    if samples < LEAST_SAMPLES:
        least = run.amount * (LEAST_SAMPLES * a_sample + run.limit) / affordable
        raise Lacking(f"needs {least:.3g} {run.budget} for {LEAST_SAMPLES} samples")
    with agent(samples) as planning:
        return evaluation(planning, run) | {"samples": samples}


def run_learner(run: Run, threads: int) -> dict[str, Any]:
    """An agent that learns model or value; the budget is that of training."""
    from rl_serial.agents.control import ControlAgent, ControlSettings, Learning
    from rl_serial.envs.control import make_control

    task = TASKS[run.task]
    valued = run.method.endswith("value")
    model: Any = "learned" if "learned" in run.method else "true"
    random_steps = 1000 if run.budget == "seconds" else max(1, min(1000, int(run.amount) // 4))
    settings = ControlSettings(
        with_samples(task.cem, 32),
        max(1, task.horizon // 4) if valued else task.horizon,
        model,
        terminal_value=valued,
        discount=0.99,
        learning=Learning(random_steps=random_steps),
    )
    with ControlAgent(
        lambda: make_control(run.task, max_episode_steps=run.limit), settings, run.seed, threads
    ) as agent:
        begun = time.perf_counter()
        if run.budget == "steps":
            agent.train(10**9, simulator_steps=int(run.amount))
        else:
            agent.train(10**9, seconds=run.amount)
        spent = {
            "train_env_steps": agent.env_steps,
            "train_simulator_steps": agent.simulator_steps,
            "train_seconds": time.perf_counter() - begun,
            "samples": settings.planner.samples,
        }
        return evaluation(agent, run) | spent


def evaluation(agent: Any, run: Run) -> dict[str, Any]:
    """Play the episodes of evaluation with a planning agent."""
    begun = time.perf_counter()
    episodes = agent.evaluate(range(run.episodes))
    return {
        **outcome([episode.total for episode in episodes], [e.steps for e in episodes]),
        "horizon": agent.settings.horizon,
        "iterations": agent.settings.planner.iterations,
        "serial_steps_a_decision": agent.accounts.critical_path,
        "eval_env_steps": sum(episode.steps for episode in episodes),
        "eval_simulator_steps": sum(episode.simulator_steps for episode in episodes),
        "eval_model_steps": sum(episode.model_steps for episode in episodes),
        "eval_seconds": time.perf_counter() - begun,
    }


def run_model_free(run: Run, threads: int) -> dict[str, Any]:
    """SAC with Stable-Baselines3's defaults, PPO with them and with normal observations."""
    from stable_baselines3 import PPO, SAC
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    from rl_serial.envs.control import make_control

    class Deadline(BaseCallback):
        """Ends training when the budget is used up."""

        def _on_step(self) -> bool:
            if run.budget == "steps":
                return bool(self.num_timesteps < run.amount)
            return time.perf_counter() - begun < run.amount

    def make() -> Any:
        return Monitor(make_control(run.task, max_episode_steps=run.limit))

    env: Any = DummyVecEnv([make])
    if run.method == "ppo":
        env = VecNormalize(env)
        # Whole batches of 64, and no more than the budget in the first round.
        steps = 2048 if run.budget == "seconds" else max(64, min(2048, int(run.amount) // 64 * 64))
        model: Any = PPO("MlpPolicy", env, n_steps=steps, seed=run.seed, device="cpu")
    else:
        model = SAC("MlpPolicy", env, seed=run.seed, device="cpu")
    begun = time.perf_counter()
    model.learn(10**9 if run.budget == "seconds" else int(run.amount), callback=Deadline())
    trained = time.perf_counter() - begun

    begun = time.perf_counter()
    totals, lengths = [], []
    for seed in range(run.episodes):
        played = make_control(run.task, max_episode_steps=run.limit)
        observation, _ = played.reset(seed=seed)
        total, length, over = 0.0, 0, False
        while not over:
            seen = env.normalize_obs(observation) if run.method == "ppo" else observation
            action, _ = model.predict(seen, deterministic=True)
            observation, reward, terminated, truncated, _ = played.step(action)
            total, length, over = total + float(reward), length + 1, terminated or truncated
        played.close()
        totals.append(total)
        lengths.append(length)
    env.close()
    return {
        **outcome(totals, lengths),
        "serial_steps_a_decision": 0,
        "train_env_steps": model.num_timesteps,
        "train_simulator_steps": model.num_timesteps,
        "train_seconds": trained,
        "eval_env_steps": sum(lengths),
        "eval_simulator_steps": sum(lengths),
        "eval_model_steps": 0,
        "eval_seconds": time.perf_counter() - begun,
    }


def outcome(totals: Sequence[float], lengths: Sequence[int]) -> dict[str, Any]:
    """The columns on returns."""
    return {
        "status": "done",
        "return_mean": statistics.fmean(totals),
        "return_std": statistics.stdev(totals) if len(totals) > 1 else None,
        "returns": ";".join(f"{total:.6g}" for total in totals),
        "length_mean": statistics.fmean(lengths),
    }


def made(run: Run, threads: int) -> dict[str, Any]:
    """The row of a run; one that failed says why, and is a row too."""
    makers: dict[str, Callable[[Run, int], dict[str, Any]]] = {
        **dict.fromkeys(PLANNERS, run_planner),
        **dict.fromkeys(LEARNERS, run_learner),
    }
    try:
        found = makers.get(run.method, run_model_free)(run, threads)
    except Lacking as error:
        found = {"status": f"too small: {error}"}
    except Exception as error:  # whatever it is, the other runs go on
        found = {"status": f"failed: {type(error).__name__}: {error}"}
    row = {**dict.fromkeys(HEADER), **{name: getattr(run, name) for name in KEY}, **found}
    return {name: _rounded(value) for name, value in row.items()}


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def compare(runs: Sequence[Run], out: Path, threads: int) -> None:
    """Make the rows that are missing, one after the other, and print all."""
    file = out / "results.csv"
    rows = read_table(file, TEXTS) if file.exists() else []
    if rows and tuple(rows[0]) != HEADER:
        raise SystemExit(
            f"{file} has other columns than this benchmark writes: choose another --out"
        )
    there = {tuple(_text(row[name]) for name in KEY) for row in rows}
    missing = [run for run in runs if run.key not in there]
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "command.txt", f"rl-serial bench control {shlex.join(sys.argv[1:])}\n")
    for number, run in enumerate(missing, start=1):
        row = made(run, threads)
        rows.append(row)
        write_text(file, table_text(HEADER, rows))
        place = f"{number}/{len(missing)}"
        print(f"{place} {' '.join(run.key)}: {row['status']} {row['return_mean']}", file=sys.stderr)
    print(summary(rows))


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Mean returns over seeds, and the least and greatest of seeds."""
    table = []
    names = ("task", "budget", "amount", "method")
    done = [row for row in rows if row["status"] == "done"]
    done.sort(key=lambda row: tuple(row[name] for name in names))
    for key, group in itertools.groupby(done, key=lambda row: tuple(row[name] for name in names)):
        found = list(group)
        means = [float(row["return_mean"]) for row in found]
        spread = f"{min(means):.1f} to {max(means):.1f}"
        simulated = statistics.fmean(
            (row["train_simulator_steps"] or 0) + row["eval_simulator_steps"] / row["episodes"]
            for row in found
        )
        seconds = statistics.fmean(
            (row["train_seconds"] or 0) + row["eval_seconds"] / row["episodes"] for row in found
        )
        table.append(
            (*map(_text, key), str(len(found)), f"{statistics.fmean(means):.1f}", spread,
             str(found[0]["serial_steps_a_decision"]), f"{simulated:,.0f}", f"{seconds:.1f}")
        )  # fmt: skip
    header = ("task", "budget", "amount", "method", "seeds", "return", "seeds from to")
    costs = ("serial steps a decision", "simulator steps", "seconds")
    return "Costs are of training and one episode.\n\n" + markdown_table((*header, *costs), table)


def pendulum(xp: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Swinging a pendulum up, (angle, speed) [..., 2] and torque [..., 1]: dynamics and cost.

    Those of Gymnasium's Pendulum-v1, the cost of the state that a step leads to.
    """

    def dynamics(state: Any, action: Any) -> Any:
        angle, speed = state[..., 0], state[..., 1]
        torque = xp.clip(action[..., 0], -2, 2)
        speed = xp.clip(speed + (15 * xp.sin(angle) + 3 * torque) * 0.05, -8, 8)
        return xp.stack([angle + 0.05 * speed, speed], -1)

    def cost(state: Any, action: Any) -> Any:
        angle = (state[..., 0] + math.pi) % (2 * math.pi) - math.pi
        return angle**2 + 0.1 * state[..., 1] ** 2 + 0.001 * action[..., 0] ** 2

    return dynamics, cost


def compare_peer(seeds: int) -> None:
    """Print cost and time of own MPPI and CEM beside pytorch-mppi's, on the pendulum."""
    try:
        import torch
        from pytorch_mppi import MPPI as Peer
    except ImportError as error:
        raise SystemExit(f"{error}; pip install 'rl_serial[peers]'") from None
    torch.set_num_threads(1)
    samples, horizon, steps, temperature, std = 200, 20, 100, 1.0, 1.0
    own_dynamics, own_cost = pendulum(np)
    peer_dynamics, peer_cost = pendulum(torch)
    start = np.array([[math.pi, 0.0]])

    def rollout(state: Any, actions: Any) -> Any:
        at = np.repeat(state[:, None], actions.shape[1], axis=1)
        total = np.zeros(actions.shape[:2])
        for step in range(actions.shape[2]):
            at = own_dynamics(at, actions[:, :, step])
            total -= own_cost(at, actions[:, :, step])
        return total

    def own(settings: CEM | MPPI, seed: int) -> Callable[[Any], Any]:
        generator = np.random.default_rng(seed)
        plan = first_plan(1, horizon, [-2], [2])

        def act(state: Any) -> Any:
            nonlocal plan
            found = plan_control(rollout, state, plan, [-2], [2], settings, generator)
            plan = shift(found.plan, last=np.zeros(1))
            return found.action

        return act

    def peer(seed: int) -> Callable[[Any], Any]:
        torch.manual_seed(seed)
        planner = Peer(
            peer_dynamics, peer_cost, 2, torch.tensor([[std**2]], dtype=torch.float64),
            num_samples=samples, horizon=horizon, lambda_=temperature,
            u_max=torch.tensor([2.0], dtype=torch.float64),
            U_init=torch.zeros(horizon, 1, dtype=torch.float64),
        )  # fmt: skip

        def act(state: Any) -> Any:
            return planner.command(torch.as_tensor(state[0])).numpy()[None]

        return act

    same = MPPI(samples, 1, std, temperature, relative=False, control_cost=1.0)
    contenders: dict[str, Callable[[int], Callable[[Any], Any]]] = {
        "pytorch-mppi": peer,
        "own MPPI, same settings": lambda seed: own(same, seed),
        "own CEM, as many samples in 4 iterations": lambda seed: own(
            CEM(samples // 4, 4, 8, std=std), seed
        ),
    }
    costs: dict[str, list[float]] = {name: [] for name in contenders}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for seed in range(seeds):
        for name, make in contenders.items():
            act, state, total = make(seed), start, 0.0
            begun = time.perf_counter()
            for _ in range(steps):
                action = act(state)
                state = own_dynamics(state, action)
                total += float(own_cost(state, action)[0])
            times[name].append(1000 * (time.perf_counter() - begun) / steps)
            costs[name].append(total)
    table = [
        (
            name,
            f"{statistics.fmean(costs[name]):.1f}",
            f"{min(costs[name]):.1f} to {max(costs[name]):.1f}",
            f"{statistics.median(times[name]):.2f}",
        )
        for name in contenders
    ]
    print(
        f"Pendulum from below, {steps} steps, {samples} samples, horizon {horizon}, "
        f"{seeds} seeds, one thread.\n"
    )
    print(markdown_table(("planner", "cost", "seeds from to", "ms a decision"), table))


def main() -> None:
    """Make the table, or compare with pytorch-mppi."""
    parser = argparse.ArgumentParser(
        prog="rl-serial bench control",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, nargs="*", default=[20_000, 200_000])
    parser.add_argument("--seconds", type=float, nargs="*", default=[60.0])
    parser.add_argument("--episodes", type=int, default=5)
    parser.add_argument("--limit", type=int, help="steps of an episode, in place of the task's")
    parser.add_argument("--threads", type=int, default=2, help="of the simulator")
    parser.add_argument("--out", type=Path, default=Path("results/control-planning"))
    parser.add_argument("--smoke", action="store_true", help="everything once, tiny")
    parser.add_argument("--peer", action="store_true", help="against pytorch-mppi instead")
    options = parser.parse_args()
    if options.peer:
        compare_peer(options.seeds)
        return
    import torch

    torch.set_num_threads(1)
    if options.smoke:
        options.seeds, options.steps, options.seconds = 1, [250], [0.5]
        options.episodes, options.limit = 2, 4
        for name, task in TASKS.items():
            TASKS[name] = replace(task, horizon=4)
    budgets = [("steps", float(amount)) for amount in options.steps]
    budgets += [("seconds", amount) for amount in options.seconds]
    runs = [
        Run(
            task,
            method,
            seed,
            budget,
            amount,
            options.limit or TASKS[task].limit,
            options.episodes,
        )
        for task, (budget, amount), method, seed in itertools.product(
            options.tasks, budgets, options.methods, range(options.seeds)
        )
    ]
    compare(runs, options.out, options.threads)


if __name__ == "__main__":
    main()
