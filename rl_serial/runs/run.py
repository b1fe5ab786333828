"""From a configuration to a run folder: train, evaluate, checkpoint, resume.

A run folder holds ``config.yaml`` (resolved), TensorBoard events, ``metrics.csv``, ``checkpoints``,
``model.pt`` and ``summary.json``.
"""

from __future__ import annotations

import platform
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from rl_serial.config import RunConfig, write_yaml
from rl_serial.errors import RunError, UserError
from rl_serial.loading import read_yaml, settled_config
from rl_serial.metrics import tagged
from rl_serial.networks import account
from rl_serial.runs.devices import choose_device
from rl_serial.runs.files import (
    LOCK,
    MODEL,
    checkpoints,
    is_partial,
    load_tensors,
    locked,
    read_summary,
    read_text,
    save_checkpoint,
    save_tensors,
    write_json,
    write_text,
)
from rl_serial.runs.monitoring import Monitor
from rl_serial.runs.tracking import refuse_without_wandb, start_tracking
from rl_serial.subjects import row_of, subject_of
from rl_serial.subjects.animation import animated_gif
from rl_serial.subjects.protocol import Examination, Examine, Subject

EVALUATIONS = 10
"""Evaluations in a run whose configuration does not say how often."""
FIRST_CHECKPOINT = "step_000000000000.pt"


class Stopped(Exception):
    """Raised by who hears of evaluations, to end a run that is not worth its rest."""


Told = Callable[[int, Examination], None]
"""Hears of each evaluation at its step; may raise :class:`Stopped`."""


def train(
    config: RunConfig,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    progress: bool = True,
    command: Sequence[str] = (),
    told: Told | None = None,
) -> Examination:
    """Carry out a run and return its last examination.

    Args:
        config: what to run. With ``resume`` it may ask for a longer training than the folder's
            run (``agent.timesteps``, or ``agent.updates``) and for nothing else.
        folder: where; it must not exist unless ``resume``.
        resume: go on from the last checkpoint, or start where there is none.
        device: auto, cpu or cuda.
        progress: show a bar.
        command: that did this, for the record.
        told: hears of each evaluation.

    Raises:
        UserError: the folder exists, or holds a run of another configuration.
        RunError: training failed; what was written stays.
        Stopped: ``told`` raised it; the run can be resumed.
    """
    with opened(config, folder, resume=resume, device=device, progress=progress) as run:
        run.command, run.told = command, told
        try:
            return run.carry_out()
        except Stopped:
            write_json(folder / "summary.json", run.summary | {"status": "stopped"})
            raise
        except Exception as error:
            failure = run.failure(error)
            if failure is error:
                raise
            raise failure from error


@contextmanager
def opened(
    config: RunConfig,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Iterator[TrainingRun]:
    """A run whose folder is made and kept from others; arguments and errors as of :func:`train`."""
    chosen_device = choose_device(device)
    config = settled_config(config)
    _check_folder(config, folder, resume)
    with ExitStack() as stack:
        lock = locked(folder / LOCK, str(folder))
        if was_there := folder.exists():
            stack.enter_context(lock)
            _check_folder(config, folder, resume)  # another process may have been here meanwhile
            _clear_what_never_began(folder)
        summary = {"status": "running", "config": config.model_dump(mode="json")} | _surroundings(
            chosen_device
        )
        # What the configuration cannot have is refused before the folder is made.
        refuse_without_wandb(config)
        subject = subject_of(config)
        run = TrainingRun(
            config, subject, subject.examiner(), folder, summary, chosen_device, progress
        )
        if not was_there:
            stack.enter_context(lock)
            _check_folder(config, folder, resume)
        _make_folder(config, folder)
        yield run


class TrainingRun:
    """A run in the making: puts trainer, examination, monitor and checkpoints together."""

    def __init__(
        self,
        config: RunConfig,
        subject: Subject,
        examine: Examine,
        folder: Path,
        summary: dict[str, Any],
        device: torch.device,
        progress: bool,
    ) -> None:
        self.config, self.subject, self.examine, self.device = config, subject, examine, device
        self.folder, self.summary = folder, summary
        self.progress = progress
        self.command: Sequence[str] = ()
        self.told: Told | None = None
        self.trainer = subject.trainer(device, self._log)
        self.sharing = 1  # runs that the process carries out together, each of which takes its part
        self.spent = {"seconds": 0.0, "cpu_seconds": 0.0}  # before this start
        saved = checkpoints(folder / "checkpoints")
        if saved:
            state = load_tensors(saved[-1])
            try:
                self.trainer.load_state_dict(state["trainer"])
                self.spent = state["spent"]
            except (KeyError, RuntimeError, ValueError, TypeError, AttributeError):
                raise UserError(
                    "not a checkpoint of the run that config.yaml describes; "
                    "delete it to continue from the one before it",
                    source=saved[-1],
                ) from None
        self.every = config.evaluation.every or max(1, self.trainer.total // EVALUATIONS)
        self.last_checked = self.trainer.step if saved else -1

    @property
    def step(self) -> int:
        """How far training has come."""
        return self.trainer.step

    def carry_out(self) -> Examination:
        """The whole of it."""
        with self:
            self.trainer.train(self.pause)
            return self.end()

    def __enter__(self) -> TrainingRun:
        """Begin, or go on: what is written is open until the run is left."""
        resumed_at = self.trainer.step if self.last_checked >= 0 else None
        row = row_of(self.config.env.id, self.config.agent.kind, self.config.subject)
        late = [place.tag for place in row.places(self.config) if place.metric.late]
        self.finish_tracking = start_tracking(self.config, self.folder)
        self.monitor = Monitor(self.folder, self.subject.charts, resumed_at, late)
        self.monitor.text("config", write_yaml(self.config), self.trainer.step, "yaml")
        if self.command:
            self.summary["command"] = list(self.command)
            self.monitor.text("command", shlex.join(self.command), self.trainer.step, "sh")
        try:
            examples = self.trainer.examples
            self.summary["accounts"] = {
                name: asdict(account(network, examples[name]))
                for name, network in self.trainer.networks.items()
            }
            write_json(self.folder / "summary.json", self.summary)
            if self.progress:
                self.monitor.start_progress(self.config.name, self.trainer.total, self.trainer.step)
        except BaseException:
            self.monitor.close()
            self.finish_tracking(1)
            raise
        self.started = _clocks()
        return self

    def __exit__(self, *error: object) -> None:
        self.monitor.close()
        self.finish_tracking(int(any(error)))

    @property
    def due(self) -> bool:
        """Whether the next :meth:`pause` evaluates and saves."""
        now, before = self.trainer.step // self.every, self.last_checked // self.every
        return self.last_checked < 0 or now > before

    def pause(self) -> None:
        """Between two updates: evaluate and save if it is time."""
        self.monitor.advance_progress(self.trainer.step)
        if self.due:
            self._check(self.examine(self.trainer.agent))

    def end(self) -> Examination:
        """After the last update."""
        self.monitor.advance_progress(self.trainer.step)
        found = self._check(self.subject.last_examination(self.examine, self.trainer))
        self._finish(found)
        return found

    def failure(self, error: Exception) -> Exception:
        """Write down that it failed; gives the error that the caller of :func:`train` is told."""
        return _failure(self.folder, self.summary | {"steps": self.step}, error)

    def _spent(self) -> dict[str, float]:
        """Seconds on the clock and of the processor since the run began, evaluations included."""
        return {
            name: self.spent[name] + (now - self.started[name]) / self.sharing
            for name, now in _clocks().items()
        }

    def _log(self, tag: str, value: float, step: int) -> None:
        self.monitor.scalar(tag, value, step)

    def _check(self, found: Examination) -> Examination:
        """Log what was found, then save: a checkpoint stands only behind what was logged."""
        step = self.trainer.step
        self.monitor.evaluation(step, found.measurements(), self.trainer.metrics)
        state = {"trainer": self.trainer.state_dict(), "spent": self._spent()}
        save_checkpoint(self.folder / "checkpoints", step, state)
        self.last_checked = step
        if self.told is not None:
            self.told(step, found)
        return found

    def _finish(self, found: Examination) -> None:
        spent = self._spent()
        save_tensors(self.folder / MODEL, {"model": self.trainer.model_state()})
        gif, size = animated_gif(self.subject.watch(self.trainer.agent))
        self.monitor.animation("episode", gif, size, self.trainer.step)
        flat = {k: v for k, v in _flatten(self.config.model_dump()).items() if v is not None}
        extra = tagged(self.subject.further_measurements(self.trainer, self.examine, self.device))
        for tag, number in extra.items():
            self.monitor.scalar(tag, number, self.trainer.step)
        metrics = tagged(found.measurements())
        self.monitor.finish(flat, metrics | extra)
        self.summary |= {
            "status": "done",
            "steps": self.trainer.step,
            "steps_per_second": self.trainer.step / spent["seconds"],
            "final": metrics | found.final() | extra,
        } | spent
        write_json(self.folder / "summary.json", self.summary)


def _clocks() -> dict[str, float]:
    return {"seconds": time.perf_counter(), "cpu_seconds": time.process_time()}


def _check_folder(config: RunConfig, folder: Path, resume: bool) -> None:
    """Refuse a folder in which something else is; one without a whole file is as good as none."""
    try:
        holds_something = folder.exists() and any(
            not is_partial(path) and path.name != LOCK for path in folder.iterdir()
        )
    except OSError as error:
        raise UserError(error.strerror or error, source=folder) from None
    if not holds_something or _never_began(folder):
        return
    if not resume:
        raise UserError(
            "this folder exists; --resume continues the run in it, name=... starts another",
            source=folder,
        )
    file = folder / "config.yaml"
    if not file.exists():
        raise UserError(
            "holds no run (config.yaml is missing); name=... starts one elsewhere", source=folder
        )
    if read_text(file) != write_yaml(config):
        _refuse_other(folder, read_yaml(file), config)


def _refuse_other(folder: Path, there: dict[str, Any], config: RunConfig) -> None:
    """Refuse another configuration than the folder's, but for one that trains longer."""
    differing = _differences(there, config)
    key = config.agent.length
    if not differing:
        return
    if differing != [f"agent.{key}"]:
        raise UserError(
            f"holds a run of another configuration ({', '.join(differing)} differ); "
            "name=... starts another",
            source=folder,
        )
    agent, wanted = there.get("agent"), getattr(config.agent, str(key))
    before = agent.get(key) if isinstance(agent, dict) else None
    if not isinstance(before, int) or wanted < before:
        raise UserError(
            f"{folder}: holds a run of {before}, and no run is made shorter; name=... starts "
            "another",
            f"agent.{key}",
        )
    if why := config.agent.why_not_longer:
        raise UserError(f"{folder}: cannot be trained longer: {why}", f"agent.{key}")


def _make_folder(config: RunConfig, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file, text = folder / "config.yaml", write_yaml(config)
        if file.exists() and _differences(read_yaml(file), config):
            (folder / MODEL).unlink(missing_ok=True)  # of the shorter training
        write_text(file, text)
    except OSError as error:
        raise UserError(error.strerror or error, source=folder) from None


def _never_began(folder: Path) -> bool:
    """Whether a run of ours failed at its first step: it keeps nobody from another try."""
    summary = read_summary(folder)
    ours = "config" in summary and "versions" in summary
    return ours and summary.get("status") == "failed" and summary.get("steps") == 0


def _clear_what_never_began(folder: Path) -> None:
    """Remove what a run wrote that failed before its first step."""
    if _never_began(folder):
        for file in [
            *folder.glob("events.out.tfevents.*"),
            *(folder / name for name in ("metrics.csv", "summary.json", "config.yaml")),
            folder / "checkpoints" / FIRST_CHECKPOINT,
        ]:
            if file.is_file():
                file.unlink()


def is_finished(config: RunConfig, folder: Path) -> bool:
    """Whether the folder holds this very run, done, with the model that it has learned."""
    config = settled_config(config)
    file = folder / "config.yaml"
    summary = read_summary(folder)
    if not summary and (folder / "summary.json").exists():
        raise UserError("damaged; delete it, and the run continues", source=folder / "summary.json")
    if summary.get("status") != "done" or not file.exists():
        return False
    if read_text(file) != write_yaml(config):
        return False
    try:
        load_tensors(folder / MODEL)
    except UserError:
        return False  # made again from the last checkpoint
    return True


def _failure(folder: Path, summary: dict[str, Any], error: Exception) -> Exception:
    """Have ``summary.json`` say that the run failed; gives the error as a caller is told it."""
    # The machine's trouble (a full disk) is no finding about the run, which can go on after it.
    status = "interrupted" if isinstance(error, OSError) else "failed"
    with suppress(OSError):
        write_json(folder / "summary.json", summary | {"status": status, "error": str(error)})
    if isinstance(error, UserError | RunError):
        return error
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        told = f"not enough memory: {error}"
    elif isinstance(error, OSError):
        told = f"{error.strerror or error}; --resume continues"
    failure = RunError(f"{folder}: {told}")
    failure.__cause__ = error
    return failure


def _surroundings(device: torch.device) -> dict[str, Any]:
    """What a reader needs to repeat the run."""
    packages = [
        "rl_serial", "torch", "numpy", "gymnasium", "stable-baselines3", "sb3-contrib",
        "mujoco", "gymnasium-robotics",
    ]  # fmt: skip
    found = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "versions": {"python": platform.python_version()} | _versions(packages),
        "commit": _commit(),
        "device": device.type,
        "device_name": found or platform.machine(),
        "torch_threads": torch.get_num_threads(),
    }


def _versions(packages: list[str]) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _commit() -> str | None:
    """The commit of the checkout that the package is run from, if it is one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


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


def _differences(there: dict[str, Any], config: RunConfig) -> list[str]:
    """Keys in which a folder's configuration differs; one that it lacks has today's default."""
    before, after = _flatten(there), _flatten(config.model_dump(mode="json"))
    said = _flatten(config.model_dump(mode="json", exclude_defaults=True))
    newer = after.keys() - before.keys() - said.keys()
    return [key for key in after | before if key not in newer and before.get(key) != after.get(key)]
