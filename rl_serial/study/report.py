"""A study as one self-contained HTML page, with its figures as SVG and PNG beside it."""

from __future__ import annotations

import base64
import copy
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import rc_context

from rl_serial.errors import RunError, UserError
from rl_serial.loading import parse_config
from rl_serial.runs.files import MODEL, read_text, write_atomically, write_text
from rl_serial.study.cells import (
    END_OF_RANGE,
    cell_intervals,
    chosen_levels,
    interval_words,
    interval_words_of,
)
from rl_serial.study.findings import CONFIRMATORY_SEEDS, EXPLORATORY_SEEDS, Finding, judge
from rl_serial.study.folder import Row, StudyFolder, counts
from rl_serial.study.measures import final_metrics
from rl_serial.study.panels import Drawing
from rl_serial.study.plane_figures import draw_planes
from rl_serial.study.planes import HEADER, Fit, cells_of_fit, study_fits
from rl_serial.study.plots import draw
from rl_serial.study.schema import AT_END, SEED, Scalar, Study, describe
from rl_serial.study.table import Record, read_table

PICTURE_DPI = 150
MOST_DETAILED = 1000
"""Runs of a study of which each has its own part in the page."""

_TEMPLATES = Environment(
    loader=PackageLoader("rl_serial.study"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_report(folder: StudyFolder, episodes: int = 4) -> Any:
    """Derive the tables anew, draw the figures, render episodes and write ``report.html``.

    Args:
        folder: of a study; it may be unfinished.
        episodes: how many runs' episodes are drawn, spread over the cells.

    Returns:
        The page's file.

    Raises:
        UserError: there is no study.
        RunError: a file cannot be written.
    """
    study = folder.read_study()
    rows = [folder.row(run) for run in study.runs]
    for path in (folder.figures, folder.episodes):
        if path.is_symlink():
            raise UserError("is a link, through which nothing is written", source=path)
    try:
        folder.write_tables(rows)
        folder.write_curves(rows)
        records = folder.read_results(study.runs)
        drawings = draw(study, records, folder.read_curves()) + draw_planes(study, records)
        pictures = [(drawing, _save(folder, drawing)) for drawing in drawings]
        renderings = _renderings(folder, study, rows, episodes)
        text = page(study, folder, rows, records, pictures, renderings)
        write_text(folder.report, text)
    except OSError as error:
        file = error.filename or folder.path
        raise RunError(f"{file}: {error.strerror or error}") from error
    return folder.report


def _save(folder: StudyFolder, drawing: Drawing) -> str:
    """Write a figure as SVG and PNG and return the SVG."""
    folder.figures.mkdir(exist_ok=True)
    svg, png = io.StringIO(), io.BytesIO()
    with rc_context({"svg.hashsalt": drawing.name}):  # the same figure gives the same file
        drawing.figure.savefig(svg, format="svg", metadata={"Date": None})
    drawing.figure.set_layout_engine("none")  # what is laid out stays where it is
    drawing.figure.savefig(png, format="png", dpi=PICTURE_DPI)
    write_text(folder.figures / f"{drawing.name}.svg", svg.getvalue())
    write_atomically(
        folder.figures / f"{drawing.name}.png", lambda stream: stream.write(png.getvalue())
    )
    return svg.getvalue()


def _renderings(
    folder: StudyFolder, study: Study, rows: Sequence[Row], most: int
) -> list[tuple[Row, bytes]]:
    """Episodes of runs that are spread over the finished cells, each of its first seed."""
    first: dict[tuple[Scalar, ...], Row] = {}
    for row in rows:
        if row.status == "done":
            first.setdefault(tuple(row.run.columns[c] for c in study.columns), row)
    finished = list(first.values())
    wanted = min(most, len(finished))
    chosen = [finished[i * (len(finished) - 1) // max(1, wanted - 1)] for i in range(wanted)]
    return [(row, gif) for row in chosen if (gif := _episode(folder, row)) is not None]


def _episode(folder: StudyFolder, row: Row) -> bytes | None:
    """The animated GIF of a run's first evaluation episode; None where no model is left."""
    file = folder.episodes / f"{row.run.id}.gif"
    if file.is_file() and not file.is_symlink():
        return file.read_bytes()
    from rl_serial.runs.load import load_run
    from rl_serial.subjects import subject_of
    from rl_serial.subjects.animation import animated_gif

    run = folder.run(row.run.id)
    if not (run / MODEL).exists():
        return None
    # Its environment may be the user's own and not imported, which is worth an error.
    parse_config(copy.deepcopy(row.run.config), str(run / "config.yaml"))
    try:
        config, agent = load_run(run, "cpu")
    except UserError:
        return None
    gif, _ = animated_gif(subject_of(config).watch(agent))
    folder.episodes.mkdir(exist_ok=True)
    write_atomically(file, lambda stream: stream.write(gif))
    return gif


def page(
    study: Study,
    folder: StudyFolder,
    rows: Sequence[Row],
    records: Sequence[Record],
    pictures: Sequence[tuple[Drawing, str]],
    renderings: Sequence[tuple[Row, bytes]],
) -> str:
    """The page as HTML, by ``templates/report.html``; it loads nothing from anywhere."""
    return _TEMPLATES.get_template("report.html").render(
        title=study.name.replace("_", " "),
        question=study.config.question,
        state=_state(study, rows),
        figures=[_figure(drawing, svg) for drawing, svg in pictures],
        **_hypotheses(judge(study, records)),
        **_fits(study_fits(study, records)),
        **_cells(study, records),
        screening=_screening(study, folder),
        episodes=[
            {"run": describe(row.run.columns), "gif": _base64(gif)} for row, gif in renderings
        ],
        **_runs(study, rows),
        failed=_failed(rows, folder),
        **_repeat(folder, rows),
        **_configurations(rows),
    )


class Cell(NamedTuple):
    """A cell of a table. Its texts are plain; the templates escape them."""

    text: str
    is_number: bool = False
    sort: str = ""  # the number that it is sorted by, where the text is more than that
    note: str = ""  # below, in small letters
    verdict: str = ""  # first word of a verdict, which the text is
    link: str = ""  # the element that the text leads to


def _plain(value: object) -> Cell:
    return Cell(str(value), isinstance(value, int | float) and not isinstance(value, bool))


def _row(values: Iterable[object]) -> list[Cell]:
    return [value if isinstance(value, Cell) else _plain(value) for value in values]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _state(study: Study, rows: Sequence[Row]) -> str:
    found = counts(rows)
    seeds = len(study.levels(SEED))
    cells = len(rows) // seeds
    state = ", ".join(f"{number} {status}" for status, number in found.items() if number)
    return f"{cells} cells × {seeds} seed{'' if seeds == 1 else 's'} = {len(rows)} runs: {state}."


def _hypotheses(findings: Sequence[Finding]) -> dict[str, Any]:
    confirmatory = [f for f in findings if not f.hypothesis.exploratory]
    exploratory = [f for f in findings if f.hypothesis.exploratory]
    return {
        "finding_header": ["verdict", "measured", "value", "p", "P(first > second)"],
        "confirmatory": [_finding(f) for f in confirmatory],
        "exploratory": [_finding(f) for f in exploratory],
        "family": sum(f.hypothesis.test is not None for f in confirmatory),
        "confirmatory_seeds": CONFIRMATORY_SEEDS,
        "exploratory_seeds": EXPLORATORY_SEEDS,
    }


def _finding(finding: Finding) -> list[Cell]:
    value = Cell("")
    if finding.interval is not None:
        test = finding.hypothesis.test
        wanted = f", expected {test.expect.words()}" if test else ""
        value = Cell(interval_words(finding.interval), note=f"n = {finding.interval.runs}{wanted}")
    return _row(
        (
            finding.hypothesis.id,
            finding.hypothesis.statement,
            Cell(finding.words, verdict=finding.verdict.split()[0]),
            Cell(finding.quantity, note=finding.note),
            value,
            "" if finding.p is None else f"{finding.p:.2g}",
            interval_words(finding.improvement),
        )
    )


def _figure(drawing: Drawing, svg: str) -> dict[str, Any]:
    return {
        "name": drawing.name,
        "title": drawing.title,
        "caption": drawing.caption,
        "width": round(float(drawing.figure.get_size_inches()[0]) * 96),
        "svg": _base64(svg.encode()),
    }


def _fits(fits: Sequence[Fit]) -> dict[str, Any]:
    """The slopes of the planes; those of a whole plane first."""
    ordered = sorted(fits, key=lambda fit: not fit.summary)
    return {"fits_header": HEADER, "fits": [_row(cells_of_fit(fit)) for fit in ordered]}


def _cells(study: Study, records: Sequence[Record]) -> dict[str, Any]:
    metrics = final_metrics(study)
    levels = chosen_levels(study, records)
    screened = [study.config.screen.key] if study.config.screen else []
    table = []
    for columns, intervals, planned in cell_intervals(study, records):
        runs = max((interval.runs for interval in intervals.values()), default=0)
        measured = [
            _measured(interval_words_of(i, planned), i.estimate)
            if (i := intervals.get(metric))
            else interval_words_of(None, planned)
            for metric in metrics
        ]
        level = [levels[tuple(columns.values())]] if levels else []
        table.append(_row((*columns.values(), *level, runs, *measured)))
    return {"cells_header": (*study.columns, *screened, "runs", *metrics), "cells": table}


def _measured(text: str, value: float) -> Cell:
    return Cell(text, is_number=True, sort=f"{value:.6g}")


def _screening(study: Study, folder: StudyFolder) -> dict[str, Any] | None:
    """The levels that the cells took, and the means that they took them from."""
    screen = study.config.screen
    if screen is None or not folder.choices.exists():
        return None
    choices = read_table(folder.choices, texts=("id",))
    ends = 0
    for choice in choices:
        del choice["id"]
        if choice.pop(AT_END):
            ends += 1
            choice[screen.key] = f"{choice[screen.key]}, {END_OF_RANGE}"
    shared = f" Cells that differ in {', '.join(screen.share)} alone share it." * bool(screen.share)
    flag = (
        f"{ends} of {len(choices)} lie {END_OF_RANGE}: a better one may lie beyond."
        if ends
        else f"None lies {END_OF_RANGE}."
    )
    return {
        "explanation": f"Each cell runs at the {screen.key} with the best mean {screen.metric} of "
        f"{len(screen.levels)} levels, found at the seeds {', '.join(map(str, screen.seeds))}, "
        f"which the study's own runs do not use.{shared} {flag}",
        "header": list(choices[0]),
        "rows": [
            _row("" if value is None else value for value in choice.values()) for choice in choices
        ],
    }


def _runs(study: Study, rows: Sequence[Row]) -> dict[str, Any]:
    metrics = final_metrics(study)
    detailed = len(rows) <= MOST_DETAILED
    table = []
    for row in rows:
        final = row.summary.get("final", {}) if row.status == "done" else {}
        measured = [
            _measured(f"{final[metric]:.3f}", final[metric]) if metric in final else ""
            for metric in metrics
        ]
        seconds = row.summary.get("seconds")
        table.append(
            _row(
                (
                    Cell(row.run.id, link=f"run-{row.run.id}" if detailed else ""),
                    row.status,
                    *row.run.columns.values(),
                    *measured,
                    "" if seconds is None else f"{seconds:.0f}",
                )
            )
        )
    return {
        "runs_header": ("id", "status", *study.columns, SEED, *metrics, "seconds"),
        "runs": table,
    }


def _failed(rows: Sequence[Row], folder: StudyFolder) -> list[list[Cell]]:
    failed = [row for row in rows if row.status == "failed"]
    return [
        _row((r.run.id, describe(r.run.columns), r.error, f"logs/{folder.log(r.run.id).name}"))
        for r in failed
    ]


def _repeat(folder: StudyFolder, rows: Sequence[Row]) -> dict[str, Any]:
    done = [row.summary for row in rows if row.status == "done"]
    surroundings = [
        {key: summary.get(key) for key in ("versions", "commit", "device_name", "torch_threads")}
        for summary in done
    ]
    kinds = {json.dumps(kind, sort_keys=True): kind for kind in surroundings}.values()
    screened = folder.screening.rows() if folder.screening.plan.exists() else []
    spent = [row.summary.get("seconds") for row in (*rows, *screened) if row.status == "done"]
    seconds = sum(number for number in spent if isinstance(number, int | float))
    return {
        "commands": read_text(folder.commands) if folder.commands.exists() else "",
        "design": read_text(folder.design),
        "screened": bool(screened),
        "hours": f"{seconds / 3600:.2f}",
        "surroundings": list(map(_surroundings, kinds)),
    }


def _surroundings(kind: dict[str, Any]) -> str:
    """What runs were made with; a row restored from a publication has no versions."""
    parts = [
        ", ".join(f"{name} {version}" for name, version in (kind["versions"] or {}).items()),
        f"commit {kind['commit']}",
        f"{kind['device_name']}, {kind['torch_threads']} thread(s) per run.",
    ]
    return "; ".join(filter(None, parts))


def _configurations(rows: Sequence[Row]) -> dict[str, Any]:
    """The keys that all runs share, once, and of each run its own, its accounts and results."""
    configs = [dict(_flat(row.run.config)) for row in rows]
    first, *others = configs
    shared = {
        key: value
        for key, value in first.items()
        if all(key in config and config[key] == value for config in others)
    }
    detailed = len(rows) <= MOST_DETAILED
    return {
        "shared": _lines(shared),
        "details": [
            _details(row, {key: value for key, value in config.items() if key not in shared})
            for row, config in zip(rows, configs, strict=True)
            if detailed
        ],
    }


def _details(row: Row, own: dict[str, Any]) -> dict[str, Any]:
    parts = {"configuration": own}
    if "accounts" in row.summary:
        parts["accounts"] = dict(_flat(row.summary["accounts"]))
    if row.status == "done":
        parts["final"] = row.summary["final"]
    return {
        "id": row.run.id,
        "settings": describe(row.run.columns),
        "status": row.status,
        "text": "\n\n".join(f"{name}\n{_lines(data, '  ')}" for name, data in parts.items()),
    }


def _flat(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value


def _lines(flat: dict[str, Any], indent: str = "") -> str:
    return "\n".join(f"{indent}{key}: {value}" for key, value in flat.items())
