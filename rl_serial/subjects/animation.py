"""Episodes as animated pictures, whatever they are of."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from rl_serial.envs.rendering import FRAMES_PER_SECOND
from rl_serial.subjects.protocol import Shown

MOMENTS = 60
"""Of a long episode that are shown; a short one is shown whole."""


def shown_steps(count: int) -> list[int]:
    """At most MOMENTS of the steps 0 … ``count``, evenly spread, the first and last included."""
    return [int(step) for step in np.unique(np.linspace(0, count, MOMENTS).round())]


def animated_gif(moments: Sequence[Shown]) -> tuple[bytes, tuple[int, int]]:
    """An episode as an animated GIF, and its size (width, height)."""
    images = [Image.fromarray(moment.picture()) for moment in moments]
    stream = io.BytesIO()
    images[0].save(
        stream,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        # The end stays in view for two seconds.
        duration=[1000 // FRAMES_PER_SECOND] * (len(images) - 1) + [2000],
        loop=0,
    )
    return stream.getvalue(), images[0].size
