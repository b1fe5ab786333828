"""Weights & Biases, by a module in its place: what it is told, when, and what is refused."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch.utils.tensorboard.writer as torch_writer

from rl_serial.cli import main
from rl_serial.config import RunConfig, write_yaml
from rl_serial.errors import RunError, UserError
from rl_serial.loading import parse_config
from rl_serial.runs.population import population_key
from rl_serial.runs.run import train

DATA: dict[str, Any] = {
    "name": "tracked",
    "env": {"id": "rl_serial/PermutationAutomatonBet-v0", "serial_depth": 2},
    "network": {"depth": 1, "width": 4},
    "agent": {"kind": "value", "updates": 4, "batch_size": 8, "schedule": "constant"},
    "evaluation": {"instances": 16, "per_remaining": 4},
    "wandb": {"project": "chains", "tags": ["a", "b"], "mode": "offline"},
}


def config(**changes: Any) -> RunConfig:
    return parse_config(DATA | changes, "test")


class Wandb(types.ModuleType):
    """Does as the real one with `sync_tensorboard`: it watches where event files are written."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
        self.runs: list[dict[str, Any]] = []
        self.folders: list[str] = []
        self.finished: list[int] = []

    def init(self, **arguments: Any) -> Any:
        self.runs.append(arguments)
        return types.SimpleNamespace(finish=lambda exit_code: self.finished.append(exit_code))


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    module = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    original = torch_writer.EventFileWriter

    def watched(logdir: str, *arguments: Any, **keywords: Any) -> Any:
        if module.runs:  # what is opened before `init` it never hears of
            module.folders.append(logdir)
        return original(logdir, *arguments, **keywords)

    monkeypatch.setattr(torch_writer, "EventFileWriter", watched)
    return module


def test_it_sees_the_events_and_the_configuration(wandb: Wandb, tmp_path: Path) -> None:
    train(config(), tmp_path / "tracked", device="cpu", progress=False)
    [told] = wandb.runs
    assert told["sync_tensorboard"] is True
    assert (told["project"], told["name"], told["mode"]) == ("chains", "tracked", "offline")
    assert told["tags"] == ["a", "b"]
    assert told["config"]["network"]["depth"] == 1
    assert "wandb" not in told["config"]
    assert wandb.folders == [str(tmp_path / "tracked")]
    assert wandb.finished == [0]


def test_a_resumed_run_is_the_same_one_there(wandb: Wandb, tmp_path: Path) -> None:
    train(config(), tmp_path / "a", device="cpu", progress=False)
    longer = config(agent=DATA["agent"] | {"updates": 6})
    train(longer, tmp_path / "a", resume=True, device="cpu", progress=False)
    train(config(), tmp_path / "b", device="cpu", progress=False)
    first, second, other = (told["id"] for told in wandb.runs)
    assert first == second != other
    assert {told["resume"] for told in wandb.runs} == {"allow"}


def test_a_failed_run_is_told_as_one(
    wandb: Wandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("rl_serial.runs.run.TrainingRun.pause", fail)
    with pytest.raises(RunError):
        train(config(), tmp_path / "a", device="cpu", progress=False)
    assert wandb.finished == [1]


def test_it_is_asked_for_and_nothing_else(wandb: Wandb, tmp_path: Path) -> None:
    """Without the key nothing is told, and the configuration is that of before the key."""
    plain = parse_config({key: value for key, value in DATA.items() if key != "wandb"}, "test")
    assert "wandb" not in write_yaml(plain)
    train(plain, tmp_path / "plain", device="cpu", progress=False)
    assert wandb.runs == []
    # It tracks one run of a process at a time.
    assert population_key(plain) is not None
    assert population_key(config()) is None


def test_what_is_missing_is_named_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else find(name, *a)
    )
    with pytest.raises(UserError, match=r"pip install 'rl_serial\[wandb\]'"):
        train(config(), tmp_path / "a", device="cpu", progress=False)
    assert not (tmp_path / "a").exists()
    command = ["train", "automaton_s5_dqn_shallow", "wandb.project=chains"]
    assert main([*command, "--runs", str(tmp_path), "--quiet"]) == 2
    assert "the key wandb" in capsys.readouterr().err


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(UserError, match=r"wandb\.projects: unknown key"):
        config(wandb={"projects": "chains"})
    with pytest.raises(UserError, match=r"wandb\.mode"):
        config(wandb={"project": "chains", "mode": "live"})
