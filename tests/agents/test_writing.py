"""Agents in Write: what is examined, what an expert that reasons teaches, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.agents.baselines import OptimalAgent
from rl_serial.agents.cloning import CloningTrainer, PolicyNetworkAgent
from rl_serial.agents.protocols import Judgement, Preference
from rl_serial.agents.sb3.curriculum import TESTED, Curriculum, right_answers
from rl_serial.agents.settings import CloningAgentConfig
from rl_serial.envs import make_task
from rl_serial.envs.chains.permutation_automaton import GENERATORS
from rl_serial.envs.gym import SerialVectorEnv
from rl_serial.errors import UserError
from rl_serial.loading import parse_config
from rl_serial.metrics import tagged
from rl_serial.networks import build_network, build_trunk
from rl_serial.subjects.chains.evaluation import Evaluator, answers
from rl_serial.subjects.chains.subject import ChainSubject

torch.set_num_threads(1)
CPU = torch.device("cpu")
DEPTH = 5
OPTIONS: dict[str, Any] = {"serial_depth": DEPTH, "start": "uniform"}


def run(**parts: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": "writing",
        "env": {"id": "rl_serial/PermutationAutomatonWrite-v0", "serial_depth": 3},
        "network": {"depth": 1, "width": 4},
        "agent": {"kind": "cloning", "expert": "reasoning", "updates": 2, "batch_size": 4},
        "evaluation": {"instances": 64, "per_remaining": 8},
    }
    return data | parts


class Scribe:
    """Writes what one letter makes of its newest word, and answers by the word at the end.

    It reads the observation alone: letters, point, remaining steps, words, and how many there are.
    """

    preference = Preference.PROBABILITY

    def __init__(self, task: Any) -> None:
        self.task = task

    def judge(self, state: Any) -> Judgement:
        preferences = np.zeros((len(state.ended), len(self.task.action_names)), np.float32)
        for row, seen in enumerate(self.task.observe(state)):
            letters = seen[: 4 * DEPTH].reshape(DEPTH, 4)
            point, seen = seen[4 * DEPTH : 4 * DEPTH + 5], seen[4 * DEPTH + 5 :]
            remaining, seen = int(seen[: DEPTH + 1].argmax()), seen[DEPTH + 1 :]
            room = self.task.scratchpad
            words, count = seen[: 5 * room].reshape(room, 5), int(seen[5 * room :].argmax())
            at = int((words[0] if count else point).argmax())
            if count < min(remaining, room):
                action = 2 + GENERATORS["s5"][int(letters[count].argmax())][at]
            else:
                action = int(at in (0, 1))
            preferences[row, action] = 1
        return Judgement(preferences, None)


class FillsThenPasses:
    """Writes word 0 until there is no room, and passes."""

    preference = Preference.PROBABILITY

    def __init__(self, task: Any) -> None:
        self.task = task

    def judge(self, state: Any) -> Judgement:
        preferences = np.zeros((len(state.ended), len(self.task.action_names)), np.float32)
        preferences[:, 0] = 1
        preferences[:, 2] = 2
        return Judgement(preferences, None)


def test_who_reads_its_own_words_one_letter_at_a_time_is_right_at_every_depth() -> None:
    task = make_task("PermutationAutomaton", "Write", scratchpad=DEPTH, **OPTIONS)
    found = Evaluator(task, 128, 64)(Scribe(task))
    np.testing.assert_array_equal(found.accuracy, np.ones(DEPTH))
    assert (found.serial_horizon, found.score) == (DEPTH, pytest.approx(1))
    assert found.serial_reach == pytest.approx(DEPTH)
    metrics = tagged(found.measurements())
    # A word for each step, 1 to 5 equally often.
    assert (metrics["eval/words"], metrics["eval/right_words"]) == (3, 1)


def test_with_filler_the_same_agent_is_right_where_no_word_is_needed() -> None:
    """Blind to its words it takes a point for the zeros, number 0, and bets: right in two of five.

    With room for two words it can read two letters.
    """
    task = make_task("PermutationAutomaton", "Write", scratchpad=DEPTH, memory="filler", **OPTIONS)
    found = Evaluator(task, 128, 400)(Scribe(task))
    assert found.serial_horizon == 0
    assert np.abs(found.accuracy - 0.4).max() < 0.15
    short = make_task("PermutationAutomaton", "Write", scratchpad=2, **OPTIONS)
    found = Evaluator(short, 128, 400)(Scribe(short))
    np.testing.assert_array_equal(found.accuracy[:2], [1, 1])
    assert (found.accuracy[2:] < 0.8).all()


def test_words_are_no_answers() -> None:
    """An agent that writes and passes is right where PASS is, which is worth nothing beyond chance.

    Every word is worth as much as the right answer; none counts as one.
    """
    task: Any = make_task("PermutationAutomaton", "Write", scratchpad=3, **OPTIONS)
    evaluator = Evaluator(task, 128, 64)
    last, words, right = answers(FillsThenPasses(task), task, evaluator.states)
    np.testing.assert_array_equal(last, 0)
    assert words == 3
    zeros = task.right_words(evaluator.states)[:, :3] == 0  # where a letter leads to point 0
    assert right == pytest.approx(zeros.mean())
    found = evaluator(FillsThenPasses(task))
    passes = (evaluator.states.outcome < 0).reshape(DEPTH, -1).mean(axis=1)
    np.testing.assert_allclose(found.accuracy, passes)
    np.testing.assert_allclose(found.chance, np.maximum(passes, 1 - passes))
    assert found.serial_reach == pytest.approx(0, abs=1e-9)
    best = evaluator(OptimalAgent(task))
    np.testing.assert_array_equal(best.accuracy, np.ones(DEPTH))


def test_an_answer_that_must_wait_is_examined_all_the_same() -> None:
    """Before the words are there a BET pays nothing; what it pays then is what is asked for."""
    task: Any = make_task(
        "PermutationAutomaton", "Write", scratchpad=DEPTH, least_words=DEPTH, **OPTIONS
    )
    evaluator = Evaluator(task, 128, 64)
    assert evaluator.counted.all()
    found = evaluator(Scribe(task))
    assert (found.serial_horizon, found.score) == (DEPTH, pytest.approx(1))
    free: Any = make_task("PermutationAutomaton", "Write", scratchpad=DEPTH, **OPTIONS)
    np.testing.assert_array_equal(evaluator.right, Evaluator(free, 128, 64).right)


def test_the_floor_is_that_of_bet() -> None:
    """An empty scratchpad tells nothing: the same instances, the same rules, the same floor."""
    floors = [
        Evaluator(make_task("PermutationAutomaton", task, **OPTIONS), 64, 64).floor(3000, seed=1)
        for task in ("Bet", "Write")
    ]
    for kind in ("memoriser", "blind", "linear"):
        bet, write = (floor.grades[kind].accuracy for floor in floors)
        np.testing.assert_array_equal(bet, write)


@pytest.mark.parametrize("expert", ["reasoning", "shuffled"])
def test_the_lesson_is_the_experts_own_play(expert: str) -> None:
    task: Any = make_task("PointerChase", "Write", serial_depth=4, nodes=8, scratchpad=4)
    config = CloningAgentConfig(kind="cloning", expert=expert, updates=2, batch_size=64)  # type: ignore[arg-type]
    network = build_network(build_trunk("residual", task.layout, depth=1, width=4), 10)
    trainer = CloningTrainer(task, config, network, 0, CPU)
    seeds = trainer.training_seeds([0])
    lesson = trainer.next_lesson(seeds, lambda observations: observations)
    state, action = task.demonstrated(seeds, expert)
    np.testing.assert_array_equal(lesson.observations, task.observe(state))
    np.testing.assert_array_equal(lesson.wanted, np.eye(10, dtype=np.float32)[action])
    np.testing.assert_array_equal(lesson.known, task.legal_actions(state))
    before = [parameter.clone() for parameter in network.parameters()]
    trainer.train(lambda: None)
    assert any((a != b).any() for a, b in zip(before, network.parameters(), strict=True))
    assert np.isfinite(trainer.metrics["train/loss"])


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ({"env": {"id": "rl_serial/PointerChaseBet-v0"}}, "agent.expert: reasoning needs a Write"),
        (
            {"agent": {"kind": "cloning", "expert": "reasoning", "starts": "all"}},
            "agent.expert: with starts all it is optimal, not reasoning",
        ),
        (
            {
                "env": {"id": "rl_serial/PointerChaseBet-v0"},
                "agent": {"kind": "ppo", "written_starts": True},
            },
            "agent.written_starts: only Write environments have words",
        ),
        (
            {"agent": {"kind": "ppo", "written_starts": True, "exploring_starts": True}},
            "agent.exploring_starts: with agent.written_starts",
        ),
        (
            {
                "env": {"id": "CartPole-v1"},
                "agent": {"kind": "ppo", "written_starts": True},
                "evaluation": {"instances": 2},
            },
            "agent.written_starts: only chains have states",
        ),
        (
            {
                "agent": {"kind": "search", "dynamics": "learned"},
                "model_network": {"depth": 1, "width": 4},
            },
            "agent.dynamics: learned needs a Steer environment",
        ),
        (
            {"env": {"id": "rl_serial/CircuitWrite-v0"}},
            "env.id: rl_serial/CircuitWrite-v0: no such",
        ),
    ],
)
def test_what_does_not_go_together_is_named(parts: dict[str, Any], error: str) -> None:
    with pytest.raises(UserError, match=error):
        parse_config(run(**parts), "writing.yaml")


@pytest.mark.parametrize("kind", ["ppo", "dqn", "value", "search"])
def test_other_agents_play_it_too(kind: str) -> None:
    agents: dict[str, dict[str, Any]] = {
        "ppo": {"timesteps": 64, "num_envs": 4, "written_starts": True, "arguments": {"n_steps": 16,
                "batch_size": 32, "n_epochs": 1}},
        "dqn": {"timesteps": 64, "num_envs": 4, "arguments": {"learning_starts": 16}},
        "value": {"updates": 2, "batch_size": 8, "policy": "greedy"},
        "search": {"timesteps": 64, "num_envs": 4, "simulations": 4, "updates": 1, "batch_size": 8},
    }  # fmt: skip
    config = parse_config(run(agent={"kind": kind, **agents[kind]}), "writing.yaml")
    subject: Any = ChainSubject(config)
    assert subject.training_task.start == ("written" if kind == "ppo" else "full")
    trainer = subject.trainer(CPU, lambda tag, value, step: None)
    trainer.train(lambda: None)
    found = subject.last_examination(subject.examiner(), trainer)
    assert found.accuracy.shape == (3,)
    assert np.isfinite(found.accuracy).all()


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_net_that_writes_reads_eight_letters_and_with_filler_it_does_not(seed: int) -> None:
    options: dict[str, Any] = {"serial_depth": 8, "start": "uniform", "scratchpad": 8}
    horizons = {}
    for memory in ("words", "filler"):
        task: Any = make_task("PermutationAutomaton", "Write", memory=memory, **options)
        config = CloningAgentConfig(
            kind="cloning", expert="reasoning", updates=400, batch_size=128, learning_rate=3e-3
        )
        torch.manual_seed(seed)
        trunk = build_trunk("transformer", task.layout, depth=12, width=40)
        network = build_network(trunk, len(task.action_names))
        CloningTrainer(task, config, network, seed, CPU).train(lambda: None)
        evaluator = Evaluator(task, 128, 256)
        horizons[memory] = evaluator(PolicyNetworkAgent(task, network, CPU)).serial_horizon
    assert horizons["words"] == 8
    assert horizons["filler"] < 6


class AlwaysBets:
    """Writes word 0 until it may answer, then bets."""

    preference = Preference.PROBABILITY

    def __init__(self, task: Any) -> None:
        self.task = task

    def judge(self, state: Any) -> Judgement:
        names = len(self.task.action_names)
        return Judgement(np.tile(np.eye(names, dtype=np.float32)[1], (len(state.ended), 1)), None)


def test_the_curriculum_goes_on_where_answers_are_right_and_nowhere_else() -> None:
    env = SerialVectorEnv(
        4, family="PermutationAutomaton", task="Write", serial_depth=3, scratchpad=2,
        start="written", missing=0,
    )  # fmt: skip
    curriculum = Curriculum(env, 0.9, seed=0)
    task: Any = env.task
    curriculum.consider(AlwaysBets(task), 64)
    assert curriculum.missing == 0
    seeds = np.arange(4000)
    share = right_answers(AlwaysBets(task), task, seeds, 0)
    assert share == pytest.approx(0.4, abs=0.03)  # two of five points pay
    optimal = OptimalAgent(task)
    assert right_answers(optimal, task, seeds, 0) == 1
    curriculum.consider(optimal, 64)  # it has been there: a run that was resumed
    assert curriculum.missing == 0
    for timestep, missing in ((128, 1), (192, 2), (256, 2)):
        curriculum.consider(optimal, timestep)
        assert curriculum.missing == missing == env.task.missing  # type: ignore[attr-defined]
    state = curriculum.state_dict()
    other = Curriculum(env, 0.9, seed=0)
    curriculum.env.task = task
    other.load_state_dict(state)
    assert (other.missing, other.tested_at) == (2, 192)
    assert other.env.task.observe(task.initial(seeds[:1])).shape == (1, task.layout.size)


@pytest.mark.parametrize(("serial_depth", "scratchpad"), [(3, 8), (8, 3), (16, 16)])
def test_a_curriculum_ends_with_all_words_missing_and_counts_every_instance(
    serial_depth: int, scratchpad: int
) -> None:
    env = SerialVectorEnv(
        4, family="PermutationAutomaton", task="Write", serial_depth=serial_depth,
        scratchpad=scratchpad, start="written", missing=0,
    )  # fmt: skip
    task: Any = env.task
    most = min(serial_depth, scratchpad)
    seeds = np.arange(256)
    for missing in range(most + 1):
        state = task.with_missing(seeds, missing)
        whole = np.minimum(task.remaining(state), scratchpad)
        assert (whole - task.written(state) == missing).all()
        assert set(task.remaining(state)) == set(range(max(missing, 1), serial_depth + 1))
        right = task.right_words(state)
        for row, count in enumerate(task.written(state)):
            newest_first = state.scratchpad[row, :count]
            assert (newest_first[::-1] == right[row, :count]).all()
    with pytest.raises(ValueError, match=f"missing={most + 1}: must be 0 to {most}"):
        task.with_missing(seeds, most + 1)
    curriculum, optimal = Curriculum(env, 0.9, seed=0), OptimalAgent(task)
    for timestep in range(1, most + 4):
        curriculum.consider(optimal, timestep)
    assert curriculum.missing == most


def test_a_curriculum_asks_other_instances_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    env = SerialVectorEnv(
        4, family="PermutationAutomaton", task="Write", serial_depth=3, scratchpad=3,
        start="written", missing=0,
    )  # fmt: skip
    asked: list[np.ndarray] = []

    def noted(agent: Any, task: Any, seeds: np.ndarray, missing: int) -> float:
        asked.append(seeds)
        return 0.0

    monkeypatch.setattr("rl_serial.agents.sb3.curriculum.right_answers", noted)
    curriculum = Curriculum(env, 0.9, seed=0)
    for timestep in (4, 8, 12):
        curriculum.consider(OptimalAgent(env.task), timestep)
    assert len(np.unique(np.concatenate(asked))) == 3 * TESTED


def test_a_curriculum_is_trained_and_goes_with_written_starts() -> None:
    arguments = {"n_steps": 8, "batch_size": 16, "n_epochs": 1}
    starts = {"written_starts": True, "curriculum": 0.1}
    sizes = {"timesteps": 64, "num_envs": 4}
    agent = {"kind": "maskable_ppo", **sizes, **starts, "arguments": arguments}
    subject: Any = ChainSubject(parse_config(run(agent=agent), "writing.yaml"))
    assert (subject.training_task.start, subject.training_task.missing) == ("written", 0)
    trainer = subject.trainer(CPU, lambda tag, value, step: None)
    trainer.train(lambda: None)
    assert trainer.curriculum.missing == trainer.metrics["train/missing_words"] == 1
    again = subject.trainer(CPU, lambda tag, value, step: None)
    again.load_state_dict(trainer.state_dict())
    assert again.curriculum.missing == 1
    alone = run(agent={"kind": "ppo", "curriculum": 0.9})
    with pytest.raises(UserError, match=r"agent\.curriculum: goes with agent\.written_starts"):
        parse_config(alone, "writing.yaml")
