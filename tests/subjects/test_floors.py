"""The floor: against figures of other scripts, and against tables and rules made by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.cli import main
from rl_serial.envs import make_task, task_of
from rl_serial.envs.shortcuts import BlindRule, ConstantRule, LinearRule, Sample, serial_reach
from rl_serial.loading import parse_config
from rl_serial.subjects.chains.evaluation import Evaluator, serial_horizon
from rl_serial.subjects.chains.subject import ChainSubject

S5 = "rl_serial/PermutationAutomatonBet-v0"
CONFIG: dict[str, Any] = {
    "name": "run",
    "env": {"id": S5, "serial_depth": 3, "start": "uniform"},
    "network": {"kind": "residual", "depth": 1, "width": 8},
    "agent": {"kind": "value", "updates": 4, "batch_size": 16},
    "evaluation": {"instances": 32, "per_remaining": 32, "every": 2},
}


def test_the_memoriser_of_the_study_of_depth_and_width() -> None:
    """Horizon 5 and reach 6.03 were measured by a script of its own, from the documented rules."""
    task = task_of(S5, serial_depth=15, start="uniform")
    floor = Evaluator(task, instances=64, per_remaining=512).floor(384_000, seed=0)
    memoriser = floor.grades["memoriser"]
    assert memoriser.reach == pytest.approx(6.0, abs=0.3)
    assert serial_horizon(memoriser.accuracy) == 5
    assert floor.kinds[:6] == ("memoriser",) * 6
    assert floor.highest.reach == pytest.approx(memoriser.reach, abs=0.3)


def test_the_memoriser_knows_what_training_had_and_guesses_the_rest() -> None:
    """A dictionary filled state by state from the value trainer's own batches says the same."""
    config = parse_config(CONFIG | {"agent": {"kind": "value", "updates": 8, "batch_size": 16}}, "")
    subject = ChainSubject(config)
    trainer = subject.trainer(_cpu(), lambda *_: None)
    batches = []
    trainer.network.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[0].numpy()))
    trainer.train(lambda: None)
    table = {tuple(row) for batch in batches for row in batch}
    assert sum(map(len, batches)) == trainer.instances == 128
    evaluator = subject.examiner()
    floor = evaluator.floor(trainer.instances, config.seed)
    observations = subject.task.observe(evaluator.states)
    known = np.array([tuple(row) in table for row in observations])
    # PASS (action 0) is right in three of five states, so it is the guess.
    right = known | evaluator.right[:, 0]
    by_remaining = right.reshape(3, -1).mean(axis=1)
    np.testing.assert_allclose(floor.grades["memoriser"].accuracy, by_remaining)
    # Of twenty states with one step remaining most were there, of 320 with three few.
    assert by_remaining[0] > 0.9 > by_remaining[2]


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


def test_without_training_the_memoriser_guesses() -> None:
    task = task_of(S5, serial_depth=3)
    floor = Evaluator(task, instances=64, per_remaining=256).floor(0, seed=0)
    assert floor.grades["memoriser"].reach == 0


def test_luck_does_not_lift_the_floor() -> None:
    """Rule 30 hides its outcome behind a coin: where nothing can be known the floor is 0.

    The mean over seeds of a floor's reach, with five standard errors: a chance-corrected accuracy
    of N states has one of 1 / sqrt(N). The highest on the examined states themselves has 0.5 here.
    """
    task = task_of("rl_serial/CellularAutomatonBet-v0", rule=30, serial_depth=12)
    reaches = []
    for seed in range(8):
        evaluator = Evaluator(task, instances=64, per_remaining=256, seed=seed)
        reaches.append(evaluator.floor(12 * 256, seed).highest.reach)
    assert abs(np.mean(reaches)) < 5 * np.sqrt(12 / 256 / 8)


def sample(numbers: Any, payoff: Any) -> Sample:
    """States of Bet: PASS is worth 0, BET the payoff."""
    payoff = np.asarray(payoff, dtype=np.float32)
    values = np.stack([np.zeros_like(payoff), payoff], axis=1)
    return Sample.of(np.asarray(numbers, np.float32), values, np.ones(values.shape, np.bool_))


def test_rules_by_hand() -> None:
    # Number 1 equals the outcome in 3 of 4 states, number 0 in 2 of 4.
    made = sample([[0, 0], [1, 0], [0, 1], [1, 0]], [-1, -1, 1, 1])
    blind = BlindRule.fit(made)
    assert blind.feature == 1
    choices = blind.choose(made.observations, made.legal)
    np.testing.assert_array_equal(choices, [0, 0, 1, 0])
    # BET once of four, right in half of the states whatever is chosen.
    assert made.grade(choices) == (0.75, 0.5)
    # PASS is right in two of three states without a look.
    assert ConstantRule.fit(sample([[0], [0], [0]], [-1, -1, 1])).action == 0
    # One number in thousandths, three groups of payoffs, of which a threshold could tell two.
    numbers = np.linspace(0, 1, 1001)[:, None]
    payoff = np.where(np.abs(numbers[:, 0] - 0.5) < 0.25, 1, -1)
    made = sample(numbers, payoff)
    blind = BlindRule.fit(made)
    accuracy, _ = made.grade(blind.choose(made.observations, made.legal))
    assert accuracy > 0.99  # eighths of the states are the groups


@pytest.mark.parametrize("states", [40, 2000])
def test_the_linear_rule_finds_a_weighted_sum_and_no_parity(states: int) -> None:
    """With more states than numbers and with fewer; a majority of three of sixty is linear."""
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2, (states + 2000, 60))
    majority = np.where(bits[:, :3].sum(axis=1) > 1, 1.0, -1.0)
    parity = np.where(bits[:, :3].sum(axis=1) % 2, 1.0, -1.0)
    found = []
    for payoff in (majority, parity):
        rule = LinearRule.fit(sample(bits[:states], payoff[:states]))
        rest = sample(bits[states:], payoff[states:])
        found.append(rest.grade(rule.choose(rest.observations, rest.legal))[0])
    assert found[0] > (0.97 if states > 60 else 0.65)
    assert abs(found[1] - 0.5) < 5 * 0.5 / np.sqrt(2000)


def test_ridge_is_the_same_by_way_of_numbers_and_of_states() -> None:
    """Numbers that are always 0 change nothing but the way of solving."""
    generator = np.random.default_rng(1)
    bits = generator.integers(0, 2, (50, 40))
    payoff = generator.choice([-1.0, 1.0], 50)
    short = LinearRule.fit(sample(bits, payoff))
    long = LinearRule.fit(sample(np.concatenate([bits, np.zeros((50, 40))], axis=1), payoff))
    np.testing.assert_allclose(short.weights, long.weights[:40], atol=1e-5)
    # The closed form, from the definition.
    centred = bits - bits.mean(axis=0)
    wanted = (payoff > 0) - (payoff > 0).mean()
    penalty = centred.var(axis=0).sum()
    exact = np.linalg.solve(centred.T @ centred + penalty * np.eye(40), centred.T @ wanted)
    np.testing.assert_allclose(short.weights[:, 1], exact, atol=1e-4)


def test_steer_has_a_floor_where_there_is_a_decision() -> None:
    task = task_of("rl_serial/CellularAutomatonSteer-v0", rule=90, serial_depth=4, decisions=2)
    floor = Evaluator(task, instances=64, per_remaining=64).floor(1000, seed=0)
    assert np.isnan(floor.highest.accuracy[:2]).all()
    assert floor.highest.accuracy[2] > 0
    assert np.isfinite(floor.highest.reach)


def test_real_numbers_are_never_remembered() -> None:
    pytest.importorskip("mujoco")
    task = task_of("rl_serial/ManyBodyBet-v0", serial_depth=2)
    floor = Evaluator(task, instances=32, per_remaining=32).floor(128, seed=0)
    assert floor.grades["memoriser"].reach == 0


def test_a_run_tells_its_floor_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps(CONFIG))
    arguments = ["--runs", str(tmp_path), "--quiet", "--device", "cpu"]
    assert main(["train", str(file), *arguments]) == 0
    final = json.loads((tmp_path / "run/summary.json").read_text())["final"]
    assert f"(floor {final['floor/reach']:.1f})" in capsys.readouterr().out
    above = final["eval/serial_reach"] - final["floor/reach"]
    assert final["eval/serial_reach_above_floor"] == pytest.approx(above)
    assert final["floor/instances"] == 64
    for kind in ("memoriser", "blind", "linear"):
        assert np.isfinite(final[f"floor/{kind}/reach"])
    with (tmp_path / "run/metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["0", "2", "4"]
    assert [row["floor/accuracy/remaining_3"] for row in rows[:2]] == ["", ""]
    assert float(rows[2]["floor/accuracy/remaining_3"]) == final["floor/accuracy/remaining_3"]
    figure = tmp_path / "accuracy.png"
    evaluate = ["evaluate", str(tmp_path / "run"), "--device", "cpu", "--figure", str(figure)]
    assert main(evaluate) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = [cell.strip() for cell in lines[2].split("|")]
    # The finished run's table is that of its own examination.
    assert cells[5] == f"{final['floor/reach']:.1f}"
    assert cells[6].startswith(f"memoriser {final['floor/memoriser/reach']:.1f}, blind ")
    assert figure.stat().st_size > 0


def test_reach_of_a_floor_is_chance_corrected_as_the_agents_is() -> None:
    # (.8 − .5) / .5 + (.7 − .6) / .4 and nothing where there is no decision.
    nan = float("nan")
    reach = serial_reach(np.array([0.8, nan, 0.7]), np.array([0.5, nan, 0.6]))
    assert reach == pytest.approx(0.85)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_memoriser_makes_the_same_instances_on_a_gpu() -> None:
    evaluator = Evaluator(make_task("PermutationAutomaton", "Bet", serial_depth=6), 64, 64)
    here = evaluator.floor(20_000, 3).measurements()
    evaluator.floors.clear()
    assert evaluator.floor(20_000, 3, device=torch.device("cuda")).measurements() == here
