"""Files that survive: atomic writes, checkpoints that load without running code."""

from __future__ import annotations

import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from rl_serial.errors import UserError

FORMAT = "rl_serial 1"
KEPT_CHECKPOINTS = 2
PARTIAL = ".partial"


def write_atomically(file: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that a crash at any moment leaves the old one or the new one, whole."""
    partial = file.with_name(f".{file.name}{PARTIAL}")
    try:
        with partial.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def is_partial(file: Path) -> bool:
    """Whether this is what a kill left of a write."""
    return file.suffix == PARTIAL


def write_text(file: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(file, lambda stream: stream.write(text.encode()))


def write_json(file: Path, data: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_text(file, json.dumps(data, indent=2) + "\n")


def save_tensors(file: Path, state: dict[str, Any]) -> None:
    """Save nested dicts and lists of tensors and plain values atomically."""
    import torch  # here, so that what reads and writes tables need not load it

    write_atomically(file, lambda stream: torch.save({"format": FORMAT, "state": state}, stream))


def load_tensors(file: Path) -> dict[str, Any]:
    """Load what :func:`save_tensors` wrote; nothing in the file is run.

    Raises:
        UserError: the file is missing, damaged, or not this package's.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on pickles that are refused right after
            data = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except pickle.UnpicklingError:
        raise UserError(
            f"{file}: holds more than tensors and plain values, so rl_serial did not write it"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise UserError(
            f"{file}: damaged; delete it to go on from the checkpoint before it"
        ) from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UserError(f"{file}: not a file of this version ({FORMAT!r}) of rl_serial")
    state: dict[str, Any] = data["state"]
    return state


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Save a checkpoint and delete all but the newest two."""
    folder.mkdir(exist_ok=True)
    save_tensors(folder / f"step_{step:012d}.pt", state)
    for old in checkpoints(folder)[:-KEPT_CHECKPOINTS]:
        old.unlink()


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the newest last."""
    return sorted(folder.glob("step_*.pt"))
