"""What the command line takes: numbers within bounds, and errors that name what is near."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from rl_serial.errors import did_you_mean, shortened, shown

MOST_THREADS = 1024
MOST_SIMULATIONS = 2**31 - 1
"""Of a search; how many there is memory for is found before it begins."""
MOST_EPISODES = 2**20
MOST_INSTANCE = 2**62 - 1
MOST_SEED = 2**32 - 1


class Parser(argparse.ArgumentParser):
    """Says what is wrong in short lines, and which option was meant."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with code 2."""
        known = [option for action in self._actions for option in action.option_strings]
        unknown = message.removeprefix("unrecognized arguments: ")
        near = ""
        if unknown != message and unknown.startswith("-"):
            near = did_you_mean(unknown.split()[0].partition("=")[0], known)
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: error: {shortened(message)}{near}\n")


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
