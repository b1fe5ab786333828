"""WordProblem: quantities that sentences derive from each other, counted modulo a prime.

"Ada has 3 more pens than Ben has cups." One quantity is given, every sentence derives another one
from a quantity, and the question asks for one of them. In the graph deep the asked quantity hangs
on the given one by ``serial_depth`` sentences; in shallow by a single one. Number of sentences,
operations and shapes are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rl_serial.envs.chain import (
    Array,
    TokenLayout,
    array_namespace,
    count_down,
    each_place,
    one_hot,
)
from rl_serial.envs.random import below, random_words
from rl_serial.errors import require

GRAPHS = ("deep", "shallow")
PRIMES = (5, 7, 11, 13)
NUM_KICKS = 3
PEOPLE = (
    "Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gia", "Hugo", "Iris", "Jon", "Kim", "Leo", "Mia",
    "Ned", "Olga", "Paul", "Rosa", "Sam", "Tess", "Uwe", "Vera", "Will", "Xenia", "Yann", "Zoe",
)  # fmt: skip
THINGS = (
    "pens", "cups", "hats", "keys", "maps", "coins", "shells", "books", "stones", "beads", "plums",
    "nuts", "bells", "ropes", "lamps", "cards", "masks", "rings", "toys", "kites", "seeds", "drums",
    "bowls", "nails", "forks",
)  # fmt: skip
MOST_FACTS = len(PEOPLE) * len(THINGS)


def quantity_name(quantity: int) -> tuple[str, str]:
    """Who has what, for a quantity in [0, MOST_FACTS): each pair of a person and a thing once."""
    person = quantity % len(PEOPLE)
    return PEOPLE[person], THINGS[(person + quantity // len(PEOPLE)) % len(THINGS)]


def _counted(number: int, thing: str) -> str:
    return thing.removesuffix("s") if number == 1 else thing


@dataclass(frozen=True)
class WordProblemState:
    """A batch of problems; quantity i is what sentence i is about."""

    known: Array  # [B] int64 in [0, facts): the quantity whose number is stated
    value: Array  # [B] int64 in [0, modulus): that number
    source: Array  # [B, facts] int64: the quantity that each derives from; -1 where none is said
    operation: Array  # [B, facts] int64 in [0, 2 modulus - 3): how; -1 where source is
    asked: Array  # [B] int64 in [0, facts)
    first: Array  # [B] int64 in [0, modulus): the first of the (modulus - 1) / 2 numbers that pay
    remaining: Array  # [B] int64


@dataclass(frozen=True)
class WordProblem:
    """Sentences about ``facts`` quantities; the answer is ``serial_depth`` derivations away.

    Args:
        graph: deep (the asked quantity is derived from the given one over serial_depth sentences)
            or shallow (over one).
        serial_depth: steps, at least 1.
        facts: sentences, more than serial_depth; those on no way to the answer are distractors.
        modulus: 5, 7, 11 or 13.

    Raises:
        ValueError: an option outside its range.
    """

    graph: str = "deep"
    serial_depth: int = 8
    facts: int = 16
    modulus: int = 7

    def __post_init__(self) -> None:
        require(self.graph in GRAPHS, "graph", self.graph, f"one of {', '.join(GRAPHS)}")
        require(self.serial_depth >= 1, "serial_depth", self.serial_depth, "at least 1")
        right = f"more than serial_depth = {self.serial_depth}, and {MOST_FACTS} at most"
        require(self.serial_depth < self.facts <= MOST_FACTS, "facts", self.facts, right)
        right = f"one of {', '.join(map(str, PRIMES))}"
        require(self.modulus in PRIMES, "modulus", self.modulus, right)

    @property
    def num_kicks(self) -> int:
        """Kick a adds a + 1 to the known quantity."""
        return NUM_KICKS

    @property
    def layout(self) -> TokenLayout:
        """A token a sentence (source, factor, addend, whether asked); known, wins and steps."""
        features = self.facts + 2 * self.modulus + 1
        rest = self.working_size + self.modulus + self.serial_depth + 1
        return TokenLayout(self.facts, features, rest)

    @property
    def working_size(self) -> int:
        """The quantities, then the numbers."""
        return self.facts + self.modulus

    @property
    def num_operations(self) -> int:
        """1 to modulus - 1 more, 2 to modulus - 1 times: none leaves every number as it is."""
        return 2 * self.modulus - 3

    def initial(self, seeds: Array) -> WordProblemState:
        """Given number, operations and wins uniform; the quantities in a uniformly random order."""
        xp = array_namespace(seeds)
        facts, depth = self.facts, self.serial_depth
        words = random_words(seeds, 3 * facts + 2)
        places = each_place(seeds, facts)
        # The place in the low digits makes the keys different, so that every sorting algorithm
        # gives the same permutation.
        order = xp.argsort(words[:, :facts] * facts + places, axis=1)
        # By place in the order: first the given quantity, then the derived ones; behind the asked
        # one, at place depth, distractors that derive from it or from each other.
        choices = xp.clip(places - depth, 1, None)
        behind = depth + ((words[:, facts : 2 * facts] * choices) >> 32)
        ahead = places - 1 if self.graph == "deep" else xp.zeros_like(places)
        sources = xp.take_along_axis(order, xp.where(places > depth, behind, ahead) % facts, axis=1)
        given = places == 0
        operations = below(words[:, 2 * facts : 3 * facts], self.num_operations)
        ranks = xp.argsort(order, axis=1)
        return WordProblemState(
            known=order[:, 0],
            value=below(words[:, 3 * facts], self.modulus),
            source=xp.take_along_axis(xp.where(given, -1, sources), ranks, axis=1),
            operation=xp.take_along_axis(xp.where(given, -1, operations), ranks, axis=1),
            asked=order[:, depth],
            first=below(words[:, 3 * facts + 1], self.modulus),
            remaining=xp.full_like(seeds, depth),
        )

    def kick(self, state: WordProblemState, action: Array) -> WordProblemState:
        """Add ``action`` + 1 to the known quantity."""
        return replace(state, value=(state.value + 1 + action) % self.modulus)

    def advance(self, state: WordProblemState) -> WordProblemState:
        """Derive the next quantity, whose number takes the place of its sentence.

        In shallow nothing is derived before the last step: a sentence beside the way is dropped.
        """
        xp = array_namespace(state.value)
        running, derives = state.remaining > 0, self._derives(state)
        following = self._following(state)
        operation = xp.take_along_axis(state.operation, following[:, None], axis=1)[:, 0]
        said = running[:, None] & (each_place(state.value, self.facts) == following[:, None])
        return WordProblemState(
            known=xp.where(derives, following, state.known),
            value=xp.where(derives, self._apply(operation, state.value), state.value),
            source=xp.where(said, -1, state.source),
            operation=xp.where(said, -1, state.operation),
            asked=state.asked,
            first=state.first,
            remaining=count_down(state.remaining),
        )

    def payoff(self, state: WordProblemState) -> Array:
        """+1 on the (p - 1) / 2 numbers that win, else -(p - 1) / (p + 1): fair, as wins are."""
        return self._pays(state.value, state.first)

    def observe(self, state: WordProblemState) -> Array:
        """Sentences as tokens, then what is known, the numbers that win and the remaining steps."""
        xp = array_namespace(state.value)
        size = self.modulus
        factor, addend = self._factor_and_addend(state.operation)
        said = state.operation >= 0
        places = each_place(state.value, self.facts)
        tokens = xp.concat(
            [
                one_hot(state.source, self.facts, xp),
                one_hot(xp.where(said & (factor > 1), factor, -1), size, xp),
                one_hot(xp.where(said & (addend > 0), addend, -1), size, xp),
                xp.astype(places == state.asked[:, None], xp.float32)[:, :, None],
            ],
            axis=2,
        )
        return xp.concat(
            [
                xp.reshape(tokens, (tokens.shape[0], -1)),
                self.working(state),
                xp.astype(
                    self._wins(each_place(state.value, size), state.first[:, None]), xp.float32
                ),
                one_hot(state.remaining, self.serial_depth + 1, xp),
            ],
            axis=1,
        )

    def working(self, state: WordProblemState) -> Array:
        """The known quantity as a one-hot, then its number as another."""
        return self.show_words(self.word(state)[:, None])[:, 0]

    def redraw_step(self, state: WordProblemState, seeds: Array) -> WordProblemState:
        """Another operation in the sentence that the next step reads, uniformly one of the rest."""
        xp = array_namespace(seeds)
        following = self._following(state)[:, None]
        offset = 1 + below(random_words(seeds, 1, stream=1), self.num_operations - 1)
        other = (state.operation + offset) % self.num_operations
        changes = (each_place(seeds, self.facts) == following) & (state.remaining > 0)[:, None]
        return replace(state, operation=xp.where(changes, other, state.operation))

    @property
    def num_starts(self) -> int:
        """The numbers: the sentences do not depend on the one that is given."""
        return self.modulus

    @property
    def starts_are_tokens(self) -> bool:
        """A token is a sentence."""
        return False

    def own_start(self, state: WordProblemState) -> Array:
        """The known quantity's number."""
        return state.value

    def start_payoffs(self, state: WordProblemState) -> Array:
        """What every number pays."""
        return self._pays(each_place(state.value, self.modulus), state.first[:, None])

    def start_successors(self, state: WordProblemState) -> Array:
        """What the next step makes of every number."""
        xp = array_namespace(state.value)
        numbers = each_place(state.value, self.modulus)
        operation = xp.take_along_axis(state.operation, self._following(state)[:, None], axis=1)
        derived = self._apply(operation, numbers)
        return xp.where(self._derives(state)[:, None], derived, numbers)

    def rewind(self, state: WordProblemState) -> WordProblemState:
        """No further step: the sentences that were read are gone."""
        return state

    @property
    def num_words(self) -> int:
        """A word says which quantity has which number."""
        return self.facts * self.modulus

    @property
    def word_size(self) -> int:
        """A one-hot of the quantity and one of the number."""
        return self.facts + self.modulus

    def word(self, state: WordProblemState) -> Array:
        """The known quantity and its number."""
        return state.known * self.modulus + state.value

    def show_words(self, words: Array) -> Array:
        """Quantity and number as one-hots."""
        xp = array_namespace(words)
        quantity = one_hot(words // self.modulus, self.facts, xp)
        number = one_hot(xp.where(words < 0, -1, words % self.modulus), self.modulus, xp)
        return xp.concat([quantity, number], axis=2)

    def word_name(self, word: int) -> str:
        """As in "Ada 3 pens"."""
        person, thing = quantity_name(word // self.modulus)
        number = word % self.modulus
        return f"{person} {number} {_counted(number, thing)}"

    def text(self, state: WordProblemState) -> list[str]:
        """Each problem in English, a sentence a line: what is known, what is derived, the bet."""
        return [self._text(state, row) for row in range(state.value.shape[0])]

    def _text(self, state: WordProblemState, row: int) -> str:
        lines = [f"All numbers are counted modulo {self.modulus}."]
        sources, operations = (np.asarray(a[row]) for a in (state.source, state.operation))
        known = int(state.known[row])
        factors, addends = self._factor_and_addend(operations)
        for quantity in range(self.facts):
            person, thing = quantity_name(quantity)
            if quantity == known:
                value = int(state.value[row])
                lines.append(f"{person} has {value} {_counted(value, thing)}.")
            if sources[quantity] < 0:
                continue
            other, others_thing = quantity_name(int(sources[quantity]))
            factor, addend = int(factors[quantity]), int(addends[quantity])
            how = f"{addend} more {_counted(addend, thing)} than"
            if factor > 1:
                how = f"{'twice' if factor == 2 else f'{factor} times'} as many {thing} as"
            lines.append(f"{person} has {how} {other} has {others_thing}.")
        wins = np.flatnonzero(self._wins(np.arange(self.modulus), int(state.first[row]))).tolist()
        person, thing = quantity_name(int(state.asked[row]))
        numbers = " or ".join([", ".join(map(str, wins[:-1])), str(wins[-1])])
        lines.append(f"Bet: {person} has {numbers} {thing}.")
        return "\n".join(lines)

    def _following(self, state: WordProblemState) -> Array:
        """[B] int64: the quantity whose sentence the next step reads; any where there is none.

        In shallow, where several derive from the known quantity, the asked one comes last.
        """
        xp = array_namespace(state.value)
        places = each_place(state.value, self.facts)
        derived = state.source == state.known[:, None]
        if self.graph == "shallow":
            asked = places == state.asked[:, None]
            derived = derived & (asked == (state.remaining == 1)[:, None])
        return xp.min(xp.where(derived, places, self.facts), axis=1) % self.facts

    def _derives(self, state: WordProblemState) -> Array:
        """[B] bool: whether the next step derives a quantity."""
        return state.remaining == 1 if self.graph == "shallow" else state.remaining > 0

    def _apply(self, operation: Array, value: Array) -> Array:
        """The number that an operation makes of another; they broadcast."""
        factor, addend = self._factor_and_addend(operation)
        return (factor * value + addend) % self.modulus

    def _factor_and_addend(self, operation: Array) -> tuple[Array, Array]:
        """Of each operation: the addends 1, 2, … come first, then the factors 2, 3, …."""
        xp = array_namespace(operation)
        adds = operation < self.modulus - 1
        factor = xp.where(adds, 1, operation - self.modulus + 3)
        return factor, xp.where(adds, operation + 1, 0)

    def _wins(self, value: Array, first: Array | int) -> Array:
        """Whether ``value`` is one of the (modulus - 1) / 2 from ``first`` on; they broadcast."""
        return (value - first) % self.modulus < (self.modulus - 1) // 2

    def _pays(self, value: Array, first: Array) -> Array:
        """float32: what each ``value`` pays; they broadcast."""
        xp = array_namespace(value)
        wins = xp.astype(self._wins(value, first), xp.float32)
        return wins - (1 - wins) * ((self.modulus - 1) / (self.modulus + 1))
