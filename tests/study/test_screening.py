"""Screening: each cell's level is chosen at seeds of its own, before the study's own runs."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from rl_serial.cli import main
from rl_serial.errors import RunError, UserError
from rl_serial.study.design import load_study, plan
from rl_serial.study.engines import Event
from rl_serial.study.folder import Row, StudyFolder
from rl_serial.study.jobs import Job, Outcome
from rl_serial.study.runner import run_study
from rl_serial.study.schema import Study
from rl_serial.study.screening import choose
from rl_serial.study.worker import carry_out

Data = dict[str, Any]
KEY = "agent.learning_rate"
LEVELS = [1e-4, 1e-3, 1e-2]


@pytest.fixture
def screened(tiny: Data) -> Data:
    """Two depths and two settings, which share a choice."""
    screen = {"key": KEY, "levels": LEVELS, "seeds": [1000, 1001], "share": ["setting"]}
    return tiny | {"screen": screen | {"base": {"agent.updates": 3}}}


def study_of(data: Data, **options: Any) -> Study:
    return plan(data, "tiny.yaml", "tiny", **options)


def reach(config: Data) -> float:
    """A deep network wants a smaller rate: depth 1 the highest of the levels, 2 the middle."""
    wanted = {1: 1e-2, 2: 1e-3}[config["network"]["depth"]]
    return -abs(math.log10(config["agent"]["learning_rate"] / wanted)) + 0.01 * config["seed"]


class Fake:
    """Carries out jobs in this process, by default without training; stops after ``most``."""

    def __init__(
        self,
        most: int = 10_000,
        score: Callable[[Data], float] = reach,
        carry_out: Callable[[Job], Outcome] | None = None,
    ) -> None:
        self.most = most
        self.carry_out = carry_out or (lambda job: pretend(job, score(job.config)))
        self.given: list[Job] = []

    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        for job in jobs:
            if len(self.given) == self.most:
                raise KeyboardInterrupt
            self.given.append(job)
            yield Event("started", job.id)
            yield Event("ended", job.id, self.carry_out(job))


def pretend(job: Job, value: float) -> Outcome:
    """Writes what a run with that score leaves behind; NaN is a run that fails."""
    summary: Data = {"status": "failed", "error": "diverged"}
    if not math.isnan(value):
        final = {"eval/serial_reach": value, "eval/serial_horizon": 1.0}
        summary = {"status": "done", "config": job.config, "final": final}
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    (Path(job.folder) / "summary.json").write_text(json.dumps(summary))
    return Outcome(job.id, "failed" if math.isnan(value) else "done", summary.get("error", ""))


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def run(data: Data, out: Path, engine: Fake, **options: Any) -> list[Row]:
    return run_study(study_of(data), StudyFolder(out), engine, progress=False, **options)


def files(out: Path) -> dict[str, bytes]:
    """The tables and plans, which may not depend on how often the study was cut off."""
    names = ("*.csv", "plan.jsonl", "study.yaml", "command.txt")
    return {
        str(file.relative_to(out)): file.read_bytes()
        for name in names
        for file in sorted(out.glob(f"**/{name}"))
        if "runs" not in file.parts[len(out.parts) :] and file.name != "timings.csv"
    }


# The choice


TABLE = """\
network.depth agent.learning_rate seed status  value
1             0.0001              1000 done    2.0
1             0.0001              1001 done    4.0
1             0.001               1000 done    3.5
1             0.001               1001 done    3.0
1             0.01                1000 done    9.0
1             0.01                1001 failed
2             0.0001              1000 done    1.0
2             0.0001              1001 failed
2             0.001               1000 failed
2             0.001               1001 failed
2             0.01                1000 done    0.5
2             0.01                1001 failed
4             0.0001              1000 done    8.0
4             0.0001              1001 done    8.0
4             0.001               1000 done    8.0
4             0.001               1001 done    8.0
4             0.01                1000 done    8.0
4             0.01                1001 done    8.0
8             0.0001              1000 done    6.0
8             0.0001              1001 done    8.0
8             0.001               1000 done    5.0
8             0.001               1001 done    5.0
8             0.01                1000 done    8.0
8             0.01                1001 done    6.0
"""


def by_hand(metric: str) -> list[Data]:
    header, *lines = [line.split() for line in TABLE.splitlines()]
    rows = [dict(zip(header, line, strict=False)) for line in lines]
    return [
        {
            "network.depth": int(row["network.depth"]),
            KEY: float(row[KEY]),
            "seed": int(row["seed"]),
            "status": row["status"],
            "error": "" if row["status"] == "done" else "diverged",
            metric: float(row["value"]) if "value" in row else None,
        }
        for row in rows
    ]


@pytest.mark.parametrize(
    ("metric", "chosen"),
    [
        # Depth 1: 3.0, 3.25 and 9.0 without a seed; 2: every level lacks runs; 4: all are equal;
        # 8: the ends are equal, and the lower one is taken.
        (
            "eval/serial_reach",
            {1: (1e-3, False), 2: (1e-4, True), 4: (1e-3, False), 8: (1e-4, True)},
        ),
        ("value/rmse", {1: (1e-4, True), 2: (1e-2, True), 4: (1e-3, False), 8: (1e-3, False)}),
    ],
)  # fmt: skip
def test_choice_by_hand(metric: str, chosen: dict[int, Any], tiny: Data) -> None:
    screen = {"key": KEY, "levels": LEVELS, "seeds": [1000, 1001], "metric": metric}
    study = study_of(
        tiny | {"grid": {"network.depth": [1, 2, 4, 8]}, "hypotheses": [], "screen": screen}
    )
    found = choose(study, by_hand(metric))
    assert {cell[0]: (c.level, c.at_end) for cell, c in found.items()} == chosen
    assert found[1,].means == (3.0, 3.25, 9.0)
    assert found[1,].lacking == (1e-2,)
    assert found[2,].means == (1.0, None, 0.5)
    assert found[2,].lacking == (1e-4, 1e-3, 1e-2)
    assert found[8,].lacking == ()


def test_cell_without_any_value_is_told(screened: Data, tmp_path: Path) -> None:
    def diverges(config: Data) -> float:
        return math.nan if config["network"]["depth"] == 2 else reach(config)

    with pytest.raises(
        RunError, match=r"run of network.depth=2 has eval/serial_reach: diverged; --retry"
    ):
        run(screened, tmp_path, Fake(score=diverges))
    # With --retry-failed those runs are made again, and the study goes on.
    engine = Fake()
    rows = run(screened, tmp_path, engine, retry_failed=True)
    assert {row.status for row in rows} == {"done"}
    assert [job.config["network"]["depth"] for job in engine.given[:6]] == [2] * 6


# The plan


def test_screening_covers_cells_levels_and_seeds(screened: Data) -> None:
    study = study_of(screened)
    assert study.screening is not None
    configs = [run.config for run in study.screening.runs]
    found = {
        (c["network"]["depth"], c["env"]["group"], c["agent"]["learning_rate"], c["seed"])
        for c in configs
    }
    assert {c["agent"]["updates"] for c in configs} == {3}
    assert found == {
        (depth, "s5", level, seed) for depth in (1, 2) for level in LEVELS for seed in (1000, 1001)
    }
    assert len(study.screening.runs) == 12
    assert len(study.runs) == 8


def test_screenings_file_plans_the_same_runs(screened: Data, tmp_path: Path) -> None:
    run(screened, tmp_path, Fake())
    again = load_study(tmp_path / "screening/study.yaml")
    planned = StudyFolder(tmp_path / "screening").read_plan()
    assert [(r.id, r.columns) for r in again.runs] == [(r.id, r.columns) for r in planned]


def test_own_runs_are_those_of_a_study_with_the_rates_written_by_hand(
    screened: Data, tmp_path: Path
) -> None:
    rows = run(screened, tmp_path, Fake())
    depths = [
        {"label": depth, "network.depth": depth, KEY: rate}
        for depth, rate in ((1, 1e-2), (2, 1e-3))
    ]
    by_hand = {k: v for k, v in screened.items() if k not in ("screen", "hypotheses")}
    by_hand["grid"] = {"depth": depths, "setting": screened["grid"]["setting"]}
    assert [row.run.id for row in rows] == [run.id for run in study_of(by_hand).runs]
    assert [row.run.config for row in rows] == [run.config for run in study_of(by_hand).runs]
    results = StudyFolder(tmp_path).read_results()
    assert [(r["network.depth"], r[KEY], r["at_end"]) for r in results] == [
        (1, 1e-2, True), (1, 1e-2, True), (2, 1e-3, False), (2, 1e-3, False)
    ] * 2  # fmt: skip
    assert StudyFolder(tmp_path).read_study().columns == ("network.depth", "setting")


def test_table_of_choices(screened: Data, tmp_path: Path) -> None:
    run(screened, tmp_path, Fake())
    choices = table(tmp_path / "screening.csv")
    ids = [r.id for r in StudyFolder(tmp_path / "screening").read_plan()]
    assert [row.pop("id") for row in choices] == [ids[0], ids[3]]
    means = {
        row["network.depth"]: [round(float(row[f"eval/serial_reach at {x}"]), 3) for x in LEVELS]
        for row in choices
    }
    assert means == {"1": [8.005, 9.005, 10.005], "2": [9.005, 10.005, 9.005]}
    assert [(r["network.depth"], r[KEY], r["at_end"]) for r in choices] == [
        ("1", "0.01", "True"), ("2", "0.001", "False")
    ]  # fmt: skip


# Cut off, grown, changed


@pytest.mark.parametrize("most", [0, 5, 12, 15])
def test_cut_off_in_either_stage_it_goes_on(most: int, screened: Data, tmp_path: Path) -> None:
    run(screened, tmp_path / "whole", Fake(), command=["again"])
    first, second = Fake(most), Fake()
    with pytest.raises(KeyboardInterrupt):
        run(screened, tmp_path / "cut", first, command=["again"])
    assert (tmp_path / "cut/screening.csv").exists() == (most >= 12)
    run(screened, tmp_path / "cut", second, command=["again"])
    assert len(first.given) + len(second.given) == 20
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_cut_off_between_plan_and_design(screened: Data, tmp_path: Path) -> None:
    """All that a kill right at the start can leave."""
    (tmp_path / "screening").mkdir()
    (tmp_path / "study.lock").touch()
    assert len(run(screened, tmp_path, Fake())) == 8


def test_grown_grid_screens_new_cells_alone_and_keeps_choices(
    screened: Data, tmp_path: Path
) -> None:
    small = screened | {"grid": screened["grid"] | {"network.depth": [1]}, "hypotheses": []}
    run(small, tmp_path, Fake())
    before = (tmp_path / "screening.csv").read_text().splitlines()

    def other(config: Data) -> float:  # by which depth 1 would choose the lowest
        return -config["agent"]["learning_rate"]

    engine = Fake(score=other)
    rows = run(screened | {"seeds": 3}, tmp_path, engine)
    screening = [job for job in engine.given if job.config["seed"] >= 1000]
    assert [job.config["network"]["depth"] for job in screening] == [2] * 6
    after = (tmp_path / "screening.csv").read_text().splitlines()
    assert after[: len(before)] == before
    assert {(r.run.columns["network.depth"], r.run.recorded[KEY]) for r in rows} == {
        (1, 1e-2),
        (2, 1e-4),
    }
    assert len(rows) == 12
    assert len(engine.given) - len(screening) == 12 - 4


def test_choices_stay_whatever_the_own_runs_and_the_screenings_come_to(
    screened: Data, tmp_path: Path
) -> None:
    run(screened, tmp_path, Fake())
    before = (tmp_path / "screening.csv").read_bytes()
    for summary in tmp_path.glob("**/summary.json"):
        data = json.loads(summary.read_text())
        data["final"]["eval/serial_reach"] = -1e4 * data["config"]["agent"]["learning_rate"]
        summary.write_text(json.dumps(data))
    engine = Fake()
    run(screened, tmp_path, engine)
    assert engine.given == []
    assert (tmp_path / "screening.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("key", "value"), [("levels", [*LEVELS, 1e-1]), ("seeds", [1000, 1001, 1002]), ("share", [])]
)
def test_another_screen_after_the_choice_is_refused(
    key: str, value: Any, screened: Data, tmp_path: Path
) -> None:
    run(screened, tmp_path, Fake())
    before, engine = files(tmp_path), Fake()
    with pytest.raises(
        UserError, match=rf"screening\.csv: was made with another screen\.{key}; --out"
    ):
        run(screened | {"screen": screened["screen"] | {key: value}}, tmp_path, engine)
    assert engine.given == []
    assert files(tmp_path) == before


def test_folder_of_a_study_without_screening_is_refused_before_anything_runs(
    screened: Data, tmp_path: Path
) -> None:
    run({k: v for k, v in screened.items() if k != "screen"}, tmp_path, Fake())
    engine = Fake()
    with pytest.raises(UserError, match="holds another study: 8 of its 8 rows"):
        run(screened, tmp_path, engine)
    assert engine.given == []
    assert not (tmp_path / "screening").exists()


def test_smoke_size(screened: Data) -> None:
    screen = screened["screen"] | {"levels": [1e-5, *LEVELS, 1e-1]}
    study = study_of(screened | {"screen": screen}, smoke=True)
    assert study.screening is not None
    assert [(r.columns[KEY], r.columns["seed"]) for r in study.screening.runs] == [
        (1e-5, 1000), (1e-3, 1000), (1e-1, 1000)
    ]  # fmt: skip
    assert {r.config["agent"]["updates"] for r in study.screening.runs} == {20}  # smoke.base


# Errors


def paired(**settings: Any) -> Data:
    return {"grid": {"net": [{"label": "a", "network.depth": 1}, {"label": "b", **settings}]}}


BAD: dict[str, tuple[Data, Data, str]] = {
    "own seed": ({"seeds": [7, 1, 0]}, {}, r"screen\.seeds: 0, 1 are among the study's own seeds"),
    "two levels": ({"levels": [0.1, 0.2]}, {}, r"screen\.levels: at least 3 levels, ascending"),
    "falling levels": ({"levels": [3, 2, 1]}, {}, r"screen\.levels: at least 3 levels, ascending"),
    "words": ({"levels": ["a", "b", "c"]}, {}, r"screen\.levels: must be numbers or \{start"),
    "bad range": (
        {"levels": {"start": 1, "stop": 9, "factor": 1}},
        {},
        r"screen\.levels\.factor: must be greater than 1",
    ),
    "no key": ({"key": "agnet.learning_rate"}, {}, r"screen\.key: no key of a run"),
    "no key of the agent": (
        {"key": "agent.learning_rat"},
        {},
        r"screen: agent\.learning_rat: unknown key",
    ),
    "level out of range": ({"levels": [-1, 0.1, 0.2]}, {}, r"screen: agent\.learning_rate: .*"),
    "no key in base": ({"base": {"agnet.updates": 1}}, {}, r"screen\.base\.agnet\.updates: no key"),
    "key in base": ({"base": {KEY: 1}}, {}, r"screen\.base: sets agent\.learning_rate, which"),
    "no such metric": ({"metric": "eval/reach"}, {}, r"screen\.metric: 'eval/reach' is never log"),
    "shares no column": ({"share": ["draw"]}, {}, r"screen\.share\.0: no column of the grid"),
    "unknown": ({"level": [1]}, {}, r"screen\.level: unknown key; there are key, levels"),
    "clash with an axis": (
        {},
        {"grid": {KEY: [0.1, 0.2]}},
        r"screen\.key: clashes with grid\.agent\.learning_rate, which sets agent\.learning_rate",
    ),
    "clash with a pair": ({}, paired(**{KEY: 0.1}), r"screen\.key: clashes with grid\.net, which"),
    "clash with a whole": (
        {},
        paired(agent={"kind": "value", "learning_rate": 0.1}),
        r"screen\.key: clashes with grid\.net, which sets agent\.learning_rate",
    ),
    "column of the key": (
        {},
        {"grid": {"net": [{"label": {KEY: 1, "x": i}, "network.depth": i} for i in (1, 2)]}},
        r"grid\.net: has the column agent\.learning_rate, which the screening adds",
    ),
    "hypothesis on the key": (
        {},
        {
            "hypotheses": [
                {"id": "h", "statement": "s", "test": {"slope": KEY, "expect": {"above": 0}}}
            ]
        },
        r"hypotheses\.0\.test\.slope: no column of the grid",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_screen_is_refused_by_path(case: str, screened: Data) -> None:
    screen, changes, message = BAD[case]
    data = screened | {"screen": screened["screen"] | {"share": []} | screen}
    if "grid" in changes:
        data["hypotheses"] = []
    with pytest.raises(UserError, match=f"^tiny.yaml: {message}"):
        study_of(data | changes)


def test_a_whole_that_leaves_the_key_alone_does_not_clash(screened: Data) -> None:
    whole = paired(agent={"kind": "value", "updates": 7})
    screen = screened["screen"] | {"share": []}
    study = study_of(screened | whole | {"hypotheses": [], "screen": screen})
    assert study.screening is not None
    assert {r.config["agent"]["learning_rate"] for r in study.screening.runs} == set(LEVELS)


# Commands


def test_commands_in_both_stages(
    screened: Data,
    study_file: Callable[[Data], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, out = study_file(screened), tmp_path / "out"
    assert main(["study", "plan", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "12 runs of the screening; then" in printed
    assert printed.endswith("\n8 runs\n")
    assert main(["study", "plan", str(file), "--rows"]) == 0
    printed = capsys.readouterr().out
    assert [run.id in printed for run in study_of(screened).runs] == [False] * 8
    with pytest.raises(KeyboardInterrupt):
        run(screened, out, Fake(5))
    for action in ("status", "report"):
        assert main(["study", action, str(out)]) == 0
        printed = capsys.readouterr().out
        assert "screening: 12 runs: 5 done, 0 failed, 0 running, 7 missing" in printed
        assert "own runs come after the screening" in printed
    assert not (out / "report.html").exists()
    assert main(["study", "status", str(out), "--rows"]) == 0
    assert capsys.readouterr().out.count("missing") == 7
    assert main(["study", "report", str(out), "--publish", str(tmp_path / "there")]) == 2
    assert "the screening is unfinished" in capsys.readouterr().err
    run(screened, out, Fake(), command=["the", "command"])
    flag = "agent.learning_rate at the end of the range: 0.01 at network.depth=1"
    assert main(["study", "status", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"{flag}. A better level may lie beyond." in printed
    assert main(["study", "report", str(out), "--publish", str(tmp_path / "there")]) == 0
    for table in ("screening.csv", "screening/results.csv"):
        assert (tmp_path / "there" / table).read_bytes() == (out / table).read_bytes()
    page = (out / "report.html").read_text()
    assert "<h2 id=screening>" in page
    assert "1 of 2 lie at the end of the range: a better one may lie beyond" in page
    assert f"<small>{flag}" in page  # beside the finding
    assert page.count("<td>0.01, at the end of the range</td>") == 2 + 1  # cells, choices


def test_only_findings_that_compare_a_flagged_cell_say_so(screened: Data, tmp_path: Path) -> None:
    at = [{"id": f"depth_{d}", "statement": "s", "test": {"where": {"network.depth": d},
           "expect": {"above": 0}}} for d in (1, 2)]  # fmt: skip
    run(screened | {"hypotheses": at}, tmp_path, Fake())
    from rl_serial.study.findings import judge

    folder = StudyFolder(tmp_path)
    first, second = judge(folder.read_study(), folder.read_results())
    assert "at the end of the range: 0.01 at network.depth=1" in first.note
    assert "end of the range" not in second.note


def test_whole_path_with_training(tiny: Data, tmp_path: Path) -> None:
    data = tiny | {
        "grid": {"network.depth": [1]},
        "hypotheses": [],
        "seeds": 1,
        "metric": "value/rmse",
        "screen": {"key": KEY, "levels": LEVELS, "seeds": [1000]},
    }
    data["base"]["agent"]["updates"] = 5
    data["base"]["evaluation"].pop("every")
    run(data, tmp_path, Fake(carry_out=carry_out))
    screening = table(tmp_path / "screening/results.csv")
    best = min(screening, key=lambda row: float(row["value/rmse"]))[KEY]
    [row] = table(tmp_path / "results.csv")
    assert row[KEY] == best
    config = yaml.safe_load((tmp_path / "runs" / row["id"] / "config.yaml").read_text())
    assert config["agent"]["learning_rate"] == float(best)
    assert config["agent"]["updates"] == 5
