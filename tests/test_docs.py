"""README and docs hold what the code prints, and their examples run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from rl_serial.cli import registry_table
from rl_serial.envs import FAMILIES, Family
from rl_serial.envs.certificate import certify, certify_shortcuts

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_readme_has_the_table_of_the_registry() -> None:
    assert registry_table() in README


def test_the_readmes_loop_runs_and_plays_optimally() -> None:
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.strip().splitlines()) <= 15
    names: dict[str, Any] = {}
    exec(code, names)
    # Steering rule 110 for two of eight steps: the payoff of the best of 36 sequences.
    assert 0.5 < names["total"] / 10 / 1024 <= 1


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_certificates_in_the_docs_are_those_measured(family: Family) -> None:
    """The rows of the two smallest serial depths; the rest takes longer."""
    page = ROOT / "docs/chains" / f"{family.chain.__module__.rsplit('.', 1)[1]}.md"
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in page.read_text().splitlines()]
    for setting, found in certify(family, {}, (4, 8)):
        shares = [f"{share:.2f}" for share in (found.first, found.middle, found.last)]
        expected = [setting, str(found.serial_depth), *shares, f"{found.payoff_mean:+.3f}"]
        assert expected in rows
    for setting, depth, found in certify_shortcuts(family, {}, (4,)):
        assert not isinstance(found, str), found
        cells = [setting, str(depth)]
        for row in (found["blind"], found["linear"]):
            cells += [f"{row.largest:+.2f}", str(row.remaining), f"{row.reach:+.1f}"]
        assert cells in rows


def test_commands_of_the_readme_name_files_that_are_there() -> None:
    pages = [README, *(page.read_text() for page in (ROOT / "docs").rglob("*.md"))]
    named = {file for page in pages for file in re.findall(r"configs/[\w/]+\.yaml", page)}
    assert named
    for file in named:
        assert (ROOT / file).exists(), file


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            made = target.endswith(("reference/environments.md", "reference/keys.md"))  # by site.py
            if re.search(r"[./]", target) and not target.startswith("http") and not made:
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_page_of_metrics_is_that_of_the_package() -> None:
    spec = importlib.util.spec_from_file_location("metrics_page", ROOT / "docs/metrics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs/metrics.md").read_text() == module.page(), "python docs/metrics.py"
