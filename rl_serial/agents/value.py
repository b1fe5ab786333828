"""The ``value`` agent: action values fitted by regression, of a fixed policy or of their own.

Representation without the confounds of learning to act: states come from random play, every action
of every state is tried, and the targets are Monte-Carlo returns or TD(0) bootstraps of a policy
that does not change. Sutton and Barto 2018, sections 5.1 and 6.1. With the policy ``greedy``, the
network's own, they are returns of acting on a copy of the network that is renewed from time to time
(policy iteration, section 4.3), or Q-learning targets (section 6.5): what a THINK is worth then
depends on what the network itself can read afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rl_serial.agents.fitted import (
    FittedTrainer,
    Lesson,
    apply_network,
    fitted_outputs,
    mean_of_known,
    random_legal,
)
from rl_serial.agents.protocols import Agent, ChainWorld, Judgement, Log, Preference
from rl_serial.agents.search.agent import SearchAgent, tensors_on
from rl_serial.agents.search.games import true_dynamics
from rl_serial.agents.search.judgement import OnePlyAgent
from rl_serial.agents.settings import ValueAgentConfig
from rl_serial.agents.targets import (
    held_horizons,
    horizon_bootstraps,
    horizon_returns,
    of_own_start,
    starts_of,
)
from rl_serial.envs.chain import Array, array_namespace, map_state
from rl_serial.envs.random import below, fold_in, random_words
from rl_serial.envs.tasks import Task, num_actions
from rl_serial.networks import build_network, build_trunk

LOOPS_STREAM = 2**30
"""Of the random words that say how many loops an update runs; no play comes so far."""


class ValueNetworkAgent:
    """Acts greedily on a network's action values, read after ``loops``; None: the network's."""

    preference = Preference.ACTION_VALUE

    def __init__(
        self, task: Task[Any], network: nn.Module, device: torch.device, loops: int | None = None
    ) -> None:
        self.task = task
        self.network = network
        self.device = device
        self.loops = loops

    def judge(self, state: Any) -> Judgement:
        """Action values, and the largest legal one as the state's value."""
        return self.assess(self.task.observe(state), self.task.legal_actions(state))

    def assess(self, observations: Array, legal: Array) -> Judgement:
        """The same from observations."""
        action_values = apply_network(self.network, observations, self.device, self.loops)
        xp = array_namespace(action_values)
        return Judgement(action_values, xp.max(xp.where(legal, action_values, -xp.inf), axis=1))


class HorizonAgent:
    """Acts on V_remaining of the state's own start; of a kick, on that of the state after it.

    The push of a kick is that of the rules; how the chain runs on from there is read from the
    network, after ``loops`` (None: as many as it was built for). Raises ValueError for a task whose
    chain has no starts.
    """

    preference = Preference.ACTION_VALUE

    def __init__(
        self, task: Task[Any], network: nn.Module, device: torch.device, loops: int | None = None
    ) -> None:
        self.task, self.network, self.device, self.loops = task, network, device, loops
        self.chain = starts_of(task)

    def judge(self, state: Any) -> Judgement:
        """Action values, and the largest legal one as the state's value."""

        def payoffs(chain_state: Any) -> Array:
            observations = self.task.observe(self.task.with_chain(state, chain_state))
            values = apply_network(self.network, observations, self.device, self.loops)
            return of_own_start(self.chain, chain_state, values)

        action_values = self.task.estimated_values(state, payoffs)
        legal = self.task.legal_actions(state)
        xp = array_namespace(action_values)
        return Judgement(action_values, xp.max(xp.where(legal, action_values, -xp.inf), axis=1))


def monte_carlo_targets(
    task: Task[Any],
    state: Any,
    policy: str,
    seeds: Array,
    values: Callable[[Array], Array] | None = None,
) -> Array:
    """[B, A] float32: the return of each action of ``state`` with ``policy`` played from then on.

    The rules are deterministic, so the return of optimal play is the exact optimal value.

    Args:
        task: the rules.
        state: B rows.
        policy: optimal, random, or greedy on ``values``.
        seeds: [B] int64, of the random policy's dice.
        values: observations [N, size] to action values [N, A]; only greedy needs them.
    """
    xp = array_namespace(seeds)
    if policy == "optimal":
        return task.action_values(state)
    actions = num_actions(task)
    state, action, seeds = _every_action(task, state, seeds)
    returns = xp.zeros(seeds.shape, dtype=xp.float32, device=seeds.device)
    step = 0
    while True:
        transition = task.step(state, action)
        returns = returns + transition.reward
        if bool(xp.all(transition.terminated)):
            return xp.reshape(returns, (-1, actions))
        state, step = transition.state, step + 1
        legal = task.legal_actions(state)
        if policy == "greedy":
            assert values is not None
            action = xp.argmax(xp.where(legal, values(task.observe(state)), -xp.inf), axis=1)
        else:  # each action's continuation plays dice of its own
            words = random_words(fold_in(seeds, action), 1, stream=1024 + step)[:, 0]
            action = random_legal(legal, words)


def td0_targets(
    task: Task[Any], state: Any, policy: str, values: Callable[[Array], Array]
) -> Array:
    """[B, A] float32: reward of one serial step plus the value of what follows under ``policy``.

    ``values`` maps observations [N, size] to action values [N, A]. A BET runs on along the chain,
    so its target is the value of betting one step later (an intra-option update). The policy
    ``greedy`` is the values' own: Q-learning on states that do not depend on it.
    """
    actions = num_actions(task)
    state, action, _ = _every_action(task, state, task.remaining(state))
    transition, committed = task.serial_step(state, action)
    xp = array_namespace(action)
    after = values(task.observe(transition.state))
    legal = task.legal_actions(transition.state)
    if policy == "optimal":
        exact = xp.where(legal, task.action_values(transition.state), -xp.inf)
        following = xp.take_along_axis(after, xp.argmax(exact, axis=1)[:, None], axis=1)[:, 0]
    elif policy == "greedy":
        following = xp.max(xp.where(legal, after, -xp.inf), axis=1)
    else:
        share = xp.astype(legal, xp.float32)
        following = xp.sum(after * share, axis=1) / xp.sum(share, axis=1)
    repeated = xp.take_along_axis(after, action[:, None], axis=1)[:, 0]
    bootstrap = xp.where(committed, repeated, following)
    bootstrap = xp.where(transition.terminated, xp.zeros_like(bootstrap), bootstrap)
    return xp.reshape(transition.reward + bootstrap, (-1, actions))


def _every_action(task: Task[Any], state: Any, rows: Array) -> tuple[Any, Array, Array]:
    """States and ``rows`` [B] repeated for every action, and the actions: B * A rows."""
    xp = array_namespace(rows)
    actions = num_actions(task)
    repeated = map_state(lambda array: xp.repeat(array, actions, axis=0), state)
    choice = xp.arange(actions, dtype=xp.int64, device=rows.device)
    return repeated, xp.tile(choice, (rows.shape[0],)), xp.repeat(rows, actions, axis=0)


class ValueTrainer(FittedTrainer[ValueAgentConfig]):
    """Fits a network's action values.

    Args:
        task: the rules.
        config: targets, policy, optimiser.
        network: observations [B, layout.size] to action values [B, num_actions], or for targets
            fixed_horizon to values [B, starts, serial_depth]; on ``device``.
        seed: chooses the training instances.
        device: where the network is; on a GPU the rules run there too, unless they are NumPy's.
    """

    role = "value"

    def __init__(
        self,
        task: Task[Any],
        config: ValueAgentConfig,
        network: nn.Module,
        seed: int,
        device: torch.device,
    ) -> None:
        self.kind = HorizonAgent if config.all_starts else ValueNetworkAgent
        super().__init__(task, config, network, self.kind(task, network, device), seed, device)
        self.agent = self._acting(self.raw_agent)
        bootstraps = "td0" in (config.targets, config.estimator) or config.policy == "greedy"
        self.target = deepcopy(network) if bootstraps else None

    def renews_target(self) -> bool:
        """Whether the next update begins with a copy of the network as it is."""
        return self.target is not None and self.step % self.config.target_interval == 0

    @property
    def variant(self) -> int | None:
        """How many loops the next update runs."""
        return self.update_loops(self.step)

    def lesson(self, state: Any, seeds: Array, values: Callable[[Array], Array]) -> Lesson:
        """Returns or bootstraps of legal actions, or of all horizons that the states hold."""
        task, config = self.task, self.config
        observations = task.observe(state)
        if config.all_starts:
            chain, here = starts_of(task), task.chain_state(state)
            known = held_horizons(chain, here)
            if config.trained_horizons is not None:
                known[:, :, config.trained_horizons :] = False
            if config.estimator == "td0":
                return Lesson(observations, known, horizon_bootstraps(task, state, values))
            return Lesson(observations, known, horizon_returns(chain, here))
        legal = task.legal_actions(state)
        if config.targets == "td0":
            return Lesson(observations, legal, td0_targets(task, state, config.policy, values))
        wanted = monte_carlo_targets(task, state, config.policy, seeds, values)
        return Lesson(observations, legal, wanted)

    def loss(
        self, network: Callable[..., Tensor], observations: Tensor, known: Tensor, wanted: Tensor
    ) -> Tensor:
        """The mean squared error of the outputs that have a target and are read in this update.

        With losses every_loop every loop has the same weight; with readout by_loop a loop has one
        horizon, its own.
        """
        loops, every = self.update_loops(self.step), self.config.losses == "every_loop"
        asked: dict[str, Any] = {} if loops is None else {"loops": loops}
        if self.config.readout == "by_loop":
            own: Any = self.network
            run = loops or own.trunk.loops
            horizon = torch.arange(1, wanted.shape[-1] + 1, device=wanted.device)
            known = known & (horizon <= run if every else horizon == run)
        elif every:
            asked["every"] = True
        return mean_of_known((network(observations, **asked) - wanted).square(), known)

    def update_loops(self, step: int) -> int | None:
        """How many loops an update runs, a pure function of seed and step.

        Uniform over ``trained_loops``; None where there are none: as many as the network's. In the
        first ``loops_curriculum`` of the updates the most grows evenly from the least.
        """
        if self.config.trained_loops is None:
            return None
        least, most = self.config.trained_loops
        growing = self.config.loops_curriculum * self.total
        if step < growing:
            most = least + int((most - least) * step / growing)
        seeds = fold_in(np.array([self.seed]), np.array([step]))
        words = random_words(seeds, 1, stream=LOOPS_STREAM)
        return least + int(below(words, most - least + 1)[0, 0])

    def agent_after(self, loops: int) -> Agent:
        """Acts on what the network gives after so many loops."""
        return self._acting(self.kind(self.task, self.network, self.device, loops))

    def _acting(self, agent: Agent) -> Agent:
        """The agent on the network's values, looking ahead where the configuration says so."""
        if self.config.one_ply:
            return OnePlyAgent(self.task, agent, true_dynamics(self.task))
        if self.config.simulations:
            model, device = true_dynamics(self.task), tensors_on(self.device, self.task)
            return SearchAgent(self.task, agent, model, self.config.simulations, device=device)
        return agent


def make_trainer(world: ChainWorld, device: torch.device, log: Log) -> ValueTrainer:
    """The trainer that a run describes."""
    config = world.agent
    assert isinstance(config, ValueAgentConfig)
    trunk = build_trunk(**world.trunk("network"))
    network = build_network(trunk, fitted_outputs(config, world.task))
    return ValueTrainer(world.task, config, network.to(device), world.seed, device)
