"""Layers, fixed-horizon targets and their heads as keys of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rl_serial.agents.fitted import fitted_outputs
from rl_serial.config import write_yaml
from rl_serial.errors import UserError
from rl_serial.loading import load_config, parse_config
from rl_serial.networks import build_network, build_trunk
from rl_serial.networks.config import NetworkConfig
from rl_serial.runs.population import population_key
from rl_serial.runs.run import train
from rl_serial.subjects.chains.subject import ChainSubject

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
        ChainSubject(config).trunk("network")


@pytest.mark.parametrize(
    ("agent", "other", "message"),
    [
        ({"trained_horizons": 6}, {}, "agent.trained_horizons: at most the serial depth 5, not 6"),
        ({"trained_loops": [3, 2]}, {}, "agent.trained_loops: from a number to a larger one"),
        ({"loops_curriculum": 0.5}, {}, "loops_curriculum: goes with trained_loops"),
        ({"trained_loops": [0, 2]}, {}, "agent.trained_loops.0: must be greater than 0"),
        (
            {"trained_loops": [1, 999]},
            {},
            "agent.trained_loops: 999 loops of depth=12: 4096 layers",
        ),
        ({"readout": "by_loop", "trained_loops": [1, 6]}, {}, "by_loop at most 5, one loop for"),
        ({"readout": "layerwise", "losses": "every_loop"}, {}, "losses: with readout layerwise"),
        ({"readout": "layerwise", "trained_loops": [1, 2]}, {}, "trained_loops: with readout lay"),
        ({"readout": "layerwise"}, {"evaluation": {"loops": [2]}}, "evaluation.loops: with agent."),
        ({}, {"evaluation": {"loops": [500]}}, "evaluation.loops: 500 loops of depth=12"),
        ({}, {"evaluation": {"loops": [0]}}, "evaluation.loops.0: must be greater than 0"),
        (
            {"losses": "every_loop"},
            {"network": {"kind": "recurrent", "width": 8}},
            "agent.losses: every_loop reads the stream after each loop, which the trunk recurrent",
        ),
        (
            {},
            {"network": {"kind": "recurrent", "width": 8, "injection": "concat"}},
            "network.injection: only kind residual, transformer, conv, stepwise has it, not recu",
        ),
    ],
)
def test_loops_that_cannot_be_are_refused(
    agent: dict[str, Any], other: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as refused:
        parse_config(run(**agent) | other, "run.yaml")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_updates_with_loops_of_their_own_are_not_made_together() -> None:
    alone = parse_config(run(losses="every_loop", trained_loops=[1, 3]), "run.yaml")
    together = parse_config(run(losses="every_loop"), "run.yaml")
    assert population_key(alone) is None
    assert population_key(together) is not None


def test_other_agents_are_not_examined_at_other_loops() -> None:
    data = run() | {"agent": {"kind": "dqn"}, "evaluation": {"loops": [2]}}
    with pytest.raises(UserError, match=r"evaluation\.loops: only the agent value is examined"):
        parse_config(data, "run.yaml")


def test_a_run_by_loop_is_examined_searched_and_reaches_no_further_than_its_loops(
    tmp_path: Path,
) -> None:
    """With one loop all horizons get the same value; the same weights with five give five."""
    data = run(readout="by_loop", losses="every_loop", head="per_token", trained_loops=[1, 3])
    data["agent"] |= {"updates": 4, "batch_size": 8, "one_ply": True}
    data["evaluation"] = {"instances": 64, "per_remaining": 8, "loops": [1, 3], "simulations": [2]}
    data["network"] |= {"loops": 3, "injection": "concat"}
    config = parse_config({"name": "run"} | data, "run.yaml")
    train(config, tmp_path / "run", device="cpu", progress=False)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    final = summary["final"]
    for name in ("score", "serial_reach", "serial_horizon"):
        assert final[f"loops/3/{name}"] == final[f"eval/{name}"]
    for k in range(1, 6):
        assert final[f"loops/3/accuracy/remaining_{k}"] == final[f"value/accuracy/remaining_{k}"]
        assert f"loops/1/accuracy/remaining_{k}" in final
    assert "search/true/score/2" in final
    # Input layer, three times (join and two layers of six products), head.
    assert summary["accounts"]["value"]["critical_path"] == 1 + 3 * 13 + 1


@pytest.mark.parametrize("name", ["pointer_random_depth_pays", "pointer_shift_depth_pays"])
@pytest.mark.parametrize("layers", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("readout", ["last", "layerwise"])
def test_the_budget_of_the_study_is_met_by_all_its_networks(
    name: str, layers: int, readout: str
) -> None:
    overrides = [f"network.layers={layers}", f"agent.readout={readout}"]
    config = load_config(CONFIGS / f"{name}.yaml", overrides)
    task = config.env.task()
    trunk = build_trunk(**ChainSubject(config).trunk("network"))
    network = build_network(trunk, fitted_outputs(config.agent, task))  # type: ignore[arg-type]
    parameters = sum(p.numel() for p in network.parameters())
    assert config.network is not None
    assert config.network.budget is not None
    assert parameters == pytest.approx(config.network.budget.parameters, rel=0.02)


def test_kind_that_is_no_text_is_refused() -> None:
    with pytest.raises(UserError, match=r"network\.kind"):
        parse_config(
            {
                "env": {"id": "rl_serial/PointerChaseBet-v0"},
                "network": {"kind": ["transformer"], "layers": 2, "width": 8},
                "agent": {"kind": "value"},
            },
            "file.yaml",
        )
