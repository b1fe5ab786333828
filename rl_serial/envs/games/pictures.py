"""A game in pictures: the board as people see it, the last move, the values of the moves."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rl_serial.envs.rendering import Scene

BEST_SHOWN = 6
"""Actions whose values are listed."""
_PAPER, _EMPTY, _LINE = (255, 255, 255), (244, 244, 241), (160, 160, 160)
_TEXT, _FAINT, _MARK = (34, 34, 34), (140, 140, 140), (196, 106, 46)
_STONES = {1: (43, 65, 98), -1: (222, 184, 96)}
_SIDE, _MARGIN, _TOP, _PANEL = 46, 24, 84, 250


def ansi(scene: Scene) -> str:
    """The scene as text: the board with coordinates, then the values of moves."""
    task: Any = scene.task
    state = scene.states[-1]
    board = task.game.render(state.game)[0]
    lines = [_title(task), *task.notes(state), board, "", *_value_lines(scene)]
    return "\n".join(line.rstrip() for line in lines).rstrip()


def rgb_array(scene: Scene) -> NDArray[np.uint8]:
    """The scene as a picture [height, width, 3]; the size is the same all through an episode.

    Stones of the first player are blue, those of the second yellow; what came last has a rim.
    """
    task: Any = scene.task
    game, state = task.game, scene.states[-1]
    slant = _SIDE // 2 if game.name == "Hex" else 0
    width = int(game.width * _SIDE + slant * (game.height - 1))
    size = (width + 3 * _MARGIN + _PANEL, max(game.height * _SIDE, 180) + _TOP + 2 * _MARGIN)
    image = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN, 10), _title(task), _TEXT, _font(15))
    draw.text((_MARGIN, 34), task.status(state), _TEXT, _font(12))
    draw.text((_MARGIN, 52), ", ".join(task.notes(state)), _FAINT, _font(11))
    board = game.absolute_board(state.game)[0]
    before = game.absolute_board(scene.states[-2].game)[0] if len(scene.states) > 1 else board
    for row in range(game.height):
        left, y = _MARGIN + row * slant, _TOP + row * _SIDE
        for column in range(game.width):
            x = left + column * _SIDE
            stone = int(board[row, column])
            new = stone != 0 and before[row, column] != stone
            draw.ellipse(
                (x + 3, y + 3, x + _SIDE - 3, y + _SIDE - 3),
                fill=_STONES.get(stone, _EMPTY),
                outline=_MARK if new else _LINE,
                width=3 if new else 1,
            )
    if game.name == "Hex":
        _draw_edges(draw, game.width, game.height, slant)
    for number, line in enumerate(_value_lines(scene)):
        draw.text((width + 2 * _MARGIN, _TOP + 18 * number), line, _TEXT, _font(12))
    return np.asarray(image)


def _draw_edges(draw: Any, width: int, height: int, slant: int) -> None:
    """The sides that each player connects, in their colours."""
    bottom, far = _TOP + height * _SIDE + 3, _MARGIN + width * _SIDE
    shift = slant * (height - 1)
    draw.line((_MARGIN, _TOP - 4, far, _TOP - 4), _STONES[1], 4)
    draw.line((_MARGIN + shift, bottom, far + shift, bottom), _STONES[1], 4)
    draw.line((_MARGIN - 6, _TOP, _MARGIN - 6 + shift, bottom), _STONES[-1], 4)
    draw.line((far + 6, _TOP, far + 6 + shift, bottom), _STONES[-1], 4)


def _title(task: Any) -> str:
    game = task.game
    opponent = task.opponent if isinstance(task.opponent, str) else type(task.opponent).__name__
    return f"{game.name}, {game.width} by {game.height}, against {opponent}"


def _value_lines(scene: Scene) -> list[str]:
    """The best moves by each of the scene's numbers, on the board as people see it."""
    task: Any = scene.task
    game, state = task.game, scene.states[-1].game
    if not scene.values or bool(state.ended[0]):
        return []
    legal = np.flatnonzero(np.asarray(game.legal(state))[0])
    seen = np.asarray(game.on_board(legal, np.repeat(state.player, legal.size)))
    lines = []
    for name, values in scene.values.items():
        lines.append(name)
        for place in np.argsort(-values[legal], kind="stable")[:BEST_SHOWN]:
            number = values[legal[place]]
            shown = f"{number:d}" if np.issubdtype(values.dtype, np.integer) else f"{number:+.2f}"
            lines.append(f"  {game.action_names[seen[place]]:<5}{shown}")
    return lines


@lru_cache(maxsize=8)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)
