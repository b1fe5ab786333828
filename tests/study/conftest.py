"""A study small enough to be run in a test, and its folder after an undisturbed run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rl_serial.cli import main

TINY: dict[str, Any] = {
    "question": "Is the twin easier, and does depth pay?",
    "hypotheses": [
        {
            "id": "twin",
            "statement": "The twin's serial reach is larger.",
            "test": {"difference": {"setting": ["z5", "s5"]}, "expect": {"above": 0}},
        },
        {
            "id": "depth",
            "statement": "Serial reach grows with depth.",
            "test": {"slope": "network.depth", "scale": "log2", "expect": {"above": 0}},
        },
    ],
    "base": {
        "env": {
            "id": "rl_serial/PermutationAutomatonBet-v0",
            "serial_depth": 3,
            "start": "uniform",
        },
        "network": {"kind": "residual", "depth": 1, "width": 8},
        "agent": {"kind": "value", "updates": 100, "batch_size": 16},
        "evaluation": {"instances": 32, "per_remaining": 8, "every": 50},
    },
    "grid": {
        "network.depth": [1, 2],
        "setting": [{"label": "s5", "env.group": "s5"}, {"label": "z5", "env.group": "z5"}],
    },
    "seeds": 2,
    "metric": ["eval/serial_reach", "eval/serial_horizon"],
    "smoke": {"base": {"agent.updates": 20}, "grid": {"network.depth": [1]}, "seeds": 1},
}


@pytest.fixture
def tiny() -> dict[str, Any]:
    """The tiny study as data that a test may change."""
    return copy.deepcopy(TINY)


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes a study to a file."""
    return lambda data: _written(data, tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny study, run by one worker that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    undisturbed(_written(TINY, folder), folder / "out")
    return folder / "out"


@pytest.fixture
def run_undisturbed() -> Callable[[Path, Path], None]:
    """Runs the study in a file into a folder, by one worker."""
    return undisturbed


def undisturbed(file: Path, out: Path) -> None:
    arguments = ["study", "run", str(file), "--out", str(out), "--quiet"]
    assert main([*arguments, "--workers", "1", "--device", "cpu"]) == 0


def _written(data: dict[str, Any], folder: Path) -> Path:
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return file
