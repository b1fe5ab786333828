"""MuJoCo's model of ManyBody: sizes, contacts and what is compiled of them.

A contact is a spring without damping whose force grows about as the cube of its depth. It sets in
so smoothly that symplectic steps (semi-implicit Euler) of 8 ms keep the energy within 0.3 % over
ten seconds; a linear spring of the same impedance needs steps of 1 ms and RK4 for as much
(docs/chains/many_body.md).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from rl_serial.envs.simulation import load_mujoco

AREA = 0.25
"""Of the table for each disc, m^2: more discs get a larger table, and meet each other as often."""
RADIUS = 0.12
"""Of a disc, m."""
MASS = 1.0
"""Of a disc, kg."""
SPEED = 1.0
"""Of each disc at the start, m/s."""
DEPTH_AT_UNIT_SPEED = 0.036
"""How deep a contact gets that closes at 1 m/s, m; at v m/s about the root of v times that."""
TIME_STEP = 1 / 120
"""Largest time step, s: an interval is divided into equal steps that are not longer."""

# MuJoCo separates a contact of depth p with the acceleration k (d(p) / d_max)^2 p. The impedance d
# may grow linearly with p, but from 1e-4 on: with a slope s the acceleration is
# STIFFNESS p (p + ONSET)^2 with ONSET = 1e-4 / s. The slope must be small all the same: where a
# disc has two contacts at once, a share d of each force depends on the other, and no energy belongs
# to that share.
_LEAST_IMPEDANCE = 1e-4
_IMPEDANCE_SLOPE = 0.1  # per m
_IMPEDANCE_DEPTH = 0.1  # m, where the slope ends: no contact gets this deep
ONSET = _LEAST_IMPEDANCE / _IMPEDANCE_SLOPE
"""Depth below which the force is nearly linear, m."""
STIFFNESS = (SPEED**2 / 2) / (
    DEPTH_AT_UNIT_SPEED**4 / 4
    + 2 * ONSET * DEPTH_AT_UNIT_SPEED**3 / 3
    + ONSET**2 * DEPTH_AT_UNIT_SPEED**2 / 2
)
"""Of a contact, 1 / (m s)^2: a disc of 1 m/s is brought to rest at DEPTH_AT_UNIT_SPEED."""

DISC_COLOUR, MARKED_COLOUR = (43, 65, 98), (196, 106, 46)
"""RGB of disc 1, … and of disc 0."""


@lru_cache(maxsize=32)
def compiled_model(discs: int, contacts: str, time_step: float) -> Any:
    """Spheres on two slide joints each; the walls are the joints' limits."""
    mujoco = load_mujoco("ManyBody")
    side = math.sqrt(AREA * discs)
    spec = mujoco.MjSpec()
    spec.modelname = "many_body"
    spec.option.timestep = time_step
    spec.option.gravity = [0, 0, 0]
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_EULER
    # Without a warm start a step depends on nothing but its state.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART
    deepest = _LEAST_IMPEDANCE + _IMPEDANCE_SLOPE * _IMPEDANCE_DEPTH
    spring = [-STIFFNESS * (deepest / _IMPEDANCE_SLOPE) ** 2, 0.0]  # no damping
    impedance = [_LEAST_IMPEDANCE, deepest, _IMPEDANCE_DEPTH, 0.5, 1]
    for disc in range(discs):
        body = spec.worldbody.add_body(name=f"disc_{disc}")
        for name, axis in (("x", [1, 0, 0]), ("y", [0, 1, 0])):
            body.add_joint(
                name=f"{name}_{disc}",
                type=mujoco.mjtJoint.mjJNT_SLIDE,
                axis=axis,
                limited=mujoco.mjtLimited.mjLIMITED_TRUE,
                range=[RADIUS, side - RADIUS],
                solref_limit=spring,
                solimp_limit=impedance,
            )
        body.add_geom(
            name=f"disc_{disc}",
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[RADIUS, 0, 0],
            mass=MASS,
            condim=1,  # no friction
            contype=int(contacts == "elastic"),
            conaffinity=int(contacts == "elastic"),
            solref=spring,
            solimp=impedance,
            rgba=[*(np.array(MARKED_COLOUR if disc == 0 else DISC_COLOUR) / 255), 1],
        )
    return spec.compile()
