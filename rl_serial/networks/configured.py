"""Trunks as a configuration describes them."""

from __future__ import annotations

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
    settings: dict[str, Any] = {
        "kind": network.kind,
        "layout": layout,
        "depth": network.depth,
        "loops": network.loops,
        **network.options,
    }
    try:
        if network.budget is None:
            settings["width"] = network.width
        else:
            budget = network.budget.model_dump(exclude_none=True)
            settings["width"] = solve_width(num_outputs=outputs, **settings, **budget)
        with torch.device("meta"):
            built = build_network(build_trunk(**settings), outputs)
        size = sum(parameter.numel() for parameter in built.parameters())
        if size > MOST["parameters"]:
            raise ValueError(
                f"depth {network.depth} and width {settings['width']} make {size} parameters; "
                f"{MOST['parameters']} are the most"
            )
    except ValueError as error:
        raise UserError(error, key) from None
    return settings


def vector_layout(size: int) -> TokenLayout:
    """A layout of ``size`` numbers, for trunks that take vectors: to them tokens are nothing."""
    return TokenLayout(1, size - 1, 1)
