"""How often the 95 % intervals of ratings hold the true ones: the table of docs/games.md.

``rl-serial bench ratings`` draws pairs of games (one opening, colours exchanged) between players of
known strength and rates them. An opening favours a colour by a number of logits that is uniform
around 0; the truth is what infinitely many such pairs would give. Beside the intervals of
``fit_ratings`` it has those of the Fisher information alone, which takes the two games of a pair
for independent.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence

import numpy as np

from rl_serial.study.ratings import UNIT, Meetings, expected_score, fit_ratings
from rl_serial.tables import markdown_table

STRENGTHS = (0.0, 150.0, 300.0, 600.0, 900.0)
PAIRS = (8, 32, 128)
FAVOURS = (0.0, 2.0, 8.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="rl-serial bench ratings", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=400)
    options = parser.parse_args(arguments)
    rows = []
    for favour, pairs in itertools.product(FAVOURS, PAIRS):
        found = coverage(pairs, favour, options.repetitions, np.random.default_rng(0))
        rows.append((f"{favour:g}", pairs, *(f"{share:.3f}" for share in found[:3])))
        rows[-1] += tuple(f"{width:.0f}" for width in found[3:])
    header = ("favour (logits)", "pairs of each two", "covered", "by Fisher alone")
    print(markdown_table((*header, "closed", "half-width", "by Fisher alone"), rows))


def coverage(
    pairs: int, favour: float, repetitions: int, generator: np.random.Generator
) -> tuple[float, float, float, float, float]:
    """Shares of intervals that cover, ours and Fisher's, shares closed, and mean half-widths."""
    everyone = list(itertools.combinations(range(len(STRENGTHS)), 2))
    gaps = {two: STRENGTHS[two[0]] - STRENGTHS[two[1]] for two in everyone}
    places = np.linspace(-favour, favour, 401)
    exact = [Meetings(*two, np.full(8, _chances(gap, places).mean())) for two, gap in gaps.items()]
    truth = [rating.estimate for rating in fit_ratings(len(STRENGTHS), exact).ratings]
    hits, fisher_hits, closed, widths, fisher_widths = [], [], [], [], []
    for _ in range(repetitions):
        meetings = []
        for two, gap in gaps.items():
            chances = _chances(gap, generator.uniform(-favour, favour, pairs))
            won = generator.random((2, pairs)) < chances
            meetings.append(Meetings(*two, won.mean(axis=0)))
        ratings = fit_ratings(len(STRENGTHS), meetings).ratings
        errors = _fisher([rating.estimate for rating in ratings], pairs)
        for i in range(1, len(STRENGTHS)):
            hits.append(ratings[i].low <= truth[i] <= ratings[i].high)
            closed.append(ratings[i].is_closed)
            if ratings[i].is_closed and np.isfinite(errors[i]):
                widths.append(ratings[i].half_width)
                fisher_widths.append(1.96 * errors[i])
                fisher_hits.append(abs(ratings[i].estimate - truth[i]) <= 1.96 * errors[i])
    measured = (hits, fisher_hits, closed, widths, fisher_widths)
    return tuple(float(np.mean(values)) for values in measured)  # type: ignore[return-value]


def _chances(gap: float, favour: np.ndarray) -> np.ndarray:
    """[2, N] chances to win with the favoured colour and with the other."""
    return np.stack([expected_score(gap + side * favour / UNIT) for side in (1, -1)])


def _fisher(ratings: Sequence[float], pairs: int) -> np.ndarray:
    """Standard errors by the Fisher information of independent games, player 0 fixed."""
    if not np.isfinite(ratings).all():
        return np.full(len(ratings), np.nan)
    gaps = np.subtract.outer(np.array(ratings), np.array(ratings))
    chance = expected_score(gaps)
    weights = 2 * pairs * UNIT**2 * chance * (1 - chance)
    np.fill_diagonal(weights, 0)
    information = np.diag(weights.sum(axis=1)) - weights
    variance = np.diag(np.linalg.inv(information[1:, 1:]))
    return np.concatenate([[0.0], np.sqrt(variance)])


if __name__ == "__main__":
    main()
