"""Returns of plans and targets of values, as pure functions of what was rolled out or played."""

from __future__ import annotations

import numpy as np

from rl_serial.envs.control import Bools, Floats


def plan_returns(
    rewards: Floats, terminated: Bools, failed: Bools, discount: float, terminal: Floats | None
) -> Floats:
    """[B, N]: Σ_t γ^t r_t + γ^H V of plans, V only where the episode goes on; −inf where failed.

    Args:
        rewards: [B, N, H], 0 after an end.
        terminated: [B, N, H] from the step that ended the episode on.
        failed: [B, N].
        discount: γ.
        terminal: [B, N] V of the last states, or None: 0.
    """
    horizon = rewards.shape[2]
    total = rewards @ discount ** np.arange(horizon)
    if terminal is not None:
        total = total + np.where(terminated[..., -1], 0.0, discount**horizon * terminal)
    return np.where(failed, -np.inf, total)


def lambda_returns(
    rewards: Floats,
    next_values: Floats,
    terminated: Bools,
    last: Bools,
    discount: float,
    trace: float,
) -> Floats:
    """[T]: targets for the values of T consecutive steps of episodes (TD(λ); Sutton 1988).

    G_t = r_t + γ ((1 − λ) V_{t+1} + λ G_{t+1}), with V_{t+1} for G_{t+1} at the last step of an
    episode that was cut off, and nothing after r_t at one that has ended.

    Args:
        rewards: [T].
        next_values: [T] V of the state that each step led to.
        terminated: [T] whether it ended the episode.
        last: [T] whether the next row belongs to another episode.
        discount: γ.
        trace: λ; 0 gives TD(0), 1 Monte-Carlo returns.
    """
    found = np.empty_like(rewards)
    following = 0.0
    for step in range(rewards.size - 1, -1, -1):
        value = next_values[step]
        if last[step] or step == rewards.size - 1:
            following = value
        ahead = 0.0 if terminated[step] else (1 - trace) * value + trace * following
        following = found[step] = rewards[step] + discount * ahead
    return found
