"""Figures beside their targets, handed from a benchmark to ``rl-serial bench all``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE = "RL_SERIAL_RATIOS"
"""The environment variable that names the file to which figures are added, one JSON a line."""

SLACK = 0.1
"""By what part of a target it may be missed."""


@dataclass(frozen=True)
class Ratio:
    """A figure and what it is aimed at."""

    what: str
    value: float
    target: float
    limit: str  # what keeps it from being better
    at_most: bool = False  # whether less is better
    unit: str = "x"

    @property
    def reached(self) -> bool:
        """Whether it is as good as its target."""
        return self.value <= self.target if self.at_most else self.value >= self.target

    @property
    def missed(self) -> bool:
        """Whether it is worse than its target by more than :data:`SLACK` of it."""
        if self.at_most:
            return self.value > (1 + SLACK) * self.target
        return self.value < (1 - SLACK) * self.target

    def row(self) -> tuple[str, str, str, str]:
        """What, figure, target, limit."""
        sign = "≤" if self.at_most else "≥"
        figure = f"{self.value:.2f}" if self.value < 10 else f"{self.value:,.0f}"
        missed = "**missed**: " if self.missed else ""
        return (
            self.what,
            figure + self.unit,
            f"{sign} {self.target:g}{self.unit}",
            missed + self.limit,
        )


def report(ratios: Iterable[Ratio]) -> None:
    """Hand them on, if anybody has asked."""
    _hand_on(asdict(ratio) for ratio in ratios)


def report_lack(what: str) -> None:
    """Hand on what could not be measured here, and why, in words."""
    _hand_on([{"lack": what}])


def _hand_on(lines: Iterable[dict[str, Any]]) -> None:
    if FILE in os.environ:
        with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


def read_reported(file: Path) -> tuple[list[Ratio], list[str]]:
    """The figures that were handed on, and what could not be measured."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    lacks = [line["lack"] for line in lines if "lack" in line]
    return [Ratio(**line) for line in lines if "lack" not in line], lacks
