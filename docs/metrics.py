"""Writes docs/metrics.md: every metric of every subject, as the package has them.

python docs/metrics.py
"""

from __future__ import annotations

from pathlib import Path

from rl_serial.metrics import Metric
from rl_serial.subjects import SUBJECTS
from rl_serial.tables import markdown_table

HEAD = """# Metrics

What runs log, by subject, as `python docs/metrics.py` wrote it. A tag in braces has an index. A
study names a metric at all its indices (`search/true/score/16`), or leaves some open
(`search/true/score`, `value/accuracy`), which then become columns of its tables and figures.
`late`: in the last examination alone.
"""


def label(metric: Metric) -> str:
    """What figures call a metric, its indices in braces."""
    return metric.described({name: f"{{{name}}}" for name in metric.names})


def page() -> str:
    """The page."""
    parts = [HEAD]
    for row in SUBJECTS.values():
        table = [
            (
                f"`{metric.tag}`",
                label(metric),
                metric.better,
                "late" if metric.late else "",
                ", ".join(f"`{key}`" for key in metric.asked_by),
            )
            for metric in row.metrics
        ]
        header = ("tag", "what", "better", "", "asked for by")
        parts.append(
            f"## {row.place[0].upper()}{row.place[1:]}\n\n{markdown_table(header, table)}\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    (Path(__file__).parent / "metrics.md").write_text(page())
