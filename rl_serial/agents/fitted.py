"""What agents that are fitted to exact targets share: states, updates, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rl_serial.agents.adamw import QuickAdamW
from rl_serial.agents.protocols import Agent
from rl_serial.agents.settings import AgentSettings, CloningAgentConfig, ValueAgentConfig
from rl_serial.agents.settings_denoising import DenoisingAgentConfig
from rl_serial.agents.targets import starts_of
from rl_serial.agents.updates import AHEAD, LessonsAhead, ReplayedGradients
from rl_serial.envs.chain import Array, array_namespace, is_numpy_only, select
from rl_serial.envs.random import fold_in, random_words
from rl_serial.envs.tasks import Task, num_actions
from rl_serial.errors import RunError
from rl_serial.networks import HorizonHead
from rl_serial.networks.fused import gradients_in_place
from rl_serial.planning.qtransforms import softmax

FittedConfig = ValueAgentConfig | CloningAgentConfig

C = TypeVar("C", bound=FittedConfig | DenoisingAgentConfig)


class Optimised(Protocol):
    """What an optimiser asks of an agent's settings."""

    @property
    def learning_rate(self) -> float:
        """The largest, where it changes."""

    @property
    def schedule(self) -> str:
        """one_cycle or constant."""

    @property
    def weight_decay(self) -> float:
        """Of AdamW."""

    @property
    def updates(self) -> int:
        """Of a training."""


EVALUATION_BATCH = 4096

LOG_INTERVAL = 50

LEAST_ON_GPU = 8192
"""Instances of an update from which on a GPU plays the rules faster than NumPy does."""

FUSED_ON = ("cpu", "cuda")
"""Devices on which torch makes an optimiser's step in one kernel."""


PLAY, NEAR_STEPS, FAR = 16, 47, 2**20
"""Streams of random play: first the free ones before an instance's own, which begin at 64."""


def apply_network(
    network: nn.Module, observations: Array, device: torch.device, loops: int | None = None
) -> Array:
    """The network's outputs, in the library and on the device of ``observations`` [B, size].

    ``loops`` asks for another number of loops than the network was built for.
    """
    asked = {} if loops is None else {"loops": loops}
    with torch.no_grad():
        batches = [
            network(batch.to(device), **asked)
            for batch in torch.split(torch.as_tensor(observations), EVALUATION_BATCH)
        ]
        outputs = torch.cat(batches) if len(batches) > 1 else batches[0]
    return outputs if isinstance(observations, Tensor) else outputs.cpu().numpy()


def visited_states(task: Task[Any], seeds: Array) -> Any:
    """One state [B] of each instance's episode of uniformly random play, uniform over its steps."""
    xp = array_namespace(seeds)
    state = chosen = task.initial(seeds)
    running, seen = seeds == seeds, xp.ones_like(seeds)
    step = 0
    while True:
        step += 1
        words = random_words(seeds, 2, stream=PLAY + step + (step > NEAR_STEPS) * FAR)
        transition = task.step(state, random_legal(task.legal_actions(state), words[:, 0]))
        running = running & ~transition.terminated
        if not bool(xp.any(running)):
            return chosen
        state = transition.state
        seen = seen + xp.astype(running, seen.dtype)
        # Reservoir sampling: the n-th state seen takes the place with probability 1 / n.
        takes_place = running & (((words[:, 1] * seen) >> 32) == 0)
        chosen = select(takes_place, state, chosen)


def probabilities(logits: Array, legal: Array) -> Array:
    """[B, A] float32: softmax of ``logits`` [B, A] over the ``legal`` [B, A] bool actions."""
    xp = array_namespace(logits)
    return softmax(xp.where(legal, logits, -xp.inf))


def random_legal(legal: Array, words: Array) -> Array:
    """[B] int64: a uniformly random legal action for each row of ``legal`` [B, A]."""
    xp = array_namespace(legal)
    counts = xp.sum(xp.astype(legal, xp.int64), axis=1)
    rank = (words * counts) >> 32
    position = xp.cumulative_sum(xp.astype(legal, xp.int64), axis=1) - 1
    return xp.argmax(xp.astype(legal & (position == rank[:, None]), xp.int64), axis=1)


class NetworkTrainer:
    """Updates of one network: what is counted, logged and saved.

    Args:
        config: of the optimiser.
        network: on ``device``.
        seed: of the run.
        device: where the network is.
    """

    role: ClassVar[str]  # the name of the network among a run's accounts

    def __init__(
        self, config: Optimised, network: nn.Module, seed: int, device: torch.device
    ) -> None:
        self.network, self.seed, self.device = network, seed, device
        self.step, self.total = 0, config.updates
        self.metrics = {
            "train/loss": float("nan"),
            "train/learning_rate": config.learning_rate,
        }
        self.target: nn.Module | None = None  # what targets lean on, where they lean on something
        self.optimizer = make_optimizer(network.parameters(), config, device)
        self.schedule = make_schedule(self.optimizer, config)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that training spends its budget on."""
        return {self.role: self.network}

    def train(self, pause: Callable[[], None]) -> None:
        """Make the updates that are left; ``pause`` is called before each.

        Raises:
            RunError: the loss is not finite.
        """
        while self.step < self.total:
            pause()
            self._update()

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run needs to go on as if it had not been interrupted."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "target": self.target.state_dict() if self.target else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "metrics": dict(self.metrics),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        if self.target:
            self.target.load_state_dict(state["target"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.metrics = state["metrics"]

    def model_state(self) -> dict[str, Any]:
        """What a finished run keeps."""
        return self.network.state_dict()

    def load_model_state(self, state: dict[str, Any]) -> None:
        """Load what a finished run kept."""
        self.network.load_state_dict(state)

    @property
    def logs_next(self) -> bool:
        """Whether the loss of the next update is noted."""
        return (self.step + 1) % LOG_INTERVAL == 0 or self.step + 1 == self.total

    def updated(self, loss: float | Tensor) -> None:
        """Count an update, and note its loss where it is time.

        Raises:
            RunError: the loss is not finite.
        """
        logs, self.step = self.logs_next, self.step + 1
        if logs:
            key, rate = self.key_and_rate
            self.metrics |= {"train/loss": float(loss), "train/learning_rate": rate}
            if not np.isfinite(self.metrics["train/loss"]):
                raise RunError(
                    f"train/loss is {self.metrics['train/loss']} at update {self.step}: "
                    f"a smaller {key} may help"
                )

    @property
    def key_and_rate(self) -> tuple[str, float]:
        """The key that sets the learning rate of the last update, and what it is now."""
        return "agent.learning_rate", float(self.schedule.get_last_lr()[0])

    def _update(self) -> None:
        raise NotImplementedError


class FittedTrainer(NetworkTrainer, Generic[C]):
    """Fits a network on states of random play; every update is a pure function of seed and step.

    What it is fitted to is :meth:`lesson`, and how :meth:`loss`; each kind of trainer has its own.

    Args:
        task: the rules.
        config: of the agent.
        network: observations [B, layout.size] to what the loss asks for; on ``device``.
        agent: acts on the network.
        seed: chooses the training instances.
        device: where the network is; on a GPU the rules run there too, unless they are NumPy's.

    ``raw_agent`` acts on the network alone; ``agent`` is what the run evaluates.
    """

    def __init__(
        self,
        task: Task[Any],
        config: C,
        network: nn.Module,
        agent: Agent,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(config, network, seed, device)
        self.task, self.config = task, config
        self.raw_agent = self.agent = agent
        self.lessons: LessonsAhead | None = None
        self.gradients = ReplayedGradients(self._gradients, device)

    def next_lesson(self, seeds: Array, values: Callable[[Array], Array]) -> Lesson:
        """What the instances ``seeds`` [B] teach; arguments as of :meth:`lesson`."""
        return self.lesson(visited_states(self.task, seeds), seeds, values)

    def lesson(self, state: Any, seeds: Array, values: Callable[[Array], Array]) -> Lesson:
        """What the states [B] of the instances ``seeds`` [B] teach; each row depends on its own.

        ``values`` maps observations [N, size] to the outputs of the network that targets lean on; N
        is a multiple of B, and the rows of a state come together.
        """
        raise NotImplementedError

    def loss(
        self, network: Callable[..., Tensor], observations: Tensor, known: Tensor, wanted: Tensor
    ) -> Tensor:
        """The mean loss of a network on a lesson: a scalar."""
        raise NotImplementedError

    @property
    def examples(self) -> dict[str, Tensor]:
        """An input of one row for the network."""
        return {self.role: torch.zeros(1, self.task.layout.size, device=self.device)}

    @property
    def instances(self) -> int:
        """States of training instances that the whole training consumes.

        Where all starts are learned, every start of an instance is one.
        """
        states = self.total * self.config.batch_size
        if self.config.all_starts:
            states *= starts_of(self.task).num_starts
        return states

    def make_lessons(
        self, runs: Sequence[int], updates: int, values: Callable[[Array], Array]
    ) -> list[Tensor]:
        """The lessons of the next ``updates`` of runs that stand at the same update, as one batch.

        Args:
            runs: the seeds of this trainer or of several of the same task and configuration.
            updates: how many.
            values: as for :meth:`lesson`.

        Returns:
            Observations, known and wanted, [len(runs), updates * batch_size, …] each.
        """
        seeds = self.training_seeds(runs, updates)
        lesson = self.next_lesson(seeds, values)
        return [part.view(len(runs), -1, *part.shape[1:]) for part in lesson.on(self.device)]

    def updates_ahead(self, runs: int) -> int:
        """Of how many updates of so many runs the lessons are best made at once."""
        if self.target is not None:
            return 1
        numbers = runs * self.config.batch_size * self.task.layout.size
        return max(AHEAD.get(self.device.type, 1) // numbers, 1)

    def training_seeds(self, runs: Sequence[int], updates: int = 1) -> Array:
        """[len(runs) * updates * batch_size] int64: of the next instances, where the rules run.

        Args:
            runs: the seeds of this trainer or of several that stand at the same update, whose
                instances are played as one batch; those of a run come together.
            updates: of how many updates; those of an update come together.
        """
        count = self.config.batch_size * updates
        small = count * len(runs) < LEAST_ON_GPU
        on_cpu = self.device.type == "cpu" or small or is_numpy_only(self.task.chain)
        xp: Any = np if on_cpu else torch
        device = "cpu" if on_cpu else self.device
        first = self.step * self.config.batch_size
        index = xp.arange(first, first + count, dtype=xp.int64, device=device)
        of_runs = xp.asarray(np.repeat(np.array(runs, dtype=np.int64), count), device=device)
        return fold_in(of_runs, xp.tile(index, (len(runs),)))

    @property
    def variant(self) -> Hashable:
        """What besides its lesson decides the operations of the next update."""
        return None

    def renews_target(self) -> bool:
        """Whether the next update begins with a copy of the network as it is."""
        return False

    def _update(self) -> None:
        if self.target is not None and self.renews_target():
            self.target.load_state_dict(self.network.state_dict())
        if self.lessons is None:
            make = partial(self.make_lessons, [self.seed], values=self._target_values)
            self.lessons = LessonsAhead(make, self.updates_ahead(1))
        lesson = [part[0] for part in self.lessons.at(self.step, self.total)]
        loss = self.gradients(lesson, self.variant)
        self.optimizer.step()
        self.schedule.step()
        self.updated(loss)

    def _gradients(self, *lesson: Tensor) -> Tensor:
        with gradients_in_place():
            loss = self.loss(self.network, *lesson)
            # A graph writes gradients to where they were when it was captured.
            self.optimizer.zero_grad(set_to_none=not self.gradients.replays)
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _target_values(self, observations: Array) -> Array:
        assert self.target is not None
        return apply_network(self.target, observations, self.device)


@dataclass(frozen=True)
class Lesson:
    """What an update learns from, B rows."""

    observations: Array  # [B, layout.size]
    known: Array  # bool, broadcasts to the network's outputs: which of them have a target
    wanted: Array  # the targets

    def on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Its three parts as tensors there."""
        parts = (self.observations, self.known, self.wanted)
        observations, known, wanted = (torch.as_tensor(part).to(device) for part in parts)
        return observations, known, wanted


def mean_of_known(losses: Tensor, known: Tensor) -> Tensor:
    """The mean of those ``losses`` whose place is ``known``, which broadcasts to them."""
    counts = known.expand_as(losses)
    # No state of a small batch may hold the horizon that an update reads.
    return (losses * counts).sum() / counts.sum().clamp(min=1)


def make_optimizer(
    parameters: Iterable[Tensor], config: Optimised, device: torch.device
) -> torch.optim.AdamW:
    """AdamW as configured."""
    if device.type == "cpu":
        return QuickAdamW(parameters, config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.AdamW(
        parameters,
        config.learning_rate,
        weight_decay=config.weight_decay,
        # One kernel for all tensors, of which a deep network has many small ones.
        fused=device.type in FUSED_ON,
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, config: Optimised
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate's course over the updates of a training."""
    if config.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.learning_rate, total_steps=config.updates
        )
    return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)


def fitted_outputs(agent: AgentSettings, task: Task[Any]) -> int | HorizonHead:
    """What a fitted network gives: a number for each action, or for each start and horizon."""
    if not agent.all_starts:
        return num_actions(task)
    assert isinstance(agent, FittedConfig)
    chain = starts_of(task)
    return HorizonHead(chain.num_starts, chain.serial_depth, agent.head, agent.readout)
