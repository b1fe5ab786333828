"""Does an agent of Write answer by its words? Which are right, and what others in their place do.

python benchmarks/words.py RUN ...

Each run plays instances greedily from an empty scratchpad, once as it does and once with a random
word in place of every word that it writes. An agent that computes the answer without its words
answers as well with others.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rl_serial
from rl_serial.agents.protocols import Agent, decide
from rl_serial.envs.random import EVALUATION_SEEDS
from rl_serial.envs.tasks import BET
from rl_serial.envs.write import FIRST_WORD, Write
from rl_serial.tables import markdown_table

INSTANCES = 4096


def answers(
    agent: Agent, task: Write[Any], remaining: int, dice: np.random.Generator | None = None
) -> tuple[float, NDArray[np.int64]]:
    """What an agent makes of instances with so many steps remaining.

    Args:
        agent: plays greedily.
        task: has a scratchpad.
        remaining: steps, 1 to serial_depth.
        dice: of the words that stand in place of its own; None: its own.

    Returns:
        The share of right answers, and its scratchpads at the end [INSTANCES, scratchpad] int64,
        the first word first, -1 where there is none.
    """
    seeds = EVALUATION_SEEDS + np.arange(INSTANCES, dtype=np.int64)
    state = task.at_remaining(seeds, np.full(INSTANCES, remaining))
    answer = np.zeros(INSTANCES, dtype=np.int64)
    while not state.ended.all():
        action = decide(agent.judge(state), task.legal_actions(state))
        writes = action >= FIRST_WORD
        answer = np.where(state.ended | writes, answer, action)
        if dice is not None:
            word = dice.integers(task.chain.num_words, size=INSTANCES)
            action = np.where(writes, FIRST_WORD + word, action)
        state = task.step(state, action).state
    count = task.written(state)[:, None]
    place = np.arange(task.scratchpad)[None, :]
    newest_first = np.take_along_axis(state.scratchpad, np.maximum(count - 1 - place, 0), axis=1)
    right = ((answer == BET) == (state.outcome > 0)).mean()
    return float(right), np.where(place < count, newest_first, -1)


def right_by_place(task: Write[Any], remaining: int, words: NDArray[np.int64]) -> list[float]:
    """The share of right words among those that stand at each place, the first first; NaN of none.

    Args:
        task: has a scratchpad.
        remaining: steps at the start.
        words: [INSTANCES, scratchpad] int64 of the instances of :func:`answers`.
    """
    seeds = EVALUATION_SEEDS + np.arange(INSTANCES, dtype=np.int64)
    right = task.right_words(task.at_remaining(seeds, np.full(INSTANCES, remaining)))
    found = []
    for place in range(min(remaining, task.scratchpad)):
        there = words[:, place] >= 0
        hits = words[there, place] == right[there, place]
        found.append(float(hits.mean()) if there.any() else float("nan"))
    return found


def main(folders: list[str]) -> None:
    """Print a table of each run: a row for each number of remaining steps."""
    for folder in folders:
        agent: Any = rl_serial.load(folder).agent
        task = getattr(agent, "task", None)
        if not (isinstance(task, Write) and task.scratchpad):
            raise SystemExit(f"{folder}: no run of Write with a scratchpad, so it writes no words")
        rows = []
        for remaining in range(1, task.chain.serial_depth + 1):
            own, words = answers(agent, task, remaining)
            others, _ = answers(agent, task, remaining, np.random.default_rng(0))
            places = " ".join(f"{share:.2f}" for share in right_by_place(task, remaining, words))
            rows.append((remaining, f"{own:.3f}", f"{others:.3f}", places))
        header = ("steps", "right answers", "with random words", "right words by place")
        print(f"{folder}\n{markdown_table(header, rows)}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(sys.argv[1:])
