"""Games as PettingZoo environments, in which two agents take turns (extra ``games``)."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from pettingzoo import AECEnv

from rl_serial.envs.games.game import num_actions
from rl_serial.envs.games.registry import make_game

AGENTS = ("player_0", "player_1")


class GameAEC(AECEnv):  # type: ignore[misc]
    """A game of two agents, player_0 (who begins) and player_1, by PettingZoo's AEC interface.

    An observation is ``{"observation": [layout.size] float32, "action_mask": [A] int8}``, seen by
    the agent that it is for; the mask is all zero while it is not its turn. Actions are in the same
    view (in Hex the second player's board is mirrored). A win pays 1 and costs the other 1; a move
    that is not legal loses. ``game`` has the rules and ``position`` their state.

    Args:
        name: of the game.
        render_mode: None or ansi.
        options: those of the game.

    Raises:
        UnknownOption: an option that does not exist; it is a ValueError and a TypeError.
        ValueError: no such game or render mode, an option out of range.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "render_modes": ["ansi"],
        "name": "rl_serial_game_v0",
        "is_parallelizable": False,
        "render_fps": 1,
    }

    def __init__(self, name: str, *, render_mode: str | None = None, **options: Any) -> None:
        super().__init__()
        if render_mode not in (None, "ansi"):
            raise ValueError(f"render_mode={render_mode!r}: must be ansi or None")
        self.game = make_game(name, **options)
        self.render_mode = render_mode
        self.possible_agents = list(AGENTS)
        count = num_actions(self.game)
        space = gymnasium.spaces.Dict(
            {
                "observation": gymnasium.spaces.Box(0.0, 1.0, (self.game.layout.size,), np.float32),
                "action_mask": gymnasium.spaces.Box(0, 1, (count,), np.int8),
            }
        )
        self.observation_spaces = dict.fromkeys(AGENTS, space)
        self.action_spaces = {agent: gymnasium.spaces.Discrete(count) for agent in AGENTS}

    def observation_space(self, agent: str) -> Any:
        """The same for both."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """One action a name."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """The empty board; nothing is random in it."""
        self.agents = list(AGENTS)
        self.position = self.game.initial(1)
        self.rewards = dict.fromkeys(AGENTS, 0.0)
        self._cumulative_rewards = dict.fromkeys(AGENTS, 0.0)
        self.terminations = dict.fromkeys(AGENTS, False)
        self.truncations = dict.fromkeys(AGENTS, False)
        self.infos: dict[str, dict[str, Any]] = {agent: {} for agent in AGENTS}
        self.agent_selection = AGENTS[0]

    def observe(self, agent: str) -> dict[str, Any]:
        """What an agent sees; out of its turn, the board from its side and no legal action."""
        position = self.position
        turn = int(position.player[0]) == AGENTS.index(agent)
        if not turn:
            board = self.game.absolute_board(position)
            position = self.game.from_board(board, 1 - position.player, position.ply)
        mask = self.game.legal(position)[0] & turn
        return {
            "observation": self.game.observe(position)[0],
            "action_mask": mask.astype(np.int8),
        }

    def step(self, action: int | None) -> None:
        """The selected agent's move."""
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        transition = self.game.step(self.position, np.array([action], dtype=np.int64))
        self.position = transition.state
        other = AGENTS[1 - AGENTS.index(agent)]
        reward = float(transition.reward[0])
        self._cumulative_rewards[agent] = 0.0
        self.rewards = {agent: reward, other: -reward}
        if bool(transition.terminated[0]):
            self.terminations = dict.fromkeys(AGENTS, True)
        self.agent_selection = other
        self._accumulate_rewards()

    def render(self) -> str | None:
        """The board as text."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs render_mode='ansi'")
            return None
        return self.game.render(self.position)[0]

    def close(self) -> None:
        """Nothing is open."""


def hex_v0(**options: Any) -> GameAEC:
    """Hex; options are those of :class:`GameAEC` and of the game."""
    return GameAEC("Hex", **options)


def connect_four_v0(**options: Any) -> GameAEC:
    """Connect Four; options are those of :class:`GameAEC` and of the game."""
    return GameAEC("ConnectFour", **options)
