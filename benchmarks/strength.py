"""Lines of equal strength between compute in training and compute in play, from a study's table.

rl-serial bench strength results/train_against_test

A line joins the simulations of a move with the length of training at which they reach a share of
won openings not won, read between the measured lengths (straight in their logarithm). The slope of
all lines of a network, with a place of its own for each, says how many times longer a training is
worth as much as ten times the simulations. Its interval is Student's over the bootstrap of
:func:`rl_serial.study.statistics.of_cells`. Jones 2021 (arXiv 2104.03113) found that a training ten
times as long is worth 15 times the simulations on Hex, which makes ten times the simulations worth
7.1 times the training.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from rl_serial.errors import UserError
from rl_serial.study.statistics import of_cells
from rl_serial.styles import REFERENCE, line_styles, save_figure
from rl_serial.tables import markdown_table

METRIC = "search/openings_not_won/"
LEVELS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
"""Shares of openings not won that lines are drawn of."""
WEAK, STRONG = LEVELS[6:], LEVELS[:6]
JONES = 1 / np.log10(15)

Array = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(prog="rl-serial bench strength", description=__doc__)
    parser.add_argument("folder", type=Path, help="of published results: results.csv is read")
    parser.add_argument("--figure", type=Path, help="default: FOLDER/figures/strength.png")
    options = parser.parse_args(arguments)
    cells, lengths, counts = read(options.folder / "results.csv")
    rows, figure = [], Figure(figsize=(4.2 * len(cells) + 1.2, 3.9), layout="constrained")
    axes = figure.subplots(1, len(cells), squeeze=False, sharey=True)[0]
    styles = dict(zip(LEVELS, line_styles(LEVELS), strict=True))
    handles: dict[str, Line2D] = {}
    train, test = np.log10(lengths), np.log10(counts)
    for axis, (width, scores) in zip(axes, sorted(cells.items()), strict=True):
        strata = [scores[length, count] for length in lengths for count in counts]
        groups = (LEVELS, WEAK, STRONG)

        def found_in(drawn: Array, groups: Sequence[Sequence[float]] = groups) -> Array:
            planes = drawn.reshape(len(drawn), len(lengths), len(counts))
            return np.array([[worth(train, test, p, group) for group in groups] for p in planes])

        slopes = of_cells(strata, found_in, np.random.default_rng(0), statistic="mean")
        shares = np.array([np.mean(cell) for cell in strata]).reshape(len(lengths), len(counts))
        drawn = lines(train, shares)
        known = [level for level in LEVELS if np.isfinite(drawn[level]).sum() > 1]
        for group, slope in zip(groups, slopes, strict=True):
            found = slope.interval()
            powers = np.array([found.estimate, found.low, found.high])
            times = [f"{10**power:.2f}" for power in powers]
            told = f"{times[0]} ({times[1]} to {times[2]})" if np.isfinite(powers).all() else ""
            count = sum(level in group for level in known)
            rows.append((width, f"{min(group):g} to {max(group):g}", count, told))
        for level in known:
            [handles[f"{level:g} not won"]] = axis.plot(10 ** drawn[level], counts, **styles[level])
        middle = np.log10(lengths).mean(), np.log10(counts).mean()
        jones = 10 ** (middle[0] - JONES * (test - middle[1]))
        [handles["Jones 2021"]] = axis.plot(jones, counts, **REFERENCE)
        axis.set(xscale="log", yscale="log", title=f"width {width}", xlabel="moves of self-play")
        axis.set_xlim(min(lengths) * 0.8, max(lengths) * 1.25)
        axis.set_xticks(lengths, [f"{length:,}" for length in lengths], rotation=35, fontsize=7)
        axis.set_yticks(counts, [str(count) for count in counts])
        axis.minorticks_off()
    axes[0].set_ylabel("simulations of a move")
    header = (
        "width",
        "shares not won",
        "lines",
        "ten times the simulations are worth … times the training",
    )
    print(markdown_table(header, rows))
    names = [f"{level:g} not won" for level in LEVELS]
    shown = [name for name in (*names, "Jones 2021") if name in handles]
    figure.legend(
        [handles[name] for name in shown],
        shown,
        loc="outside right center",
        frameon=False,
        fontsize=8,
    )
    save_figure(figure, options.figure or options.folder / "figures" / "strength.png", legend=False)


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


def lines(train: Array, shares: Array) -> dict[float, Array]:
    """For each level the log10 of the moves that reach it, [counts]; NaN beyond the ends.

    Args:
        train: [lengths] ascending, log10 of moves.
        shares: [lengths, counts] not won; of a column the running least, as a longer training may
            lose what a shorter one had won.
    """
    best = np.minimum.accumulate(shares, axis=0)
    found = {}
    for level in LEVELS:
        places = []
        for column in best.T:
            inside = column[0] >= level >= column[-1] and column[0] > column[-1]
            places.append(np.interp(-level, -column, train) if inside else np.nan)
        found[level] = np.array(places)
    return found


def worth(train: Array, test: Array, shares: Array, levels: Sequence[float] = LEVELS) -> float:
    """Minus the slope that the lines of the levels share, log10 of moves over log10 of simulations.

    Args:
        train: [lengths] log10 of moves.
        test: [counts] log10 of simulations.
        shares: [lengths, counts] not won.
        levels: whose lines count.
    """
    over = above = 0.0
    for level, line in lines(train, shares).items():
        known = np.isfinite(line)
        if level in levels and known.sum() > 1:
            x = test[known] - test[known].mean()
            over += float(x @ line[known])
            above += float(x @ x)
    return -over / above if above else float("nan")


if __name__ == "__main__":
    main()
