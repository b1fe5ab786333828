"""One number of the observation tells nothing of the outcome, nor does a weighted sum of them all.

Written from the pages of the chains, without the package's own rules (rl_serial.envs.shortcuts).
An association is a chi-square test, a linear model least squares on one half and its correlation
with the outcome on the other. What is allowed by chance is five standard errors, after a correction
for the number of tests of a setting (Bonferroni).

Known exception: four letters cannot be uniform over five points, so with few letters ahead the
point of a PermutationAutomaton tells something, exactly as much as :func:`won_from` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from rl_serial.cli import main
from rl_serial.envs import FAMILIES, Family, certificate
from rl_serial.envs.certificate import Shortcut, certify_shortcuts, shortcuts
from rl_serial.envs.chains.cellular_automaton import CellularAutomaton
from rl_serial.envs.chains.circuit import Circuit
from rl_serial.envs.chains.permutation_automaton import GENERATORS
from rl_serial.envs.random import evaluation_seeds

DEPTH = 6
INSTANCES = 20_000
SIMULATED = 2_000
"""Instances of a family whose steps another library simulates."""
FIVE_SIGMA = 2 * NormalDist().cdf(-5)
BINS = 8


def sigmas(tests: int) -> float:
    """Standard errors that one of so many tests exceeds as rarely as a single one exceeds five."""
    return -NormalDist().inv_cdf(FIVE_SIGMA / tests / 2)


def states_and_outcomes(family: Family, value: Any) -> Iterator[tuple[int, Any, Any]]:
    """Remaining steps, the numbers [N, M] that vary, and whether the outcome [N] pays."""
    chain = family.chain(**{family.option: value, "serial_depth": DEPTH})
    instances = SIMULATED if family.extra else INSTANCES
    state = chain.initial(evaluation_seeds(11, instances, np))
    shown = []
    for remaining in range(DEPTH, 0, -1):
        shown.append((remaining, chain.observe(state)))
        state = chain.advance(state)
    won = chain.payoff(state) > 0
    for remaining, numbers in shown:
        yield remaining, numbers[:, numbers.std(axis=0) > 0], won


def associations(numbers: Any, won: Any) -> Any:
    """[M] p-values: is the outcome independent of a number's value (of a real one, its eighth)?"""
    if ((numbers == 0) | (numbers == 1)).all():
        groups = [numbers == 0, numbers == 1]
    else:
        edges = np.quantile(numbers, np.arange(1, BINS) / BINS, axis=0)
        eighth = (numbers > edges[:, None]).sum(axis=0)
        groups = [eighth == group for group in range(BINS)]
    statistic, groups_met = np.zeros(numbers.shape[1]), np.zeros(numbers.shape[1])
    for group in groups:
        size = group.sum(axis=0)
        wins = won.astype(np.float32) @ group.astype(np.float32)
        groups_met += size > 0
        for count, share in ((wins, won.mean()), (size - wins, 1 - won.mean())):
            expected = np.maximum(size * share, 1e-9)
            statistic += (count - expected) ** 2 / expected
    return chi2.sf(statistic, groups_met - 1)


def linear_correlation(numbers: Any, won: Any) -> float:
    """Between the outcome and least squares, which never saw it: fitted on the other half."""
    design = np.concatenate([numbers, np.ones((len(numbers), 1))], axis=1).astype(np.float64)
    half = len(won) // 2
    gram = design[:half].T @ design[:half] + 1e-3 * np.eye(design.shape[1])
    weights = np.linalg.solve(gram, design[:half].T @ won[:half])
    return float(np.corrcoef(design[half:] @ weights, won[half:])[0, 1])


def test_no_number_and_no_weighted_sum_tells_of_the_outcome(family: Family, value: Any) -> None:
    if family.name == "PermutationAutomaton":
        pytest.skip("its point tells something: tested below against the exact figure")
    found = [
        (remaining, associations(numbers, won), linear_correlation(numbers, won), len(won) // 2)
        for remaining, numbers, won in states_and_outcomes(family, value)
    ]
    tests = sum(len(p) + 1 for _, p, _, _ in found)
    for remaining, p, correlation, examined in found:
        assert p.min() > FIVE_SIGMA / tests, f"{remaining} remaining: number {p.argmin()}"
        assert correlation < sigmas(tests) / np.sqrt(examined), f"{remaining} remaining"


def won_from(group: str, letters: int) -> Any:
    """[5] the share of tapes that end in point 0 or 1 from each point, over all tapes."""
    generators = GENERATORS[group]
    ends = np.zeros((5, 5))
    for tape in product(range(4), repeat=letters):
        for point in range(5):
            end = point
            for letter in tape:
                end = generators[letter][end]
            ends[point, end] += 1
    return ends[:, :2].sum(axis=1) / 4**letters


def test_what_the_point_tells_of_s5_after_one_and_two_letters() -> None:
    """By hand from the generators of the page, in quarters and sixteenths."""
    np.testing.assert_array_equal(won_from("s5", 1) * 4, [3, 2, 0, 0, 3])
    np.testing.assert_array_equal(won_from("s5", 2) * 16, [7, 5, 3, 6, 11])


@pytest.mark.parametrize("group", GENERATORS)
def test_the_point_tells_as_much_as_the_letters_leave_over_and_letters_nothing(group: str) -> None:
    """Letters alone tell nothing, as the point is uniform; so a linear model knows the point only.

    Its correlation with the outcome is then the standard deviation of the chance to win over the
    points, divided by that of the outcome, sqrt(2/5 · 3/5).
    """
    family = FAMILIES["PermutationAutomaton"]
    tests = DEPTH * (4 * DEPTH + 5 + 1)
    for remaining, numbers, won in states_and_outcomes(family, group):
        letters, points = numbers[:, : 4 * remaining], numbers[:, 4 * remaining :]
        assert points.shape[1] == 5
        assert associations(letters, won).min() > FIVE_SIGMA / tests
        exact = won_from(group, remaining)
        for point in range(5):
            here = won[points[:, point] == 1]
            error = np.sqrt(max(exact[point] * (1 - exact[point]), 1e-12) / here.size)
            assert abs(here.mean() - exact[point]) <= sigmas(tests) * error
        correlation = exact.std() / np.sqrt(0.24)
        error = sigmas(tests) / np.sqrt(len(won) / 2)
        assert abs(linear_correlation(numbers, won) - correlation) < error


def test_the_certificate_finds_a_number_that_gives_the_outcome_away() -> None:
    """Rule 0 forgets all: its outcome is 0, so the visible bit alone says whether that pays."""
    found = shortcuts(CellularAutomaton(0, 4), instances=256)
    for shortcut in found.values():
        assert (shortcut.largest, shortcut.reach) == (1, 4)


def test_the_certificate_finds_nothing_in_a_parity() -> None:
    """Rule 90: a parity of cells. Chance-corrected accuracies have an error of sqrt(2 / N)."""
    instances, depth = 2048, 4
    for shortcut in shortcuts(CellularAutomaton(90, depth), instances).values():
        assert abs(shortcut.largest) < 5 * np.sqrt(2 / instances)
        assert abs(shortcut.reach) < 5 * np.sqrt(2 * depth / instances)


def test_the_certificate_has_the_point_of_s5() -> None:
    """The largest is with one letter ahead; a linear rule bets on the points that win oftener."""
    [(_, _, found), *_] = certify_shortcuts(FAMILIES["PermutationAutomaton"], {}, (4,))
    assert not isinstance(found, str)
    exact = won_from("s5", 1)
    bets = exact > 0.4
    accuracy = np.where(bets, exact, 1 - exact).mean()
    expected = bets.mean() * 0.4 + (1 - bets.mean()) * 0.6
    assert found["linear"].remaining == 1
    assert found["linear"].largest == pytest.approx((accuracy - expected) / (1 - expected), abs=0.1)


def test_observations_too_long_to_tell_are_left_out() -> None:
    rows = certify_shortcuts(FAMILIES["Circuit"], {}, (64,))
    size = Circuit("layered", 64, 64).layout.size
    said = f"not measured: of observations of {size} numbers {2**24 // size} are held, and fewer"
    assert [str(found).partition(" than ")[0] for _, _, found in rows] == [said, said]


def test_simulations_too_slow_to_tell_are_left_out() -> None:
    pytest.importorskip("mujoco")
    rows = certify_shortcuts(FAMILIES["ManyBody"], {}, (32,))
    said = f"not measured: {2**18 // 32**2} states are simulated in a minute"
    assert [str(found).partition(",")[0] for _, _, found in rows] == [said, said]


def test_command_prints_shortcuts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"blind": Shortcut(0.345, 2, 1.26), "linear": Shortcut(-0.014, 1, -0.04)}
    rows = [("wiring=flat", 4, known), ("wiring=flat", 64, "not measured: too large")]
    monkeypatch.setattr(certificate, "certify", lambda family, options: [])
    monkeypatch.setattr(certificate, "certify_shortcuts", lambda family, options: rows)
    assert main(["envs", "--certify", "rl_serial/CircuitBet-v0"]) == 0
    lines = capsys.readouterr().out.splitlines()[-5:]
    assert lines.pop() == "wiring=flat, serial depth 64: not measured: too large"
    header, _, first, second = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert header[2:5] == ["blind κ", "at", "reach"]
    assert first == ["wiring=flat", "4", "+0.34", "2", "+1.3", "-0.01", "1", "-0.0"]
    assert second == ["wiring=flat", "64", *["–"] * 6]
