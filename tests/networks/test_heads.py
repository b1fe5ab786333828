"""Heads of fixed-horizon values: what they read, in plain steps and counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rl_serial.envs.chain import TokenLayout
from rl_serial.networks import (
    Account,
    HorizonHead,
    HorizonNetwork,
    account,
    build_network,
    build_trunk,
    solve_width,
)
from rl_serial.networks.trunks import even_shares

torch.set_num_threads(1)

SMALL = TokenLayout(tokens=2, features=3, globals=4)
LAYOUT = TokenLayout(tokens=5, features=3, globals=4)


def rows(layout: TokenLayout, batch: int = 3) -> torch.Tensor:
    return torch.rand(batch, layout.size, generator=torch.Generator().manual_seed(0))


def network(kind: str, layout: TokenLayout, depth: int, head: HorizonHead) -> HorizonNetwork:
    torch.manual_seed(0)
    found = build_network(build_trunk(kind, layout, depth=depth, width=4), head)
    assert isinstance(found, HorizonNetwork)
    return found


def test_horizons_are_shared_evenly_and_all_of_them() -> None:
    assert even_shares(8, 1) == [8]
    assert even_shares(8, 4) == [2, 2, 2, 2]
    assert even_shares(8, 3) == [2, 3, 3]
    assert even_shares(2, 4) == [0, 1, 0, 1]  # the deeper of two layers


@pytest.mark.parametrize("readout", ["last", "layerwise"])
@pytest.mark.parametrize("place", ["pooled", "per_token"])
@pytest.mark.parametrize(("kind", "depth"), [("transformer", 18), ("conv", 6)])
def test_values_in_plain_steps(kind: str, depth: int, place: str, readout: str) -> None:
    """Three layers and eight horizons, layerwise 2, 3 and 3; five starts."""
    net = network(kind, LAYOUT, depth, HorizonHead(5, 8, place, readout))
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    observation = rows(LAYOUT)
    values = net(observation)
    assert values.shape == (3, 5, 8)
    streams = net.trunk.streams(observation)
    read = [(2, streams[0]), (3, streams[1]), (3, streams[2])]
    first = 0
    for index, (share, stream) in enumerate(read if readout == "layerwise" else [(8, streams[2])]):
        weight, bias = net.heads[index].weight, net.heads[index].bias
        for start in range(5):
            for horizon in range(share):
                if place == "pooled":
                    features, row = net.trunk.pool(stream), start * share + horizon
                else:
                    features, row = net.trunk.tokens(stream)[:, start], horizon
                expected = features @ weight[row] + bias[row]
                assert torch.allclose(values[:, start, first + horizon], expected, atol=1e-4)
        first += share
    assert first == 8


def test_layerwise_short_horizons_do_not_depend_on_later_layers() -> None:
    net = network("transformer", LAYOUT, 18, HorizonHead(5, 8, "per_token", "layerwise"))
    before = net(rows(LAYOUT))
    with torch.no_grad():
        for parameter in net.trunk.stack[2].parameters():
            parameter.add_(torch.randn(parameter.shape))
    after = net(rows(LAYOUT))
    same = [torch.equal(before[:, :, k], after[:, :, k]) for k in range(8)]
    assert same == [True] * 5 + [False] * 3


def test_hand_counted_heads() -> None:
    """On the trunks of test_accounting: without its head that of one layer has 296 numbers."""
    # per token: head 4·3+3 = 15; MACs 2 rows · 4·3 = 24 in place of 8. Update 2 (2·40 + 3·672)
    one = network("transformer", SMALL, 6, HorizonHead(2, 3, "per_token"))
    assert account(one, rows(SMALL)) == Account(311, 1424, 4192, 1 + 6 + 1)
    # pooled: head 4·6+6 = 30; MACs 24. Update as before
    pooled = network("transformer", SMALL, 6, HorizonHead(2, 3))
    assert account(pooled, rows(SMALL)) == Account(326, 1424, 4192, 1 + 6 + 1)
    # two layers, which read one and two horizons: heads 4·1+1 + 4·2+2 = 15; 540 + 15.
    # MACs 40 + 2·648 + 24 = 1360. Update 2 (2·40 + 3·1320)
    two = network("transformer", SMALL, 12, HorizonHead(2, 3, "per_token", "layerwise"))
    assert account(two, rows(SMALL)) == Account(555, 2720, 8080, 1 + 12 + 1)
    # stepwise with two blocks of one token: 119 - 8 and heads 3·4+4 twice (2 starts, 2 horizons
    # each); here at width 4: global 20, blocks LN 8, up 7·4+4 = 32, LN 8, down 20: 68 twice, LN 8;
    # heads 20 twice. MACs: 16 + 2·(28 + 16) + 2·16 = 136. Update 2 (2·16 + 3·120)
    steps = network("stepwise", SMALL, 4, HorizonHead(2, 4, "pooled", "layerwise"))
    assert account(steps, rows(SMALL)) == Account(204, 272, 784, 1 + 4 + 1)
    for net in (one, pooled, two, steps):
        assert net.forward_flops() == account(net, rows(SMALL)).flops_forward


@pytest.mark.parametrize("readout", ["last", "layerwise"])
def test_budgets_include_the_heads(readout: str) -> None:
    head = HorizonHead(5, 8, "pooled", readout)
    width = solve_width("stepwise", LAYOUT, head, depth=10, parameters=20_000)
    net = build_network(build_trunk("stepwise", LAYOUT, depth=10, width=width), head)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(20_000, rel=0.02)


def test_heads_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"head='per_token': must be pooled: .* no tokens"):
        network("residual", LAYOUT, 4, HorizonHead(5, 8, "per_token"))
    with pytest.raises(ValueError, match="must be pooled: there are 4 starts and 5 tokens"):
        network("conv", LAYOUT, 4, HorizonHead(4, 8, "per_token"))
    with pytest.raises(ValueError, match="readout='layerwise': must be last: the layers"):
        network("recurrent", LAYOUT, 4, HorizonHead(5, 8, "pooled", "layerwise"))
    with pytest.raises(ValueError, match="readout='first': must be one of last, layerwise"):
        HorizonHead(5, 8, "pooled", "first")
    with pytest.raises(ValueError, match="starts=0: must be 1 or more"):
        HorizonHead(0, 8)
