"""Agents that reach goals side by side: a table, and the figure of success by distance."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from rl_serial.metrics import tagged
from rl_serial.styles import line_styles, save_figure
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
        found = tagged(run.evaluation.measurements()) | run.evaluation.final()
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
    for run, style in zip(
        examined, line_styles([run.config.name for run in examined]), strict=True
    ):
        found = tagged(run.evaluation.measurements()) | run.evaluation.final()
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
    save_figure(figure, file)
