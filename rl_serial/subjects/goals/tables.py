"""Agents that reach goals side by side: a table, and the figure of success by distance."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from rl_serial.metrics import tagged
from rl_serial.styles import line_styles, save_figure
from rl_serial.subjects.goals import metrics as of
from rl_serial.subjects.goals.metrics import DISTANCES
from rl_serial.subjects.protocol import ExaminedRun
from rl_serial.tables import markdown_table


def tables(examined: list[ExaminedRun]) -> list[str]:
    """The one table."""
    return [goal_table(examined)]


def goal_table(examined: list[ExaminedRun]) -> str:
    """Success and time at the goal of each run, and success by distance of the goal."""
    rows = []
    for run in examined:
        evaluation = run.evaluation
        found, distances = tagged(evaluation.measurements()), evaluation.distances
        low, high = evaluation.interval
        rows.append(
            (
                run.config.name,
                f"{found[of.SUCCESS.tag]:.3f} ({low:.3f} to {high:.3f})",
                f"{found[of.SUCCESS_EVER.tag]:.3f}",
                f"{found[of.TIME_AT_GOAL.tag]:.1f} of {evaluation.length.mean():.0f}",
                *(
                    f"{found[of.SUCCESS_BY_DISTANCE.at(distance=k)]:.2f} ({distance:.2f})"
                    for k, distance in distances.items()
                ),
            )
        )
    far = [f"distance class {k} of {DISTANCES} (mean)" for k in range(1, DISTANCES + 1)]
    header = ("run", "success (95 % over instances)", "ever", "steps at the goal", *far)
    return markdown_table(header, rows)


def draw_success(examined: list[ExaminedRun], file: Path) -> None:
    """Draw success by the goal's distance at the start."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for run, style in zip(
        examined, line_styles([run.config.name for run in examined]), strict=True
    ):
        found = tagged(run.evaluation.measurements())
        distances = run.evaluation.distances
        axes.plot(
            list(distances.values()),
            [found[of.SUCCESS_BY_DISTANCE.at(distance=k)] for k in distances],
            label=run.config.name,
            **style,
        )
    axes.set_xlabel("distance of the goal at the start (mean of a quarter of the episodes)")
    axes.set_ylabel("success")
    axes.set_ylim(-0.02, 1.02)
    save_figure(figure, file)
