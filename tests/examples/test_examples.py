"""Every example runs as a reader would run it, and reaches what its page says.

To have learned is to be more than half of the way from the floor to the best: from what a rule
without serial computation gets in the same environment, on one number of the observation or on a
weighted sum of all. Those of libraries that need an environment of their own are run by
`make peers`, as is what takes longer than seconds.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_serial.envs.random import fold_in
from rl_serial.envs.registry import plain_id, task_of
from rl_serial.envs.shortcuts import BlindRule, LinearRule, Sample
from rl_serial.envs.tasks import Bet, Task

EXAMPLES = Path(__file__).parents[2] / "examples"
HERE = {
    "sb3_maskable_ppo": (),
    "cleanrl_ppo": ("--updates=20",),
    "own_loop": (),
}
PEERS = {
    "torchrl_ppo": "torchrl",
    "tianshou_dqn": "tianshou",
    "rllib_ppo": "ray.rllib",
    "skrl_ppo": "skrl",
    "rl_zoo3_ppo": "rl_zoo3",
    "minari_dataset": "minari",
}
LONGER = ("own_chain", "planner_taxi", "sb3_trunk_ppo")
STUDY = "own_study"
LEARNED, MOST = 0.5, 1.25  # of the way from the floor to the best, which a sample may exceed
FITTED, PLAYED = 2048, 4096
NOTEBOOK = EXAMPLES / "serial_horizon.ipynb"


def run(name: str, *arguments: str) -> str:
    """What the example prints.

    Away from the checkout, as an example must import nothing but what is installed. Warnings are
    those of other libraries.
    """
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        cwd=EXAMPLES,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    print(name, done.stdout.strip().splitlines()[-1])  # what `make NAME` shows
    return done.stdout


def returns(printed: str) -> tuple[float, float]:
    """The mean return and the best one."""
    found = re.search(r"mean return (-?[\d.]+) \(.*the best: ([\d.]+)", printed)
    assert found, printed
    return float(found[1]), float(found[2])


def constants(name: str) -> dict[str, Any]:
    """What the example sets at its top: ENV and OPTIONS."""
    assigned = [
        node
        for node in ast.parse((EXAMPLES / f"{name}.py").read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    ]
    names = {node.targets[0].id: node.value for node in assigned}  # type: ignore[attr-defined]
    return {name: ast.literal_eval(names[name]) for name in ("ENV", "OPTIONS") if name in names}


def own_task() -> Task[Any]:
    """The rules of own_chain's environment."""
    spec = importlib.util.spec_from_file_location("own_chain", EXAMPLES / "own_chain.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["own_chain"] = module  # where its dataclasses look for their annotations
    spec.loader.exec_module(module)
    return Bet(module.Cubes(), start="uniform")


def floor(task: Task[Any]) -> float:
    """The mean return of the better of two rules that do no serial computation."""
    depth = task.chain.serial_depth
    samples = {}
    for remaining in range(1, depth + 1):
        seeds = fold_in(np.full(FITTED, 7), remaining * FITTED + np.arange(FITTED))
        state = task.at_remaining(seeds, np.full(FITTED, remaining))
        actions, worth = task.examined(state)
        samples[remaining] = Sample.of(task.observe(state), worth, actions)
    reached = []
    for kind in (BlindRule, LinearRule):
        rules = {k: kind.fit(sample) for k, sample in samples.items() if len(sample.right)}
        state = task.initial(fold_in(np.full(PLAYED, 8), np.arange(PLAYED)))
        total, goes_on = np.zeros(PLAYED), np.ones(PLAYED, dtype=bool)
        while goes_on.any():
            seen, legal = task.observe(state), task.legal_actions(state)
            remaining = getattr(state, "chain", state).remaining
            action = np.zeros(PLAYED, dtype=np.int64)
            for k, rule in rules.items():
                rows = remaining == k
                action[rows] = rule.choose(seen[rows], legal[rows])
            moved = task.step(state, action)
            total += np.where(goes_on, moved.reward, 0)
            state, goes_on = moved.state, goes_on & ~moved.terminated
        reached.append(float(total.mean()))
    return max(reached)


def assert_learned(name: str, printed: str) -> None:
    mean, best = returns(printed)
    if name == "planner_taxi":
        lowest = 0.0  # far above a random ride, which costs about 770
    elif name == "own_chain":
        lowest = floor(own_task())
    else:
        told = constants(name)
        lowest = floor(task_of(plain_id(told["ENV"]), **told["OPTIONS"]))
    print(f"{name}: floor {lowest:.2f}")
    assert lowest < LEARNED * best
    assert lowest + LEARNED * (best - lowest) < mean < MOST * best


@pytest.mark.parametrize("name", HERE)
def test_reaches_what_is_said(name: str) -> None:
    assert_learned(name, run(name, *HERE[name]))


@pytest.mark.peers
@pytest.mark.parametrize("name", LONGER)
def test_what_takes_longer_reaches_what_is_said(name: str) -> None:
    assert_learned(name, run(name))


@pytest.mark.peers
@pytest.mark.parametrize("name", PEERS)
def test_another_library_reaches_what_is_said(name: str) -> None:
    if importlib.util.find_spec(PEERS[name].partition(".")[0]) is None:
        pytest.skip(f"{name} needs {PEERS[name]}: make peers")
    assert_learned(name, run(name))


@pytest.mark.peers
def test_own_study_finds_what_it_asks() -> None:
    """The verdicts of five seeds, and a reach that a linear rule is far from."""
    if importlib.util.find_spec("stable_baselines3") is None:
        pytest.skip("own_study needs the extra train")
    printed = run(STUDY)
    reach = re.findall(
        r"^(\w+): serial reach ([\d.]+) of 4 \(a linear rule: (-?[\d.]+)\)", printed, re.M
    )
    found = {table: (float(ours), float(rule)) for table, ours, rule in reach}
    assert found["shift"][0] > 3 > found["random"][0] > found["random"][1] + 0.3
    assert all(rule < 0.5 for _, rule in found.values())
    assert "shift_is_easier: supported" in printed
    assert "shift_is_learned: supported" in printed
    assert Path(printed.strip().splitlines()[-1]).read_text().lstrip().startswith("<!doctype html>")


def test_native_and_gymnasiums_batch_train_alike() -> None:
    """The same instances and masks in the same order: the same training to the last digit."""
    native, sync = (
        returns(run("cleanrl_ppo", "--updates=2", f"--vector={v}")) for v in ("native", "sync")
    )
    assert native == sync


def test_there_is_a_test_of_every_example() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.py")} == {*HERE, *PEERS, *LONGER, STUDY}
    assert list(EXAMPLES.glob("*.ipynb")) == [NOTEBOOK]


def test_every_example_is_short_and_in_the_table() -> None:
    table = (EXAMPLES.parent / "docs/libraries.md").read_text()
    for file in EXAMPLES.iterdir():
        if file.suffix in (".py", ".ipynb"):
            assert f"(../examples/{file.name})" in table, file.name
        if file.suffix == ".py":
            assert len(file.read_text().splitlines()) < 80, file.name


def cells(kind: str) -> list[str]:
    """Of the notebook."""
    data = json.loads(NOTEBOOK.read_text())
    return ["".join(cell["source"]) for cell in data["cells"] if cell["cell_type"] == kind]


def test_the_notebook_opens_with_the_question_and_holds_its_figure() -> None:
    assert cells("markdown")[0].startswith("# ")
    assert "?" in cells("markdown")[0].splitlines()[0]
    outputs = [
        output
        for cell in json.loads(NOTEBOOK.read_text())["cells"]
        for output in cell.get("outputs", [])
    ]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert NOTEBOOK.stat().st_size < 100_000


@pytest.mark.peers
def test_the_notebook_runs_and_shows_the_difference() -> None:
    """As `make notebook` does: every cell in a fresh kernel; the figure, and what it shows."""
    nbclient = pytest.importorskip("nbclient", reason="make notebook")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    printed = "".join(output.get("text", "") for output in outputs)
    print(printed)
    reach = dict(re.findall(r"(\w+): serial reach ([\d.]+)", printed))
    assert float(reach["shift"]) > float(reach["random"]) + 1
