"""A population: trainers updated as one batch are what they are one by one, within rounding."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rl_serial.agents.cloning import CloningTrainer
from rl_serial.agents.fitted import FittedConfig, FittedTrainer, fitted_outputs
from rl_serial.agents.population import Population
from rl_serial.agents.settings import CloningAgentConfig, ValueAgentConfig
from rl_serial.agents.value import ValueTrainer
from rl_serial.envs import make_task
from rl_serial.envs.tasks import Task
from rl_serial.networks import build_network, build_trunk

CPU = torch.device("cpu")
POINTER = {"serial_depth": 3, "nodes": 6}
RANDOM, SHIFT = (make_task("PointerChase", "Bet", table=t, **POINTER) for t in ("random", "shift"))
WORDS = make_task("PermutationAutomaton", "Bet", group="s5", serial_depth=4)
CELLS = make_task("CellularAutomaton", "Steer", serial_depth=3)
DENSE = {"targets": "fixed_horizon", "head": "per_token"}


class Double(nn.Module):
    """A network in double precision.

    In single precision Adam makes whole steps of gradients that are nothing but rounding, as those
    of the biases of attention's keys.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.double()

    @property
    def trunk(self) -> Any:
        return self.network.trunk

    def forward(self, observation: torch.Tensor, **options: Any) -> torch.Tensor:
        outputs: torch.Tensor = self.network(observation.double(), **options)
        return outputs


def network(
    task: Task[Any], kind: str, depth: int, seed: int, config: FittedConfig, loops: int = 1
) -> nn.Module:
    torch.manual_seed(seed)
    trunk = build_trunk(kind, task.layout, depth=depth, width=12, loops=loops)
    return Double(build_network(trunk, fitted_outputs(config, task)))


def trainer(
    task: Task[Any], kind: str, depth: int, seed: int, steps: int, loops: int = 1, **options: Any
) -> ValueTrainer:
    config = ValueAgentConfig(kind="value", updates=steps, batch_size=16, **options)
    return ValueTrainer(task, config, network(task, kind, depth, seed, config, loops), seed, CPU)


def cloner(
    task: Task[Any], kind: str, depth: int, seed: int, steps: int, **options: Any
) -> CloningTrainer:
    config = CloningAgentConfig(kind="cloning", updates=steps, batch_size=16, **options)
    return CloningTrainer(task, config, network(task, kind, depth, seed, config), seed, CPU)


def trainers(case: str, steps: int = 20) -> list[FittedTrainer[Any]]:
    """Four of them, sorted by task and rate."""
    rates = [1e-3, 1e-3, 1e-3, 4e-3]
    makers: dict[str, Any] = {
        "stepwise": lambda i: trainer(WORDS, "stepwise", 8, i, steps, learning_rate=rates[i]),
        "residual": lambda i: trainer(WORDS, "residual", 4, i, steps, weight_decay=rates[i]),
        "conv": lambda i: trainer(CELLS, "conv", 4, i, steps, learning_rate=rates[i]),
        "greedy": lambda i: trainer(CELLS, "conv", 2, i, steps, policy="greedy", target_interval=3),
        "td0": lambda i: trainer(WORDS, "residual", 4, i, steps, targets="td0", target_interval=3),
        "setting and twin": lambda i: trainer(
            RANDOM if i < 2 else SHIFT, "transformer", 12, i, steps, readout="layerwise", **DENSE
        ),
        "bootstraps": lambda i: trainer(
            RANDOM, "transformer", 6, i, steps, estimator="td0", target_interval=4, **DENSE
        ),
        "every loop": lambda i: trainer(
            WORDS, "stepwise", 8, i, steps, loops=2, losses="every_loop"
        ),
        "by loop": lambda i: trainer(
            RANDOM, "transformer", 6, i, steps, loops=2, readout="by_loop", **DENSE
        ),
        "constant": lambda i: trainer(WORDS, "stepwise", 8, i, steps, schedule="constant"),
        "policies": lambda i: cloner(CELLS, "conv", 4, i, steps, learning_rate=rates[i]),
        "policies of all starts": lambda i: cloner(
            RANDOM, "transformer", 6, i, steps, starts="all", head="per_token"
        ),
    }
    return [makers[case](i) for i in range(4)]


CASES = (
    "stepwise", "residual", "conv", "greedy", "td0", "setting and twin", "bootstraps",
    "every loop", "by loop", "constant", "policies", "policies of all starts",
)  # fmt: skip


def numbers(one: FittedTrainer[Any]) -> np.ndarray[Any, Any]:
    return torch.cat([p.detach().flatten() for p in one.network.parameters()]).numpy()


@pytest.mark.parametrize("case", CASES)
def test_population_is_its_trainers_one_by_one(case: str) -> None:
    alone, together = trainers(case), trainers(case)
    before = [numbers(one) for one in alone]
    for one in alone:
        one.train(lambda: None)
    population = Population(together)
    while together[0].step < together[0].total:
        assert population.update() == {}
    population.synchronise()
    for start, one, other in zip(before, alone, together, strict=True):
        moved = np.abs(numbers(one) - start).max()
        assert moved > 1e-3
        np.testing.assert_allclose(numbers(other), numbers(one), atol=1e-6)
        assert other.metrics["train/loss"] == pytest.approx(one.metrics["train/loss"], rel=1e-6)
        assert other.metrics["train/learning_rate"] == one.metrics["train/learning_rate"]


@pytest.mark.parametrize("case", ["stepwise", "bootstraps"])
def test_saved_in_a_population_and_continued_alone_and_the_other_way(case: str) -> None:
    whole, first, second = trainers(case), trainers(case), trainers(case)
    for one in whole:
        one.train(lambda: None)
    population = Population(first)
    for _ in range(7):
        population.update()
    population.synchronise()
    for one, other in zip(first, second, strict=True):
        saved = io.BytesIO()
        torch.save(one.state_dict(), saved)
        saved.seek(0)
        other.load_state_dict(torch.load(saved))
    for _ in range(6):  # alone
        for other in second:
            other._update()
    continued = Population(second)
    while second[0].step < second[0].total:
        continued.update()
    for one, other in zip(whole, second, strict=True):
        np.testing.assert_allclose(numbers(other), numbers(one), atol=1e-6)


def test_trainers_act_on_their_own_slices() -> None:
    together = trainers("setting and twin")
    alone = trainers("setting and twin")
    Population(together).update()
    state = RANDOM.initial(np.arange(50))
    said = [one.agent.judge(state).preferences for one in together]
    for one, preferences in zip(alone, said, strict=True):
        one._update()
        np.testing.assert_allclose(one.agent.judge(state).preferences, preferences, atol=1e-6)
    assert not np.allclose(said[0], said[1])


def test_loss_that_is_not_finite_is_its_own_trainers_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rl_serial.agents.fitted.LOG_INTERVAL", 2)
    together = trainers("stepwise")
    with torch.no_grad():
        next(together[2].network.parameters()).fill_(float("nan"))
    population = Population(together)
    assert population.update() == {}
    errors = population.update()
    assert list(errors) == [2]
    assert "train/loss is nan at update 2" in str(errors[2])
    assert all(np.isfinite(numbers(together[i])).all() for i in (0, 1, 3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("case", ["stepwise", "setting and twin", "bootstraps"])
def test_population_on_a_gpu_is_its_trainers_on_the_cpu(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, together = trainers(case), trainers(case)
    cuda = torch.device("cuda")
    monkeypatch.setattr("rl_serial.agents.fitted.LEAST_ON_GPU", 0)
    moved = [
        type(one)(one.task, one.config, one.network.to(cuda), one.seed, cuda) for one in together
    ]
    population = Population(moved)
    for _ in range(10):
        population.update()
        for one in alone:
            one._update()
    for one, other in zip(alone, moved, strict=True):
        mine = torch.cat([p.detach().flatten() for p in other.network.parameters()]).cpu()
        np.testing.assert_allclose(mine.numpy(), numbers(one), atol=1e-6)
