"""A search finds what is known to be best, ends what lags, and survives a kill."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from rl_serial.cli import main
from rl_serial.errors import UserError
from rl_serial.loading import load_config
from rl_serial.tune import Tuning, read_tune

pytest.importorskip("optuna")

BASE: dict[str, Any] = {
    "env": {"id": "rl_serial/PermutationAutomatonBet-v0", "serial_depth": 1, "start": "uniform"},
    "network": {"kind": "residual", "depth": 1, "width": 32},
    "agent": {"kind": "value", "updates": 80, "batch_size": 64},
    "evaluation": {"instances": 64, "per_remaining": 16, "every": 40},
}
SHORT = {"kind": "value", "updates": 2, "batch_size": 8}
SEARCH: dict[str, Any] = {
    "base": BASE,
    "search": {"agent.learning_rate": [1e-2, 1e-9, 1e-8]},
    "metric": "eval/score",
    "sampler": "grid",
    "startup_trials": 1,
}


def write(tmp_path: Path, **changes: Any) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(SEARCH | changes))
    return file


def trials(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_what_lags_is_ended_and_the_best_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One step of s5 is a table look-up: learned at a rate of 0.01, never at 1e-9."""
    out = tmp_path / "out"
    assert main(["tune", str(write(tmp_path)), "--out", str(out)]) == 0
    rows = trials(out)
    assert [row["agent.learning_rate"] for row in rows] == ["0.01", "1e-09", "1e-08"]
    assert [row["state"] for row in rows] == ["done", "pruned", "pruned"]
    assert float(rows[0]["eval/score"]) > 0.9
    best = load_config(out / "best.yaml")
    assert best.agent.learning_rate == 0.01  # type: ignore[attr-defined]
    printed = capsys.readouterr().out
    assert "trial_0001: agent.learning_rate=1e-09: pruned" in printed
    assert printed.splitlines()[-1] == f"rl-serial train {out / 'best.yaml'}"
    assert main(["tune", str(write(tmp_path)), "--out", str(out), "--quiet"]) == 0
    assert trials(out) == rows  # nothing is done twice
    assert main(["tune", str(write(tmp_path, seed=1)), "--out", str(out)]) == 2
    assert "another search" in capsys.readouterr().err


def test_a_search_that_was_cut_off_is_the_search_it_would_have_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rl_serial.tune.search as module

    ranges = {"agent.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}
    ranges["network.width"] = {"low": 8, "high": 32, "step": 8}  # type: ignore[dict-item]
    file = write(tmp_path, search=ranges, sampler="tpe", trials=3, startup_trials=2)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(["tune", str(file), "--out", str(whole), "--quiet"]) == 0
    real, calls = module.train, []

    def killed(config: Any, folder: Path, **options: Any) -> Any:
        hear = options.pop("told")

        def told(step: int, found: Any) -> None:
            hear(step, found)
            calls.append(step)
            if len(calls) == 5:  # in the middle of the second trial
                raise KeyboardInterrupt

        return real(config, folder, told=told, **options)

    monkeypatch.setattr(module, "train", killed)
    assert main(["tune", str(file), "--out", str(cut), "--quiet"]) == 1
    assert main(["tune", str(file), "--out", str(cut), "--quiet"]) == 0
    assert trials(cut) == trials(whole)
    assert len(trials(cut)) == 3
    assert len({row["network.width"] for row in trials(cut)} - {"8", "16", "24", "32"}) == 0


def test_a_cell_that_was_only_named_is_tried_too(tmp_path: Path) -> None:
    """As after a kill between the two; and a trial whose levels were not drawn yet."""
    name, config, base = read_tune(write(tmp_path, base=BASE | {"agent": SHORT}, pruner="none"))
    tuning = Tuning(name, config, base, tmp_path / "out")
    tuning.study.enqueue_trial(tuning._cell(0))
    tuning.run()
    rates = [row["agent.learning_rate"] for row in tuning.trials]
    assert rates == SEARCH["search"]["agent.learning_rate"]
    assert {row["state"] for row in tuning.trials} == {"done"}
    drawn = config.model_copy(update={"sampler": "random", "trials": 2})
    other = Tuning(name, drawn, base, tmp_path / "other")
    other.study.ask()
    other.run()
    assert [row["state"] for row in other.trials] == ["done", "done"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"metric": "eval/scor"}, "did you mean eval/score"),
        ({"metric": "value/accuracy"}, "no number that the run logs"),
        ({"search": {"agent.learning_rat": [1, 2]}}, r"agent\.learning_rat: unknown key"),
        ({"search": {"agent.learning_rate": [1e-3]}}, "two levels or more"),
        ({"search": {"agent.learning_rate": {"low": 1, "high": 0}}}, "low must be less"),
        ({"search": {"agent.learning_rate": {"low": -1, "high": 1}}, "sampler": "tpe"}, "than 0"),
        ({"search": {"network.width": {"low": 1, "high": 9}}}, "is a range"),
        ({"trial": 3}, "did you mean trials"),
        ({"search": {}}, "is empty"),
    ],
)
def test_what_is_wrong_is_told(changes: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        read_tune(write(tmp_path, **changes))


def test_a_shipped_run_is_a_base(tmp_path: Path) -> None:
    file = write(tmp_path, base="automaton_s5_dqn_deep", search={"network.depth": [2, 4]})
    name, _, base = read_tune(file)
    assert (name, base["network"]["depth"]) == ("mine", 16)
