"""What of a model of Stable-Baselines3 a checkpoint holds, as tensors and plain values."""

from __future__ import annotations

import json
import random
from collections import deque
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm


def model_state(model: BaseAlgorithm) -> dict[str, Any]:
    """Weights, optimisers, counters, replay, statistics, generators: all but the environment."""
    _, variables = model._get_torch_save_params()
    state = {
        "parameters": model.get_parameters(),
        "variables": {name: getattr(model, name).detach() for name in variables},
        "counters": _counters(model),
        # The clock in them would differ in a run that is repeated.
        "episodes": [
            {"r": float(info["r"]), "l": int(info["l"])} for info in model.ep_info_buffer or ()
        ],
        "successes": [bool(success) for success in model.ep_success_buffer or ()],
        "random": _random_state(model),
        "pending_log": pending_log(model),
    }
    if isinstance(model, OffPolicyAlgorithm):
        state["replay"] = _replay_state(model.replay_buffer)
    return state


def load_model_state(model: BaseAlgorithm, state: dict[str, Any]) -> None:
    """Go back to a saved state."""
    model.set_parameters(state["parameters"], device=model.device)
    with torch.no_grad():
        for name, value in state["variables"].items():
            getattr(model, name).copy_(value)
    for name, value in state["counters"].items():
        setattr(model, name, value)
    window = model._stats_window_size
    # As VecMonitor counts returns, so that their mean is the same to the last digit.
    episodes = [{**info, "r": np.float32(info["r"])} for info in state["episodes"]]
    model.ep_info_buffer = deque(episodes, maxlen=window)
    model.ep_success_buffer = deque(state["successes"], maxlen=window)
    if isinstance(model, OffPolicyAlgorithm):
        _load_replay_state(model.replay_buffer, state["replay"])
    _load_random_state(model, state["random"])
    logger, pending = model.logger, state["pending_log"]
    logger.name_to_value.update(pending["values"])
    logger.name_to_count.update(pending["counts"])
    logger.name_to_excluded.update(pending["excluded"])


def pending_log(model: BaseAlgorithm) -> dict[str, Any]:
    """What a model has recorded since it last logged, of which its next log is made."""
    logger = model.logger
    return {
        "values": {
            tag: float(value)
            for tag, value in logger.name_to_value.items()
            if isinstance(value, int | float | np.number)
        },
        "counts": dict(logger.name_to_count),
        "excluded": dict(logger.name_to_excluded),
    }


def break_off_episodes(model: BaseAlgorithm) -> None:
    """Have a replay's running episodes count as cut off by a time limit.

    With hindsight goals are drawn from them; returns of several steps end there.
    """
    if not isinstance(model, OffPolicyAlgorithm):
        return
    buffer = cast(Any, model.replay_buffer)
    if buffer.pos == 0 and not buffer.full:
        return
    last = buffer.pos - 1
    running = buffer.dones[last] == 0
    buffer.dones[last, running] = 1
    buffer.timeouts[last, running] = 1
    if isinstance(buffer, HerReplayBuffer):
        for row in np.flatnonzero(buffer._current_ep_start != buffer.pos):
            buffer._compute_episode_length(int(row))


def _counters(model: BaseAlgorithm) -> dict[str, Any]:
    """The numbers in which a model counts its training, by attribute."""
    names = ["num_timesteps", "_episode_num", "_n_updates", "_current_progress_remaining"]
    names += [name for name in ("_n_calls", "exploration_rate") if hasattr(model, name)]
    return {name: getattr(model, name) for name in names}


def _random_state(model: BaseAlgorithm) -> dict[str, Any]:
    """The state of every generator that a model draws from."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": [t.cpu() for t in torch.cuda.get_rng_state_all()],
        "numpy": (
            kind,
            torch.as_tensor(np.asarray(keys, dtype=np.int64)),
            position,
            has_gauss,
            gauss,
        ),
        "python": json.dumps(random.getstate()),
        "action_space": json.dumps(model.action_space.np_random.bit_generator.state),
    }


def _load_random_state(model: BaseAlgorithm, state: dict[str, Any]) -> None:
    kind, keys, position, has_gauss, gauss = state["numpy"]
    legacy = (kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss)
    np.random.set_state(legacy)  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    version, internal, gauss_next = json.loads(state["python"])
    random.setstate((version, tuple(internal), gauss_next))
    model.action_space.np_random.bit_generator.state = json.loads(state["action_space"])


def _replay_state(buffer: Any) -> dict[str, Any]:
    """What is filled of a replay, as it lies in the ring."""
    filled = buffer.buffer_size if buffer.full else buffer.pos
    state: dict[str, Any] = {
        "pos": buffer.pos,
        "full": buffer.full,
        "arrays": {
            name: torch.as_tensor(array[:filled]) for name, array in _arrays(buffer).items()
        },
    }
    if isinstance(buffer, HerReplayBuffer):
        state["current_ep_start"] = torch.as_tensor(buffer._current_ep_start)
    return state


def _load_replay_state(buffer: Any, state: dict[str, Any]) -> None:
    buffer.pos, buffer.full = state["pos"], state["full"]
    for name, array in _arrays(buffer).items():
        saved = state["arrays"][name]
        array[: len(saved)] = saved.numpy()
    if isinstance(buffer, HerReplayBuffer):
        buffer._current_ep_start[:] = state["current_ep_start"].numpy()


def _arrays(buffer: Any) -> dict[str, NDArray[Any]]:
    """A replay's arrays [size, num_envs, ...]: the buffer's own, by name."""
    names = ["actions", "rewards", "dones", "timeouts"]
    if isinstance(buffer, HerReplayBuffer):
        names += ["ep_start", "ep_length"]
    arrays = {name: getattr(buffer, name) for name in names}
    for group in ("observations", "next_observations"):
        held = getattr(buffer, group)
        if isinstance(held, dict):
            arrays |= {f"{group}.{key}": array for key, array in held.items()}
        else:
            arrays[group] = held
    return arrays
