"""PPO in JAX, for ``rl-serial bench train``: SBX, and a loop that is compiled as a whole.

The loop is in the manner of PureJaxRL (Lu et al. 2022): rollouts of the environment, advantages and
updates are one compiled function. Network, initialisation and settings are those of
Stable-Baselines3's PPO with two hidden layers of 64: n_steps 32, minibatches of 1,024, one epoch.

A process of its own, which needs ``sbx`` (for that contender), JAX and this package: a line of JSON
``[contender, id, num_envs, timesteps]`` asks for timesteps a second, a line answers.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

N_STEPS, BATCH_SIZE, HIDDEN = 32, 1024, 64
GAMMA, GAE_LAMBDA, CLIP, VALUE_SHARE, MAX_GRAD_NORM = 0.99, 0.95, 0.2, 0.5, 0.5
LEARNING_RATE, BETAS, EPSILON = 3e-4, (0.9, 0.999), 1e-5

Train = Callable[[int], object]


class Steps(NamedTuple):
    """A rollout: [N_STEPS, num_envs, …] each."""

    observation: jax.Array
    action: jax.Array
    log_probability: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array


def multilayer(key: jax.Array, inputs: int, outputs: int, last_scale: float) -> Any:
    """Weights and biases of two hidden layers and a head, orthogonal as in Stable-Baselines3."""
    sizes, scales = (inputs, HIDDEN, HIDDEN, outputs), (2**0.5, 2**0.5, last_scale)
    made = []
    for own, scale, rows, columns in zip(
        jax.random.split(key, 3), scales, sizes, sizes[1:], strict=False
    ):
        weight = jax.nn.initializers.orthogonal(scale)(own, (rows, columns))
        made.append((weight, jnp.zeros(columns)))
    return made


def run_layers(layers: Any, x: jax.Array) -> jax.Array:
    """tanh between the layers."""
    for weight, bias in layers[:-1]:
        x = jnp.tanh(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def loss(parameters: Any, part: Steps, advantage: jax.Array, returns: jax.Array) -> jax.Array:
    """PPO's, clipped (Schulman et al. 2017, arXiv 1707.06347), on a minibatch."""
    every = jax.nn.log_softmax(run_layers(parameters["actor"], part.observation))
    log_probability = jnp.take_along_axis(every, part.action[:, None], axis=1)[:, 0]
    value = run_layers(parameters["critic"], part.observation)[:, 0]
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    ratio = jnp.exp(log_probability - part.log_probability)
    surrogate = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage)
    return VALUE_SHARE * jnp.square(value - returns).mean() - surrogate.mean()


def adam(parameters: Any, gradients: Any, state: Any) -> tuple[Any, Any]:
    """A step of Adam after the gradients' norm is bounded."""
    count, first, second = state
    norm = jnp.sqrt(sum(jnp.square(g).sum() for g in jax.tree.leaves(gradients)))
    share = jnp.minimum(1.0, MAX_GRAD_NORM / (norm + 1e-6))
    gradients = jax.tree.map(lambda g: g * share, gradients)
    count = count + 1
    (a, b) = BETAS
    first = jax.tree.map(lambda m, g: a * m + (1 - a) * g, first, gradients)
    second = jax.tree.map(lambda v, g: b * v + (1 - b) * g * g, second, gradients)
    size = LEARNING_RATE * jnp.sqrt(1 - b**count) / (1 - a**count)
    epsilon = EPSILON * jnp.sqrt(1 - b**count)
    parameters = jax.tree.map(
        lambda p, m, v: p - size * m / (jnp.sqrt(v) + epsilon), parameters, first, second
    )
    return parameters, (count, first, second)


def advantages(steps: Steps, last: jax.Array) -> jax.Array:
    """Generalised advantage estimates (Schulman et al. 2016), [N_STEPS, num_envs]."""

    def back(carried: tuple[jax.Array, jax.Array], step: Steps) -> tuple[Any, jax.Array]:
        following, value = carried
        goes_on = 1.0 - step.done
        delta = step.reward + GAMMA * goes_on * value - step.value
        advantage = delta + GAMMA * GAE_LAMBDA * goes_on * following
        return (advantage, step.value), advantage

    return jax.lax.scan(back, (jnp.zeros_like(last), last), steps, reverse=True)[1]


def compiled_loop(id_: str, num_envs: int) -> Train:
    """PPO on the package's own rules in JAX."""
    from rl_serial.envs import jax_env

    env, params = jax_env.make(id_)
    reset = jax.vmap(env.reset, in_axes=(0, None))
    step_all = jax.vmap(env.step, in_axes=(0, 0, 0, None))
    minibatches = N_STEPS * num_envs // BATCH_SIZE

    def play(carried: Any, key: jax.Array) -> tuple[Any, Steps]:
        parameters, observation, state = carried
        choice, *keys = jax.random.split(key, num_envs + 1)
        logits = run_layers(parameters["actor"], observation)
        action = jax.random.categorical(choice, logits)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], axis=1)[:, 0]
        value = run_layers(parameters["critic"], observation)[:, 0]
        after, state, reward, done, _ = step_all(jnp.stack(keys), state, action, params)
        seen = Steps(observation, action, chosen, value, reward, done.astype(jnp.float32))
        return (parameters, after, state), seen

    def learn(carried: Any, part: Any) -> tuple[Any, None]:
        parameters, state = carried
        gradients = jax.grad(loss)(parameters, *part)
        return adam(parameters, gradients, state), None

    def update(carried: Any, key: jax.Array) -> tuple[Any, None]:
        parameters, adam_state, observation, state = carried
        playing, shuffling = jax.random.split(key)
        keys = jax.random.split(playing, N_STEPS)
        (_, observation, state), steps = jax.lax.scan(play, (parameters, observation, state), keys)
        advantage = advantages(steps, run_layers(parameters["critic"], observation)[:, 0])
        lesson = (steps, advantage, advantage + steps.value)
        order = jax.random.permutation(shuffling, N_STEPS * num_envs)
        parts = jax.tree.map(
            lambda a: a.reshape(-1, *a.shape[2:])[order].reshape(minibatches, -1, *a.shape[2:]),
            lesson,
        )
        (parameters, adam_state), _ = jax.lax.scan(learn, (parameters, adam_state), parts)
        return (parameters, adam_state, observation, state), None

    @jax.jit
    def train(keys: jax.Array) -> Any:
        first, second, third = jax.random.split(keys[0], 3)
        inputs = env.observation_space(params).shape[0]
        parameters = {
            "actor": multilayer(first, inputs, env.num_actions, 0.01),
            "critic": multilayer(second, inputs, 1, 1.0),
        }
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        begun = reset(jax.random.split(third, num_envs), params)
        start = (parameters, (jnp.zeros(()), zeros, zeros), *begun)
        return jax.lax.scan(update, start, keys[1:])[0][0]

    def run(timesteps: int) -> object:
        updates = timesteps // (N_STEPS * num_envs)
        return jax.block_until_ready(train(jax.random.split(jax.random.key(0), updates + 1)))

    return run


def sbx(id_: str, num_envs: int) -> Train:
    """PPO of SBX on the environments that its users make."""
    from sbx import PPO
    from stable_baselines3.common.env_util import make_vec_env

    import rl_serial  # noqa: F401 - registers the environments

    model = PPO(
        "MlpPolicy",
        make_vec_env(id_, num_envs),
        n_steps=N_STEPS,
        batch_size=BATCH_SIZE,
        n_epochs=1,
        seed=0,
    )
    return model.learn


def sbx_native(id_: str, num_envs: int) -> Train:
    """The same on this package's batched environment."""
    import gymnasium
    from sbx import PPO

    from rl_serial.agents.sb3 import SerialVecEnv

    env = SerialVecEnv(gymnasium.make_vec(id_, num_envs).unwrapped)  # type: ignore[arg-type]
    model = PPO("MlpPolicy", env, n_steps=N_STEPS, batch_size=BATCH_SIZE, n_epochs=1, seed=0)
    return model.learn


CONTENDERS: dict[str, Callable[[str, int], Train]] = {
    "compiled": compiled_loop,
    "sbx": sbx,
    "sbx native": sbx_native,
}


def main() -> None:
    """Answer until nobody asks."""
    answers, sys.stdout = sys.stdout, sys.stderr
    made: dict[str, Train] = {}
    for line in sys.stdin:
        contender, id_, num_envs, timesteps = json.loads(line)
        key = json.dumps([contender, id_, num_envs])
        if key not in made:
            made[key] = CONTENDERS[contender](id_, num_envs)
            made[key](timesteps)  # compiles
        started = time.perf_counter()
        made[key](timesteps)
        print(timesteps / (time.perf_counter() - started), file=answers, flush=True)


if __name__ == "__main__":
    main()
