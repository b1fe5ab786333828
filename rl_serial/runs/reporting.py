"""Trained agents side by side: the tables and the figure of their subject."""

from __future__ import annotations

from pathlib import Path

from rl_serial.agents.protocols import Trainer
from rl_serial.config import RunConfig
from rl_serial.errors import UserError
from rl_serial.runs.load import examine_finished, load_trained, load_with_zip
from rl_serial.subjects import SUBJECTS, row_of, subject_of
from rl_serial.subjects.protocol import ExaminedRun


def evaluate_runs(
    folders: list[Path],
    *,
    instances: int | None = None,
    per_remaining: int | None = None,
    seed: int | None = None,
    figure: Path | None = None,
    model: Path | None = None,
    trust: bool = False,
    device: str = "auto",
) -> list[ExaminedRun]:
    """Examine the agents of runs, print the tables and draw the figure.

    Args:
        folders: finished runs.
        instances: episodes played; None: as each run's configuration says; so the next two.
        per_remaining: states judged at each number of remaining steps.
        seed: chooses the evaluation instances.
        figure: where to draw accuracy by remaining steps, success by distance of the goal, or
            return by serial steps of a decision.
        model: a zip of Stable-Baselines3 in place of the (one) run's own weights.
        trust: the zip may be unpickled, and a module that a run's environment names imported.
        device: auto, cpu or cuda.

    Raises:
        UserError: a folder that holds no finished run; runs that have no table in common; a zip
            without trust.
    """
    if model is not None and len(folders) != 1:
        raise UserError("replaces the weights of one RUN", "--model")
    asked = {"instances": instances, "per_remaining": per_remaining, "seed": seed}
    changes = {name: value for name, value in asked.items() if value is not None}
    runs: list[tuple[RunConfig, Trainer]] = []
    for folder in folders:
        if model is None:
            config, trained = load_trained(folder, device, trust)
        else:
            config, trained = load_with_zip(folder, model, trust, device)
        for name in changes:
            if name not in type(config.evaluation).model_fields:
                raise UserError(
                    f"the examination of {folder} has none; there is --instances",
                    f"--{name.replace('_', '-')}",
                )
        settings = config.evaluation.model_copy(update=changes)
        runs.append((config.model_copy(update={"evaluation": settings}), trained))
    subjects = {row_of(config.env.id, config.agent.kind, config.subject).name for config, _ in runs}
    if len(subjects) > 1:
        places = " and ".join(sorted(SUBJECTS[name].place for name in subjects))
        raise UserError(f"runs {places} have no table in common", source="evaluate")
    examined = [ExaminedRun(config, examine_finished(config, trainer)) for config, trainer in runs]
    subject = subject_of(examined[0].config)
    print(*subject.tables(examined), sep="\n\n")
    if figure is not None:
        subject.draw(examined, figure)
        print(f"\n{figure}: {subject.drawn}")
    return examined
