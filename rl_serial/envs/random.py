"""Counter-based random numbers: Threefry-2x32-20 on int32 arrays.

An instance is a pure function of one 64-bit seed, the same on every backend and device. Threefry
needs only addition, rotation and exclusive or, which int32 arithmetic gives alike on NumPy and
torch. Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from typing import Any

from rl_serial.envs.chain import Array, array_namespace, device_of, is_traced

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA

EVALUATION_SEEDS = 2**62
"""First of the 2**62 seeds that evaluation draws from; those of training lie below."""


def threefry(key: tuple[Array, Array], counter: tuple[Array, Array]) -> tuple[Array, Array]:
    """The two pseudo-random words of each (key, counter) pair.

    All four arrays are int32, have at least one axis and broadcast with each other; their bits are
    read as unsigned words.
    """
    if is_traced(counter[0]):
        return _traced_threefry(key, counter)
    keys = (*key, key[0] ^ key[1] ^ _PARITY)
    left, right = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[:4] if group % 2 == 0 else _ROTATIONS[4:]:
            left = left + right
            # The right shift of a signed word drags its sign along: the mask takes it away.
            low_bits = (right >> (32 - rotation)) & ((1 << rotation) - 1)
            right = ((right << rotation) | low_bits) ^ left
        left = left + keys[(group + 1) % 3]
        right = right + (keys[(group + 2) % 3] + (group + 1))
    return left, right


def _traced_threefry(key: tuple[Array, Array], counter: tuple[Array, Array]) -> tuple[Array, Array]:
    """JAX's own: the compiler takes minutes over twenty rounds that are written out."""
    import jax
    import jax.numpy as jnp
    from jax.extend.random import threefry2x32_p

    def bits(word: Array, kind: Any) -> Array:
        return jax.lax.bitcast_convert_type(word, kind)

    words = jnp.broadcast_arrays(*(bits(word, jnp.uint32) for word in (*key, *counter)))
    left, right = threefry2x32_p.bind(*words)
    return bits(left, jnp.int32), bits(right, jnp.int32)


def _split(seeds: Array, xp: Any) -> tuple[Array, Array]:
    """The low and the high word of int64 seeds, as int32."""
    low = ((seeds & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
    return xp.astype(low, xp.int32), xp.astype(seeds >> 32, xp.int32)


def random_words(seeds: Array, count: int, stream: int = 0) -> Array:
    """[B, count] int64 in [0, 2**32): independent uniform words for each of ``seeds`` [B] int64.

    Different ``stream`` numbers (in [0, 2**31)) give independent words for the same seed.
    """
    xp = array_namespace(seeds)
    low, high = _split(seeds[:, None], xp)
    blocks = xp.arange((count + 1) // 2, dtype=xp.int32, device=device_of(seeds))[None, :]
    first, second = threefry((low, high), (blocks, xp.full_like(blocks, stream)))
    words = xp.reshape(xp.stack([first, second], axis=2), (seeds.shape[0], -1))[:, :count]
    return xp.astype(words, xp.int64) & 0xFFFFFFFF


def below(words: Array, bound: int) -> Array:
    """Words in [0, 2**32) mapped to integers in [0, bound), uniform up to bound / 2**32."""
    return (words * bound) >> 32


def fold_in(seeds: Array, index: Array) -> Array:
    """[B] int64 in [0, 2**62): the seed of the ``index``-th [B] int64 instance of each seed."""
    xp = array_namespace(seeds)
    low, high = threefry(_split(seeds, xp), _split(index, xp))
    low, high = xp.astype(low, xp.int64), xp.astype(high, xp.int64)
    return ((high & 0x3FFFFFFF) << 32) | (low & 0xFFFFFFFF)


def episode_seeds(seed: int, count: int, xp: Any, first: int = 0) -> Array:
    """[count] int64: evaluation episodes ``first``, … of an evaluation's ``seed``."""
    return evaluation_seeds(2 * seed, count, xp, first=first)


def state_seeds(seed: int, count: int, xp: Any, first: int = 0) -> Array:
    """[count] int64: the states ``first``, … whose decisions an evaluation of ``seed`` examines.

    Others than those of its :func:`episode_seeds`.
    """
    return evaluation_seeds(2 * seed + 1, count, xp, first=first)


def evaluation_seeds(seed: int, count: int, xp: Any, first: int = 0) -> Array:
    """[count] int64: evaluation instances ``first``, … of ``seed``, as an array of ``xp``."""
    index = xp.arange(first, first + count, dtype=xp.int64)
    return EVALUATION_SEEDS + fold_in(xp.full_like(index, seed), index)
