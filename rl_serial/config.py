"""The configuration of a run: pydantic models, YAML files, ``key=value`` overrides.

A configuration is frozen once it is loaded, and an unknown key is an error that names its path.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rl_serial.envs.chain import MOST_NUMBERS, ChainWithStarts, has_binary_observations
from rl_serial.envs.control import CONTROL_TASKS
from rl_serial.envs.goals import is_goal_environment
from rl_serial.envs.registry import ENV_IDS, plain_id, task_of
from rl_serial.envs.tasks import ENUMERATION_LIMIT, Bet, Steer, Task, num_actions
from rl_serial.errors import UserError, did_you_mean, shown
from rl_serial.yaml_core import (
    MOST_CHARACTERS,
    MOST_NESTING,
    YAMLError,
    dump_yaml,
    load_yaml,
    shown_key,
)

MOST = {
    "depth": 1024,  # Wang et al. 2025 train to this depth
    "layers": 512,
    "loops": 1024,
    "width": 2**15,
    "parameters": 2**30,  # 16 GiB with gradient and Adam's two moments
    "flops": 10**15,
    "num_envs": 2**16,
    "processes": 1024,
    "unroll": 2**20,
    "n_steps": 2**20,
    "batch_size": 2**20,
    "buffer_size": 10**9,
    "prefill": 10**9,
    "representation": 2**15,
    "simulations": 2**17,
    "max_depth": 2**20,
    "horizon": 2**12,
    "carry": 2**20,
    "samples": 2**20,
    "iterations": 2**12,
    "memory": 10**9,
    "random_steps": 10**9,
    "instances": 2**20,
    "per_remaining": 2**20,
    "max_episode_steps": 100_000,
    "frame_skip": 1000,
}
"""The largest whole number that a key of this name may hold."""
MOST_STEPS = 10**12
"""The largest that any other key may hold: steps and updates of a training."""
MOST_ROWS = 10**9
"""Steps that a memory holds, those of all environments together."""
MOST_PLANNED = 2**24
"""Actions of a planner's samples: samples * horizon."""
MOST_PATH = 4096
"""Of a network: depth * loops."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What NumPy, torch and Stable-Baselines3 all take as a seed."""
Loops = Annotated[int, Field(gt=0, le=MOST["loops"])]
"""How often a network runs its stack."""
ModelKind = Annotated[
    Literal["true", "learned"], BeforeValidator(lambda value: "true" if value is True else value)
]
"""What is planned in: the true model, whose name YAML takes for a truth value, or a learned one."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _not_too_large(cls, value: Any, info: ValidationInfo) -> Any:
        refuse_too_large(value, info.field_name or "")
        return value


def refuse_too_large(value: Any, key: str, path: str = "") -> None:
    """Hold whole numbers, also those inside lists and mappings, against :data:`MOST`.

    Raises:
        ValueError: one that is larger; the message begins with its path below ``key``, if any.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            refuse_too_large(item, name, f"{path}{name}.")
    elif isinstance(value, list):
        for item in value:
            refuse_too_large(item, key, path)
    elif isinstance(value, int) and abs(value) > (most := MOST.get(key, MOST_STEPS)):
        place = f"{path.removesuffix('.')}: " if path else ""
        raise ValueError(f"{place}must be {most} at most, not {shown(value)}")


class EnvConfig(_Model):
    """An environment id and, beside it, its options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: Annotated[str, AfterValidator(plain_id)]

    @model_validator(mode="after")
    def _options_not_too_large(self) -> EnvConfig:
        refuse_too_large(self.options, "env")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The options that are set: of chain and task, or of a goal environment."""
        return dict(self.model_extra or {})

    def task(self) -> Task[Any]:
        """The rules of a chain under a task.

        Raises:
            ValueError: an unknown id or option.
        """
        return task_of(self.id, **self.options)


class BudgetConfig(_Model):
    """What a network may cost: parameters, or FLOPs of a forward pass of one observation."""

    parameters: PositiveInt | None = None
    flops: PositiveInt | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> BudgetConfig:
        if (self.parameters is None) == (self.flops is None):
            raise ValueError("give either parameters or flops")
        return self


PRODUCTS_PER_LAYER = {"transformer": 6, "stepwise": 2}
"""Sequential matrix products of a layer, for the trunks whose depth may be given in layers."""
KINDS_WITH = {
    "block": ("residual",),
    "scaled": ("residual",),
    "recall": ("residual",),
    "injection": ("residual", "transformer", "conv", "stepwise"),
}
"""The kinds of trunks that have a key of a network which not every one has."""


class NetworkConfig(_Model):
    """A trunk; its width is given or solved from a budget.

    ``depth`` counts sequential matrix products; of a transformer and a stepwise trunk ``layers``
    may be given instead (six and two products each), and depth follows.
    """

    kind: Literal["residual", "transformer", "conv", "recurrent", "stepwise"] = "residual"
    depth: PositiveInt = 4
    loops: PositiveInt = 1
    width: PositiveInt | None = None
    budget: BudgetConfig | None = None
    layers: Annotated[int, Field(gt=0, strict=True)] | None = None  # in place of depth
    injection: Literal["add", "concat"] = "add"  # how a loop sees the input
    block: Literal["wang", "pre_norm"] = "wang"  # of the residual trunk, as the next two
    scaled: bool = True
    recall: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """What not every kind of trunk has, of those that this one has."""
        return {key: getattr(self, key) for key, kinds in KINDS_WITH.items() if self.kind in kinds}

    @model_validator(mode="after")
    def _options_of_its_own(self) -> NetworkConfig:
        for key, kinds in KINDS_WITH.items():
            default = type(self).model_fields[key].default
            if self.kind not in kinds and getattr(self, key) != default:
                raise ValueError(f"{key}: only kind {', '.join(kinds)} has it, not {self.kind}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _depth_of_layers(cls, data: Any) -> Any:
        """The depth of so many layers."""
        if not isinstance(data, dict) or not isinstance(data.get("kind", ""), str):
            return data  # which is refused for what it is
        products = PRODUCTS_PER_LAYER.get(data.get("kind", ""))
        layers, depth = data.get("layers"), data.get("depth")
        if layers is not None and products is None:
            kinds = " and ".join(PRODUCTS_PER_LAYER)
            raise ValueError(f"layers: only kinds {kinds} have them; give depth")
        if products is None or type(layers) is not int or not 1 <= layers <= MOST["layers"]:
            return data
        if depth not in (None, products * layers):
            raise ValueError(
                f"layers={layers} of {products} sequential matrix products are depth "
                f"{products * layers}, not {depth}: give one of them"
            )
        return data | {"depth": products * layers}

    @model_validator(mode="after")
    def _width_or_budget(self) -> NetworkConfig:
        if (self.width is None) == (self.budget is None):
            raise ValueError("give either width or budget")
        return self


class ValueAgentConfig(_Model):
    """Fitted action values of a policy (see :mod:`rl_serial.agents.value`)."""

    kind: Literal["value"]
    targets: Literal["monte_carlo", "td0", "fixed_horizon"] = "monte_carlo"
    estimator: Literal["monte_carlo", "td0"] = "monte_carlo"  # of fixed_horizon, as the next two
    head: Literal["pooled", "per_token"] = "pooled"
    readout: Literal["last", "layerwise", "by_loop"] = "last"
    trained_horizons: PositiveInt | None = None  # the longest with a target; None: all
    losses: Literal["last_loop", "every_loop"] = "last_loop"
    trained_loops: tuple[Loops, Loops] | None = None  # of an update; None: network.loops
    loops_curriculum: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of updates
    policy: Literal["optimal", "random", "greedy"] = "optimal"
    updates: PositiveInt = 4000
    batch_size: PositiveInt = 512
    learning_rate: PositiveFloat = 1e-3
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    target_interval: PositiveInt = 100
    one_ply: bool = False  # acts on its values one step ahead, in the true model

    @property
    def all_starts(self) -> bool:
        """Whether the network gives something for every start and horizon of an instance."""
        return self.targets == "fixed_horizon"

    @model_validator(mode="after")
    def _options_of_its_targets(self) -> ValueAgentConfig:
        fixed = self.all_starts
        of_fixed = ("estimator", "head", "readout", "trained_horizons")
        for key in ("policy",) if fixed else of_fixed:
            if getattr(self, key) != type(self).model_fields[key].default:
                having = (
                    "targets monte_carlo and td0 have" if fixed else "targets fixed_horizon has"
                )
                raise ValueError(f"{key}: only {having} it, not {self.targets}")
        return self

    @model_validator(mode="after")
    def _loops_that_can_be(self) -> ValueAgentConfig:
        if self.trained_loops is not None and self.trained_loops[0] > self.trained_loops[1]:
            least, most = self.trained_loops
            raise ValueError(f"trained_loops: from a number to a larger one, not [{least}, {most}]")
        if self.loops_curriculum and self.trained_loops is None:
            raise ValueError("loops_curriculum: goes with trained_loops, which are missing")
        if self.readout == "layerwise":
            if self.losses == "every_loop":
                raise ValueError(
                    "losses: with readout layerwise every layer has a loss already: last_loop"
                )
            if self.trained_loops is not None:
                raise ValueError(
                    "trained_loops: with readout layerwise each layer of each loop has a head of "
                    "its own, so the loops are network.loops: leave it out"
                )
        return self


class CloningAgentConfig(_Model):
    """A policy fitted to the optimal one (see :mod:`rl_serial.agents.cloning`)."""

    kind: Literal["cloning"]
    starts: Literal["own", "all"] = "own"
    head: Literal["pooled", "per_token"] = "pooled"  # of all starts, as the next
    readout: Literal["last", "layerwise"] = "last"
    updates: PositiveInt = 4000
    batch_size: PositiveInt = 512
    learning_rate: PositiveFloat = 1e-3
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    @property
    def all_starts(self) -> bool:
        """Whether the network gives something for every start and horizon of an instance."""
        return self.starts == "all"

    @model_validator(mode="after")
    def _options_of_all_starts(self) -> CloningAgentConfig:
        for key in ("head", "readout"):
            if not self.all_starts and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key}: only starts all has it, not {self.starts}")
        return self


class SB3AgentConfig(_Model):
    """An algorithm of Stable-Baselines3 or sb3-contrib; ``arguments`` go to its constructor."""

    kind: Literal["ppo", "dqn", "qrdqn", "maskable_ppo"]
    timesteps: PositiveInt = 200_000
    num_envs: PositiveInt = 64
    arguments: dict[str, Any] = {}
    exploring_starts: bool = False  # training begins episodes at every number of remaining steps


class GoalSB3AgentConfig(_Model):
    """SAC of Stable-Baselines3 on a goal environment, also with hindsight experience replay."""

    kind: Literal["sac", "sac_her"]
    timesteps: PositiveInt = 1_000_000
    num_envs: PositiveInt = 8
    processes: PositiveInt = 1
    arguments: dict[str, Any] = {}


class SearchAgentConfig(_Model):
    """Learning from its own tree search (see :mod:`rl_serial.agents.search`)."""

    kind: Literal["search"]
    dynamics: ModelKind = "true"
    algorithm: Literal["gumbel", "puct"] = "gumbel"
    simulations: NonNegativeInt = 16
    max_depth: PositiveInt | None = None
    value_target: Literal["final", "n_step", "root"] = "final"
    n_steps: PositiveInt = 4  # of the n-step target
    timesteps: PositiveInt = 200_000
    num_envs: PositiveInt = 64
    updates: PositiveInt = 16  # after each round of one episode in every environment
    batch_size: PositiveInt = 256
    buffer_size: PositiveInt = 20_000  # newest steps that updates draw from
    learning_rate: PositiveFloat = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4


class ContrastiveAgentConfig(_Model):
    """Contrastive reinforcement learning (see :mod:`rl_serial.agents.contrastive`).

    The defaults are those of Wang et al. 2025 (arXiv 2503.14858) and want a GPU.
    """

    kind: Literal["contrastive"]
    timesteps: PositiveInt = 100_000_000
    num_envs: PositiveInt = 512
    processes: PositiveInt = 1  # that step the environments, where they are not one simulation
    unroll: PositiveInt = 62  # steps of every environment between updates
    updates: PositiveInt = 800  # after each unroll
    batch_size: Annotated[int, Field(ge=2)] = 512
    learning_rate: PositiveFloat = 3e-4
    discount: Annotated[float, Field(gt=0, lt=1)] = 0.99
    representation: PositiveInt = 64  # numbers in an embedding
    logsumexp_penalty: Annotated[float, Field(ge=0)] = 0.1
    target_entropy: float = -0.5  # for each number of an action
    buffer_size: PositiveInt = 10_000  # newest steps of each environment
    prefill: PositiveInt = 1000  # steps of each environment before the first update

    @model_validator(mode="after")
    def _memory_not_too_large(self) -> ContrastiveAgentConfig:
        for key in ("buffer_size", "unroll"):
            rows = getattr(self, key) * self.num_envs
            if rows > MOST_ROWS:
                raise ValueError(
                    f"{key}: {rows} steps of num_envs={self.num_envs} environments are held at "
                    f"once; {key} can be {MOST_ROWS // self.num_envs}"
                )
        return self

    @model_validator(mode="after")
    def _learns(self) -> ContrastiveAgentConfig:
        turns = -(-self.timesteps // (self.num_envs * self.unroll))
        if turns * self.unroll < self.prefill:
            raise ValueError(
                f"prefill={self.prefill}: more than the {turns * self.unroll} steps that "
                f"timesteps={self.timesteps} give each of num_envs={self.num_envs} environments, "
                "so that nothing would be learned"
            )
        return self


class ControlAgentConfig(_Model):
    """Receding-horizon control (see :mod:`rl_serial.agents.control`), with CEM or MPPI.

    ``planner`` holds settings of :class:`rl_serial.planning.CEM` or ``MPPI``, ``learning`` those of
    :class:`rl_serial.agents.control.Learning`; the rest is what ``ControlSettings`` has.
    """

    kind: Literal["cem", "mppi"]
    horizon: PositiveInt = 20
    model: ModelKind = "true"
    reward: Literal["known", "learned"] = "known"
    terminal_value: bool = False
    discount: Annotated[float, Field(gt=0, le=1)] = 0.99
    carry: NonNegativeInt = 0
    planner: dict[str, Any] = {}
    learning: dict[str, Any] = {}
    # Of the environment, in training; 0 where there is nothing to learn.
    timesteps: Annotated[NonNegativeInt, Field(validate_default=True)] = 0

    @model_validator(mode="after")
    def _plans_not_too_large(self) -> ControlAgentConfig:
        samples = self.planner.get("samples", 0)
        if isinstance(samples, int) and samples * self.horizon > MOST_PLANNED:
            most = MOST_PLANNED // self.horizon
            raise ValueError(
                f"planner.samples: {samples} of horizon {self.horizon} are held at once; "
                f"{most} are the most"
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


class BaselineConfig(_Model):
    """The agents that bound the score."""

    kind: Literal["random", "optimal"]


ChainAgentConfig = (
    ValueAgentConfig | CloningAgentConfig | SB3AgentConfig | SearchAgentConfig | BaselineConfig
)
GoalAgentConfig = ContrastiveAgentConfig | GoalSB3AgentConfig
AgentConfig = Annotated[
    ChainAgentConfig | GoalAgentConfig | ControlAgentConfig, Field(discriminator="kind")
]

AGENT_KINDS: dict[str, type[BaseModel]] = {
    kind: model
    for model in get_args(ChainAgentConfig | GoalAgentConfig | ControlAgentConfig)
    for kind in get_args(model.model_fields["kind"].annotation)
}
"""The model of each kind of agent."""
GOAL_KINDS = tuple(
    kind for kind, model in AGENT_KINDS.items() if model in get_args(GoalAgentConfig)
)
"""Kinds of agents that learn to reach goals."""
CONTROL_KINDS = tuple(kind for kind, model in AGENT_KINDS.items() if model is ControlAgentConfig)
"""Kinds of agents that plan in continuous control; those of neither list play on chains."""


class EvaluationConfig(_Model):
    """How often and on how many evaluation instances an agent is examined."""

    every: PositiveInt | None = None  # updates or timesteps; None: ten times in a run
    instances: Annotated[int, Field(ge=2)] = 2048  # episodes played for the score
    per_remaining: PositiveInt = 512  # states judged at each number of remaining steps
    seed: Seed = 0
    simulations: list[NonNegativeInt] = []  # of a search on top of the trained agent, at the end
    # What is scored beside the search, with as many model steps as it has simulations.
    baselines: list[Literal["enumeration", "rollouts"]] = []
    loops: list[Loops] = []  # of the trained network, judged at the end with so many, too


NETWORKS = ("network", "policy_network", "model_network")
"""The keys of a run that describe networks."""
WITH_POLICY = ("ppo", "maskable_ppo", "search", "contrastive", "sac", "sac_her")
"""Kinds of agents that have a policy network beside the value network."""
WITHOUT_VALUES = ("random", "cloning")
"""Kinds of agents on chains that give no values of states, which searches need."""


def _refuse_truth_values(given: Any, taken: Any, path: str = "") -> None:
    """Refuse ``true`` where pydantic took it for 1."""
    if isinstance(given, dict) and isinstance(taken, dict):
        for key in given.keys() & taken.keys():
            _refuse_truth_values(given[key], taken[key], f"{path}{key}.")
    elif isinstance(given, list) and isinstance(taken, list):
        for i, pair in enumerate(zip(given, taken, strict=False)):
            _refuse_truth_values(*pair, f"{path}{i}.")
    elif isinstance(given, bool) and isinstance(taken, int | float) and taken is not given:
        word = str(given).lower()
        raise ValueError(f"{path.removesuffix('.')}: must be a number, not {word}")


MOST_BYTES_OF_NAME = 200
"""Of a folder's name; file systems take 255."""


def checked_name(name: str) -> str:
    """The name of a run or a study, which is the name of its folder.

    Raises:
        ValueError: it is no name of a folder inside another: ``.`` and ``..`` are not.
    """
    if not name.strip("."):
        raise ValueError(f"must be the name of a folder, not {shown(name)}")
    if len(name.encode()) > MOST_BYTES_OF_NAME:
        raise ValueError(f"must be {MOST_BYTES_OF_NAME} bytes long at most, not {shown(name)}")
    return name


class RunConfig(_Model):
    """Everything that determines a run."""

    name: Annotated[str, Field(pattern=r"^[\w.\-]+$"), AfterValidator(checked_name)]
    env: EnvConfig
    network: NetworkConfig | None = None
    policy_network: NetworkConfig | None = None  # None: the policy's trunk is set like the value's
    model_network: NetworkConfig | None = None  # of learned dynamics
    agent: AgentConfig
    seed: Seed = 0
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="wrap")
    @classmethod
    def _no_truth_value_is_a_number(cls, data: Any, handler: Callable[[Any], Any]) -> Any:
        run: RunConfig = handler(data)
        if isinstance(data, dict):
            _refuse_truth_values(data, run.model_dump())
        return run

    @field_validator(*NETWORKS)
    @classmethod
    def _path_not_too_long(cls, network: NetworkConfig | None) -> NetworkConfig | None:
        if network is not None and network.depth * network.loops > MOST_PATH:
            most = MOST_PATH // network.depth
            raise ValueError(
                f"depth={network.depth} with loops={network.loops}: {MOST_PATH} layers in sequence "
                f"are the most; loops can be {most}"
            )
        return network


def load_config(file: Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a run's YAML file and apply ``key.path=value`` overrides.

    Raises:
        UserError: every key that is wrong, each on a line with its path.
    """
    return parse_config(read_yaml(file), str(file), overrides, default_name=file.stem)


def parse_config(
    data: dict[str, Any], source: str, overrides: list[str] | None = None, default_name: str = "run"
) -> RunConfig:
    """Build a configuration from plain data; ``source`` is what errors call it."""
    for override in overrides or []:
        _override(data, override)
    try:
        config = RunConfig.model_validate({"name": default_name} | data)
    except ValidationError as error:
        raise UserError(readable_errors(error, source, _keys_at)) from None
    check_config(config, source)
    return config


def check_config(config: RunConfig, source: str) -> None:
    """What the parts of a run ask of each other.

    Raises:
        UserError: parts that do not go together; ``source`` is what it calls the configuration.
    """
    if config.evaluation.baselines and not config.evaluation.simulations:
        raise UserError(
            f"{source}: evaluation.baselines: have the model steps of evaluation.simulations, "
            "which are none; [0, 4, 16] for example"
        )
    _check_networks(config, source)
    if config.evaluation.loops and not isinstance(config.agent, ValueAgentConfig):
        raise UserError(
            f"{source}: evaluation.loops: only the agent value is examined at other loops, not "
            f"{config.agent.kind}"
        )
    if config.agent.kind in GOAL_KINDS:
        _check_goal_agent(config, source)
        return
    if config.agent.kind in CONTROL_KINDS:
        _check_control_agent(config, source)
        return
    if config.env.id in CONTROL_TASKS:
        raise UserError(
            f"{source}: env.id: {config.env.id} is no chain, which agent.kind {config.agent.kind} "
            f"needs; agent.kind {' and '.join(CONTROL_KINDS)} plan in it"
        )
    if is_goal_environment(config.env.id):
        raise UserError(
            f"{source}: env.id: {config.env.id} is a goal environment, in which agent.kind "
            f"{config.agent.kind} does not play; {', '.join(GOAL_KINDS)} do"
        )
    try:
        task = config.env.task()
    except ValueError as error:
        unknown_id = "no such environment" in str(error)
        raise UserError(f"{source}: env.{'id: ' if unknown_id else ''}{error}") from None
    _check_chain_agent(config, task, source)


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file, read as :mod:`rl_serial.yaml_core` says.

    Raises:
        UserError: there is no such file, or it holds something else; with the line and the key.
    """
    try:
        if file.exists() and not file.is_file():  # a pipe would be waited for
            raise UserError(f"{file}: not a file")
        with file.open("rb") as stream:
            data = load_yaml(stream.read(4 * MOST_CHARACTERS + 1).decode())
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}, line {line}: not YAML: not UTF-8") from None
    except YAMLError as error:
        comma = ", " if str(error).startswith("line ") else ": "
        raise UserError(f"{file}{comma}{error}; a run is keys with values, see configs/") from None
    if not isinstance(data, dict):
        raise UserError(f"{file}: holds no keys with values; see configs/ for examples")
    return data


def write_yaml(config: RunConfig) -> str:
    """The resolved configuration as YAML."""
    return dump_yaml(config.model_dump(mode="json"))


def _override(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"{shown(override)}: an override is key.path=value, as in network.depth=8")
    try:
        value = load_yaml(text)
    except YAMLError as error:
        raise UserError(f"{path}: {shown(text)} is not a YAML value: {error}") from None
    set_key(data, path, value)


def set_key(data: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted key of a run's plain data, in place.

    Another ``agent.kind`` drops the keys of the old one; ``width`` and ``budget`` replace each
    other.

    Raises:
        UserError: the path leads through something that holds no keys.
    """
    *parents, key = path.split(".")
    if len(parents) >= MOST_NESTING:
        raise UserError(f"{path}: nested more than {MOST_NESTING} deep")
    for parent in parents:
        if parent == "budget":
            data.pop("width", None)
        child = data.setdefault(parent, {})
        if child is None:
            child = data[parent] = {}
        if not isinstance(child, dict):
            raise UserError(f"{path}: {parent} holds {shown(child)}, not keys with values")
        data = child
    if path == "agent.kind" and data.get("kind") != value:
        data.clear()  # the keys of one agent mean nothing to another; networks share theirs
    if key in ("width", "budget"):
        data.pop("budget" if key == "width" else "width", None)
    data[key] = value


def _check_networks(config: RunConfig, source: str) -> None:
    """Which networks an agent has."""
    if isinstance(config.agent, BaselineConfig):
        if config.network is not None:
            raise UserError(f"{source}: network: the agent {config.agent.kind} has no network")
    elif isinstance(config.agent, ControlAgentConfig):
        if config.network is not None:
            raise UserError(
                f"{source}: network: the agent {config.agent.kind} has none of these; "
                "agent.learning.width is that of what it learns"
            )
    elif config.network is None:
        raise UserError(f"{source}: network: missing; the agent {config.agent.kind} needs one")
    if config.policy_network is not None and config.agent.kind not in WITH_POLICY:
        raise UserError(
            f"{source}: policy_network: the agent {config.agent.kind} has no policy network beside "
            "its network"
        )
    learned = isinstance(config.agent, SearchAgentConfig) and config.agent.dynamics == "learned"
    if learned and config.model_network is None:
        raise UserError(f"{source}: model_network: missing; agent.dynamics learned needs one")
    if config.model_network is not None and not learned:
        raise UserError(
            f"{source}: model_network: only agent.kind search with agent.dynamics learned has one"
        )


def _check_goal_agent(config: RunConfig, source: str) -> None:
    """What an agent that reaches goals asks of the rest."""
    if config.env.id in ENV_IDS:
        raise UserError(
            f"{source}: env.id: {config.env.id} is a chain and has no goals; agent.kind "
            f"{config.agent.kind} takes goal environments, as rl_serial/Reach-v0"
        )
    if config.env.id in CONTROL_TASKS:
        raise UserError(
            f"{source}: env.id: {config.env.id} has no goals, which agent.kind {config.agent.kind} "
            f"needs; agent.kind {' and '.join(CONTROL_KINDS)} plan in it"
        )
    for key in ("network", "policy_network"):
        network: NetworkConfig | None = getattr(config, key)
        if network is not None and network.kind != "residual":
            raise UserError(
                f"{source}: {key}.kind: {network.kind} reads tokens, which observations of goal "
                "environments are not; residual does not"
            )
    if config.evaluation.simulations:
        raise UserError(f"{source}: evaluation.simulations: searches are for chains")
    agent = config.agent
    assert isinstance(agent, ContrastiveAgentConfig | GoalSB3AgentConfig)
    if agent.processes not in (1, agent.num_envs):
        raise UserError(
            f"{source}: agent.processes: 1, or agent.num_envs={agent.num_envs}, a process for each "
            f"environment, not {agent.processes}"
        )


def _check_control_agent(config: RunConfig, source: str) -> None:
    """What an agent that plans in continuous control asks of the rest."""
    if config.env.id not in CONTROL_TASKS:
        raise UserError(
            f"{source}: env.id: agent.kind {config.agent.kind} cannot plan in {config.env.id}; it "
            f"can in {', '.join(CONTROL_TASKS)}"
        )
    if config.evaluation.simulations:
        raise UserError(f"{source}: evaluation.simulations: searches are for chains")


def _check_chain_agent(config: RunConfig, task: Task[Any], source: str) -> None:
    """What an agent on a chain asks of the rest."""
    _check_memory(config, task, source)
    if isinstance(config.agent, SearchAgentConfig):
        _check_search(config.agent, task, source)
    if config.evaluation.simulations and config.agent.kind in WITHOUT_VALUES:
        raise UserError(
            f"{source}: evaluation.simulations: the agent {config.agent.kind} has no values"
        )
    if isinstance(config.agent, ValueAgentConfig):
        _check_loops(config, config.agent, task, source)
        if config.agent.all_starts:
            _check_starts(config.agent, "agent.targets: fixed_horizon", task, source)
        elif config.agent.policy == "optimal":
            _check_exact_values(task, source)
    if isinstance(config.agent, CloningAgentConfig):
        _check_cloning(config.agent, task, source)
    if isinstance(config.agent, SB3AgentConfig) and config.agent.exploring_starts:
        _check_exploring_starts(task, source)


def _check_cloning(agent: CloningAgentConfig, task: Task[Any], source: str) -> None:
    if not agent.all_starts:
        _check_exact_values(task, source)
        return
    if not isinstance(task, Bet) or task.think_budget:
        raise UserError(
            f"{source}: agent.starts: all needs a Bet environment with think_budget 0, where the "
            "payoff alone says which action is right; own goes with all tasks"
        )
    _check_starts(agent, "agent.starts: all", task, source)


def _check_exploring_starts(task: Task[Any], source: str) -> None:
    if task.start == "uniform":
        raise UserError(
            f"{source}: agent.exploring_starts: with env.start uniform episodes begin at every "
            "number of remaining steps already, those of evaluation too; leave one of them out"
        )


def _check_starts(
    agent: ValueAgentConfig | CloningAgentConfig, what: str, task: Task[Any], source: str
) -> None:
    chain = task.chain
    if not isinstance(chain, ChainWithStarts):
        raise UserError(
            f"{source}: {what} needs a chain that says which starts its instances hold, which "
            f"{type(chain).__name__} does not"
        )
    if agent.head == "per_token" and not chain.starts_are_tokens:
        raise UserError(
            f"{source}: agent.head: per_token needs starts that are tokens; in "
            f"{type(chain).__name__} they are not: pooled"
        )


def _check_loops(config: RunConfig, agent: ValueAgentConfig, task: Task[Any], source: str) -> None:
    """What loops in training and examination ask of the network."""
    network, depth = config.network, task.chain.serial_depth
    assert network is not None
    if network.kind == "recurrent" and agent.losses == "every_loop":
        raise UserError(
            f"{source}: agent.losses: every_loop reads the stream after each loop, which the trunk "
            "recurrent does not show: last_loop"
        )
    if agent.readout == "layerwise" and config.evaluation.loops:
        raise UserError(
            f"{source}: evaluation.loops: with agent.readout layerwise each layer of each loop has "
            "a head of its own, so there are no other loops: leave it out"
        )
    if agent.trained_horizons is not None and agent.trained_horizons > depth:
        raise UserError(
            f"{source}: agent.trained_horizons: at most the serial depth {depth}, not "
            f"{agent.trained_horizons}"
        )
    trained = 0 if agent.trained_loops is None else agent.trained_loops[1]
    counts = {
        "agent.trained_loops": trained,
        "evaluation.loops": max(config.evaluation.loops, default=0),
    }
    for key, count in counts.items():
        if network.depth * count > MOST_PATH:
            raise UserError(
                f"{source}: {key}: {count} loops of depth={network.depth}: {MOST_PATH} layers in "
                f"sequence are the most; loops can be {MOST_PATH // network.depth}"
            )
    if agent.readout == "by_loop" and trained > depth:
        raise UserError(
            f"{source}: agent.trained_loops: with agent.readout by_loop at most {depth}, one loop "
            "for each step of the serial depth"
        )


def _check_search(agent: SearchAgentConfig, task: Task[Any], source: str) -> None:
    if agent.dynamics == "learned" and isinstance(task, Bet):
        raise UserError(
            f"{source}: agent.dynamics: learned needs a Steer environment, where a step of play is "
            "a serial step; a BET is many"
        )
    if agent.dynamics == "learned" and not has_binary_observations(task.chain):
        raise UserError(
            f"{source}: agent.dynamics: learned predicts observations of zeros and ones, which "
            f"those of {type(task.chain).__name__} are not; true searches in the rules"
        )
    if agent.value_target == "root" and agent.simulations == 0:
        raise UserError(
            f"{source}: agent.value_target: root needs agent.simulations of 1 or more; without a "
            "search the value would be its own target"
        )


def _check_exact_values(task: Task[Any], source: str) -> None:
    """Refuse more decisions than exact values enumerate, without enumerating them."""
    if isinstance(task, Steer) and num_actions(task) ** task.decisions > ENUMERATION_LIMIT:
        most = int(math.log(ENUMERATION_LIMIT, num_actions(task)))
        raise UserError(
            f"{source}: env.decisions: exact action values would enumerate "
            f"{num_actions(task)}**{task.decisions} sequences of decisions; the limit is "
            f"{ENUMERATION_LIMIT}: take {most} decisions at most"
        )


def _check_memory(config: RunConfig, task: Task[Any], source: str) -> None:
    """Refuse what would hold more numbers at once than :data:`MOST_NUMBERS`."""
    size, depth = task.layout.size, task.chain.serial_depth
    held = {
        "evaluation.instances": (config.evaluation.instances, size),
        "evaluation.per_remaining": (config.evaluation.per_remaining, size * depth),
        **{
            f"agent.{key}": (getattr(config.agent, key), size)
            for key in ("num_envs", "batch_size", "buffer_size")
            if hasattr(config.agent, key)
        },
    }
    for key, (rows, numbers) in held.items():
        if rows * numbers > MOST_NUMBERS:
            raise UserError(
                f"{source}: {key}: {rows} times {numbers} numbers of observations are held at "
                f"once; {MOST_NUMBERS} are the most: {MOST_NUMBERS // numbers} rows, or a smaller "
                "environment"
            )


_EXPECTED = {
    "int": "a valid integer",
    "float": "a number",
    "finite_number": "finite",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "keys with values",
    "model": "keys with values",
    "mapping": "keys with values",
}
"""What each kind of pydantic's errors wants, by the beginning of its type."""
_MEMBERS = re.compile(r"(str|int|float|bool|list\[.*|tuple\[.*|dict\[.*)")
"""What pydantic adds to the path of an error inside a union: the member that it tried."""


def readable_errors(
    error: ValidationError, source: str, keys_at: Callable[[tuple[int | str, ...]], list[str]]
) -> str:
    """Each error of pydantic as ``source: path: what is wrong``.

    ``keys_at`` gives the keys that there are at a place, for an unknown one.
    """
    lines: dict[str, None] = {}
    for item in error.errors(include_url=False):
        # A union adds the name of the member it tried to the path; keys are what a reader knows.
        location = [
            part for i, part in enumerate(item["loc"]) if not (i == 1 and part in AGENT_KINDS)
        ]
        members = [i for i, part in enumerate(location) if _MEMBERS.fullmatch(str(part))]
        message = readable_error(item, keys_at)
        if members and item["type"] not in ("missing", "extra_forbidden"):
            location, message = location[: members[0]], "must be a text, a number or a list of them"
        elif item["type"] in ("union_tag_invalid", "union_tag_not_found"):
            location.append("kind")
        path = ".".join(shown_key(str(part)) for part in location)
        lines[f"{source}: {path + ': ' if path else ''}{message}"] = None
    return "\n".join(lines)


def readable_error(
    item: Any, keys_at: Callable[[tuple[int | str, ...]], list[str]] = lambda _: []
) -> str:
    """What an error of pydantic says, in the words of this package."""
    kind, given, context = item["type"], item["input"], item.get("ctx", {})
    if kind == "value_error":
        return str(item["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        known = keys_at(item["loc"][:-1])
        near = did_you_mean(item["loc"][-1], known)
        return f"unknown key; there are {', '.join(known)}{near}"
    if kind in ("missing", "union_tag_not_found"):
        return "missing"
    if kind == "union_tag_invalid":
        kinds = [tag.strip("' ") for tag in context["expected_tags"].split(",")]
        return _one_of(kinds, context["tag"])
    if kind == "literal_error":
        return _one_of([tag.strip("' ") for tag in re.split(",| or ", context["expected"])], given)
    wanted = _EXPECTED.get(kind) or _EXPECTED.get(kind.partition("_")[0])
    if kind == "int_from_float":
        wanted = "a whole number"
    if kind == "string_pattern_mismatch":
        wanted = f"of letters, digits and the like, as the pattern {context['pattern']} says"
    if wanted is None or kind.startswith("string_too") or kind in ("too_short", "too_long"):
        wanted = re.sub(r"^.*?should (be|match|have) ", "", str(item["msg"]))
    return f"must be {wanted}, not {shown(given)}"


def _one_of(known: list[str], given: object) -> str:
    listed = f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
    return f"must be {listed}, not {shown(given)}{did_you_mean(given, known)}"


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "": RunConfig,
        "network": NetworkConfig,
        "policy_network": NetworkConfig,
        "budget": BudgetConfig,
        "evaluation": EvaluationConfig,
        "model_network": NetworkConfig,
    }
    name = str(location[-1]) if location else ""
    return list((models | AGENT_KINDS)[name].model_fields)
