"""One contract for every family and every id of the registry; a new family needs no edit here.

What a chain itself must keep is :mod:`rl_serial.envs.testing`, for a user's chain too; here stands
beside it what is asked of the tasks and of the environments that serve them.
"""

from __future__ import annotations

import warnings
from dataclasses import fields
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

from rl_serial.envs import ENV_IDS, Family, task_of
from rl_serial.envs.chain import is_numpy_only
from rl_serial.envs.random import evaluation_seeds
from rl_serial.envs.registry import TASKS, options_of
from rl_serial.envs.testing import check_family
from rl_serial.envs.testing.families import single_trace

BATCH = 40


def test_family_keeps_the_contract(family: Family) -> None:
    check_family(family)


def test_tasks_give_the_same_bits_on_numpy_and_torch(family: Family, value: Any) -> None:
    for task_name in family.tasks:
        options = {family.option: value, "serial_depth": 4}
        task = task_of(f"rl_serial/{family.name}{task_name}-v0", **options)
        seeds = evaluation_seeds(3, BATCH, np)
        if is_numpy_only(task.chain):
            with pytest.raises(
                ValueError, match=f"{family.name} runs on NumPy arrays, not on torch"
            ):
                task.initial(torch.as_tensor(seeds))
            continue
        one, other = task.initial(seeds), task.initial(torch.as_tensor(seeds))
        for step in range(4):
            for mine, theirs in (
                (task.observe(one), task.observe(other)),
                (task.action_values(one), task.action_values(other)),
                (task.legal_actions(one), task.legal_actions(other)),
                (
                    task.chain.working(task.chain_state(one)),
                    task.chain.working(task.chain_state(other)),
                ),
            ):
                np.testing.assert_array_equal(mine, theirs.numpy())
                assert str(mine.dtype) == str(theirs.dtype).removeprefix("torch.")
            actions = (np.arange(BATCH) + step) % len(task.action_names)
            here, there = task.step(one, actions), task.step(other, torch.as_tensor(actions))
            np.testing.assert_array_equal(here.reward, there.reward.numpy())
            np.testing.assert_array_equal(here.terminated, there.terminated.numpy())
            one, other = here.state, there.state


@pytest.mark.parametrize("id_", ENV_IDS)
def test_environment_checkers_pass_without_a_warning(
    id_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # pygame reads its version with a module that setuptools has deprecated.
        warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
        env = gymnasium.make(id_)
        gymnasium_check(env.unwrapped)
        sb3_check(env.unwrapped)


@pytest.mark.parametrize("id_", ENV_IDS)
def test_wrong_use_is_named(id_: str) -> None:
    env, envs = gymnasium.make(id_).unwrapped, gymnasium.make_vec(id_, 2)
    env.reset(seed=0)
    envs.reset(seed=0)
    name = task_of(id_).action_names[0]
    for action in (-1, 9999, 0.5):
        with pytest.raises(ValueError, match=f"action {action} is outside Discrete.*{name}"):
            env.step(action)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"actions hold 0 to 9999, outside Discrete"):
        envs.step(np.array([0, 9999]))
    with pytest.raises(ValueError, match=r"actions: must be \[num_envs=2\] integers"):
        envs.step(np.array([0, 0, 0]))
    family, task = ENV_IDS[id_]
    known = ", ".join(options_of(family.name, task))
    with pytest.raises(ValueError, match=f"colour: .* has no such option; there are {known}"):
        gymnasium.make(id_, colour=1)
    with pytest.raises(ValueError, match=r"serial_depth='4': must be int, not str"):
        gymnasium.make(id_, serial_depth="4")
    with pytest.raises(ValueError, match=r"autoreset_mode='never': must be one of NEXT_STEP"):
        gymnasium.make_vec(id_, 2, autoreset_mode="never")
    with pytest.raises(ValueError, match=r"render_mode='ascii': must be one of ansi"):
        type(env)(family=family.name, task=task, render_mode="ascii")
    with pytest.raises(ValueError, match=r"reset_mask: must be \[num_envs=2\] bool"):
        envs.reset(options={"reset_mask": np.array([True])})


def test_disabled_autoreset_refuses_to_step_past_the_end() -> None:
    envs = gymnasium.make_vec("rl_serial/CircuitBet-v0", 2, autoreset_mode="DISABLED")
    envs.reset(seed=0)
    envs.step(np.array([0, 1]))
    with pytest.raises(ValueError, match=r"environments \[0, 1\] have ended.*reset_mask"):
        envs.step(np.array([0, 0]))


def test_resets_go_from_instance_to_instance_and_can_name_one() -> None:
    env = gymnasium.make("rl_serial/PermutationAutomatonBet-v0")
    first, second = env.reset(seed=1)[0], env.reset()[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(env.reset(seed=1)[0], first)
    np.testing.assert_array_equal(env.reset()[0], second)
    named = env.reset(options={"instance": 2**62 + 17})[0]
    task = task_of("rl_serial/PermutationAutomatonBet-v0")
    np.testing.assert_array_equal(named, task.observe(task.initial(np.array([2**62 + 17])))[0])
    np.testing.assert_array_equal(
        env.reset(seed=None)[0],
        single_trace(env.spec.id, 1, [0, 0])[4][0],  # type: ignore[union-attr]
    )


def test_seeds_of_any_size_play_the_same_single_and_batched() -> None:
    id_ = "rl_serial/CircuitBet-v0"
    for seed in (0, 2**40, 2**63, 2**63 + 5, 2**64):
        single, _ = gymnasium.make(id_).reset(seed=seed)
        batched, _ = gymnasium.make_vec(id_, 2).reset(seed=seed)
        np.testing.assert_array_equal(batched[0], single)


@pytest.mark.parametrize(
    ("id_", "option"),
    [
        (id_, f.name)
        for id_, (_, t) in ENV_IDS.items()
        for f in fields(TASKS[t])
        if f.name != "chain"
    ],
)
def test_every_option_of_a_task_changes_something(id_: str, option: str) -> None:
    family, task = ENV_IDS[id_]
    default = options_of(family.name, task)[option]
    bases: dict[str, dict[str, Any]] = {
        "think_cost": {"think_budget": 2},
        "missing": {"start": "written"},
    }
    base = bases.get(option, {})
    others: dict[str, Any] = {"start": "uniform", "memory": "filler", "missing": 0}
    other = others[option] if option in others else default + (2 if type(default) is int else 0.25)

    def trace(options: dict[str, Any]) -> str:
        rules = task_of(id_, **options)
        state = rules.initial(np.arange(30))
        seen = [rules.layout, rules.action_names, rules.observe(state).tolist()]
        for step in range(3):
            actions = (np.arange(30) + 2 - step) % len(rules.action_names)
            transition = rules.step(state, actions)
            state = transition.state
            seen += [transition.reward.tolist(), rules.observe(state).tolist()]
            seen.append(rules.legal_actions(state).tolist())
        seen.append(rules.action_values(rules.initial(np.arange(2))).tolist())
        return str(seen)

    assert trace(base) != trace(base | {option: other})
