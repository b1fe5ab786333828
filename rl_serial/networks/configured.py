"""Trunks as a configuration describes them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from rl_serial.envs.chain import TokenLayout
from rl_serial.errors import UserError
from rl_serial.networks.budget import solve_width
from rl_serial.networks.config import NetworkConfig
from rl_serial.networks.heads import HorizonHead, build_network
from rl_serial.networks.trunks import build_trunk
from rl_serial.settings import MOST


def solved_trunk(
    network: NetworkConfig, key: str, layout: TokenLayout, outputs: int | HorizonHead
) -> dict[str, Any]:
    """The arguments of :func:`build_trunk`, the width solved where a budget is given.

    Args:
        network: as configured.
        key: what errors call it.
        layout: of its inputs.
        outputs: of the head that the budget includes, or its fixed-horizon heads.

    Raises:
        UserError: a depth that the trunk cannot have, or a budget that no width meets.
    """
    try:
        return _settings(network, layout) | {"width": _width(network, layout, outputs)}
    except ValueError as error:
        raise UserError(error, key) from None


def _settings(network: NetworkConfig, layout: TokenLayout) -> dict[str, Any]:
    """All of them but the width."""
    return {
        "kind": network.kind,
        "layout": layout,
        "depth": network.depth,
        "loops": network.loops,
        **network.options,
    }


@lru_cache(maxsize=1024)  # the cells of a study ask for few networks, each of them often
def _width(network: NetworkConfig, layout: TokenLayout, outputs: int | HorizonHead) -> int:
    """Given or solved.

    Raises:
        ValueError: a depth that the trunk cannot have, too many parameters, or a budget that no
            width meets.
    """
    settings = _settings(network, layout)
    if network.budget is None:
        assert network.width is not None
        width = network.width
    else:
        budget = network.budget.model_dump(exclude_none=True)
        width = solve_width(num_outputs=outputs, **settings, **budget)
    with torch.device("meta"):
        built = build_network(build_trunk(**settings, width=width), outputs)
    size = sum(parameter.numel() for parameter in built.parameters())
    if size > MOST["parameters"]:
        raise ValueError(
            f"depth {network.depth} and width {width} make {size} parameters; "
            f"{MOST['parameters']} are the most"
        )
    return width


def vector_layout(size: int) -> TokenLayout:
    """A layout of ``size`` numbers, for trunks that take vectors: to them tokens are nothing."""
    return TokenLayout(1, size - 1, 1)
