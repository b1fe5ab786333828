"""Every example runs as a reader would run it, and reaches what its page says.

Those of libraries that need an environment of their own are run by `make peers`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
HERE = {"sb3_maskable_ppo": (), "cleanrl_ppo": ("--updates=20",)}
PEERS = {"torchrl_ppo": "torchrl", "tianshou_dqn": "tianshou", "rllib_ppo": "ray"}
LEAST, MOST = 0.5, 1.25  # of the best mean return, which a sample may exceed; a random agent has 0


def run(name: str, *arguments: str) -> tuple[float, float]:
    """The mean return that the example prints, and the best one.

    Away from the checkout, as an example must import nothing but what is installed. Warnings are
    those of other libraries.
    """
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        cwd=EXAMPLES,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"mean return (-?[\d.]+) \(.*the best: ([\d.]+)", done.stdout)
    assert found, done.stdout
    return float(found[1]), float(found[2])


@pytest.mark.parametrize("name", HERE)
def test_reaches_what_is_said(name: str) -> None:
    mean, best = run(name, *HERE[name])
    assert LEAST * best < mean < MOST * best


@pytest.mark.peers
@pytest.mark.parametrize("name", PEERS)
def test_another_library_reaches_what_is_said(name: str) -> None:
    if importlib.util.find_spec(PEERS[name]) is None:
        pytest.skip(f"{name} needs {PEERS[name]}: make peers")
    mean, best = run(name)
    assert LEAST * best < mean < MOST * best


def test_native_and_gymnasiums_batch_train_alike() -> None:
    """The same instances and masks in the same order: the same training to the last digit."""
    native, sync = (run("cleanrl_ppo", "--updates=2", f"--vector={v}") for v in ("native", "sync"))
    assert native == sync


def test_there_is_a_test_of_every_example() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.py")} == {*HERE, *PEERS}
