"""Score, serial horizon and serial reach: by hand, and for agents with a known answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rl_serial.agents.baselines import OptimalAgent, RandomAgent
from rl_serial.agents.protocols import Judgement, Preference
from rl_serial.envs import ENV_IDS, make_task, task_of
from rl_serial.envs.shortcuts import serial_reach
from rl_serial.metrics import tagged
from rl_serial.networks import Account
from rl_serial.subjects.chains.evaluation import (
    Evaluator,
    collision_horizon,
    play,
    score_with_interval,
    serial_horizon,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("accuracy", "horizon"),
    [
        ([1.0, 0.9, 0.89, 1.0], 2),
        ([0.5, 1.0, 1.0], 0),
        ([1.0, 1.0, 1.0], 3),
        ([NAN, NAN, 0.95, 0.91], 4),  # nothing to decide close to the end
        ([NAN, 0.95, NAN, 0.8], 2),
        ([NAN, NAN], 0),
    ],
)
def test_serial_horizon_by_hand(accuracy: list[float], horizon: int) -> None:
    assert serial_horizon(np.array(accuracy)) == horizon


@pytest.mark.parametrize(
    ("accuracy", "horizon"),
    [
        ([1.0, 0.95, 0.9, 0.8, 1.0], 2),
        ([0.89, 1.0], -1),  # not even without a collision
        ([1.0], 0),
        ([1.0, 0.9, NAN], 1),  # too few with two
    ],
)
def test_collision_horizon_by_hand(accuracy: list[float], horizon: int) -> None:
    assert collision_horizon(np.array(accuracy)) == horizon


def test_chains_without_collisions_have_no_collision_horizon() -> None:
    task = task_of("rl_serial/CircuitBet-v0", serial_depth=2)
    evaluation = Evaluator(task, instances=64, per_remaining=8)(OptimalAgent(task))
    assert np.isnan(evaluation.collision_horizon)
    assert not any("collision" in tag for tag in tagged(evaluation.measurements()))


class _RightUpToTwoCollisions:
    """Has the exact values, and takes their negatives where more than two collisions lie ahead."""

    preference = "action value"

    def __init__(self, task: Any) -> None:
        self.task = task

    def judge(self, state: Any) -> Judgement:
        values = self.task.action_values(state)
        many = self.task.chain.causal_collisions(self.task.chain_state(state)) > 2
        return Judgement(np.where(many[:, None], -values, values), None)


def test_an_agent_that_is_right_up_to_two_collisions_has_collision_horizon_two() -> None:
    pytest.importorskip("mujoco")
    task = task_of("rl_serial/ManyBodyBet-v0")
    evaluator = Evaluator(task, instances=64, per_remaining=128)
    evaluation = evaluator(_RightUpToTwoCollisions(task))
    accuracy = evaluation.collision_accuracy
    np.testing.assert_array_equal(accuracy[:3], 1)
    np.testing.assert_array_equal(accuracy[3:][~np.isnan(accuracy[3:])], 0)
    assert not np.isnan(accuracy[3:6]).any()
    assert evaluation.collision_horizon == 2
    metrics = tagged(evaluation.measurements())
    assert metrics["value/collision_horizon"] == 2
    assert metrics["value/accuracy/collisions_3"] == 0
    # States too close to call are left out: half the time step would decide them otherwise.
    states = task.chain_state(evaluator.states)
    assert evaluator.collisions is not None
    np.testing.assert_array_equal(evaluator.collisions == -1, task.chain.too_close(states))
    assert (evaluator.collisions == -1).any()


def test_serial_reach_by_hand() -> None:
    # (1 - .5) / .5 + (.75 - .5) / .5 + (.4 - .6) / .4 + nothing + nothing = 1 + .5 - .5
    accuracy = np.array([1.0, 0.75, 0.4, NAN, 1.0])
    expected = np.array([0.5, 0.5, 0.6, NAN, 1.0])
    assert serial_reach(accuracy, expected) == pytest.approx(1.0)


def test_score_interval_by_hand() -> None:
    # Optimal 1 and random 0 everywhere: the score is the mean return and its interval the mean's.
    returns = np.array([0.0, 0.0, 1.0, 1.0])
    score, (low, high) = score_with_interval(returns, np.zeros(4), np.ones(4))
    assert score == 0.5
    half = 1.96 * np.sqrt(1 / 3) / 2  # standard deviation sqrt(4 * .25 / 3), four instances
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half))


def test_score_interval_covers_in_19_of_20() -> None:
    """Repeated draws of a noisy agent: the interval holds the true score about 95 times in 100."""
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        optimal = generator.choice([0.0, 1.0], 200)
        random = generator.choice([-1.0, 0.0, 1.0], 200)
        returns = np.where(generator.random(200) < 0.7, optimal, -1.0)
        low, high = score_with_interval(returns, random, optimal)[1]
        hits += low < (0.7 * 0.5 - 0.3) / 0.5 < high
    assert abs(hits / 400 - 0.95) < 5 * np.sqrt(0.95 * 0.05 / 400)


@pytest.mark.parametrize("id_", ENV_IDS)
@pytest.mark.parametrize("options", [{}, {"serial_depth": 3}])
def test_optimal_scores_one_and_random_zero(id_: str, options: dict[str, Any]) -> None:
    if ENV_IDS[id_][0].extra and options:
        pytest.skip("one length is enough of what takes half a minute to simulate")
    task = task_of(id_, **options)
    instances, states = (128, 24) if ENV_IDS[id_][0].extra else (2048, 64)
    evaluator = Evaluator(task, instances=instances, per_remaining=states)
    optimal = evaluator(OptimalAgent(task))
    assert optimal.score == 1.0
    assert optimal.score_interval == (1.0, 1.0)
    # With decisions left to mend it, a first kick of a short chain may be of no consequence at all.
    assert optimal.serial_horizon == 1 + np.flatnonzero(~np.isnan(optimal.accuracy)).max()
    assert optimal.value_rmse == 0.0
    assert optimal.value_horizon == task.chain.serial_depth
    random = evaluator(RandomAgent(task, seed=12345))
    low, high = random.score_interval
    # Some environments and two options: 95 % intervals would fail now and then, 99.9 % do not.
    margin = (3.3 / 1.96 - 1) * (high - low) / 2
    assert low - margin < 0 < high + margin
    # Cohen's kappa of blind play has mean 0 and a standard error below 1.2 / sqrt(states) a step.
    assert abs(random.serial_reach) < 5 * 1.2 * np.sqrt(task.chain.serial_depth / states)


def test_the_random_baseline_is_exact() -> None:
    """Undecided to the end random play bets on half of the instances, whatever THINK it may take.

    Outcomes of the automaton are +1 and -2/3. The dice are of 2,000 plays of 64 instances, whose
    mean has a standard error of at most 1 / sqrt(128,000).
    """
    for think in (0, 2, 4):
        options = {"serial_depth": 12, "start": "uniform", "think_budget": think}
        task = task_of("rl_serial/PermutationAutomatonBet-v0", think_cost=0.0, **options)
        evaluator = Evaluator(task, instances=1024, per_remaining=1)
        outcome = np.where(task.initial(evaluator.seeds).outcome > 0, 1, -2 / 3)
        np.testing.assert_allclose(evaluator.random_returns, outcome / 2, atol=1e-6)
    task = task_of("rl_serial/CircuitSteer-v0", serial_depth=4, decisions=3)
    evaluator = Evaluator(task, instances=64, per_remaining=1)
    rolled = play(RandomAgent(task, 0), task, np.repeat(evaluator.seeds, 2000))
    assert evaluator.random_returns.mean() == pytest.approx(rolled.mean(), abs=5 / np.sqrt(128_000))


class _Blind:
    """Takes the same action whatever it sees."""

    preference = "action value"

    def __init__(self, task: Any, action: int) -> None:
        self.task, self.action = task, action

    def judge(self, state: Any) -> Judgement:
        batch = self.task.remaining(state).shape[0]
        preferences = np.zeros((batch, len(self.task.action_names)), dtype=np.float32)
        preferences[:, self.action] = 1
        return Judgement(preferences, None)


def test_blind_agents_reach_nothing() -> None:
    task = task_of("rl_serial/PermutationAutomatonBet-v0")
    evaluator = Evaluator(task, instances=256, per_remaining=256)
    for action in (0, 1):
        evaluation = evaluator(_Blind(task, action))
        assert evaluation.serial_reach == 0
        assert evaluation.serial_horizon == 0
        assert np.isnan(evaluation.value_rmse)
        assert np.isnan(evaluation.value_horizon)
    # PASS is right where the last point is 2, 3 or 4.
    assert evaluator(_Blind(task, 0)).accuracy.mean() == pytest.approx(0.6, abs=0.04)
    assert evaluator(_Blind(task, 0)).mean_return == 0


def test_an_agent_that_knows_the_last_five_steps_has_horizon_five() -> None:
    task = task_of("rl_serial/PermutationAutomatonBet-v0", serial_depth=8)

    class Knows5(OptimalAgent):
        def judge(self, state: Any) -> Judgement:
            exact = super().judge(state).preferences.copy()
            exact[task.remaining(state) > 5] = 0
            return Judgement(exact, exact.max(axis=1))

    evaluation = Evaluator(task, instances=256, per_remaining=512)(Knows5(task))
    assert evaluation.serial_horizon == 5
    assert evaluation.serial_reach == pytest.approx(5)
    assert evaluation.value_horizon == 5


def test_shares_of_episodes_played_rightly_go_by_their_start() -> None:
    """Where nothing is known PASS is played, which is right where the chain pays less than zero."""
    task = task_of("rl_serial/PermutationAutomatonBet-v0", serial_depth=3, start="uniform")

    class Knows1(OptimalAgent):
        def judge(self, state: Any) -> Judgement:
            exact = super().judge(state).preferences.copy()
            exact[task.remaining(state) > 1] = 0
            return Judgement(exact, exact.max(axis=1))

    evaluator = Evaluator(task, instances=512, per_remaining=1)
    state = task.initial(evaluator.seeds)
    starts, chain = task.remaining(state), task.chain_state(state)
    for _ in range(3):
        chain = task.chain.advance(chain)
    loses = task.chain.payoff(chain) < 0
    right = evaluator.score(Knows1(task)).right
    assert right == pytest.approx(
        {1: 1.0, 2: loses[starts == 2].mean(), 3: loses[starts == 3].mean()}
    )
    assert 0.5 < right[2] < 0.7
    assert evaluator.score(OptimalAgent(task)).right == {1: 1.0, 2: 1.0, 3: 1.0}


def test_evaluation_instances_are_not_training_instances() -> None:
    task = task_of("rl_serial/PermutationAutomatonBet-v0")
    assert Evaluator(task, instances=16, per_remaining=4).seeds.min() >= 2**62


def test_play_adds_the_rewards_of_an_episode() -> None:
    """THINK, THINK and then PASS by force: the budget's cost and nothing else."""
    options = {"think_budget": 2, "think_cost": 0.25}
    task = task_of("rl_serial/PermutationAutomatonBet-v0", **options)
    returns = play(_Blind(task, 2), task, np.arange(10))
    np.testing.assert_allclose(returns, -0.5)


def test_the_interval_of_the_reach_holds_other_instances_reach() -> None:
    """Of 100 evaluation seeds about 95 have intervals with the mean of all; a binomial bound."""
    task = make_task("PermutationAutomaton", "Bet", group="s5", serial_depth=4)

    class Myopic:
        """Bets by what the point pays now, so that it is right more often than not."""

        preference = "action value"

        def judge(self, state: Any) -> Judgement:
            pays = task.chain.payoff(state.chain)
            return Judgement(np.stack([np.zeros_like(pays), pays], axis=1), pays)

    found = [Evaluator(task, 64, 100, seed)(Myopic()) for seed in range(100)]
    truth = np.mean([f.serial_reach for f in found])
    held = sum(f.serial_reach_interval[0] < truth < f.serial_reach_interval[1] for f in found)
    assert 86 <= held <= 100
    spread = np.std([f.serial_reach for f in found])
    half = np.mean([f.serial_reach_interval[1] - f.serial_reach for f in found])
    assert half / 1.96 == pytest.approx(spread, rel=0.3)


def test_the_reach_of_a_perfect_agent_has_an_interval_too() -> None:
    """About that of 3 wrong ones of 100, the rule of three, at each of four steps."""
    task = make_task("PermutationAutomaton", "Bet", group="s5", serial_depth=4)
    found = Evaluator(task, 64, 100)(OptimalAgent(task))
    half = found.serial_reach_interval[1] - found.serial_reach
    assert found.serial_reach == 4
    assert 0.05 < half < 0.3


class ThinksAndBets:
    """Takes THINK while there is budget, then bets."""

    preference = Preference.NONE

    def __init__(self, task: Any, passes: int) -> None:
        self.task, self.passes = task, passes

    def judge(self, state: Any) -> Judgement:
        legal = self.task.legal_actions(state)
        return Judgement(np.where(legal, np.arange(legal.shape[1], dtype=np.float32), -1.0), None)


@pytest.mark.parametrize("passes", [1, 5])
def test_the_critical_path_of_an_answer_is_decisions_times_passes(passes: int) -> None:
    task: Any = make_task("PermutationAutomaton", "Bet", serial_depth=3, think_budget=2)
    evaluator = Evaluator(task, 16, per_remaining=4)
    cost = Account(parameters=1, flops_forward=1, flops_update=1, critical_path=7)
    found = evaluator.critical_path(ThinksAndBets(task, passes), cost)
    assert found == 3 * passes * 7  # THINK, THINK, BET
