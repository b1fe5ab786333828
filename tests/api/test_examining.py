"""Anyone's agent gets the numbers that our own get: the same instances, decisions and floors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rl_serial
from rl_serial.api import SUITES, LoadedAgent, Suite, SuiteResult
from rl_serial.api.suites import of_recipe, of_runs
from rl_serial.cli import main
from rl_serial.errors import UserError

ID = "rl_serial/PermutationAutomatonBet-v0"
ENV = {"serial_depth": 3, "start": "uniform"}
SMALL = {"instances": 64, "per_remaining": 16}
COMPARED = (
    "eval/score", "eval/return", "eval/serial_horizon", "eval/serial_reach", "value/rmse",
    "value/accuracy/remaining_3", "floor/reach", "floor/memoriser/reach", "floor/linear/reach",
)  # fmt: skip
TWO = Suite("two", "Two settings.", SUITES["serial-12"].settings[:2])


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> LoadedAgent:
    """A value agent that has learned a little."""
    config = {
        "env": {"id": ID, **ENV},
        "network": {"kind": "residual", "depth": 1, "width": 32},
        "agent": {"kind": "value", "updates": 60, "batch_size": 64, "learning_rate": 0.01},
        "evaluation": SMALL,
        "seed": 5,
        "name": "mine",
    }
    return rl_serial.train(config, runs=tmp_path_factory.mktemp("runs"), progress=False)


def test_a_function_gets_what_our_own_agent_gets(agent: LoadedAgent) -> None:
    network = agent.trainer.networks["value"]

    def act(observations: Any) -> Any:
        return network(torch.as_tensor(observations))  # a tensor with a gradient

    instances = 60 * 64
    found = rl_serial.examine(act, ID, trained_on=instances, trained_seed=5, **SMALL, **ENV)
    for tag in COMPARED:
        assert found.metrics[tag] == pytest.approx(agent.results[tag], abs=1e-6), tag
    again = rl_serial.examine(agent, f"rl_serial:{ID}", **SMALL, **ENV)
    assert again.metrics == found.metrics
    assert (found.name, again.name, again.trained_on) == ("act", "mine", instances)
    other = rl_serial.examine(agent, ID, group="z5", **SMALL, **ENV)
    assert other.metrics != found.metrics


def test_who_knows_nothing_reaches_nothing() -> None:
    """Betting always: chance is its accuracy. By hand: the mean payoff over random and optimum."""

    def bet(observations: Any) -> Any:
        return np.ones(len(observations), dtype=np.int32)

    found = rl_serial.examine(bet, ID, **SMALL, **ENV)
    assert found.serial_reach == pytest.approx(0, abs=1e-12)
    assert "value/rmse" not in found.metrics  # actions say nothing of values
    final = found.final
    wanted = found.metrics["eval/return"] - final["eval/random_return"]
    wanted /= final["eval/optimal_return"] - final["eval/random_return"]
    assert found.score == pytest.approx(wanted)
    # A random choice of PASS and BET earns half of what betting does.
    assert final["eval/random_return"] == pytest.approx(found.metrics["eval/return"] / 2)


def test_what_is_not_legal_counts_as_pass() -> None:
    """THINK with the budget used up: the one THINK costs 0.1, and then it passes."""

    def think(observations: Any, masks: Any) -> Any:
        assert masks.shape == (len(observations), 3)
        return np.full(len(observations), 2)

    env = {"serial_depth": 2, "think_budget": 1, "think_cost": 0.1}
    found = rl_serial.examine(think, ID, **SMALL, **env)
    assert found.metrics["eval/return"] == pytest.approx(-0.1)


def test_masks_go_by_count_or_name_and_predict_is_taken() -> None:
    seen = []

    def named(observations: Any, masks: Any = None) -> Any:
        seen.append(masks)
        return np.zeros((len(observations), 2))

    rl_serial.examine(named, ID, **SMALL, **ENV)
    assert seen[0] is not None

    class Model:
        def predict(self, observations: Any, deterministic: bool = False) -> Any:
            assert deterministic
            return np.zeros(len(observations), dtype=np.int64), None

    assert rl_serial.examine(Model(), ID, **SMALL, **ENV).metrics["eval/return"] == 0.0


@pytest.mark.parametrize(
    ("act", "options", "told"),
    [
        (lambda o: o, {}, r"actions \[\d+\] or action values \[\d+, 2\] are wanted"),
        (lambda o: np.full(len(o), 2), {}, "whole numbers from 0 to 1"),
        (lambda o: np.full(len(o), 0.5), {}, "whole numbers from 0 to 1"),
        (lambda o: np.full((len(o), 2), np.nan), {}, "gave NaN"),
        (lambda o: np.zeros(len(o)), {"gives": "action_values"}, "gave actions"),
        (lambda o: np.zeros((len(o), 2)), {"gives": "logits"}, "gives: must be one of"),
        (lambda o: np.zeros(len(o)), {"serial_dept": 3}, "did you mean serial_depth"),
        (7, {}, "an agent is a function"),
    ],
)
def test_what_is_wrong_is_told(act: Any, options: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        rl_serial.examine(act, ID, **SMALL, **options)


def test_unknown_environments_and_other_shapes(agent: LoadedAgent) -> None:
    with pytest.raises(UserError, match="no such environment"):
        rl_serial.examine(agent, "CartPole-v1")
    with pytest.raises(UserError, match="shows 26 and has"):  # 3 letters of 4, 5 points, 1 to 4
        rl_serial.examine(agent, ID, serial_depth=4, **SMALL)


def test_the_settings_of_a_suite_do_not_change() -> None:
    """Other settings get another name: results that a paper cites stay comparable."""
    digests = {name: suite.digest for name, suite in SUITES.items()}
    assert digests == {"serial-12": "df89d9c6b46f", "serial-12-long": "1b7680ec7f85"}
    for suite in SUITES.values():
        assert len(suite.settings) == 12
        assert sum(setting.role == "twin" for setting in suite.settings) == 4


def test_suite_of_runs_and_its_files(
    agent: LoadedAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SUITES, "two", TWO)
    small: dict[str, Any] = {
        "network": {"kind": "residual", "depth": 1, "width": 8},
        "agent": {"kind": "value", "updates": 2, "batch_size": 8},
        "env": {"id": ID},
        "evaluation": SMALL,
        "name": "recipe",
    }
    chooser = of_recipe(small, runs=tmp_path / "runs")
    result = rl_serial.suite(chooser, "two", by_setting=True, agent="recipe", **SMALL)
    assert result.missing == []
    folders = sorted((tmp_path / "runs").iterdir())
    assert [folder.name for folder in folders] == [
        "recipe_PermutationAutomaton_s5_4",
        "recipe_PermutationAutomaton_s5_8",
    ]
    again = rl_serial.suite(of_runs(folders[1]), "two", by_setting=True, agent="recipe", **SMALL)
    assert again.missing == [TWO.settings[0].name]
    [name] = again.found
    assert again.found[name].metrics == result.found[name].metrics
    with pytest.raises(UserError, match="no setting of the suite has an agent"):
        rl_serial.suite(of_runs(agent.folder), "two", by_setting=True, **SMALL)
    result.to_json(tmp_path / "result.json")
    read = SuiteResult.read(tmp_path / "result.json")
    assert read.to_dict() == result.to_dict()
    data = json.loads((tmp_path / "result.json").read_text())
    data["digest"] = "0" * 12
    (tmp_path / "other.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="the settings are not the same"):
        SuiteResult.read(tmp_path / "other.json")


def test_the_command_takes_anyones_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SUITES, "two", TWO)
    monkeypatch.chdir(tmp_path)
    Path("theirs_of_test.py").write_text("def act(observations):\n    return observations[:, :2]\n")
    small = ["--name", "two", "--instances", "64", "--per-remaining", "16"]
    files = ["--json", "out.json", "--figure", "out.png"]
    assert main(["suite", "theirs_of_test:act", *small, *files]) == 0
    assert "PermutationAutomaton/s5/8" in capsys.readouterr().out
    assert Path("out.png").stat().st_size > 10_000
    assert main(["suite", "out.json", "out.json", *small, "--figure", "both.png"]) == 0
    assert capsys.readouterr().out.count("two (") == 2
    assert main(["suite", "theirs_of_test:play", *small]) == 2
    assert "has no play" in capsys.readouterr().err
    assert main(["suite", *small]) == 2
    assert "give an AGENT" in capsys.readouterr().err
    assert main(["suite", "--settings", "--name", "to"]) == 2
    assert "did you mean two?" in capsys.readouterr().err
