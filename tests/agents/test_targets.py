"""Fixed-horizon targets and the agent that reads them, against exact values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rl_serial.agents.dynamics import TrueDynamics
from rl_serial.agents.fitted import visited_states
from rl_serial.agents.search import OnePlyAgent, SearchAgent
from rl_serial.agents.settings import ValueAgentConfig
from rl_serial.agents.targets import (
    held_horizons,
    horizon_bootstraps,
    horizon_returns,
    starts_of,
)
from rl_serial.agents.value import HorizonAgent, ValueTrainer
from rl_serial.envs import make_task
from rl_serial.envs.chains.permutation_automaton import GENERATORS
from rl_serial.networks import HorizonHead, build_network, build_trunk

torch.set_num_threads(1)
SEEDS = np.arange(40, dtype=np.int64)
CPU = torch.device("cpu")
TASKS = {
    "pointer": make_task("PointerChase", "Bet", serial_depth=4, nodes=6, start="uniform"),
    "word": make_task("PermutationAutomaton", "Bet", serial_depth=4, start="uniform"),
    "ring": make_task("CellularAutomaton", "Bet", serial_depth=3, start="uniform"),
    "steer": make_task("PointerChase", "Steer", serial_depth=4, nodes=6, decisions=2),
}
SHORT_CHASE = make_task("PointerChase", "Bet", serial_depth=2, nodes=4, start="uniform")
SHORT_WORD = make_task("PermutationAutomaton", "Bet", group="z5", serial_depth=2, start="uniform")


class Words(nn.Module):
    """A network that knows s5: reads the letters of an observation and follows them."""

    def __init__(self, serial_depth: int) -> None:
        super().__init__()
        self.serial_depth = serial_depth

    def forward(self, observation: Tensor) -> Tensor:
        values = torch.full((len(observation), 5, self.serial_depth), 9.0)
        for row, numbers in enumerate(observation):
            letters = numbers[: 4 * self.serial_depth].reshape(-1, 4)
            for point in range(5):
                place = point
                for k, letter in enumerate(letters):
                    if letter.any():
                        place = GENERATORS["s5"][int(letter.argmax())][place]
                        values[row, point, k] = 1.0 if place < 2 else -2 / 3
        return values


class Tables(nn.Module):
    """A network that knows how to follow a table of pointers."""

    def __init__(self, nodes: int, serial_depth: int) -> None:
        super().__init__()
        self.nodes, self.serial_depth = nodes, serial_depth

    def forward(self, observation: Tensor) -> Tensor:
        tokens = observation[:, : self.nodes * (self.nodes + 2)]
        tokens = tokens.reshape(-1, self.nodes, self.nodes + 2)
        table, pays = tokens[:, :, : self.nodes], 2 * tokens[:, :, -1:] - 1
        values = []
        for _ in range(self.serial_depth):
            pays = table @ pays
            values.append(pays)
        return torch.cat(values, dim=2)


def _says(values: Any) -> Callable[[Any], Any]:
    """A network that says the same whatever it sees."""
    return lambda observations: values


@pytest.mark.parametrize("name", TASKS)
def test_exact_values_are_the_fixed_point_of_td0(name: str) -> None:
    task = TASKS[name]
    chain = starts_of(task)
    state = visited_states(task, SEEDS)
    here = task.chain_state(state)
    after = chain.advance(chain.rewind(here))
    exact = horizon_returns(chain, here)
    held = np.broadcast_to(held_horizons(chain, here), exact.shape)

    def values(observations: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        np.testing.assert_array_equal(observations, task.observe(task.with_chain(state, after)))
        return horizon_returns(chain, after)

    found = horizon_bootstraps(task, state, values)
    np.testing.assert_array_equal(found[held], exact[held])
    assert held.mean() > 0.5


def test_td0_takes_the_value_of_the_successor_one_step_shorter() -> None:
    """Values that say 100 · horizon + node: by hand V_k(i) is 100 (k - 1) + f(i), V_1 a payoff."""
    task = TASKS["pointer"]
    state = task.initial(SEEDS)
    said = 100 * np.arange(1, 5)[None, None] + np.arange(6)[None, :, None]
    found = horizon_bootstraps(
        task, state, lambda observations: np.tile(said, (len(observations), 1, 1))
    )
    table = state.chain.successor
    for k in (2, 3, 4):
        np.testing.assert_array_equal(found[:, :, k - 1], 100 * (k - 1) + table)
    pays = np.where((table >= 3) == (state.chain.bit[:, None] == 1), 1, -1)
    np.testing.assert_array_equal(found[:, :, 0], pays)


def test_a_single_step_has_nothing_to_bootstrap_from() -> None:
    task = make_task("PermutationAutomaton", "Bet", serial_depth=1)
    state = task.initial(SEEDS)

    def never(observations: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        raise AssertionError

    found = horizon_bootstraps(task, state, never)
    np.testing.assert_array_equal(found, horizon_returns(task.chain, state.chain))


def test_a_chain_without_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="Circuit does not say which starts"):
        starts_of(make_task("Circuit", "Bet"))


@pytest.mark.parametrize("decisions", [0, 1, 4])
@pytest.mark.parametrize("family", ["PointerChase", "PermutationAutomaton"])
def test_a_network_that_knows_steers_as_enumeration_does_with_one_decision(
    family: str, decisions: int
) -> None:
    """With one decision a kick is worth what follows untouched: exact for one decision or none."""
    task = make_task(family, "Steer", serial_depth=4, decisions=decisions)
    net = Tables(16, 4) if family == "PointerChase" else Words(4)
    agent = HorizonAgent(task, net, CPU)
    state = task.at_remaining(SEEDS, 1 + SEEDS % 4)
    judged, exact = agent.judge(state), task.action_values(state)
    rows = np.flatnonzero(task.remaining(state) == 1) if decisions == 4 else SEEDS
    np.testing.assert_allclose(judged.preferences[rows], exact[rows], atol=1e-6)
    assert judged.values is not None
    legal = np.where(task.legal_actions(state), exact, -9)
    np.testing.assert_allclose(judged.values[rows], legal.max(axis=1)[rows], atol=1e-6)
    if decisions == 4:  # from the last kick on exact, before that a lower bound
        assert (judged.values <= legal.max(axis=1) + 1e-6).all()


@pytest.mark.parametrize("budget", [0, 2])
@pytest.mark.parametrize("family", ["PointerChase", "PermutationAutomaton"])
def test_a_network_that_knows_bets_exactly(family: str, budget: int) -> None:
    task = make_task(family, "Bet", serial_depth=4, start="uniform", think_budget=budget)
    net = Tables(16, 4) if family == "PointerChase" else Words(4)
    agent = HorizonAgent(task, net, CPU)
    for array in (np.asarray, torch.as_tensor):
        state = task.initial(array(SEEDS))
        judged = agent.judge(state)
        assert type(judged.preferences) is type(task.action_values(state))
        np.testing.assert_allclose(judged.preferences, task.action_values(state), atol=1e-6)


def test_one_ply_and_search_stand_on_it() -> None:
    """Two decisions ahead: one step of look-ahead in the true model makes the values exact."""
    task = make_task("PermutationAutomaton", "Steer", serial_depth=3, decisions=2)
    agent = HorizonAgent(task, Words(3), CPU)
    state = task.initial(SEEDS)
    exact = task.action_values(state)
    one_ply = OnePlyAgent(task, agent, TrueDynamics(task)).judge(state)
    np.testing.assert_allclose(one_ply.preferences, exact, atol=1e-6)
    search = SearchAgent(task, agent, TrueDynamics(task), simulations=64)
    chosen = search.judge(state).action
    assert chosen is not None
    right = exact[np.arange(SEEDS.size), chosen] == exact.max(axis=1)
    assert right.mean() > 0.9


@pytest.mark.parametrize("estimator", ["monte_carlo", "td0"])
@pytest.mark.parametrize(
    ("task", "kind", "head", "readout"),
    [
        (SHORT_CHASE, "transformer", "per_token", "layerwise"),
        (SHORT_WORD, "stepwise", "pooled", "last"),
    ],
    ids=["pointer", "word"],
)
def test_fixed_horizon_values_are_learned(
    task: Any, kind: str, head: str, readout: str, estimator: str
) -> None:
    """A world with a known answer, learned to a small error."""
    torch.manual_seed(0)
    chain = starts_of(task)
    trunk = build_trunk(kind, task.layout, depth=12 if kind == "transformer" else 4, width=24)
    heads = HorizonHead(chain.num_starts, chain.serial_depth, head, readout)
    config = ValueAgentConfig(
        kind="value",
        targets="fixed_horizon",
        estimator=estimator,
        updates=400,
        batch_size=64,
        learning_rate=5e-3,
        target_interval=20,
    )
    trainer = ValueTrainer(task, config, build_network(trunk, heads), seed=0, device=CPU)
    assert (trainer.target is not None) == (estimator == "td0")
    trainer.train(lambda: None)
    state = task.initial(np.arange(500) + 10**9)
    errors = trainer.agent.judge(state).preferences - task.action_values(state)
    assert np.sqrt((errors**2).mean()) < 0.15


def test_horizons_that_are_not_held_have_no_gradient() -> None:
    """With one step remaining only horizon 1 of a word is learned."""
    task = make_task("PermutationAutomaton", "Bet", serial_depth=4)
    trunk = build_trunk("stepwise", task.layout, depth=4, width=8)
    config = ValueAgentConfig(kind="value", targets="fixed_horizon", updates=10, batch_size=8)
    network = build_network(trunk, HorizonHead(5, 4))
    trainer = ValueTrainer(task, config, network, seed=0, device=CPU)
    state = task.at_remaining(SEEDS, np.ones_like(SEEDS))
    lesson = trainer.lesson(state, SEEDS, trainer._target_values)
    assert lesson.wanted.shape == (40, 5, 4)
    np.testing.assert_array_equal(
        lesson.known, np.tile([[[True, False, False, False]]], (40, 1, 1))
    )


def test_torch_gives_the_same_targets() -> None:
    for task in TASKS.values():
        chain = starts_of(task)
        ours, theirs = (visited_states(task, seeds) for seeds in (SEEDS, torch.as_tensor(SEEDS)))
        for function in (held_horizons, horizon_returns):
            here, there = (function(chain, task.chain_state(state)) for state in (ours, theirs))
            np.testing.assert_array_equal(here, there.numpy())
        shape = (SEEDS.size, chain.num_starts, chain.serial_depth)
        said = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        here = horizon_bootstraps(task, ours, _says(said))
        there = horizon_bootstraps(task, theirs, _says(torch.as_tensor(said)))
        np.testing.assert_array_equal(here, there.numpy())


@torch.fx.experimental._config.patch(meta_nonzero_assume_all_nonzero=True)
def test_rules_of_numpy_only_chains_stay_numpy_while_the_network_is_elsewhere() -> None:
    """The meta device stands for a GPU."""
    pytest.importorskip("mujoco")
    meta = torch.device("meta")
    config = ValueAgentConfig(kind="value", targets="fixed_horizon", updates=10, batch_size=8)
    task = make_task("ManyBody", "Bet", serial_depth=2)
    trunk = build_trunk(kind="transformer", layout=task.layout, depth=6, width=8)
    network = build_network(trunk, HorizonHead(4, 2, "per_token")).to(meta)
    trainer = ValueTrainer(task, config, network, seed=0, device=meta)
    trainer._update()
    assert trainer.step == 1
