"""What each trunk computes, beside plain restatements of it and properties it must have."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from rl_serial.envs.chain import TokenLayout
from rl_serial.networks import (
    TRUNKS,
    ConvTrunk,
    Network,
    RecurrentTrunk,
    ResidualTrunk,
    StepwiseTrunk,
    TransformerTrunk,
    build_trunk,
)
from rl_serial.networks.trunks import dense, fold

torch.set_num_threads(1)

LAYOUT = TokenLayout(tokens=5, features=3, globals=4)
KINDS = list(TRUNKS)


def observations(batch: int, layout: TokenLayout = LAYOUT, seed: int = 0) -> Tensor:
    return torch.rand(batch, layout.size, generator=torch.Generator().manual_seed(seed))


def tokens_first(tokens: Tensor, rest: Tensor) -> Tensor:
    """The observation [B, size] made of tokens [B, tokens, features] and globals [B, globals]."""
    return torch.cat([tokens.flatten(1), rest], dim=1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


# --- what all trunks have in common


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loops", [1, 3])
def test_features_have_the_announced_size(kind: str, loops: int) -> None:
    trunk = build_trunk(kind, LAYOUT, depth=6, width=7, loops=loops)
    features = trunk(observations(2))
    assert features.shape == (2, trunk.features_dim)
    assert features.dtype == torch.float32
    assert Network(trunk, 3)(observations(2)).shape == (2, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_of_the_observation_is_read(kind: str) -> None:
    trunk = build_trunk(kind, LAYOUT, depth=6, width=8)
    observation = observations(1).requires_grad_()
    trunk(observation).square().sum().backward()
    assert observation.grad is not None
    assert (observation.grad != 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loops", [1, 2])
def test_rows_of_a_batch_do_not_meet(kind: str, loops: int) -> None:
    network = Network(build_trunk(kind, LAYOUT, depth=6, width=8, loops=loops), 3)
    rows = observations(6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.allclose(network(rows)[order], network(rows[order]), atol=1e-6)
    changed = rows.clone()
    changed[0] = 1 - changed[0]
    assert torch.allclose(network(rows)[1:], network(changed)[1:], atol=1e-6)
    assert not torch.allclose(network(rows)[0], network(changed)[0], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_loops_share_parameters_and_change_the_result(kind: str) -> None:
    once, thrice = (build_trunk(kind, LAYOUT, depth=6, width=8, loops=n) for n in (1, 3))
    thrice.load_state_dict(once.state_dict())  # the same names and shapes
    assert not torch.allclose(once(observations(4)), thrice(observations(4)), atol=1e-3)


class Recorder(nn.Module):
    """Notes what it is given, and gives back zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.given.append(x)
        return torch.zeros_like(x)


@pytest.mark.parametrize("kind", ["residual", "transformer", "conv"])
def test_the_input_embedding_is_injected_again_before_each_loop(kind: str) -> None:
    trunk = build_trunk(kind, LAYOUT, depth=6, width=8, loops=3)
    trunk.stack = Recorder()  # forgets everything
    trunk(observations(2))
    first, second, third = trunk.stack.given
    assert first.abs().sum() > 0
    assert torch.equal(second, first)
    assert torch.equal(third, first)


@pytest.mark.parametrize("kind", ["residual", "transformer", "conv"])
def test_a_loop_goes_on_from_what_the_last_one_left(kind: str) -> None:
    trunk = build_trunk(kind, LAYOUT, depth=6, width=8, loops=3)
    trunk.stack = nn.Identity()
    seen: list[Tensor] = []
    trunk.stack.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    trunk(observations(2))
    assert torch.allclose(seen[1], 2 * seen[0])
    assert torch.allclose(seen[2], 3 * seen[0])


DEEP = {"residual": 64, "transformer": 66, "conv": 64, "recurrent": 64, "stepwise": 10}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loops", [1, 4])
def test_gradient_reaches_every_parameter_of_a_deep_network(kind: str, loops: int) -> None:
    network = Network(build_trunk(kind, LAYOUT, depth=DEEP[kind], width=16, loops=loops), 2)
    network(observations(8)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


WEIGHT = {
    "residual": ".layers.0.weight",
    "transformer": "qkv.weight",
    "conv": "convolutions.0.weight",
    "recurrent": "weight_hh",
    "stepwise": "down.weight",
}


@pytest.mark.parametrize("kind", KINDS)
def test_deep_networks_start_out_at_a_sane_size(kind: str) -> None:
    network = Network(build_trunk(kind, LAYOUT, depth=DEEP[kind], width=64), 4)
    outputs = network(observations(32))
    outputs.sum(1).mean().backward()
    norms = {name: p.grad.norm().item() for name, p in network.named_parameters()}
    assert 0.05 < outputs.square().mean().sqrt().item() < 10
    assert outputs.std(0).mean().item() > 0.01  # the inputs are still told apart
    assert 1 < math.hypot(*norms.values()) < 300
    weights = [norm for name, norm in norms.items() if WEIGHT[kind] in name]
    assert 0.1 < weights[0] / weights[-1] < 10  # the first layer learns about as fast as the last


@pytest.mark.parametrize("option", ["depth", "width", "loops"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_bad_numbers_are_refused(kind: str, option: str, value: float) -> None:
    options = {"depth": 6, "width": 8, "loops": 1, option: value}
    with pytest.raises(ValueError, match=rf"{option}={value}: must be an integer of 1 or more"):
        build_trunk(kind, LAYOUT, **options)


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="one of residual, transformer, conv, recurrent"):
        build_trunk("mlp", LAYOUT, depth=4, width=8)


@pytest.mark.parametrize(
    "layout", [TokenLayout(0, 3, 4), TokenLayout(5, 0, 4), TokenLayout(5, 3, 0)]
)
def test_a_layout_without_tokens_or_globals_is_refused(layout: TokenLayout) -> None:
    with pytest.raises(ValueError, match="at least one token, one feature and one global"):
        build_trunk("conv", layout, depth=4, width=8)


def test_a_head_without_outputs_is_refused() -> None:
    with pytest.raises(ValueError, match="num_outputs=0"):
        Network(build_trunk("residual", LAYOUT, depth=4, width=8), 0)


def test_dense_layers_start_uniform_with_variance_one_third_of_fan_in() -> None:
    layer = dense(100, 400)
    assert layer.weight.abs().max() <= 0.1  # sqrt(3 · (1/3) / 100)
    assert layer.weight.var().item() == pytest.approx(1 / 300, rel=0.05)
    assert (layer.bias == 0).all()


def test_fold_takes_tokens_row_by_row_and_then_the_globals() -> None:
    tokens, rest = fold(torch.arange(19.0)[None], LAYOUT)
    assert tokens.tolist() == [[[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11], [12, 13, 14]]]
    assert rest.tolist() == [[15, 16, 17, 18]]


# --- residual


@pytest.mark.parametrize(("depth", "length"), [(8, 4), (6, 2), (3, 1)])
def test_residual_is_the_block_of_wang_et_al(depth: int, length: int) -> None:
    trunk = ResidualTrunk(LAYOUT, depth=depth, width=8, block="wang", scaled=False)
    for parameter in trunk.parameters():  # norms and biases too
        nn.init.normal_(parameter)
    rest = list(trunk.parameters())

    def layer(x: Tensor) -> Tensor:
        weight, bias, gain, shift = (rest.pop(0) for _ in range(4))
        x = x @ weight.T + bias
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain + shift
        return x / (1 + torch.exp(-x))

    rows = observations(4)
    h = layer(rows)
    for _ in range(depth // length):
        before = h
        for _ in range(length):
            h = layer(h)
        h = h + before
    assert rest == []
    assert torch.allclose(trunk(rows), h, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loops", [1, 2])
@pytest.mark.parametrize("recall", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("block", ["wang", "pre_norm"])
def test_blocks_with_recall_in_plain_steps(
    block: str, scaled: bool, recall: bool, loops: int
) -> None:
    """Two blocks of either kind, scaled by 1/sqrt(blocks run) or not, restated line by line."""
    depth = {"wang": 8, "pre_norm": 4}[block]
    trunk = ResidualTrunk(
        LAYOUT, depth=depth, width=8, loops=loops, block=block, scaled=scaled, recall=recall
    )
    for parameter in trunk.parameters():
        nn.init.normal_(parameter)
    weights = trunk.state_dict()

    def dense_(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)

    def norm(x: Tensor, name: str) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def swish(x: Tensor) -> Tensor:
        return x / (1 + torch.exp(-x))

    def branch(x: Tensor, name: str) -> Tensor:
        for i in range(depth // 2):
            if block == "wang":
                x = swish(norm(dense_(x, f"{name}.{3 * i}"), f"{name}.{3 * i + 1}"))
            else:
                x = dense_(swish(norm(x, f"{name}.{3 * i}")), f"{name}.{3 * i + 2}")
        return x

    scale = 1 / math.sqrt(2 * loops) if scaled else 1
    rows = observations(4)
    embedding = swish(norm(dense_(rows, "input.0"), "input.1"))
    h = torch.zeros_like(embedding)
    for _ in range(loops):
        h = h + embedding
        h = h + scale * branch(h, "stack.0.layers")
        if recall:
            h = h + dense_(rows, "recall.0")
        h = h + scale * branch(h, "stack.1.layers")
    if block == "pre_norm":
        h = norm(h, "norm")
    assert torch.allclose(trunk(rows), h, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("block", ["wang", "pre_norm"])
@pytest.mark.parametrize("loops", [1, 4])
@pytest.mark.parametrize("scaled", [False, True])
def test_every_block_has_a_gradient_at_depth_64(block: str, scaled: bool, loops: int) -> None:
    options = {"depth": 64, "width": 16, "loops": loops, "block": block, "scaled": scaled}
    network = Network(build_trunk("residual", LAYOUT, **options), 2)  # type: ignore[arg-type]
    outputs = network(observations(8))
    outputs.square().mean().backward()
    assert outputs.detach().square().mean().sqrt() < 20
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_blocks_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="block='simba': must be one of wang, pre_norm"):
        ResidualTrunk(LAYOUT, depth=4, width=8, block="simba")
    with pytest.raises(ValueError, match="recall=True: must be off where depth 4 is one block"):
        ResidualTrunk(LAYOUT, depth=4, width=8, block="wang", recall=True)
    with pytest.raises(ValueError, match="block: only kind residual has it, not conv"):
        build_trunk("conv", LAYOUT, depth=4, width=8, block="wang")


# --- transformer


@pytest.mark.parametrize(
    ("depth", "nearest"), [(1, "6 and 12"), (7, "6 and 12"), (64, "60 and 66")]
)
def test_transformer_depths_that_are_no_whole_layers_are_refused(depth: int, nearest: str) -> None:
    with pytest.raises(ValueError, match=rf"depth={depth}: .* the nearest are {nearest}"):
        build_trunk("transformer", LAYOUT, depth=depth, width=8)


def test_transformer_knows_tokens_apart_by_their_learned_positions_only() -> None:
    trunk = TransformerTrunk(LAYOUT, depth=12, width=8)
    tokens, rest = fold(observations(2), LAYOUT)
    straight = tokens_first(tokens, rest)
    swapped = tokens_first(tokens[:, [0, 3, 2, 1, 4]], rest)
    assert not torch.allclose(trunk(straight), trunk(swapped), atol=1e-3)
    nn.init.zeros_(trunk.positions)
    assert torch.allclose(trunk(straight), trunk(swapped), atol=1e-5)


def test_transformer_layer_is_that_of_torch() -> None:
    trunk = TransformerTrunk(LAYOUT, depth=6, width=8)
    for parameter in trunk.parameters():
        nn.init.normal_(parameter, std=0.5)
    [ours] = trunk.stack
    theirs = nn.TransformerEncoderLayer(
        8, 4, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    # Both keep the rows of q, k and v in this order, each head's together.
    names = ["self_attn.in_proj_weight", "self_attn.in_proj_bias", "self_attn.out_proj.weight"]
    names += ["self_attn.out_proj.bias", "linear1.weight", "linear1.bias", "linear2.weight"]
    names += ["linear2.bias", "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"]
    layers = [ours.qkv, ours.out, ours.up, ours.down, ours.attention_norm, ours.mlp_norm]
    values = [p for layer in layers for p in (layer.weight, layer.bias)]
    theirs.load_state_dict(dict(zip(names, values, strict=True)))
    x = torch.randn(3, 6, 8)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_transformer_reads_out_the_token_of_the_globals_after_a_layer_norm() -> None:
    trunk = TransformerTrunk(LAYOUT, depth=6, width=8)
    trunk.stack = nn.Identity()
    rows = observations(2)
    h = rows[:, 15:] @ trunk.global_input.weight.T
    h = h - h.mean(-1, keepdim=True)
    assert torch.allclose(trunk(rows), h / (h.square().mean(-1, keepdim=True) + 1e-5).sqrt())


# --- conv


@pytest.mark.parametrize(("depth", "length", "loops"), [(4, 2, 1), (3, 1, 1), (2, 2, 3)])
def test_conv_is_a_scaled_pre_norm_residual_stack(depth: int, length: int, loops: int) -> None:
    trunk = ConvTrunk(LAYOUT, depth=depth, width=8, loops=loops)
    for parameter in trunk.parameters():
        nn.init.normal_(parameter)
    weights = trunk.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def layer(x: Tensor, block: int, place: int) -> Tensor:
        x = norm(x, f"stack.{block}.norms.{place}")
        x = x / (1 + torch.exp(-x))
        kernel = weights[f"stack.{block}.convolutions.{place}.weight"]  # [out, in, 3]
        x = torch.cat([torch.zeros(2, 1, 8), x, torch.zeros(2, 1, 8)], dim=1)
        taps = sum(x[:, i : i + 5] @ kernel[:, :, i].T for i in range(3))
        return taps + weights[f"stack.{block}.convolutions.{place}.bias"]

    rows = observations(2)
    tokens, rest = rows[:, :15].view(2, 5, 3), rows[:, 15:]
    embedding = tokens @ weights["token_input.weight"].T + weights["token_input.bias"]
    embedding = embedding + (rest @ weights["global_input.weight"].T)[:, None]
    blocks = depth // length
    h = torch.zeros_like(embedding)
    for _ in range(loops):
        h = h + embedding
        for block in range(blocks):
            change = h
            for place in range(length):
                change = layer(change, block, place)
            h = h + change / math.sqrt(blocks * loops)
    expected = norm(h, "norm").flatten(1)
    assert torch.allclose(trunk(rows), expected, rtol=1e-4, atol=1e-4)


def test_conv_keeps_positions_and_reaches_one_token_further_a_convolution() -> None:
    layout = TokenLayout(tokens=9, features=3, globals=4)
    tokens, rest = fold(observations(1, layout), layout)
    changed = tokens.clone()
    changed[:, 4] += 1
    for depth in (1, 2, 3):
        trunk = ConvTrunk(layout, depth=depth, width=8)
        difference = trunk(tokens_first(changed, rest)) - trunk(tokens_first(tokens, rest))
        moved = difference.view(9, 8).abs().amax(1) > 0
        assert moved.nonzero().flatten().tolist() == list(range(4 - depth, 4 + depth + 1))


def test_conv_gives_the_globals_to_every_token() -> None:
    trunk = ConvTrunk(LAYOUT, depth=2, width=8)
    tokens, rest = fold(observations(1), LAYOUT)
    difference = trunk(tokens_first(tokens, rest + 1)) - trunk(tokens_first(tokens, rest))
    assert (difference.view(5, 8).abs().amax(1) > 0).all()


def test_conv_is_the_same_rule_at_every_token() -> None:
    # Shifting the tokens by one shifts the features, away from the borders.
    layout = TokenLayout(tokens=9, features=3, globals=4)
    trunk = ConvTrunk(layout, depth=2, width=8)
    tokens, rest = fold(observations(1, layout), layout)
    here = trunk(tokens_first(tokens, rest)).view(9, 8)
    there = trunk(tokens_first(tokens.roll(1, dims=1), rest)).view(9, 8)
    assert torch.allclose(here[3:6], there[4:7], atol=1e-6)


def test_conv_on_a_board_reaches_a_ring_of_cells_further_a_convolution() -> None:
    layout = TokenLayout(tokens=35, features=3, globals=4, grid=(5, 7))
    tokens, rest = fold(observations(1, layout), layout)
    changed = tokens.clone()
    changed[:, 2 * 7 + 3] += 1  # row 2, column 3
    for depth in (1, 2):
        trunk = ConvTrunk(layout, depth=depth, width=8)
        difference = trunk(tokens_first(changed, rest)) - trunk(tokens_first(tokens, rest))
        moved = difference.view(5, 7, 8).abs().amax(2) > 0
        expected = torch.zeros(5, 7, dtype=torch.bool)
        expected[2 - depth : 3 + depth, 3 - depth : 4 + depth] = True
        assert (moved == expected).all()
    # One convolution by hand, with a frame of zeros around the board.
    trunk = ConvTrunk(layout, depth=1, width=2)
    weights = trunk.state_dict()
    h = trunk._embedding(observations(1, layout))
    x = torch.nn.functional.silu(torch.nn.functional.layer_norm(h, (2,))).view(5, 7, 2)
    framed = torch.zeros(7, 9, 2)
    framed[1:-1, 1:-1] = x
    kernel = weights["stack.0.convolutions.0.weight"]  # [out, in, 3, 3]
    taps = torch.zeros(5, 7, 2)
    for i, j in itertools.product(range(3), repeat=2):
        taps += framed[i : i + 5, j : j + 7] @ kernel[:, :, i, j].T
    expected_stream = h + taps.view(1, 35, 2)
    stream = trunk.streams(observations(1, layout))[-1]
    assert torch.allclose(stream, expected_stream, atol=1e-6)


def test_conv_takes_a_single_token() -> None:
    layout = TokenLayout(tokens=1, features=3, globals=4)
    assert ConvTrunk(layout, depth=2, width=8)(observations(2, layout)).shape == (2, 8)


# --- recurrent


def plain_gru(trunk: RecurrentTrunk, observation: Tensor) -> list[float]:
    """The features of one observation [size], with numbers and loops only (Cho et al. 2014)."""
    weights = {name: tensor.tolist() for name, tensor in trunk.state_dict().items()}
    layout, width, numbers = trunk.layout, trunk.width, observation.tolist()
    tokens = [numbers[3 * t : 3 * t + 3] for t in range(layout.tokens)]

    def affine(name: str, x: list[float], which: str = "") -> list[float]:
        rows, bias = weights[f"{name}weight{which}"], weights[f"{name}bias{which}"]
        return [
            sum(w * v for w, v in zip(row, x, strict=True)) + b
            for row, b in zip(rows, bias, strict=True)
        ]

    start = affine("global_input.", numbers[3 * layout.tokens :])
    hidden = [start[layer * width : (layer + 1) * width] for layer in range(trunk.depth)]
    for _ in range(trunk.loops):
        for token in tokens:
            x = token
            for layer in range(trunk.depth):
                h = hidden[layer]
                a = affine(f"layers.{layer}.", x, "_ih_l0")
                b = affine(f"layers.{layer}.", h, "_hh_l0")
                hidden[layer] = []
                for i in range(width):
                    reset = 1 / (1 + math.exp(-(a[i] + b[i])))
                    update = 1 / (1 + math.exp(-(a[width + i] + b[width + i])))
                    new = math.tanh(a[2 * width + i] + reset * b[2 * width + i])
                    hidden[layer].append((1 - update) * new + update * h[i])
                below = x if layer > 0 else [0.0] * width
                x = [u + v for u, v in zip(below, hidden[layer], strict=True)]
    return x


@pytest.mark.parametrize(("depth", "loops"), [(1, 1), (3, 1), (2, 3)])
def test_recurrent_equals_a_gru_in_plain_python(depth: int, loops: int) -> None:
    trunk = RecurrentTrunk(LAYOUT, depth=depth, width=4, loops=loops)
    for parameter in trunk.parameters():
        nn.init.normal_(parameter)
    for row in observations(3):
        assert trunk(row[None])[0].tolist() == pytest.approx(plain_gru(trunk, row), abs=1e-5)


def test_recurrent_reads_tokens_in_order_and_the_last_one_last() -> None:
    trunk = RecurrentTrunk(LAYOUT, depth=1, width=3)
    for parameter in trunk.parameters():
        nn.init.zeros_(parameter)
    [gru] = trunk.layers
    gru.bias_ih_l0.data[3:6] = -50  # the update gate is shut: forget the past
    gru.weight_ih_l0.data[6:] = torch.eye(3)  # and take the token
    tokens, rest = fold(observations(2), LAYOUT)
    assert torch.allclose(trunk(tokens_first(tokens, rest)), tokens[:, -1].tanh())


def test_recurrent_loops_are_the_same_tokens_read_again() -> None:
    twice = RecurrentTrunk(LAYOUT, depth=2, width=4, loops=2)
    long = RecurrentTrunk(TokenLayout(10, 3, 4), depth=2, width=4)
    long.load_state_dict(twice.state_dict())
    tokens, rest = fold(observations(2), LAYOUT)
    repeated = tokens_first(torch.cat([tokens, tokens], dim=1), rest)
    assert torch.allclose(twice(tokens_first(tokens, rest)), long(repeated), atol=1e-6)


# --- stepwise


@pytest.mark.parametrize("loops", [1, 2])
def test_stepwise_in_plain_steps(loops: int) -> None:
    """Two blocks, of two and three of the five tokens, restated line by line."""
    trunk = StepwiseTrunk(LAYOUT, depth=4, width=8, loops=loops)
    for parameter in trunk.parameters():
        nn.init.normal_(parameter)
    weights = trunk.state_dict()

    def dense_(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    rows = observations(4)
    embedding = dense_(rows[:, 15:], "input")
    h = torch.zeros_like(embedding)
    for _ in range(loops):
        h = h + embedding
        for block, letters in enumerate((rows[:, :6], rows[:, 6:15])):
            x = torch.cat([norm(h, f"stack.{block}.norm"), letters], dim=1)
            x = norm(dense_(x, f"stack.{block}.up"), f"stack.{block}.inner_norm")
            h = h + dense_(x / (1 + torch.exp(-x)), f"stack.{block}.down")
    assert torch.allclose(trunk(rows), norm(h, "norm"), rtol=1e-3, atol=1e-4)


def test_a_stepwise_block_reads_its_own_group_and_nothing_earlier_depends_on_it() -> None:
    trunk = StepwiseTrunk(LAYOUT, depth=10, width=8)
    tokens, rest = fold(observations(2), LAYOUT)
    before = trunk.streams(tokens_first(tokens, rest))
    for group in range(5):
        changed = tokens.clone()
        changed[:, group] += 1
        after = trunk.streams(tokens_first(changed, rest))
        same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert same == [True] * group + [False] * (5 - group)


def test_a_stepwise_block_without_tokens_passes_the_stream_on() -> None:
    """Rows of one batch whose tapes end after 3, 1 and 0 tokens."""
    trunk = StepwiseTrunk(LAYOUT, depth=10, width=8)
    for parameter in trunk.parameters():
        nn.init.normal_(parameter)  # biases too
    tokens, rest = fold(observations(3), LAYOUT)
    ends = [3, 1, 0]
    for row, end in enumerate(ends):
        tokens[row, end:] = 0
    streams = [trunk.input(rest), *trunk.streams(tokens_first(tokens, rest))]
    for row, end in enumerate(ends):
        moved = [not torch.equal(a[row], b[row]) for a, b in itertools.pairwise(streams)]
        assert moved == [block < end for block in range(5)]


@pytest.mark.parametrize("depth", [1, 5, 12])
def test_stepwise_depths_that_are_no_blocks_with_tokens_are_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=rf"depth={depth}: must be even and at most 10"):
        build_trunk("stepwise", LAYOUT, depth=depth, width=8)


# --- what heads read


@pytest.mark.parametrize("loops", [1, 2])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if TRUNKS[kind].reads_layers])
def test_the_last_stream_is_what_the_trunk_gives(kind: str, loops: int) -> None:
    trunk = build_trunk(kind, LAYOUT, depth=6, width=8, loops=loops)
    rows = observations(3)
    streams = trunk.streams(rows)
    assert len(streams) == trunk.num_streams
    assert torch.equal(trunk.pool(streams[-1]), trunk(rows))
    if trunk.reads_tokens:
        assert trunk.tokens(streams[0]).shape == (3, LAYOUT.tokens, 8)


def test_streams_of_a_shallow_trunk_are_the_first_of_a_deep_one() -> None:
    for kind, layer in (("residual", 4), ("transformer", 6), ("conv", 2)):
        deep = build_trunk(kind, LAYOUT, depth=3 * layer, width=8)
        shallow = build_trunk(kind, LAYOUT, depth=layer, width=8)
        shallow.load_state_dict(deep.state_dict(), strict=False)
        if kind != "transformer":  # which alone does not scale its layers
            for block in deep.stack:
                block.scale = shallow.stack[0].scale
        rows = observations(3)
        assert torch.equal(deep.streams(rows)[0], shallow.streams(rows)[0])
