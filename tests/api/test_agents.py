"""Agents in a program of one's own predict what their networks say, and decide as they should."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import rl_serial
from rl_serial.api import LoadedAgent
from rl_serial.api.export import compare
from rl_serial.errors import RunError, UserError

ID = "rl_serial/PermutationAutomatonBet-v0"
STEER = "rl_serial/PermutationAutomatonSteer-v0"
BASE: dict[str, Any] = {
    "env": {"id": ID, "serial_depth": 3, "think_budget": 1, "start": "uniform"},
    "network": {"kind": "residual", "depth": 2, "width": 8},
    "evaluation": {"instances": 64, "per_remaining": 8},
}
SB3 = {"timesteps": 128, "num_envs": 8}
AGENTS: dict[str, dict[str, Any]] = {
    "value": {"kind": "value", "updates": 3, "batch_size": 16},
    "cloning": {"kind": "cloning", "updates": 3, "batch_size": 16},
    "dqn": {"kind": "dqn", "arguments": {"learning_starts": 64}, **SB3},
    "ppo": {"kind": "ppo", "arguments": {"n_steps": 8, "batch_size": 64}, **SB3},
    "maskable_ppo": {
        "kind": "maskable_ppo",
        "arguments": {"n_steps": 8, "batch_size": 64},
        **SB3,
    },
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def agents(runs: Path) -> dict[str, LoadedAgent]:
    """A barely trained agent of each kind that observes."""
    return {
        name: rl_serial.train(BASE | {"agent": agent, "name": name}, runs=runs, progress=False)
        for name, agent in AGENTS.items()
    }


@pytest.fixture(scope="module")
def exact(runs: Path) -> LoadedAgent:
    """The optimal agent, which reads states."""
    data = {"env": BASE["env"], "agent": {"kind": "optimal"}, "name": "optimal"}
    return rl_serial.train(data | {"evaluation": BASE["evaluation"]}, runs=runs, progress=False)


def worlds(count: int = 64, seed: int = 0, **options: Any) -> tuple[Any, Any, Any]:
    env = gym.make_vec(ID, count, **{"serial_depth": 3, "think_budget": 1, **options})
    observations, infos = env.reset(seed=seed)
    return env, observations, infos["action_mask"]


def test_import_is_light_and_names_are_there() -> None:
    told = (
        "import sys, rl_serial; "
        "assert not {'torch', 'stable_baselines3', 'pydantic'} & set(sys.modules); "
        "assert 'train' in dir(rl_serial)"
    )
    subprocess.run([sys.executable, "-c", told], check=True)
    assert all(hasattr(rl_serial, name) for name in rl_serial.__all__)


@pytest.mark.parametrize("name", AGENTS)
def test_predicts_by_its_network(name: str, agents: dict[str, LoadedAgent]) -> None:
    agent = agents[name]
    _, observations, mask = worlds()
    trainer: Any = agent.trainer
    with torch.no_grad():
        seen = torch.as_tensor(observations)
        outputs = next(iter(trainer.networks.values()))(seen)  # logits, or action values
    wanted = np.where(mask, outputs.numpy(), -np.inf).argmax(axis=1)
    actions, state = agent.predict(observations, mask)
    assert state is None
    np.testing.assert_array_equal(actions, wanted)
    one, _ = agent.predict(observations[5], mask[5])
    assert one == wanted[5]
    assert agent.action_space.contains(one)
    masked = mask.copy()
    masked[:, wanted[0]] = 0
    assert (agent.predict(observations, masked)[0] != wanted[0]).all()


@pytest.mark.parametrize("name", ["dqn", "ppo"])
def test_is_the_model_of_stable_baselines3(name: str, agents: dict[str, LoadedAgent]) -> None:
    _, observations, _ = worlds()
    model = agents[name].to_sb3()
    wanted, _ = model.predict(observations, deterministic=True)
    np.testing.assert_array_equal(agents[name].predict(observations)[0], wanted)
    if name == "ppo":
        values = model.policy.predict_values(torch.as_tensor(observations))[:, 0]
        found = agents[name].values(observations)
        np.testing.assert_allclose(found, values.detach().numpy(), rtol=1e-5)


def test_values_are_of_what_can_be_chosen(agents: dict[str, LoadedAgent]) -> None:
    _, observations, mask = worlds()
    table = agents["value"].action_values(observations)
    assert table.shape == (64, 3)
    np.testing.assert_array_equal(agents["value"].values(observations), table.max(axis=1))
    mask[:, table[0].argmax()] = 0
    assert agents["value"].values(observations, mask)[0] == np.sort(table[0])[-2]
    with pytest.raises(UserError, match="has no values"):
        agents["cloning"].values(observations)
    with pytest.raises(UserError, match="probabilities of actions"):
        agents["ppo"].action_values(observations)


def test_draws_by_its_probabilities(agents: dict[str, LoadedAgent]) -> None:
    env, observations, mask = worlds(1)
    shares = agents["cloning"].judge(env).preferences[0]
    many = np.repeat(observations, 20_000, axis=0)
    agents["cloning"].seed(3)
    drawn, _ = agents["cloning"].predict(many, deterministic=False)
    counts = np.bincount(drawn, minlength=3) / len(drawn)
    np.testing.assert_allclose(counts, shares, atol=4 * 0.5 / np.sqrt(20_000))
    mask[:] = [0, 1, 1]
    drawn, _ = agents["cloning"].predict(many, np.repeat(mask, 20_000, axis=0), False)
    assert set(drawn.tolist()) == {1, 2}


def test_stable_baselines3_evaluates_it(exact: LoadedAgent, agents: dict[str, LoadedAgent]) -> None:
    env = make_vec_env(ID, 8, seed=5, env_kwargs={"serial_depth": 3, "think_budget": 1})
    model: Any = agents["ppo"]
    found, _ = evaluate_policy(model, env, 64, warn=False)
    assert found == evaluate_policy(model.to_sb3(), _again(env, 5), 64, warn=False)[0]


def _again(env: Any, seed: int) -> Any:
    env.seed(seed)
    return env


def test_the_optimal_agent_earns_the_exact_values(exact: LoadedAgent) -> None:
    env, observations, _ = worlds()
    wanted = env.unwrapped.action_values().max(axis=1)
    total, running = np.zeros(64), np.ones(64, dtype=bool)
    for _ in range(3):  # THINK once, then decide
        _, rewards, ended, _, _ = env.step(exact.act(env))
        total += np.where(running, rewards, 0)
        running &= ~ended
    np.testing.assert_allclose(total, wanted, atol=1e-6)
    single = gym.make(ID, serial_depth=3, think_budget=1)
    single.reset(seed=0)
    assert single.action_space.contains(exact.act(single))
    with pytest.raises(UserError, match=r"decides from states; act\(env\)"):
        exact.predict(observations)


def test_a_search_on_top_sees_to_the_end(agents: dict[str, LoadedAgent]) -> None:
    """A BET is three serial steps: some simulations carry it to its end, whatever the network."""
    env, _, _ = worlds(256, think_budget=0)
    agent = agents["value"]
    with pytest.raises(UserError, match="trained by the rules"):
        agent.search(8).act(env)
    env, _, _ = worlds(256)
    exact = env.unwrapped.action_values()
    right = exact >= exact.max(axis=1, keepdims=True) - 1e-6
    searched = agent.search(32)
    decision = searched.judge(env)
    assert right[np.arange(256), decision.action].mean() > 0.95
    assert right[np.arange(256), agent.act(env)].mean() < 0.8
    np.testing.assert_array_equal(searched.search(0).act(env), agent.act(env))
    assert agents["value"].simulations is None
    with pytest.raises(UserError, match="no values to search with"):
        agents["cloning"].search(4)
    scores = {found.simulations: found.score for found in agent.search_scores([0, 32])}
    assert scores[0] < scores[32]
    assert scores[32] > 0.9


def test_other_rules_of_the_same_shape(agents: dict[str, LoadedAgent]) -> None:
    """A network sees observations, so it can be tried in the twin; what reads states cannot."""
    twin, observations, mask = worlds(group="z5")
    np.testing.assert_array_equal(
        agents["value"].act(twin), agents["value"].predict(observations, mask)[0]
    )
    with pytest.raises(UserError, match="judge and act are for environments of chains"):
        agents["value"].act(gym.make("CartPole-v1"))
    with pytest.raises(UserError, match="reset it"):
        agents["value"].act(gym.make_vec(ID, 2, serial_depth=3, think_budget=1))


def test_examined_again_as_its_run_did(agents: dict[str, LoadedAgent]) -> None:
    agent = rl_serial.load(agents["value"].folder)
    found = {m.tag: m.value for m in agent.examine().measurements()}
    for tag in ("eval/score", "eval/serial_reach", "floor/reach"):
        assert found[tag] == agent.results[tag]
    assert agent.examine(instances=16).final()["eval/instances"] == 16
    with pytest.raises(UserError, match="did you mean instances"):
        agent.examine(instance=16)


@pytest.mark.parametrize(
    ("observation", "mask", "told"),
    [
        (np.zeros(7), None, r"observation: must be \[23\] or a batch \[N, 23\], not \[7\]"),
        (np.zeros((2, 23)), np.ones((3, 3)), r"mask: must be \[2, 3\]"),
        (np.zeros((2, 23)), np.array([[1, 0, 0], [0, 0, 0]]), "allows no action"),
    ],
)
def test_what_is_wrong_is_told(
    observation: Any, mask: Any, told: str, agents: dict[str, LoadedAgent]
) -> None:
    with pytest.raises(UserError, match=told):
        agents["value"].predict(observation, mask)


def test_a_strangers_module_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "name: x\nenv: {id: 'evil:Foo-v0'}\nagent: {kind: ppo}\n"
        "network: {kind: residual, width: 8}\n"
    )
    with pytest.raises(UserError, match="imports the module evil, which runs its code"):
        rl_serial.load(tmp_path)


def test_trained_from_plain_data(runs: Path, agents: dict[str, LoadedAgent]) -> None:
    data = BASE | {"agent": AGENTS["value"]}
    before = deepcopy(data)
    overrides = {"name": "other", "seed": 4, "agent.updates": 2}
    agent = rl_serial.train(data, overrides, runs=runs, progress=False)
    assert data == before
    assert (agent.config.seed, agent.config.agent.updates) == (4, 2)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="this folder exists"):
        rl_serial.train(data, overrides, runs=runs, progress=False)
    again = rl_serial.train(data, overrides, runs=runs, progress=False, resume=True)
    assert again.results == agent.results
    with pytest.raises(UserError, match=r"agent\.update: unknown key"):
        rl_serial.train(data, {"agent.update": 2}, runs=runs)


class Counting(gym.Env[Any, Any]):
    """Shows two numbers at once; actions are 3 and 4."""

    observation_space = gym.spaces.MultiDiscrete([3, 2])
    action_space = gym.spaces.Discrete(2, start=3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.array([2, 1]), {}

    def step(self, action: Any) -> Any:
        assert action in (3, 4)
        return np.array([0, 1]), float(action == 4), True, False, {}


def test_observations_and_actions_are_the_environments_own(tmp_path: Path) -> None:
    gym.register("Counting-v0", Counting)
    data = {
        "env": {"id": "Counting-v0"},
        "network": BASE["network"],
        "agent": {
            "kind": "dqn",
            "arguments": {"learning_starts": 8},
            "timesteps": 32,
            "num_envs": 4,
        },
        "evaluation": {"instances": 4},
        "name": "counting",
    }
    agent = rl_serial.train(data, runs=tmp_path, progress=False)
    action, _ = agent.predict(np.array([2, 1]))
    assert action in (3, 4)
    actions, _ = agent.predict(np.array([[2, 1], [0, 0]]))
    assert actions.shape == (2,)
    with torch.no_grad():  # one-hot after one-hot
        values = agent.to_sb3().policy.q_net(torch.tensor([[0.0, 0, 1, 0, 1]]))
    assert action == 3 + int(values.argmax())
    with pytest.raises(UserError, match="has actions alone"):
        agent.values(np.array([2, 1]))


@pytest.mark.parametrize("name", ["dqn", "ppo"])
def test_onnx_says_what_the_agent_says(
    name: str, agents: dict[str, LoadedAgent], tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    files = agents[name].to_onnx(tmp_path / name)
    assert set(files) == ({"policy", "value"} if name == "ppo" else {"value"})
    session = onnxruntime.InferenceSession(str(files["value"]))
    _, observations, _ = worlds(17)
    [found] = session.run(None, {"observation": observations})
    if name == "ppo":
        np.testing.assert_allclose(found[:, 0], agents[name].values(observations), atol=1e-5)
    else:
        np.testing.assert_allclose(found, agents[name].action_values(observations), atol=1e-5)
    with pytest.raises(RunError, match="differs from torch"):  # that of another input
        compare(torch.nn.Linear(23, 1), [(23,)], files["value"], 1e-4)


def test_a_trunk_in_ones_own_model() -> None:
    kwargs = {
        "features_extractor_class": rl_serial.TrunkExtractor,
        "features_extractor_kwargs": {"depth": 8, "parameters": 20_000},
        "net_arch": [],
        "share_features_extractor": False,
        "ortho_init": False,
    }
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32, policy_kwargs=kwargs)
    policy: Any = model.policy
    for extractor in (policy.pi_features_extractor, policy.vf_features_extractor):
        head = extractor.features_dim + 1
        size = sum(p.numel() for p in extractor.parameters()) + head
        assert abs(size - 20_000) <= 400
        assert extractor.trunk.depth == 8
    assert policy.pi_features_extractor is not policy.vf_features_extractor
    model.learn(64)


def test_a_trunk_of_tokens_wants_a_layout() -> None:
    env = gym.make(ID, serial_depth=3)
    space: Any = env.observation_space
    layout = env.unwrapped.task.layout  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"needs layout=.*without one there is residual"):
        rl_serial.TrunkExtractor(space, kind="transformer", depth=6, width=8)
    trunk = rl_serial.TrunkExtractor(space, kind="transformer", depth=6, width=8, layout=layout)
    assert trunk(torch.zeros(2, *space.shape)).shape == (2, 8)
    with pytest.raises(ValueError, match="give one of them"):
        rl_serial.TrunkExtractor(space)
    with pytest.raises(ValueError, match="FlattenObservation"):
        rl_serial.TrunkExtractor(gym.spaces.Box(0, 1, (2, 2)), width=8)
    number = gym.spaces.Box(0, 1, (1,))
    assert rl_serial.TrunkExtractor(number, width=8)(torch.zeros(3, 1)).shape == (3, 8)
