"""Runs on games: trainers and examination, from a configuration."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar

import torch

from rl_serial.agents.fitted import fitted_outputs
from rl_serial.agents.protocols import Log, ReadsLoops, Trainer
from rl_serial.agents.registry import AGENTS
from rl_serial.agents.search import SearchAgent
from rl_serial.config import EnvConfig, RunConfig
from rl_serial.envs.games import game_name
from rl_serial.envs.games.duel import Duel, make_duel
from rl_serial.envs.games.gym import GameVectorEnv
from rl_serial.envs.gym import action_space, observation_space
from rl_serial.metrics import Measurement
from rl_serial.networks.config import NetworkConfig
from rl_serial.networks.configured import solved_trunk
from rl_serial.subjects.games import metrics as of
from rl_serial.subjects.games.config import duel_of, evaluation_of, plies_of
from rl_serial.subjects.games.evaluation import GameEvaluation, GameEvaluator
from rl_serial.subjects.games.simulations import (
    measured_one_ply,
    measured_search,
    openings_not_won,
    search_scores,
)
from rl_serial.subjects.games.tables import draw_by_plies, tables
from rl_serial.subjects.games.watching import GameMoment, watch_game
from rl_serial.subjects.protocol import Examine, SearchScore
from rl_serial.subjects.searching import searcher


class GameSubject:
    """The rules of a game and its opponent; see :class:`rl_serial.subjects.protocol.Subject`."""

    charts: ClassVar[dict[str, Any]] = {
        "games": {
            "return": ["Multiline", [of.RETURN.tag, of.WON.tag]],
            "moves that keep the value": ["Multiline", [of.KEPT.tag, of.KEPT_FLOOR.tag]],
            "kept by plies": ["Multiline", [of.KEPT_BY.pattern]],
            "right value signs": ["Multiline", [of.SIGN.tag, of.SIGN_FLOOR.tag]],
            "signs by plies": ["Multiline", [of.SIGN_BY.pattern]],
            "serial horizon": ["Multiline", [of.HORIZON.tag, of.SIGN_HORIZON.tag]],
            "loss": ["Multiline", ["train/loss", "train/policy_loss", "train/value_loss"]],
        }
    }
    drawn = "value signs and kept moves by plies to the end"

    def __init__(self, config: RunConfig) -> None:
        self.config, self.seed, self.agent = config, config.seed, config.agent
        self.row, self.settings = AGENTS[config.agent.kind], evaluation_of(config)
        self.task: Any = duel_of(config)

    @property
    def training_task(self) -> Duel:
        """The rules that training plays by: the run's, with exploring starts where it has them."""
        return duel_of(self.config, **self.agent.training_options)

    @property
    def spaces(self) -> tuple[Any, Any]:
        """The flat Box of observations, and the discrete actions."""
        return observation_space(self.task), action_space(self.task)

    def check(self, keys: Collection[str]) -> None:
        """Refuse networks that cannot be built and arguments that the algorithm has not."""
        for key in set(keys) - {"agent"}:
            self.trunk(key)
        if "agent" in keys:
            self.row.check_arguments(self.agent)

    def trunk(self, key: str) -> dict[str, Any]:
        """The settings of the trunk that ``key`` describes, its width solved where a budget is.

        Raises:
            UserError: a depth that the trunk cannot have, or a budget that no width meets.
        """
        if key == "policy_network" and self.config.policy_network is None:
            key = "network"
        network: NetworkConfig | None = getattr(self.config, key)
        assert network is not None
        outputs = fitted_outputs(self.agent, self.task)
        return solved_trunk(network, key, self.task.layout, outputs)

    def make_vec(self, num_envs: int, processes: int = 1) -> GameVectorEnv:
        """A native vector environment of the training task, which is one batch in one process."""
        assert processes == 1
        options = self.config.env.options | self.agent.training_options
        return GameVectorEnv(num_envs, game=str(game_name(self.config.env.id)), **options)

    def trainer(self, device: torch.device, log: Log) -> Trainer:
        """The trainer that the configuration describes."""
        torch.manual_seed(self.config.seed)
        trainer: Trainer = self.row.make_trainer(self, device, log)
        return trainer

    def examiner(self) -> GameEvaluator:
        """Draws the evaluation positions."""
        settings = self.settings
        return shared_evaluator(
            self.config.env.model_dump_json(),
            settings.instances,
            settings.per_plies,
            tuple(plies_of(self.config)),
            settings.seed,
        )

    def last_examination(self, examine: Examine, trainer: Trainer) -> GameEvaluation:
        """What the agent does beside the floor, and in games from won openings."""
        assert isinstance(examine, GameEvaluator)
        instances = int(getattr(trainer, "instances", 0))
        floor = examine.floor(instances, self.config.seed, self.training_task)
        found = examine(trainer.agent)
        openings = openings_not_won(trainer.agent, self.task.game) if found.groups else None
        return replace(found, floor=floor, openings=openings)

    def further_measurements(
        self, trainer: Trainer, examine: Examine, device: torch.device
    ) -> list[Measurement]:
        """Value signs with other numbers of loops, and what searches on top add."""
        assert isinstance(examine, GameEvaluator)
        found: list[Measurement] = []
        for loops in self.settings.loops:
            assert isinstance(trainer, ReadsLoops)
            found += examine(trainer.agent_after(loops)).after_loops(loops)
        if self.settings.simulations:
            searcher = self.searcher(trainer, device)
            found += measured_one_ply(searcher, examine)
            for count in self.settings.simulations:
                found += measured_search(searcher.with_simulations(count), examine)
        return found

    def search_scores(self, searcher: SearchAgent, simulations: Sequence[int]) -> list[SearchScore]:
        """Scores of the one-ply agent and of searches with each number of ``simulations``."""
        return search_scores(searcher, self.examiner(), simulations)

    def watch(self, agent: Any, instance: int = 0) -> list[GameMoment]:
        """An evaluation game from its first state to its end."""
        return watch_game(agent, self.task, instance, self.settings.seed)

    searcher = searcher
    tables = staticmethod(tables)
    draw = staticmethod(draw_by_plies)


@lru_cache(maxsize=4)
def shared_evaluator(
    env: str, instances: int, per_plies: int, groups: tuple[int, ...], seed: int
) -> GameEvaluator:
    """The evaluation positions, which the runs of a process share."""
    config = EnvConfig.model_validate_json(env)
    task = make_duel(str(game_name(config.id)), **config.options)
    return GameEvaluator(task, instances, per_plies, list(groups), seed)
