"""The design: rows and ids, and errors that name the key before anything runs."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings, strategies

from rl_serial import config, loading
from rl_serial.cli import main
from rl_serial.config import RunConfig
from rl_serial.errors import UserError
from rl_serial.loading import parse_config, resolved_config
from rl_serial.networks import Network, account, build_trunk
from rl_serial.runs.run import train
from rl_serial.study import design
from rl_serial.study.design import content_id, load_study, plan, write_study
from rl_serial.study.measures import by_level, final_metrics, measures_of
from rl_serial.study.runner import check_networks
from rl_serial.study.schema import Study
from rl_serial.subjects.chains.subject import ChainSubject

Data = dict[str, Any]
SHORT = {"n_steps": 16, "batch_size": 16, "n_epochs": 1}  # of PPO
CONFIGS = sorted((Path(__file__).parents[2] / "configs/study").glob("*.yaml"))


def planned(data: Data, **keys: Any) -> Study:
    return plan(data, "file.yaml", "study", **keys)


def test_rows_are_the_product_of_axes_and_seeds(tiny: Data) -> None:
    study = planned(tiny)
    assert [tuple(run.columns.values()) for run in study.runs] == [
        (depth, setting, seed) for seed in (0, 1) for depth in (1, 2) for setting in ("s5", "z5")
    ]
    assert study.columns == ("network.depth", "setting")
    run = study.runs[-1].config
    assert (run["network"]["depth"], run["env"]["group"], run["seed"]) == (2, "z5", 1)
    assert run["agent"]["weight_decay"] == 0  # resolved: what the file leaves out is there


def test_each_row_is_a_run(tiny: Data) -> None:
    for run in planned(tiny).runs:
        read = parse_config(json.loads(json.dumps(run.config)), "row")
        assert read.name == run.id
        assert read.model_dump(mode="json") == run.config


def test_ids_depend_on_the_run_alone(tiny: Data) -> None:
    ids = {run.id for run in planned(tiny).runs}
    assert len(ids) == 8
    # Another order, the labels of another study, a default that is written out: the same runs.
    other = tiny | {
        "question": "Another?",
        "hypotheses": [],
        "grid": {
            "twin": [
                {"label": "serial", "env.group": "s5"},
                {"label": "parallel", "env.group": "z5"},
            ],
            "network.depth": [2, 1],
            "agent.targets": ["monte_carlo"],
        },
        "seeds": [1, 0],
    }
    assert {run.id for run in planned(other).runs} == ids
    # More seeds keep the rows there are.
    assert ids < {run.id for run in planned(tiny | {"seeds": 3}).runs}
    # Each number of a run is part of its id.
    changed = tiny | {"base": tiny["base"] | {"agent": {"kind": "value", "updates": 101}}}
    assert not ids & {run.id for run in planned(changed).runs}


def test_an_option_that_is_added_later_leaves_ids_alone(
    tiny: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [run.id for run in planned(tiny).runs]

    class Later(RunConfig):
        novelty: int = 3

    for module in (config, design, loading):
        monkeypatch.setattr(module, "RunConfig", Later)
    assert planned(tiny).runs[0].config["novelty"] == 3
    assert [run.id for run in planned(tiny).runs] == before


def test_the_id_is_that_of_earlier_versions() -> None:
    """A change of the hash would make finished studies look missing."""
    run: Data = {"name": "any", "env": {"id": "x"}, "seed": 3}
    # sha256 of {"env":{"id":"x"},"name":null,"seed":3}
    assert content_id(run) == "68abd19a3332"


@pytest.mark.parametrize(
    ("given", "levels"),
    [
        ([4, 2], [4, 2]),
        ({"start": 2, "stop": 16, "factor": 2}, [2, 4, 8, 16]),
        ({"start": 2, "stop": 15, "factor": 2}, [2, 4, 8]),
        ({"start": 1, "stop": 7, "step": 3}, [1, 4, 7]),
        ({"start": 5, "stop": 5, "step": 3}, [5]),
    ],
)
def test_ranges(given: Any, levels: list[int], tiny: Data) -> None:
    study = planned(tiny | {"grid": {"network.depth": given}, "hypotheses": []})
    assert study.levels("network.depth") == levels


def test_range_of_fractions(tiny: Data) -> None:
    rates = {"start": 0.001, "stop": 0.1, "factor": 10}
    study = planned(tiny | {"grid": {"agent.learning_rate": rates}, "hypotheses": []})
    assert study.levels("agent.learning_rate") == pytest.approx([0.001, 0.01, 0.1])


def test_a_label_may_be_several_columns(tiny: Data) -> None:
    chains = [
        {"label": {"family": "automaton", "role": role}, "env.group": group}
        for role, group in (("serial", "s5"), ("twin", "z5"))
    ]
    study = planned(tiny | {"grid": {"chain": chains}, "hypotheses": []})
    assert study.columns == ("family", "role")
    assert study.levels("role") == ["serial", "twin"]


def test_seeds_take_levels_in_turn(tiny: Data) -> None:
    tiny["seeds"] = [4, 7, 9]
    tiny["by_seed"] = {"env.draw": [0, 3], "evaluation.seed": [5]}
    study = planned(tiny)
    draws = {4: 0, 7: 3, 9: 0}
    assert len(study.runs) == 12
    for run in study.runs:
        draw = draws[int(run.columns["seed"])]
        assert run.config["env"].get("draw", 0) == draw
        assert run.recorded == {"env.draw": draw, "evaluation.seed": 5}
        assert "env.draw" not in run.columns
    # The runs are those of a study that sets the keys itself.
    del tiny["by_seed"]
    tiny["base"]["env"] |= {"draw": 3}
    tiny["base"]["evaluation"] |= {"seed": 5}
    by_hand = {run.id for run in planned(tiny).runs if run.columns["seed"] == 7}
    assert by_hand == {run.id for run in study.runs if run.columns["seed"] == 7}


def test_smoke_changes_base_grid_and_seeds(tiny: Data) -> None:
    study = planned(tiny, smoke=True)
    assert [run.columns for run in study.runs] == [
        {"network.depth": 1, "setting": setting, "seed": 0} for setting in ("s5", "z5")
    ]
    assert {run.config["agent"]["updates"] for run in study.runs} == {20}
    with pytest.raises(UserError, match=r"file\.yaml: smoke: missing"):
        planned({key: tiny[key] for key in tiny if key != "smoke"}, smoke=True)


def test_written_study_plans_the_same_rows(tiny: Data, study_file: Callable[[Data], Path]) -> None:
    study = planned(tiny)
    file = study_file(tiny)
    file.write_text(write_study(study.config))
    assert load_study(file).runs == study.runs


def test_base_may_be_the_file_of_a_run(tiny: Data, study_file: Callable[[Data], Path]) -> None:
    file = study_file(tiny | {"base": "run.yaml"})
    with pytest.raises(UserError, match=r"tiny\.yaml: base: .*run\.yaml: No such file"):
        load_study(file)
    (file.parent / "run.yaml").write_text(json.dumps(tiny["base"]))
    assert load_study(file).runs == planned(tiny).runs


def axis(**levels: Any) -> Data:
    return {"hypotheses": [], "grid": levels}


def with_test(**test: Any) -> Data:
    return {"hypotheses": [{"id": "h", "statement": "s", "test": test | {"expect": {"above": 0}}}]}


ENV = {"id": "rl_serial/PermutationAutomatonBet-v0"}
BAD_STUDIES: dict[str, tuple[Data, str]] = {
    "ratio to no column": (
        with_test(slope="network.depth", per={"slope": "network.dept"}),
        r"hypotheses\.0\.test\.per\.slope: no column of the grid",
    ),
    "ratio to a level that is not there": (
        with_test(slope="network.depth", per={"slope": "network.depth", "where": {"group": "q"}}),
        r"hypotheses\.0\.test\.per\.where\.group: group is never 'q'|per\.where\.group: no column",
    ),
    "ratio without a slope": (
        with_test(per={"slope": "network.depth"}),
        r"hypotheses\.0\.test: per: divides a slope",
    ),
    "unknown key of a ratio": (
        with_test(slope="network.depth", per={"slop": "network.depth"}),
        r"hypotheses\.0\.test\.per\.slop: unknown key; there are slope, scale, where",
    ),
    "unknown key of a study": ({"seed": 1}, r"seed: unknown key; there are question, hypoth"),
    "unknown key of a run": (
        axis(**{"network.depht": [1]}),
        r"grid\.network\.depht: unknown key; there are kind, depth",
    ),
    "unknown part of a run": (axis(**{"netwrok.depth": [1]}), r"grid\.netwrok\.depth: no key of"),
    "unknown key in a pair": (
        axis(pair=[{"label": "a", "env.gruop": "s5"}]),
        r"grid\.pair: env\.gruop: PermutationAutomatonBet has no such option",
    ),
    "value out of range": (
        axis(pair=[{"label": "a", "env.group": "s7"}]),
        r"grid\.pair: env\.group: must be one of",
    ),
    "wrong type": (axis(**{"network.depth": ["deep"]}), r"grid\.network\.depth: .*integer"),
    "unknown key of the base": (
        {"base": {"env": ENV, "network": {"width": 8}, "agent": {"kind": "value"}, "agnet": 1}},
        r"base\.agnet: unknown key",
    ),
    "empty grid": (axis(), r"grid: empty"),
    "empty axis": (axis(**{"network.depth": []}), r"grid\.network\.depth: empty"),
    "empty range": (
        axis(**{"network.depth": {"start": 2, "stop": 1, "step": 1}}),
        r"grid\.network\.depth: empty",
    ),
    "half a range": (
        axis(**{"network.depth": {"start": 2, "stop": 4}}),
        r"grid\.network\.depth: a range has start, stop and either",
    ),
    "range that does not grow": (
        axis(**{"network.depth": {"start": 2, "stop": 4, "factor": 1}}),
        r"grid\.network\.depth\.factor: must be greater than 1",
    ),
    "seeds as an axis": (axis(seed=[1, 2]), r"grid\.seed: no axis of a grid; the key seeds"),
    "pair without label": (axis(pair=[{"env.group": "s5"}]), r"grid\.pair\.0\.label: missing"),
    "pairs that clash": (
        axis(**{"env.group": ["a5"], "pair": [{"label": "a", "env.group": "s5"}]}),
        r"grid\.pair: env\.group: clashes with grid\.env\.group",
    ),
    "whole behind its part": (
        axis(**{"network.depth": [1], "network": [{"depth": 2, "width": 8}]}),
        r"grid\.network: clashes with grid\.network\.depth",
    ),
    "columns that clash": (
        axis(
            a=[{"label": {"x": 1}, "env.group": "s5"}],
            b=[{"label": {"x": 1}, "env.serial_depth": 2}],
        ),
        r"grid\.b: clashes with grid\.a, which has the column x",
    ),
    "levels with other columns": (
        axis(a=[{"label": {"x": 1}, "env.group": "s5"}, {"label": "y", "env.group": "z5"}]),
        r"grid\.a\.1\.label: has the columns a, but the first",
    ),
    "level twice": (
        axis(**{"network.depth": [1, 1]}),
        r"grid\.network\.depth\.1: .* is there twice",
    ),
    "run twice": (
        axis(pair=[{"label": "a", "env.group": "s5"}, {"label": "b", "env.group": "s5"}]),
        r"grid: two rows are the same run: pair=a.* and pair=b",
    ),
    "no seeds": ({"seeds": 0}, r"seeds: at least one, not 0"),
    "seed twice": ({"seeds": [1, 1]}, r"seeds: the same seed twice"),
    "metric never logged": ({"metric": "eval/horizon"}, r"metric: 'eval/horizon' is never logged"),
    "collisions where there are none": (
        {"metric": "value/collision_horizon"},
        r"metric: 'value/collision_horizon' is never logged; there are eval/return, eval/score",
    ),
    "accuracy behind the end": (
        {"metric": "value/accuracy/remaining_4"},
        r"metric: 'value/accuracy/remaining_4' is never logged; there are .*did you mean",
    ),
    "values that an agent has not": (
        {"metric": "value/rmse"}
        | axis(agent=[{"kind": "random"}], **{"evaluation.seed": [1, 2]})
        | {"base": {"env": {"id": "rl_serial/CircuitBet-v0"}}},
        r"metric: 'value/rmse' is never logged; there are eval/return, eval/score",
    ),
    "hypothesis on another metric": (
        with_test(metric="eval/score"),
        r"hypotheses\.0\.test\.metric: 'eval/score' is none of the study's",
    ),
    "hypothesis on no column": (
        with_test(slope="depth"),
        r"hypotheses\.0\.test\.slope: no column of the grid; there are network\.depth, setting",
    ),
    "slope over words": (
        with_test(slope="setting"),
        r"hypotheses\.0\.test\.slope: setting holds no numbers",
    ),
    "level that no row has": (
        with_test(where={"setting": "a5"}),
        r"hypotheses\.0\.test\.where\.setting: setting is never 'a5'; it is s5, z5",
    ),
    "difference of two columns": (
        with_test(difference={"setting": ["s5", "z5"], "network.depth": [1, 2]}),
        r"hypotheses\.0\.test\.difference: give one column",
    ),
    "no number between": (
        {"hypotheses": [{"id": "h", "statement": "s", "test": {"expect": {"between": [1, 1]}}}]},
        r"hypotheses\.0\.test\.expect: between: from a lower number to a higher one, not \[1\.0, 1",
    ),
    "two expectations": (
        {
            "hypotheses": [
                {"id": "h", "statement": "s", "test": {"expect": {"above": 1, "below": 2}}}
            ]
        },
        r"hypotheses\.0\.test\.expect: give above, below or between, and one of them",
    ),
    "no number": (
        {
            "hypotheses": [
                {"id": "h", "statement": "s", "test": {"expect": {"above": float("nan")}}}
            ]
        },
        r"hypotheses\.0\.test\.expect\.above: .*finite",
    ),
    "no expectation": (
        {"hypotheses": [{"id": "h", "statement": "s", "test": {}}]},
        r"hypotheses\.0\.test\.expect: missing",
    ),
    "figure over no column": ({"figures": [{"x": "width"}]}, r"figures\.0\.x: no column"),
    "tuned over no column": ({"tuned": "lr"}, r"tuned\.0: no column of the grid"),
    "by_seed of no key": ({"by_seed": {"draw": [1]}}, r"by_seed\.draw: no key of a run"),
    "by_seed of an axis": (
        {"by_seed": {"network.depth": [1]}},
        r"by_seed\.network\.depth: clashes with grid\.network\.depth",
    ),
    "by_seed without levels": (
        {"by_seed": {"env.draw": []}},
        r"by_seed\.env\.draw: must be a list of 1 or more",
    ),
    "by_seed out of range": (
        {"by_seed": {"env.draw": [-1]}},
        r"by_seed\.env\.draw: must be .*not -1",
    ),
    "smoke of no axis": (
        {"smoke": {"grid": {"network.width": [1]}}},
        r"smoke\.grid\.network\.width: no axis of the grid",
    ),
}


@pytest.mark.parametrize("case", BAD_STUDIES)
def test_bad_study_is_refused_by_path(
    case: str, tiny: Data, study_file: Callable[[Data], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    changes, message = BAD_STUDIES[case]
    file = study_file(tiny | changes)
    out = file.parent / "out"
    smoke = ["--smoke"] if "smoke" in case else []
    with pytest.raises(UserError, match=rf"tiny\.yaml: {message}|tiny\.yaml: .*{message}") as error:
        load_study(file, bool(smoke))
    assert len(str(error.value).splitlines()) <= 2
    # File and key are the error's own, not only words of its text.
    assert error.value.source == str(file)
    keys = [fault.key for fault in error.value.faults]
    assert all(keys)
    assert any(message.replace("\\", "").startswith(f"{key}: ") for key in keys)
    assert main(["study", "run", str(file), "--out", str(out), *smoke]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            axis(**{"network.budget": [{"parameters": 9000}, {"parameters": 7}]}),
            r"grid\.network\.budget: parameters=7 .* no width meets it.*\n\(in the run",
        ),
        (
            axis(network=[{"kind": "transformer", "depth": 5, "width": 8}]),
            r"grid\.network: depth=5: a layer of the transformer is 6",
        ),
        (
            axis(agent=[{"kind": "dqn", "timesteps": 64}], **{"agent.arguments": [{"gama": 1}]}),
            r"grid\.agent\.arguments\.gama: DQN has no such argument",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_runs(
    changes: Data,
    message: str,
    tiny: Data,
    study_file: Callable[[Data], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = study_file(tiny | changes)
    with pytest.raises(UserError, match=message):
        check_networks(load_study(file), "tiny.yaml")
    out = file.parent / "out"
    assert main(["study", "run", str(file), "--out", str(out), "--quiet"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not out.exists()


# Levels of an axis that can be planned, and levels that cannot.
MIXED: dict[str, tuple[Data, str, list[Any], list[Any]]] = {
    "search without simulations": (
        {"agent": {"kind": "search", "value_target": "root"}},
        "agent.simulations",
        [8, 2, 4],
        [0],
    ),
    "processes for some environments": (
        {
            "env": {"id": "rl_serial/Reach-v0"},
            "network": {"depth": 2, "width": 8},
            "agent": {"kind": "sac", "timesteps": 64, "processes": 2},
        },
        "agent.num_envs",
        [2],
        [3, 4],
    ),
    "more decisions than can be enumerated": (
        {"env": {"id": "rl_serial/PermutationAutomatonSteer-v0", "serial_depth": 40}},
        "env.decisions",
        [1, 2],
        [30, 40],
    ),
    "nothing learned": (
        {
            "env": {"id": "rl_serial/Reach-v0"},
            "network": {"depth": 2, "width": 8},
            "agent": {"kind": "contrastive", "timesteps": 1000, "num_envs": 2, "unroll": 10},
        },
        "agent.prefill",
        [10, 100],
        [2000],
    ),
    "searches for the random agent": (
        {"network": None, "agent": {"kind": "random"}},
        "evaluation.simulations",
        [[]],
        [[8], [0]],
    ),
}


@pytest.mark.parametrize("case", MIXED)
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # which no example changes
)
@given(data=strategies.data())
def test_every_cell_is_checked_in_any_order(
    case: str, tiny: Data, data: strategies.DataObject
) -> None:
    """A study is refused where one of its levels alone is, wherever that stands in the grid."""
    base, axis_, right, wrong = MIXED[case]
    levels = data.draw(strategies.permutations(right + wrong))
    levels = levels[: data.draw(strategies.integers(1, len(levels)))]
    other = data.draw(strategies.permutations([1, 2]))
    grid = {axis_: levels, "evaluation.seed": other}
    goals = base.get("env", {}).get("id") == "rl_serial/Reach-v0"
    study = tiny | {
        "base": tiny["base"] | {"evaluation": {"instances": 32, "every": 50}} | base,
        "grid": grid if data.draw(strategies.booleans()) else dict(reversed(grid.items())),
        "hypotheses": [],
        "metric": "eval/success" if goals else "eval/score",
    }
    if any(level in wrong for level in levels):
        with pytest.raises(UserError, match=r"file\.yaml: .*\n\(in the run with "):
            planned(study)
    else:
        assert len(planned(study).runs) == 4 * len(levels)


@pytest.mark.parametrize("instances", [[8, 2], [2, 8]])
def test_evaluation_of_every_cell_is_checked(instances: list[int], tiny: Data) -> None:
    base = {
        "env": {"id": "rl_serial/Reach-v0"},
        "network": {"depth": 2, "width": 8},
        "agent": {"kind": "sac", "timesteps": 64},
    }
    changes = axis(**{"evaluation.instances": instances})
    study = planned(tiny | changes | {"base": base, "metric": "eval/success"})
    with pytest.raises(UserError, match=r"grid\.evaluation\.instances: at least 4, .*not 2"):
        check_networks(study, "file.yaml")


KINDS: dict[str, Data] = {
    "random": {"agent": {"kind": "random"}, "network": None},
    "optimal": {"agent": {"kind": "optimal"}, "network": None},
    "value": {"agent": {"kind": "value", "updates": 2, "batch_size": 8}},
    "value, one ply": {"agent": {"kind": "value", "updates": 2, "batch_size": 8, "one_ply": True}},
    "dqn": {"agent": {"kind": "dqn", "timesteps": 32, "num_envs": 2}},
    "qrdqn": {"agent": {"kind": "qrdqn", "timesteps": 32, "num_envs": 2}},
    "ppo": {"agent": {"kind": "ppo", "timesteps": 32, "num_envs": 2, "arguments": SHORT}},
    "maskable_ppo": {
        "agent": {"kind": "maskable_ppo", "timesteps": 32, "num_envs": 2, "arguments": SHORT}
    },
    "search": {"agent": {"kind": "search", "timesteps": 8, "num_envs": 2, "updates": 1,
                         "simulations": 2, "batch_size": 4}},
    "search, learned": {
        "agent": {"kind": "search", "timesteps": 8, "num_envs": 2, "updates": 1, "simulations": 2,
                  "batch_size": 4, "dynamics": "learned"},
        "model_network": {"depth": 1, "width": 8},
    },
}  # fmt: skip


@pytest.mark.parametrize("env", ["PermutationAutomatonBet", "CellularAutomatonSteer"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_metric_that_a_study_accepts_is_logged(kind: str, env: str, tmp_path: Path) -> None:
    steer = {"decisions": 2} if env.endswith("Steer") else {}
    simulations = [] if kind == "random" else [0, 2]
    base = {
        "env": {"id": f"rl_serial/{env}-v0", "serial_depth": 3} | steer,
        "network": {"depth": 1, "width": 8},
        "evaluation": {
            "instances": 64,
            "per_remaining": 16,
            "simulations": simulations,
            "baselines": ["enumeration", "rollouts"] if simulations else [],
        },
    }
    data: Data = {"question": "?", "base": base | KINDS[kind], "grid": {"evaluation.seed": [0]},
                  "seeds": 1, "metric": "eval/score"}  # fmt: skip
    if kind == "search, learned" and not steer:
        with pytest.raises(UserError, match="learned needs a Steer environment"):
            planned(data)
        return
    [run] = planned(data).runs
    accepted = set()
    for metric in measures_of(run.config):
        with suppress(UserError):
            accepted.update(final_metrics(planned(data | {"metric": metric})))
    train(resolved_config(run.config), tmp_path / "run", progress=False)
    final = json.loads((tmp_path / "run/summary.json").read_text())["final"]
    assert accepted <= final.keys()
    # Nor is refused what there is, but for what only the data of a run can say.
    [*_, last] = csv.DictReader((tmp_path / "run/metrics.csv").read_text().splitlines())
    own = {
        tag
        for tag, cell in last.items()
        if cell and not tag.startswith(("train/", "step", "search/"))
    }
    assert own <= accepted
    rest = set(final) - accepted
    assert not [
        m
        for m in rest
        if m.startswith(("search/", "model/", "value/"))
        and not ("/right/" in m or m.startswith("model/") or m.endswith("/model_steps/one_ply"))
    ]
    assert "eval/serial_reach" in accepted
    for metric in ("search/true/score/2", "search/rollouts/model_steps/2"):
        assert (metric in accepted) == (kind != "random")
    if kind != "random":
        for planner in ("true", "rollouts"):
            assert final[f"search/{planner}/model_steps/2"] == 2
        assert final["search/enumeration/model_steps/2"] == (0 if steer else 2)
    assert ("value/accuracy/remaining_1" in accepted) == (not steer)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"grid": {"evaluation.simulations": [[0, 8], [0, 16]]}},
            r"metric: 'search/true/score' needs the same evaluation\.simulations in every run",
        ),
        (
            {"tuned": "network.depth"},
            r"metric: 'search/true/score' comes first, by which columns are tuned",
        ),
    ],
)
def test_a_metric_that_would_be_empty_is_refused(tiny: Data, changes: Data, message: str) -> None:
    with pytest.raises(UserError, match=message):
        planned(searching(tiny, metric="search/true/score", **changes))


CARTPOLE: Data = {
    "question": "?",
    "base": {
        "env": {"id": "CartPole-v1"},
        "network": {"width": 8},
        "agent": {"kind": "dqn", "timesteps": 64},
    },
    "grid": {"network.depth": [1, 2]},
    "seeds": 1,
}
STEPS_CHOOSE_NOTHING = r"'eval/episode_steps' .*neither high nor low ones are better$"


def test_a_metric_that_has_no_better_values_tunes_nothing() -> None:
    """It would be taken for one of which higher is better."""
    tuned = CARTPOLE | {"tuned": "network.depth"}
    with pytest.raises(UserError, match=r"file\.yaml: metric: " + STEPS_CHOOSE_NOTHING):
        planned(tuned | {"metric": ["eval/episode_steps", "eval/return"]})
    # Beside one that can choose, or where nothing is chosen, it may be there.
    assert planned(tuned | {"metric": ["eval/return", "eval/episode_steps"]}).runs
    assert planned(CARTPOLE | {"metric": "eval/episode_steps"}).runs


def test_a_metric_that_has_no_better_values_screens_nothing() -> None:
    screen: Data = {
        "key": "agent.arguments.learning_rate",
        "levels": [1e-4, 1e-3, 1e-2],
        "seeds": [1000],
    }
    study = CARTPOLE | {"metric": ["eval/return", "eval/episode_steps"]}
    assert planned(study | {"screen": screen}).screening
    screen["metric"] = "eval/episode_steps"
    with pytest.raises(UserError, match=r"file\.yaml: screen\.metric: " + STEPS_CHOOSE_NOTHING):
        planned(study | {"screen": screen})


def test_every_metric_is_logged(finished: Path) -> None:
    for file in finished.glob("runs/*/summary.json"):
        final = json.loads(file.read_text())["final"]
        assert {"eval/serial_reach", "eval/serial_reach_above_floor", "value/rmse"} <= set(final)
        assert {f"value/accuracy/remaining_{k}" for k in (1, 2, 3)} <= set(final)


def test_two_thousand_rows_are_planned_in_seconds(tiny: Data) -> None:
    """No two rows share their cell, which is the slowest case; a hundredth of a run's length."""
    rates = {"start": 1e-5, "stop": 1e-2, "step": 1e-5}
    grid = {"agent.learning_rate": rates, "setting": tiny["grid"]["setting"]}
    started = time.process_time()
    study = planned(tiny | {"grid": grid, "seeds": 1, "hypotheses": []})
    assert len(study.runs) == 2000
    assert time.process_time() - started < 4


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_shipped_studies_can_be_built(file: Path) -> None:
    study = load_study(file)
    if "learning_rates" not in file.stem:  # which chooses settings for a study and claims nothing
        assert len(study.levels("seed")) >= 3
        assert study.config.hypotheses
    assert resolved_config(study.runs[0].config)
    check_networks(study, str(file))
    smoke = load_study(file, smoke=True)
    check_networks(smoke, str(file))
    assert len(smoke.runs) < len(study.runs)


def test_path_of_depth_vs_width_is_what_the_accounts_say() -> None:
    """The label counts the products between input layer and head; the account has those two too."""
    [file] = [file for file in CONFIGS if file.stem == "depth_vs_width"]
    study = load_study(file)
    seen = set()
    for run in study.runs:
        cell = (run.columns["trunk"], run.columns["path"])
        if cell in seen or run.columns["matched"] != "parameters":
            continue
        seen.add(cell)
        of_run = parse_config(run.config, "")
        task = of_run.env.task()
        settings = ChainSubject(of_run).trunk("network")
        network = Network(build_trunk(**settings), len(task.action_names))
        cost = account(network, torch.zeros(1, task.layout.size))
        assert cost.critical_path == run.columns["path"] + 2, cell
        assert cost.parameters == pytest.approx(50_000, rel=0.02)
    assert len(seen) == 7


def searching(tiny: Data, **keys: Any) -> Data:
    """The tiny study on a Steer environment, with searches at the end of each run."""
    env = {"id": "rl_serial/PermutationAutomatonSteer-v0", "serial_depth": 3}
    base = tiny["base"] | {"env": env, "evaluation": {"simulations": [0, 8]}}
    return tiny | {"base": base, "hypotheses": [], "figures": []} | keys


def test_scores_over_simulations_become_rows(tiny: Data) -> None:
    study = planned(searching(tiny, metric=["search/true/score", "search/true/score/one_ply"]))
    assert final_metrics(study) == [
        "search/true/score/0",
        "search/true/score/8",
        "search/true/score/one_ply",
    ]
    record = {"id": "x", "search/true/score/0": 0.25, "search/true/score/8": 0.75}
    melted, rows = by_level(study, [record], "search/true/score")
    assert [(row["simulations"], row["search/true/score"]) for row in rows] == [
        (0, 0.25),
        (8, 0.75),
    ]
    assert melted.columns == (*study.columns, "simulations")
    assert len(melted.runs) == 2 * len(study.runs)


def with_baselines(tiny: Data, **keys: Any) -> Data:
    study = searching(tiny, metric=["eval/score", "search/score", "search/true/score"])
    evaluation = {"simulations": [0, 8], "baselines": ["enumeration", "rollouts"]}
    return study | {"base": study["base"] | {"evaluation": evaluation}} | keys


def test_scores_over_planners_become_rows(tiny: Data) -> None:
    study = planned(with_baselines(tiny))
    tags = [f"search/{p}/score" for p in ("true", "enumeration", "rollouts")]
    assert final_metrics(study) == ["eval/score", *(f"{t}/{n}" for t in tags for n in (0, 8))]
    record = {f"{tag}/{n}": place + n for place, tag in enumerate(tags) for n in (0, 8)}
    melted, rows = by_level(study, [record], "search/score")
    assert [(row["planner"], row["simulations"], row["search/score"]) for row in rows] == [
        ("search", 0, 0),
        ("search", 8, 8),
        ("enumeration", 0, 1),
        ("enumeration", 8, 9),
        ("rollouts", 0, 2),
        ("rollouts", 8, 10),
    ]
    assert melted.columns == (*study.columns, "planner", "simulations")
    _, rows = by_level(study, [record], "search/true/score")
    assert [row["search/true/score"] for row in rows] == [0, 8]
    assert not any("planner" in row for row in rows)


def test_baselines_that_are_not_asked_for_leave_an_id_as_it_is(tiny: Data) -> None:
    """So that the runs of earlier studies are found again."""
    plain, with_none = searching(tiny), searching(tiny)
    with_none["base"]["evaluation"]["baselines"] = []
    assert [r.id for r in planned(plain).runs] == [r.id for r in planned(with_none).runs]
    assert planned(with_baselines(tiny)).runs[0].id != planned(searching(tiny)).runs[0].id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"metric": "search/true/score/4"},
            r"'search/true/score/4' is never logged where .*0, 8",
        ),
        (
            {"metric": "search/rollouts/score/one_ply"},
            r"'search/rollouts/score/one_ply' is never logged where base\.evaluation\.bas",
        ),
        (
            {
                "grid": {"evaluation.baselines": [["rollouts"], []]},
                "metric": "search/rollouts/score",
            },
            r"'search/rollouts/score' is never logged where base\.evaluation\.baselines is \[\]",
        ),
        (
            {"grid": {"evaluation.baselines": [["rollouts"], ["enumeration"]]}},
            r"metric: 'search/score' needs the same evaluation\.baselines in every run",
        ),
        (
            with_test(where={"planner": "search"}),
            r"the column planner goes with search/score, not wi",
        ),
        (
            with_test(metric="search/score", where={"simulations": 8}),
            r"hypotheses\.0\.test: 'search/score' has a value for each planner: name the column",
        ),
        (
            {"figures": [{"x": "simulations", "metric": "search/score"}]},
            r"figures\.0: 'search/score' has a value for each planner: name the column planner",
        ),
        (
            with_test(metric="search/score", difference={"planner": ["search", "learned"]}),
            r"planner is never 'learned'; it is search, enumeration, rollouts",
        ),
    ],
)
def test_baselines_that_no_run_has_are_refused(tiny: Data, changes: Data, message: str) -> None:
    with pytest.raises(UserError, match=message):
        planned(with_baselines(tiny, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"metric": "search/true/score/16"},
            r"'search/true/score/16' is never logged where .*0, 8",
        ),
        ({"metric": "search/learned/score/8"}, r"'search/learned/score/8' is never logged where"),
        (
            {"figures": [{"x": "simulations", "metric": "search/true/score"}]},
            r"figures\.0\.metric: 'search/true/score' is none of the study's",
        ),
        (
            {"metric": "search/true/score"} | with_test(where={"simulations": 16}),
            r"simulations is never 16; it is 0, 8",
        ),
        (
            {"metric": "eval/score"} | with_test(where={"simulations": 8}),
            r"where\.simulations: no column of the grid",
        ),
    ],
)
def test_searches_that_no_run_makes_are_refused(tiny: Data, changes: Data, message: str) -> None:
    with pytest.raises(UserError, match=message):
        planned(searching(tiny, **changes))


# Cells of which one is refused, each beside one that is right.
WRONG_CELLS: list[Data] = [
    {"agent": {"kind": "search", "value_target": "root"}, "agent.simulations": [8, 0]},
    {
        "agent": {"kind": "dqn"},
        "evaluation.simulations": [[], [2]],
        "agent.kind": ["dqn", "random"],
    },
    {"agent": {"kind": "value"}, "env.decisions": [1, 9]},
    {"agent": {"kind": "value"}, "model_network": [None, {"width": 4}]},
]


@pytest.mark.parametrize("grid", WRONG_CELLS, ids=lambda grid: list(grid)[-1])
@pytest.mark.parametrize("turned", [False, True])
def test_a_wrong_cell_is_found_in_any_order(grid: Data, turned: bool) -> None:
    agent, axes = grid["agent"], {axis: levels for axis, levels in grid.items() if axis != "agent"}
    if turned:
        axes = {axis: levels[::-1] for axis, levels in reversed(axes.items())}
    base = {
        "env": {"id": "rl_serial/CellularAutomatonSteer-v0", "serial_depth": 9},
        "network": {"width": 8},
        "agent": agent,
    }
    data = {"question": "?", "base": base, "grid": axes, "seeds": 1, "metric": "eval/score"}
    with pytest.raises(UserError, match=r"\(in the run with"):
        plan(data, "file.yaml", "study")


def test_cells_of_goal_agents_are_checked_in_any_order() -> None:
    base = {
        "env": {"id": "rl_serial/Reach-v0"},
        "network": {"width": 8},
        "agent": {"kind": "sac", "processes": 2},
    }
    for levels in ([2, 3], [3, 2]):
        grid = {"agent.num_envs": levels}
        data = {"question": "?", "base": base, "grid": grid, "seeds": 1, "metric": "eval/success"}
        with pytest.raises(UserError, match=r"grid\.agent\.processes|agent\.processes"):
            plan(data, "file.yaml", "study")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 10**18}, r"seeds: at most 10000, not 10{18}$"),
        ({"seeds": [0, 2**32]}, r"seeds\.1: must be less than 4294967296, not 4294967296$"),
        (
            {"grid": {"network.depth": {"start": 1, "stop": 10**18, "step": 1}}},
            r"grid\.network\.depth: a range can have 100000 levels at most$",
        ),
        (
            {"grid": {"network.depth": {"start": 1, "stop": 10**18, "factor": 1.0001}}},
            r"grid\.network\.depth: a range can have 100000 levels at most$",
        ),
        (
            {
                "grid": {
                    "agent.updates": {"start": 1, "stop": 1000, "step": 1},
                    "network.width": {"start": 1, "stop": 1000, "step": 1},
                }
            },
            r"grid: plans [23]000000 runs; 100000 are the most$",
        ),
    ],
)
def test_a_study_has_a_size(change: Data, message: str, tiny: Data) -> None:
    with pytest.raises(UserError, match=message):
        planned(tiny | {"hypotheses": []} | change)


@pytest.mark.parametrize("name", ["..yaml", "...yaml"])
def test_a_study_is_not_named_after_the_folder_above(name: str, tmp_path: Path, tiny: Data) -> None:
    (tmp_path / name).write_text(yaml.safe_dump(tiny))
    with pytest.raises(UserError, match=r"name of the file.*must be the name of a folder"):
        load_study(tmp_path / name)
