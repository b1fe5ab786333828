"""The ``cloning`` agent: a policy fitted to the optimal one, by cross-entropy.

Behaviour cloning (Pomerleau 1991, *Neural Computation* 3) of an expert that is exact: the states
come from random play, and the actions that no other surpasses share the mass of the target. A
policy without the confounds of learning to act, as the ``value`` agent is for values. In Write,
where every word is as good as the answer, an expert that reasons shows in its own play what to
write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rl_serial.agents.fitted import (
    FittedTrainer,
    Lesson,
    apply_network,
    fitted_outputs,
    mean_of_known,
    probabilities,
)
from rl_serial.agents.protocols import ChainWorld, Judgement, Log, Preference
from rl_serial.agents.settings import CloningAgentConfig
from rl_serial.agents.targets import (
    bet_shares,
    held_horizons,
    horizon_returns,
    of_own_start,
    starts_of,
)
from rl_serial.envs.chain import Array, array_namespace, one_hot
from rl_serial.envs.shortcuts import right_actions
from rl_serial.envs.tasks import Task, num_actions
from rl_serial.envs.write import Write
from rl_serial.networks import build_network, build_trunk


class PolicyNetworkAgent:
    """Takes the likeliest action by a network's logits; it has no values."""

    preference = Preference.PROBABILITY

    def __init__(self, task: Task[Any], network: nn.Module, device: torch.device) -> None:
        self.task, self.network, self.device = task, network, device

    def judge(self, state: Any) -> Judgement:
        """The probabilities of the actions, 0 of those that are not legal."""
        return self.assess(self.task.observe(state), self.task.legal_actions(state))

    def assess(self, observations: Array, legal: Array) -> Judgement:
        """The same from observations."""
        logits = apply_network(self.network, observations, self.device)
        return Judgement(probabilities(logits, legal), values=None)


class StartsPolicyAgent:
    """Bets by the logit that a network gives for the state's own start and remaining steps.

    Raises ValueError for a task whose chain has no starts.
    """

    preference = Preference.PROBABILITY

    def __init__(self, task: Task[Any], network: nn.Module, device: torch.device) -> None:
        self.task, self.network, self.device = task, network, device
        self.chain = starts_of(task)

    def judge(self, state: Any) -> Judgement:
        """The probabilities of PASS and BET."""
        outputs = apply_network(self.network, self.task.observe(state), self.device)
        bet = of_own_start(self.chain, self.task.chain_state(state), outputs)
        xp = array_namespace(bet)
        logits = xp.stack([xp.zeros_like(bet), bet], axis=1)
        return Judgement(probabilities(logits, self.task.legal_actions(state)), values=None)


class CloningTrainer(FittedTrainer[CloningAgentConfig]):
    """Fits a network's policy.

    Args:
        task: the rules.
        config: starts, optimiser.
        network: observations [B, layout.size] to logits [B, num_actions], or for starts all to
            logits of BET against PASS [B, starts, serial_depth]; on ``device``.
        seed: chooses the training instances.
        device: where the network is; on a GPU the rules run there too, unless they are NumPy's.
    """

    role = "policy"

    def __init__(
        self,
        task: Task[Any],
        config: CloningAgentConfig,
        network: nn.Module,
        seed: int,
        device: torch.device,
    ) -> None:
        kind = StartsPolicyAgent if config.all_starts else PolicyNetworkAgent
        super().__init__(task, config, network, kind(task, network, device), seed, device)

    def next_lesson(self, seeds: Array, values: Callable[[Array], Array]) -> Lesson:
        """A state of the expert's own play, where it is one that writes, and what it does there."""
        if self.config.expert == "optimal":
            return super().next_lesson(seeds, values)
        assert isinstance(self.task, Write)
        state, action = self.task.demonstrated(seeds, self.config.expert)
        shares = one_hot(action, num_actions(self.task), array_namespace(action))
        return Lesson(self.task.observe(state), self.task.legal_actions(state), shares)

    def lesson(self, state: Any, seeds: Array, values: Callable[[Array], Array]) -> Lesson:
        """The optimal policy in the states, or for every start and horizon that they hold."""
        observations = self.task.observe(state)
        if self.config.all_starts:
            chain, here = starts_of(self.task), self.task.chain_state(state)
            shares = bet_shares(horizon_returns(chain, here))
            return Lesson(observations, held_horizons(chain, here), shares)
        legal = self.task.legal_actions(state)
        return Lesson(observations, legal, right_shares(self.task.action_values(state), legal))

    def loss(
        self, network: Callable[..., Tensor], observations: Tensor, known: Tensor, wanted: Tensor
    ) -> Tensor:
        """The mean cross-entropy with the optimal policy, in nats a decision."""
        logits = network(observations)
        if self.config.all_starts:
            losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
            return mean_of_known(losses, known)
        return policy_loss(logits, wanted, known)


def right_shares(values: Array, legal: Array) -> Array:
    """[B, A] float32: the optimal policy; the best by ``values`` [B, A] are equally likely.

    ``legal`` is [B, A] bool.
    """
    xp = array_namespace(values)
    right = xp.astype(right_actions(values, legal), xp.float32)
    return right / xp.sum(right, axis=1, keepdims=True)


def policy_loss(logits: Tensor, shares: Tensor, legal: Tensor) -> Tensor:
    """The mean over states of -sum shares · log softmax(logits), over legal actions; all [B, A].

    ``shares`` are 0 where an action is not legal.
    """
    # The smallest number that is finite: its product with a share of 0 is 0.
    masked = logits.masked_fill(~legal, torch.finfo(logits.dtype).min)
    return F.cross_entropy(masked, shares)


def make_trainer(world: ChainWorld, device: torch.device, log: Log) -> CloningTrainer:
    """The trainer that a run describes."""
    config = world.agent
    assert isinstance(config, CloningAgentConfig)
    trunk = build_trunk(**world.trunk("network"))
    network = build_network(trunk, fitted_outputs(config, world.task))
    return CloningTrainer(world.task, config, network.to(device), world.seed, device)
