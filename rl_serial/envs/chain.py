"""The contract of a chain: a deterministic process of a chosen serial depth.

A chain is a set of pure, batched rules. It knows neither rewards of a task nor Gymnasium;
:mod:`rl_serial.envs.tasks` puts a decision on top of it and :mod:`rl_serial.envs.gym` serves it.
Arrays are NumPy, torch or JAX arrays; the rules give the same bits on all of them, and where JAX
traces them (:mod:`rl_serial.envs.jax_env`). A chain that is simulated by another library may say
that it runs on NumPy arrays only (:func:`is_numpy_only`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import array_api_compat

from rl_serial.pytrees import leaves, map_leaves

Array = Any
"""A NumPy, torch or JAX array; shapes and dtypes are stated where it is used."""

MOST_SERIAL_DEPTH = 1024
"""Of a chain: what a run costs grows with its square."""
MOST_OBSERVED = 2**20
"""Numbers of an observation."""
MOST_NUMBERS = 2**31
"""Of observations that are held at once: 8 GiB of float32."""


@dataclass(frozen=True)
class TokenLayout:
    """How a flat observation folds into tokens.

    The first ``tokens * features`` numbers are the tokens, row by row; the last ``globals`` numbers
    belong to no token (the working state, a visible bit, the remaining steps as a one-hot). Tokens
    that are the cells of a board, row by row from the top, say so.
    """

    tokens: int
    features: int
    globals: int
    grid: tuple[int, int] | None = None  # rows and columns of a board, tokens in all

    @property
    def size(self) -> int:
        """Length of the flat observation."""
        return self.tokens * self.features + self.globals


class State(Protocol):
    """A frozen dataclass of arrays that share their leading dimension B."""

    @property
    def remaining(self) -> Array:
        """[B] int64: serial steps left until the chain's end."""


S = TypeVar("S")


class Chain(Protocol[S]):
    """A family of chains at fixed shapes; a frozen dataclass whose fields are its options.

    Every function is pure and batched: a row of its result depends on that row of its arguments
    alone. ``advance`` on a chain at its end returns it unchanged. What is said here is what
    :func:`rl_serial.envs.testing.check_chain` holds a chain to.
    """

    @property
    def serial_depth(self) -> int:
        """How many ``advance`` a fresh instance is from its end."""

    @property
    def num_kicks(self) -> int:
        """Number of different pushes an agent can give the chain, at least 1."""

    @property
    def layout(self) -> TokenLayout:
        """How :meth:`observe` folds into tokens."""

    @property
    def working_size(self) -> int:
        """C, the length of a row of :meth:`working`."""

    def initial(self, seeds: Array) -> S:
        """The instances drawn from ``seeds`` [B] int64, with ``serial_depth`` steps remaining."""

    def kick(self, state: S, action: Array) -> S:
        """The states after the agent's push ``action`` [B] in [0, num_kicks); none does nothing.

        As many steps remain as before.
        """

    def advance(self, state: S) -> S:
        """The states one serial step later."""

    def payoff(self, state: S) -> Array:
        """[B] float32 in [-1, 1]: what the states would pay if the chain ended here.

        Its mean over instances is zero at the chain's end.
        """

    def observe(self, state: S) -> Array:
        """[B, layout.size] float32 in [0, 1]: working state, what is ahead, remaining steps.

        What the chain has consumed is gone. The last ``serial_depth + 1`` numbers are the remaining
        steps as a one-hot.
        """

    def working(self, state: S) -> Array:
        """[B, working_size] float32 in [0, 1]: the working state as a row of cells.

        Rows of successive states make the space-time diagram of the chain.
        """

    def redraw_step(self, state: S, seeds: Array) -> S:
        """The same states with a part of what the next step reads changed; ``seeds`` [B] int64.

        The seriality certificate asks how often this changes the outcome.
        """


@runtime_checkable
class ChainWithStarts(Chain[S], Protocol[S]):
    """A chain whose instance holds many starts: an optional power of a chain.

    A start is a place from which the same rules run in the same instance: any node for the pointer,
    any point for the automaton, or any part of the working state whose fate could have been asked
    for (any cell, any disc). The state's own start is the one that it pays for. Fixed-horizon
    values are learned for all starts at once, which makes their targets dense.
    """

    @property
    def num_starts(self) -> int:
        """Starts of an instance."""

    @property
    def starts_are_tokens(self) -> bool:
        """Whether start i is token i of the observation, so that a token can carry its values."""

    def own_start(self, state: S) -> Array:
        """[B] int64 in [0, num_starts): the start that the state itself is at."""

    def start_payoffs(self, state: S) -> Array:
        """[B, num_starts] float32: what each start would pay if the chain ended here."""

    def start_successors(self, state: S) -> Array:
        """[B, num_starts] int64: the start of the state after :meth:`advance` that each leads to.

        Only for states that are not at their end.
        """

    def rewind(self, state: S) -> S:
        """The same states with as many steps remaining as what they still hold allows.

        Steps that consume nothing can be taken again: then that is ``serial_depth``.
        """


@runtime_checkable
class ChainWithWords(Chain[S], Protocol[S]):
    """A chain whose working state is small enough to be written down: an optional power of a chain.

    A word says a working state. In :class:`rl_serial.envs.write.Write` the agent writes words.
    """

    @property
    def num_words(self) -> int:
        """Different words, at least 2."""

    @property
    def word_size(self) -> int:
        """W, the length of a word as it is shown."""

    def word(self, state: S) -> Array:
        """[B] int64 in [0, num_words): the word for the working state."""

    def show_words(self, words: Array) -> Array:
        """[B, N, word_size] float32 in [0, 1]: ``words`` [B, N] as a network reads them.

        Each word differs from every other. All zero where there is none, which is -1.
        """

    def word_name(self, word: int) -> str:
        """A word for people."""


WORDS = ("num_words", "word_size", "word", "show_words", "word_name")
"""What a chain with words has beside the contract."""


@runtime_checkable
class ChainWithText(Chain[S], Protocol[S]):
    """A chain whose states can be read by people: an optional power of a chain."""

    def text(self, state: S) -> list[str]:
        """Each of B states in words, several lines."""


def is_numpy_only(chain: Chain[Any]) -> bool:
    """Whether the rules run on NumPy arrays alone, as a chain's ``numpy_only = True`` says."""
    return bool(getattr(chain, "numpy_only", False))


def has_binary_observations(chain: Chain[Any]) -> bool:
    """Whether observations are zeros and ones, which ``binary_observations = False`` denies."""
    return bool(getattr(chain, "binary_observations", True))


_NAMESPACES: dict[type, Any] = {}


def array_namespace(array: Array) -> Any:
    """The array API of ``array``: array_api_compat's answer, remembered, as each rule asks for it.

    Finding out takes microseconds, a fifth of a single environment's step.
    """
    kind = type(array)
    if kind not in _NAMESPACES:
        _NAMESPACES[kind] = array_api_compat.array_namespace(array)
    return _NAMESPACES[kind]


def device_of(array: Array) -> Any:
    """Where ``array`` is; None, wherever the program will run, while JAX traces one."""
    return getattr(array, "device", None)


def is_traced(array: Array) -> bool:
    """Whether JAX traces ``array``, so that nothing can depend on its numbers but by ``where``."""
    return device_of(array) is None


F = TypeVar("F", bound=Callable[..., Any])


def repeat(times: int, function: Callable[[Any, S], S], state: S) -> S:
    """The state after ``function`` of (i, state) for i = 0, 1, … ``times`` - 1, one after another.

    Where JAX traces it is one loop of the program: a compiler takes minutes over a chain written
    out.
    """
    if is_traced(leaves(state)[0]):
        from jax import lax

        def step(carried: tuple[Any, S]) -> tuple[Any, S]:
            return carried[0] + 1, function(*carried)

        looped: S = lax.while_loop(lambda carried: carried[0] < times, step, (0, state))[1]
        return looped
    for i in range(times):
        state = function(i, state)
    return state


def kept_table(function: F) -> F:
    """Remember what a ``function`` of (…, xp, device) gives; nothing while JAX traces.

    What is made within a trace belongs to it. Then the device is None (:func:`device_of`).
    """
    kept = lru_cache(maxsize=16)(function)

    @wraps(function)
    def table(*arguments: Any) -> Any:
        return function(*arguments) if arguments[-1] is None else kept(*arguments)

    return cast(F, table)


def one_hot(index: Array, size: int, xp: Any, dtype: Any = None) -> Array:
    """[..., size]: 1 at ``index`` [...]; all zero where the index is outside [0, size).

    ``dtype`` is float32 unless given.
    """
    places = xp.arange(size, dtype=index.dtype, device=device_of(index))
    return xp.astype(index[..., None] == places, dtype or xp.float32)


def each_place(batch: Array, places: int) -> Array:
    """[B, places] int64: 0, 1, … in each row, of the library and device of ``batch`` [B]."""
    xp = array_namespace(batch)
    row = xp.arange(places, dtype=xp.int64, device=device_of(batch))
    return xp.tile(row[None], (batch.shape[0], 1))


def count_down(remaining: Array) -> Array:
    """[B] int64: one step fewer, and never fewer than none."""
    return remaining - array_namespace(remaining).astype(remaining > 0, remaining.dtype)


def map_state(function: Callable[..., Any], *states: S) -> S:
    """The state whose every array is ``function`` of the corresponding arrays of ``states``.

    A field that is itself a state is mapped in its turn.
    """
    mapped: S = map_leaves(function, *states)
    return mapped


def select(rows: Array, yes: S, no: S) -> S:
    """The states of ``yes`` where ``rows`` [B] bool is true, those of ``no`` elsewhere.

    An array that both share, as a rule leaves what it does not change, is not copied.
    """
    xp = array_namespace(rows)

    def pick(a: Array, b: Array) -> Array:
        return a if a is b else xp.where(rows[(..., *(None,) * (a.ndim - 1))], a, b)

    return map_state(pick, yes, no)


def with_outcome(chain: Chain[S], seeds: Array, remaining: Array) -> tuple[S, Array]:
    """The instances ``seeds`` [B], ``remaining`` [B] steps from their end, and what they will pay.

    The payoffs are [B] float32.
    """
    xp = array_namespace(seeds)
    everyone_fresh = not is_traced(seeds) and bool(xp.all(remaining == chain.serial_depth))

    def further(i: Any, pair: tuple[S, S]) -> tuple[S, S]:
        shown, state = pair
        after = chain.advance(state)
        if everyone_fresh:
            return shown, after
        return select(remaining < chain.serial_depth - i, after, shown), after

    fresh = chain.initial(seeds)
    shown, state = repeat(chain.serial_depth, further, (fresh, fresh))
    return shown, chain.payoff(state)
