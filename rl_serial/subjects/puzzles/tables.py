"""Agents on puzzles side by side: tables, and the figure of puzzles solved by rounds."""

from __future__ import annotations

from pathlib import Path

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
    """Draw puzzles solved by rounds: of one run a line for each way, of several one for each."""
    lines: dict[str, dict[int, float]] = {}
    for run in examined:
        lines[run.config.name] = run.evaluation.solved_by
    if len(examined) == 1 and examined[0].evaluation.ways:
        scores = examined[0].evaluation.ways.items()
        lines = {WAYS[name].label: score.solved_by for name, score in scores}
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for (name, shares), style in zip(lines.items(), line_styles(list(lines)), strict=True):
        axes.plot(list(shares), list(shares.values()), label=name, **style)
    floor = examined[0].evaluation.floor.solved_by
    if floor:
        draw_floor(axes, list(floor), list(floor.values()), "floor (one parallel look)", 0)
    axes.axhline(RIGHT, **REFERENCE)
    axes.set_xlabel("rounds of singles that a puzzle needs")
    axes.set_ylabel("puzzles solved")
    axes.set_ylim(-0.02, 1.02)
    save_figure(figure, file)
