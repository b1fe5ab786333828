"""Learning from one's own search."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rl_serial.agents.dynamics import (
    Dynamics,
    DynamicsNetwork,
    LearnedDynamics,
    dynamics_loss,
)
from rl_serial.agents.fitted import FUSED_ON, apply_network, probabilities
from rl_serial.agents.protocols import ChainWorld, Judgement, Log, Preference, on_host
from rl_serial.agents.search.agent import SearchAgent, tensors_on
from rl_serial.agents.search.games import true_dynamics
from rl_serial.agents.search.judgement import take_rows
from rl_serial.agents.settings import SearchAgentConfig
from rl_serial.envs.chain import Array
from rl_serial.envs.random import fold_in
from rl_serial.envs.tasks import Task, num_actions
from rl_serial.errors import RunError
from rl_serial.networks import Network, build_trunk
from rl_serial.planning.types import PolicyOutput


class PolicyValueAgent:
    """Acts on a policy network, and has a value network's values."""

    preference = Preference.PROBABILITY

    def __init__(
        self, task: Task[Any], policy: nn.Module, value: nn.Module, device: torch.device
    ) -> None:
        self.task, self.policy, self.value, self.device = task, policy, value, device

    def judge(self, state: Any) -> Judgement:
        """Probabilities of the legal actions, and the value."""
        return self.assess(self.task.observe(state), self.task.legal_actions(state))

    def assess(self, observations: Array, legal: Array) -> Judgement:
        """The same from observations."""
        logits = apply_network(self.policy, observations, self.device)
        values = apply_network(self.value, observations, self.device)[:, 0]
        return Judgement(probabilities(logits, legal), values)


class Remembered(Protocol):
    """Steps of a round, one row a step, in the order of play: a dataclass of arrays [N, ...]."""

    @property
    def value(self) -> NDArray[np.float32]:
        """[N] the target of the value network."""


R = TypeVar("R", bound=Remembered)


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
    kind: str,
    rewards: NDArray[Any],
    root_values: NDArray[Any],
    lengths: NDArray[Any],
    n_steps: int,
    discount: float = 1.0,
) -> NDArray[np.float32]:
    """[T, B] float32: what the value network is to say at each step of B episodes.

    Args:
        kind: final (the return that followed), n_step (rewards of n steps, then the searched value
            of where they led) or root (the searched value of the state itself).
        rewards: [T, B], zero behind an episode's end.
        root_values: [T, B] searched values of the roots.
        lengths: [B] steps of each episode, at most T.
        n_steps: of n_step.
        discount: of what follows a step: 1, or -1 where it is the other player's turn then.
    """
    if kind == "root":
        return root_values.astype(np.float32)
    turns = discount ** np.arange(rewards.shape[0])[:, None]  # 1 or -1, their own inverses
    from_start = np.cumsum((turns * rewards)[::-1], axis=0)[::-1]
    returns: NDArray[np.float32] = (turns * from_start).astype(np.float32)
    if kind == "final":
        return returns
    later = np.zeros_like(returns)
    if n_steps < rewards.shape[0]:
        # Return from t less the return from t + n is what the n steps pay.
        still_running = np.arange(n_steps, rewards.shape[0])[:, None] < lengths
        bootstrap = np.where(still_running, root_values[n_steps:] - returns[n_steps:], 0)
        later[:-n_steps] = discount**n_steps * bootstrap
    targets: NDArray[np.float32] = returns + later
    return targets


def policy_loss(logits: Tensor, legal: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of the legal actions' softmax against ``target``, all [B, A]; scalar.

    States with one legal action teach nothing and do not count.
    """
    log_policy = F.log_softmax(logits.masked_fill(~legal, -torch.inf), dim=1)
    cross_entropy = -(target * log_policy.masked_fill(~legal, 0)).sum(dim=1)
    decided = (legal.sum(dim=1) > 1).float()
    return (cross_entropy * decided).sum() / decided.sum().clamp(min=1)


class SearchTrainer(Generic[R]):
    """Learns from its own search; a step is a step of an environment.

    How a round is played is :meth:`_play`, and R what is remembered of it.

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

    remembered: type[R] = Episodes  # type: ignore[assignment]
    further_metrics: tuple[str, ...] = ()  # what :meth:`_play` notes

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
        self.metrics = dict.fromkeys((*_METRICS, *self.further_metrics), float("nan"))
        if model is not None:
            self.metrics["train/model_loss"] = float("nan")
        self.optimizer = torch.optim.AdamW(
            [parameter for network in self.networks.values() for parameter in network.parameters()],
            config.learning_rate,
            weight_decay=config.weight_decay,
            fused=device.type in FUSED_ON,
        )
        self.generator = np.random.default_rng(seed)
        self.replay: R | None = None
        self.raw_agent = PolicyValueAgent(task, policy, value, device)
        self.dynamics = true_dynamics(task)
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
    def examples(self) -> dict[str, torch.Tensor]:
        """An input of one row for each network."""
        sizes = {"policy": self.task.layout.size, "value": self.task.layout.size}
        if self.model is not None:
            sizes["model"] = self.model.input_size
        return {name: torch.zeros(1, size, device=self.device) for name, size in sizes.items()}

    @property
    def searchable(self) -> dict[str, Dynamics]:
        """What can be searched in: the true rules, and what it has learned of them."""
        models: dict[str, Dynamics] = {"true": true_dynamics(self.task)}
        return models if self.model is None else models | {"learned": self.dynamics}

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
            self.step += episodes.value.size
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
            self.replay = self.remembered(**{k: t.numpy() for k, t in state["replay"].items()})
        self.metrics = state["metrics"]

    def model_state(self) -> dict[str, Any]:
        """What a finished run keeps."""
        return {name: network.state_dict() for name, network in self.networks.items()}

    def load_model_state(self, state: dict[str, Any]) -> None:
        """Load what a finished run kept."""
        for name, network in self.networks.items():
            network.load_state_dict(state[name])

    def _next_instances(self) -> NDArray[np.int64]:
        """[num_envs] seeds of the next instances."""
        index = np.arange(self.episodes, self.episodes + self.config.num_envs, dtype=np.int64)
        self.episodes += self.config.num_envs
        seeds: NDArray[np.int64] = fold_in(np.full_like(index, self.seed), index)
        return seeds

    def _play(self) -> R:
        """A round: the next ``num_envs`` instances, played to their ends."""
        task, batch = self.task, self.config.num_envs
        state = task.initial(self._next_instances())
        running = np.ones(batch, dtype=np.bool_)
        steps: list[dict[str, NDArray[Any]]] = []
        self._new_tally()
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
        return self.remembered(**{name: array[played] for name, array in table.items()})

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
            output, own = self.agent.search(take_rows(state, rows), self.generator)
            self._tally.add(output, own, time.perf_counter() - started, self.config.simulations)
            action[rows] = on_host(output.action)
            policy[rows] = on_host(output.action_weights)
            root_value[rows] = on_host(output.value)
        return {"action": action, "policy": policy.astype(np.float32), "root_value": root_value}

    def _new_tally(self) -> None:
        """Begin the sums of a round."""
        self._tally = _Tally()

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

    def _remember(self, new: R) -> None:
        """Keep the newest steps."""
        size = self.config.buffer_size
        if self.replay is None:
            self.replay = self.remembered(**{k: v[-size:] for k, v in vars(new).items()})
        else:
            old = vars(self.replay)
            joined = {k: np.concatenate([old[k], v])[-size:] for k, v in vars(new).items()}
            self.replay = self.remembered(**joined)

    def _learn(self) -> None:
        """The updates of a round."""
        assert self.replay is not None
        count = self.replay.value.size
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

    def _drawn(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """What an update learns from: ``rows`` of what is remembered."""
        return {name: array[rows] for name, array in vars(self.replay).items()}

    def _update(self, rows: NDArray[np.int64]) -> dict[str, float]:
        batch = {k: torch.as_tensor(v).to(self.device) for k, v in self._drawn(rows).items()}
        observation = batch["observation"]
        losses = {
            "policy": policy_loss(self.policy(observation), batch["legal"], batch["policy"]),
            "value": F.mse_loss(self.value(observation)[:, 0], batch["value"]),
        }
        if self.model is not None:
            action = F.one_hot(batch["action"], num_actions(self.task)).float()
            losses["model"] = dynamics_loss(
                self.model(torch.cat([observation, action], dim=1)),
                batch["next_observation"],
                batch["reward"],
                batch["terminated"],
                batch["next_legal"],
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


def trainer_of(
    world: ChainWorld, device: torch.device, log: Log, trainer: type[SearchTrainer[Any]]
) -> SearchTrainer[Any]:
    """The trainer that a run describes, of the class ``trainer``."""
    config, task, actions = world.agent, world.task, num_actions(world.task)
    assert isinstance(config, SearchAgentConfig)
    value_trunk, policy_trunk = world.trunk("network"), world.trunk("policy_network")
    model = None
    if config.dynamics == "learned":
        trunk = build_trunk(**world.trunk("model_network"))
        model = DynamicsNetwork(trunk, task.layout, actions).to(device)
    return trainer(
        task,
        config,
        Network(build_trunk(**policy_trunk), actions).to(device),
        Network(build_trunk(**value_trunk), 1).to(device),
        model,
        world.seed,
        device,
        log,
    )
