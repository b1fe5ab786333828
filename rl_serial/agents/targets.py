"""Targets of fixed-horizon values, for every start that an instance holds.

V_k(start) is what the start pays k steps later if nobody touches the chain. V_1 is a payoff in
view, V_k of a start is V_(k-1) of its successor, and no horizon leans on itself (De Asis, Chan,
Pitis, Sutton, Graves 2020, *Fixed-Horizon Temporal Difference Methods*, arXiv 1909.03906). All
starts and horizons of an instance are targets at once, so the short horizons, which are easy, show
the way to the long ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rl_serial.envs.chain import Array, ChainWithStarts, array_namespace, each_place
from rl_serial.envs.shortcuts import TIE
from rl_serial.envs.tasks import Task


def held_horizons(chain: ChainWithStarts[Any], state: Any) -> Array:
    """[B, 1, serial_depth] bool: which horizons 1, 2, … the states still hold."""
    steps = each_place(state.remaining, chain.serial_depth)
    return (steps < chain.rewind(state).remaining[:, None])[:, None, :]


def horizon_returns(chain: ChainWithStarts[Any], state: Any) -> Array:
    """[B, starts, serial_depth] float32: exact V_k of every start by the chain's own rules.

    Horizons that a state does not hold (:func:`held_horizons`) say nothing.
    """
    xp = array_namespace(state.remaining)
    state = chain.rewind(state)
    place = each_place(state.remaining, chain.num_starts)  # where each start has come to
    payoffs = []
    for _ in range(chain.serial_depth):
        place = xp.take_along_axis(chain.start_successors(state), place, axis=1)
        state = chain.advance(state)
        payoffs.append(xp.take_along_axis(chain.start_payoffs(state), place, axis=1))
    return xp.stack(payoffs, axis=2)


def horizon_bootstraps(task: Task[Any], state: Any, values: Callable[[Array], Array]) -> Array:
    """[B, starts, serial_depth] float32: TD(0) targets, V_k from V_(k-1) one step later.

    Args:
        task: on a chain with starts.
        state: B rows of the task.
        values: observations [N, size] to fixed-horizon values [N, starts, serial_depth].
    """
    chain = starts_of(task)
    here = chain.rewind(task.chain_state(state))
    after = chain.advance(here)
    xp = array_namespace(here.remaining)
    successors = chain.start_successors(here)
    first = xp.take_along_axis(chain.start_payoffs(after), successors, axis=1)[:, :, None]
    if chain.serial_depth == 1:
        return first
    shorter = values(task.observe(task.with_chain(state, after)))[:, :, :-1]
    index = xp.broadcast_to(successors[:, :, None], shorter.shape)
    return xp.concat([first, xp.take_along_axis(shorter, index, axis=1)], axis=2)


def bet_shares(payoffs: Array) -> Array:
    """The probability of BET in the optimal policy of Bet, of ``payoffs`` of any shape, float32.

    PASS is worth 0 and BET the payoff; where they are equal, each has half.
    """
    xp = array_namespace(payoffs)
    return xp.where(abs(payoffs) <= TIE, 0.5, xp.astype(payoffs > 0, xp.float32))


def of_own_start(chain: ChainWithStarts[Any], state: Any, outputs: Array) -> Array:
    """[B]: what ``outputs`` [B, starts, serial_depth] say of each state's own start and remaining.

    Of a state at its end they say what they say of one step before.
    """
    xp = array_namespace(outputs)
    horizon = xp.clip(state.remaining - 1, 0, None)
    index = chain.own_start(state) * chain.serial_depth + horizon
    flat = xp.reshape(outputs, (outputs.shape[0], -1))
    return xp.take_along_axis(flat, index[:, None], axis=1)[:, 0]


def starts_of(task: Task[Any]) -> ChainWithStarts[Any]:
    """The task's chain, which holds starts.

    Raises:
        ValueError: it does not.
    """
    if not isinstance(task.chain, ChainWithStarts):
        raise ValueError(
            f"{type(task.chain).__name__} does not say which starts its instances hold; "
            "fixed-horizon targets need a chain that does"
        )
    return task.chain
