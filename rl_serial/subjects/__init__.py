"""What runs are about: a room for each subject, and the one place that asks which a run has."""

from __future__ import annotations

from contextlib import suppress

from rl_serial.agents.registry import AGENTS, named
from rl_serial.config import RunConfig
from rl_serial.subjects.chains import CHAINS
from rl_serial.subjects.games import GAMES
from rl_serial.subjects.goals import GOALS
from rl_serial.subjects.gymnasium import GYMNASIUM
from rl_serial.subjects.protocol import AnotherSubject, Subject, SubjectRow
from rl_serial.subjects.puzzles import PUZZLES

SUBJECTS: dict[str, SubjectRow] = {
    row.name: row for row in (CHAINS, GOALS, GYMNASIUM, PUZZLES, GAMES)
}
"""Every subject by its name."""


def register_subject(row: SubjectRow) -> None:
    """Have configurations, runs and studies know a subject.

    Raises:
        ValueError: another one has that name.
    """
    if SUBJECTS.setdefault(row.name, row) != row:
        raise ValueError(f"{row.name!r}: another subject has this name; take another")


def row_of(env_id: str, agent: str, subject: str | None) -> SubjectRow:
    """The subject of runs in an environment.

    Args:
        env_id: as a configuration gives it; nothing is imported for it.
        agent: a kind of agent, which decides where an id tells nothing (``module:id``).
        subject: as a configuration gives it; it decides where the agent plays several. Without it
            the likeliest is given, and only :func:`settled` knows.
    """
    return _rows_of(env_id, agent, subject)[0]


def subjects_of(env_id: str, agent: str) -> list[str]:
    """The subjects that runs in an environment may have, by name, the likeliest first."""
    return [row.name for row in _rows_of(env_id, agent, None)]


def _rows_of(env_id: str, agent: str, subject: str | None) -> list[SubjectRow]:
    """The subjects that runs in an environment may have, the likeliest first."""
    for row in SUBJECTS.values():
        if row.owns(env_id):
            return [row]
    plays = [SUBJECTS[name] for name in AGENTS[agent].subjects]
    rows = [row for row in plays if row.may_own(env_id)] or plays[:1]
    return [row for row in rows if row.name == subject] or rows


def subject_of(config: RunConfig) -> Subject:
    """What a run is about.

    Where neither the id tells (``module:id``) nor the configuration, and the agent plays more than
    one subject, the environment itself does, once it is made.

    Raises:
        UserError: an environment that cannot be made, an agent that there cannot be.
    """
    return _found(config)[1]


def settled(config: RunConfig) -> str | None:
    """The ``subject`` that a configuration has to give; None where the id of its environment does.

    Makes the environment where nothing else tells, which runs the code of its module: for
    configurations of the user's own, not for those of a folder.

    Raises:
        UserError: an environment that cannot be made, an agent that there cannot be.
    """
    if len(subjects_of(config.env.id, config.agent.kind)) == 1:
        return None
    if config.subject is not None:
        return config.subject
    key = f"{config.agent.kind} {config.env.model_dump_json()}"
    if key not in _TOLD:  # the cells of a study ask again and again
        _TOLD[key] = _found(config)[0].name
    return _TOLD[key]


_TOLD: dict[str, str] = {}
"""What environments said of themselves, by agent and environment."""


def _found(config: RunConfig) -> tuple[SubjectRow, Subject]:
    *likely, last = _rows_of(config.env.id, config.agent.kind, config.subject)
    for row in likely:
        with suppress(AnotherSubject):
            return row, named(row.subject)(config)
    return last, named(last.subject)(config)
