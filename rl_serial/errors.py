"""The errors that a command reports in a line or two, without a traceback, and their words."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

MOST_SHOWN = 80
"""Characters of a wrong value that a message repeats."""
MOST_LINE, MOST_LINES = 1500, 20
"""Characters of a line of a message, and lines of a message; what is behind them is left out."""


class _ShortError(Exception):
    """An error whose message is short whatever was typed."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(str(message)))


@dataclass(frozen=True)
class Fault:
    """What is wrong with a key."""

    key: str  # dotted, as in network.depth; empty where it is about no key
    message: str  # what was wrong, and what would be right

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message

    def under(self, parent: str) -> Fault:
        """The same of a key inside another."""
        return Fault(f"{parent}.{self.key}" if self.key else parent, self.message)


class UserError(_ShortError):
    """Something that was asked for cannot be done; exit code 2.

    Its text has a line for each of its ``faults``, led by the file or what else they are found in.
    What handles the error reads the faults, not the text.

    Args:
        message: what was wrong, and what would be right.
        key: the key that it is about, dotted, or the option of a command.
        source: the file, folder or what else the key is in.
    """

    def __init__(self, message: object = "", key: str = "", source: str | Path = "") -> None:
        self._tell((Fault(key, str(message)),), str(source), "")

    def _tell(self, faults: tuple[Fault, ...], source: str, note: str) -> None:
        self.faults, self.source, self.note = faults, source, note
        lead = f"{source}: " if source else ""
        super().__init__(
            "\n".join([*(f"{lead}{fault}" for fault in faults), *filter(None, [note])])
        )

    @classmethod
    def of(cls, faults: Iterable[Fault], source: str = "", note: str = "") -> UserError:
        """Several faults at once, those that are the same once; ``note`` is a line behind them."""
        error = cls()
        error._tell(tuple(dict.fromkeys(faults)), source, note)
        return error

    def at(self, source: str) -> UserError:
        """The same faults, found in ``source``."""
        return UserError.of(self.faults, source, self.note)

    def under(self, parent: str) -> UserError:
        """The same faults, of keys inside another key."""
        return UserError.of((f.under(parent) for f in self.faults), self.source, self.note)


class OptionError(ValueError):
    """A value that an option cannot have.

    Args:
        option: its name, dotted where it is inside another.
        message: what was wrong, and what would be right; empty where Gymnasium makes the error
            again, as it does of whatever a constructor raises, with the whole text alone.
        text: the whole in other words.
    """

    def __init__(self, option: str, message: str = "", text: str = "") -> None:
        super().__init__(text or (f"{option}: {message}" if message else option))
        self.option, self.message = option, message


class UnknownOption(OptionError, TypeError):
    """An option that does not exist: a wrong value, and a wrong keyword of a call.

    Libraries try keywords of their own and do without one after a TypeError that speaks of an
    "unexpected keyword argument", as Python's own does (TorchRL: ``frameskip``).
    """


def wrong_in(parent: str, error: Exception) -> UserError:
    """The error of a command for what ``parent`` describes: of the option, where it says which."""
    if isinstance(error, OptionError) and error.message:
        return UserError(error.message, f"{parent}.{error.option}")
    return UserError(error, parent)


class RunError(_ShortError):
    """A run that was rightly asked for has failed; exit code 1."""


def require(condition: bool, option: str, value: object, right: str) -> None:
    """Refuse an option whose value is wrong.

    Args:
        condition: whether it is right.
        option: its name, dotted where it is inside another.
        value: what was given.
        right: what it must be.

    Raises:
        OptionError: it is not; the message names option, value and what is right.
    """
    if not condition:
        given = shown(value)
        message = f"must be {right}, not {given}"
        raise OptionError(option, message, f"{option}={given}: must be {right}")


def refuse_unknown(options: Collection[str], known: Collection[str], owner: str) -> None:
    """Raise an :class:`UnknownOption` that names the first option not ``known`` and those known."""
    for name in options:
        if name not in known:
            raise UnknownOption(
                name,
                f"{owner} has no such option; there are {', '.join(known)} "
                f"(got an unexpected keyword argument '{name}'){did_you_mean(name, known)}",
            )


def missing_extra(module: str | None, wanted_by: str, extra: str) -> UserError:
    """The error of a command for a library that is not installed."""
    return UserError(told_missing(wanted_by, module, extra))


def told_missing(
    wanted_by: str, needed: str | None, extra: str, but: str = "which is not installed"
) -> str:
    """What to say of a library that is missing.

    Args:
        wanted_by: what cannot be done without it.
        needed: the library, and versions of it.
        extra: of this package, which brings it.
        but: what is wrong, where it is something else.
    """
    return f"{wanted_by} needs {needed}, {but}: pip install 'rl_serial[{extra}]'"


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
