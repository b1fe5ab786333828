"""Episodes as animated pictures and in a terminal, whatever they are of."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TextIO

import numpy as np

from rl_serial.envs.recording import gif_of
from rl_serial.envs.rendering import FRAMES_PER_SECOND
from rl_serial.subjects.protocol import Shown

MOMENTS = 60
"""Of a long episode that are shown; a short one is shown whole."""


def shown_steps(count: int) -> list[int]:
    """At most MOMENTS of the steps 0 … ``count``, evenly spread, the first and last included."""
    return [int(step) for step in np.unique(np.linspace(0, count, MOMENTS).round())]


def animated_gif(moments: Sequence[Shown]) -> tuple[bytes, tuple[int, int]]:
    """An episode as an animated GIF, and its size (width, height)."""
    frames = [moment.picture() for moment in moments]
    height, width, _ = frames[0].shape
    return gif_of(frames), (width, height)


HOME, TO_THE_END, REST_OF_LINE = "\x1b[H", "\x1b[J", "\x1b[K"
"""What terminals take for: go to the first line, clear what is below, clear the rest of a line."""


def play(texts: Sequence[str], stream: TextIO | None = None) -> None:
    """Show an episode's moments in one place of a terminal, one after the other.

    Each is written over the one before, so that nothing flickers; the last stays. What is no
    terminal gets them one below the other, without waiting.

    Args:
        texts: of the moments.
        stream: where to; None: standard output.
    """
    stream = stream or sys.stdout
    if not stream.isatty():
        stream.write("".join(f"{text}\n\n" for text in texts))
        return
    stream.write(HOME + TO_THE_END)
    for text in texts:
        lines = "".join(f"{line}{REST_OF_LINE}\n" for line in text.splitlines())
        stream.write(f"{HOME}{lines}{TO_THE_END}")
        stream.flush()
        time.sleep(1 / FRAMES_PER_SECOND)
