"""The ``denoising`` agent: working states written down by masked denoising, then the answer.

It plays Bet. In the order of the steps to come it has a place for each working state, empty at
first. A pass of its network reads the instance and what stands in the places, and fills an even
share of the empty ones with their likeliest words, the surest first; later passes read them. The
pass after the last one answers. With as many steps as places it writes one word a pass, with one
step all at once: masked diffusion (Sahoo et al. 2024, arXiv 2406.07524) of what
:class:`rl_serial.envs.write.Write` has an agent write one after the other. It is trained on right
words, a random share of which is shown, as the solver of puzzles is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rl_serial.agents.fitted import FittedTrainer, Lesson, apply_network, probabilities
from rl_serial.agents.protocols import ChainWorld, Judgement, Log, Preference
from rl_serial.agents.settings_denoising import DenoisingAgentConfig
from rl_serial.envs.chain import Array, ChainWithWords, TokenLayout, array_namespace, each_place
from rl_serial.envs.random import random_words
from rl_serial.envs.tasks import Task
from rl_serial.networks import build_network, build_trunk

EMPTY, ABSENT = -1, -2
"""Places that are to be filled, and those behind the chain's end."""
SHOWN = 80
"""Stream of the random words that say which places a lesson shows."""


def chain_of(task: Task[Any]) -> ChainWithWords[Any]:
    """Its chain, which has words."""
    chain: Any = task.chain
    assert isinstance(chain, ChainWithWords)
    return chain


def places_layout(task: Task[Any]) -> TokenLayout:
    """What the network reads: the task's observation; behind it each place, and if it is empty."""
    layout, chain = task.layout, chain_of(task)
    extra = chain.serial_depth * (chain.word_size + 1)
    return TokenLayout(layout.tokens, layout.features, layout.globals + extra)


def num_outputs(task: Task[Any]) -> int:
    """Logits of each place's words, then of BET against PASS."""
    chain = chain_of(task)
    return chain.serial_depth * chain.num_words + 1


def shown_places(task: Task[Any], observations: Array, places: Array) -> Array:
    """[B, places_layout.size] float32 of observations and ``places`` [B, D] int64."""
    xp = array_namespace(observations)
    words = chain_of(task).show_words(xp.where(places < 0, xp.full_like(places, -1), places))
    empty = xp.astype(places == EMPTY, xp.float32)
    return xp.concat([observations, xp.reshape(words, (words.shape[0], -1)), empty], axis=1)


def empty_places(task: Task[Any], state: Any) -> Array:
    """[B, D] int64: a place for each step that remains, and none behind."""
    remaining = task.remaining(state)
    xp = array_namespace(remaining)
    steps = each_place(remaining, task.chain.serial_depth)
    return xp.where(steps < remaining[:, None], EMPTY + 0 * steps, ABSENT + 0 * steps)


def fill(places: Array, logits: Array, count: Array) -> Array:
    """The ``count`` [B] surest of the empty places filled with their likeliest words.

    Args:
        places: [B, D] int64.
        logits: [B, D, W].
        count: [B] int64.
    """
    xp = array_namespace(logits)
    chances = probabilities(logits, xp.ones_like(logits) > 0)
    empty = places == EMPTY
    sure = xp.where(empty, xp.max(chances, axis=2), -1.0 + 0 * chances[:, :, 0])
    rank = xp.argsort(xp.argsort(-sure, axis=1, stable=True), axis=1)
    fills = empty & (rank < count[:, None])
    return xp.where(fills, xp.argmax(chances, axis=2), places)


class DenoisingAgent:
    """Fills its places in ``steps`` passes, then answers; it has no values.

    Args:
        task: Bet without THINK, on a chain that has words.
        network: :func:`places_layout` to :func:`num_outputs`; on ``device``.
        device: of the network.
        steps: passes that fill places.
    """

    preference = Preference.PROBABILITY

    def __init__(
        self, task: Task[Any], network: nn.Module, device: torch.device, steps: int
    ) -> None:
        self.task, self.network, self.device, self.steps = task, network, device, steps

    @property
    def passes(self) -> int:
        """Forward passes of a decision, one after the other."""
        return self.steps + 1

    def judge(self, state: Any) -> Judgement:
        """The probabilities of PASS and BET."""
        observations = self.task.observe(state)
        xp = array_namespace(observations)
        places = self.written(state, observations)
        seen = shown_places(self.task, observations, places)
        answer = apply_network(self.network, seen, self.device)[:, -1]
        logits = xp.stack([xp.zeros_like(answer), answer], axis=1)
        return Judgement(probabilities(logits, self.task.legal_actions(state)), values=None)

    def written(self, state: Any, observations: Array) -> Array:
        """[B, D] int64: the words that it comes to write, -2 in places behind the chain's end."""
        task, chain = self.task, chain_of(self.task)
        xp = array_namespace(observations)
        places = empty_places(task, state)
        whole = xp.sum(xp.astype(places == EMPTY, xp.int64), axis=1)
        for step in range(1, self.steps + 1):
            seen = shown_places(task, observations, places)
            logits = apply_network(self.network, seen, self.device)[:, :-1]
            left = xp.sum(xp.astype(places == EMPTY, xp.int64), axis=1)
            # So many that after pass k of n the share k / n is filled.
            count = -(-whole * step // self.steps) - (whole - left)
            shape = (-1, chain.serial_depth, chain.num_words)
            places = fill(places, xp.reshape(logits, shape), count)
        return places


class DenoisingTrainer(FittedTrainer[DenoisingAgentConfig]):
    """Fits words that are not shown, and the answer.

    Args:
        task: Bet without THINK, on a chain that has words.
        config: steps, share of lessons that show nothing, optimiser.
        network: see :class:`DenoisingAgent`.
        seed: chooses the training instances and what is shown of them.
        device: where the network is; on a GPU the rules run there too, unless they are NumPy's.
    """

    role = "policy"

    def __init__(
        self,
        task: Task[Any],
        config: DenoisingAgentConfig,
        network: nn.Module,
        seed: int,
        device: torch.device,
    ) -> None:
        agent = DenoisingAgent(task, network, device, config.steps)
        super().__init__(task, config, network, agent, seed, device)

    @property
    def examples(self) -> dict[str, Tensor]:
        """An input of one row for the network."""
        return {self.role: torch.zeros(1, places_layout(self.task).size, device=self.device)}

    def next_lesson(self, seeds: Array, values: Callable[[Array], Array]) -> Lesson:
        """The first states of instances with a random share of the right words."""
        return self.lesson(self.task.initial(seeds), seeds, values)

    def lesson(self, state: Any, seeds: Array, values: Callable[[Array], Array]) -> Lesson:
        """The words that are not shown and the answer, [B, D + 1] each; the answer comes last.

        From none to all of the words are shown, each number as often, at random; of a share
        ``unrevealed`` of the states none is.
        """
        xp, chain = array_namespace(seeds), chain_of(self.task)
        depth = chain.serial_depth
        here, words = self.task.chain_state(state), []
        for _ in range(depth):
            here = chain.advance(here)
            words.append(chain.word(here))
        right = xp.stack(words, axis=1)
        places = empty_places(self.task, state)
        dice = random_words(seeds, depth + 2, stream=SHOWN)
        count = (dice[:, depth] * (self.task.remaining(state) + 1)) >> 32
        none = dice[:, depth + 1] < int(self.config.unrevealed * 2**32)
        count = xp.where(none, 0 * count, count)
        keys = xp.where(places == EMPTY, dice[:, :depth], 2**32 + 0 * places)
        rank = xp.argsort(xp.argsort(keys, axis=1, stable=True), axis=1)
        shown = xp.where((places == EMPTY) & (rank < count[:, None]), right, places)
        bets = xp.astype(state.outcome > 0, xp.int64)[:, None]
        asked = xp.concat([shown == EMPTY, bets == bets], axis=1)
        seen = shown_places(self.task, self.task.observe(state), shown)
        return Lesson(seen, asked, xp.concat([right, bets], axis=1))

    def loss(
        self, network: Callable[..., Tensor], observations: Tensor, known: Tensor, wanted: Tensor
    ) -> Tensor:
        """The mean cross-entropy of the words that are asked for, plus that of the answer."""
        outputs = network(observations)
        chain = chain_of(self.task)
        logits = outputs[:, :-1].reshape(-1, chain.serial_depth, chain.num_words)
        asked = known[:, :-1]
        each = F.cross_entropy(logits.transpose(1, 2), wanted[:, :-1], reduction="none")
        words = (each * asked).sum() / asked.sum().clamp(min=1)
        answer = F.binary_cross_entropy_with_logits(outputs[:, -1], wanted[:, -1].float())
        return words + answer


def make_trainer(world: ChainWorld, device: torch.device, log: Log) -> DenoisingTrainer:
    """The trainer that a run describes."""
    config = world.agent
    assert isinstance(config, DenoisingAgentConfig)
    network = build_network(build_trunk(**world.trunk("network")), num_outputs(world.task))
    return DenoisingTrainer(world.task, config, network.to(device), world.seed, device)
