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


def control_table(examined: list[ExaminedRun]) -> str:
    """Return of each run, and what it cost."""
    rows = []
    for run in examined:
        found = tagged(run.evaluation.measurements()) | run.evaluation.final()
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
    for run, style in zip(
        examined, line_styles([run.config.name for run in examined]), strict=True
    ):
        found = tagged(run.evaluation.measurements())
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
    save_figure(figure, file)
