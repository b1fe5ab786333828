"""SAC on goal environments: the VecEnv, hindsight, the trunks and the arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import VecMonitor
from torch import nn

from rl_serial.config import RunConfig
from rl_serial.envs.goals import make_goal_vec
from rl_serial.errors import RunError, UserError
from rl_serial.loading import parse_config
from rl_serial.networks import Network
from rl_serial.networks.trunks import ResidualTrunk
from rl_serial.runs import run
from rl_serial.subjects import subject_of

pytest.importorskip("mujoco")

from rl_serial.agents.sb3 import GoalVecEnv, SB3Trainer

STEPS, ENVS = 10, 4
ARGUMENTS = {"learning_starts": 48, "batch_size": 32, "buffer_size": 4000}


def config(kind: str, *, name: str = "test", **arguments: object) -> RunConfig:
    data = {
        "name": name,
        "env": {"id": "rl_serial/Reach-v0", "episode_steps": STEPS, "distance_threshold": 0.3},
        "network": {"kind": "residual", "depth": 2, "width": 16},
        "policy_network": {"kind": "residual", "depth": 4, "width": 8},
        "agent": {
            "kind": kind,
            "timesteps": 400,
            "num_envs": ENVS,
            "arguments": ARGUMENTS | arguments,
        },
        "evaluation": {"instances": 16},
    }
    return parse_config(data, name)


def trainer(kind: str, **arguments: object) -> SB3Trainer:
    subject = subject_of(config(kind, **arguments))
    made = subject.trainer(torch.device("cpu"), lambda *_: None)
    assert isinstance(made, SB3Trainer)
    return made


def test_vec_env_plays_what_the_vector_env_plays() -> None:
    """Rows, last observations of episodes and their statistics, worked out from the steps."""
    options = {"episode_steps": STEPS, "distance_threshold": 0.5}
    view = GoalVecEnv(make_goal_vec("rl_serial/Reach-v0", 3, **options))
    env = VecMonitor(view)
    stock = make_goal_vec("rl_serial/Reach-v0", 3, **options)
    env.seed(5)
    ours, (theirs, _) = env.reset(), stock.reset(seed=5)
    generator = np.random.default_rng(0)
    returns, successes = np.zeros(3), []
    for step in range(1, 2 * STEPS + 1):
        for key, value in theirs.items():
            np.testing.assert_array_equal(ours[key], value)
        actions = generator.uniform(-1, 1, (3, 2)).astype(np.float32)
        ours, rewards, dones, infos = env.step(actions)
        theirs, expected, terminated, truncated, info = stock.step(actions)
        returns += expected
        np.testing.assert_array_equal(rewards, expected)
        assert rewards.dtype == np.float32
        np.testing.assert_array_equal(dones, terminated | truncated)
        assert dones.all() == (step % STEPS == 0)
        for row in range(3):
            if not dones[row]:
                assert infos[row] == {}
                continue
            last = {key: info["final_obs"][key][row] for key in theirs}
            for key, value in infos[row]["terminal_observation"].items():
                np.testing.assert_array_equal(value, last[key])
            gap = np.linalg.norm(last["achieved_goal"] - last["desired_goal"])
            assert infos[row]["is_success"] == (gap <= 0.5)
            successes.append(gap <= 0.5)
            assert infos[row]["TimeLimit.truncated"] is True
            assert (infos[row]["episode"]["r"], infos[row]["episode"]["l"]) == (returns[row], STEPS)
            returns[row] = 0
    assert len(set(successes)) == 2
    rewards[:] = 7  # SB3 may
    np.testing.assert_array_equal(view.env.compute_reward(*2 * [np.zeros((2, 2))], {}), [1, 1])


def test_methods_of_the_vec_env() -> None:
    env = GoalVecEnv(make_goal_vec("rl_serial/Reach-v0", 3))
    achieved, desired = np.zeros((5, 2)), np.array([[0, 0], [0.05, 0], [0, 0.2], [1, 1], [0, 0.1]])
    for indices, times in (([0], 1), (None, 3)):
        rewards = env.env_method("compute_reward", achieved, desired, [{}] * 5, indices=indices)
        assert len(rewards) == times
        for found in rewards:  # within 0.1
            np.testing.assert_array_equal(found, [1, 1, 0, 0, 1])
    assert env.get_attr("num_envs") == [3, 3, 3]
    assert env.env_is_wrapped(object) == [False] * 3


def test_hindsight_puts_reached_goals_in_their_place_with_the_rewards_of_their_distance() -> None:
    made = trainer("sac_her")
    made.train(lambda: None)
    buffer: Any = made.model.replay_buffer
    np.random.seed(0)  # noqa: NPY002
    batch = buffer.sample(500)
    before = {key: value.numpy() for key, value in batch.observations.items()}
    after = {key: value.numpy() for key, value in batch.next_observations.items()}
    gap = after["achieved_goal"].astype(np.float64) - after["desired_goal"]
    by_hand = (np.sqrt((gap**2).sum(axis=1)) <= 0.3).astype(np.float32)
    np.testing.assert_array_equal(batch.rewards[:, 0], by_hand)
    assert 0 < by_hand.mean() < 1
    np.testing.assert_array_equal(before["desired_goal"], after["desired_goal"])
    # Four of five rows have a goal that the environment was at, in some later step.
    reached = {goal.tobytes() for goal in buffer.next_observations["achieved_goal"].reshape(-1, 2)}
    own = [goal.tobytes() in reached for goal in before["desired_goal"]]
    assert sum(own) == 400
    assert not batch.dones.any()  # cut off by the time limit, which is no end


@pytest.mark.parametrize("kind", ["sac", "sac_her"])
def test_actor_and_critics_are_trunks_and_are_what_is_trained(kind: str) -> None:
    made = trainer(kind)
    model: Any = made.model
    for network in (*model.critic.q_networks, *model.critic_target.q_networks):
        assert isinstance(network, Network)
        assert (network.trunk.depth, network.trunk.width) == (2, 16)
        assert network.trunk.layout.size == 4 + 2 * 2 + 2
    assert isinstance(model.actor.latent_pi, ResidualTrunk)
    assert (model.actor.latent_pi.depth, model.actor.latent_pi.width) == (4, 8)
    assert model.actor.latent_pi.layout.size == 4 + 2 * 2
    for online, target in zip(
        model.critic.parameters(), model.critic_target.parameters(), strict=True
    ):
        torch.testing.assert_close(online, target)
    for network in (model.actor, model.critic):
        held = {id(p) for group in network.optimizer.param_groups for p in group["params"]}
        assert held == {id(p) for p in network.parameters()}
    # Each in its own right: no parameter of one is another's.
    parts = [model.actor, *model.critic.q_networks, *model.critic_target.q_networks]
    numbers = [id(p) for part in parts for p in part.parameters()]
    assert len(set(numbers)) == len(numbers)
    assert len(list(model.policy.parameters())) == len(numbers)
    before = [p.detach().clone() for p in model.policy.parameters()]
    made.train(lambda: None)
    assert made.step == 400
    assert model._n_updates == (400 - 48) / ENVS
    for old, new in zip(before, model.policy.parameters(), strict=True):
        assert not torch.equal(old, new)
    assert {"train/actor_loss", "train/critic_loss"} <= made.metrics.keys()


def test_parts_of_an_observation_reach_the_networks_in_the_order_of_the_keys() -> None:
    made = trainer("sac")
    seen: list[torch.Tensor] = []

    def keep(_: nn.Module, inputs: tuple[torch.Tensor], __: object) -> None:
        seen.append(inputs[0])

    model: Any = made.model
    model.actor.latent_pi.register_forward_hook(keep)
    model.critic.q_networks[1].register_forward_hook(keep)
    observation = {
        "observation": torch.arange(4.0)[None],
        "achieved_goal": torch.full((1, 2), 10.0),
        "desired_goal": torch.full((1, 2), 20.0),
    }
    model.actor(observation)
    model.critic(observation, torch.full((1, 2), 30.0))
    state = [10, 10, 20, 20, 0, 1, 2, 3]
    assert [inputs[0].tolist() for inputs in seen] == [state, [*state, 30, 30]]


def test_agent_plays_the_squashed_mean() -> None:
    made = trainer("sac")
    observation, _ = made.env.env.reset(seed=3)
    rows = np.concatenate(
        [observation[key] for key in ("achieved_goal", "desired_goal", "observation")], axis=1
    )
    actor = made.model.actor
    with torch.no_grad():
        mean = actor.mu(actor.latent_pi(torch.as_tensor(rows)))
    action = made.agent.act(observation)
    np.testing.assert_allclose(action, np.tanh(mean.numpy()), atol=1e-6)
    assert action.dtype == np.float32
    np.testing.assert_array_equal(action, made.agent.act(observation))


def test_saving_breaks_episodes_off_for_hindsight_and_begins_new_ones(tmp_path: Path) -> None:
    made, file = trainer("sac_her"), tmp_path / "state.pt"

    def pause() -> None:
        if made.step == 12 * ENVS:  # two steps into the second episode
            torch.save(made.state_dict(), file)

    made.train(pause)
    buffer: Any = made.model.replay_buffer
    lengths = np.repeat([10, 2, 10], [10, 2, 10])
    np.testing.assert_array_equal(buffer.ep_length[:22], np.repeat(lengths[:, None], ENVS, axis=1))
    assert buffer.timeouts[11].all()
    np.testing.assert_array_equal(buffer.observations["observation"][12, :, 2:], 0)  # at rest
    again = trainer("sac_her")
    again.load_state_dict(torch.load(file, weights_only=True))
    again.train(lambda: None)
    np.testing.assert_array_equal(
        again.model.replay_buffer.rewards,
        buffer.rewards,  # type: ignore[union-attr]
    )
    for one, other in zip(
        again.model.policy.parameters(), made.model.policy.parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_learning_that_starts_before_an_episode_has_ended_is_explained() -> None:
    made = trainer("sac_her", learning_starts=8)
    with pytest.raises(RunError, match=r"no episode has ended by timestep 12.*learning_starts"):
        made.train(lambda: None)
    trainer("sac", learning_starts=8).train(lambda: None)


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    made = trainer("sac", learning_rate=1e30)
    with pytest.raises(RunError, match=r"(nan|NaN|inf|finite) at timestep \d+: a smaller"):
        made.train(lambda: None)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("sac", {"learning_rat": 1}, r"learning_rat: SAC has no such argument"),
        ("sac", {"seed": 1}, r"seed: SAC has no such argument, or the run sets it"),
        ("sac", {"use_sde": True}, r"use_sde: SAC has no such argument, or the run sets it"),
        ("sac", {"n_steps": 3}, r"n_steps: SAC has no such argument, or the run sets it"),
        (
            "sac",
            {"batch_size": "many"},
            r"batch_size: must be an integer of 1 or more \(default 256\), not 'many'",
        ),
        ("sac", {"policy_kwargs": {"net_arch": []}}, r"policy_kwargs\.net_arch: no such key, or"),
        ("sac", {"train_freq": [1, "week"]}, r"train_freq: must be an integer of 1 or more, or a"),
        ("sac", {"ent_coef": "aut"}, r"ent_coef: must be auto, auto_ before a number, or a number"),
        ("sac", {"ent_coef": "auto_0"}, r"ent_coef: must be auto, auto_ before a number, or a"),
        ("sac", {"target_entropy": "x"}, r"target_entropy: must be auto, or a number \("),
        (
            "sac",
            {"policy_kwargs": {"n_critics": 0}},
            r"policy_kwargs\.n_critics: must be an integer",
        ),
        ("sac_her", {"gamma": 5}, r"gamma: must be a number from 0 to 1"),
        ("sac", {"policy_kwargs": 3}, r"policy_kwargs: must be keys with values, not 3"),
        ("sac", {"replay_buffer_kwargs": {}}, r"replay_buffer_kwargs: SAC has no such argument"),
        ("sac_her", {"replay_buffer_kwargs": 4}, r"replay_buffer_kwargs: must be keys with"),
        (
            "sac_her",
            {"replay_buffer_kwargs": {"copy_info_dict": True}},
            r"replay_buffer_kwargs\.copy_info_dict: no such key",
        ),
        (
            "sac_her",
            {"replay_buffer_kwargs": {"goal_selection_strategy": "past"}},
            r"replay_buffer_kwargs.goal_selection_strategy: must be one of future, final, episode",
        ),
        (
            "sac_her",
            {"replay_buffer_kwargs": {"n_sampled_goal": 0}},
            r"replay_buffer_kwargs.n_sampled_goal: must be an integer of 1 or more, not 0",
        ),
    ],
)
def test_wrong_argument_is_named(
    kind: str, arguments: dict[str, object], message: str, tmp_path: Path
) -> None:
    made = config(kind, name="mine", **arguments)
    with pytest.raises(UserError, match=rf"^agent\.arguments\.{message}"):
        subject_of(made).check(["agent"])
    with pytest.raises(UserError, match=message):
        run.train(made, tmp_path / "run", device="cpu", progress=False)
    assert not (tmp_path / "run").exists()


def test_value_that_only_the_constructor_can_judge() -> None:
    both = {"optimizer_kwargs": {"foreach": True, "fused": True}}
    with pytest.raises(UserError, match=r"^agent\.arguments: .*fused"):
        trainer("sac", policy_kwargs=both)


@pytest.mark.parametrize("kind", ["sac", "sac_her"])
def test_steps_are_rounded_up_and_the_rate_ends_at_zero(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = trainer(kind, train_freq=[7, "step"], learning_rate="lin_1e-3")  # rollouts of 28
    assert made.total == 420
    assert all(np.isnan(value) for value in made.metrics.values())
    tags = set(made.metrics)
    made.train(lambda: None)
    assert "400 are no whole number of rollouts; 420 are trained" in caplog.text
    assert made.step == 420
    model: Any = made.model
    for network in (model.actor, model.critic):
        assert network.optimizer.param_groups[0]["lr"] == 0
    recorded = {tag for tag in model.logger.name_to_value if tag.startswith("train/")}
    assert tags == set(made.metrics) == recorded - {"train/n_updates"}
    assert made.metrics["train/learning_rate"] == 0


def test_arguments_reach_the_model() -> None:
    made = trainer(
        "sac_her",
        train_freq=[2, "step"],
        gamma=0.9,
        ent_coef=0.1,
        learning_rate="lin_1e-3",
        policy_kwargs={"n_critics": 3},
        replay_buffer_kwargs={"n_sampled_goal": 1, "goal_selection_strategy": "final"},
    )
    model: Any = made.model
    assert len(model.critic.q_networks) == 3
    assert model.replay_buffer.her_ratio == 0.5
    made.train(lambda: None)
    assert model._n_updates == (400 - 48) / ENVS / 2
    assert model.critic.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-5)
    state = made.state_dict()
    assert list(state["model"]["variables"]) == ["ent_coef_tensor"]
    again = trainer("sac_her", ent_coef=0.1, policy_kwargs={"n_critics": 3})
    again.load_state_dict(state)
    assert again.step == 400
