"""Fused layers beside the plain modules that they stand for, and where those run themselves."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from rl_serial.agents.adamw import QuickAdamW
from rl_serial.networks import Network, ResidualTrunk, account, fused
from rl_serial.networks.configured import vector_layout

torch.set_num_threads(1)
INPUTS = 9


def network(**options: Any) -> Network:
    torch.manual_seed(0)
    trunk = ResidualTrunk(vector_layout(INPUTS), **({"depth": 8, "width": 24} | options))
    made = Network(trunk, 3)
    with torch.no_grad():  # gains and shifts of their own, so that none can be left out
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return made


def rows(count: int) -> Tensor:
    return torch.randn(count, INPUTS, generator=torch.Generator().manual_seed(1))


def results(net: nn.Module, x: Tensor, context: Any = nullcontext) -> list[Tensor]:
    """Outputs, and gradients of the input and of all parameters."""
    x = x.clone().requires_grad_()
    net.zero_grad()
    with context():
        outputs = net(x)
        outputs.square().sum().backward()
    gradients = [x.grad, *(parameter.grad for parameter in net.parameters())]
    assert all(gradient is not None for gradient in gradients)
    return [outputs.detach(), *(gradient.clone() for gradient in gradients if gradient is not None)]


def assert_as_exact(mine: list[Tensor], plain: list[Tensor], exact: list[Tensor]) -> None:
    """Rounding errors are of the size that the plain modules have."""
    for own, other, right in zip(mine, plain, exact, strict=False):
        bound = 16 * float((other - right).abs().max()) + 1e-6 * float(right.abs().max())
        assert float((own - right).abs().max()) <= bound


CASES: dict[str, dict[str, Any]] = {
    "blocks of four": {},
    "blocks of two": {"depth": 6},
    "one layer": {"depth": 1},
    "unscaled": {"scaled": False},
    "loops": {"loops": 3},
    "loops, concat": {"loops": 2, "injection": "concat"},
    "recall": {"recall": True},
    "pre-norm": {"block": "pre_norm"},
    "narrow": {"width": 5},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("context", [nullcontext, fused.gradients_in_place])
@pytest.mark.parametrize("count", [1, 50])
def test_results_and_gradients_are_those_of_the_plain_modules(
    case: str, context: Any, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = network(**CASES[case]), rows(count)
    with monkeypatch.context() as patched:
        patched.setattr(fused, "applies", lambda x: False)
        plain = results(net, x)
        exact = results(copy.deepcopy(net).double(), x.double())
    monkeypatch.setattr(fused, "PIECE", 16 * 24)  # several pieces, the last of them smaller
    monkeypatch.setattr(fused._Lease, "free", fused.OrderedDict())
    for _ in range(2):  # also with memory that was used before
        assert_as_exact(results(net, x, context), plain, exact)
        with torch.no_grad():
            assert_as_exact([net(x)], plain, exact)
    assert fused._Lease.free  # so it has run fused


def test_a_layer_by_hand() -> None:
    trunk = ResidualTrunk(vector_layout(2), depth=1, width=2)
    with torch.no_grad():
        for layer in (trunk.input[0], trunk.stack[0].layers[0]):
            layer.weight.copy_(torch.eye(2))
    # A norm makes of two numbers apart ±1 / sqrt(1 + ε / variance).
    upper = 1 / math.sqrt(1 + 1e-5 / 4)
    first = [upper / (1 + math.exp(-upper)), -upper / (1 + math.exp(upper))]
    variance = ((first[0] - first[1]) / 2) ** 2
    second = 1 / math.sqrt(1 + 1e-5 / variance)
    expected = [
        first[0] + second / (1 + math.exp(-second)),
        first[1] - second / (1 + math.exp(second)),
    ]
    with torch.no_grad():
        found = trunk(torch.tensor([[5.0, 1.0]]))
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-6)


def test_swish_far_from_zero() -> None:
    from rl_serial.networks import kernels

    x = np.array([[1.0, -1.0]], np.float32)
    for gain in (0.5, 20.0, 80.0, 1e4):
        affine = np.array([[0, 0], [gain, gain], [0, 0]], np.float32)
        outputs, space = np.empty_like(x), np.empty((2, 1), np.float32)
        kernels.forward(x.copy(), affine, *space, outputs, np.empty((0, 0), np.float32), 1)
        upper = gain / math.sqrt(1 + 1e-5)
        expected = [
            upper / (1 + math.exp(-upper)),
            -upper * math.exp(-upper) / (1 + math.exp(-upper)),
        ]
        np.testing.assert_allclose(outputs[0], expected, rtol=1e-5, atol=1e-30)


def test_numbers_that_are_none_stay_none() -> None:
    x = rows(4)
    x[2, 0] = torch.nan
    with torch.no_grad():
        found = network()(x)
    assert found.isnan().all(dim=1).tolist() == [False, False, True, False]


def test_a_graph_that_is_kept_keeps_its_memory() -> None:
    net, x = network(), rows(20)
    first = net(x).square().sum()
    once = torch.autograd.grad(first, list(net.parameters()), retain_graph=True)
    net(2 * x).sum().backward()  # another run of the same shape in between
    again = torch.autograd.grad(first, list(net.parameters()))
    for before, after in zip(once, again, strict=True):
        assert torch.equal(before, after)


def test_gradients_in_place_are_added_up() -> None:
    net, x = network(), rows(20)
    [_, _, *once] = results(net, x)
    net.zero_grad()
    with fused.gradients_in_place():
        for _ in range(2):
            net(x.clone().requires_grad_()).square().sum().backward()
    for parameter, gradient in zip(net.parameters(), once, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * gradient)


def test_parameters_that_changed_meanwhile_are_refused() -> None:
    net = network()
    loss = net(rows(5)).sum()
    with torch.no_grad():
        net.trunk.stack[0].layers[0].weight += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_no_gradient_of_a_gradient() -> None:
    x = rows(5).requires_grad_()
    [gradient] = torch.autograd.grad(network()(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_what_watches_or_transforms_gets_the_plain_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = network(), rows(6)

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("fused")

    with torch.no_grad():
        outputs = net(x)
    monkeypatch.setattr(fused, "run", refused)
    with pytest.raises(AssertionError, match="fused"):
        net(x)
    assert account(net, x).critical_path == 10
    parameters = {name: value.detach() for name, value in net.named_parameters()}
    doubled = {name: torch.stack([value, value]) for name, value in parameters.items()}
    both = vmap(lambda mine: functional_call(net, mine, (x,)))(doubled)
    torch.testing.assert_close(both[1], outputs, atol=1e-5, rtol=0)
    net.double()(x.double())
    net.to("meta")(x.to("meta"))


def test_a_copy_runs_on_its_own_parameters() -> None:
    net, x = network(), rows(6)
    other = copy.deepcopy(net)
    with torch.no_grad():
        before = net(x)
        for parameter in other.parameters():
            parameter.zero_()
        assert not other(x).any()
        assert torch.equal(net(x), before)


def test_memory_of_a_few_shapes_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused._Lease, "free", fused.OrderedDict())
    net = network()
    for count in range(1, 20):
        net(rows(count)).sum().backward()
    assert len(fused._Lease.free) == fused.KEPT


# --- the optimiser


def test_the_quick_optimiser_is_adamw() -> None:
    nets = [network(), network()]
    options = {"weight_decay": 0.1}
    quick = QuickAdamW(nets[0].parameters(), 1e-2, **options)
    plain = torch.optim.AdamW(nets[1].parameters(), 1e-2, fused=True, **options)
    schedules = [torch.optim.lr_scheduler.ExponentialLR(one, 0.9) for one in (quick, plain)]
    for step in range(6):
        for net, optimizer, schedule in zip(nets, (quick, plain), schedules, strict=True):
            optimizer.zero_grad()
            net(rows(30)).square().mean().backward()
            optimizer.step()
            schedule.step()
        if step == 3:  # each goes on from what the other has saved
            states = copy.deepcopy([quick.state_dict(), plain.state_dict()])
            quick.load_state_dict(states[1])
            plain.load_state_dict(states[0])
    for mine, theirs in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(mine, theirs)
    assert {float(state["step"]) for state in quick.state.values()} == {6.0}


def test_a_parameter_without_a_gradient_counts_no_step() -> None:
    both = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = QuickAdamW(both, 0.1, weight_decay=0.0)
    for step in range(6):
        both[0].grad = torch.ones(2)
        both[1].grad = None if step in (0, 3) else torch.ones(2)
        optimizer.step()
    # Of a constant gradient every step is the learning rate.
    for parameter, steps in zip(both, (6, 4), strict=True):
        expected = torch.full((2,), 1 - 0.1 * steps)
        torch.testing.assert_close(parameter.detach(), expected)
        assert float(optimizer.state[parameter]["step"]) == steps
