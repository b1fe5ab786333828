"""Modules of the user's own, which ``--import`` names: a chain family, an agent, a trunk.

Only the command names them. Nothing that stands in a run or study folder is ever imported.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from rl_serial.errors import UserError


def add_import(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--import``, whose values are ``imports`` of what is parsed."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module of your own, or its .py file, that registers a family, an agent, a trunk or "
        "a subject; repeatable",
    )


def import_arguments(names: Sequence[str]) -> list[str]:
    """The options that name these modules again."""
    return [word for name in names for word in ("--import", name)]


def load_modules(names: Sequence[str]) -> tuple[str, ...]:
    """Import modules, each once in a process.

    Args:
        names: dotted names, or files that end in ``.py``. A file is a module by the name of the
            file; its folder is not searched for other modules.

    Returns:
        The names as another process takes them, wherever it stands: files with their whole path.

    Raises:
        UserError: no such module or file, a file that cannot be a module, or whatever the module
            raises; it names the module, and the line.
    """
    return tuple(_load(name) for name in names)


def named_function(word: str) -> Any:
    """What ``module:function`` names; the folder that one stands in is searched too.

    Raises:
        UserError: no such module, or nothing of that name in it.
    """
    module, _, name = word.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name != module.partition(".")[0] and error.name != module:
            raise
        raise UserError(
            "no such module; it is looked for here and where Python looks", source=word
        ) from None
    finally:
        sys.path.pop(0)
    if not hasattr(found, name):
        raise UserError(f"{module} has no {name}", source=word)
    return getattr(found, name)


def _load(name: str) -> str:
    if not _is_file(name):
        _guarded(name, lambda: importlib.import_module(name))
        return name
    file = Path(name).resolve()
    if not file.is_file():
        raise UserError("no such file", source=f"--import {name}")
    if not file.stem.isidentifier():
        raise UserError(
            f"{file.stem} cannot be the name of a module; rename the file to letters, digits and _",
            source=f"--import {name}",
        )
    there = sys.modules.get(file.stem)
    if there is not None and _is_at(getattr(there, "__file__", None), file):
        return str(file)
    found = there or importlib.util.find_spec(file.stem)
    if found and not _is_at(getattr(found, "origin", None), file):
        raise UserError(
            f"Python has another module {file.stem}; rename the file", source=f"--import {name}"
        )
    _guarded(name, lambda: _run(file))
    return str(file)


def _is_file(name: str) -> bool:
    return name.endswith(".py") or "/" in name or "\\" in name


def _is_at(place: str | None, file: Path) -> bool:
    return place is not None and Path(place).resolve() == file


def _run(file: Path) -> None:
    """Make the module of a file."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError("a file must end in .py")
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses look for their module there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[file.stem]
        raise


def _guarded(name: str, load: Callable[[], object]) -> None:
    """Load a module; whatever it raises is told in a line."""
    try:
        load()
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name in (name, name.partition(".")[0]):
            file = f"{name.rpartition('.')[2]}.py"
            near = f"; {file} is a file here: --import {file}" if Path(file).is_file() else ""
            raise UserError(
                f"no such module; it must be installed, or in PYTHONPATH{near}",
                source=f"--import {name}",
            ) from None
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f" ({last.filename}, line {last.lineno})"
        told = str(error) if isinstance(error, SyntaxError) else f"{error}{place}"
        raise UserError(f"{type(error).__name__}: {told}", source=f"--import {name}") from error
