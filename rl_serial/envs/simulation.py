"""MuJoCo's thread pool: many simulations of one model at once.

Needs the extra ``mujoco``, which is imported when the first simulation is asked for.
"""

from __future__ import annotations

import os
import threading
from functools import cache, lru_cache
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rl_serial.errors import told_missing

REQUIREMENT = "mujoco>=3.10,<3.12"

_ROWS_A_THREAD = 4  # fewer are not worth waking a thread for
_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_simulating = threading.Lock()


def load_mujoco(wanted_by: str) -> Any:
    """The module ``mujoco`` with its rollouts, of a version that the rules were checked with.

    Raises:
        gymnasium.error.DependencyNotInstalled: it is missing, or another version; the message
            begins with ``wanted_by`` and names the extra.
    """
    try:
        import mujoco
        import mujoco.rollout
    except ImportError as error:
        told = told_missing(wanted_by, REQUIREMENT, "mujoco")
        raise gymnasium.error.DependencyNotInstalled(told) from error
    if not (3, 10) <= tuple(int(part) for part in mujoco.__version__.split(".")[:2]) < (3, 12):
        told = told_missing(wanted_by, REQUIREMENT, "mujoco", f"not {mujoco.__version__}")
        raise gymnasium.error.DependencyNotInstalled(told)
    return mujoco


def use_threads(count: int) -> None:
    """Simulate with ``count`` threads in this process; results do not depend on it."""
    global _threads
    _threads = count


def thread_count() -> int:
    """Threads that simulate in this process; unless set, one a processor that it may use."""
    return _threads


def rollout(
    model: Any,
    start: NDArray[np.float64],
    steps: int,
    ctrl: NDArray[np.float64] | None = None,
    threads: int | None = None,
    warmstart: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """States [B, steps, S] after each time step from ``start`` [B, S].

    Args:
        model: a compiled ``mujoco.MjModel``.
        start: MuJoCo's full physics states: time, positions, velocities.
        steps: of the model's time step.
        ctrl: of the actuators (MuJoCo's name): [B, nu], held for all steps, or [B, steps, nu];
            without one all are zero.
        threads: in place of :func:`use_threads`'s.
        warmstart: [B, nv] accelerations from which the constraint solver starts; else from zero.
    """
    threads = min(_threads if threads is None else threads, start.shape[0] // _ROWS_A_THREAD)
    threads = 0 if threads < 2 else threads
    if ctrl is not None and ctrl.ndim == 2:
        ctrl = ctrl[:, None]
    with _simulating:
        pool, data = _pool(os.getpid(), threads), _data(model, max(1, threads))
        states: NDArray[np.float64] = pool.rollout(
            model, data, start, ctrl, nstep=steps, initial_warmstart=warmstart
        )[0]
    return states


@cache
def _pool(process: int, threads: int) -> Any:
    """MuJoCo's pool of threads of a process: those of the one it was forked from are not there."""
    return load_mujoco("the simulation").rollout.Rollout(nthread=threads)


@lru_cache(maxsize=32)
def _data(model: Any, threads: int) -> list[Any]:
    """What each thread simulates a model in; nothing of it outlasts a simulation."""
    mujoco = load_mujoco("the simulation")
    return [mujoco.MjData(model) for _ in range(threads)]
