"""The value agent's losses at every loop and its random number of loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.agents.settings import ValueAgentConfig
from rl_serial.agents.targets import held_horizons, horizon_returns, starts_of
from rl_serial.agents.value import ValueTrainer
from rl_serial.envs import make_task
from rl_serial.networks import HorizonHead, build_network, build_trunk

torch.set_num_threads(1)
CPU = torch.device("cpu")
SEEDS = np.arange(12, dtype=np.int64)
CHASE = make_task("PointerChase", "Bet", serial_depth=5, nodes=6, start="uniform")
WORD = make_task("PermutationAutomaton", "Bet", serial_depth=3, start="uniform")


def chaser(seed: int = 0, readout: str = "by_loop", **agent: Any) -> ValueTrainer:
    torch.manual_seed(0)
    trunk = build_trunk("transformer", CHASE.layout, depth=6, width=8, loops=3, injection="concat")
    network = build_network(trunk, HorizonHead(6, 5, "per_token", readout))
    config = ValueAgentConfig(
        kind="value",
        targets="fixed_horizon",
        head="per_token",
        readout=readout,
        **{"updates": 6, "batch_size": 4} | agent,
    )
    return ValueTrainer(CHASE, config, network, seed, CPU)


def loss_of(trainer: ValueTrainer, state: Any) -> float:
    lesson = trainer.lesson(state, SEEDS, trainer._target_values)
    return trainer.loss(trainer.network, *lesson.on(CPU)).item()


@pytest.mark.parametrize("losses", ["every_loop", "last_loop"])
@pytest.mark.parametrize("loops", [None, 2, 5])
def test_loss_by_loop_in_plain_numbers(losses: str, loops: int | None) -> None:
    """The pointer followed by hand; horizons up to four are trained, one per loop that ran."""
    more = {} if loops is None else {"trained_loops": (loops, loops)}
    trainer = chaser(losses=losses, trained_horizons=4, **more)
    state = CHASE.initial(SEEDS)
    run = loops or 3
    values = trainer.network(torch.as_tensor(CHASE.observe(state)), loops=run).detach().numpy()
    chain_state = CHASE.chain_state(state)
    squares = []
    for row in range(SEEDS.size):
        for node in range(6):
            place = node
            for horizon in range(1, run + 1):
                place = chain_state.successor[row, place]
                pays = 1.0 if (place >= 3) == (chain_state.bit[row] == 1) else -1.0
                if horizon <= 4 and (losses == "every_loop" or horizon == run):
                    squares.append((values[row, node, horizon - 1] - pays) ** 2)
    expected = np.mean(squares) if squares else 0.0
    assert loss_of(trainer, state) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("losses", ["every_loop", "last_loop"])
def test_loss_of_action_values_after_every_pass(losses: str) -> None:
    torch.manual_seed(0)
    trunk = build_trunk("stepwise", WORD.layout, depth=6, width=8, loops=4)
    network = build_network(trunk, 2)
    config = ValueAgentConfig(kind="value", losses=losses)
    trainer = ValueTrainer(WORD, config, network, 0, CPU)
    state = WORD.initial(SEEDS)
    exact = WORD.action_values(state)
    means = []
    for passes in (1, 2, 3, 4) if losses == "every_loop" else (4,):
        said = network(torch.as_tensor(WORD.observe(state)), loops=passes).detach().numpy()
        means.append(np.mean((said - exact) ** 2))
    assert loss_of(trainer, state) == pytest.approx(np.mean(means), rel=1e-5)


def test_loss_of_all_horizons_after_every_loop_leaves_out_what_is_not_held() -> None:
    torch.manual_seed(0)
    trunk = build_trunk("stepwise", WORD.layout, depth=6, width=8, loops=2)
    network = build_network(trunk, HorizonHead(5, 3))
    config = ValueAgentConfig(kind="value", targets="fixed_horizon", losses="every_loop")
    trainer = ValueTrainer(WORD, config, network, 0, CPU)
    state = WORD.at_remaining(SEEDS, 1 + SEEDS % 3)
    chain, here = starts_of(WORD), WORD.chain_state(state)
    held = np.broadcast_to(held_horizons(chain, here), (12, 5, 3))
    squares = []
    for passes in (1, 2):
        said = network(torch.as_tensor(WORD.observe(state)), loops=passes).detach().numpy()
        squares.append(((said - horizon_returns(chain, here)) ** 2)[held])
    assert loss_of(trainer, state) == pytest.approx(np.mean(squares), rel=1e-5)


def test_a_batch_without_the_horizon_of_its_last_loop_teaches_nothing() -> None:
    torch.manual_seed(0)
    trunk = build_trunk("stepwise", WORD.layout, depth=6, width=8, loops=3)
    network = build_network(trunk, HorizonHead(5, 3, "pooled", "by_loop"))
    config = ValueAgentConfig(kind="value", targets="fixed_horizon", readout="by_loop")
    trainer = ValueTrainer(WORD, config, network, 0, CPU)
    assert loss_of(trainer, WORD.at_remaining(SEEDS, np.ones_like(SEEDS))) == 0.0


def test_loops_of_an_update_are_a_pure_function_of_seed_and_step() -> None:
    """Every number of the range comes up about equally often, other ones never."""
    first, again, second = (chaser(seed, trained_loops=(2, 5)) for seed in (0, 0, 1))
    drawn = [first.update_loops(step) for step in range(4000)]
    assert [again.update_loops(step) for step in reversed(range(4000))] == drawn[::-1]
    numbers, counts = np.unique(drawn, return_counts=True)
    assert numbers.tolist() == [2, 3, 4, 5]
    assert (abs(counts - 1000) < 120).all()  # four standard deviations
    other = [second.update_loops(step) for step in range(4000)]
    assert 800 < sum(a == b for a, b in zip(drawn, other, strict=True)) < 1200
    assert chaser().update_loops(3) is None


def test_loops_grow_in_the_curriculum() -> None:
    """From one to five over the first half of 800 updates: a loop more every hundred."""
    trainer = chaser(trained_loops=(1, 5), loops_curriculum=0.5, updates=800)
    drawn = [trainer.update_loops(step) for step in range(800)]
    for most in range(1, 5):
        assert set(drawn[100 * (most - 1) : 100 * most]) == set(range(1, most + 1))
    assert set(drawn[400:]) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("losses", ["every_loop", "last_loop"])
def test_resumed_training_is_the_uninterrupted_one(losses: str) -> None:
    options = {"losses": losses, "trained_loops": (1, 5), "trained_horizons": 4}
    whole, first, second = (chaser(**options) for _ in range(3))
    whole.train(lambda: None)

    class Killed(Exception):
        pass

    def kill() -> None:
        if first.step == 3:
            raise Killed

    with pytest.raises(Killed):
        first.train(kill)
    second.load_state_dict(first.state_dict())
    second.train(lambda: None)
    assert second.metrics == whole.metrics
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name]), name


def test_an_agent_after_more_loops_than_in_training_reads_longer_horizons() -> None:
    """The value of a BET at k remaining is read after k loops; with three loops after the third."""
    trainer = chaser()
    for remaining in range(1, 6):
        state = CHASE.at_remaining(SEEDS, np.full_like(SEEDS, remaining))
        observations = torch.as_tensor(CHASE.observe(state))
        after = [trainer.network(observations, loops=k)[..., -1].detach() for k in range(1, 6)]
        pointer = CHASE.chain_state(state).pointer
        for loops in (3, 5):
            bet = trainer.agent_after(loops).judge(state).preferences[:, 1]
            expected = after[min(loops, remaining) - 1].numpy()[SEEDS, pointer]
            np.testing.assert_allclose(bet, expected, atol=1e-5)
        assert np.ptp([a.numpy() for a in after], axis=0).max() > 0.01
