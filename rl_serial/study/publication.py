"""What is committed of a study: published without the runs, and restored to a folder that goes on.

A publication holds a study's design, commands, tables, report and figures. Its tables say all that
a report says of a row, so a study restored from them can grow (by seeds, by levels) and runs only
what is new. What it lacks of its old rows are the weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rl_serial.errors import UserError
from rl_serial.runs.files import write_json, write_text
from rl_serial.study.design import load_study, with_choices
from rl_serial.study.folder import StudyFolder
from rl_serial.study.schema import PlannedRun, Study
from rl_serial.study.screening import read_choices
from rl_serial.study.table import Record, read_table, table_text


def publish(folder: StudyFolder, destination: Path) -> None:
    """Copy study, commands, tables, report and figures there; what it had of them is renewed.

    Of a study with a screening, its choices and its results too.

    Raises:
        UserError: there is no whole report yet, or the destination holds results of another
            study (or of another size of this one), or it is this very folder.
        OSError: a file cannot be written.
    """
    files = _files(folder)
    lacking = [path.name for path in (*files, folder.figures) if not path.exists()]
    if lacking:
        raise UserError(
            f"has no {', '.join(lacking)} to publish; rl-serial study report "
            "writes them once a run is done",
            source=folder.path,
        )
    if destination.resolve() == folder.path.resolve():
        raise UserError("is the study's own folder; publish to another", source=destination)
    published = destination / folder.results.name
    strange = [p.name for p in (*files, folder.figures) if (destination / p.name).exists()]
    if strange and not published.exists():
        raise UserError(
            f"holds {', '.join(strange)}, but no results of a study; publish to another",
            source=destination,
        )
    if published.exists():
        others = {record["id"] for record in _rows(published)} - folder.known_ids()
        if others:
            raise UserError(
                f"holds results of another study: {len(others)} of its rows are not in this one",
                source=destination,
            )
    destination.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, destination / file.name)
    for file in _screened(folder):
        copy = destination / file.relative_to(folder.path)
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, copy)
    shutil.rmtree(destination / folder.figures.name, ignore_errors=True)
    shutil.copytree(folder.figures, destination / folder.figures.name)


def restore(source: Path, folder: StudyFolder) -> Study:
    """Make a study's folder of a publication: its plan, its choices, and its finished rows.

    The rows have their metrics, accounts and curves, and neither configuration files nor weights.
    Rows that were not finished are missing, so that the study runs them.

    Args:
        source: what :func:`publish` wrote.
        folder: a new one; it appears when it is whole.

    Returns:
        The study as it was planned.

    Raises:
        UserError: the source is no publication, or this version plans other rows than it holds; or
            the folder is there.
        OSError: a file cannot be written.
    """
    published = StudyFolder(source)
    if folder.path.exists():
        raise UserError("is there; --out takes a new folder", source=folder.path)
    lacking = [path.name for path in _files(published) if not path.exists()]
    if lacking:
        raise UserError(
            f"has no {', '.join(lacking)}, which rl-serial study report --publish writes",
            source=source,
        )
    study = load_study(published.design)
    screening = study.screening
    if screening is not None:
        study = with_choices(study, read_choices(published, study), str(published.design))
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.path.parent, prefix=f".{folder.path.name}.") as name:
        new = StudyFolder(Path(name) / "whole")
        new.write_plan(study, ())
        shutil.copyfile(published.commands, new.commands)
        if screening is not None:
            new.screening.write_plan(screening, ())
            shutil.copyfile(published.choices, new.choices)
            _restore_rows(published.screening, new.screening, screening)
        _restore_rows(published, new, study)
        new.path.rename(folder.path)
    return study


def _files(folder: StudyFolder) -> tuple[Path, ...]:
    """What every publication holds, beside the figures."""
    files = (folder.design, folder.commands, folder.results, folder.timings, folder.curves)
    return (*files, folder.report)


def _screened(folder: StudyFolder) -> tuple[Path, ...]:
    """What a publication holds of a screening."""
    return (folder.choices, folder.screening.results) if folder.choices.exists() else ()


def _rows(table: Path) -> list[Record]:
    """A commit is text even where it looks like a number, as 1e91603 does."""
    return read_table(table, texts=("id", "status", "error", "commit", "device_name"))


def _restore_rows(published: StudyFolder, folder: StudyFolder, study: Study) -> None:
    """Write run folders of what the tables hold of the finished rows, and the tables anew.

    Raises:
        UserError: a row is not planned, or holds something other than numbers.
    """
    runs = {run.id: run for run in study.runs}
    results = _rows(published.results)
    if others := [record for record in results if record["id"] not in runs]:
        raise UserError(
            f"{len(others)} of its {len(results)} rows are not what this version plans for its "
            f"{published.design.name}: another version, or an --import that is missing here",
            source=published.results,
        )
    timings, curves = published.timings, published.curves
    timed = {record["id"]: record for record in _rows(timings)} if timings.exists() else {}
    evaluations = _rows(curves) if curves.exists() else []
    curve: dict[str, list[Record]] = {}
    for record in evaluations:
        curve.setdefault(record["id"], []).append(record)
    header = [key for key in (evaluations[0] if evaluations else {}) if key != "id"]
    for record in results:
        if record["status"] != "done":
            continue
        run, path = runs[record["id"]], folder.run(record["id"])
        path.mkdir()
        if points := curve.get(run.id):
            held = [key for key in header if any(point[key] is not None for point in points)]
            write_text(path / "metrics.csv", table_text(held, points))
        clocks = {key: value for key, value in timed.get(run.id, {}).items() if key != "id"}
        write_json(path / "summary.json", {"status": "done"} | clocks | _summary(record, run))
    rows = [folder.row(run) for run in study.runs]
    if damaged := [r.run.id for r in rows if r.status != "done" and folder.run(r.run.id).exists()]:
        raise UserError(
            f"damaged: row {damaged[0]} holds something other than numbers",
            source=published.results,
        )
    folder.write_tables(rows)


def _summary(record: Mapping[str, Any], run: PlannedRun) -> dict[str, Any]:
    """What a run's summary says of its results: the inverse of ``folder.result_of``."""
    own = {"id", "status", "error", "steps", *run.columns, *run.recorded}
    values = {key: v for key, v in record.items() if key not in own and v is not None}
    final: dict[str, Any] = {}
    accounts: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        name, _, end = key.rpartition("_")
        if "/" not in key and "." in key:  # a network's account; metrics have a group and a slash
            network, account = key.split(".", 1)
            accounts.setdefault(network, {})[account] = value
        elif end == "low" and f"{name}_high" in values:
            final[f"{name}_interval"] = [value, values[f"{name}_high"]]
        elif not (end == "high" and f"{name}_low" in values):
            final[key] = value
    return {"final": final, "accounts": accounts, "steps": record.get("steps")}
