"""Draws docs/images/house.png: the parts of the package as their imports order them.

    python docs/house.py

A part stands above all that it imports; a line is as wide as there are imports behind it.
"""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
from pathlib import Path

from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rl_serial"
SMALL = (
    "arguments",
    "compiling",
    "errors",
    "importing",
    "metrics",
    "pytrees",
    "shipped",
    "styles",
    "tables",
    "yaml_core",
)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")


def part(module: str) -> str:
    """The part of the package that a module belongs to; the small ones are one."""
    name = ([*module.split("."), ""])[1]
    return "errors, metrics, …" if name in SMALL else name


def arrows() -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """Imports between parts, and the lines of each part."""
    found: Counter[tuple[str, str]] = Counter()
    lines: Counter[str] = Counter()
    for file in PACKAGE.rglob("*.py"):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        text = file.read_text()
        own = part(module)
        if own in ("__init__", "__main__"):
            continue
        lines[own] += text.count("\n")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rl_serial."):
                found[own, part(str(node.module))] += 1
    return Counter({pair: n for pair, n in found.items() if pair[0] != pair[1]}), lines


def main() -> None:
    """Draw the picture."""
    found, lines = arrows()

    @cache
    def level(name: str) -> int:
        return max((1 + level(low) for high, low in found if high == name), default=0)

    floors: dict[int, list[str]] = {}
    for name in sorted(lines, key=lambda n: -lines[n]):
        floors.setdefault(level(name), []).append(name)
    place = {
        name: ((i + 1) / (len(names) + 1), height)
        for height, names in floors.items()
        for i, name in enumerate(names)
    }
    figure = Figure(figsize=(7.5, 8.5), layout="constrained")
    axes = figure.subplots()
    for (high, low), count in found.items():
        (x1, y1), (x2, y2) = place[high], place[low]
        bend = 0.0 if y1 - y2 == 1 else 0.06 * (y1 - y2) * (1 if hash_sign(high, low) else -1)
        axes.annotate(
            "",
            (x2, y2 + 0.17),
            (x1, y1 - 0.17),
            arrowprops={
                "arrowstyle": "-|>",
                "linewidth": 0.4 + 0.35 * count**0.5,
                "color": COLOURS[level(high) % len(COLOURS)],
                "alpha": 0.55,
                "connectionstyle": f"arc3,rad={bend:.2f}",
            },
        )
    for name, (x, y) in place.items():
        axes.text(
            x,
            y,
            f"{name}\n{lines[name]:,} lines",
            ha="center",
            va="center",
            fontsize=9,
            bbox={
                "boxstyle": "round,pad=0.45",
                "facecolor": "white",
                "edgecolor": COLOURS[level(name) % len(COLOURS)],
                "linewidth": 1.6,
            },
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.5, max(floors) + 0.5)
    axes.axis("off")
    figure.savefig(ROOT / "docs/images/house.png", dpi=130)
    print("docs/images/house.png")


def hash_sign(high: str, low: str) -> bool:
    """To which side a line that passes others bends; the same in every drawing."""
    return sum(map(ord, high + low)) % 2 == 0


if __name__ == "__main__":
    main()
