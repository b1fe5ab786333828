"""How exact ManyBody's simulation is, and what it costs.

Prints the error of the kinetic energy, beside linear springs on the same tables; the share of
instances that half the time step would decide otherwise, by serial depth; and the time of an
instance and of a training batch of the value agent, with one thread.

    rl-serial bench many_body [--instances 512]
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator
from typing import Any

import mujoco
import mujoco.rollout
import numpy as np

from rl_serial.agents.fitted import visited_states
from rl_serial.agents.value import monte_carlo_targets
from rl_serial.envs import make_task
from rl_serial.envs.chains.many_body import ManyBody
from rl_serial.envs.chains.many_body_model import RADIUS
from rl_serial.envs.random import evaluation_seeds, fold_in
from rl_serial.envs.simulation import use_threads
from rl_serial.tables import markdown_table

DEPTHS = (8, 12, 16, 32, 64)
LINEAR_STIFFNESS = 20_000


def paths(model: Any, start: Any, seconds: float) -> tuple[Any, Any, float]:
    """Positions and velocities [B, steps, discs, 2] of a model, and seconds a trajectory."""
    batch, discs = start.position.shape[:2]
    flat = start.position.reshape(batch, -1), start.velocity.reshape(batch, -1)
    states = np.concatenate([np.zeros((batch, 1)), *flat], axis=1)
    steps = round(seconds / model.opt.timestep)
    with mujoco.rollout.Rollout(nthread=0) as pool:
        began = time.perf_counter()
        path = pool.rollout(model, mujoco.MjData(model), states, nstep=steps)[0]
        spent = (time.perf_counter() - began) / batch
    shape = (batch, steps, discs, 2)
    return (
        path[:, :, 1 : 1 + model.nq].reshape(shape),
        path[:, :, 1 + model.nq :].reshape(shape),
        spent,
    )


def energy_errors(positions: Any, velocities: Any, side: float) -> Any:
    """[B] largest relative error of the kinetic energy while nothing touches anything."""
    discs = positions.shape[2]
    first, second = np.triu_indices(discs, 1)
    gaps = np.linalg.norm(positions[:, :, first] - positions[:, :, second], axis=3)
    inside = ((positions > RADIUS) & (positions < side - RADIUS)).all(axis=(2, 3))
    free = inside & (gaps > 2 * RADIUS).all(axis=2)
    error = np.abs((velocities**2).sum(axis=(2, 3)) / discs - 1)  # every disc begins at 1 m/s
    return np.where(free, error, 0).max(axis=1)


def linear(model: Any, impedance: float, integrator: Any, time_step: float) -> Any:
    """The same table with linear springs of one impedance."""
    other = copy.copy(model)
    other.opt.timestep, other.opt.integrator = time_step, integrator
    for reference, shape in (
        (other.geom_solref, other.geom_solimp),
        (other.jnt_solref, other.jnt_solimp),
    ):
        reference[:] = [-LINEAR_STIFFNESS, 0]
        shape[:] = [impedance, impedance, 0.001, 0.5, 2]
    return other


def energy_rows(instances: int) -> Iterator[list[str]]:
    """A row of the table of energies for each model."""
    chain = ManyBody()
    model = chain.model()
    rk4, euler = mujoco.mjtIntegrator.mjINT_RK4, mujoco.mjtIntegrator.mjINT_EULER
    contenders = [
        ("this model", model, 1.2, instances),
        ("this model", model, 9.6, instances // 4),
        ("linear, d = 0.9, RK4 at 1 ms", linear(model, 0.9, rk4, 1e-3), 1.2, instances // 4),
        ("linear, d = 0.01, RK4 at 1 ms", linear(model, 0.01, rk4, 1e-3), 1.2, instances // 4),
        ("linear, d = 0.01, Euler at 1 ms", linear(model, 0.01, euler, 1e-3), 1.2, instances // 4),
    ]
    for name, contender, seconds, count in contenders:
        start = chain.initial(evaluation_seeds(5, count, np))
        positions, velocities, spent = paths(contender, start, seconds)
        error = 100 * energy_errors(positions, velocities, chain.side)
        shares = f"{np.median(error):.3f} %", f"{error.max():.2f} %"
        yield [name, f"{seconds} s", str(count), *shares, f"{1e3 * spent:.2f} ms"]


def closeness_rows(instances: int) -> Iterator[list[str]]:
    """A row for each serial depth."""
    for depth in DEPTHS:
        count = instances * DEPTHS[0] // depth
        chain = ManyBody(serial_depth=depth)
        start = chain.initial(evaluation_seeds(6, count, np))
        collisions = chain.causal_collisions(start).mean()
        share = 100 * chain.too_close(start).mean()
        yield [str(depth), str(count), f"{collisions:.1f}", f"{share:.1f} %"]


def batch_rows() -> Iterator[list[str]]:
    """A row for each task and batch."""
    for name, options in (
        ("Bet", {"start": "uniform"}),
        ("Bet", {"start": "uniform", "contacts": "none"}),
        ("Steer", {"decisions": 1}),
        ("Steer", {"decisions": 2}),
    ):
        task = make_task("ManyBody", name, **options)
        for batch in (256, 512):
            seeds = fold_in(np.zeros(batch, dtype=np.int64), np.arange(batch))
            began = time.perf_counter()
            state = visited_states(task, seeds)
            drawn = time.perf_counter()
            monte_carlo_targets(task, state, "optimal", seeds)
            done = time.perf_counter()
            settings = ", ".join(f"{key}={value}" for key, value in options.items())
            times = f"{1e3 * (drawn - began):.0f} ms", f"{1e3 * (done - drawn):.0f} ms"
            yield [f"{name} ({settings})", str(batch), *times]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="rl-serial bench many_body", description=__doc__)
    parser.add_argument("--instances", type=int, default=512)
    options = parser.parse_args()
    use_threads(1)
    errors = ("model", "time", "instances", "median error", "largest error", "a trajectory")
    print(markdown_table(errors, energy_rows(options.instances)), end="\n\n")
    close = ("serial depth", "instances", "causal collisions, mean", "too close to call")
    print(markdown_table(close, closeness_rows(2 * options.instances)), end="\n\n")
    print(markdown_table(("task", "batch", "states", "exact values"), batch_rows()))


if __name__ == "__main__":
    main()
