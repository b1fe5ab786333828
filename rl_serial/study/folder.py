"""A study's folder: its plan, its runs, and the tables derived from them.

| file | what |
|---|---|
| `study.yaml` | the study as it was run, the base in it |
| `plan.jsonl` | a row per planned run: id, columns, resolved configuration |
| `command.txt` | the commands that ran it |
| `runs/<id>/` | the run folders; their `summary.json` is the truth about a row |
| `logs/<id>.log` | what a run printed; locked while a process works on the run |
| `results.csv` | a row per planned run, without clock times: the same runs give the same file |
| `timings.csv` | seconds and machine of each finished run |
| `curves.csv` | the evaluations during training |
| `screening/` | of a study with a ``screen``: the folder of the runs that choose |
| `screening.csv` | a row per cell: the level that it took, and the means that it chose from |
| `report.html`, `figures/`, `episodes/` | what `rl-serial study report` writes |
"""

from __future__ import annotations

import fcntl
import json
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from rl_serial.arguments import MOST_SEED
from rl_serial.errors import UserError
from rl_serial.loading import read_yaml, resolved_config
from rl_serial.runs.files import (
    is_partial,
    locked,
    read_summary,
    read_text,
    write_json,
    write_text,
)
from rl_serial.settings import faults_of
from rl_serial.study.design import write_study
from rl_serial.study.schema import AT_END, SEED, PlannedRun, Study, StudyConfig
from rl_serial.study.table import Record, read_table, table_text

Status = Literal["done", "failed", "running", "missing"]
STATUSES: tuple[Status, ...] = get_args(Status)
OWN = (SEED, "name")
"""Keys of a run that no other row of its cell has alike."""


@dataclass(frozen=True)
class Row:
    """A planned run and how it stands."""

    run: PlannedRun
    status: Status
    error: str = ""
    summary: dict[str, Any] = field(default_factory=dict)  # what the run's summary.json holds


class StudyFolder:
    """The files of a study."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan = path / "plan.jsonl"
        self.design = path / "study.yaml"
        self.commands = path / "command.txt"
        self.results = path / "results.csv"
        self.timings = path / "timings.csv"
        self.curves = path / "curves.csv"
        self.report = path / "report.html"
        self.figures = path / "figures"
        self.episodes = path / "episodes"
        self.logs = path / "logs"
        self.choices = path / "screening.csv"

    @property
    def screening(self) -> StudyFolder:
        """The folder of the screening."""
        return StudyFolder(self.path / "screening")

    @property
    def is_choosing(self) -> bool:
        """Whether a screening has begun and the study's own runs are not planned yet."""
        return not self.plan.exists() and self.screening.plan.exists()

    def run(self, id_: str) -> Path:
        """The folder of a run."""
        return self.path / "runs" / id_

    def log(self, id_: str) -> Path:
        """The log of a run."""
        return self.logs / f"{id_}.log"

    def refuse_foreign(self) -> None:
        """Refuse a folder that holds something and no plan of a study.

        Raises:
            UserError: it does, or it cannot be read.
        """
        try:
            ours = self.plan.exists() or self.screening.plan.exists()
            foreign = not ours and any(
                path.name not in ("study.lock", self.screening.path.name) and not is_partial(path)
                for path in self.path.iterdir()
            )
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(error.strerror or error, source=self.path) from None
        if foreign:
            raise UserError(
                "is no study's folder and not empty; --out takes another", source=self.path
            )

    def write_plan(self, study: Study, command: Sequence[str]) -> None:
        """Write what is planned; a plan that is there may only grow.

        Raises:
            UserError: the folder holds something else, or rows that this study does not plan.
        """
        text = "\n".join(map(_plan_line, study.runs)) + "\n"
        if not self.plan.exists() or read_text(self.plan) != text:
            self.refuse_other(study)
            self.refuse_foreign()
            # The plan first: a folder without one is somebody else's.
            self.path.mkdir(exist_ok=True)
            write_text(self.plan, text)
        self.logs.mkdir(exist_ok=True)
        self.run("").mkdir(exist_ok=True)
        self.write_design(study, command)

    def refuse_other(self, study: Study) -> None:
        """Refuse a plan that is there with rows that the study has not.

        Raises:
            UserError: there is one.
        """
        there = self.known_ids()
        if gone := there - {run.id for run in study.runs}:
            raise UserError(
                f"holds another study: {len(gone)} of its {len(there)} rows are "
                "not in this one, whose grid may only grow; --out takes another folder",
                source=self.path,
            )

    def write_design(self, study: Study, command: Sequence[str]) -> None:
        """Write the study's keys and the command that runs it."""
        write_text(self.design, write_study(study.config))
        line = shlex.join(command)
        before = read_text(self.commands).splitlines() if self.commands.exists() else []
        if line and line not in before:
            write_text(self.commands, "\n".join([*before, line]) + "\n")

    def read_plan(self) -> list[PlannedRun]:
        """The rows that are planned.

        Raises:
            UserError: there is no plan.
        """
        if self.is_choosing:
            raise UserError(
                "the screening is unfinished; the study's own runs are planned after "
                "it, by the command that began it",
                source=self.path,
            )
        if not self.plan.exists():
            raise UserError(f"no study here ({self.plan.name} is missing)", source=self.path)
        runs = self._planned_runs()
        checked: set[str] = set()
        for i, run in enumerate(runs, start=1):
            if run.columns.keys() != runs[0].columns.keys():
                raise UserError(
                    "damaged: has other columns than line 1", source=f"{self.plan}, line {i}"
                )
            # The seeds of a cell share all else, and to check it takes the most time by far.
            shared = json.dumps([item for item in run.config.items() if item[0] not in OWN])
            if shared not in checked:
                _check_config(run, f"{self.plan}, line {i}")
                checked.add(shared)
        return runs

    def _planned_runs(self) -> list[PlannedRun]:
        """The rows of the plan, whose configurations may be none of this version."""
        lines = read_text(self.plan).splitlines()
        if not lines:
            raise UserError("damaged: holds no rows", source=self.plan)
        return [
            _planned_run(line, f"{self.plan}, line {i}") for i, line in enumerate(lines, start=1)
        ]

    def known_ids(self) -> set[str]:
        """The ids of the rows that are planned; none before there is a plan."""
        return {run.id for run in self._planned_runs()} if self.plan.exists() else set()

    def read_study(self) -> Study:
        """The study as it was planned; nothing is checked or hashed anew."""
        runs = tuple(self.read_plan())
        config = self.read_config()
        missing = {*config.tuned} - runs[0].columns.keys()
        unscreened = config.screen is not None and not all(
            {config.screen.key, AT_END} <= run.recorded.keys() for run in runs
        )
        if missing or unscreened or not config.metric:
            raise UserError(f"damaged: not the study of {self.plan.name}", source=self.design)
        return Study(self.path.name, config, runs)

    def read_config(self) -> StudyConfig:
        """The keys of the study that was planned."""
        try:
            return StudyConfig.model_validate(read_yaml(self.design))
        except ValidationError:
            raise UserError("damaged: not a study that was planned", source=self.design) from None

    def row(self, run: PlannedRun) -> Row:
        """How a run stands, as its folder says."""
        summary = read_summary(self.run(run.id))
        status = summary.get("status")
        if status == "done":
            if contradictions := list(_contradictions(summary.get("config", {}), run.config)):
                error = f"was made with {', '.join(contradictions)}; --out takes another folder"
                return Row(run, "failed", error, summary)
            return Row(run, "done", summary=summary)
        if self._is_locked(run.id):
            return Row(run, "running", summary=summary)
        if status == "failed":
            return Row(run, "failed", str(summary.get("error", "")), summary)
        return Row(run, "missing", summary=summary)  # one that was cut off goes on

    def rows(self) -> list[Row]:
        """How every planned run stands."""
        return [self.row(run) for run in self.read_plan()]

    def _is_locked(self, id_: str) -> bool:
        try:
            with self.log(id_).open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runners out; the kernel drops the lock with the process.

        Raises:
            UserError: another runner is at work here, or there can be no folder.
        """
        with locked(self.path / "study.lock", str(self.path), "runner"):
            yield

    def write_tables(self, rows: Sequence[Row]) -> None:
        """Derive ``results.csv`` and ``timings.csv`` from the rows."""
        columns = list(rows[0].run.columns)
        records = [result_of(row) for row in rows]
        measured = dict.fromkeys(key for record in records for key in record)
        header = list(dict.fromkeys(["id", "status", *columns, *measured]))
        header = [*(key for key in header if key != "error"), "error"]
        write_text(self.results, table_text(header, records))
        timed = [
            "seconds",
            "cpu_seconds",
            "steps_per_second",
            "device_name",
            "torch_threads",
            "commit",
        ]
        records = [
            {"id": row.run.id} | {key: row.summary.get(key) for key in timed}
            for row in rows
            if row.status == "done"
        ]
        write_text(self.timings, table_text(["id", *timed], records))

    def write_curves(self, rows: Sequence[Row]) -> None:
        """Derive ``curves.csv`` from the runs' ``metrics.csv``."""
        records: list[Record] = []
        for row in rows:
            file = self.run(row.run.id) / "metrics.csv"
            if row.status == "done" and file.exists():
                records += [{"id": row.run.id} | record for record in read_table(file)]
        header = list(dict.fromkeys(["id", "step", *(key for record in records for key in record)]))
        write_text(self.curves, table_text(header, records))

    def read_results(self, planned: Sequence[PlannedRun] | None = None) -> list[Record]:
        """The rows of ``results.csv``; ``planned``: the plan, where it has been read.

        A column's cells are as the plan has them: a label that looks like a number stays text.
        """
        runs = self._planned_runs() if planned is None else planned
        columns = {run.id: run.columns for run in runs}
        records = read_table(self.results, texts=("id", "status", "error"))
        return [record | columns.get(record["id"], {}) for record in records]

    def read_curves(self) -> list[Record]:
        """The rows of ``curves.csv``."""
        return read_table(self.curves, texts=("id",))


def _plan_line(run: PlannedRun) -> str:
    recorded = {"recorded": run.recorded} if run.recorded else {}
    return json.dumps({"id": run.id, "columns": run.columns, "config": run.config} | recorded)


def _planned_run(line: str, where: str) -> PlannedRun:
    """A line of the plan.

    Raises:
        UserError: it is not what :meth:`StudyFolder.write_plan` writes; an id that is not 12
            hexadecimal digits would name files elsewhere.
    """
    try:
        data = json.loads(line)
        run = PlannedRun(**data)
        whole = (
            re.fullmatch(r"[0-9a-f]{12}", run.id) is not None
            and isinstance(run.config, dict)
            and isinstance(run.recorded, dict)
            and _is_seed(run.columns[SEED])
            and (run.config[SEED], run.config["name"]) == (run.columns[SEED], run.id)
            and all(_is_cell(cell) for cell in (*run.columns.values(), *run.recorded.values()))
            and line.isascii()
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise UserError("damaged: not a run that was planned", source=where)
    return run


def _check_config(run: PlannedRun, where: str) -> None:
    """Read a planned configuration.

    Raises:
        UserError: it is none of this version, with the keys that are not.
    """
    try:
        resolved_config(run.config)
    except ValidationError as error:
        faults = [fault.under("config") for fault in faults_of(error)]
        note = (
            "(planned by another version of rl_serial, or with an --import that is missing here, "
            "or damaged; --out takes another folder)"
        )
        raise UserError.of(faults, where, note) from None
    except (ValueError, TypeError, RecursionError):
        raise UserError("damaged: not a run that was planned", source=where) from None


def _is_seed(cell: object) -> bool:
    return isinstance(cell, int) and not isinstance(cell, bool) and 0 <= cell <= MOST_SEED


def _is_cell(cell: object) -> bool:
    """Whether a table can hold it: a text, a truth value or a finite number."""
    if isinstance(cell, int | float):
        return abs(cell) <= sys.float_info.max
    return isinstance(cell, str)


def result_of(row: Row) -> Record:
    """A row of ``results.csv``."""
    record: Record = {"id": row.run.id, "status": row.status} | row.run.columns | row.run.recorded
    if row.status == "done":
        for tag, value in row.summary["final"].items():
            if tag.endswith("_interval") and isinstance(value, list) and len(value) == 2:
                name = tag.removesuffix("_interval")
                record |= {f"{name}_low": value[0], f"{name}_high": value[1]}
            else:
                record[tag] = value
        record["steps"] = row.summary.get("steps")
        for network, account in row.summary.get("accounts", {}).items():
            if not isinstance(account, dict):
                continue
            record |= {f"{network}.{key}": value for key, value in account.items()}
    record["error"] = " ".join(row.error.split())
    return record


def record_failure(folder: Path, error: str) -> None:
    """Have a run's ``summary.json`` say that it failed, if it does not yet."""
    file = folder / "summary.json"
    with suppress(OSError):  # a full disk: the row stays missing
        folder.mkdir(parents=True, exist_ok=True)
        summary = read_summary(folder)
        if summary.get("status") not in ("failed", "done"):
            write_json(file, summary | {"status": "failed", "error": error})


def _contradictions(made: dict[str, Any], planned: dict[str, Any], at: str = "") -> Iterator[str]:
    """The keys in which a finished run is not the planned one, though it has its id.

    That is where a later version has another default. Keys that only one of them knows count for
    nothing: an option that was added later.
    """
    for key in made.keys() & planned.keys() - {"name"}:
        before, now = made[key], planned[key]
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _contradictions(before, now, f"{at}{key}.")
        elif before != now:
            yield f"{at}{key} {before} where this version takes {now}"


def counts(rows: Iterable[Row]) -> dict[Status, int]:
    """How many rows have each status."""
    found = [row.status for row in rows]
    return {status: found.count(status) for status in STATUSES}
