"""Watching a game, move by move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rl_serial.agents.protocols import Agent, Preference, decide, on_host
from rl_serial.agents.search import SearchAgent, searched
from rl_serial.envs.games import Game
from rl_serial.envs.games.duel import Duel
from rl_serial.envs.games.pictures import ansi, rgb_array
from rl_serial.envs.random import episode_seeds
from rl_serial.envs.rendering import Scene
from rl_serial.planning import Tree

MOST_LINES, MOST_CHILDREN, MOST_DEPTH = 16, 3, 4
"""Of a tree that is shown: lines, moves of a position, moves from the root."""
LINE_HEIGHT, TREE_WIDTH = 18, 300


@dataclass(frozen=True)
class GameMoment:
    """What is shown of a game at a time."""

    scene: Scene
    tree: tuple[str, ...] | None = None  # of who searches: its search, a line a node

    def text(self) -> str:
        """As text."""
        lines = ["", "search (visits, value for who moves)", *self.tree] if self.tree else []
        return "\n".join([ansi(self.scene), *lines])

    def picture(self) -> NDArray[np.uint8]:
        """As a picture [height, width, 3], of the same size all through a game."""
        board = rgb_array(self.scene)
        if self.tree is None:
            return board
        height = max(board.shape[0], (MOST_LINES + 2) * LINE_HEIGHT)
        page = Image.new("RGB", (board.shape[1] + TREE_WIDTH, height), "white")
        page.paste(Image.fromarray(board))
        draw = ImageDraw.Draw(page)
        for number, line in enumerate(("search (visits, value)", *self.tree)):
            y = (number + 1) * LINE_HEIGHT
            draw.text((board.shape[1], y), line, "black", ImageFont.load_default(12))
        return np.asarray(page)


def tree_lines(game: Game[Any], state: Any, tree: Tree, row: int = 0) -> tuple[str, ...]:
    """The moves that a search has visited most, those of a position below it and indented.

    Args:
        game: the rules.
        state: of the game, the root's.
        tree: of a search.
        row: of state and tree.
    """
    parent, visits = on_host(tree.parent)[row], on_host(tree.visits)[row]
    action, depth = on_host(tree.action)[row], on_host(tree.depth)[row]
    gains = on_host(tree.reward + tree.discount * tree.value)[row]
    first = int(np.asarray(state.player)[row])
    lines: list[str] = []

    def show(node: int) -> None:
        below = np.flatnonzero((parent == node) & (visits > 0))
        for child in below[np.argsort(-visits[below], kind="stable")][:MOST_CHILDREN]:
            if len(lines) == MOST_LINES:
                return
            # The second player's moves are seen on a board that is turned.
            player = np.array([(first + depth[child] - 1) % 2])
            seen = int(game.on_board(np.array([action[child]], np.int64), player)[0])
            indent = "  " * int(depth[child] - 1)
            name = f"{indent}{game.action_names[seen]}"
            lines.append(f"{name:<14}{visits[child]:>5} {gains[child]:+.2f}")
            if depth[child] < MOST_DEPTH:
                show(int(child))

    show(0)
    return tuple(lines)


def watch_game(agent: Agent, task: Duel, instance: int = 0, seed: int = 0) -> list[GameMoment]:
    """An evaluation game from its first state to its end, with values beside the exact ones.

    Of an agent that searches there are the visits of the moves and its trees as well.

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
    searcher = agent if isinstance(agent, SearchAgent) and agent.simulations > 0 else None
    while True:
        found = None if searcher is None else searcher.search(state)[0]
        judgement = agent.judge(state) if found is None else searched(found)
        values: dict[str, NDArray[Any]] = {}
        if task.perfect is not None:
            values["exact"] = task.action_values(state)[0]
        if agent.preference != Preference.NONE:
            values[f"agent ({agent.preference})"] = np.asarray(judgement.preferences)[0]
        tree = None
        if found is not None:
            values["visits"] = on_host(found.visit_counts)[0]
            tree = tree_lines(task.game, state.game, found.tree)
        scene = Scene(rules, tuple(states), tuple(actions), total, values=values)
        moments.append(GameMoment(scene, tree))
        action = decide(judgement, task.legal_actions(state))
        transition = task.step(state, action)
        state = transition.state
        states.append(state)
        actions.append(int(action[0]))
        total += float(transition.reward[0])
        if bool(transition.terminated[0]):
            last = Scene(rules, tuple(states), tuple(actions), total, ended=True)
            return [*moments, GameMoment(last, None if searcher is None else ())]
