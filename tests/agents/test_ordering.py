"""The policy of which cell next: its objective by hand, its episodes, and what it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rl_serial.agents.fitted import LOG_INTERVAL
from rl_serial.agents.settings_solver import OrderingAgentConfig, SolverAgentConfig
from rl_serial.agents.solver.agent import cells_head, cells_layout, policy_head, policy_layout
from rl_serial.agents.solver.commit import commit
from rl_serial.agents.solver.ordering import OrderingTrainer, Steps
from rl_serial.agents.solver.trainer import SolverTrainer
from rl_serial.agents.solver.ways import WAYS
from rl_serial.envs.puzzles.generator import make_puzzles, rate_puzzles
from rl_serial.envs.puzzles.sudoku import Sudoku
from rl_serial.errors import RunError, UserError
from rl_serial.loading import parse_config
from rl_serial.networks import build_network, build_trunk

CPU = torch.device("cpu")


class OneRound(nn.Module):
    """Knows what one round of singles tells, and nothing of other cells."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, observation: Tensor) -> Tensor:
        cells = observation[:, :-1].reshape(len(observation), self.size**2, self.size + 1)
        grid = (cells[:, :, :-1].argmax(2) + 1) * (cells[:, :, -1] == 0)
        found = rate_puzzles(grid.numpy().astype(np.int8), self.size)
        told = torch.as_tensor(found.when == 1)
        digits = torch.as_tensor(found.solution.astype(np.int64)).clamp(min=1) - 1
        return 20 * told[:, :, None] * torch.nn.functional.one_hot(digits, self.size).float()


def trainer_of(network: nn.Module | None = None, **settings: Any) -> OrderingTrainer:
    torch.manual_seed(0)
    task = Sudoku(size=4)
    trunk = build_trunk("transformer", cells_layout(4), depth=6, width=16)
    own = build_network(trunk, cells_head(4))
    policy = build_network(
        build_trunk("transformer", policy_layout(4), depth=6, width=16), policy_head(4)
    )
    for parameter in policy.heads[0].parameters():  # type: ignore[union-attr]
        nn.init.zeros_(parameter)  # at first every cell is as good as any other
    config = OrderingAgentConfig(
        kind="ordering", **({"updates": 3, "policy_updates": 4, "batch_size": 16} | settings)
    )
    return OrderingTrainer(task.puzzles, 4, config, network or own, policy, 0, CPU)


def test_a_plays_baseline_is_the_mean_of_the_others_of_its_puzzle() -> None:
    trainer = trainer_of(rollouts=4)
    returns = torch.tensor([1.0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 1, 0])
    expected = [2 / 3, -2 / 3, -2 / 3, 2 / 3, 0, 0, 0, 0, -1 / 3, -1 / 3, 1, -1 / 3]
    assert trainer.advantages(returns).tolist() == pytest.approx(expected)


def test_the_objective_by_hand() -> None:
    trainer = trainer_of(entropy=0.1, clip=0.2)
    seen = torch.zeros(2, policy_layout(4).size)
    blank = torch.zeros(2, 16, dtype=torch.bool)
    blank[0, :4], blank[1, :2] = True, True
    cell = torch.tensor([1, 0])
    entropy = (np.log(4) + np.log(2)) / 2
    # Ratios: 1/4 over 1/8 is 2, clipped to 1.2 where that gains less; 1/2 over 1/2 is 1.
    old = torch.tensor([1 / 8, 1 / 2]).log()
    steps = Steps(seen, blank, cell, old, torch.tensor([0, 1]))
    for advantages, gain in (([1.0, -1.0], 1.2 - 1), ([-1.0, 0.5], -2 + 0.5)):
        loss = trainer.policy_loss(steps, torch.tensor(advantages))
        assert float(loss.detach()) == pytest.approx(-gain / 2 - 0.1 * entropy, abs=1e-5)


def test_an_episode_ends_with_the_first_wrong_digit_or_the_solved_grid() -> None:
    puzzles = make_puzzles(np.arange(8), 4, 10, 2)
    givens, solution = (
        torch.as_tensor(part.astype(np.int64)) for part in (puzzles.givens, puzzles.solution)
    )
    trainer = trainer_of(OneRound(4))
    steps, returns = trainer.play(givens, solution, torch.Generator().manual_seed(0))
    for row in range(8):
        mine = steps.episode == row
        cells = steps.cell[mine]
        assert len(set(cells.tolist())) == len(cells)
        assert (givens[row, cells] == 0).all()
        assert steps.blank[mine].sum(1).tolist() == list(range(10, 10 - len(cells), -1))
        chances = steps.seen[mine, :-1].view(len(cells), 16, 9)[:, :, 5:]
        digits = chances[range(len(cells)), cells].argmax(1) + 1
        *before, last = (digits == solution[row, cells]).tolist()
        assert all(before)
        assert float(returns[row]) == last  # a play that ends rightly ends with the whole grid
        assert len(cells) == 10 or not last
    assert 0 < returns.mean() < 1
    wrong = solution % 4 + 1  # never what is told; what is not told is a guess
    steps, returns = trainer.play(givens, wrong, torch.Generator().manual_seed(0))
    assert len(steps.cell) < 16
    assert returns.sum() == 0


def test_a_policy_comes_to_fill_what_its_network_is_sure_of() -> None:
    settings = {"updates": 1, "policy_updates": 12, "puzzles": 16, "rollouts": 4}
    trainer = trainer_of(OneRound(4), **settings, policy_learning_rate=1e-2, learning_rate=1e-9)
    puzzles = make_puzzles(2**62 + np.arange(100), 4, 10, 3)

    def solved(way: str) -> float:
        return float((trainer.agent.solve(puzzles, way)[0] == puzzles.solution).all(1).mean())

    assert solved("learned") == solved("raster") < 0.5
    assert solved("random") < 0.5
    assert solved("margin") == 1
    trainer.step = 1  # the network knows what it knows
    trainer.train(lambda: None)
    assert solved("learned") > 0.8
    assert trainer.metrics["train/rollouts_solved"] > 0.6


def test_the_network_is_the_solvers_and_a_checkpoint_goes_on() -> None:
    whole, first, second = (trainer_of() for _ in range(3))
    torch.manual_seed(0)
    trunk = build_trunk("transformer", cells_layout(4), depth=6, width=16)
    network = build_network(trunk, cells_head(4))
    settings = SolverAgentConfig(kind="solver", updates=3, batch_size=16)
    SolverTrainer(Sudoku(size=4).puzzles, 4, settings, network, 0, CPU).train(lambda: None)
    whole.train(lambda: None)
    for mine, theirs in zip(network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    while first.step < 5:
        first._update()
    second.load_state_dict(first.state_dict())
    second.train(lambda: None)
    for mine, theirs in zip(whole.policy.parameters(), second.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert whole.metrics == second.metrics
    assert whole.instances == 3 * 16 + 4 * 32
    loaded = trainer_of()
    loaded.load_model_state(whole.model_state())
    puzzles = make_puzzles(np.arange(8), 4)
    for way in ("learned", "margin"):
        expected = whole.agent.solve(puzzles, way)
        for one, other in zip(expected, loaded.agent.solve(puzzles, way), strict=True):
            assert (one == other).all()


def test_what_is_logged_and_advised_is_of_the_optimiser_that_made_the_update() -> None:
    trainer = trainer_of(policy_learning_rate=5e-4)
    while trainer.step < 3:
        assert trainer.key_and_rate[0] == "agent.learning_rate"
        trainer._update()
    trainer._update()
    assert trainer.key_and_rate == ("agent.policy_learning_rate", 5e-4)
    trainer.train(lambda: None)
    assert trainer.metrics["train/learning_rate"] == 5e-4
    assert np.isfinite(trainer.metrics["train/rollouts_solved"])
    trainer.step -= 1
    with pytest.raises(RunError, match=r"a smaller agent\.policy_learning_rate may help"):
        trainer.updated(float("nan"))
    logged = trainer_of(updates=LOG_INTERVAL, policy_updates=1, batch_size=2)
    while logged.step < LOG_INTERVAL:
        logged._update()
    assert logged.metrics.keys() == trainer.metrics.keys()


def test_the_way_learned_follows_the_preferences() -> None:
    givens = torch.ones(1, 16, dtype=torch.int64)
    givens[0, [3, 8, 12]] = 0
    preferences = torch.zeros(1, 16)
    preferences[0, [3, 8, 12]] = torch.tensor([0.1, -2.0, 3.0])
    found = commit(
        WAYS["learned"],
        givens,
        4,
        lambda cells, level: torch.zeros(1, 16, 4),
        torch.zeros_like(givens),
        torch.Generator(),
        lambda grid, chances: preferences,
    )
    assert found.when[0, [3, 8, 12]].tolist() == [2, 3, 1]


@pytest.mark.parametrize(
    ("agent", "error"),
    [
        ({"kind": "solver", "way": "learned"}, r"agent\.way: learned asks a policy"),
        ({"kind": "ordering", "gaussian": 1.0}, r"agent\.(way|gaussian): "),
        ({"kind": "ordering", "rollouts": 1}, r"agent\.rollouts: "),
    ],
)
def test_what_does_not_go_together_is_named(agent: dict[str, Any], error: str) -> None:
    data = {
        "name": "ordering",
        "env": {"id": "rl_serial/Sudoku-v0", "size": 4},
        "network": {"kind": "transformer", "layers": 1, "width": 8},
        "agent": agent,
    }
    with pytest.raises(UserError, match=error):
        parse_config(data, "ordering.yaml")
