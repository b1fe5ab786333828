"""WordProblem against an evaluator that reads the English text and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rl_serial.envs.chains.word_problem import (
    MOST_FACTS,
    WordProblem,
    WordProblemState,
    quantity_name,
)
from rl_serial.envs.random import evaluation_seeds
from rl_serial.envs.tasks import Steer

PROBLEMS = 5_000


def plural(thing: str) -> str:
    return thing if thing.endswith("s") else thing + "s"


class Read:
    """What a text says, by its sentences."""

    def __init__(self, text: str) -> None:
        first, *sentences, bet = text.split("\n")
        [self.modulus] = map(int, re.fullmatch(r"All .* modulo (\d+)\.", first).groups())  # type: ignore[union-attr]
        self.given: dict[tuple[str, str], int] = {}
        self.rules: dict[tuple[str, str], tuple[str, int, tuple[str, str]]] = {}
        for sentence in sentences:
            who, rest = re.fullmatch(r"(\w+) has (.*)\.", sentence).groups()  # type: ignore[union-attr]
            if match := re.fullmatch(r"(\d+) (\w+)", rest):
                self.given[who, plural(match[2])] = int(match[1])
            elif match := re.fullmatch(r"(\d+) more (\w+) than (\w+) has (\w+)", rest):
                self.rules[who, plural(match[2])] = "+", int(match[1]), (match[3], match[4])
            else:
                match = re.fullmatch(r"(twice|(\d+) times) as many (\w+) as (\w+) has (\w+)", rest)
                assert match is not None, sentence
                self.rules[who, match[3]] = "*", int(match[2] or 2), (match[4], match[5])
        who, numbers, thing = re.fullmatch(r"Bet: (\w+) has ([\d, or]+) (\w+)\.", bet).groups()  # type: ignore[union-attr]
        self.asked = who, thing
        self.wins = {int(number) for number in re.findall(r"\d+", numbers)}

    def answer(self) -> tuple[int, int]:
        """The asked number, from the question back to what is given, and over how many rules."""
        todo, at = [], self.asked
        while at not in self.given:
            sign, number, at = self.rules[at]
            todo.append((sign, number))
        value = self.given[at]
        for sign, number in reversed(todo):
            value = value + number if sign == "+" else value * number
        return value % self.modulus, len(todo)

    def pays(self) -> float:
        """By the rule of the page."""
        p = self.modulus
        return 1.0 if self.answer()[0] in self.wins else -(p - 1) / (p + 1)


def payoffs(chain: WordProblem, state: Any) -> Any:
    for _ in range(chain.serial_depth):
        state = chain.advance(state)
    return chain.payoff(state)


@pytest.mark.parametrize("graph", ["deep", "shallow"])
@pytest.mark.parametrize(("modulus", "share"), [(7, 0.8), (5, 0.1), (13, 0.1)])
def test_who_reads_the_english_answers_as_the_rules_do(
    graph: str, modulus: int, share: float
) -> None:
    """5,000 problems of each graph, at every remaining, one kick in three on the way."""
    chain = WordProblem(graph, serial_depth=8, facts=14, modulus=modulus)
    per_step = int(PROBLEMS * share) // 8
    state = chain.initial(evaluation_seeds(1, per_step, np))
    for remaining in range(8, 0, -1):
        right = payoffs(chain, state)
        texts = chain.text(state)
        assert len(texts) == per_step
        read = [Read(text) for text in texts]
        np.testing.assert_allclose(right, [one.pays() for one in read], atol=1e-6)
        assert {one.answer()[1] for one in read} == {remaining if graph == "deep" else 1}
        assert {len(one.given) + len(one.rules) for one in read} == {14 - (8 - remaining)}
        # Others than those that the rest of the steps has seen, and kicked ones among them.
        state = chain.initial(evaluation_seeds(1, per_step, np, first=remaining * per_step))
        for _ in range(8 - remaining + 1):
            if remaining % 3 == 0:
                state = chain.kick(state, np.arange(per_step) % 3)
            state = chain.advance(state)


def test_at_the_end_the_asked_number_is_stated() -> None:
    chain = WordProblem(serial_depth=3, facts=5)
    state = chain.initial(np.arange(50))
    for _ in range(3):
        state = chain.advance(state)
    for text, value in zip(chain.text(state), state.value, strict=True):
        read = Read(text)
        assert read.answer() == (value, 0)
        assert list(read.given) == [read.asked]


def by_hand(graph: str = "deep") -> tuple[WordProblem, WordProblemState]:
    """Cleo has 4 hats; twice as many cups has Ben; 6 more pens has Ada; Dan's keys distract.

    In shallow Ada has 6 more pens than Cleo has hats.
    """
    chain = WordProblem(graph, serial_depth=2, facts=4, modulus=7)
    # Operations 0 … 5 are 1 to 6 more, 6 … 10 are 2 to 6 times.
    state = WordProblemState(
        known=np.array([2]),
        value=np.array([4]),
        source=np.array([[1 if graph == "deep" else 2, 2, -1, 0]]),
        operation=np.array([[5, 6, -1, 10]]),
        asked=np.array([0]),
        first=np.array([6]),
        remaining=np.array([2]),
    )
    return chain, state


def test_a_problem_by_hand() -> None:
    """Cleo 4, Ben 8 = 1, Ada 7 = 0, and 6, 0 and 1 win."""
    chain, state = by_hand()
    assert chain.text(state) == [
        "All numbers are counted modulo 7.\n"
        "Ada has 6 more pens than Ben has cups.\n"
        "Ben has twice as many cups as Cleo has hats.\n"
        "Cleo has 4 hats.\n"
        "Dan has 6 times as many keys as Ada has pens.\n"
        "Bet: Ada has 0, 1 or 6 pens."
    ]
    after = chain.advance(state)
    assert "Ben has 1 cup." in chain.text(after)[0]
    assert [chain.word_name(int(chain.word(s)[0])) for s in (state, after)] == [
        "Cleo 4 hats",
        "Ben 1 cup",
    ]
    end = chain.advance(after)
    assert (end.known.tolist(), end.value.tolist(), chain.payoff(end).tolist()) == ([0], [0], [1])
    # One kick of 1, 2, 3 more hats: 10, 12, 14 cups, 16, 18, 20 pens: 2, 4, 6.
    values = Steer(chain, decisions=1).action_values(state)
    np.testing.assert_allclose(values, [[1, -0.75, -0.75, 1]])


def test_a_shallow_problem_by_hand() -> None:
    """Ben's cups are dropped; Ada has 10 pens, which is 3."""
    chain, state = by_hand("shallow")
    after = chain.advance(state)
    assert "Ben" not in chain.text(after)[0]
    assert "Cleo has 4 hats." in chain.text(after)[0]
    end = chain.advance(after)
    assert end.value.tolist() == [3]
    np.testing.assert_allclose(chain.payoff(end), [-0.75])


def test_quantities_have_a_pair_of_names_each() -> None:
    names = [quantity_name(quantity) for quantity in range(MOST_FACTS)]
    assert len(set(names)) == MOST_FACTS == 625
    assert all(thing.endswith("s") for _, thing in names)


def test_problems_are_drawn_as_the_page_says() -> None:
    chain = WordProblem(serial_depth=3, facts=6, modulus=5)
    state = chain.initial(evaluation_seeds(2, 20_000, np))
    for numbers, size in (
        (state.known, 6), (state.asked, 6), (state.value, 5), (state.first, 5),
        (state.operation[state.operation >= 0], 7),
    ):  # fmt: skip
        shares = np.bincount(numbers, minlength=size) / numbers.size
        assert np.abs(shares - 1 / size).max() < 5 * np.sqrt(1 / size / numbers.size)
    # The second distractor derives from the asked quantity or from the first, equally often: of the
    # two distractors of a problem, both hang on the asked one in half of the problems.
    hang = (state.source == state.asked[:, None]).sum(axis=1)
    assert set(hang) == {1, 2}
    assert abs((hang == 2).mean() - 0.5) < 5 * np.sqrt(0.25 / 20_000)


def test_words_say_the_working_state(array: Callable[..., Any]) -> None:
    chain = WordProblem(serial_depth=3, facts=6, modulus=5)
    state = chain.initial(array(np.arange(20)))
    words = chain.word(state)
    shown = np.asarray(chain.show_words(words[:, None]))
    assert shown.shape == (20, 1, 11)
    assert shown[:, 0, :6].argmax(axis=1).tolist() == state.known.tolist()
    assert shown[:, 0, 6:].argmax(axis=1).tolist() == state.value.tolist()
    assert (shown.sum(axis=2) == 2).all()
    assert not np.asarray(chain.show_words(words[:, None] * 0 - 1)).any()
