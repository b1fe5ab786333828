"""Agents on puzzles side by side: tables, and the figure of puzzles solved by rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from rl_serial.agents.solver.ways import WAYS
from rl_serial.styles import REFERENCE, draw_floor, line_styles, save_figure
from rl_serial.subjects.protocol import ExaminedRun
from rl_serial.subjects.puzzles.metrics import RIGHT
from rl_serial.tables import markdown_table


def tables(examined: list[ExaminedRun]) -> list[str]:
    """Puzzles solved by each run, and by each way to commit of runs that have several."""
    ways = [way_table(run) for run in examined if run.evaluation.ways]
    return [summary_table(examined), *ways]


def summary_table(examined: list[ExaminedRun]) -> str:
    """Puzzles solved by each run, also by the rounds that they need, and the floor's."""
    rounds = sorted({count for run in examined for count in run.evaluation.solved_by})
    rows = []
    for run in examined:
        found = run.evaluation
        low, high = found.interval
        rows.append(
            (
                run.config.name,
                f"{found.solved.mean():.3f} ({low:.3f} to {high:.3f})",
                f"{found.floor.solved:.3f}",
                f"{found.cells:.3f}",
                *(_cell(found.solved_by.get(count)) for count in rounds),
            )
        )
    header = ("run", "solved (95 % over puzzles)", "floor", "cells")
    return markdown_table((*header, *(f"{count} rounds" for count in rounds)), rows)


def way_table(run: ExaminedRun) -> str:
    """Puzzles solved in each way, by rounds, and what a puzzle costs."""
    found = run.evaluation
    rows = [
        (
            WAYS[name].label,
            f"{score.passes:.1f}",
            f"{score.flops / 1e6:,.0f}",
            f"{score.critical_path:,.0f}",
            f"{score.solved:.3f}",
            *(f"{share:.2f}" for share in score.solved_by.values()),
        )
        for name, score in found.ways.items()
    ]
    costs = ("passes", "MFLOPs", "products in sequence")
    rounds = [f"{count} rounds" for count in found.solved_by]
    return markdown_table((run.config.name, *costs, "solved", *rounds), rows)


def _cell(share: float | None) -> str:
    return "" if share is None else f"{share:.2f}"


def draw_solved(examined: list[ExaminedRun], file: Path) -> None:
    """Draw puzzles solved by rounds: of one run its ways in groups, of several a line for each."""
    panels = {"": {run.config.name: run.evaluation.solved_by for run in examined}}
    if len(examined) == 1 and examined[0].evaluation.ways:
        panels = _groups(examined[0].evaluation.ways)
    floors = _floors(examined)
    ticks = sorted({rounds for floor in floors.values() for rounds in floor})
    figure = Figure(figsize=(max(7, 4.6 * len(panels)), 5), layout="constrained")
    rows = figure.subplots(1, len(panels), sharey=True, squeeze=False)
    for axes, (title, lines) in zip(rows[0], panels.items(), strict=True):
        for (name, shares), style in zip(lines.items(), line_styles(list(lines)), strict=True):
            axes.plot(list(shares), list(shares.values()), label=name, **style)
        for place, (label, floor) in enumerate(floors.items()):
            draw_floor(axes, list(floor), list(floor.values()), label, place)
        if ticks:
            axes.set_xticks(ticks)
        axes.axhline(RIGHT, **REFERENCE)
        axes.set_xlabel("rounds of singles that a puzzle needs")
        axes.set_title(title)
        axes.set_ylim(-0.02, 1.02)
        if len(panels) > 1:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    rows[0][0].set_ylabel("puzzles solved")
    save_figure(figure, file, legend=len(panels) == 1)


def _floors(examined: list[ExaminedRun]) -> dict[str, dict[int, float]]:
    """Puzzles solved by rounds by the floors of runs, each once, by what they are called."""
    floors: dict[str, dict[int, float]] = {}
    for run in examined:
        floor = run.evaluation.floor.solved_by
        if floor and floor not in floors.values():
            name = f"floor of {run.config.name}" if floors else "floor"
            floors[f"{name} (one parallel look)"] = floor
    return floors


def _groups(scores: dict[str, Any]) -> dict[str, dict[str, dict[int, float]]]:
    """Puzzles solved by rounds in each way, in groups of ways that are alike."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for name, score in scores.items():
        way = WAYS[name]
        group = "Gaussian denoising" if way.noised else "cell by cell, and by rounds"
        if not way.noised and way.passes is not None:
            group = "parallel steps"
        found.setdefault(group, {})[way.label] = score.solved_by
    return found
