"""Planning in continuous actions by sampling: the cross-entropy method and MPPI, batched.

Both improve a plan [B, H, A] of B independent problems by rolling N action sequences out in a model
and averaging the good ones; they know neither environments nor networks. The model is a function
from states and action sequences to returns, so discount, terminal value and ends of episodes are
its own affair. Rollouts of one iteration are parallel, the steps of a rollout and the iterations
are not: horizon × iterations is the serial computation that a plan costs, and every result says it.

Sources: Rubinstein 1999 and de Boer, Kroese, Mannor, Rubinstein 2005, *A tutorial on the
cross-entropy method* (elites, smoothed updates); Kroese, Porotsky, Rubinstein 2006, *The
cross-entropy method for continuous multi-extremal optimization* (normal distributions); Williams
et al. 2017, *Information theoretic MPC for model-based reinforcement learning* (MPPI); Pinneri
et al. 2020, *Sample-efficient cross-entropy method for real-time planning* (iCEM: coloured noise,
kept elites, the mean as a sample, playing the best); Hansen, Wang, Su 2022, *Temporal difference
learning for model predictive control* (TD-MPC: weighted elites, proposals of a policy, a terminal
value); Timmer and König 1995, *On generating power law noise*; Rousseeuw and Croux 1993,
*Alternatives to the median absolute deviation* (spreads that half of the sample may not break).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rl_serial.errors import require

Floats = NDArray[np.float64]
LARGEST = np.finfo(np.float64).max

RolloutFn = Callable[[Any, Floats], Floats]
"""(state, actions [B, N, H, A]) → returns [B, N]: rewards over the horizon, and what follows it.

The state is passed through as it is. −inf marks a rollout that cannot be used, such as one in which
a simulator diverged: it has no weight. NaN and +inf are errors.
"""


@dataclass(frozen=True)
class SerialAccounts:
    """What planning has cost, in steps of the model."""

    critical_path: int = 0  # steps that had to follow one another: horizon × iterations
    model_steps: int = 0  # steps of all rollouts: B × samples × horizon × iterations

    def __add__(self, other: SerialAccounts) -> SerialAccounts:
        """One after the other."""
        return SerialAccounts(
            self.critical_path + other.critical_path, self.model_steps + other.model_steps
        )


@dataclass(frozen=True)
class CEM:
    """Settings of :func:`cem`. The defaults are plain cross-entropy with iCEM's last-step mean.

    Args:
        samples: N, action sequences an iteration, at least 2.
        iterations: how often the distribution is fitted, at least 1.
        elites: how many of the best it is fitted to, from 1 to ``samples``.
        std: of the first distribution, in units of the actions, positive.
        min_std: the standard deviation never falls below it, 0 or more; 0 lets it vanish.
        momentum: weight in [0, 1) of the old mean and standard deviation in the new ones.
        noise_exponent: β ≥ 0 of the noise along the horizon, see :func:`coloured_noise`.
        keep: elites of an iteration that are samples of the next one too, from 0 to ``elites``.
        mean_sample: whether one sample of the last iteration is the mean itself.
        temperature: elites weigh exp(return / temperature), positive; infinite: all the same.
        play: the first action of the last ``mean``, or of the ``best`` sequence of all iterations.

    Raises:
        ValueError: a setting out of its range; the message names it.
    """

    samples: int = 64
    iterations: int = 4
    elites: int = 8
    std: float = 0.5
    min_std: float = 0.05
    momentum: float = 0.1
    noise_exponent: float = 0.0
    keep: int = 0
    mean_sample: bool = True
    temperature: float = math.inf
    play: Literal["mean", "best"] = "mean"

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        require(self.samples >= 2, "samples", self.samples, "2 or more")
        require(self.iterations >= 1, "iterations", self.iterations, "1 or more")
        of = f"from 1 to samples = {self.samples}"
        require(1 <= self.elites <= self.samples, "elites", self.elites, of)
        require(0 < self.std < math.inf, "std", self.std, "positive")
        require(0 <= self.min_std < math.inf, "min_std", self.min_std, "0 or more")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "in [0, 1)")
        beta = self.noise_exponent
        require(0 <= beta < math.inf, "noise_exponent", beta, "0 or more")
        most = min(self.elites, self.samples - 1)
        require(0 <= self.keep <= most, "keep", self.keep, f"from 0 to {most}")
        require(self.temperature > 0, "temperature", self.temperature, "positive")
        require(self.play in ("mean", "best"), "play", self.play, "'mean' or 'best'")


@dataclass(frozen=True)
class MPPI:
    """Settings of :func:`mppi`.

    Args:
        samples: N, action sequences an iteration, at least 2.
        iterations: how often the plan is improved, at least 1.
        std: of the noise on every action, in units of the actions, positive; Σ = std² I.
        temperature: λ, positive: sequences weigh exp(return / λ). Small: the best alone.
        relative: whether λ is in units of the spread of a problem's returns in this iteration, so
            that scaling the rewards changes nothing: the root of twice
            the mean square excess over the median. It is the standard deviation of symmetric
            returns, and no penalty on fewer than half of the samples, however large, widens it.
        control_cost: share in [0, 1] of the cost λ uᵀ Σ⁻¹ ε that Williams et al. add to a sequence
            (their 1 − α). With 1 the result is as if all noise had been around the plan 0, with 0
            around the plan itself.
        noise_exponent: β ≥ 0 of the noise along the horizon, see :func:`coloured_noise`.

    Raises:
        ValueError: a setting out of its range; the message names it. Coloured noise has another Σ,
            so it goes without ``control_cost``.
    """

    samples: int = 64
    iterations: int = 1
    std: float = 0.5
    temperature: float = 0.3
    relative: bool = True
    control_cost: float = 0.0
    noise_exponent: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        require(self.samples >= 2, "samples", self.samples, "2 or more")
        require(self.iterations >= 1, "iterations", self.iterations, "1 or more")
        require(0 < self.std < math.inf, "std", self.std, "positive")
        finite = 0 < self.temperature < math.inf
        require(finite, "temperature", self.temperature, "positive and finite")
        cost, beta = self.control_cost, self.noise_exponent
        require(0 <= cost <= 1, "control_cost", cost, "in [0, 1]")
        require(0 <= beta < math.inf, "noise_exponent", beta, "0 or more")
        require(beta == 0 or cost == 0, "noise_exponent", beta, "0 with a control_cost")


Settings = CEM | MPPI


@dataclass(frozen=True)
class ControlOutput:
    """What planning found for each of B problems."""

    action: Floats  # [B, A] to be played now, inside the bounds
    plan: Floats  # [B, H, A] the mean of the last distribution; the next plan's start, shifted
    std: Floats  # [B, H, A] of the last distribution; MPPI's stays what it was
    elites: Floats  # [B, E, H, A] the last iteration's best, best first; E = 1 for MPPI
    best_return: Floats  # [B] the largest of all iterations
    returns: Floats  # [B, iterations, N] everything the model said
    weights: Floats  # [B, N] of the last iteration's sequences; a row sums to one
    accounts: SerialAccounts

    @property
    def effective_samples(self) -> Floats:
        """[B]: 1 / Σ weights², from 1 (one sequence counts) to N (all count alike)."""
        return np.asarray(1 / np.sum(self.weights**2, axis=1))


def first_plan(batch: int, horizon: int, low: ArrayLike, high: ArrayLike) -> Floats:
    """[batch, horizon, A]: the middle of the bounds [A], and 0 in a direction without bounds.

    Raises:
        ValueError: bounds that are none, or no room for a plan.
    """
    lows, highs = _bounds(low, high)
    if batch < 1 or horizon < 1:
        raise ValueError(f"a plan needs batch ≥ 1 and horizon ≥ 1, not {batch} and {horizon}")
    with np.errstate(invalid="ignore"):
        middle = np.where(np.isfinite(lows) & np.isfinite(highs), (lows + highs) / 2, 0.0)
    middle = np.clip(middle, lows, highs)
    return np.tile(middle, (batch, horizon, 1))


def shift(plan: Floats, last: ArrayLike | None = None) -> Floats:
    """A plan [..., H, A] one step later: what has been played goes, ``last`` [A] comes at the end.

    Without ``last`` the last action is repeated, as in TD-MPC and iCEM; Williams et al. append a
    constant. The warm start of receding-horizon control.
    """
    end = plan[..., -1:, :] if last is None else np.broadcast_to(last, plan[..., -1:, :].shape)
    return np.concatenate([plan[..., 1:, :], end], axis=-2)


def coloured_noise(
    generator: np.random.Generator, shape: tuple[int, ...], exponent: float
) -> Floats:
    """Normal numbers [..., H, A] of variance 1 whose power along H falls as 1 / frequency^exponent.

    Exponent 0 is white noise, 1 pink, 2 red: what is larger moves more slowly and reaches further.
    Fourier coefficients are drawn (Timmer and König 1995); the constant one has the power of the
    lowest frequency. The periodic ends of a horizon are thus correlated.

    Args:
        generator: where the numbers come from.
        shape: [..., H, A].
        exponent: β, 0 or more.
    """
    horizon = shape[-2]
    if exponent == 0 or horizon == 1:
        return generator.standard_normal(shape)
    frequency = np.fft.rfftfreq(horizon)
    frequency[0] = frequency[1]
    amplitude = frequency ** (-exponent / 2)
    draws = generator.standard_normal((*shape[:-2], 2, amplitude.size, shape[-1]))
    real, imaginary = draws[..., 0, :, :], draws[..., 1, :, :]
    # The constant term, and for even H the highest, are real and have the power of both parts.
    alone = [0, -1] if horizon % 2 == 0 else [0]
    real[..., alone, :] *= math.sqrt(2)
    imaginary[..., alone, :] = 0
    noise = np.fft.irfft((real + 1j * imaginary) * amplitude[:, None], n=horizon, axis=-2)
    share = np.full(amplitude.size, 4.0)
    share[alone] = 2.0
    return np.asarray(noise * (horizon / math.sqrt(np.sum(share * amplitude**2))))


def cem(
    rollout: RolloutFn,
    state: Any,
    plan: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    settings: CEM,
    generator: np.random.Generator,
    candidates: ArrayLike | None = None,
) -> ControlOutput:
    """The cross-entropy method: fit a normal distribution to the best of its samples, repeatedly.

    x_i = clip(μ + σ ε_i); with w the weights of the elites, m = Σ w x and s² = Σ w (x − m)², the
    maximum-likelihood fit; μ ← momentum · μ + (1 − momentum) · m, and σ likewise, at least
    ``min_std`` (Kroese et al. 2006; smoothing as in de Boer et al. 2005, here of the standard
    deviation). The weights are equal, or the softmax of returns / temperature (TD-MPC). Of equal
    returns the earlier sample comes first.

    Args:
        rollout: the model.
        state: of the B problems, as the model takes it.
        plan: [B, H, A] the first mean, inside the bounds.
        low: [A] least actions; −inf: none.
        high: [A] greatest actions.
        settings: see :class:`CEM`.
        generator: all noise is drawn first, problem after problem, so that neither the other
            problems nor how many follow changes the noise of one.
        candidates: [B, M, H, A] sequences that take the place of the first M samples of the first
            iteration, clipped to the bounds: the last plan's elites, or a policy's proposals.

    Raises:
        ValueError: shapes that do not match, a plan outside the bounds, a return that is NaN or
            +inf, a problem all of whose rollouts are −inf; the message names it.
    """
    mean, lows, highs = _start(plan, low, high)
    noise = _noise(generator, mean, settings)
    tried = _candidates(candidates, mean, settings.samples)
    batch, horizon, _ = mean.shape
    rows = np.arange(batch)
    std = np.full_like(mean, settings.std)
    best_plan, best_return = mean.copy(), np.full(batch, -np.inf)
    kept = mean[:, None][:, :0]
    returns = np.empty((batch, settings.iterations, settings.samples))
    for iteration in range(settings.iterations):
        samples = mean[:, None] + std[:, None] * noise[:, iteration]
        if iteration == 0:
            samples[:, : tried.shape[1]] = tried
        samples[:, : kept.shape[1]] = kept
        if settings.mean_sample and iteration == settings.iterations - 1:
            samples[:, -1] = mean
        samples = np.clip(samples, lows, highs)
        found = returns[:, iteration] = _returns(rollout, state, samples)
        order = np.argsort(-found, axis=1, kind="stable")[:, : settings.elites]
        elites, gains = samples[rows[:, None], order], found[rows[:, None], order]
        better = gains[:, 0] > best_return
        best_return = np.where(better, gains[:, 0], best_return)
        best_plan = np.where(better[:, None, None], elites[:, 0], best_plan)
        weights = _softmax(gains, np.full(batch, settings.temperature))
        fitted = np.einsum("be,beha->bha", weights, elites)
        deviation = np.sqrt(np.einsum("be,beha->bha", weights, (elites - fitted[:, None]) ** 2))
        mean = settings.momentum * mean + (1 - settings.momentum) * fitted
        std = settings.momentum * std + (1 - settings.momentum) * deviation
        std = np.maximum(std, settings.min_std)
        kept = elites[:, : settings.keep]
    all_weights = np.zeros((batch, settings.samples))
    all_weights[rows[:, None], order] = weights
    mean = np.clip(mean, lows, highs)  # of rounding
    played = mean if settings.play == "mean" else best_plan
    return ControlOutput(
        action=played[:, 0],
        plan=mean,
        std=std,
        elites=elites,
        best_return=best_return,
        returns=returns,
        weights=all_weights,
        accounts=accounts(settings, batch, horizon),
    )


def mppi(
    rollout: RolloutFn,
    state: Any,
    plan: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    settings: MPPI,
    generator: np.random.Generator,
    candidates: ArrayLike | None = None,
) -> ControlOutput:
    """Model-predictive path integral control: average all samples by the exponential of returns.

    v_i = clip(u + ε_i), ε_i ← v_i − u; S_i = −return_i + control_cost · λ Σ_t u_tᵀ Σ⁻¹ ε_{i,t};
    w = softmax(−S / λ); u ← u + Σ w_i ε_i (Williams et al. 2017, algorithm 2; their u'Σ⁻¹v differs
    from u'Σ⁻¹ε by what all samples share). Clipping before the weights are taken, so that the noise
    that counts is the noise that was played, is as in pytorch-mppi.

    Args, Raises: as for :func:`cem`, with settings :class:`MPPI`.
    """
    mean, lows, highs = _start(plan, low, high)
    noise = _noise(generator, mean, settings)
    tried = _candidates(candidates, mean, settings.samples)
    batch, horizon, _ = mean.shape
    rows = np.arange(batch)
    best_return = np.full(batch, -np.inf)
    returns = np.empty((batch, settings.iterations, settings.samples))
    for iteration in range(settings.iterations):
        samples = mean[:, None] + settings.std * noise[:, iteration]
        if iteration == 0:
            samples[:, : tried.shape[1]] = tried
        samples = np.clip(samples, lows, highs)
        played_noise = samples - mean[:, None]
        found = returns[:, iteration] = _returns(rollout, state, samples)
        best_return = np.maximum(best_return, found.max(axis=1))
        temperature = np.full(batch, settings.temperature)
        if settings.relative:
            with np.errstate(over="ignore"):
                temperature = np.minimum(temperature * spread(found), LARGEST)
        along = np.einsum("bha,bnha->bn", mean, played_noise) / settings.std**2
        weights = _softmax(found, temperature, -settings.control_cost * along)
        mean = mean + np.einsum("bn,bnha->bha", weights, played_noise)
    best = found.argmax(axis=1)
    mean = np.clip(mean, lows, highs)  # of rounding
    return ControlOutput(
        action=mean[:, 0],
        plan=mean,
        std=np.full_like(mean, settings.std),
        elites=samples[rows, best][:, None],
        best_return=best_return,
        returns=returns,
        weights=weights,
        accounts=accounts(settings, batch, horizon),
    )


def plan_control(
    rollout: RolloutFn,
    state: Any,
    plan: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    settings: Settings,
    generator: np.random.Generator,
    candidates: ArrayLike | None = None,
) -> ControlOutput:
    """:func:`cem` or :func:`mppi`, as the settings say."""
    if isinstance(settings, CEM):
        return cem(rollout, state, plan, low, high, settings, generator, candidates)
    return mppi(rollout, state, plan, low, high, settings, generator, candidates)


def accounts(settings: Settings, batch: int, horizon: int) -> SerialAccounts:
    """What one call costs for ``batch`` problems and a plan of ``horizon`` actions."""
    path = horizon * settings.iterations
    return SerialAccounts(path, batch * settings.samples * path)


def _bounds(low: ArrayLike, high: ArrayLike) -> tuple[Floats, Floats]:
    lows, highs = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    if lows.ndim != 1 or lows.shape != highs.shape or lows.size == 0:
        raise ValueError(f"low and high must be [A], not of shape {lows.shape} and {highs.shape}")
    for place in np.flatnonzero(~(lows < highs))[:1]:
        raise ValueError(
            f"low must be less than high; of action {place} they are {lows[place]} and "
            f"{highs[place]}"
        )
    return lows, highs


def _start(plan: ArrayLike, low: ArrayLike, high: ArrayLike) -> tuple[Floats, Floats, Floats]:
    lows, highs = _bounds(low, high)
    mean = np.array(plan, dtype=np.float64)
    if mean.ndim != 3 or 0 in mean.shape or mean.shape[2] != lows.size:
        raise ValueError(
            f"plan must be [B, H, A] with B, H ≥ 1 and A = {lows.size} as the bounds have it, "
            f"not of shape {mean.shape}"
        )
    inside = (lows <= mean) & (mean <= highs)  # not so for NaN
    for row, step, action in np.argwhere(~inside)[:1]:
        raise ValueError(
            f"plan[{row}, {step}, {action}] is {mean[row, step, action]}, outside the bounds "
            f"[{lows[action]}, {highs[action]}]"
        )
    return mean, lows, highs


def _noise(generator: np.random.Generator, mean: Floats, settings: Settings) -> Floats:
    """[B, iterations, N, H, A]."""
    batch, horizon, actions = mean.shape
    shape = (batch, settings.iterations, settings.samples, horizon, actions)
    return coloured_noise(generator, shape, settings.noise_exponent)


def _candidates(candidates: ArrayLike | None, mean: Floats, samples: int) -> Floats:
    """[B, M, H, A], M = 0 without any."""
    batch, horizon, actions = mean.shape
    if candidates is None:
        return np.empty((batch, 0, horizon, actions))
    tried = np.asarray(candidates, dtype=np.float64)
    right = tried.ndim == 4 and tried.shape[0] == batch and tried.shape[2:] == mean.shape[1:]
    if not right or tried.shape[1] > samples:
        raise ValueError(
            f"candidates must be [{batch}, M, {horizon}, {actions}] with M ≤ samples = {samples}, "
            f"not of shape {tried.shape}"
        )
    if not np.isfinite(tried).all():
        raise ValueError("candidates hold numbers that are not finite")
    return tried


def _returns(rollout: RolloutFn, state: Any, samples: Floats) -> Floats:
    """What the model says, [B, N], refused where it is no return."""
    found = np.asarray(rollout(state, samples), dtype=np.float64)
    if found.shape != samples.shape[:2]:
        raise ValueError(
            f"rollout must return [B, N] = {samples.shape[:2]}, not an array of shape {found.shape}"
        )
    for row, sample in np.argwhere(np.isnan(found) | (found == np.inf))[:1]:
        raise ValueError(
            f"rollout returned {found[row, sample]} for problem {row}, sample {sample}; a return "
            "is finite, or -inf where the rollout failed"
        )
    for row in np.flatnonzero(np.all(found == -np.inf, axis=1))[:1]:
        raise ValueError(f"every rollout of problem {row} failed (returned -inf)")
    return found


def _softmax(gains: Floats, temperature: Floats, logits: Floats | float = 0.0) -> Floats:
    """[B, N]: of gains [B, N] over temperatures [B] plus ``logits`` [B, N].

    A gain of −inf weighs nothing; temperature 0 takes the best alone.
    """
    usable = gains > -np.inf
    # Differences that double precision cannot hold are as large as it can.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        behind = np.where(usable, gains, 0) - np.max(gains, axis=1, keepdims=True)
        behind = np.maximum(behind, -LARGEST)
        logits = logits + np.where(behind == 0, 0.0, behind / temperature[:, None])
    logits = np.where(usable, logits, -np.inf)
    weights = np.exp(logits - np.max(logits, axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def spread(returns: Floats) -> Floats:
    """[B]: √(2 mean max(0, return − median)²), the standard deviation of a symmetric sample.

    The square root of twice the upper semivariance, about the median instead of the mean. What lies
    below the median counts by its number only, so that a return of −inf and one that is merely very
    low are the same. Where half or more are −inf it is of the others alone.
    """
    usable = returns > -np.inf
    few = 2 * np.count_nonzero(usable, axis=1, keepdims=True) <= returns.shape[1]
    quarters = returns / 4  # so that no difference overflows, and below in units of the largest
    median = np.nanmedian(np.where(usable | ~few, quarters, np.nan), axis=1, keepdims=True)
    above = np.where(usable, np.maximum(quarters - median, 0), 0)
    largest = np.max(above, axis=1, keepdims=True)
    share = np.divide(above, largest, out=np.zeros_like(above), where=largest > 0)
    count = np.where(few[:, 0], np.count_nonzero(usable, axis=1), returns.shape[1])
    with np.errstate(over="ignore"):
        return np.asarray(4 * largest[:, 0] * np.sqrt(2 * np.sum(share**2, axis=1) / count))
