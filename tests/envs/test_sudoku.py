"""Sudoku as a decision problem and as Gymnasium environments."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

from rl_serial.agents.fitted import visited_states
from rl_serial.envs.chain import map_state
from rl_serial.envs.puzzles import SUDOKU_ID, reading
from rl_serial.envs.puzzles.generator import for_tests, make_puzzles
from rl_serial.envs.puzzles.reading import written
from rl_serial.envs.puzzles.sudoku import Sudoku, SudokuState
from rl_serial.envs.random import episode_seeds, random_words

SEEDS = np.arange(20)


def rows_of(state: SudokuState, rows: Any) -> SudokuState:
    return map_state(lambda array: array[rows], state)


def filled(task: Sudoku, state: SudokuState, steps: int) -> SudokuState:
    """The same after so many right fills."""
    for _ in range(steps):
        state = task.step(state, task.action_values(state).argmax(axis=1)).state
    return state


def best_return(task: Sudoku, state: SudokuState) -> float:
    """The largest return of one row, by trying every legal sequence of actions."""
    best = 0.0
    for action in np.flatnonzero(task.legal_actions(state)[0]):
        after = task.step(state, np.array([action]))
        future = 0.0 if after.terminated[0] else best_return(task, after.state)
        best = max(best, float(after.reward[0]) + future)
    return best


def mean_return(task: Sudoku, state: SudokuState) -> float:
    """The mean return of random legal play of one row, by trying every sequence."""
    returns = []
    for action in np.flatnonzero(task.legal_actions(state)[0]):
        after = task.step(state, np.array([action]))
        future = 0.0 if after.terminated[0] else mean_return(task, after.state)
        returns.append(float(after.reward[0]) + future)
    return float(np.mean(returns))


@pytest.mark.parametrize("ends", ["full", "mistake"])
def test_exact_values_are_those_of_enumeration(ends: str) -> None:
    task = Sudoku(size=4, blanks=8, ends=ends)
    state = filled(task, task.initial(SEEDS[:4]), 6)  # two blank cells are left
    values = task.action_values(state)
    for row, action in itertools.product(range(4), range(64)):
        after = task.step(rows_of(state, [row]), np.array([action]))
        future = 0.0 if after.terminated[0] else best_return(task, after.state)
        assert values[row, action] == float(after.reward[0]) + future
    for row in range(4):
        expected = mean_return(task, rows_of(state, [row]))
        assert task.random_values(rows_of(state, [row]))[0] == pytest.approx(expected)


def test_rules_are_pure_and_rows_stand_alone() -> None:
    task = Sudoku(size=4)
    state = task.initial(SEEDS)
    kept = map_state(np.copy, state)
    actions = np.arange(20) * 3
    whole = task.step(state, actions)
    for field in fields(SudokuState):
        assert (getattr(state, field.name) == getattr(kept, field.name)).all()
    for row in range(20):
        alone = task.step(rows_of(state, [row]), actions[[row]])
        assert (alone.state.grid[0] == whole.state.grid[row]).all()
        assert alone.terminated[0] == whole.terminated[row]
    ended = rows_of(whole.state, whole.terminated)
    again = task.step(ended, np.zeros(len(ended.grid), dtype=np.int64))
    assert len(ended.grid) > 0
    assert again.terminated.all()
    assert not again.reward.any()
    assert (again.state.grid == ended.grid).all()
    assert not task.action_values(ended).any()
    assert (task.remaining(ended) == 0).all()


def test_an_action_on_a_filled_cell_ends_the_episode_and_a_mistake_where_it_should() -> None:
    for ends in ("full", "mistake"):
        task = Sudoku(size=4, ends=ends)
        state = task.initial(SEEDS[:1])
        given = int(np.flatnonzero(state.givens[0] > 0)[0])
        after = task.step(state, np.array([4 * given]))
        assert after.terminated[0]
        assert not after.reward[0]
        assert (after.state.grid == state.grid).all()
        wrong = np.flatnonzero(task.legal_actions(state)[0] & (task.action_values(state)[0] == 0))
        assert task.step(state, wrong[:1]).terminated[0] == (ends == "mistake")


def test_remaining_counts_rounds_and_states_can_begin_anywhere_on_the_way() -> None:
    task = Sudoku(size=6, serial_depth=6)
    for left in range(1, 7):
        state = task.at_remaining(SEEDS, np.full(20, left))
        assert (task.remaining(state) == left).all()
        assert (task.chain.remaining(task.chain.advance(state).grid) == left - 1).all()
    assert (task.chain.advance(state).grid == task.at_remaining(SEEDS, np.full(20, 5)).grid).all()
    spread = Sudoku(size=6, start="uniform").initial(np.arange(300))
    blank = (spread.grid == 0).sum(axis=1)
    assert blank.min() == 1
    assert blank.max() == 26
    assert abs(blank.mean() - 13.5) < 4 * 7.5 / 300**0.5
    assert ((spread.grid == 0) | (spread.grid == spread.solution)).all()


def test_the_observation_shows_digits_givens_and_blanks() -> None:
    task = Sudoku(size=4)
    state = filled(task, task.initial(SEEDS[:1]), 1)
    observed = task.observe(state)[0]
    tokens = observed[:80].reshape(16, 5)
    for cell in range(16):
        digit = int(state.grid[0, cell])
        expected = [float(digit == d) for d in range(1, 5)] + [float(state.givens[0, cell] > 0)]
        assert tokens[cell].tolist() == expected
    assert np.flatnonzero(observed[80:]).tolist() == [int((state.grid == 0).sum())]
    assert observed.size == task.layout.size == 97


def test_candidates_are_what_row_column_and_box_lack() -> None:
    task = Sudoku(size=6)
    state = task.initial(SEEDS[:3])
    found = task.candidates(state.grid)
    for row, cell in itertools.product(range(3), range(36)):
        grid, (r, c) = state.grid[row].reshape(6, 6), divmod(cell, 6)
        box = grid[r // 2 * 2 : r // 2 * 2 + 2, c // 3 * 3 : c // 3 * 3 + 3]
        seen = {*grid[r], *grid[:, c], *box.ravel()}
        expected = [d not in seen and grid[r, c] == 0 for d in range(1, 7)]
        assert found[row, cell].tolist() == expected


@pytest.mark.parametrize("size", [4, 6, 9])
def test_environments_keep_the_contract(size: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*render.*")
        env = gymnasium.make(SUDOKU_ID, size=size, render_mode="rgb_array")
        gymnasium_check(env.unwrapped)
        sb3_check(env.unwrapped)
    observation, info = env.reset(seed=3)
    again, _ = env.reset(seed=3)
    assert (observation == again).all()
    total, steps, shapes = 0.0, 0, set()
    ended = False
    while not ended:
        assert (info["action_mask"] == env.get_wrapper_attr("action_masks")()).all()
        action = int(env.get_wrapper_attr("action_values")().argmax())
        assert info["action_mask"][action]
        _, reward, ended, truncated, info = env.step(action)
        total, steps = total + float(reward), steps + 1
        assert not truncated
        if steps < 4:
            shapes.add(env.render().shape)  # type: ignore[union-attr]
    assert (total, len(shapes)) == (1.0, 1)
    assert steps == {4: 10, 6: 26, 9: 56}[size]


def test_the_vector_environment_plays_what_single_ones_play() -> None:
    vector = gymnasium.make_vec(SUDOKU_ID, num_envs=3, size=4, blanks=3)
    singles = [gymnasium.make(SUDOKU_ID, size=4, blanks=3) for _ in range(3)]
    seen, infos = vector.reset(seed=11)
    alone = [env.reset(seed=11 + i) for i, env in enumerate(singles)]
    dice = np.random.default_rng(0)
    for _ in range(12):
        assert (seen == [observation for observation, _ in alone]).all()
        assert (infos["action_mask"] == [info["action_mask"] for _, info in alone]).all()
        actions = np.array([dice.choice(np.flatnonzero(mask)) for mask in infos["action_mask"]])
        seen, rewards, terminated, _, infos = vector.step(actions)
        alone = []
        for i, env in enumerate(singles):
            observation, reward, ended, _, info = env.step(actions[i])
            assert (reward, ended) == (rewards[i], terminated[i])
            if ended:
                assert (infos["final_obs"][i] == observation).all()
                observation, info = env.reset()
            alone.append((observation, info))


def test_text_shows_what_was_filled_when_and_the_candidates() -> None:
    env = gymnasium.make(SUDOKU_ID, size=4, render_mode="ansi")
    env.reset(seed=0)
    first = int(env.unwrapped.action_values().argmax())
    env.step(first)
    wrong = env.unwrapped.action_masks() & (env.unwrapped.action_values() == 0)
    env.step(int(np.flatnonzero(wrong)[0]))
    text: Any = env.render()
    grid, candidates = text.split("candidates")
    assert grid.count("'") == 1
    assert grid.count("!") == 1
    assert "8 blank" in text
    assert len(candidates.splitlines()) == 6
    cell, digit = first // 4, first % 4 + 1
    board = grid.partition("filled at step\n")[2].splitlines()
    row = [line for line in board if "-" not in line][cell // 4]
    assert f"{digit}'" in row.split("   ")[0]


def test_options_are_held_to_what_there_is(tmp_path: Path) -> None:
    for options, message in (
        ({"sise": 4}, "Sudoku has no such option; there are size, blanks"),
        ({"size": "4"}, "size='4': must be a whole number"),
        ({"blanks": True}, "blanks=True: must be a whole number"),
        ({"ends": "never"}, "ends='never': must be one of full, mistake"),
        ({"start": "late"}, "start='late': must be one of full, uniform"),
        ({"file": "x", "blanks": 3}, "blanks=3: must be left out: the file says it"),
    ):
        with pytest.raises(ValueError, match=r"\w") as error:
            gymnasium.make(SUDOKU_ID, **options)
        assert message in str(error.value)


def test_puzzles_of_a_file_keep_their_sides(tmp_path: Path) -> None:
    made = make_puzzles(np.concatenate([np.arange(5), 2**62 + np.arange(3)]), 4)
    file = tmp_path / "some.txt"
    file.write_text("\n".join(written(made.givens)) + "\n")
    task = Sudoku(size=4, file=str(file))
    for seeds, there in ((np.arange(60), range(5)), (2**62 + np.arange(60), range(5, 8))):
        played = {tuple(row) for row in task.initial(seeds).givens.tolist()}
        assert played == {tuple(made.givens[row].tolist()) for row in there}
    file.write_text(written(made.givens[:5])[0] + "\n\n")
    with pytest.raises(ValueError, match="holds no puzzle that is for tests"):
        Sudoku(size=4, file=str(file)).initial(np.array([2**62]))


def test_random_play_has_words_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step of the longest episode shares its random words with the making of an instance."""
    task = Sudoku(size=9, blanks=56)
    streams: list[int] = []

    def noted(seeds: np.ndarray, count: int, stream: int = 0) -> np.ndarray:
        streams.append(stream)
        return random_words(seeds, count, stream)

    monkeypatch.setattr("rl_serial.agents.fitted.random_words", noted)
    visited_states(task, np.arange(1))
    assert len(set(streams)) == 56
    assert not set(streams) & set(range(64, 2**20))  # puzzles, games, searches, retries


def test_a_file_is_looked_through_once_as_long_as_it_does_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def counted(givens: Any, size: int) -> Any:
        looked.append(len(givens))
        return for_tests(givens, size)

    monkeypatch.setattr(reading, "for_tests", counted)
    made = make_puzzles(np.arange(9), 4)
    file = tmp_path / "some.txt"
    file.write_text("\n".join(written(made.givens)) + "\n")
    task = Sudoku(size=4, file=str(file))
    for _ in range(3):
        task.puzzles(SEEDS)
    assert looked == [9]
    file.write_text("\n".join(written(made.givens[:4])) + "\n")
    assert len(np.unique(task.puzzles(np.arange(99)).givens, axis=0)) == 4
    assert looked == [9, 4]


def test_an_examination_has_each_puzzle_of_a_file_once(tmp_path: Path) -> None:
    made = make_puzzles(np.concatenate([np.arange(9), 2**62 + np.arange(7)]), 4).givens
    file = tmp_path / "some.txt"
    file.write_text("\n".join(written(np.concatenate([made, made[-3:]]))) + "\n")
    task = Sudoku(size=4, file=str(file))
    found = task.examined(0, 512).givens
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, made[9:].tolist()))
    assert (task.examined(0, 4).givens == found[:4]).all()
    assert (task.examined(0, 512, first=5).givens == found[5:]).all()
    orders = {task.examined(seed, 512).givens.tobytes() for seed in range(5)}
    assert len(orders) > 1
    assert not task.examined(0, 1, first=7).givens.size
    # Made puzzles are those of the seeds, as they always were.
    seeds = episode_seeds(3, 6, np)
    assert (Sudoku(size=4).examined(3, 6).givens == make_puzzles(seeds, 4).givens).all()
