"""What a configuration says of the agent that denoises working states."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from rl_serial.agents.settings import AgentSettings, Run
from rl_serial.envs.chain import ChainWithWords
from rl_serial.envs.tasks import Bet, Task
from rl_serial.errors import UserError


class DenoisingAgentConfig(AgentSettings):
    """Working states by masked denoising, then the answer (:mod:`rl_serial.agents.denoising`)."""

    kind: Literal["denoising"]
    steps: PositiveInt = 8  # passes that write, each an even share of the working states to come
    unrevealed: Annotated[float, Field(ge=0, le=1)] = 0.2  # share of lessons that show no word
    updates: PositiveInt = 4000  # of the network
    batch_size: PositiveInt = 512  # states of an update
    learning_rate: PositiveFloat = 1e-3  # the largest, of AdamW
    schedule: Literal["one_cycle", "constant"] = "one_cycle"  # of the learning rate
    weight_decay: Annotated[float, Field(ge=0)] = 0.0  # of AdamW

    def check(self, run: Run, rules: Task[Any]) -> None:
        """Words for the working states to come, and no other way to have them."""
        chain = rules.chain
        if not isinstance(rules, Bet) or rules.think_budget:
            raise UserError(
                "denoising writes before it answers: it needs a Bet environment with think_budget "
                "0",
                "agent.kind",
            )
        if not isinstance(chain, ChainWithWords):
            raise UserError(
                f"denoising needs a chain whose working state can be said in a word, which that "
                f"of {type(chain).__name__} cannot",
                "agent.kind",
            )
        if self.steps > chain.serial_depth:
            raise UserError(
                f"at most the serial depth {chain.serial_depth}, a working state a step, not "
                f"{self.steps}",
                "agent.steps",
            )
