"""Layers, fixed-horizon targets and their heads as keys of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rl_serial.config import NetworkConfig, load_config, parse_config, write_yaml
from rl_serial.errors import UserError
from rl_serial.networks import build_network, build_trunk
from rl_serial.training.chains import fitted_outputs, trunk_settings

CONFIGS = Path(__file__).parents[2] / "configs" / "train"


def run(env: str = "PointerChase", **agent: Any) -> dict[str, Any]:
    return {
        "env": {"id": f"rl_serial/{env}Bet-v0", "serial_depth": 5},
        "network": {"kind": "transformer", "layers": 2, "width": 8},
        "agent": {"kind": "value", "targets": "fixed_horizon", **agent},
    }


@pytest.mark.parametrize(("kind", "products"), [("transformer", 6), ("stepwise", 2)])
def test_layers_set_the_depth_and_both_are_written(kind: str, products: int) -> None:
    network = NetworkConfig.model_validate({"kind": kind, "layers": 3, "width": 8})
    assert (network.layers, network.depth) == (3, 3 * products)
    assert NetworkConfig.model_validate(network.model_dump()) == network


def test_layers_of_a_file_can_be_overridden_and_come_back(tmp_path: Path) -> None:
    config = parse_config(run(), "run.yaml", ["network.layers=4"])
    assert config.network is not None
    assert config.network.depth == 24
    (tmp_path / "config.yaml").write_text(write_yaml(config), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"kind": "residual", "layers": 2}, "layers: only kinds transformer and stepwise"),
        ({"layers": 2}, "layers: only kinds transformer and stepwise"),
        (
            {"kind": "transformer", "layers": 2, "depth": 6},
            "layers=2 of 6 sequential matrix products are depth 12, not 6: give one of them",
        ),
        ({"kind": "transformer", "layers": 10**6}, "network.layers: must be 512 at most"),
        ({"kind": "transformer", "layers": 0}, "network.layers: must be greater than 0"),
        ({"kind": "transformer", "layers": "3"}, "network.layers: must be a valid integer"),
        (
            {"kind": "transformer", "layers": True},
            "network.layers: must be a valid integer",
        ),
    ],
)
def test_layers_that_cannot_be_are_refused(network: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_config(run() | {"network": network | {"width": 8}}, "run.yaml")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (run(policy="random"), "policy: only targets monte_carlo and td0 have it"),
        (run(targets="td0", readout="layerwise"), "readout: only targets fixed_horizon has it"),
        (run(targets="td0", head="per_token"), "head: only targets fixed_horizon has it"),
        (run(targets="td0", estimator="td0"), "estimator: only targets fixed_horizon has it"),
        (run("Circuit"), "agent.targets: fixed_horizon needs a chain that says which starts"),
        (
            # Five letters and five points: the numbers agree, what they stand for does not.
            run("PermutationAutomaton", head="per_token"),
            "agent.head: per_token needs starts that are tokens",
        ),
    ],
)
def test_targets_that_cannot_be_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_config(data, "run.yaml")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_head_that_the_trunk_cannot_have_is_refused_before_training() -> None:
    data = run(head="per_token") | {"network": {"kind": "residual", "depth": 2, "width": 8}}
    config = parse_config(data, "run.yaml")
    with pytest.raises(UserError, match=r"network: head='per_token': must be pooled"):
        trunk_settings(config, "network", config.env.task())


@pytest.mark.parametrize("name", ["pointer_random_depth_pays", "pointer_shift_depth_pays"])
@pytest.mark.parametrize("layers", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("readout", ["last", "layerwise"])
def test_the_budget_of_the_study_is_met_by_all_its_networks(
    name: str, layers: int, readout: str
) -> None:
    overrides = [f"network.layers={layers}", f"agent.readout={readout}"]
    config = load_config(CONFIGS / f"{name}.yaml", overrides)
    task = config.env.task()
    trunk = build_trunk(**trunk_settings(config, "network", task))
    network = build_network(trunk, fitted_outputs(config.agent, task))  # type: ignore[arg-type]
    parameters = sum(p.numel() for p in network.parameters())
    assert config.network is not None
    assert config.network.budget is not None
    assert parameters == pytest.approx(config.network.budget.parameters, rel=0.02)
