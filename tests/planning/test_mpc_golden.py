"""pytorch-mppi's plans on a fixed problem, replayed with its own noise.

`golden/mppi.json` is what `golden/make_mppi.py` wrote with pytorch-mppi 0.9.1: a damped point on a
plane with a cost that is not quadratic, three settings, three commands each of receding-horizon
control. The ordinary test needs the file alone; `make peers` also asks the library again.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_serial.planning import MPPI, first_plan, mppi, shift

FOLDER = Path(__file__).parent / "golden"
GOLDEN = json.loads((FOLDER / "mppi.json").read_text())


class Given(np.random.Generator):
    """A generator whose normal numbers are given."""

    numbers: Any = None

    def standard_normal(self, shape: Any, *_: Any, **__: Any) -> Any:
        return np.asarray(self.numbers).reshape(shape)


def rollout_of(case: dict[str, Any]) -> Any:
    """The problem of `make_mppi.py` in NumPy: [B, N, H, A] to minus the costs [B, N]."""
    transition = np.array(GOLDEN["problem"]["transition"])
    push = np.array(GOLDEN["problem"]["input"])

    def rollout(start: Any, actions: Any) -> Any:
        state = np.repeat(start[:, None], actions.shape[1], axis=1)
        cost = np.zeros(actions.shape[:2])
        for step in range(actions.shape[2]):
            action = actions[:, :, step]
            state = state @ transition.T + action @ push.T
            cost += (state**2).sum(axis=-1) + 0.1 * (action**2).sum(axis=-1)
            cost += np.cos(3 * state[..., 0])
        if case["terminal"]:
            cost += 5 * (state**2).sum(axis=-1)
        return -cost

    return rollout


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_same_plans_as_pytorch_mppi(case: dict[str, Any]) -> None:
    bound = np.inf if case["bound"] is None else case["bound"]
    high = np.full(2, bound)
    settings = MPPI(
        samples=GOLDEN["problem"]["samples"],
        std=case["std"],
        temperature=case["temperature"],
        relative=False,
        control_cost=1.0,
    )
    plan = first_plan(1, GOLDEN["problem"]["horizon"], -high, high)
    for command in case["commands"]:
        generator = Given(np.random.PCG64(0))
        generator.numbers = np.array(command["noise"]) / case["std"]
        found = mppi(
            rollout_of(case),
            np.array([command["state"]]),
            shift(plan, last=np.zeros(2)),
            -high,
            high,
            settings,
            generator,
        )
        plan = found.plan
        np.testing.assert_allclose(plan[0], command["plan"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.weights[0], command["weights"], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.action[0], command["plan"][0], rtol=0, atol=1e-12)


def test_the_golden_file_tells_settings_apart() -> None:
    """The weights are neither flat nor of one sample, some noise is cut off, the plans move."""
    for case in GOLDEN["cases"]:
        for command in case["commands"]:
            assert 1.5 < 1 / np.sum(np.square(command["weights"])) < 20
            assert np.abs(command["plan"]).max() > 0.05
    [bounded] = [case for case in GOLDEN["cases"] if case["name"] == "bounded"]
    assert np.mean(np.abs(bounded["commands"][0]["noise"]) > bounded["bound"]) > 0.2


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_the_golden_file_is_what_pytorch_mppi_says() -> None:
    pytest.importorskip("pytorch_mppi")
    spec = importlib.util.spec_from_file_location("make_mppi", FOLDER / "make_mppi.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = json.loads(json.dumps(module.made()))
    assert made["problem"] == GOLDEN["problem"]
    for new, old in zip(made["cases"], GOLDEN["cases"], strict=True):
        for one, other in zip(new["commands"], old["commands"], strict=True):
            for key in other:
                np.testing.assert_allclose(one[key], other[key], rtol=1e-9, atol=1e-12)
