"""Batched planning over a model, which knows neither environments nor networks.

Tree search (Gumbel MuZero and PUCT, on NumPy arrays and torch tensors; docs/planner.md) and
sampling of continuous actions (CEM and MPPI; docs/control.md).
"""

from rl_serial.planning.memory import Memory
from rl_serial.planning.mpc import (
    CEM,
    MPPI,
    ControlOutput,
    RolloutFn,
    SerialAccounts,
    cem,
    coloured_noise,
    first_plan,
    mppi,
    plan_control,
    shift,
)
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
    "CEM",
    "MPPI",
    "ByParentAndSiblings",
    "ControlOutput",
    "MaxBackup",
    "Memory",
    "MinMax",
    "MixValue",
    "PolicyOutput",
    "RecurrentFn",
    "RecurrentOutput",
    "RolloutFn",
    "Root",
    "SerialAccounts",
    "Tree",
    "cem",
    "coloured_noise",
    "first_plan",
    "gumbel_muzero_policy",
    "max_backup",
    "mppi",
    "muzero_policy",
    "plan_control",
    "reuse",
    "search_bytes",
    "shift",
]
