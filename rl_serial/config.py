"""The configuration of a run as pydantic models.

A configuration is frozen once it is loaded, and an unknown key is an error that names its path.
:mod:`rl_serial.loading` reads it from files and checks that its parts go together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticKnownError

from rl_serial.agents.registry import AGENTS
from rl_serial.agents.settings import AgentSettings
from rl_serial.envs.registry import plain_id, task_of
from rl_serial.envs.tasks import Task
from rl_serial.errors import OptionError, shown
from rl_serial.networks.config import NetworkConfig
from rl_serial.settings import MOST_PATH, Seed, Settings, one_of, refuse_too_large
from rl_serial.yaml_core import dump_yaml


class EnvConfig(Settings):
    """An environment id and, beside it, its options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: Annotated[str, AfterValidator(plain_id)]  # as `rl-serial envs` lists them, or Gymnasium's

    @model_validator(mode="after")
    def _options_not_too_large(self) -> EnvConfig:
        refuse_too_large(self.options, "env")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The options of the environment that are set."""
        return dict(self.model_extra or {})

    def task(self) -> Task[Any]:
        """The rules of a chain under a task.

        Raises:
            ValueError: an unknown id or option.
        """
        return task_of(self.id, **self.options)


class EvaluationConfig(Settings):
    """How often and on how many evaluation instances an agent is examined.

    A subject has a model of its own, with further keys, which loading puts in this one's place.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    every: PositiveInt | None = None  # updates or timesteps; None: ten times in a run
    instances: Annotated[int, Field(ge=2)] = 2048  # episodes played for the score
    seed: Seed = 0  # chooses the evaluation instances


class WandbConfig(Settings):
    """Where Weights & Biases keeps a copy of what a run logs for TensorBoard."""

    project: Annotated[str, Field(min_length=1)]  # of Weights & Biases
    entity: str | None = None  # whose account; None: the default of who is logged in
    group: str | None = None  # runs that are shown together
    tags: tuple[str, ...] = ()  # words to find it by
    mode: Literal["online", "offline"] = "online"  # offline: `wandb sync` sends it later


def _agent(value: Any) -> AgentSettings:
    """The settings of an agent, by the model of its kind."""
    if isinstance(value, AgentSettings):
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    kind = value.get("kind")
    error: PydanticCustomError | str = "missing"
    if "kind" in value:
        if isinstance(kind, str) and kind in AGENTS:
            return AGENTS[kind].config.model_validate(value)
        try:
            one_of(AGENTS, kind)  # type: ignore[arg-type]
        except ValueError as unknown:
            error = PydanticCustomError("unknown_kind", "{told}", {"told": str(unknown)})
    details = InitErrorDetails(type=error, loc=("kind",), input=kind)
    raise ValidationError.from_exception_data("agent", [details])


AgentConfig = Annotated[SerializeAsAny[AgentSettings], PlainValidator(_agent)]


NETWORKS = ("network", "policy_network", "model_network")
"""The keys of a run that describe networks."""


def refuse_truth_values(given: Any, taken: Any, path: str = "") -> None:
    """Refuse ``true`` where pydantic took it for 1."""
    if isinstance(given, dict) and isinstance(taken, dict):
        for key in given.keys() & taken.keys():
            refuse_truth_values(given[key], taken[key], f"{path}{key}.")
    elif isinstance(given, list) and isinstance(taken, list):
        for i, pair in enumerate(zip(given, taken, strict=False)):
            refuse_truth_values(*pair, f"{path}{i}.")
    elif isinstance(given, bool) and isinstance(taken, int | float) and taken is not given:
        word = str(given).lower()
        raise OptionError(path.removesuffix("."), f"must be a number, not {word}")


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


class RunConfig(Settings):
    """Everything that determines a run."""

    # Of the run's folder.
    name: Annotated[str, Field(pattern=r"^[\w.\-]+$"), AfterValidator(checked_name)]
    env: EnvConfig  # an id and its options
    network: NetworkConfig | None = None  # of values, or of everything that an agent learns
    policy_network: NetworkConfig | None = None  # None: the policy's trunk is set like the value's
    model_network: NetworkConfig | None = None  # of learned dynamics
    agent: AgentConfig  # who plays, and how it learns
    seed: Seed = 0  # of networks, exploration and training instances
    # How the agent is examined, in training and at the end.
    evaluation: SerializeAsAny[EvaluationConfig] = EvaluationConfig()
    # What it is about; None: what the environment's id says.
    subject: str | None = None
    # A copy of TensorBoard's logs at Weights & Biases (extra `wandb`); None: none.
    wandb: WandbConfig | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _no_truth_value_is_a_number(cls, data: Any, handler: Callable[[Any], Any]) -> Any:
        run: RunConfig = handler(data)
        if isinstance(data, dict):
            refuse_truth_values(data, run.model_dump())
        return run

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, handler: Callable[[Any], Any]) -> Any:
        """So that runs of before, which had no such keys, are the same ones."""
        data = handler(self)
        for key in ("subject", "wandb"):
            if getattr(self, key) is None:
                data.pop(key, None)
        return data

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


def write_yaml(config: RunConfig) -> str:
    """The resolved configuration as YAML."""
    return dump_yaml(config.model_dump(mode="json"))
