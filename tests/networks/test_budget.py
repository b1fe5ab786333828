"""Budgets: what is reached is counted on the network itself, not by what the search went by."""

from typing import Any

import pytest
import torch

from rl_serial.envs.chain import TokenLayout
from rl_serial.networks import BudgetError, Network, account, build_trunk, solve_width

torch.set_num_threads(1)

LAYOUT = TokenLayout(tokens=16, features=5, globals=22)
DEPTHS = {
    "residual": (1, 4, 7, 64),
    "transformer": (6, 18, 60),
    "conv": (1, 6, 64),
    "recurrent": (1, 3, 8),
    "stepwise": (2, 8, 32),
}


def network(kind: str, depth: int, width: int, loops: int = 1) -> Network:
    return Network(build_trunk(kind, LAYOUT, depth=depth, width=width, loops=loops), 3)


def parameters(net: Network) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("kind", "depth"), [(k, d) for k, ds in DEPTHS.items() for d in ds])
@pytest.mark.parametrize("budget", [1_000_000, 4_000_000])
def test_parameter_budgets_are_met_within_two_percent(kind: str, depth: int, budget: int) -> None:
    width = solve_width(kind, LAYOUT, 3, depth=depth, parameters=budget)
    with torch.device("meta"):
        assert parameters(network(kind, depth, width)) == pytest.approx(budget, rel=0.02)


@pytest.mark.parametrize(
    ("kind", "depth", "loops"),
    [(k, d, 1) for k, ds in DEPTHS.items() for d in ds]
    + [(k, ds[1], 2) for k, ds in DEPTHS.items()],
)
def test_flop_budgets_are_met_within_two_percent(kind: str, depth: int, loops: int) -> None:
    budget = 100_000_000
    width = solve_width(kind, LAYOUT, 3, depth=depth, loops=loops, flops=budget)
    with torch.device("meta"):
        found = account(network(kind, depth, width, loops), torch.zeros(1, LAYOUT.size))
    assert found.flops_forward == pytest.approx(budget, rel=0.02)


@pytest.mark.parametrize("kind", DEPTHS)
@pytest.mark.parametrize("loops", [1, 3])
def test_the_flops_of_the_search_are_those_that_run(kind: str, loops: int) -> None:
    for depth, width in ((6, 1), (6, 7), (12, 8)):
        net = network(kind, depth, width, loops)
        ran = account(net, torch.zeros(1, LAYOUT.size)).flops_forward
        assert net.forward_flops() == ran


@pytest.mark.parametrize("kind", DEPTHS)
def test_the_nearest_of_all_widths_is_found(kind: str) -> None:
    with torch.device("meta"):
        costs = {width: parameters(network(kind, 6, width)) for width in range(1, 60)}
    for budget in (1, costs[1], costs[1] + 1, 3000, 5000, 20_000, costs[40], costs[40] - 1):
        nearest = min(costs, key=lambda width: abs(costs[width] - budget))
        found = solve_width(kind, LAYOUT, 3, depth=6, parameters=budget, tolerance=1e9)
        assert found == nearest, budget


def test_an_unreachable_budget_is_refused_with_the_nearest_named() -> None:
    with torch.device("meta"):
        below, above = (parameters(network("residual", 64, width)) for width in (9, 10))
    budget = below + (above - below) // 3  # nearer to width 9, off by more than 2 %
    with pytest.raises(BudgetError) as refused:
        solve_width("residual", LAYOUT, 3, depth=64, parameters=budget)
    message = str(refused.value)
    assert f"parameters={budget}" in message
    assert f"the nearest is width 9 with {below} (-" in message
    assert f"{below} (width 9) and {above} (width 10)" in message


def test_a_budget_below_the_narrowest_network_names_that() -> None:
    with pytest.raises(BudgetError, match=r"can be met: \d+ \(width 1\)$"):
        solve_width("conv", LAYOUT, 3, depth=64, flops=10)


def test_a_wider_tolerance_accepts_what_a_narrow_one_refuses() -> None:
    with pytest.raises(BudgetError):
        solve_width("residual", LAYOUT, 3, depth=64, parameters=10_000)
    assert solve_width("residual", LAYOUT, 3, depth=64, parameters=10_000, tolerance=0.2) >= 1


@pytest.mark.parametrize("budgets", [{}, {"parameters": 1000, "flops": 1000}])
def test_exactly_one_budget_is_asked_for(budgets: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        solve_width("residual", LAYOUT, 3, depth=4, **budgets)


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="flops=0: must be 1 or more"):
        solve_width("residual", LAYOUT, 3, depth=4, flops=0)
    with pytest.raises(ValueError, match="the nearest are 6 and 12"):
        solve_width("transformer", LAYOUT, 3, depth=7, flops=10_000)


def test_the_search_draws_no_random_numbers() -> None:
    state = torch.get_rng_state()
    solve_width("transformer", LAYOUT, 3, depth=6, parameters=1_000_000)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("options", [{"block": "pre_norm"}, {"recall": True}])
def test_options_of_the_trunk_are_in_the_budget(options: dict[str, object]) -> None:
    width = solve_width("residual", LAYOUT, 3, depth=16, parameters=40_000, **options)  # type: ignore[arg-type]
    network = Network(build_trunk("residual", LAYOUT, depth=16, width=width, **options), 3)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(40_000, rel=0.02)
    found = account(network, torch.zeros(1, LAYOUT.size))
    assert found.flops_forward == network.forward_flops()


def test_a_deep_network_is_laid_out_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout of a thousand layers takes a second; halving from width 1 on takes 20 of them."""
    laid_out = []

    def counted(*arguments: Any, **options: Any) -> Any:
        laid_out.append(options["width"])
        return build_trunk(*arguments, **options)

    monkeypatch.setattr("rl_serial.networks.budget.build_trunk", counted)
    for kind, depth in (("residual", 64), ("conv", 16), ("recurrent", 16), ("transformer", 24)):
        laid_out.clear()
        solve_width(kind, LAYOUT, 3, depth=depth, parameters=10**8)
        assert len(laid_out) <= 14, (kind, laid_out)
