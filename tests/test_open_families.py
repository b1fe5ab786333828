"""The example of docs/own_chain.md, from outside the package: every command takes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rl_serial.cli import main
from rl_serial.errors import UserError
from rl_serial.importing import load_modules

PAGE = Path(__file__).parents[1] / "docs" / "own_chain.md"
FILES = ("power_map.py", "check.py", "power_map.yaml", "power_map_study.yaml")
TINY = ("agent.updates=20", "evaluation.every=10", "evaluation.instances=64", "network.layers=2")


def run(folder: Path, *command: str, code: int = 0, path: str = "") -> str:
    """What a command prints, in another process that stands in ``folder``."""
    package = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [package, path]))}
    found = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert found.returncode == code, found.stdout + found.stderr
    return found.stdout + found.stderr


def serial(folder: Path, *arguments: str, code: int = 0, path: str = "") -> str:
    return run(folder, "-m", "rl_serial.cli", *arguments, code=code, path=path)


DRIVER = """
import contextlib, io, json, sys
from rl_serial.cli import main
told = []
for command in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        code = main(command)
    told.append([code, out.getvalue()])
print(json.dumps(told))
"""


def one_by_one(folder: Path, *commands: tuple[str, ...]) -> list[tuple[int, str]]:
    """Codes and outputs of commands in one process; what one has imported the next ones have."""
    printed = run(folder, "-c", DRIVER, json.dumps(commands)).splitlines()
    [told] = [line for line in printed if line.startswith("[[")]
    return [(code, text) for code, text in json.loads(told)]


def unpacked(folder: Path) -> Path:
    """A folder with the files of the page."""
    blocks = re.findall(r"```(?:python|yaml)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for name, text in zip(FILES, blocks, strict=True):
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files, and a finished run of them."""
    folder = unpacked(tmp_path_factory.mktemp("home"))
    told = serial(folder, "train", "power_map.yaml", "--import", "power_map.py", "--quiet", *TINY)
    assert told.startswith("runs/power_map: score ")
    return folder


def test_the_pages_check_passes(home: Path) -> None:
    assert run(home, "check.py") == ""


def test_nothing_heavy_comes_with_the_package_or_a_family(home: Path) -> None:
    heavy = "{'torch', 'stable_baselines3', 'mujoco'} & set(sys.modules)"
    run(home, "-c", f"import sys, power_map; assert not {heavy}, {heavy}")


def test_envs_lists_and_certifies_it(home: Path) -> None:
    table = serial(home, "envs", "--import", "power_map.py")
    row = next(line for line in table.splitlines() if "`rl_serial/PowerMapSteer-v0`" in line)
    assert "| NC1-complete; twin is a sum (Barrington 1989) " in row
    assert "| `power`: 3 " in row
    assert "| `power`: 1 " in row
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[-2:] == ["Discrete(4)", "`power`, `serial_depth`, `modulus`, `decisions`, `start`"]
    assert "PowerMap" not in serial(home, "envs")
    certificate = serial(
        home, "envs", "--import", "power_map.py", "--certify", "rl_serial/PowerMapBet-v0"
    )
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in certificate.splitlines()]
    influences = [row for row in rows if len(row) == 6 and row[0].startswith("power=")]
    assert len(influences) == 10
    for row in influences:
        # Another letter moves x to one of the 10 other numbers: 2 · 5 · 6 / (11 · 10) change sides.
        assert all(abs(float(share) - 6 / 11) < 0.04 for share in row[2:5]), row
    blind = [float(row[2]) for row in rows if len(row) == 8 and row[0].startswith("power=")]
    assert len(blind) == 10
    assert max(blind[:2]) < 0.06  # nothing in one number; the deeper ones have fewer instances


def test_evaluate_search_and_watch_load_it_by_the_option_alone(home: Path) -> None:
    evaluate, with_import = ("evaluate", "runs/power_map"), ("--import", "power_map.py")
    without, evaluated, searched, watched = one_by_one(
        home,
        evaluate,
        (*evaluate, *with_import, "--instances", "64"),
        (*evaluate, *with_import, "--simulations", "0,2", "--instances", "32"),
        ("watch", "runs/power_map", *with_import),
    )
    assert [code for code, _ in (without, evaluated, searched, watched)] == [2, 0, 0, 0]
    assert re.search(
        r"config\.yaml: env\.id: rl_serial/PowerMapBet-v0: no such environment; there are .*; "
        "--import MODULE loads a family of your own",
        without[1],
    )
    assert re.search(r"\| power_map \| -?\d\.\d+ \(", evaluated[1])
    assert len(re.findall(r"\| power_map \| (?:0|2) ", searched[1])) == 2
    assert "frames" in watched[1]
    assert (home / "runs/power_map/episode_0.gif").exists()


def test_an_agent_of_stable_baselines3_learns_to_steer_it(home: Path) -> None:
    shared = ("--import", "power_map.py", "--quiet", "env.id=rl_serial/PowerMapSteer-v0")
    shared = (*shared, "env.serial_depth=3", "evaluation.instances=32", "evaluation.every=64")
    network = ("network.layers=1", "network.budget.parameters=4000")
    dqn = ("agent.kind=dqn", "agent.timesteps=128", "agent.num_envs=8")
    serial(home, "train", "power_map.yaml", *shared, *network, *dqn, "name=dqn")
    assert (home / "runs/dqn/model.pt").exists()


def test_a_study_runs_in_its_workers_and_reports(home: Path) -> None:
    command = ("study", "run", "power_map_study.yaml", "--smoke", "--out", "out", "--quiet")
    command, with_import = (*command, "--workers", "2"), ("--import", "power_map.py")
    without, ran = one_by_one(home, command, (*command, *with_import))
    assert (without[0], ran[0]) == (2, 0)
    assert "rl_serial/PowerMapBet-v0: no such environment" in without[1]
    assert "--import MODULE loads a family of your own" in without[1]
    assert "2 runs: 2 done, 0 failed" in ran[1]
    report = ("study", "report", "out")  # draws episodes
    without, reported = one_by_one(home, report, (*report, *with_import))
    assert (without[0], reported[0]) == (2, 0)
    assert "--import MODULE loads a family of your own" in without[1]
    page = (home / "out/report.html").read_text()
    assert page.count("An episode of the run with power=") == 2


def test_a_study_is_trained_as_a_population(home: Path) -> None:
    command = ("study", "run", "power_map_study.yaml", "--smoke", "--out", "population", "--quiet")
    command = (*command, "--engine", "population", "--workers", "1", "--import", "power_map.py")
    status = ("study", "status", "population", "--import", "power_map.py")
    for code, told in one_by_one(home, command, status):
        assert code == 0
        assert "2 runs: 2 done, 0 failed" in told


def test_a_study_is_planned_with_it(home: Path) -> None:
    told = serial(home, "study", "plan", "power_map_study.yaml", "--import", "power_map.py")
    assert told.endswith("12 runs\n")


def test_ray_takes_it_too(home: Path) -> None:
    pytest.importorskip("ray")
    command = ("study", "run", "power_map_study.yaml", "--smoke", "--out", "ray", "--quiet")
    command = (*command, "--engine", "ray", "--workers", "1", "--import", "power_map.py")
    assert "2 runs: 2 done, 0 failed" in serial(home, *command)


def test_no_folder_makes_anything_be_imported(home: Path, tmp_path: Path) -> None:
    """A run that names a module of its own in env.id, and a module that lies in its folder."""
    trap = "import pathlib; pathlib.Path('sprung').touch()\n"
    (tmp_path / "power_map.py").write_text(trap)
    refused = {
        "rl_serial/PowerMapBet-v0": "no such environment",
        "power_map:rl_serial/PowerMapBet-v0": "imports the module power_map",
    }
    commands = []
    for i, id_ in enumerate(refused):
        copied = tmp_path / "runs" / f"power_map_{i}"
        shutil.copytree(home / "runs/power_map", copied)
        (copied / "power_map.py").write_text(trap)
        config = copied / "config.yaml"
        config.write_text(
            re.sub(r"id: .*PowerMapBet-v0", f"id: {id_}", config.read_text(), count=1)
        )
        commands.append(("evaluate", str(copied)))
    told = one_by_one(tmp_path, *commands)
    for (code, text), message in zip(told, refused.values(), strict=True):
        assert code == 2
        assert message in text
    assert not list(tmp_path.rglob("sprung"))


def test_a_dotted_name_is_taken_and_twice_is_harmless(home: Path, tmp_path: Path) -> None:
    table = serial(tmp_path, "envs", "--import", "power_map", path=str(home))
    assert "`rl_serial/PowerMapBet-v0`" in table
    twice = ("--import", "power_map", "--import", str(home / "power_map.py"))
    assert serial(tmp_path, "envs", *twice, path=str(home)) == table
    told = serial(home, "envs", "--import", "power_maps", code=2)
    assert "--import power_maps: no such module; it must be installed, or in PYTHONPATH" in told


def test_another_of_the_same_name_is_told(home: Path) -> None:
    copy = home / "another.py"
    copy.write_text((home / "power_map.py").read_text())
    both = ("--import", "power_map.py", "--import", "another.py")
    assert re.search(
        r"--import another\.py: ValueError: PowerMap: another family has this name, that of "
        r"power_map\.PowerMap; give the class another name",
        serial(home, "envs", *both, code=2),
    )


def test_the_hint_of_ctrl_c_names_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rl_serial.runs.run.train", stopped)
    unpacked(tmp_path)
    module, config = tmp_path / "registers_nothing.py", tmp_path / "power_map.yaml"
    module.touch()
    known = "env.id=rl_serial/PermutationAutomatonBet-v0"
    arguments = ["train", str(config), known, "--import", str(module), "--runs", str(tmp_path)]
    try:
        assert main(arguments) == 1
    finally:
        del sys.modules["registers_nothing"]
    assert f" --import {module} --resume continues" in capsys.readouterr().err


class TestLoading:
    """Files and names that cannot be loaded are told in a line."""

    @pytest.mark.parametrize(
        ("name", "text", "told"),
        [
            ("gone.py", None, r"--import .*gone\.py: no such file"),
            ("my-chain.py", "", r"my-chain cannot be the name of a module; rename the file"),
            ("json.py", "", r"json\.py: Python has another module json; rename the file"),
            ("sqlite3.py", "", r"Python has another module sqlite3; rename the file"),
            ("broken_1.py", "x = 1\n1 / 0\n", r"ZeroDivisionError: .* \(.*broken_1\.py, line 2\)"),
            ("broken_2.py", "def f(:\n", r"broken_2\.py: SyntaxError: .*line 1"),
            ("broken_3.py", "import not_there\n", r"ModuleNotFoundError: .*not_there.*line 1"),
            ("broken_4.py", "raise SystemExit(3)\n", r"SystemExit: 3 \(.*broken_4\.py, line 1"),
        ],
    )
    def test_of_a_file(self, tmp_path: Path, name: str, text: str | None, told: str) -> None:
        file = tmp_path / name
        if text is not None:
            file.write_text(text)
        before = dict(sys.modules)
        with pytest.raises(UserError, match=told):
            load_modules([str(file)])
        assert sys.modules.get(file.stem) is before.get(file.stem)

    def test_a_file_is_run_once_and_named_whole(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("counts_runs.py").write_text("with open('runs', 'a') as file:\n    file.write('x')\n")
        try:
            names = load_modules(["counts_runs.py", "./counts_runs.py"])
            assert names == (str(tmp_path / "counts_runs.py"),) * 2
            assert load_modules(names) == names
            assert Path("runs").read_text() == "x"
        finally:
            sys.modules.pop("counts_runs", None)

    def test_a_name_beside_which_lies_a_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("lies_here.py").touch()
        monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
        with pytest.raises(UserError, match=r"lies_here\.py is a file here: --import lies_here\."):
            load_modules(["lies_here"])
