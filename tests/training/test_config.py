"""Configurations: overrides, and errors that name the key and what would be right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from rl_serial.config import (
    CONTROL_KINDS,
    GOAL_KINDS,
    RunConfig,
    load_config,
    parse_config,
    write_yaml,
)
from rl_serial.errors import UserError
from rl_serial.networks import Network, build_trunk
from rl_serial.training.chains import trunk_settings
from rl_serial.training.run import subject_of

CONFIGS = sorted((Path(__file__).parents[2] / "configs/train").glob("*.yaml"))
ENV = {"id": "rl_serial/PermutationAutomatonBet-v0"}
VALUE = {"env": ENV, "network": {"depth": 2, "width": 8}, "agent": {"kind": "value"}}
DQN = {"env": ENV, "network": {"depth": 2, "width": 8}, "agent": {"kind": "dqn"}}


def parse(*overrides: str, data: dict = VALUE) -> RunConfig:  # type: ignore[type-arg]
    return parse_config(yaml.safe_load(yaml.safe_dump(data)), "file.yaml", list(overrides))


def test_overrides_reach_their_keys() -> None:
    config = parse("network.depth=8", "env.group=z5", "agent.learning_rate=3e-4", "seed=7")
    assert config.network is not None
    assert config.network.depth == 8
    assert config.env.options == {"group": "z5"}
    assert config.agent.learning_rate == 3e-4  # type: ignore[union-attr]
    assert config.seed == 7


def test_true_dynamics_may_be_written_without_quotes() -> None:
    steer = {"id": "rl_serial/PermutationAutomatonSteer-v0"}
    data = VALUE | {"env": steer, "agent": {"kind": "search"}}
    assert parse("agent.dynamics=true", data=data) == parse("agent.dynamics='true'", data=data)


def test_a_new_kind_drops_the_keys_of_the_old_one() -> None:
    agent = parse("agent.updates=5", "agent.kind=dqn").agent
    assert agent.kind == "dqn"
    assert not hasattr(agent, "updates")


def test_another_kind_of_network_keeps_what_all_networks_have() -> None:
    network = parse("network.kind=conv", "network.depth=6").network
    assert network is not None
    assert (network.kind, network.depth, network.width) == ("conv", 6, 8)


def test_budget_takes_the_place_of_width_and_back() -> None:
    config = parse("network.budget.parameters=9000", data=VALUE | {"network": {"depth": 2}})
    assert config.network is not None
    assert config.network.budget is not None
    assert parse("network.budget={parameters: 9000}").network.width is None  # type: ignore[union-attr]


def test_resolved_configuration_round_trips() -> None:
    config = parse("env.serial_depth=4", "agent.targets=td0")
    assert parse_config(yaml.safe_load(write_yaml(config)), "again") == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.depht=3", r"network\.depht: unknown key; there are kind, depth, loops, width"),
        ("netwrok.depth=3", r"netwrok: unknown key; there are name, env, network"),
        ("agent.gama=1", r"agent\.gama: unknown key; there are kind, targets"),
        ("network.depth=eight", r"network\.depth: .*valid integer.*'eight'"),
        ("network.depth=0", r"network\.depth: .*greater than 0, not 0"),
        ("network.kind=mlp", r"network\.kind: .*'residual'.*'recurrent'.*not 'mlp'"),
        ("agent.kind=sarsa", r"agent\.kind: must be 'value', .* or 'mppi', not 'sarsa'$"),
        ("agent.learning_rate=-1", r"agent\.learning_rate: .*greater than 0"),
        ("env.id=rl_serial/Nothing-v0", r"env\.id: rl_serial/Nothing-v0: no such environment"),
        (
            "env.gruop=z5",
            r"env\.gruop: PermutationAutomatonBet has no such option; there are group",
        ),
        ("env.group=z7", r"env\.group='z7': must be one of z5, d5, f20, a5, s5"),
        ("env.serial_depth=deep", r"env\.serial_depth='deep': must be int, not str"),
        ("env.serial_depth=0", r"env\.serial_depth=0: must be at least 1"),
        ("evaluation.instances=none", r"evaluation\.instances: .*integer"),
        ("name=a/b", r"name: .*pattern"),
        ("seed=-1", r"seed: .*greater than or equal to 0"),
        ("network={depth: 2}", r"network: give either width or budget"),
        ("network={depth: 2, budget: {}}", r"network\.budget: give either parameters or flops"),
        ("network={kind: conv, width: 8, recall: true}", r"network: recall: only kind residual"),
        ("network={width: 8, block: simba}", r"network\.block: .*'wang' or 'pre_norm'"),
        ("network=null", r"network: missing; the agent value needs one"),
        ("agent.kind=optimal", r"network: the agent optimal has no network"),
        ("policy_network={width: 8}", r"policy_network: the agent value has no policy"),
        ("model_network={width: 8}", r"model_network: only agent\.kind search with .* learned has"),
        (
            "env={id: rl_serial/CircuitSteer-v0, wires: 4}",
            r"model_network: missing; agent\.dynamics learned needs one",
        ),
        ("agent={kind: search, dynamics: dreamt}", r"agent\.dynamics: .*'true' or 'learned'"),
        ("agent={kind: search, n_step: 3}", r"agent\.n_step: unknown key; there are kind, dyn"),
        ("evaluation.simulations=[-1]", r"evaluation\.simulations\.0: .*greater than or equal"),
        ("depth", r"'depth': an override is key\.path=value"),
        ("seed.x=1", r"seed\.x: seed holds 0"),
        (
            "env={id: rl_serial/CircuitSteer-v0, decisions: 8}",
            r"env\.decisions: exact action values would enumerate 9\*\*8 .*the limit is 65536",
        ),
    ],
)
def test_wrong_key_is_named_in_a_line(override: str, message: str) -> None:
    data = VALUE | {"seed": 0}
    if "wires" in override:
        data = data | {"agent": {"kind": "search", "dynamics": "learned"}}
    with pytest.raises(UserError, match=message) as caught:
        parse(override, data=data)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r"line 1: not YAML"),
        ("- a\n- b", "holds no keys with values"),
        ("", "holds no keys with values"),
        ("\x00", "not YAML"),
    ],
)
def test_what_is_no_configuration_is_said(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_config(file)
    assert str(file) in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: No such file"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_shipped_configuration_loads_and_meets_its_budget(file: Path) -> None:
    config = load_config(file)
    assert config.name == file.stem
    if config.agent.kind in CONTROL_KINDS:
        pytest.importorskip("mujoco")
        pytest.importorskip("imageio")
        subject_of(config).check(["agent"])
        return
    assert config.network is not None
    if config.agent.kind in GOAL_KINDS:
        pytest.importorskip("gymnasium_robotics")
        subject_of(config).check(["network"])
        return
    task = config.env.task()
    trunk = build_trunk(**trunk_settings(config, "network", task))
    network = Network(trunk, len(task.action_names))
    if config.network.budget is not None:
        assert config.network.budget.parameters is not None
        parameters = sum(parameter.numel() for parameter in network.parameters())
        assert parameters == pytest.approx(config.network.budget.parameters, rel=0.02)


@pytest.mark.parametrize("key", ["network", "policy_network"])
def test_every_option_of_a_block_reaches_the_network(key: str) -> None:
    plain = {"kind": "residual", "depth": 8, "width": 8}
    changes: list[dict[str, object]] = [{"block": "pre_norm"}, {"scaled": False}, {"recall": True}]
    outputs = []
    for change in ({}, *changes):
        agent = {"kind": "search"}
        data = VALUE | {"agent": agent, "network": plain, key: plain | change}
        data["env"] = {"id": "rl_serial/PermutationAutomatonSteer-v0", "serial_depth": 4}
        config = parse_config(data, "test")
        task = config.env.task()
        torch.manual_seed(0)
        trunk = build_trunk(**trunk_settings(config, key, task))
        rows = torch.as_tensor(task.observe(task.initial(np.arange(4))))
        outputs.append(trunk(rows))
    assert all(not torch.allclose(outputs[0], other) for other in outputs[1:])


def test_shipped_configurations_pair_settings_and_shapes() -> None:
    """Each serial configuration has its twin, and each deep one its shallow one, alike else."""
    names = {file.stem for file in CONFIGS}
    swaps = (("s5", "z5"), ("_110_", "_170_"), ("layered", "flat"))
    swaps += (("pointer_random", "pointer_shift"), ("deep", "shallow"))
    for name in names - {"automaton_s5_value_recurrent"}:
        for one, other in swaps:
            if one not in name:
                continue
            partner = name.replace(one, other)
            assert partner in names
            pair = [load_config(CONFIGS[0].parent / f"{n}.yaml") for n in (name, partner)]
            assert pair[0].agent == pair[1].agent
            assert pair[0].env.id == pair[1].env.id
            assert pair[0].network.budget == pair[1].network.budget  # type: ignore[union-attr]
