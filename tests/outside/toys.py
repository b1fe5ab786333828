"""A trunk, an agent and a subject of somebody else's, in one file of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor, nn

import rl_serial
from rl_serial.agents.protocols import Judgement, Preference
from rl_serial.agents.registry import NETWORK, AgentKind
from rl_serial.agents.settings import AgentSettings
from rl_serial.config import EvaluationConfig
from rl_serial.envs.tasks import num_actions
from rl_serial.metrics import Measurement, Metric, Place, Profile, measured
from rl_serial.networks import Trunk, build_network, build_trunk
from rl_serial.subjects.protocol import ExaminedRun, SubjectRow


class PowersTrunk(Trunk):
    """Dense layers, each of the stream to a power; its own keyword is ``power``."""

    takes_vectors = True

    def __init__(self, layout: Any, *, depth: int, width: int, loops: int = 1, power: int = 1):
        super().__init__(layout, depth=depth, width=width, loops=loops)
        self.power = power
        self.input = nn.Linear(layout.size, width)
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.features_dim = width

    def forward(self, observation: Tensor, loops: int | None = None) -> Tensor:
        stream = self.input(observation)
        for layer in self.layers:
            stream = torch.tanh(layer(stream)) ** self.power
        return stream

    def forward_flops(self) -> int:
        return 2 * self.width * (self.layout.size + self.depth * self.width)


rl_serial.register_trunk("powers", PowersTrunk)


class RewardsConfig(AgentSettings):
    """The keys of the toy agent."""

    kind: Literal["rewards"]
    updates: PositiveInt = 20


class RewardsTrainer:
    """Regresses the action values of the rules, a batch an update; learns little, and says so."""

    def __init__(self, world: Any, device: Any) -> None:
        self.task, self.total, self.step = world.task, world.agent.updates, 0
        self.network = build_network(build_trunk(**world.trunk("network")), num_actions(world.task))
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-2)
        self.metrics = {"train/loss": float("nan")}
        self.networks = {"value": self.network}
        self.examples = {"value": torch.zeros(1, self.task.layout.size)}
        self.instances = 32 * self.total
        self.agent = self

    preference = Preference.ACTION_VALUE

    def judge(self, state: Any) -> Judgement:
        with torch.no_grad():
            values = self.network(torch.as_tensor(self.task.observe(state))).numpy()
        return Judgement(values, values.max(axis=1))

    def train(self, pause: Any) -> None:
        while self.step < self.total:
            pause()
            state = self.task.initial(np.arange(32, dtype=np.int64) + 32 * self.step)
            wanted = torch.as_tensor(self.task.action_values(state))
            found = self.network(torch.as_tensor(self.task.observe(state)))
            loss = ((found - wanted) ** 2).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.step += 1
            self.metrics = {"train/loss": float(loss)}

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "metrics": dict(self.metrics),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.metrics = state["step"], state["metrics"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])

    def model_state(self) -> dict[str, Any]:
        return self.network.state_dict()

    def load_model_state(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state)


rl_serial.register_agent(
    AgentKind(
        "rewards",
        RewardsConfig,
        ("chains",),
        lambda world, device, log: RewardsTrainer(world, device),
    )
)

LUCK = Metric("eval/luck", "luck (share of coins called)", progress="luck")
LUCK_OF = Metric("eval/luck/side_{side}", lambda index: f"luck with side {index.get('side', '…')}")


class CoinsEvaluation(EvaluationConfig, extra="forbid"):
    """How many coins are thrown is ``instances``."""


@dataclass(frozen=True)
class Calls:
    """What an agent calls, and what fell."""

    called: Any
    fell: Any

    def measurements(self) -> list[Measurement]:
        right = self.called == self.fell
        return [measured(LUCK, right.mean())] + [
            measured(LUCK_OF, right[self.fell == side].mean(), side=side) for side in (0, 1)
        ]

    def final(self) -> dict[str, Any]:
        return {"eval/instances": int(self.fell.size)}

    def headline(self) -> str:
        return f"luck {(self.called == self.fell).mean():.2f}"


@dataclass(frozen=True)
class Coin:
    """A coin that fell."""

    side: int

    def text(self) -> str:
        return f"side {self.side}"

    def picture(self) -> Any:
        return np.full((8, 8, 3), 255 * self.side, dtype=np.uint8)


class Coins:
    """A subject of coins, biased by ``env.bias``; agents call a side."""

    charts: ClassVar[dict[str, Any]] = {
        "coins": {"luck": ["Multiline", [LUCK.tag, LUCK_OF.pattern]]}
    }
    drawn = "luck"

    def __init__(self, config: Any) -> None:
        self.config, self.seed, self.agent = config, config.seed, config.agent

    def check(self, keys: Any) -> None:
        pass

    def examiner(self) -> Any:
        bias = self.config.env.options.get("bias", 0.5)
        dice = np.random.default_rng(self.config.evaluation.seed)
        fell = (dice.random(self.config.evaluation.instances) < bias).astype(int)
        return lambda agent: Calls(np.full(fell.size, agent), fell)

    def last_examination(self, examine: Any, trainer: Any) -> Any:
        return examine(trainer.agent)

    def trainer(self, device: Any, log: Any) -> Any:
        from rl_serial.agents.baselines import Untrained

        return Untrained(self.agent.side)

    def further_measurements(self, trainer: Any, examine: Any, device: Any) -> list[Measurement]:
        return []

    def watch(self, agent: Any, instance: int = 0) -> list[Coin]:
        return [Coin(agent), Coin(1 - agent)]

    @staticmethod
    def tables(examined: list[ExaminedRun]) -> list[str]:
        return [f"{run.config.name}: {run.evaluation.headline()}" for run in examined]

    @staticmethod
    def draw(examined: list[ExaminedRun], file: Path) -> None:
        file.write_text("a drawing")


class CallerConfig(AgentSettings):
    """An agent that always calls one side."""

    kind: Literal["caller"]
    side: Literal[0, 1] = 1


def profile(config: Any) -> Profile:
    return Profile(
        name="luck_by_side",
        title="Luck by side",
        x_label="side",
        y_label="luck",
        tags={side: LUCK_OF.at(side=side) for side in (0, 1)},
        floors={},
        reference=0.5,
        meaning="what chance has",
    )


def places(config: Any) -> list[Place]:
    return [Place(LUCK), *(Place(LUCK_OF, {"side": side}) for side in (0, 1))]


rl_serial.register_agent(AgentKind("caller", CallerConfig, ("coins",), "", {}))
rl_serial.register_subject(
    SubjectRow(
        name="coins",
        place="on coins",
        a_member="a coin",
        owns=lambda id_: id_.startswith("coins/"),
        may_own=lambda id_: False,
        evaluation=CoinsEvaluation,
        check=lambda config: None,
        subject=Coins,
        metrics=(LUCK, LUCK_OF),
        places=places,
        profile=profile,
    )
)
assert NETWORK  # what agents with one network need
