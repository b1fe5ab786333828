"""Folders that are damaged or somebody else's: a line that names the file, and nothing run.

Every file of a run and of a study is removed, emptied, made binary, huge, of another type, a pipe
or a folder; every command that reads it ends with an exit code of its own, without a traceback,
within seconds, and writes nothing outside the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rl_serial.cli import main
from rl_serial.runs.files import FORMAT

RUN: dict[str, Any] = {
    "env": {"id": "rl_serial/PermutationAutomatonBet-v0", "serial_depth": 2},
    "network": {"depth": 1, "width": 4},
    "agent": {"kind": "value", "updates": 4, "batch_size": 8},
    "evaluation": {"instances": 16, "per_remaining": 4},
}
STUDY: dict[str, Any] = {
    "question": "?",
    "base": RUN,
    "grid": {"network.width": [4, 5]},
    "seeds": 1,
    "metric": "eval/serial_reach",
    "hypotheses": [
        {
            "id": "h",
            "statement": "s",
            "test": {"slope": "network.width", "expect": {"above": 0}},
        }
    ],
}
LONGEST = 15
"""Seconds."""


def removed(file: Path) -> None:
    file.unlink()


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def binary(file: Path) -> None:
    file.write_bytes(bytes(range(256)) * 20)


def huge(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.truncate(2**42)


def listed(file: Path) -> None:
    file.write_text("[1, [2], null]\n")


def nothing(file: Path) -> None:
    file.write_text("null\n")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def folder_in_its_place(file: Path) -> None:
    file.unlink()
    file.mkdir()


def tensors_of_nothing(file: Path) -> None:
    torch.save({"format": FORMAT, "state": {"model": None, "trainer": [], "spent": 3}}, file)


DAMAGES = [
    removed,
    emptied,
    binary,
    huge,
    listed,
    nothing,
    cut,
    pipe,
    folder_in_its_place,
    tensors_of_nothing,
]
QUICK = [removed, binary, nothing, pipe, folder_in_its_place]


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise AssertionError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a study and the files that made them."""
    root = tmp_path_factory.mktemp("whole")
    (root / "run.yaml").write_text(yaml.safe_dump(RUN))
    (root / "study.yaml").write_text(yaml.safe_dump(STUDY))
    assert main(["train", str(root / "run.yaml"), "--runs", str(root / "runs"), "--quiet"]) == 0
    study = ["study", "run", str(root / "study.yaml"), "--out", str(root / "study"), "--quiet"]
    assert main([*study, "--workers", "1"]) == 0
    assert main(["study", "report", str(root / "study")]) == 0
    # The compiled search is made here, so that nobody waits for it below.
    assert main(["evaluate", str(root / "runs/run"), "--simulations", "2"]) == 0
    return root


def commands(root: Path, file: Path) -> list[list[str]]:
    if file.is_relative_to(root / "runs"):
        return [
            ["evaluate", str(root / "runs/run")],
            ["evaluate", str(root / "runs/run"), "--simulations", "2"],
            ["watch", str(root / "runs/run")],
            ["train", str(root / "run.yaml"), "--runs", str(root / "runs"), "--resume", "--quiet"],
        ]
    return [
        ["study", "status", str(root / "study")],
        ["study", "status", str(root / "study"), "--rows"],
        ["study", "report", str(root / "study")],
    ]


def files_of(root: Path) -> list[Path]:
    run = [path for path in (root / "runs/run").rglob("*") if path.is_file()]
    study = [path for path in (root / "study").rglob("*") if path.is_file()]
    # Of the study's two runs one stands for both.
    first = sorted((root / "study/runs").iterdir())[0]
    others = [p for p in study if not p.is_relative_to(root / "study/runs")]
    return [p.relative_to(root) for p in sorted([*run, *others, *first.rglob("*")]) if p.is_file()]


def try_all(
    whole: Path,
    tmp_path: Path,
    damages: list[Callable[[Path], None]],
    capsys: pytest.CaptureFixture[str],
    share: Callable[[int], bool],
) -> int:
    tried = 0
    pairs = [(file, damage) for file in files_of(whole) for damage in damages]
    for i, (file, damage) in enumerate(pairs):
        if not share(i):
            continue
        root = tmp_path / "copy"
        shutil.copytree(whole, root)
        damage(root / file)
        for command in commands(root, root / file):
            with at_most(LONGEST):
                code = main(command)
            said = capsys.readouterr()
            told = f"{damage.__name__} {file}: rl-serial {command[0]}: {said.err}"
            assert code in (0, 1, 2), told
            assert "Traceback" not in said.err + said.out, told
            if code:
                assert said.err.startswith("rl-serial: "), told
            tried += 1
        assert {path.name for path in tmp_path.iterdir()} == {"copy"}
        shutil.rmtree(root)
    return tried


def test_damaged_files_are_named(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A share of the whole matrix (``make fuzz``)."""
    assert try_all(whole, tmp_path, QUICK, capsys, lambda i: i % 11 == 0) > 15


@pytest.mark.fuzz
def test_every_file_damaged_in_every_way(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert try_all(whole, tmp_path, DAMAGES, capsys, lambda i: True) > 500


def test_a_model_that_is_gone_is_made_again(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(whole, root)
    model = root / "runs/run/model.pt"
    before = torch.load(model, weights_only=True)["state"]["model"]
    resume = ["train", str(root / "run.yaml"), "--runs", str(root / "runs"), "--resume", "--quiet"]
    for damage in (removed, cut, tensors_of_nothing):
        rows = (root / "runs/run/metrics.csv").read_text()
        damage(model)
        assert main(["evaluate", str(root / "runs/run")]) == 2
        assert "--resume" in capsys.readouterr().err or damage is tensors_of_nothing
        if damage is tensors_of_nothing:
            model.unlink()
        assert main(resume) == 0
        after = torch.load(model, weights_only=True)["state"]["model"]
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert (root / "runs/run/metrics.csv").read_text() == rows
    assert main(resume) == 0
    assert "finished before" in capsys.readouterr().out


def test_nothing_that_a_run_folder_names_is_imported(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "foreign"
    shutil.copytree(whole / "runs/run", folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["env"] = {"id": "evil_module:Foo-v0"}
    config["agent"] = {"kind": "sac", "timesteps": 100}
    config["evaluation"] = {"instances": 8}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for command in ("evaluate", "watch"):
        assert main([command, str(folder)]) == 2
        assert "--trust" in capsys.readouterr().err
        with pytest.raises(SystemExit, match="imported"):
            main([command, str(folder), "--trust"])


def test_a_foreign_study_writes_nothing_elsewhere_and_no_script(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    shutil.copytree(whole / "study", study)
    plan = study / "plan.jsonl"
    rows = [json.loads(line) for line in plan.read_text().splitlines()]
    summary = study / "runs" / rows[0]["id"] / "summary.json"
    data = json.loads(summary.read_text())
    for key in ("torch_threads", "device_name", "commit"):
        data[key] = "<script>alert(1)</script>"
    summary.write_text(json.dumps(data))
    assert main(["study", "report", str(study)]) == 0
    assert "<script>alert" not in (study / "report.html").read_text()
    for id_ in ("../../x", "<script>", "0123456789AB", ""):
        plan.write_text("\n".join(json.dumps(row | {"id": id_}) for row in rows) + "\n")
        capsys.readouterr()
        assert main(["study", "report", str(study)]) == 2
        assert "plan.jsonl, line 1" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"study"}


def test_two_processes_in_one_folder(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rl_serial.runs.files import LOCK, locked

    root = tmp_path / "copy"
    shutil.copytree(whole, root)
    (root / "runs/run/model.pt").unlink()
    rows = (root / "runs/run/metrics.csv").read_text()
    resume = ["train", str(root / "run.yaml"), "--runs", str(root / "runs"), "--resume", "--quiet"]
    with locked(root / "runs/run" / LOCK, "here"):
        assert main(resume) == 2
    said = capsys.readouterr().err
    assert f"another process is at work here (process {os.getpid()})" in said
    assert (root / "runs/run/metrics.csv").read_text() == rows
    assert main(resume) == 0


def test_a_run_that_fails_before_its_first_step_is_in_nobodys_way(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    from rl_serial.agents.value import ValueTrainer

    def fail(*_: object) -> None:
        raise ZeroDivisionError("by hand")

    command = ["train", str(whole / "run.yaml"), "--runs", str(tmp_path), "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(ValueTrainer, "_update", fail)
        assert main(command) == 1
    assert "ZeroDivisionError: by hand" in capsys.readouterr().err
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["status"], summary["error"]) == ("failed", "by hand")
    assert main([*command, "network.width=5"]) == 0
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) > 2


def test_everything_is_printed_in_ascii(whole: Path) -> None:
    import subprocess

    for command in (["study", "status", str(whole / "study")], ["envs"]):
        result = subprocess.run(
            [sys.executable, "-m", "rl_serial.cli", *command],
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
            capture_output=True,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.isascii()


def test_formulas_of_spreadsheets_are_quoted(tmp_path: Path) -> None:
    from rl_serial.study.table import read_table, table_text

    cells = ["=cmd|' /C calc'!A0", "+1+1", "-x", "@x", "'=a", "'plain", "plain", "-1.5"]
    file = tmp_path / "table.csv"
    file.write_text(table_text(["id", "=label"], [{"id": c, "=label": c} for c in cells]))
    first = [line.split(",")[0].strip('"') for line in file.read_text().splitlines()[1:]]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in first)
    assert [row["id"] for row in read_table(file, texts=("id",))] == cells
    assert [row["=label"] for row in read_table(file)][:-1] == cells[:-1]


def test_ctrl_c_says_what_to_type(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    from rl_serial.agents.value import ValueTrainer

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ValueTrainer, "_update", stop)
    file = str(whole / "run.yaml")
    options = ["--runs", str(tmp_path), "--device", "cpu"]
    assert main(["train", file, "agent.updates=5", *options, "--quiet"]) == 1
    said = capsys.readouterr().err
    told = f"rl-serial train {file} agent.updates=5 {' '.join(options)} --resume continues"
    assert told in said


def test_a_foreign_folder_is_left_as_it_is(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    command = ["study", "run", str(whole / "study.yaml"), "--out", str(tmp_path), "--quiet"]
    assert main(command) == 2
    assert "is no study's folder and not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("value", ["x", {"a": 1}, None, 10**400, [[1]], True])
def test_a_summary_whose_numbers_are_none_is_no_finished_run(
    value: object, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    shutil.copytree(whole / "study", study)
    summary = sorted(study.glob("runs/*/summary.json"))[0]
    data = json.loads(summary.read_text())
    for changed in (
        data | {"final": data["final"] | {"eval/serial_reach": value}},
        data | {"seconds": value} if value is not None else data | {"final": None},
    ):
        summary.write_text(json.dumps(changed))
        for command in ("status", "report"):
            assert main(["study", command, str(study)]) == 0
            assert "1 done, 0 failed, 0 running, 1 missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    "columns", [{"seed": "x"}, {"network.width": 10**400}, {"network.width": float("nan")}]
)
def test_a_plan_whose_cells_are_none_is_named(
    columns: Any, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    shutil.copytree(whole / "study", study)
    plan = study / "plan.jsonl"
    rows = [json.loads(line) for line in plan.read_text().splitlines()]
    lines = [json.dumps(row | {"columns": row["columns"] | columns}) for row in rows]
    plan.write_text("\n".join(lines) + "\n")
    for command in ("status", "report"):
        assert main(["study", command, str(study)]) == 2
        assert "plan.jsonl, line 1: damaged" in capsys.readouterr().err


def test_nothing_is_written_or_read_through_links(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, outside = tmp_path / "study", tmp_path / "outside"
    shutil.copytree(whole / "study", study)
    outside.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(b"SECRET" * 50)
    [*gifs] = study.glob("episodes/*.gif")
    gifs[0].unlink()
    gifs[0].symlink_to(secret)
    assert main(["study", "report", str(study)]) == 0
    assert "U0VDUkVU" not in (study / "report.html").read_text()  # SECRET in base64
    shutil.rmtree(study / "figures")
    (study / "figures").symlink_to(outside)
    assert main(["study", "report", str(study)]) == 2
    assert "figures: is a link" in capsys.readouterr().err
    assert not list(outside.iterdir())


def test_two_fresh_starts_at_once_make_one_run(whole: Path, tmp_path: Path) -> None:
    import subprocess

    command = [sys.executable, "-m", "rl_serial.cli", "train", str(whole / "run.yaml")]
    command += ["--runs", str(tmp_path), "--quiet", "agent.updates=300"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    # events.out.tfevents.<time>.<host>.<process>.<number>
    files = (tmp_path / "run").glob("events.*")
    assert len({file.name.split(".")[-2] for file in files}) == 1


def test_what_is_not_ours_is_not_cleared(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "summary.json").write_text('{"status": "failed"}')
    (folder / "metrics.csv").write_text("mine")
    assert main(["train", str(whole / "run.yaml"), "--runs", str(tmp_path), "--quiet"]) == 2
    assert "this folder exists" in capsys.readouterr().err
    assert (folder / "metrics.csv").read_text() == "mine"


def test_the_gif_must_be_a_file(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(whole / "runs/run"), "--gif", "."]) == 2
    assert "--gif .: is a folder" in capsys.readouterr().err
