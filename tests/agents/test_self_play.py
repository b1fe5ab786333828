"""Search in games and self-play: what perfect values give, turns, symmetries, resume, players."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.agents.baselines import OptimalAgent
from rl_serial.agents.dynamics import CountedDynamics
from rl_serial.agents.protocols import Judgement, Preference, decide
from rl_serial.agents.search import (
    GameDynamics,
    OnePlyAgent,
    SearchAgent,
    SearchPlayer,
    SelfPlayTrainer,
)
from rl_serial.agents.search.trainer import value_targets
from rl_serial.cli import main
from rl_serial.envs.games import ConnectFour, Hex, perfect_play
from rl_serial.envs.games.duel import Duel, DuelState, make_duel
from rl_serial.envs.random import episode_seeds
from rl_serial.errors import OptionError, UserError
from rl_serial.loading import parse_config
from rl_serial.subjects import subject_of
from rl_serial.subjects.games.simulations import openings_not_won, won_openings
from rl_serial.subjects.games.watching import watch_game

torch.set_num_threads(1)


class Ignorant:
    """Says nothing of any position."""

    preference = Preference.PROBABILITY

    def __init__(self, task: Any) -> None:
        self.task = task

    def judge(self, state: Any) -> Judgement:
        legal = np.asarray(self.task.legal_actions(state))
        shares = (legal / legal.sum(axis=1, keepdims=True)).astype(np.float32)
        return Judgement(shares, np.zeros(len(legal), np.float32))


def run(**agent: Any) -> dict[str, Any]:
    small = {"timesteps": 60, "num_envs": 4, "simulations": 4, "updates": 2, "batch_size": 8}
    return {
        "name": "hex",
        "env": {"id": "rl_serial/Hex-v0", "size": 3},
        "network": {"kind": "conv", "depth": 2, "width": 4},
        "agent": {"kind": "search", **small, **agent},
        "evaluation": {"instances": 8, "per_plies": 16, "every": 30},
    }


def trainer(**agent: Any) -> SelfPlayTrainer:
    made: Any = subject_of(parse_config(run(**agent), "run")).trainer(
        torch.device("cpu"), lambda *_: None
    )
    return made  # type: ignore[no-any-return]


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
def test_search_with_the_perfect_value_never_loses_a_won_position(algorithm: str) -> None:
    game = Hex(3)
    task: Any = Duel(game, "perfect")
    for simulations in (1, 16):
        agent = SearchAgent(
            task, OptimalAgent(task), GameDynamics(game), simulations, algorithm, backend="auto"
        )
        assert openings_not_won(agent, game) == 0
    assert openings_not_won(OnePlyAgent(task, OptimalAgent(task), GameDynamics(game)), game) == 0
    assert openings_not_won(Ignorant(task), game) > 0.3


def test_won_openings_by_hand() -> None:
    """3 by 3: as many as a plain search over all games finds."""
    game = Hex(3)
    state = won_openings(game)
    values = perfect_play(game).values(state)
    assert (values == 1).all()
    ply = np.asarray(state.ply)
    assert (ply == 0).sum() == 1
    assert (ply == 1).sum() == sum(_wins({cell: 1}, 2) for cell in range(9))
    both = [(a, b) for a in range(9) for b in range(9) if a != b]
    assert (ply == 2).sum() == sum(_wins({a: 1, b: 2}, 1) for a, b in both)


def _wins(board: dict[int, int], player: int) -> bool:
    """Whether ``player``, who is to move, wins 3 by 3 Hex; the first joins top and bottom."""
    for cell in range(9):
        if cell in board:
            continue
        after = board | {cell: player}
        if _joined(after, player) or not _wins(after, 3 - player):
            return True
    return False


def _joined(board: dict[int, int], player: int) -> bool:
    own = {divmod(cell, 3) for cell, who in board.items() if who == player}
    line = 0 if player == 1 else 1
    found = {place for place in own if place[line] == 0}
    while True:
        near = {
            (r + a, c + b)
            for r, c in found
            for a, b in ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, 1), (1, -1))
        }
        more = found | (near & own)
        if more == found:
            return any(place[line] == 2 for place in found)
        found = more


def test_a_long_search_finds_who_wins_without_knowing_anything() -> None:
    """By the rules alone, seen by who is to move; both seats of a game against an opponent."""
    game = ConnectFour(4, 4, 3)
    task: Any = Duel(game, "random")
    state = game.initial(1)
    for column in (0, 3, 0, 3):  # two in a column for each: who is to move wins at once
        state = game.step(state, np.array([column])).state
    duel = DuelState(state, np.zeros(1, np.int64), np.zeros(1, np.int64))
    output, _ = SearchAgent(task, Ignorant(task), GameDynamics(game), 200).search(duel)
    assert output.action[0] == 0
    assert output.qvalues[0, 0] == 1
    assert output.value[0] > 0
    lost = game.step(state, np.array([1])).state  # it lets the other one win
    duel = DuelState(lost, np.zeros(1, np.int64), np.ones(1, np.int64))
    assert SearchAgent(task, Ignorant(task), GameDynamics(game), 200).search(duel)[0].action[0] == 3


def test_one_ply_sees_what_is_good_for_the_other_as_bad() -> None:
    game = Hex(3)
    task: Any = Duel(game, "random")
    state = task.initial(np.arange(8))
    counted = CountedDynamics(GameDynamics(game))
    judgement = OnePlyAgent(task, OptimalAgent(task), counted).judge(state)
    exact = task.action_values(state)
    legal = np.asarray(task.legal_actions(state))
    np.testing.assert_array_equal(judgement.preferences[legal], exact[legal])


def test_value_targets_change_sides_with_the_turn() -> None:
    """Game 0: the first player wins at its second move; game 1: the second at its first."""
    rewards = np.array([[0, 0], [0, 1], [1, 0]], np.float32)
    roots = np.array([[0.5, 0.1], [-0.25, 0.2], [0.75, 0.0]], np.float32)
    lengths = np.array([3, 2])
    final = value_targets("final", rewards, roots, lengths, 1, -1.0)
    np.testing.assert_array_equal(final, [[1, -1], [-1, 1], [1, 0]])
    one = value_targets("n_step", rewards, roots, lengths, 1, -1.0)
    np.testing.assert_allclose(one[:, 0], [0.25, -0.75, 1])
    np.testing.assert_allclose(one[:2, 1], [-0.2, 1])
    two = value_targets("n_step", rewards, roots, lengths, 2, -1.0)
    np.testing.assert_allclose(two[:, 0], [0.75, -1, 1])
    np.testing.assert_array_equal(
        value_targets("final", rewards[:, :1], roots[:, :1], lengths[:1], 1), [[1], [1], [1]]
    )


def test_moves_are_counted_and_say_what_came_of_them() -> None:
    learner = trainer(random_starts=0.5, symmetries=False)
    learner.train(lambda: None)
    replay = learner.replay
    assert replay is not None
    assert replay.value.size == learner.step >= 60
    assert set(np.unique(replay.value)) <= {-1, 1}
    assert (replay.policy[~replay.legal] == 0).all()
    np.testing.assert_allclose(replay.policy.sum(axis=1), 1, rtol=1e-5)
    assert learner.metrics["self_play/reused"] > 0
    assert trainer(reuse=False)._play() is not None


def test_updates_see_boards_turned_with_their_policies() -> None:
    learner = trainer()
    learner._remember(learner._play())
    assert learner.replay is not None
    own = learner.replay
    boards = own.observation[:, :27].reshape(-1, 9, 3)
    row = int(np.argmax((boards != boards[:, ::-1]).any(axis=(1, 2))))
    drawn = learner._drawn(np.full(64, row))
    seen = drawn["observation"][:, :27].reshape(64, 9, 3)
    turned = (seen != boards[row]).any(axis=(1, 2))
    assert 16 < turned.sum() < 48
    for turn, board, policy in zip(turned, seen, drawn["policy"], strict=True):
        step = -1 if turn else 1  # half a turn of the board is its cells backwards
        np.testing.assert_array_equal(board, boards[row, ::step])
        np.testing.assert_array_equal(policy, own.policy[row, ::step])
    assert (drawn["observation"][:, 27:] == own.observation[row, 27:]).all()


def test_a_run_goes_on_as_if_unbroken_and_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, broken, later = (trainer(random_starts=0.5) for _ in range(3))
    unbroken.train(lambda: None)

    def stop() -> None:
        if broken.step > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.train(stop)
    later.load_state_dict(broken.state_dict())
    later.train(lambda: None)
    assert later.step == unbroken.step
    for key, weights in unbroken.policy.state_dict().items():
        torch.testing.assert_close(later.policy.state_dict()[key], weights, rtol=0, atol=0)
    assert later.metrics == unbroken.metrics

    monkeypatch.chdir(tmp_path)
    data = run(random_starts=0.5)
    data["evaluation"] |= {"simulations": [0, 4]}
    (tmp_path / "hex.yaml").write_text(json.dumps(data))
    main(["train", "hex.yaml"])
    final = json.loads((tmp_path / "runs/hex/summary.json").read_text())["final"]
    searched = {"search/openings_not_won/4", "search/return_against_perfect/0"}
    assert {"raw/sign", *searched} <= set(final)
    assert final["raw/kept"] == final["search/kept/0"]  # without simulations the network plays
    main(["evaluate", "runs/hex", "--simulations", "0,4"])
    main(["watch", "runs/hex"])
    games = []
    for opponent in ("run:runs/hex", "run:runs/hex@8"):
        task = make_duel("Hex", size=3, opponent=opponent, seat="second")
        games.append(np.asarray(task.initial(np.arange(2)).game.board))
        assert (games[-1] != 0).sum() == 2
    with pytest.raises(OptionError, match="was trained on another board"):
        make_duel("Hex", size=4, opponent="run:runs/hex@8")
    with pytest.raises(UserError, match="no run here"):
        make_duel("Hex", size=3, opponent="run:runs/hex@x")


def test_the_player_and_the_agent_search_alike() -> None:
    game = Hex(3)
    task: Any = Duel(game, "random")
    learner = trainer()
    state = task.initial(np.arange(16))
    player = SearchPlayer(game, learner.raw_agent, 8)
    agent = SearchAgent(task, learner.raw_agent, GameDynamics(game), 8)
    np.testing.assert_array_equal(player.act(state.game, state.seeds), agent.judge(state).action)


def test_watching_shows_board_and_tree(capsys: pytest.CaptureFixture[str]) -> None:
    config = parse_config(run(), "run")
    subject = subject_of(config)
    learner: Any = trainer(simulations=12)
    moments = subject.watch(learner.agent)
    text = moments[0].text()
    assert "visits" in text
    assert "search (visits" in text
    shapes = {moment.picture().shape for moment in moments}
    assert len(shapes) == 1
    assert subject.watch(learner.raw_agent)[0].picture().shape[1] < next(iter(shapes))[1]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"agent": {"kind": "search", "dynamics": "learned"}}, "agent.dynamics"),
        (
            {"agent": {"kind": "cloning"}, "evaluation": {"simulations": [4]}},
            "evaluation.simulations",
        ),
    ],
)
def test_what_does_not_go_together_is_named(changes: dict[str, Any], key: str) -> None:
    data = run() | changes
    if "learned" in data["agent"].values():
        data["model_network"] = {"width": 8}
    with pytest.raises(UserError) as error:
        parse_config(data, "run")
    assert error.value.faults[0].key == key


def test_what_only_games_have_is_refused_elsewhere() -> None:
    data = {
        "name": "x",
        "env": {"id": "rl_serial/PointerChaseSteer-v0"},
        "network": {"width": 8},
        "agent": {"kind": "search", "reuse": False},
    }
    with pytest.raises(UserError) as error:
        parse_config(data, "run")
    assert error.value.faults[0].key == "agent.reuse"


def test_a_watched_game_is_searched_once_a_move_and_is_the_one_that_the_agent_plays() -> None:
    game = Hex(3)
    task: Any = Duel(game, "random")
    agent = SearchAgent(task, trainer().raw_agent, GameDynamics(game), 8)
    state, seen, played = task.initial(episode_seeds(3, 1, np, first=5)), 0, []
    while not state.ended.all():
        played.append(int(decide(agent.judge(state), task.legal_actions(state))[0]))
        state = task.step(state, np.array(played[-1:])).state

    class Counted(SearchAgent):
        def search(self, *arguments: Any, **keywords: Any) -> Any:
            nonlocal seen
            seen += 1
            return super().search(*arguments, **keywords)

    counted = Counted(task, agent.agent, GameDynamics(game), 8)
    moments = watch_game(counted, task, instance=5, seed=3)
    assert list(moments[-1].scene.actions) == played
    assert seen == len(played)
    assert all("visits" in moment.scene.values for moment in moments[:-1])
