"""The benchmark of continuous control: what is there is not made again, what fails is a row."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_serial.study.table import read_table

FILE = Path(__file__).parents[1] / "benchmarks/control.py"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("bench_control", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_control", module)
    monkeypatch.setattr(sys, "argv", ["control.py", "--seeds", "2"])
    spec.loader.exec_module(module)
    return module


def row(bench: Any, returns: list[float]) -> dict[str, Any]:
    """What a planner's run says."""
    found = {"serial_steps_a_decision": 48, "eval_simulator_steps": 300, "eval_seconds": 4.0}
    return bench.outcome(returns, [50, 50]) | found


def test_a_second_start_makes_what_is_missing(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []

    def planner(run: Any, threads: int) -> dict[str, Any]:
        calls.append(run)
        if run.seed == 1:
            raise RuntimeError("no\nluck")
        if run.amount < 1000:
            raise bench.Lacking("needs 2e+03 steps for 4 samples")
        return row(bench, [-4.0, -8.0])

    monkeypatch.setattr(bench, "run_planner", planner)
    runs = [
        bench.Run("Reacher-v5", method, seed, "steps", amount, 50, 2)
        for amount in (250.0, 2e6)
        for method in ("cem", "mppi")
        for seed in (0, 1)
    ]
    bench.compare(runs[:5], tmp_path, threads=1)
    first = (tmp_path / "results.csv").read_text()
    assert len(calls) == 5
    bench.compare(runs, tmp_path, threads=1)
    assert len(calls) == 8
    assert (tmp_path / "results.csv").read_text().startswith(first)
    bench.compare(runs, tmp_path, threads=1)
    assert len(calls) == 8
    rows = read_table(tmp_path / "results.csv", bench.TEXTS)
    statuses = [found["status"] for found in rows]
    failed = "failed: RuntimeError: no\nluck"
    small = "too small: needs 2e+03 steps for 4 samples"
    assert statuses == [small, failed] * 2 + ["done", failed] * 2
    assert rows[4]["return_mean"] == -6
    assert rows[4]["returns"] == "-4;-8"
    assert rows[4]["return_std"] == pytest.approx(np.sqrt(8), rel=1e-5)
    assert (tmp_path / "command.txt").read_text() == "rl-serial bench control --seeds 2\n"
    # Two of eight are done; costs of one episode: half of what two cost.
    table = capsys.readouterr().out.rsplit("\n\n", 1)[1]
    assert (
        "| -6.0   | -6.0 to -6.0  | 48                      | 150             | 2.0     |" in table
    )
    assert table.count("Reacher") == 2


def test_another_table_is_left_alone(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("task,score\nchain,1\n")
    with pytest.raises(SystemExit, match="other columns than this benchmark writes"):
        bench.compare([], tmp_path, threads=1)
    assert (tmp_path / "results.csv").read_text() == "task,score\nchain,1\n"


@pytest.mark.parametrize("method", ["cem", "mppi"])
def test_a_planned_episode_keeps_its_budget(bench: Any, method: str) -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("imageio")
    task = bench.TASKS["Reacher-v5"]
    iterations = (task.cem if method == "cem" else task.mppi).iterations
    budget = 3 + 6 * 3 * 16 * iterations + 10  # six samples, and not seven
    found = bench.run_planner(
        bench.Run("Reacher-v5", method, 0, "steps", float(budget), 3, 2), threads=1
    )
    assert found["samples"] == 6
    assert found["eval_simulator_steps"] == 2 * (budget - 10)
    assert found["serial_steps_a_decision"] == 16 * iterations
    least = 3 + 4 * 3 * 16 * iterations
    with pytest.raises(bench.Lacking, match=rf"needs {least} steps for 4 samples"):
        bench.run_planner(bench.Run("Reacher-v5", method, 0, "steps", 40.0, 3, 2), threads=1)


def test_the_pendulum_is_gymnasiums(bench: Any) -> None:
    """Next states of Pendulum-v1; its cost is of the state before, ours of the one after."""
    import gymnasium

    env: Any = gymnasium.make("Pendulum-v1").unwrapped
    dynamics, cost = bench.pendulum(np)
    generator = np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(50):
        state, action = np.array(env.state), generator.uniform(-2, 2, 1)
        _, reward, _, _, _ = env.step(action)
        np.testing.assert_allclose(dynamics(state, action), env.state, rtol=1e-12)
        np.testing.assert_allclose(cost(state, action), -reward, rtol=1e-12)
