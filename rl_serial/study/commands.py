"""The commands ``rl-serial study plan | run | status | report | restore``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rl_serial.errors import RunError, UserError
from rl_serial.importing import add_import, import_arguments
from rl_serial.shipped import resolved
from rl_serial.tables import markdown_table

MOST_WORKERS, MOST_RETRIES, MOST_GPUS, MOST_DRAWN = 4096, 1000, 64, 1000
MOST_POPULATION = 1024
POPULATIONS = {"cpu": 8, "cuda": 32}
"""Runs of a batch at most, by device."""
SHOWN_CELLS = 60
SHOWN_FAILURES = 10


def add_parsers(commands: Any, require: Callable[[str], None]) -> None:
    """Add the command group to the subparsers of ``rl-serial``.

    ``require`` raises an error that names the extra which a command lacks.
    """

    def command(action: Callable[[argparse.Namespace], None]) -> Callable[..., None]:
        def carry_out(options: argparse.Namespace) -> None:
            require("study")
            action(options)

        return carry_out

    study = commands.add_parser("study", help="grids of runs with a question: run, status, report")
    actions = study.add_subparsers(required=True, metavar="ACTION")

    plan = actions.add_parser("plan", help="check a study and list its rows, running nothing")
    _add_study(plan)
    plan.add_argument("--rows", action="store_true", help="every row with its id")
    add_import(plan)
    plan.set_defaults(command=command(_plan))

    run = actions.add_parser("run", help="carry out the runs of a study that are missing")
    _add_study(run)
    run.add_argument(
        "--engine",
        choices=("local", "population", "ray"),
        default="local",
        help="population: runs of the same shapes are trained as one batch; default local",
    )
    run.add_argument("--workers", type=int, metavar="N", help="processes; default one a CPU")
    run.add_argument(
        "--population",
        type=int,
        metavar="N",
        help="runs of a batch at most; default 8, or 32 on a GPU",
    )
    run.add_argument("--address", help="of a Ray cluster, as in ray://host:10001 or auto")
    run.add_argument("--gpus", type=float, default=0.0, help="share of a GPU a run takes (ray)")
    run.add_argument("--out", type=Path, metavar="FOLDER", help="default runs/study/<name>")
    run.add_argument(
        "--retries", type=int, default=3, help="for a run whose worker died; default 3"
    )
    run.add_argument("--retry-failed", action="store_true", help="failed runs too")
    run.add_argument("--quiet", action="store_true", help="no progress bar")
    run.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add_import(run)
    run.set_defaults(command=command(_run))

    status = actions.add_parser("status", help="how the rows of a study stand")
    status.add_argument("folder", type=Path, metavar="FOLDER")
    status.add_argument("--rows", action="store_true", help="every row with its status")
    add_import(status)
    status.set_defaults(command=command(_status))

    report = actions.add_parser("report", help="figures and one HTML page of a study")
    report.add_argument("folder", type=Path, metavar="FOLDER")
    report.add_argument(
        "--episodes", type=int, default=4, help="episodes that are drawn; default 4"
    )
    report.add_argument(
        "--publish",
        type=Path,
        metavar="FOLDER",
        help="copy study, tables, report and figures there, without the runs",
    )
    add_import(report)
    report.set_defaults(command=command(_report))

    restore = actions.add_parser(
        "restore", help="make a study's folder of what was published, to go on from there"
    )
    restore.add_argument("published", type=Path, metavar="PUBLISHED", help="as in results/loops")
    restore.add_argument("--out", type=Path, metavar="FOLDER", required=True, help="a new folder")
    add_import(restore)
    restore.set_defaults(command=command(_restore))


def _check(option: str, value: float, least: int, most: int) -> None:
    if not least <= value <= most:  # NaN is neither
        raise UserError(f"must be at least {least} and at most {most}", source=f"{option} {value}")


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a YAML file, or a name that `configs` lists"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--smoke", action="store_true", help="the small size that the file gives")
    size.add_argument(
        "--seeds",
        type=_seeds,
        metavar="N | S,S,…",
        help="other seeds than the file's: how many, counted from 0, or a list with a comma",
    )


def _seeds(text: str) -> int | list[int]:
    """How many seeds, or the seeds themselves: a list has a comma (`7,` is seed 7 alone)."""
    try:
        return [int(part) for part in text.split(",") if part] if "," in text else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number of seeds nor a list of them, as in 10 or 5,6,7"
        ) from None


def _plan(options: argparse.Namespace) -> None:
    from rl_serial.study.design import load_study
    from rl_serial.study.runner import check_networks

    study = load_study(resolved(options.file, "study"), options.smoke, options.seeds)
    screening = study.screening
    if screening is not None:
        check_networks(screening, str(options.file))
    check_networks(study, str(options.file))
    print(study.config.question)
    if screening is not None:
        _print_plan(screening, options.rows)
        print(f"{len(screening.runs)} runs of the screening; then, with what it chooses:")
    _print_plan(study, options.rows)
    print(f"{len(study.runs)} runs")


def _print_plan(study: Any, rows: bool) -> None:
    """The levels of a study's columns, or every row; ids wait for the choices of a screening."""
    if rows:
        table = [
            (run.id if study.screening is None else "", *run.columns.values()) for run in study.runs
        ]
        print(markdown_table(("id", *study.runs[0].columns), table))
    else:
        levels = [(c, ", ".join(str(v) for v in study.levels(c))) for c in study.runs[0].columns]
        print(markdown_table(("column", "levels"), levels))


def _run(options: argparse.Namespace) -> None:
    from rl_serial.study.design import load_study
    from rl_serial.study.engines import Engine, LocalEngine, RayEngine
    from rl_serial.study.folder import StudyFolder
    from rl_serial.study.runner import default_folder, run_study

    if options.workers is not None:
        _check("--workers", options.workers, 1, MOST_WORKERS)
    _check("--retries", options.retries, 0, MOST_RETRIES)
    _check("--gpus", options.gpus, 0, MOST_GPUS)
    if options.engine != "ray" and (options.address or options.gpus):
        raise UserError(
            "goes with --engine ray alone; locally --device cuda takes the GPU",
            "--address" if options.address else "--gpus",
        )
    if options.population is not None:
        _check("--population", options.population, 1, MOST_POPULATION)
        if options.engine != "population":
            raise UserError("only --engine population trains several runs as one", "--population")
    study = load_study(resolved(options.file, "study"), options.smoke, options.seeds)
    engine: Engine
    if options.engine == "ray":
        engine = RayEngine(options.workers, options.retries, options.address, options.gpus)
    else:
        engine = LocalEngine(options.workers, options.retries, _population(options))
    folder = StudyFolder(options.out or default_folder(options.file, options.smoke))
    try:
        rows = run_study(
            study,
            folder,
            engine,
            retry_failed=options.retry_failed,
            device=options.device,
            progress=not options.quiet,
            imports=options.modules,
            command=_command(options),
            source=str(options.file),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command continues") from None
    print(_summary(folder))
    failed = [row for row in rows if row.status == "failed"]
    if failed:
        raise RunError(
            f"{len(failed)} of {len(rows)} runs, the first with: {failed[0].error} "
            f"({folder.log(failed[0].run.id)}); --retry-failed tries again"
        )


def _population(options: argparse.Namespace) -> int:
    """How many runs are trained as one batch at most."""
    if options.engine != "population":
        return 1
    if options.population is not None:
        return int(options.population)
    from rl_serial.runs.devices import choose_device

    return POPULATIONS[choose_device(options.device).type]


def _command(options: argparse.Namespace) -> list[str]:
    """The command that repeats this, without what does not change the result."""
    command = ["rl-serial", "study", "run", str(options.file)]
    command += ["--smoke"] if options.smoke else []
    if (seeds := options.seeds) is not None:
        one = "," if isinstance(seeds, list) and len(seeds) == 1 else ""
        command += ["--seeds", str(seeds).strip("[]").replace(" ", "") + one]
    command += import_arguments(options.imports)
    command += ["--engine", options.engine] if options.engine != "local" else []
    return command + (["--device", options.device] if options.device != "auto" else [])


def _status(options: argparse.Namespace) -> None:
    from rl_serial.study.folder import StudyFolder

    folder = StudyFolder(options.folder)
    if options.rows:
        rows = (folder.screening if folder.is_choosing else folder).rows()
        header = ("id", "status", *rows[0].run.columns, "error")
        table = [(r.run.id, r.status, *r.run.columns.values(), r.error) for r in rows]
        print(markdown_table(header, table))
    else:
        print(_summary(folder))


def _report(options: argparse.Namespace) -> None:
    from rl_serial.study.folder import StudyFolder
    from rl_serial.study.publication import publish
    from rl_serial.study.report import write_report

    folder = StudyFolder(options.folder)
    _check("--episodes", options.episodes, 0, MOST_DRAWN)
    if folder.is_choosing and options.publish is None:
        print(_summary(folder))
        return
    file = write_report(folder, options.episodes)
    if options.publish is not None:
        try:
            publish(folder, options.publish)
        except OSError as error:
            file = error.filename or options.publish
            raise RunError(f"{file}: {error.strerror or error}") from error
        file = options.publish / file.name
    print(_summary(folder))
    print(f"\n{file}")


def _restore(options: argparse.Namespace) -> None:
    from rl_serial.study.folder import StudyFolder
    from rl_serial.study.publication import restore

    folder = StudyFolder(options.out)
    try:
        restore(options.published, folder)
    except OSError as error:
        raise RunError(f"{error.filename or options.out}: {error.strerror or error}") from error
    print(_summary(folder))


def _summary(folder: Any) -> str:
    """Where a study stands: counts, failures, verdicts, slopes of planes, cells."""
    from rl_serial.study.cells import (
        cell_intervals,
        chosen_levels,
        ends_of_range,
        interval_words,
        interval_words_of,
    )
    from rl_serial.study.findings import judge
    from rl_serial.study.folder import result_of
    from rl_serial.study.measures import final_metrics
    from rl_serial.study.planes import HEADER, cells_of_fit, study_fits

    parts = []
    if folder.screening.plan.exists():
        parts += _standing(folder.screening, folder.screening.rows())
    if folder.is_choosing:
        return "\n\n".join(
            [*parts, "The study's own runs come after the screening, with what it chooses."]
        )
    study = folder.read_study()
    rows = [folder.row(run) for run in study.runs]
    parts += _standing(folder, rows)
    records = [result_of(row) for row in rows]
    if at_ends := ends_of_range(study, records):
        parts.append(f"{at_ends}. A better level may lie beyond.")
    findings = judge(study, records)
    if findings:
        table = [
            (f.hypothesis.id, f.words, f.quantity, interval_words(f.interval), f.note)
            for f in findings
        ]
        parts.append(markdown_table(("hypothesis", "verdict", "measured", "value", "note"), table))
    fits = [fit for fit in study_fits(study, records) if fit.summary]
    if fits:
        parts.append(markdown_table(HEADER, [cells_of_fit(fit) for fit in fits]))
    measured = (cell for cell in cell_intervals(study, records) if cell[1])
    first = list(islice(measured, SHOWN_CELLS))
    if first:
        metrics = final_metrics(study)
        levels = chosen_levels(study, records)
        screened = [study.config.screen.key] if study.config.screen else []
        header = (*study.columns, *screened, "runs", *metrics)
        cells = [
            (
                *columns.values(),
                *([levels[tuple(columns.values())]] if levels else []),
                max(interval.runs for interval in intervals.values()),
                *(interval_words_of(intervals.get(metric), planned) for metric in metrics),
            )
            for columns, intervals, planned in first
        ]
        parts.append(markdown_table(header, cells))
        cells_done = {
            tuple(row[c] for c in study.columns) for row in records if row["status"] == "done"
        }
        if len(cells_done) > len(first):
            parts.append(f"and {len(cells_done) - len(first)} cells more in {folder.results}")
    return "\n\n".join(parts)


def _standing(folder: Any, rows: Sequence[Any]) -> list[str]:
    """How many rows of a folder have each status, and those that failed."""
    from rl_serial.study.folder import counts

    found = counts(rows)
    parts = [
        f"{folder.path}: {len(rows)} runs: "
        + ", ".join(f"{found[status]} {status}" for status in found)
    ]
    failed = [row for row in rows if row.status == "failed"]
    if failed:
        lines = [f"- {row.run.id}: {row.error} ({folder.log(row.run.id)})" for row in failed]
        more = [f"- and {len(lines) - SHOWN_FAILURES} more"] if len(lines) > SHOWN_FAILURES else []
        parts.append("\n".join(["failed:", *lines[:SHOWN_FAILURES], *more]))
    return parts
