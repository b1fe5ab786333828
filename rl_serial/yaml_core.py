"""YAML as this package reads and writes it: the core schema of YAML 1.2.2, section 10.3.2.

PyYAML parses and writes. What a plain word means is decided here, for PyYAML follows YAML 1.1, in
which ``on`` is a truth value, ``010`` is 8, ``1:2`` is 62 and ``1e-4`` a text. Of YAML 1.1 two
things are kept that make files easier to read: digits in groups (``160_000``) and ``<<: *name``,
which takes the keys of another mapping.

Keys are texts and occur once. Tags (``!!int``) are refused. Aliases are copies; size, nesting and
whole numbers are limited.
"""

from __future__ import annotations

import copy
import math
import re
from typing import Any

import yaml

from rl_serial.errors import shown

MOST_CHARACTERS = 2**18
"""Of a document; the largest file of ``configs/`` has a thirtieth of that."""
MOST_NESTING = 24
"""Lists and mappings inside each other."""
MOST_VALUES = 100_000
"""Of a document, those that aliases repeat included."""
MOST_NUMBER = 2**63 - 1
"""The magnitude of a whole number, which int64 holds."""

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class YAMLError(ValueError):
    """A document that is not read; says in which line and at which key."""

    def __init__(self, problem: str, line: int | None = None, path: tuple[str, ...] = ()) -> None:
        self.problem, self.line, self.key = problem, line, ".".join(path)
        place = f"line {line}: " if line is not None else ""
        super().__init__(f"{place}{self.key}{': ' if path else ''}{problem}")


def load_yaml(text: str) -> Any:
    """The value of a document: texts, numbers, truth values, None, and lists and mappings of them.

    Raises:
        YAMLError: what is no YAML, or is refused (see the head of this module).
    """
    if len(text) > MOST_CHARACTERS:
        raise YAMLError(f"has {len(text)} characters; {MOST_CHARACTERS} are the most")
    try:
        return _Document(text).value
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else None
        raise YAMLError(f"not YAML: {error.problem or error.context}", line) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YAMLError(f"not YAML: the character U+{error.character:04X}", line) from None


def dump_yaml(data: Any) -> str:
    """A document that :func:`load_yaml` reads as ``data``, its keys in their order."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False)
    return text


class _Document:
    """Reads a document from PyYAML's events, so that nothing is built that is not wanted."""

    def __init__(self, text: str) -> None:
        self.values = 0
        # What an anchor names: the value, how many values it is, how deeply they are nested.
        self.anchors: dict[str, tuple[Any, int, int]] = {}
        self.events: Any = yaml.SafeLoader(text)  # whose methods have no types
        try:
            self.value = self._document()
        finally:
            self.events.dispose()

    def _document(self) -> Any:
        events = self.events
        events.get_event()  # of the stream
        if events.check_event(yaml.StreamEndEvent):
            return None
        begins = events.get_event()
        if begins.version not in (None, (1, 2)):
            version = ".".join(map(str, begins.version))
            raise YAMLError(f"YAML {version} is asked for; this is read as 1.2", _line(begins))
        value, _ = self._value(())
        events.get_event()  # of the document's end
        if not events.check_event(yaml.StreamEndEvent):
            raise YAMLError(
                "a second document begins; there can be one", _line(events.peek_event())
            )
        return value

    def _value(self, path: tuple[str, ...]) -> tuple[Any, int]:
        """The value that comes next, and the levels of nesting in it."""
        event = self.events.get_event()
        if isinstance(event, yaml.AliasEvent):
            return self._copied(event, path)
        if event.tag is not None:
            raise YAMLError(f"the tag {shown(event.tag)}; tags are not read", _line(event), path)
        before = self.values
        self._count(1, event, path)
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value, levels = self._scalar(event, path), 0
        else:
            self._check_nesting(len(path) + 1, event, path)
            sequence = isinstance(event, yaml.SequenceStartEvent)
            value, levels = (self._list if sequence else self._mapping)(path)
        if event.anchor is not None:
            self.anchors[event.anchor] = value, self.values - before, levels
        return value, levels

    def _copied(self, event: yaml.AliasEvent, path: tuple[str, ...]) -> tuple[Any, int]:
        if event.anchor not in self.anchors:
            problem = f"*{event.anchor} names nothing before it, or what it is part of itself"
            raise YAMLError(problem, _line(event), path)
        value, size, levels = self.anchors[event.anchor]
        self._count(size, event, path)
        self._check_nesting(len(path) + levels, event, path)
        return copy.deepcopy(value), levels

    def _list(self, path: tuple[str, ...]) -> tuple[list[Any], int]:
        found: list[Any] = []
        levels = 0
        while not self.events.check_event(yaml.SequenceEndEvent):
            value, inner = self._value((*path, str(len(found))))
            found.append(value)
            levels = max(levels, inner)
        self.events.get_event()
        return found, levels + 1

    def _mapping(self, path: tuple[str, ...]) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        lines: dict[str, int] = {}
        levels = 0
        while not self.events.check_event(yaml.MappingEndEvent):
            event = self.events.peek_event()
            line, key = _line(event), self._key(path)
            if key in lines:
                problem = f"there twice, first in line {lines[key]}"
                raise YAMLError(problem, line, (*path, shown_key(key)))
            lines[key] = line
            value, inner = self._value((*path, shown_key(key)))
            levels = max(levels, inner)
            if key == "<<" and event.implicit[0]:  # in quotes it is a key like any other
                for mapping in value if isinstance(value, list) else [value]:
                    if not isinstance(mapping, dict):
                        raise YAMLError("must be keys with values, as *name", line, (*path, key))
                    merged = mapping | merged
            else:
                found[key] = value
        self.events.get_event()
        return merged | found, levels + 1

    def _key(self, path: tuple[str, ...]) -> str:
        event = self.events.get_event()
        if not isinstance(event, yaml.ScalarEvent) or event.tag or event.anchor:
            raise YAMLError("a key must be a text", _line(event), path)
        key = self._scalar(event, path)
        if not isinstance(key, str):
            problem = f"the key {shown(key)} must be a text; in quotes it is one"
            raise YAMLError(problem, _line(event), path)
        return key

    def _scalar(self, event: yaml.ScalarEvent, path: tuple[str, ...]) -> Any:
        text: str = event.value
        if event.implicit[0]:  # plain: without quotes, and no block of text
            try:
                return _resolved(text)
            except ValueError as error:
                raise YAMLError(str(error), _line(event), path) from None
        return _checked_text(text, event, path)

    def _count(self, size: int, event: yaml.Event, path: tuple[str, ...]) -> None:
        self.values += size
        if self.values > MOST_VALUES:
            problem = f"more than {MOST_VALUES} values, with those that aliases repeat"
            raise YAMLError(problem, _line(event), path[:3])

    def _check_nesting(self, levels: int, event: yaml.Event, path: tuple[str, ...]) -> None:
        if levels > MOST_NESTING:
            raise YAMLError(f"nested more than {MOST_NESTING} deep", _line(event), path[:3])


def shown_key(key: str) -> str:
    """A key as a path shows it."""
    return key if len(key) <= 40 else f"{key[:39]}…"


def _checked_text(text: str, event: yaml.ScalarEvent, path: tuple[str, ...]) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise YAMLError(
            "holds half of a character (\\uD800 to \\uDFFF)", _line(event), path
        ) from None
    return text


def _resolved(text: str) -> Any:
    """What a plain word means.

    Raises:
        ValueError: a number that is too large.
    """
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        digits = text.replace("_", "")
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        # A number of thousands of digits takes long to read.
        if len(digits) > 100 or not -MOST_NUMBER <= (number := int(digits, base)) <= MOST_NUMBER:
            raise ValueError(f"{_brief(text)}: a whole number can be 2**63 - 1 at most")
        return number
    if _FLOAT.fullmatch(text):
        if math.isinf(float(text)):
            raise ValueError(f"{_brief(text)}: too large for a number; .inf is infinity")
        return float(text)
    if found := _INFINITE.fullmatch(text):
        return math.nan if text.lower() == ".nan" else float(f"{found.group(1)}inf")
    return text


def _brief(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:30]}… ({len(text)} characters)"


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


class _Dumper(yaml.SafeDumper):
    """Puts a text in quotes where YAML 1.1 or the core schema would take it for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind, _pattern in (("int", _INT), ("float", _FLOAT), ("float", _INFINITE)):
    _Dumper.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}",
        re.compile(f"(?:{_pattern.pattern})$"),
        list("-+.0123456789"),
    )
