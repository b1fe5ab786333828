"""How long puzzles take to make. python benchmarks/puzzles.py"""

from __future__ import annotations

import time

import numpy as np

from rl_serial.envs.puzzles.generator import BLANKS, make_puzzles
from rl_serial.tables import markdown_table

COUNTS = {4: 10_000, 6: 10_000, 9: 2_000}


def main() -> None:
    """Print seconds of the clock and of the processor for 10,000 puzzles of each size."""
    rows = []
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
    header = ("10,000 puzzles of", "blanks", "seconds on the clock", "of the processor")
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
