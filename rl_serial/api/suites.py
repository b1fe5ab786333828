"""Named suites of settings that an agent is examined in, and results that a paper can cite."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from rl_serial import __version__
from rl_serial.api.agents import LoadedAgent, load
from rl_serial.api.examining import ChainExamination, examine
from rl_serial.api.training import Configuration, read_config, train
from rl_serial.envs.registry import FAMILIES, env_id, options_of, task_of
from rl_serial.errors import UserError, did_you_mean
from rl_serial.runs.files import read_text, write_json
from rl_serial.styles import REFERENCE, draw_floor, line_styles, save_figure
from rl_serial.tables import markdown_table

RIGHT = 0.9
"""Accuracy that the serial horizon asks for."""


@dataclass(frozen=True)
class Setting:
    """An environment of a suite."""

    name: str  # pointer_chase/random/8
    family: str
    role: str  # serial or twin
    serial_depth: int
    env: Mapping[str, Any]  # id and options, as in a configuration

    @property
    def options(self) -> dict[str, Any]:
        """Without the id."""
        return {key: value for key, value in self.env.items() if key != "id"}


@dataclass(frozen=True)
class Suite:
    """Settings by a name that says what they are for good: other settings get another name."""

    name: str
    about: str
    settings: tuple[Setting, ...]

    @property
    def digest(self) -> str:
        """12 hexadecimal digits of the SHA-256 of its environments, every default included."""
        whole = [options_of(s.family, "Bet") | dict(s.env) for s in self.settings]
        data = json.dumps(whole, sort_keys=True)
        return hashlib.sha256(data.encode()).hexdigest()[:12]


def _settings(families: tuple[str, ...], shallow: int, deep: int) -> Iterator[Setting]:
    """Each family's serial setting at both depths, and its main twin at the larger one."""
    for name in families:
        family = FAMILIES[name]
        for value, role, depth in (
            (family.serial[0], "serial", shallow),
            (family.serial[0], "serial", deep),
            (family.twins[0], "twin", deep),
        ):
            sizes = family.sizes(depth) if family.sizes else {}
            env = {
                "id": env_id(name, "Bet"),
                family.option: value,
                "serial_depth": depth,
                **sizes,
                "start": "uniform",
            }
            yield Setting(f"{name}/{value}/{depth}", name, role, depth, env)


_OWN = ("PermutationAutomaton", "CellularAutomaton", "Circuit", "PointerChase")
SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "serial-12",
            "Bet in four families: the serial setting with 4 and 8 steps, the twin with 8.",
            tuple(_settings(_OWN, 4, 8)),
        ),
        Suite(
            "serial-12-long",
            "The same with 8 and 16 steps.",
            tuple(_settings(_OWN, 8, 16)),
        ),
    )
}
"""Every suite by its name."""

Chooser = Callable[[Setting], Any]
"""Gives the agent of a setting, as :func:`examine` takes it, or None where there is none."""


@dataclass(frozen=True)
class SuiteResult:
    """What an agent got in the settings of a suite."""

    suite: Suite
    agent: str
    found: dict[str, ChainExamination]  # by the settings' names

    @property
    def missing(self) -> list[str]:
        """Settings that the agent was not examined in."""
        return [s.name for s in self.suite.settings if s.name not in self.found]

    def table(self) -> str:
        """As a Markdown table."""
        rows = []
        for setting in self.suite.settings:
            one = self.found.get(setting.name)
            if one is None:
                rows.append((setting.name, setting.role, *["–"] * 5))
                continue
            low, high = one.final["eval/score_interval"]
            rows.append(
                (
                    setting.name,
                    setting.role,
                    f"{one.score:.3f} ({low:.3f} to {high:.3f})",
                    f"{one.serial_horizon} of {setting.serial_depth}",
                    f"{one.serial_reach:.2f}",
                    f"{one.floor:.2f}",
                    f"{one.trained_on:,}",
                )
            )
        header = ("setting", "role", "score (95 % over instances)", "serial horizon")
        return markdown_table((*header, "serial reach", "floor", "trained on"), rows)

    def to_dict(self) -> dict[str, Any]:
        """As plain data: what was examined, by which version, and every metric."""
        return {
            "suite": self.suite.name,
            "digest": self.suite.digest,
            "rl_serial": __version__,
            "agent": self.agent,
            "missing": self.missing,
            "settings": {
                setting.name: {
                    "role": setting.role,
                    "serial_depth": setting.serial_depth,
                    **self.found[setting.name].to_dict(),
                }
                for setting in self.suite.settings
                if setting.name in self.found
            },
        }

    def to_json(self, file: str | Path | None = None) -> str:
        """As JSON, written into a file where one is named."""
        if file is not None:
            write_json(Path(file), self.to_dict())
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def read(cls, file: str | Path) -> SuiteResult:
        """A result from its JSON.

        Raises:
            UserError: none, or one of another suite, or of the suite as it was not.
        """
        try:
            data = json.loads(read_text(Path(file)))
            suite_ = named_suite(data["suite"])
            if data["digest"] != suite_.digest:
                raise UserError(
                    f"of {suite_.name} with the digest {data['digest']}, which is "
                    f"{suite_.digest} here: the settings are not the same",
                    source=file,
                )
            found = {
                name: ChainExamination(
                    one["agent"],
                    one["env"],
                    one["evaluation"],
                    one["trained_on"],
                    one["serial_depth"],
                    {k: v for k, v in one["metrics"].items() if isinstance(v, float)},
                    one["metrics"],
                )
                for name, one in data["settings"].items()
            }
            return cls(suite_, str(data["agent"]), found)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(f"holds no result of a suite: {error}", source=file) from None

    def draw(self, file: str | Path) -> None:
        """The profile of the agent: accuracy by remaining steps, a panel for each family."""
        draw_profiles([self], Path(file))


def named_suite(name: str) -> Suite:
    """The suite of a name.

    Raises:
        UserError: there is none.
    """
    if name not in SUITES:
        near = did_you_mean(name, SUITES)
        raise UserError(f"no such suite; there are {', '.join(SUITES)}{near}", name)
    return SUITES[name]


def suite(
    agents: Any,
    name: str = "serial-12",
    *,
    agent: str | None = None,
    by_setting: bool = False,
    told: Callable[[ChainExamination], None] = lambda _: None,
    **examination: Any,
) -> SuiteResult:
    """Examine an agent in every setting of a suite.

    Args:
        agents: as ``act`` of :func:`examine`, of observations of any size; with ``by_setting`` a
            function from a :class:`Setting` to such an agent, or to None where there is none.
        name: of the suite.
        agent: what the result calls it; None: by the function's name.
        by_setting: whether ``agents`` is asked for an agent at each setting.
        told: hears of each examination as it is found.
        examination: keywords of :func:`examine` (instances, per_remaining, evaluation_seed,
            trained_on, gives).

    Raises:
        UserError: as :func:`examine`, no such suite, or no setting with an agent.
    """
    chosen, found = named_suite(name), {}
    for setting in chosen.settings:
        one = agents(setting) if by_setting else agents
        if one is None:
            continue
        result = examine(one, str(setting.env["id"]), **examination, **setting.options)
        found[setting.name] = result
        told(result)
    if not found:
        raise UserError("no setting of the suite has an agent", source=name)
    called = agent or str(getattr(agents, "__name__", type(agents).__name__))
    return SuiteResult(chosen, called, found)


def of_runs(*folders: str | Path, device: str = "auto", trust: bool = False) -> Chooser:
    """The agents of runs, each in the setting whose rules it was trained by.

    Raises:
        UserError: a folder that holds no finished run.
    """
    loaded = [load(folder, device=device, trust=trust) for folder in folders]

    def choose(setting: Setting) -> LoadedAgent | None:
        wanted = task_of(str(setting.env["id"]), **setting.options)
        fitting = [agent for agent in loaded if getattr(agent.subject, "task", None) == wanted]
        return fitting[0] if fitting else None

    return choose


def of_recipe(
    config: Configuration,
    overrides: Mapping[str, Any] | None = None,
    *,
    runs: str | Path = "runs/suite",
    device: str = "auto",
    progress: bool = False,
) -> Chooser:
    """The agents that a configuration trains in each setting, its own environment left aside.

    A run that is finished is loaded, and one that was cut off continues.

    Args:
        config: as of :func:`train`.
        overrides: likewise.
        runs: the folder of the runs, which are named by the configuration and the setting.
        device: auto, cpu or cuda.
        progress: show a bar for each.
    """
    base = read_config(config, overrides)

    def choose(setting: Setting) -> LoadedAgent:
        name = f"{base.name}_{setting.name.replace('/', '_')}"
        changes = {"env": dict(setting.env), "name": name}
        return train(base, changes, runs=runs, resume=True, device=device, progress=progress)

    return choose


def draw_profiles(results: list[SuiteResult], file: Path) -> None:
    """Draw accuracy by remaining steps: a row for each agent, a column for each family.

    Raises:
        UserError: results of different suites, or a file that cannot be written.
    """
    chosen = results[0].suite
    if any(result.suite.name != chosen.name for result in results):
        raise UserError("results of different suites have no figure in common")
    families = list(dict.fromkeys(setting.family for setting in chosen.settings))
    size = (3.1 * len(families), 0.6 + 2.6 * len(results))
    figure = Figure(figsize=size, layout="constrained")
    grid: Any = figure.subplots(
        len(results), len(families), sharex=True, sharey=True, squeeze=False
    )
    kinds = list(dict.fromkeys(_kind(setting) for setting in chosen.settings))
    styles = dict(zip(kinds, line_styles(kinds), strict=True))
    for row, result in zip(grid, results, strict=True):
        row[0].set_ylabel(f"{result.agent}\naccuracy of decisions")
        for axes, family in zip(row, families, strict=True):
            _draw_family(axes, result, family, styles)
    for axes, family in zip(grid[0], families, strict=True):
        axes.set_title(family, fontsize=10)
    for axes in grid[-1]:
        axes.set_xlabel("remaining serial steps")
    save_figure(figure, file)


def _kind(setting: Setting) -> str:
    return f"{setting.role}, {setting.serial_depth} steps"


def _draw_family(axes: Any, result: SuiteResult, family: str, styles: dict[str, Any]) -> None:
    first = not axes.get_subplotspec().colspan.start and not axes.get_subplotspec().rowspan.start
    own = [s for s in result.suite.settings if s.family == family and s.name in result.found]
    for setting in own:
        found = result.found[setting.name]
        steps = list(range(1, setting.serial_depth + 1))
        label = _kind(setting) if first else "_"
        axes.plot(steps, found.accuracy, label=label, **styles[_kind(setting)])
    serial = [setting for setting in own if setting.role == "serial"]
    if serial:
        deepest = max(serial, key=lambda setting: setting.serial_depth)
        floor = result.found[deepest.name].floor_accuracy
        label = "floor of the longer serial one" if first else "_"
        draw_floor(axes, list(range(1, floor.size + 1)), floor, label)
    axes.axhline(RIGHT, **REFERENCE)
    axes.set_ylim(0.25, 1.02)
