"""Goal environments against loops of mj_step, closed forms, Gymnasium's own vector environments."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

mujoco = pytest.importorskip("mujoco")
pytest.importorskip("imageio")

import rl_serial  # noqa: E402, F401
from rl_serial.envs import simulation  # noqa: E402
from rl_serial.envs.goals import (  # noqa: E402
    GOAL_ENVIRONMENTS,
    GoalVectorEnv,
    Tabletop,
    TabletopState,
    goal_environments,
    make_goal_vec,
    success_of,
)

PAGE = Path(__file__).parents[2] / "docs/goals.md"
IDS = ("rl_serial/Reach-v0", "rl_serial/Push-v0")
ARMS = ("rl_serial/GoalReacher-v0", "rl_serial/GoalPusher-v0")

# As docs/goals.md states them.
RADIUS, PUSHER_MASS, PUCK_MASS, DAMPING, FORCE = 0.1, 1.0, 0.5, 4.0, 4.0
TIME_STEP, SUBSTEPS, MARGIN = 0.0125, 4, 0.4


def placed(table: Tabletop, *places: tuple[float, float], velocity: Any = None) -> TabletopState:
    """One table with pusher (and puck) at places, at rest or with velocities [discs, 2]."""
    flat = np.ravel(places)
    moving = np.zeros_like(flat) if velocity is None else np.ravel(velocity)
    state = table.initial(np.arange(1))
    return replace(state, physics=np.concatenate([[0], flat, moving])[None])


def assert_equal(first: Any, second: Any) -> None:
    """Two observations are equal to the bit."""
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)


class TestPhysics:
    @pytest.mark.parametrize("task", ["Reach", "Push"])
    def test_threads_do_what_a_loop_of_mj_step_does(self, task: str) -> None:
        table = Tabletop(task)
        state = table.initial(np.arange(24))
        actions = np.random.default_rng(0).uniform(-1, 1, (60, 24, 2))
        actions[:, 12:] = np.sign(actions[:1, 12:])  # into walls and corners
        model = table.model()
        by_hand = []
        for row in range(24):
            data = mujoco.MjData(model)
            data.qpos[:] = state.physics[row, 1 : 1 + model.nq]
            for action in actions[:, row]:
                data.ctrl[:] = action
                for _ in range(SUBSTEPS):
                    mujoco.mj_step(model, data)
            by_hand.append(np.concatenate([data.qpos, data.qvel]))
        try:
            simulation.use_threads(3)
            for action in actions:
                state = table.step(state, action)
        finally:
            simulation.use_threads(1)
        np.testing.assert_array_equal(state.physics[:, 1:], by_hand)

    def test_a_force_leads_to_its_terminal_velocity(self) -> None:
        """m v' = F − c v, in implicit steps: v_n = F/c (1 − (1 + c h/m)^−n)."""
        table = Tabletop("Reach", side=10.0)
        state = placed(table, (-4, 0))
        action, steps = np.array([[1.0, -0.5]]), 0
        for _ in range(60):
            state, steps = table.step(state, action), steps + SUBSTEPS
            expected = FORCE / DAMPING * (1 - (1 + DAMPING * TIME_STEP / PUSHER_MASS) ** -steps)
            velocity = state.physics[0, 3:]
            np.testing.assert_allclose(velocity, [expected, -0.5 * expected], rtol=1e-12)
        np.testing.assert_allclose(velocity, [1, -0.5], atol=1e-4)

    def test_a_free_puck_glides_its_momentum_over_its_damping(self) -> None:
        table = Tabletop("Push")
        state = placed(table, (-0.8, -0.8), (0, 0), velocity=[(0, 0), (0.6, -0.8)])
        for _ in range(80):
            state = table.step(state, np.zeros((1, 2)))
        glided = table.places(state)[0, 1]
        np.testing.assert_allclose(glided, np.array([0.6, -0.8]) * PUCK_MASS / DAMPING, atol=1e-9)

    def test_a_contact_keeps_the_momentum(self) -> None:
        model = mujoco.MjModel.__copy__(Tabletop("Push").model())
        model.dof_damping[:] = 0
        start = np.array([[0, -0.3, 0.02, 0, 0, 1.0, 0.2, 0, 0]])
        path = simulation.rollout(model, start, 60)[0]
        pusher, puck = path[:, 5:7], path[:, 7:9]
        assert np.linalg.norm(puck[-1]) > 0.5
        momentum = PUSHER_MASS * pusher + PUCK_MASS * puck
        np.testing.assert_allclose(momentum, np.tile([1.0, 0.2], (60, 1)), atol=1e-9)

    def test_the_puck_is_moved_by_contact_alone_and_nothing_leaves_the_table(self) -> None:
        table = Tabletop("Push")
        state = table.initial(np.arange(256))
        generator = np.random.default_rng(1)
        held = generator.choice([-1.0, 1.0], (256, 2))
        touched = np.zeros(256, dtype=bool)
        for step in range(150):
            before = table.places(state)
            noise = generator.uniform(-1, 1, (256, 2))
            state = table.step(state, np.clip(held + (step % 3) * noise, -1, 1))
            after = table.places(state)
            assert np.abs(after).max() < 1 - RADIUS + 0.02
            # In an action a disc goes at most 0.05 m.
            near = np.linalg.norm(before[:, 0] - before[:, 1], axis=1) < 2 * RADIUS + 0.1
            touched |= near
            np.testing.assert_array_equal(after[~touched, 1], before[~touched, 1])
        assert 0.1 < touched.mean() < 0.9
        observation = table.observe(state)["observation"]
        assert np.abs(observation).max() < 1.5  # far from where it is cut off

    def test_a_trajectory_depends_on_its_own_state_and_actions(self) -> None:
        table = Tabletop("Push")
        actions = np.random.default_rng(2).choice([-1.0, 1.0], (40, 32, 2))
        together = table.initial(np.arange(32))
        alone = table.initial(np.array([17]))
        for action in actions:
            together = table.step(together, action)
            alone = table.step(alone, action[17:18])
        np.testing.assert_array_equal(alone.physics[0], together.physics[17])


class TestInstances:
    @pytest.mark.parametrize("side", [1.2, 2.0, 5.0])
    def test_places_are_uniform_over_what_they_should_be(self, side: float) -> None:
        seeds = np.arange(20_000)
        for task, goal_range in (("Reach", side - 2 * RADIUS), ("Push", side - 2 * MARGIN)):
            table = Tabletop(task, side=side)
            state = table.initial(seeds)
            places = table.places(state)
            kinds = [(state.goal, goal_range)]
            kinds += [(places[:, 1], goal_range)] if task == "Push" else []
            kinds += [(places[:, 0], side - 2 * RADIUS)] if task == "Reach" else []
            for where, extent in kinds:
                assert np.abs(where).max() <= extent / 2 + 1e-6
                cells = np.clip((where / extent + 0.5) * 4, 0, 3.999).astype(int)
                counts = np.bincount(cells[:, 0] * 4 + cells[:, 1], minlength=16)
                # A cell has 1250 ± 34.
                assert np.abs(counts - 1250).max() < 5 * 34
            assert np.abs(places).max() <= side / 2 - RADIUS + 1e-9
            if task == "Push":
                apart = np.linalg.norm(places[:, 0] - places[:, 1], axis=1)
                assert apart.min() >= 2 * RADIUS

    def test_goals_are_at_all_distances(self) -> None:
        for task, farthest in (("Reach", 1.6), ("Push", 1.0)):
            seen = Tabletop(task).observe(Tabletop(task).initial(np.arange(4000)))
            distance = np.linalg.norm(seen["achieved_goal"] - seen["desired_goal"], axis=1)
            assert (distance < 0.2).mean() > 0.02
            assert (distance > farthest).mean() > 0.02

    @pytest.mark.parametrize("id_", IDS)
    def test_an_environment_plays_its_seeds_in_any_batch(self, id_: str) -> None:
        many, few = gym.make_vec(id_, 8), gym.make_vec(id_, 2)
        one = gym.make(id_)
        first, _ = many.reset(seed=100)
        same, _ = few.reset(seed=[103, 100])
        alone, _ = one.reset(seed=103)
        actions = np.random.default_rng(3).uniform(-1, 1, (230, 8, 2)).astype(np.float32)
        for step, action in enumerate(actions):
            assert_equal({key: value[[3, 0]] for key, value in first.items()}, same)
            assert_equal({key: value[3] for key, value in first.items()}, alone)
            first, rewards, _, ended, _ = many.step(action)
            same, _, _, _, _ = few.step(action[[3, 0]])
            alone, reward, terminated, truncated, _ = one.step(action[3])
            assert (reward, terminated, truncated) == (rewards[3], False, step % 100 == 99)
            assert ended.all() == truncated
            if truncated:
                alone, _ = one.reset()


class TestContract:
    @pytest.mark.parametrize("id_", [*IDS, *ARMS])
    def test_gymnasium_and_sb3_accept_it(self, id_: str) -> None:
        from stable_baselines3.common.env_checker import check_env as check_sb3

        env = gym.make(id_).unwrapped
        if id_ in IDS:
            check_env(gym.make(id_, render_mode="rgb_array").unwrapped)
        with warnings.catch_warnings():
            if id_ in ARMS:  # warned of as the originals are: unbounded places, actions up to 2
                warnings.simplefilter("ignore")
            check_env(env, skip_render_check=True)
            check_sb3(env)

    @pytest.mark.parametrize("id_", [*IDS, *ARMS])
    def test_an_episode_is_cut_off_and_its_rewards_are_those_computed(self, id_: str) -> None:
        env: Any = gym.make(id_)
        generator = np.random.default_rng(4)
        threshold = {"Reacher": 0.05}.get(id_[14:-3], 0.1)
        for episode in range(3):
            observation, info = env.reset(seed=episode)
            steps, ended = 0, False
            while not ended:
                action = generator.uniform(-1, 1, env.action_space.shape).astype(np.float32)
                observation, reward, terminated, ended, info = env.step(action)
                steps += 1
                achieved, desired = observation["achieved_goal"], observation["desired_goal"]
                gap = math.dist(achieved.astype(float), desired.astype(float))
                assert reward == float(gap <= threshold)
                assert reward == env.unwrapped.compute_reward(achieved, desired, info)
                assert info["is_success"] is (reward == 1)
                assert not terminated
            assert steps == (50 if "Reacher" in id_ else 100)

    @pytest.mark.parametrize("id_", [*IDS, *ARMS])
    def test_rewards_of_batches(self, id_: str) -> None:
        env: Any = gym.make(id_).unwrapped
        desired = np.zeros((2, 3, 2), dtype=np.float32)
        achieved = desired.copy()
        achieved[0, :, 0] = [0.04, 0.06, 0.5]
        achieved[1, :, 1] = [-0.04, -0.0999, -0.11]
        second = 0.0 if "Reacher" in id_ else 1.0
        rewards = env.compute_reward(achieved, desired, [{}] * 6)
        np.testing.assert_array_equal(rewards, [[1, second, 0], [1, second, 0]])

    def test_her_of_sb3_computes_these_rewards(self) -> None:
        from stable_baselines3 import SAC, HerReplayBuffer

        model = SAC(
            "MultiInputPolicy",
            gym.make(IDS[0], episode_steps=20),
            replay_buffer_class=HerReplayBuffer,
            learning_starts=100,
            seed=0,
            device="cpu",
            policy_kwargs={"net_arch": [8]},
        )
        model.learn(120)
        buffer: Any = model.replay_buffer
        batch = buffer.sample(256)
        achieved = batch.next_observations["achieved_goal"].numpy()
        gap = np.linalg.norm(achieved - batch.next_observations["desired_goal"].numpy(), axis=1)
        rewards = batch.rewards.numpy()[:, 0]
        np.testing.assert_array_equal(
            rewards[np.abs(gap - 0.1) > 1e-4], (gap < 0.1)[np.abs(gap - 0.1) > 1e-4]
        )
        assert 0.2 < rewards.mean() < 1

    @pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP"])
    @pytest.mark.parametrize("id_", IDS)
    def test_autoreset_is_gymnasiums(self, id_: str, mode: str) -> None:
        """The batch beside Gymnasium's SyncVectorEnv of single environments."""
        options: dict[str, Any] = {"episode_steps": 7, "distance_threshold": 0.5}
        native: Any = gym.make_vec(id_, 5, autoreset_mode=mode, **options)
        singles = [lambda: gym.make(id_, **options)] * 5
        sync = SyncVectorEnv(singles, autoreset_mode=AutoresetMode[mode])
        assert native.metadata["autoreset_mode"] is AutoresetMode[mode]
        found, info = native.reset(seed=5)
        expected, expected_info = sync.reset(seed=5)
        generator = np.random.default_rng(5)
        for step in range(23):
            assert_equal(found, {key: expected[key] for key in found})
            np.testing.assert_array_equal(info["is_success"], expected_info["is_success"])
            np.testing.assert_array_equal(info["_is_success"], expected_info["_is_success"])
            assert ("final_obs" in info) == ("final_obs" in expected_info)
            if "final_obs" in info:
                mask = expected_info["_final_obs"]
                np.testing.assert_array_equal(info["_final_obs"], mask)
                np.testing.assert_array_equal(info["_final_info"], mask)
                for row in np.flatnonzero(mask):
                    last = {key: value[row] for key, value in info["final_obs"].items()}
                    assert_equal(last, expected_info["final_obs"][row])
                for key in ("is_success", "_is_success"):
                    final = info["final_info"][key], expected_info["final_info"][key]
                    np.testing.assert_array_equal(*final)
                np.testing.assert_array_equal(success_of(info), success_of(expected_info))
            actions = generator.uniform(-1, 1, (5, 2)).astype(np.float32)
            if step == 3 and mode == "SAME_STEP":  # from here on they end at different times
                for env in (native, sync):
                    env.reset(seed=[9] * 5, options={"reset_mask": np.arange(5) % 2 == 0})
            found, *result, info = native.step(actions)
            expected, *expected_result, expected_info = sync.step(actions)
            for mine, theirs in zip(result, expected_result, strict=True):
                np.testing.assert_array_equal(mine, theirs)

    def test_disabled_autoreset_waits_for_the_mask(self) -> None:
        env: Any = gym.make_vec(IDS[1], 3, autoreset_mode="DISABLED", episode_steps=2)
        with pytest.raises(ValueError, match="come after a first reset"):
            env.reset(options={"reset_mask": np.ones(3, dtype=bool)})
        env.reset(seed=0)
        still = np.zeros((3, 2), dtype=np.float32)
        _, _, _, truncated, _ = env.step(still)
        assert not truncated.any()
        last, _, _, truncated, info = env.step(still)
        assert truncated.all()
        assert "final_obs" not in info
        with pytest.raises(ValueError, match=r"environments \[0, 1, 2\] have ended"):
            env.step(still)
        mask = np.array([True, False, True])
        observations, _ = env.reset(options={"reset_mask": mask})
        goals = observations["desired_goal"]
        np.testing.assert_array_equal((goals != last["desired_goal"]).any(axis=1), mask)
        with pytest.raises(ValueError, match=r"environments \[1\] have ended"):
            env.step(still)

    def test_actions_outside_the_box_are_clipped(self) -> None:
        env = gym.make_vec(IDS[0], 2)
        outcomes = []
        for action in ([[3.0, -0.5], [0, -9]], [[1.0, -0.5], [0, -1]]):
            env.reset(seed=0)
            outcomes.append(env.step(np.array(action, dtype=np.float32))[0])
        assert_equal(*outcomes)

    @pytest.mark.parametrize(
        ("actions", "says"),
        [
            (np.zeros((3, 2)), r"must be \[num_envs=2, 2\] numbers, not \[3, 2\] float64"),
            (np.zeros((2, 2), dtype=bool), "numbers, not .* bool"),
            (np.full((2, 2), np.nan), "must be finite"),
        ],
    )
    def test_actions_that_are_none_are_refused(self, actions: Any, says: str) -> None:
        env = gym.make_vec(IDS[0], 2)
        env.reset(seed=0)
        with pytest.raises(ValueError, match=says):
            env.step(actions)

    @pytest.mark.parametrize("id_", [*IDS, *ARMS])
    def test_specs_are_data(self, id_: str) -> None:
        spec = gym.spec(id_)
        assert gym.envs.registration.EnvSpec.from_json(spec.to_json()) == spec


class TestOptions:
    def test_each_changes_something(self) -> None:
        def played(**options: Any) -> list[Any]:
            env = GoalVectorEnv(64, task="Push", **options)
            env.reset(seed=0)
            found = []
            for _ in range(5):
                observations, rewards, _, truncated, _ = env.step(np.ones((64, 2), np.float32))
                found.append(
                    (observations["observation"].tobytes(), rewards.sum(), truncated.sum())
                )
            return found

        usual = played()
        for option, value in (("episode_steps", 3), ("distance_threshold", 0.4), ("side", 3.0)):
            assert played(**{option: value}) != usual

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"episode_steps": 0}, "episode_steps=0: must be 1 to 100000"),
            ({"episode_steps": 1.5}, "episode_steps=1.5: must be int"),
            ({"side": 1.0}, "side=1.0: must be 1.2 to 10"),
            ({"side": "wide"}, "side='wide': must be a number"),
            ({"distance_threshold": 0}, "distance_threshold=0: must be above 0 and at most a quar"),
            ({"distance_threshold": 0.51}, r"at most a quarter of the side, 0\.5"),
            ({"color": "red"}, "color: Push has no such option; there are episode_steps, dist"),
        ],
    )
    def test_wrong_ones_are_named(self, options: dict[str, Any], says: str) -> None:
        for make in (
            lambda: gym.make(IDS[1], **options),
            lambda: make_goal_vec(IDS[1], 2, **options),
        ):
            with pytest.raises(ValueError, match=says):
                make()

    def test_of_the_batch(self) -> None:
        with pytest.raises(ValueError, match="num_envs=0: must be at least 1"):
            GoalVectorEnv(0, task="Reach")
        with pytest.raises(ValueError, match="autoreset_mode='never': must be one of NEXT_STEP"):
            GoalVectorEnv(1, task="Reach", autoreset_mode="never")
        with pytest.raises(ValueError, match="task='Fly': must be one of Reach, Push"):
            GoalVectorEnv(1, task="Fly")
        with pytest.raises(ValueError, match="render_mode='ansi': must be one of rgb_array"):
            GoalVectorEnv(1, task="Reach", render_mode="ansi")


def to_the_goal(table: Tabletop, state: TabletopState) -> Any:
    """Reach: towards the goal, as hard as it is far and with the speed taken off."""
    place, velocity = state.physics[:, 1:3], state.physics[:, 3:5]
    return np.clip(8 * (state.goal - place) - velocity, -1, 1)


def behind_the_puck(table: Tabletop, state: TabletopState) -> Any:
    """Push: round the puck to the side away from the goal, then forwards; at the goal stop."""
    places, velocity = table.places(state), state.physics[:, 5:7]
    pusher, puck = places[:, 0], places[:, 1]

    def dot(first: Any, second: Any) -> Any:
        return (first * second).sum(axis=1, keepdims=True)

    to_goal = state.goal - puck
    far = np.linalg.norm(to_goal, axis=1, keepdims=True)
    ahead = to_goal / np.maximum(far, 1e-9)
    across = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
    along, beside = dot(pusher - puck, ahead), dot(pusher - puck, across)
    round_it = puck + across * np.where(beside >= 0, 0.3, -0.3)
    target = np.where(along > -0.15, round_it, puck) - ahead * 0.25
    approach = 8 * (target - pusher) - velocity
    force = np.clip(2 * far, 0.2, 1) * (1 - np.minimum(np.abs(beside) / 0.06, 1))
    push = ahead * force - across * (15 * beside + 2 * dot(velocity, across))
    action = np.where((along < -0.15) & (np.abs(beside) < 0.06), push, approach)
    return np.clip(np.where(far < 0.05, -4 * velocity, action), -1, 1)


@pytest.mark.parametrize(
    ("task", "policy", "share"), [("Reach", to_the_goal, 1.0), ("Push", behind_the_puck, 0.95)]
)
def test_the_tasks_are_solvable(task: str, policy: Callable[..., Any], share: float) -> None:
    table = Tabletop(task)
    state = table.initial(np.arange(300))
    for _ in range(100):
        state = table.step(state, policy(table, state))
    seen = table.observe(state)
    at_goal = table.at_goal(seen["achieved_goal"], seen["desired_goal"])
    assert at_goal.mean() >= share


class TestArms:
    @pytest.mark.parametrize("arm", ["Reacher", "Pusher"])
    def test_the_distance_is_that_of_the_originals_reward(self, arm: str) -> None:
        env: Any = gym.make(f"rl_serial/Goal{arm}-v0")
        original = gym.make(f"{arm}-v5")
        observation, _ = env.reset(seed=3)
        original.reset(seed=3)
        # Pusher's target lies 48 mm below the plane that the object's middle slides in.
        below = 0.048 if arm == "Pusher" else 0.0
        generator = np.random.default_rng(6)
        for _ in range(50):
            action = generator.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            observation, _, _, _, info = env.step(action)
            _, _, _, _, expected = original.step(action)
            gap = math.dist(observation["achieved_goal"], observation["desired_goal"])
            assert -math.hypot(gap, below) == pytest.approx(expected["reward_dist"], abs=1e-6)
            assert info["reward_dist"] == expected["reward_dist"]

    @pytest.mark.parametrize("arm", ["Reacher", "Pusher"])
    def test_the_observation_does_not_tell_the_goal(self, arm: str) -> None:
        env: Any = gym.make(f"rl_serial/Goal{arm}-v0").unwrapped
        env.reset(seed=0)
        original = env.original
        seen = []
        for goal in ((0.1, -0.15), (-0.05, 0.02)):
            qpos, qvel = original.init_qpos.copy(), original.init_qvel.copy()
            qpos[-2:] = goal
            original.set_state(qpos, qvel)
            seen.append(env._observation(original._get_obs()))
        assert (seen[0]["desired_goal"] != seen[1]["desired_goal"]).all()
        for key in ("observation", "achieved_goal"):
            np.testing.assert_array_equal(seen[0][key], seen[1][key])

    def test_the_observation_holds_the_rest_of_the_original(self) -> None:
        env: Any = gym.make("rl_serial/GoalReacher-v0")
        observation, _ = env.reset(seed=8)
        full, _ = gym.make("Reacher-v5").reset(seed=8)
        cos, sin, goal, speeds, gap = np.split(full, [2, 4, 6, 8])
        np.testing.assert_allclose(observation["observation"], [*cos, *sin, *speeds], atol=1e-6)
        np.testing.assert_allclose(observation["desired_goal"], goal, atol=1e-6)
        np.testing.assert_allclose(observation["achieved_goal"], goal + gap, atol=1e-6)

    def test_wrong_options_are_named(self) -> None:
        with pytest.raises(ValueError, match="distance_threshold=-1: must be above 0"):
            gym.make(ARMS[0], distance_threshold=-1)
        with pytest.raises(ValueError, match=r"rl_serial/GoalReacher-v0: .*unexpected.*colour"):
            make_goal_vec(ARMS[0], 1, colour="red")

    def test_a_threshold_changes_success(self) -> None:
        rewards = []
        for threshold in (0.05, 1.0):
            env = gym.make(ARMS[0], distance_threshold=threshold)
            env.reset(seed=0)
            rewards.append(env.step(np.zeros(2, dtype=np.float32))[1])
        assert rewards == [0, 1]


class TestMaking:
    @pytest.mark.parametrize(
        "id_",
        [*IDS, *ARMS, "PointMaze_UMaze-v3", "AntMaze_UMaze-v5", "FetchReach-v4"],
    )
    def test_the_same_contract_for_all(self, id_: str) -> None:
        if id_[:9] != "rl_serial":
            pytest.importorskip("gymnasium_robotics")
        own = "episode_steps" if id_ in IDS else "max_episode_steps"
        env: Any = make_goal_vec(id_, 3, **{own: 6})
        assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
        observations, _ = env.reset(seed=0)
        assert set(observations) == {"observation", "achieved_goal", "desired_goal"}
        assert isinstance(env.single_action_space, gym.spaces.Box)
        env.action_space.seed(0)
        for step in range(1, 14):
            observations, rewards, terminated, truncated, info = env.step(env.action_space.sample())
            assert not terminated.any()
            assert (truncated == (step % 6 == 0)).all()
            assert env.observation_space.contains(observations)
            for value in observations.values():
                assert value.dtype == np.float32
            reached = info["final_obs"] if truncated.all() else observations
            assert reached["observation"].shape == env.observation_space["observation"].shape
            goals = reached["achieved_goal"], reached["desired_goal"]
            np.testing.assert_array_equal(env.compute_reward(*goals, {}), rewards)
            won = 0.0 if "Fetch" in id_ else 1.0
            np.testing.assert_array_equal(success_of(info), rewards == won)
        env.close()

    def test_processes(self) -> None:
        with_processes: Any = make_goal_vec(ARMS[0], 2, processes=2, max_episode_steps=4)
        within: Any = make_goal_vec(ARMS[0], 2, max_episode_steps=4)
        assert isinstance(with_processes.env, gym.vector.AsyncVectorEnv)
        assert isinstance(within.env, SyncVectorEnv)
        assert_equal(with_processes.reset(seed=0)[0], within.reset(seed=0)[0])
        for _ in range(6):
            action = within.action_space.sample()
            first, second = with_processes.step(action), within.step(action)
            assert_equal(first[0], second[0])
            np.testing.assert_array_equal(success_of(first[4]), success_of(second[4]))
        with_processes.close()
        within.close()

    def test_mazes_go_on_at_the_goal_unless_asked_otherwise(self) -> None:
        pytest.importorskip("gymnasium_robotics")
        for id_ in ("PointMaze_UMaze-v3", "AntMaze_UMaze-v5"):
            maze: Any = make_goal_vec(id_, 1)
            inner = maze.env.envs[0].unwrapped
            assert (inner.continuing_task, inner.reset_target) == (True, False)
            maze.close()
        asked: Any = make_goal_vec(
            "gymnasium_robotics:PointMaze_UMaze-v3", 1, continuing_task=False
        )
        assert not asked.env.envs[0].unwrapped.continuing_task
        asked.close()

    @pytest.mark.parametrize(
        ("id_", "says"),
        [
            ("rl_serial/Reech-v0", r"no such environment.*rl_serial/Reach-v0, .*AntMaze_…"),
            ("nowhere:Reach-v0", "no such environment"),
            ("CartPole-v1", "CartPole-v1 is no goal environment: its observations must be a Dict"),
            ("Reacher-v5", "Reacher-v5 is no goal environment.*and are Box"),
            ("rl_serial/CircuitBet-v0", "is no goal environment"),
            ("tests/DiscreteGoals-v0", r"has the actions Discrete\(2\); they must be a Box"),
        ],
    )
    def test_what_it_cannot_make(self, id_: str, says: str) -> None:
        gym.register("tests/DiscreteGoals-v0", DiscreteGoals)
        try:
            with pytest.raises(ValueError, match=says):
                make_goal_vec(id_, 2)
        finally:
            del gym.registry["tests/DiscreteGoals-v0"]

    def test_numbers_out_of_range(self) -> None:
        with pytest.raises(ValueError, match="num_envs=0: must be at least 1"):
            make_goal_vec(IDS[0], 0)
        with pytest.raises(ValueError, match=r"processes=2: .*Reach-v0 runs in one process"):
            make_goal_vec(IDS[0], 4, processes=2)
        with pytest.raises(ValueError, match="processes=3: must be 1 or num_envs=4"):
            make_goal_vec(ARMS[0], 4, processes=3)

    def test_without_gymnasium_robotics(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
        for id_ in ("FetchReach-v4", "gymnasium_robotics:PointMaze_UMaze-v3"):
            with pytest.raises(ValueError, match=r"gymnasium-robotics.*'rl_serial\[robotics\]'"):
                make_goal_vec(id_, 2)
        assert goal_environments() == list(GOAL_ENVIRONMENTS)

    def test_what_there_is(self) -> None:
        pytest.importorskip("gymnasium_robotics")
        found = goal_environments()
        assert found[:4] == [*IDS, *ARMS]
        assert {"PointMaze_UMaze-v3", "AntMaze_Large-v5", "FetchPush-v4"} <= set(found)
        assert "AntMaze_UMaze-v4" not in found
        for id_ in found:
            assert id_ in gym.registry

    def test_success_by_hand(self) -> None:
        info = {
            "success": np.array([True, False, True]),
            "_success": np.array([True, True, True]),
            "final_info": {"success": np.array([False, True, False])},
            "_final_info": np.array([False, True, True]),
        }
        np.testing.assert_array_equal(success_of(info), [True, True, False])
        # Fetch tells success as a number, and nothing at a reset.
        fetch = {
            "final_info": {"is_success": np.array([1.0, 0.0], dtype=np.float32)},
            "_final_info": np.array([True, True]),
        }
        np.testing.assert_array_equal(success_of(fetch), [True, False])
        with pytest.raises(ValueError, match="neither is_success nor success, but reward_dist"):
            success_of({"reward_dist": np.zeros(2)})


class DiscreteGoals(gym.Env[Any, Any]):
    """Goals, but no continuous actions."""

    observation_space = gym.spaces.Dict(
        {key: gym.spaces.Box(0, 1) for key in ("observation", "achieved_goal", "desired_goal")}
    )
    action_space = gym.spaces.Discrete(2)


class TestMissing:
    def test_without_mujoco_the_extra_is_named(self) -> None:
        code = (
            "import sys; sys.modules['mujoco'] = None\n"
            "import gymnasium as gym, rl_serial\n"
            "from rl_serial.envs.goals import make_goal_vec\n"
            f"for id_ in {[*IDS, *ARMS]!r}:\n"
            "    try:\n"
            "        gym.make(id_)\n"
            "    except gym.error.DependencyNotInstalled as error:\n"
            "        print(error)\n"
            "    try:\n"
            "        make_goal_vec(id_, 2)\n"
            "    except ValueError as error:\n"
            "        print(error)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        message = (
            " needs mujoco>=3.10,<3.12, which is not installed: pip install 'rl_serial[mujoco]'"
        )
        assert done.stdout.count(message) == 8

    def test_importing_the_package_imports_no_simulator(self) -> None:
        code = "import sys, rl_serial, rl_serial.envs.goals\n"
        code += "print({'mujoco', 'gymnasium_robotics'} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout == "set()\n"


def test_the_example_in_the_docs_runs() -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    # Already at the goal are 1.9 %; random forces hardly move the puck.
    assert 0 < names["reached"].mean() < 0.1


def test_a_picture_shows_the_discs_and_the_goal() -> None:
    env: Any = gym.make_vec(IDS[1], 2, render_mode="rgb_array")
    env.reset(seed=0)
    for picture, discs, goal in zip(
        env.render(), env.rules.places(env.state), env.state.goal, strict=True
    ):
        assert (picture.shape, picture.dtype) == ((320, 320, 3), np.uint8)

        def ink(place: Any, picture: Any = picture) -> tuple[int, ...]:
            column, row = (place[0] + 1) * 160, (1 - place[1]) * 160
            return tuple(int(x) for x in picture[round(row), round(column)])

        assert ink(discs[0]) == (43, 65, 98)
        assert ink(discs[1]) == (196, 106, 46)
        green = ink(goal)
        assert green[1] > green[0]
        assert green[1] > green[2]
