"""Model-predictive control (MPC) of continuous tasks: at each step a plan, and its first action.

The planner is CEM or MPPI (:mod:`rl_serial.planning.mpc`). It rolls out in the true simulator or in
a network trained on what was played, and may put a learned value behind the horizon. What follows
the horizon is the part of the return that planning does not compute, so horizon × iterations is the
serial computation that the agent buys a decision; every episode says what it spent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from rl_serial.agents.mpc.learner import Learner
from rl_serial.agents.mpc.memory import Steps
from rl_serial.agents.mpc.planner import WarmStartedPlanner
from rl_serial.agents.mpc.settings import MPCSettings
from rl_serial.envs.control import ControlState, Floats, make_simulator
from rl_serial.planning.mpc import RolloutFn, SerialAccounts, accounts

TRAINING_RESETS = range(2**20, 2**31)
"""Resets of training episodes, drawn independently; no evaluation takes any of them."""


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


class MPCAgent:
    """Plans at every step, and learns what its settings let it learn. A context manager.

    Args:
        make_env: makes one of :data:`rl_serial.envs.control.CONTROL_TASKS`, with a time limit.
        settings: see :class:`MPCSettings`.
        seed: of planning, exploration, training episodes and networks.
        threads: of the simulator.
    """

    def __init__(
        self,
        make_env: Callable[[], gym.Env[Any, Any]],
        settings: MPCSettings,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        self.make_env, self.settings = make_env, settings
        self.generator = np.random.default_rng([seed, 0])
        self._env = make_env()
        self.simulator = make_simulator(self._env, threads)
        self.low, self.high = self.simulator.low, self.simulator.high
        observation = int(np.prod(self._env.observation_space.shape or ()))
        self.learner = Learner(settings, self.simulator, observation, seed)
        self.steps: Steps | None = None
        self.env_steps = 0  # of all episodes so far
        self.simulator_steps = 0  # those, and the steps of planning if it was in the true simulator

    def __enter__(self) -> MPCAgent:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the environment."""
        self.close()

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    @property
    def accounts(self) -> SerialAccounts:
        """Of one decision of one episode."""
        return accounts(self.settings.planner, 1, self.settings.horizon)

    def model(self) -> RolloutFn:
        """What is planned in, as :meth:`Learner.model` says."""
        return self.learner.model()

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
            self.learner.fit(self.steps, updates)
        return replace(episode, learning_seconds=time.perf_counter() - begun)

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
        at_random = stop is not None and self._is_random()
        model = None if at_random else self.model()
        plan = WarmStartedPlanner(self.settings, self.low, self.high, len(envs), generator)
        played = [
            _Playing(env, seed, _numbers(env.reset(seed=seed)[0]))
            for env, seed in zip(envs, seeds, strict=True)
        ]
        rows: list[tuple[Any, ...]] = []
        while active := [row for row, each in enumerate(played) if each.running]:
            state = _joined([self.simulator.state(envs[row]) for row in active])
            joints = self.simulator.joints(state)
            if model is None:
                actions = generator.uniform(self.low, self.high, (len(active), self.low.size))
            else:
                begun = time.perf_counter()
                in_simulator = self.settings.model == "true"
                found = plan(model, state if in_simulator else joints, active)
                seconds = (time.perf_counter() - begun) / len(active)
                for row in active:
                    played[row].decisions += 1
                    played[row].seconds += seconds
                if in_simulator:
                    self.simulator_steps += found.accounts.model_steps
                actions = found.action
            for row, before, action in zip(active, joints, actions, strict=True):
                each = played[row]
                self.env_steps += 1
                self.simulator_steps += 1
                step = each.step(action.astype(np.float32))
                if stop is not None:
                    each.running &= not stop()
                    after = self.simulator.joints(self.simulator.state(envs[row]))[0]
                    seen, taken, next_seen, reward, terminated = step
                    found_row = before, seen, taken, after, next_seen, reward, terminated
                    rows.append((*found_row, not each.running))
        columns = zip(*rows, strict=True) if rows else ([] for _ in range(8))
        episodes = [self._episode(each) for each in played]
        return episodes, Steps(*(np.array(column) for column in columns))

    def _episode(self, played: _Playing) -> Episode:
        each = self.accounts
        model_steps = played.decisions * each.model_steps
        in_simulator = self.settings.model == "true"
        return Episode(
            seed=int(played.seed),
            total=played.total,
            steps=played.steps,
            terminated=played.terminated,
            critical_path=played.decisions * each.critical_path,
            model_steps=model_steps,
            simulator_steps=played.steps + (model_steps if in_simulator else 0),
            planning_seconds=played.seconds,
            learning_seconds=0.0,
        )

    def _is_random(self) -> bool:
        """Whether the next episode of training is played at random."""
        if self.settings.model == "true":
            return False
        known = 0 if self.steps is None else self.steps.reward.size
        return known < self.settings.learning.random_steps

    def state_dict(self) -> dict[str, Any]:
        """The weights and their statistics, as plain tensors."""
        return self.learner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take weights that :meth:`state_dict` gave."""
        self.learner.load_state_dict(state)

    def training_state(self) -> dict[str, Any]:
        """All that training goes on from between two episodes, as tensors and plain values.

        It shares memory with the agent: to be saved at once, or copied.
        """
        steps = {} if self.steps is None else vars(self.steps)
        return self.learner.training_state() | {
            "steps": {name: torch.as_tensor(column) for name, column in steps.items()},
            "generator": self.generator.bit_generator.state,
            "env_steps": self.env_steps,
            "simulator_steps": self.simulator_steps,
        }

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`training_state` gave."""
        self.learner.load_training_state(state)
        columns = {name: column.numpy() for name, column in state["steps"].items()}
        self.steps = Steps(**columns) if columns else None
        self.generator.bit_generator.state = state["generator"]
        self.env_steps = state["env_steps"]
        self.simulator_steps = state["simulator_steps"]


@dataclass
class _Playing:
    """An episode that is being played."""

    env: gym.Env[Any, Any]
    seed: int
    seen: Floats  # [O] the last observation
    total: float = 0.0
    steps: int = 0
    decisions: int = 0  # by planning
    seconds: float = 0.0  # of it
    terminated: bool = False
    running: bool = True

    def step(self, action: NDArray[np.float32]) -> tuple[Floats, Floats, Floats, float, bool]:
        """Observation, action [A], next observation, reward and whether the episode has ended."""
        before = self.seen
        observation, reward, terminated, truncated, _ = self.env.step(action)
        self.seen = _numbers(observation)
        self.total += float(reward)
        self.steps += 1
        self.terminated = bool(terminated)
        self.running = not (terminated or truncated)
        return before, _numbers(action), self.seen, float(reward), self.terminated


def _numbers(array: Any) -> Floats:
    return np.asarray(array, dtype=np.float64)


def _joined(states: Sequence[ControlState]) -> ControlState:
    """States of B = 1 as one."""
    return ControlState(
        np.concatenate([state.physics for state in states]),
        np.concatenate([state.warmstart for state in states]),
    )
