"""Data flows one way: imports inside the package follow the order of its layers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rl_serial"
# What each part may import besides itself; the base install holds only the first two.
ALLOWED = {
    "envs": {"errors"},
    "tables": set(),
    "styles": set(),
    "errors": set(),
    "networks": {"envs"},
    "planning": set(),
    "yaml_core": {"errors"},
    "arguments": {"errors"},
    "importing": {"errors"},
    "config": {"envs", "errors", "yaml_core"},
    "agents": {"envs", "errors", "config", "networks", "planning"},
    "training": {"envs", "errors", "config", "networks", "planning", "agents", "tables", "styles"},
    "study": {
        "envs",
        "errors",
        "config",
        "agents",
        "training",
        "tables",
        "styles",
        "yaml_core",
        "importing",
    },
    "cli": {
        "envs",
        "errors",
        "config",
        "training",
        "tables",
        "study",
        "arguments",
        "importing",
        "__init__",
    },
    "__init__": {"envs"},
}


def parts(file: Path) -> str:
    relative = file.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_imports_follow_the_layers(file: Path) -> None:
    own = parts(file)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rl_serial"):
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("rl_serial")]
        else:
            continue
        for name in names:
            part = ([*name.split("."), "__init__"])[1]
            assert part == own or part in ALLOWED[own], f"{own} imports {name}"


def test_every_chain_family_has_its_page() -> None:
    from rl_serial.envs import FAMILIES

    for family in FAMILIES.values():
        if not family.is_own:  # a user's, with documentation of its own
            continue
        module = family.chain.__module__.rsplit(".", 1)[1]
        page = PACKAGE.parent / "docs/chains" / f"{module}.md"
        assert page.exists(), page
