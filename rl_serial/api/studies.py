"""Studies from a program: plan, run, read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from rl_serial.api.agents import LoadedAgent, load
from rl_serial.config import checked_name
from rl_serial.errors import RunError, UserError
from rl_serial.shipped import resolved
from rl_serial.study.design import load_study, plan
from rl_serial.study.engines import Engine, LocalEngine, RayEngine
from rl_serial.study.findings import Finding, judge
from rl_serial.study.folder import Row, StudyFolder, result_of
from rl_serial.study.publication import restore
from rl_serial.study.report import write_report
from rl_serial.study.runner import run_study
from rl_serial.study.schema import PlannedRun
from rl_serial.study.schema import Study as Design
from rl_serial.study.table import Record

ENGINES = ("local", "population", "ray")
POPULATION = 8


class Study:
    """A grid of runs with a question, as ``rl-serial study`` carries it out.

    Args:
        config: a YAML file (docs/studies.md), the name of a shipped study, or its keys as plain
            data.
        folder: where its runs are; None: ``runs/study/<name>``. What is there already is kept.
        name: of a study from plain data; else that of the file.
        smoke: the small size that the key ``smoke`` gives.
        seeds: how many (counted from 0), or which, in place of the study's own.

    Raises:
        UserError: every key that is wrong, with its path.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any],
        folder: str | Path | None = None,
        *,
        name: str = "study",
        smoke: bool = False,
        seeds: int | Sequence[int] | None = None,
    ) -> None:
        if isinstance(config, Mapping):
            try:
                checked_name(name)
            except ValueError as error:
                raise UserError(error, "name") from None
            self.source = name
            data = deepcopy(dict(config)) | ({} if seeds is None else {"seeds": seeds})
            self.design: Design = plan(data, name, name, smoke=smoke)
        else:
            file = resolved(Path(config), "study")
            self.source = str(file)
            self.design = load_study(file, smoke, seeds)
        size = "_smoke" if smoke else ""
        place = Path(folder) if folder is not None else Path("runs/study") / self.design.name
        self._folder = StudyFolder(place if folder is not None else Path(f"{place}{size}"))

    @classmethod
    def open(cls, folder: str | Path) -> Study:
        """A study that was begun, from its folder.

        Raises:
            UserError: the folder holds none, or a damaged one.
        """
        found = cls.__new__(cls)
        found._folder = StudyFolder(Path(folder))
        found.source = str(folder)
        found.design = found._folder.read_study()
        return found

    @classmethod
    def restore(cls, published: str | Path, folder: str | Path) -> Study:
        """A study of what was published of it: its plan and its finished rows, without weights.

        The same study with more seeds or levels, in the folder, runs only what is new.

        Args:
            published: a folder that ``rl-serial study report --publish`` wrote.
            folder: a new one.

        Raises:
            UserError: the first is no publication, or this version plans other rows; or the second
                is there.
        """
        restore(Path(published), StudyFolder(Path(folder)))
        return cls.open(folder)

    def __repr__(self) -> str:
        """Question, size, place."""
        return f"<study of {len(self.runs)} runs in {self.folder}: {self.question}>"

    @property
    def folder(self) -> Path:
        """Where its runs are."""
        return self._folder.path

    @property
    def question(self) -> str:
        """What it asks."""
        return self.design.config.question

    @property
    def runs(self) -> tuple[PlannedRun, ...]:
        """What is planned: id, columns of the grid and configuration of each run."""
        return self.design.runs

    def run(
        self,
        *,
        workers: int | None = None,
        engine: str | Engine = "local",
        retry_failed: bool = False,
        device: str = "auto",
        progress: bool = True,
        imports: Sequence[str] = (),
    ) -> list[Record]:
        """Carry out the runs that are missing.

        Workers are processes that import the calling script, so a script that calls this stands
        under ``if __name__ == "__main__":``, as with every use of ``multiprocessing``.

        Args:
            workers: processes; None: one a CPU.
            engine: local, population (runs of the same shapes are trained as one batch), ray, or
                an :class:`rl_serial.study.engines.Engine`.
            retry_failed: give failed runs another try.
            device: auto, cpu or cuda.
            progress: show a bar.
            imports: modules of your own, or files, that register families, agents or trunks.

        Returns:
            The :attr:`results`.

        Raises:
            UserError: a study that is not right, or a folder that holds another one.
            RunError: the machine ran into trouble; the same call continues.
        """
        run_study(
            self.design,
            self._folder,
            _engine(engine, workers),
            retry_failed=retry_failed,
            device=device,
            progress=progress,
            imports=imports,
            source=self.source,
        )
        self.design = self._folder.read_study()
        return self.results

    @property
    def rows(self) -> list[Row]:
        """How every planned run stands: done, failed, running or missing."""
        return [self._folder.row(run) for run in self.runs]

    @property
    def results(self) -> list[Record]:
        """A row for each run: id, status, columns of the grid, final metrics; tidy data."""
        return [result_of(row) for row in self.rows]

    @property
    def findings(self) -> list[Finding]:
        """The verdict on each hypothesis, with interval and reason."""
        return judge(self.design, self.results)

    def report(self, episodes: int = 4) -> Path:
        """Draw the figures and write the HTML page; its file.

        Args:
            episodes: that are drawn.

        Raises:
            UserError: nothing has been run yet.
        """
        file: Path = write_report(self._folder, episodes)
        return file

    def load(self, id_: str, *, device: str = "auto") -> LoadedAgent:
        """The agent of one of the runs.

        Raises:
            UserError: no such run, or one that is not done.
        """
        if id_ not in {run.id for run in self.runs}:
            raise UserError(f"no run of {self.folder}", source=id_)
        return load(self._folder.run(id_), device=device)


def _engine(engine: str | Engine, workers: int | None) -> Engine:
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise UserError(f"must be one of {', '.join(ENGINES)}, not {engine!r}", "engine")
    if engine == "ray":
        return RayEngine(workers)
    return LocalEngine(workers, population=POPULATION if engine == "population" else 1)


__all__ = ["Finding", "RunError", "Study"]
