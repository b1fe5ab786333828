"""Which search is taken: the compiled one for arrays on the CPU, the plain one elsewhere."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.planning import Root
from rl_serial.planning.compiled import compiled_search
from rl_serial.planning.policies import choose
from rl_serial.planning.search import search


def root(zeros: Any) -> Root:
    return Root(zeros, zeros[:, 0], (zeros,))


def test_on_the_cpu() -> None:
    for zeros in (np.zeros((2, 3)), torch.zeros(2, 3)):
        assert choose("auto", root(zeros)) is compiled_search
        assert choose("compiled", root(zeros)) is compiled_search
        assert choose("plain", root(zeros)) is search


def test_on_another_device() -> None:
    """Also if only the embedding is there."""
    elsewhere = torch.zeros(2, 3, device="meta")
    mixed = Root(torch.zeros(2, 3), torch.zeros(2), elsewhere)
    for there in (root(elsewhere), mixed):
        assert choose("auto", there) is search
        with pytest.raises(ValueError, match="works on the CPU; the root is on another device"):
            choose("compiled", there)


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose("auto", root(np.zeros((2, 3)))) is search
    with pytest.raises(ValueError, match=r"pip install 'rl_serial\[train\]'"):
        choose("compiled", root(np.zeros((2, 3))))


def test_the_base_install_has_the_plain_search() -> None:
    """Importing the planner loads neither Numba nor torch."""
    code = "import sys, rl_serial.planning; print({'numba', 'torch'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
