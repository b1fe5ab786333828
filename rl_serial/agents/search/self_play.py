"""Self-play: the search agent moves for both sides of a game and learns from its own searches.

AlphaZero (Silver et al. 2018) with Gumbel's improved policy as target (Danihelka et al. 2022).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rl_serial.agents.protocols import ChainWorld, Log, on_host
from rl_serial.agents.search.agent import SearchAgent
from rl_serial.agents.search.games import BothSides
from rl_serial.agents.search.judgement import take_rows
from rl_serial.agents.search.trainer import SearchTrainer, trainer_of, value_targets
from rl_serial.agents.settings import SearchAgentConfig
from rl_serial.envs.games import turned_observations, turned_policies
from rl_serial.envs.games.duel import Duel, random_positions
from rl_serial.envs.random import below, random_words
from rl_serial.planning import Tree, reuse

STREAM = 100
"""Of the random words that say after how many moves a game begins."""


@dataclass(frozen=True)
class Moves:
    """Moves of a round of games, one row a move, in the order of play; seen by who moves."""

    observation: NDArray[np.float32]  # [N, size]
    legal: NDArray[np.bool_]  # [N, A]
    policy: NDArray[np.float32]  # [N, A] the target of the policy network
    value: NDArray[np.float32]  # [N] the target of the value network


class SelfPlayTrainer(SearchTrainer[Moves]):
    """Learns a game from its own search on both sides; a step is a move.

    Each round plays ``num_envs`` games as one batch, which games leave as they end. A move's search
    goes on from what the last one found below the moves made, where the configuration reuses it.
    Updates see each position turned by one of the board's symmetries, drawn anew every time.

    Arguments as of :class:`SearchTrainer`; the opponent of ``task`` has no part in training.
    """

    remembered = Moves
    further_metrics = ("self_play/plies", "self_play/first_won", "self_play/reused")

    def __init__(
        self,
        task: Any,
        config: SearchAgentConfig,
        policy: nn.Module,
        value: nn.Module,
        model: None,
        seed: int,
        device: torch.device,
        log: Callable[[str, float, int], None],
    ) -> None:
        super().__init__(task, config, policy, value, model, seed, device, log)
        self.game = task.game
        rules: Any = BothSides(task.game)
        self.mover = SearchAgent(
            rules,
            self.raw_agent,
            self.dynamics,
            config.simulations,
            config.algorithm,
            config.max_depth,
        )
        self.turns = _Turns.of(task)

    def _play(self) -> Moves:
        """A round: ``num_envs`` games, from their starts to their ends."""
        started = time.perf_counter()
        state = self._starts()
        games = np.arange(self.config.num_envs)
        kept: Tree | None = None
        steps: list[dict[str, NDArray[Any]]] = []
        self._new_tally()
        first_won = reused = 0
        while games.size:
            searching = time.perf_counter()
            output, own = self.mover.search(state, self.generator, kept)
            seconds = time.perf_counter() - searching
            self._tally.add(output, own, seconds, self.config.simulations)
            action = on_host(output.action)
            moved = self.game.step(state, action)
            steps.append(
                {
                    "game": games,
                    "observation": self.game.observe(state),
                    "legal": self.game.legal(state),
                    "policy": on_host(output.action_weights).astype(np.float32),
                    "root_value": on_host(output.value),
                    "reward": moved.reward,
                }
            )
            first_won += int((moved.reward * (1 - 2 * state.player) > 0).sum())
            goes_on = np.flatnonzero(~moved.state.ended)
            state, games = take_rows(moved.state, goes_on), games[goes_on]
            if self.config.reuse and games.size:
                kept = take_rows(reuse(output.tree, action), goes_on)
                reused += int(kept.visits[:, 0].sum())
        count = sum(step["game"].size for step in steps)
        batch = self.config.num_envs
        self.metrics |= {
            "self_play/plies": count / batch,
            "self_play/first_won": first_won / batch,
            "self_play/reused": reused / count,
        }
        speed = 3600 * batch / (time.perf_counter() - started)
        self.log("self_play/games_per_hour", speed, self.step + count)
        return self._remembered(steps)

    def _starts(self) -> Any:
        """The first positions of a round: empty boards, and some after random moves."""
        seeds = self._next_instances()
        plies = np.zeros_like(seeds)
        if self.config.random_starts:
            words = random_words(seeds, 2, STREAM)
            drawn = below(words[:, 0], self.game.most_plies)
            plies = np.where(words[:, 1] < int(self.config.random_starts * 2**32), drawn, 0)
        return random_positions(self.game, seeds, plies)

    def _remembered(self, steps: list[dict[str, NDArray[Any]]]) -> Moves:
        """What is learned of the moves, with what came of each of them for who made it."""
        shape = (len(steps), self.config.num_envs)
        rewards, roots = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for ply, step in enumerate(steps):
            rewards[ply, step["game"]] = step["reward"]
            roots[ply, step["game"]] = step["root_value"]
        lengths = sum(np.isin(np.arange(shape[1]), step["game"]) for step in steps)
        targets = value_targets(
            self.config.value_target,
            rewards,
            roots,
            np.asarray(lengths),
            self.config.n_steps,
            self.dynamics.discount,
        )
        value = [targets[ply, step["game"]] for ply, step in enumerate(steps)]
        names = ("observation", "legal", "policy")
        table = {name: np.concatenate([step[name] for step in steps]) for name in names}
        return Moves(**table, value=np.concatenate(value))

    def _drawn(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        batch = super()._drawn(rows)
        if not self.config.symmetries:
            return batch
        turn = self.generator.integers(0, len(self.turns.actions), rows.size)
        numbers, actions = self.turns.numbers[turn], self.turns.actions[turn]
        return {
            "observation": np.take_along_axis(batch["observation"], numbers, axis=1),
            "legal": np.take_along_axis(batch["legal"], actions, axis=1),
            "policy": np.take_along_axis(batch["policy"], actions, axis=1),
            "value": batch["value"],
        }


@dataclass(frozen=True)
class _Turns:
    """Where the numbers of a turned board come from, for S symmetries."""

    numbers: NDArray[np.int64]  # [S, size] of observations
    actions: NDArray[np.int64]  # [S, A]

    @classmethod
    def of(cls, task: Duel) -> _Turns:
        """Those of a game."""
        game = task.game
        places, actions = np.arange(game.layout.size), np.arange(len(game.action_names))
        turns = game.symmetries
        return cls(
            np.concatenate([turned_observations(game, places[None], turn) for turn in turns]),
            np.concatenate([turned_policies(actions[None], turn) for turn in turns]),
        )


def make_trainer(world: ChainWorld, device: torch.device, log: Log) -> SearchTrainer[Any]:
    """The trainer that a run describes: by self-play on games, else by episodes."""
    games = isinstance(world.task, Duel)
    return trainer_of(world, device, log, SelfPlayTrainer if games else SearchTrainer)
