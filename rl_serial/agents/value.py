"""The ``value`` agent: action values fitted by regression, of a fixed policy or of their own.

Representation without the confounds of control: states come from random play, every action of
every state is tried, and the targets are Monte-Carlo returns or TD(0) bootstraps of a policy that
does not change. Sutton and Barto 2018, sections 5.1 and 6.1. With the policy ``greedy``, the
network's own, they are returns of acting on a copy of the network that is renewed from time to time
(policy iteration, section 4.3), or Q-learning targets (section 6.5): what a THINK is worth then
depends on what the network itself can read afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rl_serial.agents.agent import Agent, Judgement
from rl_serial.agents.targets import (
    held_horizons,
    horizon_bootstraps,
    horizon_returns,
    of_own_start,
    starts_of,
)
from rl_serial.config import CloningAgentConfig, ValueAgentConfig
from rl_serial.envs.chain import Array, array_namespace, is_numpy_only, map_state, select
from rl_serial.envs.random import below, fold_in, random_words
from rl_serial.envs.tasks import Task, num_actions
from rl_serial.errors import RunError

FittedConfig = ValueAgentConfig | CloningAgentConfig
C = TypeVar("C", bound=FittedConfig)
EVALUATION_BATCH = 4096
LOG_INTERVAL = 50
LEAST_ON_GPU = 8192
"""Instances of an update from which on a GPU plays the rules faster than NumPy does."""
LOOPS_STREAM = 2**30
"""Of the random words that say how many loops an update runs; no play comes so far."""
FUSED_ON = ("cpu", "cuda")
"""Devices on which torch makes an optimiser's step in one kernel."""


class ValueNetworkAgent:
    """Acts greedily on a network's action values, read after ``loops``; None: the network's."""

    preference = "action value"

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

    preference = "action value"

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


def apply_network(
    network: nn.Module, observations: Array, device: torch.device, loops: int | None = None
) -> Array:
    """The network's outputs, in the library and on the device of ``observations`` [B, size].

    ``loops`` asks for another number of loops than the network was built for.
    """
    asked = {} if loops is None else {"loops": loops}
    with torch.no_grad():
        batches = [
            network(batch.to(device), **asked)
            for batch in torch.split(torch.as_tensor(observations), EVALUATION_BATCH)
        ]
        outputs = torch.cat(batches) if len(batches) > 1 else batches[0]
    return outputs if isinstance(observations, Tensor) else outputs.cpu().numpy()


def visited_states(task: Task[Any], seeds: Array) -> Any:
    """One state [B] of each instance's episode of uniformly random play, uniform over its steps."""
    xp = array_namespace(seeds)
    state = chosen = task.initial(seeds)
    running, seen = seeds == seeds, xp.ones_like(seeds)
    step = 0
    while True:
        step += 1
        words = random_words(seeds, 2, stream=16 + step)
        transition = task.step(state, random_legal(task.legal_actions(state), words[:, 0]))
        running = running & ~transition.terminated
        if not bool(xp.any(running)):
            return chosen
        state = transition.state
        seen = seen + xp.astype(running, seen.dtype)
        # Reservoir sampling: the n-th state seen takes the place with probability 1 / n.
        takes_place = running & (((words[:, 1] * seen) >> 32) == 0)
        chosen = select(takes_place, state, chosen)


def random_legal(legal: Array, words: Array) -> Array:
    """[B] int64: a uniformly random legal action for each row of ``legal`` [B, A]."""
    xp = array_namespace(legal)
    counts = xp.sum(xp.astype(legal, xp.int64), axis=1)
    rank = (words * counts) >> 32
    position = xp.cumulative_sum(xp.astype(legal, xp.int64), axis=1) - 1
    return xp.argmax(xp.astype(legal & (position == rank[:, None]), xp.int64), axis=1)


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


class FittedTrainer(Generic[C]):
    """Fits a network on states of random play; every update is a pure function of seed and step.

    What it is fitted to is :meth:`lesson`, and how :meth:`loss`; each kind of trainer has its own.

    Args:
        task: the rules.
        config: of the agent.
        network: observations [B, layout.size] to what the loss asks for; on ``device``.
        agent: acts on the network.
        seed: chooses the training instances.
        device: where the network is; on a GPU the rules run there too, unless they are NumPy's.

    ``raw_agent`` acts on the network alone; ``agent`` is what the run evaluates.
    """

    role: ClassVar[str]  # the name of the network among a run's accounts

    def __init__(
        self,
        task: Task[Any],
        config: C,
        network: nn.Module,
        agent: Agent,
        seed: int,
        device: torch.device,
    ) -> None:
        self.task, self.config, self.network, self.device = task, config, network, device
        self.seed = seed
        self.raw_agent = self.agent = agent
        self.step = 0
        self.total = config.updates
        self.metrics = {
            "train/loss": float("nan"),
            "train/learning_rate": config.learning_rate,
        }
        self.target: nn.Module | None = None  # what targets lean on, where they lean on something
        self.optimizer = make_optimizer(network.parameters(), config, device)
        self.schedule = make_schedule(self.optimizer, config)

    def lesson(self, state: Any, seeds: Array, values: Callable[[Array], Array]) -> Lesson:
        """What the states [B] of the instances ``seeds`` [B] teach; each row depends on its own.

        ``values`` maps observations [N, size] to the outputs of the network that targets lean on; N
        is a multiple of B, and the rows of a state come together.
        """
        raise NotImplementedError

    def loss(
        self, network: Callable[..., Tensor], observations: Tensor, known: Tensor, wanted: Tensor
    ) -> Tensor:
        """The mean loss of a network on a lesson: a scalar."""
        raise NotImplementedError

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that training spends its budget on."""
        return {self.role: self.network}

    @property
    def instances(self) -> int:
        """States of training instances that the whole training consumes.

        Where all starts are learned, every start of an instance is one.
        """
        states = self.total * self.config.batch_size
        if self.config.all_starts:
            states *= starts_of(self.task).num_starts
        return states

    def train(self, pause: Callable[[], None]) -> None:
        """Make the updates that are left; ``pause`` is called before each.

        Raises:
            RunError: the loss is not finite.
        """
        while self.step < self.total:
            pause()
            self._update()

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run needs to go on as if it had not been interrupted."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "target": self.target.state_dict() if self.target else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "metrics": dict(self.metrics),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        if self.target:
            self.target.load_state_dict(state["target"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.metrics = state["metrics"]

    def model_state(self) -> dict[str, Any]:
        """What a finished run keeps."""
        return self.network.state_dict()

    def load_model_state(self, state: dict[str, Any]) -> None:
        """Load what a finished run kept."""
        self.network.load_state_dict(state)

    def training_seeds(self, runs: Sequence[int]) -> Array:
        """[len(runs) * batch_size] int64: of the next update's instances, where the rules run.

        Args:
            runs: the seeds of this trainer or of several that stand at the same update, whose
                instances are played as one batch; those of a run come together.
        """
        count = self.config.batch_size
        small = count * len(runs) < LEAST_ON_GPU
        on_cpu = self.device.type == "cpu" or small or is_numpy_only(self.task.chain)
        xp: Any = np if on_cpu else torch
        device = "cpu" if on_cpu else self.device
        first = self.step * count
        index = xp.arange(first, first + count, dtype=xp.int64, device=device)
        of_runs = xp.asarray(np.repeat(np.array(runs, dtype=np.int64), count), device=device)
        return fold_in(of_runs, xp.tile(index, (len(runs),)))

    def renews_target(self) -> bool:
        """Whether the next update begins with a copy of the network as it is."""
        return False

    @property
    def logs_next(self) -> bool:
        """Whether the loss of the next update is noted."""
        return (self.step + 1) % LOG_INTERVAL == 0 or self.step + 1 == self.total

    def updated(self, loss: float | Tensor) -> None:
        """Count an update, and note its loss where it is time.

        Raises:
            RunError: the loss is not finite.
        """
        logs, self.step = self.logs_next, self.step + 1
        if logs:
            self.metrics = {
                "train/loss": float(loss),
                "train/learning_rate": float(self.schedule.get_last_lr()[0]),
            }
            if not np.isfinite(self.metrics["train/loss"]):
                raise RunError(
                    f"train/loss is {self.metrics['train/loss']} at update {self.step}: "
                    "a smaller agent.learning_rate may help"
                )

    def _update(self) -> None:
        if self.target is not None and self.renews_target():
            self.target.load_state_dict(self.network.state_dict())
        seeds = self.training_seeds([self.seed])
        lesson = self.lesson(visited_states(self.task, seeds), seeds, self._target_values)
        loss = self.loss(self.network, *lesson.on(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        self.updated(loss.detach())

    def _target_values(self, observations: Array) -> Array:
        assert self.target is not None
        return apply_network(self.target, observations, self.device)


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
        bootstraps = "td0" in (config.targets, config.estimator) or config.policy == "greedy"
        self.target = deepcopy(network) if bootstraps else None

    def renews_target(self) -> bool:
        """Whether the next update begins with a copy of the network as it is."""
        return self.target is not None and self.step % self.config.target_interval == 0

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
        """Acts on the network alone, run for so many loops."""
        return self.kind(self.task, self.network, self.device, loops)


@dataclass(frozen=True)
class Lesson:
    """What an update learns from, B rows."""

    observations: Array  # [B, layout.size]
    known: Array  # bool, broadcasts to the network's outputs: which of them have a target
    wanted: Array  # the targets

    def on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Its three parts as tensors there."""
        parts = (self.observations, self.known, self.wanted)
        observations, known, wanted = (torch.as_tensor(part).to(device) for part in parts)
        return observations, known, wanted


def mean_of_known(losses: Tensor, known: Tensor) -> Tensor:
    """The mean of those ``losses`` whose place is ``known``, which broadcasts to them."""
    counts = known.expand_as(losses)
    # No state of a small batch may hold the horizon that an update reads.
    return (losses * counts).sum() / counts.sum().clamp(min=1)


def make_optimizer(
    parameters: Iterable[Tensor], config: FittedConfig, device: torch.device
) -> torch.optim.AdamW:
    """AdamW as configured."""
    return torch.optim.AdamW(
        parameters,
        config.learning_rate,
        weight_decay=config.weight_decay,
        # One kernel for all tensors, of which a deep network has many small ones.
        fused=device.type in FUSED_ON,
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, config: FittedConfig
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate's course over the updates of a training."""
    if config.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.learning_rate, total_steps=config.updates
        )
    return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
