"""What the command line takes: numbers within bounds, and errors that name what is near."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from rl_serial.errors import shortened, shown

MOST_THREADS = 1024
MOST_SIMULATIONS = 2**31 - 1
"""Of a search; how many there is memory for is found before it begins."""
MOST_EPISODES = 2**20
MOST_INSTANCE = 2**62 - 1
MOST_SEED = 2**32 - 1


class Parser(argparse.ArgumentParser):
    """Says what is wrong in short lines, and keeps which options there are where some are unknown.

    The innermost parser's are ``known_options`` of what is parsed.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's."""
        found, further = super().parse_known_args(args, namespace)
        if not hasattr(found, "known_options"):
            found.known_options = [o for action in self._actions for o in action.option_strings]
        return found, further

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with code 2."""
        super().error(shortened(message))


def whole(least: int, most: int) -> Callable[[str], int]:
    """Parses a whole number in [``least``, ``most``]."""

    def parse(text: str) -> int:
        word = text.strip()
        if not word.isdecimal() or len(word) > 20 or not least <= int(word) <= most:
            raise argparse.ArgumentTypeError(
                f"{shown(text)}: must be a whole number, at least {least} and at most {most}"
            )
        return int(word)

    return parse


def counts(text: str) -> list[int]:
    """Numbers of simulations between commas."""
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise argparse.ArgumentTypeError(f"{shown(text)}: must be whole numbers, as in 0,1,2,4")
    return [whole(0, MOST_SIMULATIONS)(word) for word in words]
