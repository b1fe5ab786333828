"""Looped networks: how the input comes in again, other numbers of loops, values read by loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rl_serial.envs.chain import TokenLayout
from rl_serial.networks import (
    HorizonHead,
    HorizonNetwork,
    Network,
    account,
    build_network,
    build_trunk,
    solve_width,
)

torch.set_num_threads(1)

LAYOUT = TokenLayout(tokens=5, features=3, globals=4)
LOOPING = [("residual", 4), ("transformer", 6), ("conv", 2), ("stepwise", 4)]
ROWS = torch.rand(3, LAYOUT.size, generator=torch.Generator().manual_seed(0))


def by_loop(place: str = "per_token", loops: int = 4, injection: str = "concat") -> HorizonNetwork:
    torch.manual_seed(0)
    trunk = build_trunk("transformer", LAYOUT, depth=6, width=4, loops=loops, injection=injection)
    network = build_network(trunk, HorizonHead(5, 6, place, "by_loop"))
    assert isinstance(network, HorizonNetwork)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network


def after(network: HorizonNetwork, loops: int) -> Tensor:
    """[B, 5]: values after so many loops, run by hand: norm, join with the input, layer, head."""
    trunk = network.trunk
    seen = torch.cat(
        [
            trunk.global_input(ROWS[:, 15:])[:, None],
            trunk.token_input(ROWS[:, :15].reshape(3, 5, 3)) + trunk.positions,
        ],
        dim=1,
    )
    stream = seen
    for _ in range(loops):
        centred = seen - seen.mean(dim=2, keepdim=True)
        size = (centred.square().mean(dim=2, keepdim=True) + 1e-5).sqrt()
        both = torch.cat([trunk.norm(stream), centred / size], dim=2)
        [layer] = trunk.stack
        stream = layer(both @ trunk.join.weight.T + trunk.join.bias)
    [head] = network.heads
    read = trunk.norm(stream)
    if network.head.place == "pooled":
        return read[:, 0] @ head.weight.T + head.bias
    return (read[:, 1:] @ head.weight[0]) + head.bias


@pytest.mark.parametrize("place", ["per_token", "pooled"])
def test_horizon_k_is_read_after_loop_k(place: str) -> None:
    """Also with more loops than the network was built for; beyond the last loop its value stays."""
    network = by_loop(place)
    hand = torch.stack([after(network, k) for k in range(1, 7)], dim=2)
    assert hand.diff(dim=2).abs().amax(dim=(0, 1)).min() > 1e-2  # every loop changes values
    torch.testing.assert_close(network(ROWS)[:, :, :4], hand[:, :, :4])
    torch.testing.assert_close(network(ROWS)[:, :, 4:], hand[:, :, 3:4].expand(3, 5, 2))
    torch.testing.assert_close(network(ROWS, loops=6), hand)
    torch.testing.assert_close(network(ROWS, loops=60), hand)
    torch.testing.assert_close(network(ROWS, loops=1), hand[:, :, :1].expand(3, 5, 6))


def test_by_loop_costs_what_is_counted() -> None:
    for place in ("per_token", "pooled"):
        network = by_loop(place)
        counted = account(network, ROWS)
        assert counted.flops_forward == network.forward_flops()
        # Input layer, four times (join and six products), head.
        assert counted.critical_path == 1 + 4 * 7 + 1
    parameters = [sum(p.numel() for p in by_loop(loops=n).parameters()) for n in (1, 5)]
    assert parameters[0] == parameters[1]
    more = [by_loop(loops=n).forward_flops() for n in (1, 2, 3)]
    assert more[2] - more[1] == more[1] - more[0] > 0


def test_loops_and_readouts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="loops=7: must be 6 at most, one for each horizon"):
        by_loop(loops=7)
    recurrent = build_trunk("recurrent", LAYOUT, depth=1, width=4)
    with pytest.raises(ValueError, match="readout='by_loop': must be last: the layers of a Rec"):
        build_network(recurrent, HorizonHead(5, 6, "pooled", "by_loop"))
    with pytest.raises(ValueError, match="injection='twice': must be one of add, concat"):
        build_trunk("conv", LAYOUT, depth=2, width=4, injection="twice")
    with pytest.raises(
        ValueError, match="injection: only kind residual, transformer, conv, stepwise"
    ):
        build_trunk("recurrent", LAYOUT, depth=1, width=4, injection="concat")


@pytest.mark.parametrize("injection", ["add", "concat"])
@pytest.mark.parametrize(("kind", "depth"), LOOPING)
def test_the_same_weights_run_any_number_of_loops(kind: str, depth: int, injection: str) -> None:
    """As a network built for that number (whose residual blocks alone are scaled by it)."""
    networks = []
    for loops in (2, 5):
        torch.manual_seed(0)
        options = {"injection": injection} | ({"scaled": False} if kind == "residual" else {})
        trunk = build_trunk(kind, LAYOUT, depth=depth, width=8, loops=loops, **options)
        if kind == "conv":
            for block in trunk.stack:
                block.scale = 1.0
        networks.append(Network(trunk, 2))
    two, five = networks
    outputs = five(ROWS, every=True)
    assert outputs.shape == (5, 3, 2)
    for loops in (1, 2, 3, 5):
        torch.testing.assert_close(two(ROWS, loops=loops), outputs[loops - 1])
    torch.testing.assert_close(five(ROWS), outputs[-1])
    torch.testing.assert_close(two(ROWS, loops=3, every=True), outputs[:3])
    assert five.forward_flops() == account(five, ROWS).flops_forward
    assert not torch.allclose(outputs[0], outputs[1])


def test_a_pass_more_of_the_recurrent_trunk() -> None:
    torch.manual_seed(0)
    one = Network(build_trunk("recurrent", LAYOUT, depth=2, width=4), 2)
    torch.manual_seed(0)
    three = Network(build_trunk("recurrent", LAYOUT, depth=2, width=4, loops=3), 2)
    torch.testing.assert_close(one(ROWS, loops=3), three(ROWS))


@pytest.mark.parametrize(("kind", "depth"), LOOPING)
def test_budgets_hold_with_the_layer_that_joins(kind: str, depth: int) -> None:
    width = solve_width(
        kind, LAYOUT, 2, depth=depth, loops=3, parameters=40_000, injection="concat"
    )
    trunk = build_trunk(kind, LAYOUT, depth=depth, width=width, loops=3, injection="concat")
    parameters = sum(p.numel() for p in Network(trunk, 2).parameters())
    assert parameters == pytest.approx(40_000, rel=0.02)


def test_joined_streams_do_not_grow_with_the_loops() -> None:
    """An added embedding does: after 64 loops the stream is many times as large."""
    growth = {}
    for injection in ("add", "concat"):
        torch.manual_seed(0)
        trunk = build_trunk("transformer", LAYOUT, depth=6, width=8, injection=injection)
        streams = trunk.loop_streams(ROWS, 64)
        growth[injection] = (streams[-1].std() / streams[0].std()).item()
    assert growth["add"] > 8
    assert growth["concat"] < 2
