"""The command line: what it prints, its exit codes, and that no request ends in a traceback."""

from __future__ import annotations

import csv
import importlib.util
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from rl_serial.cli import main
from rl_serial.envs import ENV_IDS

TINY = {
    "env": {"id": "rl_serial/PermutationAutomatonBet-v0", "serial_depth": 3, "start": "uniform"},
    "network": {"kind": "residual", "depth": 2, "width": 8},
    "agent": {"kind": "value", "updates": 20, "batch_size": 16},
    "evaluation": {"instances": 32, "per_remaining": 8, "every": 10},
}


SEARCH = {
    "env": {"id": "rl_serial/PermutationAutomatonSteer-v0", "serial_depth": 3},
    "network": {"kind": "residual", "depth": 2, "width": 8},
    "model_network": {"kind": "residual", "depth": 1, "width": 8},
    "agent": {
        "kind": "search",
        "dynamics": "learned",
        "timesteps": 96,
        "num_envs": 8,
        "simulations": 2,
        "updates": 1,
    },
    "evaluation": TINY["evaluation"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with finished runs of a value agent, of DQN, of search and of both baselines."""
    folder = tmp_path_factory.mktemp("cli")
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY))
    arguments = ["train", str(file), "--runs", str(folder), "--quiet"]
    assert main(arguments) == 0
    dqn = ["name=dqn", "agent.kind=dqn", "agent.timesteps=256", "agent.num_envs=8"]
    assert main([*arguments, *dqn, "agent.arguments.learning_starts=64"]) == 0
    file.with_name("search.yaml").write_text(yaml.safe_dump(SEARCH))
    assert main(["train", str(folder / "search.yaml"), *arguments[2:]]) == 0
    for kind in ("optimal", "random"):
        baseline = [f"agent.kind={kind}", f"name={kind}", "network=null"]
        assert main([*arguments, *baseline]) == 0
    return folder


def test_envs_lists_every_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs"]) == 0
    out = capsys.readouterr().out
    assert all(f"`rl_serial:{id_}`" in out for id_ in ENV_IDS)


def test_envs_lists_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs", "--options", "rl_serial/CircuitSteer-v0"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines()[2:]] == [
        "wiring",
        "serial_depth",
        "wires",
        "decisions",
        "start",
    ]


def test_evaluate_prints_both_bounds_and_draws(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = tmp_path / "accuracy.png"
    arguments = [str(runs / name) for name in ("optimal", "random", "tiny", "dqn")]
    assert main(["evaluate", *arguments, "--instances", "4096", "--figure", str(figure)]) == 0
    out = capsys.readouterr().out
    scores = {}
    for line in out.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and cells[1] in ("optimal", "random"):
            scores[cells[1]] = cells[2]
    assert scores["optimal"] == "1.000 (1.000 to 1.000)"
    low, high = scores["random"].split("(")[1].rstrip(")").split(" to ")
    assert float(low) < 0 < float(high)
    with Image.open(figure) as image:
        assert image.size[0] > 600


def test_watch_writes_a_gif_and_prints_exact_values(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gif = tmp_path / "episode.gif"
    assert main(["watch", str(runs / "tiny"), "--instance", "2", "--gif", str(gif)]) == 0
    out = capsys.readouterr().out
    assert "exact" in out
    assert "agent" in out
    with Image.open(gif) as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]  # before the bet and after it
        assert image.is_animated  # type: ignore[attr-defined]


def test_watch_live_plays_in_one_place_of_a_terminal(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames go over one another, with a pause between; a pipe gets them one below the other."""
    waits: list[float] = []
    monkeypatch.setattr("rl_serial.subjects.animation.time.sleep", waits.append)
    command = ["watch", str(runs / "tiny"), "--gif", str(tmp_path / "a.gif")]

    def shown(*options: str, terminal: bool) -> str:
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
        monkeypatch.setattr(sys, "stdout", stream)
        assert main([*command, *options]) == 0
        return stream.getvalue()

    plain, piped = shown(terminal=True), shown("--live", terminal=False)
    assert piped == plain
    assert not waits
    live = shown("--live", terminal=True)
    assert waits == [0.25, 0.25]  # before the bet and after it, four a second as in the GIF
    assert live.count("\x1b[H") == 3
    parts = [part.replace("\x1b[K", "").replace("\x1b[J", "") for part in live.split("\x1b[H")]
    assert "".join(parts).split() == plain.split()


def test_finished_run_is_not_repeated(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (runs / "tiny/metrics.csv").stat().st_mtime_ns
    arguments = ["train", str(runs / "tiny.yaml"), "--runs", str(runs), "--quiet"]
    assert main([*arguments, "--resume"]) == 0
    assert "finished before" in capsys.readouterr().out
    assert (runs / "tiny/metrics.csv").stat().st_mtime_ns == before


def test_zip_of_stable_baselines3_needs_trust(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from stable_baselines3 import DQN

    from rl_serial.runs.load import load_trainer

    _, trainer = load_trainer(runs / "dqn", "cpu")
    file = tmp_path / "model.zip"
    trainer.model.save(file)
    assert DQN.load(file).q_net is not None
    assert main(["evaluate", str(runs / "dqn"), "--model", str(file)]) == 2
    assert "--trust" in capsys.readouterr().err
    assert main(["evaluate", str(runs / "dqn"), "--model", str(file), "--trust"]) == 0
    assert main(["evaluate", str(runs / "tiny"), "--model", str(file), "--trust"]) == 2
    (tmp_path / "no.zip").write_text("no zip")
    no_zip = ["--model", str(tmp_path / "no.zip"), "--trust"]
    assert main(["evaluate", str(runs / "dqn"), *no_zip]) == 2


def test_search_on_top_of_any_trained_agent(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, figure = tmp_path / "scores.csv", tmp_path / "scores.svg"
    names = ("tiny", "dqn", "optimal", "search")
    arguments = ["evaluate", *(str(runs / name) for name in names), "--simulations", "0,3"]
    assert main([*arguments, "--table", str(table), "--figure", str(figure)]) == 0
    out = capsys.readouterr().out
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["run"], row["simulations"]) for row in rows] == [
        (name, simulations) for name in names for simulations in ("one-ply", "0", "3")
    ]
    assert all(f"{float(row['score']):.3f}" in out for row in rows)
    assert [float(row["score"]) for row in rows if row["run"] == "optimal"] == [1, 1, 1]
    assert "<svg" in figure.read_text()


def test_search_in_what_was_learned(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--simulations", "2", "--algorithm", "puct"]
    assert main(["evaluate", str(runs / "search"), *arguments, "--dynamics", "learned"]) == 0
    assert "| search | 2 " in capsys.readouterr().out
    assert main(["evaluate", str(runs / "tiny"), *arguments, "--dynamics", "learned"]) == 2
    assert "has no learned dynamics; there are true" in capsys.readouterr().err
    assert main(["evaluate", str(runs / "random"), *arguments]) == 2
    assert "the agent random has no values" in capsys.readouterr().err
    tiny = ["evaluate", str(runs / "tiny")]
    for option in (["--table", "x.csv"], ["--dynamics", "true"], ["--algorithm", "puct"]):
        assert main([*tiny, *option]) == 2
        assert f"{option[0]}: goes with --simulations" in capsys.readouterr().err
    assert main([*tiny, *arguments, "--per-remaining", "4"]) == 2
    assert "--per-remaining: does not go with --simulations" in capsys.readouterr().err
    assert main([*tiny, "--simulations", "100000000"]) == 2
    assert "not enough memory: a search of" in capsys.readouterr().err
    for option in (["--instances", "1"], ["--seed", "-1"], ["--per-remaining", "0"]):
        with pytest.raises(SystemExit):
            main([*tiny, *option])
        assert "must be a whole number, at least" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["evaluate", str(runs / "tiny"), "--simulations", "few"])
    assert "--simulations" in capsys.readouterr().err


def test_runs_of_one_name_are_told_apart(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "tiny", tmp_path / "again")
    folders = [str(runs / "tiny"), str(tmp_path / "again")]
    assert main(["evaluate", *folders, "--simulations", "0"]) == 0
    out = capsys.readouterr().out
    assert "| tiny " in out
    assert f"| {folders[1]} " in out


@pytest.mark.parametrize("name", ["search", "tiny"])
def test_watch_draws_the_tree_of_a_decision(
    name: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gif = tmp_path / "episode.gif"
    assert main(["watch", str(runs / name), "--simulations", "4", "--gif", str(gif)]) == 0
    out = capsys.readouterr().out
    root = next(line for line in out.splitlines() if line.startswith("root"))
    assert root.split()[1] == "5"  # the root's own evaluation and four simulations
    with Image.open(gif) as image:
        assert image.size[0] > 900  # the tree stands beside the scene
        assert image.is_animated  # type: ignore[attr-defined]
    assert main(["watch", str(runs / name), "--dynamics", "true"]) == 2
    assert "--dynamics: goes with --simulations" in capsys.readouterr().err


BAD_REQUESTS = {
    "unknown key": (["network.depht=3", "name=x"], "network.depht"),
    "wrong type": (["seed=one", "name=x"], "seed"),
    "unknown id": (["env.id=rl_serial/X-v0", "name=x"], "env.id"),
    "option out of range": (["env.serial_depth=0", "name=x"], "env.serial_depth"),
    "unreachable budget": (["network.budget.parameters=7", "name=x"], "network: "),
    "depth a transformer cannot have": (
        ["network={kind: transformer, depth: 5, width: 8}", "name=x"],
        "network: ",
    ),
    "run folder that exists": ([], "tiny: this folder exists; --resume"),
    "unknown SB3 argument": (
        ["agent.kind=dqn", "agent.arguments.gama=1", "name=x"],
        "agent.arguments.gama",
    ),
    "SB3 argument that the run sets": (
        ["agent.kind=ppo", "agent.arguments.device=cpu", "name=x"],
        "agent.arguments.device",
    ),
    "SB3 argument of a wrong kind": (
        ["agent.kind=ppo", "agent.arguments.n_steps=many", "name=x"],
        "agent.arguments.n_steps: must be an integer of 1 or more (default 2048), not 'many'",
    ),
    "SB3 schedule without a number": (
        ["agent.kind=ppo", "agent.arguments.learning_rate=lin_fast", "name=x"],
        "agent.arguments.learning_rate: must be a number of 0 or more, or lin_ before one, which "
        "falls to 0 (default 0.0003), not 'lin_fast'",
    ),
    "SB3 policy arguments that are none": (
        ["agent.kind=ppo", "agent.arguments.policy_kwargs=3", "name=x"],
        "agent.arguments.policy_kwargs: must be keys with values",
    ),
    "nothing to decide": (
        ["env={id: rl_serial/PointerChaseSteer-v0, decisions: 0}", "name=x"],
        "env: optimal play earns no more than random play",
    ),
    "name of the folder above": (["name=.."], "name: must be the name of a folder"),
    "option that is the id's": (["env.env=1", "name=x"], "env.env: PermutationAutomatonBet has no"),
    "option that is the task's": (["env.task=Bet", "name=x"], "env.task: PermutationAutomatonBet"),
    "option that is the environments' number": (
        [
            "env={id: rl_serial/Reach-v0, env_id: 1}",
            "agent={kind: contrastive, timesteps: 64, num_envs: 1, unroll: 8, prefill: 8}",
            "evaluation={}",
            "name=x",
        ],
        "env.env_id: Reach has no such option",
    ),
    "option that is the task's name": (
        [
            "env={id: Reacher-v5, name: 1}",
            "agent={kind: cem}",
            "network=null",
            "evaluation={}",
            "name=x",
        ],
        "env: ",
    ),
    "seed that is a date": (["seed=2026-13-45", "name=x"], "seed: must be a valid integer"),
    "seed of thousands of digits": (["seed=" + "1" * 5000, "name=x"], "(5000 characters)"),
    "thousands of brackets": (["seed=" + "[" * 3000, "name=x"], "nested more than 24 deep"),
    "a network that nobody builds": (["network.loops=1000000000", "name=x"], "network.loops: "),
    "a chain that nobody plays": (["env.serial_depth=100000000", "name=x"], "1024 at most"),
    "a search that nobody waits for": (
        ["agent={kind: search, max_depth: 1" + "0" * 30 + "}", "name=x"],
        "agent: ",
    ),
    "seed that no library takes": (["seed=10000000000", "name=x"], "seed: "),
    "learned dynamics of a bet": (
        ["agent={kind: search, dynamics: learned}", "model_network={width: 8}", "name=x"],
        "agent.dynamics: learned needs a Steer environment",
    ),
    "learned dynamics of what is not made of bits": (
        [
            "env={id: rl_serial/ManyBodySteer-v0}",
            "agent={kind: search, dynamics: learned}",
            "model_network={width: 8}",
            "name=x",
        ],
        "agent.dynamics: learned predicts observations of zeros and ones, which those of ManyBody",
    ),
    "target that teaches nothing": (
        ["agent={kind: search, value_target: root, simulations: 0}", "name=x"],
        "agent.value_target: root needs agent.simulations of 1 or more",
    ),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_training_request_is_a_short_error(
    case: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides, named = BAD_REQUESTS[case]
    before = sorted(path.name for path in runs.iterdir())
    code = main(["train", str(runs / "tiny.yaml"), *overrides, "--runs", str(runs), "--quiet"])
    error = capsys.readouterr().err
    assert code == 2
    assert named in error
    assert len(error.strip().splitlines()) <= 2
    assert "Traceback" not in error
    assert sorted(path.name for path in runs.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["evaluate", "nowhere"], "nowhere: no run here"),
        (["watch", "nowhere"], "nowhere: no run here"),
        (["envs", "--certify", "rl_serial/X-v0"], "rl_serial/X-v0: no such environment"),
        (["envs", "--options", "rl_serial/CircuitBet"], "; did you mean rl_serial/CircuitBet-v0?"),
        (["bench", "phisics"], "; did you mean physics?"),
        (
            ["bench", "nothing"],
            "bench nothing: no such benchmark; there are all, commitments, envs, games",
        ),
        (["train", "nowhere.yaml"], "nowhere.yaml: No such file"),
    ],
)
def test_other_bad_requests(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "x", "--threads", "99999999999"], "at least 1 and at most 1024"),
        (["train", "x", "--threads", "0"], "at least 1 and at most 1024"),
        (["evaluate", "x", "--seed", "9" * 5000], "at least 0 and at most 4294967295"),
        (["evaluate", "x", "--simulations", "1,99999999999"], "at most 2147483647"),
        (["watch", "x", "--instance", str(2**62)], f"at most {2**62 - 1}"),
        (["evaluate", "x", "--per-remaning", "3"], "did you mean --per-remaining?"),
        (["train", "x", "--qiet"], "did you mean --quiet?"),
        (["study", "run", "x", "--worker", "x" * 5000], "invalid int value: 'xxx"),
    ],
)
def test_options_of_the_command_line_have_bounds(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()[-1]) < 1700


@pytest.mark.parametrize("option", ["--workers", "--retries", "--gpus"])
def test_options_of_studies_have_bounds(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "run", "x.yaml", "--engine", "ray", option, "99999999999"]) == 2
    assert f"{option} 99999999999" in capsys.readouterr().err


def test_unfinished_or_damaged_model_is_named(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "config.yaml").write_text((runs / "tiny/config.yaml").read_text())
    assert main(["evaluate", str(folder)]) == 2
    assert "not finished" in capsys.readouterr().err
    (folder / "model.pt").write_bytes((runs / "dqn/model.pt").read_bytes())
    assert main(["evaluate", str(folder)]) == 2
    assert "does not fit" in capsys.readouterr().err
    (folder / "model.pt").write_bytes((runs / "tiny/model.pt").read_bytes()[:50])
    assert main(["evaluate", str(folder)]) == 2
    assert "model.pt: damaged" in capsys.readouterr().err


def test_gpu_that_is_not_there_is_said(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    arguments = ["train", str(runs / "tiny.yaml"), "name=x", "--runs", str(runs)]
    assert main([*arguments, "--device", "cuda"]) == 2
    assert "--device cuda: torch sees no GPU" in capsys.readouterr().err


def test_missing_library_names_its_extra(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "torch" else find(name, *rest),
    )
    assert main(["train", str(runs / "tiny.yaml")]) == 2
    assert "pip install 'rl_serial[train]'" in capsys.readouterr().err


def test_import_is_light() -> None:
    """``import rl_serial`` registers the environments and loads nothing that training needs."""
    code = (
        "import sys, rl_serial, gymnasium;"
        "gymnasium.make('rl_serial/CircuitBet-v0').reset(seed=0);"
        "heavy = {'torch', 'stable_baselines3', 'mujoco', 'pydantic', 'matplotlib', 'numba'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
