"""A Ray cluster of two nodes on this machine, one of which dies: the study is that of one machine.

`make ray`: it starts Ray's own servers and two raylets with folders of their own; a minute or two.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Data = dict[str, Any]

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]
PATIENCE = 300.0
"""Seconds after which a study that does not move is given up."""


@pytest.fixture
def short() -> Iterator[Callable[[], str]]:
    """Makes folders whose sockets have names short enough for the system."""
    made: list[str] = []

    def make() -> str:
        made.append(tempfile.mkdtemp(prefix="rs_", dir="/tmp"))
        return made[-1]

    yield make
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


def parent(process: int) -> int:
    """The process that started this one; 0: it is gone."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def starts(log: Path) -> list[int]:
    """The processes that began to carry out a run, by its log."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [int(line.split("process ")[1].split()[0]) for line in lines if line.startswith("run ")]


def raylet_of(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def wait_for(found: Callable[[], Any], runner: subprocess.Popen[str]) -> Any:
    """What ``found`` gives as soon as it is true; the study must not end before."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if result := found():
            return result
        assert runner.poll() is None, runner.communicate()[1]
        time.sleep(0.02)
    raise AssertionError("the study does not move")


def test_a_node_dies_and_the_study_is_that_of_one_machine(
    tiny: Data,
    study_file: Callable[[Data], Path],
    run_undisturbed: Callable[[Path, Path], None],
    short: Callable[[], str],
    tmp_path: Path,
) -> None:
    pytest.importorskip("ray", reason="needs the extra ray: make ray")
    from ray.cluster_utils import Cluster

    tiny["base"]["agent"]["updates"] = 1500
    tiny["base"]["evaluation"]["every"] = 100
    file, out = study_file(tiny | {"seeds": 3}), tmp_path / "out"
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "temp_dir": short()},
    )
    try:
        doomed = cluster.add_node(num_cpus=1, temp_dir=short())
        command = [sys.executable, "-W", "ignore", "-m", "rl_serial", "study", "run", str(file)]
        command += ["--out", str(out), "--quiet", "--device", "cpu"]
        runner = subprocess.Popen(
            [*command, "--engine", "ray", "--address", cluster.address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            raylet = raylet_of(doomed)

            def at_work() -> Path | None:
                """The log of a run on the doomed node that has written a checkpoint."""
                for log in out.glob("logs/*.log"):
                    if starts(log) and parent(starts(log)[-1]) == raylet:
                        metrics = out / "runs" / log.stem / "metrics.csv"
                        if metrics.exists() and metrics.read_text().count("\n") > 2:
                            return log
                return None

            log = wait_for(at_work, runner)
            done = len(list(out.glob("runs/*/model.pt")))
            cluster.remove_node(doomed, allow_graceful=False)
            assert done < 12, "the study had ended before the node died"
            _, told = runner.communicate(timeout=PATIENCE)
            assert runner.returncode == 0, told
        finally:
            runner.kill()
            runner.wait()
        # The run that the node took with it went on elsewhere, from its checkpoint.
        first, *later = starts(log)
        assert later, log.read_text()
        assert parent(first) == 0
    finally:
        cluster.shutdown()
    run_undisturbed(file, tmp_path / "undisturbed")
    assert (out / "results.csv").read_text() == (tmp_path / "undisturbed/results.csv").read_text()
    for run in (tmp_path / "undisturbed/runs").iterdir():
        same = out / "runs" / run.name / "metrics.csv"
        assert same.read_text() == (run / "metrics.csv").read_text()
