"""Watching an agent: an episode as pictures and text, its values beside the exact ones."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rl_serial.agents.agent import Agent, decide
from rl_serial.envs.random import evaluation_seeds
from rl_serial.envs.rendering import FRAMES_PER_SECOND, Scene, rgb_array
from rl_serial.envs.tasks import Task


def watch_episode(agent: Agent, task: Task[Any], instance: int = 0, seed: int = 0) -> list[Scene]:
    """The scenes of an evaluation episode, from its first state to its end.

    Args:
        agent: who plays.
        task: the rules.
        instance: which of the evaluation instances of ``seed`` is played.
        seed: as in the evaluation.
    """
    state = task.initial(evaluation_seeds(2 * seed, instance + 1, np)[instance:])
    states, total, ended = [state], 0.0, False
    actions: list[int] = []
    scenes = []
    while True:
        judgement = agent.judge(state)
        values = {"exact": task.action_values(state)[0]}
        if agent.preference != "none":
            label = "agent" if agent.preference == "action value" else f"agent ({agent.preference})"
            values[label] = judgement.preferences[0]
        shown = {} if ended else values
        scenes.append(Scene(task, tuple(states), tuple(actions), total, ended, shown))
        if ended:
            return scenes
        action = decide(judgement, task.legal_actions(state))
        transition = task.step(state, action)
        state, ended = transition.state, bool(transition.terminated[0])
        states.append(state)
        actions.append(int(action[0]))
        total += float(transition.reward[0])


def animated_gif(scenes: list[Scene]) -> tuple[bytes, tuple[int, int]]:
    """The scenes as an animated GIF, and its size (width, height)."""
    frames: list[NDArray[np.uint8]] = [rgb_array(scene) for scene in scenes]
    images = [Image.fromarray(frame) for frame in frames]
    stream = io.BytesIO()
    images[0].save(
        stream,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        # The end stays in view for two seconds.
        duration=[1000 // FRAMES_PER_SECOND] * (len(images) - 1) + [2000],
        loop=0,
    )
    return stream.getvalue(), images[0].size
