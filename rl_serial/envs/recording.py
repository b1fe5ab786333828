"""Episodes of a batch as animated pictures.

Gymnasium's vector ``RecordVideo`` draws what ``render`` shows after each step. Under SAME_STEP that
is the next episode's first state, so the last state, the one that pays, is never in its videos.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorWrapper
from numpy.typing import NDArray
from PIL import Image

from rl_serial.envs.gym import SerialVectorEnv
from rl_serial.envs.rendering import FRAMES_PER_SECOND
from rl_serial.errors import require

if TYPE_CHECKING:
    _Wrapper = VectorWrapper[Any, Any, Any, Any, Any]
else:
    _Wrapper = VectorWrapper  # generic since Gymnasium 1.4

END = 2000
"""Milliseconds for which the last picture stays."""


def gif_of(frames: Sequence[NDArray[np.uint8]]) -> bytes:
    """Pictures [height, width, 3] uint8 of one size as an animated GIF."""
    images = [Image.fromarray(frame) for frame in frames]
    stream = io.BytesIO()
    images[0].save(
        stream,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=[1000 // FRAMES_PER_SECOND] * (len(images) - 1) + [END],
        loop=0,
    )
    return stream.getvalue()


class RecordEpisodes(_Wrapper):
    """Writes episodes of one environment of a batch as GIFs, from their first state to their last.

    It works under every autoreset mode, and needs Pillow alone. Episodes that are not recorded are
    not drawn.

    Args:
        env: a batch of this package with ``render_mode="rgb_array"``; wrappers may lie between.
        folder: where ``episode_<number>.gif`` goes; made if it is not there.
        episode_trigger: whether to record the episode of this number, counted from 0; None: every
            hundredth.
        row: which environment of the batch.

    Raises:
        ValueError: a batch of another kind, another render mode, or a row that is not there.
    """

    def __init__(
        self,
        env: Any,
        folder: str | Path,
        episode_trigger: Callable[[int], bool] | None = None,
        row: int = 0,
    ) -> None:
        super().__init__(env)
        batch = env.unwrapped
        if not isinstance(batch, SerialVectorEnv):
            raise ValueError(f"{env}: is no batch that gym.make_vec makes of this package's ids")
        require(batch.render_mode == "rgb_array", "render_mode", batch.render_mode, "rgb_array")
        require(0 <= row < batch.num_envs, "row", row, f"from 0 to {batch.num_envs - 1}")
        self.batch, self.row, self.folder = batch, row, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.trigger = episode_trigger or (lambda number: number % 100 == 0)
        self.episode = -1  # the number of the one that is played
        self.frames: list[NDArray[np.uint8]] = []
        self.begins = False  # under NEXT_STEP: the next step is a reset

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """As the batch's; an episode that is cut off by it is not written."""
        found: tuple[Any, dict[str, Any]] = self.env.reset(**arguments)
        mask = (arguments.get("options") or {}).get("reset_mask")
        if mask is None or mask[self.row]:
            self._begin()
        return found

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As the batch's."""
        found: tuple[Any, Any, Any, Any, dict[str, Any]] = self.env.step(actions)
        if self.begins:
            self._begin()
            return found
        ended = bool(found[2][self.row] or found[3][self.row])
        if self.frames:
            self.frames.append(self.batch.picture(self.row, ended))
        if ended:
            self._write()
            mode = self.batch.autoreset_mode
            self.begins = mode is AutoresetMode.NEXT_STEP
            if mode is AutoresetMode.SAME_STEP:
                self._begin()
        return found

    def _begin(self) -> None:
        self.begins = False
        self.episode += 1
        self.frames = [self.batch.picture(self.row)] if self.trigger(self.episode) else []

    def _write(self) -> None:
        if self.frames:
            file = self.folder / f"episode_{self.episode}.gif"
            file.write_bytes(gif_of(self.frames))
            self.frames = []
