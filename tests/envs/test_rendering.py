"""Renderings: what they show, in which size, and a diagram checked by hand."""

from __future__ import annotations

import builtins
import itertools
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest

from rl_serial.envs import ENV_IDS, Bet, task_of
from rl_serial.envs.chains.cellular_automaton import CellularAutomaton, CellularAutomatonState
from rl_serial.envs.rendering import TEXT_WIDTH, Scene, Window, ansi, rgb_array
from rl_serial.envs.tasks import BetState


@pytest.mark.parametrize("id_", ENV_IDS)
def test_frames_keep_their_size_and_show_every_step(id_: str) -> None:
    env = gymnasium.make(id_, render_mode="rgb_array")
    env.reset(seed=0)
    frames = [env.render()]
    terminated = False
    while not terminated:
        terminated = env.step(1)[2]
        frames.append(env.render())
    for frame in frames:
        assert frame.dtype == np.uint8  # type: ignore[union-attr]
        assert frame.shape == frames[0].shape  # type: ignore[union-attr]
    for one, other in itertools.pairwise(frames):
        assert (np.asarray(one) != np.asarray(other)).any()


@pytest.mark.parametrize("id_", ENV_IDS)
def test_text_names_actions_and_stays_in_its_width(id_: str) -> None:
    env = gymnasium.make(id_, render_mode="ansi")
    env.reset(seed=0)
    env.step(0)
    text = str(env.render())
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= TEXT_WIDTH
    task = task_of(id_)
    assert all(name in text for name in task.action_names)
    begin = lines.index("space and time (past above, present marked)") + 1
    assert lines.index("", begin) - begin == task.chain.serial_depth + 1


@pytest.mark.parametrize("id_", ENV_IDS)
def test_vector_environment_renders_each(id_: str) -> None:
    envs = gymnasium.make_vec(id_, 2, render_mode="ansi")
    envs.reset(seed=0)
    envs.step(np.zeros(2, dtype=np.int64))
    texts = envs.render()
    assert texts is not None
    assert len(texts) == 2
    assert texts[0] != texts[1]


def rule_90_from_one_cell() -> Scene:
    chain = CellularAutomaton(90, serial_depth=4)
    cells = np.zeros((1, 9), dtype=np.int16)
    cells[0, 4] = 1
    state: Any = CellularAutomatonState(cells, np.ones(1, np.int16), np.full(1, 4))
    task = Bet(chain, think_budget=4)
    states = []
    for budget in range(4, 0, -1):
        outcome, ended = np.ones(1, np.float32), np.zeros(1, dtype=bool)
        states.append(BetState(state, np.full(1, budget), outcome, ended))
        state = chain.advance(state)
    values = {"exact": np.array([0, 1, 0.95]), "agent": np.array([0.2, 0.1, 0.0])}
    return Scene(task, tuple(states), (2, 2, 2), -0.15, values=values)


def test_diagram_is_pascals_triangle_modulo_two() -> None:
    lines = ansi(rule_90_from_one_cell()).splitlines()
    begin = lines.index("space and time (past above, present marked)") + 1
    assert [line[7:] for line in lines[begin : begin + 5]] == [
        "····█····",
        "···█·█···",
        "··█···█··",
        "·█·█·█·█·",
        "·········",  # not there yet
    ]
    assert [line[5] if len(line) > 5 else " " for line in lines[begin : begin + 5]] == list("   > ")


def test_best_action_of_each_column_is_marked() -> None:
    text = ansi(rule_90_from_one_cell()).splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in text if line[:4] in ("PASS", "BET ")}
    assert rows == {"PASS": ["+0.000", "+0.200*"], "BET": ["+1.000*", "+0.100"]}


def test_values_change_the_picture() -> None:
    scene = rule_90_from_one_cell()
    bare = Scene(scene.task, scene.states, scene.actions, scene.total_reward)
    assert rgb_array(scene).shape == rgb_array(bare).shape
    assert (rgb_array(scene) != rgb_array(bare)).any()


def test_window_shows_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
        window = Window()
    frame = np.zeros((40, 60, 3), dtype=np.uint8)
    frame[10:20, 30:50] = (196, 106, 46)
    window.show(frame)
    shown = window._pygame.surfarray.array3d(window._screen).transpose(1, 0, 2)
    np.testing.assert_array_equal(shown, frame)
    window.close()


def test_missing_pygame_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_pygame(name: str, *rest: Any, **more: Any) -> Any:
        if name == "pygame":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_pygame)
    with pytest.raises(gymnasium.error.DependencyNotInstalled, match=r"rl_serial\[render\]"):
        Window()
