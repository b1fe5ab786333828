"""Completion in the shell, where the extra ``completion`` (argcomplete) is installed.

``eval "$(register-python-argcomplete rl-serial)"`` in bash or zsh asks the command itself what can
stand where the cursor is.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from rl_serial.arguments import Parser

ASKED = "_ARGCOMPLETE"
"""The variable by which a shell asks."""


def completed(parser: Parser) -> Parser:
    """The parser; where a shell asks for completion it is answered, and the process ends."""
    if ASKED not in os.environ:
        return parser
    try:
        import argcomplete
    except ImportError:
        return parser
    _complete(parser)
    argcomplete.autocomplete(parser)
    return parser


def _complete(parser: argparse.ArgumentParser) -> None:
    """Say what arguments can be: configurations, run folders, ids of environments."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _complete(inner)
        elif action.dest in _COMPLETERS:
            setattr(action, "completer", _COMPLETERS[action.dest])  # noqa: B010


def _files(kind: str) -> Any:
    def names(prefix: str, **_: Any) -> list[str]:
        from rl_serial.shipped import shipped

        return [found.name for found in shipped(kind)] + _paths(prefix, "*.yaml")

    return names


def _file(prefix: str, action: Any = None, parser: Any = None, **_: Any) -> list[str]:
    """The file of a run or of a study, as the command says."""
    return list(_files("study" if " study " in f" {parser.prog} " else "train")(prefix))


def _names(**_: Any) -> list[str]:
    from rl_serial.shipped import shipped

    return [found.name for found in shipped()]


def _ids(**_: Any) -> list[str]:
    from rl_serial.envs.registry import ENV_IDS

    return list(ENV_IDS)


def _runs(prefix: str, **_: Any) -> list[str]:
    return _paths(prefix, "*/config.yaml", parent=True) + _paths("runs/", "*/config.yaml", True)


def _paths(prefix: str, pattern: str, parent: bool = False) -> list[str]:
    """What is there below the folder that ``prefix`` names up to its last slash."""
    place = Path(prefix.rpartition("/")[0] or ("/" if prefix.startswith("/") else "."))
    return [str(file.parent if parent else file) for file in sorted(place.glob(pattern))]


_COMPLETERS: dict[str, Any] = {
    "file": _file,
    "name": _names,
    "certify": _ids,
    "options": _ids,
    "run": _runs,
    "runs": _runs,
}
"""By the name under which an argument is kept."""
