"""What holds for every task: Bellman's equation, absorption, starts, serial steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rl_serial.envs import ENV_IDS, task_of
from rl_serial.envs.random import evaluation_seeds

SEEDS = evaluation_seeds(9, 64, np)
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "Bet": [{}, {"think_budget": 2, "start": "uniform"}],
    "Write": [
        {"scratchpad": 0},
        {"scratchpad": 2, "start": "uniform"},
        {"scratchpad": 3, "least_words": 2},
        {"scratchpad": 3, "start": "written", "memory": "filler"},
    ],
    "Steer": [{}, {"decisions": 0}, {"serial_depth": 3, "decisions": 3, "start": "uniform"}],
}
TASKS = [
    pytest.param(id_, options, id=f"{id_.split('/')[1]}-{options}")
    for id_, (_, task) in ENV_IDS.items()
    for options in OPTIONS[task]
]


@pytest.mark.parametrize(("id_", "options"), TASKS)
def test_exact_values_satisfy_bellmans_equation(id_: str, options: dict[str, Any]) -> None:
    task = task_of(id_, **options)
    state = task.initial(SEEDS)
    for step in range(4):
        values = task.action_values(state)
        for action in range(len(task.action_names)):
            after = task.step(state, np.full(64, action))
            legal = task.legal_actions(after.state)
            following = np.where(legal, task.action_values(after.state), -np.inf).max(axis=1)
            backed_up = after.reward + np.where(after.terminated, 0, following)
            np.testing.assert_allclose(values[:, action], backed_up, atol=1e-6)
        actions = (np.arange(64) + step) % len(task.action_names)
        state = task.step(state, actions).state


@pytest.mark.parametrize(("id_", "options"), TASKS)
def test_values_of_random_play_satisfy_bellmans_equation(id_: str, options: dict[str, Any]) -> None:
    """V = the mean over legal actions of reward + V of what follows, nothing after the end."""
    task = task_of(id_, **options)
    state = task.initial(SEEDS)
    for step in range(4):
        expected = np.zeros(64)
        legal = task.legal_actions(state)
        for action in range(len(task.action_names)):
            after = task.step(state, np.full(64, action))
            following = np.where(after.terminated, 0, task.random_values(after.state))
            expected += legal[:, action] * (after.reward + following) / legal.sum(axis=1)
        values = task.random_values(state)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected, atol=1e-6)
        actions = (np.arange(64) + step) % len(task.action_names)
        state = task.step(state, actions).state


def test_values_of_random_bets_by_hand() -> None:
    """With outcome 1 and cost 1/4: 1/2; (1 + 1/2 - 1/4) / 3 = 5/12; (1 + 5/12 - 1/4) / 3 = 7/18."""
    task = task_of("rl_serial/PointerChaseBet-v0", think_budget=2, think_cost=0.25)
    state = task.initial(SEEDS)
    for expected in (7 / 18, 5 / 12, 1 / 2):
        wins = task.action_values(state)[:, 1] == 1
        assert wins.any()
        np.testing.assert_allclose(task.random_values(state)[wins], expected, atol=1e-6)
        state = task.step(state, np.full(64, 2)).state
    np.testing.assert_array_equal(task.random_values(state), 0)  # the last THINK was a PASS


@pytest.mark.parametrize(("id_", "options"), TASKS)
def test_an_ended_episode_absorbs(id_: str, options: dict[str, Any]) -> None:
    task = task_of(id_, **options)
    state = task.initial(SEEDS)
    terminated = np.zeros(64, dtype=bool)
    while not terminated.all():
        transition = task.step(state, np.zeros(64, dtype=np.int64))
        state, terminated = transition.state, transition.terminated
    for action in range(len(task.action_names)):
        again = task.step(state, np.full(64, action))
        assert again.terminated.all()
        np.testing.assert_array_equal(again.reward, 0)
        np.testing.assert_array_equal(task.observe(again.state), task.observe(state))
    np.testing.assert_array_equal(task.action_values(state), 0)


@pytest.mark.parametrize("id_", ENV_IDS)
def test_at_remaining_is_where_it_says(id_: str) -> None:
    task = task_of(id_)
    depth = task.chain.serial_depth
    remaining = 1 + np.arange(64) % depth
    np.testing.assert_array_equal(task.remaining(task.at_remaining(SEEDS, remaining)), remaining)


@pytest.mark.parametrize("id_", ENV_IDS)
def test_uniform_start_is_uniform(id_: str) -> None:
    task = task_of(id_, start="uniform", serial_depth=4)
    counts = np.bincount(task.remaining(task.initial(np.arange(8000))), minlength=5)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 2000).max() < 5 * np.sqrt(8000 * 3 / 16)


@pytest.mark.parametrize(("id_", "options"), TASKS)
def test_serial_steps_add_up_to_the_step(id_: str, options: dict[str, Any]) -> None:
    task = task_of(id_, **options)
    start = task.initial(SEEDS)
    for action in range(len(task.action_names)):
        actions = np.full(64, action)
        whole = task.step(start, actions)
        total, state, steps = np.zeros(64), start, 0
        committed = np.ones(64, dtype=bool)
        while committed.any():
            transition, goes_on = task.serial_step(state, actions)
            total += np.where(committed, transition.reward, 0)
            committed &= goes_on
            state, steps = transition.state, steps + 1
        np.testing.assert_allclose(total, whole.reward)
        is_bet = task.action_names[action] == "BET" and task.legal_actions(start)[:, action].all()
        assert steps == (task.remaining(start).max() if is_bet else 1)


def test_too_many_decisions_are_refused_with_the_limit() -> None:
    task = task_of("rl_serial/CircuitSteer-v0", decisions=6)
    with pytest.raises(ValueError, match=r"9\*\*6 sequences of decisions; the limit is 65536"):
        task.action_values(task.initial(SEEDS))
    with pytest.raises(ValueError, match=r"9\*\*6 sequences of decisions; the limit is 65536"):
        task.random_values(task.initial(SEEDS))


def test_thinking_counts_as_passing_once_the_budget_is_gone() -> None:
    task = task_of("rl_serial/PointerChaseBet-v0", think_budget=1, think_cost=0.5)
    think = np.full(64, 2)
    first = task.step(task.initial(SEEDS), think)
    np.testing.assert_allclose(first.reward, -0.5)
    assert not first.terminated.any()
    assert not task.legal_actions(first.state)[:, 2].any()
    second = task.step(first.state, think)
    np.testing.assert_array_equal(second.reward, 0)
    assert second.terminated.all()
