"""Pictures of an episode: the space-time diagram of the chain, what is ahead, the decision.

Drawn from the contract of a chain alone, so a new family needs no drawing of its own. A method
``drawing(state, side)`` of the chain, or its text (:class:`rl_serial.envs.chain.ChainWithText`),
stands in place of the tokens ahead.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rl_serial.envs.chain import ChainWithText
from rl_serial.envs.tasks import Task
from rl_serial.errors import told_missing

TEXT_WIDTH = 100
TEXT_LINE = 14
"""Height of a line of a chain's text, in pixels."""
FRAMES_PER_SECOND = 4
MOST_ROWS = 24
"""Of actions in a picture."""

# Ink on paper; every step differs in lightness, so that a grey print reads the same.
_PAPER, _EMPTY, _OFF, _ON = (255, 255, 255), (244, 244, 241), (222, 224, 222), (43, 65, 98)
_TEXT, _FAINT, _MARK = (34, 34, 34), (140, 140, 140), (196, 106, 46)
_SHADES = " ░▒▓█"


@dataclass(frozen=True)
class Scene:
    """What is drawn: an episode up to now."""

    task: Task[Any]
    states: tuple[Any, ...]  # states of the task with B = 1, the first of the episode first
    actions: tuple[int, ...] = ()  # the actions between them, one fewer than the states
    total_reward: float = 0.0
    ended: bool = False
    # Numbers beside each action of the last state, by what they are: {"exact": [num_actions], …}
    values: dict[str, NDArray[Any]] = field(default_factory=dict)


def ansi(scene: Scene) -> str:
    """The scene as text, at most 100 columns wide (a wide ring or circuit is drawn folded)."""
    diagram = _diagram(scene)
    title, settings = _title(scene)
    lines = [title, *textwrap.wrap(settings, TEXT_WIDTH), _status(scene), ""]
    lines.append("space and time (past above, present marked)")
    for step, row in enumerate(diagram):
        if row is None:
            cells = "·" * min(scene.task.chain.working_size, TEXT_WIDTH - 8)
        else:
            cells = _shade(_fold(row[None], TEXT_WIDTH - 8)[0])
        lines.append(f"{step:>4} {'>' if _is_present(scene, step) else ' '} {cells}".rstrip())
    if text := _text_of(scene):
        lines += [
            "",
            "the text",
            *(part for line in text for part in textwrap.wrap(line, TEXT_WIDTH)),
        ]
    else:
        lines += ["", "ahead (a row a token)"]
        ahead = _fold(_ahead(scene), TEXT_WIDTH - 8)
        lines += [f"{token:>4}   {_shade(row)}".rstrip() for token, row in enumerate(ahead)]
    if notes := scene.task.notes(scene.states[-1]):
        lines += ["", *notes]
    lines += ["", *_action_lines(scene)]
    return "\n".join(lines)


def rgb_array(scene: Scene) -> NDArray[np.uint8]:
    """The scene as a picture [height, width, 3]; the size is the same all through an episode."""
    depth, names = scene.task.chain.serial_depth, scene.task.action_names
    layout, cells = scene.task.chain.layout, scene.task.chain.working_size
    side = 14  # of a cell of the diagram, in pixels
    diagram_width = min(cells * side, 480)
    panel_width = 300
    has_drawing = hasattr(scene.task.chain, "drawing")
    text_height = TEXT_LINE * (layout.tokens + 2) if _text_of(scene) else 140
    diagram_height = max((depth + 1) * side, panel_width if has_drawing else text_height)
    width = 40 + diagram_width + 40 + panel_width + 20
    notes = scene.task.notes(scene.states[-1])
    first_note = 92 + diagram_height + 16 + 18 * (min(len(names), MOST_ROWS) + 1) + 12
    height = first_note + (18 * len(notes) + 12 if notes else 0)
    image = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(image)
    title, settings = _title(scene)
    draw.text((20, 12), title, _TEXT, _font(16))
    draw.text((20, 34), settings, _FAINT, _font(12))
    draw.text((20, 50), _status(scene), _TEXT, _font(12))
    draw.text((40, 72), "space and time", _FAINT, _font(11))
    heading = "now" if has_drawing or _text_of(scene) else f"ahead: {layout.tokens} tokens"
    draw.text((80 + diagram_width, 72), heading, _FAINT, _font(11))
    top = 92
    row_height = diagram_height / (depth + 1)
    edges = np.linspace(0, diagram_width, cells + 1)
    for step, row in enumerate(_diagram(scene)):
        y = top + step * row_height
        for cell in range(cells):
            ink = _EMPTY if row is None else _mix(float(row[cell]))
            box = (40 + edges[cell], y, 40 + edges[cell + 1] - 2, y + row_height - 2)
            draw.rectangle(box, fill=ink)
        if _is_present(scene, step):
            middle = y + row_height / 2
            draw.polygon([(22, middle - 6), (22, middle + 6), (33, middle)], fill=_MARK)
    image.paste(_panel(scene, panel_width, diagram_height), (80 + diagram_width, top))
    for line, note in enumerate(notes):
        draw.text((20, first_note + 18 * line), note, _TEXT if line else _FAINT, _font(12))
    for line, (name, cells_of_action, legal) in enumerate(_most_valued(_action_table(scene))):
        y = top + diagram_height + 16 + 18 * line
        ink = _TEXT if legal and line else _FAINT
        draw.text((20, y), name if legal else f"{name} (not legal)", ink, _font(12))
        for column, text in enumerate(cells_of_action):
            best = line > 0 and text.endswith("*")
            position = (220 + 150 * column, y)
            draw.text(position, text, _MARK if best else ink, _font(12), anchor="ra")
    return np.asarray(image)


def _panel(scene: Scene, width: int, height: int) -> Image.Image:
    """The chain's own drawing or text of its last state; else the tokens ahead as a heat map."""
    chain = scene.task.chain
    if hasattr(chain, "drawing"):
        state = scene.task.chain_state(scene.states[-1])
        return Image.fromarray(chain.drawing(state, width))
    if text := _text_of(scene):
        page = Image.new("RGB", (width, height), _PAPER)
        for line, sentence in enumerate(text):
            ImageDraw.Draw(page).text((0, TEXT_LINE * line), sentence, _TEXT, _font(11))
        return page
    heat = np.array([[_mix(float(v)) for v in row] for row in _ahead(scene)], dtype=np.uint8)
    return Image.fromarray(heat).resize((width, height), Image.Resampling.NEAREST)


class Window:
    """The window of ``render_mode="human"``.

    Raises:
        gymnasium.error.DependencyNotInstalled: pygame is missing.
    """

    def __init__(self) -> None:
        try:
            import pygame
        except ImportError as error:
            told = told_missing("render_mode='human'", "pygame", "render")
            raise gymnasium.error.DependencyNotInstalled(told) from error
        self._pygame = pygame
        pygame.display.init()
        self._clock = pygame.time.Clock()
        self._screen: Any = None

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Show a picture [height, width, 3], and keep to the frame rate."""
        size = (frame.shape[1], frame.shape[0])
        if self._screen is None or self._screen.get_size() != size:
            self._screen = self._pygame.display.set_mode(size)
            self._pygame.display.set_caption("rl_serial")
        surface = self._pygame.surfarray.make_surface(frame.transpose(1, 0, 2))
        self._screen.blit(surface, (0, 0))
        self._pygame.event.pump()
        self._pygame.display.flip()
        self._clock.tick(FRAMES_PER_SECOND)

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()


def _title(scene: Scene) -> tuple[str, str]:
    """The family and the task, and every option with its value."""
    chain, task = scene.task.chain, scene.task
    options = [f"{f.name}={getattr(chain, f.name)}" for f in fields(chain)]  # type: ignore[arg-type]
    options += [f"{f.name}={getattr(task, f.name)}" for f in fields(task) if f.name != "chain"]  # type: ignore[arg-type]
    return f"{type(chain).__name__}, {type(task).__name__}", ", ".join(options)


def _status(scene: Scene) -> str:
    remaining = int(scene.task.remaining(scene.states[-1])[0])
    parts = [f"remaining {remaining} of {scene.task.chain.serial_depth}"]
    if scene.actions:
        parts.append(f"last action {scene.task.action_names[scene.actions[-1]]}")
    parts.append(f"return {scene.total_reward:+.2f}")
    return " · ".join([*parts, "ended"] if scene.ended else parts)


def _diagram(scene: Scene) -> list[NDArray[np.float32] | None]:
    """[serial_depth + 1] working states by step; None where the chain was not seen."""
    depth = scene.task.chain.serial_depth
    rows: list[NDArray[np.float32] | None] = [None] * (depth + 1)
    for state in scene.states:
        chain_state = scene.task.chain_state(state)
        step = depth - int(scene.task.remaining(state)[0])
        rows[step] = scene.task.chain.working(chain_state)[0]
    return rows


def _is_present(scene: Scene, step: int) -> bool:
    remaining = int(scene.task.remaining(scene.states[-1])[0])
    return step == scene.task.chain.serial_depth - remaining


def _ahead(scene: Scene) -> NDArray[np.float32]:
    """[tokens, features]: the tokens of the observation."""
    layout = scene.task.chain.layout
    observation = scene.task.observe(scene.states[-1])[0]
    tokens: NDArray[np.float32] = observation[: layout.tokens * layout.features]
    return tokens.reshape(layout.tokens, layout.features)


def _text_of(scene: Scene) -> list[str]:
    """The lines that the chain makes of its last state; none of a chain that is not read."""
    chain = scene.task.chain
    if not isinstance(chain, ChainWithText):
        return []
    return chain.text(scene.task.chain_state(scene.states[-1]))[0].split("\n")


def _action_table(scene: Scene) -> list[tuple[str, list[str], bool]]:
    """A header, then each action: name, values (the best starred), whether it is legal."""
    legal = scene.task.legal_actions(scene.states[-1])[0]
    rows = [("action", list(scene.values), True)]
    for action, name in enumerate(scene.task.action_names):
        cells = []
        for numbers in scene.values.values():
            if numbers.dtype.kind == "i":  # a count has no best
                cells.append(f"{numbers[action]} ")
                continue
            best = legal[action] and numbers[action] >= np.where(legal, numbers, -np.inf).max()
            cells.append(f"{numbers[action]:+.3f}{'*' if best else ' '}")
        rows.append((name, cells, bool(legal[action])))
    return rows


def _most_valued(table: list[tuple[str, list[str], bool]]) -> list[tuple[str, list[str], bool]]:
    """The header and, of more than MOST_ROWS actions, those that the last numbers speak for."""
    header, *rows = table
    if len(rows) <= MOST_ROWS:
        return table
    if header[1]:
        order = sorted(range(len(rows)), key=lambda i: -float(rows[i][1][-1].strip("* ")))
    else:
        order = list(range(len(rows)))
    hidden = len(rows) - MOST_ROWS + 1
    shown = [rows[i] for i in sorted(order[: MOST_ROWS - 1])]
    return [header, *shown, (f"… {hidden} more", [""] * len(header[1]), True)]


def _action_lines(scene: Scene) -> list[str]:
    """The table of actions as text."""
    lines = []
    for name, cells, legal in _action_table(scene):
        text = f"{name:<12}" + "".join(f"{cell:>24}" for cell in cells)
        lines.append(text.rstrip() if legal else f"{text}  not legal")
    return lines


def _fold(rows: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """``rows`` [N, M] with at most ``width`` columns: the largest of neighbours, where too many."""
    per_cell = -(-rows.shape[1] // width)
    padding = -rows.shape[1] % per_cell
    padded = np.pad(rows, ((0, 0), (0, padding)))
    folded: NDArray[np.float32] = padded.reshape(rows.shape[0], -1, per_cell).max(axis=2)
    return folded


def _shade(row: NDArray[np.float32]) -> str:
    """A row of numbers in [0, 1] as block characters."""
    return "".join("·" if v <= 0 else _SHADES[round(float(v) * 4)] for v in row)


def _mix(value: float) -> tuple[int, ...]:
    """Ink between off (0) and on (1)."""
    return tuple(round(a + (b - a) * value) for a, b in zip(_OFF, _ON, strict=True))


@lru_cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)
