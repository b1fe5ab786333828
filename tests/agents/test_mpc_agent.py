"""Receding-horizon control: returns and targets by hand, accounts counted, models that learn."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from rl_serial.agents.mpc import (
    LearnedModel,
    Learning,
    MPCAgent,
    MPCSettings,
    SimulatorModel,
    Steps,
)
from rl_serial.agents.mpc import (
    planner as mpc_planner,
)
from rl_serial.agents.mpc.networks import DynamicsMLP, Standardizer, ValueMLP, dynamics_loss
from rl_serial.agents.mpc.returns import lambda_returns, plan_returns
from rl_serial.envs.control import ControlSimulator, HalfCheetahRules, make_control
from rl_serial.errors import RunError
from rl_serial.planning import CEM, MPPI, SerialAccounts, shift

pytest.importorskip("mujoco")
pytest.importorskip("imageio")

SMALL = CEM(samples=8, iterations=2, elites=3, std=0.15, min_std=0.02)
ENOUGH = CEM(samples=32, iterations=3, elites=6, std=0.15, min_std=0.01)
QUICK = Learning(width=64, random_steps=500)


def reacher(steps: int = 50) -> gym.Env[Any, Any]:
    return make_control("Reacher-v5", max_episode_steps=steps)


def hopper(steps: int = 60) -> gym.Env[Any, Any]:
    return make_control("Hopper-v5", max_episode_steps=steps)


class TestByHand:
    """Numbers worked out on paper."""

    def test_plan_returns(self) -> None:
        rewards = np.array([[[1.0, 2.0, 4.0], [1.0, 2.0, 0.0], [1.0, 1.0, 1.0]]])
        terminated = np.array([[[False] * 3, [False, True, True], [False] * 3]])
        failed = np.array([[False, False, True]])
        found = plan_returns(rewards, terminated, failed, 0.5, None)
        assert found.tolist() == [[3.0, 2.0, -np.inf]]
        # A value of 16 three steps ahead is worth 2 where there is such a state, else nothing.
        found = plan_returns(rewards, terminated, failed, 0.5, np.full((1, 3), 16.0))
        assert found.tolist() == [[5.0, 2.0, -np.inf]]

    def test_lambda_returns(self) -> None:
        # Two steps that end, then two of an episode that is cut off.
        rewards = np.array([1.0, 2.0, 3.0, 4.0])
        values = np.array([8.0, 99.0, 16.0, 32.0])
        terminated = np.array([False, True, False, False])
        last = np.array([False, True, False, True])
        given = rewards, values, terminated, last, 0.5
        assert lambda_returns(*given, 0.0).tolist() == [5.0, 2.0, 11.0, 20.0]
        assert lambda_returns(*given, 1.0).tolist() == [2.0, 2.0, 13.0, 20.0]
        assert lambda_returns(*given, 0.5).tolist() == [3.5, 2.0, 12.0, 20.0]

    def test_lambda_returns_stop_where_the_memory_does(self) -> None:
        found = lambda_returns(
            np.array([1.0]), np.array([4.0]), np.array([False]), np.array([False]), 0.5, 1.0
        )
        assert found.tolist() == [3.0]

    def test_true_values_are_a_fixed_point_of_lambda_returns(self) -> None:
        """Reward 1 for ever is worth 1 / (1 − γ), whatever λ."""
        ones = np.ones(6)
        never = np.zeros(6, dtype=bool)
        for trace in (0.0, 0.3, 1.0):
            found = lambda_returns(ones, 10 * ones, never, never, 0.9, trace)
            np.testing.assert_allclose(found, 10)

    def test_standardizer(self) -> None:
        standardizer = Standardizer(2, instead=1e-6)
        standardizer.fit(np.array([[1.0, 5.0], [3.0, 5.0]]))
        given = torch.tensor([[4.0, 5.0]])
        assert standardizer(given).tolist() == [[2.0, 0.0]]
        assert standardizer.inverse(torch.tensor([[2.0, 0.0]])).tolist() == [[4.0, 5.0]]
        # What never changed is predicted not to change, whatever the network says.
        assert standardizer.inverse(torch.tensor([[0.0, 3.0]]))[0, 1].item() == pytest.approx(
            5, abs=1e-5
        )
        alone = Standardizer(1)
        alone.fit(np.array([[7.0], [7.0]]))
        assert alone(torch.tensor([[9.0]])).tolist() == [[2.0]]

    def test_dynamics_loss(self) -> None:
        predicted = torch.tensor([[1.0, 1.0]]), torch.tensor([2.0]), torch.tensor([0.0])
        expected = torch.tensor([[0.0, 3.0]]), torch.tensor([5.0]), torch.tensor([1.0])
        # (1 + 4) / 2 + 9 + ln 2.
        assert dynamics_loss(predicted, expected).item() == pytest.approx(2.5 + 9 + np.log(2))


class Sliding(DynamicsMLP):
    """A network that moves the first joint by the first action; ends where the second is large."""

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        change = torch.zeros(inputs.shape[0], self.joints)
        change[:, 0] = inputs[:, -2]
        return change, 3 * inputs[:, -1], inputs[:, -1] - 0.5


class TestLearnedModel:
    """Around a network whose answers are known."""

    rules = HalfCheetahRules(2.0, 0.1, seconds=0.5, hide_place=True)
    # One joint with its velocity, two actions.
    actions = np.array([[[[0.5, 0.0], [1.0, 0.8], [0.25, 0.0]]]])

    def model(self, **options: Any) -> LearnedModel:
        return LearnedModel(Sliding(1, 2, 2, 4), self.rules, 1, discount=0.5, **options)

    def test_known_rewards(self) -> None:
        # Twice the speed (place / 0.5 s) less a tenth of the squares: 2 − 0.025, 4 − 0.164,
        # 1 − 0.00625. The rules know no end.
        expected = 1.975 + 0.5 * 3.836 + 0.25 * 0.99375
        found = self.model()(np.array([[7.0, 0.0]]), self.actions)
        np.testing.assert_allclose(found, [[expected]], rtol=1e-6)

    def test_learned_rewards_and_end(self) -> None:
        # Rewards 0, then 3 · 0.8 in the step that ends the episode; nothing after it.
        found = self.model(known=False)(np.array([[7.0, 0.0]]), self.actions)
        np.testing.assert_allclose(found, [[0.5 * 2.4]], rtol=1e-6)

    def test_terminal_value(self) -> None:
        seen = []

        def value(observation: Any) -> Any:
            seen.append(observation)
            return np.full(observation.shape[:-1], 8.0)

        plain = self.model()(np.array([[7.0, 0.3]]), self.actions)
        found = self.model(value=value)(np.array([[7.0, 0.3]]), self.actions)
        np.testing.assert_allclose(found, plain + 0.125 * 8, rtol=1e-6)
        np.testing.assert_allclose(seen[0], [[0.3]])  # the place is not observed
        ended = self.model(value=value, known=False)(np.array([[7.0, 0.0]]), self.actions)
        np.testing.assert_allclose(ended, [[0.5 * 2.4]], rtol=1e-6)

    def test_nonsense_is_a_failed_rollout(self) -> None:
        model = self.model(value=lambda observation: observation[:, 0] * np.inf)
        both = np.concatenate([self.actions, 2 * self.actions], axis=1)
        assert model(np.array([[7.0, 1.0]]), both).tolist() == [[-np.inf, -np.inf]]

    def test_problems_and_samples_keep_their_places(self) -> None:
        model = self.model()
        generator = np.random.default_rng(0)
        state, actions = generator.normal(size=(3, 2)), generator.uniform(-1, 1, (3, 4, 5, 2))
        together = model(state, actions)
        for row, sample in np.ndindex(3, 4):
            one = model(state[row : row + 1], actions[row : row + 1, sample : sample + 1])
            np.testing.assert_allclose(together[row, sample], one[0, 0], rtol=1e-6)


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_simulator_model_is_the_environments_return(discount: float) -> None:
    """Discounted rewards of stepping it, and the value of the observation it ends at."""
    env = hopper()
    simulator = ControlSimulator(env)
    env.reset(seed=1)
    state = simulator.state(env)
    actions = np.random.default_rng(1).uniform(-1, 1, (1, 1, 30, 3))

    def value(observation: Any) -> Any:
        return observation.sum(axis=-1)

    ended = 0
    for horizon in (1, 5, 30):
        env.reset(seed=1)
        expected, terminated = 0.0, False
        for step in range(horizon):
            observation, reward, terminated, _, _ = env.step(actions[0, 0, step])
            expected += discount**step * float(reward)
            if terminated:
                break
        ended += terminated
        model = SimulatorModel(simulator, discount)
        plan = actions[:, :, :horizon]
        np.testing.assert_allclose(model(state, plan), [[expected]], rtol=1e-9)
        if not terminated:
            expected += discount**horizon * observation.sum()
        model = SimulatorModel(simulator, discount, value)
        np.testing.assert_allclose(model(state, plan), [[expected]], rtol=1e-9)
    assert ended == 1


class TestAgent:
    """What it plays, counts and remembers."""

    @pytest.mark.parametrize("planner", [SMALL, MPPI(samples=16, std=0.1)], ids=["cem", "mppi"])
    def test_same_seed_same_episodes(self, planner: CEM | MPPI) -> None:
        settings = MPCSettings(planner, horizon=3)
        totals = []
        for seed in (0, 0, 1):
            with MPCAgent(lambda: reacher(8), settings, seed) as agent:
                totals.append([episode.total for episode in agent.evaluate([4, 5])])
        assert totals[0] == totals[1] != totals[2]

    def test_training_can_be_repeated(self) -> None:
        settings = MPCSettings(
            SMALL, 3, "learned", terminal_value=True, learning=replace(QUICK, random_steps=20)
        )
        found = []
        for _ in range(2):
            torch.manual_seed(len(found))  # is not what the agent draws from
            with MPCAgent(lambda: reacher(10), settings, 3) as agent:
                played = agent.train(40)
                found.append([episode.total for episode in played + agent.evaluate([0])])
        assert found[0] == found[1]

    def test_episodes_are_what_the_environment_paid(self) -> None:
        """Totals, steps and ends as a wrapper saw them; one terminated, one cut off."""
        seen: list[dict[str, Any]] = []

        class Watched(gym.Wrapper[Any, Any, Any, Any]):
            def reset(self, **options: Any) -> Any:
                self.record: dict[str, Any] = {"total": 0.0, "steps": 0}
                seen.append(self.record)
                return super().reset(**options)

            def step(self, action: Any) -> Any:
                assert action.dtype == np.float32
                result = super().step(action)
                self.record["total"] += result[1]
                self.record["steps"] += 1
                self.record["terminated"] = result[2]
                return result

        with MPCAgent(lambda: Watched(hopper(80)), MPCSettings(SMALL, 1)) as agent:
            episodes = agent.evaluate(range(4))
        assert len(seen) == 4
        for episode, record in zip(episodes, seen, strict=True):
            assert episode.total == pytest.approx(record["total"])
            assert (episode.steps, episode.terminated) == (record["steps"], record["terminated"])
        assert len({episode.steps for episode in episodes}) > 1

    @pytest.mark.parametrize("model", ["true", "learned"])
    def test_accounts(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Counted at the model's door: every rollout's rows and steps."""
        settings = MPCSettings(SMALL, 3, model, learning=replace(QUICK, random_steps=10))
        calls: list[tuple[int, ...]] = []
        kind = SimulatorModel if model == "true" else LearnedModel
        original = kind.__call__

        def counted(self: Any, state: Any, actions: Any) -> Any:
            calls.append(actions.shape)
            return original(self, state, actions)

        monkeypatch.setattr(kind, "__call__", counted)
        with MPCAgent(lambda: reacher(10), settings) as agent:
            if model == "learned":
                [first] = agent.train(10)
                assert (first.model_steps, first.critical_path, first.simulator_steps) == (0, 0, 10)
            calls.clear()
            before = agent.simulator_steps
            episodes = agent.evaluate([0, 1])
            spent = agent.simulator_steps - before
            assert agent.accounts == SerialAccounts(2 * 3, 8 * 2 * 3)
        assert sum(episode.model_steps for episode in episodes) == sum(
            int(np.prod(shape[:3])) for shape in calls
        )
        assert [episode.critical_path for episode in episodes] == [10 * 2 * 3] * 2
        assert len(calls) * 3 == 10 * 2 * 3  # side by side: one rollout serves both
        in_simulator = 480 if model == "true" else 0
        assert [episode.simulator_steps for episode in episodes] == [10 + in_simulator] * 2
        assert spent == 2 * (10 + in_simulator)
        assert all(episode.planning_seconds > 0 for episode in episodes)

    def test_plans_are_carried_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each plan starts from the last one and its elites, a step later."""
        calls: list[tuple[Any, Any, Any]] = []
        original = mpc_planner.plan_control

        def watched(*given: Any) -> Any:
            found = original(*given)
            calls.append((given[2], given[7], found))
            return found

        monkeypatch.setattr(mpc_planner, "plan_control", watched)
        settings = MPCSettings(SMALL, 4, carry=2)
        with MPCAgent(lambda: reacher(4), settings) as agent:
            agent.evaluate([0, 1])
        assert len(calls) == 4
        assert np.all(calls[0][0] == 0)
        assert calls[0][1] is None
        for (_, _, before), (plan, candidates, _) in pairwise(calls):
            np.testing.assert_array_equal(plan, shift(before.plan))
            np.testing.assert_array_equal(candidates, shift(before.elites[:, :2]))

    def test_training_keeps_its_budgets(self) -> None:
        settings = MPCSettings(SMALL, 3)
        decision = 8 * 2 * 3 + 1
        with MPCAgent(lambda: reacher(10), settings) as agent:
            played = agent.train(24)
            assert [episode.steps for episode in played] == [10, 10, 4]
            assert agent.env_steps == 24
            assert agent.simulator_steps == 24 * decision
            played = agent.train(1000, simulator_steps=5 * decision - 3)
            assert [episode.steps for episode in played] == [5]
            assert agent.train(1000, seconds=0.0) == []
            played = agent.train(10**9, seconds=0.3)
            assert 0 < agent.env_steps < 10_000
            assert agent.steps is not None
            assert agent.steps.reward.size == agent.env_steps
            assert agent.steps.last.sum() == 3 + 1 + len(played)
            assert all(2**20 <= episode.seed < 2**31 for episode in played)

    def test_what_is_remembered(self) -> None:
        """Steps chain up: what one led to is where the next began, within an episode."""
        settings = MPCSettings(SMALL, 2, learning=replace(QUICK, memory=15))
        with MPCAgent(lambda: reacher(10), settings) as agent:
            agent.train(20)
            steps = agent.steps
        assert steps is not None
        assert steps.reward.shape == (15,)
        assert steps.last.tolist() == [False] * 4 + [True] + [False] * 9 + [True]
        for now, then in zip(range(14), range(1, 15), strict=True):
            same = np.array_equal(steps.next_joints[now], steps.joints[then])
            assert same == (not steps.last[now])
            same = np.array_equal(steps.next_observation[now], steps.observation[then])
            assert same == (not steps.last[now])

    def test_weights_can_be_taken_elsewhere(self) -> None:
        settings = MPCSettings(
            SMALL, 3, "learned", terminal_value=True, learning=replace(QUICK, random_steps=20)
        )
        totals = []
        with MPCAgent(lambda: reacher(10), settings, 0) as agent:
            agent.train(30)
            for other_seed in (5, 5):
                with MPCAgent(lambda: reacher(10), settings, other_seed) as other:
                    other.load_state_dict(agent.state_dict())
                    totals.append(other.evaluate([0])[0].total)
                    for key, tensor in agent.learner.dynamics.state_dict().items():
                        assert torch.equal(tensor, other.learner.dynamics.state_dict()[key])
        assert totals[0] == totals[1]


class TestLearning:
    """Worlds with known answers."""

    def test_dynamics_are_learned(self) -> None:
        """From random play: changes of new steps are predicted, of angles and speeds alike."""
        settings = MPCSettings(SMALL, 3, "learned", learning=replace(QUICK, updates=2.0))
        with MPCAgent(reacher, settings) as agent:
            agent.train(500)
            model = agent.model()
        other = replace(settings, learning=replace(QUICK, updates=0.01))
        with MPCAgent(reacher, other, seed=1) as agent:
            agent.train(100)
            steps = agent.steps
        assert isinstance(model, LearnedModel)
        assert steps is not None
        predicted, reward, end = model.step(steps.joints, steps.action)
        moving = [0, 1, 4, 5]  # the target stands still
        change = (steps.next_joints - steps.joints)[:, moving]
        error = (predicted - steps.next_joints)[:, moving]
        # Random play runs the elbow into its stop, where a speed is not smooth.
        share = np.square(error).mean(axis=0) / change.var(axis=0)
        assert np.all(share < [0.05, 0.1, 0.05, 0.2])
        np.testing.assert_allclose(predicted[:, 2:4], steps.joints[:, 2:4], atol=1e-4)
        np.testing.assert_allclose(reward, steps.reward, atol=0.02)
        assert not end.any()

    @pytest.mark.parametrize("reward", ["known", "learned"])
    def test_a_learned_model_is_good_enough_to_plan_in(self, reward: Any) -> None:
        """After 500 random steps it is far better than doing nothing, and than random play."""
        settings = MPCSettings(ENOUGH, 12, "learned", reward, learning=QUICK)
        with MPCAgent(reacher, settings) as agent:
            played = agent.train(550)
            found = np.array([episode.total for episode in agent.evaluate([0, 2])])
        idle = []
        for seed in (0, 2):
            env = reacher()
            env.reset(seed=seed)
            idle.append(sum(float(env.step(np.zeros(2, np.float32))[1]) for _ in range(50)))
        assert np.all(found > 0.8 * np.array(idle))
        assert found.min() > max(episode.total for episode in played[:10]) + 10

    def test_values_are_learned(self) -> None:
        """Episodes of one step: the value of what was seen is the reward that it brought."""
        generator = np.random.default_rng(0)
        settings = MPCSettings(SMALL, 2, terminal_value=True, learning=QUICK)
        seen = generator.normal(size=(800, 10))
        reward = 50 + 20 * np.tanh(seen[:, 0]) - 10 * seen[:, 1]
        ends = np.ones(800, dtype=bool)
        numbers = np.zeros((800, 8))
        steps = Steps(numbers, seen, numbers[:, :2], numbers, seen, reward, ends, ends)
        with MPCAgent(reacher, settings) as agent:
            assert isinstance(agent.model(), SimulatorModel)
            assert agent.model().value is None  # type: ignore[attr-defined]
            agent.learner.fit(steps, 300)
            assert agent.model().value is not None  # type: ignore[attr-defined]
            new = generator.normal(size=(200, 10))
            expected = 50 + 20 * np.tanh(new[:, 0]) - 10 * new[:, 1]
            found = agent.learner.value.values(new)
        assert np.square(found - expected).mean() < 0.1 * expected.var()

    def test_values_bootstrap(self) -> None:
        """Cut-off steps of reward 1 from a state to itself: the value tends to 1 / (1 − γ)."""
        settings = MPCSettings(
            SMALL, 2, terminal_value=True, discount=0.5, learning=replace(QUICK, trace=0.0)
        )
        generator = np.random.default_rng(0)
        seen, never = generator.normal(size=(200, 10)), np.zeros(200, dtype=bool)
        numbers = np.zeros((200, 8))
        noise = generator.normal(size=200)
        steps = Steps(numbers, seen, numbers[:, :2], numbers, seen, 1 + noise, never, ~never)
        with MPCAgent(reacher, settings) as agent:
            for _ in range(12):
                agent.learner.fit(steps, 20)
            found = agent.learner.value.values(generator.normal(size=(500, 10)))
        assert found.mean() == pytest.approx(2, abs=0.3)

    @pytest.mark.learning
    def test_a_value_replaces_horizon(self) -> None:
        """With three steps of planning a learned value is worth more than a third of the loss."""
        planner = CEM(samples=16, iterations=2, elites=4, std=0.15, min_std=0.01)
        learning = Learning(width=64)
        seeds = range(8)
        plain = MPCSettings(planner, 3, discount=0.9, learning=learning)
        with MPCAgent(reacher, plain) as agent:
            short = np.mean([episode.total for episode in agent.evaluate(seeds)])
        for seed in range(3):
            valued = replace(plain, terminal_value=True)
            with MPCAgent(reacher, valued, seed) as agent:
                agent.train(6000)
                found = np.mean([episode.total for episode in agent.evaluate(seeds)])
            assert found > 0.67 * short


class TestErrors:
    """Each names what was wrong and what would be right."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"horizon": 0}, "horizon=0: must be 1 or more"),
            ({"model": "perfect"}, "model='perfect': must be 'true' or 'learned'"),
            ({"reward": "none"}, "reward='none': must be 'known' or 'learned'"),
            ({"reward": "learned"}, "reward='learned': must be 'known' with the true model"),
            ({"discount": 1.1}, r"discount=1.1: must be in \(0, 1\]"),
            ({"discount": 1.0, "terminal_value": True}, "must be less than 1 with terminal_value"),
            ({"carry": 4, "planner": SMALL}, "carry=4: must be from 0 to 3"),
            ({"carry": 2, "planner": MPPI()}, "carry=2: must be from 0 to 1"),
        ],
        ids=str,
    )
    def test_settings(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            MPCSettings(**options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"width": 0}, "width=0: must be 1 or more"),
            ({"batch_size": 0}, "batch_size=0"),
            ({"memory": 0}, "memory=0"),
            ({"random_steps": 0}, "random_steps=0"),
            ({"learning_rate": 0.0}, "learning_rate=0.0: must be positive"),
            ({"updates": -1.0}, "updates=-1.0: must be positive"),
            ({"trace": 1.5}, r"trace=1.5: must be in \[0, 1\]"),
        ],
        ids=str,
    )
    def test_learning(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Learning(**options)

    def test_a_model_that_was_not_trained(self) -> None:
        with (
            MPCAgent(reacher, MPCSettings(SMALL, 2, "learned")) as agent,
            pytest.raises(RuntimeError, match="has not been trained: call train first"),
        ):
            agent.evaluate([0])

    def test_a_model_that_has_diverged_everywhere_is_refused(self) -> None:
        settings = MPCSettings(SMALL, 2, "learned", learning=replace(QUICK, random_steps=10))
        with MPCAgent(lambda: reacher(10), settings) as agent:
            agent.train(10)
            for parameter in agent.learner.dynamics.parameters():
                parameter.data.fill_(np.nan)
            with pytest.raises(RunError, match="planning in the learned model: every rollout of"):
                agent.evaluate([0])

    @pytest.mark.parametrize("seed", [-1, 2**20, 2**31 - 1])
    def test_seeds_of_evaluation(self, seed: int) -> None:
        with (
            MPCAgent(reacher, MPCSettings(SMALL, 2)) as agent,
            pytest.raises(ValueError, match=f"{seed} is no seed for evaluation: .* 1048575"),
        ):
            agent.evaluate([seed])


def test_the_pages_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs/control.md"
    code = page.read_text().split("```python\n")[2].split("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    # Random play earns about −43; idling −8 to −20 (seeds 0 and 1).
    assert all(-14 < episode.total < 0 for episode in names["episodes"])
    assert "critical_path=36" in capsys.readouterr().out


def test_value_network_takes_any_leading_shape() -> None:
    network = ValueMLP(3, 8)
    seen = np.random.default_rng(0).normal(size=(2, 5, 3))
    found = network.values(seen)
    assert found.shape == (2, 5)
    np.testing.assert_allclose(found[1, 4], network.values(seen[1, 4][None])[0], rtol=1e-6)
