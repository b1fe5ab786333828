"""How every figure tells its lines apart: colours, markers and dashes; and how it draws a floor.

Names have the palette of Okabe and Ito (2008, *Color universal design*) without its yellow, which
white paper swallows; numbers have viridis, cut at both ends. Both can be told apart with protanopia
and deuteranopia, and markers tell them apart without colour.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from rl_serial.errors import UserError

# Blue, vermillion, bluish green, orange, reddish purple, sky blue, black.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
REFERENCE: dict[str, Any] = {"color": "0.35", "linewidth": 0.9, "linestyle": (0, (1, 2))}
"""Of a line that marks a number, as the 0.9 that the serial horizon asks for."""
_SEQUENCE = (0.05, 0.85)  # of viridis: darker is black, lighter is lost on white


def line_styles(series: Sequence[object]) -> list[dict[str, Any]]:
    """Colour, marker and line style of each series, as arguments of ``Axes.plot``.

    Args:
        series: what the lines are called. Numbers have colours in their order, names the palette.
            Of 56 names no two share colour and marker; of numbers no eight that follow each other
            share a marker.
    """
    numbers = [s for s in series if isinstance(s, int | float) and not isinstance(s, bool)]
    if len(numbers) < len(series):
        return [
            {
                "color": PALETTE[i % len(PALETTE)],
                "marker": MARKERS[i % len(MARKERS)],
                "linestyle": DASHES[i // len(PALETTE) % len(DASHES)],
            }
            for i in range(len(series))
        ]
    ranks = np.argsort(np.argsort(numbers, kind="stable"), kind="stable")
    low, high = _SEQUENCE
    places = low + (high - low) * ranks / max(1, len(numbers) - 1)
    return [
        {
            "color": to_hex(colormaps["viridis"](place)),
            "marker": MARKERS[rank % len(MARKERS)],
            "linestyle": "-",
        }
        for place, rank in zip(places.tolist(), ranks.tolist(), strict=True)
    ]


def draw_floor(
    axes: Axes, x: Sequence[float], floor: ArrayLike, label: str = "floor", index: int = 0
) -> None:
    """Draw what needs no serial computation: a hatched grey region below a dashed edge.

    Args:
        axes: where.
        x: [N] ascending places.
        floor: [N] the floor at each; NaN where there is none.
        label: of the legend.
        index: of several floors in one figure, which one: their edges have other dashes.
    """
    heights = np.asarray(floor, dtype=np.float64)
    region = axes.fill_between(
        x, 0, heights, facecolor="0.93", edgecolor="0.7", hatch="///", linewidth=0, zorder=0.5
    )
    dashes = (*DASHES[1:], DASHES[0])[index % len(DASHES)]
    [edge] = axes.plot(x, heights, color="0.45", linewidth=1.1, linestyle=dashes, zorder=1.5)
    # In the legend regions look alike, so that further floors are named by their edges.
    (edge if index else region).set_label(label)


def draw_simulations(axes: Axes, counts: Collection[int], choice: str) -> None:
    """Make x an axis of simulations: 0, then powers of two, a tick for each of ``counts``.

    Args:
        axes: where.
        counts: those that are drawn.
        choice: what they are simulations of, as ``a move``.
    """
    axes.set_xscale("symlog", base=2, linthresh=1)
    axes.set_xlim(-0.3, max([1, *counts]) * 1.25)
    axes.set_xticks(sorted(counts), [str(count) for count in sorted(counts)])
    axes.set_xlabel(f"simulations of {choice} (0: raw network)")


def save_figure(figure: Figure, file: Path, legend: bool = True) -> None:
    """Write the picture, with a ``legend`` above the axes, where it hides nothing."""
    if legend:
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    try:
        figure.savefig(file, dpi=150)
    except (OSError, ValueError) as error:
        raise UserError(error, source=file) from None
