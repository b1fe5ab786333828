"""What a worker does with a job: train in the run's folder, its output in the run's log.

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
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from rl_serial.config import parse_config
from rl_serial.errors import RunError, UserError
from rl_serial.study.engines import Job, Outcome
from rl_serial.study.folder import record_failure
from rl_serial.training.run import is_finished, train, use_threads


def carry_out(job: Job) -> Outcome:
    """Carry out a run, or go on with it; never raises but to end the process."""
    use_threads(1)
    folder, log = Path(job.folder), Path(job.log)
    try:
        with _output_to(log):
            print(f"run {job.id}: process {os.getpid()} on {socket.gethostname()}", flush=True)
            return _carry_out(job, folder)
    except OSError as error:
        return Outcome(job.id, "interrupted", f"{log}: {error.strerror or error}")


def _carry_out(job: Job, folder: Path) -> Outcome:
    try:
        config = parse_config(copy.deepcopy(job.config), job.id)
        if not is_finished(config, folder):
            train(config, folder, resume=True, device=job.device, progress=False)
        return Outcome(job.id, "done")
    except (UserError, RunError) as error:
        print(error, file=sys.stderr, flush=True)
        if isinstance(error.__cause__ or error.__context__, OSError):
            return Outcome(job.id, "interrupted", str(error))
        message = str(error)
    except Exception as error:  # a fault of ours or of a library: the other runs go on
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
    record_failure(folder, message)
    return Outcome(job.id, "failed", message)


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """The process's output, that of native code too, goes to a file that is locked meanwhile."""
    with log.open("a", buffering=1) as stream, redirect_stdout(stream), redirect_stderr(stream):
        fcntl.flock(stream, fcntl.LOCK_EX)  # a worker that is being killed may hold it for a moment
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
            fcntl.flock(stream, fcntl.LOCK_UN)
