"""A trained run as the opponent in a game."""

from __future__ import annotations

from typing import Any

from rl_serial.agents.protocols import ObservingAgent, decide
from rl_serial.api.agents import load
from rl_serial.envs.games import Game, ObservingPlayer
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
    return ObservingPlayer(game, lambda seen, legal: decide(agent.assess(seen, legal), legal))
