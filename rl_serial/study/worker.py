"""What a worker does with jobs: train in their runs' folders, the output in the runs' logs.

While a run is carried out its log is locked (``flock``), so no two processes work on one run; the
kernel drops the lock with the process, however it ends.
"""

from __future__ import annotations

import copy
import fcntl
import os
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

from rl_serial.config import RunConfig
from rl_serial.errors import RunError, UserError
from rl_serial.importing import load_modules
from rl_serial.loading import parse_config
from rl_serial.runs.devices import use_threads
from rl_serial.runs.population import train_together
from rl_serial.runs.run import TrainingRun, is_finished, opened, train
from rl_serial.study.folder import record_failure
from rl_serial.study.jobs import Job, Outcome


def carry_out(job: Job) -> Outcome:
    """Carry out a run, or go on with it; never raises but to end the process."""
    use_threads(1)
    folder, log = Path(job.folder), Path(job.log)
    try:
        with _output_to(log):
            print(f"run {job.id}: process {os.getpid()} on {socket.gethostname()}", flush=True)
            try:
                config = _config(job)
                if not is_finished(config, folder):
                    train(config, folder, resume=True, device=job.device, progress=False)
            except Exception as error:
                return _failed(job, error)
            return Outcome(job.id, "done")
    except OSError as error:
        return Outcome(job.id, "interrupted", f"{log}: {error.strerror or error}")


def carry_out_together(jobs: Sequence[Job]) -> Iterator[Outcome]:
    """As :func:`carry_out`, of several runs that are trained as one batch; each as it ends.

    What all of them print goes to a log of the batch, which is named by its first run.
    """
    use_threads(1)
    log = Path(jobs[0].log).with_name(f"population_{jobs[0].id}.log")
    held: dict[Path, tuple[Job, TextIO, ExitStack]] = {}  # by the folder of the run
    try:
        with _output_to(log):
            ids = " ".join(job.id for job in jobs)
            print(f"runs {ids}: process {os.getpid()} on {socket.gethostname()}", flush=True)
            runs: list[TrainingRun] = []
            for job in jobs:
                stack = ExitStack()
                try:
                    stream = stack.enter_context(_locked(Path(job.log)))
                    print(f"run {job.id}: in {log.name}", file=stream, flush=True)
                    run = _opened(job, stack)
                except Exception as error:
                    stack.close()
                    yield _failed(job, error)
                    continue
                if run is None:
                    stack.close()
                    yield Outcome(job.id, "done")
                else:
                    held[run.folder] = job, stream, stack
                    runs.append(run)
            for run, trouble in train_together(runs):
                job, stream, stack = held.pop(run.folder)
                outcome = Outcome(job.id, "done")
                if trouble is not None:
                    outcome = _failed(job, run.failure(trouble))
                    print(outcome.error, file=stream)
                stack.close()  # before it is told: a run whose log is locked is still going
                yield outcome
    except OSError as error:
        told = f"{log}: {error.strerror or error}"
        for job, _, stack in held.values():
            stack.close()
            yield Outcome(job.id, "interrupted", told)


def _opened(job: Job, stack: ExitStack) -> TrainingRun | None:
    """The run of a job, ready to be trained; None: it is finished."""
    config, folder = _config(job), Path(job.folder)
    if is_finished(config, folder):
        return None
    run = stack.enter_context(
        opened(config, folder, resume=True, device=job.device, progress=False)
    )
    assert isinstance(run, TrainingRun)
    return run


def _config(job: Job) -> RunConfig:
    load_modules(job.imports)
    return parse_config(copy.deepcopy(job.config), job.id)


def _failed(job: Job, error: Exception) -> Outcome:
    """The outcome of a job that ended with an error, which goes to the log."""
    if isinstance(error, OSError):
        return Outcome(job.id, "interrupted", f"{job.log}: {error.strerror or error}")
    if isinstance(error, UserError | RunError):
        print(error, file=sys.stderr, flush=True)
        if isinstance(error.__cause__ or error.__context__, OSError):
            return Outcome(job.id, "interrupted", str(error))
        message = str(error)
    else:  # a fault of ours or of a library: the other runs go on
        traceback.print_exception(error)
        message = f"{type(error).__name__}: {error}"
    record_failure(Path(job.folder), message)
    return Outcome(job.id, "failed", message)


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """The process's output, that of native code too, goes to a file that is locked meanwhile."""
    with _locked(log) as stream, redirect_stdout(stream), redirect_stderr(stream):
        before = os.dup(1), os.dup(2)
        try:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
            yield
        finally:
            stream.flush()
            for number, copied in enumerate(before, start=1):
                os.dup2(copied, number)
                os.close(copied)


@contextmanager
def _locked(log: Path) -> Iterator[TextIO]:
    """A log to write to, which says meanwhile that its run is being carried out."""
    with log.open("a", buffering=1) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # a worker that is being killed may hold it for a moment
        try:
            yield stream
        finally:
            fcntl.flock(stream, fcntl.LOCK_UN)
