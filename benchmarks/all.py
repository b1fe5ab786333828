"""Every benchmark that has a target: its tables, and each figure beside what it is aimed at.

The exit code is 1 where a figure is worse than its target by more than a tenth of it, or a
benchmark fails. What cannot run here (no JAX, no peers, no GPU) is named and does not count. Twenty
minutes on two free cores.

    rl-serial bench all [--only NAME …] [--write]

With --write the table and the machine go to docs/performance.md, between its marks.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from _ratios import FILE, Ratio, read_reported

from rl_serial.tables import markdown_table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/performance.md"
BEGIN, END = "<!-- rl-serial bench all --write -->", "<!-- end of what it writes -->"
HEADER = ("figure", "measured", "target", "what limits it")


@dataclass(frozen=True)
class Benchmark:
    """A file of this folder, how it is called, and what it needs."""

    name: str
    options: tuple[str, ...] = ()
    python: Path = Path(sys.executable)
    modules: tuple[str, ...] = ()
    gpu: bool = False

    def lacks(self) -> str:
        """What is missing, in words; empty if nothing is."""
        if not self.python.exists():
            folder = self.python.relative_to(ROOT).parts[0]
            return f"{folder} is not there (make {folder}/installed)"
        missing = _said(self.python, MISSING, *self.modules)
        if missing:
            return f"{self.python} has no {missing}"
        if (
            self.gpu
            and _said(self.python, "import torch; print(torch.cuda.is_available())") != "True"
        ):
            return "torch sees no GPU"
        return ""


MISSING = """\
import sys
from importlib.util import find_spec
print(*(name for name in sys.argv[1:] if not find_spec(name)))
"""
PEERS = ROOT / ".venv-peers/bin/python"
BENCHMARKS = (
    Benchmark("networks"),
    Benchmark("envs", ("--rounds", "3", "--seconds", "0.4")),
    Benchmark("physics", ("--rounds", "3", "--seconds", "0.5"), modules=("mujoco",)),
    Benchmark("train"),
    Benchmark("population"),
    Benchmark("population", ("--device", "cuda", "--members", "32"), gpu=True),
    Benchmark(
        "jax_envs",
        ("--rounds", "3", "rl_serial/PermutationAutomatonSteer-v0"),
        PEERS,
        ("jax", "torch"),
    ),
    Benchmark("study"),
    Benchmark("search", ("--quick",), modules=("numba",)),
)


def _said(python: Path, code: str, *arguments: str) -> str:
    done = subprocess.run(
        [python, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def run(benchmark: Benchmark) -> tuple[list[Ratio], list[str]]:
    """Its figures, and what kept it or parts of it from running or from its end."""
    if missing := benchmark.lacks():
        return [], [missing]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ratios"
        command = [
            benchmark.python,
            ROOT / "benchmarks" / f"{benchmark.name}.py",
            *benchmark.options,
        ]
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = os.environ | {FILE: str(file), "PYTHONPATH": path}
        code = subprocess.run(command, env=environment, check=False).returncode
        ratios, lacks = read_reported(file)
    return ratios, [f"failed with exit code {code}"] if code else lacks


def machine() -> str:
    """Processor, cores and versions, as a sentence."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "torch"))
    return f"{cores} cores of {model}{load}; Python {platform.python_version()}, {libraries}."


def written(page: str, made: str) -> str:
    """The page with what stands between its marks replaced.

    Raises:
        ValueError: it has not both marks, once each and in order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise ValueError(f"{PAGE} has to have the marks {BEGIN} and {END}, once each")
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them; the exit code."""
    parser = argparse.ArgumentParser(prog="rl-serial bench all", description=__doc__)
    names = list(dict.fromkeys(benchmark.name for benchmark in BENCHMARKS))
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--write", action="store_true", help="renew docs/performance.md")
    options = parser.parse_args(arguments)
    ratios: list[Ratio] = []
    left_out, failed = [], []
    for benchmark in BENCHMARKS:
        if benchmark.name not in options.only:
            continue
        print(f"\n## {benchmark.name}\n", flush=True)
        found, why = run(benchmark)
        ratios += found
        for reason in why:
            print(f"{benchmark.name}: {reason}", flush=True)
            told = failed if reason.startswith("failed") else left_out
            told.append(f"{benchmark.name}: {reason}")
    missed = [ratio for ratio in ratios if ratio.missed]
    made = f"{machine()}\n\n{markdown_table(HEADER, (ratio.row() for ratio in ratios))}"
    if left_out or failed:
        made += "\n\nNot measured: " + "; ".join((*left_out, *failed)) + "."
    print(f"\n## Beside the targets\n\n{made}")
    print(f"\n{len(missed)} of {len(ratios)} missed by more than a tenth.")
    if options.write:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
    return 1 if missed or failed else 0


if __name__ == "__main__":
    sys.exit(main())
