"""The levels that a screening chooses, and the table ``screening.csv`` that holds them.

A choice that is written down stays: neither the study's own results nor later screening runs of
other cells change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rl_serial.errors import RunError, UserError
from rl_serial.runs.files import write_text
from rl_serial.study.cells import LevelScore, level_scores, measured_value, smaller_is_better
from rl_serial.study.folder import StudyFolder
from rl_serial.study.schema import (
    AT_END,
    SEED,
    Cell,
    Choice,
    PlannedRun,
    ScreenConfig,
    Study,
    describe,
)
from rl_serial.study.table import Record, read_table, table_text


def choose(study: Study, records: Sequence[Record]) -> dict[Cell, Choice]:
    """The level that each cell takes: the one with the best mean over the screening's seeds.

    A level that lacks runs is taken only where every level does. Of equal means the level nearest
    to the middle of the range is taken, and of two such the lower one: where a metric cannot tell
    levels apart, the choice is no reason to look beyond the range.

    Args:
        study: with a screening.
        records: the screening's rows as ``results.csv`` has them, of whole cells.

    Raises:
        RunError: a cell without any value.
    """
    screen, metric, screening = _parts(study)
    fixed = [column for column in screening.columns if column not in (screen.key, *screen.share)]
    scores = level_scores(
        records, fixed, [screen.key], metric, smaller_is_better(screening, metric)
    )
    choices = {}
    for record in records:
        columns = {column: record[column] for column in fixed}
        cell = tuple(columns.values())
        if cell not in scores:
            raise RunError(
                f"screen: no screening run of {describe(columns) or 'the study'} has {metric}: "
                f"{record['error'] or record['status']}; --retry-failed tries again"
            )
        choices[cell] = _best(screen.levels, {k[0]: score for k, score in scores[cell].items()})
    return choices


def _best(levels: Sequence[int | float], scores: Mapping[object, LevelScore]) -> Choice:
    middle = (len(levels) - 1) / 2
    place = max(
        (i for i, level in enumerate(levels) if level in scores),
        key=lambda i: (scores[levels[i]].rank, -abs(i - middle), -i),
    )
    return Choice(
        levels[place],
        place in (0, len(levels) - 1),
        tuple(scores[level].mean if level in scores else None for level in levels),
        tuple(level for level in levels if level not in scores or not scores[level].complete),
    )


def write_choices(folder: StudyFolder, study: Study, choices: Mapping[Cell, Choice]) -> None:
    """Write ``screening.csv``: a row per cell, in the grid's order.

    Its ``id`` is that of the cell's first screening run.
    """
    screen, metric, _ = _parts(study)
    means = [f"{metric} at {level}" for level in screen.levels]
    rows: list[Record] = []
    for cell, run in _first_runs(study).items():
        choice = choices[cell]
        rows.append(
            {"id": run.id}
            | {c: v for c, v in run.columns.items() if c not in (SEED, *screen.share)}
            | {screen.key: choice.level, AT_END: choice.at_end}
            | dict(zip(means, choice.means, strict=True))
            | {LACKING: " ".join(map(str, choice.lacking))}
        )
    write_text(folder.choices, table_text(list(rows[0]), rows))


LACKING = "levels that lack runs"


def read_choices(folder: StudyFolder, study: Study) -> dict[Cell, Choice]:
    """The choices that were made; none before.

    Raises:
        UserError: they were made with another ``screen``, or the table is damaged.
    """
    if not folder.choices.exists():
        return {}
    screen, metric, _ = _parts(study)
    before = _screen_of(folder)
    changed = [key for key in type(screen).model_fields if before[key] != getattr(screen, key)]
    if changed:
        raise UserError(
            f"was made with another {', '.join(f'screen.{k}' for k in changed)}; "
            "--out takes another folder",
            source=folder.choices,
        )
    cells = {run.id: cell for cell, run in _first_runs(study).items()}
    levels = {str(level): level for level in screen.levels}
    choices = {}
    for record in read_table(folder.choices, texts=("id", screen.key, LACKING)):
        try:
            level = levels[record[screen.key]]
            choice = Choice(
                level,
                level in (screen.levels[0], screen.levels[-1]),
                tuple(measured_value(record, f"{metric} at {level}") for level in screen.levels),
                tuple(levels[text] for text in record[LACKING].split()),
            )
            id_ = record["id"]
        except KeyError:
            raise UserError("damaged: no table of choices", source=folder.choices) from None
        if id_ in cells:  # else of a cell that the grid lost, which the plan's check tells
            choices[cells[id_]] = choice
    return choices


def _screen_of(folder: StudyFolder) -> dict[str, Any]:
    """The keys of the ``screen`` in a folder's study; None each where it has none."""
    screen = folder.read_config().screen
    return dict.fromkeys(ScreenConfig.model_fields) if screen is None else dict(screen)


def _first_runs(study: Study) -> dict[Cell, PlannedRun]:
    """The first screening run of each cell, in the grid's order."""
    screen, _, screening = _parts(study)
    first: dict[Cell, PlannedRun] = {}
    for run in screening.runs:
        first.setdefault(screen.cell(run.columns), run)
    return first


def _parts(study: Study) -> tuple[ScreenConfig, str, Study]:
    """Screen, its metric and screening of a study that has them."""
    screen, screening = study.config.screen, study.screening
    assert screen is not None
    assert screen.metric is not None
    assert screening is not None
    return screen, screen.metric, screening
