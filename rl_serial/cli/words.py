"""Words of a command that are more than one value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rl_serial.errors import UserError


def assignments(words: Sequence[str], option: str) -> dict[str, Any]:
    """The values of ``key=value``, as YAML has them.

    Raises:
        UserError: a word without ``=``.
    """
    from rl_serial.yaml_core import load_yaml

    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError("must be key=value, as in network.depth=8", f"{option} {word}")
        pairs[key] = load_yaml(value)
    return pairs
