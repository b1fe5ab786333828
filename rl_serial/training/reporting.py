"""Trained agents side by side: tables and the figure of accuracy by remaining steps."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rl_serial.agents.dynamics import LearnedDynamics
from rl_serial.config import CONTROL_KINDS, GOAL_KINDS, RunConfig
from rl_serial.errors import UserError
from rl_serial.styles import REFERENCE, draw_floor, line_styles
from rl_serial.tables import markdown_table
from rl_serial.training.evaluation import RIGHT, Evaluator
from rl_serial.training.files import write_text
from rl_serial.training.goals import DISTANCES
from rl_serial.training.run import examine_finished, load_searcher, load_trained, load_with_zip
from rl_serial.training.simulations import ONE_PLY, SearchScore, search_scores


@dataclass(frozen=True)
class ExaminedRun:
    """A run and what its agent's examination found."""

    config: RunConfig
    evaluation: Any  # Evaluation of a chain, GoalEvaluation or ControlEvaluation


def evaluate_runs(
    folders: list[Path],
    *,
    instances: int | None = None,
    per_remaining: int | None = None,
    seed: int | None = None,
    figure: Path | None = None,
    model: Path | None = None,
    trust: bool = False,
    device: str = "auto",
) -> list[ExaminedRun]:
    """Examine the agents of runs, print the tables and draw the figure.

    Args:
        folders: finished runs.
        instances: episodes played; None: as each run's configuration says; so the next two.
        per_remaining: states judged at each number of remaining steps.
        seed: chooses the evaluation instances.
        figure: where to draw accuracy by remaining steps, success by distance of the goal, or
            return by serial steps of a decision.
        model: a zip of Stable-Baselines3 in place of the (one) run's own weights.
        trust: the zip may be unpickled, and a module that a run's environment names imported.
        device: auto, cpu or cuda.

    Raises:
        UserError: a folder that holds no finished run; runs that have no table in common; a zip
            without trust.
    """
    if model is not None and len(folders) != 1:
        raise UserError("--model: replaces the weights of one RUN")
    asked = {"instances": instances, "per_remaining": per_remaining, "seed": seed}
    changes = {name: value for name, value in asked.items() if value is not None}
    runs: list[tuple[RunConfig, Any]] = []
    for folder in folders:
        if model is None:
            config, trained = load_trained(folder, device, trust)
        else:
            config, trained = load_with_zip(folder, model, trust, device)
        settings = config.evaluation.model_copy(update=changes)
        runs.append((config.model_copy(update={"evaluation": settings}), trained))
    worlds = {_world(config) for config, _ in runs}
    if len(worlds) > 1:
        raise UserError(f"evaluate: runs {' and '.join(sorted(worlds))} have no table in common")
    if per_remaining is not None and worlds != {"on chains"}:
        raise UserError("--per-remaining: belongs to chains; elsewhere there is --instances")
    examined = [ExaminedRun(config, examine_finished(config, trained)) for config, trained in runs]
    tables, draw, drawn = _PRESENTATIONS[worlds.pop()]
    print(*(table(examined) for table in tables), sep="\n\n")
    if figure is not None:
        draw(examined, figure)
        print(f"\n{figure}: {drawn}")
    return examined


def _world(config: RunConfig) -> str:
    if config.agent.kind in GOAL_KINDS:
        return "in goal environments"
    return "in continuous control" if config.agent.kind in CONTROL_KINDS else "on chains"


def search_runs(
    folders: list[Path],
    simulations: list[int],
    *,
    dynamics: str | None = None,
    algorithm: str | None = None,
    instances: int | None = None,
    seed: int | None = None,
    table: Path | None = None,
    figure: Path | None = None,
    device: str = "auto",
) -> dict[str, list[SearchScore]]:
    """Put a search on top of the agents of runs; print scores by simulations.

    Args:
        folders: finished runs of agents with values.
        simulations: 0 is the agent's raw network.
        dynamics: the model that is searched in, true or learned; None: each run's own.
        algorithm: gumbel or puct; None: each run's own.
        instances: episodes played; None: as each run's configuration says; so the next.
        seed: chooses the evaluation instances.
        table: where to write the scores as CSV.
        figure: where to draw them.
        device: auto, cpu or cuda.

    Raises:
        UserError: a folder that holds no finished run of an agent with values; dynamics that a run
            has not learned.
    """
    scores: dict[str, list[SearchScore]] = {}
    rows: list[tuple[Any, ...]] = []
    for folder in folders:
        config, searcher = load_searcher(folder, 0, dynamics, algorithm, device)
        settings = config.evaluation
        evaluator = Evaluator(
            searcher.task,
            settings.instances if instances is None else instances,
            per_remaining=1,
            seed=settings.seed if seed is None else seed,
        )
        # Two runs of one name are told apart by their folders.
        name = config.name if config.name not in scores else str(folder)
        scores[name] = search_scores(searcher, evaluator, simulations)
        kind = "learned" if isinstance(searcher.dynamics, LearnedDynamics) else "true"
        for found in scores[name]:
            numbers = (found.mean_return, found.score, *found.interval, found.seconds)
            played = (evaluator.seeds.size, settings.seed if seed is None else seed)
            rows.append((name, kind, searcher.algorithm, found.simulations, *numbers, *played))
    shown = [
        (name, simulations, f"{score:.3f} ({low:.3f} to {high:.3f})", f"{seconds:.2f}")
        for name, _, _, simulations, _, score, low, high, seconds, *_ in rows
    ]
    print(markdown_table(("run", "simulations", "score (95 % over instances)", "seconds"), shown))
    if table is not None:
        _write_scores(rows, table)
    if figure is not None:
        draw_search(scores, figure)
    return scores


def _write_scores(rows: list[tuple[Any, ...]], file: Path) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = "run dynamics algorithm simulations return score low high seconds instances seed"
    writer.writerow(columns.split())
    writer.writerows(rows)
    try:
        write_text(file, stream.getvalue())
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}") from None


def draw_search(scores: dict[str, list[SearchScore]], file: Path) -> None:
    """Draw scores by simulations, with their intervals."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for (name, found_scores), style in zip(scores.items(), line_styles(list(scores)), strict=True):
        searched = [found for found in found_scores if found.simulations != ONE_PLY]
        axes.errorbar(
            [int(found.simulations) for found in searched],
            [found.score for found in searched],
            yerr=[found.interval[1] - found.score for found in searched],
            capsize=2,
            label=name,
            **style,
        )
    axes.set_xscale("symlog", base=2, linthresh=1)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel("simulations of a decision (0: raw network)")
    axes.set_ylabel("score (0 random, 1 optimal)")
    axes.axhline(1, **REFERENCE)
    _save(figure, file)


def summary_table(examined: list[ExaminedRun]) -> str:
    """Score, serial horizon and serial reach of each run, and how far its floors reach."""
    rows = []
    for run in examined:
        evaluation = run.evaluation
        low, high = evaluation.score_interval
        floor = evaluation.floor
        rows.append(
            (
                run.config.name,
                f"{evaluation.score:.3f} ({low:.3f} to {high:.3f})",
                f"{evaluation.serial_horizon} of {evaluation.accuracy.size}",
                f"{evaluation.serial_reach:.1f}",
                f"{floor.highest.reach:.1f}",
                ", ".join(f"{kind} {found.reach:.1f}" for kind, found in floor.grades.items()),
                f"{evaluation.value_rmse:.3f}",
            )
        )
    header = ("run", "score (95 % over instances)", "serial horizon", "serial reach", "floor")
    return markdown_table((*header, "of which", "value RMSE"), rows)


def accuracy_table(examined: list[ExaminedRun]) -> str:
    """Accuracy of decisions by remaining steps, one column per run and floor, and chance.

    Runs that share a floor (the same training instances of the same chain) share its column.
    """
    depth = max(run.evaluation.accuracy.size for run in examined)
    floors = _floors(examined)
    rows = []
    for remaining in range(1, depth + 1):
        cells = [_cell(run.evaluation.accuracy, remaining) for run in examined]
        cells += [_cell(accuracy, remaining) for accuracy in floors.values()]
        rows.append((remaining, *cells, _cell(examined[0].evaluation.chance, remaining)))
    names = [run.config.name for run in examined]
    return markdown_table(("remaining", *names, *floors, "chance"), rows)


def _floors(examined: list[ExaminedRun]) -> dict[str, NDArray[np.float64]]:
    """[serial_depth] accuracies of the floors of runs, each once, by what they are called."""
    floors: dict[str, NDArray[np.float64]] = {}
    for run in examined:
        accuracy = run.evaluation.floor.highest.accuracy
        if not any(np.array_equal(accuracy, other, equal_nan=True) for other in floors.values()):
            floors["floor" if not floors else f"floor of {run.config.name}"] = accuracy
    return floors


def _cell(values: NDArray[np.float64], remaining: int) -> str:
    if remaining > values.size or np.isnan(values[remaining - 1]):
        return ""
    return f"{values[remaining - 1]:.2f}"


def draw_accuracy(examined: list[ExaminedRun], file: Path) -> None:
    """Draw accuracy by remaining steps with floor, chance and the threshold of the horizon."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for run, style in zip(examined, _styles(examined), strict=True):
        remaining = np.arange(1, run.evaluation.accuracy.size + 1)
        shown = ~np.isnan(run.evaluation.accuracy)
        horizon = run.evaluation.serial_horizon
        axes.plot(
            remaining[shown],
            run.evaluation.accuracy[shown],
            label=f"{run.config.name}: serial horizon {horizon}",
            **style,
        )
    chance = examined[0].evaluation.chance
    axes.plot(
        np.arange(1, chance.size + 1), chance, color="0.75", label="best constant action", zorder=1
    )
    for i, (name, accuracy) in enumerate(_floors(examined).items()):
        label = f"{name} (no serial computation)"
        draw_floor(axes, list(range(1, accuracy.size + 1)), accuracy, label, i)
    axes.axhline(RIGHT, **REFERENCE)
    axes.set_xlabel("remaining serial steps")
    axes.set_ylabel("accuracy of decisions")
    axes.set_ylim(0.4, 1.02)
    _save(figure, file)


def goal_table(examined: list[ExaminedRun]) -> str:
    """Success and time at the goal of each run, and success by distance of the goal."""
    rows = []
    for run in examined:
        found = run.evaluation.final()
        low, high = found["eval/success_interval"]
        rows.append(
            (
                run.config.name,
                f"{found['eval/success']:.3f} ({low:.3f} to {high:.3f})",
                f"{found['eval/success_ever']:.3f}",
                f"{found['eval/time_at_goal']:.1f} of {found['eval/episode_steps']:.0f}",
                *(
                    f"{found[f'eval/success/distance_{k}']:.2f} ({found[f'eval/distance_{k}']:.2f})"
                    for k in range(1, DISTANCES + 1)
                ),
            )
        )
    far = [f"goals {k} of {DISTANCES} (distance)" for k in range(1, DISTANCES + 1)]
    header = ("run", "success (95 % over instances)", "ever", "steps at the goal", *far)
    return markdown_table(header, rows)


def draw_success(examined: list[ExaminedRun], file: Path) -> None:
    """Draw success by the goal's distance at the start."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for run, style in zip(examined, _styles(examined), strict=True):
        found = run.evaluation.final()
        classes = range(1, DISTANCES + 1)
        axes.plot(
            [found[f"eval/distance_{k}"] for k in classes],
            [found[f"eval/success/distance_{k}"] for k in classes],
            label=run.config.name,
            **style,
        )
    axes.set_xlabel("distance of the goal at the start (mean of a quarter of the episodes)")
    axes.set_ylabel("success")
    axes.set_ylim(-0.02, 1.02)
    _save(figure, file)


def control_table(examined: list[ExaminedRun]) -> str:
    """Return of each run, and what it cost."""
    rows = []
    for run in examined:
        found = run.evaluation.final()
        low, high = found["eval/return_interval"]
        rows.append(
            (
                run.config.name,
                run.config.env.id,
                f"{found['eval/return']:.4g} ({low:.4g} to {high:.4g})",
                f"{found['eval/episode_steps']:.0f}",
                f"{found['eval/serial_steps_per_decision']:.0f}",
                f"{found['eval/model_steps']:,.0f}",
                f"{found['eval/simulator_steps']:,.0f}",
            )
        )
    header = ("run", "env", "return (95 % over instances)", "steps", "serial steps a decision")
    costs = ("model steps an episode", "simulator steps an episode")
    return markdown_table((*header, *costs), rows)


def draw_returns(examined: list[ExaminedRun], file: Path) -> None:
    """Draw returns by the serial steps of a decision, with their intervals."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for run, style in zip(examined, _styles(examined), strict=True):
        found = run.evaluation.metrics()
        low, high = run.evaluation.interval
        axes.errorbar(
            [found["eval/serial_steps_per_decision"]],
            [found["eval/return"]],
            yerr=(high - low) / 2,
            capsize=2,
            label=run.config.name,
            **style | {"linestyle": "none"},
        )
    axes.set_xscale("log", base=2)
    axes.set_xlabel("serial steps a decision (horizon × iterations)")
    axes.set_ylabel("return")
    _save(figure, file)


_PRESENTATIONS: dict[str, tuple[tuple[Callable[..., str], ...], Callable[..., None], str]] = {
    "on chains": ((summary_table, accuracy_table), draw_accuracy, "accuracy by remaining steps"),
    "in goal environments": ((goal_table,), draw_success, "success by distance"),
    "in continuous control": ((control_table,), draw_returns, "return by serial steps a decision"),
}


def _styles(examined: list[ExaminedRun]) -> list[dict[str, Any]]:
    return line_styles([run.config.name for run in examined])


def _save(figure: Figure, file: Path) -> None:
    """Put the legend above the axes, where it hides nothing, and write the picture."""
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    try:
        figure.savefig(file, dpi=150)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: {error}") from None
