"""The two networks that an MPC agent learns: a model of one step, and a value of states."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rl_serial.envs.control import Floats


class Standardizer(nn.Module):
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

    def fit(self, numbers: Floats) -> None:
        """Take the statistics of ``numbers`` [T, size]."""
        std = numbers.std(axis=0)
        self.mean.copy_(torch.as_tensor(numbers.mean(axis=0)))
        self.std.copy_(torch.as_tensor(np.where(std < self.least, self.instead, std)))

    def forward(self, numbers: Tensor) -> Tensor:
        """Numbers [..., size] to mean 0 and standard deviation 1."""
        return (numbers - self.mean) / self.std

    def inverse(self, numbers: Tensor) -> Tensor:
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
        self.inputs = Standardizer(observation + action)
        self.change = Standardizer(joints, instead=1e-6)
        self.reward = Standardizer(1)
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
        self.inputs, self.outputs = Standardizer(observation), Standardizer(1)
        self.layers = _mlp(observation, width, 1)

    def forward(self, observations: Tensor) -> Tensor:
        """[T, O] to [T], in the units of the targets."""
        return self.outputs.inverse(self.layers(self.inputs(observations)))[:, 0]

    def values(self, observations: Floats) -> Floats:
        """NumPy observations [..., O] to values [...]."""
        rows = torch.as_tensor(observations.reshape(-1, observations.shape[-1]), dtype=torch.float)
        with torch.no_grad():
            found = self(rows)
        return np.asarray(found.numpy(), dtype=np.float64).reshape(observations.shape[:-1])


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
