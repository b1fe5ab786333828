"""The site has every page, and every public name that it shows has a docstring."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MADE = {"reference/environments.md", "reference/keys.md"}
"""Pages that docs/site.py makes."""


def navigation() -> set[str]:
    """The pages that mkdocs.yml lists."""

    def leaves(node: Any) -> set[str]:
        if isinstance(node, str):
            return {node}
        parts = node.values() if isinstance(node, dict) else node
        return set().union(*(leaves(part) for part in parts))

    found: set[str] = leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    return found


def test_a_warning_ends_make_docs() -> None:
    """MkDocs counts none of those that it is told not to print."""
    [build] = re.findall(r"mkdocs build.*", (ROOT / "Makefile").read_text())
    assert build.split()[2:] == ["--strict"]


def test_every_page_is_in_the_navigation() -> None:
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert navigation() == there | MADE


def shown() -> list[str]:
    """What the pages of the reference show."""
    pages = (page.read_text() for page in (DOCS / "reference").glob("*.md"))
    return [name for page in pages for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)]


@pytest.mark.parametrize("name", shown())
def test_what_is_shown_has_docstrings(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
    assert found.__doc__, name
    if inspect.isclass(found):
        for key, member in vars(found).items():
            if not key.startswith("_") and (
                inspect.isfunction(member) or isinstance(member, property)
            ):
                documented = any(
                    getattr(getattr(c, key, None), "__doc__", None) for c in found.__mro__
                )
                assert documented, f"{name}.{key}"


def test_public_names_are_in_the_reference() -> None:
    import rl_serial

    in_reference = {name.rpartition(".")[2] for name in shown()}
    assert set(rl_serial.__all__) - {"__version__"} <= in_reference


def test_it_is_built(tmp_path: Path) -> None:
    """Strictly: no broken link, no page left out. Only where the extra `docs` is installed."""
    if importlib.util.find_spec("mkdocstrings") is None:
        pytest.skip("needs the extra docs: make docs")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        check=True,
    )
    index = (tmp_path / "search/search_index.json").read_text()
    assert "serial horizon" in index
    page = (tmp_path / "reference/environments.html").read_text()
    from rl_serial.envs import ENV_IDS, FAMILIES

    for id_, (family, _) in ENV_IDS.items():
        assert id_ in page or not FAMILIES[family.name].is_own
    assert (tmp_path / "images/environments/PointerChaseBet-v0.png").stat().st_size > 1000
    assert ":class:" not in (tmp_path / "reference/api.html").read_text()
