"""Agents on chains side by side: tables, and the figure of accuracy by remaining steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rl_serial.styles import REFERENCE, draw_floor, line_styles, save_figure
from rl_serial.subjects.chains.metrics import RIGHT
from rl_serial.subjects.protocol import ExaminedRun
from rl_serial.tables import markdown_table


def tables(examined: list[ExaminedRun]) -> list[str]:
    """Score, horizon and reach of each run, and accuracy by remaining steps."""
    return [summary_table(examined), accuracy_table(examined)]


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
    for run, style in zip(
        examined, line_styles([run.config.name for run in examined]), strict=True
    ):
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
    save_figure(figure, file)
