"""Every metric that a study accepts for a run is logged by it, for every kind of agent."""

from __future__ import annotations

import csv
import importlib.util
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rl_serial.agents.registry import AGENTS
from rl_serial.errors import UserError
from rl_serial.loading import parse_config
from rl_serial.runs.files import read_summary
from rl_serial.runs.run import train
from rl_serial.study.design import plan
from rl_serial.study.measures import final_metrics, measures_of
from rl_serial.subjects import row_of

ASKED = [0, 2]
CHAIN: dict[str, Any] = {
    "env": {"id": "rl_serial/PermutationAutomatonSteer-v0", "serial_depth": 3, "decisions": 1},
    "network": {"depth": 1, "width": 4},
    "evaluation": {"instances": 64, "per_remaining": 16, "simulations": ASKED},
}
GOAL: dict[str, Any] = {
    "env": {"id": "rl_serial/Reach-v0"},
    "network": {"depth": 4, "width": 8},
    "evaluation": {"instances": 32},
}
CONTROL: dict[str, Any] = {
    "env": {"id": "Reacher-v5"},
    "evaluation": {"instances": 2},
}
PUZZLE: dict[str, Any] = {
    "env": {"id": "rl_serial/Sudoku-v0", "size": 4, "blanks": 8},
    "network": {"kind": "transformer", "layers": 1, "width": 8},
    "evaluation": {"instances": 8, "rounds": [1], "per_rounds": 8, "every": 2},
}
PPO = {"n_steps": 4, "batch_size": 16}
DQN = {"buffer_size": 64, "learning_starts": 8}
SAC = {"buffer_size": 4000, "learning_starts": 400, "batch_size": 16}
RUNS: dict[str, dict[str, Any]] = {
    "value": CHAIN
    | {
        "agent": {"updates": 4, "batch_size": 8},
        "evaluation": CHAIN["evaluation"] | {"loops": [2]},
    },
    "cloning": CHAIN
    | {
        "agent": {"updates": 4, "batch_size": 8},
        "evaluation": {"instances": 64, "per_remaining": 16},
    },
    "ppo": CHAIN | {"agent": {"timesteps": 64, "num_envs": 4, "arguments": PPO}},
    "maskable_ppo": CHAIN | {"agent": {"timesteps": 64, "num_envs": 4, "arguments": PPO}},
    "dqn": CHAIN | {"agent": {"timesteps": 64, "num_envs": 4, "arguments": DQN}},
    "qrdqn": CHAIN | {"agent": {"timesteps": 64, "num_envs": 4, "arguments": DQN}},
    "search": CHAIN
    | {
        "model_network": {"depth": 1, "width": 8},
        "agent": {
            "dynamics": "learned",
            "timesteps": 60,
            "num_envs": 4,
            "simulations": 2,
            "updates": 1,
        },
    },
    "self_play": {
        "env": {"id": "rl_serial/Hex-v0", "size": 3},
        "network": {"kind": "conv", "depth": 1, "width": 4},
        "agent": {
            "kind": "search",
            "timesteps": 20,
            "num_envs": 4,
            "simulations": 2,
            "updates": 1,
        },
        "evaluation": {"instances": 4, "per_plies": 16, "simulations": ASKED},
    },
    "random": {k: v for k, v in CHAIN.items() if k != "network"}
    | {"agent": {}, "evaluation": {"instances": 64, "per_remaining": 16}},
    "optimal": {k: v for k, v in CHAIN.items() if k != "network"} | {"agent": {}},
    "contrastive": GOAL
    | {
        "agent": {
            "timesteps": 800,
            "num_envs": 4,
            "unroll": 50,
            "updates": 1,
            "batch_size": 16,
            "prefill": 100,
        }
    },
    "sac": GOAL | {"agent": {"timesteps": 600, "num_envs": 4, "arguments": SAC}},
    "sac_her": GOAL | {"agent": {"timesteps": 600, "num_envs": 4, "arguments": SAC}},
    "cem": CONTROL | {"agent": {"horizon": 2, "planner": {"samples": 8, "iterations": 1}}},
    "mppi": CONTROL | {"agent": {"horizon": 2, "planner": {"samples": 8}}},
    "denoising": {
        "env": {"id": "rl_serial/PermutationAutomatonBet-v0", "serial_depth": 3},
        "network": {"kind": "transformer", "layers": 1, "width": 8},
        "agent": {"steps": 2, "updates": 4, "batch_size": 8},
        "evaluation": {"instances": 64, "per_remaining": 16},
    },
    "solver": PUZZLE | {"agent": {"updates": 4, "batch_size": 8, "gaussian": 0.5}},
    "ordering": PUZZLE
    | {
        "policy_network": PUZZLE["network"],
        "agent": {"updates": 4, "batch_size": 8, "policy_updates": 2, "puzzles": 4, "rollouts": 2},
    },
}


def test_every_kind_of_agent_is_tried() -> None:
    assert {run["agent"].get("kind", kind) for kind, run in RUNS.items()} == set(AGENTS)


@pytest.mark.parametrize("kind", RUNS)
def test_every_metric_that_a_study_accepts_is_logged(kind: str, tmp_path: Path) -> None:
    data = RUNS[kind] | {"agent": {"kind": kind} | RUNS[kind]["agent"]}
    if "Steer" not in data["env"]["id"] and importlib.util.find_spec("mujoco") is None:
        pytest.skip("needs mujoco")
    config = parse_config({"name": kind} | data, "run")
    accepted: set[str] = set()
    for metric in measures_of(config.model_dump(mode="json")):
        study = {
            "question": "?",
            "base": data,
            "grid": {"evaluation.seed": [0]},
            "seeds": 1,
            "metric": metric,
        }
        with suppress(UserError):
            accepted |= set(final_metrics(plan(study, "file.yaml", "study")))
    on_puzzles = "Sudoku" in data["env"]["id"]
    assert ("eval/solved" if on_puzzles else "eval/return") in accepted
    assert ("loops/2/serial_reach" in accepted) == (kind == "value")
    train(config, tmp_path / kind, progress=False)
    summary = read_summary(tmp_path / kind)
    assert summary["status"] == "done", "a study would make the run again"
    final = summary["final"]
    missing = accepted - set(final)
    if kind == "self_play":  # so small a board has no positions of some groups
        missing = {tag for tag in missing if "plies_" not in tag}
    assert missing == set()
    # And what an examination logs is a metric of the subject that a study would accept.
    [*_, last] = csv.DictReader((tmp_path / kind / "metrics.csv").read_text().splitlines())
    own = {
        tag
        for tag, cell in last.items()
        if cell and not tag.startswith(("train/", "step", "search/", "self_play/"))
    }
    assert own <= accepted


@pytest.mark.parametrize("kind", RUNS)
def test_metrics_of_a_subject_are_those_that_it_lists(kind: str) -> None:
    data = RUNS[kind] | {"agent": {"kind": kind} | RUNS[kind]["agent"]}
    config = parse_config({"name": kind} | data, "run")
    row = row_of(config.env.id, config.agent.kind, None)
    places = list(row.places(config))
    assert {place.metric for place in places} <= set(row.metrics)
    assert len({place.metric.at(place.index) for place in places}) == len(places)
    for place in places:
        assert set(place.index) == set(place.metric.names)
        assert place.metric.described(place.index)
