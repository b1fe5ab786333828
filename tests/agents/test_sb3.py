"""The native VecEnv and the trunks under Stable-Baselines3."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import rl_serial.envs.gym as serial_gym
from rl_serial.agents.protocols import decide
from rl_serial.agents.sb3 import (
    KINDS,
    SET_BY_THE_RUN,
    LogToMonitor,
    SB3Trainer,
    SerialVecEnv,
    check_arguments,
)
from rl_serial.agents.settings import SB3AgentConfig
from rl_serial.errors import UserError
from rl_serial.loading import load_config, parse_config
from rl_serial.networks import build_trunk
from rl_serial.subjects.chains.subject import ChainSubject

ALGORITHMS = {
    name: row.constructor
    for name, row in KINDS.items()
    if name in ("ppo", "dqn", "qrdqn", "maskable_ppo")
}
CONFIGS = Path(__file__).parents[2] / "configs/train"
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


SMALL_PPO = {"n_steps": 4, "batch_size": 32, "n_epochs": 1}
SMALL_DQN = {"train_freq": [2, "step"], "learning_starts": 0, "batch_size": 8}
# Whole rollouts of 8 environments that hold 100 steps, and how many there are.
ROLLOUTS = {"ppo": (32, 4), "maskable_ppo": (32, 4), "dqn": (16, 7), "qrdqn": (16, 7)}


def small(kind: str, timesteps: int, num_envs: int = 8, **arguments: object) -> SB3Trainer:
    env = serial_gym.SerialVectorEnv(num_envs, **ENVS["steer"])
    trunk = {"kind": "residual", "layout": env.task.layout, "depth": 1, "width": 4}
    usual = SMALL_PPO if "ppo" in kind else SMALL_DQN
    config = SB3AgentConfig(
        kind=kind, timesteps=timesteps, num_envs=num_envs, arguments=usual | arguments
    )
    check_arguments(config)
    return SB3Trainer(env, config, trunk, trunk, 0, torch.device("cpu"), lambda *_: None)


def rate(made: SB3Trainer) -> float:
    return float(made.model.policy.optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("kind", ROLLOUTS)
def test_steps_are_rounded_up_to_whole_rollouts_and_rates_end_at_zero(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    rollout, count = ROLLOUTS[kind]
    made = small(kind, 100, learning_rate="lin_8e-3")
    assert made.total == rollout * count
    rates = []

    def pause() -> None:
        # All of the steps are known before the first is taken.
        assert f"100 are no whole number of rollouts; {rollout * count} are trained" in caplog.text
        if made.step:
            rates.append(rate(made))

    made.train(pause)
    assert made.step == made.total
    rates.append(rate(made))
    assert rates == pytest.approx([8e-3 * (1 - i / count) for i in range(1, count + 1)], abs=1e-9)
    assert min(rates) == 0


@pytest.mark.parametrize("kind", ROLLOUTS)
def test_whole_rollouts_need_no_rounding(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    made = small(kind, 64)
    made.train(lambda: None)
    assert made.step == made.total == 64
    assert not caplog.records


@pytest.mark.parametrize("name", sorted(p.stem for p in CONFIGS.glob("*ppo*.yaml")))
def test_steps_of_shipped_configurations_are_whole_rollouts(name: str) -> None:
    agent = load_config(CONFIGS / f"{name}.yaml").agent
    assert isinstance(agent, SB3AgentConfig)
    assert agent.timesteps % (agent.num_envs * agent.arguments["n_steps"]) == 0


def test_every_schedule_ends_at_zero() -> None:
    made = small("ppo", 100, clip_range="lin_0.4", clip_range_vf="lin_0.8")
    seen = []

    def pause() -> None:
        tags = ("train/clip_range", "train/clip_range_vf")
        seen.append([made.metrics[tag] for tag in tags])

    made.train(pause)
    pause()
    assert seen[0] == pytest.approx([np.nan] * 2, nan_ok=True)
    expected = [[0.3, 0.6], [0.2, 0.4], [0.1, 0.2], [0, 0]]
    np.testing.assert_allclose(seen[1:], expected, atol=1e-12)


def test_a_rate_is_not_negative_where_episodes_go_on_beyond_the_last_step() -> None:
    # Episodes of 3 steps, in twos; none ends at 10.
    made = small("dqn", 10, num_envs=1, train_freq=[2, "episode"], learning_rate="lin_1e-3")
    made.train(lambda: None)
    assert (made.total, made.step) == (10, 12)
    assert rate(made) == 0


@pytest.mark.parametrize("kind", ROLLOUTS)
def test_metrics_are_what_an_update_records(kind: str) -> None:
    """Under all tags of Stable-Baselines3, and with the values that it logs itself later."""
    logged: dict[int, dict[str, float]] = {}
    made = small(kind, 256 if "ppo" in kind else 1280)  # DQN logs after 400 episodes
    made.model.set_logger(
        Logger(None, [LogToMonitor(lambda t, v, s: logged.setdefault(s, {}).update({t: v}))])
    )
    assert all(np.isnan(value) for value in made.metrics.values())
    kept = {}
    made.train(lambda: kept.update({made.step: made.metrics}))
    tags = {tag for found in logged.values() for tag in found if tag.startswith("train/")}
    assert set(made.metrics) == tags
    assert np.isfinite(list(made.metrics.values())).all()
    if "ppo" in kind:  # which logs an update at the end of the next rollout
        for step in range(32, 256, 32):
            assert kept[step] == {tag: logged[step + 32][tag] for tag in tags}


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("ppo", {"n_epochs": [1]}, "n_epochs: must be an integer of 1 or more (default 10), not"),
        ("ppo", {"target_kl": "x"}, "target_kl: must be a number above 0, or null, not 'x'"),
        ("ppo", {"target_kl": "1e-2"}, "target_kl: must be a number above 0, or null, not '1e-2'"),
        ("ppo", {"n_steps": 1.5}, "n_steps: must be an integer of 1 or more (default 2048), not"),
        ("ppo", {"n_steps": True}, "n_steps: must be an integer of 1 or more"),
        ("ppo", {"learning_rate": 1e300}, "learning_rate: must be at most 3.4e+38, not 1e"),
        ("ppo", {"learning_rate": "lin_1e300"}, "learning_rate: must be at most 3.4e+38"),
        (
            "ppo",
            {"policy_kwargs": {"net_arch": {"foo": [4]}}},
            "policy_kwargs.net_arch.foo: no such key; there are pi, vf, qf",
        ),
        ("ppo", {"n_epochs": 2**35}, "n_epochs: must be at most 2147483647, not 3435"),
        (
            "maskable_ppo",
            {"clip_range": -1},
            "clip_range: must be a number above 0, or lin_ before one, which falls to 0 (default "
            "0.2), not -1",
        ),
        ("ppo", {"clip_range_vf": "lin_-1"}, "clip_range_vf: must be a number above 0, or lin_"),
        ("ppo", {"learning_rate": "lin_nan"}, "learning_rate: must be a number of 0 or more, or"),
        ("ppo", {"gamma": "lin_0.9"}, "gamma: must be a number from 0 to 1 (default 0.99), not"),
        ("maskable_ppo", {"gamma": 5}, "gamma: must be a number from 0 to 1 (default 0.99), not 5"),
        ("dqn", {"gamma": float("nan")}, "gamma: must be a number from 0 to 1"),
        ("dqn", {"gamma": None}, "gamma: must be a number from 0 to 1"),
        ("qrdqn", {"tau": 0}, "tau: must be a number above 0 and at most 1 (default 1.0), not 0"),
        ("ppo", {"normalize_advantage": 1}, "normalize_advantage: must be true or false"),
        ("ppo", {"rollout_buffer_class": "x"}, "rollout_buffer_class: PPO has no such argument"),
        ("dqn", {"train_freq": [1, "week"]}, "train_freq: must be an integer of 1 or more, or a "),
        ("dqn", {"train_freq": [0, "step"]}, "train_freq: must be an integer of 1 or more, or a "),
        ("dqn", {"train_freq": [1]}, "train_freq: must be an integer of 1 or more, or a pair of"),
        ("dqn", {"train_freq": [1, "episode"]}, "train_freq: episodes can be counted in one"),
        ("dqn", {"gradient_steps": -2}, "gradient_steps: must be an integer of -1 or more"),
        ("dqn", {"exploration_fraction": 1.5}, "exploration_fraction: must be a number from 0 to"),
        ("ppo", {"policy_kwargs": None}, "policy_kwargs: must be keys with values, not None"),
        (
            "qrdqn",
            {"policy_kwargs": {"n_quantiles": -1}},
            "policy_kwargs.n_quantiles: must be an integer of 1 or more (default 200), not -1",
        ),
        ("ppo", {"policy_kwargs": {"net": 1}}, "policy_kwargs.net: ActorCriticPolicy has no such"),
        ("dqn", {"policy_kwargs": {"net_arch": [8, 0]}}, "policy_kwargs.net_arch: must be a list"),
        (
            "ppo",
            {"policy_kwargs": {"net_arch": {"pi": [-8]}}},
            "policy_kwargs.net_arch: must be a list of integers of 1 or more, or keys with such",
        ),
        (
            "ppo",
            {"policy_kwargs": {"optimizer_kwargs": {"eps": "small"}}},
            "policy_kwargs.optimizer_kwargs.eps: must be a number above 0 (default 1e-08)",
        ),
        (
            "ppo",
            {"policy_kwargs": {"optimizer_kwargs": {"capturable": True}}},
            "policy_kwargs.optimizer_kwargs.capturable: Adam has no such argument, or the run",
        ),
        (
            "ppo",
            {"policy_kwargs": {"optimizer_kwargs": {"betas": [0.9]}}},
            "policy_kwargs.optimizer_kwargs.betas: must be a pair of numbers of 0 or more and",
        ),
    ],
)
def test_wrong_argument_is_named(kind: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=rf"^agent\.arguments\.{re.escape(message)}") as caught:
        check_arguments(SB3AgentConfig(kind=kind, arguments=arguments))
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [{"batch_size": 1}, {"policy_kwargs": {"optimizer_kwargs": {"foreach": True, "fused": True}}}],
)
def test_what_only_the_constructor_can_judge(arguments: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"^agent\.arguments: ."):
        small("ppo", 64, **arguments)


RIGHT = {
    "ppo": {
        "learning_rate": 1, "clip_range": "lin_0.1", "clip_range_vf": None, "target_kl": 0.01,
        "gamma": 1, "ent_coef": 0, "rollout_buffer_kwargs": {}, "verbose": 1,
        "policy_kwargs": {
            "net_arch": {"pi": [8], "vf": [8, 4]},
            "optimizer_kwargs": {"betas": [0.5, 0.9], "weight_decay": 0.1},
        },
    },
    "maskable_ppo": {"n_steps": 4, "policy_kwargs": {"net_arch": [8]}},
    "dqn": {"train_freq": 1, "gradient_steps": -1, "tau": 0.5, "n_steps": 3, "buffer_size": 100},
    "qrdqn": {"max_grad_norm": None, "policy_kwargs": {"n_quantiles": 5}},
}  # fmt: skip


@pytest.mark.parametrize("kind", RIGHT)
def test_right_arguments_train(kind: str) -> None:
    made = small(kind, 128, **RIGHT[kind])
    made.train(lambda: None)
    assert made.step == 128


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_every_default_is_in_its_range(kind: str) -> None:
    """But for the run's own, and for null where there are keys."""
    known = inspect.signature(ALGORITHMS[kind]).parameters
    defaults = {
        name: parameter.default
        for name, parameter in known.items()
        if name not in SET_BY_THE_RUN
        and not name.endswith("_kwargs")
        and not name.endswith("_class")
    }
    assert len(defaults) > 10
    check_arguments(SB3AgentConfig(kind=kind, arguments=defaults))


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
    env = VecMonitor(make("bet", 1))
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


def run_data(env: str, kind: str, network: dict[str, Any], **agent: Any) -> dict[str, Any]:
    usual = SMALL_PPO if "ppo" in kind else SMALL_DQN | {"buffer_size": 4096}
    return {
        "env": {"id": f"rl_serial/{env}-v0", "serial_depth": 4},
        "network": network,
        "agent": {"kind": kind, "timesteps": 64, "num_envs": 8, "arguments": usual} | agent,
        "evaluation": {"instances": 32, "per_remaining": 32},
    }


@pytest.mark.parametrize("kind", ["ppo", "dqn"])
@pytest.mark.parametrize(
    ("trunk", "layers"), [("transformer", 1), ("transformer", 3), ("stepwise", 2), ("stepwise", 4)]
)
def test_trunks_counted_in_layers_train_within_their_budget(
    trunk: str, layers: int, kind: str
) -> None:
    network = {"kind": trunk, "layers": layers, "budget": {"parameters": 60_000}}
    data = run_data("PermutationAutomatonBet", kind, network, exploring_starts=True)
    config = parse_config(data, "test")
    trainer = ChainSubject(config).trainer(torch.device("cpu"), lambda *_: None)
    before = {name: p.clone() for name, p in trainer.networks["value"].named_parameters()}
    trainer.train(lambda: None)
    for network_name, made in trainer.networks.items():
        sizes = sum(p.numel() for p in made.parameters())
        assert sizes == pytest.approx(60_000, rel=0.02 if network_name == "policy" else 0.03)
    changed = [
        not torch.equal(p, before[name])
        for name, p in trainer.networks["value"].named_parameters()
        if p.numel() > 1
    ]
    assert np.mean(changed) > 0.9  # every layer is learned


@pytest.mark.parametrize("env", ["PointerChaseBet", "PointerChaseSteer"])
@pytest.mark.parametrize("kind", ["ppo", "dqn"])
def test_exploring_starts_begin_at_every_remaining_in_training_alone(env: str, kind: str) -> None:
    """Uniform within five standard deviations; what is played, paid and examined stays as it is."""
    data = run_data(env, kind, {"depth": 1, "width": 4}, exploring_starts=True, num_envs=4000)
    exploring = parse_config(data, "test")
    plain = parse_config(data, "test", ["agent.exploring_starts=false"])
    subjects = [ChainSubject(config) for config in (exploring, plain)]
    trainers: list[Any] = [s.trainer(torch.device("cpu"), lambda *_: None) for s in subjects]
    for trainer in trainers:
        trainer.env.reset()
    states = [trainer.env.env.state for trainer in trainers]
    here, full = (t.env.env.task.remaining(s) for t, s in zip(trainers, states, strict=True))
    assert set(full) == {4}
    counts = np.bincount(here, minlength=5)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 1000).max() < 5 * np.sqrt(4000 * 3 / 16)
    # The same instances, put where they are without a kick; worth what the rules say of them.
    rules = subjects[0].task
    seeds = trainers[0].env.env.instances.seeds
    assert rules == subjects[1].task
    assert ChainSubject(exploring).training_task.start == "uniform"
    assert ChainSubject(plain).training_task == rules
    chase = [rules.chain_state(state) for state in states]
    np.testing.assert_array_equal(chase[0].successor, chase[1].successor)
    place = chase[1].pointer
    for k in range(3):
        moves = here < 4 - k
        place = np.where(moves, chase[1].successor[np.arange(seeds.size), place], place)
    np.testing.assert_array_equal(chase[0].pointer, place)
    np.testing.assert_array_equal(
        trainers[0].env.env.action_values(), rules.action_values(states[0])
    )
    # Examined from the full depth, on the same instances.
    examiners = [subject.examiner() for subject in subjects]
    np.testing.assert_array_equal(examiners[0].seeds, examiners[1].seeds)
    np.testing.assert_array_equal(examiners[0].optimal_returns, examiners[1].optimal_returns)
    assert set(rules.remaining(rules.initial(examiners[0].seeds))) == {4}


def test_the_memorisers_floor_knows_exploring_starts() -> None:
    """With all steps remaining only, a table knows no state nearer to the end."""
    data = run_data("PermutationAutomatonBet", "ppo", {"depth": 1, "width": 4}, timesteps=4096)
    reaches = []
    for exploring in ("true", "false"):
        config = parse_config(data, "test", [f"agent.exploring_starts={exploring}"])
        subject = ChainSubject(config)
        examine = subject.examiner()
        trainer = subject.trainer(torch.device("cpu"), lambda *_: None)
        floor = subject.last_examination(examine, trainer).floor  # type: ignore[attr-defined]
        reaches.append(floor.grades["memoriser"].accuracy[0])
    assert reaches[0] == 1  # all 20 states with a letter left
    assert reaches[1] < 0.8  # the more frequent of PASS and BET, three in five


def test_exploring_starts_beside_a_uniform_start_are_refused() -> None:
    data = run_data("PointerChaseSteer", "ppo", {"depth": 1, "width": 4}, exploring_starts=True)
    data["env"]["start"] = "uniform"
    with pytest.raises(UserError, match=r"agent\.exploring_starts: with env\.start uniform"):
        parse_config(data, "test")
    data["agent"] = {"kind": "value", "exploring_starts": True}
    with pytest.raises(UserError, match=r"agent\.exploring_starts: unknown key"):
        parse_config(data, "test")
