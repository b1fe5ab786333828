"""Write against a second implementation: one episode at a time, from docs/tasks.md.

The chain's own rules say what the words are; what writing does, what is seen, paid and worth is
said here once more, in lists and integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rl_serial.envs import FAMILIES, make_task
from rl_serial.envs.chain import ChainWithWords, map_state
from rl_serial.envs.chains.permutation_automaton import (
    GENERATORS,
    PermutationAutomaton,
    PermutationAutomatonState,
)
from rl_serial.envs.random import evaluation_seeds
from rl_serial.envs.write import Write, WriteState

WITH_WORDS = [name for name, family in FAMILIES.items() if "Write" in family.tasks]
SMALL: dict[str, dict[str, Any]] = {
    "PermutationAutomaton": {"serial_depth": 4},
    "PointerChase": {"serial_depth": 3, "nodes": 4},
    "WordProblem": {"serial_depth": 3, "facts": 5, "modulus": 5},
}


def one(state: Any, row: int) -> Any:
    return map_state(lambda array: array[row : row + 1], state)


class Episode:
    """A Write episode by the page: a list of words, the newest last, and the outcome."""

    def __init__(self, task: Any, chain: Any, outcome: float) -> None:
        self.task, self.chain, self.outcome = task, chain, outcome
        self.words: list[int] = []
        self.ended = False

    def step(self, action: int) -> float:
        if self.ended:
            return 0.0
        if action >= 2 and len(self.words) < self.task.scratchpad:
            self.words.append(action - 2)
            return 0.0
        bets = action == 1 and self.may_answer()
        self.ended = True
        return self.outcome if bets else 0.0

    def may_answer(self) -> bool:
        return len(self.words) >= min(self.task.least_words, int(self.chain.remaining[0]))

    def legal(self) -> list[bool]:
        room = len(self.words) < self.task.scratchpad
        return [self.may_answer()] * 2 + [room] * (len(self.task.action_names) - 2)

    def observation(self) -> list[float]:
        row: list[float] = self.task.chain.observe(self.chain)[0].tolist()
        if not self.task.scratchpad:
            return row
        for place in range(self.task.scratchpad):
            blank = [0.0] * self.task.chain.word_size
            if place < len(self.words) and self.task.memory == "words":
                newest_first = self.words[::-1]
                shown = self.task.chain.show_words(np.array([[newest_first[place]]]))
                blank = shown[0, 0].tolist()
            row += blank
        count = [0.0] * (self.task.scratchpad + 1)
        count[len(self.words)] = 1.0
        return row + count

    def value(self) -> float:
        """The best that any sequence of actions pays, by trying two words at every turn."""
        best = max(0.0, self.outcome) if self.may_answer() else 0.0
        if len(self.words) < self.task.scratchpad:
            other = Episode(self.task, self.chain, self.outcome)
            other.words = [*self.words, 0]
            best = max(best, other.value())
        return best

    def action_values(self) -> list[float]:
        if self.ended:
            return [0.0] * len(self.task.action_names)
        values = [0.0, self.outcome if self.may_answer() else 0.0]
        for word in range(len(self.task.action_names) - 2):
            if len(self.words) < self.task.scratchpad:
                other = Episode(self.task, self.chain, self.outcome)
                other.words = [*self.words, word]
                values.append(other.value())
            else:
                values.append(0.0)  # it counts as PASS
        return values


@pytest.mark.parametrize("name", WITH_WORDS)
@pytest.mark.parametrize(
    "options",
    [
        {"scratchpad": 0},
        {"scratchpad": 2},
        {"scratchpad": 3, "memory": "filler"},
        {"scratchpad": 4, "least_words": 2},
    ],
    ids=str,
)
def test_write_does_as_the_page_says(
    name: str, options: dict[str, Any], array: Callable[..., Any]
) -> None:
    task: Any = make_task(name, "Write", **SMALL[name], **options)
    rows, choices = 30, np.random.default_rng(3)
    seeds = evaluation_seeds(4, rows, np)
    chain = end = task.chain.initial(seeds)
    for _ in range(task.chain.serial_depth):
        end = task.chain.advance(end)
    outcomes = task.chain.payoff(end)
    games = [Episode(task, one(chain, row), float(outcomes[row])) for row in range(rows)]
    state = task.initial(array(seeds))
    for _ in range(5):
        for found, right in (
            (task.observe(state), [game.observation() for game in games]),
            (task.legal_actions(state), [game.legal() for game in games]),
            (task.action_values(state), [game.action_values() for game in games]),
        ):
            np.testing.assert_array_equal(np.asarray(found), np.array(right, dtype=np.float32))
        actions = choices.integers(len(task.action_names), size=rows)
        transition = task.step(state, array(actions))
        rewards = [game.step(int(action)) for game, action in zip(games, actions, strict=True)]
        np.testing.assert_array_equal(np.asarray(transition.reward), np.float32(rewards))
        assert np.asarray(transition.terminated).tolist() == [game.ended for game in games]
        state = transition.state
    if options["scratchpad"]:
        assert any(len(game.words) == options["scratchpad"] for game in games)


def word_by_hand() -> tuple[Write[Any], Any]:
    """s5 from point 1 with the letters 0, 1, 3 ahead: 2, then 2, then 4, which pays -2/3."""
    assert GENERATORS["s5"][0] == (1, 2, 3, 4, 0)
    assert GENERATORS["s5"][1] == (1, 0, 2, 3, 4)
    assert GENERATORS["s5"][3] == (2, 1, 4, 3, 0)
    task = Write(PermutationAutomaton(serial_depth=3), scratchpad=2)
    chain = PermutationAutomatonState(np.array([1]), np.array([[0, 1, 3]]), np.array([3]))
    outcome, ended = np.full(1, -2 / 3, np.float32), np.zeros(1, np.bool_)
    return task, WriteState(chain, np.full((1, 2), -1), outcome, ended)


def test_right_words_by_hand() -> None:
    task, state = word_by_hand()
    assert task.right_words(state).tolist() == [[2, 2, 4]]
    assert task.action_names[2 + 4] == "WRITE point 4"
    after = task.step(state, np.array([2 + 2])).state
    after = task.step(after, np.array([2 + 4])).state
    assert after.scratchpad.tolist() == [[4, 2]]  # the newest first
    assert task.notes(after) == ["scratchpad, the newest first (2 of 2)", "point 4", "point 2"]
    seen = task.observe(after)[0, -13:].reshape(-1)
    assert seen[:10].reshape(2, 5).argmax(axis=1).tolist() == [4, 2]
    assert seen[10:].tolist() == [0, 0, 1]
    third = task.step(after, np.array([2 + 1]))  # no room: PASS
    assert (third.reward.tolist(), third.terminated.tolist()) == ([0], [True])
    bet = task.step(after, np.array([1]))
    np.testing.assert_allclose(bet.reward, [-2 / 3], rtol=1e-6)


def test_what_was_written_stands_there_right_or_wrong() -> None:
    task, state = word_by_hand()
    wrong = task.step(state, np.array([2 + 0])).state
    assert (task.observe(wrong) != task.observe(task.step(state, np.array([4])).state)).any()
    assert wrong.chain is state.chain
    filler = replace(task, memory="filler")
    seen = [filler.observe(filler.step(state, np.array([2 + word])).state) for word in (0, 2)]
    np.testing.assert_array_equal(*seen)
    assert (seen[0] != filler.observe(state)).any()  # that something was written is seen


@pytest.mark.parametrize("name", WITH_WORDS)
def test_the_expert_writes_what_is_to_come_and_answers_rightly(name: str) -> None:
    """Its own play, from the first word to the answer, where there is room for all of it."""
    task: Any = make_task(name, "Write", **SMALL[name], scratchpad=4, start="uniform")
    seeds = np.arange(4000)
    state, action = task.demonstrated(seeds)
    remaining, written = task.remaining(state), task.written(state)
    right = task.right_words(state)
    rows = np.arange(seeds.size)
    for place in range(4):
        there = place < written
        expected = right[rows, np.maximum(written - 1 - place, 0)]
        np.testing.assert_array_equal(state.scratchpad[there, place], expected[there])
        assert (state.scratchpad[~there, place] == -1).all()
    answers = written == remaining
    best = (state.outcome > 0).astype(int)
    np.testing.assert_array_equal(action[answers], best[answers])
    np.testing.assert_array_equal(action[~answers], 2 + right[rows[~answers], written[~answers]])
    # The word before the answer says what pays.
    end = state.chain
    for _ in range(task.chain.serial_depth):
        end = task.chain.advance(end)
    np.testing.assert_array_equal(task.chain.word(end)[answers], state.scratchpad[answers, 0])
    # With k steps remaining an episode of the expert has k + 1 states, each as likely.
    for k in range(1, task.chain.serial_depth + 1):
        counts = np.bincount(written[remaining == k], minlength=k + 1)
        mean = counts.sum() / (k + 1)
        assert np.abs(counts - mean).max() < 5 * np.sqrt(mean)


def test_with_less_room_than_steps_the_expert_answers_ahead_of_its_words() -> None:
    task: Any = make_task("PermutationAutomaton", "Write", serial_depth=4, scratchpad=2)
    state, action = task.demonstrated(np.arange(500))
    full = task.written(state) == 2
    assert full.any()
    np.testing.assert_array_equal(action[full], (state.outcome > 0)[full])
    none: Any = make_task("PermutationAutomaton", "Write", serial_depth=4, scratchpad=0)
    state, action = none.demonstrated(np.arange(500))
    np.testing.assert_array_equal(action, state.outcome > 0)
    assert not none.deliberates


def test_shuffled_reasoning_has_the_right_words_in_another_order() -> None:
    task: Any = make_task("PointerChase", "Write", serial_depth=3, nodes=8, scratchpad=3)
    seeds = np.arange(6000)
    state, action = task.demonstrated(seeds, "shuffled")
    right = task.right_words(state)  # three different nodes
    full = task.written(state) == 3
    np.testing.assert_array_equal(np.sort(state.scratchpad[full]), np.sort(right[full]))
    np.testing.assert_array_equal(action[full], (state.outcome > 0)[full])
    orders = (state.scratchpad[full][:, :, None] == right[full][:, None]).argmax(axis=2)
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert counts.size == 6  # every order, each as often
    assert np.abs(counts - counts.mean()).max() < 5 * np.sqrt(counts.mean())
    empty = task.written(state) == 0
    first = (action[empty, None] - 2 == right[empty]).argmax(axis=1)
    assert np.abs(np.bincount(first) / empty.sum() - 1 / 3).max() < 5 * np.sqrt(0.25 / empty.sum())
    with pytest.raises(ValueError, match=r"expert='wild': must be one of reasoning, shuffled"):
        task.demonstrated(seeds, "wild")


def test_episodes_that_begin_written_are_the_experts() -> None:
    task: Any = make_task("WordProblem", "Write", scratchpad=3, start="written")
    state = task.initial(np.arange(900))
    assert set(task.written(state).tolist()) == {0, 1, 2, 3}
    assert set(task.remaining(state).tolist()) == set(range(1, 9))
    right = task.right_words(state)
    some = task.written(state) == 2
    np.testing.assert_array_equal(state.scratchpad[some][:, :2], right[some][:, 1::-1])


def test_a_bet_that_comes_too_early_is_a_pass() -> None:
    task: Any = make_task("PointerChase", "Write", least_words=3, scratchpad=4, start="uniform")
    state = task.at_remaining(np.arange(40), np.array([1, 2] * 20))
    bet, word = np.full(40, 1), np.full(40, 2)
    early = task.step(state, bet)
    assert early.terminated.all()
    assert not early.reward.any()
    after = task.step(state, word).state
    # With one step remaining one word is asked for, with two remaining two.
    assert task.legal_actions(after)[:, 1].tolist() == [True, False] * 20
    paid = task.step(after, bet).reward
    np.testing.assert_array_equal(paid[::2], state.outcome[::2])
    assert not paid[1::2].any()


def test_chains_without_words_are_not_written() -> None:
    assert set(WITH_WORDS) == set(SMALL)
    assert not isinstance(FAMILIES["Circuit"].chain(), ChainWithWords)
    with pytest.raises(ValueError, match=r"Circuit is under Bet, Steer alone, not Write"):
        make_task("Circuit", "Write")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"scratchpad": -1}, "scratchpad=-1: must be at least 0"),
        ({"least_words": 9}, "least_words=9: must be 0 to scratchpad = 8"),
        ({"memory": "none"}, "memory='none': must be one of words, filler"),
        ({"start": "later"}, "start='later': must be one of full, uniform, written"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        make_task("PointerChase", "Write", **options)


def test_starts_with_words_missing() -> None:
    options = {"serial_depth": 4, "scratchpad": 3, "start": "written"}
    seeds, lacks = np.arange(600), {}
    for missing in (None, 0, 2):
        task: Any = make_task("PermutationAutomaton", "Write", missing=missing, **options)
        state = task.initial(seeds)
        written = task.written(state)
        lacks[missing] = set((np.minimum(task.remaining(state), 3) - written).tolist())
        newest = task.right_words(state)[np.arange(600), np.maximum(written - 1, 0)]
        assert (state.scratchpad[:, 0] == newest)[written > 0].all()
    assert lacks == {None: {0, 1, 2, 3}, 0: {0}, 2: {0, 1, 2}}
    with pytest.raises(ValueError, match="missing"):
        make_task("PermutationAutomaton", "Write", start="uniform", missing=1)
    with pytest.raises(ValueError, match="missing"):
        make_task("PermutationAutomaton", "Write", start="written", missing=-1)
