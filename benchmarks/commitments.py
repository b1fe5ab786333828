"""Do puzzles solved collapse on commitments over rounds?

python benchmarks/commitments.py RUN ...

Reads runs of solvers that were examined with one shot and in parallel steps at several rounds. Fits
a logistic curve of the share solved over log2(passes / rounds), and another over a free weighting
of log2(passes) and log2(rounds), by least squares, and prints R² of both over all (way, rounds).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import curve_fit

from rl_serial.agents.solver.ways import WAYS, Order

PARALLEL = [
    name for name, way in WAYS.items() if way.order == Order.PROBABILITY and way.passes is not None
]


def points(folder: Path) -> list[tuple[float, float, float]]:
    """Passes, rounds and share solved of a run."""
    final = json.loads((folder / "summary.json").read_text())["final"]
    found = []
    for name in PARALLEL:
        stem = f"ways/{name}/solved_by/rounds_"
        found += [
            (final[f"ways/{name}/passes"], float(tag.removeprefix(stem)), share)
            for tag, share in final.items()
            if tag.startswith(stem)
        ]
    return found


def collapse(table: np.ndarray) -> dict[str, float]:
    """R² of the two curves, and the weight of log2(rounds) against that of log2(passes).

    Args:
        table: [P, 3] passes, rounds, share solved.
    """
    passes, rounds, solved = np.log2(table[:, 0]), np.log2(table[:, 1]), table[:, 2]
    spread = ((solved - solved.mean()) ** 2).sum()

    def one(_: object, middle: float, slope: float) -> np.ndarray:
        return 1 / (1 + np.exp(-slope * (passes - rounds - middle)))

    def free(_: object, middle: float, slope: float, weight: float) -> np.ndarray:
        return 1 / (1 + np.exp(-slope * (passes - weight * rounds - middle)))

    found: dict[str, float] = {}
    for name, curve, start in (("passes over rounds", one, (0, 1)), ("free", free, (0, 1, 1))):
        fitted, _ = curve_fit(curve, passes, solved, p0=start, maxfev=20_000)
        rest = ((solved - curve(None, *fitted)) ** 2).sum()
        found[f"R² ({name})"] = 1 - rest / spread
    return found | {"weight of rounds": float(fitted[2])}


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    rows = [point for folder in sys.argv[1:] for point in points(Path(folder))]
    if len(rows) < 4:
        raise SystemExit("these runs have too few ways and rounds")
    for name, value in collapse(np.array(rows)).items():
        print(f"{name}: {value:.3f}")
