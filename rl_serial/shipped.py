"""The configurations that come with the package, by name.

In a checkout they are ``configs/``; the wheel carries that folder as ``rl_serial/configs``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rl_serial.errors import UserError, did_you_mean

KINDS = ("train", "study")
"""Runs and studies: the folders of configurations, and the commands that take them."""
SCHEMAS = {"train": "run.schema.json", "study": "study.schema.json"}
"""Beside those folders: what editors read of each kind."""
MODELINE = "# yaml-language-server: $schema="
"""How the first line of a file begins that names its schema to editors."""
_BASE = re.compile(r"^base: (\S+\.yaml)$", re.MULTILINE)
"""A study's line that names the file of its base run."""


@dataclass(frozen=True)
class Shipped:
    """A configuration of the package."""

    name: str
    kind: str  # one of KINDS
    file: Path

    @property
    def about(self) -> str:
        """The first sentence of the comment that the file begins with."""
        return first_sentence(self.file.read_text(encoding="utf-8"))


def folder() -> Path:
    """Where the configurations are.

    Raises:
        UserError: the package was installed without them.
    """
    package = Path(__file__).resolve().parent
    for place in (package / "configs", package.parent / "configs"):
        if all((place / kind).is_dir() for kind in KINDS):
            return place
    raise UserError("holds no configurations; install rl_serial again", source=package)


def shipped(*kinds: str) -> list[Shipped]:
    """The configurations of these kinds, of all where none is named, in alphabetical order."""
    return [
        Shipped(file.stem, kind, file)
        for kind in kinds or KINDS
        for file in sorted((folder() / kind).glob("*.yaml"))
    ]


def resolved(file: Path, kind: str) -> Path:
    """The file that a command was given, or the shipped one of that name.

    Args:
        file: a path, or a name; what is there as a file is taken first.
        kind: train or study.

    Raises:
        UserError: there is neither.
    """
    if file.suffix or file.is_file() or len(file.parts) != 1:
        return file
    return named(file.name, kind).file


def named(name: str, *kinds: str) -> Shipped:
    """The shipped configuration of that name.

    Raises:
        UserError: there is none; the message says which is near.
    """
    there = {found.name: found for found in shipped(*kinds)}
    if name not in there:
        others = {found.name: found.kind for found in shipped()}
        near = did_you_mean(name, there)
        if name in others:
            command = {"train": "train", "study": "study run"}[others[name]]
            near = f"; it is a {others[name]} configuration: rl-serial {command} {name}"
        raise UserError(
            f"neither a file nor a configuration of the package, which "
            f"`rl-serial configs` lists{near}",
            source=name,
        )
    return there[name]


def first_sentence(text: str) -> str:
    """Of the comment that a YAML file begins with, without the line for editors."""
    lines = []
    for line in text.splitlines():
        if line.startswith(MODELINE):
            continue
        if not line.startswith("#") or not line.strip("# "):
            break
        lines.append(line.removeprefix("#").strip())
    comment = " ".join(lines)
    # "et al. 2025" ends no sentence; the next may begin with a number or the name of a file.
    end = re.search(r"[.?!](?= [A-Z\d]| \w+\.yaml)(?<!al\.)", comment)
    return comment[: end.end()] if end else comment


def copies(name: str, to: Path) -> dict[Path, str]:
    """What to write where so that a configuration stands on its own.

    Beside it come the file that its base run is in, if there is one, and the schema that the first
    line names to editors.

    Args:
        name: of a shipped configuration.
        to: the file to be, or a folder that is there.

    Raises:
        UserError: no such configuration.
    """
    found = named(name)
    target = to / found.file.name if to.is_dir() else to
    return _copied(found, target)


def _copied(found: Shipped, target: Path) -> dict[Path, str]:
    schema = SCHEMAS[found.kind]
    text = found.file.read_text(encoding="utf-8")
    text = re.sub(rf"^{re.escape(MODELINE)}.*", f"{MODELINE}{schema}", text)
    files: dict[Path, str] = {}
    if base := _BASE.search(text):
        file = found.file.parent / base[1]
        beside = target.parent / file.name
        files |= _copied(Shipped(file.stem, file.parent.name, file), beside)
        text = text.replace(base[0], f"base: {file.name}")
    text_of_schema = (folder() / schema).read_text(encoding="utf-8")
    return {target: text, **files, target.parent / schema: text_of_schema}
