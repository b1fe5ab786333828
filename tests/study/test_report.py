"""The report: what it says is in the tables, it is whole in itself, and a browser shows it."""

from __future__ import annotations

import ast
import base64
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from scipy import stats

import rl_serial.study
from rl_serial.cli import main
from rl_serial.errors import UserError
from rl_serial.study import report
from rl_serial.study.cells import cell_intervals, cells, interval_words, interval_words_of, tune
from rl_serial.study.design import plan
from rl_serial.study.findings import judge
from rl_serial.study.folder import StudyFolder
from rl_serial.study.plots import draw, layouts
from rl_serial.study.report import write_report

Data = dict[str, Any]
CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=5000",
    "--window-size=1280,1200",
]


@pytest.fixture(scope="module")
def page(finished: Path) -> str:
    return write_report(StudyFolder(finished), episodes=2).read_text()


def test_page_is_self_contained(page: str) -> None:
    assert not re.findall(r"(?:src|href)=['\"]?(?!data:|#)[^'\" >]+", page)
    assert "@import" not in page
    assert "url(" not in page
    assert len(re.findall(r"src='data:image/gif", page)) == 2


def test_page_of_very_many_runs_names_the_files_of_each(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_DETAILED", 7)  # there are eight
    monkeypatch.setattr(report, "draw", lambda *_: [])
    folder = shutil.copytree(finished, tmp_path / "many")
    page = write_report(StudyFolder(folder), episodes=0).read_text()
    assert "id='run-" not in page
    assert "#run-" not in page
    assert "<code>results.csv</code> their accounts" in page
    assert page.count("agent.learning_rate: 0.001") == 1


def test_page_holds_figures_tables_and_every_run(page: str, finished: Path) -> None:
    for name in ("hypotheses", "cells", "runs"):
        assert f"id='table-{name}'" in page
    runs = [folder.name for folder in (finished / "runs").iterdir()]
    assert len(runs) == 8
    for run in runs:
        assert f"<details id='run-{run}'>" in page
    assert page.count("agent.learning_rate: 0.001") == 1  # what all share stands once
    assert page.count("network.depth: 1") == page.count("network.depth: 2") == 4
    assert page.count("value.critical_path: 3") == 4  # depth 1, input layer and head
    assert "rl-serial study run" in page
    assert "torch 2" in page
    figures = re.findall(r"data:image/svg\+xml;base64,([^']+)'", page)
    assert len(figures) == 5
    for figure, file in zip(figures, sorted((finished / "figures").glob("*.svg")), strict=True):
        assert base64.b64decode(figure) == file.read_bytes()
        with Image.open(file.with_suffix(".png")) as image:
            assert image.width > 600


def floor_of(axis: Any) -> set[tuple[float, float]]:
    """The upper corners of the region that is called the floor."""
    [region] = [part for part in axis.collections if part.get_label() == "floor"]
    [path] = region.get_paths()
    return {(x, round(y, 6)) for x, y in path.vertices.tolist() if y > 0}


def test_a_level_looks_the_same_in_every_panel_and_the_floor_is_drawn() -> None:
    """Depth 4 alone in one panel, both depths in the others; the floor of the highest cell."""
    accuracy = {f"value/accuracy/remaining_{k}": 1 - 0.1 * k for k in (1, 2, 3)}
    floors = {f"floor/accuracy/remaining_{k}": 0.9 - 0.2 * k for k in (1, 2, 3)}
    table = [
        row
        | accuracy
        | {tag: floor - 0.1 * (row["network.depth"] == 1) for tag, floor in floors.items()}
        | {"floor/reach": 1.5 if row["network.depth"] == 4 else 1.0}
        for row in TABLE
        if (row["group"], row["network.depth"]) != ("a5", 1)
    ]
    figures = {d.name[3:]: d for d in draw(study_with(ABOVE), table, [])}
    drawn: dict[str, set[tuple[Any, ...]]] = {}
    for axis in figures["accuracy_by_remaining"].figure.axes:
        for line in axis.get_lines():
            look = (line.get_color(), line.get_marker(), line.get_linestyle())
            drawn.setdefault(str(line.get_label()), set()).add(look)
        assert floor_of(axis) == {(1, 0.7), (2, 0.5), (3, 0.3)}
    looks = {name: len(looks) for name, looks in drawn.items() if name[0] != "_"}
    assert looks == {"1": 1, "4": 1}
    assert drawn["1"].isdisjoint(drawn["4"])
    axis = figures["serial_reach_over_network_depth"].figure.axes[0]
    assert floor_of(axis) == {(1, 1.0), (4, 1.5)}
    assert all("Hatched: the floor" in figures[n].caption for n in figures if "profile" not in n)


def test_searches_stand_beside_the_networks_by_remaining_steps() -> None:
    """Of the largest search, in the colour of its network."""
    table = [
        row
        | {f"value/accuracy/remaining_{k}": 0.5 for k in (1, 2)}
        | {f"search/true/right/{n}/remaining_{k}": 0.5 + n / 100 for k in (1, 2) for n in (4, 16)}
        for row in TABLE
    ]
    study = study_with(ABOVE, base=BASE | {"evaluation": {"simulations": [4, 16]}})
    accuracy = next(d for d in draw(study, table, []) if "remaining" in d.name)
    lines = {line.get_label(): line for line in accuracy.figure.axes[0].get_lines()}
    assert {"1", "4", "1 + search of 16", "4 + search of 16"} <= set(lines)
    np.testing.assert_allclose(lines["4 + search of 16"].get_ydata(), 0.66)
    assert lines["4 + search of 16"].get_color() == lines["4"].get_color()
    assert "a search of 16 simulations on top" in accuracy.caption
    one = [{k: v for k, v in row.items() if not k.endswith("remaining_2")} for row in table]
    accuracy = next(d for d in draw(study, one, []) if "remaining" in d.name)
    assert "search" not in accuracy.caption


def test_scores_of_searches_over_another_column_have_a_line_each() -> None:
    base = BASE | {"evaluation": {"simulations": [0, 8]}}
    figure = {"x": "network.depth", "panels": ["group"], "metric": "search/true/score"}
    study = study_with(
        ABOVE, base=base, metric=["eval/serial_reach", "search/true/score"], figures=[figure]
    )
    table = [row | {"search/true/score/0": 0.25, "search/true/score/8": 0.75} for row in TABLE]
    axis = draw(study, table, [])[0].figure.axes[0]
    heights = {bars.get_label(): bars.lines[0].get_ydata().tolist() for bars in axis.containers}
    assert heights == {"0": [0.25, 0.25], "8": [0.75, 0.75]}


def test_same_runs_give_the_same_figures(page: str, finished: Path) -> None:
    before = {file.name: file.read_bytes() for file in (finished / "figures").iterdir()}
    write_report(StudyFolder(finished), episodes=0)
    assert {file.name: file.read_bytes() for file in (finished / "figures").iterdir()} == before


class Elements(HTMLParser):
    """The tags of a page, in order, and the texts between them; each is closed where it should."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.attributes: set[str] = set()
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attributes}
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_text_from_the_study_cannot_become_markup(
    tiny: Data, study_file: Callable[[Data], Path], tmp_path: Path
) -> None:
    """A study with nothing run yet has a page, and its texts stay texts, quotes and all."""
    question = "Is 1 < 2 & <script>alert(1)</script>?"
    statement = "x' onclick='y\" z=\" <i>is</i> &lt; it's"
    label = "a' b=\"<u>"

    def written(name: str, study: Data) -> str:
        folder = StudyFolder(tmp_path / name)
        with folder.locked():
            folder.write_plan(plan(study, "file.yaml", "study"), ["rl-serial"])
        return write_report(folder).read_text()

    plain = Elements(written("plain", tiny))
    tiny["hypotheses"][1]["statement"] = statement
    tiny["grid"]["setting"][0]["label"] = label
    tiny["hypotheses"][0]["test"]["difference"]["setting"] = ["z5", label]
    text = written("out", tiny | {"question": question})
    found = Elements(text)
    assert (found.tags, found.attributes) == (plain.tags, plain.attributes)
    assert found.texts.count(question) == 1
    assert found.texts.count(statement) == 1
    assert found.texts.count(label) == 2 + 4  # rows of cells and of runs
    assert "<script>alert" not in text
    assert "No run is finished yet" in text
    assert text.count("<td>missing</td>") == 8


def test_command_ends_with_the_pages_path(
    page: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "report", str(finished), "--episodes", "0"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(finished / "report.html")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")
def test_browser_shows_figures_and_sorted_tables(page: str, finished: Path, tmp_path: Path) -> None:
    """A script at the page's end writes down what the browser made of it."""
    probe = """<script>addEventListener("load", () => {
      const images = [...document.images].filter(i => i.complete && i.naturalWidth > 100);
      const table = document.getElementById("table-runs");
      const column = [...table.tHead.rows[0].cells].findIndex(
        c => c.textContent === "eval/serial_reach");
      const read = () => [...table.tBodies[0].rows].map(r => r.cells[column].textContent).join(" ");
      const head = table.tHead.rows[0].cells[column].querySelector("button");
      head.click(); const up = read(); head.click(); const down = read();
      location.hash = "#" + document.querySelector("details[id^=run-]").id;
      const text = [images.length, document.querySelectorAll("table").length,
        table.tBodies[0].rows.length, up, down, document.body.scrollWidth].join("|");
      setTimeout(() => { document.title = text + "|" +
        document.querySelector("details[id^=run-]").open; }, 50);
    });</script>"""
    file = tmp_path / "probed.html"
    file.write_text(page.replace("</body>", probe + "</body>"))
    assert CHROMIUM is not None
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [CHROMIUM, *FLAGS, profile, "--dump-dom", file.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    title = re.search(r"<title>(.*?)</title>", result.stdout)
    assert title, result.stderr
    images, tables, rows, up, down, width, opened = title.group(1).split("|")
    assert int(images) == 7  # five figures, two episodes
    assert int(tables) == 3
    assert int(rows) == 8
    ascending = [float(cell) for cell in up.split()]
    assert ascending == sorted(ascending)
    assert len(set(ascending)) > 1
    assert down.split() == up.split()[::-1]
    assert int(width) <= 1280  # nothing sticks out
    assert opened == "true"


def record(seed: int, reach: float | None, **columns: Any) -> Data:
    status = "missing" if reach is None else "done"
    return {"id": "x", "status": status, "seed": seed, "eval/serial_reach": reach, **columns}


BASE: Data = {
    "env": {"id": "rl_serial/PermutationAutomatonBet-v0"},
    "network": {"width": 8},
    "agent": {"kind": "value"},
}


def study_with(test: Data, **keys: Any) -> Any:
    data = {
        "question": "?",
        "base": BASE,
        "grid": {
            "chain": [
                {"label": {"role": "serial", "group": g}, "env.group": g} for g in ("s5", "a5")
            ]
            + [{"label": {"role": "twin", "group": "z5"}, "env.group": "z5"}],
            "network.depth": [1, 4],
        },
        "seeds": 2,
        "metric": "eval/serial_reach",
        "hypotheses": [{"id": "h", "statement": "s", "test": test}],
    }
    return plan(data | keys, "file.yaml", "study")


SEEDS = range(5)
# Serial reach 2 at depth 1 and 3 at depth 4, the twin's 5 and 9; seeds differ by 0.1.
TABLE = [
    record(
        seed,
        reach + 0.1 * (seed - 2) * (-1 if role == "twin" else 1),
        role=role,
        group=group,
        **{"network.depth": depth},
    )
    for seed in SEEDS
    for role, group, depth, reach in (
        ("serial", "s5", 1, 2.0),
        ("serial", "s5", 4, 3.0),
        ("serial", "a5", 1, 2.0),
        ("serial", "a5", 4, 3.0),
        ("twin", "z5", 1, 5.0),
        ("twin", "z5", 4, 9.0),
    )
]


@pytest.mark.parametrize(
    ("test", "estimate", "verdict"),
    [
        # Twin − serial: 3 at depth 1 and 6 at depth 4, in every pair; groups cannot pair.
        (
            {"difference": {"role": ["twin", "serial"]}, "expect": {"above": 0}},
            4.5,
            "supported",
        ),
        (
            {"difference": {"role": ["twin", "serial"]}, "expect": {"below": 0}},
            4.5,
            "refuted",
        ),
        (
            {
                "difference": {"role": ["twin", "serial"]},
                "where": {"network.depth": 4},
                "expect": {"above": 6},
            },
            6,
            "undecided",
        ),
        # From depth 1 to 4 are two doublings.
        (
            {"slope": "network.depth", "scale": "log2", "where": {"role": "serial"},
             "expect": {"above": 0.2}},
            0.5,
            "supported",
        ),
        (
            {"slope": "network.depth", "where": {"role": "twin"}, "expect": {"below": 1}},
            4 / 3,
            "refuted",
        ),
        (
            {
                "slope": "network.depth",
                "scale": "log2",
                "difference": {"role": ["serial", "twin"]},
                "expect": {"below": 0},
            },
            -1.5,
            "supported",
        ),
        # 0.5 a doubling in the serial setting, 2 in the twin.
        (
            {
                "slope": "network.depth",
                "scale": "log2",
                "where": {"role": "twin"},
                "per": {"slope": "network.depth", "scale": "log2", "where": {"role": "serial"}},
                "expect": {"above": 3},
            },
            4,
            "supported",
        ),
        (
            {"where": {"group": "s5"}, "aggregate": "mean", "expect": {"above": 2.5}},
            2.5,
            "undecided",
        ),
        (
            {"where": {"group": "s5"}, "aggregate": "mean", "expect": {"between": [2.3, 2.7]}},
            2.5,
            "supported",
        ),
        (
            {"where": {"group": "s5"}, "aggregate": "mean", "expect": {"between": [2.7, 3.0]}},
            2.5,
            "refuted",
        ),
        (
            {"where": {"group": "s5"}, "aggregate": "mean", "expect": {"between": [2.5, 3.0]}},
            2.5,
            "undecided",
        ),
        (
            {"where": {"group": ["s5", "z5"], "network.depth": 4}, "aggregate": "mean",
             "expect": {"above": 5}},
            6.0,
            "supported",
        ),
    ],
)  # fmt: skip
def test_verdicts_by_hand(test: Data, estimate: float, verdict: str) -> None:
    [finding] = judge(study_with(test), TABLE)
    assert finding.interval is not None
    assert finding.interval.estimate == pytest.approx(estimate)
    assert finding.verdict == verdict


@pytest.mark.parametrize(
    ("above_floor", "metric", "verdict"),
    [
        ({1: -0.5, 4: -0.3}, None, "not learned"),
        ({1: -0.5, 4: -0.1}, None, "supported"),  # as good as at the floor
        ({1: -0.5, 4: 0.1}, None, "supported"),  # one of the depths has learned something
        ({}, None, "supported"),  # runs without a floor
        ({1: -0.5, 4: -0.1}, "search/true/score/8", "supported"),  # the search is not the agent
    ],
)
def test_what_is_below_the_floor_in_every_cell_is_not_learned(
    above_floor: dict[int, float], metric: str | None, verdict: str
) -> None:
    test = {"slope": "network.depth", "scale": "log2", "where": {"role": "serial"},
            "expect": {"above": 0.2}}  # fmt: skip
    keys: Data = {}
    if metric:
        test |= {"metric": metric}
        keys = {
            "base": BASE | {"evaluation": {"simulations": [8]}},
            "metric": ["eval/serial_reach", metric],
        }
    table = [
        row
        | {"search/true/score/8": row["eval/serial_reach"]}
        | {
            # The mean of the seeds counts; the twin, which is not compared, lies above.
            "eval/serial_reach_above_floor": 5.0
            if row["role"] == "twin"
            else above_floor.get(row["network.depth"], 0.0) + (0.3 if row["seed"] % 2 else -0.3)
        }
        for row in TABLE
    ]
    if not above_floor:
        table = TABLE
    [finding] = judge(study_with(test, **keys), table)
    assert finding.verdict == verdict
    assert ("below its floor" in finding.note) == (verdict == "not learned")


@pytest.mark.parametrize(
    ("above_floor", "verdict"),
    [
        ({"s5": -0.5, "a5": -0.5, "z5": 5.0}, "not learned"),  # the twin is no side of it
        ({"s5": -0.5, "a5": 0.5, "z5": -5.0}, "refuted"),
    ],
)
def test_only_the_sides_of_a_difference_have_to_have_learned(
    above_floor: dict[str, float], verdict: str
) -> None:
    test = {"difference": {"group": ["s5", "a5"]}, "expect": {"above": 2}}
    table = [
        row
        | {
            "eval/serial_reach": row["eval/serial_reach"]
            + 0.2 * (row["group"] == "s5") * row["seed"],
            "eval/serial_reach_above_floor": above_floor[row["group"]],
        }
        for row in TABLE
    ]
    [finding] = judge(study_with(test), table)
    assert finding.verdict == verdict


@pytest.mark.parametrize(
    ("simulations", "estimate"), [(2, 0.5), (8, 0.25), ([2, 8], 0.375)], ids=["few", "many", "mean"]
)
def test_a_search_is_held_against_its_baselines_run_by_run(
    simulations: int | list[int], estimate: float
) -> None:
    """The runs' own scores differ by far more than the planners do, which pairing takes out."""
    keys = {
        "base": BASE | {"evaluation": {"simulations": [2, 8], "baselines": ["rollouts"]}},
        "metric": ["eval/serial_reach", "search/score"],
    }
    test = {
        "metric": "search/score",
        "difference": {"planner": ["search", "rollouts"]},
        "where": {"role": "serial", "simulations": simulations},
        "expect": {"above": 0.1},
    }
    gaps = {2: 0.5, 8: 0.25}
    table = [
        row
        | {f"search/rollouts/score/{n}": 10.0 * i * i for n in gaps}
        # Not the same everywhere, or there would be no interval; 0 in the mean over five seeds.
        | {
            f"search/true/score/{n}": 10.0 * i * i + gap + 0.01 * (row["seed"] - 2)
            for n, gap in gaps.items()
        }
        for i, row in enumerate(TABLE)
    ]
    [finding] = judge(study_with(test, **keys), table)
    assert finding.interval is not None
    assert finding.interval.estimate == pytest.approx(estimate, abs=1e-3)
    assert finding.verdict == "supported"
    assert "planner search − rollouts" in finding.quantity


def test_improvement_goes_with_a_difference() -> None:
    test = {"difference": {"role": ["twin", "serial"]}, "expect": {"above": 0}}
    [finding] = judge(study_with(test), TABLE)
    assert finding.improvement is not None
    assert finding.improvement.estimate == 1


def test_missing_runs_are_said_and_one_seed_decides_nothing() -> None:
    test = {"where": {"group": "z5"}, "expect": {"above": 0}}
    table = [
        row if row["seed"] == 0 else row | {"status": "missing", "eval/serial_reach": None}
        for row in TABLE
    ]
    [finding] = judge(study_with(test), table)
    assert finding.words == "undecided (runs missing)"
    assert "8 of 10 runs are not done (8 missing)" in finding.note
    assert "there are 1 of 5 at role=twin, group=z5, network.depth=1" in finding.note
    assert "needs two seeds" in finding.note
    [finding] = judge(study_with(test), [])
    assert (finding.verdict, finding.interval) == ("undecided", None)
    assert "no scores" in finding.note


def test_undone_runs_of_the_divisor_are_said() -> None:
    test = {
        "slope": "network.depth",
        "where": {"role": "twin"},
        "per": {"slope": "network.depth", "where": {"role": "serial"}},
        "expect": {"above": 3},
    }
    table = [
        row | {"status": "failed", "eval/serial_reach": None}
        if row["role"] == "serial" and row["seed"] == 0
        else row
        for row in TABLE
    ]
    undone = sum(row["status"] == "failed" for row in table)
    [finding] = judge(study_with(test), table)
    assert undone == 4
    assert "4 of 20 runs of the divisor are not done (4 failed)" in finding.note
    assert finding.words == "undecided (runs missing)"


def rows(reaches: dict[tuple[str, int], list[float | None]]) -> list[Data]:
    """A row per seed of the reaches by group and depth."""
    return [
        record(seed, reach, role="twin" if group == "z5" else "serial", group=group)
        | {"network.depth": depth}
        for (group, depth), column in reaches.items()
        for seed, reach in enumerate(column)
    ]


ABOVE = {"where": {"group": "z5", "network.depth": 1}, "expect": {"above": 0}}


@pytest.mark.parametrize(
    ("reaches", "exploratory", "words"),
    [
        ([1.0, 1.1], False, "undecided (2 seeds)"),
        ([1.0], False, "undecided (1 seed)"),
        ([1.0, 1.1, 1.2, 1.3], False, "undecided (4 seeds)"),
        ([1.0, 1.1, 1.2, 1.3, 1.4], False, "supported"),
        ([1.0] * 5, False, "undecided"),  # a sign test: 2 / 2**5 is more than 0.05
        ([1.0] * 6, False, "supported"),
        ([-1.0] * 6, False, "refuted"),
        ([1.0, 1.0], True, "exploratory: undecided (2 seeds)"),
        ([1.0, 1.1, 1.2], True, "exploratory: supported"),
        ([-1.0, -1.1, -1.2], True, "exploratory: refuted"),
        ([1.0, 1.0, 1.0], True, "exploratory: undecided"),
        ([1.0, 1.1, 1.2, 1.3, 1.4, None], False, "undecided (runs missing)"),
    ],
)
def test_few_equal_or_missing_seeds_decide_nothing(
    reaches: list[float | None], exploratory: bool, words: str
) -> None:
    hypothesis = {"id": "h", "statement": "s", "test": ABOVE, "exploratory": exploratory}
    study = study_with({}, hypotheses=[hypothesis])
    [finding] = judge(study, rows({("z5", 1): reaches}))
    assert finding.words == words
    assert finding.interval is not None
    equal = len({r for r in reaches if r is not None}) == 1
    assert finding.interval.known == (len(reaches) > 1 and not equal)
    assert interval_words(finding.interval).startswith(("1.", "-1."))
    if equal and len(reaches) > 1:
        assert interval_words(finding.interval) in ("1.00", "-1.00")
        assert "all runs of each cell are equal" in finding.note


def test_two_seeds_without_an_effect_never_decide() -> None:
    """What a percentile bootstrap of two seeds does in half of all cases."""
    random = np.random.default_rng(0)
    study = study_with(ABOVE)
    for _ in range(50):
        [finding] = judge(study, rows({("z5", 1): random.normal(size=2).tolist()}))
        assert finding.verdict == "undecided"


def test_what_is_missing_makes_no_verdict_firmer() -> None:
    """Whatever run is taken from a decided table, failed or done without the metric."""
    test = {"difference": {"role": ["twin", "serial"]}, "expect": {"above": 0}}
    for gone in range(len(TABLE)):
        for change in ({"status": "failed"}, {"status": "running"}, {}):
            table = [r | change | {"eval/serial_reach": None} if i == gone else r
                     for i, r in enumerate(TABLE)]  # fmt: skip
            [finding] = judge(study_with(test), table)
            assert finding.words == "undecided (runs missing)"
            assert "4 of 5 at " in finding.note
            why = f"not done (1 {change['status']})" if change else "done without eval/serial_reach"
            assert why in finding.note


def test_tuning_does_not_choose_a_level_whose_bad_runs_are_gone() -> None:
    def row(rate: float, seed: int, reach: float | None) -> Data:
        return record(seed, reach, cell="a", rate=rate)

    table = [row(0.1, 0, 1.0), row(0.1, 1, 2.0), row(0.2, 0, 5.0), row(0.2, 1, None)]
    chosen = tune(table, ["cell", "rate"], ["rate"], "eval/serial_reach")
    assert {r["rate"] for r in chosen} == {0.1}
    chosen = tune(table[1:2] + table[2:], ["cell", "rate"], ["rate"], "eval/serial_reach")
    assert {r["rate"] for r in chosen} == {0.1}
    # Where every level lacks runs the best of what there is goes on, and the verdict waits.
    table = [row(0.1, 0, 1.0), row(0.1, 1, None), row(0.2, 0, 5.0), row(0.2, 1, None)]
    chosen = tune(table, ["cell", "rate"], ["rate"], "eval/serial_reach")
    assert {r["rate"] for r in chosen} == {0.2}


def test_cells_that_lack_runs_say_so() -> None:
    study = study_with(ABOVE, seeds=5)
    table = [r | {"eval/serial_reach": None} if i in (0, 6) else r for i, r in enumerate(TABLE)]
    cells_ = {
        (columns["group"], columns["network.depth"]): interval_words_of(
            intervals.get("eval/serial_reach"), planned
        )
        for columns, intervals, planned in cell_intervals(study, table)
    }
    assert cells_["s5", 1].endswith("[3 of 5 runs]")
    assert "runs" not in cells_["z5", 1]
    assert interval_words_of(None, 5) == "[0 of 5 runs]"


def test_figures_name_cells_that_lack_runs_and_count_them_as_the_worst() -> None:
    study = study_with(ABOVE, seeds=5)
    table = [r | {"status": "failed", "eval/serial_reach": None} if i == 5 else r
             for i, r in enumerate(TABLE)]  # fmt: skip
    drawings = draw(study, table, [])
    assert len(drawings) == 2
    for drawing in drawings:
        assert "there are 4 of 5 at role=twin, group=z5, network.depth=4." in drawing.caption
        plt.close(drawing.figure)
    assert not any("missing" in d.caption for d in draw(study, TABLE, []))
    plt.close("all")
    # The twin's profile begins at nine runs of ten.
    profile = {line.get_label(): line.get_ydata() for line in drawings[1].figure.axes[0].lines}
    assert profile["twin"][0] == pytest.approx(0.9)
    assert profile["serial"][0] == pytest.approx(0.9)  # two of its twenty hold the lowest value


def test_names_with_separators_keep_groups_apart() -> None:
    """Slope +1 within each of two groups whose levels would make a pooled slope of -3."""
    labels = [{"u": "a/b", "v": "c"}, {"u": "a", "v": "b/c"}]
    grid = {
        "chain": [{"label": x, "env.group": g} for x, g in zip(labels, ("s5", "z5"), strict=True)],
        "network.depth": [1, 2, 5, 6],
    }
    test = {"slope": "network.depth", "expect": {"above": 0}}
    study = study_with(test, grid=grid, seeds=5)
    table = [
        record(seed, level + depth + 0.01 * seed * depth, **label, **{"network.depth": depth})
        for seed in SEEDS
        for label, level, depths in ((labels[0], 10, (1, 2)), (labels[1], -10, (5, 6)))
        for depth in depths
    ]
    [finding] = judge(study, table)
    assert finding.interval is not None
    assert finding.interval.estimate == pytest.approx(1.02)
    assert finding.verdict == "supported"


def test_several_hypotheses_are_corrected_and_exploratory_ones_are_not() -> None:
    """p of one mean by SciPy; with Holm the smaller of two counts twice, both of them listed."""
    near = [0.1, 0.9, -0.2, 1.1, 0.7]
    far = [1.0, 1.1, 1.2, 1.3, 1.4]
    table = rows({("z5", 1): near, ("z5", 4): far})
    p = stats.ttest_1samp(near, 0).pvalue
    bound = float(np.mean(near) - stats.sem(near) * stats.t.ppf(1 - 0.03 / 2, 4))  # p = 0.03
    one = {"where": {"group": "z5", "network.depth": 1}, "aggregate": "mean",
           "expect": {"above": bound}}  # fmt: skip
    other = {"where": {"group": "z5", "network.depth": 4}, "expect": {"above": 1.19}}
    assert p > 0.05

    def words(*hypotheses: Data) -> list[str]:
        listed = [{"id": f"h{i}", "statement": "s"} | h for i, h in enumerate(hypotheses)]
        return [f.words for f in judge(study_with({}, hypotheses=listed), table)]

    assert words({"test": one}) == ["supported"]
    assert words({"test": one}, {"test": other}) == ["undecided", "undecided"]
    assert words({"test": one}, {"statement": "no test"}) == ["supported", "not tested"]
    assert words({"test": one}, {"test": other, "exploratory": True}) == [
        "supported",
        "exploratory: undecided",
    ]
    sure = other | {"expect": {"above": 0}}
    assert words({"test": one}, {"test": sure}) == ["supported", "supported"]  # 0.03 · 1
    study = study_with(
        {}, hypotheses=[{"id": i, "statement": "s", "test": one} for i in ("a", "b")]
    )
    first, second = judge(study, table)
    assert first.p == second.p == pytest.approx(0.06)
    assert "supported if it were the only hypothesis; not after Holm's" in first.note


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "supported"), (0.01, "undecided")])
def test_equivalence_is_two_one_sided_tests_at_5_percent(shift: float, verdict: str) -> None:
    """The 90 % interval by SciPy touches the upper bound from inside, then from outside."""
    scores = [0.1, 0.3, -0.2, 0.0, 0.2]
    high = stats.ttest_1samp(scores, 0).confidence_interval(0.9).high + 0.005
    test = {"where": {"group": "z5"}, "aggregate": "mean", "expect": {"between": [-1, float(high)]}}
    table = rows({("z5", 1): [score + shift for score in scores]})
    [finding] = judge(study_with(test), table)
    assert finding.verdict == verdict
    assert finding.interval is not None
    assert finding.interval.high == pytest.approx(high - 0.005 + shift)


def test_noise_of_the_instances_is_in_the_interval_of_a_level() -> None:
    """The variances of seeds and instances add up."""
    scores = [1.0, 1.2, 1.1, 1.3, 1.4]
    table = rows({("z5", 1): scores})
    noisy = [r | {"eval/serial_reach_low": 1.0, "eval/serial_reach_high": 1.5} for r in table]
    test = ABOVE | {"aggregate": "mean"}
    [alone] = judge(study_with(test), table)
    assert "instances" not in alone.note
    [finding] = judge(study_with(test), noisy)
    assert "± 0.25 of the interval is over evaluation instances" in finding.note
    assert finding.interval is not None
    seeds, instances = stats.sem(scores), 0.25 / 1.96
    error = np.hypot(seeds, instances)
    freedom = error**4 / (seeds**4 / 4)  # Satterthwaite's, the instances being many
    half = stats.t.ppf(0.975, freedom) * error
    assert finding.interval.high == pytest.approx(1.2 + half)
    # Equal runs have an interval then, that of the instances.
    equal = [r | {"eval/serial_reach": 1.2} for r in noisy]
    [finding] = judge(study_with(test), equal)
    assert finding.interval is not None
    assert finding.interval.high == pytest.approx(1.2 + 0.25, abs=1e-4)


def test_exploratory_hypotheses_stand_apart_in_the_page(tiny: Data, tmp_path: Path) -> None:
    tiny["hypotheses"][1]["exploratory"] = True
    study = plan(tiny, "file.yaml", "study")
    folder = StudyFolder(tmp_path / "out")
    with folder.locked():
        folder.write_plan(study, ["rl-serial"])
    text = write_report(folder).read_text()
    confirmatory, exploratory = text.split("<h3>Exploratory</h3>")
    assert "<td>twin</td>" in confirmatory
    assert "<td>depth</td>" in exploratory
    assert "exploratory: undecided (runs missing)" in exploratory
    assert "corrected for" not in confirmatory


def test_statement_without_test_is_not_tested() -> None:
    study = study_with({}, hypotheses=[{"id": "h", "statement": "s"}])
    [finding] = judge(study, TABLE)
    assert finding.verdict == "not tested"


def test_tuning_takes_each_cells_best_level() -> None:
    def row(cell: str, rate: float, seed: int, reach: float) -> Data:
        return record(seed, reach, cell=cell, rate=rate)

    table = [
        row("a", 0.1, 0, 1.0), row("a", 0.1, 1, 2.0), row("a", 0.2, 0, 5.0), row("a", 0.2, 1, 0.0),
        row("b", 0.1, 0, 3.0), row("b", 0.1, 1, 3.0), row("b", 0.2, 0, 2.0), row("b", 0.2, 1, 2.0),
    ]  # fmt: skip
    chosen = tune(table, ["cell", "rate"], ["rate"], "eval/serial_reach")
    assert {(r["cell"], r["rate"]) for r in chosen} == {("a", 0.2), ("b", 0.1)}
    assert cells(chosen, ["cell"], "eval/serial_reach") == {
        ("a",): {0: 5.0, 1: 0.0},
        ("b",): {0: 3.0, 1: 3.0},
    }
    smaller = [r | {"value/rmse": r["eval/serial_reach"]} for r in table]
    chosen = tune(smaller, ["cell", "rate"], ["rate"], "value/rmse", smaller=True)
    assert {(r["cell"], r["rate"]) for r in chosen} == {("a", 0.1), ("b", 0.2)}


def test_default_figure_has_numbers_on_its_axis(tiny: Data) -> None:
    [layout, _] = layouts(plan(tiny, "file.yaml", "study"))
    assert (layout.x, layout.series, layout.panels) == ("network.depth", "setting", ())
    study = study_with({"expect": {"above": 0}})
    [layout] = layouts(study)
    assert (layout.x, layout.series, layout.panels) == ("network.depth", "role", ("group",))


def test_statistics_and_plots_read_tables_only() -> None:
    folder = Path(rl_serial.study.__file__).parent
    for name in ("statistics", "plots", "findings", "table"):
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rl_serial"):
                assert node.module.split(".")[1] in ("study", "errors", "styles", "metrics"), (
                    f"{name}: {node.module}"
                )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x"])
def test_what_is_no_finite_number_is_missing(value: object) -> None:
    test = {"where": {"group": "z5"}, "aggregate": "mean", "expect": {"above": 0}}
    table = [row | {"eval/serial_reach": value} if i == 5 else row for i, row in enumerate(TABLE)]
    assert table[5]["group"] == "z5"
    [finding] = judge(study_with(test), table)
    assert finding.verdict == "undecided"
    assert finding.reason == "runs missing"


def test_a_figure_over_what_answers_cost() -> None:
    """A cell stands at its mean cost; the lines are joined along it, whatever the grid's order."""
    cost = "eval/critical_path"
    metrics: Data = {"metric": ["eval/serial_reach", cost], "seeds": 5}
    figure = {"x": cost, "series": "role", "scale": "log2"}
    study = study_with(ABOVE, **metrics, figures=[figure])
    table = [row | {cost: 2.0 * (9 - row["network.depth"]) + row["seed"] % 2} for row in TABLE]
    drawing = draw(study, table, [])[0]
    assert drawing.name == "01_serial_reach_over_critical_path"
    [axis] = drawing.figure.axes
    lines = {c.get_label(): c.lines[0].get_xydata() for c in axis.containers}
    # Depth 4 costs 10 or 11, in the mean 10.4, depth 1 16.4; the twin reaches 9 and 5 there.
    np.testing.assert_allclose(lines["twin"], [[10.4, 9.0], [16.4, 5.0]])
    assert axis.get_xscale() == "log"
    plt.close("all")
    for change, error in (
        ({"x": "eval/no_metric"}, r"figures\.0\.x: no column"),
        ({"x": cost, "series": cost}, r"figures\.0: 'eval/critical_path' is no column"),
        ({"x": "value/accuracy"}, r"figures\.0\.x: 'value/accuracy' goes over remaining"),
    ):
        with pytest.raises(UserError, match=error):
            study_with(
                ABOVE, **metrics | {"metric": [*metrics["metric"], "value/accuracy"]},
                figures=[change],
            )  # fmt: skip
