"""One thread a process: the tests run side by side. Families not installed are skipped."""

import importlib.util

import pytest
import torch

from rl_serial.envs import FAMILIES, Family, simulation

torch.set_num_threads(1)
simulation.use_threads(1)

MISSING = {
    name: family.extra
    for name, family in FAMILIES.items()
    if family.extra and importlib.util.find_spec(family.extra) is None
}
"""Families whose extra is not installed."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test on the family, or an id of the family, whose extra is not installed."""
    parameters = getattr(item, "callspec", None)
    for value in parameters.params.values() if parameters else ():
        name = value.name if isinstance(value, Family) else str(value)
        for family, extra in MISSING.items():
            if family in name:
                pytest.skip(f"{family} needs {extra}")
