"""Tidy tables as CSV files: a row a run, numbers read back as numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rl_serial.errors import UserError

Record = dict[str, Any]
"""A row: text, numbers, and None where a cell is empty."""


def table_text(header: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table as CSV; None is an empty cell."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def read_table(file: Path, texts: Sequence[str] = ()) -> list[Record]:
    """The rows of a table; cells of the columns ``texts`` stay text.

    Raises:
        UserError: there is no such file.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}") from None
    rows = csv.DictReader(io.StringIO(text))
    return [
        {key: (value or "") if key in texts else _value(value) for key, value in row.items()}
        for row in rows
    ]


def _value(text: str | None) -> Any:
    if text is None or text == "":
        return None
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
