"""Networks whose depth, width and loops are set apart, their budgets and what they cost."""

from rl_serial.networks.accounting import Account, account
from rl_serial.networks.budget import BudgetError, solve_width
from rl_serial.networks.trunks import (
    TRUNKS,
    ConvTrunk,
    Network,
    RecurrentTrunk,
    ResidualTrunk,
    TransformerTrunk,
    Trunk,
    build_trunk,
)

__all__ = [
    "TRUNKS",
    "Account",
    "BudgetError",
    "ConvTrunk",
    "Network",
    "RecurrentTrunk",
    "ResidualTrunk",
    "TransformerTrunk",
    "Trunk",
    "account",
    "build_trunk",
    "solve_width",
]
