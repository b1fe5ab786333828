"""What agents learn with the shipped configurations, three seeds each (``make learning``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from rl_serial.config import load_config
from rl_serial.training.evaluation import Evaluation
from rl_serial.training.reporting import search_runs
from rl_serial.training.run import train

pytestmark = pytest.mark.learning
CONFIGS = Path(__file__).parents[1] / "configs/train"
SEEDS = [0, 1, 2]


def outcome(name: str, folder: Path, seed: int) -> Evaluation:
    config = load_config(CONFIGS / f"{name}.yaml", [f"seed={seed}"])
    return train(config, folder / name, device="cpu", progress=False)


@pytest.mark.parametrize("seed", SEEDS)
def test_demo_separates_s5_from_its_twin(seed: int, tmp_path: Path) -> None:
    serial = outcome("demo_s5", tmp_path, seed).serial_horizon
    twin = outcome("demo_z5", tmp_path, seed).serial_horizon
    assert serial >= 4
    assert twin >= 2 * serial


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("agent", ["dqn", "ppo"])
@pytest.mark.parametrize("network", ["deep", "shallow"])
def test_control_learns_four_steps(agent: str, network: str, seed: int, tmp_path: Path) -> None:
    assert outcome(f"automaton_s5_{agent}_{network}", tmp_path, seed).score >= 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_recurrent_trunk_is_a_positive_control(seed: int, tmp_path: Path) -> None:
    assert outcome("automaton_s5_value_recurrent", tmp_path, seed).serial_horizon >= 15


@pytest.mark.parametrize("seed", SEEDS)
def test_search_adds_to_the_weights_of_the_demo(seed: int, tmp_path: Path) -> None:
    """From the same weights: the raw network, then more and more simulations."""
    outcome("demo_search", tmp_path, seed)
    scores = search_runs([tmp_path / "demo_search"], [0, 16, 128], device="cpu")["demo_search"]
    raw, few, many = (found.score for found in scores if found.simulations != "one-ply")
    assert few > raw + 0.2
    assert many > few + 0.1
