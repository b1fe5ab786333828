"""Agents in games side by side: a table, and the figure by plies to the end."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.figure import Figure

from rl_serial.styles import REFERENCE, line_styles, save_figure
from rl_serial.subjects.games.metrics import RIGHT
from rl_serial.subjects.protocol import ExaminedRun
from rl_serial.tables import markdown_table


def tables(examined: list[ExaminedRun]) -> list[str]:
    """Returns, kept moves and value signs of each run, whole and by plies to the end."""
    groups = sorted({group for run in examined for group in run.evaluation.groups})
    rows, by = [], []
    for run in examined:
        found = run.evaluation
        low, high = found.interval
        shown = {m.tag: m.value for m in found.measurements()}
        rows.append(
            (
                run.config.name,
                f"{found.returns.mean():.3f} ({low:.3f} to {high:.3f})",
                *(
                    _cell(shown.get(tag))
                    for tag in ("eval/won", "eval/kept", "floor/kept", "value/sign", "floor/sign")
                ),
            )
        )
        for name, shares in (("signs", found.sign_by), ("moves", found.kept_by)):
            if shares:
                by.append((run.config.name, name, *(_cell(shares.get(group)) for group in groups)))
    header = ("run", "return (95 % of games)", "won", "moves kept", "floor", "signs right", "floor")
    whole = markdown_table(header, rows)
    if not by:
        return [whole]
    plies = (f"{group} plies" for group in groups)
    return [whole, markdown_table(("run", "right", *plies), by)]


def _cell(share: float | None) -> str:
    return "" if share is None or math.isnan(share) else f"{share:.2f}"


def draw_by_plies(examined: list[ExaminedRun], file: Path) -> None:
    """Draw right value signs and kept moves by plies to the end, a line for each run."""
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    names = [run.config.name for run in examined]
    for axes, title, part in zip(
        panels, ("value signs", "moves that keep the value"), ("sign_by", "kept_by"), strict=True
    ):
        for run, style in zip(examined, line_styles(names), strict=True):
            shares = {
                group: share
                for group, share in getattr(run.evaluation, part).items()
                if not math.isnan(share)
            }
            axes.plot(list(shares), list(shares.values()), label=run.config.name, **style)
        axes.axhline(RIGHT, **REFERENCE)
        axes.set_title(title)
        axes.set_xlabel("the end comes within so many plies")
        axes.set_ylim(-0.02, 1.02)
    panels[0].set_ylabel("right")
    save_figure(figure, file)
