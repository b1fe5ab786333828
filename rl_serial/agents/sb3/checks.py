"""Which arguments a configuration may give each kind of algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stable_baselines3.her.goal_selection_strategy import KEY_TO_GOAL_STRATEGY

from rl_serial.agents.sb3.algorithms import KINDS
from rl_serial.agents.sb3.arguments import hold_arguments
from rl_serial.agents.settings import SB3Settings
from rl_serial.errors import UserError

SET_BY_THE_RUN = {
    "self",
    "policy",
    "env",
    "seed",
    "device",
    "tensorboard_log",
    "_init_setup_model",
    "optimize_memory_usage",  # its replay buffer has a layout that checkpoints do not know
    "replay_buffer_class",
    "replay_buffer_kwargs",
}
"""What the run sets itself; a config that sets it again would be contradicted."""

# Exploration by gSDE would need heads of its own behind the trunks and noise objects cannot be
# written in a configuration; SB3 has no n-step returns of Dict observations.
_SET_OF_SAC = {"action_noise", "n_steps", "sde_sample_freq", "use_sde", "use_sde_at_warmup"}
_POLICY_KWARGS = ("n_critics", "optimizer_kwargs")
_REPLAY_KWARGS = ("n_sampled_goal", "goal_selection_strategy")


def check_arguments(config: SB3Settings) -> None:
    """Hold ``agent.arguments`` against the signatures of the algorithm, its policy and its replay.

    Raises:
        UserError: an argument that there is not, that the run sets itself, or of a wrong type or
            range.
    """
    algorithm = KINDS[config.kind].constructor
    if config.kind not in ("sac", "sac_her"):
        hold_arguments(config, algorithm, SET_BY_THE_RUN)
        return
    hindsight = {"replay_buffer_kwargs"} if config.kind == "sac_her" else set()
    hold_arguments(config, algorithm, SET_BY_THE_RUN - hindsight | _SET_OF_SAC)
    where = "agent.arguments"
    _keys_of(config.arguments, "policy_kwargs", _POLICY_KWARGS, where)
    replay = _keys_of(config.arguments, "replay_buffer_kwargs", _REPLAY_KWARGS, where)
    where += ".replay_buffer_kwargs"
    strategy = replay.get("goal_selection_strategy", "future")
    sampled = replay.get("n_sampled_goal", 4)
    if strategy not in list(KEY_TO_GOAL_STRATEGY):  # which takes what is not hashable too
        raise UserError(
            f"must be one of {', '.join(KEY_TO_GOAL_STRATEGY)}, not {strategy!r}",
            f"{where}.goal_selection_strategy",
        )
    if not isinstance(sampled, int) or isinstance(sampled, bool) or sampled < 1:
        raise UserError(
            f"must be an integer of 1 or more, not {sampled!r}", f"{where}.n_sampled_goal"
        )


def _keys_of(arguments: dict[str, Any], key: str, known: Sequence[str], where: str) -> Any:
    """What ``arguments`` hold under ``key``: keys of ``known`` with values, or nothing."""
    given = arguments.get(key, {})
    if not isinstance(given, dict):
        raise UserError(f"must be keys with values, not {given!r}", f"{where}.{key}")
    for name in given:
        if name not in known:
            raise UserError(
                f"no such key, or the run sets it; there are {', '.join(known)}",
                f"{where}.{key}.{name}",
            )
    return given
