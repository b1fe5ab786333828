"""Agents in Gymnasium environments side by side: a table, and the figure of returns."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from rl_serial.metrics import tagged
from rl_serial.styles import line_styles, save_figure
from rl_serial.subjects.protocol import ExaminedRun
from rl_serial.tables import markdown_table


def tables(examined: list[ExaminedRun]) -> list[str]:
    """The one table."""
    return [control_table(examined)]


COSTS = {
    "eval/serial_steps_per_decision": "serial steps a decision",
    "eval/model_steps": "model steps an episode",
    "eval/simulator_steps": "simulator steps an episode",
}
"""What planners say of their costs, and how a table's columns call it."""


def control_table(examined: list[ExaminedRun]) -> str:
    """Return of each run, and what it cost where one of them plans."""
    finals = [tagged(run.evaluation.measurements()) | run.evaluation.final() for run in examined]
    costs = [tag for tag in COSTS if any(tag in found for found in finals)]
    rows = []
    for run, found in zip(examined, finals, strict=True):
        low, high = found["eval/return_interval"]
        rows.append(
            (
                run.config.name,
                run.config.env.id,
                f"{found['eval/return']:.4g} ({low:.4g} to {high:.4g})",
                f"{found['eval/episode_steps']:.0f}",
                *(f"{found[tag]:,.0f}" if tag in found else "" for tag in costs),
            )
        )
    header = ("run", "env", "return (95 % over instances)", "steps")
    return markdown_table((*header, *(COSTS[tag] for tag in costs)), rows)


def draw_returns(examined: list[ExaminedRun], file: Path) -> None:
    """Draw returns with their intervals: by the serial steps of a decision where all plan."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    styles = line_styles([run.config.name for run in examined])
    metrics = [tagged(run.evaluation.measurements()) for run in examined]
    all_plan = all("eval/serial_steps_per_decision" in found for found in metrics)
    for place, (run, style) in enumerate(zip(examined, styles, strict=True)):
        found = metrics[place]
        low, high = run.evaluation.interval
        axes.errorbar(
            [found["eval/serial_steps_per_decision"] if all_plan else place],
            [found["eval/return"]],
            yerr=(high - low) / 2,
            capsize=2,
            label=run.config.name,
            **style | {"linestyle": "none"},
        )
    if all_plan:
        axes.set_xscale("log", base=2)
        axes.set_xlabel("serial steps a decision (horizon × iterations)")
    else:
        axes.set_xticks([])
    axes.set_ylabel("return")
    save_figure(figure, file)
