"""Goal environments in runs: what an examination counts, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rl_serial.cli import main
from rl_serial.errors import UserError
from rl_serial.loading import load_config, parse_config
from rl_serial.metrics import tagged
from rl_serial.networks import account
from rl_serial.runs.load import load_run
from rl_serial.runs.run import train
from rl_serial.study.design import load_study
from rl_serial.subjects import subject_of
from rl_serial.subjects.goals.evaluation import GoalEvaluation, GoalEvaluator
from rl_serial.subjects.goals.subject import GoalSubject

REACH: dict[str, Any] = {
    "name": "tiny",
    "env": {"id": "rl_serial/Reach-v0", "episode_steps": 10},
    "network": {"depth": 4, "width": 8, "scaled": False},
    "agent": {
        "kind": "contrastive",
        "timesteps": 160,
        "num_envs": 4,
        "unroll": 10,
        "updates": 2,
        "batch_size": 8,
        "prefill": 10,
    },
    "evaluation": {"instances": 6, "every": 80},
}


def reach(**changes: Any) -> Any:
    return parse_config(REACH | changes, "f.yaml")


# --- the examination ------------------------------------------------------------------------------


class Scripted:
    """A vector environment of two: what an episode does follows from its seed alone.

    An episode of seed s lasts s % 5 + 2 steps and is at the goal after the steps ``there[s]``; its
    goal is s away. After its end the next episode begins at once, far away and always at the goal.
    """

    num_envs = 2

    def __init__(self, there: dict[int, set[int]]) -> None:
        self.there = there

    def reset(self, seed: list[int]) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
        self.seeds, self.steps, self.first = list(seed), [0, 0], [True, True]
        return self._observation(), {}

    def _observation(self) -> dict[str, NDArray[np.float32]]:
        far = [[float(s % 10_000)] for s in self.seeds]
        return {
            "observation": np.zeros((2, 1), np.float32),
            "achieved_goal": np.zeros((2, 1), np.float32),
            "desired_goal": np.array(far, np.float32),
        }

    def step(self, action: Any) -> Any:
        at_goal, ended = [], []
        for env in range(2):
            self.steps[env] += 1
            step, seed = self.steps[env], self.seeds[env]
            if self.first[env]:
                at_goal.append(step in self.there[seed])
                ended.append(step == length_of(seed))
                if ended[-1]:
                    self.first[env] = False
            else:
                at_goal.append(True)
                ended.append(step % 3 == 0)
        info = {"is_success": np.array(at_goal)}
        reward = np.where(at_goal, 1.0, 0.0)
        return self._observation(), reward, np.zeros(2, bool), np.array(ended), info


def length_of(seed: int) -> int:
    return seed % 5 + 2


def test_only_the_first_episode_of_a_seed_counts_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five instances, two at a time: lengths, steps at the goal and success by hand."""
    monkeypatch.setattr("rl_serial.subjects.goals.evaluation.MOST_AT_A_TIME", 2)
    evaluator = GoalEvaluator(lambda count: Scripted({}), 5, seed=3)
    seeds = [int(s) for s in evaluator.seeds]
    there = {
        seeds[0]: {1, length_of(seeds[0])},  # at the start and at the end
        seeds[1]: {1},  # passed through
        seeds[2]: set(),
        seeds[3]: {length_of(seeds[3])},  # only at the end
        seeds[4]: {length_of(seeds[4]) + 1},  # after its end: does not count
    }
    evaluator.env.there = there
    agent: Any = type("Idle", (), {"act": lambda self, observation: np.zeros((2, 1))})()
    found = evaluator(agent)
    assert found.length.tolist() == [length_of(s) for s in seeds]
    assert found.at_goal.tolist() == [2, 1, 0, 1, 0]
    assert found.success.tolist() == [True, False, False, True, False]
    assert found.returns.tolist() == [2, 1, 0, 1, 0]
    assert found.distance.tolist() == [s % 10_000 for s in seeds]
    metrics = tagged(found.measurements())
    assert metrics["eval/success"] == pytest.approx(2 / 5)
    assert metrics["eval/success_ever"] == pytest.approx(3 / 5)
    assert metrics["eval/time_at_goal"] == pytest.approx(4 / 5)


def test_classes_of_distance_hold_a_quarter_each_from_near_to_far() -> None:
    distance = np.array([8.0, 1, 7, 2, 6, 3, 5, 4])
    near = distance <= 4
    found = GoalEvaluation(
        distance=distance,
        length=np.full(8, 10),
        at_goal=np.where(near, 5, 1),
        success=near,
        returns=np.zeros(8),
    )
    metrics = tagged(found.measurements())
    assert [metrics[f"eval/success/distance_{k}"] for k in (1, 2, 3, 4)] == [1, 1, 0, 0]
    assert [metrics[f"eval/time_at_goal/distance_{k}"] for k in (1, 2, 3, 4)] == [5, 5, 1, 1]
    final = found.final()
    assert [final[f"eval/distance_{k}"] for k in (1, 2, 3, 4)] == [1.5, 3.5, 5.5, 7.5]
    # Wilson's interval of 4 in 8, from a table: 0.2152 to 0.7848.
    assert final["eval/success_interval"] == pytest.approx([0.2152, 0.7848], abs=1e-4)


# --- runs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mujoco")
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(reach(), folder, device="cpu", progress=False)
    return folder


def test_a_run_logs_goals_losses_and_accounts(finished: Path) -> None:
    header, *rows = (finished / "metrics.csv").read_text().splitlines()
    columns = header.split(",")
    for tag in ("eval/success", "eval/time_at_goal/distance_4", "train/critic_loss", "train/alpha"):
        assert tag in columns
    last = dict(zip(columns, rows[-1].split(","), strict=True))
    assert float(last["train/critic_loss"]) > 0
    config, _ = load_run(finished, "cpu")
    trainer = subject_of(config).trainer(_cpu(), lambda *_: None)
    critic = account(trainer.networks["critic"], trainer.examples["critic"])
    # φ sees 4 + 2 + 2 numbers, ψ 2; input layer and four of width 8 with norms, a head of 64.
    trunk = [8 * (n + 1) + 16 + 4 * (8 * 9 + 16) + 64 * 9 for n in (8, 2)]
    assert critic.parameters == sum(trunk)
    assert critic.critical_path == 6


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


def test_commands_take_runs_in_goal_environments(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = tmp_path / "success.png"
    assert main(["evaluate", str(finished), "--instances", "4", "--figure", str(figure)]) == 0
    printed = capsys.readouterr().out
    assert "steps at the goal" in printed
    assert "of 10" in printed
    assert figure.stat().st_size > 0
    gif = tmp_path / "episode.gif"
    assert main(["watch", str(finished), "--gif", str(gif)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("distance") == 11
    assert gif.stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--per-remaining", "5"], "--per-remaining: the examination of"),
        (["evaluate", "--instances", "3"], "evaluation.instances: at least 4"),
        (["evaluate", "--simulations", "1"], "searches are for chains"),
        (["watch", "--simulations", "1"], "searches are for chains"),
    ],
)
def test_commands_refuse_what_goals_have_not(
    finished: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([arguments[0], str(finished), *arguments[1:]]) == 2
    assert message in capsys.readouterr().err


# --- configurations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": {"id": "rl_serial/CircuitBet-v0"}}, "is a chain, where agent.kind"),
        ({"network": {"kind": "transformer", "depth": 6, "width": 8}}, r"network\.kind"),
        ({"agent": REACH["agent"] | {"prefill": 41}}, "more than the 40 steps"),
        ({"agent": REACH["agent"] | {"processes": 3}}, r"agent\.processes: 1, or .*=4"),
        ({"agent": {"kind": "ppo"}}, "is a goal environment, where agent.kind ppo"),
        ({"evaluation": {"simulations": [1]}}, r"evaluation\.simulations"),
    ],
)
def test_configurations_that_do_not_go_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        reach(**changes)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"id": "rl_serial/Reech-v0"}, r"^env: rl_serial/Reech-v0: no such environment"),
        ({"id": "rl_serial/Reach-v0", "num_envs": 3}, r"^env\.num_envs: belongs to the agent"),
        ({"id": "rl_serial/Reach-v0", "task": "Push"}, r"^env\.task: is Reach in"),
        (
            {"id": "rl_serial/Reach-v0", "autoreset_mode": "Disabled"},
            r"^env\.autoreset_mode: is SAME",
        ),
        ({"id": "rl_serial/GoalReacher-v0", "frame_skip": 0}, r"env: rl_serial/GoalReacher-v0: "),
    ],
)
def test_environments_that_cannot_be_made(env: dict[str, Any], message: str) -> None:
    pytest.importorskip("mujoco")
    with pytest.raises(UserError, match=message):
        GoalSubject(reach(env=env))


def test_psi_takes_the_width_that_meets_phis_budget() -> None:
    pytest.importorskip("mujoco")
    network = {"depth": 4, "budget": {"parameters": 20000}, "scaled": False}
    trainer = subject_of(reach(network=network)).trainer(_cpu(), lambda *_: None)
    critic: Any = trainer.networks["critic"]
    assert sum(p.numel() for p in critic.phi.parameters()) == pytest.approx(20000, rel=0.02)
    assert critic.phi.trunk.width == critic.psi.trunk.width


def test_a_budget_replaces_a_width_key_by_key(tmp_path: Path) -> None:
    import yaml

    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(REACH))
    network = load_config(file, ["network.budget.parameters=20000"]).network
    assert network is not None
    assert network.width is None


STUDY = """
question: does it?
base:
  env: {id: rl_serial/Reach-v0}
  network: {depth: 4, width: 8}
  agent: {kind: contrastive}
grid: {network.depth: [4, 8]}
seeds: 1
metric: [METRIC]
"""


@pytest.mark.parametrize(
    ("metric", "fine"),
    [("eval/success", True), ("eval/time_at_goal/distance_4", True), ("eval/score", False)],
)
def test_studies_know_what_goal_runs_log(metric: str, fine: bool, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY.replace("METRIC", metric))
    if fine:
        assert len(load_study(file).runs) == 2
    else:
        with pytest.raises(UserError, match="is never logged; there are eval/success, "):
            load_study(file)
