"""TensorBoard itself, started on a run folder, shows every tag that is promised."""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from rl_serial.loading import parse_config
from rl_serial.metrics import measured
from rl_serial.runs.monitoring import Monitor
from rl_serial.runs.run import train
from rl_serial.subjects.chains.metrics import RETURN

DEPTH = 3
PROMISED = {
    "eval/return",
    "eval/score",
    "eval/serial_horizon",
    "eval/serial_reach",
    "value/rmse",
    *(f"value/accuracy/remaining_{k}" for k in range(1, DEPTH + 1)),
}
STABLE_BASELINES = {"rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "train/loss"}
SEARCH = {
    "train/policy_loss",
    "train/value_loss",
    "train/model_loss",
    "search/depth",
    "search/root_entropy",
    "search/value_gain",
    "search/simulations_per_second",
    "search/true/score/0",
    "search/learned/score/4",
    "search/learned/score/one_ply",
    "model/exact/step_1",
    "model/wrong_numbers/step_3",
    "model/reward_error/step_3",
}
TOTALS = {"value": 50, "ppo": 512, "search": 510}
TAGS = {"value": {"train/loss"}, "ppo": STABLE_BASELINES, "search": SEARCH}
RUNS: dict[str, dict[str, Any]] = {
    "value": {"kind": "value", "updates": 50, "batch_size": 16},
    "ppo": {
        "kind": "ppo",
        "timesteps": 512,
        "num_envs": 8,
        "arguments": {"n_steps": 8, "batch_size": 32},
    },
    "search": {
        "kind": "search",
        "dynamics": "learned",
        "timesteps": 500,
        "num_envs": 10,
        "simulations": 4,
        "updates": 1,
    },
}


@pytest.fixture(scope="module")
def tensorboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a TensorBoard that serves a value run and a PPO run."""
    folder = tmp_path_factory.mktemp("tensorboard")
    for name, agent in RUNS.items():
        data = {
            "name": name,
            "env": {"id": "rl_serial/PermutationAutomatonBet-v0", "serial_depth": DEPTH},
            "network": {"depth": 2, "width": 8},
            "agent": agent,
            "evaluation": {"instances": 32, "per_remaining": 8},
        }
        if name == "search":
            steer = {"id": "rl_serial/PermutationAutomatonSteer-v0", "decisions": 1}
            data["env"] = steer | {"serial_depth": DEPTH}
            data["model_network"] = {"depth": 1, "width": 8}
            data["evaluation"] |= {"simulations": [0, 4]}
        config = parse_config(data, "test")
        train(config, folder / name, device="cpu", progress=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tensorboard.main",
            "--logdir",
            str(folder),
            "--port",
            str(port),
            "--host",
            "127.0.0.1",
            "--reload_multifile",
            "true",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                if len(get(address, "/data/plugin/scalars/tags")) == len(RUNS):
                    break
            except OSError:
                pass
            assert time.monotonic() < deadline, "TensorBoard did not come up"
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


def get(address: str, path: str) -> Any:
    with urllib.request.urlopen(address + path, timeout=10) as response:
        return json.loads(response.read())


@pytest.mark.parametrize("run", RUNS)
def test_every_promised_scalar_is_there(run: str, tensorboard: str) -> None:
    tags = set(get(tensorboard, "/data/plugin/scalars/tags")[run])
    # Steered once, the chain leaves nothing to decide but at its beginning.
    absent = {f"value/accuracy/remaining_{k}" for k in (1, 2)} if run == "search" else set()
    assert (PROMISED - absent) | TAGS[run] <= tags
    points = get(tensorboard, f"/data/plugin/scalars/scalars?run={run}&tag=eval/score")
    assert len(points) >= 5
    assert points[-1][1] == TOTALS[run]


@pytest.mark.parametrize("run", RUNS)
def test_heat_map_and_animated_episode_are_there(run: str, tensorboard: str) -> None:
    tags = get(tensorboard, "/data/plugin/images/tags")[run]
    assert {"value/accuracy", "episode"} <= set(tags)
    found = get(tensorboard, f"/data/plugin/images/images?run={run}&tag=episode&sample=0")[0]
    url = f"{tensorboard}/data/plugin/images/individualImage?{found['query']}"
    with (
        urllib.request.urlopen(url, timeout=10) as response,
        Image.open(io.BytesIO(response.read())) as image,
    ):
        assert image.format == "GIF"
        assert image.is_animated  # type: ignore[attr-defined]


@pytest.mark.parametrize("run", RUNS)
def test_hyperparameters_and_final_metrics_are_there(run: str, tensorboard: str) -> None:
    request = urllib.request.Request(
        tensorboard + "/data/plugin/hparams/experiment",
        data=json.dumps({"experimentName": ""}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        experiment = json.loads(response.read())
    names = {info["name"] for info in experiment["hparamInfos"]}
    assert {"env.id", "network.depth", "agent.kind", "seed"} <= names
    metrics = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert {"eval/score", "value/rmse", "floor/reach"} <= metrics
    assert not any(tag.startswith("final/") for tag in metrics)


def test_hyperparameters_have_the_last_value_of_each_metric(tensorboard: str) -> None:
    """And no chart of a single point is made for it."""
    asked = {"experimentName": "", "startIndex": 0, "sliceSize": 10, "colParams": []}
    asked["allowedStatuses"] = ["STATUS_SUCCESS", "STATUS_RUNNING", "STATUS_UNKNOWN"]  # type: ignore[assignment]
    request = urllib.request.Request(
        tensorboard + "/data/plugin/hparams/session_groups",
        data=json.dumps(asked).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        groups = json.loads(response.read())["sessionGroups"]
    scalars = get(tensorboard, "/data/plugin/scalars/tags")
    for group in groups:
        [session] = group["sessions"]
        run = session["name"]
        shown = {v["name"]["tag"]: v["value"] for v in session["metricValues"]}
        assert {"eval/score", "eval/serial_reach", "floor/reach"} <= shown.keys()
        for tag in ("eval/score", "floor/reach"):
            points = get(tensorboard, f"/data/plugin/scalars/scalars?run={run}&tag={tag}")
            assert shown[tag] == points[-1][2]
        assert not any(tag.startswith("final/") for tag in scalars[run])
    assert {group["sessions"][0]["name"] for group in groups} == RUNS.keys()


def test_custom_scalars_page_is_there(tensorboard: str) -> None:
    layout = get(tensorboard, "/data/plugin/custom_scalars/layout")
    titles = {chart["title"] for category in layout["category"] for chart in category["chart"]}
    assert "serial horizon and reach" in titles
    pattern = "value/accuracy/remaining_.*"
    assert all(re.match(pattern, f"value/accuracy/remaining_{k}") for k in (1, 16))


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return [(event.step, event.value) for event in read.Scalars(tag)]


def put_before(folder: Path) -> None:
    """Event files are read in the order of their names, which tell seconds apart and no more."""
    for file in folder.glob("events.*"):
        file.rename(file.with_name(file.name.replace("tfevents.", "tfevents.0")))


def test_a_start_killed_before_its_first_checkpoint_leaves_no_point_twice(tmp_path: Path) -> None:
    for _ in range(2):
        put_before(tmp_path)
        monitor = Monitor(tmp_path, {})
        monitor.evaluation(0, [measured(RETURN, 0.25)], {})
        monitor.close()
    assert points(tmp_path, "eval/return") == [(0, 0.25)]


def test_the_evaluation_of_the_checkpoint_is_not_logged_again(tmp_path: Path) -> None:
    """As where a run is killed between its last checkpoint and its end."""
    monitor = Monitor(tmp_path, {})
    monitor.evaluation(0, [measured(RETURN, 0.25)], {})
    monitor.evaluation(10, [measured(RETURN, 0.5)], {})
    monitor.scalar("train/loss", 1.0, 11)  # behind the checkpoint: made again
    monitor.close()
    put_before(tmp_path)
    monitor = Monitor(tmp_path, {}, resumed_at=10)
    monitor.evaluation(10, [measured(RETURN, 0.5)], {})
    monitor.scalar("train/loss", 1.0, 11)
    monitor.close()
    assert points(tmp_path, "eval/return") == [(0, 0.25), (10, 0.5)]
    assert points(tmp_path, "train/loss") == [(11, 1)]


def test_the_bar_has_the_steps_that_are_really_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {
        "name": "bar",
        "env": {"id": "rl_serial/PermutationAutomatonBet-v0", "serial_depth": DEPTH},
        "network": {"depth": 1, "width": 4},
        "agent": RUNS["ppo"] | {"timesteps": 300},
        "evaluation": {"instances": 16, "per_remaining": 4},
    }
    train(parse_config(data, "test"), tmp_path / "bar", device="cpu", progress=True)
    shown = capsys.readouterr().err
    lines = shown.replace("\r", "\n").splitlines()
    # Before training, and in a line of its own: five rollouts of 64.
    said = "agent.timesteps: 300 are no whole number of rollouts; 320 are trained"
    assert said in lines[:4]
    assert any("0/320" in line for line in lines[:4])
    assert "320/320" in shown
    assert json.loads((tmp_path / "bar/summary.json").read_text())["steps"] == 320


def test_the_bar_grows_with_steps_that_nobody_could_foresee(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, {})
    monitor.start_progress("bar", 10, 0)
    assert monitor.progress is not None
    for step, total in ((4, 10), (10, 10), (12, 12)):
        monitor.advance_progress(step)
        assert (monitor.progress.n, monitor.progress.total) == (step, total)
    monitor.close()


def test_final_metrics_stay_whatever_the_event_files_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number that ends the name of an event file goes from 9 to 10, which sorts before 9."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(9))
    monitor = Monitor(tmp_path, {})
    monitor.evaluation(3, [measured(RETURN, 0.5)], {})
    monitor.finish({"seed": 0}, {"eval/return": 0.5, "value/rmse": float("nan")})
    read = EventAccumulator(str(tmp_path)).Reload()
    assert points(tmp_path, "eval/return") == [(3, 0.5)]
    content = read.SummaryMetadata("_hparams_/experiment").plugin_data.content
    assert b"eval/return" in content
    assert b"value/rmse" not in content  # nobody measured it
