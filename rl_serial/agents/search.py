"""The ``search`` agent: tree search over any agent's judgement, and learning from one's own search.

:class:`SearchAgent` puts a search on top of any trained agent, :class:`OnePlyAgent` a single step;
from the same weights they show what search is worth (raw network, one-ply value, N simulations:
Ruoss et al. 2024, arXiv 2402.04494). :class:`SearchTrainer` learns from the search: the policy from
improved policies, the value from what came of them (Silver et al. 2017; Danihelka et al. 2022).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rl_serial.agents.agent import Agent, Judgement, on_host
from rl_serial.agents.dynamics import (
    Dynamics,
    DynamicsNetwork,
    LearnedDynamics,
    TrueDynamics,
    dynamics_loss,
)
from rl_serial.agents.value import FUSED_ON, apply_network
from rl_serial.config import SearchAgentConfig
from rl_serial.envs.chain import Array, array_namespace, is_numpy_only, map_state
from rl_serial.envs.random import fold_in
from rl_serial.envs.tasks import Task, num_actions
from rl_serial.errors import RunError
from rl_serial.planning import (
    MinMax,
    MixValue,
    PolicyOutput,
    RecurrentOutput,
    Root,
    gumbel_muzero_policy,
    muzero_policy,
)

ALGORITHMS = ("gumbel", "puct")
SEARCH_BATCH = 1024
"""Rows that are searched at a time; rows do not depend on each other."""
BOLTZMANN_TEMPERATURE = 0.1
"""An agent that has action values but no policy gets softmax(Q / 0.1) as its prior."""
# Returns lie in [-1, 1], so values need no rescaling, as in board games (Danihelka et al. 2022).
_GUMBEL_VALUES = MixValue(value_scale=1.0, rescale=False)
_PUCT_VALUES = MinMax(-1.0, 1.0)


def prior_logits(agent: Agent, judgement: Judgement) -> Array:
    """[B, num_actions] float32: the logits of the agent's policy, whatever its preferences are."""
    xp = array_namespace(judgement.preferences)
    if agent.preference == "probability":
        return xp.log(xp.clip(judgement.preferences, 1e-8, None))
    if agent.preference == "none":
        return xp.zeros_like(judgement.preferences)
    return judgement.preferences / BOLTZMANN_TEMPERATURE


def state_values(agent: Agent, judgement: Judgement, legal: Array) -> Array:
    """[B]: the agent's values; of action values the largest legal one."""
    if judgement.values is None:
        raise ValueError(f"{type(agent).__name__} has no values to search with")
    if agent.preference != "action value":
        return judgement.values
    # Within a model fewer actions may be legal than the agent knows of (a BET that is on its way).
    xp = array_namespace(judgement.preferences)
    return xp.max(xp.where(legal, judgement.preferences, -xp.inf), axis=1)


def planned_judgement(
    task: Task[Any],
    agent: Agent,
    own: Judgement,
    state: Any,
    plan: Callable[[Any], Judgement],
    most: int,
) -> Judgement:
    """A planner's judgement where there is a choice, and the agent's own where there is none.

    Args:
        task: the rules.
        agent: made ``own``; needs values.
        own: of ``state``, B rows.
        state: of the task.
        plan: from states to the planner's judgement of them, its action included.
        most: rows that are planned for together.
    """
    legal = task.legal_actions(state)
    preferences = np.array(own.preferences, dtype=np.float32)
    values = np.array(state_values(agent, own, legal), dtype=np.float32)
    action = np.argmax(legal, axis=1).astype(np.int64)
    open_rows = np.flatnonzero(legal.sum(axis=1) > 1)
    for first in range(0, open_rows.size, most):
        rows = open_rows[first : first + most]
        found = plan(_rows(state, rows))
        preferences[rows], values[rows] = found.preferences, found.values
        action[rows] = found.action
    return Judgement(preferences, values, action)


class SearchAgent:
    """Searches before it acts, with another agent's judgement as network.

    A simulation is one serial step of the model: a BET is carried out step by step. Where only one
    action is legal nothing is searched. Zero simulations is the other agent itself.

    Args:
        task: the rules, which say what is legal now.
        agent: judges states; needs values.
        dynamics: the model that is searched in.
        simulations: of a decision, at least 0.
        algorithm: gumbel (Gumbel MuZero) or puct (MuZero, AlphaZero).
        max_depth: most steps from the root to a leaf; None: no limit.
        device: where trees are; None: on the CPU. On a GPU rules, trees and network are tensors
            that never leave it.
        backend: of the planner.

    Raises:
        ValueError: an unknown algorithm, a negative number of simulations.
    """

    def __init__(
        self,
        task: Task[Any],
        agent: Agent,
        dynamics: Dynamics,
        simulations: int,
        algorithm: str = "gumbel",
        max_depth: int | None = None,
        device: torch.device | None = None,
        backend: str = "auto",
    ) -> None:
        if algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm={algorithm!r}: must be one of {', '.join(ALGORITHMS)}")
        if simulations < 0:
            raise ValueError(f"simulations={simulations}: must be at least 0")
        self.task, self.agent, self.dynamics = task, agent, dynamics
        self.simulations, self.algorithm, self.max_depth = simulations, algorithm, max_depth
        self.device = device
        self.backend = backend

    @property
    def preference(self) -> str:
        """Action values that the search has found."""
        return "searched value" if self.simulations else self.agent.preference

    def with_simulations(self, simulations: int) -> SearchAgent:
        """The same search with another number of simulations."""
        other = copy(self)
        other.simulations = simulations
        return other

    def within(self, dynamics: Dynamics) -> SearchAgent:
        """The same search in another model."""
        other = copy(self)
        other.dynamics = dynamics
        return other

    def search(
        self, state: Any, generator: np.random.Generator | None = None
    ) -> tuple[PolicyOutput, Judgement]:
        """The searches from a batch of states, and the agent's own judgement of them.

        Args:
            state: of the task, B rows.
            generator: where given, the search explores as in training: Gumbel noise, or for PUCT
                Dirichlet noise and actions drawn by their visits.

        Raises:
            RunError: the agent or the model says numbers that cannot be searched with.
        """
        if self.device is not None:
            state = map_state(lambda array: torch.as_tensor(array, device=self.device), state)
        legal = self.task.legal_actions(state)
        embedding = self.dynamics.embed(state)
        own = self.dynamics.judge(self.agent, embedding, legal)
        value = state_values(self.agent, own, legal)
        root = Root(prior_logits(self.agent, own), value, embedding, legal)
        try:
            return self._plan(root, generator), own
        except ValueError as error:
            raise RunError(f"search with {type(self.agent).__name__}: {error}") from error

    def _plan(self, root: Root, generator: np.random.Generator | None) -> PolicyOutput:
        if self.algorithm == "gumbel":
            return gumbel_muzero_policy(
                root,
                self._recurrent,
                self.simulations,
                max_depth=self.max_depth,
                backend=self.backend,
                gumbel_scale=0.0 if generator is None else 1.0,
                generator=generator,
                qtransform=_GUMBEL_VALUES,
            )
        return muzero_policy(
            root,
            self._recurrent,
            self.simulations,
            max_depth=self.max_depth,
            backend=self.backend,
            temperature=0.0 if generator is None else 1.0,
            dirichlet_fraction=0.0 if generator is None else 0.25,
            generator=generator,
            qtransform=_PUCT_VALUES,
        )

    def judge(self, state: Any) -> Judgement:
        """The searched action, with action values and the root's value from the search."""
        own = self.agent.judge(state)
        if self.simulations == 0:
            return own
        return planned_judgement(
            self.task,
            self.agent,
            own,
            state,
            lambda rows: searched(self.search(rows)[0]),
            SEARCH_BATCH,
        )

    def _recurrent(self, action: Array, embedding: Any) -> tuple[RecurrentOutput, Any]:
        step = self.dynamics.step(embedding, action)
        judgement = self.dynamics.judge(self.agent, step.embedding, step.legal)
        xp = array_namespace(step.reward)
        goes_on = xp.astype(~step.terminated, xp.float32)
        output = RecurrentOutput(
            reward=step.reward,
            discount=goes_on,
            prior_logits=prior_logits(self.agent, judgement),
            value=state_values(self.agent, judgement, step.legal) * goes_on,
            legal=step.legal,
        )
        return output, step.embedding


class OnePlyAgent:
    """Takes the action with the largest reward plus value of the state that it leads to.

    Args:
        task: the rules, which say what is legal.
        agent: judges states; needs values.
        dynamics: the model of the one step.
    """

    preference = "one-ply value"

    def __init__(self, task: Task[Any], agent: Agent, dynamics: Dynamics) -> None:
        self.task, self.agent, self.dynamics = task, agent, dynamics

    def judge(self, state: Any) -> Judgement:
        """Action values of one step, and the largest legal one.

        Raises:
            RunError: a value is not finite.
        """
        embedding = self.dynamics.embed(state)
        columns = []
        for action in range(num_actions(self.task)):
            batch = self.task.remaining(state).shape[0]
            step = self.dynamics.step(embedding, np.full(batch, action, dtype=np.int64))
            judgement = self.dynamics.judge(self.agent, step.embedding, step.legal)
            following = np.where(
                step.terminated, 0, state_values(self.agent, judgement, step.legal)
            )
            columns.append(step.reward + following)
        preferences = np.stack(columns, axis=1).astype(np.float32)
        legal = self.task.legal_actions(state)
        if not np.isfinite(preferences[legal]).all():
            raise RunError(f"one-ply with {type(self.agent).__name__}: values are not finite")
        return Judgement(preferences, np.where(legal, preferences, -np.inf).max(axis=1))


class PolicyValueAgent:
    """Acts on a policy network, and has a value network's values."""

    preference = "probability"

    def __init__(
        self, task: Task[Any], policy: nn.Module, value: nn.Module, device: torch.device
    ) -> None:
        self.task, self.policy, self.value, self.device = task, policy, value, device

    def judge(self, state: Any) -> Judgement:
        """Probabilities of the legal actions, and the value."""
        return self.assess(self.task.observe(state), self.task.legal_actions(state))

    def assess(self, observations: Array, legal: Array) -> Judgement:
        """The same from observations."""
        xp = array_namespace(observations)
        logits = xp.where(legal, apply_network(self.policy, observations, self.device), -xp.inf)
        weights = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
        probabilities = weights / xp.sum(weights, axis=1, keepdims=True)
        return Judgement(probabilities, apply_network(self.value, observations, self.device)[:, 0])


@dataclass(frozen=True)
class Episodes:
    """Steps of a round of episodes, one row a step, in the order of play."""

    observation: NDArray[np.float32]  # [N, size]
    legal: NDArray[np.bool_]  # [N, A]
    action: NDArray[np.int64]  # [N]
    policy: NDArray[np.float32]  # [N, A] improved policy; the target of the policy network
    value: NDArray[np.float32]  # [N] the target of the value network
    reward: NDArray[np.float32]  # [N]
    terminated: NDArray[np.bool_]  # [N]
    next_observation: NDArray[np.float32]  # [N, size]
    next_legal: NDArray[np.bool_]  # [N, A]


def value_targets(
    kind: str, rewards: NDArray[Any], root_values: NDArray[Any], lengths: NDArray[Any], n_steps: int
) -> NDArray[np.float32]:
    """[T, B] float32: what the value network is to say at each step of B episodes.

    Args:
        kind: final (the return that followed), n_step (rewards of n steps, then the searched value
            of where they led) or root (the searched value of the state itself).
        rewards: [T, B], zero behind an episode's end.
        root_values: [T, B] searched values of the roots.
        lengths: [B] steps of each episode, at most T.
        n_steps: of n_step.
    """
    if kind == "root":
        return root_values.astype(np.float32)
    returns = np.cumsum(rewards[::-1], axis=0)[::-1].astype(np.float32)
    if kind == "final":
        return returns
    later = np.zeros_like(returns)
    if n_steps < rewards.shape[0]:
        # Return from t less the return from t + n is what the n steps pay.
        still_running = np.arange(n_steps, rewards.shape[0])[:, None] < lengths
        bootstrap = np.where(still_running, root_values[n_steps:] - returns[n_steps:], 0)
        later[:-n_steps] = bootstrap
    return returns + later


def policy_loss(logits: Tensor, legal: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of the legal actions' softmax against ``target``, all [B, A]; scalar.

    States with one legal action teach nothing and do not count.
    """
    log_policy = F.log_softmax(logits.masked_fill(~legal, -torch.inf), dim=1)
    cross_entropy = -(target * log_policy.masked_fill(~legal, 0)).sum(dim=1)
    decided = (legal.sum(dim=1) > 1).float()
    return (cross_entropy * decided).sum() / decided.sum().clamp(min=1)


class SearchTrainer:
    """Learns from its own search; a step is a step of an environment.

    Each round plays one episode in each of ``num_envs`` environments, every decision by a search
    with exploration, and then makes ``updates`` updates on steps drawn from the newest
    ``buffer_size``: the policy towards the improved policies, the value towards ``value_target``,
    learned dynamics towards what happened.

    Args:
        task: the rules, played by and, with true dynamics, searched in.
        config: search, targets, optimiser.
        policy: observations [B, size] to logits [B, num_actions], on ``device``.
        value: observations [B, size] to values [B, 1], on ``device``.
        model: learned dynamics, on ``device``; None: the true ones.
        seed: chooses the instances, the exploration and the batches.
        device: where the networks are.
        log: receives (tag, value, step) of what depends on the clock.
    """

    def __init__(
        self,
        task: Task[Any],
        config: SearchAgentConfig,
        policy: nn.Module,
        value: nn.Module,
        model: DynamicsNetwork | None,
        seed: int,
        device: torch.device,
        log: Callable[[str, float, int], None],
    ) -> None:
        self.task, self.config, self.seed, self.device, self.log = task, config, seed, device, log
        self.policy, self.value, self.model = policy, value, model
        self.step, self.episodes, self.total = 0, 0, config.timesteps
        self.metrics = dict.fromkeys(_METRICS, float("nan"))
        if model is not None:
            self.metrics["train/model_loss"] = float("nan")
        self.optimizer = torch.optim.AdamW(
            [parameter for network in self.networks.values() for parameter in network.parameters()],
            config.learning_rate,
            weight_decay=config.weight_decay,
            fused=device.type in FUSED_ON,
        )
        self.generator = np.random.default_rng(seed)
        self.replay: Episodes | None = None
        self.raw_agent = PolicyValueAgent(task, policy, value, device)
        self.dynamics: Dynamics = TrueDynamics(task)
        if model is not None:
            self.dynamics = LearnedDynamics(task, model, device)
        self.agent = SearchAgent(
            task,
            self.raw_agent,
            self.dynamics,
            config.simulations,
            config.algorithm,
            config.max_depth,
            tensors_on(device, task),
        )

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that training spends its budget on."""
        networks: dict[str, nn.Module] = {"policy": self.policy, "value": self.value}
        return networks if self.model is None else networks | {"model": self.model}

    @property
    def instances(self) -> int:
        """States of training instances that the whole training consumes; a step sees one."""
        return self.total

    def train(self, pause: Callable[[], None]) -> None:
        """Play and learn until ``timesteps`` are reached; ``pause`` is called between rounds.

        Raises:
            RunError: a loss or a network's output is not finite.
        """
        while self.step < self.total:
            pause()
            episodes = self._play()
            self._remember(episodes)
            self.step += episodes.reward.size
            self._report_search()
            self._learn()

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run needs to go on as if it had not been interrupted."""
        replay = {} if self.replay is None else vars(self.replay)
        return {
            "step": self.step,
            "episodes": self.episodes,
            "networks": {name: net.state_dict() for name, net in self.networks.items()},
            "optimizer": self.optimizer.state_dict(),
            "generator": json.dumps(self.generator.bit_generator.state),
            "replay": {name: torch.as_tensor(array.copy()) for name, array in replay.items()},
            "metrics": dict(self.metrics),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.step, self.episodes = state["step"], state["episodes"]
        self.load_model_state(state["networks"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.bit_generator.state = json.loads(state["generator"])
        if state["replay"]:
            self.replay = Episodes(**{k: tensor.numpy() for k, tensor in state["replay"].items()})
        self.metrics = state["metrics"]

    def model_state(self) -> dict[str, Any]:
        """What a finished run keeps."""
        return {name: network.state_dict() for name, network in self.networks.items()}

    def load_model_state(self, state: dict[str, Any]) -> None:
        """Load what a finished run kept."""
        for name, network in self.networks.items():
            network.load_state_dict(state[name])

    def _play(self) -> Episodes:
        """A round: the next ``num_envs`` instances, played to their ends."""
        task, batch = self.task, self.config.num_envs
        index = np.arange(self.episodes, self.episodes + batch, dtype=np.int64)
        self.episodes += batch
        state = task.initial(fold_in(np.full_like(index, self.seed), index))
        running = np.ones(batch, dtype=np.bool_)
        steps: list[dict[str, NDArray[Any]]] = []
        self._tally = _Tally()
        while running.any():
            legal = task.legal_actions(state)
            searched = self._decide(state, legal, running)
            transition = task.step(state, searched["action"])
            steps.append(
                searched
                | {
                    "running": running,
                    "observation": task.observe(state),
                    "legal": legal,
                    "reward": transition.reward,
                    "terminated": transition.terminated,
                    "next_observation": task.observe(transition.state),
                    "next_legal": task.legal_actions(transition.state),
                }
            )
            state, running = transition.state, running & ~transition.terminated
        table = {name: np.stack([step[name] for step in steps]) for name in steps[0]}
        played = table.pop("running")
        table["value"] = value_targets(
            self.config.value_target,
            table["reward"],
            table.pop("root_value"),
            played.sum(axis=0),
            self.config.n_steps,
        )
        return Episodes(**{name: array[played] for name, array in table.items()})

    def _decide(
        self, state: Any, legal: NDArray[np.bool_], running: NDArray[np.bool_]
    ) -> dict[str, NDArray[Any]]:
        """Action, improved policy and root value of each row.

        Searched where there is a choice; for the target ``root`` everywhere, since a raw value as
        its own target would teach nothing.
        """
        action = np.argmax(legal, axis=1).astype(np.int64)
        policy = legal / legal.sum(axis=1, keepdims=True)
        root_value = np.array(self.raw_agent.judge(state).values)
        everywhere = self.config.value_target == "root"
        rows = np.flatnonzero(((legal.sum(axis=1) > 1) | everywhere) & running)
        if rows.size:
            started = time.perf_counter()
            output, own = self.agent.search(_rows(state, rows), self.generator)
            self._tally.add(output, own, time.perf_counter() - started, self.config.simulations)
            action[rows] = on_host(output.action)
            policy[rows] = on_host(output.action_weights)
            root_value[rows] = on_host(output.value)
        return {"action": action, "policy": policy.astype(np.float32), "root_value": root_value}

    def _report_search(self) -> None:
        """What the searches of a round were like."""
        tally = self._tally
        if tally.rows:
            self.metrics |= {
                "search/depth": tally.depth / tally.rows,
                "search/root_entropy": tally.entropy / tally.rows,
                "search/value_gain": tally.gain / tally.rows,
            }
            speed = tally.simulations / tally.seconds
            self.log("search/simulations_per_second", speed, self.step)

    def _remember(self, new: Episodes) -> None:
        """Keep the newest steps."""
        size = self.config.buffer_size
        if self.replay is None:
            self.replay = Episodes(**{name: array[-size:] for name, array in vars(new).items()})
        else:
            old = vars(self.replay)
            joined = {k: np.concatenate([old[k], v])[-size:] for k, v in vars(new).items()}
            self.replay = Episodes(**joined)

    def _learn(self) -> None:
        """The updates of a round."""
        assert self.replay is not None
        count = self.replay.reward.size
        for group in self.optimizer.param_groups:
            # Down to a tenth, so that what is learned last stays.
            group["lr"] = self.config.learning_rate * (1 - 0.9 * min(1, self.step / self.total))
        sums = dict.fromkeys(("policy", "value", "model"), 0.0)
        for _ in range(self.config.updates):
            rows = self.generator.integers(0, count, self.config.batch_size)
            for name, loss in self._update(rows).items():
                sums[name] += loss
        for name in self.networks:
            tag, mean = f"train/{name}_loss", sums[name] / self.config.updates
            self.metrics[tag] = mean
            if not np.isfinite(mean):
                raise RunError(self._diverged(f"{tag} is {mean}"))
        # The last update can spoil weights whose losses were finite before it.
        for name, network in self.networks.items():
            if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
                raise RunError(self._diverged(f"the {name} network is not finite"))

    def _update(self, rows: NDArray[np.int64]) -> dict[str, float]:
        def batch(name: str) -> Tensor:
            return torch.as_tensor(getattr(self.replay, name)[rows]).to(self.device)

        observation, legal = batch("observation"), batch("legal")
        losses = {
            "policy": policy_loss(self.policy(observation), legal, batch("policy")),
            "value": F.mse_loss(self.value(observation)[:, 0], batch("value")),
        }
        if self.model is not None:
            action = F.one_hot(batch("action"), num_actions(self.task)).float()
            losses["model"] = dynamics_loss(
                self.model(torch.cat([observation, action], dim=1)),
                batch("next_observation"),
                batch("reward"),
                batch("terminated"),
                batch("next_legal"),
            )
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return {name: loss.item() for name, loss in losses.items()}

    def _diverged(self, what: str) -> str:
        return f"{what} at step {self.step}: a smaller agent.learning_rate may help"


_METRICS = (
    "train/policy_loss",
    "train/value_loss",
    "search/depth",
    "search/root_entropy",
    "search/value_gain",
)


class _Tally:
    """Sums over the searches of a round."""

    def __init__(self) -> None:
        self.rows = self.simulations = 0
        self.depth = self.entropy = self.gain = self.seconds = 0.0

    def add(self, output: PolicyOutput, own: Judgement, seconds: float, simulations: int) -> None:
        self.rows += output.value.shape[0]
        self.simulations += output.value.shape[0] * simulations
        self.depth += float(on_host(output.depth).sum())
        self.entropy += float(on_host(output.root_entropy).sum())
        self.gain += float((on_host(output.value) - on_host(own.values)).sum())
        self.seconds += seconds


def tensors_on(device: torch.device, task: Task[Any]) -> torch.device | None:
    """The ``device`` of :class:`SearchAgent` for networks on ``device``.

    On the CPU, or with rules that are NumPy's, trees are arrays there.
    """
    return None if device.type == "cpu" or is_numpy_only(task.chain) else device


def searched(output: PolicyOutput) -> Judgement:
    """What a search found, on the host."""
    return Judgement(*(on_host(a) for a in (output.qvalues, output.value, output.action)))


def _rows(state: Any, rows: NDArray[np.int64]) -> Any:
    return map_state(lambda array: array[rows], state)
