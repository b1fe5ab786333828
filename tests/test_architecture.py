"""Data flows one way: imports follow the layers, rooms stand apart, nothing goes in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rl_serial"
LAYERS = (
    {"errors"},
    {
        "arguments",
        "compiling",
        "importing",
        "metrics",
        "pytrees",
        "shipped",
        "styles",
        "tables",
        "yaml_core",
    },
    {"envs"},
    {"settings"},
    {"networks", "planning"},
    {"agents"},
    {"config"},
    {"subjects"},
    {"loading"},
    {"runs"},
    {"study"},
    {"tune"},
    {"api"},
    {"cli"},
    {"__main__"},
)
"""From the bottom to the top: a part imports what is below it, and itself."""
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
KNOWN_OF_SUBJECTS = {
    "rl_serial.subjects",
    "rl_serial.subjects.protocol",
    "rl_serial.subjects.animation",
}
"""What runs, studies and commands know of subjects: none of the rooms."""
LONGEST = 500
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_of(file): file for file in FILES}


def imports(file: Path) -> Iterator[str]:
    """The modules of the package that a file imports, at its top and inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rl_serial"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("rl_serial"))


def for_types_alone(file: Path) -> set[str]:
    """What is imported under ``TYPE_CHECKING``."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for inner in ast.walk(node):
                if isinstance(inner, ast.ImportFrom) and inner.module:
                    found.add(inner.module)
    return found


def part(module: str) -> str:
    return ([*module.split("."), "__init__"])[1]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    own = part(module)
    if own == "__init__":  # what the package shows of itself
        return
    for name in imports(MODULES[module]):
        other = part(name)
        if other == "__init__":  # the version
            continue
        assert other == own or LEVEL[other] < LEVEL[own], f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_rooms_are_known_by_their_rows_alone(module: str) -> None:
    room = module.split(".")[2] if module.startswith("rl_serial.subjects.") else ""
    for name in imports(MODULES[module]):
        if not name.startswith("rl_serial.subjects"):
            continue
        if LEVEL.get(part(module), 0) > LEVEL["subjects"]:
            assert name in KNOWN_OF_SUBJECTS, f"{module} knows the room {name}"
        elif module == "rl_serial.subjects":
            assert name.count(".") == 2, f"the table of subjects looks into {name}"
        else:
            inside = name.split(".")[2] if name.count(".") > 1 else ""
            assert inside in ("", room, "protocol", "animation", "searching", "vectors"), (
                f"{module} knows {name}"
            )


def test_nothing_goes_in_a_circle() -> None:
    """Module by module, so that it holds inside parts too; a package is its ``__init__``."""
    graph = {
        module: {name for name in imports(file) if name in MODULES}
        - {module}
        - for_types_alone(file)
        for module, file in MODULES.items()
    }
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        for other in graph[module]:
            walk(other, (*path, module))
        done.add(module)

    for module in graph:
        walk(module, ())


@pytest.mark.parametrize("module", MODULES)
def test_a_long_file_says_why(module: str) -> None:
    text = MODULES[module].read_text()
    if text.count("\n") > LONGEST:
        head = ast.get_docstring(ast.parse(text)) or ""
        assert "one file" in head.lower(), (
            f"{module} has {text.count(chr(10))} lines and gives no reason"
        )


def test_every_chain_family_has_its_page() -> None:
    from rl_serial.envs import FAMILIES

    for family in FAMILIES.values():
        if not family.is_own:  # a user's, with documentation of its own
            continue
        module = family.chain.__module__.rpartition(".")[2]
        page = PACKAGE.parent / "docs/chains" / f"{module}.md"
        assert page.exists(), page


def texts_that_begin_with_a_place(code: str) -> Iterator[int]:
    """Lines of a UserError without key and source whose text begins with a place and a colon."""
    for node in ast.walk(ast.parse(code)):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "UserError"):
            continue
        if len(node.args) != 1 or node.keywords:  # with a key or a source, it has said where
            continue
        text = node.args[0]
        first = text.left if isinstance(text, ast.BinOp) else text
        parts = first.values if isinstance(first, ast.JoinedStr) else [first]
        shape = "".join(
            part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "{}"
            for part in parts
        )
        if re.match(r"(--[\w-]*)?\S*\{\}\S*(, line \{\})?: |--[\w-]+: ", shape):
            yield node.lineno


@pytest.mark.parametrize("module", MODULES)
def test_errors_carry_key_and_file(module: str) -> None:
    """They are arguments of a UserError: nothing that handles one could find them in its text."""
    assert not list(texts_that_begin_with_a_place(MODULES[module].read_text()))


def test_a_place_in_the_text_of_an_error_is_found() -> None:
    wrong = ('f"{file}: damaged"', 'f"{a}: grid.{b}: x"', '"--model: x"', 'f"{f}, line {i}: x"',
             'f"bench.{name}: x" + y', 'f"--{name}: x"')  # fmt: skip
    for text in wrong:
        assert list(texts_that_begin_with_a_place(f"raise UserError({text})")) == [1], text
    for text in ('"damaged: x", source=file', 'f"{name} of {file} has: x"', 'error, "base"'):
        assert not list(texts_that_begin_with_a_place(f"raise UserError({text})")), text
