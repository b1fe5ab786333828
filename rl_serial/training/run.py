"""From a configuration to a run folder: train, evaluate, checkpoint, resume.

A run folder holds ``config.yaml`` (resolved), TensorBoard events, ``metrics.csv``, ``checkpoints``,
``model.pt`` and ``summary.json``.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from rl_serial.agents.agent import Agent
from rl_serial.agents.baselines import OptimalAgent, RandomAgent
from rl_serial.agents.dynamics import (
    Dynamics,
    DynamicsNetwork,
    LearnedDynamics,
    TrueDynamics,
    rollout_error,
)
from rl_serial.agents.search import OnePlyAgent, SearchAgent, SearchTrainer, tensors_on
from rl_serial.agents.value import ValueTrainer
from rl_serial.config import (
    BaselineConfig,
    NetworkConfig,
    RunConfig,
    SearchAgentConfig,
    ValueAgentConfig,
    parse_config,
    read_yaml,
    write_yaml,
)
from rl_serial.envs import simulation
from rl_serial.envs.registry import ENV_IDS
from rl_serial.envs.tasks import Task, num_actions
from rl_serial.errors import RunError, UserError
from rl_serial.networks import Account, Network, account, build_trunk, solve_width
from rl_serial.training.evaluation import Evaluation, Evaluator
from rl_serial.training.files import (
    checkpoints,
    is_partial,
    load_tensors,
    save_checkpoint,
    save_tensors,
    write_json,
    write_text,
)
from rl_serial.training.monitoring import Monitor, metrics_of
from rl_serial.training.simulations import search_scores
from rl_serial.training.watching import animated_gif, watch_episode

SEARCH_DEFAULTS = SearchAgentConfig(kind="search")
EVALUATIONS = 10
"""Evaluations in a run whose configuration does not say how often."""


class Trainer(Protocol):
    """What a run asks of an agent in training."""

    total: int  # steps of the whole training
    metrics: dict[str, float]  # what it last logged itself

    @property
    def step(self) -> int:
        """Steps made."""

    @property
    def agent(self) -> Agent:
        """The agent as it is now."""

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that are trained."""

    def train(self, pause: Callable[[], None]) -> None:
        """Make the steps that are left, calling ``pause`` where the state is whole."""

    def state_dict(self) -> dict[str, Any]:
        """The whole state of training, as tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""

    def model_state(self) -> dict[str, Any]:
        """The trained weights."""

    def load_model_state(self, state: dict[str, Any]) -> None:
        """Take trained weights."""


def use_threads(count: int) -> None:
    """Let torch, the compiled search and MuJoCo work with ``count`` threads in this process."""
    torch.set_num_threads(count)
    simulation.use_threads(count)
    os.environ["NUMBA_NUM_THREADS"] = str(count)


def choose_device(name: str) -> torch.device:
    """The device called auto (a GPU where there is one), cpu or cuda.

    Raises:
        UserError: cuda is asked for and is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU here; use cpu or auto")
    return torch.device(name)


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
    layout, outputs = task.layout, num_actions(task)
    if key == "model_network":
        layout, outputs = DynamicsNetwork.input_layout(layout, outputs), 1
    settings: dict[str, Any] = {
        "kind": network.kind,
        "layout": layout,
        "depth": network.depth,
        "loops": network.loops,
        **network.options,
    }
    try:
        if network.budget is None:
            settings["width"] = network.width
        else:
            budget = network.budget.model_dump(exclude_none=True)
            settings["width"] = solve_width(num_outputs=outputs, **settings, **budget)
        with torch.device("meta"):
            build_trunk(**settings)
    except ValueError as error:
        raise UserError(f"{key}: {error}") from None
    return settings


def make_trainer(
    config: RunConfig, task: Task[Any], device: torch.device, log: Callable[[str, float, int], None]
) -> Trainer:
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
        network = Network(build_trunk(**value_trunk), actions)
        trainer = ValueTrainer(task, config.agent, network.to(device), config.seed, device)
        if config.agent.one_ply:
            trainer.agent = OnePlyAgent(task, trainer.raw_agent, TrueDynamics(task))
        return trainer
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

    assert not isinstance(config.agent, BaselineConfig)
    check_arguments(config.agent, config.name)
    family, kind = ENV_IDS[config.env.id]
    env = SerialVectorEnv(
        config.agent.num_envs, family=family.name, task=kind, **config.env.options
    )
    return SB3Trainer(env, config.agent, value_trunk, policy_trunk, config.seed, device, log)


def account_networks(networks: dict[str, nn.Module], task: Task[Any]) -> dict[str, Account]:
    """What each network costs."""
    accounts = {}
    for name, network in networks.items():
        size = network.input_size if isinstance(network, DynamicsNetwork) else task.layout.size
        accounts[name] = account(network, torch.zeros(1, size, device=_device_of(network)))
    return accounts


def train(
    config: RunConfig,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Evaluation:
    """Carry out a run and return its last evaluation.

    Args:
        config: what to run.
        folder: where; it must not exist unless ``resume``.
        resume: go on from the last checkpoint, or start where there is none.
        device: auto, cpu or cuda.
        progress: show a bar.

    Raises:
        UserError: the folder exists, or holds a run of another configuration.
        RunError: training failed; what was written stays.
    """
    chosen_device = choose_device(device)
    task = config.env.task()
    _check_folder(config, folder, resume)
    summary = {"status": "running", "config": config.model_dump(mode="json")} | _surroundings(
        chosen_device
    )
    # What the configuration cannot have is refused before the folder is made.
    evaluator = _make_evaluator(config, task)
    run: _BaselineRun | _Run
    if isinstance(config.agent, BaselineConfig):
        run = _BaselineRun(config, task, evaluator, folder, summary)
    else:
        run = _Run(config, task, evaluator, folder, summary, chosen_device, progress)
    _make_folder(config, folder)
    try:
        return run.carry_out()
    except (RunError, OSError, MemoryError) as error:
        _record_failure(folder, summary, error)
        if isinstance(error, MemoryError):
            raise RunError(f"{folder}: not enough memory: {error}") from error
        if isinstance(error, OSError):
            raise RunError(f"{folder}: {error.strerror or error}; --resume goes on") from error
        raise


class _BaselineRun:
    """The examination of an agent that needs no training."""

    def __init__(
        self,
        config: RunConfig,
        task: Task[Any],
        evaluator: Evaluator,
        folder: Path,
        summary: dict[str, Any],
    ) -> None:
        self.agent, self.evaluator = _baseline(config, task), evaluator
        self.folder, self.summary = folder, summary

    def carry_out(self) -> Evaluation:
        evaluation = self.evaluator(self.agent)
        monitor = Monitor(self.folder)
        monitor.evaluation(0, metrics_of(evaluation))
        monitor.close()
        self.summary |= {"status": "done", "final": _final(evaluation)}
        write_json(self.folder / "summary.json", self.summary)
        return evaluation


class _Run:
    """A run in the making: puts trainer, evaluator, monitor and checkpoints together."""

    def __init__(
        self,
        config: RunConfig,
        task: Task[Any],
        evaluator: Evaluator,
        folder: Path,
        summary: dict[str, Any],
        device: torch.device,
        progress: bool,
    ) -> None:
        self.config, self.task, self.evaluator, self.device = config, task, evaluator, device
        self.folder, self.summary = folder, summary
        self.progress = progress
        self.trainer = make_trainer(config, task, device, self._log)
        self.spent = {"seconds": 0.0, "cpu_seconds": 0.0}  # before this start
        saved = checkpoints(folder / "checkpoints")
        if saved:
            state = load_tensors(saved[-1])
            try:
                self.trainer.load_state_dict(state["trainer"])
                self.spent = state["spent"]
            except (KeyError, RuntimeError, ValueError, TypeError, AttributeError):
                raise UserError(
                    f"{saved[-1]}: not a checkpoint of the run that config.yaml describes; "
                    "delete it to go on from the one before it"
                ) from None
        self.every = config.evaluation.every or max(1, self.trainer.total // EVALUATIONS)
        self.last_checked = self.trainer.step if saved else -1

    def carry_out(self) -> Evaluation:
        resumed_at = self.trainer.step if self.last_checked >= 0 else None
        self.monitor = Monitor(self.folder, resumed_at)
        try:
            return self._train()
        finally:
            self.monitor.close()

    def _train(self) -> Evaluation:
        accounts = account_networks(self.trainer.networks, self.task)
        self.summary["accounts"] = {name: asdict(cost) for name, cost in accounts.items()}
        write_json(self.folder / "summary.json", self.summary)
        if self.progress:
            self.monitor.start_progress(self.config.name, self.trainer.total, self.trainer.step)
        self.started = _clocks()
        self.trainer.train(self._pause)
        self.monitor.advance_progress(self.trainer.step)
        evaluation = self._check()
        self._finish(evaluation)
        return evaluation

    def _spent(self) -> dict[str, float]:
        """Seconds on the clock and of the processor since the run began, evaluations included."""
        return {
            name: self.spent[name] + now - self.started[name] for name, now in _clocks().items()
        }

    def _log(self, tag: str, value: float, step: int) -> None:
        self.monitor.scalar(tag, value, step)

    def _pause(self) -> None:
        """Between two updates: evaluate and save if it is time."""
        step = self.trainer.step
        self.monitor.advance_progress(step)
        if self.last_checked < 0 or step // self.every > self.last_checked // self.every:
            self._check()

    def _check(self) -> Evaluation:
        """Evaluate, log, then save: a checkpoint stands only behind what was logged."""
        step = self.trainer.step
        evaluation = self.evaluator(self.trainer.agent)
        self.monitor.evaluation(step, metrics_of(evaluation) | self.trainer.metrics)
        state = {"trainer": self.trainer.state_dict(), "spent": self._spent()}
        save_checkpoint(self.folder / "checkpoints", step, state)
        self.last_checked = step
        return evaluation

    def _finish(self, evaluation: Evaluation) -> None:
        spent = self._spent()
        save_tensors(self.folder / "model.pt", {"model": self.trainer.model_state()})
        agent, seed = self.trainer.agent, self.config.evaluation.seed
        gif, size = animated_gif(watch_episode(agent, self.task, seed=seed))
        self.monitor.animation("episode", gif, size, self.trainer.step)
        flat = {k: v for k, v in _flatten(self.config.model_dump()).items() if v is not None}
        extra = self._search_metrics() | self._model_metrics()
        for tag, number in extra.items():
            self.monitor.scalar(tag, number, self.trainer.step)
        self.monitor.finish(flat, metrics_of(evaluation) | extra)
        self.summary |= {
            "status": "done",
            "steps": self.trainer.step,
            "steps_per_second": self.trainer.step / spent["seconds"],
            "final": _final(evaluation) | extra,
        } | spent
        write_json(self.folder / "summary.json", self.summary)

    def _search_metrics(self) -> dict[str, float]:
        """Scores of searches on top of the trained agent, where the configuration asks for them."""
        counts = self.config.evaluation.simulations
        metrics = {}
        for name in searchable(self.trainer, self.task) if counts else ():
            searcher = searcher_of(self.config, self.trainer, self.task, self.device, name)
            for found in search_scores(searcher, self.evaluator, counts):
                metrics[f"search/{name}/{found.tag}"] = found.score
        return metrics

    def _model_metrics(self) -> dict[str, float]:
        """How the error of learned dynamics compounds, where there are any."""
        learned = searchable(self.trainer, self.task).get("learned")
        if learned is None:
            return {}
        steps = self.task.chain.serial_depth
        error = rollout_error(learned, self.task, self.evaluator.seeds, steps)
        return {
            f"model/{name}/step_{k}": float(number)
            for name, numbers in vars(error).items()
            for k, number in enumerate(numbers, start=1)
            if not np.isnan(number)
        }


def _clocks() -> dict[str, float]:
    return {"seconds": time.perf_counter(), "cpu_seconds": time.process_time()}


def without_search(trainer: Trainer) -> Agent:
    """The agent of a trainer as its networks alone make it."""
    if isinstance(trainer, SearchTrainer | ValueTrainer):
        return trainer.raw_agent
    return trainer.agent


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
    if isinstance(trainer, RandomAgent):
        raise UserError(f"{config.name}: the agent random has no values to search with")
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


def load_run(folder: Path, device: str = "auto") -> tuple[RunConfig, Agent]:
    """The configuration and the trained agent of a finished run.

    Raises:
        UserError: the folder holds no run, or an unfinished or damaged one.
    """
    config, trainer = load_trained(folder, device)
    return config, trainer if isinstance(trainer, OptimalAgent | RandomAgent) else trainer.agent


def load_searcher(
    folder: Path,
    simulations: int,
    dynamics: str | None = None,
    algorithm: str | None = None,
    device: str = "auto",
) -> tuple[RunConfig, SearchAgent]:
    """The configuration of a finished run, and its agent with a search on top.

    Args:
        folder: of any agent with values.
        simulations: of a decision.
        dynamics: true, or learned where the run has learned them; None: the run's own.
        algorithm: gumbel or puct; None: the run's own.
        device: where the networks run.

    Raises:
        UserError: as :func:`load_run` and :func:`searcher_of`.
    """
    config, trainer = load_trained(folder, device)
    chosen, task = choose_device(device), config.env.task()
    searcher = searcher_of(config, trainer, task, chosen, dynamics, algorithm, simulations)
    return config, searcher


def load_trained(folder: Path, device: str = "auto") -> tuple[RunConfig, Any]:
    """The configuration of a finished run, and its trained trainer or its baseline agent.

    Raises:
        UserError: the folder holds no run, or an unfinished or damaged one.
    """
    config, trainer = load_trainer(folder, device)
    if not isinstance(trainer, OptimalAgent | RandomAgent):
        if not (folder / "model.pt").exists():
            raise UserError(f"{folder}: this run is not finished; rl-serial train --resume goes on")
        _load_model(trainer, folder / "model.pt")
    return config, trainer


def load_with_zip(
    folder: Path, file: Path, trust: bool, device: str = "auto"
) -> tuple[RunConfig, Agent]:
    """A run's configuration with the policy of a zip that Stable-Baselines3 saved.

    Raises:
        UserError: not trusted, not such a zip, or a run of another kind of agent.
    """
    if not trust:
        raise UserError(f"{file}: a Stable-Baselines3 zip runs code when loaded; --trust allows it")
    config, trainer = load_trainer(folder, device)
    if config.agent.kind not in ("ppo", "dqn", "qrdqn", "maskable_ppo"):
        raise UserError(f"{folder}: --model needs a run of a Stable-Baselines3 agent")
    trainer.load_zip(file)
    return config, trainer.agent


def load_trainer(folder: Path, device: str = "auto") -> tuple[RunConfig, Any]:
    """The configuration of a run, and its trainer (or baseline agent) before any training."""
    file = folder / "config.yaml"
    if not file.exists():
        raise UserError(f"{folder}: no run here (config.yaml is missing)")
    config = parse_config(read_yaml(file), str(file))
    task = config.env.task()
    if isinstance(config.agent, BaselineConfig):
        return config, _baseline(config, task)
    return config, make_trainer(config, task, choose_device(device), lambda *_: None)


def _load_model(trainer: Trainer, file: Path) -> None:
    try:
        trainer.load_model_state(load_tensors(file)["model"])
    except (RuntimeError, KeyError, AttributeError):
        raise UserError(f"{file}: does not fit the network that config.yaml describes") from None


def _check_folder(config: RunConfig, folder: Path, resume: bool) -> None:
    """Refuse a folder in which something else is; one without a whole file is as good as none."""
    try:
        holds_something = folder.exists() and any(not is_partial(path) for path in folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}") from None
    if not holds_something:
        return
    if not resume:
        raise UserError(
            f"{folder}: this folder exists; --resume goes on with the run in it, "
            "name=... starts another"
        )
    file = folder / "config.yaml"
    if not file.exists():
        raise UserError(
            f"{folder}: holds no run (config.yaml is missing); name=... starts one elsewhere"
        )
    if file.read_text() != write_yaml(config):
        differing = _differences(read_yaml(file), config.model_dump(mode="json"))
        raise UserError(
            f"{folder}: holds a run of another configuration ({', '.join(differing)} differ); "
            "name=... starts another"
        )


def _make_folder(config: RunConfig, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "config.yaml", write_yaml(config))
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}") from None


def is_finished(config: RunConfig, folder: Path) -> bool:
    """Whether the folder holds this very run, done."""
    file, summary = folder / "config.yaml", folder / "summary.json"
    if not (file.exists() and summary.exists() and file.read_text() == write_yaml(config)):
        return False
    try:
        status: str = json.loads(summary.read_text())["status"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise UserError(f"{summary}: damaged; delete it, and the run goes on") from None
    return status == "done"


def _make_evaluator(config: RunConfig, task: Task[Any]) -> Evaluator:
    settings = config.evaluation
    try:
        return Evaluator(task, settings.instances, settings.per_remaining, settings.seed)
    except ValueError as error:
        raise UserError(f"env: {error}") from None


def _baseline(config: RunConfig, task: Task[Any]) -> Agent:
    # The random agent's dice differ from those of the evaluator's own random play.
    random = config.agent.kind == "random"
    return RandomAgent(task, config.seed + 1_000_003) if random else OptimalAgent(task)


def _final(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation for ``summary.json``."""
    return metrics_of(evaluation) | {
        "eval/score_interval": list(evaluation.score_interval),
        "eval/instances": evaluation.instances,
        "eval/random_return": evaluation.random_return,
        "eval/optimal_return": evaluation.optimal_return,
    }


def _record_failure(folder: Path, summary: dict[str, Any], error: Exception) -> None:
    # The machine's trouble (a full disk) is no finding about the run, which can go on after it.
    status = "interrupted" if isinstance(error, OSError) else "failed"
    with suppress(OSError):
        write_json(folder / "summary.json", summary | {"status": status, "error": str(error)})


def _surroundings(device: torch.device) -> dict[str, Any]:
    """What a reader needs to repeat the run."""
    packages = ("rl_serial", "torch", "numpy", "gymnasium", "stable-baselines3", "sb3-contrib")
    found = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "commit": _commit(),
        "device": device.type,
        "device_name": found or platform.machine(),
        "torch_threads": torch.get_num_threads(),
    }


def _commit() -> str | None:
    """The commit of the checkout that the package is run from, if it is one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def _device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones, values as TensorBoard's hyperparameters take them."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            scalar = value is None or isinstance(value, bool | int | float | str)
            flat[prefix + key] = value if scalar else str(value)
    return flat


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    before, after = _flatten(old), _flatten(new)
    return [key for key in after | before if before.get(key) != after.get(key)]
