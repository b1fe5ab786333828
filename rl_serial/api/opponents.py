"""A trained run as the opponent in a game."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.agents.protocols import ObservingAgent, Preference, decide, on_host
from rl_serial.api.agents import load
from rl_serial.envs.games import Game, ObservingPlayer, Thought
from rl_serial.errors import OptionError


def run_player(game: Game[Any], folder: str) -> ObservingPlayer:
    """The agent of a run's folder, playing by what it observes; of equal moves the first.

    Raises:
        OptionError: it was trained on another board, or does not decide from observations.
        UserError: no such run.
    """
    loaded = load(folder, device="cpu")
    agent = loaded.agent
    if not isinstance(agent, ObservingAgent):
        raise OptionError("opponent", f"{folder}: its agent does not decide from observations")
    size = loaded.observation_space.shape
    if size != (game.layout.size,) or loaded.action_space.n != len(game.action_names):
        raise OptionError("opponent", f"{folder}: was trained on another board than {game}")

    def explain(seen: NDArray[Any], legal: NDArray[np.bool_]) -> Thought:
        judgement = agent.assess(seen, legal)
        values = None if judgement.values is None else on_host(judgement.values)
        numbers = {}
        if agent.preference != Preference.NONE:
            numbers[str(agent.preference)] = on_host(judgement.preferences)
        return Thought(decide(judgement, legal), values, numbers)

    return ObservingPlayer(game, lambda *seen: explain(*seen).action, explain)
