"""Ratings of players from the games between them: Bradley and Terry's model on Elo's scale.

A player who is rated d higher wins with probability 1 / (1 + 10 ** (-d / 400)), and a draw is half
a win and half a loss (Bradley and Terry 1952, Biometrika 39; Elo 1978). Ratings are those of
largest likelihood, with one player at 0.

The unit of an interval is the *pair*: two games from one opening with colours exchanged. Openings
favour a colour, so the two are not independent. The standard errors are the sandwich of White
(1982, Econometrica 50): the Fisher information outside, the measured spread of the pairs inside. Of
one pair more the spread is taken to be that of independent games, so that a few equal results are
not taken for certainty (``rl-serial bench ratings`` measures how often the intervals cover).

Who never lost to a group of players that holds the zero, or never won, has no finite rating. The
interval is open there, and its other end is that of the profile likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats
from scipy.sparse.csgraph import connected_components

Array = NDArray[np.float64]

UNIT = math.log(10) / 400
"""Logits of a point of Elo."""
MOST_LOGITS = 25.0
"""As far from the zero players are looked for whose rating has no bound."""


@dataclass(frozen=True)
class Meetings:
    """The games of two players, in pairs."""

    first: int  # which player
    second: int  # which other one
    scores: ArrayLike  # [n] in [0, 1]: the mean of what the first got in the two games of a pair


@dataclass(frozen=True)
class Rating:
    """A player's rating with its interval; infinite where it is open."""

    estimate: float
    low: float
    high: float
    games: int
    score: float  # mean result of the games; NaN of none

    @property
    def is_closed(self) -> bool:
        """Whether the interval has two ends."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Ladder:
    """The ratings of all players."""

    ratings: tuple[Rating, ...]  # of player 0, 1, …
    covariance: Array  # [players, players] of the estimates; NaN where one is not finite

    def difference(self, first: int, second: int, confidence: float = 0.95) -> Rating:
        """How much higher ``first`` is rated than ``second``, with its interval; NaN if unknown."""
        gap = self.ratings[first].estimate - self.ratings[second].estimate
        c = self.covariance
        variance = c[first, first] + c[second, second] - 2 * c[first, second]
        half = _quantile(confidence) * math.sqrt(max(variance, 0.0))
        return Rating(gap, gap - half, gap + half, 0, math.nan)


def fit_ratings(
    players: int, meetings: Sequence[Meetings], zero: int = 0, confidence: float = 0.95
) -> Ladder:
    """The ratings of largest likelihood, with intervals.

    Args:
        players: how many there are.
        meetings: the games of each two; those of the same two add up.
        zero: the player whose rating is 0.
        confidence: of the intervals, in (0, 1).

    Raises:
        ValueError: a player who is none, or a score outside [0, 1].
    """
    games = _Games.of(players, meetings)
    group = games.group_of(zero)
    inside = np.flatnonzero(group)
    logits = np.full(players, np.nan)
    logits[inside] = games.within(inside, zero).solved()
    covariance = np.full((players, players), np.nan)
    covariance[np.ix_(inside, inside)] = games.covariance(inside, zero, logits[inside])
    half = _quantile(confidence) * np.sqrt(np.diag(covariance))
    found = []
    for player in range(players):
        count = int(2 * games.pairs[player].sum())
        score = float(2 * games.wins[player].sum() / count) if count else math.nan
        if group[player]:
            place = float(logits[player]) / UNIT
            ends = place, place - half[player] / UNIT, place + half[player] / UNIT
        else:
            ends = games.open_interval(player, zero, confidence)
        middle, low, high = (float(end) for end in ends)
        found.append(Rating(middle, low, high, count, score))
    return Ladder(tuple(found), covariance / UNIT**2)


def largest_group(players: int, meetings: Sequence[Meetings]) -> list[int]:
    """The largest group of players whose distances are known: each has won of each, through others.

    Of several as large one of them.
    """
    labels = _Games.of(players, meetings).labels
    largest = np.flatnonzero(labels == np.bincount(labels).argmax())
    return [int(player) for player in largest]


def expected_score(difference: ArrayLike) -> Array:
    """What a player gets of a game on the average who is rated ``difference`` higher."""
    return _logistic(np.asarray(difference, dtype=np.float64) * UNIT)


@dataclass(frozen=True)
class _Games:
    """What the likelihood of ratings takes of the games."""

    pairs: Array  # [P, P] pairs of games of each two, symmetric
    wins: Array  # [P, P] pairs won by the row's player: the sum of its scores
    squares: Array  # [P, P] sums of squared distances of the pairs' scores from their mean

    @classmethod
    def of(cls, players: int, meetings: Sequence[Meetings]) -> _Games:
        gathered: dict[tuple[int, int], list[Array]] = {}
        for meeting in meetings:
            scores = np.asarray(meeting.scores, dtype=np.float64).ravel()
            one, other = meeting.first, meeting.second
            if not (0 <= one < players and 0 <= other < players and one != other):
                raise ValueError(f"players {one} and {other}: must be two of {players}")
            if not ((scores >= 0) & (scores <= 1)).all():
                raise ValueError("scores must be in [0, 1]")
            key, mine = ((one, other), scores) if one < other else ((other, one), 1 - scores)
            gathered.setdefault(key, []).append(mine)
        pairs, wins, squares = (np.zeros((players, players)) for _ in range(3))
        for (one, other), parts in gathered.items():
            scores = np.concatenate(parts)
            if scores.size:
                pairs[one, other] = pairs[other, one] = scores.size
                wins[one, other], wins[other, one] = scores.sum(), (1 - scores).sum()
                spread = float(((scores - scores.mean()) ** 2).sum())
                squares[one, other] = squares[other, one] = spread
        return cls(pairs, wins, squares)

    def group_of(self, player: int) -> NDArray[np.bool_]:
        """[P] who has won of and lost to the player, through others too (Ford 1957)."""
        found: NDArray[np.bool_] = self.labels == self.labels[player]
        return found

    @property
    def labels(self) -> NDArray[np.int32]:
        """[P] the group of each player, inside which all have won of all, through others."""
        _, labels = connected_components(self.wins > 0, connection="strong")
        found: NDArray[np.int32] = labels
        return found

    def within(self, inside: NDArray[np.int64], zero: Hashable) -> _Likelihood:
        """The likelihood of the ratings of some players, one of them at 0."""
        place = np.ix_(inside, inside)
        free = inside != zero
        return _Likelihood(2 * self.pairs[place], 2 * self.wins[place], free)

    def covariance(self, inside: NDArray[np.int64], zero: int, logits: Array) -> Array:
        """[I, I] of the logits of the players ``inside``."""
        place = np.ix_(inside, inside)
        pairs, free = self.pairs[place], inside != zero
        chance = _logistic(logits[:, None] - logits[None, :])
        alone = chance * (1 - chance)  # variance of a game
        variance = (self.squares[place] + alone / 2) / np.maximum(pairs, 1)
        # The gradient has twice a pair's score of each pair, since a pair is two games.
        spread = _laplacian(4 * pairs * variance)[np.ix_(free, free)]
        information = _laplacian(2 * pairs * alone)[np.ix_(free, free)]
        found = np.zeros(pairs.shape)
        if free.any():
            inverse = np.linalg.inv(information)
            found[np.ix_(free, free)] = inverse @ spread @ inverse
        return found

    def open_interval(
        self, player: int, zero: int, confidence: float
    ) -> tuple[float, float, float]:
        """Estimate and interval of who is not in the zero's group."""
        above, below = self._reaches(player, zero), self._reaches(zero, player)
        if above == below:  # they have not met, nor have those between them
            return math.nan, -math.inf, math.inf
        everyone = np.arange(len(self.pairs))
        whole = self.within(everyone, zero)
        best = whole.highest()
        drop = float(stats.chi2.ppf(confidence, 1)) / 2

        def short(place: float) -> float:
            return best - whole.highest({player: place}) - drop

        side = 1.0 if above else -1.0
        end = -side * MOST_LOGITS
        if short(end) > 0:  # else all is possible
            end = float(optimize.brentq(short, end, side * MOST_LOGITS, xtol=1e-4))
        else:
            end = -side * math.inf
        if above:
            return math.inf, end / UNIT, math.inf
        return -math.inf, -math.inf, end / UNIT

    def _reaches(self, one: int, other: int) -> bool:
        """Whether one has won of the other, through others too."""
        seen, waiting = {one}, [one]
        while waiting:
            for further in np.flatnonzero(self.wins[waiting.pop()] > 0).tolist():
                if further not in seen:
                    seen.add(further)
                    waiting.append(further)
        return other in seen


@dataclass(frozen=True)
class _Likelihood:
    """The likelihood of logits of strength; draws are half."""

    games: Array  # [I, I]
    wins: Array  # [I, I] of the row's player
    free: NDArray[np.bool_]  # [I] all but the one at 0

    def negative(self, logits: Array) -> tuple[float, Array]:
        """Minus the logarithm of the likelihood, and its gradient."""
        gap = logits[:, None] - logits[None, :]
        value = float((self.wins * np.logaddexp(0, -gap)).sum())
        gradient: Array = (self.games * _logistic(gap) - self.wins).sum(axis=1)
        return value, gradient

    def solved(self) -> Array:
        """[I] the logits of largest likelihood, where they are finite."""
        whole = np.zeros(len(self.free))
        if not self.free.any():
            return whole

        def value(free: Array) -> tuple[float, Array]:
            whole[self.free] = free
            found, gradient = self.negative(whole)
            return found, gradient[self.free]

        def hessian(free: Array) -> Array:
            whole[self.free] = free
            chance = _logistic(whole[:, None] - whole[None, :])
            place = np.ix_(self.free, self.free)
            curved: Array = _laplacian(self.games * chance * (1 - chance))[place]
            return curved

        start = np.zeros(int(self.free.sum()))
        found = optimize.minimize(
            value, start, jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-9}
        )
        whole[self.free] = found.x
        return whole

    def highest(self, fixed: dict[int, float] | None = None) -> float:
        """The logarithm of the largest likelihood with some logits fixed."""
        fixed, whole = fixed or {}, np.zeros(len(self.free))
        free = self.free.copy()
        for player, place in fixed.items():
            whole[player], free[player] = place, False

        def value(some: Array) -> tuple[float, Array]:
            whole[free] = some
            found, gradient = self.negative(whole)
            return found, gradient[free]

        if not free.any():
            return -self.negative(whole)[0]
        size = int(free.sum())
        found = optimize.minimize(
            value,
            np.zeros(size),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-2 * MOST_LOGITS, 2 * MOST_LOGITS)] * size,
            options={"ftol": 1e-12, "maxiter": 2000},
        )
        return -float(found.fun)


def _laplacian(weights: Array) -> Array:
    """[I, I] whose off-diagonal is minus the weights and whose rows sum to 0."""
    found: Array = np.diag(weights.sum(axis=1)) - weights
    return found


def _logistic(logits: Array) -> Array:
    found: Array = np.exp(-np.logaddexp(0, -logits))
    return found


def _quantile(confidence: float) -> float:
    return float(stats.norm.ppf((1 + confidence) / 2))
