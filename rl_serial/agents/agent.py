"""What evaluation, watching and search ask of an agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.chain import Array


@dataclass(frozen=True)
class Judgement:
    """What an agent makes of a batch of states, as arrays of the states' library."""

    preferences: Array  # [B, num_actions] float32: the legal action with the largest is taken
    values: Array | None  # [B] float32: estimates of the states' values, where it has any
    action: Array | None = None  # [B] int64: what it takes where that is not the most preferred


class Agent(Protocol):
    """Anything that decides in a task."""

    @property
    def preference(self) -> str:
        """What its preferences are: "action value", "probability" or "none"."""

    def judge(self, state: Any) -> Judgement:
        """Judge a batch of states of its task."""


@runtime_checkable
class ObservingAgent(Agent, Protocol):
    """An agent that sees of a state only its observation and its legal actions."""

    def assess(self, observations: Array, legal: Array) -> Judgement:
        """Judge ``observations`` [B, layout.size] float32 with ``legal`` [B, num_actions] bool.

        NumPy arrays give NumPy arrays, tensors give tensors on their device.
        """


def on_host(array: Array) -> NDArray[Any]:
    """A NumPy or torch array of any device as a NumPy array."""
    return array.cpu().numpy() if hasattr(array, "cpu") else np.asarray(array)


def decide(judgement: Judgement, legal: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[B] the agent's action: by its word, or the legal one with the largest preference.

    Of equal ones the first.
    """
    if judgement.action is not None:
        return on_host(judgement.action)
    choices: NDArray[np.int64] = np.where(legal, judgement.preferences, -np.inf).argmax(axis=1)
    return choices
