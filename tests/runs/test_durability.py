"""The same seed gives the same metrics, and a killed run ends as an unbroken one."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rl_serial.agents.registry import kinds_playing
from rl_serial.cli import main
from rl_serial.config import RunConfig
from rl_serial.errors import RunError, UserError
from rl_serial.loading import parse_config
from rl_serial.runs import files, run

ENV = {"id": "rl_serial/PermutationAutomatonBet-v0", "serial_depth": 4, "start": "uniform"}
STEER = {"id": "rl_serial/PermutationAutomatonSteer-v0", "serial_depth": 4}
REACH = {"id": "rl_serial/Reach-v0", "episode_steps": 20, "distance_threshold": 0.5}
NETWORK = {"kind": "residual", "depth": 2, "width": 16}
EVALUATION = {"instances": 64, "per_remaining": 16}
ARGUMENTS = {
    "value": {"updates": 60, "batch_size": 32},
    "td0": {"updates": 60, "batch_size": 32, "targets": "td0", "target_interval": 25},
    "greedy": {
        "updates": 60,
        "batch_size": 32,
        "policy": "greedy",
        "target_interval": 25,
        "one_ply": True,
    },
    "cloning": {"updates": 60, "batch_size": 32, "starts": "all"},
    "ppo": {
        "timesteps": 1024,
        "num_envs": 8,
        "arguments": {
            "n_steps": 8,
            "batch_size": 32,
            "n_epochs": 2,
            "learning_rate": "lin_3e-4",
        },
    },
    "exploring": {
        "timesteps": 1024,
        "num_envs": 8,
        "exploring_starts": True,
        "arguments": {"n_steps": 8, "batch_size": 32, "n_epochs": 2},
    },
    "maskable_ppo": {
        "timesteps": 1024,
        "num_envs": 8,
        "arguments": {"n_steps": 8, "batch_size": 32, "n_epochs": 2},
    },
    "dqn": {
        "timesteps": 1024,
        "num_envs": 8,
        "arguments": {
            "buffer_size": 512,  # filled twice over: the ring is saved in its place
            "learning_starts": 64,
            "batch_size": 32,
            "train_freq": 1,
            "target_update_interval": 64,
        },
    },
    "qrdqn": {
        "timesteps": 512,
        "num_envs": 8,
        "arguments": {
            "buffer_size": 4096,
            "learning_starts": 64,
            "batch_size": 32,
            "target_update_interval": 64,
            "policy_kwargs": {"n_quantiles": 8},
        },
    },
}
GOAL = {"timesteps": 1024, "num_envs": 8}
SAC = {"learning_starts": 256, "batch_size": 32, "train_freq": 2, "gradient_steps": 1}
ARGUMENTS |= {
    "contrastive": GOAL | {"unroll": 8, "updates": 2, "batch_size": 32, "prefill": 24},
    # Filled over again, in the midst of an episode: the ring is saved in its place.
    "sac": GOAL | {"arguments": SAC | {"buffer_size": 500}},
    "sac_her": GOAL | {"arguments": SAC | {"buffer_size": 500}},
}
SEARCH = {"timesteps": 640, "num_envs": 8, "simulations": 3, "updates": 2, "batch_size": 32}
ARGUMENTS |= {"search": SEARCH, "search_learned": SEARCH | {"dynamics": "learned"}}
AGENTS = list(ARGUMENTS)


def config(name: str, **changes: object) -> RunConfig:
    kinds = {"td0": "value", "greedy": "value", "exploring": "ppo", "search_learned": "search"}
    kind = kinds.get(name, name)
    total = ARGUMENTS[name].get("timesteps", ARGUMENTS[name].get("updates"))
    data = {
        "name": name,
        "env": ENV,
        "network": NETWORK,
        "agent": {"kind": kind} | ARGUMENTS[name],
        "evaluation": EVALUATION | {"every": total // 5},
    }
    if kind in kinds_playing("goals"):
        del data["evaluation"]["per_remaining"]
        pytest.importorskip("mujoco")
        data["env"] = REACH
    if name == "exploring":
        data["env"] = STEER
    if kind == "search":
        data["env"] = STEER
        data["evaluation"] |= {"simulations": [0, 2]}
    if name == "search_learned":
        data["model_network"] = NETWORK
    return parse_config(data | changes, "test")


def train(agent: str, folder: Path, resume: bool = False) -> None:
    run.train(config(agent), folder, resume=resume, device="cpu", progress=False)


def outcome(folder: Path) -> tuple[str, dict[str, object]]:
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "done"
    return (folder / "metrics.csv").read_text(), summary["final"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an agent's run that nothing disturbed; made once, and only read."""
    root = tmp_path_factory.mktemp("unbroken")

    def made(agent: str) -> Path:
        if not (root / agent).exists():
            train(agent, root / agent)
        return root / agent

    return made


@pytest.mark.parametrize("agent", AGENTS)
def test_same_seed_same_metrics_and_other_seed_others(
    agent: str, unbroken: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = outcome(unbroken(agent))[0]
    train(agent, tmp_path / "again")
    assert outcome(tmp_path / "again")[0] == first
    assert len(first.splitlines()) >= 6  # a header and an evaluation every fifth
    # Another seed goes another way from its first row on.
    die_after(1, monkeypatch)
    with pytest.raises(Killed):
        run.train(config(agent, seed=1), tmp_path / "other", device="cpu", progress=False)
    other = (tmp_path / "other/metrics.csv").read_text().splitlines()
    assert len(other) >= 2
    assert other[1:] != first.splitlines()[1 : len(other)]


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The (step, value) of every scalar as TensorBoard reads them; of speeds the step alone."""
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    clocks = ("time/fps", "search/simulations_per_second")
    return {
        tag: [(e.step, 0.0 if tag in clocks else e.value) for e in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    }


class Killed(BaseException):
    """Ends a run as a kill does: nothing catches it."""


def die_after(checkpoints: int, patch: pytest.MonkeyPatch) -> None:
    """A run dies between a row of ``metrics.csv`` and the next checkpoint, which belongs to it."""
    saved = 0

    def save_then_die(folder: Path, step: int, state: dict[str, object]) -> None:
        nonlocal saved
        saved += 1
        if saved > checkpoints:
            raise Killed
        files.save_checkpoint(folder, step, state)

    patch.setattr(run, "save_checkpoint", save_then_die)


@pytest.mark.parametrize(
    ("agent", "after"), [("dqn", 1), ("search_learned", 1), *((agent, 3) for agent in AGENTS)]
)
def test_interrupted_run_ends_like_an_unbroken_one(
    agent: str,
    after: int,
    unbroken: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        die_after(after, patch)
        with pytest.raises(Killed):
            train(agent, tmp_path / "broken")
    rows_before = (tmp_path / "broken/metrics.csv").read_text()
    for file in (tmp_path / "broken").glob("events.*"):  # earlier than a file of the same second
        file.rename(file.with_name(file.name.replace("tfevents.", "tfevents.0")))
    train(agent, tmp_path / "broken", resume=True)
    assert outcome(tmp_path / "broken") == outcome(unbroken(agent))
    rows = csv.DictReader(io.StringIO(outcome(tmp_path / "broken")[0]))
    for before, row in zip(csv.DictReader(io.StringIO(rows_before)), rows, strict=False):
        assert row | before == row  # nothing written was lost; the last row adds columns
    found = events(tmp_path / "broken")
    assert found == events(unbroken(agent))
    for points in found.values():  # none twice
        assert len({step for step, _ in points}) == len(points)


SCRIPT = """
import os, signal, sys
from pathlib import Path
from rl_serial.runs import files
from rl_serial.cli import main

deadly_save = int(sys.argv[1])
saves = 0
original = files.save_tensors

def save(file, state):
    global saves
    saves += 1
    if saves == deadly_save:
        fsync = os.fsync
        def half_written_then_killed(descriptor):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            fsync(descriptor)
            os.kill(os.getpid(), signal.SIGKILL)
        os.fsync = half_written_then_killed
    original(file, state)

files.save_tensors = save
sys.exit(main(sys.argv[2:]))
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", *arguments]


@pytest.mark.parametrize("agent", ["value", "dqn"])
def test_sigkill_in_training_and_in_a_checkpoint_write(
    agent: str, unbroken: Callable[[str], Path], tmp_path: Path
) -> None:
    file = tmp_path / f"{agent}.yaml"
    file.write_text(yaml.safe_dump(config(agent).model_dump(mode="json")))
    folder = tmp_path / "runs" / agent
    arguments = ["train", str(file), "--runs", str(tmp_path / "runs"), "--device", "cpu", "--quiet"]
    # Killed half-way through writing its third checkpoint.
    killed = subprocess.run(command("-c", SCRIPT, "3", *arguments), capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(files.checkpoints(folder / "checkpoints")) == 2
    # Killed again at a moment of no one's choosing, as soon as there is a further row.
    rows = (folder / "metrics.csv").read_text().count("\n")
    process = subprocess.Popen(command("-m", "rl_serial.cli", *arguments, "--resume"))
    while process.poll() is None and (folder / "metrics.csv").read_text().count("\n") <= rows:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main([*arguments, "--resume"]) == 0
    assert outcome(folder) == outcome(unbroken(agent))


def test_half_written_row_is_made_again(tmp_path: Path) -> None:
    train("value", tmp_path / "run")
    file = tmp_path / "run/metrics.csv"
    whole = file.read_text()
    file.write_text(whole[:-20])
    for name in ("model.pt", "summary.json"):
        (tmp_path / "run" / name).unlink()
    files.checkpoints(tmp_path / "run/checkpoints")[-1].unlink()
    train("value", tmp_path / "run", resume=True)
    assert file.read_text() == whole


def test_full_disk_leaves_the_last_checkpoint_whole(
    unbroken: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, syncs = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal syncs
        syncs += 1
        if syncs > 12:
            raise OSError(28, "No space left on device")
        original(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(RunError, match="No space left on device"):
            train("value", tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.partial"))
    train("value", tmp_path / "run", resume=True)
    assert outcome(tmp_path / "run") == outcome(unbroken("value"))


def test_nan_in_the_loss_fails_the_run_and_keeps_what_was_written(tmp_path: Path) -> None:
    settings = {"kind": "value", "learning_rate": 1e30, "schedule": "constant", "updates": 200}
    with pytest.raises(RunError, match=r"train/loss is (nan|inf) at update .* agent.learning_rate"):
        run.train(config("value", agent=settings), tmp_path / "run", device="cpu", progress=False)
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["status"] == "failed"
    assert "train/loss" in summary["error"]
    assert files.checkpoints(tmp_path / "run/checkpoints")


def test_nan_in_a_search_run_fails_it(tmp_path: Path) -> None:
    settings = SEARCH | {"kind": "search", "learning_rate": 1e30}
    with pytest.raises(RunError, match=r"not finite|(nan|inf) at step"):
        run.train(config("search", agent=settings), tmp_path / "run", device="cpu", progress=False)
    assert json.loads((tmp_path / "run/summary.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("agent", ["ppo", "dqn"])
def test_nan_in_an_sb3_loss_fails_the_run(agent: str, tmp_path: Path) -> None:
    arguments = ARGUMENTS[agent]["arguments"] | {"learning_rate": 1e30, "max_grad_norm": 1e30}
    settings = ARGUMENTS[agent] | {"kind": agent, "arguments": arguments}
    with pytest.raises(RunError, match=r"(nan|NaN|inf|finite) at timestep \d+: a smaller"):
        run.train(config(agent, agent=settings), tmp_path / "run", device="cpu", progress=False)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:100]), "damaged; delete it"),
        (lambda file: file.write_bytes(b""), "damaged; delete it"),
        (lambda file: file.write_text("not a checkpoint"), "more than tensors|damaged"),
    ],
)
def test_damaged_checkpoint_is_named(damage, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Killed):
        _die_after_checkpoints(tmp_path)
    newest = files.checkpoints(tmp_path / "run/checkpoints")[-1]
    damage(newest)
    with pytest.raises(UserError, match=message) as caught:
        train("value", tmp_path / "run", resume=True)
    assert str(newest) in str(caught.value)
    newest.unlink()  # what the message says mends it
    train("value", tmp_path / "run", resume=True)
    assert outcome(tmp_path / "run")


def test_checkpoint_of_another_agent_is_named(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        _die_after_checkpoints(tmp_path)
    newest = files.checkpoints(tmp_path / "run/checkpoints")[-1]
    train("ppo", tmp_path / "ppo")
    newest.write_bytes(files.checkpoints(tmp_path / "ppo/checkpoints")[-1].read_bytes())
    with pytest.raises(UserError, match=r"not a checkpoint of the run that config\.yaml describes"):
        train("value", tmp_path / "run", resume=True)


def test_damaged_summary_is_named(tmp_path: Path) -> None:
    train("value", tmp_path / "run")
    summary = tmp_path / "run/summary.json"
    summary.write_text(summary.read_text()[:30])
    with pytest.raises(UserError, match=r"summary\.json: damaged; delete it"):
        run.is_finished(config("value"), tmp_path / "run")
    summary.unlink()
    train("value", tmp_path / "run", resume=True)
    assert outcome(tmp_path / "run")


def _die_after_checkpoints(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        saved = 0

        def save(folder: Path, step: int, state: dict[str, object]) -> None:
            nonlocal saved
            saved += 1
            if saved > 3:
                raise Killed
            files.save_checkpoint(folder, step, state)

        patch.setattr(run, "save_checkpoint", save)
        train("value", tmp_path / "run")


def test_foreign_pickle_is_refused(tmp_path: Path) -> None:
    import pickle

    file = tmp_path / "foreign.pt"
    ran = tmp_path / "ran"
    file.write_bytes(pickle.dumps(_Malicious(ran)))
    with pytest.raises(UserError, match=r"foreign\.pt"):
        files.load_tensors(file)
    assert not ran.exists()


class _Malicious:
    """A pickle that would create a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.file),)


def test_folder_of_another_run_is_left_alone(tmp_path: Path) -> None:
    train("value", tmp_path / "run")
    before = (tmp_path / "run/metrics.csv").read_bytes()
    with pytest.raises(UserError, match="this folder exists; --resume"):
        train("value", tmp_path / "run")
    with pytest.raises(UserError, match=r"another configuration \(.*seed.* differ\)"):
        run.train(
            config("value", seed=5), tmp_path / "run", resume=True, device="cpu", progress=False
        )
    assert (tmp_path / "run/metrics.csv").read_bytes() == before


def test_a_key_that_is_newer_than_the_folder_has_its_default(tmp_path: Path) -> None:
    """A run that an earlier version began goes on; one that asks for another value does not."""
    folder = tmp_path / "run"
    train("value", folder)
    file, model = folder / "config.yaml", (folder / "model.pt").read_bytes()
    whole = file.read_text()
    older = "".join(line for line in whole.splitlines(True) if "  one_ply:" not in line)
    assert older != whole
    file.write_text(older)
    again = config("value", agent=ARGUMENTS["value"] | {"kind": "value", "one_ply": True})
    with pytest.raises(UserError, match=r"another configuration \(agent\.one_ply differ"):
        run.train(again, folder, resume=True, device="cpu", progress=False)
    assert file.read_text() == older
    run.train(config("value"), folder, resume=True, device="cpu", progress=False)
    assert file.read_text() == whole
    assert (folder / "model.pt").read_bytes() == model


def test_one_ply_acts_one_step_ahead_and_search_starts_from_the_network(tmp_path: Path) -> None:
    """The same weights with and without: the run's score is the other's one-ply score."""
    agent = ARGUMENTS["value"] | {"kind": "value"}
    settings = {"env": STEER, "evaluation": EVALUATION | {"simulations": [0]}}
    finals = []
    for one_ply in (False, True):
        folder = tmp_path / f"{one_ply}"
        made = config("value", **settings, agent=agent | {"one_ply": one_ply})
        run.train(made, folder, resume=False, device="cpu", progress=False)
        finals.append(outcome(folder)[1])
    raw, one_ply = finals
    assert raw["eval/score"] != one_ply["eval/score"]
    assert one_ply["eval/score"] == raw["search/true/score/one_ply"]
    searched = [{k: v for k, v in final.items() if k.startswith("search/")} for final in finals]
    assert searched[0] == searched[1]
