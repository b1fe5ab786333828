"""Runs that share shapes, carried out in one process as one batch of networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rl_serial.agents.population import Population
from rl_serial.agents.settings import OWN_RATES
from rl_serial.config import RunConfig
from rl_serial.runs.run import TrainingRun
from rl_serial.subjects import row_of


def population_key(config: RunConfig) -> str | None:
    """Runs with the same key can be trained as one batch; None: this one is carried out alone."""
    if config.wandb is not None:
        return None  # which tracks one run of a process at a time
    together = row_of(config.env.id, config.agent.kind, config.subject).together
    return None if together is None else together(config)


def train_together(
    runs: Sequence[TrainingRun],
) -> Iterator[tuple[TrainingRun, Exception | None]]:
    """Carry out runs of the same :func:`population_key`; gives each as it ends, and its error.

    Runs that stand at different steps, as after a kill, go on from the one that is furthest behind.
    A run that fails leaves the others to go on.
    """
    waiting: list[TrainingRun] = []
    try:
        for run in runs:
            run.sharing = len(runs)
            if error := _tried(run.__enter__):
                yield run, error
            else:
                waiting.append(run)
        while waiting:
            step = min(run.step for run in waiting)
            wave = sorted((run for run in waiting if run.step == step), key=_order)
            later = [run.step for run in waiting if run.step > step]
            for run, error in _advance(wave, min([*later, wave[0].trainer.total])):
                waiting.remove(run)
                run.__exit__()
                yield run, error
    finally:
        for run in waiting:
            run.__exit__()


def _advance(
    runs: Sequence[TrainingRun], until: int
) -> Iterator[tuple[TrainingRun, Exception | None]]:
    """Updates of all runs up to step ``until``; gives those that ended there or failed before."""
    population = Population([run.trainer for run in runs])  # type: ignore[misc]
    going = dict(enumerate(runs))
    while going and next(iter(going.values())).step < until:
        if any(run.due for run in going.values()):
            population.synchronise()
        for place, run in list(going.items()):
            if error := _tried(run.pause):
                del going[place]
                yield run, error
        for place, failed in population.update().items():
            if place in going:
                yield going.pop(place), failed
    population.synchronise()
    for run in going.values():
        if run.step == run.trainer.total:
            yield run, _tried(run.end)


def _tried(action: Callable[[], object]) -> Exception | None:
    try:
        action()
    except Exception as error:
        return error
    return None


def _order(run: TrainingRun) -> tuple[str, ...]:
    """Runs of one task, and of those of one rate, come together."""
    agent = run.config.agent.model_dump()
    return (run.config.env.model_dump_json(), *(repr(agent[key]) for key in OWN_RATES))
