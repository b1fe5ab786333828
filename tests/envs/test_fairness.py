"""Instances are drawn as the families say; the fairness of payoffs is part of the contract.

(:mod:`rl_serial.envs.testing`)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rl_serial.envs import FAMILIES
from rl_serial.envs.chain import map_state
from rl_serial.envs.random import evaluation_seeds

INSTANCES = 100_000
CHUNK = 20_000


def uniform(draws: Any, values: int) -> bool:
    """Whether each column of ``draws`` [N, M] is uniform over ``values`` (five standard errors)."""
    shares = np.stack([(draws == value).mean(axis=0) for value in range(values)])
    error = np.sqrt((1 / values) * (1 - 1 / values) / draws.shape[0])
    return bool(np.abs(shares - 1 / values).max() < 5 * error)


def test_instances_are_uniform() -> None:
    seeds = evaluation_seeds(5, CHUNK, np)
    automaton = FAMILIES["PermutationAutomaton"].chain().initial(seeds)
    assert uniform(automaton.point[:, None], 5)
    assert uniform(automaton.tape, 4)
    cellular = FAMILIES["CellularAutomaton"].chain().initial(seeds)
    assert uniform(cellular.cells, 2)
    assert uniform(cellular.bit[:, None], 2)
    pointer = FAMILIES["PointerChase"].chain().initial(seeds)
    assert uniform(pointer.pointer[:, None], 16)
    assert uniform(pointer.bit[:, None], 2)
    # A node's successor is any other node: of n - 1 nodes onwards each equally often.
    onwards = (pointer.successor - np.arange(16)) % 16
    assert uniform(onwards - 1, 15)
    circuit = FAMILIES["Circuit"].chain().initial(seeds)
    assert uniform(circuit.wires, 2)
    gates = circuit.gates.reshape(CHUNK, -1)
    n, a, b, c = gates // 512, gates // 64 % 8, gates // 8 % 8, gates % 8
    assert uniform(n, 2)
    assert all(uniform(wire, 8) for wire in (a, b, c))
    assert not ((a == b) | (b == c) | (a == c)).any()


def test_parts_of_a_state_do_not_depend_on_each_other() -> None:
    """A letter tells nothing of the point: the mean payoff is zero given any first letter."""
    chain = FAMILIES["PermutationAutomaton"].chain(serial_depth=3)
    start = chain.initial(evaluation_seeds(6, INSTANCES, np))
    end = map_state(lambda array: array, start)
    for _ in range(3):
        end = chain.advance(end)
    payoffs = chain.payoff(end)
    for letter in range(4):
        chosen = payoffs[start.tape[:, 0] == letter]
        assert abs(chosen.mean()) < 5 * chosen.std() / np.sqrt(chosen.size)


@pytest.mark.parametrize("depth", [1, 7, 16])
@pytest.mark.parametrize("rule", [110, 30, 54, 170, 90, 137])
def test_the_outcome_of_a_cellular_automaton_is_a_fair_coin(rule: int, depth: int) -> None:
    """Without the bit: under rule 110 the target of uniform cells ends as 1 in 57 %."""
    chain = FAMILIES["CellularAutomaton"].chain(rule=rule, serial_depth=depth)
    state = chain.initial(evaluation_seeds(7, CHUNK, np))
    for _ in range(depth):
        state = chain.advance(state)
    ones = state.cells[:, chain.target].mean()
    assert abs(ones - 0.5) < 5 * np.sqrt(0.25 / CHUNK)


def test_a_cellular_automaton_that_cannot_be_fair_is_served_as_it_is() -> None:
    chain = FAMILIES["CellularAutomaton"].chain(rule=0, serial_depth=2)
    state = chain.initial(evaluation_seeds(7, 500, np))
    assert 0.4 < state.cells.mean() < 0.6
    assert not chain.advance(state).cells.any()


@pytest.mark.parametrize("table", ["random", "shift"])
def test_the_pointer_ends_in_its_own_half_equally_often_in_both_tables(table: str) -> None:
    """In 7 of 15 instances of 16 nodes, at every step: the node where it is says the same in both.

    A single cycle passes each other node equally often: 7 of 15 are in the same half. Under the
    shift, k c is uniform over the multiples of gcd(k, 16) but for c = 0: of the 16 values of c, 8
    lead to the same half, and c = 0 is one of these.
    """
    chain = FAMILIES["PointerChase"].chain(table=table, serial_depth=15)
    start = state = chain.initial(evaluation_seeds(8, CHUNK, np))
    for _ in range(15):
        state = chain.advance(state)
        same = ((state.pointer < 8) == (start.pointer < 8)).mean()
        assert abs(same - 7 / 15) < 5 * np.sqrt(0.25 / CHUNK)
