"""Agents in Gymnasium environments side by side: a table, and the figure of returns."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from rl_serial.metrics import tagged
from rl_serial.styles import line_styles, save_figure
from rl_serial.subjects.gymnasium import metrics as of
from rl_serial.subjects.protocol import ExaminedRun
from rl_serial.tables import markdown_table


def tables(examined: list[ExaminedRun]) -> list[str]:
    """The one table."""
    return [gymnasium_table(examined)]


COSTS = (of.SERIAL_STEPS, of.MODEL_STEPS, of.SIMULATOR_STEPS)
"""What planners say of their costs."""


def gymnasium_table(examined: list[ExaminedRun]) -> str:
    """Return of each run, and what it cost where one of them plans."""
    measured = [tagged(run.evaluation.measurements()) for run in examined]
    costs = [cost for cost in COSTS if any(cost.tag in found for found in measured)]
    rows = []
    for run, found in zip(examined, measured, strict=True):
        low, high = run.evaluation.interval
        rows.append(
            (
                run.config.name,
                run.config.env.id,
                f"{found[of.RETURN.tag]:.4g} ({low:.4g} to {high:.4g})",
                f"{found[of.EPISODE_STEPS.tag]:.0f}",
                *(f"{found[cost.tag]:,.0f}" if cost.tag in found else "" for cost in costs),
            )
        )
    header = ("run", "env", "return (95 % over instances)", "steps")
    return markdown_table((*header, *(cost.described({}) for cost in costs)), rows)


def draw_returns(examined: list[ExaminedRun], file: Path) -> None:
    """Draw returns with their intervals: by the serial steps of a decision where all plan."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    styles = line_styles([run.config.name for run in examined])
    metrics = [tagged(run.evaluation.measurements()) for run in examined]
    all_plan = all(of.SERIAL_STEPS.tag in found for found in metrics)
    for place, (run, style) in enumerate(zip(examined, styles, strict=True)):
        found = metrics[place]
        low, high = run.evaluation.interval
        axes.errorbar(
            [found[of.SERIAL_STEPS.tag] if all_plan else place],
            [found[of.RETURN.tag]],
            yerr=(high - low) / 2,
            capsize=2,
            label=run.config.name,
            **style | {"linestyle": "none"},
        )
    if all_plan:
        axes.set_xscale("log", base=2)
        axes.set_xlabel(f"{of.SERIAL_STEPS.described({})} (horizon × iterations)")
    else:
        axes.set_xticks([])
    axes.set_ylabel(of.RETURN.described({}))
    save_figure(figure, file)
