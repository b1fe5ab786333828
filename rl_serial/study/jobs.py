"""What an engine is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Job:
    """A run to carry out."""

    id: str
    config: dict[str, Any]  # resolved
    folder: str  # the run's
    log: str  # the file that its output goes to
    device: str  # auto, cpu or cuda
    imports: tuple[str, ...] = ()  # modules of the user's own that the run needs


@dataclass(frozen=True)
class Outcome:
    """How a job ended. ``interrupted``: by the machine (a full disk); it can go on."""

    id: str
    status: Literal["done", "failed", "interrupted"]
    error: str = ""
