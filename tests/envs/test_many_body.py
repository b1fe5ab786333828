"""ManyBody: conservation laws, the twin's closed form, collisions counted by hand, determinism.

Lengths, times and the law of the contacts are written here as docs/chains/many_body.md states them,
not taken from the package.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq

from rl_serial.agents.search import tensors_on
from rl_serial.cli import main
from rl_serial.envs import certificate, make_task, simulation, task_of
from rl_serial.envs.certificate import CollisionInfluence, influence, influence_by_collisions
from rl_serial.envs.chain import map_state
from rl_serial.envs.chains import many_body
from rl_serial.envs.chains.many_body import ManyBody, ManyBodyState
from rl_serial.envs.random import evaluation_seeds

pytest.importorskip("mujoco")

RADIUS, SIDE = 0.12, 1.0
LOW, HIGH = RADIUS, SIDE - RADIUS
STEP = 0.15 / 18
CONFIG = Path(__file__).parents[2] / "configs/train/many_body_value_deep.yaml"
DEEPEST_AT_1, ONSET = 0.036, 0.001
REST = (0.0, 0.0)


# --------------------------------------------------------------------------------------
# The twin's closed form: uniform motion between the walls, and at a wall a time that one integral
# gives. A contact of depth p is driven apart with the acceleration K p (p + ONSET)^2.
# --------------------------------------------------------------------------------------


def quartic(p: Any) -> Any:
    """The integral of p (p + ONSET)^2."""
    return p**4 / 4 + 2 * ONSET * p**3 / 3 + ONSET**2 * p**2 / 2


STIFFNESS = 0.5 / quartic(DEEPEST_AT_1)  # brings a disc of 1 m/s to rest at 36 mm


def deepest(speed: float) -> float:
    """Depth at which a disc that meets a wall at ``speed`` comes to rest."""
    return float(brentq(lambda p: 2 * STIFFNESS * quartic(p) - speed**2, 0, 1, xtol=1e-15))


def contact_time(speed: float) -> float:
    """Seconds at a wall, in and out; p = deepest sin a takes the singularity away."""
    depth = deepest(speed)

    def integrand(a: float) -> float:
        return (
            depth
            * np.cos(a)
            / np.sqrt(2 * STIFFNESS * (quartic(depth) - quartic(depth * np.sin(a))))
        )

    return 2 * float(quad(integrand, 0, np.pi / 2 - 1e-9)[0])


SPEEDS = np.geomspace(1e-5, 1.001, 300)
CONTACT_TIMES = np.array([contact_time(speed) for speed in SPEEDS])
DEPTHS = np.array([deepest(speed) for speed in SPEEDS])


def closed_form(start: Any, velocity: Any, time: Any) -> tuple[Any, Any, Any]:
    """Coordinate at ``time``, whether in touch with a wall (coordinate: the wall), error bound."""
    speed = np.abs(velocity)
    at_wall = np.exp(np.interp(np.log(speed), np.log(SPEEDS), np.log(CONTACT_TIMES)))
    ahead = np.where(velocity < 0, SIDE - start, start)  # as if moving to the right
    first = (HIGH - ahead) / speed
    bounces = np.floor((time - first) / ((HIGH - LOW) / speed + at_wall))
    since = time - first - bounces * ((HIGH - LOW) / speed + at_wall)
    gone = speed * np.maximum(since - at_wall, 0)
    after = np.where(bounces % 2 == 0, HIGH - gone, LOW + gone)
    place = np.where(time < first, ahead + speed * time, after)
    touches = (time >= first) & (since < at_wall)
    # Symplectic steps run ahead of an oscillation of angular frequency w by (w h)^2 / 24 of the
    # time that it takes; w is at most that of the deepest point.
    depth = np.interp(speed, SPEEDS, DEPTHS)
    stiffest = STIFFNESS * (3 * depth**2 + 4 * ONSET * depth + ONSET**2)
    bound = np.maximum(bounces + 1, 0) * speed * at_wall * stiffest * STEP**2 / 24 + 1e-9
    return np.where(velocity < 0, SIDE - place, place), touches, bound


def path_of(chain: ManyBody, state: ManyBodyState) -> tuple[Any, Any, Any]:
    """Times [N], positions and velocities [B, N, discs, 2] at every time step, by ``mj_step``."""
    import mujoco

    model = chain.model()
    data = mujoco.MjData(model)
    steps = round(chain.serial_depth * chain.interval / model.opt.timestep)
    path = np.empty((state.position.shape[0], steps, 2, chain.discs, 2))
    for row, (position, velocity) in enumerate(zip(state.position, state.velocity, strict=True)):
        data.qpos[:], data.qvel[:] = position.ravel(), velocity.ravel()
        for step in range(steps):
            mujoco.mj_step(model, data)
            path[row, step] = data.qpos.reshape(-1, 2), data.qvel.reshape(-1, 2)
    return (np.arange(steps) + 1) * model.opt.timestep, path[:, :, 0], path[:, :, 1]


def to_the_end(chain: ManyBody, state: ManyBodyState) -> ManyBodyState:
    for _ in range(chain.serial_depth):
        state = chain.advance(state)
    return state


def drawn(chain: ManyBody, instances: int, seed: int = 0) -> ManyBodyState:
    return chain.initial(evaluation_seeds(seed, instances, np))


def table(positions: Any, velocities: Any, remaining: int = 8, half: int = 0) -> ManyBodyState:
    """One table of 1 m by hand: four discs, those that are not given at rest in its corners."""
    corners = [(0.13, 0.87), (0.87, 0.13), (0.13, 0.13), (0.87, 0.87)]
    free = [c for c in corners if all(np.hypot(*np.subtract(c, p)) > 0.3 for p in positions)]
    parked = free[: 4 - len(positions)]
    return ManyBodyState(
        np.array([[*positions, *parked]], dtype=np.float64),
        np.array([[*velocities, *[REST] * len(parked)]], dtype=np.float64),
        np.array([half], dtype=np.int8),
        np.array([remaining]),
    )


@pytest.mark.parametrize(("serial_depth", "instances"), [(8, 100), (64, 20)])
def test_twin_moves_on_its_closed_form_at_every_step(serial_depth: int, instances: int) -> None:
    chain = ManyBody("none", serial_depth)
    state = drawn(chain, instances)
    times, positions, _ = path_of(chain, state)
    start, velocity = state.position[:, None], state.velocity[:, None]
    place, touches, bound = closed_form(start, velocity, times[:, None, None])
    error = np.abs(positions - place)
    assert (error <= bound)[~touches].all()
    # In touch with a wall a disc is in it, no deeper than its speed goes.
    deep = np.interp(np.abs(velocity), SPEEDS, DEPTHS)
    assert (error <= deep * 1.01 + bound)[touches].all()
    assert touches.mean() > 0.05
    assert bound[~touches].max() < 0.003 * serial_depth / 8  # what docs/chains/many_body.md states


@pytest.mark.parametrize(
    ("serial_depth", "instances", "share"), [(8, 6000, 0.999), (16, 2000, 0.998), (64, 600, 0.995)]
)
def test_twin_pays_what_its_closed_form_says(
    serial_depth: int, instances: int, share: float
) -> None:
    chain = ManyBody("none", serial_depth)
    state = drawn(chain, instances)
    place, _, bound = closed_form(state.position, state.velocity, serial_depth * 0.15)
    left = place[:, 0, 0] < SIDE / 2
    expected = np.where(left == (state.half == 0), 1, -1)
    paid = chain.payoff(to_the_end(chain, state))
    assert (paid == expected).mean() >= share
    clear = np.abs(place - SIDE / 2)[:, 0, 0] > bound[:, 0, 0]
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(paid[clear], expected[clear])


def closest(positions: Any) -> Any:
    """[B, N] the smallest distance of two discs."""
    first, second = np.triu_indices(positions.shape[2], 1)
    return np.linalg.norm(positions[:, :, first] - positions[:, :, second], axis=3).min(axis=2)


def at_wall(positions: Any) -> Any:
    """[B, N] whether a disc touches a wall; a table has a quarter of a square metre a disc."""
    high = np.sqrt(positions.shape[2]) / 2 - RADIUS
    return ((positions <= LOW) | (positions >= high)).any(axis=(2, 3))


def untouched(positions: Any) -> Any:
    """[B, N] whether no disc touches a wall or another disc."""
    return ~at_wall(positions) & (closest(positions) > 2 * RADIUS)


@pytest.mark.parametrize(
    ("discs", "serial_depth", "instances"), [(4, 8, 150), (4, 64, 40), (9, 8, 100)]
)
def test_kinetic_energy_is_kept_whenever_nothing_touches(
    discs: int, serial_depth: int, instances: int
) -> None:
    chain = ManyBody("elastic", serial_depth, discs)
    _, positions, velocities = path_of(chain, drawn(chain, instances))
    free = untouched(positions)
    energy = (velocities**2).sum(axis=(2, 3)) / discs  # 1 at the start
    assert free[:, serial_depth * 9 :].any(axis=1).mean() > 0.6  # also in the second half
    assert np.abs(energy[free] - 1).max() < 0.005


def test_momentum_is_kept_while_no_wall_is_touched() -> None:
    chain = ManyBody("elastic", 16, 6)
    state = drawn(chain, 60)
    _, positions, velocities = path_of(chain, state)
    momentum = velocities.sum(axis=2)
    kept = ~at_wall(positions)[:, :-1]  # the force of a step is that of where it begins
    change = np.abs(np.diff(momentum, axis=1)).max(axis=2)
    collides = (closest(positions) < 2 * RADIUS)[:, :-1]
    assert (kept & collides).sum() > 500
    assert change[kept].max() < 1e-9
    assert change[~kept].max() > 1e-3  # the walls do take it


def test_equal_discs_exchange_what_they_have_along_the_line_of_centres() -> None:
    """Head-on, the one that moves stops. Off the centre by half a diameter, the parts along the
    line of centres change places, but for how far the line turns while the contact lasts.
    """
    chain = ManyBody("elastic", 4)
    state = table([(0.3, 0.5), (0.6, 0.5)], [(1, 0), (0, 0)], 4)
    hit = chain.advance(chain.advance(state))
    np.testing.assert_allclose(hit.velocity[0, :2], [(0, 0), (1, 0)], atol=2e-3)
    # Contact begins with the centres 0.24 apart: 0.12 across, 0.2078 along.
    across = table([(0.25, 0.4), (0.55, 0.52)], [(0.2, 0), (0, 0)], 4)
    steps = 0
    while np.linalg.norm(across.position[0, 0] - across.position[0, 1]) < 0.24 or steps < 8:
        across = chain.advance(
            ManyBodyState(across.position, across.velocity, across.half, across.remaining * 0 + 1)
        )
        steps += 1
    normal = np.array([np.sqrt(3) / 2, 1 / 2])
    passed_on = 0.2 * normal[0] * normal
    np.testing.assert_allclose(across.velocity[0, 1], passed_on, atol=0.03)
    np.testing.assert_allclose(across.velocity[0].sum(axis=0), [0.2, 0], atol=1e-9)


def test_a_trajectory_depends_on_nothing_but_its_state() -> None:
    chain = ManyBody("elastic", 6, 5)
    state = drawn(chain, 48)
    together = to_the_end(chain, state)
    try:
        simulation.use_threads(3)
        threaded = to_the_end(chain, state)
    finally:
        simulation.use_threads(1)
    np.testing.assert_array_equal(threaded.position, together.position)
    np.testing.assert_array_equal(threaded.velocity, together.velocity)
    for row in (0, 17, 47):
        alone = chain.initial(evaluation_seeds(0, 48, np)[row : row + 1])
        alone = to_the_end(chain, alone)
        np.testing.assert_array_equal(alone.position[0], together.position[row])
    # Interval by interval is the same as all at once.
    _, positions, velocities = path_of(chain, state)
    np.testing.assert_array_equal(positions[:, -1], together.position)
    np.testing.assert_array_equal(velocities[:, -1], together.velocity)


def test_more_rows_than_are_simulated_at_a_time_are_the_same_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = ManyBody("elastic", 4)
    state = drawn(chain, 33)
    whole = to_the_end(chain, state), chain.causal_collisions(state), chain.too_close(state)
    monkeypatch.setattr(many_body, "_DISC_STEPS", 10 * 4 * 18)
    parts = to_the_end(chain, state), chain.causal_collisions(state), chain.too_close(state)
    np.testing.assert_array_equal(parts[0].position, whole[0].position)
    np.testing.assert_array_equal(parts[1], whole[1])
    np.testing.assert_array_equal(parts[2], whole[2])


BY_HAND = {
    "nothing moves": ([(0.2, 0.2), (0.5, 0.5), (0.8, 0.8)], [REST, REST, REST], 0),
    "the marked disc is hit": ([(0.6, 0.5), (0.2, 0.5), (0.2, 0.8)], [REST, (1, 0), REST], 1),
    "a chain of two": ([(0.8, 0.5), (0.45, 0.5), (0.13, 0.5)], [REST, REST, (1, 0)], 2),
    "two others collide, without effect on it": (
        [(0.2, 0.85), (0.8, 0.3), (0.3, 0.3)],
        [REST, REST, (1, 0)],
        0,
    ),
    "a wall does not count": ([(0.5, 0.8), (0.2, 0.2), (0.8, 0.2)], [(1, 0), REST, REST], 0),
    # The marked disc stops at the second, which goes on to the third: that does not come back.
    "what it sets going does not count": (
        [(0.15, 0.5), (0.42, 0.5), (0.78, 0.5)],
        [(0.6, 0), REST, REST],
        1,
    ),
    "it touches now": ([(0.5, 0.5), (0.73, 0.5), (0.2, 0.2)], [REST, REST, REST], 1),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_causal_collisions_by_hand(name: str) -> None:
    positions, velocities, expected = BY_HAND[name]
    state = table(positions, velocities, remaining=3)
    assert ManyBody("elastic", 4).causal_collisions(state).tolist() == [expected]
    assert ManyBody("none", 4).causal_collisions(state).tolist() == [0]


def test_causal_collisions_stop_at_the_end() -> None:
    """The second disc needs 0.26 s to the marked one: one interval is too short, two are not."""
    chain = ManyBody("elastic", 4)
    positions, velocities = [(0.7, 0.5), (0.2, 0.5)], [REST, (1, 0)]
    counts = [
        int(chain.causal_collisions(table(positions, velocities, remaining))[0])
        for remaining in range(4)
    ]
    assert counts == [0, 0, 1, 1]


def test_labels_of_a_state_do_not_depend_on_how_far_the_others_have_to_go() -> None:
    chain = ManyBody("elastic", 20)
    state = drawn(chain, 40)
    mixed = ManyBodyState(state.position, state.velocity, state.half, np.arange(40) % 21)
    collisions, too_close = chain.causal_collisions(mixed), chain.too_close(mixed)
    for row in range(40):
        alone = map_state(lambda array, row=row: array[row : row + 1], mixed)
        assert chain.causal_collisions(alone)[0] == collisions[row]
        assert chain.too_close(alone)[0] == too_close[row]
    assert too_close.any()
    assert collisions[mixed.remaining == 0].max() == 0


def forward_influences(positions: NDArray[Any], state: ManyBodyState, row: int) -> int:
    """Collisions that the marked disc's end depends on: each disc carries the set of its own."""
    discs = positions.shape[1]
    path = np.concatenate([state.position[row : row + 1], positions])
    carried: list[frozenset[int]] = [frozenset()] * discs
    number = 0
    touching: set[tuple[int, int]] = set()
    for place in path:
        for i, j in itertools.combinations(range(discs), 2):
            close = np.hypot(*(place[i] - place[j])) < 2 * RADIUS
            if close and (i, j) not in touching:
                carried[i] = carried[j] = carried[i] | carried[j] | {number}
                number += 1
            touching = touching | {(i, j)} if close else touching - {(i, j)}
    return len(carried[0])


def test_causal_collisions_are_those_that_a_disc_carries_forward() -> None:
    chain = ManyBody("elastic", 8, 5)
    state = drawn(chain, 60, seed=3)
    _, positions, _ = path_of(chain, state)
    expected = [forward_influences(positions[row], state, row) for row in range(60)]
    # Two that begin in the same time step have no order: at most one instance in a few.
    differs = chain.causal_collisions(state) != expected
    assert differs.mean() < 0.1
    assert max(expected) >= 8


def test_too_close_is_half_the_time_step() -> None:
    import mujoco

    chain = ManyBody("elastic", 24)
    state = drawn(chain, 80)
    fine = chain.model(refine=2)
    assert fine.opt.timestep == chain.model().opt.timestep / 2
    data = mujoco.MjData(fine)
    ends = []
    for position, velocity in zip(state.position, state.velocity, strict=True):
        data.qpos[:], data.qvel[:] = position.ravel(), velocity.ravel()
        for _ in range(round(24 * 0.15 / fine.opt.timestep)):
            mujoco.mj_step(fine, data)
        ends.append(data.qpos[0] < 0.5)
    coarse = to_the_end(chain, state).position[:, 0, 0] < 0.5
    too_close = chain.too_close(state)
    np.testing.assert_array_equal(too_close, coarse != np.array(ends))
    assert 0 < too_close.mean() < 0.6


def test_a_kick_turns_the_cue_disc_and_nothing_else() -> None:
    chain = ManyBody()
    state = table([(0.3, 0.5), (0.7, 0.5)], [(0.6, 0.8), (1, 0)])
    for action, turned in enumerate([(-0.8, 0.6), (-0.6, -0.8), (0.8, -0.6)]):
        kicked = chain.kick(state, np.array([action]))
        np.testing.assert_allclose(kicked.velocity, [[turned, (1, 0), REST, REST]])
        np.testing.assert_array_equal(kicked.position, state.position)
    task = make_task("ManyBody", "Steer")
    after = task.step(state, np.array([2])).state
    np.testing.assert_allclose(after.position[0, 0], [0.3 - 0.6 * 0.15, 0.5 - 0.8 * 0.15])


def test_payoff_and_observation_by_hand() -> None:
    chain = ManyBody(serial_depth=2)
    state = table([(0.25, 0.5), (0.75, 0.125)], [(1, 0), (0, -1)], remaining=1, half=1)
    assert chain.payoff(state).tolist() == [-1]
    # 1 m/s of at most 2 = sqrt(4 discs), either way: 0.5 + 1 / 4.
    expected = [0.25, 0.5, 0.75, 0.5, 0.75, 0.125, 0.5, 0.25]
    expected += [0.13, 0.87, 0.5, 0.5, 0.13, 0.13, 0.5, 0.5, 1, 0, 1, 0]
    np.testing.assert_allclose(chain.observe(state)[0], expected, rtol=1e-6)
    over = table([(0.5, 0.5), (0.8, 0.2)], [REST, REST], half=1)
    assert chain.payoff(over).tolist() == [1]


def test_instances_start_apart_at_unit_speed_in_uniform_places() -> None:
    for discs in range(2, 26):
        assert untouched(drawn(ManyBody(discs=discs), 200).position[:, None]).all()
    state = drawn(ManyBody(), 4000)
    np.testing.assert_allclose(np.hypot(*np.moveaxis(state.velocity, 2, 0)), 1)
    cells = np.floor(state.position[:, 0] * 3).astype(int) @ [1, 3]
    shares = np.bincount(cells, minlength=9) / 4000
    assert np.abs(shares - 1 / 9).max() < 5 * np.sqrt(8 / 81 / 4000)
    assert abs(state.half.mean() - 0.5) < 5 * 0.5 / np.sqrt(4000)
    assert np.abs(state.velocity.mean(axis=0)).max() < 5 * np.sqrt(0.5 / 4000)
    within = np.sort((state.position * 3 % 1).ravel())  # uniform between the margins
    np.testing.assert_allclose(within[[0, -1]], [0.36, 0.64], atol=1e-3)
    assert abs(within.mean() - 0.5) < 5 * 0.28 / np.sqrt(12 * within.size)


def test_redrawing_turns_one_disc() -> None:
    chain = ManyBody()
    state = drawn(chain, 2000)
    redrawn = chain.redraw_step(state, np.arange(2000))
    changed = (redrawn.velocity != state.velocity).any(axis=2)
    assert (changed.sum(axis=1) == 1).all()
    assert np.abs(changed.mean(axis=0) - 1 / 4).max() < 5 * np.sqrt(3 / 16 / 2000)
    np.testing.assert_allclose(np.hypot(*np.moveaxis(redrawn.velocity, 2, 0)), 1)


def test_certificate_without_collisions_only_the_marked_disc_matters() -> None:
    """One disc of four is redrawn: in the twin at most a quarter of the outcomes can change."""
    twin, serial = (influence(ManyBody(contacts), 400) for contacts in ("none", "elastic"))
    assert 0.05 < twin.first < 1 / 4
    assert serial.first > twin.first + 0.1


def test_influence_grows_with_the_number_of_collisions() -> None:
    rows = influence_by_collisions(ManyBody(), ManyBody("none"), 1500)
    assert sum(row.instances for row in rows) == 1500
    assert [row.collisions for row in rows] == sorted(row.collisions for row in rows)
    # Without a collision the marked disc moves as in the twin; a collision shortly before the end
    # changes little, a long chain of them as much as a coin.
    assert (rows[0].collisions, rows[0].contacts) == (0, 0)

    def mean(counts: range) -> float:
        chosen = [row for row in rows if row.collisions in counts]
        total = sum(row.instances for row in chosen)
        return sum(row.contacts * row.instances for row in chosen) / total

    assert 0.03 < mean(range(1, 2)) < mean(range(2, 4)) < mean(range(4, 40))
    assert abs(mean(range(6, 40)) - 0.5) < 0.1


def test_trees_stay_on_the_cpu_where_the_rules_do() -> None:
    cuda = torch.device("cuda")
    assert tensors_on(cuda, task_of("rl_serial/ManyBodySteer-v0")) is None
    assert tensors_on(cuda, task_of("rl_serial/CircuitSteer-v0")) == cuda


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contacts": "sticky"}, "contacts='sticky': must be one of elastic, none"),
        ({"discs": 1}, "discs=1: must be 2 to 25"),
        ({"discs": 26}, "discs=26: must be 2 to 25"),
        ({"serial_depth": 0}, "serial_depth=0: must be at least 1"),
        ({"interval": 0.0}, r"interval=0.0: must be 0.01 to 10 \(seconds\)"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task_of("rl_serial/ManyBodyBet-v0", **options)


def test_discs_that_are_too_fast_are_refused() -> None:
    state = table([(0.3, 0.5), (0.7, 0.5)], [(80, 0), REST])
    with pytest.raises(FloatingPointError, match="a disc has left the table"):
        to_the_end(ManyBody(), state)


def without_mujoco(code: str) -> str:
    """What ``code`` prints in a process where MuJoCo cannot be imported."""
    blocked = "import sys; sys.modules['mujoco'] = None\n" + code
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_mujoco_the_rest_works_and_the_extra_is_named() -> None:
    out = without_mujoco(
        "import gymnasium as gym, numpy as np, rl_serial\n"
        "from rl_serial.cli import main\n"
        "env = gym.make('rl_serial/CircuitBet-v0'); env.reset(seed=0); env.step(1)\n"
        "for make in (gym.make, gym.make_vec):\n"
        "    try:\n"
        "        make('rl_serial/ManyBodySteer-v0')\n"
        "    except gym.error.DependencyNotInstalled as error:\n"
        "        print(error)\n"
        "assert main(['envs']) == 0\n"
        "sys.stderr = sys.stdout\n"
        "print(main(['envs', '--certify', 'rl_serial/ManyBodyBet-v0']))\n"
        f"print(main(['train', {str(CONFIG)!r}]))\n"
    )
    message = (
        "ManyBody needs mujoco>=3.10,<3.12, which is not installed: pip install 'rl_serial[mujoco]'"
    )
    assert out.count(message) == 4
    assert out.count(f"rl-serial: {message}\n2\n") == 2
    assert "`rl_serial:rl_serial/ManyBodyBet-v0`" in out


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import mujoco

    monkeypatch.setattr(mujoco, "__version__", "4.0.0")
    with pytest.raises(gymnasium.error.DependencyNotInstalled, match=r"<3\.12, not 4\.0\.0: pip"):
        ManyBody().initial(np.arange(2))


def test_importing_the_package_does_not_import_mujoco() -> None:
    code = "import sys, rl_serial; rl_serial.envs.registry.task_of('rl_serial/ManyBodyBet-v0'); "
    code += "print('mujoco' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n"


DRAWN = """
import numpy as np
from rl_serial.envs.chains.many_body import ManyBody, ManyBodyState
from rl_serial.envs.chains.many_body_pictures import has_gl
discs, velocity = [[(0.25, 0.75), (0.7, 0.3), (0.2, 0.3), (0.7, 0.7)]], np.zeros((1, 4, 2))
state = ManyBodyState(np.array(discs), velocity, np.array([1], np.int8), np.array([1]))
picture = ManyBody().drawing(state, 200)
places = [(50, 50), (140, 140), (10, 190), (180, 20)]
print(has_gl(), picture.shape, *(picture[y, x].tolist() for x, y in places), sep=";")
"""


@pytest.mark.parametrize("gl", [None, "egl"])
def test_drawing_shows_the_table_with_and_without_gl(gl: str | None) -> None:
    """The marked disc is orange, above on the left; the other blue; the right half shaded."""
    hidden = ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    if gl:
        environment["MUJOCO_GL"] = gl
    command = [sys.executable, "-c", DRAWN]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    has_gl, shape, *colours = done.stdout.strip().split(";")
    if gl and has_gl == "False":
        pytest.skip("no EGL here")
    assert has_gl == str(gl is not None)
    assert shape == "(200, 200, 3)"
    marked, other, plain, shaded = (np.array(eval(colour), dtype=int) for colour in colours)
    assert marked[0] > marked[2] + 60
    assert other[2] > other[0] + 20
    assert plain.min() > 200
    assert shaded[2] - shaded[0] > plain[2] - plain[0] + 8


def test_command_prints_influence_by_collisions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [CollisionInfluence(0, 90, 0, 0.125, 0), CollisionInfluence(1, 10, 0.25, 0.375, 0.0125)]
    monkeypatch.setattr(certificate, "certify", lambda family, options: [])
    monkeypatch.setattr(certificate, "certify_shortcuts", lambda family, options: [])
    monkeypatch.setattr(certificate, "influence_by_collisions", lambda chain, twin: rows)
    assert main(["envs", "--certify", "rl_serial/ManyBodyBet-v0"]) == 0
    out = capsys.readouterr().out.splitlines()
    found = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out[-4:]]
    assert found[0] == ["collisions", "instances", "contacts", "first step", "too close to call"]
    assert found[2:] == [
        ["0", "90", "0.00", "0.12", "0.000"],
        ["1", "10", "0.25", "0.38", "0.013"],
    ]
    assert main(["envs", "--certify", "rl_serial/CircuitBet-v0"]) == 0
    assert "collisions" not in capsys.readouterr().out
