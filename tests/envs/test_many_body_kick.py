"""Kicks of ManyBody: rewards and energies by hand, and the simulator is the environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_checker import check_env as sb3_check

from rl_serial.agents.mpc import Learning, MPCAgent, MPCSettings
from rl_serial.envs.chains.many_body import ManyBodyState
from rl_serial.envs.chains.many_body_model import RADIUS
from rl_serial.envs.control import ControlState, make_control, make_simulator
from rl_serial.envs.many_body_kick import KickEnv, KickSimulator, KickState, ManyBodyKick
from rl_serial.envs.registry import KICK_ID
from rl_serial.planning import CEM, MPPI

pytest.importorskip("mujoco")

FAR = [(0.13, 0.87), (0.87, 0.87)]  # corners where nobody comes by
PLANNER = CEM(samples=24, iterations=3, elites=4, std=0.5, min_std=0.05, keep=1)


def by_hand(
    marked: Any, cue: Any, target: Any, cue_speed: Any = (0, 0), left: int = 8
) -> KickState:
    """A table of 1 m: disc 0, disc 1 and two at rest in corners."""
    discs = ManyBodyState(
        position=np.array([[marked, cue, *FAR]], dtype=np.float64),
        velocity=np.array([[(0, 0), cue_speed, (0, 0), (0, 0)]], dtype=np.float64),
        half=np.array([-1], dtype=np.int8),
        remaining=np.array([left]),
    )
    return KickState(discs, np.array([target], dtype=np.float64))


def kinetic(state: KickState) -> Any:
    """[B] J: the discs have 1 kg."""
    return (state.discs.velocity**2).sum(axis=(1, 2)) / 2


def test_a_kick_adds_its_velocity() -> None:
    """(0.5, −0.25) and (0.25, 0.5) m/s make (0.75, 0.25): 5/32 J become 5/16 J, in 0.1 s 75 mm."""
    rules = ManyBodyKick(interval=0.1)
    start = by_hand((0.2, 0.2), (0.5, 0.5), (0.2, 0.6), cue_speed=(0.5, -0.25))
    assert kinetic(start) == pytest.approx(5 / 32)
    found = rules.step(start, np.array([[0.25, 0.5]]))
    np.testing.assert_allclose(found.state.discs.velocity[0, 1], [0.75, 0.25], rtol=1e-12)
    np.testing.assert_allclose(found.state.discs.position[0, 1], [0.575, 0.525], rtol=1e-12)
    np.testing.assert_array_equal(found.state.discs.velocity[0, [0, 2, 3]], 0)
    assert kinetic(found.state) == pytest.approx(5 / 16)
    assert found.reward.tolist() == [0]  # the marked disc lies where it lay
    assert found.state.discs.remaining.tolist() == [7]
    assert not found.terminated.any()
    assert not found.failed.any()


def test_the_marked_disc_must_be_hit() -> None:
    """The cue rolls 0.16 m at 1 m/s, stops, and the marked disc goes on at 1 m/s (equal masses).

    While they touch both move, together as fast as before: after 0.45 s what the two have rolled
    is 0.45 m, of which the cue's share is 0.16 m and half of its way in contact.
    """
    rules = ManyBodyKick(interval=0.15, serial_depth=3, decisions=1)
    state = by_hand((0.55, 0.3), (0.15, 0.3), (0.95, 0.3), left=3)
    total, contact = 0.0, 0.4 - 2 * RADIUS
    for kick in ((1.0, 0.0), (0.0, 1.0), (0.0, 1.0)):
        found = rules.step(state, np.array([kick]))
        state, total = found.state, total + float(found.reward[0])
    assert found.terminated.all()
    velocity = state.discs.velocity[0]
    np.testing.assert_allclose(velocity[:2], [[1, 0], [0, 0]], atol=0.005)
    rolled = state.discs.position[0, :2, 0] - [0.55, 0.15]
    assert rolled.sum() == pytest.approx(0.45, rel=1e-9)
    assert 0 < rolled[1] - contact < 0.06
    assert total == pytest.approx(rolled[0], rel=1e-9)
    # The return is what was gained, 0.4 m less what is left.
    left = np.hypot(*(state.discs.position[0, 0] - [0.95, 0.3]))
    assert total == pytest.approx(0.4 - left, rel=1e-12)
    after = rules.step(state, np.array([[1.0, 1.0]]))
    assert after.reward.tolist() == [0]
    assert after.terminated.all()
    np.testing.assert_array_equal(after.state.discs.position, state.discs.position)


def test_the_twin_by_hand() -> None:
    """Marked and cue are one: two kicks along x, 0.1 s each, through the disc in its way."""
    rules = ManyBodyKick("none", 2, interval=0.1, decisions=2, marked="cue")
    state = by_hand((0.3, 0.5), (0.5, 0.5), (0.7, 0.5), left=2)
    rewards = []
    for kick in ((1.0, 0.0), (-0.5, 0.0)):
        found = rules.step(state, np.array([kick]))
        state = found.state
        rewards.append(float(found.reward[0]))
    assert rewards == pytest.approx([0.1, 0.05])
    np.testing.assert_allclose(state.discs.position[0, :2], [[0.45, 0.5], [0.5, 0.5]])


def test_kicks_after_the_last_decision_do_nothing() -> None:
    rules = ManyBodyKick(serial_depth=5, decisions=2)
    start = rules.initial(np.arange(20))
    ends = []
    for sign in (1, -1):
        state = start
        for step in range(5):
            kick = np.full((20, 2), 0.7 if step < 2 else 0.7 * sign)
            state = rules.step(state, kick).state
        ends.append(state.discs.position)
    np.testing.assert_array_equal(*ends)


def test_energy_is_kept_after_the_strongest_kicks() -> None:
    """Where nothing touches at the fourth step nor at the end, four steps keep it within 5 %."""
    rules = ManyBodyKick()
    state = rules.initial(np.arange(2000))
    generator = np.random.default_rng(0)
    for _ in range(4):
        state = rules.step(state, generator.choice([-1.0, 1.0], (2000, 2))).state

    def free(at: KickState) -> Any:
        place = at.discs.position
        apart = np.linalg.norm(place[:, :, None] - place[:, None], axis=3) + np.eye(4)
        inside = (place > RADIUS) & (place < rules.table.side - RADIUS)
        return (apart > 2 * RADIUS).all(axis=(1, 2)) & inside.all(axis=(1, 2))

    before, was_free = kinetic(state), free(state)
    for _ in range(4):
        state = rules.step(state, np.zeros((2000, 2))).state
    both = was_free & free(state)
    assert both.sum() > 50
    error = np.abs(kinetic(state) / before - 1)[both]
    assert error.max() < 0.05
    assert np.median(error) < 0.005


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"contacts": "none", "marked": "cue", "decisions": 8},
        {"discs": 6, "serial_depth": 5, "decisions": 1, "kick": 0.3, "interval": 0.2},
    ],
    ids=str,
)
def test_a_rollout_is_the_environment_to_the_bit(options: dict[str, Any]) -> None:
    """Rewards, ends, joints and observations, from several states and past the end."""
    env = make_control(KICK_ID, **options)
    task: Any = env.unwrapped
    simulator = make_simulator(env, threads=2)
    assert isinstance(simulator, KickSimulator)
    num, kick, depth = 6, task.rules.max_kick, task.rules.serial_depth
    generator = np.random.default_rng(3)
    shape = (3, num, depth + 1, 2)
    actions = generator.uniform(-kick, kick, shape).astype(np.float32).astype(np.float64)
    begun = []
    for row, steps in enumerate((0, 2, 3)):
        env.reset(seed=row)
        for _ in range(steps):
            env.step(np.zeros(2, np.float32))
        begun.append(simulator.state(env).physics)
    state = ControlState(np.concatenate(begun), np.empty((3, 0)))
    found = simulator.rollout(state, actions)
    assert not found.failed.any()
    for row, steps in enumerate((0, 2, 3)):
        for sample in range(num):
            env.reset(seed=row)
            for _ in range(steps):
                env.step(np.zeros(2, np.float32))
            for step in range(depth - steps):
                action = actions[row, sample, step].astype(np.float32)
                observation, reward, terminated, truncated, _ = env.step(action)
                place = row, sample, step
                assert reward == found.rewards[place]
                assert terminated == found.terminated[place] == (step == depth - steps - 1)
                assert not truncated
                joints = simulator.state(env).physics[0]
                np.testing.assert_array_equal(joints, found.joints[place])
                shown = simulator.rules.observe(found.joints[place], found.seen[place])
                np.testing.assert_array_equal(observation, shown.astype(np.float32))
            assert np.all(found.rewards[row, sample, depth - steps :] == 0)
            assert found.terminated[row, sample, depth - steps :].all()
    again = make_simulator(env, threads=1).rollout(state, actions)
    np.testing.assert_array_equal(found.joints, again.joints)


def test_rules_judge_what_the_simulator_paid() -> None:
    """From joints alone, as a learned model is judged."""
    rules = ManyBodyKick()
    simulator = KickSimulator(rules)
    start = rules.joints(rules.initial(np.arange(5)))
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 3, 8, 2))
    found = simulator.rollout(ControlState(start, np.empty((5, 0))), actions)
    first = np.repeat(start[:, None, None], 3, axis=1)
    before = np.concatenate([first, found.joints[:, :, :-1]], axis=2)
    reward, ended = simulator.rules.reward_and_end(before, found.joints, found.seen, actions)
    np.testing.assert_array_equal(reward, found.rewards)
    np.testing.assert_array_equal(ended, found.terminated)
    assert np.abs(reward).max() > 0.1


def test_observation_by_hand() -> None:
    """Twice one disc's numbers: x, y over 1 m; velocities ±(2 + 4√2) m/s to [0, 1]."""
    rules = ManyBodyKick()
    state = by_hand((0.2, 0.3), (0.5, 0.6), (0.7, 0.4), cue_speed=(1, -2), left=3)
    bound = 2 + 4 * np.sqrt(2)
    seen = rules.observe(state)[0]
    assert seen.dtype == np.float32
    assert seen[:8] == pytest.approx(
        [0.2, 0.3, 0.5, 0.5, 0.5, 0.6, 0.5 + 1 / (2 * bound), 0.5 - 2 / (2 * bound)]
    )
    assert seen[16:].tolist() == pytest.approx([0.7, 0.4, 0, 0, 0, 1, 0, 0, 0, 0, 0])


def test_instances() -> None:
    """Targets are uniform where a centre can be, and independent of the discs."""
    state = ManyBodyKick().initial(np.arange(4000))
    assert state.target.min() > RADIUS
    assert state.target.max() < 1 - RADIUS
    np.testing.assert_allclose(state.target.mean(axis=0), 0.5, atol=0.01)
    np.testing.assert_allclose(state.target.std(axis=0), 0.76 / np.sqrt(12), atol=0.01)
    flat = np.concatenate([state.target, state.discs.position[:, 0]], axis=1)
    assert np.abs(np.corrcoef(flat.T)[:2, 2:]).max() < 0.06


def test_the_environment_keeps_gymnasiums_contract() -> None:
    env = gym.make(KICK_ID, render_mode="rgb_array")
    gymnasium_check(env.unwrapped)
    sb3_check(env.unwrapped)
    first, info = env.reset(seed=5)
    second, _ = env.reset()
    again, _ = env.reset(seed=5)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(second, env.reset()[0])
    instance, _ = env.reset(options={"instance": 7})
    np.testing.assert_array_equal(
        instance, ManyBodyKick().observe(ManyBodyKick().initial(np.array([7])))[0]
    )
    _, info = env.reset(seed=5)
    total, over, steps = 0.0, False, 0
    while not over:
        _, reward, over, _, last = env.step(env.action_space.sample())
        total, steps = total + float(reward), steps + 1
    assert steps == 8
    assert total == pytest.approx(info["distance"] - last["distance"])


def test_the_picture_has_discs_ring_and_target() -> None:
    """Centres of the marked disc and the target are orange; the cue has a yellow ring."""
    env = gym.make(KICK_ID, render_mode="rgb_array")
    env.reset(seed=0)
    task: Any = env.unwrapped
    task.state = by_hand((0.25, 0.25), (0.75, 0.5), (0.5, 0.75))
    picture = task.render().astype(int)
    assert picture.shape == (384, 384, 3)

    def at(x: float, y: float) -> Any:
        return picture[round((1 - y) * 384), round(x * 384)]

    assert at(0.3, 0.25)[0] > at(0.3, 0.25)[2] + 60  # the marked disc
    assert at(0.7, 0.5)[2] > at(0.7, 0.5)[0] + 20  # the cue
    assert at(0.75 + RADIUS - 0.005, 0.5).tolist() == [214, 168, 60]
    assert at(0.5, 0.75).tolist() == [196, 106, 46]
    assert at(0.5, 0.5).min() > 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contacts": "none"}, "marked='other': must be cue with contacts none"),
        ({"contacts": "soft"}, "contacts='soft': must be one of elastic, none"),
        ({"decisions": 9}, "decisions=9: must be 1 to 8"),
        ({"max_kick": 1.5}, r"max_kick=1.5: must be above 0 and at most 1 \(m/s\)"),
        ({"marked": "all"}, "marked='all': must be one of other, cue"),
        ({"discs": 1}, "discs=1: must be 2 to 25"),
        ({"wind": 1}, "unexpected keyword argument 'wind'"),
    ],
    ids=str,
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gym.make(KICK_ID, **options)


def test_the_old_name_of_the_largest_kick_is_taken() -> None:
    old, new = (gym.make(KICK_ID, **{name: 0.25}) for name in ("kick", "max_kick"))
    assert old.action_space == new.action_space
    assert old.action_space.high.tolist() == [0.25, 0.25]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="unexpected keyword argument 'kick'"):
        gym.make(KICK_ID, kick=0.25, max_kick=0.5)


def test_wrong_actions_are_named() -> None:
    with pytest.raises(ValueError, match="render_mode='ansi': must be rgb_array or None"):
        KickEnv(render_mode="ansi")
    env: Any = make_control(KICK_ID).unwrapped
    env.reset(seed=0)
    for wrong in ([1.5, 0], [np.nan, 0], [0.0]):
        with pytest.raises(ValueError, match="is outside Box"):
            env.step(np.array(wrong))
    with pytest.raises(ValueError, match="threads=0: must be 1 or more"):
        make_simulator(env, threads=0)
    simulator = make_simulator(env)
    with pytest.raises(ValueError, match=r"\[B, N, H, A\] with B = 1 and A = 2, not"):
        simulator.rollout(simulator.state(env), np.zeros((1, 2, 3)))


def test_a_table_that_flies_apart_is_a_failed_rollout() -> None:
    """One of two; the other is not touched by it. The environment says so."""
    env: Any = make_control(KICK_ID).unwrapped
    env.reset(seed=0)
    simulator = make_simulator(env)
    good = simulator.state(env).physics
    state = env.state
    state.discs.velocity[0, 1] = 80.0
    bad = simulator.state(env).physics
    both = ControlState(np.concatenate([good, bad]), np.empty((2, 0)))
    found = simulator.rollout(both, np.zeros((2, 1, 4, 2)))
    assert found.failed.tolist() == [[False], [True]]
    assert np.isfinite(found.joints).all()
    state.discs.velocity[0, 1] = 800.0
    with pytest.raises(FloatingPointError, match="a disc has left the table"):
        env.step(np.zeros(2))


def total(settings: MPCSettings, seeds: range, seed: int = 0) -> Any:
    with MPCAgent(lambda: make_control(KICK_ID), settings, seed) as agent:
        return np.array([episode.total for episode in agent.evaluate(seeds)])


@pytest.mark.parametrize("planner", [PLANNER, MPPI(samples=48, std=0.3, temperature=0.1)], ids=str)
def test_looking_to_the_end_beats_looking_one_step_ahead(planner: CEM | MPPI) -> None:
    """And chance, on the same instances: within one interval the cue hits nobody."""
    seeds = range(12)
    far = total(MPCSettings(planner, 8, discount=1.0), seeds)
    near = total(MPCSettings(planner, 1, discount=1.0), seeds)
    generator, chance = np.random.default_rng(0), []
    env = make_control(KICK_ID)
    for seed in seeds:
        env.reset(seed=seed)
        kicks = generator.uniform(-1, 1, (8, 2)).astype(np.float32)
        chance.append(sum(float(env.step(kick)[1]) for kick in kicks))
    assert far.mean() > near.mean() + 0.2
    assert far.mean() > np.mean(chance) + 0.2


def test_the_same_seed_plans_the_same() -> None:
    settings = MPCSettings(PLANNER, 8)
    first = total(settings, range(2))
    np.testing.assert_array_equal(first, total(settings, range(2)))
    assert not np.array_equal(first, total(settings, range(2), seed=1))


def test_models_and_values_are_learned_here_too() -> None:
    """Nothing else is needed: the target stays where it is, the clock goes down by one."""
    settings = MPCSettings(
        CEM(samples=8, iterations=2, elites=3),
        4,
        "learned",
        terminal_value=True,
        learning=Learning(width=32, random_steps=240),
    )
    with MPCAgent(lambda: make_control(KICK_ID), settings) as agent:
        agent.train(256)
        steps: Any = agent.steps
        model: Any = agent.model()
        after, _, end = model.step(steps.joints, steps.action)
        np.testing.assert_allclose(after[:, 8:10], steps.joints[:, 8:10], atol=1e-4)
        np.testing.assert_allclose(after[:, 10], steps.next_joints[:, 10], atol=1e-3)
        np.testing.assert_array_equal(end, steps.terminated)
        assert agent.evaluate([0])[0].steps == 8


@pytest.mark.parametrize("kind", [SAC, PPO])
def test_stable_baselines_runs_on_it(kind: Any) -> None:
    options = {"learning_starts": 8} if kind is SAC else {"n_steps": 16, "batch_size": 16}
    model = kind("MlpPolicy", make_control(KICK_ID), seed=0, device="cpu", **options)
    model.learn(24)
    assert model.num_timesteps >= 24
