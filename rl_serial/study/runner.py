"""Carries out what a study plans and is not there yet.

The run folders hold the truth; the tables are derived from them. A study that was stopped at any
moment is started again with the same command and does what is missing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from tqdm import tqdm

from rl_serial.config import NETWORKS
from rl_serial.errors import RunError, UserError
from rl_serial.importing import load_modules
from rl_serial.loading import resolved_config
from rl_serial.study.design import blamed, with_choices
from rl_serial.study.engines import Engine
from rl_serial.study.folder import Row, Status, StudyFolder, record_failure, result_of
from rl_serial.study.jobs import Job
from rl_serial.study.schema import PlannedRun, Study
from rl_serial.study.screening import choose, read_choices, write_choices

TABLES_EVERY = 10.0
"""Seconds between two writings of the tables while runs go on."""


def check_networks(study: Study, source: str, known: Collection[str] = ()) -> None:
    """Build what the runs ask for, without weights: widths for budgets, arguments of algorithms.

    Args:
        study: its runs.
        source: what errors call the study.
        known: ids of runs that were checked before.

    Raises:
        UserError: a budget that no width meets, a depth that a trunk cannot have, an argument that
            an algorithm has not; the message names the key of the study that set it.
    """
    runs = [run for run in study.runs if run.id not in known]
    if not runs:
        return
    from rl_serial.subjects import subject_of

    seen: set[str] = set()
    for run in runs:
        env, agent = run.config["env"], run.config["agent"]
        # The width of a network depends on the sizes of its inputs and outputs too; what an agent
        # with networks is asked for itself has nothing to do with the environment.
        sizes = [env, agent["kind"], agent.get("representation")]
        parts = {key: [run.config[key], sizes] for key in NETWORKS if run.config[key] is not None}
        parts["agent"] = [agent, None if parts else env]
        fresh = [key for key, part in parts.items() if _new([key, part], seen)]
        if not _new([run.config["evaluation"], sizes], seen) and not fresh:
            continue
        config = resolved_config(run.config)
        try:
            subject_of(config).check(fresh)
            if getattr(config.agent, "processes", 1) > 1:
                raise UserError(
                    "must be 1 in a study, each run of which is one process", "agent.processes"
                )
        except UserError as error:
            raise blamed(error, study.config, run.columns).at(source) from None


def run_study(
    study: Study,
    folder: StudyFolder,
    engine: Engine,
    *,
    retry_failed: bool = False,
    device: str = "auto",
    progress: bool = True,
    imports: Sequence[str] = (),
    command: Sequence[str] = (),
    source: str = "study",
) -> list[Row]:
    """Carry out the runs that are missing and return all rows.

    A study with a ``screening`` first carries that out, in the folder ``screening``, and plans its
    own runs with the levels that were chosen there.

    Args:
        study: what is planned.
        folder: where; what is there already is kept.
        engine: carries out the runs.
        retry_failed: give failed runs another try, from their last checkpoint.
        device: auto, cpu or cuda.
        progress: show a bar.
        imports: modules of the user's own that workers load first, by their dotted names or files
            (:func:`rl_serial.importing.load_modules`): those that register the study's families.
        command: what is written down as the command that did this.
        source: what errors call the study.

    Raises:
        UserError: the study is not right, or the folder is another study's or another runner's.
        RunError: the machine ran into trouble (a full disk); the same call goes on after it. Or a
            screening has no value at all of a cell.
    """
    if study.screening is None:
        check_networks(study, source, folder.known_ids())
    elif not {run.id for run in study.screening.runs} <= folder.screening.known_ids():
        check_networks(study.screening, source, folder.screening.known_ids())
        check_networks(study, source)
    folder.refuse_foreign()  # before a lock is left in it
    carry_out = partial(
        _carry_out,
        engine=engine,
        retry_failed=retry_failed,
        device=device,
        progress=progress,
        imports=load_modules(imports),
    )
    with folder.locked():
        try:
            if study.screening is not None:
                study = _screened(study, study.screening, folder, command, source, carry_out)
                check_networks(study, source, folder.known_ids())
            folder.write_plan(study, command)
            return carry_out(folder, study.runs, study.runs)
        except OSError as error:
            raise RunError(
                f"{error.filename or folder.path}: {error.strerror or error}; the same command "
                "continues"
            ) from error


def _screened(
    study: Study,
    screening: Study,
    folder: StudyFolder,
    command: Sequence[str],
    source: str,
    carry_out: Callable[..., list[Row]],
) -> Study:
    """The study with the choices of its screening, whose runs that are missing are carried out.

    Choices that were made stay, so the runs behind them are left alone.
    """
    screen = study.config.screen
    assert screen is not None
    choices = read_choices(folder, study)
    folder.refuse_other(with_choices(study, choices, source))  # before anything runs
    folder.screening.write_plan(screening, command)
    if not folder.plan.exists():
        folder.write_design(study, command)
    todo = [run for run in screening.runs if screen.cell(run.columns) not in choices]
    if todo:
        rows = carry_out(folder.screening, screening.runs, todo)
        new = [row for row in rows if screen.cell(row.run.columns) not in choices]
        unfinished = sum(row.status not in ("done", "failed") for row in new)
        if unfinished:
            raise RunError(
                f"{folder.screening.path}: {unfinished} runs of the screening are unfinished; the "
                "same command continues"
            )
        choices |= choose(study, [result_of(row) for row in new])
        write_choices(folder, study, choices)
    return with_choices(study, choices, source)


def _carry_out(
    folder: StudyFolder,
    runs: Sequence[PlannedRun],
    wanted: Sequence[PlannedRun],
    *,
    engine: Engine,
    retry_failed: bool,
    device: str,
    progress: bool,
    imports: tuple[str, ...],
) -> list[Row]:
    """Carry out what is missing of the ``wanted`` among the planned ``runs``; the rows of all."""
    rows = {run.id: folder.row(run) for run in runs}
    # No other runner is here: what looks like running is an orphan about to end.
    given = {"missing", "running"} | ({"failed"} if retry_failed else set())
    todo = [run for run in wanted if rows[run.id].status in given]
    _Progress(folder, rows, progress).follow(engine, _jobs(folder, todo, device, imports))
    return list(rows.values())


class _Progress:
    """Follows an engine's events: rows, tables, the bar."""

    def __init__(self, folder: StudyFolder, rows: dict[str, Row], progress: bool) -> None:
        self.folder, self.rows = folder, rows
        self.counts = Counter(row.status for row in rows.values())
        ended = self.counts["done"] + self.counts["failed"]
        self.bar: tqdm[Any] = tqdm(
            total=len(rows),
            initial=ended,
            unit="run",
            smoothing=0,  # time left from the mean of this start's runs
            disable=not progress,
            desc=folder.path.name,
        )

    def follow(self, engine: Engine, jobs: Sequence[Job]) -> None:
        self._write()
        for job in jobs:
            self._set(job.id, "missing")
        try:
            with closing(engine.run(jobs)) as events:  # type: ignore[type-var]
                for event in events:
                    if event.kind == "started":
                        self._set(event.id, "running")
                    elif event.kind == "lost":
                        self._set(event.id, "missing")
                    elif event.outcome is not None:
                        self._end(event.id, event.outcome.status, event.outcome.error)
                    self._show()
                    if event.kind == "ended" and monotonic() - self.written > TABLES_EVERY:
                        self._write()
        finally:
            self.bar.close()
            # What is running now is stopped: it stands as its folder says.
            for id_ in [id_ for id_, row in self.rows.items() if row.status == "running"]:
                self._set(id_, "missing")
            if self.changed:
                self._write()

    def _write(self) -> None:
        """The tables, as the rows stand."""
        self.folder.write_tables(list(self.rows.values()))
        self.written, self.changed = monotonic(), False

    def _end(self, id_: str, status: str, error: str) -> None:
        run = self.rows[id_].run
        if status == "interrupted":
            raise RunError(
                f"{error.removesuffix('; --resume continues')}; the same command continues"
            )
        if status == "failed":
            record_failure(self.folder.run(id_), error)
        # What a worker says counts for nothing that its folder does not show.
        row = self.folder.row(run)
        self._put(row if row.status != "running" else replace(row, status="missing"))
        self.bar.update(1)

    def _set(self, id_: str, status: Status) -> None:
        self._put(replace(self.rows[id_], status=status, error=""))

    def _put(self, row: Row) -> None:
        self.counts[self.rows[row.run.id].status] -= 1
        self.counts[row.status] += 1
        self.rows[row.run.id] = row
        self.changed = True

    def _show(self) -> None:
        shown = {key: self.counts[key] for key in ("done", "failed", "running")}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.refresh() if not self.bar.disable else None


def _jobs(
    folder: StudyFolder, runs: Sequence[PlannedRun], device: str, imports: tuple[str, ...]
) -> list[Job]:
    root = StudyFolder(folder.path.resolve())  # a worker may stand elsewhere
    return [
        Job(run.id, run.config, str(root.run(run.id)), str(root.log(run.id)), device, imports)
        for run in runs
    ]


def _new(key: Any, seen: set[str]) -> bool:
    text = json.dumps(key, sort_keys=True)
    if text in seen:
        return False
    seen.add(text)
    return True


def default_folder(file: Path, smoke: bool) -> Path:
    """Where a study goes that is not told where."""
    return Path("runs/study") / (file.stem + ("_smoke" if smoke else ""))
