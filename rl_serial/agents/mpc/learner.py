"""What an MPC agent learns: its networks, and their updates from steps that were played."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rl_serial.agents.mpc.memory import Steps
from rl_serial.agents.mpc.models import LearnedModel, SimulatorModel
from rl_serial.agents.mpc.networks import DynamicsMLP, ValueMLP, dynamics_loss
from rl_serial.agents.mpc.returns import lambda_returns
from rl_serial.agents.mpc.settings import MPCSettings
from rl_serial.envs.control import Simulator
from rl_serial.planning.mpc import RolloutFn


class Learner:
    """A model of the dynamics and a value, of which it fits those that the settings ask for.

    Args:
        settings: of the agent.
        simulator: of its task.
        observation: numbers of an observation.
        seed: of the weights and of what is drawn for an update.
    """

    def __init__(
        self, settings: MPCSettings, simulator: Simulator, observation: int, seed: int
    ) -> None:
        self.settings, self.simulator = settings, simulator
        self._generator = torch.Generator().manual_seed(seed)
        learning = settings.learning
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            actions, joints = simulator.low.size, simulator.num_joints
            self.dynamics = DynamicsMLP(observation, actions, joints, learning.width)
            self.value = ValueMLP(observation, learning.width)
        self._optimizers = {
            name: torch.optim.Adam(network.parameters(), learning.learning_rate)
            for name, network in (("dynamics", self.dynamics), ("value", self.value))
        }
        self._fitted = False
        self.losses: dict[str, float] = {}  # of the last fit, mean over its updates

    @property
    def networks(self) -> dict[str, DynamicsMLP | ValueMLP]:
        """Those that learn."""
        found: dict[str, DynamicsMLP | ValueMLP] = {}
        if self.settings.model == "learned":
            found["dynamics"] = self.dynamics
        if self.settings.terminal_value:
            found["value"] = self.value
        return found

    def model(self) -> RolloutFn:
        """What is planned in, as it is now: of control states, or of joints if it is learned.

        Raises:
            RuntimeError: it is a learned one, and nothing has been learned.
        """
        settings = self.settings
        if settings.model == "learned" and not self._fitted:
            raise RuntimeError("the learned model has not been trained: call train first")
        value = self.value.values if settings.terminal_value and self._fitted else None
        if settings.model == "true":
            return SimulatorModel(self.simulator, settings.discount, value)
        return LearnedModel(
            self.dynamics,
            self.simulator.rules,
            self.simulator.num_positions,
            settings.discount,
            value,
            settings.reward == "known",
        )

    def fit(self, steps: Steps, updates: int) -> None:
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

    def _fit_dynamics(self, steps: Steps, updates: int) -> None:
        rules, positions = self.simulator.rules, self.simulator.num_positions
        network = self.dynamics
        observation = rules.observe(steps.joints, steps.joints[:, :positions])
        inputs = np.concatenate([observation, steps.action], axis=1)
        change = steps.next_joints - steps.joints
        network.inputs.fit(inputs)
        network.change.fit(change)
        network.reward.fit(steps.reward[:, None])
        tensors = [
            torch.as_tensor(numbers, dtype=torch.float)
            for numbers in (inputs, change, steps.reward, steps.terminated)
        ]
        losses = []
        for given, moved, reward, ended in self._batches(tensors, updates):
            expected = network.change(moved), network.reward(reward[:, None])[:, 0], ended
            losses.append(self._update("dynamics", dynamics_loss(network(given), expected)))
        self.losses["dynamics"] = fmean(losses)

    def _fit_value(self, steps: Steps, updates: int) -> None:
        settings = self.settings
        # Before the first fit the network is nothing to bootstrap from.
        next_values = np.zeros(steps.reward.size)
        if self._fitted:
            next_values = self.value.values(steps.next_observation)
        targets = lambda_returns(
            steps.reward,
            next_values,
            steps.terminated,
            steps.last,
            settings.discount,
            settings.learning.trace,
        )
        self.value.inputs.fit(steps.observation)
        self.value.outputs.fit(targets[:, None])
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
            index = torch.randint(count, (size,), generator=self._generator)
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
        """All that learning goes on from, as tensors and plain values."""
        return {
            "weights": self.state_dict(),
            "optimizers": {name: opt.state_dict() for name, opt in self._optimizers.items()},
            "torch_generator": self._generator.get_state(),
        }

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`training_state` gave."""
        self.load_state_dict(state["weights"])
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self._generator.set_state(state["torch_generator"])
