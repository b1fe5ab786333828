"""Writes configs/*.schema.json, and the line of each configuration that names its own to editors.

python docs/schema.py
"""

from __future__ import annotations

from pathlib import Path

from rl_serial.cli.configs import schema_text
from rl_serial.shipped import KINDS, MODELINE, SCHEMAS

CONFIGS = Path(__file__).parents[1] / "configs"


def main() -> None:
    """Write the schemas and put the line where it is missing."""
    for kind in KINDS:
        (CONFIGS / SCHEMAS[kind]).write_text(schema_text(kind), encoding="utf-8")
        line = f"{MODELINE}../{SCHEMAS[kind]}\n"
        for file in (CONFIGS / kind).glob("*.yaml"):
            text = file.read_text(encoding="utf-8")
            if not text.startswith(line):
                file.write_text(line + text, encoding="utf-8")


if __name__ == "__main__":
    main()
