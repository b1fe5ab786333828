"""What a configuration says of the agent that learns from its own search."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from rl_serial.agents.settings import AgentSettings, Run
from rl_serial.envs.chain import has_binary_observations
from rl_serial.envs.games.duel import Duel
from rl_serial.envs.tasks import Steer, Task
from rl_serial.errors import UserError
from rl_serial.settings import ModelKind


class SearchAgentConfig(AgentSettings):
    """Learning from its own tree search (see :mod:`rl_serial.agents.search`)."""

    kind: Literal["search"]
    dynamics: ModelKind = "true"  # what is searched in: the rules, or what it learns of them
    algorithm: Literal["gumbel", "puct"] = "gumbel"  # Gumbel MuZero, or PUCT as in AlphaZero
    simulations: NonNegativeInt = 16  # of a decision
    max_depth: PositiveInt | None = None  # steps from the root to a leaf at most; None: no limit
    value_target: Literal["final", "n_step", "root"] = "final"  # return, n steps, or the search's
    n_steps: PositiveInt = 4  # of the n-step target
    timesteps: PositiveInt = 200_000  # of all environments together; whole rounds are played
    num_envs: PositiveInt = 64  # side by side
    updates: PositiveInt = 16  # after each round of one episode in every environment
    batch_size: PositiveInt = 256  # steps of an update
    buffer_size: PositiveInt = 20_000  # newest steps that updates draw from
    learning_rate: PositiveFloat = 1e-3  # the largest, of AdamW
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4  # of AdamW
    # In games, share of self-play that begins after a uniform number of random moves.
    random_starts: Annotated[float, Field(ge=0, le=1)] = 0.0
    reuse: bool = True  # in games, what was searched below a move is kept for the next one
    symmetries: bool = True  # in games, what is learned of a board is learned of turned ones

    def check(self, run: Run, rules: Task[Any]) -> None:
        """What learned dynamics and targets ask of the task, and what only games have."""
        for key in ("random_starts", "reuse", "symmetries"):
            if not isinstance(rules, Duel) and getattr(self, key) != (key != "random_starts"):
                raise UserError("only games have it; leave it out", f"agent.{key}")
        if self.dynamics == "learned" and not isinstance(rules, Steer):
            raise UserError(
                "learned needs a Steer environment, where a step of play is a serial step; a BET "
                "is many",
                "agent.dynamics",
            )
        if self.dynamics == "learned" and not has_binary_observations(rules.chain):
            raise UserError(
                "learned predicts observations of zeros and ones, which those of "
                f"{type(rules.chain).__name__} are not; true searches in the rules",
                "agent.dynamics",
            )
        if self.value_target == "root" and self.simulations == 0:
            raise UserError(
                "root needs agent.simulations of 1 or more; without a search the value would be "
                "its own target",
                "agent.value_target",
            )
