"""Searches in games of two players: the rules as a model in which the turn changes at every step.

A value is that of the player to move, so what follows a move counts with the discount -1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.agents.dynamics import Dynamics, Step, TrueDynamics
from rl_serial.agents.protocols import Agent, Judgement, ObservingAgent, on_host
from rl_serial.agents.search.agent import SearchAgent
from rl_serial.agents.search.judgement import SEARCH_BATCH, take_rows
from rl_serial.envs.chain import Array, TokenLayout
from rl_serial.envs.games import Game, Thought
from rl_serial.envs.games.duel import Duel, DuelState
from rl_serial.envs.tasks import Task, Transition


@dataclass(frozen=True)
class BothSides:
    """A game in which one agent moves for both players, with the names that tasks have.

    States are the game's, and a reward is that of who has moved.

    Args:
        game: the rules.
    """

    game: Game[Any]

    @property
    def action_names(self) -> tuple[str, ...]:
        """The game's."""
        return self.game.action_names

    @property
    def layout(self) -> TokenLayout:
        """The game's."""
        return self.game.layout

    def step(self, state: Any, action: Array) -> Transition[Any]:
        """The moves ``action`` [B]."""
        return self.game.step(state, action)

    def observe(self, state: Any) -> Array:
        """[B, layout.size] as the player to move sees the board."""
        return self.game.observe(state)

    def legal_actions(self, state: Any) -> Array:
        """[B, num_actions]: the legal moves; all actions after the end."""
        return self.game.legal(state) | state.ended[:, None]


class GameDynamics:
    """The rules of a game, in which both sides do their best; an embedding is a position.

    Args:
        game: the rules.
    """

    discount = -1.0

    def __init__(self, game: Game[Any]) -> None:
        self.rules = BothSides(game)

    def embed(self, state: Any) -> Any:
        """The positions, of a game or of games against an opponent, whose dice are left out."""
        return state.game if isinstance(state, DuelState) else state

    def step(self, embedding: Any, action: Array) -> Step:
        """A move of who is to move."""
        moved = self.rules.step(embedding, action)
        legal = self.rules.legal_actions(moved.state)
        return Step(moved.state, moved.reward, moved.terminated, legal)

    def judge(self, agent: Agent, embedding: Any, legal: Array) -> Judgement:
        """What an agent makes of positions, which it may meet on either side."""
        if isinstance(agent, ObservingAgent):
            return agent.assess(self.rules.observe(embedding), legal)
        player = np.asarray(embedding.player)
        return agent.judge(DuelState(embedding, np.zeros_like(player), player))


def true_dynamics(task: Task[Any]) -> Dynamics:
    """The rules of a task; of a game against an opponent those of the game itself."""
    return GameDynamics(task.game) if isinstance(task, Duel) else TrueDynamics(task)


class SearchPlayer:
    """Plays a game by a search on top of an agent; of equal moves the first.

    Args:
        game: the rules.
        agent: judges positions; needs values.
        simulations: of a move, at least 1.
        algorithm: gumbel or puct.
        max_depth: most moves from the root to a leaf; None: no limit.
    """

    def __init__(
        self,
        game: Game[Any],
        agent: Agent,
        simulations: int,
        algorithm: str = "gumbel",
        max_depth: int | None = None,
    ) -> None:
        rules: Any = BothSides(game)
        self.searcher = SearchAgent(
            rules, agent, GameDynamics(game), simulations, algorithm, max_depth
        )

    def act(self, state: Any, seeds: NDArray[np.int64]) -> NDArray[np.int64]:
        """See :class:`rl_serial.envs.games.Player`; nothing is left to dice."""
        found = []
        for first in range(0, len(seeds), SEARCH_BATCH):
            rows = np.arange(first, min(first + SEARCH_BATCH, len(seeds)))
            found.append(on_host(self.searcher.search(take_rows(state, rows))[0].action))
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def think(self, state: Any, seeds: NDArray[np.int64]) -> Thought:
        """See :class:`rl_serial.envs.games.ThinkingPlayer`: visits and values of the search."""
        output, own = self.searcher.search(state)
        numbers = {
            "visits": on_host(output.visit_counts),
            "searched value": on_host(output.qvalues),
            f"network ({self.searcher.agent.preference})": on_host(own.preferences),
        }
        return Thought(on_host(output.action), on_host(output.value), numbers)
