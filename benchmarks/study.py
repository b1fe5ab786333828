"""What a study's own bookkeeping costs: planning, continuing, summing up and reporting many rows.

No run is carried out: an engine of this file writes the ``summary.json`` that a finished run
leaves, with made-up numbers. The rest is the code of the commands. Where Chromium is in the path,
the page is opened in it, without a window, and what an empty page takes is taken off. Last come 200
short runs, for the memory of runner and worker.

    rl-serial bench study [--rows 10000] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from _ratios import Ratio, report, report_lack

from rl_serial.runs.files import LOCK, write_json
from rl_serial.study.commands import _summary as summary_of
from rl_serial.study.design import load_study
from rl_serial.study.engines import Event, LocalEngine
from rl_serial.study.folder import StudyFolder
from rl_serial.study.jobs import Job, Outcome
from rl_serial.study.report import write_report
from rl_serial.study.runner import run_study
from rl_serial.tables import markdown_table

CONTINUE = "continue with nothing to do"
SEEDS, GROUPS, DEPTHS, RATES = 10, 2, 10, 5
STUDY = """\
question: Does depth pay, in made-up numbers?
hypotheses:
  - id: depth
    statement: The reach grows with every doubling of the depth.
    test: {{slope: network.depth, scale: log2, where: {{group: s5}}, expect: {{above: 0.1}}}}
base:
  env: {{id: rl_serial/PermutationAutomatonBet-v0, group: s5, serial_depth: 16, start: uniform}}
  network: {{kind: residual, depth: 2, width: 16}}
  agent: {{kind: value, updates: 100}}
grid:
  group:
    - {{label: s5, env.group: s5}}
    - {{label: z5, env.group: z5}}
  network.depth: {depths}
  agent.learning_rate: {rates}
  env.serial_depth: {steps}
seeds: {seeds}
metric: [eval/serial_reach, eval/score]
figures:
  - {{x: network.depth, series: agent.learning_rate, panels: [group], scale: log2}}
"""

QUIETLY = ("--headless", "--no-sandbox", "--disable-gpu")
EARLY, MANY = 20, 200
SHORT = """\
question: Do the runner and its worker keep what they took?
base:
  env: {{id: rl_serial/PermutationAutomatonBet-v0, group: s5, serial_depth: 8}}
  network: {{kind: residual, depth: 4, width: 64}}
  agent: {{kind: value, updates: 5, batch_size: 256}}
  evaluation: {{instances: 256, per_remaining: 64, every: 5}}
grid: {{network.depth: [4, 8]}}
seeds: {seeds}
metric: eval/score
"""


class WrittenDown:
    """An engine whose runs are done at once."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        for number, job in enumerate(jobs):
            folder = Path(job.folder)
            folder.mkdir(parents=True)
            write_json(folder / "summary.json", _summary(job.config, random.Random(number)))
            yield Event("ended", job.id, Outcome(job.id, "done"))


def _summary(config: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    final = {f"value/accuracy/remaining_{k}": draw.random() for k in range(1, 17)}
    final |= {f"floor/accuracy/remaining_{k}": draw.random() for k in range(1, 17)}
    final |= {"eval/serial_reach": draw.gauss(8, 2), "eval/score": draw.random()}
    account = {"parameters": 1000, "flops_forward": 2000, "flops_update": 6000, "critical_path": 4}
    return {
        "status": "done",
        "config": config,
        "versions": {"rl_serial": "0"},
        "commit": "0",
        "device_name": "none",
        "torch_threads": 1,
        "accounts": {"value": account},
        "steps": 100,
        "seconds": 1.0,
        "cpu_seconds": 1.0,
        "steps_per_second": 100.0,
        "final": final,
    }


def main() -> None:
    """Print seconds of the processor and of the clock for each command, and the page's size."""
    parser = argparse.ArgumentParser(prog="rl-serial bench study", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="default 10,000")
    parser.add_argument("--keep", type=Path, help="a folder for the study that stays")
    options = parser.parse_args()
    steps = max(1, options.rows // (SEEDS * GROUPS * DEPTHS * RATES))
    text = STUDY.format(
        depths=[2 * i for i in range(1, DEPTHS + 1)],
        rates=[float(f"{10 ** -(2 + i / 2):.1e}") for i in range(RATES)],
        steps=[4 + i for i in range(steps)],
        seeds=SEEDS,
    )
    table, processor_seconds = [], {}

    def timed(name: str, act: Callable[[], Any]) -> Any:
        clock, processor = time.perf_counter(), time.process_time()
        result = act()
        spent = (time.process_time() - processor, time.perf_counter() - clock)
        table.append((name, *(f"{seconds:.1f}" for seconds in spent)))
        processor_seconds[name] = spent[0]
        return result

    place = nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory()
    with place as root:
        Path(root).mkdir(exist_ok=True)
        file = Path(root) / "many.yaml"
        file.write_text(text)
        folder = StudyFolder(Path(root) / "many")
        study = timed("plan", lambda: load_study(file, smoke=False))

        def carry_out() -> Any:
            return run_study(study, folder, WrittenDown(), progress=False)

        timed("run, with made-up results", carry_out)
        timed(CONTINUE, carry_out)
        timed("status", lambda: summary_of(folder))
        timed("report", lambda: write_report(folder, episodes=0))
        size = folder.report.stat().st_size
        opened = seconds_to_open(folder.report)
        rows = len(study.runs)
    print(f"{rows} rows of {rows // SEEDS} cells; the page has {size / 2**20:.1f} MiB\n")
    print(markdown_table(("command", "processor seconds", "seconds"), table))
    together = sum(processor_seconds[name] for name in ("plan", CONTINUE, "report"))
    what = f"plan, continue and report of {rows:,} rows"
    limit = "the page: intervals of every cell, and its text"
    ratios = [Ratio(what, together, 10.0, limit, at_most=True, unit=" s")]
    if opened is None:
        print("\nThere is no chromium in the path to open the page in.")
        report_lack("the page in Chromium, as there is none in the path")
    else:
        print(f"\nThe page is open in Chromium after {opened:.1f} s.")
        what = f"the report of {rows:,} rows is open in Chromium"
        ratios.append(Ratio(what, opened, 2.0, "its text", at_most=True, unit=" s"))
    if Path("/proc/self/statm").exists():
        early, late = megabytes_of_runner()
        grown = f"{early:.0f} MB after {EARLY} runs, {late:.0f} after {MANY}"
        print(f"Runner and worker together have {grown}.")
        what = f"memory of runner and worker after {MANY} runs, over that after {EARLY}"
        ratios.append(Ratio(what, late / early, 1.1, grown, at_most=True))
    report(ratios)


class Watched:
    """One worker whose memory is read, with the runner's, as its runs end."""

    def __init__(self) -> None:
        self.megabytes: list[float] = []

    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        folders = {job.id: Path(job.folder) for job in jobs}
        for event in LocalEngine(workers=1).run(jobs):
            if event.kind == "ended":
                worker = (folders[event.id] / LOCK).read_text()  # the process that had it
                self.megabytes.append(resident("self") + resident(worker))
            yield event


def resident(process: str) -> float:
    """Megabytes of memory that a process has."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def megabytes_of_runner() -> tuple[float, float]:
    """Of a runner and its worker, after a few short runs and after many."""
    with tempfile.TemporaryDirectory() as root:
        file = Path(root) / "short.yaml"
        file.write_text(SHORT.format(seeds=MANY // 2))
        engine = Watched()
        run_study(load_study(file, smoke=False), StudyFolder(Path(root) / "short"), engine,
                  progress=False)  # fmt: skip
    return engine.megabytes[EARLY - 1], engine.megabytes[-1]


def seconds_to_open(page: Path, rounds: int = 3) -> float | None:
    """Median seconds until the page is a picture, beyond those of an empty one."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.html"
        empty.write_text("<title>empty</title>")
        times: dict[Path, list[float]] = {empty: [], page: []}
        for file in [empty, *[empty, page] * rounds]:  # the first one makes a profile
            command = [browser, *QUIETLY, f"--user-data-dir={folder}"]
            command += [f"--screenshot={folder}/page.png", file.resolve().as_uri()]
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times[file].append(time.perf_counter() - started)
    return statistics.median(times[page]) - statistics.median(times[empty][1:])


if __name__ == "__main__":
    main()
