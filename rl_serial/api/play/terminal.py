"""A game in the terminal: the board, what the player thought, moves by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rl_serial.api.play.session import Session
from rl_serial.errors import UserError
from rl_serial.tables import markdown_table

ROWS = 6
"""Moves of a thought that are shown."""
HELP = "a move as on the board (b3, or d for a column); undo; hint; quit"


def play_in_terminal(
    session: Session, ask: Callable[[str], str] = input, tell: Callable[[str], None] = print
) -> None:
    """Play until the game is over or the person has had enough.

    Args:
        session: the game.
        ask: gives the person's next word, after a prompt; EOFError quits.
        tell: shows a text.
    """
    tell(HELP)
    tell(shown(session))
    while not session.over:
        try:
            word = ask("your move: ").strip().lower()
        except EOFError:
            tell("")
            return
        if word in ("quit", "q", "exit"):
            return
        try:
            if word in ("", "help", "?"):
                tell(HELP)
                continue
            if word == "hint":
                found = session.ask()
                tell(thought_text(found, f"{session.name} would play") if found else "no idea")
                continue
            if word == "undo":
                session.undo()
            else:
                session.move(word)
        except UserError as error:
            tell(str(error))
            continue
        tell(shown(session))


def shown(session: Session) -> str:
    """The position, and before it what the player thought of its move."""
    parts = []
    if thought := session.thought():
        parts.append(thought_text(thought, f"{session.name} played"))
    board = session.game.render(session.state)[0].partition("\n")[2]
    return "\n\n".join([*parts, f"{session.status()}\n{board}"])


def thought_text(thought: dict[str, Any], lead: str) -> str:
    """A thought as text: the move, its value, a table of the best moves."""
    value = thought["value"]
    told = f"{lead} {thought['move']}"
    if value is not None:
        told += f"; it gives itself {(1 + value) / 2:.0%} (value {value:+.2f})"
    rows = thought["rows"][:ROWS]
    if not rows:
        return told
    header = list(rows[0])
    cells = [[_cell(row[name]) for name in header] for row in rows]
    return f"{told}\n{markdown_table(header, cells)}"


def _cell(value: Any) -> str:
    return f"{value:+.2f}" if isinstance(value, float) else str(value)
