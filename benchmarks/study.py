"""What a study's own bookkeeping costs: planning, continuing, summing up and reporting many rows.

No run is carried out: an engine of this file writes the ``summary.json`` that a finished run
leaves, with made-up numbers. The rest is the code of the commands.

    rl-serial bench study [--rows 10000] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from _ratios import Ratio, report

from rl_serial.runs.files import write_json
from rl_serial.study.commands import _summary as summary_of
from rl_serial.study.design import load_study
from rl_serial.study.engines import Event
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
        rows = len(study.runs)
    print(f"{rows} rows of {rows // SEEDS} cells; the page has {size / 2**20:.1f} MiB\n")
    print(markdown_table(("command", "processor seconds", "seconds"), table))
    together = sum(processor_seconds[name] for name in ("plan", CONTINUE, "report"))
    what = f"plan, continue and report of {rows:,} rows"
    limit = "the page: intervals of every cell, and its text"
    report([Ratio(what, together, 10.0, limit, at_most=True, unit=" s")])


if __name__ == "__main__":
    main()
