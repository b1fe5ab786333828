"""DQN and PPO against themselves: who plays in which game, what a snapshot keeps, resume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.agents.protocols import Preference
from rl_serial.agents.sb3.past import PastSelves, Self
from rl_serial.envs.games import Hex
from rl_serial.errors import UserError
from rl_serial.loading import parse_config
from rl_serial.subjects import subject_of

torch.set_num_threads(1)
ARGUMENTS = {
    "dqn": {"buffer_size": 400, "learning_starts": 16, "batch_size": 16, "train_freq": 1},
    "maskable_ppo": {"n_steps": 8, "batch_size": 16, "n_epochs": 1},
    "ppo": {"n_steps": 8, "batch_size": 16, "n_epochs": 1},
}


def run(kind: str, **agent: Any) -> dict[str, Any]:
    return {
        "name": "hex",
        "env": {"id": "rl_serial/Hex-v0", "size": 3, "opponent": "perfect", "mistakes": 0.5},
        "network": {"depth": 1, "width": 8},
        "agent": {
            "kind": kind,
            "timesteps": 256,
            "num_envs": 4,
            "arguments": ARGUMENTS[kind],
            **({"self_play": 2, "snapshot_every": 64} | agent),
        },
        "evaluation": {"instances": 8, "per_plies": 16, "every": 64},
    }


def made(kind: str, **agent: Any) -> Any:
    subject = subject_of(parse_config(run(kind, **agent), "run"))
    return subject.trainer(torch.device("cpu"), lambda *_: None)


class Fixed:
    """An agent with given preferences, the same everywhere."""

    def __init__(self, preference: Preference, numbers: list[float], rate: float = 0.0) -> None:
        self.preference, self.numbers = preference, torch.tensor([numbers])
        self.model: Any = self
        self.device, self.exploration_rate = torch.device("cpu"), rate

    def preferences(self, inputs: torch.Tensor, legal: Any) -> torch.Tensor:
        return self.numbers.expand(len(inputs), -1)


def moves(agent: Any, legal: list[bool], words: Any) -> np.ndarray[Any, Any]:
    rows = len(words)
    return Self(agent).moves(np.zeros((rows, 1)), np.tile(legal, (rows, 1)), np.asarray(words))


def test_moves_are_drawn_by_probabilities_of_what_is_legal_by_hand() -> None:
    """Legal shares 0.1 and 0.3, so the first below a quarter of all words, the last above."""
    agent = Fixed(Preference.PROBABILITY, [0.1, 0.6, 0.3])
    quarter = 2**30
    words = [[0, 0], [quarter - 99, 0], [quarter + 99, 0], [2**32 - 1, 0]]
    assert moves(agent, [True, False, True], words).tolist() == [0, 0, 2, 2]
    never = Fixed(Preference.PROBABILITY, [0.0, 1.0, 0.0])  # what is legal it would never do
    assert moves(never, [True, False, True], [[0, 0], [2**32 - 1, 0]]).tolist() == [0, 2]


def test_moves_are_the_best_legal_ones_but_where_it_explores() -> None:
    agent = Fixed(Preference.ACTION_VALUE, [0.1, 0.6, 0.3], rate=0.25)
    last = 2**32 - 1
    words = [[0, last], [0, 2**30 - 1], [last, 2**30 - 1], [0, 2**30]]
    assert moves(agent, [True, False, True], words).tolist() == [2, 0, 2, 2]


def test_a_game_has_one_opponent_and_each_has_as_many_games() -> None:
    trainer = made("dqn", self_play=3)
    selves: PastSelves = trainer.selves
    for number in range(3):
        selves.consider(64 * (number + 1))
    for number, one in enumerate([selves.now, *selves.past]):
        one.__dict__["agent"] = Fixed(Preference.ACTION_VALUE, np.eye(9)[number].tolist())
    games, game = np.arange(4000), Hex(3)
    action = selves.act_in(game.initial(4000), np.zeros(4000, np.int64), games)
    counts = np.bincount(action)
    assert counts.size == 4
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(4000 * 3 / 16)
    later = selves.act_in(game.initial(4000), np.ones(4000, np.int64), games)  # other dice
    np.testing.assert_array_equal(later, action)


@pytest.mark.parametrize("kind", list(ARGUMENTS))
def test_the_opponent_is_the_learner_now_and_as_it_was(kind: str) -> None:
    trainer = made(kind)
    selves = trainer.selves
    assert trainer.env.unwrapped.env.task.opponent is selves
    assert not selves.past
    first = {key: one.clone() for key, one in trainer.model.policy.state_dict().items()}
    kept: list[dict[str, torch.Tensor]] = []

    def pause() -> None:
        if len(kept) < selves.taken:
            kept.append({k: v.clone() for k, v in trainer.model.policy.state_dict().items()})

    trainer.train(pause)
    assert selves.taken == 3  # after 64, 128 and 192 timesteps; the third took the first's place
    assert selves.now.agent.model is trainer.model
    for one, weights in zip(selves.past, (kept[2], kept[1]), strict=True):
        for key, there in one.agent.model.policy.state_dict().items():
            torch.testing.assert_close(there, weights[key], rtol=0, atol=0)
    assert any(not torch.equal(kept[0][key], first[key]) for key in first)


@pytest.mark.parametrize("kind", ["dqn", "maskable_ppo"])
def test_a_run_goes_on_as_if_unbroken(kind: str) -> None:
    unbroken = made(kind)  # generators are global, so each is made where it begins
    unbroken.train(lambda: None)
    broken = made(kind)
    saved: list[Any] = []

    def stop() -> None:
        if broken.step >= 160:
            saved.append(broken.state_dict())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.train(stop)
    later = made(kind)
    later.load_state_dict(saved[0])
    later.train(lambda: None)
    assert later.step == unbroken.step
    assert later.selves.taken == unbroken.selves.taken
    pairs = [(later.model, unbroken.model)]
    pairs += [
        (a.agent.model, b.agent.model)
        for a, b in zip(later.selves.past, unbroken.selves.past, strict=True)
    ]
    for found, wanted in pairs:
        for key, weights in wanted.policy.state_dict().items():
            torch.testing.assert_close(found.policy.state_dict()[key], weights, rtol=0, atol=0)


def test_the_examination_plays_the_runs_own_opponent() -> None:
    subject: Any = subject_of(parse_config(run("dqn"), "run"))
    assert subject.task.opponent == "perfect"
    assert subject.examiner().task.mistakes == 0.5
    assert made("dqn", self_play=None, snapshot_every=10_000).selves is None


@pytest.mark.parametrize(
    ("env", "agent", "key"),
    [
        ("rl_serial/PointerChaseSteer-v0", {"self_play": 0}, "agent.self_play"),
        ("CartPole-v1", {"self_play": 2}, "agent.self_play"),
        (None, {"self_play": 0, "snapshot_every": 5}, "agent.snapshot_every"),
        (None, {"self_play": -1}, "agent.self_play"),
    ],
)
def test_what_does_not_go_together_is_named(
    env: str | None, agent: dict[str, Any], key: str
) -> None:
    data = run("ppo")
    data["agent"] |= agent
    if env is not None:
        del data["evaluation"], data["agent"]["snapshot_every"]
        data["env"] = {"id": env}
    with pytest.raises(UserError) as error:
        parse_config(data, "run")
    assert error.value.faults[0].key == key
