"""Receding-horizon control of continuous tasks: at each step a plan, and its first action.

The planner is CEM or MPPI (:mod:`rl_serial.planning.mpc`). It rolls out in the true simulator or in
a network trained on what was played, and may put a learned value behind the horizon. What follows
the horizon is the part of the return that planning does not compute, so horizon × iterations is the
serial computation that the agent buys a decision; every episode says what it spent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rl_serial.envs.control import ControlState, Simulator, TaskRules, make_simulator
from rl_serial.errors import OptionError, RunError
from rl_serial.planning.mpc import (
    CEM,
    MPPI,
    RolloutFn,
    SerialAccounts,
    accounts,
    first_plan,
    plan_control,
    shift,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ValueFn = Callable[[Floats], Floats]
"""Observations [..., O] to values [...]."""

TRAINING_RESETS = range(2**20, 2**31)
"""Resets of training episodes, drawn independently; no evaluation takes any of them."""


@dataclass(frozen=True)
class Learning:
    """How the networks of a :class:`ControlAgent` learn; each after every episode of training.

    Args:
        width: of the two hidden layers of each network.
        learning_rate: of Adam.
        batch_size: steps drawn for an update.
        updates: of each network for every step that was played, positive.
        memory: newest steps that are learned from.
        random_steps: a learned model only: whole episodes are played at random until there are as
            many steps to learn from.
        trace: λ in [0, 1] of the value's targets, :func:`lambda_returns`.

    Raises:
        ValueError: a setting out of its range; the message names it.
    """

    width: int = 200
    learning_rate: float = 1e-3
    batch_size: int = 256
    updates: float = 1.0
    memory: int = 100_000
    random_steps: int = 1000
    trace: float = 0.95

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name in ("width", "batch_size", "memory", "random_steps"):
            _check(f"Learning: {name}", getattr(self, name), getattr(self, name) >= 1, "1 or more")
        rate = self.learning_rate
        _check("Learning: learning_rate", rate, 0 < rate < np.inf, "positive")
        _check("Learning: updates", self.updates, 0 < self.updates < np.inf, "positive")
        _check("Learning: trace", self.trace, 0 <= self.trace <= 1, "in [0, 1]")


@dataclass(frozen=True)
class ControlSettings:
    """What a :class:`ControlAgent` is.

    Args:
        planner: CEM or MPPI with its settings.
        horizon: H, actions planned ahead, at least 1.
        model: the ``true`` simulator, or one ``learned`` from what was played.
        reward: in a learned model the rules of the task (``known``) say reward and end, or the
            network does (``learned``). The true simulator knows them anyhow.
        terminal_value: whether a learned value of the last state is added to a plan's return.
        discount: γ in (0, 1] of rewards along a plan, less than 1 with a terminal value.
        carry: elites of a plan that, shifted, are candidates for the next one (iCEM), at most what
            the planner hands on: its elites, or 1 with MPPI.
        learning: of model and value.

    Raises:
        ValueError: a setting out of its range; the message names it.
    """

    planner: CEM | MPPI = field(default_factory=CEM)
    horizon: int = 20
    model: Literal["true", "learned"] = "true"
    reward: Literal["known", "learned"] = "known"
    terminal_value: bool = False
    discount: float = 0.99
    carry: int = 0
    learning: Learning = field(default_factory=Learning)

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        kinds = ("true", "learned")
        _check("horizon", self.horizon, self.horizon >= 1, "1 or more")
        _check("model", self.model, self.model in kinds, "'true' or 'learned'")
        _check("reward", self.reward, self.reward in ("known", "learned"), "'known' or 'learned'")
        if self.model == "true":
            _check("reward", self.reward, self.reward == "known", "'known' with the true model")
        _check("discount", self.discount, 0 < self.discount <= 1, "in (0, 1]")
        if self.terminal_value:
            _check("discount", self.discount, self.discount < 1, "less than 1 with terminal_value")
        most = self.planner.elites if isinstance(self.planner, CEM) else 1
        _check("carry", self.carry, 0 <= self.carry <= most, f"from 0 to {most}")
        if self.model == "learned":
            memory, least = self.learning.memory, self.learning.random_steps
            must = f"random_steps = {least} or more with a learned model"
            _check("learning.memory", memory, memory >= least, must)

    @property
    def learns(self) -> bool:
        """Whether there is anything to train."""
        return self.terminal_value or self.model == "learned"


@dataclass(frozen=True)
class Episode:
    """An episode and what it has cost. Steps are those of the environment (``frame_skip`` each)."""

    seed: int  # of the environment's reset
    total: float  # undiscounted return
    steps: int
    terminated: bool  # or else truncated
    critical_path: int  # model steps in sequence of all its decisions: steps × horizon × iterations
    model_steps: int  # steps of all its rollouts
    simulator_steps: int  # its own, and those of its rollouts if they were in the true simulator
    planning_seconds: float  # its share, where episodes were played side by side
    learning_seconds: float  # of the training after it


def plan_returns(
    rewards: Floats, terminated: Bools, failed: Bools, discount: float, terminal: Floats | None
) -> Floats:
    """[B, N]: Σ_t γ^t r_t + γ^H V of plans, V only where the episode goes on; −inf where failed.

    Args:
        rewards: [B, N, H], 0 after an end.
        terminated: [B, N, H] from the step that ended the episode on.
        failed: [B, N].
        discount: γ.
        terminal: [B, N] V of the last states, or None: 0.
    """
    horizon = rewards.shape[2]
    total = rewards @ discount ** np.arange(horizon)
    if terminal is not None:
        total = total + np.where(terminated[..., -1], 0.0, discount**horizon * terminal)
    return np.where(failed, -np.inf, total)


def lambda_returns(
    rewards: Floats,
    next_values: Floats,
    terminated: Bools,
    last: Bools,
    discount: float,
    trace: float,
) -> Floats:
    """[T]: targets for the values of T consecutive steps of episodes (TD(λ); Sutton 1988).

    G_t = r_t + γ ((1 − λ) V_{t+1} + λ G_{t+1}), with V_{t+1} for G_{t+1} at the last step of an
    episode that was cut off, and nothing after r_t at one that has ended.

    Args:
        rewards: [T].
        next_values: [T] V of the state that each step led to.
        terminated: [T] whether it ended the episode.
        last: [T] whether the next row belongs to another episode.
        discount: γ.
        trace: λ; 0 gives TD(0), 1 Monte-Carlo returns.
    """
    found = np.empty_like(rewards)
    following = 0.0
    for step in range(rewards.size - 1, -1, -1):
        value = next_values[step]
        if last[step] or step == rewards.size - 1:
            following = value
        ahead = 0.0 if terminated[step] else (1 - trace) * value + trace * following
        following = found[step] = rewards[step] + discount * ahead
    return found


class Normal(nn.Module):
    """Shifts and scales numbers by statistics that are set and not trained.

    Args:
        size: how many numbers a row has.
        least: standard deviations below it count as ``instead``.
        instead: 1 leaves a constant input alone; a tiny one keeps a constant output constant.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int, least: float = 1e-6, instead: float = 1.0) -> None:
        super().__init__()
        self.least, self.instead = least, instead
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def set(self, numbers: Floats) -> None:
        """Take the statistics of ``numbers`` [T, size]."""
        std = numbers.std(axis=0)
        self.mean.copy_(torch.as_tensor(numbers.mean(axis=0)))
        self.std.copy_(torch.as_tensor(np.where(std < self.least, self.instead, std)))

    def forward(self, numbers: Tensor) -> Tensor:
        """Numbers [..., size] to mean 0 and standard deviation 1."""
        return (numbers - self.mean) / self.std

    def back(self, numbers: Tensor) -> Tensor:
        """The reverse."""
        return numbers * self.std + self.mean


def _mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.SiLU(),
        nn.Linear(width, width),
        nn.SiLU(),
        nn.Linear(width, outputs),
    )


class DynamicsMLP(nn.Module):
    """One step of a task: observation and action to change of the joints, reward and end.

    What it sees is the observation, so that a place along a track does not matter; what it predicts
    are positions and velocities, from which the rules can tell reward and end.

    Args:
        observation: numbers of an observation.
        action: numbers of an action.
        joints: nq + nv.
        width: of the two hidden layers.
    """

    def __init__(self, observation: int, action: int, joints: int, width: int) -> None:
        super().__init__()
        self.joints = joints
        self.inputs = Normal(observation + action)
        self.change = Normal(joints, instead=1e-6)
        self.reward = Normal(1)
        self.layers = _mlp(observation + action, width, joints + 2)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[T, O + A] to changes [T, nq + nv] and rewards [T], both normal, and logits of ends."""
        outputs = self.layers(self.inputs(inputs))
        return outputs[:, : self.joints], outputs[:, -2], outputs[:, -1]


class ValueMLP(nn.Module):
    """The discounted return from an observation on.

    Args:
        observation: numbers of an observation.
        width: of the two hidden layers.
    """

    def __init__(self, observation: int, width: int) -> None:
        super().__init__()
        self.inputs, self.outputs = Normal(observation), Normal(1)
        self.layers = _mlp(observation, width, 1)

    def forward(self, observations: Tensor) -> Tensor:
        """[T, O] to [T], in the units of the targets."""
        return self.outputs.back(self.layers(self.inputs(observations)))[:, 0]

    def values(self, observations: Floats) -> Floats:
        """NumPy observations [..., O] to values [...]."""
        rows = torch.as_tensor(observations.reshape(-1, observations.shape[-1]), dtype=torch.float)
        with torch.no_grad():
            found = self(rows)
        return np.asarray(found.numpy(), dtype=np.float64).reshape(observations.shape[:-1])


class SimulatorModel:
    """Returns of action sequences in the true simulator; a :data:`RolloutFn` of control states."""

    def __init__(
        self, simulator: Simulator, discount: float = 1.0, value: ValueFn | None = None
    ) -> None:
        self.simulator, self.discount, self.value = simulator, discount, value

    def __call__(self, state: ControlState, actions: Floats) -> Floats:
        """[B, N]."""
        found = self.simulator.rollout(state, actions)
        terminal = None
        if self.value is not None:
            rules = self.simulator.rules
            terminal = self.value(rules.observe(found.joints[:, :, -1], found.seen[:, :, -1]))
        return plan_returns(found.rewards, found.terminated, found.failed, self.discount, terminal)


class LearnedModel:
    """Returns of action sequences in a trained network; a :data:`RolloutFn` of joints [B, nq + nv].

    Args:
        network: its parameters are used as they are at each call.
        rules: for observations; with ``known`` also for reward and end.
        num_positions: nq.
        discount: γ.
        value: put behind the horizon.
        known: whether the rules say reward and end.
    """

    def __init__(
        self,
        network: DynamicsMLP,
        rules: TaskRules,
        num_positions: int,
        discount: float = 1.0,
        value: ValueFn | None = None,
        known: bool = True,
    ) -> None:
        self.network, self.rules, self.num_positions = network, rules, num_positions
        self.discount, self.value, self.known = discount, value, known

    def observe(self, joints: Floats) -> Floats:
        """[..., O]: bodies are taken to be where the joints are."""
        return self.rules.observe(joints, joints[..., : self.num_positions])

    def step(self, joints: Floats, action: Floats) -> tuple[Floats, Floats, Bools]:
        """The joints after a step, its reward and whether it ends the episode.

        Args:
            joints: [T, nq + nv].
            action: [T, A].
        """
        inputs = np.concatenate([self.observe(joints), action], axis=1)
        with torch.no_grad():
            change, reward, end = self.network(torch.as_tensor(inputs, dtype=torch.float))
            after = joints + self.network.change.back(change).numpy()
            reward = self.network.reward.back(reward)
        if self.known:
            return (
                after,
                *self.rules.judge(joints, after, after[..., : self.num_positions], action),
            )
        return after, reward.numpy().astype(np.float64), (end > 0).numpy()

    def __call__(self, state: Floats, actions: Floats) -> Floats:
        """[B, N]."""
        batch, num, horizon, size = actions.shape
        joints = np.repeat(state, num, axis=0)
        over = np.zeros(batch * num, dtype=np.bool_)
        rewards = np.empty((batch * num, horizon))
        with np.errstate(over="ignore", invalid="ignore"):  # a model that diverges is marked below
            for step in range(horizon):
                action = actions[:, :, step].reshape(-1, size)
                joints, reward, end = self.step(joints, action)
                rewards[:, step] = np.where(over, 0.0, reward)
                over |= end
            terminal = None if self.value is None else self.value(self.observe(joints))
        failed = np.asarray(~np.isfinite(rewards).all(axis=1))
        if terminal is not None:
            failed |= ~np.isfinite(terminal)
            terminal = np.where(failed, 0.0, terminal).reshape(batch, num)
        rewards = np.where(failed[:, None], 0.0, rewards)
        return plan_returns(
            rewards.reshape(batch, num, horizon),
            np.repeat(over.reshape(batch, num, 1), horizon, axis=2),
            failed.reshape(batch, num),
            self.discount,
            terminal,
        )


@dataclass(frozen=True)
class Steps:
    """T consecutive steps of training, the newest last."""

    joints: Floats  # [T, nq + nv]
    observation: Floats  # [T, O] as the environment gave it
    action: Floats  # [T, A]
    next_joints: Floats  # [T, nq + nv]
    next_observation: Floats  # [T, O]
    reward: Floats  # [T]
    terminated: Bools  # [T]
    last: Bools  # [T] of its episode

    def then(self, other: Steps, memory: int) -> Steps:
        """Both, but no more than the newest ``memory``."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Steps(*(np.concatenate(pair)[-memory:] for pair in pairs))


class ControlAgent:
    """Plans at every step, and learns what its settings let it learn. A context manager.

    Args:
        make_env: makes one of :data:`rl_serial.envs.control.CONTROL_TASKS`, with a time limit.
        settings: see :class:`ControlSettings`.
        seed: of planning, exploration, training episodes and networks.
        threads: of the simulator.
    """

    def __init__(
        self,
        make_env: Callable[[], gym.Env[Any, Any]],
        settings: ControlSettings,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        self.make_env, self.settings = make_env, settings
        self.generator = np.random.default_rng([seed, 0])
        self._torch = torch.Generator().manual_seed(seed)
        self._env = make_env()
        self.simulator = make_simulator(self._env, threads)
        self.low, self.high = self.simulator.low, self.simulator.high
        self.steps: Steps | None = None
        self.env_steps = 0  # of all episodes so far
        self.simulator_steps = 0  # those, and the steps of planning if it was in the true simulator
        observation = int(np.prod(self._env.observation_space.shape or ()))
        learning = settings.learning
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            joints = self.simulator.num_joints
            self.dynamics = DynamicsMLP(observation, self.low.size, joints, learning.width)
            self.value = ValueMLP(observation, learning.width)
        self._optimizers = {
            name: torch.optim.Adam(network.parameters(), learning.learning_rate)
            for name, network in (("dynamics", self.dynamics), ("value", self.value))
        }
        self._fitted = False
        self.losses: dict[str, float] = {}  # of the last learning, mean over its updates

    def __enter__(self) -> ControlAgent:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the simulator's threads."""
        self.close()

    def close(self) -> None:
        """End the simulator's threads and close the environment."""
        self.simulator.close()
        self._env.close()

    @property
    def accounts(self) -> SerialAccounts:
        """Of one decision of one episode."""
        return accounts(self.settings.planner, 1, self.settings.horizon)

    def model(self) -> RolloutFn:
        """What is planned in, as it is now: of control states, or of joints if it is learned.

        Raises:
            RuntimeError: it is a learned one, and nothing has been learned.
        """
        if self.settings.model == "learned" and not self._fitted:
            raise RuntimeError("the learned model has not been trained: call train first")
        value = self.value.values if self.settings.terminal_value and self._fitted else None
        if self.settings.model == "true":
            return SimulatorModel(self.simulator, self.settings.discount, value)
        return LearnedModel(
            self.dynamics,
            self.simulator.rules,
            self.simulator.num_positions,
            self.settings.discount,
            value,
            self.settings.reward == "known",
        )

    def train(
        self,
        steps: int,
        simulator_steps: int | None = None,
        seconds: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> list[Episode]:
        """Play and learn, an episode at a time, until one of the budgets is used up.

        The last episode is cut off where a budget ends, so that none is exceeded by more than one
        decision.

        Args:
            steps: of the environment.
            simulator_steps: of environment and planning.
            seconds: by the clock, the learning included.
            clock: seconds since some point in time.
        """
        begun = clock()
        first, first_simulated = self.env_steps, self.simulator_steps

        def over() -> bool:
            if self.env_steps - first >= steps:
                return True
            spent = self.simulator_steps - first_simulated
            if simulator_steps is not None and spent >= simulator_steps:
                return True
            return seconds is not None and clock() - begun >= seconds

        played: list[Episode] = []
        while not over():
            played.append(self.train_episode(over))
        return played

    def train_episode(self, stop: Callable[[], bool]) -> Episode:
        """Play an episode of training from its first state, then learn from all that is remembered.

        Args:
            stop: asked after every step; true cuts the episode off.
        """
        seed = int(self.generator.integers(TRAINING_RESETS.start, TRAINING_RESETS.stop))
        [episode], recorded = self._play([self._env], [seed], self.generator, stop)
        memory = self.settings.learning.memory
        self.steps = recorded if self.steps is None else self.steps.then(recorded, memory)
        begun = time.perf_counter()
        if self.settings.learns:
            updates = max(1, round(episode.steps * self.settings.learning.updates))
            self.learn(self.steps, updates)
        return replace(episode, learning_seconds=time.perf_counter() - begun)

    def learn(self, steps: Steps, updates: int) -> None:
        """Fit what the settings let it learn to steps that somebody has played.

        Args:
            steps: T of them, episodes one after the other.
            updates: of each network.
        """
        if self.settings.model == "learned":
            self._fit_dynamics(steps, updates)
        if self.settings.terminal_value:
            self._fit_value(steps, updates)
        self._fitted = True

    def evaluate(
        self,
        seeds: Sequence[int],
        generator: np.random.Generator | None = None,
        envs: Sequence[gym.Env[Any, Any]] | None = None,
    ) -> list[Episode]:
        """Play an episode for each seed, side by side, without learning anything.

        Args:
            seeds: of the environments' resets.
            generator: of planning; None: the agent's own, so that training after it is another.
            envs: of this task, one for each seed, which stay open; None: new ones.

        Raises:
            ValueError: a seed that training may draw.
            RunError: no plan can be made, as every rollout diverged.
        """
        for seed in seeds:
            if seed < 0 or seed in TRAINING_RESETS:
                raise ValueError(
                    f"{seed} is no seed for evaluation: must be from 0 to "
                    f"{TRAINING_RESETS.start - 1}, or {TRAINING_RESETS.stop} or more"
                )
        generator = self.generator if generator is None else generator
        if envs is not None:
            return self._play(envs, seeds, generator, None)[0]
        made = [self.make_env() for _ in seeds]
        try:
            return self._play(made, seeds, generator, None)[0]
        finally:
            for env in made:
                env.close()

    def _play(
        self,
        envs: Sequence[gym.Env[Any, Any]],
        seeds: Sequence[int],
        generator: np.random.Generator,
        stop: Callable[[], bool] | None,
    ) -> tuple[list[Episode], Steps]:
        """An episode in each environment, side by side, and in training its steps.

        ``stop`` is asked after every step whether training is over; without it nothing is explored.
        """
        settings, count = self.settings, len(envs)
        in_simulator = settings.model == "true"
        at_random = stop is not None and self._is_random()
        model = None if at_random else self.model()
        each = self.accounts
        seen = [_numbers(env.reset(seed=seed)[0]) for env, seed in zip(envs, seeds, strict=True)]
        total, planning = np.zeros(count), np.zeros(count)
        steps, decisions = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        ended, running = np.zeros(count, dtype=np.bool_), np.ones(count, dtype=np.bool_)
        plan = first_plan(count, settings.horizon, self.low, self.high)
        carried: Floats | None = None
        rows: list[tuple[Any, ...]] = []
        while running.any():
            active = [int(index) for index in np.flatnonzero(running)]
            state = _joined([self.simulator.state(envs[index]) for index in active])
            joints = self.simulator.joints(state)
            if model is None:
                action = generator.uniform(self.low, self.high, (len(active), self.low.size))
            else:
                begun = time.perf_counter()
                try:
                    found = plan_control(
                        model,
                        state if in_simulator else joints,
                        plan[active],
                        self.low,
                        self.high,
                        settings.planner,
                        generator,
                        None if carried is None else carried[active],
                    )
                except ValueError as error:
                    raise RunError(f"planning in the {settings.model} model: {error}") from error
                planning[active] += (time.perf_counter() - begun) / len(active)
                decisions[active] += 1
                if in_simulator:
                    self.simulator_steps += found.accounts.model_steps
                action = found.action
                plan[active] = shift(found.plan)
                if settings.carry:
                    if carried is None:
                        carried = np.empty((count, settings.carry, *plan.shape[1:]))
                    carried[active] = shift(found.elites[:, : settings.carry])
            for row, index in enumerate(active):
                played = action[row].astype(np.float32)
                observation, reward, terminated, truncated, _ = envs[index].step(played)
                after = _numbers(observation)
                self.env_steps += 1
                self.simulator_steps += 1
                total[index] += float(reward)
                steps[index] += 1
                ended[index] = terminated
                running[index] = not (terminated or truncated)
                if stop is not None:
                    running[index] &= not stop()
                    following = self.simulator.joints(self.simulator.state(envs[index]))[0]
                    step = joints[row], seen[index], _numbers(played), following, after
                    rows.append((*step, float(reward), bool(terminated), not running[index]))
                seen[index] = after
        episodes = []
        for index in range(count):
            model_steps = int(decisions[index]) * each.model_steps
            episodes.append(
                Episode(
                    seed=int(seeds[index]),
                    total=float(total[index]),
                    steps=int(steps[index]),
                    terminated=bool(ended[index]),
                    critical_path=int(decisions[index]) * each.critical_path,
                    model_steps=model_steps,
                    simulator_steps=int(steps[index]) + (model_steps if in_simulator else 0),
                    planning_seconds=float(planning[index]),
                    learning_seconds=0.0,
                )
            )
        columns = zip(*rows, strict=True) if rows else ([] for _ in range(8))
        return episodes, Steps(*(np.array(column) for column in columns))

    def _is_random(self) -> bool:
        """Whether the next episode of training is played at random."""
        if self.settings.model == "true":
            return False
        known = 0 if self.steps is None else self.steps.reward.size
        return known < self.settings.learning.random_steps

    def _fit_dynamics(self, steps: Steps, updates: int) -> None:
        rules, positions = self.simulator.rules, self.simulator.num_positions
        network = self.dynamics
        observation = rules.observe(steps.joints, steps.joints[:, :positions])
        inputs = np.concatenate([observation, steps.action], axis=1)
        change = steps.next_joints - steps.joints
        network.inputs.set(inputs)
        network.change.set(change)
        network.reward.set(steps.reward[:, None])
        tensors = [
            torch.as_tensor(numbers, dtype=torch.float)
            for numbers in (inputs, change, steps.reward, steps.terminated)
        ]
        losses = []
        for batch in self._batches(tensors, updates):
            given, moved, reward, ended = batch
            expected = network.change(moved), network.reward(reward[:, None])[:, 0], ended
            losses.append(self._update("dynamics", dynamics_loss(network(given), expected)))
        self.losses["dynamics"] = fmean(losses)

    def _fit_value(self, steps: Steps, updates: int) -> None:
        settings = self.settings
        targets = lambda_returns(
            steps.reward,
            # Before the first fit the network is nothing to bootstrap from.
            self.value.values(steps.next_observation)
            if self._fitted
            else np.zeros(steps.reward.size),
            steps.terminated,
            steps.last,
            settings.discount,
            settings.learning.trace,
        )
        self.value.inputs.set(steps.observation)
        self.value.outputs.set(targets[:, None])
        tensors = [
            torch.as_tensor(numbers, dtype=torch.float) for numbers in (steps.observation, targets)
        ]
        losses = []
        for observation, target in self._batches(tensors, updates):
            error = (self.value(observation) - target) / self.value.outputs.std
            losses.append(self._update("value", (error**2).mean()))
        self.losses["value"] = fmean(losses)

    def _batches(self, tensors: list[Tensor], updates: int) -> Iterator[list[Tensor]]:
        size, count = self.settings.learning.batch_size, tensors[0].shape[0]
        for _ in range(updates):
            index = torch.randint(count, (size,), generator=self._torch)
            yield [tensor[index] for tensor in tensors]

    def _update(self, name: str, loss: Tensor) -> float:
        optimizer = self._optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.detach())

    def state_dict(self) -> dict[str, Any]:
        """The weights and their statistics, as plain tensors."""
        return {
            "dynamics": deepcopy(self.dynamics.state_dict()),
            "value": deepcopy(self.value.state_dict()),
            "fitted": self._fitted,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take weights that :meth:`state_dict` gave."""
        self.dynamics.load_state_dict(state["dynamics"])
        self.value.load_state_dict(state["value"])
        self._fitted = bool(state["fitted"])

    def training_state(self) -> dict[str, Any]:
        """All that training goes on from between two episodes, as tensors and plain values.

        It shares memory with the agent: to be saved at once, or copied.
        """
        steps = {} if self.steps is None else vars(self.steps)
        return {
            "weights": self.state_dict(),
            "optimizers": {name: opt.state_dict() for name, opt in self._optimizers.items()},
            "steps": {name: torch.as_tensor(column) for name, column in steps.items()},
            "generator": self.generator.bit_generator.state,
            "torch_generator": self._torch.get_state(),
            "env_steps": self.env_steps,
            "simulator_steps": self.simulator_steps,
        }

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`training_state` gave."""
        self.load_state_dict(state["weights"])
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        columns = {name: column.numpy() for name, column in state["steps"].items()}
        self.steps = Steps(**columns) if columns else None
        self.generator.bit_generator.state = state["generator"]
        self._torch.set_state(state["torch_generator"])
        self.env_steps = state["env_steps"]
        self.simulator_steps = state["simulator_steps"]


def dynamics_loss(
    predicted: tuple[Tensor, Tensor, Tensor], expected: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Mean squared errors of normal changes and rewards, plus the cross-entropy of ends.

    Args:
        predicted: changes [T, J], rewards [T], logits of ends [T].
        expected: changes [T, J], rewards [T], ends [T] as 0 and 1.
    """
    return (
        F.mse_loss(predicted[0], expected[0])
        + F.mse_loss(predicted[1], expected[1])
        + F.binary_cross_entropy_with_logits(predicted[2], expected[2])
    )


def _numbers(observation: Any) -> Floats:
    return np.asarray(observation, dtype=np.float64)


def _joined(states: Sequence[ControlState]) -> ControlState:
    """States of B = 1 as one."""
    return ControlState(
        np.concatenate([state.physics for state in states]),
        np.concatenate([state.warmstart for state in states]),
    )


def _check(name: str, value: object, right: bool, must: str) -> None:
    if not right:
        told = f"is {value!r}, must be {must}"
        raise OptionError(name.rpartition(": ")[2], told, f"{name} {told}")
