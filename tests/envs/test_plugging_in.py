"""What other libraries ask of the environments, held against Gymnasium's own."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics
from sb3_contrib import MaskablePPO
from sb3_contrib.common.wrappers import ActionMasker

from rl_serial.cli import registry_table
from rl_serial.config import EnvConfig
from rl_serial.envs import ENV_IDS, seeds_for, task_of

BET, STEER = "rl_serial/PointerChaseBet-v0", "rl_serial/PermutationAutomatonSteer-v0"
KICK, REACH = "rl_serial/ManyBodyKick-v0", "rl_serial/Reach-v0"
# Masks that change within an episode: a THINK that is used up, decisions that are over.
MASKED = [(BET, {"think_budget": 1}), (STEER, {"serial_depth": 3, "decisions": 1})]


@pytest.fixture(autouse=True)
def needs_mujoco(request: pytest.FixtureRequest) -> None:
    """Skip a test on ManyBody, Reach or Push where MuJoCo is not installed."""
    values = getattr(getattr(request.node, "callspec", None), "params", {}).values()
    if {KICK, REACH} & {value for value in values if isinstance(value, str)}:
        pytest.importorskip("mujoco")


class TestUnknownOption:
    @pytest.mark.parametrize("id_", [*ENV_IDS, KICK, REACH])
    def test_is_what_torchrl_looks_for_and_what_a_person_reads(self, id_: str) -> None:
        makes: list[Callable[..., Any]] = [partial(gym.make, id_)]
        if id_ != KICK:
            makes.append(partial(gym.make_vec, id_, 2))
        for make in makes:
            with pytest.raises(
                TypeError, match="got an unexpected keyword argument 'frameskip'"
            ) as caught:
                make(frameskip=4)
            assert isinstance(caught.value, ValueError)
            assert re.match(
                r"frameskip: \w+ has no such option; there are \w+, ", str(caught.value)
            )
            # Across the processes of AsyncVectorEnv and SubprocVecEnv.
            assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


class TestIds:
    def test_the_printed_ids_work_where_the_package_was_never_imported(self) -> None:
        ids = re.findall(r"`(rl_serial:[^`]*)`", registry_table())
        assert len(ids) == len(ENV_IDS)
        light = [id_ for id_ in ids if "ManyBody" not in id_]
        code = (
            "import gymnasium, sys\n"
            f"for id in {light}:\n"
            "    gymnasium.make(id).reset(seed=0)\n"
            "    gymnasium.make_vec(id, 2).reset(seed=0)\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_the_printed_ids_are_taken_by_the_package_too(self) -> None:
        assert task_of(f"rl_serial:{BET}") == task_of(BET)
        assert EnvConfig(id=f"rl_serial:{BET}") == EnvConfig(id=BET)
        assert EnvConfig(id="mine:Maze-v0").id == "mine:Maze-v0"


class TestActionMask:
    @pytest.mark.parametrize(("id_", "options"), MASKED)
    def test_info_and_wrappers_give_the_legal_actions(
        self, id_: str, options: dict[str, Any]
    ) -> None:
        env = RecordEpisodeStatistics(gym.make(id_, **options))
        _, info = env.reset(seed=3)
        seen = set()
        for action in (2, 0):
            mask = info["action_mask"]
            assert mask.dtype == np.int8
            np.testing.assert_array_equal(mask, env.get_wrapper_attr("action_masks")())
            assert mask[env.action_space.sample(mask)] == 1
            seen.add(tuple(mask.tolist()))
            _, _, _, _, info = env.step(action)
        actions = env.action_space.n  # type: ignore[attr-defined]
        later = (1, 1, 0) if id_ == BET else (1, *[0] * (actions - 1))
        assert seen == {(1,) * actions, later}  # by the pages of the tasks

    @pytest.mark.parametrize("mode", list(AutoresetMode))
    @pytest.mark.parametrize(("id_", "options"), MASKED)
    def test_infos_are_those_of_gymnasiums_own_vector_environment(
        self, id_: str, options: dict[str, Any], mode: AutoresetMode
    ) -> None:
        ours = gym.make_vec(id_, 5, autoreset_mode=mode, **options)
        theirs = SyncVectorEnv([partial(gym.make, id_, **options)] * 5, autoreset_mode=mode)
        generator = np.random.default_rng(0)
        found, expected = ours.reset(seed=6), theirs.reset(seed=6)
        ended = np.zeros(5, dtype=bool)
        partly = 0
        for _ in range(30):
            np.testing.assert_array_equal(found[0], expected[0])
            assert_same_infos(found[-1], expected[-1])
            if mode is AutoresetMode.DISABLED and ended.any():
                found = ours.reset(options={"reset_mask": ended})
                expected = theirs.reset(options={"reset_mask": ended})
                ended = np.zeros(5, dtype=bool)
                continue
            actions = generator.integers(0, ours.single_action_space.n, 5)  # type: ignore[attr-defined]
            found, expected = ours.step(actions), theirs.step(actions)
            for mine, other in zip(found[1:4], expected[1:4], strict=True):
                np.testing.assert_array_equal(mine, other)
            ended = found[2]
            partly += 0 < ended.sum() < 5
        assert partly or id_ == STEER  # all of its episodes are as long as each other

    def test_maskable_ppo_learns_through_wrappers(self) -> None:
        env = ActionMasker(
            gym.make(BET, think_budget=1), lambda env: env.get_wrapper_attr("action_masks")()
        )
        model = MaskablePPO("MlpPolicy", env, n_steps=32, batch_size=32, seed=0, device="cpu")
        assert model.learn(64).num_timesteps == 64


def assert_same_infos(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Whatever Gymnasium says is said, and said to be there; ours may hold more."""
    for key, expected in theirs.items():
        if key == "final_info":
            assert_same_infos(ours[key], expected)
        elif key == "final_obs":
            for row in np.flatnonzero(theirs["_final_obs"]):
                np.testing.assert_array_equal(ours[key][row], expected[row])
        elif key.startswith("_"):
            assert ours[key][expected].all()
        else:
            there = theirs[f"_{key}"]
            assert ours[key].dtype == expected.dtype
            np.testing.assert_array_equal(ours[key][there], expected[there])
    for key in ("final_obs", "final_info"):
        assert (key in ours) == (key in theirs)
        np.testing.assert_array_equal(ours.get(f"_{key}", 0), theirs.get(f"_{key}", 0))


class TestSeeds:
    def test_neighbouring_seeds_share_instances_and_lists_do_not(self) -> None:
        envs = gym.make_vec(BET, 4)

        def firsts(seed: Any) -> set[bytes]:
            return {row.tobytes() for row in envs.reset(seed=seed)[0]}

        assert len(firsts(0) & firsts(1)) == 3  # as documented: s + i
        assert not firsts(seeds_for(0, 4)) & firsts(seeds_for(1, 4))

    def test_lists_share_nothing_at_the_ends_of_their_range(self) -> None:
        most = 2**31 - 1
        lists = [seeds_for(seed, 1000) for seed in (0, 1, 2, most - 1, most)]
        assert len({seed for seeds in lists for seed in seeds}) == 5000
        # The last seed of the longest list lies below the first of the next, and fits in 63 bits.
        assert seeds_for(0, 1)[0] + 2**32 - 2 < seeds_for(1, 1)[0]
        assert seeds_for(most, 1)[0] + 2**32 - 2 < 2**63

    def test_row_i_plays_what_a_single_environment_plays_with_seed_i(self) -> None:
        seeds = seeds_for(7, 3)
        rows, _ = gym.make_vec(BET, 3).reset(seed=seeds)
        for row, seed in zip(rows, seeds, strict=True):
            np.testing.assert_array_equal(row, gym.make(BET).reset(seed=seed)[0])

    @pytest.mark.parametrize(
        ("seed", "num_envs", "says"),
        [
            (-1, 2, "seed=-1: must be a whole number, 0 to"),
            (2**31, 2, "seed=2147483648: must be"),
            (1.5, 2, "seed=1.5: must be"),
            (0, 0, "num_envs=0: must be a whole number, 1 to"),
        ],
    )
    def test_what_is_out_of_range_is_named(self, seed: Any, num_envs: int, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            seeds_for(seed, num_envs)

    @pytest.mark.parametrize("id_", [BET, REACH])
    def test_wrong_seeds_of_a_reset_are_named(self, id_: str) -> None:
        envs = gym.make_vec(id_, 2)
        for seed in ([0, -1], [0, 1.5], [True, 0]):
            with pytest.raises(ValueError, match=f"seed={seed[seed[0] is not True]}: must be a w"):
                envs.reset(seed=seed)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"seed=1\.5: must be a whole number"):
            envs.reset(seed=1.5)  # type: ignore[arg-type]


class TestWrongUse:
    @pytest.mark.parametrize("id_", [BET, STEER, KICK, REACH])
    def test_what_comes_before_a_reset_is_gymnasiums_own_error(self, id_: str) -> None:
        env: Any = gym.make(id_, render_mode="rgb_array").unwrapped
        envs: Any = None if id_ == KICK else gym.make_vec(id_, 2, render_mode="rgb_array")
        for each in filter(None, (env, envs)):
            with pytest.raises(ResetNeeded, match=r"step: call reset\(\) first"):
                each.step(each.action_space.sample())
            with pytest.raises(ResetNeeded, match=r"render: call reset\(\) first"):
                each.render()
            for name in ("action_masks", "action_values"):
                if hasattr(each.unwrapped, name):
                    with pytest.raises(ResetNeeded, match=rf"{name}: call reset\(\) first"):
                        getattr(each.unwrapped, name)()
            each.reset(seed=0)
            each.step(each.action_space.sample())
            assert each.render() is not None

    @pytest.mark.parametrize("id_", [BET, STEER, KICK])
    @pytest.mark.parametrize("instance", [-1, 1.5, 2**63, True, "3"])
    def test_an_instance_that_there_is_not_is_refused(self, id_: str, instance: Any) -> None:
        env = gym.make(id_)
        with pytest.raises(ValueError, match=rf"options\.instance={instance!r}: must be a whole"):
            env.reset(options={"instance": instance})
        env.reset(options={"instance": 2**63 - 1})

    @pytest.mark.parametrize("id_", [BET, STEER, KICK, REACH])
    def test_unknown_options_of_a_reset_are_named(self, id_: str) -> None:
        known = r"there are none" if id_ == REACH else r"there is instance"
        with pytest.raises(ValueError, match=rf"options\.instnace: reset has no such.*{known}"):
            gym.make(id_).reset(options={"instnace": 3})
        if id_ != KICK:
            with pytest.raises(ValueError, match=r"options\.mask: .*there is reset_mask"):
                gym.make_vec(id_, 2).reset(options={"mask": np.array([True, False])})

    def test_the_arms_have_no_options_of_a_reset(self) -> None:
        pytest.importorskip("mujoco")
        with pytest.raises(ValueError, match=r"options\.start: .*there are none"):
            gym.make("rl_serial/GoalReacher-v0").reset(options={"start": 3})

    @pytest.mark.parametrize("id_", [BET, STEER, REACH])
    def test_a_mask_of_nothing_is_refused_as_gymnasium_does(self, id_: str) -> None:
        options = {"reset_mask": np.zeros(2, dtype=bool)}
        envs = gym.make_vec(id_, 2)
        envs.reset(seed=0)
        with pytest.raises(ValueError, match=r"options\.reset_mask: .*at least one"):
            envs.reset(options=dict(options))
        gymnasiums = SyncVectorEnv([partial(gym.make, STEER)] * 2)
        gymnasiums.reset(seed=0)
        with pytest.raises(ValueError, match="at least one"):
            gymnasiums.reset(options=dict(options))
