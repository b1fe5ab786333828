"""A trunk, an agent and a subject that are registered from outside go through every command."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

TOYS = Path(__file__).parent / "outside" / "toys.py"
CHAIN: dict[str, Any] = {
    "env": {"id": "rl_serial/PointerChaseBet-v0", "serial_depth": 3, "nodes": 8},
    "network": {"kind": "powers", "depth": 2, "width": 8, "power": 2},
    "agent": {"kind": "rewards", "updates": 20},
    "evaluation": {"instances": 64, "per_remaining": 16, "every": 10},
}
COINS: dict[str, Any] = {
    "env": {"id": "coins/Biased-v0", "bias": 0.75},
    "agent": {"kind": "caller", "side": 1},
    "evaluation": {"instances": 400},
}


DRIVER = """
import contextlib, io, json, sys
from rl_serial.cli import main
told = []
for command in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        code = main(command)
    told.append([code, out.getvalue()])
print(json.dumps(told))
"""


def serial(folder: Path, *commands: list[str]) -> list[tuple[int, str]]:
    """Exit codes and outputs of commands in another process, whose registries are its own."""
    package = str(Path(__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(commands)],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": package, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return [(code, text) for code, text in json.loads(found.stdout.splitlines()[-1])]


@pytest.mark.parametrize(
    ("data", "grid", "metric", "beside", "profile"),
    [
        (
            CHAIN,
            {"network.power": [1, 2]},
            "eval/serial_reach",
            "value/accuracy",
            "accuracy_by_remaining",
        ),
        (COINS, {"agent.side": [0, 1]}, "eval/luck", "eval/luck/side_0", "luck_by_side"),
    ],
    ids=["trunk and agent", "subject"],
)
def test_what_is_registered_outside_goes_through_every_command(
    data: dict[str, Any],
    grid: dict[str, Any],
    metric: str,
    beside: str,
    profile: str,
    tmp_path: Path,
) -> None:
    toys = ["--import", str(TOYS)]
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(data))
    study = {
        "question": "?",
        "hypotheses": [
            {"id": "h", "statement": "s", "test": {"expect": {"above": 0}}, "exploratory": True}
        ],
        "base": data,
        "grid": grid,
        "seeds": 2,
        "metric": [metric, beside],
    }
    (tmp_path / "toys.yaml").write_text(yaml.safe_dump(study))
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(study | {"metric": "eval/nothing"}))
    told = serial(
        tmp_path,
        ["train", "toy.yaml", "--quiet"],
        ["train", "toy.yaml", "--quiet", *toys],
        ["evaluate", "runs/toy", "--figure", "toy.png", *toys],
        ["watch", "runs/toy", *toys],
        ["study", "run", "toys.yaml", "--workers", "2", "--quiet", *toys],
        ["study", "report", "runs/study/toys", *toys],
        ["study", "plan", "wrong.yaml", *toys],
    )
    assert [code for code, _ in told] == [2, 0, 0, 0, 0, 0, 2], told
    final = json.loads((tmp_path / "runs/toy/summary.json").read_text())["final"]
    assert metric in final
    assert "toy" in told[2][1]
    assert (tmp_path / "toy.png").exists()
    assert "frames" in told[3][1]
    assert metric in told[5][1]
    assert len(list((tmp_path / "runs/study/toys/figures").glob(f"*_{profile}.*"))) >= 1
    rows = list(csv.DictReader((tmp_path / "runs/study/toys/results.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["done"] * 4
    assert all(row[metric] for row in rows)
    assert "'eval/nothing' is never logged; there are " in told[6][1]


def test_keys_of_a_trunk_and_an_agent_from_outside_are_held_to_their_models(
    tmp_path: Path,
) -> None:
    wrong = {
        "network.powr=2": "network.powr: unknown key",
        "agent.updates=0": "agent.updates: must be greater than 0",
        "agent.kind=caller": "is a chain, where agent.kind caller does not play; value, ",
        "network.kind=powerz": "did you mean powers?",
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(CHAIN))
    told = serial(
        tmp_path, *(["train", "toy.yaml", key, "--quiet", "--import", str(TOYS)] for key in wrong)
    )
    for (code, text), message in zip(told, wrong.values(), strict=True):
        assert code == 2
        assert message in text
