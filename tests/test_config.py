"""Configurations: overrides, and errors that name the key and what would be right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from rl_serial.config import RunConfig, write_yaml
from rl_serial.errors import UserError
from rl_serial.loading import load_config, parse_config
from rl_serial.networks import Network, build_trunk
from rl_serial.subjects import row_of, subject_of
from rl_serial.subjects.chains.subject import ChainSubject

CONFIGS = sorted((Path(__file__).parents[1] / "configs/train").glob("*.yaml"))
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
        ("env.group=z7", r"env\.group: must be one of z5, d5, f20, a5, s5, not 'z7'"),
        ("env.serial_depth=deep", r"env\.serial_depth: must be int, not str"),
        ("env.serial_depth=0", r"env\.serial_depth: must be at least 1, not 0"),
        ("evaluation.instances=none", r"evaluation\.instances: .*integer"),
        ("name=a/b", r"name: .*pattern"),
        ("seed=-1", r"seed: .*greater than or equal to 0"),
        ("name=..", r"name: must be the name of a folder, not '\.\.'"),
        ("name=.", r"name: must be the name of a folder, not '\.'"),
        ("name=" + "é" * 101, r"name: must be 200 bytes long at most, not 'éé"),
        ("env.env=1", r"env\.env: PermutationAutomatonBet has no such option; there are group"),
        ("env.task=Bet", r"env\.task: PermutationAutomatonBet has no such option"),
        ("env.family=Circuit", r"env\.family: PermutationAutomatonBet has no such option"),
        (
            "env.serial_depth=100000000",
            r"env\.serial_depth: must be 1024 at most",
        ),
        ("env.serial_depth=1025", r"env\.serial_depth: must be 1024 at most, not 1025"),
        ("env.think_budget=1025", r"env\.think_budget: must be 1024 at most, not 1025"),
        ("env.think_cost=.inf", r"env\.think_cost: must be 1048576 at most, not inf"),
        ("network.depth=100000", r"network\.depth: must be 1024 at most, not 100000"),
        ("network.loops=1000000000", r"network\.loops: must be 1024 at most"),
        ("network={width: 8, depth: 8, loops: 513}", r"network: depth=8 with .*; loops can be 512"),
        ("network.width=1000000", r"network\.width: must be 32768 at most"),
        (
            "network.width=9223372036854775808",
            r"network\.width: '9.*8' is not a YAML value: .*2\*\*63",
        ),
        (
            "network.budget.parameters=1000000000000",
            r"network\.budget\.parameters: must be 1073741824",
        ),
        ("agent.updates=1000000000001", r"agent\.updates: must be 1000000000000 at most"),
        # 86 numbers of an observation, 5126 at serial depth 1024; 2**31 numbers at once.
        ("agent={kind: search, buffer_size: 25000000}", r"agent\.buffer_size: .*: 24970740 rows"),
        (
            "env={id: rl_serial/PermutationAutomatonBet-v0, serial_depth: 1024}",
            r"evaluation\.per_remaining: 512 times 5249024 numbers .*: 409 rows",
        ),
        ("evaluation.instances=1048577", r"evaluation\.instances: must be 1048576 at most"),
        ("evaluation.simulations=[0, 1000000]", r"evaluation\.simulations: must be 131072 at most"),
        ("agent={kind: search, max_depth: 10000000}", r"agent\.max_depth: must be 1048576 at most"),
        (
            "agent={kind: dqn, arguments: {policy_kwargs: {x: [1, 1000000000001]}}}",
            r"agent\.arguments\.policy_kwargs\.x: must be 1000000000000 at most",
        ),
        ("network.depth=true", r"network\.depth: must be a number, not true"),
        ("agent.learning_rate=true", r"agent\.learning_rate: must be a number, not true"),
        ("agent.learning_rate=.inf", r"agent\.learning_rate: must be finite, not inf"),
        ("agent.learning_rate=.nan", r"agent\.learning_rate: must be .*, not nan"),
        ("seed=2026-13-45", r"seed: must be a valid integer, not '2026-13-45'"),
        ("seed=1.5", r"seed: must be a whole number, not 1\.5"),
        ("seed=!!int abc", r"seed: '!!int abc' is not a YAML value: line 1: the tag"),
        (
            "agent.arguments=" + "[" * 3000,
            r"agent\.arguments: '\[+…\[+ is not a YAML|agent\.argu.*: nested",
        ),
        ("agent=3", r"agent: must be keys with values, not 3"),
        ("agent={updates: 3}", r"agent\.kind: missing"),
        ("network.depht=3", r"network\.depht: unknown key; .*; did you mean depth\?$"),
        ("network.kind=residul", r"not 'residul'; did you mean residual\?$"),
        ("agent.kind=valu", r"not 'valu'; did you mean value\?$"),
        ("env.gruop=z5", r"; did you mean group\?$"),
        (
            "env.id=rl_serial/PermutationAutomatBet-v0",
            r"; did you mean rl_serial/PermutationAutomatonBet-v0\?$",
        ),
        (".".join("a" * 3000) + "=1", r"nested more than 24 deep"),
        ("network={depth: 2}", r"network: give either width or budget"),
        ("network={depth: 2, budget: {}}", r"network\.budget: give either parameters or flops"),
        ("network={kind: conv, width: 8, recall: true}", r"network\.recall: only kind residual"),
        ("network={width: 8, block: simba}", r"network\.block: .*'wang' or 'pre_norm'"),
        ("network=null", r"network: missing; the agent value needs one"),
        ("agent.kind=optimal", r"network: the agent optimal has no network"),
        ("policy_network={width: 8}", r"policy_network: the agent value has no policy"),
        (
            "model_network={width: 8}",
            r"model_network: the agent .* only agent\.kind search with .* learned can",
        ),
        (
            "env={id: rl_serial/CircuitSteer-v0, wires: 4}",
            r"model_network: missing; agent\.dynamics learned needs one",
        ),
        ("agent={kind: search, dynamics: dreamt}", r"agent\.dynamics: .*'true' or 'learned'"),
        ("agent={kind: search, n_step: 3}", r"agent\.n_step: unknown key; there are kind, dyn"),
        ("evaluation.simulations=[-1]", r"evaluation\.simulations\.0: .*greater than or equal"),
        (
            "evaluation.baselines=[rollouts]",
            r"evaluation\.baselines: have the model steps of evalu",
        ),
        ("evaluation.baselines=[mcts]", r"evaluation\.baselines\.0: .*'enumeration' or 'rollouts'"),
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
    assert len(str(caught.value)) <= 1600


@pytest.mark.parametrize(
    "override", ["seed=", "name=", "agent.kind=", "env.id=", "env.group=", "x"]
)
@pytest.mark.parametrize("text", ["y" * 5000, "y " * 2500, "[" + "y, " * 2000])
def test_what_is_long_is_not_repeated(override: str, text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(override + text)
    assert len(str(caught.value)) <= 1600
    assert text[:20] in str(caught.value)


def test_many_wrong_keys_are_counted() -> None:
    with pytest.raises(UserError) as caught:
        parse(data=VALUE | {f"x{i}": i for i in range(50)})
    assert len(str(caught.value).splitlines()) == 20
    assert str(caught.value).endswith("… and 31 more")


def test_numbers_and_truth_values_are_those_of_the_core_schema() -> None:
    config = parse(
        "agent.updates=1e3", "agent.learning_rate=1e-4", "agent.one_ply=true", "seed=010"
    )
    assert (config.agent.updates, config.seed) == (1000, 10)  # type: ignore[union-attr]
    assert config.agent.learning_rate == 0.0001  # type: ignore[union-attr]
    assert config.agent.one_ply is True  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("PointerChaseBet", {"nodes": 1024}),  # 1024 tokens of 1025 numbers
        ("CellularAutomatonBet", {"cells": 150_000}),  # times 7
        ("CircuitBet", {"wires": 64, "serial_depth": 129}),  # times 8192
    ],
)
def test_an_observation_of_millions_of_numbers_is_refused(
    name: str, options: dict[str, int]
) -> None:
    env = {"id": f"rl_serial/{name}-v0", **options}
    with pytest.raises(UserError, match=r"an observation would have \d{7} numbers; 1048576 are"):
        parse(data=VALUE | {"env": env})


def test_what_is_large_is_not_built_to_be_refused() -> None:
    """8 * 32768**2 weights in the layers between, and some: 32 GiB that nobody allocates."""
    big = parse("network={width: 32768, depth: 8}", "agent.batch_size=16")
    with pytest.raises(UserError, match=r"network: depth 8 and width 32768 make \d{10} param.*107"):
        subject_of(big).check(["network"])


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UserError, match=r"pipe\.yaml: not a file"):
        load_config(tmp_path / "pipe.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed: 1\nname: \xff", r"bad\.yaml, line 2: not YAML: not UTF-8"),
        (b"seed: 1\nseed: 2", r"bad\.yaml, line 2: seed: there twice, first in line 1"),
        (b"x" * 2_000_000, r"bad\.yaml: has \d+ characters; 262144 are the most"),
        (b"env: {id: x}\nagent: {<<: &a {kind: value}, y: *b}", r"line 2: agent\.y: \*b names"),
    ],
)
def test_file_line_and_key_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_config(tmp_path / "bad.yaml")


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
    subject = row_of(config.env.id, config.agent.kind, None).name
    if subject == "gymnasium":
        pytest.importorskip("mujoco")
        pytest.importorskip("imageio")
        keys = [] if config.network is None else ["network", "policy_network"]
        subject_of(config).check(["agent", *keys])
        return
    assert config.network is not None
    if subject == "goals":
        pytest.importorskip("gymnasium_robotics")
        subject_of(config).check(["network"])
        return
    if subject in ("puzzles", "games"):
        subject_of(config).check(["agent", "network"])
        return
    task = config.env.task()
    trunk = build_trunk(**ChainSubject(config).trunk("network"))
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
        trunk = build_trunk(**ChainSubject(config).trunk(key))
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


@pytest.mark.parametrize(
    ("env", "lists"),
    [
        ({"id": "rl_serial/PermutationAutomatonBet-v0"}, ["simulations", "loops", "baselines"]),
        ({"id": "rl_serial/Sudoku-v0", "size": 4}, ["simulations", "loops"]),
        ({"id": "rl_serial/Hex-v0", "size": 2}, ["simulations", "loops"]),
    ],
)
def test_what_is_listed_twice_is_examined_once(env: dict[str, Any], lists: list[str]) -> None:
    asked = {"simulations": [4, 2, 4], "loops": [3, 1, 3], "baselines": ["rollouts", "rollouts"]}
    once = {"simulations": [4, 2], "loops": [3, 1], "baselines": ["rollouts"]}
    data = {
        "env": env,
        "network": {"kind": "transformer", "layers": 1, "width": 16},
        "agent": {"kind": "value"},
        "evaluation": {"instances": 16} | {key: asked[key] for key in lists},
    }
    config = parse_config(data, "run.yaml")
    for key in lists:
        assert getattr(config.evaluation, key) == once[key]
    there = row_of(config.env.id, "value", None).places(config)
    places = [(place.metric.pattern, place.tag) for place in there]
    assert len(set(places)) == len(places)
