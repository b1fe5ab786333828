"""A puzzle in pictures: the grid, what was filled when, and the candidates of blank cells."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rl_serial.envs.rendering import Scene

BEST_SHOWN = 6
"""Actions whose values are listed."""
SIDE = {4: 84, 6: 66, 9: 54}
"""Of a cell, in pixels."""
_PAPER, _CELL, _LINE, _TEXT = (255, 255, 255), (248, 248, 246), (60, 60, 60), (34, 34, 34)
_FAINT, _FILLED, _WRONG, _LAST = (140, 140, 140), (43, 65, 98), (196, 106, 46), (232, 238, 246)


def ansi(scene: Scene) -> str:
    """The scene as text: the grid beside the step that filled each cell, then candidates.

    Given digits stand alone, a filled one has a mark behind it: ' right, ! wrong.
    """
    task: Any = scene.task
    state, size = scene.states[-1], task.size
    step = filled_at(scene)
    givens, grid, solution = (a[0] for a in (state.givens, state.grid, state.solution))
    digits, steps = [], []
    for cell in range(size * size):
        mark = " "
        if grid[cell] and not givens[cell]:
            mark = "'" if grid[cell] == solution[cell] else "!"
        digits.append(f"{grid[cell] or '.'}{mark}")
        steps.append(f"{step[cell] if step[cell] else '.':>2}")
    lines = [*_head(scene), ""]
    left, right = _rows(digits, size), _rows(steps, size)
    lines.append(f"{'grid':<{len(left[0])}}   filled at step")
    lines += [f"{a}   {b}" for a, b in zip(left, right, strict=True)]
    lines += ["", "candidates (of row, column and box)"]
    open_ = task.candidates(state.grid)[0]
    told = []
    for cell in range(size * size):
        here = "".join(str(d + 1) for d in np.flatnonzero(open_[cell]))
        told.append(here if grid[cell] == 0 else "-")
    wide = max(max(map(len, told)), 1)
    lines += _rows([f"{text:<{wide}}" for text in told], size)
    return "\n".join(line.rstrip() for line in [*lines, *_action_lines(scene)])


def rgb_array(scene: Scene) -> NDArray[np.uint8]:
    """The scene as a picture [height, width, 3]; the size is the same all through an episode.

    Given digits are black, filled ones blue, wrong ones orange, each with the step that filled it;
    blank cells show their candidates.
    """
    task: Any = scene.task
    state, size = scene.states[-1], task.size
    side, margin, top, panel = SIDE[size], 20, 76, 260
    board = side * size
    image = Image.new("RGB", (board + 3 * margin + panel, board + top + margin), _PAPER)
    draw = ImageDraw.Draw(image)
    title, options, status = _head(scene)
    draw.text((margin, 10), title, _TEXT, _font(16))
    draw.text((margin, 32), options, _FAINT, _font(11))
    draw.text((margin, 50), status, _TEXT, _font(12))
    step, open_ = filled_at(scene), task.candidates(state.grid)[0]
    givens, grid, solution = (a[0] for a in (state.givens, state.grid, state.solution))
    last = scene.actions[-1] // size if scene.actions else -1
    across = 2 if size == 4 else 3  # candidates in a row of a cell
    for cell in range(size * size):
        x, y = margin + cell % size * side, top + cell // size * side
        draw.rectangle((x, y, x + side, y + side), fill=_LAST if cell == last else _CELL)
        if grid[cell]:
            right = grid[cell] == solution[cell]
            ink = _TEXT if givens[cell] else _FILLED if right else _WRONG
            middle = (x + side / 2, y + side / 2)
            draw.text(middle, str(grid[cell]), ink, _font(side // 2), anchor="mm")
            if step[cell]:
                draw.text((x + side - 4, y + 3), str(step[cell]), _FAINT, _font(10), anchor="ra")
            continue
        for digit in np.flatnonzero(open_[cell]).tolist():
            aside = x + (digit % across + 0.5) * side / across
            below = y + (digit // across + 0.5) * side / -(-size // across)
            draw.text((aside, below), str(digit + 1), _FAINT, _font(11), anchor="mm")
    rows = 3 if size == 9 else 2
    for line in range(size + 1):
        at = line * side
        flat = 3 if line % rows == 0 else 1
        upright = 3 if line % (size // rows) == 0 else 1
        draw.line((margin, top + at, margin + board, top + at), fill=_LINE, width=flat)
        draw.line((margin + at, top, margin + at, top + board), fill=_LINE, width=upright)
    told = ["black: given", "blue: filled rightly", "orange: filled wrongly", "corner: the step"]
    for place, text in enumerate([*told, *_action_lines(scene)]):
        ink = _FAINT if place < len(told) else _TEXT
        draw.text((2 * margin + board, top + 17 * place), text, ink, _font(12))
    return np.asarray(image)


def filled_at(scene: Scene) -> NDArray[np.int64]:
    """[N * N] the step, from 1 on, that filled each cell; 0 of given and blank cells."""
    grids = [state.grid[0] for state in scene.states]
    when = np.zeros(grids[0].shape, dtype=np.int64)
    for step in range(1, len(grids)):
        when[(grids[step - 1] == 0) & (grids[step] > 0)] = step
    return when


def _head(scene: Scene) -> tuple[str, str, str]:
    """What is played, its options, and how it stands."""
    task: Any = scene.task
    state = scene.states[-1]
    blank = int((state.grid[0] == 0).sum())
    rounds = int(task.chain.remaining(state.grid)[0])
    parts = [f"{blank} blank"]
    if blank and task.on_course(state)[0]:
        parts.append(f"{rounds} rounds of singles left" if rounds > 0 else "needs search")
    if scene.actions:
        parts.append(f"last action {task.action_names[scene.actions[-1]]}")
    parts.append(f"return {scene.total_reward:+.2f}")
    if scene.ended:
        parts.append("ended")
    set_ = [(f.name, getattr(task, f.name)) for f in fields(task)]
    options = ", ".join(f"{name}={value}" for name, value in set_ if value is not None)
    return f"Sudoku {task.size} by {task.size}", options, " · ".join(parts)


def _rows(cells: list[str], size: int) -> list[str]:
    """Cells as rows of text, with lines between boxes."""
    rows = 3 if size == 9 else 2
    columns = size // rows
    lines = []
    for r in range(size):
        here = cells[r * size : (r + 1) * size]
        parts = [" ".join(here[c : c + columns]) for c in range(0, size, columns)]
        line = " | ".join(parts)
        if r and r % rows == 0:
            lines.append("-+-".join("-" * len(part) for part in parts))
        lines.append(line)
    return lines


def _action_lines(scene: Scene) -> list[str]:
    """The best legal actions by each row of numbers beside them."""
    lines: list[str] = []
    legal = scene.task.legal_actions(scene.states[-1])[0]
    for name, numbers in scene.values.items():
        order = np.argsort(-np.where(legal, numbers, -np.inf), kind="stable")
        lines += ["", f"best by {name}"]
        lines += [
            f"{scene.task.action_names[action]}  {float(numbers[action]):+.3f}"
            for action in order[:BEST_SHOWN]
            if legal[action]
        ]
    return lines


@lru_cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)
