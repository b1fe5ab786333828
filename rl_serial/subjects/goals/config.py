"""The row of the goal environments: which ids are theirs, and how runs in them are checked."""

from __future__ import annotations

from rl_serial.config import EvaluationConfig, RunConfig
from rl_serial.errors import UserError
from rl_serial.networks import TRUNKS


class GoalEvaluationConfig(EvaluationConfig, extra="forbid"):
    """The examination in a goal environment."""


def check(config: RunConfig) -> None:
    """What the parts of a run in a goal environment ask of each other.

    Raises:
        UserError: parts that do not go together.
    """
    check_vectors(config)
    config.agent.check(config, None)


def check_vectors(config: RunConfig) -> None:
    """Refuse trunks that read tokens, where an observation has none."""
    for key in ("network", "policy_network"):
        network = getattr(config, key)
        if network is not None and not TRUNKS[network.kind].takes_vectors:
            kinds = [kind for kind, trunk in TRUNKS.items() if trunk.takes_vectors]
            raise UserError(
                f"{network.kind} reads tokens, which observations here are not; "
                f"{', '.join(kinds)} takes vectors",
                f"{key}.kind",
            )
