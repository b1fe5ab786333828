"""Planners in continuous control as runs: options, examination by hand, training and resume."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy import stats

from rl_serial.agents.mpc import Learning, MPCAgent, MPCSettings, SimulatorModel, read_settings
from rl_serial.agents.settings import MPCAgentConfig
from rl_serial.cli import main
from rl_serial.config import RunConfig, write_yaml
from rl_serial.envs.control import ControlState
from rl_serial.errors import RunError, UserError
from rl_serial.loading import parse_config
from rl_serial.metrics import tagged
from rl_serial.planning import CEM, MPPI, first_plan, plan_control, shift
from rl_serial.runs import files, run
from rl_serial.study.design import load_study
from rl_serial.study.engines import LocalEngine
from rl_serial.study.folder import StudyFolder, result_of
from rl_serial.study.runner import run_study
from rl_serial.subjects import subject_of
from rl_serial.subjects.gymnasium.evaluation import instance_seeds
from rl_serial.subjects.protocol import Subject

pytest.importorskip("mujoco")

KICK = {"id": "rl_serial/ManyBodyKick-v0", "discs": 2, "serial_depth": 4, "decisions": 2}
PLANNER = {"samples": 4, "iterations": 2, "elites": 2}
CEM_RUN = {
    "name": "cem",
    "env": KICK,
    "agent": {"kind": "cem", "horizon": 2, "discount": 1.0, "planner": PLANNER},
    "evaluation": {"instances": 3, "seed": 5},
}
LEARNING = {"width": 16, "batch_size": 8, "random_steps": 8, "updates": 1.0}
LEARNED = {
    "name": "learned",
    "env": KICK,
    "agent": CEM_RUN["agent"]  # type: ignore[operator]
    | {"discount": 0.9, "model": "learned", "terminal_value": True}
    | {"learning": LEARNING, "timesteps": 40},
    "evaluation": {"instances": 2, "every": 8},
}


def agent_of(subject: Subject) -> Any:
    return subject.trainer(torch.device("cpu"), lambda *_: None).agent


def parse(data: dict[str, Any] = CEM_RUN, *overrides: str) -> RunConfig:
    return parse_config(yaml.safe_load(yaml.safe_dump(data)), "file.yaml", list(overrides))


def train(config: RunConfig, folder: Path, resume: bool = False) -> Any:
    return run.train(config, folder, resume=resume, device="cpu", progress=False)


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    assert found["status"] == "done"
    return found


class TestOptions:
    """What a configuration says is what the planner has."""

    @pytest.mark.parametrize(("kind", "planner"), [("cem", CEM), ("mppi", MPPI)])
    def test_every_option_of_a_planner_reaches_it(self, kind: str, planner: Any) -> None:
        given: dict[str, Any] = {
            "samples": 17, "iterations": 5, "elites": 3, "std": 0.25, "min_std": 0.125,
            "momentum": 0.5, "noise_exponent": 2.0, "keep": 1, "mean_sample": False,
            "temperature": 2.0, "play": "best", "relative": False, "control_cost": 1.0,
        }  # fmt: skip
        own = {f.name: given[f.name] for f in fields(planner)}
        assert all(getattr(planner(), name) != value for name, value in own.items())
        if kind == "mppi":
            own["noise_exponent"] = 0.0  # goes without control_cost
        agent = {"kind": kind, "planner": own}
        assert read_settings(parse(CEM_RUN | {"agent": agent}).agent).planner == planner(**own)  # type: ignore[arg-type]

    def test_every_option_of_learning_and_agent_reaches_it(self) -> None:
        learning = Learning(9, 0.25, 7, 3.0, 900, 30, 0.5)
        settings = MPCSettings(CEM(), 7, "learned", "learned", True, 0.5, 3, learning)
        for given in (learning, settings):
            assert all(getattr(given, f.name) != getattr(type(given)(), f.name)
                       for f in fields(given) if f.name != "planner")  # fmt: skip
        agent = {f.name: getattr(settings, f.name) for f in fields(settings)}
        agent |= {"kind": "cem", "planner": {}, "learning": vars(learning), "timesteps": 1}
        assert read_settings(parse(CEM_RUN | {"agent": agent}).agent) == settings  # type: ignore[arg-type]

    def test_defaults_are_the_planners_own(self) -> None:
        for kind, planner in (("cem", CEM()), ("mppi", MPPI())):
            found = read_settings(parse(CEM_RUN | {"agent": {"kind": kind}}).agent)  # type: ignore[arg-type]
            assert found == MPCSettings(planner)

    def test_resolved_configuration_round_trips(self) -> None:
        config = parse(LEARNED)
        assert parse_config(yaml.safe_load(write_yaml(config)), "again") == config

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("agent.horizon=0", r"agent\.horizon: .*greater than 0, not 0"),
            ("agent.model=dreamt", r"agent\.model: .*'true' or 'learned'"),
            ("agent.horizn=3", r"agent\.horizn: unknown key; there are kind, horizon, model"),
            ("agent.timesteps=5", r"agent\.timesteps: must be 0: there is nothing to learn"),
            ("agent.terminal_value=true", r"agent\.timesteps: must be 1 or more"),
            ("agent.model=learned", r"agent\.timesteps: must be 1 or more"),
            ("network={width: 8}", r"network: .* cem has no network; agent\.learning\.width"),
            ("policy_network={width: 8}", r"policy_network: .* no policy_network; agent\.learning"),
            ("model_network={width: 8}", r"model_network: the agent cem has no"),
            ("evaluation.simulations=[2]", r"evaluation\.simulations: unknown key; there ar"),
            ("env.id=rl_serial/Reach-v0", r"env\.id: .* is a goal environment, where agen"),
            ("env.id=rl_serial/ManyBodySteer-v0", r"env\.id: .* is a chain, where agent\.kind cem"),
        ],
    )  # fmt: skip
    def test_wrong_key_is_named_at_load(self, override: str, message: str) -> None:
        with pytest.raises(UserError, match=message) as caught:
            parse(CEM_RUN, override)
        assert str(caught.value).startswith("file.yaml: ")

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("agent.planner.sample=3", r"agent\.planner\.sample: CEM has no such option; there "
             "are samples, iterations"),
            ("agent={kind: mppi, planner: {elites: 3}}", r"agent\.planner\.elites: MPPI has no"),
            ("agent.planner.samples=1", r"agent\.planner\.samples: must be 2 or more, not 1"),
            ("agent.planner.samples=few", r"agent\.planner\.samples: .*valid integer.*'few'"),
            ("agent.carry=3", r"agent\.carry: must be from 0 to 2, not 3"),
            ("agent.reward=learned", r"agent\.reward: must be 'known' with the true model"),
            ("agent.learning={trace: 2}", r"agent\.learning\.trace: must be in \[0, 1\], not 2"),
            ("agent.learning={memory: 9, random_steps: 10}", None),
            ("env.discs=1", r"env\.discs: must be 2 to 25, not 1"),
            ("env.balls=1", r"env: .*balls"),
            ("env.max_episode_steps=-1", r"env\.max_episode_steps: must be 1 or more"),
            ("env.render_mode=3", r"env: "),
        ],
    )  # fmt: skip
    def test_wrong_key_is_named_before_anything_runs(
        self, override: str, message: str | None, tmp_path: Path
    ) -> None:
        if message is None:  # the true model has no random steps
            assert read_settings(parse(CEM_RUN, override).agent).learning.memory == 9  # type: ignore[arg-type]
            return
        with pytest.raises(UserError, match=message):
            train(parse(CEM_RUN, override), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_memory_holds_what_a_learned_model_begins_with(self) -> None:
        """Else it would play at random for ever."""
        config = parse(LEARNED, "agent.learning.memory=7")
        with pytest.raises(UserError, match=r"agent\.learning\.memory: must be random_steps"):
            subject_of(config)

    @pytest.mark.parametrize("kind", ["value", "contrastive"])
    def test_other_agents_do_not_play_there(self, kind: str) -> None:
        data = {"env": KICK, "network": {"width": 8}, "agent": {"kind": kind}}
        with pytest.raises(
            UserError, match=rf"env\.id: .*, where agent\.kind {kind} does not play; .*cem, mppi"
        ):
            parse(data)

    def test_loading_needs_no_mujoco(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "mujoco", None)  # any import of it fails
        assert isinstance(parse(LEARNED).agent, MPCAgentConfig)


class TestExamination:
    """Numbers that are worked out beside it."""

    def test_it_is_what_the_environment_paid(self, tmp_path: Path) -> None:
        """The episodes again, with a loop and environments of their own."""
        config = parse(CEM_RUN, "seed=3")
        found = train(config, tmp_path / "run")
        settings = CEM(**PLANNER)
        options = {key: value for key, value in KICK.items() if key != "id"}
        envs = [gym.make(KICK["id"], **options) for _ in range(3)]
        generator = np.random.default_rng([3, 5, 1])
        model = SimulatorModel(envs[0].unwrapped.simulator(1))  # type: ignore[attr-defined]
        starts = [
            env.reset(seed=seed)[1]["distance"]
            for env, seed in zip(envs, instance_seeds(5, 3), strict=True)
        ]
        returns, plan, info = np.zeros(3), first_plan(3, 2, [-1, -1], [1, 1]), [{}] * 3
        for _ in range(4):
            rules = [env.unwrapped for env in envs]
            physics = np.concatenate([task.rules.joints(task.state) for task in rules])  # type: ignore[attr-defined]
            state = ControlState(physics, np.empty((3, 0)))
            output = plan_control(model, state, plan, [-1, -1], [1, 1], settings, generator)
            plan = shift(output.plan)
            for row, env in enumerate(envs):
                _, reward, _, _, info[row] = env.step(output.action[row].astype(np.float32))
                returns[row] += float(reward)
        np.testing.assert_array_equal(found.returns, returns)
        # The return is by how much the marked disc came nearer.
        ends = [last["distance"] for last in info]
        np.testing.assert_allclose(returns, np.array(starts) - ends, atol=1e-12)
        assert len(set(returns)) == 3
        interval = stats.t.interval(0.95, 2, returns.mean(), stats.sem(returns))
        final = summary(tmp_path / "run")["final"]
        assert final.pop("eval/return_interval") == pytest.approx(interval)
        assert final == {
            "eval/return": pytest.approx(returns.mean()),
            "eval/episode_steps": 4,
            "eval/serial_steps_per_decision": 2 * 2,  # horizon, iterations
            "eval/model_steps": 4 * 4 * 2 * 2,  # steps, samples
            "eval/simulator_steps": 4 + 4 * 4 * 2 * 2,
            "eval/instances": 3,
        }

    def test_instances_are_not_those_of_training(self) -> None:
        seeds = instance_seeds(7, 100)
        # Distinct, also where 2**20 resets would have held the same one twice.
        many = [number for seed in range(5) for number in instance_seeds(seed, 2048)]
        assert len(set(many)) == 5 * 2048
        assert all(2**62 <= seed < 2**63 for seed in seeds)  # training draws from below 2**31
        assert len(set(seeds)) == 100
        assert instance_seeds(7, 3, first=4) == seeds[4:7]
        assert instance_seeds(8, 100) != seeds

    def test_seed_draws_the_noise_and_evaluation_seed_the_instances(self) -> None:
        returns = []
        for overrides in ([], [], ["seed=1"], ["evaluation.seed=6"]):
            subject = subject_of(parse(CEM_RUN, *overrides))
            agent = agent_of(subject)
            assert isinstance(agent, MPCAgent)
            examine = subject.examiner()
            returns.append(tagged(examine(agent).measurements())["eval/return"])
            assert tagged(examine(agent).measurements())["eval/return"] == returns[-1]
        assert returns[0] == returns[1]
        assert len(set(returns)) == 3

    def test_many_instances_are_played_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rl_serial.subjects.gymnasium.evaluation.MOST_AT_A_TIME", 2)
        subject = subject_of(parse())
        found: Any = subject.examiner()(agent_of(subject))
        assert [episode.seed for episode in found.episodes] == instance_seeds(5, 3)


class TestTraining:
    """A learned model and a learned value."""

    def test_same_seed_same_metrics_and_other_seed_others(self, tmp_path: Path) -> None:
        rows = []
        for name, seed in (("a", 0), ("b", 0), ("c", 1)):
            train(parse(LEARNED, f"seed={seed}"), tmp_path / name)
            rows.append((tmp_path / name / "metrics.csv").read_text())
        assert rows[0] == rows[1] != rows[2]
        header, *lines = rows[0].splitlines()
        assert [int(line.split(",")[0]) for line in lines] == [4, 8, 16, 24, 32, 40]
        logged = {"train/return", "train/simulator_steps", "train/dynamics_loss"}
        assert logged | {"train/value_loss", "eval/return"} < set(header.split(","))
        found = summary(tmp_path / "a")
        # Observations of 4 · 2 + 2 + 5 numbers, actions of 2, joints of 4 · 2 + 3.
        dynamics, value = (found["accounts"][name] for name in ("dynamics", "value"))
        assert dynamics["parameters"] == 17 * 16 + 16 + 16 * 16 + 16 + 16 * 13 + 13
        assert value["parameters"] == 15 * 16 + 16 + 16 * 16 + 16 + 16 + 1
        assert dynamics["critical_path"] == value["critical_path"] == 3
        assert found["final"]["eval/simulator_steps"] == 4  # planned in the network

    def test_evaluations_leave_training_alone(self, tmp_path: Path) -> None:
        for every in (8, 40):
            train(parse(LEARNED, f"evaluation.every={every}"), tmp_path / str(every))
        assert summary(tmp_path / "8")["final"] == summary(tmp_path / "40")["final"]

    @pytest.mark.parametrize(("after", "task"), [(1, "kick"), (3, "kick"), (2, "reacher")])
    def test_interrupted_run_ends_like_an_unbroken_one(
        self, after: int, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Kicks with a learned model and value; Reacher with its simulator and a learned value."""

        class Killed(BaseException):
            pass

        config = parse(LEARNED)
        if task == "reacher":
            pytest.importorskip("imageio")
            env = {"id": "Reacher-v5", "max_episode_steps": 8}
            config = parse(LEARNED | {"env": env}, "agent.model=true")
        train(config, tmp_path / "unbroken")
        saved = 0

        def save_then_die(folder: Path, step: int, state: dict[str, Any]) -> None:
            nonlocal saved
            saved += 1
            if saved > after:
                raise Killed
            files.save_checkpoint(folder, step, state)

        with monkeypatch.context() as patch:
            patch.setattr(run, "save_checkpoint", save_then_die)
            with pytest.raises(Killed):
                train(config, tmp_path / "broken")
        train(config, tmp_path / "broken", resume=True)
        for file in ("metrics.csv", "model.pt"):
            whole, resumed = (tmp_path / name / file for name in ("unbroken", "broken"))
            if file == "metrics.csv":
                assert whole.read_text() == resumed.read_text()
                continue
            models = [files.load_tensors(path)["model"] for path in (whole, resumed)]
            for name in ("dynamics", "value"):
                assert all(models[0][name][k].equal(models[1][name][k]) for k in models[0][name])
        assert summary(tmp_path / "broken")["final"] == summary(tmp_path / "unbroken")["final"]

    def test_loss_that_is_not_finite_fails_the_run(self, tmp_path: Path) -> None:
        config = parse(LEARNED, "agent.learning.learning_rate=1e30")
        with pytest.raises(RunError, match=r"train/\w+_loss is (nan|inf) at timestep \d+: a small"):
            train(config, tmp_path / "run")
        assert json.loads((tmp_path / "run/summary.json").read_text())["status"] == "failed"

    def test_last_episode_is_cut_off_at_the_total(self, tmp_path: Path) -> None:
        train(parse(LEARNED, "agent.timesteps=10"), tmp_path / "run")
        assert summary(tmp_path / "run")["steps"] == 10


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planner's run, one that learned and one on a chain."""
    folder = tmp_path_factory.mktemp("control")
    chain = {
        "name": "chain",
        "env": {"id": "rl_serial/PermutationAutomatonBet-v0", "serial_depth": 3},
        "agent": {"kind": "random"},
        "evaluation": {"instances": 32, "per_remaining": 8},
    }
    for data in (CEM_RUN, LEARNED, chain):
        train(parse(data), folder / str(data["name"]))
    return folder


class TestCommands:
    """``evaluate``, ``watch`` and studies."""

    def test_evaluate_finds_what_the_runs_found(
        self, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        figure = tmp_path / "returns.png"
        names = ("cem", "learned")
        arguments = ["evaluate", *(str(runs / name) for name in names), "--figure", str(figure)]
        assert main(arguments) == 0
        table = capsys.readouterr().out
        for name in names:
            final = summary(runs / name)["final"]
            low, high = final["eval/return_interval"]
            cells = [cell.strip() for cell in next(
                line for line in table.splitlines() if line.startswith(f"| {name} ")
            ).split("|")]  # fmt: skip
            assert cells[3:6] == [
                f"{final['eval/return']:.4g} ({low:.4g} to {high:.4g})",
                "4",
                "4",
            ]
        with Image.open(figure) as image:
            assert image.size[0] > 600
        assert main(["evaluate", str(runs / "cem"), str(runs / "chain")]) == 2
        message = "runs in Gymnasium environments and on chains have no table in common"
        assert message in capsys.readouterr().err
        assert main(["evaluate", str(runs / "cem"), "--simulations", "2"]) == 2
        assert "searches are for chains" in capsys.readouterr().err
        assert main(["evaluate", str(runs / "cem"), "--per-remaining", "4"]) == 2
        assert "--per-remaining: the examination of" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["cem", "learned"])
    def test_watch_tells_an_episode(
        self, name: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        gif = tmp_path / "episode.gif"
        assert main(["watch", str(runs / name), "--instance", "1", "--gif", str(gif)]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
        rewards = [float(line.split("reward ")[1].split(",")[0]) for line in lines[1:]]
        assert len(rewards) == 4
        assert float(lines[-1].split("return ")[1]) == pytest.approx(sum(rewards), abs=0.003)
        with Image.open(gif) as image:
            assert image.size == (384, 384)  # the table as the environment draws it

    def test_a_task_without_pictures_is_drawn_as_its_return(self) -> None:
        pytest.importorskip("imageio")
        env = {"id": "Reacher-v5", "max_episode_steps": 80}
        subject = subject_of(parse(CEM_RUN | {"env": env}, "agent.planner.iterations=1"))
        moments = subject.watch(agent_of(subject))
        assert len(moments) == 60  # of 81 states
        pictures = [moment.picture() for moment in moments]
        assert {picture.shape for picture in pictures} == {(240, 320, 3)}
        assert "action (" in moments[-1].text()
        assert not np.array_equal(pictures[0], pictures[-1])

    def test_a_study_of_planners(self, tmp_path: Path) -> None:
        file = tmp_path / "planners.yaml"
        study = {
            "question": "What does a longer plan buy?",
            "hypotheses": [],
            "base": {key: value for key, value in CEM_RUN.items() if key != "name"},
            "grid": {"agent.horizon": [1, 3], "agent.planner.samples": [4, 6]},
            "seeds": 1,
            "metric": ["eval/return", "eval/serial_steps_per_decision"],
        }
        file.write_text(yaml.safe_dump(study))
        rows = run_study(
            load_study(file), StudyFolder(tmp_path / "study"), LocalEngine(1), progress=False
        )
        found = [result_of(row) for row in rows]
        assert [row["status"] for row in found] == ["done"] * 4
        assert [row["eval/serial_steps_per_decision"] for row in found] == [2, 2, 6, 6]
        assert all(row["eval/return_low"] < row["eval/return"] for row in found)
        file.write_text(yaml.safe_dump(study | {"metric": "eval/score"}))
        with pytest.raises(
            UserError, match=r"metric: 'eval/score' is never logged; there are eval/return"
        ):
            load_study(file)
