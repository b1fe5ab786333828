"""Runs on chains: trainers, examination and searches on top, from a configuration."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import torch

from rl_serial.agents.denoising import num_outputs, places_layout
from rl_serial.agents.dynamics import DynamicsNetwork, rollout_error
from rl_serial.agents.fitted import fitted_outputs
from rl_serial.agents.protocols import Agent, Log, ReadsLoops, Trainer
from rl_serial.agents.registry import AGENTS
from rl_serial.agents.search.agent import SearchAgent
from rl_serial.agents.search.on_top import searchable
from rl_serial.agents.settings_denoising import DenoisingAgentConfig
from rl_serial.config import EnvConfig, RunConfig
from rl_serial.envs.gym import SerialVectorEnv, action_space, observation_space
from rl_serial.envs.registry import ENV_IDS, task_of
from rl_serial.envs.tasks import Task, num_actions
from rl_serial.errors import wrong_in
from rl_serial.metrics import Measurement, measured
from rl_serial.networks import account
from rl_serial.networks.config import NetworkConfig
from rl_serial.networks.configured import solved_trunk
from rl_serial.subjects.chains import metrics as of
from rl_serial.subjects.chains.config import evaluation_of
from rl_serial.subjects.chains.evaluation import Evaluation, Evaluator
from rl_serial.subjects.chains.floors import CPU
from rl_serial.subjects.chains.simulations import (
    baseline_scores,
    measurements_of_searches,
    search_scores,
)
from rl_serial.subjects.chains.tables import draw_accuracy, tables
from rl_serial.subjects.chains.watching import Moment, watch_episode
from rl_serial.subjects.protocol import Examine, SearchScore
from rl_serial.subjects.searching import searcher


class ChainTrainer(Trainer, Protocol):
    """A trainer that says how much it learns from, which a floor may use too."""

    @property
    def instances(self) -> int:
        """States of training instances that the whole training consumes."""


class ChainSubject:
    """The rules of a chain under a task; see :class:`rl_serial.subjects.protocol.Subject`."""

    charts: ClassVar[dict[str, Any]] = {
        "serial value function": {
            "score and return": ["Multiline", [of.SCORE.tag, of.RETURN.tag]],
            "serial horizon and reach": ["Multiline", [of.HORIZON.tag, of.REACH.tag]],
            "reach and floor": [
                "Multiline",
                [of.REACH.tag, of.ABOVE_FLOOR.tag, of.FLOOR_REACH.tag, of.REACH_OF_KIND.pattern],
            ],
            "accuracy by remaining steps": ["Multiline", [of.ACCURACY.pattern]],
            "the floor's accuracy": ["Multiline", [of.FLOOR_ACCURACY.pattern]],
            "value error": ["Multiline", [of.RMSE.tag, "train/loss"]],
        }
    }
    drawn = "accuracy by remaining steps"

    def __init__(self, config: RunConfig) -> None:
        self.config, self.seed, self.agent = config, config.seed, config.agent
        self.row, self.settings = AGENTS[config.agent.kind], evaluation_of(config)
        self.task = shared_task(config.env.model_dump_json())

    @property
    def training_task(self) -> Task[Any]:
        """The rules that training plays by: the run's, with exploring starts where it has them."""
        return task_of(self.config.env.id, **self.config.env.options | self.agent.training_options)

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

        The budget of model_network is that of its trunk with one output.

        Raises:
            UserError: a depth that the trunk cannot have, or a budget that no width meets.
        """
        if key == "policy_network" and self.config.policy_network is None:
            key = "network"
        network: NetworkConfig | None = getattr(self.config, key)
        assert network is not None
        if isinstance(self.agent, DenoisingAgentConfig):
            return solved_trunk(network, key, places_layout(self.task), num_outputs(self.task))
        layout, outputs = self.task.layout, fitted_outputs(self.agent, self.task)
        if key == "model_network":
            layout = DynamicsNetwork.input_layout(layout, num_actions(self.task))
            outputs = 1
        return solved_trunk(network, key, layout, outputs)

    def make_vec(self, num_envs: int, processes: int = 1) -> SerialVectorEnv:
        """A native vector environment of the training task, which is one batch in one process."""
        assert processes == 1
        family, kind = ENV_IDS[self.config.env.id]
        options = self.config.env.options | self.agent.training_options
        return SerialVectorEnv(num_envs, family=family.name, task=kind, **options)

    def trainer(self, device: torch.device, log: Log) -> ChainTrainer:
        """The trainer that the configuration describes."""
        torch.manual_seed(self.config.seed)
        trainer: ChainTrainer = self.row.make_trainer(self, device, log)
        return trainer

    def examiner(self) -> Evaluator:
        """Makes the evaluation instances."""
        settings, env = self.settings, self.config.env.model_dump_json()
        try:
            return shared_evaluator(env, settings.instances, settings.per_remaining, settings.seed)
        except ValueError as error:
            raise wrong_in("env", error) from None

    def last_examination(self, examine: Examine, trainer: Trainer) -> Evaluation:
        """What the agent does, beside what is done without serial computation: the floor."""
        assert isinstance(examine, Evaluator)
        consumed: Any = trainer
        device = getattr(trainer, "device", CPU)
        floor = examine.floor(consumed.instances, self.config.seed, self.training_task, device)
        found = replace(examine(trainer.agent), floor=floor)
        name = self.row.answers_by
        if not name or name not in getattr(trainer, "networks", {}):  # somebody else's agent
            return found
        cost = account(trainer.networks[name], trainer.examples[name])
        return replace(found, critical_path=examine.critical_path(trainer.agent, cost))

    def further_measurements(
        self, trainer: Trainer, examine: Examine, device: torch.device
    ) -> list[Measurement]:
        """What the end of a run measures beside the last examination.

        The same weights at other numbers of loops, scores of searches on top and of their
        baselines, and how a learned model's error grows.
        """
        assert isinstance(examine, Evaluator)
        found: list[Measurement] = []
        for loops in self.settings.loops:
            assert isinstance(trainer, ReadsLoops)
            found += examine(trainer.agent_after(loops)).after_loops(loops)
        counts, baselines = self.settings.simulations, self.settings.baselines
        models = searchable(trainer, self.task)
        for name in models if counts else ():
            scores = search_scores(self.searcher(trainer, device, name), examine, counts)
            found += measurements_of_searches(scores, {"dynamics": name}, bool(baselines))
        for name in baselines:
            searcher = self.searcher(trainer, device, "true")
            scores = baseline_scores(name, searcher, examine, counts, self.config.seed)
            found += measurements_of_searches(scores, {"baseline": name}, True)
        if "learned" in models:
            steps = self.task.chain.serial_depth
            error = rollout_error(models["learned"], self.task, examine.seeds, steps)
            found += [
                measured(of.MODEL_ERROR, number, quantity=name, step=step)
                for name, numbers in vars(error).items()
                for step, number in enumerate(numbers, start=1)
            ]
        return found

    def search_scores(self, searcher: SearchAgent, simulations: Sequence[int]) -> list[SearchScore]:
        """Scores of the one-ply agent and of searches with each number of ``simulations``."""
        settings = self.settings
        evaluator = Evaluator(self.task, settings.instances, per_remaining=1, seed=settings.seed)
        return search_scores(searcher, evaluator, simulations)

    def watch(self, agent: Agent, instance: int = 0) -> list[Moment]:
        """An evaluation episode from its first state to its end."""
        return watch_episode(agent, self.task, instance, self.settings.seed)

    searcher = searcher
    tables = staticmethod(tables)
    draw = staticmethod(draw_accuracy)


@lru_cache(maxsize=8)
def shared_task(env: str) -> Task[Any]:
    """The rules of an environment as JSON, which the runs of a process share.

    Raises:
        ValueError: an unknown id or option.
    """
    return EnvConfig.model_validate_json(env).task()


@lru_cache(maxsize=4)
def shared_evaluator(env: str, instances: int, per_remaining: int, seed: int) -> Evaluator:
    """The evaluation instances, which the runs of a process share; errors as of Evaluator."""
    return Evaluator(shared_task(env), instances, per_remaining, seed)
