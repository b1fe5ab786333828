"""Learned dynamics: the loss by hand, exact steps after training, errors that compound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.agents.baselines import OptimalAgent
from rl_serial.agents.dynamics import (
    DynamicsNetwork,
    LearnedDynamics,
    Step,
    TrueDynamics,
    dynamics_loss,
    rollout_error,
)
from rl_serial.agents.search import SearchAgent, SearchTrainer
from rl_serial.agents.settings_search import SearchAgentConfig
from rl_serial.envs import make_task
from rl_serial.networks import Network, account, build_trunk
from rl_serial.subjects.chains.evaluation import Evaluator

CPU = torch.device("cpu")
TASK = make_task("PermutationAutomaton", "Steer", serial_depth=4, decisions=2)


def network(task: Any, width: int = 64) -> DynamicsNetwork:
    actions = len(task.action_names)
    layout = DynamicsNetwork.input_layout(task.layout, actions)
    trunk = build_trunk("residual", layout, depth=1, width=width)
    return DynamicsNetwork(trunk, task.layout, actions)


def test_loss_by_hand() -> None:
    # Logits 0 have probability a half: a cross-entropy of log 2 for each of the three parts.
    outputs = torch.zeros(2, 3 + 2 + 2)
    outputs[:, 3] = 0.5  # the predicted reward, where -1 and 1 came
    loss = dynamics_loss(
        outputs,
        torch.tensor([[0.0, 1, 1], [1, 0, 0]]),
        torch.tensor([-1.0, 1.0]),
        torch.tensor([True, False]),
        torch.tensor([[True, False], [True, True]]),
    )
    assert loss.item() == pytest.approx(3 * np.log(2) + (1.5**2 + 0.5**2) / 2, rel=1e-6)


def test_sizes_and_path_are_those_counted_by_hand() -> None:
    """Observation 4 × 4 + 5 + 5 = 26, five actions; the linear layer runs beside the trunk."""
    model = network(TASK, width=10)
    assert (model.size, model.input_size) == (26, 31)
    cost = account(model, torch.zeros(1, 31))
    trunk = (31 * 10 + 10) + 20 + (10 * 10 + 10) + 20  # input and one layer, with norms
    assert cost.parameters == trunk + (10 * 33 + 33) + 31 * 33
    assert cost.flops_forward == 2 * (31 * 10 + 10 * 10 + 10 * 33 + 31 * 33)
    assert cost.critical_path == 3


def test_it_learns_steps_that_are_exactly_right() -> None:
    """From the transitions of its own play; and a search in it acts as one in the true rules."""
    torch.manual_seed(0)
    trunk = {"kind": "residual", "layout": TASK.layout, "depth": 1, "width": 16}
    config = SearchAgentConfig(
        kind="search",
        dynamics="learned",
        timesteps=12_000,
        num_envs=96,
        simulations=4,
        updates=32,
        learning_rate=5e-3,
    )
    policy = Network(build_trunk(**trunk), 5)
    value = Network(build_trunk(**trunk), 1)
    learner = SearchTrainer(
        TASK, config, policy, value, network(TASK, 128), 0, CPU, lambda *_: None
    )
    seeds = np.arange(500, dtype=np.int64) + 2**61
    before = rollout_error(learner.dynamics, TASK, seeds, 4)
    assert before.exact[0] < 0.01
    learner.train(lambda: None)
    after = rollout_error(learner.dynamics, TASK, seeds, 4)
    assert after.exact[0] > 0.9
    assert (np.diff(after.exact) <= 0).all()  # right up to k is right up to k - 1
    assert after.reward_error[3] < 0.35
    assert after.wrong_numbers[3] < 0.03
    evaluator = Evaluator(TASK, instances=1000, per_remaining=1)
    learned = SearchAgent(TASK, learner.raw_agent, learner.dynamics, 48)
    true = SearchAgent(TASK, learner.raw_agent, TrueDynamics(TASK), 48)
    assert evaluator.score(learned)[1] > evaluator.score(true)[1] - 0.1 > 0.6


def test_rollout_error_by_hand() -> None:
    """A model that is right but for its second step, whose first number it turns over."""

    class Wrong:
        def __init__(self) -> None:
            self.state: Any = None
            self.steps = 0

        def embed(self, state: Any) -> Any:
            self.state = state
            return TASK.observe(state)

        def step(self, embedding: Any, action: Any) -> Step:
            transition = TASK.step(self.state, action)
            self.state, self.steps = transition.state, self.steps + 1
            observation = TASK.observe(transition.state)
            if self.steps == 2:
                observation[:, 0] = 1 - observation[:, 0]
            reward = transition.reward + np.float32(0.5)
            legal = TASK.legal_actions(transition.state)
            return Step(observation, reward, transition.terminated, legal)

    error = rollout_error(Wrong(), TASK, np.arange(50), 6)  # type: ignore[arg-type]
    np.testing.assert_allclose(error.exact, [1, 0, 0, 0, np.nan, np.nan])
    np.testing.assert_allclose(error.wrong_numbers, [0, 1 / 26, 0, 0, np.nan, np.nan])
    np.testing.assert_allclose(error.reward_error, [0.5] * 4 + [np.nan] * 2)


def test_an_agent_that_needs_states_cannot_judge_predictions() -> None:
    agent = SearchAgent(TASK, OptimalAgent(TASK), LearnedDynamics(TASK, network(TASK), CPU), 2)
    with pytest.raises(TypeError, match="OptimalAgent judges states, which learned dynamics lack"):
        agent.judge(TASK.initial(np.arange(3)))
