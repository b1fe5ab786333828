"""The optional powers of a chain, held to what :mod:`rl_serial.envs.chain` says of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from rl_serial.envs.chain import ChainWithStarts, ChainWithWords
from rl_serial.envs.testing.rules import (
    BATCH,
    Rules,
    check_numbers,
    difference,
    steps_from,
    values_of,
)
from rl_serial.errors import shown

STARTS = (
    "num_starts",
    "starts_are_tokens",
    "own_start",
    "start_payoffs",
    "start_successors",
    "rewind",
)


def check_starts(rules: Rules, states: list[Any]) -> None:
    """The starts that an instance holds, where the chain says that it does."""
    chain = rules.chain
    if not isinstance(chain, ChainWithStarts):
        return
    starts, rows = chain.num_starts, np.arange(BATCH)
    rules.require(
        not chain.starts_are_tokens or chain.layout.tokens == starts,
        "starts_are_tokens",
        f"there are {starts} starts and {chain.layout.tokens} tokens",
        "start i is token i",
    )
    for step, state in enumerate(states):
        remaining = chain.serial_depth - step
        at = steps_from(remaining)
        own = rules.call("own_start", state, where=at)
        rules.require(
            own.shape == (BATCH,) and own.dtype == np.int64 and set(own) <= set(range(starts)),
            f"own_start{at}",
            f"is {list(own.shape)}, {values_of(own)}",
            f"it is [{BATCH}] int64 in [0, {starts})",
        )
        payoffs = rules.call("start_payoffs", state, where=at)
        check_numbers(rules, f"start_payoffs{at}", payoffs, (BATCH, starts), -1)
        unlike = difference(payoffs[rows, own], chain.payoff(state))
        rules.require(
            unlike is None,
            f"start_payoffs{at}",
            f"differs from payoff at the state's own start: {unlike}",
            "the own start is the one that the state pays for",
        )
        rewound = rules.call("rewind", state, where=at).remaining
        rules.require(
            ((rewound >= remaining) & (rewound <= chain.serial_depth)).all(),
            f"rewind{at}",
            f"leaves {values_of(rewound)} steps",
            f"it leaves {remaining} to serial_depth = {chain.serial_depth}",
        )
        if remaining == 0:
            continue
        after = chain.advance(state)
        successors = rules.call("start_successors", state, where=at)
        rules.require(
            successors.shape == (BATCH, starts)
            and successors.dtype == np.int64
            and ((successors >= 0) & (successors < starts)).all(),
            f"start_successors{at}",
            f"is {list(successors.shape)}, {values_of(successors)}",
            f"it is [{BATCH}, {starts}] int64 in [0, {starts})",
        )
        unlike = difference(successors[rows, own], chain.own_start(after))
        rules.require(
            unlike is None,
            f"start_successors{at}",
            f"leads elsewhere than advance: {unlike}",
            "the own start leads to the own start of the state after advance",
        )


def check_words(rules: Rules, states: list[Any]) -> None:
    """The words for working states, where the chain has them."""
    chain = rules.chain
    if not isinstance(chain, ChainWithWords):
        return
    for name, least in (("num_words", 2), ("word_size", 1)):
        number = getattr(chain, name)
        rules.require(
            isinstance(number, int) and number >= least,
            name,
            f"is {shown(number)}",
            f"it is a whole number, at least {least}",
        )
    every = np.arange(-1, chain.num_words)[None]
    looks = rules.call("show_words", every)
    check_numbers(rules, "show_words", looks, (1, every.size, chain.word_size), 0)
    rules.require(
        len(np.unique(looks[0], axis=0)) == every.size and not looks[0, 0].any(),
        "show_words",
        "shows two words alike, or something where there is none",
        "each word differs from every other, and -1 is all zero",
    )
    names = [chain.word_name(word) for word in range(chain.num_words)]
    rules.require(
        len(set(names)) == chain.num_words,
        "word_name",
        f"gives {len(set(names))} names to {chain.num_words} words",
        "each word has a name of its own",
    )
    for step, state in enumerate(states):
        at = steps_from(chain.serial_depth - step)
        word = rules.call("word", state, where=at)
        rules.require(
            word.shape == (BATCH,)
            and word.dtype == np.int64
            and ((word >= 0) & (word < chain.num_words)).all(),
            f"word{at}",
            f"is {list(word.shape)}, {values_of(word)}",
            f"it is [{BATCH}] int64 in [0, {chain.num_words})",
        )
        # Words and working states tell the same rows apart: neither says more than the other.
        both = np.column_stack([word, rules.call("working", state, where=at)])
        kinds = [len(np.unique(part, axis=0)) for part in (both, both[:, :1], both[:, 1:])]
        rules.require(
            len(set(kinds)) == 1,
            f"word{at}",
            f"takes {kinds[1]} values for {kinds[2]} working states",
            "a word says the working state, and nothing else",
        )
