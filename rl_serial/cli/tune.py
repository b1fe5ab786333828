"""The command ``rl-serial tune``: a search for hyperparameters."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rl_serial.arguments import MOST_THREADS, whole
from rl_serial.importing import add_import, import_arguments
from rl_serial.tables import markdown_table

SHOWN = 20


def add_tune(commands: Any, require: Callable[[str, int], None]) -> None:
    """Add the command to the subparsers of ``rl-serial``."""
    tune = commands.add_parser("tune", help="search for hyperparameters by Optuna, pruned, resumed")
    tune.add_argument("file", type=Path, metavar="FILE", help="a YAML file, see docs/tuning.md")
    tune.add_argument("--trials", type=whole(1, 100_000), help="in place of the file's")
    tune.add_argument("--out", type=Path, metavar="FOLDER", help="default runs/tune/<name>")
    tune.add_argument("--quiet", action="store_true", help="no line for each trial")
    tune.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    tune.add_argument("--threads", type=whole(1, MOST_THREADS), default=1, help="torch's")
    add_import(tune)

    def carry_out(options: argparse.Namespace) -> None:
        require("tune", options.threads)
        _tune(options)

    tune.set_defaults(command=carry_out)


def _tune(options: argparse.Namespace) -> None:
    from rl_serial.tune import Tuning, read_tune

    name, config, base = read_tune(options.file)
    if options.trials is not None:
        config = config.model_copy(update={"trials": options.trials})
    folder = options.out or Path("runs/tune") / name
    tuning = Tuning(name, config, base, folder)
    try:
        tuning.run(
            device=options.device,
            told=(lambda _: None) if options.quiet else lambda line: print(line, flush=True),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command continues") from None
    rows = sorted(tuning.trials, key=lambda row: _rank(row, config.metric, tuning.direction))
    header = ("trial", "state", config.metric, *config.search)
    cells = [[_cell(row.get(column)) for column in header] for row in rows[:SHOWN]]
    print(f"\n{markdown_table(header, cells)}")
    if tuning.best is None:
        print(f"\n{folder}: no trial is done")
        return
    command = ["rl-serial", "train", str(folder / "best.yaml"), *import_arguments(options.imports)]
    print(f"\n{shlex.join(command)}")


def _rank(row: dict[str, Any], metric: str, direction: str) -> tuple[bool, float, int]:
    value = row[metric]
    sign = 1 if direction == "minimize" else -1
    return value is None, sign * (value or 0.0), row["trial"]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
