"""What the tests of the environments share: the two array libraries and the registry's settings."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.envs import FAMILIES

torch.set_num_threads(1)

SETTINGS = [
    pytest.param(family, value, id=f"{family.name}-{value}")
    for family in FAMILIES.values()
    for value in family.settings
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``family`` and ``value`` on every setting of the registry."""
    if {"family", "value"} <= set(metafunc.fixturenames):
        metafunc.parametrize(("family", "value"), SETTINGS)
    elif "family" in metafunc.fixturenames:
        metafunc.parametrize("family", FAMILIES.values(), ids=FAMILIES)


@pytest.fixture(params=["numpy", "torch"])
def array(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes an array of the library under test from numbers or a NumPy array."""
    return {"numpy": np.asarray, "torch": torch.as_tensor}[request.param]
