"""Puzzles as a subject: examination, floor, ways, errors, and what the commands make of a run."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.agents.baselines import OptimalAgent, RandomAgent
from rl_serial.cli import main
from rl_serial.envs.puzzles.certificate import certify_rounds, guess_chances
from rl_serial.envs.puzzles.generator import make_puzzles, rate_puzzles
from rl_serial.envs.puzzles.reading import written
from rl_serial.envs.puzzles.sudoku import Sudoku
from rl_serial.errors import UserError
from rl_serial.loading import parse_config
from rl_serial.metrics import tagged
from rl_serial.networks import account
from rl_serial.subjects import row_of, subject_of
from rl_serial.subjects.puzzles.evaluation import PuzzleEvaluator, serial_horizon
from rl_serial.subjects.puzzles.floors import floor_chances
from rl_serial.subjects.puzzles.tables import draw_solved

CPU = torch.device("cpu")


def data(**changes: Any) -> dict[str, Any]:
    run: dict[str, Any] = {
        "env": {"id": "rl_serial/Sudoku-v0", "size": 4},
        "network": {"kind": "transformer", "layers": 1, "width": 16},
        "agent": {"kind": "solver", "updates": 8, "batch_size": 16},
        "evaluation": {"instances": 24, "rounds": [1, 2], "per_rounds": 16, "every": 4},
    }
    for path, value in changes.items():
        *parents, key = path.split("__")
        part = run
        for parent in parents:
            part = part[parent]
        part[key] = value
    return run


def test_the_best_and_random_play_bound_what_is_solved() -> None:
    task: Any = Sudoku(size=4)
    examine = PuzzleEvaluator(task, 64, [1, 3], 32)
    best = examine(OptimalAgent(task))
    assert best.solved.all()
    assert best.solved_by == {1: 1.0, 3: 1.0}
    assert best.cells == 1
    worst = examine(RandomAgent(task, 0))
    assert worst.solved.sum() <= 1
    assert 0.1 < worst.cells < 0.4  # a digit of four
    for count, part in examine.by_rounds.items():
        assert (part.puzzles.rounds == count).all()
    assert serial_horizon({3: 1.0, 4: 0.9, 5: 0.89, 6: 1.0}) == 4
    assert serial_horizon({3: 0.5}) == 0


def test_the_floor_is_the_chance_of_one_look() -> None:
    """By the product of all ways to give each blank cell one of its candidates."""
    puzzles = make_puzzles(np.arange(12), 4)
    for row in range(12):
        givens = puzzles.givens[[row]]
        told = rate_puzzles(givens, 4)
        grid = np.where(told.when == 1, told.solution, givens)
        open_ = Sudoku(size=4).candidates(grid)[0]
        cells = np.flatnonzero(grid[0] == 0)
        fills = list(itertools.product(*(np.flatnonzero(open_[cell]) + 1 for cell in cells)))
        right = sum(tuple(fill) == tuple(puzzles.solution[row, cells]) for fill in fills)
        assert guess_chances(grid, 4)[0] == pytest.approx(right / len(fills))
    one = make_puzzles(np.arange(8), 4, serial_depth=1)
    assert floor_chances(one, 4).tolist() == [1.0] * 8
    assert floor_chances(make_puzzles(np.arange(8), 4, serial_depth=3), 4).max() < 1


def test_a_run_logs_what_it_says_and_costs_are_passes_times_a_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = data(agent__gaussian=0.5, evaluation__loops=[2])
    Path("tiny.yaml").write_text(json.dumps(run))
    assert main(["train", "tiny.yaml", "--quiet"]) == 0
    final = json.loads(Path("runs/tiny/summary.json").read_text())["final"]
    config = parse_config(data(agent__gaussian=0.5, evaluation__loops=[2]), "test")
    places = {place.tag for place in row_of(config.env.id, "solver", None).places(config)}
    assert places <= set(final)
    metrics = {tag for tag in final if tag.split("/")[0] in ("eval", "ways", "floor", "loops")}
    beside = {"eval/solved_interval", "eval/instances", "eval/mean_rounds"}
    assert metrics - beside == places
    subject: Any = subject_of(config)
    trainer = subject.trainer(CPU, lambda *_: None)
    cost = account(trainer.networks["solver"], trainer.examples["solver"])
    for way, passes in {"one_shot": 1, "parallel_4": 4, "margin": 10, "gaussian_8": 8}.items():
        assert final[f"ways/{way}/passes"] == passes
        assert final[f"ways/{way}/flops"] == passes * cost.flops_forward
        assert final[f"ways/{way}/critical_path"] == passes * cost.critical_path
    assert cost.critical_path == 1 + 6 + 1
    assert final["ways/rounds/passes"] == final["eval/mean_rounds"]
    assert final["ways/margin/solved"] == final["eval/solved"]
    assert main(["evaluate", "runs/tiny", "--figure", "solved.png"]) == 0
    assert main(["watch", "runs/tiny"]) == 0
    assert Path("solved.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "agent",
    [
        {"kind": "value", "updates": 4, "batch_size": 8},
        {"kind": "cloning", "updates": 4, "batch_size": 8},
        {"kind": "maskable_ppo", "timesteps": 64, "num_envs": 8, "exploring_starts": True,
         "arguments": {"n_steps": 8, "batch_size": 32}},
        {"kind": "dqn", "timesteps": 64, "num_envs": 8, "arguments": {"learning_starts": 16}},
        {"kind": "search", "timesteps": 64, "num_envs": 8, "simulations": 2, "updates": 1},
    ],
    ids=lambda agent: agent["kind"],
)  # fmt: skip
def test_agents_of_chains_play(agent: dict[str, Any]) -> None:
    network = {"kind": "residual", "depth": 2, "width": 16}
    run = data(env__blanks=8, agent=agent, network=network, evaluation__rounds=[])
    has_values = agent["kind"] != "cloning"
    if has_values:
        run["evaluation"]["simulations"] = [2]
    config = parse_config(run, "test")
    subject: Any = subject_of(config)
    trainer = subject.trainer(CPU, lambda *_: None)
    trainer.train(lambda: None)
    examine = subject.examiner()
    found = subject.last_examination(examine, trainer).measurements()
    found += subject.further_measurements(trainer, examine, CPU)
    logged = tagged(found)
    assert set(logged) == {place.tag for place in row_of(config.env.id, "", None).places(config)}
    moments = subject.watch(trainer.agent)
    assert len({moment.picture().shape for moment in moments}) == 1
    assert "best by exact" in moments[0].text()
    if has_values:
        searcher = subject.searcher(trainer, CPU, simulations=2)
        assert [score.simulations for score in subject.search_scores(searcher, [0, 2])] == [
            "one-ply", 0, 2,
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env__size": 5}, "env.size: must be one of 4, 6, 9, not 5"),
        ({"env__hight": 5}, "env.hight: Sudoku has no such option"),
        ({"network__kind": "residual", "network__layers": None, "network__depth": 2},
         "network.kind: residual has no tokens behind its layers"),
        ({"agent__way": "backwards"}, "agent.way: must be 'one_shot', 'parallel_2'"),
        ({"agent__way": "gaussian_4"}, "agent.way: gaussian_4 shows noised boards"),
        ({"agent__gaussian": 1.0}, "agent.way: margin shows blank cells"),
        ({"evaluation__ways": ["gaussian_4"]}, "evaluation.ways: gaussian_4 shows noised boards"),
        (  # a share of the batch that comes to no board, or to all of them
            {"agent__gaussian": 0.003, "agent__batch_size": 128, "agent__way": "gaussian_4"},
            "agent.gaussian 0.003 never trains (0 of 128 examples are noised): more",
        ),
        (
            {"agent__gaussian": 0.997, "agent__batch_size": 128},
            "agent.gaussian 0.997 never trains (128 of 128 examples are noised): less",
        ),
        ({"evaluation__rounds": [11]}, "evaluation.rounds: at most 10"),
        ({"evaluation__simulations": [4]}, "evaluation.simulations: the agent solver has no"),
        ({"evaluation__per_remaining": 4}, "evaluation.per_remaining: unknown key"),
        ({"env__start": "uniform"}, "env.start: the agent solver reads whole puzzles"),
        ({"env__ends": "mistake", "agent": {"kind": "ordering"}}, "env.ends: the agent ordering"),
        ({"agent": {"kind": "value"}, "evaluation__ways": ["margin"]},
         "evaluation.ways: only the agents solver, ordering have ways to commit, not value"),
        ({"agent": {"kind": "ordering", "rollouts": 10**7}},
         "agent.rollouts: 10000000 times 1450 numbers"),
        ({"agent": {"kind": "ordering", "puzzles": 10**6}},
         "agent.puzzles: 1000000 times 5800 numbers of observations are held at once"),
    ],
)  # fmt: skip
def test_parts_that_do_not_go_together_are_named(changes: dict[str, Any], message: str) -> None:
    run = data(**changes)
    run["network"] = {key: value for key, value in run["network"].items() if value is not None}
    with pytest.raises(UserError) as error:
        parse_config(run, "run.yaml")
    assert message in str(error.value)


@pytest.mark.parametrize("env", [{}, {"serial_depth": 2}, {"kind": "twin"}, {"blanks": 10}])
def test_rounds_that_no_puzzle_has_are_the_examinations_fault(env: dict[str, Any]) -> None:
    run = data(evaluation__rounds=[9])
    run["env"] |= env
    config = parse_config(run, "run.yaml")
    with pytest.raises(UserError) as error:
        subject_of(config).examiner()
    assert "evaluation.rounds: no puzzle of 4 by 4 with 10 blanks that 9 rounds" in str(error.value)


def test_the_certificate_says_what_rounds_and_guesses_solve() -> None:
    for rounds in (1, 2, 3):
        chances = certify_rounds(4, rounds, instances=64)
        assert len(chances) == rounds + 1
        assert chances == sorted(chances)
        assert chances[0] < 0.1
        assert chances[-1] == 1
    task = Sudoku(size=4, serial_depth=3)
    floor = floor_chances(task.puzzles(2**62 + np.arange(64)), 4).mean()
    assert chances[1] == pytest.approx(floor)  # the floor is one round, and guesses
    assert chances[1] < 0.5


def file_of(folder: Path, training: int, tests: int, first: int = 0) -> str:
    """A file of so many puzzles of 4 by 4 of each side, all different."""
    seeds = np.concatenate([np.arange(training), 2**62 + np.arange(first, first + tests)])
    file = folder / "some.txt"
    file.write_text("\n".join(written(make_puzzles(seeds, 4).givens)) + "\n")
    return str(file)


def test_each_puzzle_of_a_file_is_examined_once_and_watched_as_what_it_is(tmp_path: Path) -> None:
    file = file_of(tmp_path, 3, 5)
    run = data(env__file=file, evaluation__rounds=[], evaluation__instances=512)
    subject: Any = subject_of(parse_config(run, "run.yaml"))
    examine = subject.examiner()
    trainer = subject.trainer(CPU, lambda *_: None)
    found = examine(trainer.agent)
    assert found.final()["eval/instances"] == 5
    givens = examine.whole.puzzles.givens
    assert len(np.unique(givens, axis=0)) == 5
    for instance in range(5):
        [first, *_] = subject.watch(trainer.agent, instance)
        assert (first.scene.states[0].givens[0] == givens[instance]).all()
    with pytest.raises(UserError, match=r"env\.file: .*has 5 puzzles for tests: up to 4"):
        subject.watch(trainer.agent, 5)


def test_a_file_that_changes_in_a_process_is_read_again(tmp_path: Path) -> None:
    seen = []
    for first in (0, 40):
        run = data(env__file=file_of(tmp_path, 3, 5, first), evaluation__rounds=[])
        examine: Any = subject_of(parse_config(run, "run.yaml")).examiner()
        seen.append(set(map(bytes, examine.whole.puzzles.givens)))
    assert seen[0] != seen[1]


@pytest.mark.parametrize(
    ("training", "tests", "message"),
    [
        (4, 0, "holds no puzzle that is for tests"),
        (0, 4, "holds no puzzle that is for training"),
        (4, 1, "holds one puzzle that is for tests; 2 at least"),
    ],
)
def test_a_file_without_a_side_is_refused_before_anything_is_made(
    training: int, tests: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = data(env__file=file_of(tmp_path, training, tests), evaluation__rounds=[])
    with pytest.raises(UserError) as error:
        parse_config(run, "run.yaml")
    assert error.value.faults[0].key == "env.file"
    assert message in str(error.value)
    Path("tiny.yaml").write_text(json.dumps(run))
    assert main(["train", "tiny.yaml", "--quiet"]) == 2
    assert not Path("runs").exists()


def test_a_file_is_asked_for_where_it_is_needed(tmp_path: Path) -> None:
    """Play that does not learn needs no puzzles for training, and a configuration no file."""
    run = data(env__file=file_of(tmp_path, 0, 3), evaluation__rounds=[], agent={"kind": "random"})
    del run["network"]
    parse_config(run, "run.yaml")
    config = parse_config(data(env__file="none.txt", evaluation__rounds=[]), "run.yaml")
    with pytest.raises(UserError, match=r"env\.file: none\.txt: No such file"):
        subject_of(config).examiner()


@pytest.mark.parametrize("way", ["random", "margin", "gaussian_4"])
@pytest.mark.parametrize("at_a_time", [1024, 7])
def test_what_is_watched_is_what_was_examined(
    way: str, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rl_serial.agents.solver.agent.AT_A_TIME", at_a_time)
    config = parse_config(data(agent__gaussian=0.5, agent__way=way), "run.yaml")
    subject: Any = subject_of(config)
    agent, examine = subject.trainer(CPU, lambda *_: None).agent, subject.examiner()
    grid, when, _ = agent.solve(examine.whole.puzzles)
    for instance in (0, 5, 9, 23):
        moments = subject.watch(agent, instance)
        assert (moments[-1].scene.states[-1].grid[0] == grid[instance]).all()
        filled = [(moment.scene.states[-1].grid[0] > 0).sum() for moment in moments]
        passes = [0, *np.unique(when[instance][when[instance] > 0])]
        assert filled == [(when[instance] <= number).sum() for number in passes]
    assert subject.watch(agent, 30)  # more than are examined


def test_a_figure_draws_each_floor_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str, floor: dict[int, float]) -> Any:
        evaluation = SimpleNamespace(
            solved_by={1: 1.0, 2: 0.5}, floor=SimpleNamespace(solved_by=floor), ways={}
        )
        return SimpleNamespace(config=SimpleNamespace(name=name), evaluation=evaluation)

    drawn: dict[str, Any] = {}

    def keep(axes: Any, x: Any, floor: Any, label: str, index: int) -> None:
        drawn[label] = (x, floor, index)

    monkeypatch.setattr("rl_serial.subjects.puzzles.tables.draw_floor", keep)
    floors = ({}, {1: 1.0, 2: 0.4}, {1: 1.0, 2: 0.4}, {1: 1.0, 3: 0.1})
    draw_solved([run(f"r{i}", floor) for i, floor in enumerate(floors)], tmp_path / "f.png")
    assert drawn == {
        "floor (one parallel look)": ([1, 2], [1.0, 0.4], 0),
        "floor of r3 (one parallel look)": ([1, 3], [1.0, 0.1], 1),
    }
