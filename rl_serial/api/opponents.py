"""A trained run as a player of a game, with a search on top or as its network alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.agents.protocols import ObservingAgent, Preference, decide, on_host
from rl_serial.agents.registry import AGENTS
from rl_serial.agents.search import SearchPlayer
from rl_serial.agents.settings_search import SearchAgentConfig
from rl_serial.api.agents import load
from rl_serial.envs.games import Game, ObservingPlayer, Player, Thought
from rl_serial.errors import OptionError


def run_player(game: Game[Any], folder: str, simulations: int = 0) -> Player:
    """The agent of a run's folder; of equal moves it plays the first.

    Args:
        game: the rules.
        folder: of a finished run on the same board.
        simulations: of a search on top, by the run's own algorithm where it has one, in the game
            itself; 0: the network alone, also of a run that was trained by search.

    Raises:
        OptionError: it was trained on another board, does not decide from observations, or has no
            values to search with.
        UserError: no such run.
    """
    loaded = load(folder, device="cpu")
    agent = getattr(loaded.trainer, "raw_agent", loaded.agent)
    if not isinstance(agent, ObservingAgent):
        raise OptionError("opponent", f"{folder}: its agent does not decide from observations")
    size = loaded.observation_space.shape
    if size != (game.layout.size,) or loaded.action_space.n != len(game.action_names):
        raise OptionError("opponent", f"{folder}: was trained on another board than {game}")
    if not simulations:
        return _observing(game, agent)
    settings = loaded.config.agent
    if not AGENTS[settings.kind].has_values:
        raise OptionError("opponent", f"{folder}: its agent has no values to search with")
    if isinstance(settings, SearchAgentConfig):
        return SearchPlayer(game, agent, simulations, settings.algorithm, settings.max_depth)
    return SearchPlayer(game, agent, simulations)


def _observing(game: Game[Any], agent: ObservingAgent) -> ObservingPlayer:
    """A network alone, with what it makes of positions."""

    def explain(seen: NDArray[Any], legal: NDArray[np.bool_]) -> Thought:
        judgement = agent.assess(seen, legal)
        values = None if judgement.values is None else on_host(judgement.values)
        numbers = {}
        if agent.preference != Preference.NONE:
            numbers[str(agent.preference)] = on_host(judgement.preferences)
        return Thought(decide(judgement, legal), values, numbers)

    return ObservingPlayer(game, lambda *seen: explain(*seen).action, explain)
