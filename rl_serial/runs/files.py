"""Files that survive and are distrusted: atomic writes, locks, reading of what may be damaged.

Nothing that is read here is run as code.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import IO, Any

from rl_serial.errors import UserError
from rl_serial.pytrees import map_leaves

FORMAT = "rl_serial 1"
KEPT_CHECKPOINTS = 2
PARTIAL = ".partial"
LOCK = "run.lock"
MODEL = "model.pt"
MOST_TEXT = 2**28
"""Bytes of a text file that is read; a run's tables are a thousandth of it."""


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


def read_text(file: Path) -> str:
    """The text of a file in a folder that may be damaged or somebody else's.

    Raises:
        UserError: it is missing, no regular file (a pipe would never end), too large, or no text.
    """
    try:
        found = file.stat()
        if not S_ISREG(found.st_mode):
            raise UserError("is no regular file", source=file)
        if found.st_size > MOST_TEXT:
            raise UserError(f"has {found.st_size} bytes; at most {MOST_TEXT} are read", source=file)
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError("damaged: holds no UTF-8 text", source=file) from None
    except OSError as error:
        raise UserError(error.strerror or error, source=file) from None


def read_summary(folder: Path) -> dict[str, Any]:
    """What a run's ``summary.json`` holds; nothing where it is missing or damaged."""
    try:
        summary = json.loads(read_text(folder / "summary.json"))
    except (UserError, ValueError, RecursionError):
        return {}
    if not isinstance(summary, dict):
        return {}
    whole = all(
        isinstance(summary.get(key, {}), dict)
        for key in ("final", "accounts", "config", "versions")
    )
    if summary.get("status") == "done" and not (whole and _is_final(summary)):
        return {}
    return summary


def _is_final(summary: dict[str, Any]) -> bool:
    """Whether a finished run's summary holds numbers where numbers belong."""

    def is_number(value: object) -> bool:
        if isinstance(value, float):
            return True
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return abs(value) <= sys.float_info.max

    final = summary.get("final")
    clocks = [summary[key] for key in ("seconds", "cpu_seconds") if summary.get(key) is not None]
    return isinstance(final, dict) and all(
        is_number(value) or (isinstance(value, list) and all(map(is_number, value)))
        for value in (*final.values(), *clocks)
    )


@contextmanager
def locked(file: Path, where: str, who: str = "process") -> Iterator[None]:
    """Keep other processes out while this one works; the kernel drops the lock with the process.

    On systems without ``fcntl`` (Windows) nobody is kept out.

    Args:
        file: the lock, which stays; it names the process that holds it.
        where: what errors call the place.
        who: what they call the one who holds it.

    Raises:
        UserError: another process holds it, or there can be no such file.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = file.open("a+")
    except OSError as error:
        raise UserError(error.strerror or error, source=where) from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise UserError(
                f"another {who} is at work here (process {stream.read(20) or '?'})", source=where
            ) from None
        except OSError as error:
            raise UserError(f"cannot be locked: {error.strerror or error}", source=where) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def write_json(file: Path, data: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_text(file, json.dumps(data, indent=2) + "\n")


def save_tensors(file: Path, state: dict[str, Any]) -> None:
    """Save nested dicts and lists of tensors and plain values atomically."""
    import torch  # here, so that what reads and writes tables need not load it

    def alone(leaf: Any) -> Any:
        """A tensor without the larger one that it is a part of, all of which torch would save."""
        if not isinstance(leaf, torch.Tensor):
            return leaf
        own = leaf.numel() * leaf.element_size()
        return leaf.clone() if leaf.untyped_storage().nbytes() > own else leaf

    # In memory first: on a full disk torch's own writer raises an error that does not say so.
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "state": map_leaves(alone, state)}, buffer)
    write_atomically(file, lambda stream: stream.write(buffer.getbuffer()))


def load_tensors(file: Path) -> dict[str, Any]:
    """Load what :func:`save_tensors` wrote; nothing in the file is run.

    Raises:
        UserError: the file is missing, damaged, or not this package's.
    """
    import torch

    if file.exists() and not file.is_file():
        raise UserError("is no regular file", source=file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on pickles that are refused right after
            data = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError("no such file", source=file) from None
    except pickle.UnpicklingError:
        raise UserError(
            "holds more than tensors and plain values, so rl_serial did not write it", source=file
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise UserError(
            "damaged; delete it, and rl-serial train --resume continues from the last "
            "checkpoint that is whole",
            source=file,
        ) from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UserError(f"not a file of this version ({FORMAT!r}) of rl_serial", source=file)
    state = data.get("state")
    if not isinstance(state, dict):
        raise UserError("damaged: holds no state", source=file)
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
