"""Solvers of puzzles: ways to commit with networks of known answers, lessons, training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rl_serial.agents.settings_solver import SolverAgentConfig
from rl_serial.agents.solver.agent import SolverAgent, cells_head, cells_layout
from rl_serial.agents.solver.commit import Solved, commit, rates
from rl_serial.agents.solver.trainer import SolverTrainer, revealed
from rl_serial.agents.solver.ways import STEPS, WAYS
from rl_serial.envs.puzzles.generator import Puzzles, make_puzzles, rate_puzzles
from rl_serial.envs.puzzles.sudoku import Sudoku
from rl_serial.networks import build_network, build_trunk

CPU = torch.device("cpu")
MASKED = [name for name, way in WAYS.items() if not way.noised]
GAUSSIAN = [name for name, way in WAYS.items() if way.noised]


def solved(name: str, puzzles: Puzzles, predict: Any, size: int = 6) -> Solved:
    """What a way makes of puzzles with a network that is given as a function."""
    givens = torch.as_tensor(puzzles.givens.astype(np.int64))
    told = torch.as_tensor(puzzles.when.astype(np.int64))
    noise = torch.Generator().manual_seed(0)
    return commit(WAYS[name], givens, size, predict, told, noise, indifferent)


def indifferent(grid: Tensor, chances: Tensor) -> Tensor:
    """A policy without a preference."""
    return torch.zeros(grid.shape)


def knowing(puzzles: Puzzles, size: int = 6) -> Any:
    """A network that knows the solutions."""
    solution = torch.as_tensor(puzzles.solution.astype(np.int64)) - 1
    return lambda cells, level: 20 * torch.nn.functional.one_hot(solution, size).float()


def one_round(cells: Tensor, level: Tensor) -> Tensor:
    """A network that sees what one round of singles tells, and knows nothing of other cells."""
    size = cells.shape[2] - 1
    grid = (cells[:, :, :size].argmax(2) + 1) * (cells[:, :, size] == 0)
    found = rate_puzzles(grid.numpy(), size)
    told = torch.as_tensor(found.when == 1)
    digits = torch.as_tensor(found.solution.astype(np.int64)).clamp(min=1) - 1
    return 20 * told[:, :, None] * torch.nn.functional.one_hot(digits, size).float()


@pytest.fixture(scope="module")
def puzzles() -> Puzzles:
    return make_puzzles(np.arange(40), 6, 26, 5)


@pytest.mark.parametrize("name", WAYS)
def test_who_knows_the_solution_solves_in_every_way(name: str, puzzles: Puzzles) -> None:
    found = solved(name, puzzles, knowing(puzzles))
    assert (found.grid.numpy() == puzzles.solution).all()
    passes = {"one_shot": 1, "rounds": 5} | {f"parallel_{n}": n for n in STEPS}
    expected = passes.get(name, WAYS[name].passes or 26)
    assert (found.passes == expected).all()
    assert ((found.when == 0).numpy() == (puzzles.givens > 0)).all()


def test_one_round_a_pass_solves_as_many_rounds_as_there_are_passes(puzzles: Puzzles) -> None:
    right = {
        name: float(
            (solved(name, puzzles, one_round).grid.numpy() == puzzles.solution).all(1).mean()
        )
        for name in MASKED
    }
    # Five rounds: not at once, but where each pass fills what it is sure of.
    assert right["one_shot"] == 0
    assert right["rounds"] == right["margin"] == right["probability"] == right["singles"] == 1
    assert right["raster"] < 0.1
    assert right["random"] < 0.1
    by_steps = [right[f"parallel_{steps}"] for steps in STEPS]
    assert by_steps == sorted(by_steps)
    assert by_steps[0] < 0.2 < by_steps[-1]


def test_orders_are_what_they_are_called(puzzles: Puzzles) -> None:
    predict = knowing(puzzles)
    blank = torch.as_tensor(puzzles.givens == 0)
    for row in range(5):
        raster = solved("raster", puzzles, predict).when[row][blank[row]]
        assert raster.tolist() == list(range(1, 27))
        singles = solved("singles", puzzles, predict).when[row]
        by_pass = sorted(np.flatnonzero(blank[row]), key=lambda cell: int(singles[cell]))
        told = puzzles.when[row][by_pass].tolist()
        assert told == sorted(told)
        rounds = solved("rounds", puzzles, predict).when[row]
        assert rounds.tolist() == puzzles.when[row].tolist()
    random = solved("random", puzzles, predict).when
    assert (random[0][blank[0]] != random[1][blank[1]]).any()
    spread = [int((solved(f"parallel_{n}", puzzles, predict).when[0] == 1).sum()) for n in STEPS]
    assert spread == [13, 7, 4, 2]  # 26 blanks over 2, 4, 8 and 16 passes, rounded up
    few = make_puzzles(np.arange(4), 4, 5)
    found = solved("parallel_8", few, knowing(few, 4), 4)
    assert (found.passes == 5).all()  # no pass that commits to nothing


def test_margin_and_probability_differ_where_the_second_is_near() -> None:
    one = Puzzles(
        np.array([[0, 0, *[1] * 14]], dtype=np.int8),
        np.ones((1, 16), dtype=np.int8),
        np.zeros((1, 16), dtype=np.int8),
        np.ones(1, dtype=np.int64),
    )
    chances = torch.full((1, 16, 4), 0.25)
    chances[0, 0] = torch.tensor([0.5, 0.49, 0.005, 0.005])
    chances[0, 1] = torch.tensor([0.45, 0.19, 0.18, 0.18])
    first = {
        name: int((solved(name, one, lambda *_: chances.log(), 4).when[0] == 1).int().argmax())
        for name in ("probability", "margin")
    }
    assert first == {"probability": 0, "margin": 1}


def test_gaussian_steps_end_in_the_distribution_that_the_network_knows() -> None:
    """One blank cell whose digit is 1 with chance 0.3 and 2 with 0.7: Bayes' rule, step by step."""
    count, size, prior = 1500, 4, torch.tensor([0.3, 0.7, 0.0, 0.0])
    clean = (torch.eye(size) - 1 / size) / (1 / size * (1 - 1 / size)) ** 0.5

    def bayes(cells: Tensor, level: Tensor) -> Tensor:
        signal, noisy = (rate[:, None, None, None] for rate in rates(level))
        gap = cells[:, :, None, :size] - signal * clean
        return prior.log() - (gap.square() / (2 * noisy.square())).sum(3)

    givens = torch.ones(count, 16, dtype=torch.int64)
    givens[:, 5] = 0
    noise = torch.Generator().manual_seed(1)
    found = commit(WAYS["gaussian_64"], givens, size, bayes, torch.zeros_like(givens), noise)
    share = float((found.grid[:, 5] == 2).float().mean())
    assert share == pytest.approx(0.7, abs=0.04)
    assert (found.grid[:, 5] <= 2).all()
    at_once = commit(WAYS["gaussian_1"], givens, size, bayes, torch.zeros_like(givens), noise)
    assert (at_once.grid[:, 5] == 2).all()  # of pure noise the likelier digit is all there is
    signal, noisy = rates(torch.linspace(0, 1, 7))
    assert torch.allclose(signal.square() + noisy.square(), torch.ones(7))


def test_lessons_reveal_what_they_should() -> None:
    seeds = np.arange(2000)
    puzzles = make_puzzles(seeds, 4)
    grid = revealed(puzzles, seeds, unrevealed=0.25)
    assert ((grid == puzzles.solution) | (grid == 0)).all()
    assert (grid[puzzles.givens > 0] == puzzles.givens[puzzles.givens > 0]).all()
    left = (grid == 0).sum(axis=1)
    assert left.min() == 1
    # Ten blanks: a quarter of the puzzles with all, the rest with 1 to 10 alike.
    assert (left == 10).mean() == pytest.approx(0.25 + 0.75 / 10, abs=0.04)
    assert (left == 3).mean() == pytest.approx(0.75 / 10, abs=0.025)
    assert (revealed(puzzles, seeds, 1.0) == puzzles.givens).all()


def trainer_of(seed: int = 0, **settings: Any) -> SolverTrainer:
    torch.manual_seed(seed)
    task = Sudoku(size=4)
    trunk = build_trunk("transformer", cells_layout(4), depth=6, width=16, loops=2)
    network = build_network(trunk, cells_head(4))
    config = SolverAgentConfig(kind="solver", **({"updates": 12, "batch_size": 16} | settings))
    return SolverTrainer(task.puzzles, 4, config, network, seed, CPU)


def test_noised_lessons_hold_their_digits_under_noise() -> None:
    trainer = trainer_of(gaussian=0.5, batch_size=400)
    cells, level, asked, digits = trainer.lesson()
    assert (level[200:] == 1).all()
    assert 0 <= level[:200].min() < 0.1
    assert asked[:200].sum() == 200 * 10
    assert not cells[200:, :, :4][asked[200:]].any()
    # The digit's own number is larger than the mean of the others by the signal times the spread.
    noised = cells[:200, :, :4][asked[:200]]
    own = noised.gather(1, digits[:200][asked[:200]][:, None])[:, 0]
    others = (noised.sum(1) - own) / 3
    signal = rates(level[:200])[0][:, None].expand(200, 16)[asked[:200]]
    slope = float(((own - others) * signal).sum() / signal.square().sum())
    assert slope == pytest.approx(1 / (0.25 * 0.75) ** 0.5, abs=0.1)


@pytest.mark.parametrize("losses", ["last_loop", "every_loop"])
def test_training_is_a_function_of_the_seed_and_survives_a_checkpoint(losses: str) -> None:
    whole, first, second = (trainer_of(gaussian=0.25, losses=losses) for _ in range(3))
    whole.train(lambda: None)

    class Enough(Exception):
        pass

    def pause() -> None:
        if first.step == 5:
            raise Enough

    with pytest.raises(Enough):
        first.train(pause)
    second.load_state_dict(first.state_dict())
    second.train(lambda: None)
    for mine, theirs in zip(
        whole.network.state_dict().values(), second.network.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs)
    assert whole.metrics == second.metrics
    assert whole.instances == 12 * 16


def test_an_untrained_network_is_as_wrong_as_chance_and_learns() -> None:
    trainer = trainer_of(updates=120, batch_size=32, learning_rate=1e-2)
    before = trainer.loss(*trainer.lesson()).item()
    assert before == pytest.approx(np.log(4), abs=0.35)
    trainer.train(lambda: None)
    assert trainer.metrics["train/loss"] < 0.8 * np.log(4)
    puzzles = make_puzzles(2**62 + np.arange(64), 4)
    one, other = (trainer.agent.solve(puzzles, "margin")[0] for _ in range(2))
    assert (one == other).all()
    longer = trainer.agent_after(3).solve(puzzles, "margin")[0]
    assert (longer != one).any()


def test_as_an_agent_it_fills_the_cell_of_the_largest_margin() -> None:
    trainer = trainer_of()
    task = Sudoku(size=4)
    state = task.initial(np.arange(8))
    agent = SolverAgent(trainer.network, 4, CPU, "margin")
    legal = task.legal_actions(state)
    action = np.where(legal, agent.judge(state).preferences, -np.inf).argmax(axis=1)
    grid, when, _ = agent.solve(task.puzzles(np.arange(8)), "margin")
    for row in range(8):
        cell = int((when[row] == 1).argmax())
        assert divmod(int(action[row]), 4) == (cell, int(grid[row, cell]) - 1)


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_commitments_decide_what_the_same_weights_solve(seed: int) -> None:
    torch.manual_seed(seed)
    trunk = build_trunk("transformer", cells_layout(4), depth=12, width=32)
    network = build_network(trunk, cells_head(4))
    settings = {"updates": 800, "batch_size": 64, "gaussian": 0.5, "learning_rate": 3e-3}
    config = SolverAgentConfig(kind="solver", **settings)
    trainer = SolverTrainer(Sudoku(size=4).puzzles, 4, config, network, seed, CPU)
    trainer.train(lambda: None)
    deep = Sudoku(size=4, serial_depth=3).puzzles(2**62 + np.arange(300))
    right = {
        way: float((trainer.agent.solve(deep, way)[0] == deep.solution).all(1).mean())
        for way in ("one_shot", "parallel_2", "margin", "random", "gaussian_4", "gaussian_64")
    }
    assert right["one_shot"] < 0.2
    assert right["one_shot"] < right["parallel_2"] < right["margin"]
    assert right["margin"] > 0.95
    assert right["random"] < 0.85
    assert right["gaussian_4"] < right["gaussian_64"] < 0.8
