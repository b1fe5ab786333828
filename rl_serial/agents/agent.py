"""What evaluation, watching and search ask of an agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Judgement:
    """What an agent makes of a batch of states."""

    preferences: NDArray[np.float32]  # [B, num_actions]: the legal action with the largest is taken
    values: NDArray[np.float32] | None  # [B]: estimates of the states' values, where it has any


class Agent(Protocol):
    """Anything that decides in a task."""

    @property
    def preference(self) -> str:
        """What its preferences are: "action value", "probability" or "none"."""

    def judge(self, state: Any) -> Judgement:
        """Judge a batch of states of its task (NumPy arrays)."""


def decide(judgement: Judgement, legal: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[B] the legal action with the largest preference; the first of equal ones."""
    choices: NDArray[np.int64] = np.where(legal, judgement.preferences, -np.inf).argmax(axis=1)
    return choices
