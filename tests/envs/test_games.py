"""The rules of games against scalar ones written from docs/games.md, solvers against others."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from rl_serial.envs.games import (
    GAMES,
    ConnectFour,
    Game,
    Hex,
    PerfectPlayer,
    game_id,
    make_game,
    num_actions,
    outcome,
    perfect_play,
    planes,
    register_game,
    turned_observations,
    turned_policies,
)
from rl_serial.envs.games.duel import Duel, make_duel, random_positions
from rl_serial.envs.games.perfect import _ByRules, take
from rl_serial.envs.games.players import RandomPlayer
from rl_serial.errors import UnknownOption

BOARDS: list[Game[Any]] = [
    Hex(3),
    Hex(4, swap=True),
    Hex(5),
    ConnectFour(4, 4),
    ConnectFour(5, 4),
    ConnectFour(7, 6),
    ConnectFour(5, 3, line=3),
]


def hex_winner(board: dict[tuple[int, int], int], size: int) -> int:
    """1: X has joined top and bottom; -1: O left and right; 0: neither. By depth-first search."""
    for mark, axis in ((1, 0), (-1, 1)):
        reached = [cell for cell, stone in board.items() if stone == mark and cell[axis] == 0]
        seen = set(reached)
        while reached:
            r, c = reached.pop()
            if (r, c)[axis] == size - 1:
                return mark
            for near in (
                (r, c - 1), (r, c + 1), (r - 1, c), (r + 1, c), (r - 1, c + 1), (r + 1, c - 1)
            ):  # fmt: skip
                if board.get(near) == mark and near not in seen:
                    seen.add(near)
                    reached.append(near)
    return 0


def line_winner(board: dict[tuple[int, int], int], line: int) -> int:
    """The owner of ``line`` stones in a row, or 0."""
    for (r, c), mark in board.items():
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            if all(board.get((r + i * down, c + i * right)) == mark for i in range(line)):
                return mark
    return 0


class Scalar:
    """One game on the board as people see it, in plain Python."""

    def __init__(self, game: Game[Any], board: Any = None, mark: int = 1, ply: int = 0) -> None:
        self.game, self.board, self.mark, self.ply = game, dict(board or {}), mark, ply

    @property
    def winner(self) -> int:
        if isinstance(self.game, Hex):
            return hex_winner(self.board, self.game.size)
        assert isinstance(self.game, ConnectFour)
        return line_winner(self.board, self.game.line)

    @property
    def over(self) -> bool:
        return self.winner != 0 or len(self.board) == self.game.height * self.game.width

    def moves(self) -> list[str]:
        """Names of legal moves."""
        if self.over:
            return []
        letters = "abcdefghijklmnopqrstuvwxyz"
        if isinstance(self.game, ConnectFour):
            return [letters[c] for c in range(self.game.width) if (0, c) not in self.board]
        free = [
            f"{letters[c]}{r + 1}"
            for r in range(self.game.height)
            for c in range(self.game.width)
            if (r, c) not in self.board
        ]
        swaps = isinstance(self.game, Hex) and self.game.swap and self.ply == 1
        return free + (["swap"] if swaps else [])

    def play(self, name: str) -> Scalar:
        after = Scalar(self.game, self.board, -self.mark, self.ply + 1)
        if name == "swap":
            ((r, c),) = self.board
            after.board = {(c, r): self.mark}
            return after
        column = ord(name[0]) - ord("a")
        if isinstance(self.game, ConnectFour):
            row = max(r for r in range(self.game.height) if (r, column) not in self.board)
        else:
            row = int(name[1:]) - 1
        after.board[row, column] = self.mark
        return after

    def grid(self) -> Any:
        board = np.zeros((self.game.height, self.game.width), np.int8)
        for cell, mark in self.board.items():
            board[cell] = mark
        return board


def moves_of(game: Game[Any], state: Any, row: int) -> dict[str, int]:
    """Legal actions of a position by their names on the board."""
    actions = np.flatnonzero(np.asarray(game.legal(state))[row])
    player = np.full(actions.size, int(state.player[row]))
    return {
        game.action_names[seen]: int(action)
        for action, seen in zip(actions, game.on_board(actions, player), strict=True)
    }


@pytest.mark.parametrize("game", BOARDS, ids=str)
def test_random_games_go_as_in_plain_python_on_arrays_and_tensors(game: Game[Any]) -> None:
    dice = np.random.default_rng(0)
    batch = 12
    scalars = [Scalar(game) for _ in range(batch)]
    state, tensors = game.initial(batch), game.initial(batch, torch.zeros(1))
    for _ in range(game.most_plies):
        action = np.zeros(batch, np.int64)
        mover = np.array([scalar.mark for scalar in scalars])
        was_over = np.array([scalar.over for scalar in scalars])
        for row, scalar in enumerate(scalars):
            there = moves_of(game, state, row)
            assert sorted(there) == sorted(scalar.moves())
            if there:
                name = dice.choice(sorted(there))
                action[row], scalars[row] = there[name], scalar.play(name)
        transition = game.step(state, action)
        on_torch = game.step(tensors, torch.as_tensor(action))
        state, tensors = transition.state, on_torch.state
        winners = np.array([scalar.winner for scalar in scalars])
        np.testing.assert_array_equal(state.ended, [scalar.over for scalar in scalars])
        np.testing.assert_array_equal(transition.reward, np.where(was_over, 0, winners * mover))
        np.testing.assert_array_equal(
            game.absolute_board(state), [scalar.grid() for scalar in scalars]
        )
        marks = 1 - 2 * state.player
        np.testing.assert_array_equal(outcome(state), winners * marks)
        for part in ("board", "player", "ply", "ended", "result"):
            there = getattr(tensors, part).numpy()
            np.testing.assert_array_equal(there, getattr(state, part))
            assert there.dtype == getattr(state, part).dtype
        np.testing.assert_array_equal(game.observe(tensors).numpy(), game.observe(state))
        again = game.from_board(game.absolute_board(state), state.player, state.ply)
        for part in ("board", "player", "ply", "ended", "result"):
            np.testing.assert_array_equal(getattr(again, part), getattr(state, part))
    assert state.ended.all()


@pytest.mark.parametrize("game", BOARDS, ids=str)
def test_turned_boards_play_alike(game: Game[Any]) -> None:
    seeds = np.arange(40)
    state = random_positions(game, seeds, seeds % game.most_plies)
    for symmetry in game.symmetries:
        turned = game.from_board(state.board.reshape(-1, game.height, game.width), 0 * seeds)
        turned = game.from_board(
            state.board[:, list(symmetry.cells)].reshape(-1, game.height, game.width),
            0 * seeds,
            state.ply,
        )
        np.testing.assert_array_equal(
            turned_observations(game, game.observe(state), symmetry), game.observe(turned)
        )
        np.testing.assert_array_equal(
            turned_policies(game.legal(state), symmetry), game.legal(turned)
        )
        for action in range(num_actions(game)):
            one = game.step(turned, np.full(40, action))
            other = game.step(state, np.full(40, symmetry.actions[action]))
            np.testing.assert_array_equal(one.reward, other.reward)
            np.testing.assert_array_equal(
                game.observe(one.state).sum(axis=1), game.observe(other.state).sum(axis=1)
            )


@pytest.mark.parametrize("game", BOARDS, ids=str)
def test_both_players_see_their_own_side(game: Game[Any]) -> None:
    """Colours exchanged, and in Hex the board mirrored, nothing changes for who is to move."""
    seeds = np.arange(60)
    state = random_positions(game, seeds, seeds % game.most_plies)
    board = game.absolute_board(state)
    other = -board.transpose(0, 2, 1) if game.name == "Hex" else -board
    swapped = game.from_board(other, 1 - state.player, state.ply)
    assert len(set(state.player.tolist())) == 2
    np.testing.assert_array_equal(game.observe(swapped), game.observe(state))
    np.testing.assert_array_equal(game.legal(swapped), game.legal(state))


def test_planes_are_the_cells() -> None:
    game = ConnectFour(3, 2, line=2)
    state = game.step(game.initial(1), np.array([2])).state
    expected = np.zeros((1, 3, 2, 3))
    expected[0, 1, 1, 2] = 1  # the other's stone
    expected[0, 2] = [[1, 1, 1], [1, 1, 0]]
    np.testing.assert_array_equal(planes(game, game.observe(state)), expected)
    assert game.observe(state)[0, 18:].tolist() == [0, 0, 0, 0, 0, 1, 0]  # five cells are empty


@pytest.mark.parametrize("game", [Hex(3), ConnectFour(4, 4)], ids=str)
def test_a_move_that_is_not_legal_loses_and_an_end_is_an_end(game: Game[Any]) -> None:
    state = game.initial(1)
    for _ in range(4):  # the same column until it is full; the same cell twice
        action = np.array([0]) if game.name == "ConnectFour" else np.array([4])
        before, transition = state, game.step(state, action)
        state = transition.state
        if transition.terminated[0]:
            break
    if game.name == "ConnectFour":
        assert not state.ended[0]
        before, transition = state, game.step(state, np.array([0]))
        state = transition.state
    assert transition.reward[0] == -1
    assert state.ended[0]
    assert state.result[0] == 1
    np.testing.assert_array_equal(game.absolute_board(state), game.absolute_board(before))
    again = game.step(state, np.array([1]))
    assert again.reward[0] == 0
    assert again.terminated[0]
    assert not game.legal(again.state).any()


def test_text_by_hand() -> None:
    game = Hex(3)
    state = game.initial(1)
    for action in (1, 1):  # b1 for X; O sees its second cell of the first row as a2
        state = game.step(state, np.array([action])).state
    assert game.render(state)[0].splitlines() == [
        "move 3: X to play",
        "   a b c",
        " 1 . X .",
        "  2 O . .",
        "   3 . . .",
    ]


@cache
def naive(
    kind: str, position: tuple[tuple[tuple[int, int], int], ...], mark: int
) -> tuple[int, int]:
    """Value and plies for who is to move, by trying everything."""
    scalar = Scalar(make_game(*NAIVE[kind][:1], **NAIVE[kind][1]), dict(position), mark)
    if scalar.over:
        return scalar.winner * mark, 0
    found = []
    for name in scalar.moves():
        after = scalar.play(name)
        value, plies = naive(kind, tuple(sorted(after.board.items())), -mark)
        found.append((-value, plies + 1))
    best = max(value for value, _ in found)
    plies = [p for value, p in found if value == best]
    return best, min(plies) if best > 0 else max(plies)


NAIVE: dict[str, Any] = {
    "hex": ("Hex", {"size": 3}),
    "lines": ("ConnectFour", {"width": 3, "height": 3, "line": 3}),
    "wide": ("ConnectFour", {"width": 4, "height": 3, "line": 3}),
}


@pytest.mark.parametrize("kind", NAIVE)
def test_perfect_play_as_by_trying_everything(kind: str) -> None:
    game = make_game(NAIVE[kind][0], **NAIVE[kind][1])
    seeds = np.arange(40)
    state = random_positions(game, seeds, 3 + seeds % (game.most_plies - 3))
    for solver, rows in ((perfect_play(game).solve, seeds), (_ByRules(game), seeds[1::5])):
        some = take(state, rows)
        found = solver(some)
        values, plies = (found.values, found.plies) if hasattr(found, "values") else found
        boards = game.absolute_board(some)
        for row, board in enumerate(boards):
            stones = {
                (int(r), int(c)): int(board[r, c]) for r, c in zip(*np.nonzero(board), strict=True)
            }
            mark = 1 - 2 * int(some.player[row])
            expected = naive(kind, tuple(sorted(stones.items())), mark)
            assert (int(values[row]), int(plies[row])) == expected


def openings(game: Game[Any]) -> tuple[set[str], int]:
    """The first moves that win, and how long the game then lasts."""
    state = game.initial(1)
    moves = perfect_play(game).moves(state)
    winning = {game.action_names[a] for a in np.flatnonzero(moves.values[0] > 0)}
    return winning, int(perfect_play(game).plies(state)[0])


def test_hex_openings_are_the_published_ones() -> None:
    """Of 4 × 4 the short diagonal; of 3 × 3 all but one's own edges without the obtuse corners.

    The lengths 5 and 9 are KataHex's.
    """
    assert openings(Hex(2)) == ({"b1", "a2"}, 3)
    assert openings(Hex(3)) == ({"c1", "a2", "b2", "c2", "a3"}, 5)
    assert openings(Hex(4)) == ({"d1", "c2", "b3", "a4"}, 9)


def test_with_the_swap_rule_the_second_player_wins() -> None:
    for size in (2, 3, 4):
        game = Hex(size, swap=True)
        solver = perfect_play(game)
        state = game.initial(1)
        assert solver.values(state)[0] == -1
        for action in range(size**2):
            after = game.step(state, np.array([action])).state
            assert solver.values(after)[0] == 1
            swaps = solver.moves(after).values[0, -1] == 1
            plain = Hex(size)
            won = perfect_play(plain).moves(plain.initial(1)).values[0, action] == 1
            assert swaps == won  # a swap takes over what would have won


@pytest.mark.parametrize(("width", "height"), [(4, 4), (5, 4), (4, 5), (5, 5)])
def test_small_connect_four_boards_are_draws(width: int, height: int) -> None:
    """Tromp's table of small boards; a draw fills the board."""
    game = ConnectFour(width, height)
    solved = perfect_play(game).solve(game.initial(1))
    assert solved.values[0] == 0
    assert solved.plies[0] == width * height


@pytest.mark.parametrize("game", [Hex(4), ConnectFour(5, 4)], ids=str)
def test_perfect_play_never_gives_away_a_position(game: Game[Any]) -> None:
    """Against random play too, and the game ends no later than the plies say of a win."""
    seeds = np.arange(100)
    state = random_positions(game, seeds, seeds % 8)
    perfect = perfect_play(game)
    solved, player = perfect.solve(state), state.player
    turn = np.zeros(100, dtype=np.bool_)
    plies, other, best = np.zeros(100, int), RandomPlayer(game), PerfectPlayer(game)
    while not state.ended.all():
        turn = ~turn
        rows = np.flatnonzero(~state.ended)
        some = take(state, rows)
        mine = best.act(some, seeds[rows])
        theirs = other.act(some, seeds[rows] + 1000 * (1 + plies[rows]))
        action = np.zeros(100, np.int64)
        action[rows] = np.where(turn[rows], mine, theirs)
        plies += ~state.ended
        state = game.step(state, action).state
    result = state.result * np.where(state.player == player, 1, -1)
    assert (result >= solved.values).all()
    won = solved.values > 0
    assert won.any()
    assert (plies[won] <= solved.plies[won]).all()
    lost = solved.values < 0
    slow = (result < 0) & lost
    assert (plies[slow] > 0).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Hex", {"size": 3, "swap": True, "opponent": "perfect"}),
        ("Hex", {}),
        ("ConnectFour", {"width": 4, "height": 4, "opponent": "perfect", "mistakes": 0.5}),
        ("ConnectFour", {}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*render:UserWarning")
def test_environments_keep_the_contract(name: str, options: dict[str, Any]) -> None:
    env = gym.make(game_id(name), render_mode="rgb_array", **options)
    check_env(env.unwrapped, skip_render_check=True)
    vector = gym.make_vec(game_id(name), num_envs=3, **options)
    observations, infos = vector.reset(seed=5)
    seen, info = env.reset(seed=6)
    dice = np.random.default_rng(0)
    for _ in range(30):
        np.testing.assert_array_equal(observations[1], seen)
        np.testing.assert_array_equal(infos["action_mask"][1], info["action_mask"])
        actions = np.array([dice.choice(np.flatnonzero(mask)) for mask in infos["action_mask"]])
        observations, rewards, ends, _, infos = vector.step(actions)
        seen, reward, ended, _, info = env.step(actions[1])
        assert (reward, ended) == (rewards[1], ends[1])
        if ended:
            seen, info = env.reset()
    assert env.render().shape[2] == 3
    env.close()
    vector.close()


def test_what_a_duel_pays_and_knows() -> None:
    task = make_duel("Hex", size=3, seat="first", opponent="perfect")
    state = task.initial(np.arange(2))
    assert task.remaining(state).tolist() == [5, 5]
    expected = [[-1, -1, 1, 1, 1, 1, 1, -1, -1]] * 2  # the openings above
    assert task.action_values(state).tolist() == expected
    lost = task.step(state, np.array([0, 4]))  # a1 loses, b2 wins
    for _ in range(4):
        legal = task.legal_actions(lost.state)
        values = np.where(legal, task.action_values(lost.state), -2)
        lost = task.step(lost.state, values.argmax(axis=1))
    assert lost.terminated.all()
    assert task.action_values(lost.state).tolist() == [[0.0] * 9] * 2
    assert task.legal_actions(lost.state).all()
    outcome_ = np.asarray(lost.state.game.result) * np.where(lost.state.game.player == 0, 1, -1)
    assert outcome_.tolist() == [-1, 1]
    second = make_duel("ConnectFour", width=4, height=4, seat="second")
    opened = second.initial(np.arange(50))
    assert (opened.game.ply == 1).all()
    assert len(set(np.abs(opened.game.board).argmax(axis=1).tolist())) == 4
    seats = make_duel("ConnectFour").initial(np.arange(400)).seat.mean()
    assert 0.4 < seats < 0.6
    midway = make_duel("Hex", size=4, start="uniform").initial(np.arange(200))
    assert not midway.ended.any()
    assert set(midway.game.ply.tolist()) >= set(range(8))
    assert (midway.seat == midway.game.player).all()


def test_an_opponent_of_ones_own() -> None:
    class Leftmost:
        def act(self, state: Any, seeds: Any) -> Any:
            return game.legal(state).argmax(axis=1)

    game = ConnectFour(4, 4)
    task = Duel(game, opponent=Leftmost(), seat="first")
    state = task.step(task.initial(np.arange(1)), np.array([3])).state
    assert task.game.absolute_board(state.game)[0, 3].tolist() == [-1, 0, 0, 1]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"size": 0}, "size"),
        ({"size": True}, "size"),
        ({"opponent": "strong"}, "opponent"),
        ({"opponent": "perfect", "size": 6}, "opponent"),
        ({"mistakes": 0.5}, "mistakes"),
        ({"mistakes": 2.0, "opponent": "perfect"}, "mistakes"),
        ({"seat": "third"}, "seat"),
        ({"start": "late"}, "start"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        make_duel("Hex", **options)


def test_unknown_games_and_options_are_named() -> None:
    with pytest.raises(UnknownOption, match="there are size, swap, opponent"):
        make_duel("Hex", width=4)
    with pytest.raises(ValueError, match="Hx: no such game; there are Hex, ConnectFour"):
        make_game("Hx")
    with pytest.raises(ValueError, match="line=9: must be 2 to the longer side, 7"):
        make_game("ConnectFour", line=9)
    with pytest.raises(ValueError, match="another game has this name"):
        register_game(type("Other", (), {"name": "Hex"}), "nobody")
    with pytest.raises(ValueError, match="at most 30 cells"):
        perfect_play(ConnectFour(7, 6))
    assert set(GAMES) == {"Hex", "ConnectFour"}


@pytest.mark.filterwarnings("ignore:The old environment creation API:DeprecationWarning")
@pytest.mark.parametrize("name", ["hex_v0", "connect_four_v0"])
def test_two_agents_take_turns(name: str) -> None:
    pytest.importorskip("pettingzoo")
    from pettingzoo.test import api_test

    from rl_serial.envs.games import aec

    options = {"size": 3, "swap": True} if name == "hex_v0" else {"width": 5, "height": 4}
    env = getattr(aec, name)(render_mode="ansi", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dictionaries with a mask are not what it calls usual
        api_test(env, num_cycles=100)
    env.reset()
    for action in (0, 2, 0, 2, 0, 2, 0) if name == "connect_four_v0" else (0, 6, 3, 7, 6):
        observation, reward, ended, *_ = env.last()
        assert not ended
        assert reward == 0
        assert observation["action_mask"][action] == 1
        env.step(action)
    # The first player has a line, or the first column of Hex from top to bottom.
    assert env.rewards == {"player_0": 1.0, "player_1": -1.0}
    assert all(env.terminations.values())
    assert "X has won" in env.render()


@pytest.mark.peers
def test_hex_on_5_by_5_is_won_in_thirteen_plies_from_the_centre() -> None:
    """As KataHex has it (without a proof); some seconds."""
    game = Hex(5)
    solver, empty = perfect_play(game), game.initial(1)
    found = solver.solve(empty)
    assert (found.values.tolist(), found.plies.tolist()) == ([1], [13])
    centre = solver.solve(game.step(empty, np.array([12])).state)
    assert (centre.values.tolist(), centre.plies.tolist()) == ([-1], [12])


@pytest.mark.peers
@pytest.mark.parametrize(
    ("game", "other"),
    [
        (Hex(3), "hex(board_size=3)"),
        (Hex(5), "hex(board_size=5)"),
        (ConnectFour(7, 6), "connect_four"),
        (ConnectFour(5, 4), "connect_four(rows=4,columns=5)"),
    ],
    ids=str,
)
def test_ten_thousand_random_games_go_as_in_openspiel(game: Game[Any], other: str) -> None:
    pyspiel = pytest.importorskip("pyspiel")
    rules = pyspiel.load_game(other)
    batch = 10_000
    peers = [rules.new_initial_state() for _ in range(batch)]
    state, player = game.initial(batch), RandomPlayer(game)
    ply = 0
    while not state.ended.all():
        rows = np.flatnonzero(~state.ended)
        some = take(state, rows)
        legal = game.legal(some)
        action = np.zeros(batch, np.int64)
        action[rows] = player.act(some, rows * 1000 + ply)
        actions = np.arange(legal.shape[1])
        for place, row in enumerate(rows):
            mine = actions[legal[place]]
            seen = game.on_board(mine, np.repeat(some.player[place], mine.size))
            assert sorted(seen.tolist()) == sorted(peers[row].legal_actions())
            assert peers[row].current_player() == some.player[place]
        seen = game.on_board(action, state.player)
        for row in rows:
            peers[row].apply_action(int(seen[row]))
        state, ply = game.step(state, action).state, ply + 1
        boards = game.absolute_board(state)
        for row in rows:
            text = str(peers[row]).lower()
            stones = [1 if mark in "xyz" else -1 if mark in "opq" else 0
                      for mark in text if mark in ".xyzopq"]  # fmt: skip
            assert stones == boards[row].ravel().tolist()
            assert peers[row].is_terminal() == state.ended[row]
            first = state.result[row] * (1 - 2 * state.player[row])
            if state.ended[row]:
                assert peers[row].returns() == [first, -first]
