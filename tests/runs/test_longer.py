"""A run trained for longer is the run that it would have been; runs can be stopped from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import rl_serial
from rl_serial.api.training import read_config
from rl_serial.cli import main
from rl_serial.errors import UserError
from rl_serial.runs.run import Stopped, train

BASE: dict[str, Any] = {
    "env": {"id": "rl_serial/PermutationAutomatonBet-v0", "serial_depth": 2, "start": "uniform"},
    "network": {"kind": "residual", "depth": 1, "width": 8},
    "evaluation": {"instances": 32, "per_remaining": 8, "every": 128},
    "name": "run",
}
PPO = {
    "kind": "ppo",
    "timesteps": 128,
    "num_envs": 8,
    "arguments": {"n_steps": 8, "batch_size": 32, "n_epochs": 2},
}
VALUE = {"kind": "value", "updates": 128, "batch_size": 8, "schedule": "constant"}


@pytest.mark.parametrize(("agent", "key"), [(PPO, "timesteps"), (VALUE, "updates")])
def test_the_same_as_trained_at_once(agent: dict[str, Any], key: str, tmp_path: Path) -> None:
    wanted = {f"agent.{key}": 256, "evaluation.every": 128}
    data = BASE | {"agent": agent}
    rl_serial.train(data, runs=tmp_path / "twice", progress=False)
    longer = rl_serial.train(data, wanted, runs=tmp_path / "twice", progress=False, resume=True)
    once = rl_serial.train(data, wanted, runs=tmp_path / "once", progress=False)
    assert longer.results == once.results
    rows = [
        (tmp_path / name / "run/metrics.csv").read_text().splitlines() for name in ("twice", "once")
    ]
    assert rows[0][0] == rows[1][0]
    assert rows[0][-1] == rows[1][-1]
    assert rows[0][1].startswith("0,")
    assert len(rows[0]) == len(rows[1])


def test_nothing_else_changes_and_nothing_gets_shorter(tmp_path: Path) -> None:
    data = BASE | {"agent": VALUE}
    rl_serial.train(data, runs=tmp_path, progress=False)
    for changes, told in (
        ({"agent.updates": 64}, "no run is made shorter"),
        ({"agent.updates": 256, "seed": 1}, "another configuration"),
        ({"network.width": 16}, "another configuration"),
    ):
        with pytest.raises(UserError, match=told):
            rl_serial.train(data, changes, runs=tmp_path, resume=True, progress=False)
    annealed = {"agent.schedule": "one_cycle", "name": "annealed"}
    rl_serial.train(data, annealed, runs=tmp_path, progress=False)
    with pytest.raises(UserError, match=r"one_cycle is laid over agent\.updates"):
        rl_serial.train(
            data, annealed | {"agent.updates": 256}, runs=tmp_path, resume=True, progress=False
        )
    assert rl_serial.load(tmp_path / "annealed").config.agent.updates == 128  # type: ignore[attr-defined]


def test_stopped_by_who_hears_of_evaluations(tmp_path: Path) -> None:
    """And resumed for longer: until that is done the folder holds no trained agent."""
    config = read_config(BASE | {"agent": VALUE})
    heard = []

    def told(step: int, found: Any) -> None:
        heard.append(step)
        if step == 128 and len(heard) > 1:
            raise Stopped

    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        train(config, folder, progress=False, told=told)
    assert heard == [0, 128]
    assert json.loads((folder / "summary.json").read_text())["status"] == "stopped"
    longer = read_config(config, {"agent.updates": 256})
    heard.clear()
    train(config, folder, progress=False, resume=True)
    assert (folder / "model.pt").exists()

    def at_once(step: int, found: Any) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        train(longer, folder, progress=False, resume=True, told=at_once)
    with pytest.raises(UserError, match="not finished"):
        rl_serial.load(folder)


def test_tensorboard_has_configuration_and_command(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps(BASE | {"agent": VALUE}))
    arguments = ["train", str(file), "agent.updates=4", "--runs", str(tmp_path), "--quiet"]
    assert main(arguments) == 0
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    [command] = events.Tensors("command/text_summary")
    wanted = f"rl-serial train {file} agent.updates=4 --runs {tmp_path}"
    assert wanted in command.tensor_proto.string_val[0].decode()
    [config] = events.Tensors("config/text_summary")
    assert "updates: 4" in config.tensor_proto.string_val[0].decode()
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["command"] == wanted.split()
