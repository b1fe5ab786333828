"""What `rl-serial bench all` says of figures beside their targets."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_serial.agents.baselines import OptimalAgent
from rl_serial.agents.protocols import Judgement, Preference
from rl_serial.envs import make_task
from rl_serial.envs.write import FIRST_WORD

FOLDER = Path(__file__).parents[1] / "benchmarks"


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, made)
    spec.loader.exec_module(made)
    return made


def test_no_benchmark_hides_a_module() -> None:
    """A benchmark runs with its folder first on the path: mujoco.py would be imported as MuJoCo."""
    names = [file.stem for file in FOLDER.glob("*.py")]
    assert len(names) > 10
    assert [name for name in names if importlib.util.find_spec(name)] == []


@pytest.mark.parametrize(
    ("value", "at_most", "reached", "missed"),
    [
        (2.0, True, True, False),
        (2.19, True, False, False),
        (2.21, True, False, True),
        (2.0, False, True, False),
        (1.81, False, False, False),
        (1.79, False, False, True),
    ],
)
def test_a_target_may_be_missed_by_a_tenth(
    value: float, at_most: bool, reached: bool, missed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratio = module("_ratios", monkeypatch).Ratio("x", value, 2.0, "y", at_most)
    assert (ratio.reached, ratio.missed) == (reached, missed)


BENCHMARK = """
import sys
from _ratios import Ratio, report, report_lack
report([Ratio("what", {value}, 2.0, "why")])
report_lack("a part, as there is no browser")
sys.exit({code})
"""


@pytest.mark.parametrize(("value", "code", "expected"), [(2.0, 0, 0), (1.7, 0, 1), (2.0, 3, 1)])
def test_a_missed_target_or_a_failure_is_exit_code_one(
    value: float,
    code: int,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    benches = module("all", monkeypatch)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/_ratios.py").write_text((FOLDER / "_ratios.py").read_text())
    (tmp_path / "benchmarks/made.py").write_text(BENCHMARK.format(value=value, code=code))
    page = tmp_path / "page.md"
    page.write_text(f"before\n{benches.BEGIN}\nold\n{benches.END}\nafter\n")
    monkeypatch.setattr(benches, "ROOT", tmp_path)
    monkeypatch.setattr(benches, "PAGE", page)
    absent = benches.Benchmark("absent", modules=("no_such_module",))
    elsewhere = benches.Benchmark("elsewhere", python=tmp_path / ".venv-none/bin/python")
    cases = (benches.Benchmark("made"), absent, elsewhere)
    monkeypatch.setattr(benches, "BENCHMARKS", cases)
    assert benches.main(["--write"]) == expected
    text = page.read_text()
    assert text.startswith(f"before\n{benches.BEGIN}\n")
    assert text.endswith(f"{benches.END}\nafter\n")
    assert "old" not in text
    assert ("**missed**: why" in text) == (value < 1.8)
    assert "no_such_module" in text
    assert ("made: a part, as there is no browser" in text) == (code == 0)
    assert (f"made: failed with exit code {code}" in text) == (code != 0)
    assert "make .venv-none/installed" in text
    assert "cores of" in text
    assert "≥ 2x" in capfd.readouterr().out


def test_marks_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    benches = module("all", monkeypatch)
    with pytest.raises(ValueError, match="marks"):
        benches.written("no marks", "text")


def test_the_page_has_the_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    benches = module("all", monkeypatch)
    page = benches.PAGE.read_text(encoding="utf-8")
    assert "new text" in benches.written(page, "new text")


def test_figures_are_written_for_those_who_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratios = module("_ratios", monkeypatch)
    ratio = ratios.Ratio("x", 1.5, 2.0, "y", True, " s")
    ratios.report([ratio])  # nobody has asked
    file = tmp_path / "lines"
    monkeypatch.setenv(ratios.FILE, str(file))
    ratios.report([ratio])
    ratios.report([ratio])
    lines = file.read_text().splitlines()
    assert [ratios.Ratio(**json.loads(line)) for line in lines] == [ratio, ratio]
    assert ratio.row() == ("x", "1.50 s", "≤ 2 s", "y")


def test_a_commitment_is_a_pass_that_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are fewer blanks than steps, fewer passes are made than the way's name says."""
    final = {
        "ways/one_shot/passes": 1.0, "ways/one_shot/solved_by/rounds_2": 0.25,
        "ways/parallel_16/passes": 10.0, "ways/parallel_16/solved_by/rounds_3": 0.75,
        "ways/margin/passes": 10.0, "ways/margin/solved_by/rounds_3": 1.0,
    }  # fmt: skip
    (tmp_path / "summary.json").write_text(json.dumps({"final": final}))
    benchmark = module("commitments", monkeypatch)
    assert benchmark.points(tmp_path) == [(1, 2, 0.25), (10, 3, 0.75)]


class Reasons:
    """Writes the right words, and bets where the last one that stands there is right and pays."""

    preference = Preference.PROBABILITY

    def __init__(self, task: Any) -> None:
        self.task = task

    def judge(self, state: Any) -> Judgement:
        right, written = self.task.right_words(state), self.task.written(state)
        rows, steps = np.arange(len(written)), self.task.remaining(state)
        reads = state.scratchpad[:, 0] == right[rows, steps - 1]
        answer = (reads & (state.outcome > 0)).astype(int)
        following = FIRST_WORD + right[rows, np.minimum(written, right.shape[1] - 1)]
        chosen = np.where(written < steps, following, answer)
        return Judgement(np.eye(len(self.task.action_names))[chosen], None)


def test_words_in_place_of_others_change_the_answers_that_hang_on_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    benchmark = module("words", monkeypatch)
    task: Any = make_task("PermutationAutomaton", "Write", serial_depth=4, scratchpad=4)
    for remaining in (1, 4):
        own, words = benchmark.answers(Reasons(task), task, remaining)
        assert own == 1
        assert benchmark.right_by_place(task, remaining, words) == [1.0] * remaining
        others, words = benchmark.answers(Reasons(task), task, remaining, np.random.default_rng(1))
        # Three of five points pay nothing, and one word of five is right.
        assert others == pytest.approx(3 / 5 + 2 / 5 / 5, abs=0.03)
        by_place = benchmark.right_by_place(task, remaining, words)
        assert by_place == pytest.approx([1 / 5] * remaining, abs=0.03)
        knows, _ = benchmark.answers(OptimalAgent(task), task, remaining, np.random.default_rng(1))
        assert knows == 1


def test_a_run_that_writes_no_words_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = module("words", monkeypatch)
    bet: Any = OptimalAgent(make_task("PermutationAutomaton", "Bet", serial_depth=2))
    loaded = type("Loaded", (), {"agent": bet})
    monkeypatch.setattr(benchmark.rl_serial, "load", lambda folder: loaded)
    with pytest.raises(SystemExit, match="runs/bet: no run of Write with a scratchpad"):
        benchmark.main(["runs/bet"])
