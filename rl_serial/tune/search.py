"""A search by Optuna: trials are runs, pruned at their evaluations, resumed after a kill.

The folder of a search holds ``trials.log`` (Optuna's journal, which its own dashboard reads), a run
folder for each trial and seed, ``trials.csv`` and ``best.yaml``.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from rl_serial.config import RunConfig, write_yaml
from rl_serial.errors import RunError, UserError, missing_extra
from rl_serial.loading import read_yaml
from rl_serial.metrics import tagged
from rl_serial.runs.files import locked, read_summary, write_text
from rl_serial.runs.run import Stopped, is_finished, train
from rl_serial.study.table import table_text
from rl_serial.tune.schema import Range, TuneConfig, measure_of, run_of
from rl_serial.yaml_core import dump_yaml

JOURNAL = "trials.log"
Told = Callable[[str], None]


class Tuning:
    """A search for the levels of a run's keys that make a metric best.

    Args:
        name: of the search.
        config: its keys.
        base: plain data of the run.
        folder: where; what is there already goes on.

    Raises:
        UserError: Optuna is not installed, or the folder holds another search.
    """

    def __init__(self, name: str, config: TuneConfig, base: dict[str, Any], folder: Path) -> None:
        if importlib.util.find_spec("optuna") is None:
            raise missing_extra("optuna", "rl-serial tune", "tune")
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self.optuna = optuna
        self.name, self.config, self.base, self.folder = name, config, base, folder
        first = run_of(base, _first(config), "trial")
        self.measure = measure_of(first, config.metric, name)
        better = self.measure.metric.better
        if config.direction is None and better == "neither":
            raise UserError("missing; nothing says which values are better", "direction", name)
        self.direction = config.direction or ("minimize" if better == "lower" else "maximize")
        self._take_folder()
        backend = JournalFileBackend(str(folder / JOURNAL))
        self.study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name=name,
            direction=self.direction,
            pruner=self._pruner(),
            load_if_exists=True,
        )

    def _take_folder(self) -> None:
        """Make the folder, or find that it holds this very search (or one of fewer trials)."""
        told = self.config.model_dump(mode="json") | {"base": self.base}
        file = self.folder / "tune.yaml"
        text = dump_yaml(told)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if file.exists():
                there = read_yaml(file)
                if {**there, "trials": 0} != {**told, "trials": 0}:
                    raise UserError(
                        "holds another search (tune.yaml differs); --out takes another folder",
                        source=self.folder,
                    )
            write_text(file, text)
        except OSError as error:
            raise UserError(f"{error.strerror or error}", source=self.folder) from None

    def _pruner(self) -> Any:
        pruners, startup = self.optuna.pruners, self.config.startup_trials
        if self.config.pruner == "median":
            return pruners.MedianPruner(n_startup_trials=startup)
        if self.config.pruner == "halving":
            return pruners.SuccessiveHalvingPruner(min_resource=1)
        return pruners.NopPruner()

    def _sampler(self, number: int) -> Any:
        """Of one trial: seeded by it, so that a search that was cut off draws the same again."""
        seed = int(np.random.SeedSequence([self.config.seed, number]).generate_state(1)[0])
        samplers = self.optuna.samplers
        if self.config.sampler in ("random", "grid"):  # a grid's trials are named one by one
            return samplers.RandomSampler(seed=seed)
        return samplers.TPESampler(
            seed=seed, n_startup_trials=max(1, self.config.startup_trials), multivariate=False
        )

    def run(self, *, device: str = "auto", told: Told = lambda _: None) -> None:
        """Carry out the trials that are missing.

        A trial that was cut off goes on from the checkpoint of its run. Several processes may work
        at one search; each takes trials that no other works at.

        Args:
            device: auto, cpu or cuda.
            told: hears a line for each trial that ends.

        Raises:
            RunError: the first three trials have all failed.
        """
        for trial in self._cut_off():
            self._carry_out(trial, device, told)
        while (number := self._begun()) < self.most:
            if self.config.sampler == "grid" and not self._in_state("WAITING"):
                self.study.enqueue_trial(self._cell(number))
            self.study.sampler = self._sampler(number)
            self._carry_out(self.study.ask(), device, told)
        self.write()

    @property
    def most(self) -> int:
        """Trials that there will be: a grid has no more than cells."""
        if self.config.sampler != "grid":
            return self.config.trials
        cells = math.prod(len(levels) for levels in self._levels())
        return min(self.config.trials, cells)

    def _levels(self) -> list[list[Any]]:
        return [found for found in self.config.search.values() if isinstance(found, list)]

    def _cell(self, number: int) -> dict[str, Any]:
        """The levels of a cell of the grid, the last key's changing first."""
        chosen = next(itertools.islice(itertools.product(*self._levels()), number, None))
        return dict(zip(self.config.search, chosen, strict=True))

    def _in_state(self, name: str) -> list[Any]:
        state = self.optuna.trial.TrialState[name]
        return list(self.study.get_trials(deepcopy=False, states=[state]))

    def _begun(self) -> int:
        """Trials that somebody has taken up; a kill may have left one that was only named."""
        return len(self.study.get_trials(deepcopy=False)) - len(self._in_state("WAITING"))

    def _cut_off(self) -> Iterator[Any]:
        """Trials that no process works at any more."""
        for frozen in self._in_state("RUNNING"):
            if not self._is_worked_at(frozen.number):
                self.study.sampler = self._sampler(frozen.number)  # of levels not drawn yet
                yield self.optuna.trial.Trial(self.study, frozen._trial_id)

    def _is_worked_at(self, number: int) -> bool:
        place = self.folder / f"{_trial_name(number)}.lock"
        try:
            with locked(place, str(place)):
                return False
        except UserError:
            return True

    def _carry_out(self, trial: Any, device: str, told: Told) -> None:
        name = _trial_name(trial.number)
        place = self.folder / f"{name}.lock"
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(place, str(place)))
            except UserError:
                return  # another process has taken it up
            self._carry_out_locked(trial, name, device, told)
        self.write()

    def _carry_out_locked(self, trial: Any, name: str, device: str, told: Told) -> None:
        state = self.optuna.trial.TrialState
        levels = self._draw(trial)
        shown = ", ".join(f"{key}={_short(value)}" for key, value in levels.items())
        try:
            values = [
                self._value(trial, run_of(self.base, levels, f"{name}_{seed}", seed), seed, device)
                for seed in range(self.config.seeds)
            ]
        except Stopped:
            self.study.tell(trial, state=state.PRUNED)
            told(f"{name}: {shown}: pruned")
        except (RunError, UserError) as error:
            if isinstance(error.__cause__, OSError):
                raise  # the machine's trouble is no finding about the trial
            self.study.tell(trial, state=state.FAIL)
            told(f"{name}: {shown}: failed: {error}")
            self._refuse_failing()
        else:
            value = float(np.mean(values))
            if math.isfinite(value):
                self.study.tell(trial, value)
            else:
                self.study.tell(trial, state=state.FAIL)
            told(f"{name}: {shown}: {self.config.metric} {_short(value)}")

    def _refuse_failing(self) -> None:
        trials = self.study.get_trials(deepcopy=False)
        if len(trials) == 3 and all(t.state.name == "FAIL" for t in trials):
            raise RunError(f"{self.folder}: the first three trials have all failed")

    def _draw(self, trial: Any) -> dict[str, Any]:
        """The levels of a trial; of one that was cut off those that it had."""
        levels = {}
        for key, found in self.config.search.items():
            if not isinstance(found, Range):
                levels[key] = trial.suggest_categorical(key, found)
            elif found.whole:
                levels[key] = trial.suggest_int(
                    key, int(found.low), int(found.high), log=found.log, step=int(found.step or 1)
                )
            else:
                levels[key] = trial.suggest_float(
                    key, float(found.low), float(found.high), log=found.log, step=found.step
                )
        return levels

    def _value(self, trial: Any, config: RunConfig, seed: int, device: str) -> float:
        """The metric of a run, which is carried out, or goes on, or is finished."""
        folder = self.folder / config.name
        if not is_finished(config, folder):
            reported = set(trial.storage.get_trial(trial._trial_id).intermediate_values)

            def hear(step: int, found: Any) -> None:
                value = tagged(found.measurements()).get(self.config.metric)
                if seed or value is None or self.config.pruner == "none":
                    return
                if step not in reported:
                    trial.report(value, step)
                    reported.add(step)
                if step < total and trial.should_prune():
                    raise Stopped

            total = getattr(config.agent, str(config.agent.length), 0)
            train(config, folder, resume=True, device=device, progress=False, told=hear)
        found = read_summary(folder).get("final", {}).get(self.config.metric, math.nan)
        return float(found)

    @property
    def trials(self) -> list[dict[str, Any]]:
        """A row for each trial: number, state, value, its levels."""
        rows = []
        for frozen in self.study.get_trials(deepcopy=False):
            state = frozen.state.name.lower()
            rows.append(
                {
                    "trial": frozen.number,
                    "state": "done" if state == "complete" else state,
                    self.config.metric: frozen.value if state == "complete" else None,
                    **frozen.params,
                }
            )
        return rows

    @property
    def best(self) -> tuple[dict[str, Any], float] | None:
        """The levels of the best trial and its value; None where none is done."""
        if not any(row["state"] == "done" for row in self.trials):
            return None
        found: Any = self.study.best_trial
        return dict(found.params), float(found.value)

    def write(self) -> None:
        """Write ``trials.csv`` and, where a trial is done, ``best.yaml``."""
        rows = self.trials
        header = ["trial", "state", self.config.metric, *self.config.search]
        write_text(self.folder / "trials.csv", table_text(header, rows))
        if (best := self.best) is not None:
            config = run_of(self.base, best[0], f"{self.name}_best")
            write_text(self.folder / "best.yaml", write_yaml(config))


def _first(config: TuneConfig) -> dict[str, Any]:
    return {
        key: found.low if isinstance(found, Range) else found[0]
        for key, found in config.search.items()
    }


def _trial_name(number: int) -> str:
    return f"trial_{number:04d}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
