"""The search agent: search over known values, its targets by hand, and that it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.agents.baselines import OptimalAgent, RandomAgent
from rl_serial.agents.dynamics import TrueDynamics
from rl_serial.agents.protocols import Judgement, decide
from rl_serial.agents.search import (
    OnePlyAgent,
    PolicyValueAgent,
    SearchAgent,
    SearchTrainer,
    prior_logits,
)
from rl_serial.agents.search.trainer import policy_loss, value_targets
from rl_serial.agents.settings_search import SearchAgentConfig
from rl_serial.envs import FAMILIES, make_task
from rl_serial.envs.random import evaluation_seeds
from rl_serial.errors import RunError
from rl_serial.networks import Network, build_trunk
from rl_serial.planning import max_backup
from rl_serial.subjects.chains.evaluation import Evaluator

SEEDS = evaluation_seeds(11, 40, np)


def steer(family: str, serial_depth: int = 3, decisions: int = 2, **options: Any) -> Any:
    sizes = {"Circuit": {"wires": 4}, "PointerChase": {"nodes": 8}}.get(family, {})
    depth = {"serial_depth": serial_depth, "decisions": decisions}
    return make_task(family, "Steer", **(sizes | depth | options))


class Ignorant:
    """Has no preference, and values every state at zero."""

    preference = "none"

    def __init__(self, task: Any) -> None:
        self.task = task

    def judge(self, state: Any) -> Judgement:
        batch = self.task.remaining(state).shape[0]
        actions = len(self.task.action_names)
        return Judgement(np.zeros((batch, actions), np.float32), np.zeros(batch, np.float32))


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
@pytest.mark.parametrize("family", FAMILIES)
def test_search_over_exact_values_never_loses_against_the_optimal_agent(
    family: str, algorithm: str
) -> None:
    task = steer(family, serial_depth=4)
    simulated = FAMILIES[family].extra  # each rule of it is a simulation of MuJoCo's
    instances, states = (64, 8) if simulated else (256, 32)
    evaluator = Evaluator(task, instances=instances, per_remaining=states)
    for simulations in (1, 4, 24):
        agent = SearchAgent(task, OptimalAgent(task), TrueDynamics(task), simulations, algorithm)
        assert evaluator(agent).score == 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_search_through_the_whole_tree_finds_the_exact_action_values(family: str) -> None:
    """With a network that knows nothing: the leaves at the chain's end are all it goes by."""
    task = steer(family)
    state = task.initial(SEEDS[:4] if FAMILIES[family].extra else SEEDS)
    agent = SearchAgent(task, Ignorant(task), TrueDynamics(task), 5000, "puct")
    output, _ = agent.search(state)
    np.testing.assert_allclose(max_backup(output.tree).qvalues, task.action_values(state))


def test_more_simulations_of_an_ignorant_network_score_more() -> None:
    """Five branches of nine steps, a third of the simulations in the first round of halving: from
    3 · 5 · 9 = 135 on every branch is seen to its end before the first is dropped.
    """
    task = steer("PermutationAutomaton", serial_depth=9, decisions=1)
    evaluator = Evaluator(task, instances=2000, per_remaining=1)
    scores = {
        simulations: evaluator.score(
            SearchAgent(task, Ignorant(task), TrueDynamics(task), simulations)
        )[1]
        for simulations in (0, 16, 60, 134, 135)
    }
    assert abs(scores[0]) < 0.15  # always "no kick": as good as random
    assert scores[0] == scores[16] < scores[60]  # the last two branches are seen to their ends
    assert scores[134] < 0.9
    assert scores[135] == 1


def test_zero_simulations_are_the_agent_itself() -> None:
    task = steer("CellularAutomaton")
    state = task.initial(SEEDS)
    agent = OptimalAgent(task)
    searcher = SearchAgent(task, agent, TrueDynamics(task), 0)
    np.testing.assert_array_equal(searcher.judge(state).preferences, agent.judge(state).preferences)
    assert searcher.preference == agent.preference


def test_nothing_is_searched_where_one_action_is_legal() -> None:
    task = steer("PointerChase", serial_depth=4, decisions=1)
    state = task.at_remaining(SEEDS, np.where(np.arange(40) % 2, 4, 2))
    asked: list[int] = []

    class Counting(TrueDynamics):
        def step(self, embedding: Any, action: Any) -> Any:
            asked.append(action.shape[0])
            return super().step(embedding, action)

    judgement = SearchAgent(task, Ignorant(task), Counting(task), 3).judge(state)
    assert asked == [20, 20, 20]
    assert decide(judgement, task.legal_actions(state))[::2].tolist() == [0] * 20


def test_trees_of_tensors_find_what_trees_of_arrays_find() -> None:
    """The way of a GPU, on the CPU: rules, network and trees on tensors."""
    task = steer("Circuit")
    torch.manual_seed(0)
    agent = small_agent(task)
    state = task.initial(SEEDS)
    on_arrays = SearchAgent(task, agent, TrueDynamics(task), 12)
    on_tensors = SearchAgent(
        task, agent, TrueDynamics(task), 12, device=torch.device("cpu"), backend="plain"
    )
    mine, theirs = on_arrays.judge(state), on_tensors.judge(state)
    np.testing.assert_array_equal(mine.action, theirs.action)
    np.testing.assert_allclose(mine.values, theirs.values, atol=1e-5)
    assert isinstance(on_tensors.search(state)[0].value, torch.Tensor)


def small_agent(task: Any) -> PolicyValueAgent:
    trunk = {"kind": "residual", "layout": task.layout, "depth": 2, "width": 16}
    policy = Network(build_trunk(**trunk), len(task.action_names))
    return PolicyValueAgent(task, policy, Network(build_trunk(**trunk), 1), torch.device("cpu"))


def test_a_bet_is_planned_step_by_step() -> None:
    """Nothing is paid and only BET is legal until the chain's end, one serial step a simulation."""
    task = make_task("PermutationAutomaton", "Bet", serial_depth=3)
    dynamics, state = TrueDynamics(task), task.initial(SEEDS)
    bet, payoff = np.ones(40, dtype=np.int64), task.action_values(state)[:, 1]
    for remaining in (2, 1):
        step = dynamics.step(state, bet)
        state = step.embedding
        np.testing.assert_array_equal(step.reward, 0)
        assert not step.terminated.any()
        np.testing.assert_array_equal(step.legal, [[False, True]] * 40)
        np.testing.assert_array_equal(task.remaining(state), remaining)
    last = dynamics.step(state, bet)
    np.testing.assert_array_equal(last.reward, payoff)
    assert last.terminated.all()
    passed = dynamics.step(task.initial(SEEDS), bet * 0)
    assert passed.terminated.all()


def test_an_ignorant_network_bets_rightly_once_the_search_sees_the_end() -> None:
    """PASS and BET get half of the simulations each; BET needs as many as the chain has steps."""
    task = make_task("CellularAutomaton", "Bet", serial_depth=6)
    evaluator = Evaluator(task, instances=500, per_remaining=1)
    searcher = SearchAgent(task, Ignorant(task), TrueDynamics(task), 0)
    assert evaluator.score(searcher.with_simulations(10))[1] < 0.2
    assert evaluator.score(searcher.with_simulations(12))[1] == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_one_ply_over_exact_values_is_the_exact_action_value(family: str) -> None:
    task = steer(family)
    state = task.initial(SEEDS)
    judgement = OnePlyAgent(task, OptimalAgent(task), TrueDynamics(task)).judge(state)
    # After the last decision all actions count as the first, and so do their values.
    np.testing.assert_allclose(judgement.preferences, task.action_values(state), atol=1e-6)


def test_prior_by_hand() -> None:
    task = steer("PointerChase")

    class Fixed(Ignorant):
        def __init__(self, preference: str) -> None:
            self.preference = preference

    numbers = Judgement(np.array([[0.25, 0.75]], dtype=np.float32), None)
    logits = prior_logits(Fixed("probability"), numbers)
    np.testing.assert_allclose(logits, np.log([[0.25, 0.75]]), rtol=1e-6)
    np.testing.assert_allclose(prior_logits(Fixed("action value"), numbers), [[2.5, 7.5]])
    np.testing.assert_array_equal(prior_logits(Fixed("none"), numbers), [[0, 0]])
    with pytest.raises(ValueError, match="RandomAgent has no values to search with"):
        SearchAgent(task, RandomAgent(task, 0), TrueDynamics(task), 4).judge(task.initial(SEEDS))


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
@pytest.mark.parametrize("number", [np.nan, np.inf, 3e38])
def test_a_network_that_has_diverged_is_refused(algorithm: str, number: float) -> None:
    class Diverged(Ignorant):
        def judge(self, state: Any) -> Judgement:
            own = super().judge(state)
            return Judgement(own.preferences, np.full_like(own.values, number))

    task = steer("PointerChase")
    agent = Diverged(task)
    searcher = SearchAgent(task, agent, TrueDynamics(task), 4, algorithm)
    with pytest.raises(RunError, match=r"search with Diverged: root.value is (not finite|beyond)"):
        searcher.judge(task.initial(SEEDS))
    if not np.isfinite(number):
        with pytest.raises(RunError, match="one-ply with Diverged: values are not finite"):
            OnePlyAgent(task, agent, TrueDynamics(task)).judge(task.initial(SEEDS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"algorithm": "alphabeta"}, "must be one of gumbel, puct"),
        ({"simulations": -1}, "simulations=-1: must be at least 0"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    task = steer("PointerChase")
    settings = {"simulations": 2} | arguments
    with pytest.raises(ValueError, match=message):
        SearchAgent(task, OptimalAgent(task), TrueDynamics(task), **settings)


# Two episodes, of three steps and of two: rewards 1, 2, 4 and 8, 16.
REWARDS = np.array([[1, 8], [2, 16], [4, 0]], dtype=np.float32)
ROOT_VALUES = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 9.0]], dtype=np.float32)
LENGTHS = np.array([3, 2])


@pytest.mark.parametrize(
    ("kind", "n_steps", "expected"),
    [
        ("final", 1, [[7, 24], [6, 16], [4, 0]]),
        ("root", 1, ROOT_VALUES),
        ("n_step", 1, [[1 + 0.3, 8 + 0.4], [2 + 0.5, 16], [4, 0]]),
        ("n_step", 2, [[3 + 0.5, 24], [6, 16], [4, 0]]),
        ("n_step", 3, [[7, 24], [6, 16], [4, 0]]),
    ],
)
def test_value_targets_by_hand(kind: str, n_steps: int, expected: Any) -> None:
    targets = value_targets(kind, REWARDS, ROOT_VALUES, LENGTHS, n_steps)
    # What stands behind an episode's end is no one's target.
    played = np.arange(3)[:, None] < LENGTHS
    np.testing.assert_allclose(targets[played], np.asarray(expected)[played], rtol=1e-6)


def test_policy_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, np.log(3.0), 5.0], [7.0, 0.0, 0.0]])
    legal = torch.tensor([[True, True, False], [True, False, False]])
    target = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    # Probabilities 1/4 and 3/4 in the first row; the second, with one legal action, does not count.
    expected = -0.5 * np.log(1 / 4) - 0.5 * np.log(3 / 4)
    assert policy_loss(logits, legal, target).item() == pytest.approx(expected, rel=1e-6)
    nothing_to_decide = torch.tensor([[True, False, False]] * 2)
    assert policy_loss(logits, nothing_to_decide, target).item() == 0


def trainer(task: Any, seed: int = 0, **settings: Any) -> SearchTrainer:
    torch.manual_seed(seed)
    agent = small_agent(task)
    config = SearchAgentConfig(kind="search", **settings)
    device = torch.device("cpu")
    return SearchTrainer(
        task, config, agent.policy, agent.value, None, seed, device, lambda *_: None
    )


@pytest.mark.parametrize(
    ("algorithm", "value_target"),
    [("gumbel", "final"), ("gumbel", "n_step"), ("gumbel", "root"), ("puct", "final")],
)
def test_it_learns_a_short_chain(algorithm: str, value_target: str) -> None:
    """Two steps of a table of four nodes: the raw policy learns from the search."""
    task = make_task("PointerChase", "Steer", serial_depth=2, nodes=4, decisions=1)
    learner = trainer(
        task,
        timesteps=9600,
        num_envs=96,
        simulations=12,
        updates=16,
        batch_size=128,
        learning_rate=1e-2,
        algorithm=algorithm,
        value_target=value_target,
        n_steps=1,
    )
    evaluator = Evaluator(task, instances=1000, per_remaining=1)
    assert evaluator.score(learner.raw_agent)[1] < 0.5
    learner.train(lambda: None)
    assert evaluator.score(learner.raw_agent)[1] > 0.9
    assert evaluator.score(learner.agent)[1] > 0.95
    assert learner.metrics["train/value_loss"] < 0.3
    assert 1 <= learner.metrics["search/depth"] <= 2


def test_steps_are_counted_and_the_replay_keeps_the_newest() -> None:
    task = steer("PointerChase", serial_depth=3)
    learner = trainer(task, timesteps=100, num_envs=4, simulations=2, updates=1, buffer_size=20)
    steps: list[int] = []
    learner.train(lambda: steps.append(learner.step))
    assert steps == list(range(0, 100, 12))  # four episodes of three steps a round
    assert learner.step == 108
    assert learner.replay is not None
    assert learner.replay.observation.shape == (20, task.layout.size)
    # The last four rows are the ends of the newest four episodes.
    assert learner.replay.terminated[-4:].all()
    assert not learner.replay.terminated[-8:-4].any()


def test_episodes_of_different_lengths_end_each_in_its_place() -> None:
    """Bet with thinking: whoever passes is done, whoever thinks goes on."""
    task = make_task("PermutationAutomaton", "Bet", serial_depth=4, think_budget=3)
    learner = trainer(task, timesteps=600, num_envs=32, simulations=4, updates=2)
    learner.train(lambda: None)
    assert learner.replay is not None
    replay = learner.replay
    assert replay.reward.size > 32 * 3
    # Every episode ends once, and what is learned of a step that ends is what it paid.
    np.testing.assert_allclose(replay.value[replay.terminated], replay.reward[replay.terminated])
    assert replay.terminated.sum() == learner.episodes
