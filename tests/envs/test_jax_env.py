"""The rules under JAX, jitted and mapped, against the same rules on NumPy (needs the extra jax)."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from rl_serial.envs.registry import ENV_IDS, Family, task_of
from rl_serial.envs.tasks import Task, num_actions
from rl_serial.pytrees import leaves

pytestmark = pytest.mark.peers

BATCH = 32
DEPTH = 4
OPTIONS: dict[str, dict[str, Any]] = {"Bet": {"start": "uniform"}, "Steer": {"decisions": 2}}


def options_of(family: Family, task: str) -> dict[str, Any]:
    sizes = family.sizes(DEPTH) if family.sizes else {}
    return {"serial_depth": DEPTH, **sizes, **OPTIONS.get(task, {})}


def tasks() -> list[Any]:
    """Every task of the package's own families, in the serial setting and the main twin."""
    found = []
    for id_, (family, task) in ENV_IDS.items():
        if family.is_own and not getattr(family.chain, "numpy_only", False):
            for setting in (family.serial[0], family.twins[0]):
                options = options_of(family, task) | {family.option: setting}
                found.append(pytest.param(id_, options, id=f"{id_}-{setting}"))
    return found


def numbers(state: Any) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(leaf) for leaf in leaves(state)]


@pytest.mark.parametrize(("id_", "options"), tasks())
def test_rules_under_jit_and_vmap_are_those_of_numpy(id_: str, options: dict[str, Any]) -> None:
    import jax
    import jax.numpy as jnp

    from rl_serial.envs import jax_env

    env, _ = jax_env.make(id_, **options)
    task: Task[Any] = task_of(id_, **options)
    words = np.random.default_rng(0).integers(0, 2**32, (2, BATCH), dtype=np.uint32)
    words[0] >>= 2
    reset = jax.jit(jax.vmap(env.reset_to))
    step = jax.jit(jax.vmap(env.step_env, in_axes=(None, 0, 0)))
    values = jax.jit(jax.vmap(env.action_values))

    mine = task.initial((words[0].astype(np.int64) << 32) | words[1].astype(np.int64))
    observations, theirs = reset(jnp.asarray(words[0]), jnp.asarray(words[1]))
    draws = np.random.default_rng(1)
    for _ in range(DEPTH + 1):
        np.testing.assert_array_equal(observations, task.observe(mine))
        for here, there in zip(numbers(mine), numbers(theirs), strict=True):
            np.testing.assert_array_equal(there, here)
        np.testing.assert_array_equal(values(theirs), task.action_values(mine))
        actions = draws.integers(0, num_actions(task), BATCH)
        transition = task.step(mine, actions)
        observations, theirs, reward, done, info = step(
            jax.random.key(0), theirs, jnp.asarray(actions)
        )
        mine = transition.state
        np.testing.assert_array_equal(reward, transition.reward)
        np.testing.assert_array_equal(done, transition.terminated)
        np.testing.assert_array_equal(info["action_mask"], task.legal_actions(mine))
        assert {leaf.dtype.itemsize for leaf in jax.tree.leaves(theirs)} <= {1, 2, 4}


def test_step_begins_a_fresh_episode_where_one_ended() -> None:
    import jax
    import jax.numpy as jnp

    from rl_serial.envs import jax_env

    env, params = jax_env.make("rl_serial/PointerChaseSteer-v0", serial_depth=3, decisions=1)

    def play(carried: Any, key: Any) -> Any:
        observation, state = carried
        observation, state, reward, done, info = env.step(key, state, jnp.int32(0), params)
        return (observation, state), (env.remaining(state), reward, done, info["action_mask"])

    keys = jax.random.split(jax.random.key(1), 600)
    _, (left, rewards, done, masks) = jax.jit(lambda k: jax.lax.scan(play, env.reset(k[0]), k))(
        keys
    )
    assert left[:6].tolist() == [2, 1, 3, 2, 1, 3]
    assert done[:6].tolist() == [False, False, True] * 2
    assert set(np.unique(rewards)) == {-1.0, 0.0, 1.0}
    assert abs(float(rewards.mean())) < 0.1  # the payoff is fair
    assert masks[0].tolist() == [True, False, False, False]
    assert masks[2].tolist() == [True] * 4


def test_a_simulation_is_refused() -> None:
    pytest.importorskip("mujoco")
    from rl_serial.envs import jax_env

    with pytest.raises(ValueError, match="which JAX cannot trace"):
        jax_env.make("rl_serial/ManyBodyBet-v0")


def test_spaces_are_those_of_gymnasium() -> None:
    from rl_serial.envs import jax_env

    env, params = jax_env.make("rl_serial/CircuitBet-v0")
    there = gymnasium.make("rl_serial/CircuitBet-v0")
    assert env.action_space(params) == there.action_space
    assert env.observation_space(params) == there.observation_space
