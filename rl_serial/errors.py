"""The errors that a command reports in a line or two, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something that was asked for cannot be done; exit code 2.

    The message names the key or file and says what would be right.
    """


class RunError(Exception):
    """A run that was rightly asked for has failed; exit code 1."""


def missing_extra(module: str | None, wanted_by: str, extra: str) -> UserError:
    """The error for a library that is not installed, which names the extra that brings it."""
    return UserError(f"{wanted_by} needs {module}: pip install 'rl_serial[{extra}]'")
