"""Gymnasium environments as a subject: spaces, learning, normalisation, resume, errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image
from stable_baselines3.common.vec_env import VecNormalize

from rl_serial.agents.sb3 import ActingAgent, SB3Trainer
from rl_serial.cli import main
from rl_serial.config import RunConfig
from rl_serial.envs.random import EVALUATION_SEEDS
from rl_serial.envs.vectors import Vectors
from rl_serial.errors import UserError
from rl_serial.loading import parse_config
from rl_serial.metrics import tagged
from rl_serial.runs import files, run
from rl_serial.runs.load import load_run
from rl_serial.study.design import plan
from rl_serial.study.folder import StudyFolder
from rl_serial.study.measures import measures_of, metric_of
from rl_serial.study.runner import check_networks
from rl_serial.subjects import row_of, subject_of
from rl_serial.subjects.gymnasium.evaluation import instance_seeds

CPU = torch.device("cpu")
CHOICES = 4


class Named(gym.Env[Any, Any]):
    """Pays 1 for the action that the observation names, in episodes of eight steps."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    resets: ClassVar[list[int | None]] = []

    def __init__(self, first: int = 0, shift: float = 0.0) -> None:
        self.observation_space: Any = spaces.Discrete(CHOICES)
        self.action_space: Any = spaces.Discrete(CHOICES, start=first)
        self.first, self.shift = first, shift

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        Named.resets.append(seed)
        self.steps = 0
        return self._next(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        reward = float(action - self.first == self.named) + self.shift
        self.steps += 1
        return self._next(), reward, False, self.steps == 8, {}

    def _next(self) -> Any:
        self.named = int(self.np_random.integers(CHOICES))
        return np.int64(self.named)


class Followed(gym.Env[Any, Any]):
    """Pays minus the squared distance of the action from a number, shown far from 0 and large."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self) -> None:
        self.observation_space: Any = spaces.Box(-np.inf, np.inf, (2, 1), np.float64)
        self.action_space: Any = spaces.Box(-2, 2, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self._next(), {}

    def step(self, action: Any) -> Any:
        reward = -float((action[0] - self.number) ** 2)
        self.steps += 1
        return self._next(), reward, False, self.steps == 5, {}

    def _next(self) -> Any:
        self.number = self.np_random.uniform(-1, 1)
        return np.array([[1000 + 50 * self.number], [-3.0]])


class Spaces(gym.Env[Any, Any]):
    """Only its spaces matter."""

    def __init__(self, observations: Any, actions: Any) -> None:
        self.observation_space, self.action_space = observations, actions

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}


BOX, TWO = spaces.Box(-1, 1, (3,)), spaces.Discrete(2)
GOALS = spaces.Dict(dict.fromkeys(("observation", "achieved_goal", "desired_goal"), BOX))
for name, made in {"Named": Named, "Followed": Followed}.items():
    gym.register(f"tests/{name}-v0", made)
for name, pair in {
    "Image": (spaces.Box(0, 255, (8, 8, 3), np.uint8), TWO),
    "Parts": (spaces.Dict({"a": BOX}), TWO),
    "Goals": (GOALS, TWO),
    "Levers": (BOX, spaces.MultiBinary(3)),
    "Unbounded": (BOX, spaces.Box(-np.inf, np.inf, (1,))),
    "Matrix": (BOX, spaces.Box(-1, 1, (2, 2))),
    "Vector": (BOX, spaces.Box(-1, 1, (2,))),
}.items():
    gym.register(f"tests/{name}-v0", Spaces, kwargs={"observations": pair[0], "actions": pair[1]})

SMALL = {"kind": "residual", "depth": 2, "width": 16}
AGENTS: dict[str, dict[str, Any]] = {
    "ppo": {
        "timesteps": 8192,
        # All of eight seeds learn at this rate; at 1e-2 half of them, and rounding decides which.
        "arguments": {"n_steps": 64, "batch_size": 64, "learning_rate": 3e-3, "gamma": 0.0},
    },
    "dqn": {
        "timesteps": 4096,
        "arguments": {
            "learning_starts": 64, "batch_size": 64, "gamma": 0.0, "learning_rate": 3e-3,
            "buffer_size": 4096, "n_steps": 3,
        },
    },
    "qrdqn": {
        "timesteps": 4096,
        "arguments": {
            "learning_starts": 64, "batch_size": 64, "gamma": 0.0, "learning_rate": 3e-3,
            "buffer_size": 4096, "policy_kwargs": {"n_quantiles": 5},
        },
    },
    "sac": {
        "timesteps": 3000,
        "arguments": {
            "learning_starts": 200, "batch_size": 64, "gamma": 0.0, "learning_rate": 3e-3,
            "buffer_size": 3000, "ent_coef": 0.01,
        },
    },
}  # fmt: skip


def config(kind: str, env: str, *overrides: str, **options: Any) -> RunConfig:
    own = {"num_envs": 4} | AGENTS[kind] if kind in AGENTS else {}
    data = {
        "env": {"id": env} | options,
        "network": SMALL,
        "agent": json.loads(json.dumps({"kind": kind} | own)),
        "evaluation": {"instances": 40},
    }
    return parse_config(data, "file.yaml", list(overrides))


def trainer(made: RunConfig) -> SB3Trainer:
    found = subject_of(made).trainer(CPU, lambda *_: None)
    assert isinstance(found, SB3Trainer)
    return found


def train(made: RunConfig, folder: Path, resume: bool = False) -> Any:
    return run.train(made, folder, resume=resume, device="cpu", progress=False)


class TestSpaces:
    """What networks see, and which environments are refused."""

    @pytest.mark.parametrize(
        "space",
        [
            spaces.Box(-1, 1, (2, 3), np.float64),
            spaces.Box(0, 255, (5,), np.uint8),
            spaces.Discrete(5, start=2),
            spaces.MultiDiscrete([2, 4, 3]),
        ],
        ids=repr,
    )
    def test_observations_are_flattened_as_gymnasium_does(self, space: Any) -> None:
        space.seed(0)
        env, stock = (
            wrap(Spaces(space, TWO)) for wrap in (Vectors, gym.wrappers.FlattenObservation)
        )
        for _ in range(5):
            sample = space.sample()
            ours, theirs = env._flat(sample), stock.func(sample)
            np.testing.assert_array_equal(ours, theirs.astype(np.float32))
            assert ours.dtype == np.float32
        assert env.observation_space.shape == stock.observation_space.shape
        np.testing.assert_array_equal(env.observation_space.low, stock.observation_space.low)
        assert env.observation_space.contains(env.reset(seed=0)[0])

    def test_actions_of_an_environment_may_begin_anywhere(self) -> None:
        env = Vectors(Named(first=3))
        observation, _ = env.reset(seed=0)
        assert env.action_space == spaces.Discrete(CHOICES)
        for _ in range(8):
            observation, reward, *_ = env.step(np.int64(observation.argmax()))
            assert reward == 1

    @pytest.mark.parametrize(
        ("kind", "env", "message"),
        [
            ("ppo", "Image", r"images of shape \(8, 8, 3\), and trunks here take vectors"),
            ("ppo", "Parts", r"must be Box, Discrete or MultiDiscrete, and are Dict"),
            (
                "ppo",
                "Goals",
                r"has goals, where .* ppo does not play; contrastive, sac, sac_her do",
            ),
            ("ppo", "Levers", r"MultiBinary\(3\), .*with Discrete and Box; no agent"),
            ("sac", "Levers", r"the actions MultiBinary\(3\)"),
            ("ppo", "Unbounded", r"a vector with bounds"),
            ("ppo", "Matrix", r"a vector with bounds"),
            ("dqn", "Vector", r"dqn plays with Discrete; ppo, sac, cem, mppi play with them"),
            ("sac", "Named", r"sac plays with Box; ppo, dqn, qrdqn play with them"),
        ],
    )
    def test_what_an_agent_cannot_play_is_refused(self, kind: str, env: str, message: str) -> None:
        with pytest.raises(UserError, match=rf"^env\.id: tests/{env}-v0.*{message}"):
            subject_of(config(kind, f"tests/{env}-v0"))

    @pytest.mark.parametrize(
        ("kind", "env", "overrides", "message"),
        [
            ("value", "CartPole-v1", [], r"is a Gymnasium environment, where .* value does not"),
            ("contrastive", "CartPole-v1", [], r"is a Gymnasium environment, where .* contrastive"),
            ("sac_her", "Pendulum-v1", [], r"is a Gymnasium environment, where .* sac_her does"),
            ("ppo", "PointMaze_UMaze-v3", [], r"is a goal environment, where .* ppo does"),
            (
                "cem",
                "CartPole-v1",
                ["network=null"],
                r"env\.id: agent\.kind cem cannot plan in CartP",
            ),
            (
                "ppo",
                "CartPole-v1",
                ["network={kind: conv, depth: 4, width: 8}"],
                r"network\.kind: conv reads tokens",
            ),
            (
                "ppo",
                "CartPole-v1",
                ["agent.exploring_starts=true"],
                r"agent\.exploring_starts: only chains",
            ),
            (
                "ppo",
                "CartPole-v1",
                ["agent.processes=2"],
                r"agent\.processes: 1, or agent\.num_envs=4",
            ),
            (
                "ppo",
                "rl_serial/CircuitBet-v0",
                ["agent.processes=4"],
                r"agent\.processes: all environments of",
            ),
            (
                "dqn",
                "rl_serial/CircuitBet-v0",
                ["agent.normalize_rewards=true"],
                r"agent\.normalize_rewards: ",
            ),
            (
                "dqn",
                "CartPole-v1",
                ["evaluation.simulations=[1]"],
                r"evaluation\.simulations: unknown key",
            ),
        ],
    )
    def test_parts_that_do_not_go_together(
        self, kind: str, env: str, overrides: list[str], message: str
    ) -> None:
        with pytest.raises(UserError, match=message):
            config(kind, env, *overrides)

    @pytest.mark.parametrize(
        ("env", "options", "message"),
        [
            ("CartPol-v1", {}, r"^env.id: .*CartPol"),
            ("CartPole-v1", {"gravty": 1}, r"^env: .*gravty"),
            ("CartPole-v1", {"max_episode_steps": -1}, r"^env\.max_episode_steps: must be 1"),
        ],
    )
    def test_an_environment_that_cannot_be_made(
        self, env: str, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(UserError, match=message):
            subject_of(config("ppo", env, **options))

    def test_an_episode_without_end_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rl_serial.envs.episodes.LONGEST_EPISODE", 5)
        made = config("ppo", "tests/Named-v0")
        with pytest.raises(UserError, match=r"no end of an episode within 5 steps; env\.max_epis"):
            subject_of(made).examiner()(trainer(made).agent)

    def test_sizes_are_those_of_the_spaces(self) -> None:
        """Inputs and outputs counted by hand; the budget holds with the head."""
        budget = "network={depth: 4, budget: {parameters: 20000}}"
        for kind, env, sizes in [
            ("ppo", "CartPole-v1", {"value": (4, 1), "policy": (4, 2)}),
            ("ppo", "Pendulum-v1", {"value": (3, 1), "policy": (3, 1)}),
            ("dqn", "tests/Named-v0", {"value": (CHOICES, CHOICES)}),
            ("qrdqn", "tests/Named-v0", {"value": (CHOICES, 5 * CHOICES)}),
        ]:
            made = trainer(config(kind, env, budget))
            assert set(made.networks) == set(sizes)
            for name, (inputs, outputs) in sizes.items():
                network = made.networks[name]
                layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
                assert layers[0].in_features == made.examples[name].shape[1] == inputs
                assert layers[-1].out_features == outputs
                count = sum(p.numel() for p in network.parameters())
                assert count == pytest.approx(20_000, rel=0.02)
        made = trainer(config("sac", "Pendulum-v1", budget))
        critic: Any = made.networks["critic"]
        actor: Any = made.networks["policy"]
        assert critic.q_networks[0].trunk.layout.size == 3 + 1
        assert actor.latent_pi.layout.size == 3
        for network in (*critic.q_networks, actor):
            count = sum(p.numel() for p in network.parameters())
            assert count == pytest.approx(20_000, rel=0.02)


class TestSubjects:
    """Which subject a run has, and when code of others is imported."""

    MODULE = """
import gymnasium as gym
from gymnasium import spaces

class Still(gym.Env):
    observation_space = spaces.Box(-1, 1, (3,))
    action_space = spaces.Box(-1, 1, (2,))
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}
    def step(self, action):
        return self.observation_space.sample(), float(action[0]), False, False, {}

gym.register("still/Still-v0", Still, max_episode_steps=6)
"""

    def test_ids(self) -> None:
        for env, kind, subject in [
            ("CartPole-v1", "ppo", "gymnasium"),
            ("Pendulum-v1", "sac", "gymnasium"),
            ("Pendulum-v1", "value", "gymnasium"),
            ("HalfCheetah-v5", "sac", "gymnasium"),
            ("HalfCheetah-v5", "cem", "gymnasium"),
            ("rl_serial/Reach-v0", "sac", "goals"),
            ("AntMaze_UMaze-v5", "sac", "goals"),
            ("rl_serial/CircuitBet-v0", "ppo", "chains"),
            ("rl_serial/CircuitBot-v0", "ppo", "chains"),
            ("mine:Mine-v0", "ppo", "gymnasium"),
            ("mine:Mine-v0", "contrastive", "goals"),
        ]:
            assert row_of(env, kind, None).name == subject, (env, kind)

    @pytest.mark.parametrize("kind", ["sac", "ppo"])
    def test_module_of_an_id_is_imported_where_its_owner_runs_it(
        self,
        kind: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        module = f"still_{kind}"
        (tmp_path / f"{module}.py").write_text(self.MODULE.replace("still/", f"{module}/"))
        monkeypatch.syspath_prepend(tmp_path)
        made = config(kind, f"{module}:{module}/Still-v0", "agent.timesteps=256", "name=still")
        assert module not in sys.modules
        found = train(made, tmp_path / "run")
        assert module in sys.modules
        assert {episode.steps for episode in found.episodes} == {6}
        with pytest.raises(UserError, match=rf"env\.id: .* imports the module {module}.*--trust"):
            load_run(tmp_path / "run", "cpu")
        _, agent = load_run(tmp_path / "run", "cpu", trust=True)
        assert isinstance(agent, ActingAgent)
        assert main(["evaluate", str(tmp_path / "run"), "--trust", "--device", "cpu"]) == 0
        assert f"{found.returns.mean():.4g}" in capsys.readouterr().out

    def test_a_study_asks_the_environment_which_metrics_there_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``sac`` plays goals too, so that neither id nor agent tells."""
        (tmp_path / "still_study.py").write_text(self.MODULE.replace("still/", "still_study/"))
        monkeypatch.syspath_prepend(tmp_path)
        base = {
            "env": {"id": "still_study:still_study/Still-v0"},
            "network": {"width": 8},
            "agent": {"kind": "sac", "timesteps": 64},
        }
        study = {"question": "?", "base": base, "grid": {"network.depth": [1, 2]}, "seeds": 1}
        made = plan(study | {"metric": "eval/episode_steps"}, "file", "study")
        for row in made.runs:
            assert row.config["subject"] == "gymnasium"
            assert row.config["evaluation"]["instances"] == 100  # this subject's default
        with pytest.raises(UserError, match=r"metric: 'eval/success' is never logged; there are"):
            plan(study | {"metric": "eval/success"}, "file", "study")
        # To say it oneself is the same run, to say it wrongly an error.
        said = plan(
            study | {"base": base | {"subject": "gymnasium"}, "metric": "eval/return"}, "f", "s"
        )
        assert [row.id for row in said.runs] == [row.id for row in made.runs]
        for subject, key in (("goals", "env"), ("chains", "subject")):
            wrong = study | {"base": base | {"subject": subject}, "metric": "eval/return"}
            with pytest.raises(UserError) as error:
                check_networks(plan(wrong, "file", "study"), "file")
            assert [fault.key for fault in error.value.faults] == [f"base.{key}"]

    def test_a_plan_is_read_without_its_modules(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base = {
            "env": {"id": "nowhere_at_all:Still-v0"},
            "subject": "gymnasium",
            "network": {"width": 8},
            "agent": {"kind": "sac", "timesteps": 64},
        }
        study = {"question": "?", "base": base, "grid": {"network.depth": [1]}, "seeds": 1}
        folder = StudyFolder(tmp_path / "out")
        folder.write_plan(plan(study | {"metric": "eval/return"}, "file", "study"), [])
        again = folder.read_study()
        assert metric_of(again, "eval/return").metric.better == "higher"
        assert "eval/success" not in measures_of(again.runs[0].config)

    def test_the_subject_of_an_id_that_tells_it_is_no_choice(self) -> None:
        with pytest.raises(UserError, match=r"subject: must be 'gymnasium' with this env.*'goals'"):
            config("sac", "Pendulum-v1", "subject=goals")
        assert "subject" not in config("sac", "Pendulum-v1", "subject=null").model_dump()


class TestLearning:
    """Worlds with known answers."""

    @pytest.mark.parametrize("kind", ["ppo", "dqn", "qrdqn"])
    def test_the_named_action_is_learned(self, kind: str) -> None:
        made = config(kind, "tests/Named-v0", first=2)
        learned = trainer(made)
        examine = subject_of(made).examiner()
        learned.train(lambda: None)
        found = tagged(examine(learned.agent).measurements())
        assert found == {"eval/return": 8, "eval/episode_steps": 8}

    def test_the_number_is_followed_where_observations_are_normalised(self) -> None:
        """Shown as 1000 ± 50 it is out of reach; a policy that plays 0 earns -5/3."""
        returns = []
        for normalised in ("true", "false"):
            made = config("sac", "tests/Followed-v0", f"agent.normalize_observations={normalised}")
            learned = trainer(made)
            learned.train(lambda: None)
            found = subject_of(made).examiner()(learned.agent).measurements()
            returns.append(tagged(found)["eval/return"])
        assert returns[0] > -0.2
        assert returns[1] < -1

    def test_learning_nothing_earns_what_chance_does(self) -> None:
        """One right of four, in 320 steps; five standard deviations. And it stays what it was."""
        made = config(
            "ppo", "tests/Named-v0", "agent.arguments.learning_rate=0", "agent.timesteps=1024"
        )
        still = trainer(made)
        examine = subject_of(made).examiner()
        before = examine(still.agent)
        # An untrained policy prefers some action to each observation: on average one in four.
        returns = []
        for seed in range(16):
            other = trainer(made.model_copy(update={"seed": seed}))
            returns.append(tagged(examine(other.agent).measurements())["eval/return"] / 8)
        assert np.mean(returns) == pytest.approx(1 / CHOICES, abs=5 * np.sqrt(3 / 16 / 64))
        still.train(lambda: None)
        np.testing.assert_array_equal(examine(still.agent).returns, before.returns)


class TestExamination:
    """Numbers that are worked out beside it."""

    @pytest.mark.parametrize("kind", ["ppo", "sac"])
    def test_it_is_what_the_environment_paid(self, kind: str) -> None:
        id_ = {"ppo": "CartPole-v1", "sac": "Pendulum-v1"}[kind]
        made = config(kind, id_, "evaluation.instances=3", "evaluation.seed=5")
        learner = trainer(made)
        found = subject_of(made).examiner()(learner.agent)
        env, returns, lengths = gym.make(id_), [], []
        for seed in instance_seeds(5, 3):
            observation, _ = env.reset(seed=seed)
            total, steps, ended = 0.0, 0, False
            while not ended:
                action, _ = learner.model.predict(observation, deterministic=True)
                observation, reward, terminated, truncated, _ = env.step(action)
                total, steps, ended = total + float(reward), steps + 1, terminated or truncated
            returns.append(total)
            lengths.append(steps)
        np.testing.assert_allclose(found.returns, returns, rtol=1e-4)
        assert tagged(found.measurements())["eval/episode_steps"] == np.mean(lengths)
        low, high = found.final()["eval/return_interval"]
        half = 4.302652730 * np.std(returns, ddof=1) / np.sqrt(3)  # Student's t, 2 degrees
        expected = (np.mean(returns) - half, np.mean(returns) + half)
        assert (low, high) == pytest.approx(expected, rel=1e-3)

    def test_training_draws_no_seed_of_evaluation(self) -> None:
        made = config("dqn", "tests/Named-v0", "agent.timesteps=256")
        Named.resets.clear()
        learner = trainer(made)
        learner.train(lambda: learner.state_dict() and None)  # new episodes after each rollout
        drawn = {seed for seed in Named.resets if seed is not None}
        assert len(drawn) == 16 * 4  # rollouts of four steps of four environments
        assert max(drawn) < EVALUATION_SEEDS <= min(instance_seeds(0, 100))

    def test_processes_change_nothing(self) -> None:
        found = []
        for processes in (1, 4):
            made = config(
                "ppo", "CartPole-v1", f"agent.processes={processes}", "agent.timesteps=512"
            )
            learner = trainer(made)
            learner.train(lambda: None)
            learner.env.close()
            found.append([p.detach().clone() for p in learner.model.policy.parameters()])
        assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


class TestNormalisation:
    """Statistics of training, frozen in evaluation, kept with the model."""

    def test_statistics_are_those_of_what_was_seen(self) -> None:
        made = config(
            "ppo", "tests/Followed-v0", "agent.timesteps=1024",
            "agent.normalize_observations=true", "agent.normalize_rewards=true",
        )  # fmt: skip
        learner = trainer(made)
        seen: list[NDArray[Any]] = []
        view: Any = learner.vectors.env

        def kept(plain: Any) -> Any:
            def call(*args: Any, **options: Any) -> Any:
                result = plain(*args, **options)
                seen.append(result[0].astype(np.float64))
                return result

            return call

        view.reset, view.step = kept(view.reset), kept(view.step)
        learner.train(lambda: None)
        numbers = np.concatenate(seen)
        assert isinstance(learner.env, VecNormalize)
        statistics: Any = learner.env.obs_rms
        assert statistics.count == pytest.approx(numbers.shape[0], abs=0.1)
        np.testing.assert_allclose(statistics.mean, numbers.mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(statistics.var, numbers.var(axis=0), rtol=1e-3, atol=1e-3)
        before = (statistics.mean.copy(), statistics.count, float(learner.env.ret_rms.count))
        found = subject_of(made).examiner()(learner.agent)
        np.testing.assert_array_equal(statistics.mean, before[0])
        assert (statistics.count, float(learner.env.ret_rms.count)) == before[1:]
        # Raw returns: rewards here lie between -9 and 0, five of them in an episode.
        assert found.returns.min() >= -45
        seeds = instance_seeds(0, 1)
        observation, _ = Vectors(gym.make("tests/Followed-v0")).reset(seed=seeds[0])
        by_hand = (observation - statistics.mean) / np.sqrt(statistics.var + 1e-8)
        within = np.clip(by_hand, -10, 10).astype(np.float32)[None]
        action, _ = learner.model.predict(within, deterministic=True)
        np.testing.assert_array_equal(learner.agent.act(observation[None]), action)

    def test_a_finished_run_keeps_them(self, tmp_path: Path) -> None:
        made = config(
            "sac", "tests/Followed-v0", "agent.timesteps=600", "agent.normalize_observations=true"
        )
        found = train(made, tmp_path / "run")
        _, agent = load_run(tmp_path / "run", "cpu")
        again = subject_of(made).examiner()(agent)
        np.testing.assert_array_equal(again.returns, found.returns)
        fresh = subject_of(made).examiner()(trainer(made).agent)
        assert (fresh.returns != found.returns).any()

    def test_rewards_alone(self) -> None:
        """Divided by the spread of the discounted return, of which nothing is in evaluation."""
        made = config("dqn", "tests/Named-v0", "agent.normalize_rewards=true", shift=100.0)
        learner = trainer(made)
        learner.train(lambda: None)
        environment = learner.env
        assert isinstance(environment, VecNormalize)
        assert not environment.norm_obs
        assert environment.gamma == 0.0
        rewards = environment.normalize_reward(np.array([100.0]))
        assert rewards[0] == pytest.approx(
            min(100 / np.sqrt(environment.ret_rms.var), 10), rel=1e-5
        )
        assert subject_of(made).examiner()(learner.agent).returns.min() >= 800


RESUMED = [
    ("ppo", "CartPole-v1", ["agent.normalize_observations=true", "agent.normalize_rewards=true",
                            "agent.timesteps=1024", "agent.arguments.gamma=0.9"]),
    ("dqn", "CartPole-v1", ["agent.timesteps=1200", "agent.arguments.gamma=0.9"]),
    ("qrdqn", "tests/Named-v0", ["agent.timesteps=1200", "agent.normalize_rewards=true"]),
    ("sac", "Pendulum-v1", ["agent.timesteps=900", "agent.normalize_observations=true",
                            "agent.arguments.ent_coef=auto"]),
]  # fmt: skip


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("kind", "env", "overrides"), RESUMED, ids=[row[0] for row in RESUMED])
def test_interrupted_run_ends_like_an_unbroken_one(
    kind: str, env: str, overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = config(kind, env, *overrides, "evaluation.every=300", "evaluation.instances=4")
    train(made, tmp_path / "unbroken")
    saved = 0

    def save_then_die(folder: Path, step: int, state: dict[str, Any]) -> None:
        nonlocal saved
        saved += 1
        if saved > 2:
            raise Killed
        files.save_checkpoint(folder, step, state)

    with monkeypatch.context() as patch:
        patch.setattr(run, "save_checkpoint", save_then_die)
        with pytest.raises(Killed):
            train(made, tmp_path / "broken")
    train(made, tmp_path / "broken", resume=True)
    texts = [(tmp_path / name / "metrics.csv").read_text() for name in ("unbroken", "broken")]
    assert texts[0] == texts[1]
    assert len(texts[0].splitlines()) >= 5
    whole, resumed = (
        files.load_tensors(tmp_path / name / "model.pt")["model"] for name in ("unbroken", "broken")
    )
    assert all(whole["policy"][key].equal(resumed["policy"][key]) for key in whole["policy"])
    for name, numbers in whole["statistics"].items():
        assert numbers["mean"].equal(resumed["statistics"][name]["mean"])
        assert numbers["count"] == resumed["statistics"][name]["count"]
    assert bool(whole["statistics"]) == any("normalize" in text for text in overrides)


def test_saving_ends_returns_of_several_steps() -> None:
    """What follows a checkpoint in the replay is another episode."""
    made = config("dqn", "CartPole-v1", "agent.timesteps=400")
    learner = trainer(made)
    broken = []

    def pause() -> None:
        if learner.step in (80, 208):
            learner.state_dict()
            broken.append(learner.step // 4 - 1)

    learner.train(pause)
    buffer: Any = learner.model.replay_buffer
    assert broken == [19, 51]
    for row in broken:
        assert buffer.dones[row].all()
    done, cut = buffer.dones[:100] == 1, buffer.timeouts[:100] == 1
    assert cut[broken].any()
    assert not cut[[row for row in range(100) if row not in broken]].any()
    ends = np.flatnonzero(done[:, 0])
    starts = np.abs(buffer.observations[ends[ends < 99] + 1, 0])
    assert starts.max() < 0.05  # CartPole begins there


class TestWatching:
    def test_an_environment_draws_itself(self, tmp_path: Path) -> None:
        pytest.importorskip("pygame")
        made = config("ppo", "CartPole-v1", "agent.timesteps=256", "evaluation.instances=2")
        train(made, tmp_path / "run")
        gif = tmp_path / "episode.gif"
        arguments = ["watch", str(tmp_path / "run"), "--gif", str(gif), "--device", "cpu"]
        assert main(arguments) == 0
        with Image.open(gif) as image:
            assert image.size == (600, 400)
        subject = subject_of(made)
        moments = subject.watch(load_run(tmp_path / "run", "cpu")[1], instance=1)
        assert [moment.text().split(":")[0].split()[1] for moment in moments[:3]] == ["0", "1", "2"]
        assert "action " in moments[1].text()
        assert not np.array_equal(moments[0].picture(), moments[-1].picture())

    def test_a_long_episode_is_shown_from_first_to_last(self) -> None:
        pytest.importorskip("pygame")
        made = config("sac", "Pendulum-v1", max_episode_steps=333)
        moments = subject_of(made).watch(trainer(made).agent)
        steps = [moment.step for moment in moments]
        assert len(steps) == 60
        assert (steps[0], steps[-1]) == (0, 333)
        assert max(np.diff(steps)) <= 16
        assert all(moment.own is not None for moment in moments)

    def test_one_that_does_not_draw_is_drawn_as_its_return(self) -> None:
        made = config("dqn", "tests/Named-v0")
        moments = subject_of(made).watch(trainer(made).agent)
        assert len(moments) == 9
        assert {moment.picture().shape for moment in moments} == {(240, 320, 3)}
