"""Watching an agent: an episode as pictures and text, its values beside the exact ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.agents.protocols import Agent, Judgement, Preference, decide, on_host
from rl_serial.agents.search import SearchAgent, searched
from rl_serial.envs.random import episode_seeds
from rl_serial.envs.rendering import Scene, ansi, rgb_array
from rl_serial.envs.tasks import Task
from rl_serial.subjects.chains.trees import TreeNode, beside, draw_tree, tree_lines, tree_of


@dataclass(frozen=True)
class Moment:
    """What is shown of an episode at a time: the scene and, of an agent that searches, its tree."""

    scene: Scene
    searches: bool = False
    tree: TreeNode | None = None

    def text(self) -> str:
        """As text."""
        lines = ["", "search tree", *tree_lines(self.tree)] if self.tree else []
        return "\n".join([ansi(self.scene), *lines])

    def picture(self) -> NDArray[np.uint8]:
        """As a picture [height, width, 3], of the same size all through an episode."""
        frame = rgb_array(self.scene)
        return beside(frame, draw_tree(self.tree)) if self.searches else frame


def watch_episode(agent: Agent, task: Task[Any], instance: int = 0, seed: int = 0) -> list[Moment]:
    """An evaluation episode from its first state to its end.

    Args:
        agent: who plays.
        task: the rules.
        instance: which of the evaluation instances of ``seed`` is played.
        seed: as in the evaluation.
    """
    state = task.initial(episode_seeds(seed, 1, np, first=instance))
    states, total = [state], 0.0
    actions: list[int] = []
    moments = []
    searches = isinstance(agent, SearchAgent) and agent.simulations > 0
    while True:
        values: dict[str, NDArray[Any]] = {"exact": task.action_values(state)[0]}
        tree, visits = None, {}
        if isinstance(agent, SearchAgent) and searches and task.legal_actions(state).sum() > 1:
            output, _ = agent.search(state)
            judgement = searched(output)
            tree = tree_of(output.tree, task.action_names)
            visits = {"visits": on_host(output.visit_counts[0])}
        else:
            judgement = agent.judge(state)
        values |= _own_numbers(agent, judgement) | visits
        scene = Scene(task, tuple(states), tuple(actions), total, values=values)
        moments.append(Moment(scene, searches, tree))
        action = decide(judgement, task.legal_actions(state))
        transition = task.step(state, action)
        state = transition.state
        states.append(state)
        actions.append(int(action[0]))
        total += float(transition.reward[0])
        if bool(transition.terminated[0]):
            last = Scene(task, tuple(states), tuple(actions), total, ended=True)
            return [*moments, Moment(last, searches)]


def _own_numbers(agent: Agent, judgement: Judgement) -> dict[str, NDArray[np.float32]]:
    """An agent's preferences, by what they are called beside the exact values."""
    if agent.preference == Preference.NONE:
        return {}
    label = (
        "agent" if agent.preference == Preference.ACTION_VALUE else f"agent ({agent.preference})"
    )
    return {label: judgement.preferences[0]}
