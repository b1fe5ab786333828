"""PermutationAutomaton: a state on five points, pushed by the letters of a tape.

One step is q <- g[letter](q). The word problem of the group that the letters generate is
NC1-complete if the group is not solvable (a5, s5; Barrington 1989) and in TC0 or ACC0 if it is
(z5, d5, f20). Same letters, same shapes; only the group changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from rl_serial.envs.chain import (
    Array,
    TokenLayout,
    array_namespace,
    count_down,
    device_of,
    each_place,
    kept_table,
    one_hot,
)
from rl_serial.envs.random import below, fold_in, random_words
from rl_serial.errors import require

# Four permutations of (0, 1, 2, 3, 4) for each group; letter i sends point q to row[i][q].
GENERATORS: dict[str, tuple[tuple[int, ...], ...]] = {
    # Rotations q -> q + c: the cyclic group of order 5.
    "z5": ((1, 2, 3, 4, 0), (2, 3, 4, 0, 1), (3, 4, 0, 1, 2), (4, 0, 1, 2, 3)),
    # Rotations by 1 and 2, reflections q -> -q and q -> 1 - q: the dihedral group of order 10.
    "d5": ((1, 2, 3, 4, 0), (2, 3, 4, 0, 1), (0, 4, 3, 2, 1), (1, 0, 4, 3, 2)),
    # q -> q + 1, q -> 2q, q -> 3q, q -> 2q + 1: the affine group AGL(1, 5) of order 20.
    "f20": ((1, 2, 3, 4, 0), (0, 2, 4, 1, 3), (0, 3, 1, 4, 2), (1, 3, 0, 2, 4)),
    # Two five-cycles and two three-cycles: the alternating group of order 60.
    "a5": ((1, 2, 3, 4, 0), (1, 3, 0, 4, 2), (1, 2, 0, 3, 4), (0, 1, 3, 4, 2)),
    # A five-cycle, a transposition, a four-cycle, a three-cycle: the symmetric group of order 120.
    "s5": ((1, 2, 3, 4, 0), (1, 0, 2, 3, 4), (0, 2, 3, 4, 1), (2, 1, 4, 3, 0)),
}
NUM_POINTS = 5
NUM_LETTERS = 4
MOST_DRAWS = 2**20
Permutation = tuple[int, ...]


@lru_cache
def letters_of(group: str, draw: int) -> tuple[Permutation, ...]:
    """The permutations of the four letters.

    Draw 0 are :data:`GENERATORS`. Every other one is drawn anew: four different elements of the
    group, none of which leaves all points where they are, that generate it; then the points change
    their names, alike for all four. In z5, which has no other elements, the draws are the same four
    rotations, in another order and of other points.
    """
    if draw == 0:
        return GENERATORS[group]
    same = tuple(range(NUM_POINTS))
    elements = sorted(closure(GENERATORS[group]) - {same})
    seeds = fold_in(np.array([sorted(GENERATORS).index(group)]), np.array([draw]))
    for stream in itertools.count():
        words = random_words(seeds, NUM_LETTERS + NUM_POINTS, stream)[0]
        chosen = [elements[i] for i in below(words[:NUM_LETTERS], len(elements))]
        if len(set(chosen)) == NUM_LETTERS and len(closure(chosen)) == len(elements) + 1:
            break
    names = np.argsort(words[NUM_LETTERS:])
    renamed = []
    for letter in chosen:
        images = np.empty(NUM_POINTS, dtype=np.int64)
        images[names] = names[list(letter)]
        renamed.append(tuple(images.tolist()))
    return tuple(renamed)


def closure(letters: Iterable[Permutation]) -> set[Permutation]:
    """The group that permutations generate."""
    letters = list(letters)
    found, fresh = set(letters), set(letters)
    while fresh:
        fresh = {tuple(f[g[q]] for q in range(NUM_POINTS)) for f in letters for g in fresh} - found
        found |= fresh
    return found


@kept_table
def _permutations(group: str, draw: int, xp: Any, device: Any) -> Array:
    """[5, 5] int64: the images under each letter; the last row, letter -1, moves nothing."""
    rows = [*letters_of(group, draw), tuple(range(NUM_POINTS))]
    return xp.asarray(np.array(rows, dtype=np.int64), device=device)


def _pays(point: Array) -> Array:
    """float32, in the shape of ``point``: what each point pays."""
    xp = array_namespace(point)
    wins = xp.astype(point < 2, xp.float32)
    return wins - (1 - wins) * (2 / 3)


@dataclass(frozen=True)
class PermutationAutomatonState:
    """A batch of automata."""

    point: Array  # [B] int64 in [0, 5)
    tape: Array  # [B, serial_depth] int64 in [0, 4), the next letter first; -1 behind the end
    remaining: Array  # [B] int64


@dataclass(frozen=True)
class PermutationAutomaton:
    """Five points, four letters, a tape of ``serial_depth`` letters.

    Args:
        group: the group that the letters generate: z5, d5, f20, a5 or s5.
        serial_depth: letters on a fresh tape, at least 1.
        draw: which of the group's generators the letters are (:func:`letters_of`), 0 to 2**20.

    Raises:
        ValueError: an option outside its range.
    """

    group: str = "s5"
    serial_depth: int = 16
    draw: int = 0

    def __post_init__(self) -> None:
        require(self.group in GENERATORS, "group", self.group, f"one of {', '.join(GENERATORS)}")
        require(self.serial_depth >= 1, "serial_depth", self.serial_depth, "at least 1")
        require(0 <= self.draw <= MOST_DRAWS, "draw", self.draw, f"0 to {MOST_DRAWS}")

    @property
    def num_kicks(self) -> int:
        """Kick a applies letter a."""
        return NUM_LETTERS

    @property
    def layout(self) -> TokenLayout:
        """A token a letter (one-hot); global: the point and the remaining steps (one-hot)."""
        return TokenLayout(self.serial_depth, NUM_LETTERS, NUM_POINTS + self.serial_depth + 1)

    @property
    def working_size(self) -> int:
        """The five points."""
        return NUM_POINTS

    def initial(self, seeds: Array) -> PermutationAutomatonState:
        """Point and letters uniform."""
        xp = array_namespace(seeds)
        words = random_words(seeds, 1 + self.serial_depth)
        return PermutationAutomatonState(
            point=below(words[:, 0], NUM_POINTS),
            tape=below(words[:, 1:], NUM_LETTERS),
            remaining=xp.full_like(seeds, self.serial_depth),
        )

    def kick(self, state: PermutationAutomatonState, action: Array) -> PermutationAutomatonState:
        """Apply letter ``action`` to the point; the tape stays."""
        return PermutationAutomatonState(
            self._apply(action, state.point), state.tape, state.remaining
        )

    def advance(self, state: PermutationAutomatonState) -> PermutationAutomatonState:
        """Apply the next letter and take it off the tape."""
        xp = array_namespace(state.point)
        tape = state.tape
        return PermutationAutomatonState(
            point=self._apply(tape[:, 0], state.point),
            tape=xp.concat([tape[:, 1:], xp.full_like(tape[:, :1], -1)], axis=1),
            remaining=count_down(state.remaining),
        )

    def payoff(self, state: PermutationAutomatonState) -> Array:
        """+1 on points 0 and 1, -2/3 on the other three: fair on a uniform point."""
        return _pays(state.point)

    def observe(self, state: PermutationAutomatonState) -> Array:
        """Letters ahead as one-hot tokens, then point and remaining as one-hots."""
        xp = array_namespace(state.point)
        letters = one_hot(state.tape, NUM_LETTERS, xp)
        return xp.concat(
            [
                xp.reshape(letters, (letters.shape[0], -1)),
                one_hot(state.point, NUM_POINTS, xp),
                one_hot(state.remaining, self.serial_depth + 1, xp),
            ],
            axis=1,
        )

    def working(self, state: PermutationAutomatonState) -> Array:
        """The point as a one-hot."""
        return one_hot(state.point, NUM_POINTS, array_namespace(state.point))

    def redraw_step(
        self, state: PermutationAutomatonState, seeds: Array
    ) -> PermutationAutomatonState:
        """Another letter, uniformly one of the other three, at the head of the tape."""
        xp = array_namespace(seeds)
        head = state.tape[:, :1]
        other = (head + 1 + below(random_words(seeds, 1, stream=1), NUM_LETTERS - 1)) % NUM_LETTERS
        tape = xp.concat([xp.where(head < 0, head, other), state.tape[:, 1:]], axis=1)
        return PermutationAutomatonState(state.point, tape, state.remaining)

    @property
    def num_starts(self) -> int:
        """The points: the tape does not depend on where the automaton is."""
        return NUM_POINTS

    @property
    def starts_are_tokens(self) -> bool:
        """A token is a letter."""
        return False

    def own_start(self, state: PermutationAutomatonState) -> Array:
        """The automaton's point."""
        return state.point

    def start_payoffs(self, state: PermutationAutomatonState) -> Array:
        """What every point pays."""
        return _pays(each_place(state.point, NUM_POINTS))

    def start_successors(self, state: PermutationAutomatonState) -> Array:
        """Where the next letter sends every point."""
        return self._apply(state.tape[:, :1], each_place(state.point, NUM_POINTS))

    def rewind(self, state: PermutationAutomatonState) -> PermutationAutomatonState:
        """No further step: the letters that were read are gone."""
        return state

    @property
    def num_words(self) -> int:
        """A word is a point."""
        return NUM_POINTS

    @property
    def word_size(self) -> int:
        """A one-hot of the point."""
        return NUM_POINTS

    def word(self, state: PermutationAutomatonState) -> Array:
        """The point."""
        return state.point

    def show_words(self, words: Array) -> Array:
        """Points as one-hots."""
        return one_hot(words, NUM_POINTS, array_namespace(words))

    def word_name(self, word: int) -> str:
        """As in "point 3"."""
        return f"point {word}"

    def _apply(self, letter: Array, point: Array) -> Array:
        xp = array_namespace(point)
        return _permutations(self.group, self.draw, xp, device_of(point))[letter, point]
