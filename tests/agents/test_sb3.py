"""The native VecEnv and the trunks under Stable-Baselines3."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

import rl_serial.envs.gym as serial_gym
from rl_serial.agents.agent import decide
from rl_serial.agents.sb3 import ALGORITHMS, SB3Trainer, SerialVecEnv
from rl_serial.config import SB3AgentConfig
from rl_serial.networks import build_trunk

ENVS = {
    "bet": {"family": "PermutationAutomaton", "task": "Bet", "think_budget": 2, "serial_depth": 4},
    "steer": {"family": "CellularAutomaton", "task": "Steer", "serial_depth": 3},
}


def make(name: str, num_envs: int = 5) -> SerialVecEnv:
    return SerialVecEnv(serial_gym.SerialVectorEnv(num_envs, **ENVS[name]))


def test_a_linear_rate_falls_to_zero() -> None:
    env = serial_gym.SerialVectorEnv(8, **ENVS["steer"])
    trunk = {"kind": "residual", "layout": env.task.layout, "depth": 1, "width": 4}
    arguments = {"learning_rate": "lin_4e-3", "n_steps": 4, "batch_size": 32, "n_epochs": 1}
    config = SB3AgentConfig(kind="ppo", timesteps=128, arguments=arguments)
    rates = []

    def log(tag: str, value: float, step: int) -> None:
        if tag == "train/learning_rate":
            rates.append((step, value))

    SB3Trainer(env, config, trunk, trunk, 0, torch.device("cpu"), log).train(lambda: None)
    # Rollouts of 32 steps; what is logged at a step is the rate of the update before it.
    assert dict(rates) == pytest.approx({64: 3e-3, 96: 2e-3, 128: 1e-3})


def test_neighbouring_seeds_play_other_instances() -> None:
    """SB3 itself seeds environment i with seed + i; the streams of seeds 0 and 1 would be one."""
    seen = []
    for seed in (0, 1):
        env = serial_gym.SerialVectorEnv(16, **ENVS["steer"] | {"serial_depth": 16})
        trunk = {"kind": "residual", "layout": env.task.layout, "depth": 1, "width": 4}
        config = SB3AgentConfig(kind="ppo", timesteps=1)
        cpu = torch.device("cpu")
        trainer = SB3Trainer(env, config, trunk, trunk, seed, cpu, lambda *_: None)
        seen.append({row.tobytes() for row in trainer.env.reset()})
    assert len(seen[0] | seen[1]) == 32


@pytest.mark.parametrize("name", ENVS)
def test_native_vec_env_plays_what_dummy_vec_env_plays(name: str) -> None:
    native = make(name)
    stock = DummyVecEnv([lambda: serial_gym.SerialEnv(**ENVS[name])] * 5)
    native.seed(11)
    stock.seed(11)
    np.testing.assert_array_equal(native.reset(), stock.reset())
    generator = np.random.default_rng(0)
    ended = 0
    for _ in range(40):
        actions = generator.integers(0, native.action_space.n, 5)
        ours, theirs = native.step(actions), stock.step(actions)
        for mine, other in zip(ours[:3], theirs[:3], strict=True):
            np.testing.assert_array_equal(mine, other)
        for mine, other in zip(ours[3], theirs[3], strict=True):
            assert ("terminal_observation" in mine) == ("terminal_observation" in other)
            if "terminal_observation" in mine:
                ended += 1
                np.testing.assert_array_equal(
                    mine["terminal_observation"], other["terminal_observation"]
                )
                assert mine["TimeLimit.truncated"] is other["TimeLimit.truncated"] is False
    assert ended > 10


def test_episode_statistics_are_those_of_the_episode() -> None:
    env = make("bet", 1)
    env.reset()
    for action in (2, 2, 1):  # two thoughts at 0.05, then a bet of ±1 or so
        _, rewards, dones, infos = env.step(np.array([action]))
    assert dones[0]
    assert infos[0]["episode"]["l"] == 3
    assert infos[0]["episode"]["r"] == pytest.approx(float(rewards[0]) - 0.1, abs=1e-6)


def test_methods_reach_each_environment() -> None:
    env = make("steer")
    env.reset()
    masks = env.env_method("action_masks")
    assert len(masks) == 5
    assert masks[0].shape == (6,)
    assert len(env.env_method("action_values", indices=[1, 3])) == 2
    assert env.get_attr("render_mode") == [None] * 5
    assert env.env_is_wrapped(gymnasium.Wrapper) == [False] * 5


def trainer(kind: str, value: dict[str, object], policy: dict[str, object]) -> SB3Trainer:
    arguments = {"n_steps": 4, "batch_size": 16} if "ppo" in kind else {"buffer_size": 64}
    config = SB3AgentConfig(kind=kind, timesteps=64, num_envs=4, arguments=arguments)
    env = serial_gym.SerialVectorEnv(4, **ENVS["steer"])
    layout = {"layout": env.task.layout}
    return SB3Trainer(
        env, config, layout | value, layout | policy, 0, torch.device("cpu"), lambda *_: None
    )


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_agent_decides_as_the_model_predicts(kind: str) -> None:
    settings = {"kind": "residual", "depth": 2, "width": 16}
    made = trainer(kind, settings, settings)
    made.train(lambda: None)
    task = made.agent.task
    state = task.initial(np.arange(64))
    masks = task.legal_actions(state)
    judgement = made.agent.judge(state)
    extra = {"action_masks": masks} if kind == "maskable_ppo" else {}
    predicted, _ = made.model.predict(task.observe(state), deterministic=True, **extra)
    assert masks.all()  # fresh states of Steer: every kick is legal
    np.testing.assert_array_equal(decide(judgement, masks), predicted)
    assert judgement.values is not None
    assert judgement.values.shape == (64,)
    if "ppo" in kind:
        np.testing.assert_allclose(judgement.preferences.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", ["ppo", "maskable_ppo"])
def test_policy_and_value_have_the_trunks_that_were_asked_for(kind: str) -> None:
    made = trainer(
        kind,
        {"kind": "residual", "depth": 8, "width": 8},
        {"kind": "residual", "depth": 2, "width": 32},
    )
    widths = {
        name: network[0].trunk.features_dim  # type: ignore[index]
        for name, network in made.networks.items()
    }
    assert widths == {"policy": 32, "value": 8}
    made.train(lambda: None)
    assert made.agent.judge(made.agent.task.initial(np.arange(3))).values.shape == (3,)


def test_trunks_keep_their_own_initialisation() -> None:
    """PPO's orthogonal initialisation would replace it."""
    settings = {"kind": "residual", "depth": 4, "width": 16}
    made = trainer("ppo", settings, settings)
    torch.manual_seed(3)
    reference = build_trunk(layout=made.agent.task.layout, **settings)  # type: ignore[arg-type]
    ours = dict(made.networks["policy"][0].trunk.named_parameters())  # type: ignore[index]
    for name, parameter in reference.named_parameters():
        if name.endswith("weight") and parameter.ndim == 2:
            limit = parameter.detach().abs().max()
            # Uniform in ±sqrt(1 / fan_in): the largest entries agree within a few per cent.
            assert ours[name].detach().abs().max() == pytest.approx(float(limit), rel=0.1)


def test_dqn_keeps_target_and_online_network_alike_at_the_start() -> None:
    settings = {"kind": "residual", "depth": 2, "width": 16}
    made = trainer("dqn", settings, settings)
    policy = made.model.policy
    for online, target in zip(
        policy.q_net.parameters(), policy.q_net_target.parameters(), strict=True
    ):
        torch.testing.assert_close(online, target)
