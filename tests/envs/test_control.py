"""The simulator of Gymnasium's MuJoCo tasks: what stepping the environments gives, to rounding."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rl_serial.envs.control import (
    MUJOCO_TASKS,
    ControlSimulator,
    ControlState,
    make_control,
)

mujoco = pytest.importorskip("mujoco")
pytest.importorskip("imageio")

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("Reacher-v5", {}),
    ("Reacher-v5", {"frame_skip": 1, "reward_dist_weight": 3.0, "reward_control_weight": 0.2}),
    ("HalfCheetah-v5", {}),
    (
        "HalfCheetah-v5",
        {
            "frame_skip": 2,
            "forward_reward_weight": 0.3,
            "ctrl_cost_weight": 0.7,
            "exclude_current_positions_from_observation": False,
        },
    ),
    ("Hopper-v5", {}),
    (
        "Hopper-v5",
        {
            "frame_skip": 3,
            "forward_reward_weight": 2.0,
            "ctrl_cost_weight": 0.1,
            "healthy_reward": 0.4,
            "terminate_when_unhealthy": False,
            "healthy_z_range": (1.0, 1.3),
            "healthy_angle_range": (-0.05, 0.1),
            "healthy_state_range": (-2.0, 1.2),
            "exclude_current_positions_from_observation": False,
        },
    ),
]
NUM, HORIZON = 3, 40


def restore(env: gym.Env[Any, Any], state: ControlState, row: int) -> None:
    """Put an environment where a state is."""
    task: Any = env.unwrapped
    kind = mujoco.mjtState.mjSTATE_FULLPHYSICS
    mujoco.mj_setState(task.model, task.data, state.physics[row], kind)
    task.data.qacc_warmstart[:] = state.warmstart[row]


def played(env: gym.Env[Any, Any], simulator: ControlSimulator, steps: tuple[int, ...]) -> Any:
    """Random play from seeds of its own, as many steps each as `steps` says: the states there."""
    states = []
    for seed, count in enumerate(steps):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        for _ in range(count):
            env.step(env.action_space.sample())
        states.append(simulator.state(env))
    return ControlState(
        np.concatenate([state.physics for state in states]),
        np.concatenate([state.warmstart for state in states]),
    )


@pytest.fixture(params=OPTIONS, ids=str)
def env(request: pytest.FixtureRequest) -> Iterator[gym.Env[Any, Any]]:
    name, options = request.param
    made = make_control(name, **options)
    yield made
    made.close()


def actions_for(env: gym.Env[Any, Any], batch: int, horizon: int = HORIZON) -> Any:
    size = env.action_space.shape[0]  # type: ignore[index]
    # As an environment takes them: numbers of single precision.
    drawn = np.random.default_rng(9).uniform(-1, 1, (batch, NUM, horizon, size))
    return drawn.astype(np.float32).astype(np.float64)


def test_as_the_environment_steps(env: gym.Env[Any, Any]) -> None:
    """States, rewards, ends and observations along random action sequences from played states."""
    simulator = ControlSimulator(env)
    state = played(env, simulator, (0, 3, 17))
    actions = actions_for(env, 3)
    found = simulator.rollout(state, actions)
    observed = simulator.rules.observe(found.joints, found.seen)
    assert not found.failed.any()
    compared = 0
    for row, sample in np.ndindex(3, NUM):
        restore(env, state, row)
        task: Any = env.unwrapped
        over = False
        for step in range(HORIZON):
            observation, reward, terminated, _, _ = task.step(actions[row, sample, step])
            place = row, sample, step
            joints = np.r_[task.data.qpos, task.data.qvel]
            np.testing.assert_array_equal(found.joints[place], joints)
            np.testing.assert_allclose(observed[place], observation, rtol=0, atol=1e-12)
            expected = 0 if over else reward
            np.testing.assert_allclose(found.rewards[place], expected, rtol=0, atol=1e-12)
            over = over or terminated
            assert found.terminated[place] == over
            compared += 1
    assert compared == 3 * NUM * HORIZON


def test_hopper_falls_within_the_horizon() -> None:
    """The test above has seen ends, then, and what comes after them."""
    env = make_control("Hopper-v5")
    simulator = ControlSimulator(env)
    state = played(env, simulator, (0, 3, 6))
    found = simulator.rollout(state, actions_for(env, 3))
    ends = found.terminated.any(axis=2)
    assert ends.sum() > 0
    assert not found.terminated[..., 0].any()
    assert np.all(found.rewards[..., 1:][found.terminated[..., :-1]] == 0)
    assert np.all(found.rewards[~found.terminated] != 0)


def test_reacher_is_seen_where_the_last_stage_is() -> None:
    """The environment's fingertip lags behind its joints; a simulator must know."""
    env = make_control("Reacher-v5")
    simulator = ControlSimulator(env)
    state = played(env, simulator, (5,))
    found = simulator.rollout(state, actions_for(env, 1))
    arrived = simulator.rules.observe(found.joints, found.joints[..., :4])
    seen = simulator.rules.observe(found.joints, found.seen)
    assert 1e-4 < np.abs(arrived - seen)[..., -2:].max() < 5e-3
    np.testing.assert_array_equal(arrived[..., :-2], seen[..., :-2])


def test_along_an_episode(env: gym.Env[Any, Any]) -> None:
    """The state taken at each step leads to the next one."""
    env.reset(seed=3)
    env.action_space.seed(3)
    simulator = ControlSimulator(env)
    for _ in range(15):
        # In double precision: of single ones Gymnasium also rounds the cost of control.
        action = env.action_space.sample().astype(np.float64)
        state = simulator.state(env)
        found = simulator.rollout(state, action[None, None, None])
        _, reward, terminated, _, _ = env.unwrapped.step(action)
        np.testing.assert_allclose(found.rewards[0, 0, 0], reward, rtol=0, atol=1e-12)
        joints = simulator.joints(simulator.state(env))
        np.testing.assert_allclose(found.joints[0, 0], joints, rtol=0, atol=1e-12)
        if terminated:
            break


def test_threads_change_nothing(env: gym.Env[Any, Any]) -> None:
    one = ControlSimulator(env)
    three = ControlSimulator(env, threads=3)
    state = played(env, one, (0, 8))
    actions = actions_for(env, 2, horizon=7)
    first, second = one.rollout(state, actions), three.rollout(state, actions)
    for name in vars(first):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), name)


def test_rows_do_not_know_of_one_another(env: gym.Env[Any, Any]) -> None:
    simulator = ControlSimulator(env)
    state = played(env, simulator, (0, 8))
    actions = actions_for(env, 2, horizon=7)
    both = simulator.rollout(state, actions)
    alone = ControlState(state.physics[1:], state.warmstart[1:])
    one = simulator.rollout(alone, actions[1:, 2:])
    np.testing.assert_array_equal(both.joints[1:, 2:], one.joints)
    np.testing.assert_array_equal(both.rewards[1:, 2:], one.rewards)


@pytest.mark.parametrize("name", MUJOCO_TASKS)
def test_divergence_is_noticed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log where it is
    env = make_control(name)
    env.reset(seed=0)
    simulator = ControlSimulator(env)
    good = simulator.state(env)
    bad = good.physics.copy()
    bad[:, 1 + env.unwrapped.model.nq :] = 1e9  # type: ignore[attr-defined]
    state = ControlState(np.concatenate([good.physics, bad]), np.repeat(good.warmstart, 2, axis=0))
    found = simulator.rollout(state, actions_for(env, 2, horizon=5))
    assert found.failed.tolist() == [[False] * NUM, [True] * NUM]
    assert "unstable" in "".join(capfd.readouterr())


class TestErrors:
    """Each names what was wrong and what would be right."""

    def test_other_environments(self) -> None:
        with pytest.raises(ValueError, match="'Ant-v5' cannot be simulated; these can: Reacher-v5"):
            make_control("Ant-v5")
        with pytest.raises(ValueError, match="InvertedPendulumEnv cannot be simulated"):
            ControlSimulator(gym.make("InvertedPendulum-v5"))

    def test_wrappers(self) -> None:
        env = gym.wrappers.ClipAction(make_control("Hopper-v5"))
        with pytest.raises(ValueError, match="ClipAction changes actions or rewards"):
            ControlSimulator(env)
        env = gym.wrappers.TransformReward(make_control("Hopper-v5"), lambda reward: 2 * reward)
        with pytest.raises(ValueError, match="TransformReward changes actions or rewards"):
            ControlSimulator(env)

    def test_threads(self) -> None:
        with pytest.raises(ValueError, match="threads=0: must be 1 or more"):
            ControlSimulator(make_control("Reacher-v5"), threads=0)

    def test_actions(self) -> None:
        env = make_control("Reacher-v5")
        env.reset(seed=0)
        simulator = ControlSimulator(env)
        state = simulator.state(env)
        for shape in ((1, 2, 3), (2, 2, 3, 2), (1, 2, 3, 4), (1, 0, 3, 2)):
            with pytest.raises(ValueError, match=r"\[B, N, H, A\] with B = 1 and A = 2, not"):
                simulator.rollout(state, np.zeros(shape))
        actions = np.zeros((1, 2, 3, 2))
        for wrong in (1.5, np.nan):
            actions[0, 1, 2, 0] = wrong
            with pytest.raises(ValueError, match=r"actions\[0, 1, 2, 0\] is .*outside \[-1.0"):
                simulator.rollout(state, actions)

    @pytest.mark.parametrize("module", ["mujoco", "mujoco.rollout"])
    def test_without_mujoco(self, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
        env = make_control("Reacher-v5")
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(
            gym.error.DependencyNotInstalled,
            match=r"the simulator needs mujoco.*pip install 'rl_serial\[mujoco\]'",
        ):
            ControlSimulator(env)

    def test_without_imageio(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in sys.modules if name.startswith("gymnasium.envs.mujoco")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "imageio", None)
        with pytest.raises(
            gym.error.DependencyNotInstalled,
            match=r"Reacher-v5 needs imageio.*pip install 'rl_serial\[mujoco\]'",
        ):
            make_control("Reacher-v5")


def test_importing_the_package_imports_no_mujoco() -> None:
    import subprocess

    code = "import sys, rl_serial, rl_serial.envs.control; sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
