"""Models whose every number is in a table, for searches that can be checked from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from rl_serial.planning import RecurrentOutput, Root


@dataclass(frozen=True)
class Position:
    """An embedding as agents have them: a frozen dataclass, here with an array of each kind."""

    state: Any  # [B] int64
    code: Any  # [B, 2] float32, follows from the state


@dataclass(frozen=True)
class TableModel:
    """A deterministic model of S states, as arrays of NumPy or torch."""

    following: Any  # [S, A] int64
    reward: Any  # [S, A]
    discount: Any  # [S, A]
    prior_logits: Any  # [S, A]
    value: Any  # [S]
    legal: Any = None  # [S, A] bool

    def position(self, state: Any) -> Position:
        code = self.prior_logits[state][:, :2] / 2
        return Position(state, code)

    def root(self, state: Any) -> Root:
        legal = None if self.legal is None else self.legal[state]
        return Root(self.prior_logits[state], self.value[state], self.position(state), legal)

    def __call__(self, action: Any, position: Position) -> tuple[RecurrentOutput, Position]:
        state = position.state
        # The embedding that comes back is the one that was stored for this node.
        assert bool((position.code == self.position(state).code).all())
        following = self.following[state, action]
        output = RecurrentOutput(
            reward=self.reward[state, action],
            discount=self.discount[state, action],
            prior_logits=self.prior_logits[following],
            value=self.value[following],
            legal=None if self.legal is None else self.legal[following],
        )
        return output, self.position(following)

    def converted(self, convert: Callable[[Any], Any]) -> TableModel:
        return TableModel(*(None if x is None else convert(x) for x in vars(self).values()))


def make_random_model(
    generator: np.random.Generator,
    num_states: int,
    num_actions: int,
    *,
    discount: float = 0.95,
    ends: float = 0.0,
    illegal: float = 0.0,
    spread: float = 1.0,
) -> TableModel:
    """Every number drawn; ``ends`` and ``illegal`` are shares of actions."""
    shape = (num_states, num_actions)
    legal = None
    if illegal:
        legal = generator.random(shape) >= illegal
        legal[np.arange(num_states), generator.integers(num_actions, size=num_states)] = True
    return TableModel(
        following=generator.integers(num_states, size=shape),
        reward=generator.normal(size=shape).astype(np.float32),
        discount=np.where(generator.random(shape) < ends, 0, discount).astype(np.float32),
        prior_logits=(spread * generator.normal(size=shape)).astype(np.float32),
        value=generator.normal(size=num_states).astype(np.float32),
        legal=legal,
    )


@pytest.fixture
def random_model() -> Callable[..., TableModel]:
    """Makes a :class:`TableModel` of drawn numbers."""
    return make_random_model


@pytest.fixture
def table_model() -> type[TableModel]:
    """The class itself, for numbers by hand."""
    return TableModel
