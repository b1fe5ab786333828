"""Lines of equal strength (``rl-serial bench strength``) where they are known."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FILE = Path(__file__).parents[1] / "benchmarks/strength.py"


@pytest.fixture(scope="module")
def strength() -> Any:
    spec = importlib.util.spec_from_file_location("strength", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_plane_in_the_logarithms_has_the_ratio_of_its_slopes(strength: Any) -> None:
    """A doubling of moves takes 0.10 off, one of simulations 0.08: 10 times is 10 ** 0.8 times."""
    moves, counts = np.array([3000, 6000, 12000, 24000]), np.array([1, 4, 16, 64])
    shares = 0.7 - 0.1 * np.log2(moves / 3000)[:, None] - 0.08 * np.log2(counts)[None]
    train, test = np.log10(moves), np.log10(counts)
    assert strength.worth(train, test, shares) == pytest.approx(0.8)
    assert strength.worth(train, test, shares, [0.5, 0.4]) == pytest.approx(0.8)
    assert np.isnan(strength.worth(train, test, shares, [0.05]))
    line = strength.lines(train, shares)[0.5]
    # 0.7 - 0.1 * 2 = 0.5; with four simulations 0.54 - 0.1 * 0.4; with 16 fewer moves than any.
    np.testing.assert_allclose(10 ** line[:2], [3000 * 2**2, 3000 * 2**0.4])
    assert np.isnan(line[2])


def test_a_table_gives_figure_and_table(
    strength: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["status,width,agent.timesteps,seed," + ",".join(
        f"search/openings_not_won/{count}" for count in ("one_ply", 0, 1, 4, 16)
    )]  # fmt: skip
    for seed, length in [(s, t) for s in (1, 2) for t in (1000, 2000, 4000, 8000, 16000)]:
        height = 0.8 - 0.1 * np.log2(length / 1000) + 0.001 * seed
        shares = [height - 0.1 * np.log2(count) for count in (1, 4, 16)]
        lines.append(f"done,16,{length},{seed},0.5,0.9," + ",".join(f"{s:.4f}" for s in shares))
    lines.append("failed,16,4000,3,,,,,")
    (tmp_path / "results.csv").write_text("\n".join(lines))
    figure = tmp_path / "lines.png"
    strength.main([str(tmp_path), "--figure", str(figure)])
    assert figure.stat().st_size > 5000
    row = capsys.readouterr().out.splitlines()[2]
    worth = float(row.split("|")[4].split("(")[0])
    assert worth == pytest.approx(10, rel=0.1)
