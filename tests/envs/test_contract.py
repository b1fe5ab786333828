"""One contract for every family and every id of the registry; a new family needs no edit here."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as sb3_check

from rl_serial.envs import ENV_IDS, FAMILIES, Family, task_of
from rl_serial.envs.chain import is_numpy_only
from rl_serial.envs.random import evaluation_seeds
from rl_serial.envs.registry import options_of

BATCH = 40


def states_of(chain: Any, seeds: Any) -> list[Any]:
    """The states of a chain from its start to its end, kicked once half-way."""
    states = [chain.initial(seeds)]
    for step in range(chain.serial_depth):
        if step == chain.serial_depth // 2:
            states[-1] = chain.kick(states[-1], seeds % chain.num_kicks)
        states.append(chain.advance(states[-1]))
    return states


def test_chain_keeps_the_contract(family: Family, value: Any) -> None:
    chain = family.chain(**{family.option: value, "serial_depth": 5})
    assert hash(chain) == hash(dataclasses.replace(chain))
    seeds = evaluation_seeds(1, BATCH, np)
    states = states_of(chain, seeds)
    for step, state in enumerate(states):
        assert dataclasses.is_dataclass(state)
        assert state.__dataclass_params__.frozen  # type: ignore[attr-defined]
        assert all(array.shape[0] == BATCH for array in vars(state).values())
        np.testing.assert_array_equal(state.remaining, 5 - step)
        payoff = chain.payoff(state)
        assert payoff.shape == (BATCH,)
        assert payoff.dtype == np.float32
        assert np.abs(payoff).max() <= 1
        observation = chain.observe(state)
        assert observation.shape == (BATCH, chain.layout.size)
        assert observation.dtype == np.float32
        assert observation.min() >= 0
        assert observation.max() <= 1
        # The globals end with the remaining steps as a one-hot.
        np.testing.assert_array_equal(observation[:, -6:], np.eye(6)[[5 - step] * BATCH])
        working = chain.working(state)
        assert working.shape == (BATCH, chain.working_size)
        assert working.dtype == np.float32
        redrawn = chain.redraw_step(state, seeds)
        assert [a.shape for a in vars(redrawn).values()] == [a.shape for a in vars(state).values()]
        np.testing.assert_array_equal(redrawn.remaining, state.remaining)
    after_the_end = chain.advance(states[-1])
    for ours, theirs in zip(vars(states[-1]).values(), vars(after_the_end).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_rules_change_nothing_in_place(family: Family, value: Any) -> None:
    chain = family.chain(**{family.option: value, "serial_depth": 4})
    state = chain.initial(evaluation_seeds(2, BATCH, np))
    before = copy.deepcopy(vars(state))
    chain.advance(state)
    chain.kick(state, np.zeros(BATCH, dtype=np.int64))
    chain.observe(state)
    chain.payoff(state)
    chain.redraw_step(state, np.arange(BATCH))
    for name, array in vars(state).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_numpy_and_torch_give_the_same_bits(family: Family, value: Any) -> None:
    for task_name in ("Bet", "Steer"):
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
def test_spec_survives_json_and_pickle(id_: str) -> None:
    env = gymnasium.make(id_, serial_depth=3)
    assert env.spec is not None
    first = env.reset(seed=4)[0]
    for spec in (
        gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()),
        pickle.loads(pickle.dumps(env.spec)),
    ):
        again = gymnasium.make(spec)
        np.testing.assert_array_equal(again.reset(seed=4)[0], first)
    vector_spec = gymnasium.make_vec(id_, 2, serial_depth=3).spec
    assert json.loads(vector_spec.to_json())["kwargs"]["serial_depth"] == 3  # type: ignore[union-attr]


def single_trace(id_: str, seed: int, actions: Any, **options: Any) -> list[tuple[Any, ...]]:
    """(observation, reward, terminated) of one environment, reset as soon as it ends."""
    env = gymnasium.make(id_, **options)
    trace = [(env.reset(seed=seed)[0], 0.0, False)]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(int(action))
        assert not truncated
        trace.append((observation, float(reward), terminated))
        if terminated:
            trace.append((env.reset()[0], 0.0, False))
    return trace


@pytest.mark.parametrize("id_", ENV_IDS)
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_make_and_make_vec_play_the_same_episodes(id_: str, mode: AutoresetMode) -> None:
    options = {"serial_depth": 3}
    envs = gymnasium.make_vec(id_, 4, autoreset_mode=mode, **options)
    assert envs.metadata["autoreset_mode"] is envs.unwrapped.autoreset_mode is mode  # type: ignore[attr-defined]
    num_actions = int(envs.single_action_space.n)  # type: ignore[attr-defined]
    actions = np.random.default_rng(0).integers(0, num_actions, (12, 4))
    observations, _ = envs.reset(seed=20)
    traces: list[list[Any]] = [[(row, 0.0, False)] for row in observations]
    taken: list[list[int]] = [[] for _ in range(4)]
    ended = np.zeros(4, dtype=bool)
    for step_actions in actions:
        observations, rewards, terminated, truncated, infos = envs.step(step_actions)
        assert not truncated.any()
        for i in range(4):
            if mode is AutoresetMode.NEXT_STEP and ended[i]:
                assert (rewards[i], terminated[i]) == (0, False)
                traces[i].append((observations[i], 0.0, False))
                continue
            taken[i].append(int(step_actions[i]))
            if mode is AutoresetMode.SAME_STEP and terminated[i]:
                assert infos["_final_obs"][i]
                assert infos["final_obs"].dtype == np.float32
                traces[i].append((infos["final_obs"][i], rewards[i], True))
                traces[i].append((observations[i], 0.0, False))
            else:
                traces[i].append((observations[i], rewards[i], terminated[i]))
        ended = terminated
        if mode is AutoresetMode.DISABLED and ended.any():
            observations, _ = envs.reset(options={"reset_mask": ended})
            for i in np.flatnonzero(ended):
                traces[i].append((observations[i], 0.0, False))
    for i in range(4):
        expected = single_trace(id_, 20 + i, taken[i], **options)
        if mode is AutoresetMode.NEXT_STEP and len(expected) > len(traces[i]):
            expected.pop()  # the reset that the next step would make
        assert len(expected) == len(traces[i])
        for mine, theirs in zip(traces[i], expected, strict=True):
            np.testing.assert_array_equal(mine[0], theirs[0])
            assert (mine[1], bool(mine[2])) == theirs[1:]


@pytest.mark.parametrize("id_", ENV_IDS)
def test_exact_values_and_masks_are_there(id_: str) -> None:
    env, envs = gymnasium.make(id_), gymnasium.make_vec(id_, 3)
    env.reset(seed=8)
    envs.reset(seed=8)
    actions = int(env.action_space.n)  # type: ignore[attr-defined]
    values, batched = env.unwrapped.action_values(), envs.unwrapped.action_values()  # type: ignore[attr-defined]
    assert values.shape == (actions,)
    assert values.dtype == batched.dtype == np.float32
    assert batched.shape == (3, actions)
    np.testing.assert_array_equal(batched[0], values)
    np.testing.assert_array_equal(envs.unwrapped.action_masks()[0], env.unwrapped.action_masks())  # type: ignore[attr-defined]


@pytest.mark.parametrize("id_", ENV_IDS)
def test_wrong_use_is_named(id_: str) -> None:
    env, envs = gymnasium.make(id_).unwrapped, gymnasium.make_vec(id_, 2)
    env.reset(seed=0)
    envs.reset(seed=0)
    name = task_of(id_).action_names[0]
    for action in (-1, 99, 0.5):
        with pytest.raises(ValueError, match=f"action {action} is outside Discrete.*{name}"):
            env.step(action)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"actions hold 0 to 99, outside Discrete"):
        envs.step(np.array([0, 99]))
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


# Another value for each option, however it is called: at least one thing must change.
OTHER = {int: lambda value: value + 2, float: lambda value: value + 0.25}


@pytest.mark.parametrize(
    ("id_", "option"),
    [
        (id_, option)
        for id_, (family, task) in ENV_IDS.items()
        for option in options_of(family.name, task)
    ],
)
def test_every_option_changes_something(id_: str, option: str) -> None:
    family, task = ENV_IDS[id_]
    default = options_of(family.name, task)[option]
    base: dict[str, Any] = {"think_budget": 2} if option == "think_cost" else {}
    if option == family.option:
        other = family.twins[0]
    elif option == "start":
        other = "uniform"
    elif default is None:  # the length of the ring that the serial depth asks for
        other = task_of(id_).chain.num_cells + 2
    else:
        other = OTHER[type(default)](default)

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


def test_registry_names_real_settings() -> None:
    for family in FAMILIES.values():
        assert family.serial[0] == options_of(family.name, "Bet")[family.option]
        for value in (*family.serial, *family.between, *family.twins):
            family.chain(**{family.option: value})
