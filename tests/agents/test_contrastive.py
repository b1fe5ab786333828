"""Contrastive RL: loss and gradient in closed form, goals from the same episode, training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from rl_serial.agents.contrastive import (
    Actor,
    ContrastiveAgent,
    ContrastiveTrainer,
    Critic,
    energy,
    info_nce,
)
from rl_serial.agents.replay import EpisodeReplay, future_offsets
from rl_serial.agents.settings_goals import ContrastiveAgentConfig
from rl_serial.envs.chain import TokenLayout
from rl_serial.errors import RunError
from rl_serial.networks import Network, build_trunk


def layout(size: int) -> TokenLayout:
    return TokenLayout(1, size - 1, 1)


def trunk(size: int, width: int = 16) -> Any:
    return build_trunk("residual", layout(size), depth=2, width=width)


# --- loss -----------------------------------------------------------------------------------------


def test_loss_and_gradient_of_two_pairs_on_a_line() -> None:
    """φ = (0, 4), ψ = (1, 2): the distances are 1, 2 and 3, 2; all by hand."""
    penalty = 0.1
    phi = torch.tensor([[0.0], [4.0]], dtype=torch.float64, requires_grad=True)
    psi = torch.tensor([[1.0], [2.0]], dtype=torch.float64, requires_grad=True)
    loss, found = info_nce(phi, psi, penalty)
    loss.backward()  # type: ignore[no-untyped-call]
    first, second = (math.log(math.exp(-a) + math.exp(-b)) for a, b in ((1, 2), (3, 2)))
    expected = ((first + 1) + (second + 2)) / 2 + penalty * (first**2 + second**2) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    # d loss / d distance_ij = (own_ij - p_ij - 2 penalty lse_i p_ij) / 2, p the softmax of row i.
    p00 = 1 / (1 + math.exp(-1))
    p = np.array([[p00, 1 - p00], [1 - p00, p00]])
    lse = np.array([[first], [second]])
    slope = (np.eye(2) - p - 2 * penalty * lse * p) / 2
    # d distance / d φ is the sign of φ_i - ψ_j, -1 for i = 0 and 1 for i = 1; the reverse for ψ.
    sign = np.array([[-1, -1], [1, 1]])
    assert phi.grad is not None
    assert psi.grad is not None
    assert phi.grad[:, 0].numpy() == pytest.approx((slope * sign).sum(axis=1), rel=1e-9)
    assert psi.grad[:, 0].numpy() == pytest.approx(-(slope * sign).sum(axis=0), rel=1e-9)
    assert found["accuracy"].item() == 1.0
    assert found["logsumexp"].item() == pytest.approx((first + second) / 2)


def test_loss_of_equal_embeddings_is_the_logarithm_of_the_batch() -> None:
    """Nothing to tell apart: all distances are d, the loss log B + penalty (log B - d)²."""
    phi, psi = torch.zeros(8, 3), torch.tensor([3.0, 0.0, 4.0]).repeat(8, 1)
    assert info_nce(phi, psi, 0.0)[0].item() == pytest.approx(math.log(8), rel=1e-6)
    expected = math.log(8) + 0.5 * (math.log(8) - 5) ** 2
    assert info_nce(phi, psi, 0.5)[0].item() == pytest.approx(expected, rel=1e-6)


def test_rows_are_told_apart_from_other_rows_goals_and_not_the_reverse() -> None:
    """Forward InfoNCE: swapping the roles of states and goals gives another loss."""
    phi, psi = torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0], [2.0]])
    rows = info_nce(phi, psi, 0.0)[0].item()
    columns = info_nce(psi, phi, 0.0)[0].item()
    by_hand = (math.log(1 + math.exp(-1)) + math.log(math.exp(-1) + 1)) / 2
    assert rows == pytest.approx(by_hand, rel=1e-6)
    reverse = (math.log(1 + math.exp(-2)) + math.log(1 + 1)) / 2
    assert columns == pytest.approx(reverse, rel=1e-6)


def test_logits_are_the_energies_of_all_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    phi, psi = (torch.randn(64, 64, generator=generator, dtype=torch.float64) for _ in range(2))
    logits = torch.stack([energy(row.expand_as(psi), psi) for row in phi])
    partition = torch.log(torch.exp(logits).sum(dim=1))
    expected = (partition - logits.diagonal() + 0.1 * partition**2).mean()
    assert info_nce(phi, psi, 0.1)[0].item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_critic_learns_the_density_of_the_future() -> None:
    """With the goal drawn from p(g | s), f(s, g) tends to log p(g | s) / p(g) up to a constant.

    Two states and two goals: p(g = s) = 0.9. The difference of the two goals' energies at a state
    tends to log 9.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    phi, psi = torch.nn.Embedding(2, 8), torch.nn.Embedding(2, 8)
    optimizer = torch.optim.Adam([*phi.parameters(), *psi.parameters()], 0.02)
    for _ in range(800):
        state = torch.as_tensor(rng.integers(0, 2, 256))
        goal = torch.as_tensor(np.where(rng.random(256) < 0.9, state, 1 - state))
        loss, _ = info_nce(phi(state), psi(goal), 0.01)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        f = energy(phi.weight[:, None], psi.weight[None]).numpy()
    gaps = [f[0, 0] - f[0, 1], f[1, 1] - f[1, 0]]
    assert gaps == pytest.approx([math.log(9)] * 2, abs=0.35)


# --- actor ----------------------------------------------------------------------------------------


def test_actor_samples_with_the_density_of_a_squashed_normal() -> None:
    torch.manual_seed(0)
    actor = Actor(trunk(5), 3)
    inputs, noise = torch.randn(32, 5), torch.randn(32, 3)
    mean, log_std = actor(inputs)
    action, log_density = actor.sample(inputs, noise)
    normal = Normal(mean.double(), log_std.double().exp())
    squashed = TransformedDistribution(normal, [TanhTransform(cache_size=1)])
    before = mean.double() + log_std.double().exp() * noise.double()
    expected = squashed.log_prob(torch.tanh(before)).sum(dim=1)
    assert torch.allclose(action.double(), torch.tanh(before), atol=1e-5)
    assert torch.allclose(log_density.double(), expected, atol=1e-3)


def test_log_std_lies_between_its_bounds() -> None:
    actor = Actor(trunk(4), 2)
    for bias, bound in ((-100.0, -5.0), (100.0, 2.0), (0.0, -1.5)):
        torch.nn.init.zeros_(actor.log_std.weight)
        torch.nn.init.constant_(actor.log_std.bias, bias)
        _, log_std = actor(torch.randn(8, 4))
        assert log_std.detach().numpy() == pytest.approx(np.full((8, 2), bound))


def test_actions_fill_the_bounds_of_the_environment() -> None:
    actor = Actor(trunk(4), 2)
    agent = ContrastiveAgent(actor, np.float32([-2, 0]), np.float32([2, 1]), torch.device("cpu"))
    assert agent.scaled(np.float32([[-1, -1], [1, 1], [0, 0]])).tolist() == [
        [-2, 0],
        [2, 1],
        [0, 0.5],
    ]


# --- replay ---------------------------------------------------------------------------------------


def test_offsets_follow_the_cut_off_geometric_law() -> None:
    discount, remaining, draws = 0.8, 5, 200_000
    uniform = np.random.default_rng(0).random(draws)
    offsets = future_offsets(uniform, np.full(draws, remaining), discount)
    weights = discount ** np.arange(1, remaining + 1)
    shares = np.bincount(offsets, minlength=remaining + 1)[1:] / draws
    assert shares == pytest.approx(weights / weights.sum(), abs=0.005)


def test_offset_of_the_last_step_is_the_step_itself() -> None:
    assert (future_offsets(np.array([0.0, 0.999999]), np.array([1, 1]), 0.99) == 1).all()


@pytest.mark.parametrize("capacity", [100, 17])
def test_goals_lie_in_the_future_of_their_own_episode(capacity: int) -> None:
    """Every number says where it is from: environment, episode and time."""
    envs, steps = 3, 60
    lengths = np.array([4, 7, 11])
    replay = EpisodeReplay(capacity, envs, (3, 1, 3))
    for time in range(steps):
        code = np.stack([np.arange(envs), time // lengths, np.full(envs, time)], axis=1)
        ended = time % lengths == lengths - 1
        replay.add(code, np.full((envs, 1), time), code, ended)
    batch = replay.sample(4000, 0.9, np.random.default_rng(0))
    assert (batch.state[:, :2] == batch.goal[:, :2]).all()  # environment and episode
    assert (batch.goal[:, 2] >= batch.state[:, 2]).all()
    assert (batch.action[:, 0] == batch.state[:, 2]).all()
    assert (batch.goal[:, 2] > batch.state[:, 2]).any()
    assert batch.state[:, 2].min() == max(0, steps - capacity)
    assert batch.state[:, 2].max() == steps - 1


def test_a_replay_goes_on_where_it_was_saved() -> None:
    def fill(replay: EpisodeReplay, times: range) -> None:
        for time in times:
            row = np.full((2, 1), time, dtype=np.float32)
            replay.add(row, row, row, np.array([time % 5 == 4, time % 3 == 2]))

    whole, halves = EpisodeReplay(8, 2, (1, 1, 1)), EpisodeReplay(8, 2, (1, 1, 1))
    fill(whole, range(20))
    fill(halves, range(11))
    resumed = EpisodeReplay(8, 2, (1, 1, 1))
    resumed.load_state_dict(halves.state_dict())
    fill(resumed, range(11, 20))
    one, other = (r.sample(50, 0.9, np.random.default_rng(1)) for r in (whole, resumed))
    for field in ("state", "action", "goal"):
        assert (getattr(one, field) == getattr(other, field)).all()


# --- training -------------------------------------------------------------------------------------


def make_trainer(**changes: Any) -> ContrastiveTrainer:
    pytest.importorskip("mujoco")
    from rl_serial.envs.goals import make_goal_vec

    settings = {
        "kind": "contrastive",
        "timesteps": 400,
        "num_envs": 4,
        "unroll": 10,
        "updates": 2,
        "batch_size": 16,
        "prefill": 10,
        "buffer_size": 100,
    }
    config = ContrastiveAgentConfig.model_validate(settings | changes)
    torch.manual_seed(0)
    critic = Critic(Network(trunk(8), 8), Network(trunk(2), 8))
    return ContrastiveTrainer(
        lambda: make_goal_vec("rl_serial/Reach-v0", config.num_envs, episode_steps=15),
        Box(-1.0, 1.0, (2,), np.float32),
        (6, 2, 2),
        config,
        critic,
        Actor(trunk(8), 2),
        0,
        torch.device("cpu"),
        lambda *_: None,
    )


def test_steps_and_updates_are_counted() -> None:
    trainer = make_trainer(timesteps=200, prefill=20)
    pauses: list[int] = []
    trainer.train(lambda: pauses.append(trainer.step))
    assert trainer.step == 200
    assert pauses == [0, 40, 80, 120, 160]
    assert trainer.updates == 2 * 4  # none after the first 10 steps of each environment


def test_replay_holds_what_the_environments_did() -> None:
    """The goal reached by a step is where the next observation is, in the same episode."""
    trainer = make_trainer(timesteps=80, prefill=20)
    trainer.train(lambda: None)
    replay = trainer.replay
    for env in range(4):
        for time in range(19):
            place = replay.state[time + 1, env, :2]  # in half sides of the table, 1 m
            reached = replay.reached[time, env]
            new_episode = time == 14  # episodes have 15 steps
            assert np.allclose(place, reached, atol=1e-6) != new_episode
    assert (replay.last[:15] == 14).all()
    assert (replay.last[15:20] == -1).all()


def test_every_update_moves_critic_actor_and_temperature() -> None:
    trainer = make_trainer(timesteps=40, updates=1)
    before = {
        name: [p.detach().clone() for p in network.parameters()]
        for name, network in trainer.networks.items()
    }
    trainer.train(lambda: None)
    for name, network in trainer.networks.items():
        moved = [
            not torch.equal(old, new)
            for old, new in zip(before[name], network.parameters(), strict=True)
        ]
        assert all(moved), name
        assert all(p.requires_grad for p in network.parameters())
    assert trainer.log_alpha.item() != 0


def test_the_temperature_falls_while_the_entropy_is_above_its_target() -> None:
    fresh = make_trainer(timesteps=400, target_entropy=-20.0)
    fresh.train(lambda: None)
    assert fresh.log_alpha.item() < 0
    strict = make_trainer(timesteps=400, target_entropy=20.0)
    strict.train(lambda: None)
    assert strict.log_alpha.item() > 0


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    trainer = make_trainer(timesteps=4000, updates=2)
    with torch.no_grad():
        trainer.critic.phi.head.weight.fill_(float("nan"))
    with pytest.raises(RunError, match=r"train/critic_loss is nan at timestep \d+: a smaller"):
        trainer.train(lambda: None)
