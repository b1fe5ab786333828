"""Networks as ONNX files, held against torch."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from rl_serial.agents.protocols import Trainer
from rl_serial.errors import RunError, UserError, missing_extra

NEEDED = ("onnx", "onnxscript", "onnxruntime")
ROWS = 33
"""Of the batch on which outputs are compared; other than that of the export."""


class Normalized(nn.Module):
    """A network behind the normalisation of observations that it was trained with.

    Args:
        network: takes the observation first.
        statistics: a ``VecNormalize`` of Stable-Baselines3.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, network: nn.Module, statistics: Any) -> None:
        super().__init__()
        self.network, self.clip = network, float(statistics.clip_obs)
        spread = np.sqrt(statistics.obs_rms.var + statistics.epsilon)
        self.register_buffer("mean", torch.as_tensor(statistics.obs_rms.mean, dtype=torch.float32))
        self.register_buffer("spread", torch.as_tensor(spread, dtype=torch.float32))

    def forward(self, observation: Tensor, *further: Tensor) -> Any:
        """As the network's, of what was observed."""
        seen = ((observation - self.mean) / self.spread).clamp(-self.clip, self.clip)
        return self.network(seen, *further)


def export(
    trainer: Trainer, space: gymnasium.Space[Any], folder: Path, run: str, tolerance: float
) -> dict[str, Path]:
    """Write every network of a trainer into ``folder``; see ``LoadedAgent.to_onnx``."""
    for module in NEEDED:
        if importlib.util.find_spec(module) is None:
            raise missing_extra(module, "to_onnx", "onnx")
    if not trainer.networks:
        raise UserError("has no networks to export", source=run)
    folder.mkdir(parents=True, exist_ok=True)
    statistics = getattr(trainer, "env", None)
    if not getattr(statistics, "norm_obs", False):
        statistics = None
    files = {}
    for name, network in trainer.networks.items():
        example = trainer.examples[name]
        inputs = tuple(example) if isinstance(example, tuple) else (example,)
        if any(not isinstance(part, Tensor) for part in inputs):
            raise UserError(
                f"the network {name} takes a dictionary, which is not exported", source=run
            )
        whole = _Mean(network) if hasattr(network, "get_action_dist_params") else network
        whole = whole if statistics is None else Normalized(whole, statistics)
        files[name] = folder / f"{name}.onnx"
        _write(whole.cpu().eval(), tuple(part.cpu() for part in inputs), files[name])
        compare(whole, [part.shape[1:] for part in inputs], files[name], tolerance)
        network.to(inputs[0].device)
    return files


def _write(network: nn.Module, inputs: tuple[Tensor, ...], file: Path) -> None:
    rows = torch.export.Dim("batch", min=1)
    two = tuple(part.repeat(2, *[1] * (part.ndim - 1)) for part in inputs)
    names = ["observation", "action", "goal"][: len(two)]
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about what it uses itself
            torch.onnx.export(
                _Positional(network),
                two,
                str(file),
                input_names=names,
                output_names=["output"],
                dynamic_shapes=(tuple({0: rows} for _ in two),),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        logger.setLevel(level)


class _Mean(nn.Module):
    """An actor of Stable-Baselines3 without its dice: actions in [-1, 1], its own scale."""

    def __init__(self, actor: nn.Module) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, observation: Tensor) -> Any:
        return self.actor(observation, deterministic=True)


class _Positional(nn.Module):
    """A network by its positional inputs alone, as the exporter names them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Any:
        return self.network(*inputs)


def compare(network: nn.Module, shapes: list[Any], file: Path, tolerance: float) -> None:
    """Raise a RunError where onnxruntime says something else than torch of ``file``.

    Args:
        network: that was written into it.
        shapes: of one row of each input.
        file: the ONNX file.
        tolerance: relative to outputs larger than 1.
    """
    import onnxruntime

    generator = torch.Generator().manual_seed(0)
    inputs = [torch.rand((ROWS, *shape), generator=generator) for shape in shapes]
    with torch.no_grad():
        expected = network(*inputs)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    given = {one.name: part.numpy() for one, part in zip(session.get_inputs(), inputs, strict=True)}
    outputs = session.run(None, given)
    wanted = expected if isinstance(expected, tuple) else (expected,)
    for found, right in zip(outputs, wanted, strict=True):
        reference = cast(Any, right).numpy()
        error = np.abs(found - reference) / np.maximum(np.abs(reference), 1.0)
        if not error.max() <= tolerance:
            raise RunError(
                f"{file}: differs from torch by {error.max():.2g}, more than {tolerance:g}"
            )
