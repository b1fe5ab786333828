"""Models of a task for the planner: the true rules, and a network trained on transitions.

The step of a chain is shallow though its value is serial, so a small network can learn the one
where it cannot learn the other; what errors remain grow with the steps of a rollout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rl_serial.agents.fitted import apply_network, random_legal
from rl_serial.agents.protocols import Agent, Judgement, ObservingAgent
from rl_serial.envs.chain import Array, TokenLayout, array_namespace, one_hot
from rl_serial.envs.random import random_words
from rl_serial.envs.tasks import Task, num_actions
from rl_serial.networks import Trunk
from rl_serial.networks.trunks import dense
from rl_serial.pytrees import leaves


@dataclass(frozen=True)
class Step:
    """What a model says about an action, as arrays of the library it was asked in."""

    embedding: Any  # [B, ...] of the next states
    reward: Array  # [B] float32
    terminated: Array  # [B] bool
    legal: Array  # [B, num_actions] bool, at the next states


class Dynamics(Protocol):
    """A model that a search can be run in."""

    @property
    def discount(self) -> float:
        """Of what follows a step: 1, or -1 where it is the other player's turn then."""

    def embed(self, state: Any) -> Any:
        """The embeddings [B, ...] of states of the task."""

    def step(self, embedding: Any, action: Array) -> Step:
        """One action [B] int64 at each embedding."""

    def judge(self, agent: Agent, embedding: Any, legal: Array) -> Judgement:
        """What an agent makes of embeddings, whose legal actions are ``legal`` [B, num_actions]."""


class TrueDynamics:
    """The rules of the task, one serial step at a time; an embedding is a state."""

    discount = 1.0

    def __init__(self, task: Task[Any]) -> None:
        self.task = task

    def embed(self, state: Any) -> Any:
        """The state itself."""
        return state

    def step(self, embedding: Any, action: Array) -> Step:
        """The first serial step of the action; where it takes more, only it is legal then."""
        transition, goes_on = self.task.serial_step(embedding, action)
        xp = array_namespace(action)
        same = one_hot(action, num_actions(self.task), xp) > 0
        legal = xp.where(goes_on[:, None], same, self.task.legal_actions(transition.state))
        return Step(transition.state, transition.reward, transition.terminated, legal)

    def judge(self, agent: Agent, embedding: Any, legal: Array) -> Judgement:
        """Any agent can judge a state."""
        if isinstance(agent, ObservingAgent):
            return agent.assess(self.task.observe(embedding), legal)
        return agent.judge(embedding)


class CountedDynamics:
    """A model that counts what it is asked for, so that planners can be held to equal budgets.

    Args:
        dynamics: the model.
    """

    def __init__(self, dynamics: Dynamics) -> None:
        self.dynamics = dynamics
        self.decisions = self.steps = 0

    @property
    def discount(self) -> float:
        """The model's."""
        return self.dynamics.discount

    @property
    def steps_per_decision(self) -> float:
        """Model steps for each state that was planned from; 0 if there was none."""
        return self.steps / max(self.decisions, 1)

    def embed(self, state: Any) -> Any:
        """Counts decisions: a planner starts from each state once."""
        self.decisions += leaves(state)[0].shape[0]
        return self.dynamics.embed(state)

    def step(self, embedding: Any, action: Array) -> Step:
        """Counts a model step for each row."""
        self.steps += action.shape[0]
        return self.dynamics.step(embedding, action)

    def judge(self, agent: Agent, embedding: Any, legal: Array) -> Judgement:
        """The model's."""
        return self.dynamics.judge(agent, embedding, legal)


class DynamicsNetwork(nn.Module):
    """Predicts the next observation, reward, end and legal actions in one serial step.

    A trunk on observation and action (which joins the globals as a one-hot), and beside it one
    linear layer from input to output, which is all that what merely moves along needs.

    Args:
        trunk: of the layout :meth:`input_layout`.
        layout: of the task's observations.
        actions: how many the task has.
    """

    def __init__(self, trunk: Trunk, layout: TokenLayout, actions: int) -> None:
        super().__init__()
        self.size, self.actions = layout.size, actions
        self.input_size = layout.size + actions
        outputs = layout.size + 2 + actions
        self.trunk = trunk
        self.head = dense(trunk.features_dim, outputs)
        self.skip = dense(self.input_size, outputs, bias=False)

    @staticmethod
    def input_layout(layout: TokenLayout, actions: int) -> TokenLayout:
        """The layout of observations with the action behind the globals."""
        return replace(layout, globals=layout.globals + actions)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, size + actions] to [B, size + 2 + actions].

        The outputs are the logits of the next observation's numbers, the reward, the logit of the
        end and those of the legal actions.
        """
        outputs: Tensor = self.head(self.trunk(inputs)) + self.skip(inputs)
        return outputs


def dynamics_loss(
    outputs: Tensor, observation: Tensor, reward: Tensor, terminated: Tensor, legal: Tensor
) -> Tensor:
    """Mean cross-entropies of observation, end and legal actions plus the reward's squared error.

    Args:
        outputs: [B, size + 2 + A] of a :class:`DynamicsNetwork`.
        observation: [B, size] what followed, in [0, 1].
        reward: [B] float32.
        terminated: [B] bool.
        legal: [B, A] bool.
    """
    size = observation.shape[1]
    cross_entropy = F.binary_cross_entropy_with_logits
    return (
        cross_entropy(outputs[:, :size], observation)
        + F.mse_loss(outputs[:, size], reward)
        + cross_entropy(outputs[:, size + 1], terminated.float())
        + cross_entropy(outputs[:, size + 2 :], legal.float())
    )


class LearnedDynamics:
    """A trained :class:`DynamicsNetwork`; an embedding is an observation.

    Observations are made of zeros and ones (in every family but ManyBody, which is refused), so
    predictions are rounded: an error does not grow by being carried along, and a step is either
    exactly right or wrong.

    Args:
        task: whose observations start a rollout; its rules are not used.
        network: on ``device``.
        device: where the network is.
    """

    discount = 1.0

    def __init__(self, task: Task[Any], network: DynamicsNetwork, device: torch.device) -> None:
        self.task, self.network, self.device = task, network, device

    def embed(self, state: Any) -> Array:
        """The observations [B, size]."""
        return self.task.observe(state)

    def step(self, embedding: Array, action: Array) -> Step:
        """The network's prediction, rounded."""
        xp = array_namespace(embedding)
        size, actions = self.network.size, self.network.actions
        inputs = xp.concat([embedding, one_hot(action, actions, xp)], axis=1)
        outputs = apply_network(self.network, inputs, self.device)
        likely = outputs[:, size + 2 :]
        # Something is always legal: the likeliest action, if none is likely.
        legal = (likely > 0) | (likely == xp.max(likely, axis=1, keepdims=True))
        return Step(
            embedding=xp.astype(outputs[:, :size] > 0, xp.float32),
            reward=outputs[:, size],
            terminated=outputs[:, size + 1] > 0,
            legal=legal,
        )

    def judge(self, agent: Agent, embedding: Array, legal: Array) -> Judgement:
        """Only an agent that lives on observations can judge a predicted one.

        Raises:
            TypeError: the agent needs the state itself.
        """
        if not isinstance(agent, ObservingAgent):
            raise TypeError(f"{type(agent).__name__} judges states, which learned dynamics lack")
        return agent.assess(embedding, legal)


@dataclass(frozen=True)
class RolloutError:
    """How often a model is right after k steps of random play, k = 1 … K."""

    exact: NDArray[np.float64]  # [K] share of episodes right up to k but for the reward
    wrong_numbers: NDArray[np.float64]  # [K] mean share of an observation's numbers that are wrong
    reward_error: NDArray[np.float64]  # [K] root mean squared, over episodes that reach step k


def rollout_error(
    dynamics: Dynamics, task: Task[Any], seeds: NDArray[np.int64], steps: int
) -> RolloutError:
    """Measure how the error of learned dynamics compounds over a rollout.

    Args:
        dynamics: the model, whose embeddings are observations.
        task: the truth.
        seeds: [B] instances.
        steps: K; episodes that end earlier leave the count.
    """
    state = task.initial(seeds)
    predicted = dynamics.embed(state)
    running = np.ones(seeds.shape[0], dtype=np.bool_)
    right = running.copy()
    exact, wrong, rewards = np.full(steps, np.nan), np.full(steps, np.nan), np.full(steps, np.nan)
    for k in range(steps):
        if not running.any():
            break
        words = random_words(seeds, 1, stream=2048 + k)[:, 0]
        action = random_legal(task.legal_actions(state), words)
        transition, guess = task.step(state, action), dynamics.step(predicted, action)
        state, predicted = transition.state, guess.embedding
        differs = predicted != task.observe(state)
        legal = (guess.legal == task.legal_actions(state)).all(axis=1)
        right &= ~differs.any(axis=1) & (guess.terminated == transition.terminated)
        right &= legal | transition.terminated
        exact[k] = right[running].mean()
        wrong[k] = differs[running].mean()
        error = (guess.reward - transition.reward)[running]
        rewards[k] = np.sqrt(np.mean(error**2))
        running &= ~transition.terminated
    return RolloutError(exact, wrong, rewards)
