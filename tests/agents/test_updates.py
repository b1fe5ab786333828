"""Lessons made ahead, and updates replayed as graphs."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rl_serial.agents import fitted, updates
from rl_serial.agents.fitted import FittedTrainer, visited_states
from rl_serial.agents.population import Population
from rl_serial.agents.updates import LessonsAhead, ReplayedGradients
from rl_serial.config import RunConfig
from rl_serial.loading import parse_config
from rl_serial.subjects import subject_of

NEEDS_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
BET = {"id": "rl_serial/PointerChaseBet-v0", "serial_depth": 4, "nodes": 6, "start": "uniform"}
STEER = {"id": "rl_serial/PermutationAutomatonSteer-v0", "serial_depth": 4, "decisions": 2}
RESIDUAL = {"kind": "residual", "depth": 4, "width": 16}
AGENTS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "returns": (STEER, RESIDUAL, {"kind": "value", "policy": "random"}),
    "all starts": (
        BET,
        {"kind": "transformer", "layers": 2, "width": 16},
        {"kind": "value", "targets": "fixed_horizon", "head": "per_token"},
    ),
    "td0": (BET, RESIDUAL, {"kind": "value", "targets": "td0"}),
    "random loops": (
        BET,
        {"kind": "residual", "depth": 2, "width": 16, "loops": 3},
        {"kind": "value", "targets": "fixed_horizon", "trained_loops": [1, 3]},
    ),
    "policy": (BET, RESIDUAL, {"kind": "cloning"}),
}  # fmt: skip


def config(case: str, seed: int = 3) -> RunConfig:
    env, network, agent = AGENTS[case]
    common = {"updates": 40, "batch_size": 8}
    return parse_config(
        {"name": "x", "env": env, "network": network, "agent": agent | common, "seed": seed}, "test"
    )


def trainer(case: str, device: str = "cpu", seed: int = 3) -> FittedTrainer[Any]:
    made = subject_of(config(case)).trainer(torch.device(device), lambda *_: None)
    assert isinstance(made, FittedTrainer)
    made.seed = seed
    return made


@pytest.mark.parametrize("case", ["returns", "all starts", "policy"])
def test_lessons_ahead_are_those_made_one_by_one(case: str) -> None:
    one = trainer(case)
    ahead = LessonsAhead(partial(one.make_lessons, [3, 7], values=one._target_values), 5)
    for step in (0, 1, 4, 5, 6, 38, 39, 2):  # also from the middle, as after a checkpoint
        one.step = step
        lessons = ahead.at(step, one.total)
        for run, seed in enumerate((3, 7)):
            seeds = fitted.fold_in(np.full(8, seed), np.arange(8 * step, 8 * step + 8))
            lesson = one.lesson(visited_states(one.task, seeds), seeds, one._target_values)
            for part, expected in zip(lessons, lesson.on(one.device), strict=True):
                assert torch.equal(part[run], expected)


def test_lessons_are_made_once_for_several_updates() -> None:
    asked = []

    def make(count: int) -> list[Tensor]:
        asked.append(count)
        return [torch.zeros(1, 2 * count)]

    ahead = LessonsAhead(make, 4)
    for step in range(10):
        [part] = ahead.at(step, 10)
        assert part.shape == (1, 2)
    assert asked == [4, 4, 2]  # none beyond the last update


def test_targets_of_a_network_that_changes_are_not_made_ahead() -> None:
    assert trainer("td0").updates_ahead(1) == 1
    one = trainer("returns")
    assert one.updates_ahead(2) == 2**18 // (2 * 8 * one.task.layout.size)


@NEEDS_A_GPU
@pytest.mark.parametrize("case", AGENTS)
def test_updates_on_a_gpu_are_those_on_the_cpu(case: str) -> None:
    here, there = trainer(case), trainer(case, "cuda")
    for _ in range(10):
        here._update()
        there._update()
    assert there.gradients.graphs
    # Not the parameters: a gradient that is nought but for rounding, as of an attention's key bias,
    # still moves them by the learning rate.
    seen = torch.as_tensor(here.task.observe(here.task.initial(np.arange(50))))
    with torch.no_grad():
        mine, theirs = here.network(seen), there.network(seen.cuda()).cpu()
        before = trainer(case).network(seen)
    assert (mine - before).abs().max() > 1e-2
    torch.testing.assert_close(theirs, mine, atol=1e-4, rtol=0)


@NEEDS_A_GPU
@pytest.mark.parametrize("case", ["returns", "all starts", "policy"])
@pytest.mark.parametrize("alone", [True, False])
def test_updates_do_not_wait_for_the_gpu(
    case: str, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is copied to the host but the loss, where it is noted."""
    monkeypatch.setattr("rl_serial.agents.fitted.LEAST_ON_GPU", 0)
    trainers = [trainer(case, "cuda", seed) for seed in range(1 if alone else 3)]
    update = trainers[0]._update if alone else Population(trainers).update
    for _ in range(3):
        update()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError):  # so a wait would be noticed
            torch.ones(1, device="cuda").item()
        for _ in range(20):
            update()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@NEEDS_A_GPU
def test_a_graph_is_captured_once_for_each_variant() -> None:
    weight = torch.ones(3, device="cuda")
    calls = []

    def doubled(part: Tensor) -> Tensor:
        calls.append(part.shape)
        return 2 * (part * weight).sum()

    gradients = ReplayedGradients(doubled, torch.device("cuda"))
    for number in (1.0, 2.0, 3.0):
        assert float(gradients([torch.full((3,), number, device="cuda")])) == 6 * number
    assert len(calls) == updates.WARM_UPS + 1
    gradients([torch.ones(3, device="cuda")], variant=2)
    assert len(calls) == 2 * (updates.WARM_UPS + 1)
