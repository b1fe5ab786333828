"""The seriality certificate against chains whose shortcut is known."""

from __future__ import annotations

import numpy as np
import pytest

from rl_serial.envs.certificate import influence
from rl_serial.envs.chains.cellular_automaton import CellularAutomaton
from rl_serial.envs.chains.circuit import Circuit
from rl_serial.envs.chains.permutation_automaton import PermutationAutomaton

INSTANCES = 4096
ERROR = 5 * 0.5 / np.sqrt(INSTANCES)


@pytest.mark.parametrize("rule", [204, 51, 170, 240])
def test_rules_that_move_one_cell_show_that_one_cell_matters(rule: int) -> None:
    """Identity, complement and both shifts: one of the 2 k + 1 cells of the cone is the outcome."""
    found = influence(CellularAutomaton(rule, 16), INSTANCES)
    assert abs(found.first - 1 / 33) < ERROR
    assert abs(found.middle - 1 / 17) < ERROR
    assert abs(found.last - 1 / 3) < ERROR


@pytest.mark.parametrize("depth", [4, 15, 16])
def test_rule_90_shows_the_terms_of_lucas(depth: int) -> None:
    """Of the 2 t + 1 cells of the cone 2^(ones in t) enter the parity."""
    found = influence(CellularAutomaton(90, depth), INSTANCES)
    assert abs(found.first - 2 ** depth.bit_count() / (2 * depth + 1)) < ERROR


@pytest.mark.parametrize("rule", [0, 255])
def test_a_rule_that_forgets_shows_nothing(rule: int) -> None:
    found = influence(CellularAutomaton(rule, 8), INSTANCES)
    assert (found.first, found.middle, found.last) == (0, 0, 0)


def test_a_flat_circuit_shows_its_last_layer_only() -> None:
    found = influence(Circuit("flat", 8, 8), INSTANCES)
    assert (found.first, found.middle) == (0, 0)
    assert found.last > 0.3


def test_another_letter_of_the_cyclic_group_always_moves_the_end() -> None:
    """One of four rotations by 1 … 4 for another: the end is another point, uniform over four.

    The payoff changes from {0, 1} to the rest or back: 2/5 · 3/4 + 3/5 · 2/4 = 3/5.
    """
    found = influence(PermutationAutomaton("z5", 12), INSTANCES)
    for share in (found.first, found.middle, found.last):
        assert abs(share - 3 / 5) < ERROR
