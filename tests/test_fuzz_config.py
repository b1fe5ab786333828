"""Damaged configurations: each loads, or is refused in short lines, whatever was done to it."""

from __future__ import annotations

import random
import re
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import gymnasium
import pytest
import torch

from rl_serial.config import NETWORKS, RunConfig
from rl_serial.errors import MOST_LINE, MOST_LINES, UserError
from rl_serial.loading import load_config
from rl_serial.networks.config import BudgetConfig, NetworkConfig
from rl_serial.study.design import load_study
from rl_serial.subjects import subject_of

FILES = sorted((Path(__file__).parents[1] / "configs").glob("*/*.yaml"))
SECONDS = 15
LONG = 5000
VALUES = [
    *(
        "true",
        "yes",
        "null",
        "''",
        "x",
        "é",
        "'\\uD800'",
        '"\\uD800"',
        '"\\0"',
        "..",
        ".",
        "=",
        "<<",
    ),
    *("0", "-1", "1", "2", "7", "010", "1_000", "1e-4", "1e6", "1.5", "0.0", "-0.5", "1:2"),
    *("1e400", ".nan", ".inf", "-.inf", str(10**5), str(10**6), str(10**8), str(10**9)),
    *(str(10**18), str(2**31), str(2**63), str(10**30), "9" * LONG, "y" * LONG),
    *("2026-13-45", "2026-01-02", "!!int abc", "!!binary aGk=", "!!python/object:os.system x"),
    *("[]", "{}", "[1]", "[a, b]", "{a: 1}", "{a: 1, a: 2}", "[" * 3000, "[" * 50 + "]" * 50),
    *("{1: 2}", "{? [a] : 1}", "&a [*a]", "*nothing", "&b 3", "[0, 10000000, true]", "'", '"'),
    *("[1, -1]", "{start: 1, stop: 1000000000000, step: 1}", "{kind: value}", "[{label: a}]"),
    *("ppo", "valu", "residul", "rl_serial/PermutationAutomatonBet-v0", "rl_serial/Nothing-v0"),
    *("Reacher-v5", "rl_serial/Reach-v0", "transformer", "conv", "recurrent", "search", "greedy"),
    *("learned", "z5", "110", "uniform", "optimal", "random"),
]
LINES = [
    *("env: 3", "env: {}", "seed: 1", "seed: -1", "nothing: 1", "name: ..", "name: a/b", "? [a]"),
    *("- 1", "  x: 1", "\tx: 1", "%YAML 1.1", "---", "...", "<<: {seed: 3}", "a: &a [*a]", "{"),
    *(
        "network: {width: 8}",
        "network: {depth: 1000000, width: 8}",
        "evaluation: [1]",
        "\x00",
        ": :",
    ),
    "a0: &a0 x\n"
    + "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)),
    "agent: {kind: search, simulations: 1000000000000, max_depth: 1" + "0" * 30 + "}",
]
OPTIONS = ["serial_depth", "width", "budget", "x"]
Damage = Callable[[str, random.Random], str]


def other_value(text: str, dice: random.Random) -> str:
    """The value of a key replaced."""
    places = list(re.finditer(r"(?<=: )[^\s{}\[\],][^{}\[\],\n]*", text))
    if not places:
        return text
    place = dice.choice(places)
    value = dice.choice(VALUES)
    if place.group().isdecimal() and dice.random() < 0.6:  # a number near it, which may well do
        number = int(place.group())
        value = str(dice.choice([number - 1, number + 1, 2 * number, number // 2, 3, 6, 12]))
    return text[: place.start()] + value + text[place.end() :]


def other_key(text: str, dice: random.Random) -> str:
    """A letter of a key lost, doubled or replaced, or the key another."""
    places = list(re.finditer(r"[\w.]+(?=: )", text))
    if not places:
        return text
    place = dice.choice(places)
    key = place.group()
    i = dice.randrange(len(key))
    keys = [key[:i] + key[i + 1 :], key[:i] + key[i] + key[i:], key[:i] + "ß" + key[i + 1 :]]
    keys += [dice.choice(places).group(), "env", "task", "family", "env_id", "num_envs", "1", "~"]
    return text[: place.start()] + dice.choice(keys) + text[place.end() :]


def another_line(text: str, dice: random.Random) -> str:
    """A line lost, there twice, or one that does not belong there."""
    lines = text.splitlines()
    i = dice.randrange(len(lines) + 1)
    inserted = dice.choice([[], lines[i : i + 1] * 2, [dice.choice(LINES)]])
    return "\n".join([*lines[:i], *inserted, *lines[i + (len(inserted) != 1) :]]) + "\n"


def another_option(text: str, dice: random.Random) -> str:
    """One more key in a mapping."""
    places = list(re.finditer(r"\{(?=\w)", text))
    if not places:
        return text
    key = dice.choice([*re.findall(r"[\w.]+(?=: )", text), *OPTIONS])
    place = dice.choice(places).end()
    return f"{text[:place]}{key}: {dice.choice(VALUES)}, {text[place:]}"


def cut_off(text: str, dice: random.Random) -> str:
    """The end lost."""
    return text[: dice.randrange(len(text) + 1)]


def another_character(text: str, dice: random.Random) -> str:
    """A character that means something to YAML, anywhere."""
    i = dice.randrange(len(text) + 1)
    return text[:i] + dice.choice("{}[]:,&*!|>'\"%@`#?-\t\n\x07\ufeff\u2028") + text[i:]


DAMAGES: list[Damage] = [
    *([other_value] * 6 + [other_key] * 2 + [another_line] * 2 + [another_option] * 3),
    *(cut_off, another_character),
]


def damaged(seed: int) -> tuple[Path, str, list[str]]:
    """A shipped file, what one to three accidents make of it, and what is typed behind it.

    Every fifth file is whole, and what is typed is damaged.
    """
    dice = random.Random(seed)
    file = dice.choice(FILES)
    text = file.read_text()
    if seed % 5 == 0:
        keys = [*re.findall(r"[\w.]+(?=: )", text), *OPTIONS]
        overrides = [typed(keys, dice) for _ in range(dice.choice([1, 2]))]
        return file, text, overrides
    for _ in range(dice.choice([1, 1, 2, 3])):
        text = dice.choice(DAMAGES)(text, dice)
    return file, text, []


def typed(keys: list[str], dice: random.Random) -> str:
    """An override, mostly of a key that there is."""
    parent = dice.choice(
        ["", "env.", "network.", "agent.", "evaluation.", "agent.arguments.", "a.b."]
    )
    key = f"{parent}{dice.choice(keys)}"
    return dice.choice(
        [f"{key}={dice.choice(VALUES)}"] * 6 + [key, f"{key}.={key}", "a." * LONG + "=1"]
    )


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Seconds of the processor, which others may use too; eight times as many by the clock."""

    def stop(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"more than {seconds} seconds")

    signals = (signal.SIGPROF, signal.SIGALRM)
    before = [signal.signal(number, stop) for number in signals]
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 8 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def examine(seed: int, folder: Path) -> str:
    """How a damaged file fares: loaded, built or refused.

    Raises:
        AssertionError: a message that is long, or speaks of pydantic's affairs.
    """
    source, text, overrides = damaged(seed)
    file = folder / source.name
    file.write_text(text, encoding="utf-8")
    study = source.parent.name == "study"
    try:
        with limited(SECONDS):
            if study:
                load_study(file, smoke=seed % 2 == 0)
                return "loaded"
            config = load_config(file, overrides)
        with limited(SECONDS):
            return checked(config)
    except UserError as error:
        check_words(str(error))
        if study:
            check_source(error, file)
        return "refused"
    except gymnasium.error.DependencyNotInstalled:
        return "missing"
    finally:
        file.unlink()


def check_source(error: UserError, file: Path) -> None:
    assert error.source.startswith(str(file)), error.source


def check_words(message: str) -> None:
    lines = message.splitlines()
    assert 1 <= len(lines) <= MOST_LINES, lines
    assert all(0 < len(line) <= MOST_LINE for line in lines), lines
    assert not re.search(r"[Ii]nput should|Input tag|pydantic|validat", message), message
    assert len(set(lines)) == len(lines), lines


def checked(config: RunConfig) -> str:
    """What ``train`` does before it makes a folder, with what is small."""
    subject = subject_of(config)
    subject.check({key for key in NETWORKS if getattr(config, key)} | {"agent"})
    small = all(is_small(getattr(config, key)) for key in NETWORKS)
    rows = [getattr(config.agent, key, 0) for key in ("num_envs", "buffer_size", "prefill")]
    if not small or max(rows) > 20_000 or getattr(config.agent, "processes", 1) > 1:
        return "loaded"
    subject.trainer(torch.device("cpu"), lambda *_: None)
    return "built"


def is_small(network: NetworkConfig | None) -> bool:
    if network is None:
        return True
    cost = [network.depth * (network.width or 0) ** 2]
    cost += [
        number
        for number in (network.budget or BudgetConfig(flops=1)).model_dump().values()
        if number
    ]
    return max(cost) <= 2_000_000


def examine_all(seeds: range, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(folder)
    fates, wrong = [], []
    for seed in seeds:
        try:
            fates.append(examine(seed, folder))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            name = damaged(seed)[0].name
            wrong.append(f"{seed} {name}: {type(error).__name__}: {str(error)[:200]} ({where})")
    assert not wrong, "\n".join(wrong)
    assert list(folder.iterdir()) == []
    return fates


def test_damaged_configurations_load_or_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fates = examine_all(range(150), tmp_path, monkeypatch)
    assert {"loaded", "built", "refused"} <= set(fates)


@pytest.mark.fuzz
@pytest.mark.parametrize("first", range(0, 2000, 100))
def test_many_damaged_configurations_load_or_are_refused(
    first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine_all(range(first, first + 100), tmp_path, monkeypatch)
