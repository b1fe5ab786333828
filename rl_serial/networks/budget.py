"""The width that meets a budget of parameters or FLOPs, so that depths compare at equal cost."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch

from rl_serial.envs.chain import TokenLayout
from rl_serial.networks.heads import HorizonHead, build_network
from rl_serial.networks.trunks import build_trunk


class BudgetError(ValueError):
    """No width comes near enough to the budget; the message names the nearest there are."""


def solve_width(
    kind: str,
    layout: TokenLayout,
    num_outputs: int | HorizonHead,
    *,
    depth: int,
    loops: int = 1,
    parameters: int | None = None,
    flops: int | None = None,
    tolerance: float = 0.02,
    **options: Any,
) -> int:
    """The width whose network, trunk and head, comes nearest to the budget.

    ``num_outputs`` is the size of a linear head, or says which fixed-horizon heads there are. The
    budget is either ``parameters`` or ``flops`` (forward, per sample); of two widths equally
    near the smaller is taken. ``options`` are the trunk's own. ``tolerance`` is relative to the
    budget.

    Raises BudgetError where the nearest is off by more than ``tolerance``, and ValueError for
    anything but exactly one budget, for one below 1, and for what :func:`build_trunk` refuses.
    """
    budgets = {"parameters": parameters, "flops": flops}
    given = [(name, value) for name, value in budgets.items() if value is not None]
    if len(given) != 1:
        raise ValueError(f"parameters={parameters!r}, flops={flops!r}: give exactly one of them")
    [(unit, budget)] = given
    if budget < 1:
        raise ValueError(f"{unit}={budget!r}: must be 1 or more")

    @cache
    def cost(width: int) -> int:
        with torch.device("meta"):  # shapes only: no memory, no random numbers
            trunk = build_trunk(kind, layout, depth=depth, width=width, loops=loops, **options)
            network = build_network(trunk, num_outputs)
        if unit == "flops":
            return network.forward_flops()
        return sum(p.numel() for p in network.parameters())

    # The cost grows with the width, soon as its square, and a deep network takes long to lay out:
    # guesses from the square root, halving in turn. below < budget <= above, one apart at the end.
    below, above = 0, 1
    while cost(above) < budget:
        below, above = above, max(2 * above, math.isqrt(above**2 * budget // cost(above)) + 1)
    halve = False
    while above - below > 1:
        middle = (below + above) // 2
        if not halve:
            low, high = math.sqrt(cost(below) if below else 0), math.sqrt(cost(above))
            near = round(below + (above - below) * (math.sqrt(budget) - low) / (high - low))
            middle = min(max(near, below + 1), above - 1)
        halve = not halve
        if cost(middle) < budget:
            below = middle
        else:
            above = middle
    costs = {width: cost(width) for width in (below, above) if width > 0}
    nearest = min(costs, key=lambda width: abs(costs[width] - budget))
    if abs(costs[nearest] - budget) <= tolerance * budget:
        return nearest
    reachable = " and ".join(f"{costs[width]} (width {width})" for width in sorted(costs))
    raise BudgetError(
        f"{unit}={budget} for {kind} of depth {depth} and {loops} loop(s): no width meets it "
        f"within {tolerance:.1%}; the nearest is width {nearest} with {costs[nearest]} "
        f"({costs[nearest] / budget - 1:+.1%}); the nearest budgets that can be met: {reachable}"
    )
