"""Batched tree search over a model: Gumbel MuZero and PUCT, on NumPy arrays and torch tensors.

The planner knows neither environments nor networks; see docs/planner.md.
"""

from rl_serial.planning.policies import gumbel_muzero_policy, muzero_policy
from rl_serial.planning.qtransforms import ByParentAndSiblings, MinMax, MixValue
from rl_serial.planning.tree import MaxBackup, max_backup, reuse, search_bytes
from rl_serial.planning.types import (
    PolicyOutput,
    RecurrentFn,
    RecurrentOutput,
    Root,
    Tree,
)

__all__ = [
    "ByParentAndSiblings",
    "MaxBackup",
    "MinMax",
    "MixValue",
    "PolicyOutput",
    "RecurrentFn",
    "RecurrentOutput",
    "Root",
    "Tree",
    "gumbel_muzero_policy",
    "max_backup",
    "muzero_policy",
    "reuse",
    "search_bytes",
]
