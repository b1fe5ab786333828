"""How long puzzles take to make, and how many rounds they need. python benchmarks/puzzles.py"""

from __future__ import annotations

import time

import numpy as np

from rl_serial.envs.puzzles.generator import BLANKS, make_puzzles
from rl_serial.envs.random import EVALUATION_SEEDS
from rl_serial.tables import markdown_table

COUNTS = {4: 10_000, 6: 10_000, 9: 2_000}


def main() -> None:
    """Print seconds of the clock and of the processor for 10,000 puzzles, and rounds by side."""
    rows, needed = [], []
    for size, count in COUNTS.items():
        make_puzzles(np.arange(2), size)  # compiled, or read from the cache
        clock, processor = time.perf_counter(), time.process_time()
        make_puzzles(np.arange(count), size)
        spent = (time.perf_counter() - clock, time.process_time() - processor)
        rows.append(
            (
                f"{size} by {size}",
                BLANKS[size],
                *(f"{10_000 / count * seconds:.1f}" for seconds in spent),
            )
        )
        for side, first in (("training", 0), ("tests", EVALUATION_SEEDS)):
            rounds = make_puzzles(first + np.arange(count), size).rounds
            shares = np.bincount(rounds) / count
            told = ", ".join(
                f"{n}: {share:.2f}" for n, share in enumerate(shares) if share >= 0.005
            )
            needed.append((f"{size} by {size}", side, count, f"{rounds.mean():.2f}", told))
    header = ("10,000 puzzles of", "blanks", "seconds on the clock", "of the processor")
    print(markdown_table(header, rows))
    header = ("puzzles of", "for", "puzzles", "mean rounds", "rounds: share of the puzzles")
    print(markdown_table(header, needed))


if __name__ == "__main__":
    main()
