"""Wheel and sdist: what is in them, and that the wheel alone trains a shipped configuration.

`make dist`; minutes, and it downloads what the package needs.
"""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEITHER = (".ci", "results")
"""Folders of the repository that the sdist leaves out."""

LOADED = """
import gymnasium as gym
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import rl_serial

agent = rl_serial.load("runs/mine")
env = gym.make(agent.config.env.id, **agent.config.env.options)
observation, info = env.reset(seed=0)
events = EventAccumulator("runs/mine").Reload()
assert len(events.Scalars("eval/score")) >= 2
action, _ = agent.predict(observation, info["action_mask"])
print(action)
"""
"""A program of a user who has the wheel alone: a trained run, its scalars and an action."""

pytestmark = pytest.mark.dist


def run(*command: object, cwd: Path | None = None) -> str:
    """What a command prints; it must succeed."""
    hidden = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=hidden,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist, and the wheel that is built from it."""
    pytest.importorskip("build")
    there = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", there, ROOT)
    [wheel], [sdist] = there.glob("*.whl"), there.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


def tracked() -> set[str]:
    """The files of the repository."""
    listed = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard")
    return {name for name in listed.splitlines() if (ROOT / name).exists()}


def test_the_sdist_is_the_repository(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {name for name in tracked() if name.partition("/")[0] not in NEITHER}
    assert wanted - names == set()
    assert names - wanted == {"PKG-INFO"}


def test_the_wheel_has_package_and_configurations(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {name for name in tracked() if name.startswith("rl_serial/")}
    configs = {f"rl_serial/{name}" for name in tracked() if name.startswith("configs/")}
    assert names == package | configs


def test_metadata(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as archive:
        [file] = [name for name in archive.namelist() if name.endswith("METADATA")]
        metadata = email.message_from_bytes(archive.read(file))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {url.partition(", ")[0] for url in metadata.get_all("Project-URL")} == set(
        project["urls"]
    )
    assert set(metadata.get_all("Classifier")) == set(project["classifiers"])
    text = metadata.get_payload()
    assert isinstance(text, str)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 20
    assert all(link.startswith(("https://", "#")) for link in links)
    assert "/raw/main/docs/images/demo.png" in text
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {metadata['Version']}\n" in citation


def test_the_wheel_alone_trains(built: dict[str, Path], tmp_path: Path) -> None:
    """In an empty environment and an empty folder: train, load, evaluate, a study's smoke size."""
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    pins = ("--constraint", ROOT / "constraints.txt")
    run(python, "-m", "pip", "install", "--quiet", *pins, f"{built['wheel']}[train]")
    empty = tmp_path / "empty"
    empty.mkdir()
    command = tmp_path / "venv/bin/rl-serial"
    assert "automaton_s5_dqn_deep" in run(command, "configs", cwd=empty)
    short = ("agent.timesteps=4096", "evaluation.instances=64")
    run(command, "train", "automaton_s5_dqn_shallow", *short, "name=mine", cwd=empty)
    assert "mine" in run(python, "-m", "rl_serial", "evaluate", "runs/mine", cwd=empty)
    assert run(python, "-c", LOADED, cwd=empty).split()[-1] in {"0", "1"}
    found = run(command, "study", "run", "serial_horizon", "--smoke", "--quiet", cwd=empty)
    assert "failed" not in found.partition("\n")[0] or "0 failed" in found
    run(command, "configs", "copy", "demo", cwd=empty)
    assert {file.name for file in empty.iterdir()} == {"runs", "demo.yaml", "study.schema.json"}
