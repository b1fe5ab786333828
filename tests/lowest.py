"""The base install at the lowest versions that pyproject.toml declares (`make lowest`).

A script and no test of pytest, as nothing but the base install is there. It makes, checks and plays
every environment that needs no extra, one at a time and in batches.
"""

from __future__ import annotations

import importlib.metadata
import io
import re
import tempfile
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import NormalizeObservation

from rl_serial.cli import main
from rl_serial.envs.recording import RecordEpisodes

STEPS = 20


def versions() -> str:
    """What is installed of what the package requires; each is the lowest."""
    found = []
    for requirement in importlib.metadata.requires("rl_serial") or []:
        if "extra ==" in requirement:
            continue
        name, lowest = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()  # type: ignore[union-attr]
        version = importlib.metadata.version(name)
        padded = [int(part) for part in f"{lowest}.0.0".split(".")][:3]
        assert [int(part) for part in f"{version}.0".split(".")][:3] == padded, requirement
        found.append(f"{name} {version}")
    return ", ".join(found)


def play(id_: str) -> None:
    """Check the environment, and its batch against Gymnasium's batch of the single one."""
    check_env(gymnasium.make(id_).unwrapped, skip_render_check=True)  # a window needs pygame
    drawn = gymnasium.make(id_, render_mode="rgb_array")
    drawn.reset(seed=0)
    assert np.asarray(drawn.render()).ndim == 3
    for mode in AutoresetMode:
        ours = gymnasium.make_vec(id_, 3, autoreset_mode=mode)
        theirs = SyncVectorEnv([partial(gymnasium.make, id_)] * 3, autoreset_mode=mode)
        found, expected = ours.reset(seed=1), theirs.reset(seed=1)
        actions = ours.action_space
        actions.seed(0)
        for _ in range(STEPS):
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_array_equal(found[-1]["action_mask"], expected[-1]["action_mask"])
            if mode is AutoresetMode.DISABLED and len(found) == 5 and found[2].any():
                mask = found[2]
                found = ours.reset(options={"reset_mask": mask})
                expected = theirs.reset(options={"reset_mask": mask})
                # Gymnasium's has the masks of those that were reset alone.
                found[-1]["action_mask"][~mask] = 0
                continue
            action = actions.sample()
            found, expected = ours.step(action), theirs.step(action)
            for mine, other in zip(found[1:4], expected[1:4], strict=True):
                np.testing.assert_array_equal(mine, other)
    normal = NormalizeObservation(gymnasium.make_vec(id_, 3, autoreset_mode="NEXT_STEP"))
    normal.reset(seed=0)
    assert np.isfinite(normal.step(normal.action_space.sample())[0]).all()


def record(id_: str) -> None:
    """A video of an episode of one environment of a batch."""
    with tempfile.TemporaryDirectory() as folder:
        envs = RecordEpisodes(gymnasium.make_vec(id_, 2, render_mode="rgb_array"), folder)
        envs.reset(seed=0)
        while envs.episode == 0:
            envs.step(envs.action_space.sample())
        assert (Path(folder) / "episode_0.gif").stat().st_size > 1000


if __name__ == "__main__":
    installed = versions()
    with redirect_stdout(io.StringIO()) as table:
        assert main(["envs"]) == 0
    ids = re.findall(r"`(rl_serial:rl_serial/[^`]*)`", table.getvalue())
    played = [id_ for id_ in ids if "ManyBody" not in id_]  # needs the extra mujoco
    assert len(played) >= 8, table.getvalue()
    for id_ in played:
        play(id_)
    record(played[0])
    print(f"{len(played)} environments with {installed}")
