"""Publications: what is copied, and studies that go on from one."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rl_serial.api.studies import Study
from rl_serial.cli import main
from rl_serial.errors import UserError
from rl_serial.study.design import plan
from rl_serial.study.engines import LocalEngine
from rl_serial.study.folder import StudyFolder
from rl_serial.study.publication import publish, restore
from rl_serial.study.report import write_report
from rl_serial.study.runner import run_study
from rl_serial.study.table import read_table

TABLES = ("study.yaml", "command.txt", "results.csv", "timings.csv", "curves.csv")
Data = dict[str, Any]


@pytest.fixture(scope="module")
def page(finished: Path) -> str:
    return write_report(StudyFolder(finished), episodes=0).read_text()


@pytest.fixture
def published(page: str, finished: Path, tmp_path: Path) -> Path:
    publish(StudyFolder(finished), tmp_path / "published")
    return tmp_path / "published"


def test_publishing_copies_all_but_the_runs_and_renews_it(
    page: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "results/tiny"
    there.mkdir(parents=True)
    (there / "README.md").write_text("mine")
    command = ["study", "report", str(finished), "--publish", str(there)]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(there / "report.html")
    names = {"study.yaml", "command.txt", "results.csv", "timings.csv", "curves.csv"}
    assert {file.name for file in there.iterdir()} == names | {
        "README.md",
        "report.html",
        "figures",
    }
    assert (there / "results.csv").read_bytes() == (finished / "results.csv").read_bytes()
    (there / "figures/old.png").write_text("of an earlier report")
    assert main(command) == 0
    assert (there / "README.md").read_text() == "mine"
    assert not (there / "figures/old.png").exists()


def test_publishing_spares_what_another_study_has_published(
    page: str, finished: Path, tmp_path: Path
) -> None:
    folder, there = StudyFolder(finished), tmp_path / "there"
    there.mkdir()
    mine = folder.read_plan()[0].id
    (there / "results.csv").write_text(f"id,status\n{mine},done\n12345678901e,done\n")
    with pytest.raises(UserError, match="there: holds results of another study: 1 of its rows"):
        publish(folder, there)
    assert [file.name for file in there.iterdir()] == ["results.csv"]
    with pytest.raises(UserError, match="is the study's own folder"):
        publish(folder, finished)
    with pytest.raises(UserError, match=r"has no .*report\.html.* to publish"):
        publish(StudyFolder(tmp_path), tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


def test_restored_study_publishes_the_same(
    published: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, timings = tmp_path / "again", published / "timings.csv"
    rows = list(csv.reader(timings.read_text().splitlines()))
    rows[1][-1], rows[2][-1] = "1e91603", "0012345"  # commits that look like numbers
    timings.write_text("".join(",".join(row) + "\n" for row in rows))
    assert main(["study", "restore", str(published), "--out", str(out)]) == 0
    assert "8 runs: 8 done, 0 failed, 0 running, 0 missing" in capsys.readouterr().out
    assert (out / "plan.jsonl").read_bytes() == (finished / "plan.jsonl").read_bytes()
    again = tmp_path / "published again"
    assert main(["study", "report", str(out), "--publish", str(again)]) == 0
    assert files(again) == files(published)
    drawn = [
        {p.name: p.read_bytes() for p in (f / "figures").iterdir()} for f in (again, published)
    ]
    assert drawn[0] == drawn[1]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_restored_study_grows_by_what_is_new(
    tiny: Data, published: Path, study_file: Callable[[Data], Path], tmp_path: Path
) -> None:
    """One more seed of four cells: four runs, and the table of a study run whole at three."""
    out = tmp_path / "again"
    restore(published, StudyFolder(out))
    file = study_file(tiny | {"seeds": 3})
    assert main(["study", "run", str(file), "--out", str(out), "--quiet", "--device", "cpu"]) == 0
    fresh = {path.parent.name for path in out.glob("runs/*/model.pt")}
    rows = {record["id"]: record["seed"] for record in read_table(out / "results.csv")}
    assert {rows[id_] for id_ in fresh} == {2}
    assert len(fresh) == 4
    whole = tmp_path / "whole"
    assert main(["study", "run", str(file), "--out", str(whole), "--quiet", "--device", "cpu"]) == 0
    assert (out / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()


def test_from_a_program(tiny: Data, published: Path, tmp_path: Path) -> None:
    study = Study.restore(published, tmp_path / "again")
    assert len(study.results) == 8
    assert {record["status"] for record in study.results} == {"done"}
    grown = Study(tiny, tmp_path / "again", seeds=[0, 1, 7])
    assert [run.columns["seed"] for run in grown.runs] == [0] * 4 + [1] * 4 + [7] * 4
    assert {record["id"] for record in study.results} < {run.id for run in grown.runs}
    with pytest.raises(UserError, match="is there"):
        Study.restore(published, tmp_path / "again")


def test_restored_screening_keeps_its_choices(tiny: Data, tmp_path: Path) -> None:
    """A study that grows by a seed goes by the rates chosen before, and screens nothing again."""
    levels = [1e-4, 1e-3, 1e-2]
    screen = {"key": "agent.learning_rate", "levels": levels, "seeds": [1000], "share": ["setting"]}
    data = tiny | {"screen": screen | {"base": {"agent.updates": 3}}, "seeds": 1}
    data["base"]["agent"]["updates"] = 4
    out, there, again = (StudyFolder(tmp_path / name) for name in ("out", "there", "again"))

    def run(data: Data, folder: StudyFolder) -> None:
        study = plan(data, "tiny.yaml", "tiny")
        run_study(
            study, folder, LocalEngine(1), device="cpu", progress=False, command=["a", "command"]
        )

    run(data, out)
    write_report(out, episodes=0)
    publish(out, there.path)
    restore(there.path, again)
    for mine, its in ((again, out), (again.screening, out.screening)):
        assert mine.results.read_bytes() == its.results.read_bytes()
        assert mine.plan.read_bytes() == its.plan.read_bytes()
    assert again.choices.read_bytes() == out.choices.read_bytes()
    run(data | {"seeds": 2}, again)
    assert again.choices.read_bytes() == out.choices.read_bytes()
    assert list(again.screening.path.glob("runs/*/model.pt")) == []
    assert len(list(again.path.glob("runs/*/model.pt"))) == 4


def test_only_finished_rows_are_restored(published: Path, tmp_path: Path) -> None:
    rows = list(csv.reader((published / "results.csv").read_text().splitlines()))
    rows[1][1] = "failed"
    with (published / "results.csv").open("w") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
    folder = StudyFolder(tmp_path / "again")
    restore(published, folder)
    assert [row.status for row in folder.rows()] == ["missing"] + ["done"] * 7
    summary = json.loads((folder.run(rows[2][0]) / "summary.json").read_text())
    assert len(summary["final"]["eval/score_interval"]) == 2
    assert summary["accounts"]["value"]["critical_path"] >= 2


def test_refusals_leave_nothing(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"

    def refused(match: str) -> None:
        before = sorted(tmp_path.iterdir())
        with pytest.raises(UserError, match=match):
            restore(published, StudyFolder(out))
        assert sorted(tmp_path.iterdir()) == before

    out.mkdir()
    refused("again: is there; --out takes a new folder")
    out.rmdir()
    text = (published / "results.csv").read_text()
    own = text.splitlines()[1].split(",")[0]
    (published / "results.csv").write_text(text.replace(own, "12345678901e"))
    refused("results.csv: 1 of its 8 rows are not what this version plans for its study.yaml")
    head, first, *rest = text.splitlines()
    cells = first.split(",")
    cells[head.split(",").index("eval/serial_reach")] = "high"
    (published / "results.csv").write_text("\n".join([head, ",".join(cells), *rest]))
    refused(f"results.csv: damaged: row {own} holds something other than numbers")
    shutil.rmtree(published / "figures")
    (published / "curves.csv").unlink()
    refused("published: has no curves.csv, which rl-serial study report --publish writes")
