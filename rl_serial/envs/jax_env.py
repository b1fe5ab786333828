"""Chains as functional environments of JAX, in the form of gymnax (Lange 2022).

The rules are those of :mod:`rl_serial.envs.chains` and :mod:`rl_serial.envs.tasks`, traced by JAX:
an instance has the same bits as on NumPy and torch. Everything works under ``jit``, ``vmap`` and
``scan``, on any device, and on single states as gymnax has them::

    env, params = jax_env.make("rl_serial/PointerChaseBet-v0", serial_depth=8)
    observation, state = env.reset(key, params)
    observation, state, reward, done, info = env.step(key, state, action, params)

Needs the extra ``jax``. 64-bit integers are switched on within the rules alone, and nothing that
comes out of them has 64 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from rl_serial.envs.chain import is_numpy_only, map_state
from rl_serial.envs.registry import task_of
from rl_serial.envs.tasks import Task, num_actions


@dataclass(frozen=True)
class EnvParams:
    """None: what gymnax has here are options of :func:`make`, as they decide shapes."""


def make(env_id: str, **options: Any) -> tuple[JaxEnv, EnvParams]:
    """The environment of a Gymnasium id, with the keywords of ``gymnasium.make``.

    Raises:
        UserError: no such id, or an option that it has not.
        ValueError: a chain whose rules run on NumPy alone.
    """
    env = JaxEnv(task_of(env_id, **options), env_id)
    return env, env.default_params


class JaxEnv:
    """A task as pure functions of single states.

    Args:
        task: the rules.
        name: of the environment.

    Raises:
        ValueError: its rules run on NumPy alone.
    """

    def __init__(self, task: Task[Any], name: str = "") -> None:
        if is_numpy_only(task.chain):
            raise ValueError(f"{name or task}: its rules are a simulation, which JAX cannot trace")
        self.task, self.name = task, name
        self.num_actions = num_actions(task)
        self._like = task.initial(np.zeros(1, dtype=np.int64))
        _register(self._like)

    @property
    def default_params(self) -> EnvParams:
        """There are none."""
        return EnvParams()

    def action_space(self, params: EnvParams | None = None) -> spaces.Discrete:
        """The actions."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: EnvParams | None = None) -> spaces.Box:
        """Observations [layout.size] float32 in [0, 1]."""
        return spaces.Box(0.0, 1.0, (self.task.layout.size,), np.float32)

    def reset(self, key: jax.Array, params: EnvParams | None = None) -> tuple[jax.Array, Any]:
        """The observation [layout.size] float32 and state of a fresh episode, drawn from a key."""
        with jax.enable_x64(True):
            return self.reset_to(*_words(key))

    def reset_to(self, high: jax.Array, low: jax.Array) -> tuple[jax.Array, Any]:
        """The same of the instance whose 64-bit seed has the words ``high`` and ``low``, uint32."""
        with jax.enable_x64(True):
            seeds = (high.astype(jnp.int64) << 32) | low.astype(jnp.int64)
            state = self.task.initial(seeds[None])
            return self.task.observe(state)[0], _single(state)

    def step(
        self,
        key: jax.Array,
        state: Any,
        action: jax.Array,
        params: EnvParams | None = None,
    ) -> tuple[jax.Array, Any, jax.Array, jax.Array, dict[str, jax.Array]]:
        """A step, and a fresh episode from ``key`` where it ended one.

        Returns:
            Observation and state (of the fresh episode where ``done``), reward (float32), done
            (bool), and ``info``: ``action_mask`` [num_actions] bool of that state, ``discount``
            (float32), 0 where an episode ended, else 1.
        """
        ended = self.step_env(key, state, action, params)
        fresh = self.reset(key, params)
        done = ended[3]
        observation, after = jax.tree.map(
            lambda new, old: jnp.where(done, new, old), fresh, ended[:2]
        )
        info = ended[4] | {"action_mask": self.legal_actions(after)}
        return observation, after, ended[2], done, info

    def step_env(
        self,
        key: jax.Array,
        state: Any,
        action: jax.Array,
        params: EnvParams | None = None,
    ) -> tuple[jax.Array, Any, jax.Array, jax.Array, dict[str, jax.Array]]:
        """A step without the fresh episode; the rules are deterministic, so no key is needed."""
        with jax.enable_x64(True):
            transition = self.task.step(self._batch(state), jnp.asarray(action, jnp.int64)[None])
            observation = self.task.observe(transition.state)[0]
            legal = self.task.legal_actions(transition.state)[0]
            done = transition.terminated[0]
            info = {"discount": 1 - done.astype(jnp.float32), "action_mask": legal}
            reward = transition.reward[0].astype(jnp.float32)
            return observation, _single(transition.state), reward, done, info

    def legal_actions(self, state: Any) -> jax.Array:
        """[num_actions] bool; an action that is not legal counts as action 0."""
        with jax.enable_x64(True):
            legal: jax.Array = self.task.legal_actions(self._batch(state))[0]
            return legal

    def action_values(self, state: Any) -> jax.Array:
        """[num_actions] float32: the exact optimal action values Q*."""
        with jax.enable_x64(True):
            values: jax.Array = self.task.action_values(self._batch(state))[0]
            return values.astype(jnp.float32)

    def remaining(self, state: Any) -> jax.Array:
        """Serial steps until the chain's end, int32."""
        with jax.enable_x64(True):
            return self.task.remaining(self._batch(state))[0].astype(jnp.int32)

    def _batch(self, state: Any) -> Any:
        """A state as the rules have it: B = 1, integers of the size that they count in."""
        return map_state(lambda a, like: a.astype(like.dtype)[None], state, self._like)


def _words(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The two words of a seed in [0, 2**62), those of training."""
    words = jax.random.bits(key, (2,), jnp.uint32)
    return words[0] >> 2, words[1]


def _single(state: Any) -> Any:
    """A state as JAX has it: without B, no 64 bits."""
    return map_state(lambda a: (a.astype(jnp.int32) if a.dtype == jnp.int64 else a)[0], state)


_REGISTERED: set[type] = set()


def _register(state: Any) -> None:
    """Let JAX see into states of these classes."""
    if not is_dataclass(state):
        return
    kind = type(state)
    names = [field.name for field in fields(state)]
    if kind not in _REGISTERED:
        jax.tree_util.register_dataclass(kind, names, [])
        _REGISTERED.add(kind)
    for name in names:
        _register(getattr(state, name))
