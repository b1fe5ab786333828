"""The page on the planner: its example runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs/planner.md"


def test_the_example_runs() -> None:
    [code] = [block.split("```")[0] for block in PAGE.read_text().split("```python\n")[1:]]
    names: dict[str, Any] = {}
    exec(code, names)
    # One walk's goal is to the right, the other's to the left.
    assert names["output"].action.tolist() == [1, 0]
    # A step was made, and what lies below it kept.
    assert names["kept"].visits[:, 0].tolist() == [
        int(names["output"].visit_counts[row, action]) for row, action in enumerate([1, 0])
    ]
