"""What a run is about, and what the run asks of it.

A subject is the rules of a chain under a task (:mod:`rl_serial.training.chains`), a goal
environment (:mod:`rl_serial.training.goals`) or a planner in continuous control
(:mod:`rl_serial.training.control`). It makes the trainer and the examination; the run
(:mod:`rl_serial.training.run`) does the rest: folder, checkpoints, monitoring.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rl_serial.config import MOST, NetworkConfig
from rl_serial.envs.chain import TokenLayout
from rl_serial.errors import UserError
from rl_serial.networks import Account, HorizonHead, build_network, build_trunk, solve_width

Log = Callable[[str, float, int], None]
"""Receives (TensorBoard tag, value, step)."""


class Trainer(Protocol):
    """What a run asks of an agent in training."""

    total: int  # steps of the whole training
    metrics: dict[str, float]  # what it last logged itself

    @property
    def step(self) -> int:
        """Steps made."""

    @property
    def agent(self) -> Any:
        """The agent as it is now, as the subject's examination takes it."""

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that are trained."""

    def train(self, pause: Callable[[], None]) -> None:
        """Make the steps that are left, calling ``pause`` where the state is whole."""

    def state_dict(self) -> dict[str, Any]:
        """The whole state of training, as tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""

    def model_state(self) -> dict[str, Any]:
        """The trained weights."""

    def load_model_state(self, state: dict[str, Any]) -> None:
        """Take trained weights."""


class Examination(Protocol):
    """What an examination found."""

    def metrics(self) -> dict[str, float]:
        """Scalars under their TensorBoard tags; what was not measured is left out."""

    def final(self) -> dict[str, Any]:
        """What ``summary.json`` keeps: the metrics, intervals and what they refer to."""

    def headline(self) -> str:
        """The one line that a command prints."""


Examine = Callable[[Any], Examination]
"""Examines an agent, always on the same instances."""


class Shown(Protocol):
    """A moment of an episode."""

    def text(self) -> str:
        """As text."""

    def picture(self) -> NDArray[np.uint8]:
        """As a picture [height, width, 3], of the same size all through an episode."""


class Subject(Protocol):
    """What a run is about."""

    charts: ClassVar[dict[str, Any]]  # the page of TensorBoard's custom-scalars tab

    @property
    def late_metrics(self) -> Sequence[str]:
        """Tags that only the last examination has."""

    def check(self, keys: Collection[str]) -> None:
        """Refuse what these keys of the configuration (networks, agent) cannot have: UserError."""

    def examiner(self) -> Examine:
        """Makes the evaluation instances."""

    def last_examination(
        self, examine: Examine, agent: Any, trainer: Trainer | None
    ) -> Examination:
        """Examines the agent of a finished training, beside what is examined only then.

        ``trainer`` is what trained it; None: it is a baseline.
        """

    def trainer(self, device: torch.device, log: Log) -> Trainer:
        """The trainer that the configuration describes."""

    def baseline(self) -> Any:
        """The agent of a configuration without training; None: it has training."""

    def accounts(self, trainer: Trainer) -> dict[str, Account]:
        """What each network costs."""

    def further_metrics(
        self, trainer: Trainer, examine: Examine, device: torch.device
    ) -> dict[str, float]:
        """What is measured once, at the end."""

    def watch(self, agent: Any, instance: int = 0) -> Sequence[Shown]:
        """An evaluation episode from its first state to its end."""


def solved_trunk(
    network: NetworkConfig, key: str, layout: TokenLayout, outputs: int | HorizonHead
) -> dict[str, Any]:
    """The arguments of :func:`build_trunk`, the width solved where a budget is given.

    Args:
        network: as configured.
        key: what errors call it.
        layout: of its inputs.
        outputs: of the head that the budget includes, or its fixed-horizon heads.

    Raises:
        UserError: a depth that the trunk cannot have, or a budget that no width meets.
    """
    settings: dict[str, Any] = {
        "kind": network.kind,
        "layout": layout,
        "depth": network.depth,
        "loops": network.loops,
        **network.options,
    }
    try:
        if network.budget is None:
            settings["width"] = network.width
        else:
            budget = network.budget.model_dump(exclude_none=True)
            settings["width"] = solve_width(num_outputs=outputs, **settings, **budget)
        with torch.device("meta"):
            built = build_network(build_trunk(**settings), outputs)
        size = sum(parameter.numel() for parameter in built.parameters())
        if size > MOST["parameters"]:
            raise ValueError(
                f"depth {network.depth} and width {settings['width']} make {size} parameters; "
                f"{MOST['parameters']} are the most"
            )
    except ValueError as error:
        raise UserError(f"{key}: {error}") from None
    return settings


def device_of(network: nn.Module) -> torch.device:
    """Where a network is."""
    return next(network.parameters()).device
