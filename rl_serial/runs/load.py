"""The agents of finished runs, from their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rl_serial.agents.protocols import LoadsZips, Trainer
from rl_serial.config import RunConfig
from rl_serial.errors import UserError
from rl_serial.loading import parse_config, read_yaml
from rl_serial.runs.devices import choose_device
from rl_serial.runs.files import MODEL, load_tensors
from rl_serial.subjects import subject_of
from rl_serial.subjects.protocol import Examination, SearchableSubject, Searcher


def load_run(folder: Path, device: str = "auto", trust: bool = False) -> tuple[RunConfig, Any]:
    """The configuration and the trained agent of a finished run; ``trust`` as :func:`load_trainer`.

    Raises:
        UserError: the folder holds no run, or an unfinished or damaged one.
    """
    config, trainer = load_trained(folder, device, trust)
    return config, trainer.agent


def examine_finished(config: RunConfig, trainer: Trainer) -> Examination:
    """What the end of a run examines."""
    subject = subject_of(config)
    return subject.last_examination(subject.examiner(), trainer)


def load_searcher(
    folder: Path,
    simulations: int,
    dynamics: str | None = None,
    algorithm: str | None = None,
    device: str = "auto",
    trust: bool = False,
) -> tuple[RunConfig, Searcher]:
    """The configuration of a finished run, and its agent with a search on top.

    Args:
        folder: of any agent with values.
        simulations: of a decision.
        dynamics: true, or learned where the run has learned them; None: the run's own.
        algorithm: gumbel or puct; None: the run's own.
        device: where the networks run.
        trust: as :func:`load_trainer`.

    Raises:
        UserError: as :func:`load_run` and :func:`searcher_of`.
    """
    config, trainer = load_trained(folder, device, trust)
    subject = searchable_subject(config, folder)
    return config, subject.searcher(
        trainer, choose_device(device), dynamics, algorithm, simulations
    )


def searchable_subject(config: RunConfig, folder: Path) -> SearchableSubject:
    """The subject of a run, if a search can run in its rules.

    Raises:
        UserError: it cannot.
    """
    subject = subject_of(config)
    if not isinstance(subject, SearchableSubject):
        raise UserError(
            "searches are for chains, whose rules are known; this run's "
            f"environment is {config.env.id}",
            source=folder,
        )
    return subject


def load_trained(
    folder: Path, device: str = "auto", trust: bool = False
) -> tuple[RunConfig, Trainer]:
    """The configuration of a finished run, and its trainer with what it has learned.

    ``trust`` as :func:`load_trainer`.

    Raises:
        UserError: the folder holds no run, or an unfinished or damaged one.
    """
    config, trainer = load_trainer(folder, device, trust)
    if not (folder / MODEL).exists():
        raise UserError(
            f"has no {MODEL}: not finished, or deleted; "
            "rl-serial train FILE --resume continues, and makes it again",
            source=folder,
        )
    _load_model(trainer, folder / MODEL)
    return config, trainer


def load_with_zip(
    folder: Path, file: Path, trust: bool, device: str = "auto"
) -> tuple[RunConfig, Trainer]:
    """A run's configuration and its trainer with the policy of a zip of Stable-Baselines3.

    Raises:
        UserError: not trusted, not such a zip, or a run of another kind of agent.
    """
    if not trust:
        raise UserError(
            "a Stable-Baselines3 zip runs code when loaded; --trust allows it", source=file
        )
    config, trainer = load_trainer(folder, device, trust)
    if not isinstance(trainer, LoadsZips):
        raise UserError("--model needs a run of a Stable-Baselines3 agent", source=folder)
    trainer.load_zip(file)
    return config, trainer


def load_trainer(
    folder: Path, device: str = "auto", trust: bool = False
) -> tuple[RunConfig, Trainer]:
    """The configuration of a run, and its trainer before any training.

    Args:
        folder: the run's.
        device: auto, cpu or cuda.
        trust: import the module that an environment's id names (``module:id``), which runs its
            code.

    Raises:
        UserError: the folder holds no run, or one that names a module and is not trusted.
    """
    file = folder / "config.yaml"
    if not file.exists():
        raise UserError("no run here (config.yaml is missing)", source=folder)
    data = read_yaml(file)
    env = data.get("env")
    id_ = str(env.get("id", "")) if isinstance(env, dict) else ""
    module, colon, _ = id_.rpartition(":")
    if colon and module.partition(".")[0] != "rl_serial" and not trust:
        raise UserError(
            f"{id_} imports the module {module}, which runs its code; --trust allows it",
            "env.id",
            str(file),
        )
    config = parse_config(data, str(file))
    return config, subject_of(config).trainer(choose_device(device), lambda *_: None)


def _load_model(trainer: Trainer, file: Path) -> None:
    try:
        trainer.load_model_state(load_tensors(file)["model"])
    except (RuntimeError, KeyError, AttributeError, TypeError, ValueError):
        raise UserError(
            "does not fit the network that config.yaml describes", source=file
        ) from None
