"""The starts that an instance holds, against the rules of the pages in plain Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rl_serial.agents.targets import held_horizons, horizon_returns
from rl_serial.envs import make_task
from rl_serial.envs.chain import ChainWithStarts
from rl_serial.envs.chains.permutation_automaton import GENERATORS

SEEDS = np.arange(24, dtype=np.int64)
OPTIONS: dict[str, dict[str, Any]] = {
    "PointerChase": {"serial_depth": 5, "nodes": 8},
    "PermutationAutomaton": {"serial_depth": 5},
    "CellularAutomaton": {"serial_depth": 4, "rule": 110},
    "WordProblem": {"serial_depth": 4, "facts": 7},
    "ManyBody": {"serial_depth": 3},
}


def states(family: str, array: Callable[..., Any] = np.asarray) -> tuple[Any, Any]:
    """A Bet task and states of it at every number of remaining steps."""
    task = make_task(family, "Bet", **OPTIONS[family])
    assert isinstance(task.chain, ChainWithStarts)
    remaining = 1 + SEEDS % task.chain.serial_depth
    return task, task.at_remaining(array(SEEDS), array(remaining))


def test_a_circuit_does_not_say_which_starts_it_holds() -> None:
    assert not isinstance(make_task("Circuit", "Bet").chain, ChainWithStarts)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_own_start_at_all_remaining_steps_is_worth_the_bet(
    name: str, array: Callable[..., Any]
) -> None:
    if name == "ManyBody" and array is not np.asarray:
        pytest.skip("ManyBody runs on NumPy arrays")
    task, state = states(name, array)
    chain = task.chain
    returns = np.asarray(horizon_returns(chain, state.chain))
    assert returns.shape == (SEEDS.size, chain.num_starts, chain.serial_depth)
    assert returns.dtype == np.float32
    rows, remaining = np.arange(SEEDS.size), np.asarray(task.remaining(state))
    own = np.asarray(chain.own_start(state.chain))
    exact = np.asarray(task.action_values(state))[:, 1]
    np.testing.assert_array_equal(returns[rows, own, remaining - 1], exact)
    held = np.asarray(held_horizons(chain, state.chain))
    assert held.shape == (SEEDS.size, 1, chain.serial_depth)
    assert held[rows, 0, remaining - 1].all()


@pytest.mark.parametrize("name", OPTIONS)
def test_horizons_of_starts_that_are_tokens_follow_the_tokens(name: str) -> None:
    task, _ = states(name)
    tokens = task.layout.tokens == task.chain.num_starts
    assert tokens or not task.chain.starts_are_tokens


def test_every_node_of_a_table() -> None:
    task, state = states("PointerChase")
    returns = horizon_returns(task.chain, state.chain)
    assert held_horizons(task.chain, state.chain).all()  # the table stays
    assert len({value.tobytes() for value in returns}) == SEEDS.size
    for row, observation in enumerate(task.observe(state)):
        tokens = observation[: 8 * 10].reshape(8, 10)
        for node in range(8):
            place = node
            for k in range(5):
                place = int(tokens[place, :8].argmax())
                assert returns[row, node, k] == (1 if tokens[place, 9] else -1)


def test_every_point_of_a_word() -> None:
    task, state = states("PermutationAutomaton")
    returns = horizon_returns(task.chain, state.chain)
    held = held_horizons(task.chain, state.chain)
    for row, observation in enumerate(task.observe(state)):
        letters = observation[: 5 * 4].reshape(5, 4)
        word = [int(letter.argmax()) for letter in letters if letter.any()]
        np.testing.assert_array_equal(held[row, 0], [k < len(word) for k in range(5)])
        for point in range(5):
            place = point
            for k, letter in enumerate(word):
                place = GENERATORS["s5"][letter][place]
                assert returns[row, point, k] == pytest.approx(1 if place < 2 else -2 / 3)


def test_every_cell_of_a_ring() -> None:
    task, state = states("CellularAutomaton")
    returns = horizon_returns(task.chain, state.chain)
    assert held_horizons(task.chain, state.chain).all()  # the ring stays
    for row in range(SEEDS.size):
        cells, bit = state.chain.cells[row].tolist(), int(state.chain.bit[row])
        for k in range(4):
            ring = [cells[-1], *cells, cells[0]]
            cells = [
                110 >> (4 * ring[i] + 2 * ring[i + 1] + ring[i + 2]) & 1 for i in range(len(cells))
            ]
            np.testing.assert_array_equal(
                returns[row, :, k], [1 if cell == bit else -1 for cell in cells]
            )


def test_every_number_of_a_problem() -> None:
    """A start is the known number: the text with another one in its place says what it leads to."""
    task, state = states("WordProblem")
    returns = horizon_returns(task.chain, state.chain)
    for row, text in enumerate(task.chain.text(state.chain)):
        left = int(state.chain.remaining[row])
        [sentence] = re.findall(r"^\w+ has \d+ \w+\.$", text, re.MULTILINE)
        who, thing = sentence.split()[0], sentence.split()[3].rstrip(".")
        for number in range(7):
            value, at = number, (who, thing.rstrip("s"))
            for k in range(left):
                [(sign, many, next_at)] = derived_from(text, at)
                value, at = (value + many if sign == "more" else value * many) % 7, next_at
                wins = re.findall(r"\d", text.split("Bet:")[1])
                assert returns[row, number, k] == (1 if str(value) in wins else -0.75)


def derived_from(text: str, quantity: tuple[str, str]) -> list[tuple[str, int, tuple[str, str]]]:
    """How which quantities derive from one; things without their plural s."""
    found = []
    pattern = r"(\w+) has (twice|\d+)(?: times)? (as many|more) (\w+) (?:as|than) (\w+) has (\w+)\."
    for who, many, how, thing, other, others in re.findall(pattern, text):
        if (other, others.rstrip("s")) == quantity:
            number = 2 if many == "twice" else int(many)
            found.append((how, number, (who, thing.rstrip("s"))))
    return found


def test_every_disc_of_a_table_without_contacts() -> None:
    """Closed form: a disc moves on a straight line folded at the walls (billiards)."""
    pytest.importorskip("mujoco")
    task = make_task("ManyBody", "Bet", contacts="none", serial_depth=2, interval=0.02)
    chain, state = task.chain, task.initial(SEEDS).chain
    returns = horizon_returns(chain, state)
    for k in (1, 2):
        x = state.position[:, :, 0] + k * 0.02 * state.velocity[:, :, 0]
        clear = (x > 0.15) & (x < chain.side - 0.15) & (np.abs(x - chain.side / 2) > 1e-3)
        assert clear.mean() > 0.4
        right = (x > chain.side / 2) == (state.half[:, None] == 1)
        np.testing.assert_array_equal(returns[:, :, k - 1][clear], np.where(right, 1, -1)[clear])
