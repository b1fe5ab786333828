"""Lines of equal strength between compute in training and compute in play, from a study's table.

rl-serial bench strength results/train_against_test

A line joins the lengths of training with the simulations that reach a share of won openings not
won, read between the measured numbers of simulations (straight in their logarithm). The slope of
all lines of a network, with a height of its own for each, says how many times the simulations a ten
times longer training is worth. Its interval is Student's over the bootstrap of
:func:`rl_serial.study.statistics.of_cells`. Jones 2021 (arXiv 2104.03113) found 15 times on Hex.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rl_serial.errors import UserError
from rl_serial.study.statistics import of_cells
from rl_serial.styles import REFERENCE, line_styles, save_figure
from rl_serial.tables import markdown_table

METRIC = "search/openings_not_won/"
LEVELS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
"""Shares of openings not won that lines are drawn of."""
JONES = np.log10(15)

Array = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(prog="rl-serial bench strength", description=__doc__)
    parser.add_argument("folder", type=Path, help="of published results: results.csv is read")
    parser.add_argument("--figure", type=Path, help="default: FOLDER/figures/strength.png")
    options = parser.parse_args(arguments)
    cells, lengths, counts = read(options.folder / "results.csv")
    rows, figure = [], Figure(figsize=(4.2 * len(cells), 3.9), layout="constrained")
    axes = figure.subplots(1, len(cells), squeeze=False, sharey=True)[0]
    train, test = np.log10(lengths), np.log10(counts)
    for axis, (width, scores) in zip(axes, sorted(cells.items()), strict=True):
        strata = [scores[length, count] for length in lengths for count in counts]
        generator = np.random.default_rng(0)
        [slope] = of_cells(
            strata,
            lambda drawn: np.array([[exchange(train, test, one)] for one in drawn]),
            generator,
            statistic="mean",
        )
        shares = np.array([np.mean(cell) for cell in strata]).reshape(len(lengths), len(counts))
        drawn = lines(test, shares)
        known = [level for level in LEVELS if np.isfinite(drawn[level]).sum() > 1]
        found = slope.interval()
        powers = (found.estimate, found.low, found.high)
        worth = [f"{10**power:.3g}" for power in powers]
        if np.isfinite(powers).all():
            rows.append((width, len(known), f"{worth[0]} ({worth[1]} to {worth[2]})", ""))
        else:  # somewhere in the bootstrap no two lengths reach a common share
            rows.append((width, len(known), "", "too few lines for an interval"))
        for level, style in zip(known, line_styles(known), strict=True):
            label = f"{level:g} not won" if axis is axes[0] or width == max(cells) else None
            axis.plot(lengths, 10 ** drawn[level], label=label, **style)
        middle = np.log10(lengths).mean(), np.log10(counts).mean()
        jones = 10 ** (middle[1] - JONES * (train - middle[0]))
        axis.plot(lengths, jones, **REFERENCE, label="Jones 2021" if axis is axes[0] else None)
        axis.set(xscale="log", yscale="log", title=f"width {width}", xlabel="moves of self-play")
        axis.set_ylim(min(counts) * 0.8, max(counts) * 1.25)
    axes[0].set_ylabel("simulations of a move")
    header = ("width", "lines", "a ten times longer training is worth … times the simulations", "")
    print(markdown_table(header, rows))
    save_figure(figure, options.figure or options.folder / "figures" / "strength.png")


def read(
    file: Path,
) -> tuple[dict[int, dict[tuple[int, int], list[float]]], list[int], list[int]]:
    """Shares not won by width, length and simulations, one per seed; lengths; simulations.

    Raises:
        UserError: no such table, or one without these columns.
    """
    try:
        rows = list(csv.DictReader(file.read_text().splitlines()))
    except OSError as error:
        raise UserError(error.strerror or error, source=file) from None
    names = [name for name in rows[0] if name.startswith(METRIC) and name[-1].isdigit()]
    counts = sorted(int(name.removeprefix(METRIC)) for name in names)
    counts = [count for count in counts if count > 0]
    if not counts or "width" not in rows[0]:
        raise UserError(f"has no columns {METRIC}… and width", source=file)
    cells: dict[int, dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["status"] == "done":
            width, length = int(row["width"]), int(row["agent.timesteps"])
            for count in counts:
                cells[width][length, count].append(float(row[f"{METRIC}{count}"]))
    lengths = sorted({length for scores in cells.values() for length, _ in scores})
    return dict(cells), lengths, counts


def lines(test: Array, shares: Array) -> dict[float, Array]:
    """For each level the log10 of the simulations that reach it, [lengths]; NaN beyond the ends.

    Args:
        test: [N] ascending, log10 of simulations.
        shares: [lengths, N] not won; of a row the running least, as more simulations may lose what
            fewer had won.
    """
    best = np.minimum.accumulate(shares, axis=1)
    found = {}
    for level in LEVELS:
        places = []
        for row in best:
            inside = row[0] >= level >= row[-1] and row[0] > row[-1]
            places.append(np.interp(-level, -row, test) if inside else np.nan)
        found[level] = np.array(places)
    return found


def exchange(train: Array, test: Array, shares: Array) -> float:
    """Minus the slope that all lines share, log10 of simulations over log10 of moves."""
    over = above = 0.0
    for line in lines(test, shares.reshape(len(train), len(test))).values():
        known = np.isfinite(line)
        if known.sum() > 1:
            x = train[known] - train[known].mean()
            over += float(x @ line[known])
            above += float(x @ x)
    return -over / above if above else float("nan")


if __name__ == "__main__":
    main()
