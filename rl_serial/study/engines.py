"""Where a study's runs are carried out: processes of this machine, or Ray.

An engine takes jobs and gives events. It knows neither the design nor the results; a job's run
folder is the truth about it, and a job that was cut off goes on from its checkpoint when it is
given again.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, Protocol

from rl_serial.errors import UserError, missing_extra
from rl_serial.study.jobs import Job, Outcome

TICK = 0.5
"""Seconds after which an engine without news gives a tick."""
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Event:
    """What an engine tells; ``lost``: a worker died and the job waits to be given again."""

    kind: Literal["started", "ended", "lost", "tick"]
    id: str = ""
    outcome: Outcome | None = None


class Engine(Protocol):
    """Carries out jobs, several at a time."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """Carry out the jobs; to close the iterator stops what still runs."""


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Worker:
    """A process that carries out one batch of jobs at a time."""

    def __init__(self, context: Any) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.jobs: dict[str, Job] = {}  # that it has not told the end of

    def give(self, jobs: Sequence[Job]) -> None:
        self.jobs = {job.id: job for job in jobs}
        with suppress(OSError):  # a dead worker shows at the next wait
            self.connection.send(jobs)

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()  # as safe as any other end, and sooner
        self.process.join()


class LocalEngine:
    """Processes of this machine, each with one torch thread; they are kept from run to run.

    Args:
        workers: processes, each of which carries out a run or a population at a time.
        retries: how often a run is given again after its worker died.
        population: runs of the same shapes that are trained as one batch
            (:func:`rl_serial.runs.population.population_key`), at most; 1: each by itself.
    """

    def __init__(self, workers: int | None = None, retries: int = 3, population: int = 1) -> None:
        self.workers = workers or usable_cpus()
        self.retries, self.population = retries, population
        # The server imports torch once; workers, and those that replace dead ones, are its forks.
        # It starts here, so that it imports while the study is checked.
        self.context: Any = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["rl_serial.study.worker"])
        with _one_thread_each():
            forkserver.ensure_running()

    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """Carry out the jobs."""
        waiting, deaths = deque(self._batches(jobs)), Counter[str]()
        workers: list[_Worker] = []
        try:
            while waiting or any(worker.jobs for worker in workers):
                busy = sum(bool(worker.jobs) for worker in workers)
                with _one_thread_each():
                    while len(workers) < min(self.workers, busy + len(waiting)):
                        workers.append(_Worker(self.context))
                for worker in workers:
                    if not worker.jobs and waiting:
                        worker.give(waiting.popleft())
                        for id_ in worker.jobs:
                            yield Event("started", id_)
                ready = wait([worker.connection for worker in workers], timeout=TICK)
                if not ready:
                    yield Event("tick")
                for worker in [worker for worker in workers if worker.connection in ready]:
                    outcome = self._news_of(worker)
                    if outcome is not None:
                        del worker.jobs[outcome.id]
                        yield Event("ended", outcome.id, outcome)
                        continue
                    workers.remove(worker)
                    worker.stop()
                    again = []
                    for job in worker.jobs.values():
                        deaths[job.id] += 1
                        if deaths[job.id] > self.retries:
                            error = _death(deaths[job.id], worker.process.exitcode)
                            yield Event("ended", job.id, Outcome(job.id, "failed", error))
                        else:
                            again.append(job)
                            yield Event("lost", job.id)
                    if again:
                        waiting.appendleft(again)
        finally:
            for worker in workers:
                worker.stop()

    def _batches(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """The jobs as they are given to workers, in the order of the first of each batch."""
        if self.population == 1:
            return [[job] for job in jobs]
        from rl_serial.loading import resolved_config
        from rl_serial.runs.population import population_key

        alike: dict[str, list[Job]] = {}
        for job in jobs:
            key = population_key(resolved_config(job.config))
            alike.setdefault(key or job.id, []).append(job)
        batches = []
        for group in alike.values():
            parts = -(-len(group) // self.population)
            batches += [group[part::parts] for part in range(parts)]  # as even as can be
        place = {job.id: i for i, job in enumerate(jobs)}
        return sorted(batches, key=lambda batch: place[batch[0].id])

    @staticmethod
    def _news_of(worker: _Worker) -> Outcome | None:
        """How a job of the worker's ended; None: the worker died."""
        try:
            outcome: Outcome = worker.connection.recv()
        except (EOFError, OSError):
            return None
        return outcome


def serve(connection: Connection) -> None:
    """The main function of a worker: jobs in, outcomes out, until the runner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner decides what Ctrl-C means
    batches: queue.SimpleQueue[list[Job]] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                batches.put(connection.recv())
        except (EOFError, OSError):
            os._exit(1)  # no orphan trains on: whoever starts the study again finds it free

    threading.Thread(target=listen, daemon=True).start()
    from rl_serial.study.worker import carry_out, carry_out_together

    while True:
        jobs = batches.get()
        for outcome in carry_out_together(jobs) if len(jobs) > 1 else map(carry_out, jobs):
            connection.send(outcome)


class RayEngine:
    """Tasks of Ray, on this machine or a cluster whose nodes share the study's folder.

    Args:
        workers: runs at a time; None: as many as there are CPUs (or parts of GPUs) for.
        retries: how often a run is given again after its worker or node was lost.
        address: of the cluster; None: as RAY_ADDRESS says, else Ray is started here.
        gpus: share of a GPU that a run takes.

    Raises:
        UserError: Ray is not installed, or not to be reached at the address.
    """

    def __init__(
        self,
        workers: int | None = None,
        retries: int = 3,
        address: str | None = None,
        gpus: float = 0.0,
    ) -> None:
        try:
            import ray
        except ImportError:
            raise missing_extra("ray", "rl-serial study run --engine ray", "ray") from None
        self.ray = ray
        self.workers, self.retries, self.address, self.gpus = workers, retries, address, gpus

    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """Carry out the jobs."""
        with self.session() as ray:
            yield from self._carried_out(ray, jobs)

    @contextmanager
    def session(self) -> Iterator[Any]:
        """Ray, connected; what was started for it is stopped in the end.

        Raises:
            UserError: it is not to be reached at the address.
        """
        ours = not self.ray.is_initialized()
        if ours:
            self._connect()
        try:
            yield self.ray
        finally:
            if ours:
                self.ray.shutdown()

    def task(self, ray: Any, function: Callable[..., Any]) -> Any:
        """A function as a task of Ray, with its share of the machine."""
        share = {"num_cpus": 1, "num_gpus": self.gpus, "max_retries": self.retries}
        return ray.remote(**share)(function)

    def _carried_out(self, ray: Any, jobs: Sequence[Job]) -> Iterator[Event]:
        task = self.task(ray, carry_out_here)
        at_once = self.workers or int(ray.cluster_resources().get("CPU", 1))
        waiting = deque(jobs)
        pending: dict[Any, Job] = {}
        try:
            while waiting or pending:
                while waiting and len(pending) < at_once:
                    job = waiting.popleft()
                    pending[task.remote(job)] = job
                    yield Event("started", job.id)
                ready, _ = ray.wait(list(pending), timeout=TICK)
                if not ready:
                    yield Event("tick")
                for reference in ready:
                    job = pending.pop(reference)
                    try:
                        outcome: Outcome = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        reason = str(error).strip().splitlines()[0]
                        outcome = Outcome(job.id, "failed", f"lost by Ray: {reason}")
                    yield Event("ended", job.id, outcome)
        finally:
            with suppress(Exception):  # Ray may be what broke
                for reference in pending:
                    ray.cancel(reference, force=True)

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        cluster = self.address or os.environ.get("RAY_ADDRESS")
        options: dict[str, Any] = {"address": cluster} if cluster else {"num_cpus": self.workers}
        try:
            self.ray.init(include_dashboard=False, log_to_driver=False, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"Ray: {reason}", source=f"--address {cluster or '(none)'}") from None


def carry_out_here(job: Job) -> Outcome:
    """A job as a task of Ray."""
    from rl_serial.study.worker import carry_out

    return carry_out(job)


def _death(times: int, exit_code: int | None) -> str:
    how = f"exit code {exit_code}"
    if exit_code is not None and exit_code < 0:
        how = signal.Signals(-exit_code).name
        if how == "SIGKILL":
            how += ", as when memory runs out"
    return f"its worker died {times} times, last by {how}"


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start here have numerical libraries with one thread."""
    before = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
    os.environ |= dict.fromkeys(_THREAD_SETTINGS, "1")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
