"""Runs on chains: trainers, examination and searches on top, from a configuration."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

from rl_serial.agents.agent import Agent
from rl_serial.agents.baselines import OptimalAgent, RandomAgent
from rl_serial.agents.cloning import CloningTrainer
from rl_serial.agents.dynamics import (
    Dynamics,
    DynamicsNetwork,
    LearnedDynamics,
    TrueDynamics,
    rollout_error,
)
from rl_serial.agents.search import OnePlyAgent, SearchAgent, SearchTrainer, tensors_on
from rl_serial.agents.targets import starts_of
from rl_serial.agents.value import ValueTrainer
from rl_serial.config import (
    WITHOUT_VALUES,
    BaselineConfig,
    CloningAgentConfig,
    EnvConfig,
    NetworkConfig,
    RunConfig,
    SB3AgentConfig,
    SearchAgentConfig,
    ValueAgentConfig,
)
from rl_serial.envs.registry import ENV_IDS, task_of
from rl_serial.envs.tasks import Task, num_actions
from rl_serial.errors import UserError
from rl_serial.networks import (
    Account,
    HorizonHead,
    Network,
    account,
    build_network,
    build_trunk,
)
from rl_serial.training.evaluation import (
    ABOVE_FLOOR,
    ACCURACY,
    Evaluation,
    Evaluator,
    loops_metrics,
)
from rl_serial.training.floors import CPU, FLOOR_ACCURACY, floor_tags
from rl_serial.training.simulations import SearchScore, baseline_scores, search_scores
from rl_serial.training.subject import Examine, Log, Trainer, device_of, solved_trunk
from rl_serial.training.watching import Moment, watch_episode

SEARCH_DEFAULTS = SearchAgentConfig(kind="search")


class ChainTrainer(Trainer, Protocol):
    """A trainer that says how much it learns from, which a floor may use too."""

    @property
    def instances(self) -> int:
        """States of training instances that the whole training consumes."""


class ChainSubject:
    """The rules of a chain under a task; see :class:`rl_serial.training.subject.Subject`."""

    charts: ClassVar[dict[str, Any]] = {
        "serial value function": {
            "score and return": ["Multiline", ["eval/score", "eval/return"]],
            "serial horizon and reach": [
                "Multiline",
                ["eval/serial_horizon", "eval/serial_reach"],
            ],
            "reach and floor": ["Multiline", ["eval/serial_reach", ABOVE_FLOOR, "floor/.*reach"]],
            "accuracy by remaining steps": ["Multiline", [f"{ACCURACY}.*"]],
            "the floor's accuracy": ["Multiline", [f"{FLOOR_ACCURACY}.*"]],
            "value error": ["Multiline", ["value/rmse", "train/loss"]],
        }
    }

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.task = shared_task(config.env.model_dump_json())

    def check(self, keys: Collection[str]) -> None:
        """Refuse networks that cannot be built and arguments that the algorithm has not."""
        for key in set(keys) - {"agent"}:
            trunk_settings(self.config, key, self.task)
        if "agent" in keys and isinstance(self.config.agent, SB3AgentConfig):
            from rl_serial.agents.sb3 import check_arguments

            check_arguments(self.config.agent)

    def examiner(self) -> Evaluator:
        """Makes the evaluation instances."""
        settings = self.config.evaluation
        env = self.config.env.model_dump_json()
        try:
            return shared_evaluator(env, settings.instances, settings.per_remaining, settings.seed)
        except ValueError as error:
            raise UserError(f"env: {error}") from None

    @property
    def late_metrics(self) -> list[str]:
        """The floor's."""
        return [ABOVE_FLOOR, *floor_tags(self.task.chain.serial_depth)]

    def last_examination(self, examine: Examine, agent: Agent, trainer: Any) -> Evaluation:
        """What the agent does, beside what is done without serial computation: the floor."""
        assert isinstance(examine, Evaluator)
        instances = 0 if trainer is None else trainer.instances
        device = getattr(trainer, "device", CPU)
        floor = examine.floor(instances, self.config.seed, training_task(self.config), device)
        return replace(examine(agent), floor=floor)

    def trainer(self, device: torch.device, log: Log) -> ChainTrainer:
        """The trainer that the configuration describes."""
        return make_trainer(self.config, self.task, device, log)

    def baseline(self) -> Agent | None:
        """The agent without training, where the configuration asks for one."""
        if not isinstance(self.config.agent, BaselineConfig):
            return None
        if self.config.agent.kind == "optimal":
            optimal: Agent = OptimalAgent(self.task)
            return optimal
        # The random agent's dice differ from those of the evaluator's own random play.
        return RandomAgent(self.task, self.config.seed + 1_000_003)

    def accounts(self, trainer: Trainer) -> dict[str, Account]:
        """What each network costs."""
        accounts = {}
        for name, network in trainer.networks.items():
            size = self.task.layout.size
            if isinstance(network, DynamicsNetwork):
                size = network.input_size
            accounts[name] = account(network, torch.zeros(1, size, device=device_of(network)))
        return accounts

    def further_metrics(
        self, trainer: Trainer, examine: Examine, device: torch.device
    ) -> dict[str, float]:
        """What the end of a run measures beside the last examination.

        The same weights at other numbers of loops, scores of searches on top and of their
        baselines, and how a learned model's error grows.
        """
        assert isinstance(examine, Evaluator)
        metrics: dict[str, float] = {}
        for loops in self.config.evaluation.loops:
            assert isinstance(trainer, ValueTrainer)
            agent = acting(trainer.agent_after(loops), self.task, trainer.config)
            metrics |= loops_metrics(loops, examine(agent))
        counts, baselines = self.config.evaluation.simulations, self.config.evaluation.baselines
        models = searchable(trainer, self.task)
        scores: dict[str, list[SearchScore]] = {}
        for name in models if counts else ():
            searcher = searcher_of(self.config, trainer, self.task, device, name)
            scores[name] = search_scores(searcher, examine, counts)
        for name in baselines:
            searcher = searcher_of(self.config, trainer, self.task, device, "true")
            scores[name] = baseline_scores(name, searcher, examine, counts, self.config.seed)
        for name, found_scores in scores.items():
            for found in found_scores:
                metrics[f"search/{name}/score/{found.tag}"] = found.score
                for remaining, share in found.right.items():
                    metrics[f"search/{name}/right/{found.tag}/remaining_{remaining}"] = share
                if baselines:
                    metrics[f"search/{name}/model_steps/{found.tag}"] = found.model_steps
        if "learned" in models:
            steps = self.task.chain.serial_depth
            error = rollout_error(models["learned"], self.task, examine.seeds, steps)
            metrics |= {
                f"model/{name}/step_{k}": float(number)
                for name, numbers in vars(error).items()
                for k, number in enumerate(numbers, start=1)
                if not np.isnan(number)
            }
        return metrics

    def watch(self, agent: Agent, instance: int = 0) -> list[Moment]:
        """An evaluation episode from its first state to its end."""
        return watch_episode(agent, self.task, instance, self.config.evaluation.seed)


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


def trunk_settings(config: RunConfig, key: str, task: Task[Any]) -> dict[str, Any]:
    """The settings of the trunk that ``key`` describes, its width solved where a budget is given.

    Args:
        config: of the run.
        key: network, policy_network or model_network. The budget of model_network is that of its
            trunk with one output.
        task: the run's.

    Raises:
        UserError: a depth that the trunk cannot have, or a budget that no width meets.
    """
    network: NetworkConfig = getattr(config, key)
    layout = task.layout
    outputs: int | HorizonHead = num_actions(task)
    if key == "model_network":
        layout, outputs = DynamicsNetwork.input_layout(layout, num_actions(task)), 1
    elif isinstance(config.agent, ValueAgentConfig | CloningAgentConfig):
        outputs = fitted_outputs(config.agent, task)
    return solved_trunk(network, key, layout, outputs)


def training_task(config: RunConfig) -> Task[Any]:
    """The rules that training plays by: the run's, with exploring starts where it has them."""
    exploring = isinstance(config.agent, SB3AgentConfig) and config.agent.exploring_starts
    options = config.env.options | ({"start": "uniform"} if exploring else {})
    return task_of(config.env.id, **options)


def fitted_outputs(
    agent: ValueAgentConfig | CloningAgentConfig, task: Task[Any]
) -> int | HorizonHead:
    """What a fitted network gives: a number for each action, or for each start and horizon."""
    if not agent.all_starts:
        return num_actions(task)
    chain = starts_of(task)
    return HorizonHead(chain.num_starts, chain.serial_depth, agent.head, agent.readout)


def make_trainer(
    config: RunConfig, task: Task[Any], device: torch.device, log: Log
) -> ChainTrainer:
    """The trainer that a configuration describes.

    Raises:
        UserError: settings that do not go together; the message names the key.
    """
    assert config.network is not None
    torch.manual_seed(config.seed)
    actions = num_actions(task)
    value_trunk = policy_trunk = trunk_settings(config, "network", task)
    if config.policy_network is not None:
        policy_trunk = trunk_settings(config, "policy_network", task)
    if isinstance(config.agent, ValueAgentConfig):
        network = build_network(build_trunk(**value_trunk), fitted_outputs(config.agent, task))
        trainer = ValueTrainer(task, config.agent, network.to(device), config.seed, device)
        trainer.agent = acting(trainer.raw_agent, task, config.agent)
        return trainer
    if isinstance(config.agent, CloningAgentConfig):
        network = build_network(build_trunk(**policy_trunk), fitted_outputs(config.agent, task))
        return CloningTrainer(task, config.agent, network.to(device), config.seed, device)
    if isinstance(config.agent, SearchAgentConfig):
        model = None
        if config.model_network is not None:
            trunk = build_trunk(**trunk_settings(config, "model_network", task))
            model = DynamicsNetwork(trunk, task.layout, actions).to(device)
        return SearchTrainer(
            task,
            config.agent,
            Network(build_trunk(**policy_trunk), actions).to(device),
            Network(build_trunk(**value_trunk), 1).to(device),
            model,
            config.seed,
            device,
            log,
        )
    from rl_serial.agents.sb3 import SB3Trainer, check_arguments
    from rl_serial.envs.gym import SerialVectorEnv

    assert isinstance(config.agent, SB3AgentConfig)
    check_arguments(config.agent)
    family, kind = ENV_IDS[config.env.id]
    options = config.env.options | {"start": training_task(config).start}
    env = SerialVectorEnv(config.agent.num_envs, family=family.name, task=kind, **options)
    return SB3Trainer(env, config.agent, value_trunk, policy_trunk, config.seed, device, log)


def acting(agent: Agent, task: Task[Any], config: ValueAgentConfig) -> Agent:
    """The agent on a network's values, one ply ahead where the configuration says so."""
    return OnePlyAgent(task, agent, TrueDynamics(task)) if config.one_ply else agent


def without_search(trainer: Trainer) -> Agent:
    """The agent of a trainer as its networks alone make it."""
    if isinstance(trainer, SearchTrainer | ValueTrainer):
        return trainer.raw_agent
    agent: Agent = trainer.agent
    return agent


def searchable(trainer: Trainer, task: Task[Any]) -> dict[str, Dynamics]:
    """The models that a trained agent can be searched in: true, and learned where it has one."""
    dynamics: dict[str, Dynamics] = {"true": TrueDynamics(task)}
    if isinstance(trainer, SearchTrainer) and isinstance(trainer.dynamics, LearnedDynamics):
        dynamics["learned"] = trainer.dynamics
    return dynamics


def searcher_of(
    config: RunConfig,
    trainer: Any,
    task: Task[Any],
    device: torch.device,
    dynamics: str | None = None,
    algorithm: str | None = None,
    simulations: int = 0,
) -> SearchAgent:
    """A search on top of a trained agent; None: as the run searched itself, if it did.

    Args:
        config: of the run.
        trainer: trained, or the optimal agent.
        task: the run's.
        device: where the networks are, and then the trees.
        dynamics: true or learned; else the run's own.
        algorithm: gumbel or puct; else the run's own.
        simulations: of a decision.

    Raises:
        UserError: an agent without values; dynamics that were not learned.
    """
    if config.agent.kind in WITHOUT_VALUES:
        raise UserError(
            f"{config.name}: the agent {config.agent.kind} has no values to search with"
        )
    models: dict[str, Dynamics] = {"true": TrueDynamics(task)}
    agent: Agent = trainer
    if not isinstance(trainer, OptimalAgent):
        agent, models = without_search(trainer), searchable(trainer, task)
    own = config.agent if isinstance(config.agent, SearchAgentConfig) else SEARCH_DEFAULTS
    chosen = dynamics or own.dynamics
    if chosen not in models:
        raise UserError(
            f"{config.name}: has no {chosen} dynamics; there are {', '.join(models)} "
            "(agent.kind search with agent.dynamics learned trains its own)"
        )
    return SearchAgent(
        task,
        agent,
        models[chosen],
        simulations,
        algorithm or own.algorithm,
        own.max_depth,
        tensors_on(device, task),
    )
