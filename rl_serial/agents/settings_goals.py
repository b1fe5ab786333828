"""What a configuration says of the agents that reach goals, SAC among them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from rl_serial.agents.settings import AgentSettings, Run, SB3Settings, check_processes
from rl_serial.errors import OptionError
from rl_serial.settings import MOST_ROWS


class GoalAgentSettings(AgentSettings):
    """What every agent has that reaches goals."""

    def critic_sizes(self, state: int, action: int, goal: int) -> tuple[int, int]:
        """Numbers that a critic takes and gives."""
        return state + action + goal, 1


class SACAgentConfig(SB3Settings, GoalAgentSettings):
    """SAC of Stable-Baselines3; in goal environments also with hindsight experience replay."""

    kind: Literal["sac", "sac_her"]
    timesteps: PositiveInt = 1_000_000  # of all environments together; whole rollouts are trained
    num_envs: PositiveInt = 8  # side by side

    def network_sizes(self, key: str, observation: int, actions: int) -> tuple[int, int]:
        """A critic values an observation with an action; a policy gives means and spreads."""
        return (observation + actions, 1) if key == "network" else (observation, 2 * actions)

    def check(self, run: Run, rules: None) -> None:
        """Processes: one, or one for each environment."""
        check_processes(self.processes, self.num_envs)


class ContrastiveAgentConfig(GoalAgentSettings):
    """Contrastive reinforcement learning (see :mod:`rl_serial.agents.contrastive`).

    The defaults are those of Wang et al. 2025 (arXiv 2503.14858) and want a GPU.
    """

    kind: Literal["contrastive"]
    timesteps: PositiveInt = 100_000_000  # of all environments together; whole unrolls are played
    num_envs: PositiveInt = 512  # side by side
    processes: PositiveInt = 1  # that step the environments, where they are not one simulation
    unroll: PositiveInt = 62  # steps of every environment between updates
    updates: PositiveInt = 800  # after each unroll
    batch_size: Annotated[int, Field(ge=2)] = 512  # of an update
    learning_rate: PositiveFloat = 3e-4  # of critic and policy
    discount: Annotated[float, Field(gt=0, lt=1)] = 0.99  # says how far ahead goals are drawn
    representation: PositiveInt = 64  # numbers in an embedding
    logsumexp_penalty: Annotated[float, Field(ge=0)] = 0.1  # of the critic's loss
    target_entropy: float = -0.5  # for each number of an action
    buffer_size: PositiveInt = 10_000  # newest steps of each environment
    prefill: PositiveInt = 1000  # steps of each environment before the first update

    def critic_sizes(self, state: int, action: int, goal: int) -> tuple[int, int]:
        """Numbers that φ takes, which does not see the goal, and gives."""
        return state + action, self.representation

    @model_validator(mode="after")
    def _memory_not_too_large(self) -> ContrastiveAgentConfig:
        for key in ("buffer_size", "unroll"):
            rows = getattr(self, key) * self.num_envs
            if rows > MOST_ROWS:
                raise OptionError(
                    key,
                    f"{rows} steps of num_envs={self.num_envs} environments are held at once; "
                    f"{key} can be {MOST_ROWS // self.num_envs}",
                )
        return self

    @model_validator(mode="after")
    def _learns(self) -> ContrastiveAgentConfig:
        turns = -(-self.timesteps // (self.num_envs * self.unroll))
        if turns * self.unroll < self.prefill:
            raise OptionError(
                "prefill",
                f"{self.prefill} are more than the {turns * self.unroll} steps that "
                f"timesteps={self.timesteps} give each of num_envs={self.num_envs} environments, "
                "so that nothing would be learned",
            )
        return self

    def check(self, run: Run, rules: None) -> None:
        """Processes: one, or one for each environment."""
        check_processes(self.processes, self.num_envs)
