"""What plans are rolled out in: the true simulator, or a network trained on what was played."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from rl_serial.agents.mpc.networks import DynamicsMLP
from rl_serial.agents.mpc.returns import plan_returns
from rl_serial.envs.control import Bools, ControlState, Floats, Simulator, TaskRules

ValueFn = Callable[[Floats], Floats]
"""Observations [..., O] to values [...]."""


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
            after = joints + self.network.change.inverse(change).numpy()
            reward = self.network.reward.inverse(reward)
        if self.known:
            return (
                after,
                *self.rules.reward_and_end(joints, after, after[..., : self.num_positions], action),
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
