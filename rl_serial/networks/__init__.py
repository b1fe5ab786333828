"""Networks whose depth, width and loops are set apart, their budgets and what they cost."""

from rl_serial.networks.accounting import Account, account
from rl_serial.networks.budget import BudgetError, solve_width
from rl_serial.networks.heads import HorizonHead, HorizonNetwork, build_network
from rl_serial.networks.trunks import (
    TRUNKS,
    ConvTrunk,
    Network,
    RecurrentTrunk,
    ResidualTrunk,
    StepwiseTrunk,
    TransformerTrunk,
    Trunk,
    build_trunk,
    register_trunk,
    trunk_options,
)

__all__ = [
    "TRUNKS",
    "Account",
    "BudgetError",
    "ConvTrunk",
    "HorizonHead",
    "HorizonNetwork",
    "Network",
    "RecurrentTrunk",
    "ResidualTrunk",
    "StepwiseTrunk",
    "TransformerTrunk",
    "Trunk",
    "account",
    "build_network",
    "build_trunk",
    "register_trunk",
    "solve_width",
    "trunk_options",
]
