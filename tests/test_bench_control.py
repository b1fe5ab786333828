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
    text = capsys.readouterr().out.rsplit("### ", 1)[1]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    expected = ["-6", "-6 to -6", "48", "150", "2"]
    assert [row[:2] + row[5:] for row in cells if row[:1] == ["2,000,000 steps"]] == [
        ["2,000,000 steps", method, *expected] for method in ("cem", "mppi")
    ]
    assert text.startswith("Reacher-v5, episodes of 50 steps")
    assert text.count("too small: needs") == 2
    assert text.count("failed: RuntimeError") == 4


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
        bench.Run("Reacher-v5", method, 0, "steps", float(budget), 3, 2, 16), threads=1
    )
    assert found["samples"] == 6
    assert found["eval_simulator_steps"] == 2 * (budget - 10)
    assert found["serial_steps_a_decision"] == 16 * iterations
    least = 3 + 4 * 3 * 16 * iterations
    with pytest.raises(bench.Lacking, match=rf"needs {least} steps for 4 samples"):
        bench.run_planner(bench.Run("Reacher-v5", method, 0, "steps", 40.0, 3, 2, 16), threads=1)


def runs_of(bench: Any, method: str, budgets: list[tuple[str, float]]) -> list[Any]:
    horizon = 0 if method in bench.MODEL_FREE else 2
    return [
        bench.Run("Reacher-v5", method, 1, budget, amount, 10, 2, horizon)
        for budget, amount in budgets
    ]


@pytest.mark.parametrize("method", ["sac", "sac-1", "ppo", "cem-value", "cem-learned"])
def test_one_training_serves_all_budgets(bench: Any, tmp_path: Path, method: str) -> None:
    """Steps as they are asked for, one after the other; seconds only of training."""
    pytest.importorskip("mujoco")
    pytest.importorskip("imageio")
    budgets = [("steps", 260.0), ("steps", 230.0), ("seconds", 1e-3)]
    runs = runs_of(bench, method, budgets)
    assert len({run.training for run in runs}) == 1
    bench.compare(runs, tmp_path, threads=1)
    rows = read_table(tmp_path / "results.csv", bench.TEXTS)
    assert len(rows) == 3
    at = {(row["budget"], row["amount"]): row for row in rows}
    few, more = at["steps", 230], at["steps", 260]
    # A vector step of eight environments, or a decision of 32 samples, 2 steps and 3 iterations.
    slack = {"cem-value": 2 * 3 * 32 + 1, "cem-learned": 1, "sac-1": 1}.get(method, 8)
    for row in (few, more):
        assert row["status"] == "done"
        assert 0 <= row["train_simulator_steps"] - row["amount"] < slack
        assert row["eval_env_steps"] == 20
    assert few["train_seconds"] <= more["train_seconds"]
    assert at["seconds", 1e-3]["train_seconds"] >= 1e-3
    if method == "sac":  # 96 steps at random, then an update for every eight
        assert more["train_updates"] == pytest.approx((260 - 96) / 8, abs=1)
    if method == "sac-1":
        assert more["train_updates"] == pytest.approx(260 - 100, abs=1)


@pytest.mark.parametrize("method", ["ppo", "cem-value"])
def test_a_training_ends_at_its_cap(bench: Any, tmp_path: Path, method: str) -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("imageio")
    runs = runs_of(bench, method, [("steps", 100.0), ("steps", 1e9)])
    bench.compare(runs, tmp_path, threads=1, cap=0.5)
    rows = read_table(tmp_path / "results.csv", bench.TEXTS)
    assert rows[0]["status"] == "done"
    assert rows[1]["status"].startswith("not reached: ")


def test_evaluation_takes_other_seeds_for_another_seed(bench: Any) -> None:
    [run] = runs_of(bench, "sac", [("steps", 1.0)])
    assert list(run.seeds) == [2, 3]


def test_settings_of_the_planner(bench: Any) -> None:
    run = bench.Run("Reacher-v5", "cem", 0, "steps", 1.0, 50, 1, 4, "iterations=7 std=0.25")
    planner = bench.planner_of(run)
    assert (planner.iterations, planner.std) == (7, 0.25)
    assert isinstance(planner.iterations, int)
    run = bench.Run("Reacher-v5", "mppi", 0, "steps", 1.0, 50, 1, 4, "elites=7")
    with pytest.raises(ValueError, match="MPPI has no setting 'elites'"):
        bench.planner_of(run)


def test_tables_are_merged_and_drawn(bench: Any, tmp_path: Path) -> None:
    """What two folders made; a row that both have is refused."""
    for number, folder in enumerate(("a", "b")):
        rows = [
            {**dict.fromkeys(bench.HEADER), "task": "Reacher-v5", "method": method, "seed": seed}
            | {"budget": "steps", "amount": 1000 + number, "limit": 50, "episodes": 2}
            | {"horizon": horizon, "planner": "", "train_seconds": 3, "train_simulator_steps": 1000}
            | {"serial_steps_a_decision": 9, "eval_simulator_steps": 2000, "eval_seconds": 4}
            | {"return_mean": -seed - horizon, "status": "done"}
            for method, horizon in (("cem", 8), ("cem", 16), ("cem", 32), ("ppo", 0))
            for seed in (0, 1)
        ]
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "results.csv").write_text(bench.table_text(bench.HEADER, rows))
        (tmp_path / folder / "command.txt").write_text(f"made {folder}\n")
    assert bench.spent(rows[0], "steps") == 1000  # of an episode
    assert bench.spent(rows[0], "seconds") == 2
    assert bench.spent(rows[-1], "seconds") == 3  # of training
    out = tmp_path / "out"
    bench.merge([tmp_path / "b", tmp_path / "a"], out)
    assert len(read_table(out / "results.csv", bench.TEXTS)) == 16
    assert (out / "command.txt").read_text() == "made b\nmade a\n"
    found = sorted(file.name for file in (out / "figures").iterdir())
    assert found == ["over_horizon.png", "over_seconds.png", "over_steps.png"]
    with pytest.raises(SystemExit, match="more than one folder has the row Reacher-v5 cem 0"):
        bench.merge([tmp_path / "a", tmp_path / "a"], out)


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
