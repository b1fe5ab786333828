"""The rules against a second implementation, written by another hand: one instance at a time.

The oracle below is plain Python on integers and lists. It was written from the prose of the rules
before the package's code was read, and it shares nothing with that code but the generators of the
groups. Both play the same instances with the same random kicks and actions; every state,
observation, reward and exact action value along the way must agree.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rl_serial.envs.chains.cellular_automaton import CellularAutomaton, CellularAutomatonState
from rl_serial.envs.chains.circuit import Circuit, CircuitState
from rl_serial.envs.chains.permutation_automaton import (
    GENERATORS,
    PermutationAutomaton,
    PermutationAutomatonState,
)
from rl_serial.envs.chains.pointer_chase import PointerChase, PointerChaseState
from rl_serial.envs.random import evaluation_seeds
from rl_serial.envs.tasks import Bet, Steer

ArrayOf = Callable[..., Any]


# --------------------------------------------------------------------------------------
# The oracle: plain integers and lists, one instance at a time, written from the rules in
# docs/chains before the package's own code was read. A state is a dictionary.
# --------------------------------------------------------------------------------------


def one_hot(index: int, size: int) -> list[float]:
    row = [0.0] * size
    if 0 <= index < size:
        row[index] = 1.0
    return row


class PermutationOracle:
    num_kicks = 4

    def __init__(self, group: str, serial_depth: int) -> None:
        self.generators = GENERATORS[group]
        self.serial_depth = serial_depth

    def advance(self, s: dict[str, Any]) -> dict[str, Any]:
        if s["remaining"] == 0:
            return s
        point = self.generators[s["tape"][0]][s["point"]]
        return {
            "point": point,
            "tape": [*s["tape"][1:], -1],
            "remaining": s["remaining"] - 1,
        }

    def kick(self, s: dict[str, Any], a: int) -> dict[str, Any]:
        return {**s, "point": self.generators[a][s["point"]]}

    def payoff(self, s: dict[str, Any]) -> float:
        return 1.0 if s["point"] in (0, 1) else -2.0 / 3.0

    def observe(self, s: dict[str, Any]) -> list[float]:
        row: list[float] = []
        for letter in s["tape"]:
            row += one_hot(letter, 4)
        return row + one_hot(s["point"], 5) + one_hot(s["remaining"], self.serial_depth + 1)


class CellularOracle:
    num_kicks = 5

    def __init__(self, rule: int, serial_depth: int) -> None:
        self.rule = rule
        self.serial_depth = serial_depth

    def advance(self, s: dict[str, Any]) -> dict[str, Any]:
        if s["remaining"] == 0:
            return s
        cells = s["cells"]
        n = len(cells)
        new = []
        for i in range(n):
            neighbourhood = 4 * cells[(i - 1) % n] + 2 * cells[i] + cells[(i + 1) % n]
            new.append((self.rule >> neighbourhood) % 2)
        return {"cells": new, "bit": s["bit"], "remaining": s["remaining"] - 1}

    @staticmethod
    def site(s: dict[str, Any], j: int) -> int:
        return len(s["cells"]) // 2 - s["remaining"] + (2 * s["remaining"] * j) // 4

    def kick(self, s: dict[str, Any], a: int) -> dict[str, Any]:
        cells = list(s["cells"])
        cells[self.site(s, a)] = 1 - cells[self.site(s, a)]
        return {**s, "cells": cells}

    def payoff(self, s: dict[str, Any]) -> float:
        return 1.0 if s["cells"][len(s["cells"]) // 2] == s["bit"] else -1.0

    def observe(self, s: dict[str, Any]) -> list[float]:
        row: list[float] = []
        for i, value in enumerate(s["cells"]):
            row.append(float(value))
            row.append(1.0 if i == len(s["cells"]) // 2 else 0.0)
            for j in range(5):
                row.append(1.0 if i == self.site(s, j) else 0.0)
        return [*row, float(s["bit"]), *one_hot(s["remaining"], self.serial_depth + 1)]


class CircuitOracle:
    def __init__(self, wiring: str, serial_depth: int, wires: int) -> None:
        self.flat = wiring == "flat"
        self.serial_depth = serial_depth
        self.wires = wires
        self.num_kicks = wires

    def advance(self, s: dict[str, Any]) -> dict[str, Any]:
        if s["remaining"] == 0:
            return s
        wires = s["wires"]
        layer = s["gates"][0]
        out = []
        for i in range(self.wires):
            a, b, c, n = layer[i]
            out.append((wires[a] + wires[b] * wires[c] + n) % 2)
        if self.flat and s["remaining"] > 1:
            out = list(wires)
        nothing = [[-1, -1, -1, 0] for _ in range(self.wires)]
        return {
            "wires": out,
            "gates": [*s["gates"][1:], nothing],
            "bit": s["bit"],
            "remaining": s["remaining"] - 1,
        }

    def kick(self, s: dict[str, Any], a: int) -> dict[str, Any]:
        wires = list(s["wires"])
        wires[a] = 1 - wires[a]
        return {**s, "wires": wires}

    def payoff(self, s: dict[str, Any]) -> float:
        return 1.0 if s["wires"][0] == s["bit"] else -1.0

    def observe(self, s: dict[str, Any]) -> list[float]:
        row: list[float] = []
        for layer in s["gates"]:
            for a, b, c, n in layer:
                row += one_hot(a, self.wires)
                row += [1.0 if i in (b, c) else 0.0 for i in range(self.wires)]
                row.append(float(n))
        row += [float(w) for w in s["wires"]]
        return [*row, float(s["bit"]), *one_hot(s["remaining"], self.serial_depth + 1)]


class PointerOracle:
    num_kicks = 3

    def __init__(self, serial_depth: int, nodes: int) -> None:
        self.serial_depth = serial_depth
        self.nodes = nodes

    def advance(self, s: dict[str, Any]) -> dict[str, Any]:
        if s["remaining"] == 0:
            return s
        return {**s, "pointer": s["table"][s["pointer"]], "remaining": s["remaining"] - 1}

    def kick(self, s: dict[str, Any], a: int) -> dict[str, Any]:
        return {**s, "pointer": (s["pointer"] + a + 1) % self.nodes}

    def payoff(self, s: dict[str, Any]) -> float:
        return 1.0 if self.pays(s, s["pointer"]) else -1.0

    def pays(self, s: dict[str, Any], node: int) -> bool:
        return 2 * node < self.nodes if s["bit"] == 0 else 2 * node >= self.nodes

    def observe(self, s: dict[str, Any]) -> list[float]:
        row: list[float] = []
        for i, target in enumerate(s["table"]):
            row += one_hot(target, self.nodes)
            row.append(1.0 if i == s["pointer"] else 0.0)
            row.append(1.0 if self.pays(s, i) else 0.0)
        return row + one_hot(s["remaining"], self.serial_depth + 1)


class BetOracle:
    """PASS 0, BET 1, THINK 2. A node of the decision tree is (chain state, budget left)."""

    def __init__(self, chain: Any, think_budget: int, think_cost: float) -> None:
        self.chain = chain
        self.num_actions = 3 if think_budget > 0 else 2
        self.think_cost = think_cost

    def step(self, node: dict[str, Any], action: int) -> tuple[dict[str, Any], float, bool]:
        if node["ended"]:
            return node, 0.0, True
        s = node["chain"]
        if action == 1:
            end = s
            while end["remaining"] > 0:
                end = self.chain.advance(end)
            # The bet is paid at the chain's end; what is shown stays where the agent left it.
            return {**node, "ended": True}, self.chain.payoff(end), True
        if action == 2 and node["budget"] > 0:
            after = {"chain": self.chain.advance(s), "budget": node["budget"] - 1, "ended": False}
            return after, -self.think_cost, False
        return {**node, "ended": True}, 0.0, True


class SteerOracle:
    """A node is (chain state, decisions taken so far)."""

    def __init__(self, chain: Any, decisions: int) -> None:
        self.chain = chain
        self.decisions = decisions
        self.num_actions = 1 + chain.num_kicks

    def step(self, node: dict[str, Any], action: int) -> tuple[dict[str, Any], float, bool]:
        if node["ended"]:
            return node, 0.0, True
        s = node["chain"]
        if action > 0 and node["left"] > 0:
            s = self.chain.kick(s, action - 1)
        s = self.chain.advance(s)
        ended = s["remaining"] == 0
        after = {"chain": s, "left": max(node["left"] - 1, 0), "ended": ended}
        return after, self.chain.payoff(s) if ended else 0.0, ended


def action_values(task: BetOracle | SteerOracle, node: dict[str, Any]) -> list[float]:
    """Q* by walking the whole decision tree."""
    if node.get("left") == 0:  # every action counts as 0: one path instead of actions**steps
        after, reward, ended = task.step(node, 0)
        value = reward if ended else reward + max(action_values(task, after))
        return [value] * task.num_actions
    values = []
    for action in range(task.num_actions):
        after, reward, ended = task.step(node, action)
        values.append(reward if ended else reward + max(action_values(task, after)))
    return values


# --------------------------------------------------------------------------------------
# What the package's states say, as the oracle's dictionaries.
# --------------------------------------------------------------------------------------


def gate_of(number: int, wires: int) -> list[int]:
    """A gate is the number ((n * wires + a) * wires + b) * wires + c; -1 is a gate that is gone."""
    if number < 0:
        return [-1, -1, -1, 0]
    n, number = divmod(number, wires**3)
    return [number // wires**2, number // wires % wires, number % wires, n]


def read(state: Any) -> list[dict[str, Any]]:
    remaining = state.remaining.tolist()
    if isinstance(state, PermutationAutomatonState):
        rows = zip(state.point.tolist(), state.tape.tolist(), remaining, strict=True)
        return [{"point": p, "tape": t, "remaining": k} for p, t, k in rows]
    if isinstance(state, CellularAutomatonState):
        rows = zip(state.cells.tolist(), state.bit.tolist(), remaining, strict=True)
        return [{"cells": c, "bit": b, "remaining": k} for c, b, k in rows]
    if isinstance(state, PointerChaseState):
        columns = state.pointer, state.successor, state.bit
        rows = zip(*(column.tolist() for column in columns), remaining, strict=True)
        return [{"pointer": p, "table": f, "bit": b, "remaining": k} for p, f, b, k in rows]
    rows = zip(
        state.wires.tolist(), state.gates.tolist(), state.bit.tolist(), remaining, strict=True
    )
    return [
        {
            "wires": w,
            "gates": [[gate_of(number, len(w)) for number in layer] for layer in g],
            "bit": b,
            "remaining": k,
        }
        for w, g, b, k in rows
    ]


def oracle_of(chain: Any) -> Any:
    if isinstance(chain, PermutationAutomaton):
        return PermutationOracle(chain.group, chain.serial_depth)
    if isinstance(chain, CellularAutomaton):
        return CellularOracle(chain.rule, chain.serial_depth)
    if isinstance(chain, Circuit):
        return CircuitOracle(chain.wiring, chain.serial_depth, chain.wires)
    return PointerOracle(chain.serial_depth, chain.nodes)


def float32(values: Any) -> Any:
    return np.array(values, dtype=np.float32)


DEFAULTS = [
    *(PermutationAutomaton(group) for group in ("s5", "a5", "f20", "d5", "z5")),
    *(CellularAutomaton(rule) for rule in (110, 30, 54, 170, 90)),
    Circuit("layered"),
    Circuit("flat"),
    PointerChase("random"),
    PointerChase("shift"),
]
SMALL = [
    PermutationAutomaton("s5", serial_depth=3),
    PermutationAutomaton("z5", serial_depth=1),
    CellularAutomaton(110, serial_depth=3),
    CellularAutomaton(110, serial_depth=4, cells=12),
    CellularAutomaton(90, serial_depth=1),
    CellularAutomaton(1, serial_depth=2, cells=8),
    Circuit("layered", serial_depth=4, wires=3),
    Circuit("flat", serial_depth=4, wires=4),
    Circuit("flat", serial_depth=1, wires=3),
    PointerChase("random", serial_depth=3, nodes=4),
    PointerChase("shift", serial_depth=3, nodes=6),
]


@pytest.mark.parametrize("chain", DEFAULTS + SMALL, ids=str)
def test_chain_does_as_the_oracle(chain: Any, array: ArrayOf) -> None:
    rows = 40
    oracle = oracle_of(chain)
    choices = np.random.default_rng(1)
    state = chain.initial(array(evaluation_seeds(1, rows, np)))
    expected = read(state)
    assert all(row["remaining"] == chain.serial_depth for row in expected)
    assert chain.num_kicks == oracle.num_kicks
    for step in range(chain.serial_depth + 2):  # two steps more: a chain at its end stays there
        assert read(state) == expected
        payoffs = float32([oracle.payoff(row) for row in expected])
        np.testing.assert_array_equal(np.asarray(chain.payoff(state)), payoffs)
        if step % 3 == 0 or step >= chain.serial_depth - 1:
            observations = float32([oracle.observe(row) for row in expected])
            np.testing.assert_array_equal(np.asarray(chain.observe(state)), observations)
        if step < chain.serial_depth:
            kicks = choices.integers(chain.num_kicks, size=rows)
            kicked = chain.kick(state, array(kicks))
            expected_kicked = [
                oracle.kick(row, int(kick)) for row, kick in zip(expected, kicks, strict=True)
            ]
            assert read(kicked) == expected_kicked
            if step % 2:
                state, expected = kicked, expected_kicked
        state = chain.advance(state)
        expected = [oracle.advance(row) for row in expected]


def nodes_of(task: Any, state: Any) -> list[dict[str, Any]]:
    """The package's task states as nodes of the oracle's decision tree."""
    if isinstance(task, Bet):
        budgets, ended = state.think_budget.tolist(), state.ended.tolist()
        rows = zip(read(state.chain), budgets, ended, strict=True)
        return [{"chain": c, "budget": b, "ended": e} for c, b, e in rows]
    behind = task.chain.serial_depth - task.decisions
    return [
        {"chain": c, "left": max(0, c["remaining"] - behind), "ended": c["remaining"] == 0}
        for c in read(state)
    ]


def start_nodes(task: Any, seeds: Any, remaining: list[int]) -> list[dict[str, Any]]:
    """The nodes where episodes begin: the chain's instances, advanced by the oracle."""
    oracle = oracle_of(task.chain)
    nodes: list[dict[str, Any]] = []
    for row, left in zip(read(task.chain.initial(seeds)), remaining, strict=True):
        chain = row
        while chain["remaining"] > left:
            chain = oracle.advance(chain)
        if isinstance(task, Bet):
            nodes.append({"chain": chain, "budget": task.think_budget, "ended": False})
        else:
            nodes.append({"chain": chain, "left": task.decisions, "ended": False})
    return nodes


def observe_node(task: Any, node: dict[str, Any]) -> list[float]:
    row: list[float] = oracle_of(task.chain).observe(node["chain"])
    if isinstance(task, Bet) and task.think_budget:
        row += one_hot(node["budget"], task.think_budget + 1)
    return row


def play_beside_the_oracle(task: Any, array: ArrayOf, rows: int, with_values: bool = True) -> None:
    oracle = oracle_of(task.chain)
    game: Any
    if isinstance(task, Bet):
        game = BetOracle(oracle, task.think_budget, task.think_cost)
    else:
        game = SteerOracle(oracle, task.decisions)
    assert len(task.action_names) == game.num_actions
    choices = np.random.default_rng(2)
    seeds = array(evaluation_seeds(2, rows, np))
    state = task.initial(seeds)
    expected = start_nodes(task, seeds, task.remaining(state).tolist())
    for _ in range(task.chain.serial_depth + 2):
        assert nodes_of(task, state) == expected
        observations = float32([observe_node(task, node) for node in expected])
        np.testing.assert_array_equal(np.asarray(task.observe(state)), observations)
        if with_values:
            zeros = [0.0] * game.num_actions
            values = [zeros if n["ended"] else action_values(game, n) for n in expected]
            got = np.asarray(task.action_values(state))
            np.testing.assert_allclose(got, float32(values), rtol=0, atol=1e-6)
        # THINK twice as often as the rest, so that some episodes get far.
        actions = choices.integers(game.num_actions + isinstance(task, Bet), size=rows)
        actions = np.minimum(actions, game.num_actions - 1)
        transition = task.step(state, array(actions))
        stepped = [
            game.step(node, int(action)) for node, action in zip(expected, actions, strict=True)
        ]
        expected = [after for after, _, _ in stepped]
        state = transition.state
        rewards = float32([reward for _, reward, _ in stepped])
        np.testing.assert_allclose(np.asarray(transition.reward), rewards, rtol=0, atol=1e-6)
        assert transition.terminated.tolist() == [ended for _, _, ended in stepped]
    assert nodes_of(task, state) == expected


BETS = [
    {},
    {"start": "uniform"},
    {"think_budget": 1},
    {"think_budget": 4, "think_cost": 0.125, "start": "uniform"},
]


@pytest.mark.parametrize("options", BETS, ids=str)
@pytest.mark.parametrize("chain", [DEFAULTS[0], DEFAULTS[5], *DEFAULTS[10:]], ids=str)
def test_bet_does_as_the_oracle(chain: Any, options: dict[str, Any], array: ArrayOf) -> None:
    play_beside_the_oracle(Bet(chain, **options), array, rows=8)


@pytest.mark.parametrize("budget", [5, 9])
@pytest.mark.parametrize("chain", SMALL, ids=str)
def test_bet_with_more_thinking_than_steps(chain: Any, budget: int, array: ArrayOf) -> None:
    task = Bet(chain, think_budget=budget, think_cost=0.3, start="uniform")
    play_beside_the_oracle(task, array, rows=12)


@pytest.mark.parametrize("decisions", [0, 1, 3])
@pytest.mark.parametrize("chain", SMALL, ids=str)
def test_steer_does_as_the_oracle(chain: Any, decisions: int, array: ArrayOf) -> None:
    task = Steer(chain, decisions=min(decisions, chain.serial_depth))
    play_beside_the_oracle(task, array, rows=5)


@pytest.mark.parametrize("chain", DEFAULTS, ids=str)
def test_steer_at_default_sizes_does_as_the_oracle(chain: Any, array: ArrayOf) -> None:
    play_beside_the_oracle(Steer(chain), array, rows=2)
    play_beside_the_oracle(Steer(chain, decisions=5), array, rows=20, with_values=False)


# --------------------------------------------------------------------------------------
# Instances worked by hand.
# --------------------------------------------------------------------------------------


def int64(*numbers: int) -> Any:
    return np.array(numbers, dtype=np.int64)


def outcomes(chain: Any, state: Any) -> list[float]:
    """Bet's value of BET is what the chain pays at its end."""
    payoffs: list[float] = Bet(chain).step(bet_state(chain, state), int64(1)).reward.tolist()
    return payoffs


def bet_state(chain: Any, state: Any, think_budget: int = 0) -> Any:
    """A Bet episode that begins in ``state`` (which no seed needs to give)."""
    end = state
    for _ in range(chain.serial_depth):
        end = chain.advance(end)
    template = Bet(chain, think_budget=think_budget).initial(int64(0))
    return type(template)(state, template.think_budget, chain.payoff(end), template.ended)


def test_permutation_automaton_by_hand() -> None:
    # s5's letters: g0 = (1 2 3 4 0), g1 = (1 0 2 3 4), g2 = (0 2 3 4 1), g3 = (2 1 4 3 0).
    # From 3 by the tape 0, 2, 3: g0 sends 3 to 4, g2 sends 4 to 1, g3 leaves 1. Point 1 wins.
    chain = PermutationAutomaton("s5", serial_depth=3)
    state = PermutationAutomatonState(int64(3), np.array([[0, 2, 3]]), int64(3))
    points, payoffs = [], []
    for _ in range(4):
        points += state.point.tolist()
        payoffs += chain.payoff(state).tolist()
        state = chain.advance(state)
    assert points == [3, 4, 1, 1]
    assert payoffs == pytest.approx([-2 / 3, -2 / 3, 1, 1])
    # With Steer's one decision at 3, the kicks give 4, 3, 4, 3 and then the tape goes on:
    # no kick: 1 wins; kick 0: 4 -> 0 -> 0 -> 2 loses; kick 1 leaves 3: wins;
    # kick 2: as kick 0; kick 3 leaves 3: wins.
    start = PermutationAutomatonState(int64(3), np.array([[0, 2, 3]]), int64(3))
    values = Steer(chain, decisions=1).action_values(start)
    assert values.tolist() == [pytest.approx([1, -2 / 3, 1, -2 / 3, 1])]


def test_permutation_automaton_twin_by_hand() -> None:
    # z5's letters add 1, 2, 3, 4. From 4 by the tape 1, 3, 0: 4 + 2 + 4 + 1 = 11 = 1 mod 5: wins.
    # A kick by letter 2 before adds 3: 14 = 4 mod 5 loses.
    chain = PermutationAutomaton("z5", serial_depth=3)
    state = PermutationAutomatonState(int64(4), np.array([[1, 3, 0]]), int64(3))
    assert outcomes(chain, state) == [1]
    assert outcomes(chain, chain.kick(state, int64(2))) == pytest.approx([-2 / 3])


def test_cellular_automaton_by_hand() -> None:
    # Rule 110 is 01101110 in binary: 111 110 101 100 011 010 001 000 give 0 1 1 0 1 1 1 0.
    # One live cell grows to the left: 0001000, 0011000, 0111000, 1101000. Target: cell 3.
    chain = CellularAutomaton(110, serial_depth=3)
    state = CellularAutomatonState(
        np.array([[0, 0, 0, 1, 0, 0, 0]], dtype=np.int16), np.array([1], dtype=np.int16), int64(3)
    )
    history = []
    for _ in range(4):
        history.append("".join(str(cell) for cell in state.cells[0].tolist()))
        last, state = state, chain.advance(state)
    assert history == ["0001000", "0011000", "0111000", "1101000"]
    assert chain.payoff(last).tolist() == [1]
    # The sites with three steps to go: 3 - 3 + floor(6 j / 4) = 0, 1, 3, 4, 6.
    first = CellularAutomatonState(np.zeros((1, 7), np.int16), np.ones(1, np.int16), int64(3))
    flipped = [chain.kick(first, int64(j)).cells[0].nonzero()[0].tolist() for j in range(5)]
    assert flipped == [[0], [1], [3], [4], [6]]


def test_cellular_automaton_rule_90_by_hand() -> None:
    # Each cell becomes left xor right: 10011 -> 11110, and then cell 2 becomes 1 xor 1 = 0.
    # (After two steps it is cell 0 xor cell 4 = 1 xor 1.) The bit is 1: loses.
    chain = CellularAutomaton(90, serial_depth=2)
    cells = np.array([[1, 0, 0, 1, 1]], dtype=np.int16)
    state = CellularAutomatonState(cells, np.array([1], dtype=np.int16), int64(2))
    assert chain.advance(state).cells.tolist() == [[1, 1, 1, 1, 0]]
    assert outcomes(chain, state) == [-1]
    # THINK costs 0.05 and helps nobody who sees what is coming: PASS is best.
    task = Bet(chain, think_budget=2)
    assert task.action_values(bet_state(chain, state, 2)).tolist() == [
        pytest.approx([0, -1, -0.05])
    ]
    # A kick at site 0 (cell 0, the edge of the light cone) makes it 0 xor 1 = 1: wins.
    kicked = chain.kick(state, int64(0))
    assert outcomes(chain, kicked) == [1]
    assert task.action_values(bet_state(chain, kicked, 2)).tolist() == [pytest.approx([0, 1, 0.95])]


def circuit(bit: int) -> CircuitState:
    # Two layers of three wires; a gate (n, a, b, c) is the number 27 n + 9 a + 3 b + c; here n = 0.
    first = [9 * 2 + 3 * 0 + 1, 9 * 0 + 3 * 1 + 2, 9 * 1 + 3 * 0 + 2]
    second = [9 * 1 + 3 * 0 + 2, 9 * 2 + 3 * 1 + 0, 9 * 0 + 3 * 2 + 1]
    return CircuitState(
        wires=np.array([[1, 1, 0]], dtype=np.int8),
        gates=np.array([[first, second]], dtype=np.int32),
        bit=np.array([bit], dtype=np.int8),
        remaining=int64(2),
    )


def test_circuit_by_hand() -> None:
    # Inputs 1 1 0. Layer 1: 0 xor (1 and 1) = 1; 1 xor (1 and 0) = 1; 1 xor (1 and 0) = 1.
    # Layer 2 on 1 1 1: 1 xor (1 and 1) = 0 on every wire. The bit is 0: wins.
    chain = Circuit("layered", serial_depth=2, wires=3)
    middle = chain.advance(circuit(bit=0))
    assert middle.wires.tolist() == [[1, 1, 1]]
    assert middle.gates.tolist() == [[[9 * 1 + 2, 9 * 2 + 3, 3 * 2 + 1], [-1, -1, -1]]]
    assert chain.advance(middle).wires.tolist() == [[0, 0, 0]]
    assert outcomes(chain, circuit(bit=0)) == [1]
    # Kick 2 before it makes the inputs 1 1 1: layer 1 gives 0 0 0, and so does layer 2: wins too.
    # Kick 0 makes them 0 1 0: layer 1 gives 0, 0, 1; layer 2 gives 0 xor (0 and 1) = 0: wins.
    # Kick 1 makes them 1 0 0: layer 1 gives 0, 1, 0; layer 2 gives 1 xor (0 and 0) = 1: loses.
    values = Steer(chain, decisions=1).action_values(circuit(bit=0))
    assert values.tolist() == [[1, 1, -1, 1]]


def test_a_negated_gate_by_hand() -> None:
    # As above, but wire 1 of the first layer is negated: layer 1 gives 1, 0, 1; layer 2's wire 0
    # is then 0 xor (1 and 1) = 1. Negated as well it is 0 again.
    chain = Circuit("layered", serial_depth=2, wires=3)
    once, twice = circuit(bit=1), circuit(bit=0)
    once.gates[0, 0, 1] += 27
    twice.gates[0, 0, 1] += 27
    twice.gates[0, 1, 0] += 27
    assert chain.advance(once).wires.tolist() == [[1, 0, 1]]
    assert outcomes(chain, once) == [1]
    assert outcomes(chain, twice) == [1]


def test_circuit_twin_by_hand() -> None:
    # Flat: only the last layer counts, on the inputs 1 1 0: 1 xor (1 and 0) = 1. The bit is 0.
    chain = Circuit("flat", serial_depth=2, wires=3)
    assert chain.advance(circuit(bit=0)).wires.tolist() == [[1, 1, 0]]
    assert outcomes(chain, circuit(bit=0)) == [-1]
    assert outcomes(chain, circuit(bit=1)) == [1]


def test_pointer_chase_by_hand() -> None:
    # f = (2 0 3 1). The bit is 0: the first half pays. From 1: 0, 2, 3 in the second half loses.
    # Kick 0: from 2: 3, 1, 0 wins. Kick 1: from 3: 1, 0, 2 loses. Kick 2: from 0: 2, 3, 1 wins.
    chain = PointerChase("random", serial_depth=3, nodes=4)
    state = PointerChaseState(int64(1), np.array([[2, 0, 3, 1]]), int64(0), int64(3))
    assert outcomes(chain, state) == [-1]
    assert Steer(chain, decisions=1).action_values(state).tolist() == [[-1, 1, -1, 1]]
    # With the bit 1 the second half pays: all the other way round.
    state = PointerChaseState(int64(1), np.array([[2, 0, 3, 1]]), int64(1), int64(3))
    assert Steer(chain, decisions=1).action_values(state).tolist() == [[1, -1, 1, -1]]


def test_pointer_chase_twin_by_hand() -> None:
    # f(p) = p + 4 mod 6, five times from 5: 5 + 20 = 25 = 1 mod 6, in the first half: wins.
    # From 2: 2 + 20 = 22 = 4 mod 6 loses.
    chain = PointerChase("shift", serial_depth=5, nodes=6)
    table = np.array([[4, 5, 0, 1, 2, 3]])
    assert outcomes(chain, PointerChaseState(int64(5), table, int64(0), int64(5))) == [1]
    assert outcomes(chain, PointerChaseState(int64(2), table, int64(0), int64(5))) == [-1]
    assert outcomes(chain, PointerChaseState(int64(2), table, int64(1), int64(5))) == [1]
