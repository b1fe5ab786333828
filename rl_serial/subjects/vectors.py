"""What subjects ask of networks where an observation is a vector."""

from __future__ import annotations

from rl_serial.config import RunConfig
from rl_serial.errors import UserError
from rl_serial.networks import TRUNKS


def check_vectors(config: RunConfig) -> None:
    """Refuse trunks that read tokens, where an observation has none.

    Raises:
        UserError: such a trunk.
    """
    for key in ("network", "policy_network"):
        network = getattr(config, key)
        if network is not None and not TRUNKS[network.kind].takes_vectors:
            kinds = [kind for kind, trunk in TRUNKS.items() if trunk.takes_vectors]
            raise UserError(
                f"{network.kind} reads tokens, which observations here are not; "
                f"{', '.join(kinds)} takes vectors",
                f"{key}.kind",
            )
