"""A disk that fills at any write of a run or of a study: the same command then ends as ever."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rl_serial.cli import main
from rl_serial.errors import RunError, UserError
from rl_serial.loading import parse_config
from rl_serial.runs.run import train
from rl_serial.study.design import plan
from rl_serial.study.engines import Engine, Event
from rl_serial.study.folder import StudyFolder
from rl_serial.study.jobs import Job
from rl_serial.study.report import write_report
from rl_serial.study.runner import run_study
from rl_serial.study.worker import carry_out

RUN: dict[str, Any] = {
    "name": "run",
    "env": {"id": "rl_serial/PermutationAutomatonBet-v0", "serial_depth": 3, "start": "uniform"},
    "network": {"kind": "residual", "depth": 1, "width": 8},
    "agent": {"kind": "value", "updates": 4, "batch_size": 8},
    "evaluation": {"instances": 16, "per_remaining": 4, "every": 2},
}
STUDY: dict[str, Any] = {
    "question": "?",
    "base": {key: value for key, value in RUN.items() if key != "name"},
    "grid": {"network.width": [8]},
    "seeds": 1,
    "metric": "eval/serial_reach",
}


class FullAt:
    """A disk that is full at the ``turn``-th write forced to it, and has room again then."""

    def __init__(self, turn: int) -> None:
        self.turn, self.count, self.fsync = turn, 0, os.fsync

    def __call__(self, descriptor: int) -> None:
        self.count += 1
        if self.count == self.turn:
            raise OSError(28, "No space left on device")
        self.fsync(descriptor)


def tries(
    monkeypatch: pytest.MonkeyPatch, attempt: Callable[[int], None], again: Callable[[int], None]
) -> int:
    """Fill the disk at the first, the second, … write of ``attempt`` until there is none left."""
    turn = 0
    while True:
        turn += 1
        with monkeypatch.context() as patch:
            disk = FullAt(turn)
            patch.setattr(os, "fsync", disk)
            with suppress(RunError, UserError):
                attempt(turn)
        if disk.count < turn:
            return turn - 1
        again(turn)


def test_a_disk_that_is_full_at_any_write_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse_config(RUN, "test")
    train(config, tmp_path / "whole", progress=False)
    final = json.loads((tmp_path / "whole/summary.json").read_text())["final"]
    table = (tmp_path / "whole/metrics.csv").read_text()
    model = torch.load(tmp_path / "whole/model.pt", weights_only=True)["state"]["model"]

    def attempt(turn: int) -> None:
        train(config, tmp_path / f"full_{turn}", progress=False)

    def again(turn: int) -> None:
        folder = tmp_path / f"full_{turn}"
        train(config, folder, resume=True, progress=False)
        summary = json.loads((folder / "summary.json").read_text())
        assert (summary["status"], summary["final"]) == ("done", final)
        assert (folder / "metrics.csv").read_text() == table
        made = torch.load(folder / "model.pt", weights_only=True)["state"]["model"]
        assert all(torch.equal(made[name], model[name]) for name in model)

    # config, summary twice, three rows, three checkpoints, the model
    assert tries(monkeypatch, attempt, again) >= 10


class Here(Engine):
    """Carries out jobs in this process."""

    def run(self, jobs: list[Job]) -> Any:
        for job in jobs:
            yield Event("started", job.id)
            yield Event("ended", job.id, carry_out(job))


def test_a_disk_that_is_full_at_any_write_of_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = plan(STUDY, "file.yaml", "study")

    def runs(folder: Path) -> None:
        run_study(study, StudyFolder(folder), Here(), device="cpu", progress=False)

    runs(tmp_path / "whole")
    results = (tmp_path / "whole/results.csv").read_text()

    def attempt(turn: int) -> None:
        runs(tmp_path / f"full_{turn}")

    def again(turn: int) -> None:
        runs(tmp_path / f"full_{turn}")
        assert (tmp_path / f"full_{turn}/results.csv").read_text() == results

    # plan, design, commands, the run's own (above), the tables
    assert tries(monkeypatch, attempt, again) >= 15

    # Then the report, of runs that are there.
    def attempt_report(turn: int) -> None:
        shutil.copytree(tmp_path / "whole", tmp_path / f"report_{turn}")
        write_report(StudyFolder(tmp_path / f"report_{turn}"), 1)

    def again_report(turn: int) -> None:
        write_report(StudyFolder(tmp_path / f"report_{turn}"), 1)
        assert (tmp_path / f"report_{turn}/report.html").exists()
        assert (tmp_path / f"report_{turn}/results.csv").read_text() == results

    assert tries(monkeypatch, attempt_report, again_report) >= 5


def test_torchs_own_writer_on_a_full_disk_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raises a RuntimeError that does not say so: no checkpoint is written by it to a disk."""
    save = torch.save

    def to_memory(data: object, target: Any) -> None:
        assert not hasattr(target, "name"), "written to a file by torch itself"
        save(data, target)

    monkeypatch.setattr(torch, "save", to_memory)
    train(parse_config(RUN, "test"), tmp_path / "run", progress=False)


@pytest.mark.parametrize("most", [100, 2000, 8000])
def test_files_that_cannot_grow(most: int, tmp_path: Path) -> None:
    """The system itself refuses to let any file grow beyond ``most`` bytes, events included."""
    data = {key: value for key, value in RUN.items() if key != "name"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(data))
    command = [sys.executable, "-m", "rl_serial.cli", "train", str(tmp_path / "run.yaml")]
    command += ["--quiet", "--runs", str(tmp_path / "runs")]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error in place of a signal
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    first = subprocess.run(
        command, preexec_fn=limit, capture_output=True, text=True, timeout=60, env=environment
    )
    assert first.returncode in (1, 2), first.stderr
    assert "File too large" in first.stderr
    assert "Traceback" not in first.stderr
    assert main([*command[3:], "--resume"]) == 0
    train(parse_config(RUN, "test"), tmp_path / "whole", progress=False)
    made = (tmp_path / "runs/run/metrics.csv").read_text()
    assert made == (tmp_path / "whole/metrics.csv").read_text()
