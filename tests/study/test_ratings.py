"""Ratings: closed forms, another way to the same maximum, and intervals that cover."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl_serial.study.ratings import Meetings, expected_score, fit_ratings, largest_group


def test_two_players_have_the_rating_of_their_score() -> None:
    for score in (0.5, 0.75, 0.1):
        [zero, other] = fit_ratings(2, [Meetings(1, 0, np.full(8, score))]).ratings
        # A score of s is a distance of 400 log10(s / (1 - s)), Elo's formula.
        assert other.estimate == pytest.approx(400 * math.log10(score / (1 - score)), abs=1e-4)
        assert (zero.estimate, zero.low, zero.high) == (0, 0, 0)
        assert (other.games, zero.games) == (16, 16)
        assert zero.score == pytest.approx(1 - score)
    assert expected_score(400) == pytest.approx(10 / 11)


def test_an_interval_by_hand() -> None:
    # Half of the pairs 1, half 0: the score's variance is 1/4 a pair; of one pair more it is that
    # of two independent even games, 1/8.
    n = 40
    [_, other] = fit_ratings(2, [Meetings(1, 0, [1.0, 0.0] * (n // 2))]).ratings
    error_of_score = math.sqrt((n * 0.25 + 0.125) / n / n)
    slope = math.log(10) / 400 * 0.25  # of the score over the rating, at even strength
    assert other.half_width == pytest.approx(1.959964 * error_of_score / slope, rel=1e-5)


def scores_by_fixed_point(wins: np.ndarray, games: np.ndarray) -> np.ndarray:
    """Ratings of largest likelihood by the iteration of Zermelo (1929), player 0 at 0."""
    strength = np.ones(len(wins))
    for _ in range(3000):
        shares = games / (strength[:, None] + strength[None, :])
        strength = wins.sum(axis=1) / shares.sum(axis=1)
        strength = strength / strength[0]
    return 400 * np.log10(strength)


def test_the_fit_is_that_of_another_method() -> None:
    random = np.random.default_rng(5)
    players, meetings = 5, []
    wins, games = np.zeros((players, players)), np.zeros((players, players))
    for one in range(players):
        for other in range(one):
            scores = random.choice([0, 0.25, 0.5, 0.75, 1], size=random.integers(5, 30))
            # The same two may come several times, in either order.
            meetings += [Meetings(one, other, scores[:3]), Meetings(other, one, 1 - scores[3:])]
            wins[one, other], wins[other, one] = 2 * scores.sum(), 2 * (1 - scores).sum()
            games[one, other] = games[other, one] = 2 * scores.size
    found = [rating.estimate for rating in fit_ratings(players, meetings).ratings]
    np.testing.assert_allclose(found, scores_by_fixed_point(wins, games), atol=1e-3)


def test_ratings_of_expected_scores_are_those_that_made_them() -> None:
    true = np.array([120.0, 0.0, 400.0, -300.0])
    meetings = [
        Meetings(i, j, np.full(3, float(expected_score(true[i] - true[j]))))
        for i in range(4)
        for j in range(i)
    ]
    ladder = fit_ratings(4, meetings, zero=1)
    np.testing.assert_allclose([r.estimate for r in ladder.ratings], true, atol=1e-4)
    gap = ladder.difference(2, 3)
    back = ladder.difference(3, 2)
    assert gap.estimate == pytest.approx(700, abs=1e-3)
    assert (gap.low, gap.high) == pytest.approx((-back.high, -back.low))
    # What both ratings have in common, their distance to the zero, is not in the difference.
    moved = fit_ratings(4, meetings, zero=0).difference(2, 3)
    assert (moved.low, moved.high) == pytest.approx((gap.low, gap.high), abs=1e-3)


def test_who_never_lost_has_an_open_interval_with_an_end_by_hand() -> None:
    games = 20
    [_, best, worst] = fit_ratings(
        3, [Meetings(1, 0, np.ones(games // 2)), Meetings(2, 0, np.zeros(games // 2))]
    ).ratings
    # Of n games all won, the likelihood is p^n; it has fallen by half of 3.841459 where
    # p = exp(-1.9207 / n).
    p = math.exp(-3.841459 / 2 / games)
    end = 400 * math.log10(p / (1 - p))
    assert (best.estimate, best.high) == (math.inf, math.inf)
    assert best.low == pytest.approx(end, abs=0.1)
    assert (worst.estimate, worst.low) == (-math.inf, -math.inf)
    assert worst.high == pytest.approx(-end, abs=0.1)
    assert not best.is_closed


def test_groups_whose_distance_is_not_known() -> None:
    # 1, 2 and 3 have won of each other in a circle; none has lost to 0; 4 has not played.
    circle = [Meetings(1, 2, [1.0]), Meetings(2, 3, [1.0]), Meetings(3, 1, [1.0])]
    all_won = [Meetings(i, 0, np.ones(4)) for i in (1, 2, 3)]
    assert sorted(largest_group(5, circle + all_won)) == [1, 2, 3]
    ratings = fit_ratings(5, circle + all_won).ratings
    assert all(r.estimate == math.inf and 0 < r.low < math.inf for r in ratings[1:4])
    assert math.isnan(ratings[4].estimate)
    assert (ratings[4].low, ratings[4].high) == (-math.inf, math.inf)
    assert math.isnan(ratings[4].score)
    inside = fit_ratings(5, circle + all_won, zero=1).ratings
    assert inside[2].estimate == pytest.approx(0, abs=1e-6)
    assert inside[0].high < 0


@pytest.mark.parametrize("favour", [0.0, 6.0])
def test_intervals_cover(favour: float) -> None:
    """Of players of known strength, with openings that favour a colour and without."""
    random, true = np.random.default_rng(3), np.array([0.0, 200.0, 400.0])
    logits = math.log(10) / 400

    def chances(gap: float, opening: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(gap * logits + np.stack([opening, -opening]))))

    two = [(1, 0), (2, 0), (2, 1)]
    # The truth: what the mean scores over all openings give, by the other method.
    wins = np.zeros((3, 3))
    for i, j in two:
        score = chances(true[i] - true[j], np.linspace(-favour, favour, 2001)).mean()
        wins[i, j], wins[j, i] = score, 1 - score
    truth = scores_by_fixed_point(wins, wins + wins.T)
    covered = []
    for _ in range(120):
        meetings = []
        for i, j in two:
            opening = random.uniform(-favour, favour, 40)
            won = random.random((2, 40)) < chances(true[i] - true[j], opening)
            meetings.append(Meetings(i, j, won.mean(axis=0)))
        ratings = fit_ratings(3, meetings).ratings
        covered += [ratings[i].low <= truth[i] <= ratings[i].high for i in (1, 2)]
    assert 0.91 < np.mean(covered) < 0.985


def test_wrong_games_are_refused() -> None:
    with pytest.raises(ValueError, match="must be two of 2"):
        fit_ratings(2, [Meetings(0, 2, [1.0])])
    with pytest.raises(ValueError, match="must be in"):
        fit_ratings(2, [Meetings(0, 1, [1.5])])
