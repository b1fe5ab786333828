"""Who reads the pages of the docs can decode an observation and play the chain, THINK included.

The observation is decoded by the tables of ``docs/chains`` and ``docs/tasks.md`` alone: parts,
names and sizes come from there. What follows from it is computed here from the pages' prose, in
plain Python, and compared with what the environment pays.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rl_serial  # noqa: F401  registers the environments
from rl_serial.envs import FAMILIES

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    "PermutationAutomaton": "permutation_automaton",
    "CellularAutomaton": "cellular_automaton",
    "Circuit": "circuit",
    "PointerChase": "pointer_chase",
    "WordProblem": "word_problem",
    "ManyBody": "many_body",
}


def tables(page: Path) -> list[list[dict[str, str]]]:
    """Every table of a page as rows by column."""
    found: list[list[dict[str, str]]] = []
    rows: list[list[str]] = []
    for line in [*page.read_text().splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            found.append([dict(zip(rows[0], row, strict=True)) for row in rows[2:]])
            rows = []
    return found


def table_with(page: Path, *columns: str) -> list[dict[str, str]]:
    [table] = [rows for rows in tables(page) if set(columns) <= set(rows[0])]
    return table


def options_on(page: Path, which: int = 0) -> dict[str, Any]:
    """The defaults in the ``which``-th table of options."""
    rows = [rows for rows in tables(page) if set(rows[0]) == {"option", "default", "values"}][which]
    defaults: dict[str, Any] = {}
    for row in rows:
        text = row["default"]
        number = re.fullmatch(r"-?[\d.]+", text)
        name = row["option"].strip("`")
        defaults[name] = (float(text) if "." in text else int(text)) if number else text
    return defaults


def layout_on(
    page: Path, options: dict[str, Any]
) -> list[tuple[tuple[int, ...], list[tuple[str, int]]]]:
    """The parts of an observation in order: how often each is there, and its names with sizes."""
    parts: list[tuple[tuple[int, ...], list[tuple[str, int]]]] = []
    for row in table_with(page, "part", "name", "numbers"):
        if row["part"]:
            often = re.findall(r"`([^`]+)`", row["part"])
            parts.append((tuple(value(word, options) for word in often), []))
        parts[-1][1].append((row["name"].strip("`"), value(row["numbers"].strip("`"), options)))
    return parts


def value(text: str, options: dict[str, Any]) -> int:
    """A name of an option, a number, or the sum of both."""
    return sum(int(w) if w.isdecimal() else options[w] for w in text.split(" + "))


def decode(observation: Any, parts: list[Any]) -> dict[str, Any]:
    """The numbers of an observation by name; those of a repeated part have its shape in front."""
    decoded, first = {}, 0
    for often, names in parts:
        width = sum(size for _, size in names)
        count = int(np.prod(often, dtype=int))
        block = np.reshape(observation[first : first + count * width], (*often, width))
        first, column = first + count * width, 0
        for name, size in names:
            decoded[name] = block[..., column : column + size]
            column += size
    assert first == observation.size, "the page describes all numbers and no more"
    return decoded


def place(one_hot: Any) -> int:
    [[index]] = np.nonzero(one_hot)
    return int(index)


# What the pages say, by family: from decoded observation and options to the payoff at the end.


def automaton(seen: dict[str, Any], options: dict[str, Any]) -> float:
    page = DOCS / "chains/permutation_automaton.md"
    [letters] = [
        [[int(point) for point in row[f"letter {i}"].split()] for i in range(4)]
        for row in table_with(page, "group", "letter 0")
        if row["group"] == f"`{options['group']}`"
    ]
    q = place(seen["point"])
    for letter in seen["letter"][: place(seen["remaining"])]:
        q = letters[place(letter)][q]
    assert not seen["letter"][place(seen["remaining"]) :].any()
    return 1 if q in (0, 1) else -2 / 3


def cellular(seen: dict[str, Any], options: dict[str, Any]) -> float:
    cells = [int(cell) for cell in seen["value"][:, 0]]
    digits = f"{options['rule']:08b}"[::-1]
    for _ in range(place(seen["remaining"])):
        n = len(cells)
        cells = [
            int(digits[4 * cells[i - 1] + 2 * cells[i] + cells[(i + 1) % n]]) for i in range(n)
        ]
    return 1 if cells[place(seen["target"][:, 0])] == seen["bit"][0] else -1


def circuit(seen: dict[str, Any], options: dict[str, Any]) -> float:
    inputs = wires = [int(wire) for wire in seen["wires"]]
    for layer in range(place(seen["remaining"])):
        read = inputs if options["wiring"] == "flat" else wires
        after = []
        for i in range(options["wires"]):
            b, c = np.flatnonzero(seen["b_and_c"][layer, i])
            a, n = place(seen["a"][layer, i]), int(seen["negation"][layer, i, 0])
            after.append((read[a] + read[b] * read[c] + n) % 2)
        wires = after
    return 1 if wires[0] == seen["bit"][0] else -1


def pointer(seen: dict[str, Any], options: dict[str, Any]) -> float:
    node = place(seen["here"][:, 0])
    for _ in range(place(seen["remaining"])):
        node = place(seen["successor"][node])
    return 1 if seen["pays"][node, 0] else -1


def word_problem(seen: dict[str, Any], options: dict[str, Any]) -> float:
    modulus = options["modulus"]
    [at] = np.flatnonzero(seen["asked"][:, 0])
    todo = []
    while at != place(seen["known"]):  # from the question back to what is known
        times, more = seen["times"][at], seen["more"][at]
        todo.append((place(times) if times.any() else 1, place(more) if more.any() else 0))
        at = place(seen["source"][at])
    assert len(todo) == (place(seen["remaining"]) if options["graph"] == "deep" else 1) or (
        place(seen["remaining"]) == 0
    )
    number = place(seen["number"])
    for times, more in reversed(todo):
        number = (times * number + more) % modulus
    return 1 if seen["wins"][number] else -(modulus - 1) / (modulus + 1)


def many_body(seen: dict[str, Any], options: dict[str, Any]) -> float:
    """Without contacts: x of the marked disc between two walls that drive it back as stated."""
    discs = options["discs"]
    side, radius = np.sqrt(discs * 0.25), 0.12
    rest, soft = 0.036, 0.001  # 1 m/s comes to rest at 36 mm
    stiffness = 0.5 / (rest**4 / 4 + 2 * soft * rest**3 / 3 + soft**2 * rest**2 / 2)
    x = seen["position"][0, 0] * side
    speed = (2 * seen["velocity"][0, 0] - 1) * np.sqrt(discs)
    seconds = options["interval"] * place(seen["remaining"])
    for _ in range(round(seconds / 0.0005)):
        for depth, away in ((radius - x, 1), (x + radius - side, -1)):
            if depth > 0:
                speed += away * stiffness * depth * (depth + soft) ** 2 * 0.0005
        x += speed * 0.0005
    return 1 if (x > side / 2) == (seen["half"][0] == 1) else -1


PLAYERS: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], float], list[Any]]] = {
    "PermutationAutomaton": (automaton, ["s5", "a5", "d5", "f20", "z5"]),
    "CellularAutomaton": (cellular, [110, 30, 54, 170, 90]),
    "Circuit": (circuit, ["layered", "flat"]),
    "PointerChase": (pointer, ["random", "shift"]),
    "WordProblem": (word_problem, ["deep", "shallow"]),
    "ManyBody": (many_body, ["none"]),
}
CASES = [(family, setting) for family, (_, settings) in PLAYERS.items() for setting in settings]


def options_of_page(family: str, setting: Any, **others: Any) -> dict[str, Any]:
    options = options_on(DOCS / "chains" / f"{PAGES[family]}.md")
    options = options | {FAMILIES[family].option: setting} | others
    if family == "CellularAutomaton":
        options["cells"] = 2 * options["serial_depth"] + 1
    return options


def test_every_family_is_played() -> None:
    assert set(PLAYERS) == set(FAMILIES) == set(PAGES)


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_a_reader_of_the_pages_plays_bet_with_think(name: str, setting: Any) -> None:
    pytest.importorskip("mujoco" if name == "ManyBody" else "numpy")
    player, _ = PLAYERS[name]
    options = options_of_page(name, setting, serial_depth=4)
    task = options_on(DOCS / "tasks.md", 0) | {"think_budget": 6}
    parts = layout_on(DOCS / "chains" / f"{PAGES[name]}.md", options)
    parts += layout_on(DOCS / "tasks.md", task)
    env = gym.make(f"rl_serial/{name}Bet-v0", **(options | task))
    right = 0
    for seed in range(40):
        observation, _ = env.reset(seed=seed)
        seen = decode(observation, parts)
        assert place(seen["remaining"]) == 4
        said = player(seen, options)
        for thinks in range(seed % 6):  # the last ones with no step remaining
            observation, reward, ended, _, _ = env.step(2)
            before, seen = seen, decode(observation, parts)
            assert reward == pytest.approx(-task["think_cost"])
            assert not ended
            assert place(seen["budget"]) == 6 - thinks - 1
            assert place(seen["remaining"]) == max(0, 4 - thinks - 1)
            if place(before["remaining"]) == 0:  # costs, and changes nothing else
                for part in set(seen) - {"budget"}:
                    np.testing.assert_array_equal(seen[part], before[part])
            assert player(seen, options) == said
        _, reward, ended, _, _ = env.step(1)
        assert ended
        right += reward == pytest.approx(said)
    assert right == 40


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_a_reader_of_the_pages_decodes_steer(name: str, setting: Any) -> None:
    """After ``decisions`` steps only action 0 counts; the payoff comes at the end."""
    pytest.importorskip("mujoco" if name == "ManyBody" else "numpy")
    player, _ = PLAYERS[name]
    options = options_of_page(name, setting, serial_depth=5)
    task = options_on(DOCS / "tasks.md", 1)
    assert task == {"decisions": 2, "start": "full"}
    parts = layout_on(DOCS / "chains" / f"{PAGES[name]}.md", options)
    env = gym.make(f"rl_serial/{name}Steer-v0", **options)
    for seed in range(20):
        env.reset(seed=seed)
        rewards = []
        for step in range(5):
            observation, reward, ended, _, _ = env.step(1 + step % 2)
            rewards.append(reward)
            if step == task["decisions"] - 1:
                said = player(decode(observation, parts), options)
            assert ended == (step == 4)
        assert rewards == pytest.approx([0, 0, 0, 0, said])


def word_of(name: str, seen: Any, options: dict[str, Any]) -> int | None:
    """The word that the numbers of a place show, by the page of the tasks; None: there is none."""
    if not seen.any():
        return None
    if name == "WordProblem":
        quantity, number = place(seen[: options["facts"]]), place(seen[options["facts"] :])
        return quantity * int(options["modulus"]) + number
    return place(seen)


@pytest.mark.parametrize(
    ("name", "setting"),
    [(n, s) for n, s in CASES if n in ("PermutationAutomaton", "PointerChase", "WordProblem")],
)
def test_a_reader_of_the_pages_plays_write(name: str, setting: Any) -> None:
    """It writes what it likes, finds it in its sight, and bets by what it reads of the chain."""
    player, _ = PLAYERS[name]
    options = options_of_page(name, setting, serial_depth=4)
    task = options_on(DOCS / "tasks.md", 2)
    words = {"scratchpad": 8, "least_words": 0, "memory": "words", "start": "full"}
    assert task == words | {"missing": "none"}
    del task["missing"]
    [row] = [r for r in table_with(DOCS / "tasks.md", "family") if r["family"] == name]
    size = value(row["numbers of a word"].strip("`"), options)
    parts = layout_on(DOCS / "chains" / f"{PAGES[name]}.md", options)
    parts += [
        ((task["scratchpad"],), [("word", size)]),
        ((), [("written", task["scratchpad"] + 1)]),
    ]
    env = gym.make(f"rl_serial/{name}Write-v0", **(options | task))
    choices = np.random.default_rng(0)
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        said = player(decode(observation, parts), options)
        written: list[int] = []
        for _ in range(seed % 9):
            word = int(choices.integers(int(env.action_space.n) - 2))  # type: ignore[attr-defined]
            observation, reward, ended, _, _ = env.step(2 + word)
            assert (reward, ended) == (0, False)
            written.insert(0, word)
            seen = decode(observation, parts)
            assert place(seen["written"]) == len(written)
            words = [word_of(name, numbers, options) for numbers in seen["word"]]
            assert words == written + [None] * (task["scratchpad"] - len(written))
            assert player(seen, options) == said
        _, reward, ended, _, _ = env.step(1)
        assert (reward, ended) == (pytest.approx(said), True)


def test_a_think_beyond_the_budget_counts_as_pass() -> None:
    env = gym.make("rl_serial/CircuitBet-v0", think_budget=1)
    env.reset(seed=0)
    env.step(2)
    assert env.get_wrapper_attr("action_masks")().tolist() == [True, True, False]
    _, reward, ended, _, _ = env.step(2)
    assert (reward, ended) == (0, True)


def test_starts_are_uniform_where_the_page_says_so() -> None:
    parts = layout_on(
        DOCS / "chains/pointer_chase.md", options_of_page("PointerChase", "random", serial_depth=4)
    )
    envs = gym.make_vec("rl_serial/PointerChaseBet-v0", 4000, serial_depth=4, start="uniform")
    observations, _ = envs.reset(seed=3)
    left = [place(decode(row, parts)["remaining"]) for row in observations]
    assert np.bincount(left, minlength=5).tolist()[0] == 0
    assert np.abs(np.bincount(left)[1:] - 1000).max() < 5 * np.sqrt(1000 * 3 / 4)


def test_what_one_number_tells_in_the_automaton_is_as_its_page_says() -> None:
    page = DOCS / "chains/permutation_automaton.md"
    groups = table_with(page, "group", "letter 0")
    [stated] = [rows for rows in tables(page) if "k = 1" in rows[0]]
    for row in stated:
        [letters] = [group for group in groups if group["group"] == f"`{row['group']}`"]
        images = [[int(point) for point in letters[f"letter {i}"].split()] for i in range(4)]
        wins = [1.0, 1.0, 0.0, 0.0, 0.0]
        for k in range(1, 16):
            wins = [sum(wins[image[q]] for image in images) / 4 for q in range(5)]
            excess = sum(max(win, 1 - win) for win in wins) / 5 - 0.6
            column = {1: "k = 1", 2: "2", 3: "3"}.get(k, "4 and more")
            assert excess == pytest.approx(float(row[column]), abs=6e-4)
