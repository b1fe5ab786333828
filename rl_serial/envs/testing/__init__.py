"""The contract of a chain as a test: of the package's own families, and of a user's.

:func:`check_chain` holds one chain to :mod:`rl_serial.envs.chain`; :func:`check_family` holds a
registered family to it, with all its settings and environments. Both raise
:class:`ChainContractError`, which says what was found, where, and what the contract asks.
"""

from rl_serial.envs.testing.chains import check_chain
from rl_serial.envs.testing.families import check_family
from rl_serial.envs.testing.rules import ChainContractError

__all__ = ["ChainContractError", "check_chain", "check_family"]
