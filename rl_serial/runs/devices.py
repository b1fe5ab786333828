"""The threads and the device that a process computes with."""

from __future__ import annotations

import os

import torch

from rl_serial.envs import simulation
from rl_serial.errors import UserError


def use_threads(count: int) -> None:
    """Let torch, the compiled search and MuJoCo work with ``count`` threads in this process."""
    torch.set_num_threads(count)
    simulation.use_threads(count)
    os.environ["NUMBA_NUM_THREADS"] = str(count)


def choose_device(name: str) -> torch.device:
    """The device called auto (a GPU where there is one), cpu or cuda.

    Raises:
        UserError: cuda is asked for and is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("torch sees no GPU here; use cpu or auto", source="--device cuda")
    return torch.device(name)
