"""Tidy tables as CSV files: a row per run, numbers read back as numbers.

A text that a spreadsheet would take for a formula has an apostrophe before it in the file (OWASP,
"CSV injection"), which reading takes off.
"""

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
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(_quoted, header))
    writer.writerows([_quoted(row.get(key)) for key in header] for row in rows)
    return buffer.getvalue()


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""How a text begins that a spreadsheet runs, or that was quoted before."""


def _quoted(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _unquoted(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def read_table(file: Path, texts: Sequence[str] = ()) -> list[Record]:
    """The rows of a table; cells of the columns ``texts`` stay text.

    Raises:
        UserError: there is no such file, or it is no table.
    """
    if file.exists() and not file.is_file():
        raise UserError("is no regular file", source=file)
    try:
        rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
    except OSError as error:
        raise UserError(error.strerror or error, source=file) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"damaged: {error}", source=file) from None
    if any(None in row for row in rows):
        raise UserError("damaged: a row has more cells than the header", source=file)
    return [
        {
            _unquoted(key): _unquoted(value or "") if key in texts else _value(value)
            for key, value in row.items()
        }
        for row in rows
    ]


def _value(text: str | None) -> Any:
    if text is None or text == "":
        return None
    if text in ("True", "False"):
        return text == "True"
    for kind in (float,) if "." in text else (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return _unquoted(text)
