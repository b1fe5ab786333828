"""Accounts against nets that were counted by hand; every sum is written out beside its number.

MACs are multiply-adds; FLOPs are twice that. The backward pass costs each product once more for its
second factor's gradient and once more for its first's; an input layer's product has no first one,
for the observation needs no gradient.
"""

from dataclasses import dataclass

import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.dqn.policies import QNetwork
from torch import nn
from torch.nn import functional as F

from rl_serial.envs.chain import TokenLayout
from rl_serial.networks import Account, Network, account, accounting, build_trunk

torch.set_num_threads(1)

SMALL = TokenLayout(tokens=2, features=3, globals=4)  # 10 numbers
OTHER = TokenLayout(tokens=3, features=2, globals=5)  # 11 numbers
BOARD = TokenLayout(tokens=4, features=1, globals=2, grid=(2, 2))  # 6 numbers


@dataclass(frozen=True)
class Case:
    kind: str
    layout: TokenLayout
    depth: int
    width: int
    loops: int
    expected: Account


# Every head has 2 outputs. LN has 2 numbers a channel. In the order of Account's fields:
# parameters, forward FLOPs, update FLOPs, critical path.
CASES = [
    # input 10·3+3 + LN 6, dense 3·3+3 + LN 6, head 3·2+2: 39 + 18 + 8
    # MACs: input 30, dense 9, head 6. Update 2 (2·30 + 3·15)
    Case("residual", SMALL, 1, 3, 1, Account(65, 90, 210, 1 + 1 + 1)),
    # input 10·4+4 + 8, six times 4·4+4 + 8, head 4·2+2: 52 + 168 + 10
    # MACs: 40, 6·16 = 96, 8. Update 2 (2·40 + 3·104)
    Case("residual", SMALL, 6, 4, 1, Account(230, 288, 784, 1 + 6 + 1)),
    # 39 + 4·18 + 8; MACs: 30, 3·4·9 = 108, 6. Update 2 (2·30 + 3·114)
    Case("residual", SMALL, 4, 3, 3, Account(119, 288, 804, 1 + 3 * 4 + 1)),
    # 3 rows (2 tokens and the global one), 4 heads of size 1.
    # token input 3·4+4 = 16, global input 4·4+4 = 20, positions 2·4 = 8; layer: LN 8,
    # qkv 4·12+12 = 60, out 4·4+4 = 20, LN 8, up 4·16+16 = 80, down 16·4+4 = 68, together 244;
    # LN 8; head 4·2+2 = 10
    # MACs: inputs 2·3·4 + 4·4 = 40; qkv 3·4·12 = 144, scores 4·3·3·1 = 36, mix 36,
    # out 3·4·4 = 48, up 3·4·16 = 192, down 192, together 648; head 8. Update 2 (2·40 + 3·656)
    Case("transformer", SMALL, 6, 4, 1, Account(306, 1392, 4096, 1 + 6 + 1)),
    # one layer more: 306 + 244; MACs 40 + 2·648 + 8 = 1344. Update 2 (2·40 + 3·1304)
    Case("transformer", SMALL, 12, 4, 1, Account(550, 2688, 7984, 1 + 12 + 1)),
    # 4 rows, 4 heads of size 2 (5/4 rounded up), so 8 wide inside.
    # token input 2·5+5 = 15, global input 5·5+5 = 30, positions 15; layer: LN 10,
    # qkv 5·24+24 = 144, out 8·5+5 = 45, LN 10, up 5·20+20 = 120, down 20·5+5 = 105: 434;
    # LN 10; head 5·2+2 = 12
    # MACs: inputs 3·2·5 + 5·5 = 55; qkv 4·5·24 = 480, scores 4·4·4·2 = 128, mix 128,
    # out 4·8·5 = 160, up 4·5·20 = 400, down 400, together 1696, run twice 3392; head 10.
    # Update 2 (2·55 + 3·3402)
    Case("transformer", OTHER, 6, 5, 2, Account(516, 6914, 20632, 1 + 2 * 6 + 1)),
    # token input 3·2+2 = 8, global input 4·2 = 8 (one bias is enough), LN 4,
    # convolution 3·2·2+2 = 14, LN 4, head (2·2)·2+2 = 10
    # MACs: inputs 2·3·2 + 4·2 = 20, convolution 2·3·2·2 = 24, head 8. Update 2 (2·20 + 3·32)
    Case("conv", SMALL, 1, 2, 1, Account(48, 104, 272, 1 + 1 + 1)),
    # 3·3+3 = 12, 4·3 = 12, four times LN 6 + 3·3·3+3 = 30, LN 6, head (2·3)·2+2 = 14
    # MACs: 2·3·3 + 4·3 = 30, 4·(2·3·3·3 = 54) = 216, 12. Update 2 (2·30 + 3·228)
    Case("conv", SMALL, 4, 3, 1, Account(188, 516, 1488, 1 + 4 + 1)),
    # 2·2+2 = 6, 5·2 = 10, twice 4 + 14, LN 4, head (3·2)·2+2 = 14
    # MACs: 3·2·2 + 5·2 = 22, 3·2·(3·3·2·2 = 36) = 216, 12. Update 2 (2·22 + 3·228)
    Case("conv", OTHER, 2, 2, 3, Account(70, 500, 1456, 1 + 3 * 2 + 1)),
    # global input 4·2+2 = 10; three gates: 3·2·3 = 18 from the token, 3·2·2 = 12 from the hidden
    # state, biases 2·6 = 12; head 2·2+2 = 6
    # MACs: global 8; 2 tokens·18 = 36; 2·12 = 24; head 4. Update 2 (2·(8+36) + 3·(24+4))
    # path: global, 2 tokens, head
    Case("recurrent", SMALL, 1, 2, 1, Account(58, 144, 344, 1 + 2 + 1)),
    # global 4·6+6 = 30; layers 42, 36, 36; head 6
    # MACs: global 24; from below 2·18 = 36 and 2·2·12 = 48; hidden 3·2·12 = 72; head 4.
    # Update 2 (2·(24+36) + 3·(48+72+4)). The path goes up 3 layers and along 2 tokens in 4 steps.
    Case("recurrent", SMALL, 3, 2, 1, Account(150, 368, 984, 1 + 4 + 1)),
    # a board of 2 by 2: 1·2+2 = 4, 2·2 = 4, LN 4, convolution 9·2·2+2 = 38, LN 4,
    # head (4·2)·2+2 = 18
    # MACs: 4·1·2 + 2·2 = 12, 4·9·2·2 = 144, 16. Update 2 (2·12 + 3·160)
    Case("conv", BOARD, 1, 2, 1, Account(72, 344, 1008, 1 + 1 + 1)),
    # global 5·4+4 = 24; layers 3·2·2 + 12 + 12 = 36 twice; head 6
    # MACs: global 20; a pass: 3·12 = 36 from the tokens, 36 from the layer below, hidden 2·36;
    # three passes 108, 108, 216; head 4. Update 2 (2·(20+108) + 3·(108+216+4)).
    # The path goes up 2 layers and along 3·3 tokens in 10 steps.
    Case("recurrent", OTHER, 2, 2, 3, Account(102, 912, 2480, 1 + 10 + 1)),
    # global 4·3+3 = 15; a block of one token: LN 6, up (3+3)·3+3 = 21, LN 6, down 3·3+3 = 12,
    # together 45, twice; LN 6; head 8
    # MACs: global 12; a block 18 + 9 = 27, twice 54; head 6. Update 2 (2·12 + 3·60)
    Case("stepwise", SMALL, 4, 3, 1, Account(119, 144, 408, 1 + 4 + 1)),
    # global 5·2+2 = 12; blocks of one and of two tokens: LN 4, up (2+2)·2+2 = 10, LN 4, down 6
    # are 24, and with (2+4)·2+2 = 14 they are 28; LN 4; head 6
    # MACs: global 10; blocks 8 + 4 and 12 + 4, together 28, two passes 56; head 4.
    # Update 2 (2·10 + 3·60)
    Case("stepwise", OTHER, 4, 2, 2, Account(74, 140, 400, 1 + 2 * 4 + 1)),
]


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.kind}-{c.depth}x{c.width}x{c.loops}")
def test_hand_counted_networks(case: Case, device: str) -> None:
    with torch.device(device):
        trunk = build_trunk(
            case.kind, case.layout, depth=case.depth, width=case.width, loops=case.loops
        )
        found = account(Network(trunk, 2), torch.zeros(1, case.layout.size))
    assert found == case.expected


def test_hand_counted_recall_and_last_norm() -> None:
    """Two pre-norm blocks of two on SMALL, width 3: each weight beside its sum."""
    trunk = build_trunk("residual", SMALL, depth=4, width=3, block="pre_norm", recall=True)
    # input 10·3+3 + LN 6, four times LN 6 + 3·3+3, recall 10·3, LN 6, head 3·2+2
    # MACs: 30 + 30, 4·9 = 36, 6. Update 2 (2·60 + 3·42). Recall is beside the path.
    expected = Account(39 + 72 + 30 + 6 + 8, 204, 492, 1 + 4 + 1)
    assert account(Network(trunk, 2), torch.zeros(1, 10)) == expected
    assert Network(trunk, 2).forward_flops() == 204


@pytest.mark.parametrize("kind", ["residual", "transformer", "conv", "recurrent", "stepwise"])
def test_accounts_are_per_sample(kind: str) -> None:
    depth = 4 if kind == "stepwise" else 6
    network = Network(build_trunk(kind, SMALL, depth=depth, width=5), 2)
    assert account(network, torch.zeros(7, 10)) == account(network, torch.zeros(1, 10))


def test_a_linear_layer_counts_one_with_and_without_bias() -> None:
    for bias, parameters in ((True, 3 * 4 + 4), (False, 3 * 4)):
        found = account(nn.Linear(3, 4, bias=bias), torch.zeros(5, 3))
        assert found == Account(parameters, 24, 48, 1)


def test_the_examples_own_gradient_counts_where_it_is_required() -> None:
    assert account(nn.Linear(3, 4), torch.zeros(5, 3, requires_grad=True)).flops_update == 72


def test_frozen_parameters_are_not_updated() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    network[0].requires_grad_(False)
    # forward 24 + 16; backward only the head's weights, 16: nothing before it learns
    assert account(network, torch.zeros(1, 3)) == Account(16 + 10, 40, 56, 2)


class Branches(nn.Module):
    """Three layers beside one: the longest path has 3, not 4."""

    def __init__(self) -> None:
        super().__init__()
        self.long = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.Linear(3, 3))
        self.short = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.long(x) + self.short(x)


class Separate(Branches):
    """The same branches, joined in one tensor, of which only the short one goes on: 1 + 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = torch.stack([self.long(x), self.short(x)])
        return self.short(both[1])


class InPlace(Branches):
    """A buffer is written through one view and read through another: 3 + 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        buffer = torch.zeros(2, len(x), 3)
        buffer[0].copy_(self.long(x))
        buffer[1].add_(x)
        return self.short(buffer.transpose(0, 1)[:, 0])


class OtherInPlace(Branches):
    """As above, but the row read has met no layer: 0 + 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        buffer = torch.zeros(2, len(x), 3)
        buffer[0].copy_(self.long(x))
        buffer[1].add_(x)
        return self.short(buffer.transpose(0, 1)[:, 1])


class Overwritten(Branches):
    """What the long branch wrote is written over before it is read: 0 + 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.short(self.long(x).copy_(x))


class SecondFactor(Branches):
    """One row of the second factor is late, and every product of a column waits for it: 3 + 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ torch.stack([self.long(x)[0], x[1], x[2]])


class FirstFactor(Branches):
    """One column of the first factor is late, and every product of a row waits for it: 3 + 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x[0], self.long(x)[0], x[2]], dim=1) @ x


class Added(Branches):
    """What is only added to a product has been through 3, and the product through 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.long(x), x, x)


class Products(nn.Module):
    """Products of every kind, one after the other: mm, bmm, einsum, mv, dot."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x @ x.T  # [3, 3]
        y = torch.baddbmm(y[None], y[None], y[None])[0]
        y = torch.einsum("ij,jk->ik", y, y)
        v = torch.addmv(y[0], y, y.mv(y[1]))
        return v.dot(v)[None]


@pytest.mark.parametrize(
    ("network", "path"),
    [
        (Branches(), 3),
        (Separate(), 2),
        (InPlace(), 4),
        (OtherInPlace(), 1),
        (Overwritten(), 1),
        (SecondFactor(), 4),
        (FirstFactor(), 4),
        (Added(), 3),
        (Products(), 6),
    ],
)
def test_critical_path_of_unusual_networks(network: nn.Module, path: int) -> None:
    assert account(network, torch.ones(3, 3)).critical_path == path


def test_flops_of_products_that_torch_does_not_count() -> None:
    class Sample(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x[0]  # [2, 3]
            return y.mv(torch.addmv(y[0], y.T, y[:, 0])).dot(y[:, 0])

    # addmv 2·3·2 = 12, mv 2·2·3 = 12, dot 2·2 = 4
    assert account(Sample(), torch.ones(1, 2, 3)).flops_forward == 28


def test_fused_lstm_is_seen() -> None:
    # 5 tokens, four gates: 2·5·4·(3·4 + 4·4) = 1120. Backward twice that, less the token's own
    # gradient 2·5·4·12 = 480 and the first hidden state's 2·4·16 = 128. Path: one a token.
    lstm = nn.LSTM(3, 4, batch_first=True)
    found = account(lstm, torch.zeros(1, 5, 3))
    assert found == Account(4 * 4 * (3 + 4 + 2), 1120, 3 * 1120 - 480 - 128, 5)


@pytest.mark.parametrize("training", [True, False])
def test_fused_attention_is_seen(training: bool) -> None:
    # Width 4, 2 heads, MLP 8, 5 tokens, MACs: qkv 5·4·12 = 240, scores and mix 2·5·5·4 = 200,
    # out 80, up 160, down 160: 840 MACs. Six products in sequence.
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).train(training)
    found = account(layer, torch.zeros(1, 5, 4))
    assert (found.flops_forward, found.critical_path) == (1680, 6)


def test_scaled_dot_product_attention_is_two_products() -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(x, x, x)

    # 2 heads of size 4 on 5 tokens: 2·(2·5·5·4) each for scores and mix
    found = account(Attention(), torch.zeros(1, 2, 5, 4))
    assert found == Account(0, 800, 800, 2)


def test_stock_networks_of_stable_baselines3() -> None:
    observations, actions = spaces.Box(-1, 1, (4,)), spaces.Discrete(2)
    q = QNetwork(observations, actions, FlattenExtractor(observations), 4, net_arch=[64, 64])
    # 4·64+64, 64·64+64, 64·2+2; MACs 256 + 4096 + 128
    expected = Account(320 + 4160 + 130, 8960, 2 * (2 * 256 + 3 * 4224), 3)
    assert account(q, torch.zeros(3, 4)) == expected

    policy = ActorCriticPolicy(observations, actions, lambda _: 1e-3)
    # two towers 4·64+64, 64·64+64 side by side, heads 64·2+2 and 64+1
    assert account(policy, torch.zeros(1, 4)) == Account(
        2 * 4480 + 130 + 65,
        2 * (2 * 256 + 2 * 4096 + 128 + 64),
        # Sampled actions have no gradient; log-probability and value do.
        2 * (2 * 512 + 3 * (8192 + 192)),
        3,
    )


def test_dictionaries_and_several_arguments() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(2, 1)

        def forward(self, x: dict[str, torch.Tensor], y: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x["x"]) + y)

    found = account(Two(), ({"x": torch.zeros(4, 3)}, torch.zeros(4, 2)))
    assert found == Account(8 + 3, 12 + 4, 24 + 12, 2)


def test_the_network_and_the_random_state_are_left_as_found() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    network[0].weight.grad = torch.ones(4, 3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    torch.backends.mkldnn.enabled = True
    torch.backends.mha.set_fastpath_enabled(True)
    account(network, torch.rand(8, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert [p.grad for p in network.parameters()][1:] == [None] * 5
    assert torch.equal(network[0].weight.grad, torch.ones(4, 3))
    assert network.training
    assert torch.backends.mkldnn.enabled
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    "device",
    [
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
        ),
        "cpu",
    ],
)
def test_on_other_devices_a_copy_is_counted_on_the_cpu(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounting, "_OPEN_DEVICES", {"meta"})
    network = nn.GRU(3, 4, batch_first=True).to(device)
    calls: list[str] = []
    network.register_forward_pre_hook(lambda module, _: calls.append(str(module is network)))
    # MACs of 5 tokens: 5·3·12 from the token, 5·4·12 from the hidden state; the tokens and the
    # first hidden state need no gradient.
    found = account(network, torch.zeros(1, 5, 3, device=device))
    assert found == Account(36 + 48 + 24, 840, 3 * 840 - 360 - 96, 5)
    assert calls == ["False", "False"]
    assert {p.device.type for p in network.parameters()} == {device}
