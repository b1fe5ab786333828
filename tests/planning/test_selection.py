"""Sequential halving and the scores of actions, against tables and sums done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl_serial.planning import ByParentAndSiblings, MinMax, MixValue
from rl_serial.planning.qtransforms import mixed_value
from rl_serial.planning.selection import Gumbel, Puct, considered_visits, visits_table
from rl_serial.planning.types import NodeStatistics


# The number of rounds is ceil(log2 m); each gets about n / rounds simulations, in whole passes.
@pytest.mark.parametrize(
    ("num_considered", "num_simulations", "expected"),
    [
        # 2 rounds of 4: one pass over 4, two passes over 2.
        (4, 8, [0, 0, 0, 0, 1, 1, 2, 2]),
        # 3 rounds; 24 / (3·8) = 1 pass over 8, 2 over 4, 4 over 2.
        (8, 24, [0] * 8 + [1] * 4 + [2] * 4 + [3, 3, 4, 4, 5, 5, 6, 6]),
        # 4 rounds over 16 with 16 simulations: one pass and nothing is left.
        (16, 16, [0] * 16),
        # Fewer simulations than actions: the first ones get one each.
        (16, 5, [0] * 5),
        # 3 actions: 2 rounds; 12 / (2·3) = 2 passes over 3, then 3 // 2 = 1 becomes 2:
        # 12 / (2·2) = 3 passes over 2.
        (3, 12, [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4]),
        # 2 actions in turn, one round: 7 / 2 = 3 passes, then again until 7 are there.
        (2, 7, [0, 0, 1, 1, 2, 2, 3]),
        # A single action is always the one.
        (1, 4, [0, 1, 2, 3]),
        (4, 0, []),
    ],
)
def test_sequential_halving(num_considered: int, num_simulations: int, expected: list[int]) -> None:
    assert considered_visits(num_considered, num_simulations) == expected


def test_table_has_a_row_for_every_number_of_legal_actions() -> None:
    assert visits_table(2, 3).tolist() == [[0, 1, 2], [0, 1, 2], [0, 0, 1]]


def node(**changes: list[float]) -> NodeStatistics:
    """Three actions with priors 1/2, 1/4, 1/4, visited 2, 1 and 0 times."""
    numbers = {
        "visits": [4.0],
        "value": [0.4],
        "raw_value": [0.1],
        "prior_logits": [math.log(0.5), math.log(0.25), math.log(0.25)],
        "child_visits": [2.0, 1.0, 0.0],
        "qvalues": [0.8, 0.2, 0.0],
        **changes,
    }
    arrays = {name: np.array(value, np.float32) for name, value in numbers.items()}
    for name in ("prior_logits", "child_visits", "qvalues"):
        arrays[name] = arrays[name][None]
    arrays["child_visits"] = arrays["child_visits"].astype(np.int32)
    return NodeStatistics(**arrays)


def test_mixed_value() -> None:
    # Visited: (0.5·0.8 + 0.25·0.2) / 0.75 = 0.6; (0.1 + 3·0.6) / 4 = 0.475.
    assert mixed_value(node()) == pytest.approx(0.475)
    # Nothing visited: the raw value.
    assert mixed_value(node(child_visits=[0.0, 0.0, 0.0])) == pytest.approx(0.1)


def test_mix_value() -> None:
    # (50 + 2)·0.1 = 5.2 times (0.8, 0.2, 0.475).
    plain = MixValue(rescale=False)(node())
    assert plain[0] == pytest.approx([4.16, 1.04, 2.47])
    # From [0.2, 0.8] to [0, 1]: 0.475 is at 0.275/0.6.
    assert MixValue()(node())[0] == pytest.approx([5.2, 0.0, 5.2 * 0.275 / 0.6])


def test_constant_values_are_not_stretched() -> None:
    values = MixValue()(node(qvalues=[0.1, 0.1 + 1e-7, 0.0], raw_value=[0.1]))
    assert np.ptp(values) < 0.1  # 1e-7 over 1e-5, times 5.2; over 1e-8 it would be 5.2


def test_by_parent_and_siblings() -> None:
    # Least 0.2, greatest 0.8, own value 0.4 between them; not visited: 0.
    assert ByParentAndSiblings()(node())[0] == pytest.approx([1.0, 0.0, 0.0])
    # The own value is the least: 0.8 → 1, 0.2 → (0.2 + 0.2) / 1.
    assert ByParentAndSiblings()(node(value=[-0.2]))[0] == pytest.approx([1.0, 0.4, 0.0])


def test_min_max() -> None:
    assert MinMax(-1.0, 1.0)(node())[0] == pytest.approx([0.9, 0.6, 0.0])
    with pytest.raises(ValueError, match=r"min_value 1\.0 is not below"):
        MinMax(1.0, 1.0)


def test_puct() -> None:
    # √4 · (1.25 + ln(19657/19652)) = 2.500509; priors over visits + 1: 1/6, 1/8, 1/4.
    weight = 2 * (1.25 + math.log(19657 / 19652))
    expected = [0.9 + weight / 6, 0.6 + weight / 8, weight / 4]
    assert Puct(MinMax(-1.0, 1.0)).scores_below_root(node())[0] == pytest.approx(expected)


def gumbel(noise: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Gumbel:
    return Gumbel(
        qtransform=MixValue(rescale=False),
        noise=np.array([noise], np.float32),
        table=visits_table(3, 12),
        earlier=np.zeros((1, 3), np.int32),
    )


def test_gumbel_below_root() -> None:
    # softmax of (ln .5 + 4.16, ln .25 + 1.04, ln .25 + 2.47) less (2/4, 1/4, 0).
    weights = [0.5 * math.exp(4.16), 0.25 * math.exp(1.04), 0.25 * math.exp(2.47)]
    expected = [weights[0] / sum(weights) - 0.5, weights[1] / sum(weights) - 0.25]
    scores = gumbel().scores_below_root(node())[0]
    assert scores == pytest.approx([*expected, weights[2] / sum(weights)], abs=1e-6)


def test_gumbel_at_root() -> None:
    # Three actions, 12 simulations: 0,0,0,1,1,1,2,…; after three visits those with one are asked.
    rule = gumbel(noise=(0.0, 0.5, 0.25))
    scores = rule.scores_at_root(node())[0]
    assert scores[[0, 2]].tolist() == [-np.inf, -np.inf]
    # 0.5 + ln(1/4) − ln(1/2) + 1.04
    assert scores[1] == pytest.approx(0.5 - math.log(2) + 1.04)
    # After two visits those with none.
    scores = rule.scores_at_root(node(child_visits=[1.0, 1.0, 0.0]))[0]
    assert np.isfinite(scores).tolist() == [False, False, True]


def test_a_lone_action_of_any_logit_has_a_score() -> None:
    scores = gumbel().scores_at_root(
        node(prior_logits=[0.0, -3e38, -3e38], child_visits=[1.0, 1.0, 0.0])
    )
    assert scores[0, 2] == pytest.approx(-3e38)  # no floor: of two such actions the values decide
