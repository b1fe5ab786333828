"""Videos of batches: every state of an episode once, its last one included, in all modes."""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordVideo
from PIL import Image, ImageSequence

from rl_serial.envs.recording import RecordEpisodes

ID = "rl_serial/PermutationAutomatonSteer-v0"
DEPTH, ENVS, ROW = 3, 4, 2


def batch(mode: AutoresetMode | str) -> Any:
    options: dict[str, Any] = {"serial_depth": DEPTH, "decisions": 1, "group": "z5"}
    return gymnasium.make_vec(ID, ENVS, render_mode="rgb_array", autoreset_mode=mode, **options)


def play(envs: Any, steps: int) -> None:
    envs.reset(seed=5)
    envs.action_space.seed(0)
    for _ in range(steps):
        found = envs.step(envs.action_space.sample())
        if envs.unwrapped.autoreset_mode is AutoresetMode.DISABLED and found[2].any():
            envs.reset(options={"reset_mask": found[2]})


def expected() -> list[np.ndarray]:
    """The first episode of row 2 as the single environment with seed 5 + 2 draws it."""
    env = gymnasium.make(
        ID, render_mode="rgb_array", serial_depth=DEPTH, decisions=1, group="z5"
    ).unwrapped
    actions = batch("SAME_STEP").action_space
    actions.seed(0)
    env.reset(seed=5 + ROW)
    frames = [env.render()]
    for _ in range(DEPTH):
        env.step(actions.sample()[ROW])
        frames.append(env.render())
    return frames


@pytest.mark.parametrize("mode", AutoresetMode)
def test_every_state_is_there_once(mode: AutoresetMode, tmp_path: Path) -> None:
    envs = RecordEpisodes(batch(mode), tmp_path, lambda number: number in (0, 2), row=ROW)
    play(envs, 3 * (DEPTH + 1))
    assert {file.name for file in tmp_path.iterdir()} == {"episode_0.gif", "episode_2.gif"}
    with Image.open(tmp_path / "episode_0.gif") as image:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    assert len(frames) == DEPTH + 1
    for frame, drawn in zip(frames, expected(), strict=True):
        # A GIF has 256 colours of its own.
        assert np.abs(frame.astype(int) - drawn).mean() < 2


def test_what_is_not_recorded_is_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    envs = RecordEpisodes(batch("SAME_STEP"), tmp_path, lambda number: number == 1)
    drawn: list[int] = []
    original = envs.batch.picture
    monkeypatch.setattr(
        envs.batch, "picture", lambda row, ended=False: drawn.append(row) or original(row, ended)
    )
    play(envs, 3 * DEPTH)
    assert len(drawn) == DEPTH + 1


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rgb_array"):
        RecordEpisodes(gymnasium.make_vec(ID, 2), tmp_path)
    with pytest.raises(ValueError, match="row=4"):
        RecordEpisodes(batch("SAME_STEP"), tmp_path, row=4)
    with pytest.raises(ValueError, match="is no batch"):
        RecordEpisodes(SyncVectorEnv([lambda: gymnasium.make(ID)]), tmp_path)


class Clip:
    """Takes the place of a film of MoviePy's."""

    made: list[tuple[str, int]]

    def __init__(self, frames: list[Any], fps: float) -> None:
        self.frames = frames

    def write_videofile(self, path: str, logger: Any) -> None:
        self.made.append((Path(path).name, len(self.frames)))


@pytest.mark.parametrize(("mode", "frames"), [("NEXT_STEP", DEPTH + 1), ("SAME_STEP", DEPTH)])
def test_gymnasiums_own_takes_the_batch(
    mode: str, frames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under SAME_STEP it has no last frame, as docs/libraries.md says."""
    module = types.ModuleType("moviepy.video.io.ImageSequenceClip")
    module.ImageSequenceClip = Clip  # type: ignore[attr-defined]
    for name in ("moviepy", "moviepy.video", "moviepy.video.io"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(Clip, "made", [], raising=False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        envs = RecordVideo(batch(mode), str(tmp_path), episode_trigger=lambda number: number == 0)
        play(envs, 2 * (DEPTH + 1))
        envs.close()
    warned = any("will not contain the last frame" in str(warning.message) for warning in told)
    assert warned == (mode == "SAME_STEP")
    assert Clip.made == [("rl-video-episode-0.mp4", frames)]
