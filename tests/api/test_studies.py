"""A study by Python: the same runs, results and verdicts as by the command."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

import rl_serial
from rl_serial.errors import UserError
from rl_serial.study.design import load_study

STUDY: dict[str, Any] = {
    "question": "Does the optimal agent do better than a random one?",
    "hypotheses": [
        {
            "id": "better",
            "exploratory": True,
            "statement": "Its score is more than 0.5 higher.",
            "test": {"difference": {"who": ["optimal", "random"]}, "expect": {"above": 0.5}},
        }
    ],
    "base": {
        "env": {"id": "rl_serial/PermutationAutomatonBet-v0", "serial_depth": 3},
        "agent": {"kind": "random"},
        "evaluation": {"instances": 256, "per_remaining": 8},
    },
    "grid": {
        "who": [{"label": {"who": kind}, "agent.kind": kind} for kind in ("optimal", "random")]
    },
    "seeds": 3,
    "metric": "eval/score",
}


def test_run_read_and_opened_again(tmp_path: Path) -> None:
    before = deepcopy(STUDY)
    study = rl_serial.Study(STUDY, tmp_path / "there")
    assert before == STUDY
    assert (study.question, len(study.runs)) == (STUDY["question"], 6)
    assert {row.status for row in study.rows} == {"missing"}
    results = study.run(workers=1, progress=False)
    assert [row["status"] for row in results] == ["done"] * 6
    scores = {agent: [r["eval/score"] for r in results if r["who"] == agent] for agent in
              ("optimal", "random")}  # fmt: skip
    assert scores["optimal"] == [1.0] * 3  # by definition
    assert max(abs(score) for score in scores["random"]) < 0.5
    [finding] = study.findings
    assert finding.words == "exploratory: supported"
    again = rl_serial.Study.open(tmp_path / "there")
    assert again.results == results
    agent = again.load(results[0]["id"])
    assert agent.config.agent.kind == results[0]["who"]
    assert results == study.run(workers=1, progress=False)  # nothing is done twice
    with pytest.raises(UserError, match="no run of"):
        study.load("0123456789ab")
    with pytest.raises(UserError, match="engine: must be one of"):
        study.run(engine="dask")


def test_a_shipped_study_by_its_name() -> None:
    study = rl_serial.Study("demo", smoke=True)
    assert study.folder == Path("runs/study/demo_smoke")
    file = Path(__file__).parents[2] / "configs/study/demo.yaml"
    assert study.runs == load_study(file, smoke=True).runs
    with pytest.raises(UserError, match="seeds"):
        rl_serial.Study(STUDY | {"seeds": 0})
    with pytest.raises(UserError, match="name"):
        rl_serial.Study(STUDY, name="..")
