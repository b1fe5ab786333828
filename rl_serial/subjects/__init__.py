"""What runs are about: a room for each subject, and the one place that asks which a run has."""

from __future__ import annotations

from rl_serial.agents.registry import AGENTS, named
from rl_serial.config import RunConfig
from rl_serial.subjects.chains import CHAINS
from rl_serial.subjects.goals import GOALS
from rl_serial.subjects.gymnasium import GYMNASIUM
from rl_serial.subjects.protocol import Subject, SubjectRow

SUBJECTS: dict[str, SubjectRow] = {row.name: row for row in (CHAINS, GOALS, GYMNASIUM)}
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
    for row in SUBJECTS.values():
        if row.owns(env_id):
            return row
    plays = [SUBJECTS[name] for name in AGENTS[agent].subjects]
    return next((row for row in plays if row.may_own(env_id)), plays[0])


def subject_of(config: RunConfig) -> Subject:
    """What a run is about.

    Raises:
        UserError: an environment that cannot be made, an agent that there cannot be.
    """
    subject: Subject = named(row_of(config.env.id, config.agent.kind).subject)(config)
    return subject
