"""Planning against SAC and PPO in continuous control, at equal simulator steps and equal seconds.

One row a run goes to ``OUT/results.csv`` as soon as it is finished; a second start makes the rows
that are missing and repeats none. What a budget buys:

- ``sac``, ``ppo`` (Stable-Baselines3), ``cem-learned``, ``cem-learned-value`` (a learned model) and
  ``cem-value`` (true simulator, a quarter of the horizon, learned terminal value): training, the
  planning of ``cem-value`` included. Evaluation comes on top. One training serves all budgets that
  are asked for at once: it is evaluated, with its clock stopped, whenever one is used up.
- ``cem``, ``mppi`` (true simulator): the planning of one episode, by the number of samples. They
  learn nothing, so every episode costs a budget.

``sac`` steps eight environments side by side and updates its networks once for every
``steps_an_update`` of them; ``sac-1`` is Stable-Baselines3's default, one environment and an update
a step. ``ppo`` has eight environments too; all else is as Stable-Baselines3 has it, but that
``ppo`` has normal observations and rewards. Seed s of E episodes is evaluated on seeds s E to
s E + E - 1 of the environment, the same for every method.

What was really spent is in the row: steps of the simulator (one is ``frame_skip`` steps of MuJoCo)
and seconds, in training and in evaluation, and horizon × iterations, the serial steps a decision.
Seconds are of the processor, of all threads of the process together, so that what else a machine
does matters little; with one thread they are those of a clock on an idle machine.

    rl-serial bench control [--smoke] [--tasks …] [--methods …] [--seeds 3] [--first-seed 0]
                            [--steps 20000 200000] [--seconds 60] [--cap SECONDS] [--episodes 5]
                            [--horizons H …] [--planner KEY=NUMBER …] [--threads 2] [--out …]
    rl-serial bench control --merge FOLDER … --out FOLDER   # rows of several --out, and figures
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
from rl_serial.runs.files import write_text
from rl_serial.study.table import read_table, table_text
from rl_serial.tables import markdown_table

LEAST_SAMPLES = 4
HEADER = (
    "task", "method", "seed", "budget", "amount", "limit", "episodes", "horizon", "planner",
    "status", "return_mean", "return_std", "returns", "length_mean",
    "iterations", "samples", "serial_steps_a_decision",
    "train_env_steps", "train_simulator_steps", "train_updates", "train_seconds",
    "eval_env_steps", "eval_simulator_steps", "eval_model_steps", "eval_seconds",
)  # fmt: skip
KEY = ("task", "method", "seed", "budget", "amount", "limit", "episodes", "horizon", "planner")
TEXTS = ("task", "method", "budget", "planner", "status", "returns")
ENVS = 8  # side by side, of PPO and SAC


@dataclass(frozen=True)
class Task:
    """A task's settings."""

    limit: int  # steps of an episode
    horizon: int
    cem: CEM
    mppi: MPPI
    steps_an_update: int  # of sac; a multiple of ENVS or a divisor of it


TASKS = {
    "Reacher-v5": Task(
        50,
        16,
        CEM(iterations=3, std=0.15, min_std=0.01, keep=1),
        MPPI(std=0.1),
        8,
    ),
    "HalfCheetah-v5": Task(
        1000,
        20,
        CEM(iterations=2, std=0.5, min_std=0.1, keep=1),
        MPPI(std=0.5, temperature=0.1),
        24,
    ),
    "Hopper-v5": Task(
        1000,
        24,
        CEM(iterations=2, std=0.5, min_std=0.1, noise_exponent=2.0, keep=1),
        MPPI(std=0.5, temperature=0.1, noise_exponent=2.0),
        24,
    ),
    "rl_serial/ManyBodyKick-v0": Task(
        8,
        8,
        CEM(iterations=3, std=0.5, min_std=0.05, keep=1),
        MPPI(std=0.3, temperature=0.1),
        8,
    ),
}
PLANNERS = ("cem", "mppi")
LEARNERS = ("cem-value", "cem-learned", "cem-learned-value")
MODEL_FREE = ("sac", "sac-1", "ppo")
METHODS = (*PLANNERS, *LEARNERS, *MODEL_FREE)


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
    horizon: int = 0  # of plans; 0: there are none
    planner: str = ""  # settings in place of the task's, "name=number name=number"

    @property
    def training(self) -> tuple[str, ...]:
        """Runs in which it is the same are marks of one training."""
        alone = self.method in PLANNERS
        names = KEY if alone else tuple(name for name in KEY if name not in ("budget", "amount"))
        return tuple(_text(getattr(self, name)) for name in names)

    @property
    def seeds(self) -> range:
        """Of the environment in evaluation."""
        return range(self.seed * self.episodes, (self.seed + 1) * self.episodes)

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


def planner_of(run: Run) -> CEM | MPPI:
    """The task's planner, with the run's own settings."""
    task = TASKS[run.task]
    planner: CEM | MPPI = task.mppi if run.method == "mppi" else task.cem
    for setting in run.planner.split():
        name, _, number = setting.partition("=")
        if not hasattr(planner, name):
            raise ValueError(f"{type(planner).__name__} has no setting {name!r}")
        kind = type(getattr(planner, name))
        planner = replace(planner, **{name: kind(float(number))})
    return planner


Emit = Callable[[Run, dict[str, Any]], None]
"""Takes a run and what is to stand in its row."""


class Lacking(Exception):
    """A budget that buys nothing; the message says how much would."""


class Marks:
    """The budgets of one training, by which of them is used up next.

    Args:
        runs: one for each budget.
        cap: seconds after which the training ends, whatever is left.
    """

    def __init__(self, runs: Sequence[Run], cap: float | None) -> None:
        self.runs, self.cap = list(runs), cap

    def next(self, budget: str) -> float | None:
        """The least amount that is left of ``steps`` or ``seconds``."""
        amounts = [run.amount for run in self.runs if run.budget == budget]
        if budget == "seconds" and self.cap is not None:
            amounts.append(self.cap)
        return min(amounts, default=None)

    def reached(self, steps: int, seconds: float) -> list[Run]:
        """Take those out that are used up."""
        spent = {"steps": steps, "seconds": seconds}
        found = [run for run in self.runs if spent[run.budget] >= run.amount]
        self.runs = [run for run in self.runs if run not in found]
        return found

    def over(self, seconds: float) -> bool:
        """Whether there is nothing left to train for."""
        return not self.runs or (self.cap is not None and seconds >= self.cap)

    def give_up(self, steps: int, seconds: float, emit: Emit) -> None:
        """A row for each budget that the cap kept from being used up."""
        for run in self.runs:
            emit(run, {"status": f"not reached: {steps} steps in {seconds:.0f} seconds"})


def run_planner(run: Run, threads: int) -> dict[str, Any]:
    """CEM or MPPI in the true simulator; the budget is that of one episode."""
    from rl_serial.agents.mpc import MPCAgent, MPCSettings
    from rl_serial.envs.control import make_control

    planner = planner_of(run)

    def make() -> Any:
        return make_control(run.task, max_episode_steps=run.limit)

    def agent(samples: int) -> MPCAgent:
        settings = MPCSettings(with_samples(planner, samples), run.horizon, discount=1.0)
        return MPCAgent(make, settings, run.seed, threads)

    a_sample = run.limit * run.horizon * planner.iterations  # steps of an episode
    affordable = run.amount
    if run.budget == "seconds":
        with agent(64) as tried:  # how long an episode of 64 samples would take
            begun, few = time.process_time(), min(run.limit, 10)
            tried.train(few)
            affordable *= 64 * a_sample * few / run.limit / (time.process_time() - begun)
    samples = int((affordable - (run.limit if run.budget == "steps" else 0)) // a_sample)
    if samples < LEAST_SAMPLES:
        least = run.amount * (LEAST_SAMPLES * a_sample + run.limit) / affordable
        raise Lacking(f"needs {least:.3g} {run.budget} for {LEAST_SAMPLES} samples")
    with agent(samples) as planning:
        return evaluation(planning, run) | {"samples": samples}


def run_learner(runs: Sequence[Run], threads: int, cap: float | None, emit: Emit) -> None:
    """An agent that learns model or value; the budgets are those of training."""
    from rl_serial.agents.mpc import Learning, MPCAgent, MPCSettings
    from rl_serial.envs.control import make_control

    run, marks = runs[0], Marks(runs, cap)
    model: Any = "learned" if "learned" in run.method else "true"
    steps = marks.next("steps")
    random_steps = 1000 if steps is None else max(1, min(1000, int(steps) // 4))
    settings = MPCSettings(
        with_samples(planner_of(run), 32),
        run.horizon,
        model,
        terminal_value=run.method.endswith("value"),
        discount=0.99,
        learning=Learning(random_steps=random_steps),
    )
    spent = 0.0
    with MPCAgent(
        lambda: make_control(run.task, max_episode_steps=run.limit), settings, run.seed, threads
    ) as agent:
        while not marks.over(spent):
            steps, seconds = marks.next("steps"), marks.next("seconds")
            begun = time.process_time()
            agent.train(
                10**9,
                None if steps is None else int(steps) - agent.simulator_steps,
                None if seconds is None else seconds - spent,
                time.process_time,
            )
            spent += time.process_time() - begun
            lived, simulated = agent.env_steps, agent.simulator_steps
            if found := marks.reached(simulated, spent):
                row = {
                    "train_env_steps": lived,
                    "train_simulator_steps": simulated,
                    "train_seconds": spent,
                    "samples": settings.planner.samples,
                }
                row |= evaluation(agent, run)
                for each in found:
                    emit(each, row)
            # What evaluation took is not training's.
            agent.env_steps, agent.simulator_steps = lived, simulated
        marks.give_up(agent.simulator_steps, spent, emit)


def evaluation(agent: Any, run: Run) -> dict[str, Any]:
    """Play the episodes of evaluation with a planning agent."""
    begun = time.process_time()
    episodes = agent.evaluate(run.seeds)
    return {
        **outcome([episode.total for episode in episodes], [e.steps for e in episodes]),
        "iterations": agent.settings.planner.iterations,
        "serial_steps_a_decision": agent.accounts.critical_path,
        "eval_env_steps": sum(episode.steps for episode in episodes),
        "eval_simulator_steps": sum(episode.simulator_steps for episode in episodes),
        "eval_model_steps": sum(episode.model_steps for episode in episodes),
        "eval_seconds": time.process_time() - begun,
    }


def run_model_free(runs: Sequence[Run], cap: float | None, emit: Emit) -> None:
    """SAC and PPO, near Stable-Baselines3's defaults (see the top)."""
    from stable_baselines3 import PPO, SAC
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    from rl_serial.envs.control import make_control

    run, marks = runs[0], Marks(runs, cap)
    task, normal = TASKS[run.task], run.method == "ppo"
    least = marks.next("steps")

    class Clock(BaseCallback):
        """Evaluates at every mark, with the clock stopped, and ends training after the last."""

        def __init__(self) -> None:
            super().__init__()
            self.spent, self.begun = 0.0, time.process_time()

        def _on_step(self) -> bool:
            seconds = self.spent + time.process_time() - self.begun
            if found := marks.reached(self.num_timesteps, seconds):
                row = {
                    "train_env_steps": self.num_timesteps,
                    "train_simulator_steps": self.num_timesteps,
                    "train_updates": self.model._n_updates,  # type: ignore[attr-defined]
                    "train_seconds": seconds,
                }
                row |= played(model, run, env.normalize_obs if normal else None)
                for each in found:
                    emit(each, row)
            self.spent, self.begun = seconds, time.process_time()
            return not marks.over(seconds)

    def make() -> Any:
        return Monitor(make_control(run.task, max_episode_steps=run.limit))

    count = 1 if run.method == "sac-1" else ENVS
    env: Any = DummyVecEnv([make] * count)
    if normal:
        env = VecNormalize(env)
        # Whole batches of 64, and no more than the least budget in the first round.
        steps = 2048 if least is None else max(64, min(2048, int(least) // 64 * 64))
        model: Any = PPO("MlpPolicy", env, n_steps=steps // ENVS, seed=run.seed, device="cpu")
    else:
        every = 1 if run.method == "sac-1" else task.steps_an_update
        often = {"train_freq": max(1, every // count), "gradient_steps": max(1, count // every)}
        model = SAC("MlpPolicy", env, seed=run.seed, device="cpu", **often)
    env.seed(2**20 + run.seed * ENVS)  # none of evaluation
    clock = Clock()
    model.learn(10**9, callback=clock)
    marks.give_up(model.num_timesteps, clock.spent, emit)
    env.close()


def played(model: Any, run: Run, normal: Callable[[Any], Any] | None) -> dict[str, Any]:
    """Play the episodes of evaluation with a policy of Stable-Baselines3, without noise."""
    from rl_serial.envs.control import make_control

    begun = time.process_time()
    totals, lengths = [], []
    env = make_control(run.task, max_episode_steps=run.limit)
    for seed in run.seeds:
        observation, _ = env.reset(seed=seed)
        total, length, over = 0.0, 0, False
        while not over:
            seen = normal(observation) if normal else observation
            action, _ = model.predict(seen, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action)
            total, length, over = total + float(reward), length + 1, terminated or truncated
        totals.append(total)
        lengths.append(length)
    env.close()
    return {
        **outcome(totals, lengths),
        "serial_steps_a_decision": 0,
        "eval_env_steps": sum(lengths),
        "eval_simulator_steps": sum(lengths),
        "eval_model_steps": 0,
        "eval_seconds": time.process_time() - begun,
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


def make_rows(runs: Sequence[Run], threads: int, cap: float | None, emit: Emit) -> None:
    """The rows of runs that share a training; one that failed says why, and is a row too."""
    waiting = list(runs)

    def finished(run: Run, found: dict[str, Any]) -> None:
        waiting.remove(run)
        row = {**dict.fromkeys(HEADER), **{name: getattr(run, name) for name in KEY}, **found}
        emit(run, {name: _rounded(value) for name, value in row.items()})

    try:
        if runs[0].method in PLANNERS:
            for run in runs:
                finished(run, run_planner(run, threads))
        elif runs[0].method in LEARNERS:
            run_learner(runs, threads, cap, finished)
        else:
            run_model_free(runs, cap, finished)
    except Lacking as error:
        status = f"too small: {error}"
    except Exception as error:  # whatever it is, the other runs go on
        status = f"failed: {type(error).__name__}: {error}"
    for run in list(waiting):
        finished(run, {"status": status})


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def compare(runs: Sequence[Run], out: Path, threads: int, cap: float | None = None) -> None:
    """Make the rows that are missing, one training after the other, and print all."""
    file = out / "results.csv"
    rows = stored(file) if file.exists() else []
    there = {tuple(_text(row[name]) for name in KEY) for row in rows}
    missing = [run for run in runs if run.key not in there]
    trainings: dict[tuple[str, ...], list[Run]] = {}
    for run in missing:
        trainings.setdefault(run.training, []).append(run)
    out.mkdir(parents=True, exist_ok=True)
    told = out / "command.txt"
    commands = told.read_text().splitlines() if told.exists() else []
    command = f"rl-serial bench control {shlex.join(sys.argv[1:])}"
    if command not in commands:
        write_text(told, "\n".join([*commands, command]) + "\n")

    def emit(run: Run, row: dict[str, Any]) -> None:
        rows.append(row)
        write_text(file, table_text(HEADER, rows))
        nonlocal number
        number += 1
        place = f"{number}/{len(missing)}"
        print(f"{place} {' '.join(run.key)}: {row['status']} {row['return_mean']}", file=sys.stderr)

    number = 0
    for training in trainings.values():
        make_rows(training, threads, cap, emit)
    print(summary(rows))


def stored(file: Path) -> list[dict[str, Any]]:
    """The rows of a table that this benchmark wrote."""
    rows = read_table(file, TEXTS)
    if rows and tuple(rows[0]) != HEADER:
        raise SystemExit(
            f"{file} has other columns than this benchmark writes: choose another --out"
        )
    return rows


def merge(folders: Sequence[Path], out: Path) -> None:
    """One table of those of several folders, their commands, and the figures.

    Raises:
        SystemExit: a row that two folders have.
    """
    rows: list[dict[str, Any]] = []
    commands = []
    for folder in folders:
        rows += stored(folder / "results.csv")
        commands.append((folder / "command.txt").read_text())
    keys = [tuple(_text(row[name]) for name in KEY) for row in rows]
    for key in keys:
        if keys.count(key) > 1:
            raise SystemExit(f"more than one folder has the row {' '.join(key)}")
    rows.sort(key=lambda row: [list(TASKS).index(row["task"]), *(row[name] for name in KEY[1:])])
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "results.csv", table_text(HEADER, rows))
    write_text(out / "command.txt", "".join(commands))
    draw(rows, out / "figures")
    print(summary(rows))


def spent(row: dict[str, Any], what: str) -> float:
    """Simulator ``steps`` or ``seconds`` of a row's training, or of one episode of planning."""
    if row["method"] in PLANNERS:
        name = {"steps": "eval_simulator_steps", "seconds": "eval_seconds"}[what]
        return float(row[name]) / float(row["episodes"])
    return float(row[{"steps": "train_simulator_steps", "seconds": "train_seconds"}[what]])


def draw(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Returns over simulator steps, over seconds and over horizons; a panel a task."""
    folder.mkdir(parents=True, exist_ok=True)
    done = [row for row in rows if row["status"] == "done"]
    plain = [row for row in done if row["limit"] == TASKS[row["task"]].limit]
    own = [
        row
        for row in plain
        if not row["planner"] and row["horizon"] in horizons(row["task"], row["method"], None)
    ]
    for what, label in (("steps", "simulator steps"), ("seconds", "seconds")):

        def place(row: dict[str, Any], what: str = what) -> float:
            return spent(row, what)

        _figure(own, METHODS, lambda row: row["method"], place, label, folder / f"over_{what}.png")
    swept = [row for row in done if row["method"] in PLANNERS and row["budget"] == "steps"]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in swept:
        key = tuple(row[name] for name in ("task", "limit", "amount", "episodes", "planner"))
        groups.setdefault(key, []).append(row)
    several = [
        row
        for group in groups.values()
        if len({row["horizon"] for row in group}) > 2
        for row in group
    ]

    def series(row: dict[str, Any]) -> str:
        return f"{row['method']}, {row['amount']:,.0f} steps an episode"

    names = sorted({series(row) for row in several})
    if several:
        _figure(
            several,
            names,
            series,
            lambda row: float(row["horizon"]),
            "horizon (steps planned ahead)",
            folder / "over_horizon.png",
        )


def _figure(
    rows: Sequence[dict[str, Any]],
    names: Sequence[str],
    series: Callable[[dict[str, Any]], str],
    place: Callable[[dict[str, Any]], float],
    label: str,
    file: Path,
) -> None:
    """Means of the seeds' returns with a bar from the least to the greatest; a panel a task."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    from rl_serial.styles import line_styles

    tasks = [task for task in TASKS if any(row["task"] == task for row in rows)]
    across = min(2, len(tasks))
    down = math.ceil(len(tasks) / across)
    figure = Figure(figsize=(5.2 * across, 3.9 * down))
    grid = figure.subplots(down, across, squeeze=False)
    drawn: dict[str, Any] = {}
    for panel, axes in enumerate(grid.flat):
        if panel >= len(tasks):
            axes.axis("off")
            continue
        here = [row for row in rows if row["task"] == tasks[panel]]
        for name, style in zip(names, line_styles(names), strict=True):
            marks: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
            for row in here:
                if series(row) == name:
                    marks.setdefault((row["budget"], row["amount"], row["horizon"]), []).append(row)
            if not marks:
                continue
            points = []
            for group in marks.values():
                means = [float(row["return_mean"]) for row in group]
                middle = statistics.fmean(means)
                at = statistics.fmean(place(row) for row in group)
                points.append((at, middle, middle - min(means), max(means) - middle))
            x, y, below, above = zip(*sorted(points), strict=True)
            drawn[name] = axes.errorbar(
                x, y, (below, above), label=name, capsize=2, linewidth=1.2, markersize=5, **style
            )
        axes.set_xscale("log")
        if "horizon" in label:
            axes.set_xticks(sorted({place(row) for row in here}))
        else:
            places = [place(row) for row in here]
            wide = max(places) > 300 * min(places)
            axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5), numticks=9))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_formatter(NullFormatter())
        limits = sorted({int(row["limit"]) for row in here})
        axes.set_title(f"{tasks[panel]} ({', '.join(map(str, limits))} steps)", fontsize=10)
        axes.set_xlabel(label)
        axes.set_ylabel("return")
        axes.grid(color="0.9")
    figure.legend(
        drawn.values(), drawn.keys(), loc="lower center", ncols=min(4, len(drawn)), frameon=False
    )
    figure.tight_layout(rect=(0, 0.04 + 0.03 * math.ceil(len(drawn) / 4) / down, 1, 1))
    figure.savefig(file, dpi=110)


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """A table a task: mean returns over seeds with the least and greatest; then what is missing."""
    names = ("budget", "amount", "method", "horizon", "planner")
    header = ("budget", "method", "H", "settings", "seeds", "return", "from to")
    costs = ("serial steps a decision", "simulator steps", "seconds")
    texts = ["Costs are of training, or of the planning of one episode."]

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in names)

    for task, limit in sorted({(row["task"], row["limit"]) for row in rows}):
        here = [row for row in rows if (row["task"], row["limit"]) == (task, limit)]
        table = []
        done = sorted((row for row in here if row["status"] == "done"), key=key)
        for (budget, amount, method, horizon, planner), group in itertools.groupby(done, key=key):
            found = list(group)
            means = [float(row["return_mean"]) for row in found]
            mean, least, most = (_number(f(means)) for f in (statistics.fmean, min, max))
            table.append(
                (f"{amount:,.0f} {budget}", method, str(horizon or "–"), planner, str(len(found)),
                 mean, f"{least} to {most}", str(found[0]["serial_steps_a_decision"] or "–"),
                 f"{statistics.fmean(spent(row, 'steps') for row in found):,.0f}",
                 _number(statistics.fmean(spent(row, "seconds") for row in found)))
            )  # fmt: skip
        texts.append(f"### {task}, episodes of {limit} steps")
        texts.append(markdown_table((*header, *costs), table))
        others = [row for row in here if row["status"] != "done"]
        lines = [
            f"- {row['amount']:,.0f} {row['budget']}, {row['method']}, seed {row['seed']}: "
            f"{row['status']}"
            for row in others
        ]
        if lines:
            texts.append("\n".join(lines))
    return "\n\n".join(texts)


def _number(value: float) -> str:
    """Three digits are enough to tell returns apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


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
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, nargs="*", default=[20_000, 200_000])
    parser.add_argument("--seconds", type=float, nargs="*", default=[60.0])
    parser.add_argument("--cap", type=float, help="seconds after which a training ends anyhow")
    parser.add_argument("--episodes", type=int, default=5)
    parser.add_argument("--horizons", type=int, nargs="*", help="of plans, not the task's")
    parser.add_argument("--planner", nargs="*", default=[], help="settings of CEM or MPPI")
    parser.add_argument("--limit", type=int, help="steps of an episode, in place of the task's")
    parser.add_argument("--threads", type=int, default=2, help="of the simulator")
    parser.add_argument("--out", type=Path, default=Path("results/control-planning"))
    parser.add_argument("--smoke", action="store_true", help="everything once, tiny")
    parser.add_argument("--merge", type=Path, nargs="+", help="folders: no runs, only their table")
    parser.add_argument("--peer", action="store_true", help="against pytorch-mppi instead")
    options = parser.parse_args()
    if options.merge:
        merge(options.merge, options.out)
        return
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
            horizon,
            " ".join(options.planner),
        )
        for task, (budget, amount), method in itertools.product(
            options.tasks, budgets, options.methods
        )
        for horizon in horizons(task, method, options.horizons)
        for seed in range(options.first_seed, options.first_seed + options.seeds)
    ]
    compare(runs, options.out, options.threads, options.cap)


def horizons(task: str, method: str, asked: Sequence[int] | None) -> Sequence[int]:
    """Those of a method's plans: as asked for, or the task's, a quarter of it before a value."""
    if method in MODEL_FREE:
        return [0]
    own = TASKS[task].horizon
    return asked or [max(1, own // 4) if method.endswith("value") else own]


if __name__ == "__main__":
    main()
