"""Workers and the runner are killed at random points; the table is that of an undisturbed study."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Data = dict[str, Any]

ROUNDS = 600
"""Waits of 0.1 s after which a study that does not move is given up."""


def start(file: Path, out: Path) -> subprocess.Popen[bytes]:
    arguments = ["study", "run", str(file), "--out", str(out), "--workers", "2", "--quiet"]
    command = [sys.executable, "-W", "ignore", "-m", "rl_serial.cli", *arguments]
    return subprocess.Popen(
        [*command, "--device", "cpu", "--retries", "50"], stdout=subprocess.DEVNULL
    )


def written(out: Path) -> int:
    """Evaluations that the runs have written: what the study's progress is measured by."""
    return sum(file.read_bytes().count(b"\n") for file in out.glob("runs/*/metrics.csv"))


def workers_at_work(out: Path) -> list[int]:
    """The processes that hold the lock on a run's log."""
    found = []
    for log in sorted(out.glob("logs/*.log")):
        with log.open("rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                starts = [line for line in stream.read().splitlines() if line.startswith(b"run ")]
                found.append(int(starts[-1].split(b"process ")[1].split()[0]))
    return found


def disturb(file: Path, out: Path, kills: int, seed: int) -> list[str]:
    """Run a study, killing as often as that, and return who was killed."""
    generator = np.random.default_rng(seed)
    killed: list[str] = []
    runner = start(file, out)
    try:
        for _ in range(kills):
            # The next kill comes a few evaluations on, and then at a moment of no one's choosing.
            goal = written(out) + int(generator.integers(0, 3))
            for _ in range(ROUNDS):
                if runner.poll() is not None or (written(out) >= goal and workers_at_work(out)):
                    break
                time.sleep(0.1)
            time.sleep(float(generator.uniform(0, 0.3)))
            assert runner.poll() is None, "the study ended before it was disturbed enough"
            workers = workers_at_work(out)
            if generator.random() < 0.4 or not workers:
                killed.append("runner")
                runner.send_signal(signal.SIGKILL)
                runner.wait()
                runner = start(file, out)
            else:
                killed.append("worker")
                os.kill(int(generator.choice(workers)), signal.SIGKILL)
        assert runner.wait(timeout=300) == 0
    finally:
        runner.kill()
        runner.wait()
    return killed


def equal(out: Path, undisturbed: Path) -> None:
    assert (out / "results.csv").read_text() == (undisturbed / "results.csv").read_text()
    for run in sorted((undisturbed / "runs").iterdir()):
        same = out / "runs" / run.name / "metrics.csv"
        assert same.read_text() == (run / "metrics.csv").read_text()
    assert not list(out.rglob("*.partial"))


@pytest.mark.chaos
def test_four_kills_change_nothing(
    tiny: Data, study_file: Callable[[Data], Path], tmp_path: Path, finished: Path
) -> None:
    killed = disturb(study_file(tiny), tmp_path / "out", kills=4, seed=1)
    assert {"runner", "worker"} <= set(killed), killed
    equal(tmp_path / "out", finished)


@pytest.mark.chaos
def test_twenty_kills_change_nothing(
    tiny: Data,
    study_file: Callable[[Data], Path],
    tmp_path: Path,
    run_undisturbed: Callable[[Path, Path], None],
) -> None:
    file = study_file(tiny | {"seeds": 8})
    killed = disturb(file, tmp_path / "out", kills=20, seed=0)
    assert killed.count("runner") + killed.count("worker") == 20, killed
    run_undisturbed(file, tmp_path / "undisturbed")
    equal(tmp_path / "out", tmp_path / "undisturbed")
