"""Planes of width and depth: slopes and least depths of scores that were made by known laws."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_serial.cli import main
from rl_serial.errors import UserError
from rl_serial.study.design import plan
from rl_serial.study.folder import StudyFolder
from rl_serial.study.plane_figures import draw_planes
from rl_serial.study.planes import Fit, Plane, crossings, fits, least, planes, study_fits
from rl_serial.study.report import write_report

Data = dict[str, Any]
INF = math.inf
WIDTHS, DEPTHS = np.array([16.0, 32, 64, 128]), np.array([1.0, 2, 3, 4, 6, 8])


def made(
    law: Callable[[float, float], float], noise: float = 0.0, seeds: int = 5, draw: int = 0
) -> Plane:
    """A plane whose scores are a law of width and depth, and noise."""
    generator = np.random.default_rng(draw)
    scores = {
        (i, j): [float(law(w, d)) + noise * generator.normal() for _ in range(seeds)]
        for (i, d), (j, w) in itertools.product(enumerate(DEPTHS), enumerate(WIDTHS))
    }
    return Plane("", "eval/serial_horizon", "width", "layers", "log2", WIDTHS, DEPTHS, scores, 8)


def the(found: list[Fit], quantity: str, at: str) -> Fit:
    [fit] = [f for f in found if (f.quantity, f.at) == (quantity, at)]
    return fit


def test_crossings_by_hand() -> None:
    steps = np.array([1.0, 2, 3, 4, 5])
    means = np.array([[1.0, 3, np.nan, 4], [np.nan, 2, 5, 0]])
    found = crossings(means, np.array([0.0, 1, 2, 3]), steps)
    # Row 0: 1 is there at once, 2 half-way from 0 to 1, 3 at 1, 4 at 3, 5 never.
    assert found[0].tolist() == [-INF, 0.5, 1.0, 3.0, INF]
    # Row 1: its first known mean reaches 1 and 2; what falls later takes nothing back.
    np.testing.assert_allclose(found[1], [-INF, -INF, 1 + 1 / 3, 1 + 2 / 3, 2.0])


def test_slopes_of_steps_are_those_that_made_them() -> None:
    plane = made(lambda w, d: 0.2 * math.log2(w) + 1.5 * math.log2(d), noise=1e-3)
    found = fits(plane, resamples=50)
    for at in ("all", "width 16", "width 128"):
        assert the(found, "steps per doubling of layers", at).interval.estimate == pytest.approx(
            1.5, abs=0.01
        )
    for at in ("all", "layers 1", "layers 8"):
        assert the(found, "steps per doubling of width", at).interval.estimate == pytest.approx(
            0.2, abs=0.01
        )


def test_a_step_a_layer_has_the_slope_of_the_law_k() -> None:
    found = fits(made(lambda w, d: d + 0.02, noise=1e-3), resamples=50)
    for at in ("best", "width 64"):
        fit = the(found, "least layers over k", at)
        assert fit.interval.estimate == pytest.approx(1, abs=0.03)
        assert fit.interval.low < fit.interval.high
    # 1, 2, 4 and 8 steps take 1, 2, 4 and 8 layers: no straight line over log2 k.
    assert the(found, "least layers over log2 k", "best").interval.estimate > 1.8


def test_steps_that_double_with_every_layer_have_the_slope_of_the_law_log2_k() -> None:
    # log2 k + 1 layers: between cells the line is the law's to a fifth of a layer.
    found = fits(made(lambda w, d: 2 ** (d - 1) + 0.02, noise=1e-3), resamples=50)
    assert the(found, "least layers over log2 k", "best").interval.estimate == pytest.approx(
        1, abs=0.06
    )
    assert the(found, "least layers over k", "best").interval.estimate < 0.6


def test_doublings_of_width_per_step() -> None:
    # A step for every doubling of the width from 16 on, half of it: k = log2(w) − 3.
    found = fits(made(lambda w, d: math.log2(w) - 2.99, noise=1e-6), resamples=50)
    fit = the(found, "log2 of least width over k", "best")
    assert fit.interval.estimate == pytest.approx(1, abs=0.01)
    assert fit.censored in ("of 8: 1 k reached with 16; 4 k not reached with 128",)


def test_censored_steps_enter_no_slope_and_are_counted() -> None:
    plane = made(lambda w, d: min(5.5, 2.01 * d), noise=1e-6)
    places = np.exp2(least(plane, plane.means[None], "depth", 0)[0])
    np.testing.assert_allclose(places[:2], 0)  # k = 1 and 2 with one layer already
    assert np.isinf(places[5:]).all()
    fit = the(fits(plane, resamples=50), "least layers over k", "width 16")
    assert fit.censored == "of 8: 2 k reached with 1; 3 k not reached with 8"
    x, y = np.array([3.0, 4, 5]), places[2:5]
    assert fit.interval.estimate == pytest.approx(np.polyfit(x, y, 1)[0], abs=1e-3)
    flat = fits(made(lambda w, d: 8.0), resamples=50)
    fit = the(flat, "least layers over log2 k", "best")
    assert math.isnan(fit.interval.estimate)
    assert fit.censored == "of 8: 8 k reached with 1"
    assert fit.note == "no slope: 0 k between, 3 are needed"
    full = the(flat, "steps per doubling of layers", "all")
    assert full.censored == "24 of 24 cells at the end of the chain"
    never = the(fits(made(lambda w, d: 0.5), resamples=50), "least layers over k", "best")
    assert never.censored == "of 8: 8 k not reached with 8"


def test_best_is_the_best_width_at_each_depth() -> None:
    # Narrow is best where shallow, wide where deep.
    plane = made(lambda w, d: d if (w == 16) == (d <= 3) else 0.5 * d)
    best = least(plane, plane.means[None], "depth", None)[0]
    alone = least(made(lambda w, d: d), made(lambda w, d: d).means[None], "depth", 0)[0]
    np.testing.assert_allclose(best, alone)


def test_cells_without_runs_are_passed_over() -> None:
    plane = made(lambda w, d: d + 0.02, noise=1e-3)
    for depth in range(1, 6):  # the widest has one layer alone
        del plane.scores[depth, 3]
    fit = the(fits(plane, resamples=50), "least layers over k", "width 64")
    assert fit.interval.estimate == pytest.approx(1, abs=0.03)
    lone = the(fits(plane, resamples=50), "steps per doubling of layers", "width 128")
    assert lone.note == "a slope needs two places on the axis"


def test_intervals_of_least_depth_cover_the_truth() -> None:
    def law(w: float, d: float) -> float:
        return 0.3 * math.log2(w) + 1.2 * math.log2(d)

    asked = (
        ("least layers over k", "width 64"),
        ("least layers over log2 k", "width 128"),
        ("steps per doubling of layers", "all"),
    )
    truth = fits(made(law), resamples=10)
    held = dict.fromkeys(asked, 0)
    for draw in range(30):
        found = fits(made(law, 0.3, draw=draw), resamples=60)
        for question in asked:
            true, fit = the(truth, *question).interval.estimate, the(found, *question)
            held[question] += fit.interval.low <= true <= fit.interval.high
    assert all(number >= 24 for number in held.values()), held  # 28.5 of 30 are expected


SOURCE: Data = {
    "question": "How wide, how deep?",
    "base": {
        "env": {
            "id": "rl_serial/PermutationAutomatonBet-v0",
            "serial_depth": 3,
            "start": "uniform",
        },
        "network": {"kind": "residual", "depth": 1, "width": 8},
        "agent": {"kind": "value", "updates": 4, "batch_size": 8},
        "evaluation": {"instances": 32, "per_remaining": 8, "every": 4},
    },
    "grid": {
        "depth": [{"label": d, "network.depth": d} for d in (1, 2, 4)],
        "width": [{"label": w, "network.width": w} for w in (8, 16)],
        "setting": [{"label": s, "env.group": s} for s in ("s5", "z5")],
    },
    "seeds": 3,
    "metric": ["eval/serial_horizon", "value/rmse"],
    "planes": [{"x": "width", "y": "depth", "panels": ["setting"]}],
}


def test_planes_of_a_table() -> None:
    study = plan(SOURCE, "study.yaml", "study")
    generator = np.random.default_rng(0)
    records = [
        {"id": run.id, "status": "done", **run.columns}
        | {
            # In s5 a step for each doubling of the depth, of the width a tenth; z5 is at the end.
            "eval/serial_horizon": 3.0
            if run.columns["setting"] == "z5"
            else math.log2(float(run.columns["depth"]))
            + 0.1 * math.log2(float(run.columns["width"]) / 8)
            + 1e-3 * generator.normal(),
            "value/rmse": 0.0,
        }
        for run in study.runs
    ]
    s5, z5 = planes(study, records, study.config.planes[0])
    assert (s5.title, z5.title, s5.top) == ("setting s5", "setting z5", 3)
    np.testing.assert_allclose(s5.means, [[0, 0.1], [1, 1.1], [2, 2.1]], atol=0.01)
    assert (z5.means == 3).all()
    found = [fit for fit in study_fits(study, records) if fit.panel == "setting s5"]
    gain = the(found, "steps per doubling of depth", "all").interval
    assert gain.estimate == pytest.approx(1, abs=0.01)
    assert gain.runs == 18
    drawings = draw_planes(study, records)
    assert [drawing.name for drawing in drawings] == [
        "plane_01_serial_horizon_plane",
        "plane_02_least_depth",
        "plane_03_least_width",
    ]
    texts = {text.get_text() for axis in drawings[0].figure.axes for text in axis.texts}
    assert {"0.1", "1.1", "2.0", "3.0"} <= texts
    lacking = [r | {"status": "missing"} if i < 2 else r for i, r in enumerate(records)]
    assert "Runs are missing" in draw_planes(study, lacking)[0].caption
    assert draw_planes(study, [r | {"status": "missing"} for r in records]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": "setting"}, "planes.0.x: setting holds no numbers"),
        ({"y": "layers"}, "planes.0.y: no column of the grid; there are depth, width, setting"),
        ({"panels": ["role"]}, "planes.0.panels: no column of the grid"),
        ({"metric": "value/rmse"}, "planes.0.metric: 'value/rmse' does not count serial steps"),
        ({"metric": "eval/score"}, "planes.0.metric: 'eval/score' is none of the study's"),
        ({"panels": ["width"]}, "planes.0: the same column twice in width, depth, width"),
        ({"colour": "red"}, "planes.0.colour"),
    ],
)
def test_planes_that_no_study_has(change: Data, message: str) -> None:
    data = copy.deepcopy(SOURCE)
    data["planes"][0] |= change
    with pytest.raises(UserError, match=message):
        plan(data, "study.yaml", "study")


def test_report_and_summary_show_planes(
    tmp_path: Path,
    study_file: Callable[[Data], Path],
    run_undisturbed: Callable[[Path, Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_undisturbed(study_file(copy.deepcopy(SOURCE) | {"seeds": 2}), tmp_path / "out")
    page = write_report(StudyFolder(tmp_path / "out"), episodes=0).read_text()
    assert "<h2 id=fits>" in page
    assert "<figure id='plane_01_serial_horizon_plane'>" in page
    assert (tmp_path / "out/figures/plane_02_least_depth.svg").exists()
    assert "steps per doubling of depth" in page
    capsys.readouterr()
    assert main(["study", "status", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "steps per doubling of width" in shown
    assert "least depth over log2 k" in shown
