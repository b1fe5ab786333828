"""Searches on top of trained agents: scores by simulations, as a table and a figure."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from rl_serial.errors import UserError
from rl_serial.runs.devices import choose_device
from rl_serial.runs.files import write_text
from rl_serial.runs.load import load_trained, searchable_subject
from rl_serial.styles import REFERENCE, draw_simulations, line_styles, save_figure
from rl_serial.subjects.protocol import ONE_PLY, SearchScore
from rl_serial.tables import markdown_table


def search_runs(
    folders: list[Path],
    simulations: list[int],
    *,
    dynamics: str | None = None,
    algorithm: str | None = None,
    instances: int | None = None,
    seed: int | None = None,
    table: Path | None = None,
    figure: Path | None = None,
    device: str = "auto",
    trust: bool = False,
) -> dict[str, list[SearchScore]]:
    """Put a search on top of the agents of runs; print scores by simulations.

    Args:
        folders: finished runs of agents with values.
        simulations: 0 is the agent's raw network.
        dynamics: the model that is searched in, true or learned; None: each run's own.
        algorithm: gumbel or puct; None: each run's own.
        instances: episodes played; None: as each run's configuration says; so the next.
        seed: chooses the evaluation instances.
        table: where to write the scores as CSV.
        figure: where to draw them.
        device: auto, cpu or cuda.
        trust: a module that a run's environment names may be imported.

    Raises:
        UserError: a folder that holds no finished run of an agent with values; dynamics that a run
            has not learned.
    """
    asked = {"instances": instances, "seed": seed}
    changes = {name: value for name, value in asked.items() if value is not None}
    scores: dict[str, list[SearchScore]] = {}
    rows: list[tuple[Any, ...]] = []
    for folder in folders:
        config, trainer = load_trained(folder, device, trust)
        settings = config.evaluation.model_copy(update=changes)
        config = config.model_copy(update={"evaluation": settings})
        subject = searchable_subject(config, folder)
        searcher = subject.searcher(trainer, choose_device(device), dynamics, algorithm)
        # Two runs of one name are told apart by their folders.
        name = config.name if config.name not in scores else str(folder)
        scores[name] = subject.search_scores(searcher, simulations)
        for found in scores[name]:
            numbers = (found.mean_return, found.score, *found.interval, found.seconds)
            played = (settings.instances, settings.seed)
            how = (searcher.dynamics_kind, searcher.algorithm)
            rows.append((name, *how, found.simulations, *numbers, *played))
    shown = [
        (name, simulations, f"{score:.3f} ({low:.3f} to {high:.3f})", f"{seconds:.2f}")
        for name, _, _, simulations, _, score, low, high, seconds, *_ in rows
    ]
    print(markdown_table(("run", "simulations", "score (95 % over instances)", "seconds"), shown))
    if table is not None:
        _write_scores(rows, table)
    if figure is not None:
        draw_search(scores, figure)
    return scores


def _write_scores(rows: list[tuple[Any, ...]], file: Path) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = "run dynamics algorithm simulations return score low high seconds instances seed"
    writer.writerow(columns.split())
    writer.writerows(rows)
    try:
        write_text(file, stream.getvalue())
    except OSError as error:
        raise UserError(error.strerror or error, source=file) from None


def draw_search(scores: dict[str, list[SearchScore]], file: Path) -> None:
    """Draw scores by simulations, with their intervals."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for (name, found_scores), style in zip(scores.items(), line_styles(list(scores)), strict=True):
        searched = [found for found in found_scores if found.simulations != ONE_PLY]
        axes.errorbar(
            [int(found.simulations) for found in searched],
            [found.score for found in searched],
            yerr=[found.interval[1] - found.score for found in searched],
            capsize=2,
            label=name,
            **style,
        )
    counts = (found.simulations for one in scores.values() for found in one)
    draw_simulations(axes, {int(count) for count in counts if count != ONE_PLY}, "a decision")
    axes.set_ylabel("score (0 random, 1 optimal)")
    axes.axhline(1, **REFERENCE)
    save_figure(figure, file)
