"""What agents learn with the shipped configurations, three seeds each (``make learning``)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binom

from rl_serial.loading import load_config
from rl_serial.metrics import tagged
from rl_serial.runs.monitoring import MetricsFile
from rl_serial.runs.run import train
from rl_serial.runs.searching import search_runs
from rl_serial.study.design import load_study
from rl_serial.study.engines import LocalEngine
from rl_serial.study.findings import judge
from rl_serial.study.folder import StudyFolder, result_of
from rl_serial.study.runner import run_study

pytestmark = pytest.mark.learning
CONFIGS = Path(__file__).parents[1] / "configs/train"
SEEDS = [0, 1, 2]


def outcome(name: str, folder: Path, seed: int, *overrides: str) -> Any:
    config = load_config(CONFIGS / f"{name}.yaml", [f"seed={seed}", *overrides])
    return train(config, folder / name, device="cpu", progress=False)


def test_hypotheses_of_the_demo_are_supported(tmp_path: Path) -> None:
    study = load_study(CONFIGS.parent / "study/demo.yaml")
    rows = run_study(study, StudyFolder(tmp_path / "demo"), LocalEngine(2), progress=False)
    findings = judge(study, [result_of(row) for row in rows])
    verdicts = {f.hypothesis.id: f.verdict for f in findings}
    assert verdicts["depth"] == verdicts["search"] == "supported"
    reaches: dict[tuple[Any, Any], list[float]] = {}
    for row in map(result_of, rows):
        reaches.setdefault((row["table"], row["network"]), []).append(row["eval/serial_reach"])
    assert max(reaches["random", "1 layer, wide"]) < 3
    assert min(reaches["random", "8 layers, narrow"]) > 4
    assert min(min(reaches["shift (twin)", name]) for _, name in reaches) > 7.5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("agent", ["dqn", "ppo"])
@pytest.mark.parametrize("network", ["deep", "shallow"])
def test_control_learns_four_steps(agent: str, network: str, seed: int, tmp_path: Path) -> None:
    assert outcome(f"automaton_s5_{agent}_{network}", tmp_path, seed).score >= 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_recurrent_trunk_is_a_positive_control(seed: int, tmp_path: Path) -> None:
    assert outcome("automaton_s5_value_recurrent", tmp_path, seed).serial_horizon >= 15


@pytest.mark.parametrize("seed", SEEDS)
def test_search_adds_to_the_weights(seed: int, tmp_path: Path) -> None:
    """From the same weights: the raw network, then more and more simulations."""
    name = "automaton_s5_search"
    outcome(name, tmp_path, seed, "agent.timesteps=50000", "evaluation.simulations=[]")
    scores = search_runs([tmp_path / name], [0, 16, 128], device="cpu")[name]
    raw, few, many = (found.score for found in scores if found.simulations != "one-ply")
    assert few > raw + 0.2
    assert many > few + 0.1


# The best that an agent can do which sees the start but not the goal: to end in one of the six
# cells of the U-shaped maze that are not its own (0.45 m covers all goals of a cell), or at a place
# in the square of 1.8 m that holds the goals of Reach, of which a circle of 0.1 m is right.
MAZE, REACH = 1 / 6, math.pi * 0.1**2 / 1.8**2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "blind", "success"),
    [
        ("reach_contrastive", REACH, 0.9),
        ("point_maze_contrastive", MAZE, 0.8),
        ("reach_sac_her", REACH, 0.9),
    ],
)
def test_agent_reaches_its_goals(
    name: str, blind: float, success: float, seed: int, tmp_path: Path
) -> None:
    """At the goal when the episode ends; untrained no more often than without seeing the goal.

    A straight line is there in 79 % of the U-shaped maze (`rl-serial bench goals`).
    """
    pytest.importorskip("gymnasium_robotics")
    config = load_config(CONFIGS / f"{name}.yaml", [f"seed={seed}"])
    found = tagged(train(config, tmp_path / name, device="cpu", progress=False).measurements())
    first = MetricsFile(tmp_path / name / "metrics.csv").rows[0]
    instances = config.evaluation.instances
    hits = round(float(first["eval/success"]) * instances)
    assert hits <= binom.ppf(0.999, instances, blind)
    assert found["eval/success"] >= success
