"""Who meets whom in a round, and where it is played: in this process or on Ray.

A meeting's games are a function of the meeting, so it does not matter where they are played, or in
which order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rl_serial.api.arena.contenders import Contender
from rl_serial.api.arena.games import PairOfGames, meeting_seed, play_pairs
from rl_serial.envs.games import Game, Player
from rl_serial.errors import RunError
from rl_serial.study.engines import RayEngine


@dataclass(frozen=True)
class Meeting:
    """A batch of pairs of games of two contenders."""

    game: Game[Any]
    two: tuple[Contender, Contender]
    seed: int  # of the arena
    openings: range
    plies: int  # random moves of an opening

    @property
    def names(self) -> tuple[str, str]:
        """Of the two."""
        return self.two[0].name, self.two[1].name

    def play(self) -> list[PairOfGames]:
        """Its games.

        Raises:
            RunError: a player gives moves that are not legal.
        """
        both = _player(self.game, self.two[0]), _player(self.game, self.two[1])
        seed = meeting_seed(self.seed, *self.names)
        return play_pairs(self.game, both, seed, self.openings, self.plies, self.names)


Plays = Callable[[Sequence[Meeting]], Iterator[list[PairOfGames]]]
"""Plays meetings, and gives the games of each in their order."""


def played_here(meetings: Sequence[Meeting]) -> Iterator[list[PairOfGames]]:
    """In this process, one after the other."""
    return (meeting.play() for meeting in meetings)


@contextmanager
def played_on_ray(workers: int | None = None, address: str | None = None) -> Iterator[Plays]:
    """As tasks of Ray, one CPU each, on this machine or a cluster that has the runs' folders.

    Args:
        workers: meetings at a time; None: as many as there are CPUs for.
        address: of the cluster; None: as RAY_ADDRESS says, else Ray is started here.

    Raises:
        UserError: Ray is not installed, or not to be reached at the address.
    """
    engine = RayEngine(workers, address=address)
    with engine.session() as ray:
        task = engine.task(ray, _play)

        def play(meetings: Sequence[Meeting]) -> Iterator[list[PairOfGames]]:
            for reference in [task.remote(meeting) for meeting in meetings]:
                try:
                    pairs: list[PairOfGames] = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None
                except ray.exceptions.RayError as error:
                    raise RunError(f"lost by Ray: {str(error).strip().splitlines()[0]}") from None
                yield pairs

        yield play


def _play(meeting: Meeting) -> list[PairOfGames]:
    """A meeting as a task of Ray."""
    return meeting.play()


MOST_KEPT = 256
"""Players that a process keeps from meeting to meeting."""
_KEPT: dict[Any, Player] = {}


def _player(game: Game[Any], contender: Contender) -> Player:
    """The contender's player, made once in a process.

    A task of Ray has a copy of the contender, so runs are known by their weights.
    """
    key = (repr(game), contender.name, contender.digest) if contender.digest else contender
    if key not in _KEPT:
        if len(_KEPT) >= MOST_KEPT:
            _KEPT.clear()
        _KEPT[key] = contender.make()
    return _KEPT[key]
