"""A study as one self-contained HTML page, with its figures as SVG and PNG beside it."""

from __future__ import annotations

import base64
import copy
import html
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib import rc_context

from rl_serial.errors import RunError, UserError
from rl_serial.loading import parse_config
from rl_serial.runs.files import MODEL, read_text, write_atomically, write_text
from rl_serial.study.design import AT_END, SEED, Scalar, Study, describe, final_metrics
from rl_serial.study.findings import (
    CONFIRMATORY_SEEDS,
    END_OF_RANGE,
    EXPLORATORY_SEEDS,
    Finding,
    cell_intervals,
    chosen_levels,
    judge,
    shown,
    shown_of,
)
from rl_serial.study.folder import Row, StudyFolder, counts
from rl_serial.study.planes import HEADER, Fit, cells_of_fit, draw_planes, study_fits
from rl_serial.study.plots import Drawing, draw
from rl_serial.study.table import Record, read_table

PICTURE_DPI = 150


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
            raise UserError(f"{path}: is a link, through which nothing is written")
    try:
        folder.write_tables(rows)
        folder.write_curves(rows)
        records = folder.read_results()
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
    """The page as HTML; it loads nothing from anywhere."""
    title = study.name.replace("_", " ")
    parts = [
        f"<p class=question>{html.escape(study.config.question)}</p>",
        _state(study, rows),
        *_hypotheses(judge(study, records)),
        *_figures(pictures),
        *_fits(study_fits(study, records)),
        "<h2 id=cells>Cells</h2>",
        "<p>Interquartile mean over seeds (of up to three the mean) with its 95 % interval over "
        "seeds; none where all seeds are equal. A cell that lacks runs says how many it has. "
        "Click on a head to sort.</p>",
        _cells(study, records),
        *_screening(study, folder),
        *_episodes(renderings),
        "<h2 id=runs>Runs</h2>",
        "<p>Every planned run. The id leads to its configuration and accounts.</p>",
        _runs(study, rows),
        *_failures(rows, folder),
        "<h2 id=repeat>To repeat it</h2>",
        _repeat(folder, rows),
        "<h2 id=configurations>Configurations and accounts</h2>",
        *(_details(row) for row in rows),
    ]
    links = [("hypotheses", "Hypotheses")] if study.config.hypotheses else []
    links += [("figures", "Figures")] if pictures else []
    links += [("fits", "Fits")] if study.config.planes else []
    links += [("cells", "Cells")]
    links += [("screening", "Screening")] if folder.choices.exists() else []
    links += [("runs", "Runs"), ("repeat", "To repeat it")]
    nav = " ".join(f"<a href='#{place}'>{name}</a>" for place, name in links)
    body = "\n".join(part for part in parts if part)
    return (
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
        "<meta name=viewport content='width=device-width, initial-scale=1'>\n"
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{html.escape(title)}</h1>\n<nav>{nav}</nav></header>\n<main>\n{body}\n"
        f"</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _state(study: Study, rows: Sequence[Row]) -> str:
    found = counts(rows)
    seeds = len(study.levels(SEED))
    cells = len(rows) // seeds
    state = ", ".join(f"{number} {status}" for status, number in found.items() if number)
    return (
        f"<p class=state>{cells} cells × {seeds} seed{'' if seeds == 1 else 's'} = "
        f"{len(rows)} runs: {state}.</p>"
    )


def _hypotheses(findings: Sequence[Finding]) -> list[str]:
    """The hypotheses stated before the runs; then, apart, the exploratory ones."""
    confirmatory = [f for f in findings if not f.hypothesis.exploratory]
    exploratory = [f for f in findings if f.hypothesis.exploratory]
    family = sum(f.hypothesis.test is not None for f in confirmatory)
    parts = ["<h2 id=hypotheses>Hypotheses</h2>"] if findings else []
    if confirmatory:
        parts.append(_findings(confirmatory, "stated before running", "hypotheses"))
        correction = (
            f"p is corrected for {family} hypotheses by Holm's method, the interval is not. "
            if family > 1
            else ""
        )
        parts.append(
            "<p><small>Supported: the interval lies wholly where it was expected; refuted: wholly "
            "outside; not learned: all cells are below their floor; else undecided. "
            f"{correction}A verdict needs {CONFIRMATORY_SEEDS} seeds in "
            "each cell and every run.</small></p>"
        )
    if exploratory:
        parts += [
            "<h3>Exploratory</h3>",
            _findings(exploratory, "explored", "exploratory"),
            "<p><small>Not corrected for their number; a reason to look again with new seeds, no "
            f"confirmation. A verdict needs {EXPLORATORY_SEEDS} seeds in each cell and every "
            "run.</small></p>",
        ]
    if findings:
        parts.append(
            "<p><small>Intervals are Student's over seeds, of an expectation between two numbers "
            "90 % (two one-sided tests at 5 %), else 95 % unless said otherwise. They cover what "
            "another seed would change. They do not cover other evaluation instances, which all "
            "runs share.</small></p>"
        )
    return parts


def _findings(findings: Sequence[Finding], statement: str, name: str) -> str:
    return _table(
        ("id", statement, "verdict", "measured", "value", "p", "P(first > second)"),
        [
            (
                finding.hypothesis.id,
                finding.hypothesis.statement,
                _Cell(
                    f"<span class='verdict {finding.verdict.split()[0]}'>"
                    f"{html.escape(finding.words)}</span>"
                ),
                _Cell(
                    html.escape(finding.quantity)
                    + (f"<br><small>{html.escape(finding.note)}</small>" if finding.note else "")
                ),
                _with_runs(finding),
                "" if finding.p is None else f"{finding.p:.2g}",
                shown(finding.improvement),
            )
            for finding in findings
        ],
        name,
    )


def _with_runs(finding: Finding) -> object:
    if finding.interval is None:
        return ""
    test = finding.hypothesis.test
    wanted = f", expected {test.expect.words()}" if test else ""
    small = f"<small>n = {finding.interval.runs}{wanted}</small>"
    return _Cell(f"{html.escape(shown(finding.interval))}<br>{small}")


def _figures(pictures: Sequence[tuple[Drawing, str]]) -> list[str]:
    if not pictures:
        return ["<p>No run is finished yet, so there are no figures.</p>"]
    figures = []
    for drawing, svg in pictures:
        source = base64.b64encode(svg.encode()).decode()
        width = round(float(drawing.figure.get_size_inches()[0]) * 96)
        figures.append(
            f"<figure id='{drawing.name}'><img alt='{html.escape(drawing.title, quote=True)}' "
            f"width={width} src='data:image/svg+xml;base64,{source}'>"
            f"<figcaption><b>{html.escape(drawing.title)}.</b> {html.escape(drawing.caption)}"
            "</figcaption></figure>"
        )
    return ["<h2 id=figures>Figures</h2>", *figures]


def _fits(fits: Sequence[Fit]) -> list[str]:
    """The slopes of the planes; those of a whole plane first."""
    if not fits:
        return []
    return [
        "<h2 id=fits>Fits of the planes</h2>",
        _table(
            HEADER, [cells_of_fit(f) for f in sorted(fits, key=lambda f: not f.summary)], "fits"
        ),
        "<p><small>95 % intervals over seeds: Student's for steps per doubling or unit; for least "
        "depths and widths with the spread of a bootstrap that draws the seeds of each cell. k "
        "that the first place of the grid reaches already, or that none reaches, are left out. "
        "Cells at the end of the chain could be right further, so their slopes are lower bounds. "
        "The best of several cells is an optimistic one. No verdict rests on this table."
        "</small></p>",
    ]


def _cells(study: Study, records: Sequence[Record]) -> str:
    metrics = final_metrics(study)
    levels = chosen_levels(study, records)
    screened = [study.config.screen.key] if study.config.screen else []
    table = []
    for columns, intervals, planned in cell_intervals(study, records):
        runs = max((interval.runs for interval in intervals.values()), default=0)
        measured = [
            _Cell(html.escape(shown_of(i, planned)), _number(i.estimate))
            if (i := intervals.get(m))
            else shown_of(None, planned)
            for m in metrics
        ]
        level = [levels[tuple(columns.values())]] if levels else []
        table.append((*columns.values(), *level, runs, *measured))
    return _table((*study.columns, *screened, "runs", *metrics), table, "cells")


def _screening(study: Study, folder: StudyFolder) -> list[str]:
    """The levels that the cells took, and the means that they took them from."""
    screen = study.config.screen
    if screen is None or not folder.choices.exists():
        return []
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
    cells = [["" if cell is None else cell for cell in choice.values()] for choice in choices]
    return [
        "<h2 id=screening>Screening</h2>",
        f"<p>Each cell runs at the {html.escape(screen.key)} with the best mean "
        f"{html.escape(str(screen.metric))} of {len(screen.levels)} levels, found at the seeds "
        f"{', '.join(map(str, screen.seeds))}, which the study's own runs do not use."
        f"{html.escape(shared)} {flag}</p>",
        _table(list(choices[0]), cells, "screening"),
    ]


def _episodes(renderings: Sequence[tuple[Row, bytes]]) -> list[str]:
    if not renderings:
        return []
    figures = [
        f"<figure><img alt='An episode of the run with {html.escape(describe(row.run.columns))}' "
        f"loading=lazy src='data:image/gif;base64,{base64.b64encode(gif).decode()}'>"
        f"<figcaption>{html.escape(describe(row.run.columns))}</figcaption></figure>"
        for row, gif in renderings
    ]
    return [
        "<h2 id=episodes>Episodes</h2>",
        "<p>The first evaluation episode of some runs; on a chain the agent's values beside the "
        "exact ones.</p>",
        "<div class=episodes>",
        *figures,
        "</div>",
    ]


def _runs(study: Study, rows: Sequence[Row]) -> str:
    metrics = final_metrics(study)
    table = []
    for row in rows:
        final = row.summary.get("final", {}) if row.status == "done" else {}
        measured = [
            _Cell(f"{final[m]:.3f}", _number(final[m])) if m in final else "" for m in metrics
        ]
        seconds = row.summary.get("seconds")
        table.append(
            (
                _Cell(f"<a href='#run-{row.run.id}'><code>{row.run.id}</code></a>"),
                row.status,
                *row.run.columns.values(),
                *measured,
                "" if seconds is None else f"{seconds:.0f}",
            )
        )
    return _table(("id", "status", *study.columns, SEED, *metrics, "seconds"), table, "runs")


def _failures(rows: Sequence[Row], folder: StudyFolder) -> list[str]:
    failed = [row for row in rows if row.status == "failed"]
    if not failed:
        return []
    table = [
        (row.run.id, describe(row.run.columns), row.error, f"logs/{folder.log(row.run.id).name}")
        for row in failed
    ]
    return ["<h2 id=failed>Failed</h2>", _table(("id", "run", "error", "log"), table, "failed")]


def _repeat(folder: StudyFolder, rows: Sequence[Row]) -> str:
    commands = read_text(folder.commands) if folder.commands.exists() else ""
    done = [row.summary for row in rows if row.status == "done"]
    surroundings = [
        {key: summary.get(key) for key in ("versions", "commit", "device_name", "torch_threads")}
        for summary in done
    ]
    kinds = list({json.dumps(s, sort_keys=True): s for s in surroundings}.values())
    screened = folder.screening.rows() if folder.screening.plan.exists() else []
    spent = [row.summary.get("seconds") for row in (*rows, *screened) if row.status == "done"]
    seconds = sum(number for number in spent if isinstance(number, int | float))
    lines = [
        f"<pre>{html.escape(commands)}rl-serial study report FOLDER</pre>",
        f"<p>The finished runs{', those of the screening included,' * bool(screened)} took "
        f"{seconds / 3600:.2f} hours of one process.</p>",
    ]
    for kind in kinds:
        versions = ", ".join(f"{name} {v}" for name, v in (kind["versions"] or {}).items())
        lines.append(
            f"<p>{html.escape(versions)}; commit {html.escape(str(kind['commit']))}; "
            f"{html.escape(str(kind['device_name']))}, "
            f"{html.escape(str(kind['torch_threads']))} thread(s) per run.</p>"
        )
    lines.append(
        f"<details><summary>study.yaml</summary><pre>{html.escape(read_text(folder.design))}</pre></details>"
    )
    return "\n".join(lines)


def _details(row: Row) -> str:
    shown_parts = {"configuration": row.run.config}
    if "accounts" in row.summary:
        shown_parts["accounts"] = row.summary["accounts"]
    if row.status == "done":
        shown_parts["final"] = row.summary["final"]
    text = "\n\n".join(
        f"{name}\n" + "\n".join(_flat_lines(data)) for name, data in shown_parts.items()
    )
    return (
        f"<details id='run-{row.run.id}'><summary><code>{row.run.id}</code> "
        f"{html.escape(describe(row.run.columns))}, {row.status}</summary>"
        f"<pre>{html.escape(text)}</pre></details>"
    )


def _flat_lines(data: dict[str, Any], prefix: str = "  ") -> Iterable[str]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _flat_lines(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}: {value}"


class _Cell:
    """A cell that is HTML already, and what it is sorted by."""

    def __init__(self, text: str, sort: str = "") -> None:
        self.text, self.sort = text, sort


def _table(header: Sequence[str], rows: Iterable[Sequence[object]], name: str) -> str:
    """A table that sorts by the column whose head is clicked."""
    head = "".join(f"<th scope=col><button>{html.escape(str(h))}</button></th>" for h in header)
    body = "\n".join(f"<tr>{''.join(_td(cell) for cell in row)}</tr>" for row in rows)
    return (
        f"<div class=scroll id='scroll-{name}'><table id='table-{name}' class=sortable>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _td(cell: object) -> str:
    if isinstance(cell, _Cell):
        sort = f" data-sort='{cell.sort}'" if cell.sort else ""
        return f"<td{' class=number' if cell.sort else ''}{sort}>{cell.text}</td>"
    number = isinstance(cell, int | float) and not isinstance(cell, bool)
    return f"<td{' class=number' if number else ''}>{html.escape(str(cell))}</td>"


def _number(value: float) -> str:
    return f"{value:.6g}"


_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 0; background: #fff; }
header { padding: 1rem 2rem 0; border-bottom: 1px solid #ddd; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1rem; }
nav { padding: .4rem 0 .8rem; } nav a { margin-right: 1.2rem; }
main { padding: 0 2rem 4rem; max-width: 1280px; }
a { color: #2b4162; } small { color: #666; }
.question { font-size: 1.15rem; max-width: 60rem; } .state { color: #555; }
figure { margin: 1.2rem 0 2rem; } figure img { max-width: 100%; height: auto; }
figcaption { color: #444; font-size: .88rem; max-width: 60rem; }
.episodes { display: flex; flex-wrap: wrap; gap: 1rem; }
.episodes figure { margin: 0; flex: 1 1 420px; max-width: 600px; border: 1px solid #ddd;
  padding: .5rem; }
.scroll { overflow: auto; max-height: 40rem; border: 1px solid #ddd; width: fit-content;
  max-width: 100%; }
table { border-collapse: collapse; font-size: .86rem; }
#scroll-hypotheses, #scroll-exploratory { max-height: none; }
th { position: sticky; top: 0; background: #f4f4f1; text-align: left; }
th button { font: inherit; font-weight: 600; background: none; border: 0; padding: .3rem .6rem;
  cursor: pointer; white-space: nowrap; }
th[aria-sort=ascending] button::after { content: " ↑"; }
th[aria-sort=descending] button::after { content: " ↓"; }
td { padding: .25rem .6rem; border-top: 1px solid #eee; vertical-align: top; }
#table-cells td, #table-runs td, #table-hypotheses td:nth-child(5),
#table-exploratory td:nth-child(5) { white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.verdict { padding: .05rem .45rem; border: 1px solid #222; white-space: nowrap; }
.supported { background: #222; color: #fff; } .refuted { background: #fff; font-weight: 600; }
.undecided, .not { border-color: #aaa; color: #555; }
details { margin: .15rem 0; } summary { cursor: pointer; }
pre { background: #f7f7f5; padding: .6rem; overflow: auto; font-size: .82rem; }
"""

_SCRIPT = """
for (const table of document.querySelectorAll("table.sortable"))
  table.tHead.addEventListener("click", event => {
    const head = event.target.closest("th"), body = table.tBodies[0];
    if (!head) return;
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => { const cell = row.cells[head.cellIndex];
      return cell.dataset.sort ?? cell.textContent; };
    const order = new Intl.Collator(undefined, {numeric: true});
    const compare = (a, b) => { const x = Number(a), y = Number(b);
      return a !== "" && b !== "" && !isNaN(x) && !isNaN(y) ? x - y : order.compare(a, b); };
    const rows = [...body.rows].sort((a, b) => compare(key(a), key(b)));
    body.append(...(down ? rows.reverse() : rows));
  });
const open = () => { const place = document.getElementById(location.hash.slice(1));
  if (place && place.tagName === "DETAILS") { place.open = true; place.scrollIntoView(); } };
addEventListener("hashchange", open); open();
"""
