"""Drawing leaves a notebook's matplotlib as it is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_backend_stays_as_it_was_set() -> None:
    """As in a notebook: a backend is chosen, then the package draws and saves."""
    code = (
        "import matplotlib, io, numpy\n"
        "matplotlib.use('svg')\n"
        "import rl_serial.runs.run, rl_serial.runs.reporting, rl_serial.study.report\n"
        "from rl_serial.runs.monitoring import heat_map\n"
        "from rl_serial.study.panels import panel_grid\n"
        "from rl_serial.subjects.chains.metrics import ACCURACY\n"
        "heat_map(ACCURACY, [1, 2], [1, 2], numpy.eye(2)).savefig(io.BytesIO(), format='png')\n"
        "panel_grid(3, True)[0].savefig(io.BytesIO(), format='png')\n"
        "assert matplotlib.get_backend().lower() == 'svg', matplotlib.get_backend()\n"
        "import matplotlib.pyplot\n"
        "assert matplotlib.pyplot.get_fignums() == []\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_draws_by_pyplot() -> None:
    """Figures of pyplot are global: they choose a backend and stay until they are closed."""
    files = [*(ROOT / "rl_serial").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            assert not any(name.startswith("matplotlib.pyplot") for name in names), file
