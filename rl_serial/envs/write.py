"""The task Write: the agent writes its own working states down before it answers.

Under THINK the world computes; here the agent does. What it writes stays in its sight, right or
wrong, and the answer alone is paid for. A network of constant depth that reads its own words again
computes serially, which is what a chain of thought is (Li et al. 2024, arXiv 2402.12875; Merrill
and Sabharwal 2024, arXiv 2310.07923).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, TypeVar

from rl_serial.envs.chain import (
    Array,
    ChainWithWords,
    TokenLayout,
    array_namespace,
    each_place,
    one_hot,
    select,
    with_outcome,
)
from rl_serial.envs.random import random_words
from rl_serial.envs.tasks import BET, STARTS, Transition, random_remaining
from rl_serial.errors import require

C = TypeVar("C")

FIRST_WORD = 2
"""The action that writes word 0; PASS and BET come before it."""
WRITTEN = "written"
"""Episodes begin at any number of remaining steps, with any number of right words there."""
MEMORIES = ("words", "filler")
SHOWN_NOTES = 16
"""Most words that are shown to people."""
EXPERTS = ("reasoning", "shuffled")


@dataclass(frozen=True)
class WriteState(Generic[C]):
    """A batch of Write episodes."""

    chain: C
    scratchpad: Array  # [B, scratchpad] int64: the words, the newest first; -1 where there is none
    outcome: Array  # [B] float32: the payoff at the chain's end, which nobody can change
    ended: Array  # [B] bool


@dataclass(frozen=True)
class Write(Generic[C]):
    """PASS takes 0, BET the payoff of the chain run to its end; before it the agent may write.

    Writing a word costs nothing and moves nothing but the scratchpad, which the agent sees. With no
    room left it counts as PASS, and so does an answer that comes too early.

    Args:
        chain: has words (:class:`rl_serial.envs.chain.ChainWithWords`).
        scratchpad: most words in an episode, at least 0.
        least_words: words that stand there before an answer is legal, 0 to scratchpad; as many as
            there are steps remaining, where those are fewer.
        memory: words (the agent sees what it wrote) or filler (only how much).
        start: full (serial_depth steps remaining, nothing written), uniform (1 to serial_depth) or
            written (the same, and of the words of right reasoning any number is there already).
        missing: of start written: at most so many of those words are yet to be written; None: any
            number.

    Raises:
        ValueError: an option outside its range.
    """

    chain: ChainWithWords[C]
    scratchpad: int = 8
    least_words: int = 0
    memory: str = "words"
    start: str = "full"
    missing: int | None = None

    def __post_init__(self) -> None:
        require(self.scratchpad >= 0, "scratchpad", self.scratchpad, "at least 0")
        right = f"0 to scratchpad = {self.scratchpad}"
        require(0 <= self.least_words <= self.scratchpad, "least_words", self.least_words, right)
        require(self.memory in MEMORIES, "memory", self.memory, f"one of {', '.join(MEMORIES)}")
        starts = (*STARTS, WRITTEN)
        require(self.start in starts, "start", self.start, f"one of {', '.join(starts)}")
        if self.missing is not None:
            require(self.missing >= 0, "missing", self.missing, "at least 0")
            right = f"left out: start {self.start} has no words yet"
            require(self.start == WRITTEN, "missing", self.missing, right)

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        """PASS, BET and, with a scratchpad, WRITE with each word."""
        words = range(self.chain.num_words if self.scratchpad else 0)
        return ("PASS", "BET", *(f"WRITE {self.chain.word_name(word)}" for word in words))

    @property
    def layout(self) -> TokenLayout:
        """The chain's; behind the globals the words, then how many there are as a one-hot."""
        layout, words = self.chain.layout, self.scratchpad
        extra = words * self.chain.word_size + words + 1 if words else 0
        return TokenLayout(layout.tokens, layout.features, layout.globals + extra)

    def initial(self, seeds: Array) -> WriteState[C]:
        """Fresh episodes, with all or a uniform number of steps remaining."""
        if self.start == WRITTEN:
            return self.demonstrated(seeds)[0]
        return self.at_remaining(seeds, self._starting(seeds))

    def at_remaining(self, seeds: Array, remaining: Array) -> WriteState[C]:
        """The instances, advanced until ``remaining`` steps are left, with nothing written."""
        chain, outcome = with_outcome(self.chain, seeds, remaining)
        empty = each_place(seeds, self.scratchpad) * 0 - 1
        return WriteState(chain, empty, outcome, ended=seeds != seeds)

    def step(self, state: WriteState[C], action: Array) -> Transition[WriteState[C]]:
        """PASS and BET end the episode; a word comes to stand before the others."""
        xp = array_namespace(action)
        running = ~state.ended
        bets = xp.astype(running & (action == BET) & self._may_answer(state), xp.float32)
        writes = running & (action >= FIRST_WORD) & self._has_room(state)
        scratchpad = state.scratchpad
        if self.scratchpad:
            written = xp.concat([action[:, None] - FIRST_WORD, scratchpad[:, :-1]], axis=1)
            scratchpad = xp.where(writes[:, None], written, scratchpad)
        ended = ~writes
        after = WriteState(state.chain, scratchpad, state.outcome, ended)
        return Transition(after, bets * state.outcome, ended)

    def serial_step(
        self, state: WriteState[C], action: Array
    ) -> tuple[Transition[WriteState[C]], Array]:
        """A BET goes on step by step until the chain's end; a word is one step."""
        xp = array_namespace(action)
        whole = self.step(state, action)
        bets = ~state.ended & (action == BET) & self._may_answer(state)
        goes_on = bets & (self.remaining(state) > 1)
        midway = replace(state, chain=self.chain.advance(state.chain))
        reward = xp.where(goes_on, xp.zeros_like(whole.reward), whole.reward)
        after = select(goes_on, midway, whole.state)
        return Transition(after, reward, whole.terminated & ~goes_on), goes_on

    def observe(self, state: WriteState[C]) -> Array:
        """The chain's observation, the words from the newest on, and how many there are."""
        observation = self.chain.observe(state.chain)
        if not self.scratchpad:
            return observation
        xp = array_namespace(observation)
        words = self.chain.show_words(state.scratchpad)
        if self.memory == "filler":
            words = xp.zeros_like(words)
        count = one_hot(self.written(state), self.scratchpad + 1, xp)
        flat = xp.reshape(words, (words.shape[0], -1))
        return xp.concat([observation, flat, count], axis=1)

    def legal_actions(self, state: WriteState[C]) -> Array:
        """PASS and BET once the least words are there, words while there is room."""
        words = self._each_action(state) >= FIRST_WORD
        may_write, may_answer = self._has_room(state), self._may_answer(state)
        return array_namespace(words).where(words, may_write[:, None], may_answer[:, None])

    def examined(self, state: WriteState[C]) -> tuple[Array, Array]:
        """The answers, PASS and BET, by what they pay once they are legal."""
        actions = self._each_action(state)
        xp = array_namespace(state.outcome)
        pays = xp.where(
            actions == BET, state.outcome[:, None], xp.zeros_like(state.outcome[:, None])
        )
        return actions < FIRST_WORD, pays

    @property
    def deliberates(self) -> bool:
        """Words come before the answer, where there is a scratchpad."""
        return self.scratchpad > 0

    def action_values(self, state: WriteState[C]) -> Array:
        """Q*(PASS) = 0, Q*(BET) = outcome, Q*(WRITE) = max(0, outcome) while there is room.

        A BET that comes too early is worth what it counts as, nothing.
        """
        xp = array_namespace(state.ended)
        action, outcome = self._each_action(state), state.outcome[:, None]
        may_answer = self._may_answer(state)[:, None]
        best = xp.where(self._has_room(state)[:, None], xp.clip(outcome, 0), 0.0)
        values = xp.where(
            action >= FIRST_WORD, best, xp.where((action == BET) & may_answer, outcome, 0.0)
        )
        return xp.where(state.ended[:, None], xp.zeros_like(values), values)

    def random_values(self, state: WriteState[C]) -> Array:
        """Half the outcome under random play: PASS and BET are as likely, whatever is written."""
        xp = array_namespace(state.ended)
        return xp.where(state.ended, xp.zeros_like(state.outcome), state.outcome / 2)

    def remaining(self, state: WriteState[C]) -> Array:
        """Steps that the chain is from its end; writing does not change it."""
        return state.chain.remaining  # type: ignore[attr-defined]

    def chain_state(self, state: WriteState[C]) -> C:
        """The state of the chain."""
        return state.chain

    def with_chain(self, state: WriteState[C], chain: C) -> WriteState[C]:
        """The same words, and that chain; the outcome stays what it was."""
        return replace(state, chain=chain)

    def estimated_values(self, state: WriteState[C], payoffs: Callable[[C], Array]) -> Array:
        """The exact values if the outcome were the estimate; by it nothing is gained by a word."""
        return self.action_values(replace(state, outcome=payoffs(state.chain)))

    def notes(self, state: WriteState[C]) -> list[str]:
        """The words, the newest first; a dot where there is none."""
        if not self.scratchpad:
            return []
        title = f"scratchpad, the newest first ({int(self.written(state)[0])} of {self.scratchpad})"
        words = [int(word) for word in state.scratchpad[0, :SHOWN_NOTES]]
        return [title, *("·" if word < 0 else self.chain.word_name(word) for word in words)]

    def written(self, state: WriteState[C]) -> Array:
        """[B] int64: words that stand there."""
        xp = array_namespace(state.scratchpad)
        return xp.sum(xp.astype(state.scratchpad >= 0, xp.int64), axis=1)

    def right_words(self, state: WriteState[C]) -> Array:
        """[B, serial_depth] int64: the words for the working states that are to come, in order.

        Those behind the chain's end are the last one's.
        """
        chain, words = state.chain, []
        for _ in range(self.chain.serial_depth):
            chain = self.chain.advance(chain)
            words.append(self.chain.word(chain))
        return array_namespace(state.outcome).stack(words, axis=1)

    def demonstrated(self, seeds: Array, expert: str = "reasoning") -> tuple[WriteState[C], Array]:
        """A state of an expert's episode of each instance, and the action that it takes there.

        The expert ``reasoning`` writes the working states to come, in order, until the end or until
        there is no room left; then it gives the right answer. ``shuffled`` writes the same words in
        an order that is drawn for each instance. All steps of an episode are equally likely.

        Args:
            seeds: [B] int64.
            expert: reasoning or shuffled.

        Returns:
            State and action, [B] int64.

        Raises:
            ValueError: another expert.
        """
        require(expert in EXPERTS, "expert", expert, f"one of {', '.join(EXPERTS)}")
        xp = array_namespace(seeds)
        state = self.at_remaining(seeds, self._starting(seeds))
        dice = random_words(seeds, 1 + self.scratchpad, stream=3)
        # Of the words that it will have written, with which it answers: as many as there is room.
        most = xp.clip(self.remaining(state), None, self.scratchpad)
        least = most * 0 if self.missing is None else xp.clip(most - self.missing, 0)
        written = least + ((dice[:, 0] * (most - least + 1)) >> 32)
        words = self.right_words(state)
        if expert == "shuffled" and self.scratchpad:
            words = _shuffled(words, most, dice[:, 1:])
        goes_on = written < most
        following = xp.take_along_axis(
            words, xp.clip(written, None, words.shape[1] - 1)[:, None], axis=1
        )[:, 0]
        answer = xp.astype(state.outcome > 0, xp.int64)
        action = xp.where(goes_on, following + FIRST_WORD, answer)
        return self._noted(state, words, written), action

    @property
    def most_missing(self) -> int:
        """Words of right reasoning in the longest episode: as many can be yet to be written."""
        return min(self.scratchpad, self.chain.serial_depth)

    def with_missing(self, seeds: Array, missing: int) -> WriteState[C]:
        """Right reasoning of the instances ``seeds`` [B], all of it but the last words.

        The remaining steps are uniform over those with so many words.

        Args:
            seeds: [B] int64.
            missing: words that are yet to be written, 0 to ``most_missing``.

        Raises:
            ValueError: more words than there are.
        """
        require(0 <= missing <= self.most_missing, "missing", missing, f"0 to {self.most_missing}")
        xp = array_namespace(seeds)
        least = max(missing, 1)
        further = random_remaining(seeds, self.chain.serial_depth - least + 1) - 1
        state = self.at_remaining(seeds, least + further)
        most = xp.clip(self.remaining(state), None, self.scratchpad)
        return self._noted(state, self.right_words(state), most - missing)

    def _noted(self, state: WriteState[C], words: Array, written: Array) -> WriteState[C]:
        """The first ``written`` [B] of ``words`` [B, serial_depth] stand in the scratchpad."""
        if not self.scratchpad:
            return state
        xp = array_namespace(words)
        # The newest first: place i holds word written - 1 - i.
        index = written[:, None] - 1 - each_place(written, self.scratchpad)
        shown = xp.take_along_axis(words, xp.clip(index, 0, words.shape[1] - 1), axis=1)
        return replace(state, scratchpad=xp.where(index >= 0, shown, -1))

    def _starting(self, seeds: Array) -> Array:
        """[B] int64: the steps that episodes begin with."""
        depth = self.chain.serial_depth
        if self.start == "full":
            return array_namespace(seeds).full_like(seeds, depth)
        return random_remaining(seeds, depth)

    def _has_room(self, state: WriteState[C]) -> Array:
        """[B] bool: whether a word can be written."""
        return self.written(state) < self.scratchpad

    def _may_answer(self, state: WriteState[C]) -> Array:
        """[B] bool: whether as many words stand there as an answer asks for."""
        xp = array_namespace(state.ended)
        asked = xp.clip(self.remaining(state), None, self.least_words)
        return self.written(state) >= asked

    def _each_action(self, state: WriteState[C]) -> Array:
        """[B, num_actions] int64: the actions in each row."""
        return each_place(state.outcome, len(self.action_names))


def _shuffled(words: Array, count: Array, dice: Array) -> Array:
    """``words`` [B, N] with the first ``count`` [B] in an order by ``dice`` [B, M], M >= count."""
    xp = array_namespace(words)
    places = each_place(count, words.shape[1])
    size = dice.shape[1]
    keys = xp.take_along_axis(dice, xp.clip(places, None, size - 1), axis=1)
    # The place in the low digits makes the keys different; those behind come last, as they were.
    keys = xp.where(places < count[:, None], keys, 2**32) * words.shape[1] + places
    return xp.take_along_axis(words, xp.argsort(keys, axis=1), axis=1)
