"""The runner: what is finished stays, what is missing is done, and trouble is told in a line."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from rl_serial.cli import main
from rl_serial.errors import RunError, UserError
from rl_serial.runs.files import MODEL, load_tensors
from rl_serial.study import folder as folder_module
from rl_serial.study import worker
from rl_serial.study.design import plan
from rl_serial.study.engines import Event, LocalEngine
from rl_serial.study.folder import Row, StudyFolder, counts
from rl_serial.study.jobs import Job, Outcome
from rl_serial.study.runner import run_study
from rl_serial.study.schema import Study

Data = dict[str, Any]


class Here:
    """An engine that carries out its jobs in this process."""

    def __init__(self, carry_out: Callable[[Job], Outcome] = worker.carry_out) -> None:
        self.carry_out = carry_out
        self.given: list[str] = []

    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        for job in jobs:
            self.given.append(job.id)
            yield Event("started", job.id)
            yield Event("ended", job.id, self.carry_out(job))


def study_of(data: Data) -> Study:
    return plan(data, "tiny.yaml", "tiny")


def run(data: Data, out: Path, engine: Any, **options: Any) -> list[Row]:
    return run_study(
        study_of(data), StudyFolder(out), engine, device="cpu", progress=False, **options
    )


def contents(out: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of the runs, with when it was written."""
    return {
        str(file.relative_to(out)): (file.stat().st_mtime_ns, file.read_bytes())
        for file in sorted(out.glob("runs/*/*"))
        if file.is_file()
    }


def smaller(tiny: Data, **changes: Any) -> Data:
    """One row a setting."""
    grid = {"setting": tiny["grid"]["setting"]}
    return tiny | {"grid": grid, "seeds": 1, "hypotheses": []} | changes


def test_finished_rows_are_not_touched(tiny: Data, tmp_path: Path, finished: Path) -> None:
    small = smaller(tiny)
    run(small, tmp_path, Here())
    before, engine = contents(tmp_path), Here()
    rows = run(small, tmp_path, engine)
    assert engine.given == []
    assert {row.status for row in rows} == {"done"}
    assert contents(tmp_path) == before
    # The grid grows: only the new rows are carried out, and the table is that of the whole.
    engine = Here()
    run(small | {"seeds": 2}, tmp_path, engine)
    assert len(engine.given) == 2
    after = contents(tmp_path)
    assert before.items() <= after.items()
    # The rows are those of the same cells in the other study, number by number.
    ours = {r["id"]: r for r in StudyFolder(tmp_path).read_results()}
    theirs = {r["id"]: r for r in StudyFolder(finished).read_results()}
    common = ours.keys() & theirs.keys()
    assert len(common) == 4
    for id_ in common:
        assert {k: v for k, v in theirs[id_].items() if k != "network.depth"} == ours[id_]


def test_other_study_or_other_files_are_left_alone(tiny: Data, tmp_path: Path) -> None:
    run(smaller(tiny), tmp_path / "out", Here())
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match="holds another study: 2 of its 2 rows are not in this"):
        run(smaller(tiny, seeds=[5]), tmp_path / "out", Here())
    assert contents(tmp_path / "out") == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is no study's folder and not empty"):
        run(smaller(tiny), tmp_path / "other", Here())


DIVERGES = {"kind": "value", "learning_rate": 1e30, "schedule": "constant", "updates": 100}


def test_failing_run_is_a_row_with_error_and_log(
    tiny: Data,
    study_file: Callable[[Data], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    agents = [{"label": "sane"}, {"label": "wild", "agent": DIVERGES}]
    data = smaller(tiny) | {"grid": {"agent": agents}}
    data["grid"] = {"case": agents}
    arguments = ["study", "run", str(study_file(data)), "--out", str(tmp_path / "out"), "--quiet"]
    arguments += ["--workers", "1", "--device", "cpu"]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert "2 runs: 1 done, 1 failed" in captured.out
    error = captured.err.strip().splitlines()
    assert len(error) == 1
    assert "1 of 2 runs, the first with: train/loss is" in error[0]
    folder = StudyFolder(tmp_path / "out")
    sane, wild = folder.rows()
    assert (sane.status, wild.status) == ("done", "failed")
    assert "a smaller agent.learning_rate may help" in wild.error
    assert "train/loss" in folder.log(wild.run.id).read_text()
    assert folder.read_results()[1]["error"] == wild.error
    # It is not tried again by itself, but when it is asked for.
    before = contents(folder.path)
    engine = Here()
    run(data, folder.path, engine)
    assert engine.given == []
    assert contents(folder.path) == before
    run(data, folder.path, engine, retry_failed=True)
    assert engine.given == [wild.run.id]


def test_fault_of_ours_fails_its_row_alone(
    tiny: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, calls = worker.train, 0

    def faulty(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError("by nought")
        return train(*arguments, **options)

    monkeypatch.setattr(worker, "train", faulty)
    first, second = run(smaller(tiny), tmp_path, Here())
    assert (first.status, first.error) == ("failed", "ZeroDivisionError: by nought")
    assert second.status == "done"
    assert "Traceback" in StudyFolder(tmp_path).log(first.run.id).read_text()


def test_full_disk_stops_the_study_which_goes_on_after_it(
    tiny: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = smaller(tiny)
    fsync, syncs = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal syncs
        syncs += 1
        if syncs > 5:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    def carry_out(job: Job) -> Outcome:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            return worker.carry_out(job)

    run(small, tmp_path / "unbroken", Here())
    with pytest.raises(RunError, match=r"No space left on device; the same command continues"):
        run(small, tmp_path / "out", Here(carry_out))
    folder = StudyFolder(tmp_path / "out")
    assert counts(folder.rows()) == {"done": 0, "failed": 0, "running": 0, "missing": 2}
    run(small, tmp_path / "out", Here())
    assert folder.results.read_text() == (tmp_path / "unbroken/results.csv").read_text()


def test_full_disk_under_the_tables_is_told(
    tiny: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(smaller(tiny), tmp_path, Here())
    before = (tmp_path / "results.csv").read_bytes()

    def full(file: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(file))

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "write_text", full)
        with pytest.raises(RunError, match=r"No space left on device; the same command continues"):
            run(smaller(tiny, seeds=2), tmp_path, Here())
    assert (tmp_path / "results.csv").read_bytes() == before


def test_second_runner_is_kept_out(
    tiny: Data,
    study_file: Callable[[Data], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    with StudyFolder(out).locked():
        assert main(["study", "run", str(study_file(tiny)), "--out", str(out), "--quiet"]) == 2
    assert f"another runner is at work here (process {os.getpid()})" in capsys.readouterr().err
    assert not (out / "runs").exists()


def test_run_that_another_process_works_on_is_waited_for(tiny: Data, tmp_path: Path) -> None:
    """Whoever holds a run's log works on it: the row is running, not missing."""
    run(smaller(tiny), tmp_path, Here())
    folder = StudyFolder(tmp_path)
    row = folder.rows()[0]
    (folder.run(row.run.id) / "summary.json").unlink()
    assert folder.row(row.run).status == "missing"
    import fcntl

    with folder.log(row.run.id).open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert folder.row(row.run).status == "running"
    assert folder.row(row.run).status == "missing"


def test_worker_that_dies_is_replaced_and_in_the_end_given_up(tiny: Data, tmp_path: Path) -> None:
    long = smaller(tiny)
    long["base"] = long["base"] | {"agent": {"kind": "value", "updates": 100_000}}
    long["grid"] = {"setting": tiny["grid"]["setting"][:1]}
    seen: list[str] = []

    class Deadly(LocalEngine):
        def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
            for event in super().run(jobs):
                if event.kind != "tick":
                    seen.append(event.kind)
                if event.kind == "started":
                    for process in multiprocessing.active_children():
                        process.kill()
                yield event

    [row] = run(long, tmp_path, Deadly(workers=1, retries=2))
    assert seen == ["started", "lost", "started", "lost", "started", "ended"]
    assert row.status == "failed"
    assert row.error == ("its worker died 3 times, last by SIGKILL, as when memory runs out")


def test_interrupt_leaves_what_is_there_and_says_how_to_go_on(
    tiny: Data, study_file: Callable[[Data], Path], tmp_path: Path, finished: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["study", "run", str(study_file(tiny)), "--out", str(out), "--quiet"]
    command = [sys.executable, "-W", "ignore", "-m", "rl_serial.cli", *arguments]
    command += ["--workers", "2", "--device", "cpu"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        # Whoever runs the tests in the background may have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while process.poll() is None and not list(out.glob("runs/*/checkpoints/*.pt")):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGSTOP)  # so that it does not end meanwhile
    assert main(["study", "status", str(out)]) == 0
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to runner and workers
    os.killpg(process.pid, signal.SIGCONT)
    _, error = process.communicate(timeout=240)
    assert process.returncode == 1
    assert error.decode().strip() == "rl-serial: interrupted; the same command continues"
    assert counts(StudyFolder(out).rows())["running"] == 0  # no worker is left behind
    assert main([*arguments, "--workers", "2", "--device", "cpu"]) == 0
    assert (out / "results.csv").read_text() == (finished / "results.csv").read_text()


def same_runs(one: Path, other: Path) -> None:
    """The runs of both folders are done and the same within rounding, weights and metrics."""
    ours, theirs = StudyFolder(one), StudyFolder(other)
    assert [row.status for row in ours.rows()] == ["done"] * len(theirs.rows())
    for mine, its in zip(ours.read_results(), theirs.read_results(), strict=True):
        assert mine["id"] == its["id"]
        assert mine["value/rmse"] == pytest.approx(its["value/rmse"], abs=1e-3)
        weights = [
            torch.cat(
                [p.flatten() for p in load_tensors(f.run(mine["id"]) / MODEL)["model"].values()]
            )
            for f in (ours, theirs)
        ]
        torch.testing.assert_close(*weights, atol=1e-3, rtol=0)


def test_population_gives_the_same_runs(
    tiny: Data, study_file: Callable[[Data], Path], tmp_path: Path, finished: Path
) -> None:
    arguments = ["study", "run", str(study_file(tiny)), "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*arguments, "--engine", "population", "--workers", "1", "--device", "cpu"]) == 0
    same_runs(tmp_path / "out", finished)
    ids = [run.id for run in study_of(tiny).runs]
    # Two depths, with two seeds of the setting and of its twin each.
    batches = [log.read_text() for log in tmp_path.glob("out/logs/population_*.log")]
    assert sorted(sum(id_ in batch for id_ in ids) for batch in batches) == [4, 4]
    sizes = [(tmp_path / f"out/runs/{id_}/model.pt").stat().st_size for id_ in ids]
    assert max(sizes) < 2 * (finished / f"runs/{ids[0]}/model.pt").stat().st_size


def test_population_whose_worker_dies_goes_on_where_each_run_stands(
    tiny: Data, tmp_path: Path, finished: Path
) -> None:
    killed: list[int] = []

    class Deadly(LocalEngine):
        def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
            for event in super().run(jobs):
                halfway = list(tmp_path.glob("runs/*/checkpoints/*50.pt"))
                if not killed and halfway:
                    killed.append(len(halfway))
                    for process in multiprocessing.active_children():
                        process.kill()
                yield event

    rows = run(tiny, tmp_path, Deadly(workers=1, population=3))
    assert killed
    assert all(row.status == "done" for row in rows)
    same_runs(tmp_path, finished)


def test_population_of_which_one_fails(tiny: Data, tmp_path: Path) -> None:
    cases = [{"label": "sane"}, {"label": "wild", "agent.learning_rate": 1e30}]
    tiny["base"]["agent"] |= {"schedule": "constant"}
    data = smaller(tiny) | {"grid": {"case": cases}}
    sane, wild = run(data, tmp_path, LocalEngine(workers=1, population=8))
    assert (sane.status, wild.status) == ("done", "failed")
    assert "a smaller agent.learning_rate may help" in wild.error


def test_batches_are_even_and_hold_runs_of_the_same_shapes(tiny: Data) -> None:
    tiny["seeds"] = 5
    jobs = [Job(run.id, run.config, "", "", "cpu") for run in study_of(tiny).runs]
    batches = LocalEngine(population=4)._batches(jobs)
    assert sorted(job.id for batch in batches for job in batch) == sorted(job.id for job in jobs)
    assert sorted(map(len, batches)) == [3, 3, 3, 3, 4, 4]
    for batch in batches:
        assert len({job.config["network"]["depth"] for job in batch}) == 1


def test_run_of_a_version_with_fewer_options_stays_done_and_with_other_defaults_not(
    tiny: Data, tmp_path: Path
) -> None:
    run(smaller(tiny), tmp_path, Here())
    folder = StudyFolder(tmp_path)
    planned = folder.read_plan()[0]
    file = folder.run(planned.id) / "summary.json"
    summary = json.loads(file.read_text())
    del summary["config"]["agent"]["weight_decay"]
    file.write_text(json.dumps(summary))
    assert folder.row(planned).status == "done"
    summary["config"]["agent"]["target_interval"] = 7
    file.write_text(json.dumps(summary))
    row = folder.row(planned)
    assert row.status == "failed"
    assert "agent.target_interval 7 where this version takes 100" in row.error


def test_status_lists_rows(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "status", str(finished)]) == 0
    out = capsys.readouterr().out
    assert "8 runs: 8 done, 0 failed, 0 running, 0 missing" in out
    assert "| twin " in out
    assert main(["study", "status", str(finished), "--rows"]) == 0
    assert capsys.readouterr().out.count("| done ") == 8


def test_plan_runs_nothing(
    tiny: Data,
    study_file: Callable[[Data], Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    file = study_file(tiny)
    monkeypatch.chdir(tmp_path)
    assert main(["study", "plan", str(file), "--rows"]) == 0
    assert study_of(tiny).runs[0].id in capsys.readouterr().out
    assert main(["study", "plan", str(file), "--smoke"]) == 0
    assert "2 runs" in capsys.readouterr().out
    for seeds, planned in (("3", "0, 1, 2"), ("9,", "9"), ("5,6", "5, 6")):
        assert main(["study", "plan", str(file), "--seeds", seeds]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split("|")[2].strip() for line in lines if "| seed" in line] == [planned]
    assert main(["study", "plan", str(file), "--seeds", "0"]) == 2
    assert "seeds: at least one, not 0" in capsys.readouterr().err
    for wrong in (["--seeds", "4,x"], ["--seeds", "2", "--smoke"]):
        with pytest.raises(SystemExit):
            main(["study", "plan", str(file), *wrong])
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_plan_of_another_version_is_told_by_its_keys(tmp_path: Path) -> None:
    """A goal run of before subjects had evaluations of their own: no line of it is damaged."""
    base = {
        "env": {"id": "rl_serial/Reach-v0"},
        "network": {"width": 8},
        "agent": {"kind": "sac", "timesteps": 64},
    }
    study = {"question": "?", "base": base, "grid": {"network.depth": [2]}, "seeds": 1}
    folder = StudyFolder(tmp_path / "out")
    folder.write_plan(study_of(study | {"metric": "eval/success"}), [])
    row = json.loads(folder.plan.read_text())
    row["config"]["evaluation"] |= {"per_remaining": 128, "simulations": []}
    folder.plan.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match="planned by another version of rl_serial") as error:
        folder.read_plan()
    assert error.value.source == f"{folder.plan}, line 1"
    assert [(fault.key, fault.message) for fault in error.value.faults] == [
        ("config.evaluation.per_remaining", "unknown key"),
        ("config.evaluation.simulations", "unknown key"),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "nowhere"], "nowhere: no study here (plan.jsonl is missing)"),
        (["report", "nowhere"], "nowhere: no study here"),
        (["run", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["run", "FILE", "--workers", "0"], "--workers 0: must be at least 1"),
        (["run", "FILE", "--retries", "-1"], "--retries -1: must be at least 0"),
        (["run", "FILE", "--address", "auto"], "--address: goes with --engine ray alone"),
        (["run", "FILE", "--out", "/proc/none"], "/proc/none: "),
        (["report", "FOLDER", "--episodes", "-1"], "--episodes -1"),
    ],
)
def test_bad_request_is_a_short_error(
    arguments: list[str],
    message: str,
    tiny: Data,
    study_file: Callable[[Data], Path],
    finished: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"FILE": str(study_file(tiny)), "FOLDER": str(finished)}
    assert main(["study", *(places.get(word, word) for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_two_thousand_rows_are_listed_and_summarised_in_seconds(
    tiny: Data, tmp_path: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At most 2 ms a row, of ten thousand 20 seconds at the very worst."""
    rates = {"start": 1e-5, "stop": 1e-2, "step": 1e-5}
    grid = {"agent.learning_rate": rates, "setting": tiny["grid"]["setting"]}
    study = study_of(tiny | {"grid": grid, "seeds": 1, "hypotheses": tiny["hypotheses"][:1]})
    folder = StudyFolder(tmp_path)
    summary = json.loads(next(finished.glob("runs/*/summary.json")).read_text())
    with folder.locked():
        folder.write_plan(study, [])
    for planned in study.runs[::2]:
        folder.run(planned.id).mkdir()
        text = json.dumps(summary | {"config": planned.config})
        (folder.run(planned.id) / "summary.json").write_text(text)
    started = time.process_time()
    rows = folder.rows()
    folder.write_tables(rows)
    assert counts(rows) == {"done": 1000, "failed": 0, "running": 0, "missing": 1000}
    assert main(["study", "status", str(tmp_path)]) == 0
    assert "2000 runs: 1000 done" in capsys.readouterr().out
    assert len(folder.read_results()) == 2000
    assert time.process_time() - started < 4


@pytest.mark.ray
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is missing")
def test_ray_gives_the_same_rows(
    tiny: Data, study_file: Callable[[Data], Path], tmp_path: Path, finished: Path
) -> None:
    arguments = ["study", "run", str(study_file(tiny)), "--out", str(tmp_path / "out"), "--quiet"]
    # A process of its own: Ray leaves warnings and threads behind.
    command = [sys.executable, "-W", "ignore", "-m", "rl_serial.cli", *arguments]
    command += ["--engine", "ray", "--workers", "2", "--device", "cpu"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out/results.csv").read_text() == (finished / "results.csv").read_text()


def test_ray_that_is_missing_names_its_extra(
    tiny: Data,
    study_file: Callable[[Data], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["study", "run", str(study_file(tiny)), "--engine", "ray"]) == 2
    assert "pip install 'rl_serial[ray]'" in capsys.readouterr().err


def test_table_says_no_clock_times(finished: Path) -> None:
    header = (finished / "results.csv").read_text().splitlines()[0]
    assert "second" not in header
    assert "seconds" in (finished / "timings.csv").read_text().splitlines()[0]
    assert json.loads((finished / "plan.jsonl").read_text().splitlines()[0])["config"]
