"""What a configuration says of solvers of puzzles."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from rl_serial.agents.settings import AgentSettings, Run
from rl_serial.agents.solver.ways import WAYS
from rl_serial.errors import OptionError, UserError
from rl_serial.networks.trunks import TRUNKS
from rl_serial.settings import MOST_PATH, one_of

WayName = Annotated[str, AfterValidator(lambda name: one_of(WAYS, name))]
"""The name of a way to commit."""


class SolverSettings(AgentSettings):
    """What agents have that solve puzzles with a network from masked or noised cells to digits."""

    way: WayName = "margin"  # in which the puzzles of an examination are solved
    updates: PositiveInt = 3000  # of the network
    batch_size: PositiveInt = 128  # boards of an update
    unrevealed: Annotated[float, Field(ge=0, le=1)] = 0.2  # share that shows the puzzle alone
    gaussian: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of noised boards
    losses: Literal["last_loop", "every_loop"] = "last_loop"  # where a looped network is corrected
    learning_rate: PositiveFloat = 2e-3  # the largest, of AdamW
    schedule: Literal["one_cycle", "constant"] = "one_cycle"  # of the learning rate
    weight_decay: Annotated[float, Field(ge=0)] = 0.0  # of AdamW

    @property
    def noised(self) -> int:
        """Noised boards of an update; its other examples are masked."""
        return round(self.gaussian * self.batch_size)

    @property
    def ways(self) -> list[str]:
        """Names of the ways that what it is trained for goes with."""
        return [name for name, way in WAYS.items() if self.can(name)]

    @property
    def learns_order(self) -> bool:
        """Whether it has a policy that says which cell comes next."""
        return False

    def can(self, name: str) -> bool:
        """Whether its training has what a way needs."""
        if WAYS[name].asks_policy and not self.learns_order:
            return False
        return self.noised > 0 if WAYS[name].noised else self.noised < self.batch_size

    @model_validator(mode="after")
    def _trained_for_its_way(self) -> SolverSettings:
        if not self.can(self.way):
            raise OptionError("way", f"{self.way} {self._lacks(self.way)}")
        return self

    def _lacks(self, name: str) -> str:
        if WAYS[name].asks_policy and not self.learns_order:
            return "asks a policy, which the agent ordering trains"
        if WAYS[name].noised:
            return f"shows noised boards, which {self._never_trained()}: more"
        return f"shows blank cells, which {self._never_trained()}: less"

    def _never_trained(self) -> str:
        return (
            f"agent.gaussian {self.gaussian:g} never trains ({self.noised} of "
            f"{self.batch_size} examples are noised)"
        )

    def check(self, run: Run, rules: Any) -> None:
        """What cells ask of the network, ways of the training, and that whole puzzles are read."""
        network = run.network
        assert network is not None
        trunk = TRUNKS[network.kind]
        if not trunk.reads_tokens:
            kinds = [kind for kind, other in TRUNKS.items() if other.reads_tokens]
            raise UserError(
                f"{network.kind} has no tokens behind its layers, and each cell is one; "
                f"{', '.join(kinds)} have",
                "network.kind",
            )
        if self.losses == "every_loop" and not trunk.reads_layers:
            raise UserError(
                f"every_loop reads the stream after each loop, which {network.kind} does not show: "
                "last_loop",
                "agent.losses",
            )
        for option in ("start", "ends"):
            if (given := getattr(rules, option)) != "full":
                raise UserError(
                    f"the agent {self.kind} reads whole puzzles and plays no episodes, so {given} "
                    "would change nothing: full, or leave it out",
                    f"env.{option}",
                )
        for loops in run.evaluation.loops:
            if network.depth * loops > MOST_PATH:
                raise UserError(
                    f"{loops} loops of depth={network.depth}: {MOST_PATH} layers in sequence are "
                    f"the most; loops can be {MOST_PATH // network.depth}",
                    "evaluation.loops",
                )
        for name in run.evaluation.ways or ():
            if not self.can(name):
                raise UserError(f"{name} {self._lacks(name)}", "evaluation.ways")


class SolverAgentConfig(SolverSettings):
    """A network from masked or noised cells to digits (see :mod:`rl_serial.agents.solver`)."""

    kind: Literal["solver"]


class OrderingAgentConfig(SolverSettings):
    """The same, and then a policy of which cell next (:mod:`rl_serial.agents.solver.ordering`)."""

    kind: Literal["ordering"]
    way: WayName = "learned"  # in which the puzzles of an examination are solved
    policy_updates: PositiveInt = 200  # of the policy, once the network is trained
    puzzles: PositiveInt = 32  # of an update of the policy
    rollouts: Annotated[int, Field(ge=2)] = 4  # of each of them, which are each other's baseline
    epochs: PositiveInt = 4  # over the steps of an update
    policy_learning_rate: PositiveFloat = 1e-3  # of AdamW
    clip: Annotated[float, Field(gt=0)] = 0.2  # how far an update moves a step's probability (PPO)
    entropy: Annotated[float, Field(ge=0)] = 0.01  # weight of the policy's entropy

    @property
    def learns_order(self) -> bool:
        """Always."""
        return True

    @property
    def why_not_longer(self) -> str:
        """The policy is trained on what the network is at its end."""
        return "a policy was trained on the network as it was"

    @model_validator(mode="after")
    def _shows_blank_cells(self) -> OrderingAgentConfig:
        if self.gaussian == 1:
            raise OptionError("gaussian", "the policy's network sees blank cells: less than 1")
        return self
