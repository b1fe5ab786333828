"""The configurations of the package: found by name, listed, copied, described to editors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rl_serial.cli import main
from rl_serial.cli.configs import schema_text
from rl_serial.cli.schema import explained, keys
from rl_serial.errors import UserError
from rl_serial.loading import load_config, parse_config, read_yaml
from rl_serial.shipped import (
    KINDS,
    MODELINE,
    SCHEMAS,
    Shipped,
    first_sentence,
    folder,
    named,
    resolved,
    shipped,
)
from rl_serial.study.design import load_study, plan

ROOT = Path(__file__).parents[1]
ALL = shipped()


def test_they_are_the_files_of_the_checkout() -> None:
    assert folder() == ROOT / "configs"
    found = {str(one.file.relative_to(ROOT)) for one in ALL}
    assert found == {str(file.relative_to(ROOT)) for file in ROOT.glob("configs/*/*.yaml")}
    assert len({one.name for one in ALL}) == len(ALL)  # a name is of a run or of a study


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_each_has_a_sentence_and_names_its_schema(one: Shipped) -> None:
    assert one.about[:1].isalnum()
    assert one.about[-1] in ".?", one.about
    text = one.file.read_text()
    assert text.startswith(f"{MODELINE}../{SCHEMAS[one.kind]}\n"), "python docs/schema.py"


def test_a_sentence_is_not_cut_at_a_year() -> None:
    comment = "# As Wang et al. 2025 do\n# it, in 3.5 minutes. Then more.\n#\n# Not this\n"
    text = f"{MODELINE}x\n{comment}a: 1"
    assert first_sentence(text) == "As Wang et al. 2025 do it, in 3.5 minutes."


def test_a_file_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolved(Path("cartpole_ppo_deep"), "train").parent.name == "train"
    Path("cartpole_ppo_deep").write_text("env: {}")
    assert resolved(Path("cartpole_ppo_deep"), "train") == Path("cartpole_ppo_deep")
    assert resolved(Path("missing.yaml"), "train") == Path("missing.yaml")


def test_what_is_near_is_named() -> None:
    with pytest.raises(UserError, match=r"did you mean cartpole_ppo_deep\?"):
        named("cartpole_ppo_dep", "train")
    with pytest.raises(UserError, match="it is a study configuration: rl-serial study run demo"):
        resolved(Path("demo"), "train")


def test_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", "list", "study"]) == 0
    out = capsys.readouterr().out
    assert "Does depth pay in goal-reaching?" in out
    assert "cartpole" not in out
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("  ")]) == len(ALL)


def test_trained_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["agent.updates=2", "agent.batch_size=8", "evaluation={instances: 64}"]
    small += ["env.serial_depth=3", "network={kind: residual, depth: 2, width: 8}"]
    assert main(["train", "automaton_s5_value_deep", *small, "--quiet"]) == 0
    assert (tmp_path / "runs/automaton_s5_value_deep/model.pt").exists()
    assert main(["study", "plan", "demo"]) == 0
    assert "12 runs" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["depth_pays", "automaton_z5_search"])
def test_a_copy_stands_on_its_own(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also a study whose base run is in another file."""
    assert main(["configs", "copy", name, str(tmp_path)]) == 0
    copy, original = tmp_path / f"{name}.yaml", named(name)
    schema = SCHEMAS[original.kind]
    assert copy.read_text().startswith(f"{MODELINE}{schema}\n")
    assert json.loads((tmp_path / schema).read_text())["title"].endswith("of rl_serial")
    if original.kind == "study":
        assert (tmp_path / "pointer_random_depth_pays.yaml").exists()
        assert load_study(copy).runs == load_study(original.file).runs
    else:
        assert load_config(copy) == load_config(original.file)
    capsys.readouterr()
    assert main(["configs", "copy", name, str(tmp_path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["configs", "copy", name, str(tmp_path), "--force"]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_schema_is_that_of_the_models(kind: str) -> None:
    assert (folder() / SCHEMAS[kind]).read_text() == schema_text(kind), "python docs/schema.py"


def validator(kind: str) -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((folder() / SCHEMAS[kind]).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_files_pass_their_schema(kind: str) -> None:
    validate = validator(kind)
    for one in shipped(kind):
        found = [f"{e.json_path}: {e.message}" for e in validate.iter_errors(read_yaml(one.file))]
        assert not found, one.name


WRONG_RUNS: tuple[dict[str, Any], ...] = (
    {"agent.kind": "pppo"},
    {"agent.tmesteps": 3},
    {"agent.num_envs": 0},
    {"agent.num_envs": 65537},  # the most is 2**16
    {"env.group": "s6"},
    {"env.nodes": 8},  # of another family
    {"network.kind": "mlp"},
    {"network.budget": {"parameter": 1000}},
    {"evaluation.per_remaining": -1},
    {"seed": 2**32},
    {"speed": 1},
)


@pytest.mark.parametrize("wrong", WRONG_RUNS, ids=str)
def test_what_the_schema_refuses_loading_refuses(wrong: dict[str, Any]) -> None:
    data = read_yaml(folder() / "train/automaton_s5_dqn_deep.yaml")
    [(key, value)] = wrong.items()
    *parents, last = key.split(".")
    place = data
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    assert not validator("train").is_valid(data)
    with pytest.raises(UserError):
        parse_config(data, "here")


@pytest.mark.parametrize("wrong", [{"seeds": 0}, {"grids": {}}, {"screen": {"key": "seed"}}])
def test_the_same_of_studies(wrong: dict[str, Any]) -> None:
    data = read_yaml(folder() / "study/demo.yaml") | wrong
    assert not validator("study").is_valid(data)
    with pytest.raises(UserError):
        plan(data, "here", "study")


def test_every_key_is_explained() -> None:
    for key in keys():
        rows = explained(key)
        assert rows, key
        assert all(meaning for _, _, _, meaning in rows), key


def test_an_explanation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--explain", "agent.timesteps"]) == 0
    out = capsys.readouterr().out
    [row] = [line for line in out.splitlines() if "contrastive" in line]
    assert "100000000" in row
    assert main(["config", "--explain", "network.dept"]) == 2
    assert "did you mean network.depth?" in capsys.readouterr().err


def test_config_prints_every_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "automaton_s5_dqn_deep", "seed=7"]) == 0
    out = capsys.readouterr().out
    assert "seed: 7" in out
    assert "per_remaining: 512" in out  # a default of the subject


def test_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rl_serial", "--version"], capture_output=True, text=True, check=True
    )
    from rl_serial import __version__

    assert done.stdout.strip() == __version__


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rl-serial train cartpole", {"cartpole_ppo_deep", "cartpole_ppo_shallow"}),
        ("rl-serial watch runs/m", {"runs/mine"}),
    ],
)
def test_the_shell_completes(line: str, expected: set[str], tmp_path: Path) -> None:
    pytest.importorskip("argcomplete")
    (tmp_path / "runs/mine").mkdir(parents=True)
    (tmp_path / "runs/mine/config.yaml").write_text("")
    found = tmp_path / "found"
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(found),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    subprocess.run(
        [sys.executable, "-m", "rl_serial"], cwd=tmp_path, env={**os.environ, **asked}, check=False
    )
    assert {word.strip() for word in found.read_text().splitlines()} == expected
