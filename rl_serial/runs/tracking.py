"""A run at Weights & Biases too: its own ``sync_tensorboard`` copies what TensorBoard gets."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

from rl_serial.config import RunConfig
from rl_serial.errors import missing_extra


def refuse_without_wandb(config: RunConfig) -> None:
    """Raise a UserError where a run asks for what is not installed."""
    if config.wandb is not None and importlib.util.find_spec("wandb") is None:
        raise missing_extra("wandb", "the key wandb", "wandb")


def start_tracking(config: RunConfig, folder: Path) -> Callable[[int], None]:
    """Begin to track a run; gives what ends it, called with its exit code.

    To be called before the run's TensorBoard writer is made, which Weights & Biases watches. A run
    that is resumed in its folder goes on as the same one there.

    Args:
        config: the run's; without a key ``wandb`` nothing is done.
        folder: the run's, where its local files go too.

    Raises:
        UserError: wandb is not installed.
    """
    if config.wandb is None:
        return lambda _: None
    refuse_without_wandb(config)
    import wandb

    told = config.wandb
    tracked = wandb.init(
        project=told.project,
        entity=told.entity,
        group=told.group,
        tags=list(told.tags),
        mode=told.mode,
        name=config.name,
        id=hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16],
        resume="allow",
        dir=str(folder),
        config=config.model_dump(mode="json", exclude={"wandb"}),
        sync_tensorboard=True,
    )

    def finish(exit_code: int) -> None:
        tracked.finish(exit_code=exit_code)

    return finish
