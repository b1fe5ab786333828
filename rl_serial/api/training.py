"""Train from a program: a configuration in, a trained agent out."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from rl_serial.api.agents import LoadedAgent, load
from rl_serial.config import RunConfig
from rl_serial.loading import check_config, parse_config, read_yaml, set_key
from rl_serial.runs.devices import use_threads
from rl_serial.runs.run import is_finished
from rl_serial.runs.run import train as carry_out
from rl_serial.shipped import resolved

Configuration = str | Path | Mapping[str, Any] | RunConfig
"""A YAML file, the name of a shipped one, its keys as plain data, or what was read before."""


def train(
    config: Configuration,
    overrides: Mapping[str, Any] | None = None,
    *,
    runs: str | Path = "runs",
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
    progress: bool = True,
) -> LoadedAgent:
    """Carry out a run, as ``rl-serial train`` does, and return its agent.

    Args:
        config: a file, the name of a shipped configuration (``rl-serial configs``), a dictionary
            or a :class:`RunConfig`.
        overrides: values by dotted keys, as ``{"network.depth": 8, "name": "mine"}``.
        runs: the folder in which the run's own folder is made, by its name.
        resume: go on where it was interrupted, or for longer; a finished run is loaded.
        device: auto, cpu or cuda.
        threads: torch's CPU threads; None: as the process has them. The command takes one, which
            small networks are fastest with; their number is part of what repeats a run exactly.
        progress: show a bar.

    Returns:
        The trained agent; its ``results`` are the final metrics.

    Raises:
        UserError: a configuration that is wrong, or a folder that holds something else.
        RunError: training failed; what was written stays.
    """
    read = read_config(config, overrides)
    if threads is not None:
        use_threads(threads)
    folder = Path(runs) / read.name
    if not (resume and is_finished(read, folder)):
        carry_out(read, folder, resume=resume, device=device, progress=progress)
    return load(folder, device=device, trust=True)  # the caller named the environment


def read_config(config: Configuration, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """A checked configuration, with ``overrides`` by dotted keys.

    Raises:
        UserError: every key that is wrong, with its path.
    """
    if isinstance(config, RunConfig) and not overrides:
        check_config(config)
        return config
    source, name = "config", "run"
    if isinstance(config, RunConfig):
        data = config.model_dump(mode="json")
    elif isinstance(config, Mapping):
        data = deepcopy(dict(config))
    else:
        file = resolved(Path(config), "train")
        data, source, name = read_yaml(file), str(file), file.stem
    for key, value in (overrides or {}).items():
        set_key(data, key, deepcopy(value))
    return parse_config(data, source, default_name=name)
