"""Steps of training that are learned from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rl_serial.envs.control import Bools, Floats


@dataclass(frozen=True)
class Steps:
    """T consecutive steps of training, the newest last."""

    joints: Floats  # [T, nq + nv]
    observation: Floats  # [T, O] as the environment gave it
    action: Floats  # [T, A]
    next_joints: Floats  # [T, nq + nv]
    next_observation: Floats  # [T, O]
    reward: Floats  # [T]
    terminated: Bools  # [T]
    last: Bools  # [T] of its episode

    def then(self, other: Steps, memory: int) -> Steps:
        """Both, but no more than the newest ``memory``."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Steps(*(np.concatenate(pair)[-memory:] for pair in pairs))
