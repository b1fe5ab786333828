"""Watching a game, move by move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.agents.protocols import Agent, Preference, decide
from rl_serial.envs.games.duel import Duel
from rl_serial.envs.games.pictures import ansi, rgb_array
from rl_serial.envs.random import episode_seeds
from rl_serial.envs.rendering import Scene


@dataclass(frozen=True)
class GameMoment:
    """What is shown of a game at a time."""

    scene: Scene

    def text(self) -> str:
        """As text."""
        return ansi(self.scene)

    def picture(self) -> NDArray[np.uint8]:
        """As a picture [height, width, 3], of the same size all through a game."""
        return rgb_array(self.scene)


def watch_game(agent: Agent, task: Duel, instance: int = 0, seed: int = 0) -> list[GameMoment]:
    """An evaluation game from its first state to its end, with values beside the exact ones.

    Args:
        agent: who plays against the opponent.
        task: the rules.
        instance: which of the evaluation games of ``seed``.
        seed: as in the evaluation.
    """
    rules: Any = task
    state = task.initial(episode_seeds(seed, 1, np, first=instance))
    states, total = [state], 0.0
    actions: list[int] = []
    moments: list[GameMoment] = []
    while True:
        judgement = agent.judge(state)
        values: dict[str, NDArray[Any]] = {}
        if task.perfect is not None:
            values["exact"] = task.action_values(state)[0]
        if agent.preference != Preference.NONE:
            values[f"agent ({agent.preference})"] = np.asarray(judgement.preferences)[0]
        scene = Scene(rules, tuple(states), tuple(actions), total, values=values)
        moments.append(GameMoment(scene))
        action = decide(judgement, task.legal_actions(state))
        transition = task.step(state, action)
        state = transition.state
        states.append(state)
        actions.append(int(action[0]))
        total += float(transition.reward[0])
        if bool(transition.terminated[0]):
            last = Scene(rules, tuple(states), tuple(actions), total, ended=True)
            return [*moments, GameMoment(last)]
