"""What runs are about: a room for each subject, and the one place that asks which a run has."""

from __future__ import annotations

from rl_serial.agents.registry import AGENTS, named
from rl_serial.config import RunConfig
from rl_serial.subjects.chains import CHAINS
from rl_serial.subjects.goals import GOALS
from rl_serial.subjects.gymnasium import GYMNASIUM
from rl_serial.subjects.protocol import AnotherSubject, Subject, SubjectRow
from rl_serial.subjects.puzzles import PUZZLES

SUBJECTS: dict[str, SubjectRow] = {row.name: row for row in (CHAINS, GOALS, GYMNASIUM, PUZZLES)}
"""Every subject by its name."""


def register_subject(row: SubjectRow) -> None:
    """Have configurations, runs and studies know a subject.

    Raises:
        ValueError: another one has that name.
    """
    if SUBJECTS.setdefault(row.name, row) != row:
        raise ValueError(f"{row.name!r}: another subject has this name; take another")


def row_of(env_id: str, agent: str) -> SubjectRow:
    """The subject of runs in an environment.

    Args:
        env_id: as a configuration gives it; nothing is imported for it.
        agent: a kind of agent, which decides where an id tells nothing (``module:id``).
    """
    return _rows_of(env_id, agent)[0]


def _rows_of(env_id: str, agent: str) -> list[SubjectRow]:
    """The subjects that runs in an environment may have, the likeliest first."""
    for row in SUBJECTS.values():
        if row.owns(env_id):
            return [row]
    plays = [SUBJECTS[name] for name in AGENTS[agent].subjects]
    return [row for row in plays if row.may_own(env_id)] or plays[:1]


def subject_of(config: RunConfig) -> Subject:
    """What a run is about.

    Where an id does not tell (``module:id``) and the agent plays more than one subject, the
    environment itself does, once it is made.

    Raises:
        UserError: an environment that cannot be made, an agent that there cannot be.
    """
    *likely, last = _rows_of(config.env.id, config.agent.kind)
    subject: Subject
    for row in likely:
        try:
            subject = named(row.subject)(config)
            return subject
        except AnotherSubject:
            continue
    subject = named(last.subject)(config)
    return subject
