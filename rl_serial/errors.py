"""The errors that a command reports in a line or two, without a traceback, and their words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_SHOWN = 80
"""Characters of a wrong value that a message repeats."""
MOST_LINE, MOST_LINES = 1500, 20
"""Characters of a line of a message, and lines of a message; what is behind them is left out."""


class _ShortError(Exception):
    """An error whose message is short whatever was typed."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(str(message)))


class UserError(_ShortError):
    """Something that was asked for cannot be done; exit code 2.

    The message names the key or file and says what would be right.
    """


class RunError(_ShortError):
    """A run that was rightly asked for has failed; exit code 1."""


def missing_extra(module: str | None, wanted_by: str, extra: str) -> UserError:
    """The error for a library that is not installed, which names the extra that brings it."""
    return UserError(f"{wanted_by} needs {module}: pip install 'rl_serial[{extra}]'")


def shown(value: object) -> str:
    """A value as a message repeats it: its ``repr``, the middle left out of a long one."""
    return _without_middle(repr(value), MOST_SHOWN)


def shortened(message: str) -> str:
    """A message without the middle of lines of thousands of characters, and not too many lines."""
    lines = [_without_middle(line, MOST_LINE) for line in message.split("\n")]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"… and {len(lines) - MOST_LINES + 1} more"]
    return "\n".join(lines)


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """``"; did you mean width?"`` for what is near to a known word, else nothing."""
    near = difflib.get_close_matches(str(word)[:MOST_SHOWN], list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _without_middle(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]}…{text[len(text) - most // 3 + 1 :]}"
