"""What a configuration says of each kind of agent."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Protocol

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rl_serial.envs.chain import ChainWithStarts
from rl_serial.envs.control import CONTROL_TASKS
from rl_serial.envs.games.duel import Duel
from rl_serial.envs.tasks import ENUMERATION_LIMIT, Bet, Steer, Task, num_actions
from rl_serial.envs.write import WRITTEN, Write
from rl_serial.errors import OptionError, UserError
from rl_serial.networks.config import NetworkConfig
from rl_serial.networks.trunks import TRUNKS
from rl_serial.settings import MOST_PATH, MOST_PLANNED, Loops, ModelKind, Settings


class Run(Protocol):
    """What an agent can ask of its run."""

    @property
    def env(self) -> Any:
        """Its environment: an id with options."""

    @property
    def network(self) -> NetworkConfig | None:
        """Its network."""

    @property
    def evaluation(self) -> Any:
        """How it is examined."""


LENGTHS = ("timesteps", "updates")
"""Keys that say how long an agent trains; the first that it has does."""


class AgentSettings(Settings):
    """What every agent has; each kind has a model of its own."""

    kind: str  # which agent

    @property
    def all_starts(self) -> bool:
        """Whether the network gives something for every start and horizon of an instance."""
        return False

    @property
    def training_options(self) -> dict[str, Any]:
        """Options of the environment that differ in training."""
        return {}

    @property
    def stacks(self) -> bool:
        """Whether runs that differ in seed and rates alone can be trained as one batch."""
        return False

    @property
    def length(self) -> str | None:
        """The key that says how long it trains; None: there is nothing to train."""
        return next((key for key in LENGTHS if key in type(self).model_fields), None)

    @property
    def why_not_longer(self) -> str:
        """Why a training that has begun cannot be made longer; empty where it can."""
        if getattr(self, "schedule", "") == "one_cycle":
            return (
                f"the learning rate's one_cycle is laid over agent.{self.length}; a run with "
                "agent.schedule constant can be trained longer"
            )
        return ""

    def check(self, run: Run, rules: Any) -> None:
        """What the agent asks of the rest of its run.

        Args:
            run: of which it is the agent.
            rules: of what it plays: the task of a chain; None elsewhere.

        Raises:
            UserError: parts that do not go together.
        """


OWN_RATES = ("learning_rate", "weight_decay")
"""Keys of an agent that may differ where several are trained as one batch."""


class ValueAgentConfig(AgentSettings):
    """Fitted action values of a policy (see :mod:`rl_serial.agents.value`)."""

    kind: Literal["value"]
    # Returns, one step with the values learned so far, or the values of all starts and horizons.
    targets: Literal["monte_carlo", "td0", "fixed_horizon"] = "monte_carlo"
    estimator: Literal["monte_carlo", "td0"] = "monte_carlo"  # of fixed_horizon's targets
    head: Literal["pooled", "per_token"] = "pooled"  # of fixed_horizon: what a value is read from
    readout: Literal["last", "layerwise", "by_loop"] = "last"  # of fixed_horizon: from which layer
    trained_horizons: PositiveInt | None = None  # the longest with a target; None: all
    losses: Literal["last_loop", "every_loop"] = "last_loop"  # where a looped network is corrected
    trained_loops: tuple[Loops, Loops] | None = None  # of an update; None: network.loops
    # Share of the updates over which trained_loops grow to their largest.
    loops_curriculum: Annotated[float, Field(ge=0, le=1)] = 0.0
    policy: Literal["optimal", "random", "greedy"] = "optimal"  # whose values are learned
    updates: PositiveInt = 4000  # of the network
    batch_size: PositiveInt = 512  # states of an update
    learning_rate: PositiveFloat = 1e-3  # the largest, of AdamW
    schedule: Literal["one_cycle", "constant"] = "one_cycle"  # of the learning rate
    weight_decay: Annotated[float, Field(ge=0)] = 0.0  # of AdamW
    target_interval: PositiveInt = 100  # updates between copies of the network that td0 leans on
    one_ply: bool = False  # acts on its values one step ahead, in the true model
    simulations: NonNegativeInt = 0  # of a Gumbel search in the true rules by which it acts

    @property
    def all_starts(self) -> bool:
        """Whether the network gives something for every start and horizon of an instance."""
        return self.targets == "fixed_horizon"

    @property
    def stacks(self) -> bool:
        """Where all seeds run as many loops in an update."""
        return self.trained_loops is None

    @model_validator(mode="after")
    def _options_of_its_targets(self) -> ValueAgentConfig:
        fixed = self.all_starts
        of_fixed = ("estimator", "head", "readout", "trained_horizons")
        for key in ("policy",) if fixed else of_fixed:
            if getattr(self, key) != type(self).model_fields[key].default:
                having = (
                    "targets monte_carlo and td0 have" if fixed else "targets fixed_horizon has"
                )
                raise OptionError(key, f"only {having} it, not {self.targets}")
        return self

    @model_validator(mode="after")
    def _loops_that_can_be(self) -> ValueAgentConfig:
        if self.trained_loops is not None and self.trained_loops[0] > self.trained_loops[1]:
            least, most = self.trained_loops
            raise OptionError(
                "trained_loops", f"from a number to a larger one, not [{least}, {most}]"
            )
        if self.loops_curriculum and self.trained_loops is None:
            raise OptionError("loops_curriculum", "goes with trained_loops, which are missing")
        if self.readout == "layerwise":
            if self.losses == "every_loop":
                raise OptionError(
                    "losses", "with readout layerwise every layer has a loss already: last_loop"
                )
            if self.trained_loops is not None:
                raise OptionError(
                    "trained_loops",
                    "with readout layerwise each layer of each loop has a head of its own, so the "
                    "loops are network.loops: leave it out",
                )
        return self

    def check(self, run: Run, rules: Task[Any]) -> None:
        """What loops, starts and exact values ask of network and chain."""
        network, depth = run.network, rules.chain.serial_depth
        assert network is not None
        if self.losses == "every_loop" and not TRUNKS[network.kind].reads_layers:
            raise UserError(
                "every_loop reads the stream after each loop, which the trunk "
                f"{network.kind} does not show: last_loop",
                "agent.losses",
            )
        if self.readout == "layerwise" and run.evaluation.loops:
            raise UserError(
                "with agent.readout layerwise each layer of each loop has a head of its own, so "
                "there are no other loops: leave it out",
                "evaluation.loops",
            )
        if self.trained_horizons is not None and self.trained_horizons > depth:
            raise UserError(
                f"at most the serial depth {depth}, not {self.trained_horizons}",
                "agent.trained_horizons",
            )
        trained = 0 if self.trained_loops is None else self.trained_loops[1]
        counts = {
            "agent.trained_loops": trained,
            "evaluation.loops": max(run.evaluation.loops, default=0),
        }
        for key, count in counts.items():
            if network.depth * count > MOST_PATH:
                raise UserError(
                    f"{count} loops of depth={network.depth}: {MOST_PATH} layers in sequence are "
                    f"the most; loops can be {MOST_PATH // network.depth}",
                    key,
                )
        if self.readout == "by_loop" and trained > depth:
            raise UserError(
                f"with agent.readout by_loop at most {depth}, one loop for each step of the "
                "serial depth",
                "agent.trained_loops",
            )
        if self.one_ply and self.simulations:
            raise UserError("with agent.one_ply there is no search: 0", "agent.simulations")
        if self.all_starts:
            _check_starts("agent.targets", "fixed_horizon", self.head, rules)
        elif self.policy == "optimal":
            _check_exact_values(rules)


class CloningAgentConfig(AgentSettings):
    """A policy fitted to the optimal one (see :mod:`rl_serial.agents.cloning`)."""

    kind: Literal["cloning"]
    # Whom it imitates; the last two are there in Write.
    expert: Literal["optimal", "reasoning", "shuffled"] = "optimal"
    starts: Literal["own", "all"] = "own"  # the state's, or all that an instance holds
    head: Literal["pooled", "per_token"] = "pooled"  # of all starts: what an action is read from
    readout: Literal["last", "layerwise"] = "last"  # of all starts: from which layer
    updates: PositiveInt = 4000  # of the network
    batch_size: PositiveInt = 512  # states of an update
    learning_rate: PositiveFloat = 1e-3  # the largest, of AdamW
    schedule: Literal["one_cycle", "constant"] = "one_cycle"  # of the learning rate
    weight_decay: Annotated[float, Field(ge=0)] = 0.0  # of AdamW

    @property
    def all_starts(self) -> bool:
        """Whether the network gives something for every start and horizon of an instance."""
        return self.starts == "all"

    @property
    def stacks(self) -> bool:
        """Always."""
        return True

    @model_validator(mode="after")
    def _options_of_all_starts(self) -> CloningAgentConfig:
        if self.all_starts and self.expert != "optimal":
            raise OptionError("expert", f"with starts all it is optimal, not {self.expert}")
        for key in ("head", "readout"):
            if not self.all_starts and getattr(self, key) != type(self).model_fields[key].default:
                raise OptionError(key, f"only starts all has it, not {self.starts}")
        return self

    def check(self, run: Run, rules: Task[Any]) -> None:
        """What the expert's actions ask of the task."""
        if self.expert != "optimal" and not isinstance(rules, Write):
            raise UserError(
                f"{self.expert} needs a Write environment, where there are words; optimal goes "
                "with all tasks",
                "agent.expert",
            )
        if not self.all_starts:
            _check_exact_values(rules)
            return
        if not isinstance(rules, Bet) or rules.think_budget:
            raise UserError(
                "all needs a Bet environment with think_budget 0, where the payoff alone says "
                "which action is right; own goes with all tasks",
                "agent.starts",
            )
        _check_starts("agent.starts", "all", self.head, rules)


class SB3Settings(AgentSettings):
    """What every algorithm of Stable-Baselines3 and sb3-contrib has.

    ``arguments`` go to its constructor.
    """

    timesteps: PositiveInt = 200_000  # of all environments together; whole rollouts are trained
    num_envs: PositiveInt = 64  # side by side
    processes: PositiveInt = 1  # that step the environments, where they are not one simulation
    arguments: dict[str, Any] = Field(default_factory=dict)  # of the algorithm's constructor
    normalize_observations: bool = False  # to mean 0 and spread 1, as seen in training
    normalize_rewards: bool = False  # divided by the spread of the discounted return, in training

    def network_sizes(self, key: str, observation: int, actions: int) -> tuple[int, int]:
        """Numbers that a network takes and gives, where observations are vectors.

        Args:
            key: network or policy_network.
            observation: numbers of an observation.
            actions: choices, or numbers of an action.
        """
        raise NotImplementedError


class SB3AgentConfig(SB3Settings):
    """An algorithm of Stable-Baselines3 or sb3-contrib on chains and Gymnasium environments."""

    kind: Literal["ppo", "dqn", "qrdqn", "maskable_ppo"]
    exploring_starts: bool = False  # training begins episodes at every number of remaining steps
    written_starts: bool = False  # of Write, also with any number of right words there
    # Of written_starts: at first all right words are there; once this share of answers is right,
    # training begins one word further back. None: with any number from the start.
    curriculum: Annotated[float, Field(gt=0, le=1)] | None = None
    # In games, training is against itself: as it is now or, drawn for each game, one of so many
    # snapshots of its past. None: against env.opponent.
    self_play: Annotated[int, Field(ge=0, le=100)] | None = None
    snapshot_every: PositiveInt = 10_000  # timesteps between two snapshots of self_play

    @property
    def training_options(self) -> dict[str, Any]:
        """Other starts, where they are asked for."""
        if self.written_starts:
            return {"start": WRITTEN} | ({} if self.curriculum is None else {"missing": 0})
        return {"start": "uniform"} if self.exploring_starts else {}

    def network_sizes(self, key: str, observation: int, actions: int) -> tuple[int, int]:
        """A policy gives a number for each action, so do action values; a value is one number."""
        if self.kind == "qrdqn":
            actions *= self.arguments.get("policy_kwargs", {}).get("n_quantiles", 200)
        return observation, 1 if self.kind == "ppo" and key == "network" else actions

    def check(self, run: Run, rules: Any) -> None:
        """Exploring starts go with rules that have other ones, normalisation with the rest."""
        if self.curriculum is not None and not self.written_starts:
            raise UserError("goes with agent.written_starts; leave it out", "agent.curriculum")
        self._check_self_play(rules)
        if rules is None:
            for key in ("exploring_starts", "written_starts"):
                if getattr(self, key):
                    raise UserError(
                        "only chains have states with fewer steps remaining to begin at; leave it "
                        "out",
                        f"agent.{key}",
                    )
            check_processes(self.processes, self.num_envs)
            return
        if self.written_starts and not isinstance(rules, Write):
            raise UserError(
                "only Write environments have words that can be there already; leave it out",
                "agent.written_starts",
            )
        if self.written_starts and self.exploring_starts:
            raise UserError(
                "with agent.written_starts episodes begin at every number of remaining steps "
                "already; leave one of them out",
                "agent.exploring_starts",
            )
        if self.exploring_starts and rules.start == "uniform":
            raise UserError(
                "with env.start uniform episodes begin at every number of remaining steps already, "
                "those of evaluation too; leave one of them out",
                "agent.exploring_starts",
            )
        if self.processes > 1:
            raise UserError(
                "all environments of a chain are one batch in one process: 1", "agent.processes"
            )
        for key in ("normalize_observations", "normalize_rewards"):
            if getattr(self, key):
                raise UserError(
                    "numbers of a chain's observations and rewards lie in [-1, 1] already: false",
                    f"agent.{key}",
                )

    def _check_self_play(self, rules: Any) -> None:
        """Only games have another side, and only a past has snapshots."""
        if self.self_play is not None and not isinstance(rules, Duel):
            raise UserError("only games have another side; leave it out", "agent.self_play")
        default = type(self).model_fields["snapshot_every"].default
        if not self.self_play and self.snapshot_every != default:
            raise UserError(
                "goes with agent.self_play of 1 or more; leave it out", "agent.snapshot_every"
            )


class MPCAgentConfig(AgentSettings):
    """Receding-horizon control (see :mod:`rl_serial.agents.mpc`), with CEM or MPPI.

    ``planner`` holds settings of :class:`rl_serial.planning.CEM` or ``MPPI``, ``learning`` those of
    :class:`rl_serial.agents.mpc.Learning`; the rest is what ``MPCSettings`` has.
    """

    kind: Literal["cem", "mppi"]
    horizon: PositiveInt = 20  # steps of a plan
    model: ModelKind = "true"  # the simulator, or what is learned of it
    reward: Literal["known", "learned"] = "known"  # what a learned model's steps earn
    terminal_value: bool = False  # a learned value at the end of a plan
    discount: Annotated[float, Field(gt=0, le=1)] = 0.99  # of a plan's rewards, a step
    carry: NonNegativeInt = 0  # elites of the last plan among the next one's candidates
    planner: dict[str, Any] = Field(default_factory=dict)  # settings of CEM or MPPI
    learning: dict[str, Any] = Field(default_factory=dict)  # of what is learned
    # Of the environment, in training; 0 where there is nothing to learn.
    timesteps: Annotated[NonNegativeInt, Field(validate_default=True)] = 0

    @model_validator(mode="after")
    def _plans_not_too_large(self) -> MPCAgentConfig:
        samples = self.planner.get("samples", 0)
        if isinstance(samples, int) and samples * self.horizon > MOST_PLANNED:
            most = MOST_PLANNED // self.horizon
            raise OptionError(
                "planner.samples",
                f"{samples} of horizon {self.horizon} are held at once; {most} are the most",
            )
        return self

    @field_validator("timesteps")
    @classmethod
    def _if_it_learns(cls, value: int, info: ValidationInfo) -> int:
        learns = info.data.get("model") == "learned" or info.data.get("terminal_value")
        if learns and value == 0:
            raise ValueError("must be 1 or more, for model learned and for terminal_value")
        if not learns and value > 0:
            raise ValueError(
                "must be 0: there is nothing to learn without model learned or a terminal_value"
            )
        return value

    def check(self, run: Run, rules: None) -> None:
        """Plans need a simulator of the environment."""
        if run.env.id not in CONTROL_TASKS:
            raise UserError(
                f"agent.kind {self.kind} cannot plan in {run.env.id}; it can in "
                f"{', '.join(CONTROL_TASKS)}",
                "env.id",
            )


class BaselineConfig(AgentSettings):
    """The agents that bound the score."""

    kind: Literal["random", "optimal"]


def _check_starts(key: str, value: str, head: str, task: Task[Any]) -> None:
    """Refuse a chain whose instances hold no starts, or none that are tokens."""
    chain = task.chain
    if not isinstance(chain, ChainWithStarts):
        raise UserError(
            f"{value} needs a chain that says which starts its instances hold, which "
            f"{type(chain).__name__} does not",
            key,
        )
    if head == "per_token" and not chain.starts_are_tokens:
        raise UserError(
            f"per_token needs starts that are tokens; in {type(chain).__name__} they are not: "
            "pooled",
            "agent.head",
        )


def _check_exact_values(task: Task[Any]) -> None:
    """Refuse more decisions than exact values enumerate, without enumerating them."""
    if isinstance(task, Steer) and num_actions(task) ** task.decisions > ENUMERATION_LIMIT:
        most = int(math.log(ENUMERATION_LIMIT, num_actions(task)))
        raise UserError(
            f"exact action values would enumerate {num_actions(task)}**{task.decisions} sequences "
            f"of decisions; the limit is {ENUMERATION_LIMIT}: take {most} decisions at most",
            "env.decisions",
        )


def check_processes(processes: int, num_envs: int) -> None:
    """Environments share this process, or each has one of its own.

    Raises:
        UserError: another number of processes.
    """
    if processes not in (1, num_envs):
        raise UserError(
            f"1, or agent.num_envs={num_envs}, a process for each environment, not {processes}",
            "agent.processes",
        )
