"""The twins have closed forms, the groups their orders, the rules their Wolfram numbers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from rl_serial.envs.chains.cellular_automaton import CellularAutomaton, CellularAutomatonState
from rl_serial.envs.chains.circuit import Circuit
from rl_serial.envs.chains.permutation_automaton import (
    GENERATORS,
    PermutationAutomaton,
    letters_of,
)
from rl_serial.envs.chains.pointer_chase import PointerChase

SEEDS = np.arange(500, dtype=np.int64)
Permutation = tuple[int, ...]


def after(first: Permutation, second: Permutation) -> Permutation:
    """First ``first``, then ``second``."""
    return tuple(second[image] for image in first)


def closure(generators: Any) -> set[Permutation]:
    elements = {tuple(range(5))}
    frontier = list(elements)
    while frontier:
        products = {after(e, tuple(g)) for e in frontier for g in generators} - elements
        elements |= products
        frontier = list(products)
    return elements


def inverse(p: Permutation) -> Permutation:
    return tuple(sorted(range(5), key=lambda point: p[point]))


def is_solvable(group: set[Permutation]) -> bool:
    """Whether the derived series ends in the trivial group."""
    while len(group) > 1:
        commutators = {
            after(after(inverse(a), inverse(b)), after(a, b))
            for a, b in itertools.product(group, repeat=2)
        }
        derived = closure(commutators)
        if derived == group:
            return False
        group = derived
    return True


@pytest.mark.parametrize(
    ("name", "order", "solvable"),
    [("z5", 5, True), ("d5", 10, True), ("f20", 20, True), ("a5", 60, False), ("s5", 120, False)],
)
def test_group_order_and_solvability_by_closure(name: str, order: int, solvable: bool) -> None:
    group = closure(GENERATORS[name])
    assert len(group) == order
    assert is_solvable(group) is solvable
    assert len(set(GENERATORS[name])) == 4
    assert {element[0] for element in group} == set(range(5))  # transitive: payoffs stay fair


@pytest.mark.parametrize("name", GENERATORS)
def test_every_draw_of_letters_generates_the_group(name: str) -> None:
    group = closure(GENERATORS[name])
    draws = [letters_of(name, draw) for draw in range(12)]
    assert draws[0] == GENERATORS[name]
    for letters in draws:
        drawn = closure(letters)
        assert len(set(letters)) == 4
        assert tuple(range(5)) not in letters
        assert len(drawn) == len(group)
        assert is_solvable(drawn) is is_solvable(group)
        assert {element[0] for element in drawn} == set(range(5))
    assert len(set(draws)) > 10


def test_draws_of_letters_stay_what_they_are() -> None:
    """Studies name them by number."""
    assert letters_of("s5", 1) == (
        (2, 4, 3, 0, 1), (4, 3, 0, 2, 1), (2, 4, 1, 0, 3), (3, 4, 0, 1, 2)
    )  # fmt: skip
    chain = PermutationAutomaton("s5", 3, draw=1)
    state = chain.initial(SEEDS)
    after = chain.advance(state)
    expected = [
        letters_of("s5", 1)[i][q] for i, q in zip(state.tape[:, 0], state.point, strict=True)
    ]
    np.testing.assert_array_equal(after.point, expected)


def test_z5_is_a_sum() -> None:
    chain = PermutationAutomaton("z5", 16)
    state = chain.initial(SEEDS)
    total = state.point + (state.tape + 1).sum(axis=1)  # letter i adds i + 1
    for k in range(16):
        shown = state.point + (state.tape + 1).sum(axis=1)  # -1 behind the end adds nothing
        np.testing.assert_array_equal(shown % 5, total % 5, err_msg=f"after {k} steps")
        state = chain.advance(state)
    np.testing.assert_array_equal(state.point, total % 5)


def one_row(rule: int, cells: list[int]) -> list[int]:
    """A step of the package on one ring."""
    chain = CellularAutomaton(rule, serial_depth=1, cells=len(cells))
    state = CellularAutomatonState(
        np.array([cells], dtype=np.int16), np.zeros(1, dtype=np.int16), np.ones(1, dtype=np.int64)
    )
    row: list[int] = chain.advance(state).cells[0].tolist()
    return row


# New centres for the neighbourhoods 111 110 101 100 011 010 001 000, as Wolfram draws them.
WOLFRAM = {110: "01101110", 30: "00011110", 54: "00110110", 90: "01011010", 170: "10101010"}


@pytest.mark.parametrize("rule", WOLFRAM)
def test_rule_table_is_wolframs(rule: int) -> None:
    for pattern, centre in zip(itertools.product([1, 0], repeat=3), WOLFRAM[rule], strict=True):
        assert one_row(rule, [*pattern, 0, 0])[1] == int(centre)


def test_every_rule_spells_its_own_number() -> None:
    for rule in range(256):
        bits = [one_row(rule, [*p, 0, 0])[1] for p in itertools.product([1, 0], repeat=3)]
        assert int("".join(map(str, bits)), 2) == rule


def simulate(chain: CellularAutomaton) -> tuple[Any, Any]:
    state = start = chain.initial(SEEDS)
    for _ in range(chain.serial_depth):
        state = chain.advance(state)
    return start.cells, state.cells


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 8, 15, 16, 31])
def test_rule_90_is_a_parity_by_lucas(depth: int) -> None:
    start, end = simulate(CellularAutomaton(90, depth))
    n = start.shape[1]
    target = n // 2
    # Binomial(t, j) is odd exactly where j's binary digits are among t's (Lucas).
    places = [target + depth - 2 * j for j in range(depth + 1) if j & ~depth == 0]
    parity = start[:, [place % n for place in places]].sum(axis=1) % 2
    np.testing.assert_array_equal(end[:, target], parity)


@pytest.mark.parametrize("depth", [1, 5, 16])
def test_rule_170_is_a_shift(depth: int) -> None:
    start, end = simulate(CellularAutomaton(170, depth))
    np.testing.assert_array_equal(end, np.roll(start, -depth, axis=1))


@pytest.mark.parametrize("depth", [1, 8, 15])
def test_shift_table_is_arithmetic(depth: int) -> None:
    chain = PointerChase("shift", depth, nodes=16)
    state = chain.initial(SEEDS)
    step = (state.successor[:, 0]) % 16  # f(0) = c
    closed = (state.pointer + depth * step) % 16
    for _ in range(depth):
        state = chain.advance(state)
    np.testing.assert_array_equal(state.pointer, closed)


def test_random_table_is_a_single_cycle() -> None:
    successor = PointerChase("random").initial(SEEDS).successor
    node = np.zeros(500, dtype=np.int64)
    visited = []
    for _ in range(16):
        visited.append(node)
        node = successor[np.arange(500), node]
    assert not node.any()  # back at node 0 after all sixteen, each visited once
    np.testing.assert_array_equal(np.sort(visited, axis=0), np.tile(np.arange(16), (500, 1)).T)


def test_flat_circuit_is_one_gate_on_the_inputs() -> None:
    chain = Circuit("flat", serial_depth=6, wires=5)
    state = chain.initial(SEEDS)
    gate = state.gates[:, -1, 0]
    n, a, b, c = gate // 125, gate // 25 % 5, gate // 5 % 5, gate % 5
    rows = np.arange(500)
    x = state.wires
    closed = x[rows, a] ^ (x[rows, b] & x[rows, c]) ^ n
    for _ in range(6):
        state = chain.advance(state)
    np.testing.assert_array_equal(state.wires[:, 0], closed)
