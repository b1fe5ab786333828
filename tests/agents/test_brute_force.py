"""Enumeration and rollouts against exact values and a plain queue, their steps against a count."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest

from rl_serial.agents.baselines import OptimalAgent
from rl_serial.agents.brute_force import EnumerationAgent, RolloutAgent
from rl_serial.agents.dynamics import CountedDynamics, TrueDynamics
from rl_serial.agents.protocols import Judgement, decide
from rl_serial.agents.search import SearchAgent
from rl_serial.envs import FAMILIES, make_task
from rl_serial.envs.chain import map_state
from rl_serial.envs.random import evaluation_seeds
from rl_serial.errors import RunError
from rl_serial.subjects.chains.evaluation import Evaluator
from rl_serial.subjects.chains.simulations import baseline_scores, search_scores

SEEDS = evaluation_seeds(5, 30, np)
SIZES: dict[str, dict[str, Any]] = {"Circuit": {"wires": 4}, "PointerChase": {"nodes": 8}}


def steer(family: str, serial_depth: int = 3, decisions: int = 2) -> Any:
    depth = {"serial_depth": serial_depth, "decisions": decisions}
    return make_task(family, "Steer", **SIZES.get(family, {}), **depth)


def bet(serial_depth: int = 4, **options: Any) -> Any:
    return make_task("PermutationAutomaton", "Bet", serial_depth=serial_depth, **options)


class Guessing:
    """Has no preference; the value of a state is the weighted sum of what it observes."""

    preference = "none"

    def __init__(self, task: Any, scale: float = 0.02) -> None:
        self.task, self.scale = task, scale
        self.weights = np.sin(1 + 7 * np.arange(task.layout.size, dtype=np.float32))

    def judge(self, state: Any) -> Judgement:
        observation = self.task.observe(state)
        shape = (observation.shape[0], len(self.task.action_names))
        values = (observation * self.weights).sum(axis=1) * self.scale
        return Judgement(np.zeros(shape, np.float32), values.astype(np.float32))


class Counting:
    """A task that counts the rows of its serial steps."""

    def __init__(self, task: Any) -> None:
        self.task, self.rows = task, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def serial_step(self, state: Any, action: Any) -> Any:
        self.rows += action.shape[0]
        return self.task.serial_step(state, action)


@pytest.mark.parametrize("family", FAMILIES)
def test_enumeration_of_the_whole_tree_has_the_exact_action_values(family: str) -> None:
    task = steer(family)
    state = task.initial(SEEDS)
    found = EnumerationAgent(task, Guessing(task), TrueDynamics(task), 10**4).judge(state)
    exact = task.action_values(state)
    np.testing.assert_allclose(found.preferences, exact, atol=1e-6)
    np.testing.assert_allclose(found.values, exact.max(axis=1), atol=1e-6)
    assert (exact[np.arange(30), found.action] == exact.max(axis=1)).all()


@pytest.mark.parametrize("think_budget", [0, 2])
def test_enumeration_of_bets_has_the_exact_action_values(think_budget: int) -> None:
    task = bet(think_budget=think_budget)
    remaining = 1 + np.arange(30) % 4
    state = task.at_remaining(SEEDS, remaining)
    found = EnumerationAgent(task, Guessing(task), TrueDynamics(task), 100).judge(state)
    np.testing.assert_allclose(found.preferences, task.action_values(state), atol=1e-6)


def enumerated_with_a_queue(task: Any, agent: Any, state: Any, budget: int) -> Any:
    """The action values of one row's root, None if it is not expanded; and the steps taken."""
    actions = range(len(task.action_names))

    def legal_at(node: dict[str, Any]) -> list[int]:
        if node["forced"] is not None:
            return [node["forced"]]
        return [a for a in actions if task.legal_actions(node["state"])[0, a]]

    root: dict[str, Any] = {"state": state, "forced": None, "ended": False, "children": {}}
    queue, taken = deque([root]), 0
    while queue:
        node = queue.popleft()
        if node["ended"]:
            continue
        if taken + len(legal_at(node)) > budget:
            break
        for action in legal_at(node):
            taken += 1
            transition, goes_on = task.serial_step(node["state"], np.array([action]))
            child = {
                "state": transition.state,
                "forced": action if goes_on[0] else None,
                "ended": bool(transition.terminated[0]),
                "reward": float(transition.reward[0]),
                "children": {},
            }
            node["children"][action] = child
            queue.append(child)

    def value(node: dict[str, Any]) -> float:
        if node["ended"]:
            return 0.0
        if not node["children"]:
            return float(agent.judge(node["state"]).values[0])
        return max(child["reward"] + value(child) for child in node["children"].values())

    if not root["children"]:
        return None, taken
    return [root["children"][a]["reward"] + value(root["children"][a]) for a in actions], taken


@pytest.mark.parametrize("budget", [1, 2, 4, 5, 9, 10, 17, 24, 40])
@pytest.mark.parametrize("kind", ["steer", "bet", "thinking"])
def test_enumeration_is_that_of_a_queue(kind: str, budget: int) -> None:
    """Each row alone, with a queue of nodes; rows of different remaining steps together."""
    tasks = {
        "steer": steer("PermutationAutomaton", 4),
        "bet": bet(),
        "thinking": bet(think_budget=2),
    }
    task = tasks[kind]
    agent, counting = Guessing(task), Counting(task)
    remaining = np.full(8, 4) if kind == "steer" else 1 + np.arange(8) % 4
    state = task.at_remaining(SEEDS[:8], remaining)
    found = EnumerationAgent(task, agent, TrueDynamics(counting), budget).judge(state)
    steps = 0
    for row in range(8):
        alone = map_state(lambda array, i=row: array[i : i + 1], state)
        expected, taken = enumerated_with_a_queue(task, agent, alone, budget)
        steps += taken
        if expected is None:  # the agent itself
            assert found.preferences[row].tolist() == agent.judge(alone).preferences[0].tolist()
            assert found.values[row] == agent.judge(alone).values[0]
        else:
            np.testing.assert_allclose(found.preferences[row], expected, atol=1e-6)
            assert found.action[row] == int(np.argmax(found.preferences[row]))
    assert counting.rows == steps


def test_enumerated_rows_do_not_depend_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    task = steer("CellularAutomaton", 5)
    state = task.initial(SEEDS)
    agent = EnumerationAgent(task, Guessing(task), TrueDynamics(task), 23)
    together = agent.judge(state)
    monkeypatch.setattr("rl_serial.agents.brute_force.NODES", 70)  # three rows at a time
    apart = agent.judge(state)
    np.testing.assert_array_equal(together.preferences, apart.preferences)
    np.testing.assert_array_equal(together.values, apart.values)


def test_values_that_are_not_finite_are_refused() -> None:
    task = steer("CellularAutomaton")
    agent = EnumerationAgent(task, Guessing(task, np.nan), TrueDynamics(task), 7)
    with pytest.raises(RunError, match="enumeration with Guessing: values are not finite"):
        agent.judge(task.initial(SEEDS))


@pytest.mark.parametrize("family", ["PermutationAutomaton", "PointerChase"])
def test_rollouts_tend_to_the_values_of_random_play(family: str) -> None:
    """Of an action: its reward and what random play has from where it leads, known exactly."""
    task = steer(family, serial_depth=3, decisions=3)
    state = task.initial(SEEDS)
    actions, count = len(task.action_names), 1500
    found = RolloutAgent(task, TrueDynamics(task), count * actions * 3, seed=3).judge(state)
    for action in range(actions):
        after = task.step(state, np.full(30, action))
        exact = after.reward + task.random_values(after.state)
        # Payoffs lie in [-1, 1]: a standard deviation of at most 1.
        assert np.abs(found.preferences[:, action] - exact).max() < 4.5 / np.sqrt(count)
    np.testing.assert_array_equal(found.values, found.preferences.max(axis=1))


def test_rollouts_of_thinking_tend_to_the_values_of_random_play() -> None:
    task = bet(think_budget=1, think_cost=0.1)
    state = task.initial(SEEDS)
    found = RolloutAgent(task, TrueDynamics(task), 20_000, seed=0).judge(state)
    after = task.step(state, np.full(30, 2))
    exact = np.stack([0 * state.outcome, state.outcome, after.reward + state.outcome / 2], axis=1)
    np.testing.assert_allclose(found.preferences[:, :2], exact[:, :2], atol=1e-6)
    # A third of the rollouts, each of 1 (PASS), 4 (BET) or about 3 steps.
    assert np.abs(found.preferences[:, 2] - exact[:, 2]).max() < 4.5 * 0.5 / np.sqrt(2000)


def test_a_bet_is_solved_with_a_step_for_pass_and_one_for_each_of_the_chain() -> None:
    """What a search is to be held against: it divides its simulations and needs 2 · 6."""
    task = bet(6)
    evaluator = Evaluator(task, instances=400, per_remaining=1)
    ignorant = Guessing(task, scale=0.0)

    def scores(steps: int) -> list[float]:
        agents = (
            EnumerationAgent(task, ignorant, TrueDynamics(task), steps),
            RolloutAgent(task, TrueDynamics(task), steps, seed=0),
            SearchAgent(task, ignorant, TrueDynamics(task), steps),
        )
        return [evaluator.score(agent)[1] for agent in agents]

    assert scores(7)[:2] == [1, 1]
    assert max(scores(6)) < 0.3
    assert scores(7)[2] < 0.3
    assert scores(12)[2] == 1


@pytest.mark.parametrize("task", [steer("PermutationAutomaton", 6), bet(6)], ids=["steer", "bet"])
@pytest.mark.parametrize("steps", [0, 3, 12, 31])
def test_all_planners_have_the_same_model_steps(task: Any, steps: int) -> None:
    """A search and the rollouts make them all; an enumeration all but what expands no node."""
    counting = Counting(task)
    state = task.initial(SEEDS)
    guessing, dynamics = Guessing(task), TrueDynamics(counting)
    made = {}
    for name, agent in {
        "search": SearchAgent(task, guessing, dynamics, steps),
        "enumeration": EnumerationAgent(task, guessing, dynamics, steps),
        "rollouts": RolloutAgent(task, dynamics, steps, seed=0),
    }.items():
        counting.rows = 0
        counted = CountedDynamics(dynamics)
        agent.dynamics = counted
        agent.judge(state)
        assert counted.steps == counting.rows
        made[name] = counted.steps_per_decision
    assert made["search"] == made["rollouts"] == steps
    if task.action_names[0] == "PASS":  # the whole tree: PASS, and BET step by step
        assert made["enumeration"] == min(steps, 7)
    else:
        assert steps - 5 < made["enumeration"] <= steps


def test_scores_say_the_model_steps_of_a_decision() -> None:
    """The second decision of Steer counts too; where one action is legal nothing is planned."""
    task = steer("PermutationAutomaton", 5)
    evaluator = Evaluator(task, instances=50, per_remaining=1)
    searcher = SearchAgent(task, Guessing(task), TrueDynamics(task), 0)
    found = search_scores(searcher, evaluator, [0, 6])
    assert [score.model_steps for score in found[1:]] == [0, 6]
    assert found[0].model_steps == 5  # one for each action
    for name in ("enumeration", "rollouts"):
        scores = baseline_scores(name, searcher, evaluator, [0, 10], seed=1)
        assert [score.model_steps for score in scores] == [0, 10]
        assert [score.simulations for score in scores] == [0, 10]
    raw = evaluator.score(Guessing(task))[1]
    assert baseline_scores("enumeration", searcher, evaluator, [0], seed=1)[0].score == raw


def test_rollouts_are_a_function_of_states_and_seed() -> None:
    task = steer("PointerChase", 4)
    state = task.initial(SEEDS)

    def found(seed: int) -> Any:
        return RolloutAgent(task, TrueDynamics(task), 200, seed).judge(state)

    np.testing.assert_array_equal(found(1).preferences, found(1).preferences)
    np.testing.assert_array_equal(found(1).action, found(1).action)
    assert (found(1).preferences != found(2).preferences).any()


def test_without_a_rollout_every_legal_action_is_as_likely() -> None:
    task = steer("PermutationAutomaton", 4)
    state = task.initial(evaluation_seeds(5, 4000, np))
    judgement = RolloutAgent(task, TrueDynamics(task), 3, seed=0).judge(state)
    shares = np.bincount(decide(judgement, task.legal_actions(state)), minlength=5) / 4000
    assert np.abs(shares - 0.2).max() < 4 * 0.4 / np.sqrt(4000)
    assert not judgement.preferences.any()


def test_brute_force_over_an_optimal_agent_is_optimal() -> None:
    task = steer("Circuit", 4)
    evaluator = Evaluator(task, instances=200, per_remaining=1)
    for steps in (1, 6, 30):
        agent = EnumerationAgent(task, OptimalAgent(task), TrueDynamics(task), steps)
        assert evaluator.score(agent)[1] == 1
