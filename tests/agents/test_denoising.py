"""Denoising of working states: lessons, places that are filled, networks of known answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rl_serial.agents.denoising import (
    ABSENT,
    EMPTY,
    DenoisingAgent,
    DenoisingTrainer,
    fill,
    num_outputs,
    places_layout,
)
from rl_serial.agents.settings_denoising import DenoisingAgentConfig
from rl_serial.envs import make_task
from rl_serial.envs.chains.permutation_automaton import GENERATORS
from rl_serial.errors import UserError
from rl_serial.loading import parse_config
from rl_serial.networks import build_network, build_trunk

CPU = torch.device("cpu")
DEPTH = 4


def task_of(**options: Any) -> Any:
    return make_task("PermutationAutomaton", "Bet", serial_depth=DEPTH, start="uniform", **options)


class OneLetter(nn.Module):
    """Knows the word behind a word that stands there, or behind the start; and the last word's bet.

    It reads letters, point, remaining, places and which are empty, as the pages say they come.
    """

    def forward(self, observation: Tensor) -> Tensor:
        rows = []
        for seen in observation.numpy():
            letters, seen = seen[: 4 * DEPTH].reshape(DEPTH, 4), seen[4 * DEPTH :]
            point, seen = int(seen[:5].argmax()), seen[5:]
            remaining, seen = int(seen[: DEPTH + 1].argmax()), seen[DEPTH + 1 :]
            words, empty = seen[: 5 * DEPTH].reshape(DEPTH, 5), seen[5 * DEPTH :]
            logits = np.zeros((DEPTH, 5), np.float32)
            for place in range(remaining):
                if place == 0 or words[place - 1].any():
                    before = int(words[place - 1].argmax()) if place else point
                    letter = int(letters[place].argmax())
                    logits[place, GENERATORS["s5"][letter][before]] = 20
            last = words[remaining - 1]
            assert not empty[remaining:].any()
            answer = 9.0 if last[:2].any() else -9.0
            rows.append(np.append(logits.ravel(), answer))
        return torch.as_tensor(np.stack(rows).astype(np.float32))


def right_words(task: Any, state: Any) -> np.ndarray[Any, Any]:
    """[B, D] the points to come; -2 behind the end."""
    chain, words = task.chain_state(state), []
    for _ in range(DEPTH):
        chain = task.chain.advance(chain)
        words.append(task.chain.word(chain))
    there = np.arange(DEPTH) < task.remaining(state)[:, None]
    return np.where(there, np.stack(words, axis=1), ABSENT)


def test_the_surest_empty_places_are_filled_first() -> None:
    places = np.array([[EMPTY, 3, EMPTY, EMPTY], [EMPTY, EMPTY, ABSENT, ABSENT]])
    logits = np.zeros((2, 4, 5), np.float32)
    logits[0, 0, 1], logits[0, 2, 4], logits[0, 3, 2] = 1, 3, 2
    logits[1, 0, 0], logits[1, 1, 2], logits[1, 2, 1] = 5, 6, 9
    found = fill(places, logits, np.array([2, 1]))
    assert found.tolist() == [[EMPTY, 3, 4, 2], [EMPTY, 2, ABSENT, ABSENT]]


def test_who_sees_one_letter_needs_as_many_passes_as_there_are_letters() -> None:
    task = task_of()
    state = task.initial(np.arange(200))
    observations = task.observe(state)
    expected, remaining = right_words(task, state), task.remaining(state)
    right = {}
    for steps in (1, 2, 4):
        agent = DenoisingAgent(task, OneLetter(), CPU, steps)
        assert agent.passes == steps + 1
        written = agent.written(state, observations)
        assert ((written == ABSENT) == (expected == ABSENT)).all()
        assert (written != EMPTY).all()
        right[steps] = (written == expected).all(axis=1)
    assert right[4].all()
    assert right[1][remaining == 1].all()
    assert right[2][remaining == 2].all()
    assert right[1][remaining == 4].mean() < 0.1
    assert right[2][remaining == 4].mean() < 0.5
    judged = DenoisingAgent(task, OneLetter(), CPU, 4).judge(state)
    assert ((judged.preferences[:, 1] > 0.5) == (state.outcome > 0)).all()


def test_a_lesson_asks_for_what_it_does_not_show() -> None:
    task = task_of()
    config = DenoisingAgentConfig(kind="denoising", steps=2, updates=2, batch_size=600)
    network = build_network(
        build_trunk("residual", places_layout(task), depth=1, width=8), num_outputs(task)
    )
    trainer = DenoisingTrainer(task, config, network, 0, CPU)
    seeds = trainer.training_seeds([0])
    lesson = trainer.next_lesson(seeds, lambda observations: observations)
    state = task.initial(seeds)
    expected, remaining = right_words(task, state), task.remaining(state)
    words = lesson.observations[:, task.layout.size :][:, : 5 * DEPTH].reshape(-1, DEPTH, 5)
    shown = words.any(axis=2)
    assert (words.argmax(axis=2)[shown] == expected[shown]).all()
    asked = lesson.known[:, :-1]
    assert (asked == (~shown & (expected != ABSENT))).all()
    assert lesson.known[:, -1].all()
    assert (lesson.wanted[:, :-1][asked] == expected[asked]).all()
    assert (lesson.wanted[:, -1] == (state.outcome > 0)).all()
    count = shown[remaining == 4].sum(axis=1)  # a fifth with none, the rest with 0 to 4 alike
    assert (count == 0).mean() == pytest.approx(0.2 + 0.8 / 5, abs=0.1)
    assert (count == 3).mean() == pytest.approx(0.8 / 5, abs=0.08)
    trainer.train(lambda: None)
    assert trainer.step == 2
    assert trainer.instances == 1200


def test_the_loss_by_hand() -> None:
    task = task_of()
    config = DenoisingAgentConfig(kind="denoising", steps=1, batch_size=2)
    network = build_network(
        build_trunk("residual", places_layout(task), depth=1, width=8), num_outputs(task)
    )
    trainer = DenoisingTrainer(task, config, network, 0, CPU)
    outputs = torch.zeros(2, num_outputs(task))
    outputs[0, 3], outputs[:, -1] = np.log(4), np.log(3)
    known = torch.tensor([[True, False, False, False, True], [False, True, False, False, True]])
    wanted = torch.tensor([[3, 0, 0, 0, 1], [0, 2, 0, 0, 0]])
    loss = trainer.loss(lambda _: outputs, torch.zeros(2, 1), known, wanted)
    words = (np.log(8 / 4) + np.log(5)) / 2
    answer = (np.log(4 / 3) + np.log(4)) / 2
    assert float(loss) == pytest.approx(words + answer, abs=1e-5)


@pytest.mark.parametrize(
    ("env", "agent", "error"),
    [
        ({"id": "rl_serial/CircuitBet-v0"}, {}, "agent.kind: denoising needs a chain whose"),
        ({"think_budget": 1}, {}, "agent.kind: denoising writes before it answers"),
        ({}, {"steps": 5}, "agent.steps: at most the serial depth 4"),
    ],
)
def test_what_does_not_go_together_is_named(
    env: dict[str, Any], agent: dict[str, Any], error: str
) -> None:
    data = {
        "name": "denoising",
        "env": {"id": "rl_serial/PermutationAutomatonBet-v0", "serial_depth": 4} | env,
        "network": {"depth": 1, "width": 4},
        "agent": {"kind": "denoising", "steps": 2} | agent,
    }
    with pytest.raises(UserError, match=error):
        parse_config(data, "denoising.yaml")
