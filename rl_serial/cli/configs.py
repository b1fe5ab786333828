"""The commands ``rl-serial configs``, about those of the package, and ``config``, about one."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from rl_serial.errors import UserError, did_you_mean, missing_extra
from rl_serial.importing import add_import
from rl_serial.shipped import KINDS, copies, resolved, shipped
from rl_serial.tables import markdown_table


def add_configs(commands: Any) -> None:
    """Add ``configs`` to the subparsers of ``rl-serial``."""
    configs = commands.add_parser("configs", help="the configurations of the package, by name")
    configs.set_defaults(command=_list, kind=None)
    actions = configs.add_subparsers(metavar="ACTION")
    listed = actions.add_parser("list", help="the same, of one kind")
    listed.add_argument("kind", choices=KINDS, help="those of runs or of studies")
    listed.set_defaults(command=_list)
    copy = actions.add_parser("copy", help="write one into a folder of your own")
    copy.add_argument("name", metavar="NAME", help="as listed")
    copy.add_argument(
        "to", nargs="?", type=Path, default=Path(), metavar="TO", help="a folder or a file; here"
    )
    copy.add_argument("--force", action="store_true", help="replace what is there")
    copy.set_defaults(command=_copy)


def add_config(commands: Any) -> None:
    """Add ``config`` to the subparsers of ``rl-serial``."""
    config = commands.add_parser("config", help="check a configuration, or say what keys mean")
    config.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="print it with every default"
    )
    config.add_argument("overrides", nargs="*", metavar="key=value", help="as of train")
    config.add_argument("--explain", metavar="KEY", help="values, default and meaning of a key")
    config.add_argument(
        "--schema", nargs="?", const="train", choices=KINDS, help="a JSON schema, for editors"
    )
    add_import(config)
    config.set_defaults(command=_config)


def _list(options: argparse.Namespace) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10**6
    for kind in [options.kind] if options.kind else KINDS:
        print("rl-serial train …" if kind == "train" else "rl-serial study run …")
        found = shipped(kind)
        longest = max(len(one.name) for one in found)
        for one in found:
            line = f"  {one.name.ljust(longest)}  {one.about}"
            print(line if len(line) <= width else f"{line[: width - 1]}…")


def _copy(options: argparse.Namespace) -> None:
    files = copies(options.name, options.to)
    first = next(iter(files))
    there = [file for file in files if file.suffix == ".yaml" and file.exists()]
    if there and not options.force:
        raise UserError("is there already; --force replaces it", source=there[0])
    for file, text in files.items():
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{error.strerror or error}", source=file) from None
    beside = ", ".join(file.name for file in files if file != first)
    print(f"{first}" + (f" (with {beside})" if beside else ""))


def _config(options: argparse.Namespace) -> None:
    try:
        import pydantic  # noqa: F401
        import torch  # noqa: F401
        import yaml  # noqa: F401
    except ImportError as error:
        raise missing_extra(error.name, "rl-serial config", "train") from None
    asked = [options.file is not None, options.explain is not None, options.schema is not None]
    if sum(asked) != 1:
        raise UserError("config: give a FILE, --explain KEY or --schema, and one of them")
    if options.schema:
        print(schema_text(options.schema), end="")
    elif options.explain:
        print(explanation(options.explain))
    else:
        from rl_serial.config import write_yaml
        from rl_serial.loading import load_config

        config = load_config(resolved(options.file, "train"), options.overrides)
        print(write_yaml(config), end="")


def schema_text(kind: str) -> str:
    """The JSON schema of a run's or a study's file, as the package ships it."""
    from rl_serial.cli.schema import run_schema, study_schema

    made = {"train": run_schema, "study": study_schema}[kind]()
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def explanation(key: str) -> str:
    """What a key of a run can hold, as a table.

    Raises:
        UserError: no such key; the message names what is near.
    """
    from rl_serial.cli.schema import explained, keys

    rows = explained(key)
    if not rows:
        raise UserError(f"no such key{did_you_mean(key, keys())}", key)
    return markdown_table(("where", "values", "default", "meaning"), rows)
