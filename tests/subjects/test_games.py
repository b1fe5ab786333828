"""Games as a subject: positions, examination, floor, errors, and what a run makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_serial.agents.baselines import OptimalAgent, RandomAgent
from rl_serial.cli import main
from rl_serial.envs.games.duel import make_duel
from rl_serial.errors import OptionError, UserError
from rl_serial.loading import parse_config
from rl_serial.metrics import tagged
from rl_serial.subjects import row_of
from rl_serial.subjects.games.evaluation import GameEvaluator, right_signs, serial_horizon


def run(**changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "env": {"id": "rl_serial/Hex-v0", "size": 3},
        "network": {"kind": "residual", "depth": 1, "width": 16},
        "agent": {"kind": "value", "updates": 4, "batch_size": 16},
        "evaluation": {"instances": 16, "per_plies": 16, "every": 4},
    }
    for path, value in changes.items():
        *parents, key = path.split("__")
        part = data
        for parent in parents:
            part = part[parent]
        part[key] = value
    return data


def test_positions_are_balanced_and_the_best_and_random_play_bound_what_is_found() -> None:
    task: Any = make_duel("Hex", size=3, opponent="perfect", seat="first")
    examine = GameEvaluator(task, 32, 32, [2, 4, 6, 8, 10], 0)
    part = examine.positions
    assert part is not None
    for group in np.unique(part.plies):
        values = part.values[part.plies == group]
        assert values.sum() == 0  # as many won as lost
        exact = task.remaining(part.state)[part.plies == group]
        np.testing.assert_array_equal(exact, np.where(values > 0, group - 1, group))
    best = examine(OptimalAgent(task))
    assert best.sign is not None
    assert best.sign.all()
    assert best.kept.all()
    assert (best.returns == 1).all()  # the first player wins Hex
    worst = examine(RandomAgent(task, 0))
    assert worst.sign is None
    assert 0.2 < worst.kept[worst.choice].mean() < 0.8
    assert worst.returns.mean() < 0
    floor = examine.floor(8192, 0, task)
    assert floor is not None
    assert floor.sign["constant"].mean() == pytest.approx(0.5)
    assert floor.sign["memoriser"].mean() > 0.7  # 3 by 3 has few positions
    none = examine.floor(0, 0, task)
    assert none is not None
    np.testing.assert_array_equal(none.sign["memoriser"], none.sign["constant"])


def test_signs_and_horizon_by_hand() -> None:
    values = np.array([0.2, -0.2, 0.6, -0.9], np.float32)
    exact = np.array([1, 1, 1, -1], np.int8)
    assert right_signs(values, exact, has_draws=False).tolist() == [True, False, True, True]
    with_draws = np.array([0, 0, 1, 1], np.int8)
    assert right_signs(values, with_draws, has_draws=True).tolist() == [True, True, True, False]
    assert serial_horizon({2: 1.0, 4: float("nan"), 6: 0.9, 8: 0.89, 10: 1.0}) == 6
    assert serial_horizon({2: 0.5}) == 0


def test_a_run_logs_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hex.yaml").write_text(json.dumps(run()))
    main(["train", "hex.yaml"])
    summary = json.loads((tmp_path / "runs/hex/summary.json").read_text())
    config = parse_config(run(), "hex", [], default_name="hex")
    places = {place.tag for place in row_of("rl_serial/Hex-v0", "value", None).places(config)}
    logged = {tag for tag in summary["final"] if tag.split("/")[0] in ("value", "floor", "eval")}
    counts = {tag for tag in logged if tag.startswith("eval/positions/plies_")}
    assert counts
    logged -= {"eval/return_interval", "eval/instances", *counts}
    assert logged <= places
    assert {tag for tag in places - logged if "plies_" not in tag} == set()  # groups without any
    main(["evaluate", "runs/hex"])
    opponent = make_duel("Hex", size=3, opponent="run:runs/hex", seat="first")
    state = opponent.step(opponent.initial(np.arange(4)), np.array([0, 1, 2, 3])).state
    assert (np.asarray(state.game.board) != 0).sum(axis=1).tolist() == [2, 2, 2, 2]
    with pytest.raises(OptionError, match="was trained on another board"):
        make_duel("Hex", size=4, opponent="run:runs/hex")


def test_masked_ppo_plays_too() -> None:
    data = run(
        env={"id": "rl_serial/ConnectFour-v0", "width": 4, "height": 4, "opponent": "perfect"},
        agent={
            "kind": "maskable_ppo",
            "timesteps": 64,
            "num_envs": 4,
            "arguments": {"n_steps": 8, "batch_size": 16, "n_epochs": 1},
        },
    )
    config = parse_config(data, "run", [], default_name="run")
    from torch import device

    from rl_serial.subjects import subject_of

    subject = subject_of(config)
    examine = subject.examiner()
    trainer = subject.trainer(device("cpu"), lambda *_: None)
    trainer.train(lambda: None)
    found: Any = subject.last_examination(examine, trainer)
    tags = tagged(found.measurements())
    assert tags["eval/return"] <= 0  # nobody wins against perfect play of a drawn game
    assert 0 <= tags["value/sign"] <= 1


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"env__size": 0}, "env.size"),
        ({"env__width": 3}, "env.width"),
        ({"env__size": 7}, "agent.kind"),
        ({"agent": {"kind": "cloning"}, "evaluation__loops": [2]}, "evaluation.loops"),
    ],
)
def test_what_does_not_go_together_is_named(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError) as error:
        parse_config(run(**changes), "run", [], default_name="run")
    assert error.value.faults[0].key == key
