"""The pages on planning: their examples run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rl_serial.planning import SerialAccounts

DOCS = Path(__file__).parents[2] / "docs"


def examples(page: str) -> list[str]:
    text = (DOCS / page).read_text()
    return [block.split("```")[0] for block in text.split("```python\n")[1:]]


def test_the_example_of_search_runs() -> None:
    [code] = examples("planner.md")
    names: dict[str, Any] = {}
    exec(code, names)
    # One walk's goal is to the right, the other's to the left.
    assert names["output"].action.tolist() == [1, 0]
    # A step was made, and what lies below it kept.
    assert names["kept"].visits[:, 0].tolist() == [
        int(names["output"].visit_counts[row, action]) for row, action in enumerate([1, 0])
    ]


def test_the_example_of_control_runs() -> None:
    code = examples("control.md")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    # Both points are where they were to be brought.
    assert np.all(np.abs(names["place"]) < 0.15)
    assert names["found"].accounts == SerialAccounts(5 * 4, 2 * 64 * 5 * 4)
