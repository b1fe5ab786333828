"""What the tables and figures of every subject need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from rl_serial.errors import UserError
from rl_serial.styles import line_styles
from rl_serial.subjects.protocol import ExaminedRun


def styles_of(examined: list[ExaminedRun]) -> list[dict[str, Any]]:
    """How the line of each run is drawn."""
    return line_styles([run.config.name for run in examined])


def save_figure(figure: Figure, file: Path) -> None:
    """Put the legend above the axes, where it hides nothing, and write the picture."""
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    try:
        figure.savefig(file, dpi=150)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: {error}") from None
