"""The value agent: its states, its targets against exact values, and that it learns them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.agents.fitted import random_legal, visited_states
from rl_serial.agents.settings import ValueAgentConfig
from rl_serial.agents.value import ValueTrainer, monte_carlo_targets, td0_targets
from rl_serial.envs import make_task
from rl_serial.envs.chain import map_state
from rl_serial.envs.random import random_words
from rl_serial.errors import UserError
from rl_serial.loading import parse_config
from rl_serial.networks import Network, account, build_trunk
from rl_serial.subjects.chains.subject import ChainSubject

SEEDS = np.arange(4000, dtype=np.int64)
TASKS = {
    "bet": make_task("PermutationAutomaton", "Bet", serial_depth=4, start="uniform"),
    "think": make_task("PointerChase", "Bet", serial_depth=3, think_budget=2, think_cost=0.25),
    "steer": make_task("CellularAutomaton", "Steer", serial_depth=4, decisions=2),
    "circuit": make_task("Circuit", "Steer", serial_depth=3, wires=3, decisions=2),
}


def test_random_legal_is_uniform_over_the_legal_actions() -> None:
    legal = np.tile([[False, True, True, False, True]], (30_000, 1))
    actions = random_legal(legal, random_words(np.arange(30_000), 1)[:, 0])
    counts = np.bincount(actions, minlength=5)
    assert counts[[0, 3]].tolist() == [0, 0]
    # 10,000 expected; five standard deviations of a binomial.
    assert np.abs(counts[[1, 2, 4]] - 10_000).max() < 5 * np.sqrt(30_000 * 2 / 9)


def test_visited_states_are_uniform_over_the_steps_of_an_episode() -> None:
    task = TASKS["steer"]
    remaining = task.remaining(visited_states(task, SEEDS))
    counts = np.bincount(remaining, minlength=5)
    # An episode of serial depth 4 shows a decision at 4, 3, 2 and 1 remaining steps.
    assert counts[0] == 0
    assert np.abs(counts[1:] - 1000).max() < 5 * np.sqrt(4000 * 3 / 16)


@pytest.mark.parametrize("name", TASKS)
def test_optimal_monte_carlo_targets_are_returns_of_optimal_play(name: str) -> None:
    """Each action is taken and optimal play follows; the return is the target."""
    task = TASKS[name]
    seeds = SEEDS[:200]
    state = task.initial(seeds)
    targets = monte_carlo_targets(task, state, "optimal", seeds)
    for action in range(targets.shape[1]):
        transition = task.step(state, np.full(200, action))
        returns = transition.reward.astype(np.float64)
        while not transition.terminated.all():
            exact = np.where(
                task.legal_actions(transition.state), task.action_values(transition.state), -9
            )
            transition = task.step(transition.state, exact.argmax(axis=1))
            returns += transition.reward
        np.testing.assert_allclose(targets[:, action], returns, atol=1e-6)


def test_random_monte_carlo_targets_average_over_the_coin() -> None:
    """With one THINK left, thinking costs 0.25 and then a fair coin says PASS or BET."""
    task = make_task("PointerChase", "Bet", serial_depth=3, think_budget=1, think_cost=0.25)
    state = task.initial(SEEDS)
    targets = monte_carlo_targets(task, state, "random", SEEDS)
    outcome = state.outcome
    np.testing.assert_array_equal(targets[:, 0], 0)
    np.testing.assert_array_equal(targets[:, 1], outcome)
    assert set(np.unique(targets[:, 2])) == {-1.25, -0.25, 0.75}
    # The mean over instances that pay 1 is -0.25 + 0.5 * 1, within five standard errors.
    wins = targets[outcome == 1, 2]
    assert abs(wins.mean() - 0.25) < 5 * 0.5 / np.sqrt(wins.size)


def exact_table(task: Any, state: Any) -> dict[bytes, np.ndarray]:  # type: ignore[type-arg]
    """Exact action values by observation, for everything that can follow ``state``."""
    rows = zip(task.observe(state), task.action_values(state), strict=True)
    table = {observation.tobytes(): values for observation, values in rows}
    batch = task.remaining(state).size
    for action in range(len(task.action_names)):
        transition, _ = task.serial_step(state, np.full(batch, action))
        goes_on = np.flatnonzero(~transition.terminated)
        if goes_on.size:
            table |= exact_table(task, map_state(lambda a, i=goes_on: a[i], transition.state))
    return table


def exact_values(task: Any, state: Any) -> Callable[[np.ndarray], np.ndarray]:  # type: ignore[type-arg]
    """From observations to exact action values, for everything that can follow ``state``."""
    table = exact_table(task, state)
    ended = np.zeros(len(task.action_names), dtype=np.float32)
    return lambda observations: np.stack([table.get(row.tobytes(), ended) for row in observations])


@pytest.mark.parametrize("policy", ["optimal", "greedy"])
@pytest.mark.parametrize("name", ["bet", "steer"])
def test_exact_values_are_the_fixed_point_of_td0(name: str, policy: str) -> None:
    task = TASKS[name]
    state = task.initial(SEEDS[:20])
    values = exact_values(task, state)
    targets = td0_targets(task, state, policy, values)
    np.testing.assert_allclose(targets, task.action_values(state), atol=1e-6)


def test_td0_bootstraps_a_bet_from_one_step_later() -> None:
    """With a value function that says 7 for BET everywhere, BET's target is 7 until the end."""
    task = TASKS["bet"]
    seeds = SEEDS[:300]
    state = task.initial(seeds)
    targets = td0_targets(
        task, state, "optimal", lambda observations: np.tile([[3.0, 7.0]], (len(observations), 1))
    )
    last = task.remaining(state) == 1
    assert last.any()
    assert not last.all()
    np.testing.assert_array_equal(targets[:, 0], 0)  # PASS ends at once
    np.testing.assert_array_equal(targets[~last, 1], 7)
    np.testing.assert_array_equal(targets[last, 1], state.outcome[last])


def test_td0_of_the_random_policy_averages_over_legal_actions() -> None:
    task = TASKS["think"]
    state = task.initial(SEEDS[:50])
    targets = td0_targets(
        task,
        state,
        "random",
        lambda observations: np.tile([[0.0, 3.0, 6.0]], (len(observations), 1)),
    )
    np.testing.assert_allclose(targets[:, 2], -0.25 + 3.0)  # one THINK left: all three are legal


def test_greedy_monte_carlo_targets_are_returns_of_the_values_own_play() -> None:
    """Values that say 6 for THINK think as long as they may, and then bet: worth payoff − cost."""
    task = TASKS["think"]

    def values(observations: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.tile([[0.0, 3.0, 6.0]], (len(observations), 1))

    state = task.initial(SEEDS[:50])  # two THINK left, a quarter each
    targets = monte_carlo_targets(task, state, "greedy", SEEDS[:50], values)
    payoff = task.action_values(state)[:, 1]
    np.testing.assert_allclose(targets[:, 0], 0)
    np.testing.assert_allclose(targets[:, 1], payoff)
    np.testing.assert_allclose(targets[:, 2], payoff - 0.5)


@pytest.mark.parametrize("name", TASKS)
def test_greedy_on_exact_values_is_optimal_play(name: str) -> None:
    task = TASKS[name]
    state = task.initial(SEEDS[:20])
    values = exact_values(task, state)
    targets = monte_carlo_targets(task, state, "greedy", SEEDS[:20], values)
    np.testing.assert_allclose(targets, task.action_values(state), atol=1e-6)


def test_td0_of_the_greedy_policy_takes_the_best_legal_action() -> None:
    """The values say 6 for THINK: it counts as long as one is left."""
    task = TASKS["think"]

    def values(observations: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.tile([[0.0, 3.0, 6.0]], (len(observations), 1))

    state = task.initial(SEEDS[:50])  # two THINK left
    np.testing.assert_allclose(td0_targets(task, state, "greedy", values)[:, 2], -0.25 + 6.0)
    state = task.step(state, np.full(50, 2)).state
    np.testing.assert_allclose(td0_targets(task, state, "greedy", values)[:, 2], -0.25 + 3.0)


@pytest.mark.parametrize(
    ("targets", "policy"),
    [("monte_carlo", "optimal"), ("td0", "optimal"), ("monte_carlo", "greedy")],
)
def test_value_agent_learns_the_exact_values(targets: str, policy: str) -> None:
    """A world with a known answer: three steps of z5, learned to a small error."""
    task = make_task("PermutationAutomaton", "Bet", group="z5", serial_depth=3, start="uniform")
    torch.manual_seed(0)
    network = Network(build_trunk("residual", task.layout, depth=2, width=64), 2)
    config = ValueAgentConfig(
        kind="value",
        targets=targets,
        policy=policy,
        updates=700,
        batch_size=256,
        learning_rate=3e-3,
        target_interval=20,
    )
    trainer = ValueTrainer(task, config, network, seed=0, device=torch.device("cpu"))
    trainer.train(lambda: None)
    state = task.initial(SEEDS + 10**9)
    errors = trainer.agent.judge(state).preferences - task.action_values(state)
    assert np.sqrt((errors**2).mean()) < 0.1


def test_rules_on_torch_give_the_same_targets() -> None:
    """What a GPU would compute: the torch path of the rules, bit for bit."""
    for task in TASKS.values():
        seeds = SEEDS[:64]
        ours = visited_states(task, seeds)
        theirs = visited_states(task, torch.as_tensor(seeds))
        np.testing.assert_array_equal(task.observe(ours), task.observe(theirs).numpy())
        for policy in ("optimal", "random"):
            np.testing.assert_array_equal(
                monte_carlo_targets(task, ours, policy, seeds),
                monte_carlo_targets(task, theirs, policy, torch.as_tensor(seeds)).numpy(),
            )


@torch.fx.experimental._config.patch(meta_nonzero_assume_all_nonzero=True)
def test_rules_of_numpy_only_chains_stay_numpy_while_the_network_is_elsewhere() -> None:
    """The meta device stands for a GPU: it takes tensors only, and the chain NumPy arrays only."""
    pytest.importorskip("mujoco")
    meta = torch.device("meta")
    config = ValueAgentConfig(kind="value", updates=10, batch_size=8)
    task = make_task("ManyBody", "Bet", serial_depth=2)
    trunk = build_trunk(kind="residual", layout=task.layout, depth=2, width=8)
    trainer = ValueTrainer(task, config, Network(trunk, 2).to(meta), seed=0, device=meta)
    trainer._update()
    assert trainer.step == 1
    with pytest.raises(ValueError, match="ManyBody runs on NumPy arrays, not on torch's"):
        task.initial(torch.arange(2))


def test_it_acts_by_a_search_where_it_is_told_so() -> None:
    data = {
        "name": "searching",
        "env": {"id": "rl_serial/PermutationAutomatonBet-v0", "serial_depth": 3},
        "network": {"depth": 1, "width": 4},
        "agent": {"kind": "value", "updates": 2, "batch_size": 4, "simulations": 8},
        "evaluation": {"instances": 16, "per_remaining": 4},
    }
    config = parse_config(data, "test")
    subject: Any = ChainSubject(config)
    trainer = subject.trainer(torch.device("cpu"), lambda tag, value, step: None)
    trainer.train(lambda: None)
    found = subject.last_examination(subject.examiner(), trainer)
    on_top = subject.searcher(trainer, torch.device("cpu"), simulations=8)
    assert found.score == subject.examiner().score(on_top).score
    assert found.score > subject.examiner().score(trainer.raw_agent).score
    path = account(trainer.network, trainer.examples["value"]).critical_path
    assert found.critical_path == 9 * path
    with pytest.raises(UserError, match=r"agent\.simulations: with agent\.one_ply"):
        parse_config(data, "test", ["agent.one_ply=true"])
