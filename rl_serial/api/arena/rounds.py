"""The rounds of an arena: everyone against everyone, until the intervals are small enough.

A round is a batch of games of every two contenders. The folder has every pair of games as a row,
and what has a row is never played again; the same seed gives the same games, whatever was played
before and in whatever order the contenders are named.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rl_serial.api.arena.contenders import Contender
from rl_serial.api.arena.games import PairOfGames, opening_plies
from rl_serial.api.arena.ladder import ArenaResult
from rl_serial.api.arena.meetings import Meeting, Plays, played_here
from rl_serial.envs.games import Game
from rl_serial.errors import UserError
from rl_serial.runs.files import locked, read_text, write_json, write_text
from rl_serial.study.table import table_text

PLAN, GAMES, RATINGS, TABLE, FIGURE = (
    "arena.json",
    "games.csv",
    "ratings.csv",
    "ladder.md",
    "ladder.png",
)
COLUMNS = ("first", "second", "opening", "as_x", "as_o", "plies_x", "plies_o")
FORMAT = "rl_serial arena 1"


@dataclass(frozen=True)
class ArenaSettings:
    """How an arena is played.

    Args:
        seed: of openings and dice.
        plies: random moves of an opening; None: by the board (:func:`opening_plies`).
        within: half of the longest interval that is small enough, in points of Elo; those of
            perfect and random play do not count.
        batch: pairs of games of two contenders that are played as one batch in a round.
        most: pairs of games of two contenders at most.
    """

    seed: int = 0
    plies: int | None = None
    within: float = 50.0
    batch: int = 16
    most: int = 256


def arena(
    game: Game[Any],
    contenders: Sequence[Contender],
    settings: ArenaSettings | None = None,
    folder: Path | None = None,
    told: Callable[[str], None] = lambda _: None,
    played: Plays = played_here,
) -> ArenaResult:
    """Play, and rate who played.

    Args:
        game: the rules.
        contenders: two at least, of different names.
        settings: None: the defaults.
        folder: where everything is kept, and continued; None: nowhere.
        told: hears a line after each round.
        played: where games are played: here, one batch after the other, or by
            :func:`rl_serial.api.arena.meetings.played_on_ray`. The games are the same.

    Raises:
        UserError: a folder of another arena, or of contenders with other weights, or damaged.
        RunError: a player gives moves that are not legal.
    """
    settings = settings or ArenaSettings()
    if len(contenders) < 2:
        raise UserError("an arena needs two players")
    if folder is None:
        return _played(game, contenders, settings, _Record(None), told, played)
    with locked(folder / "arena.lock", str(folder), "arena"):
        _check_plan(game, contenders, settings, folder)
        result = _played(game, contenders, settings, _Record(folder / GAMES), told, played)
        write_text(folder / RATINGS, table_text(list(result.rows()[0]), result.rows()))
        text = "\n\n".join([result.table(), *result.notes(), result.crosstable()])
        write_text(folder / TABLE, text + "\n")
        result.draw(folder / FIGURE)
    return result


def _played(
    game: Game[Any],
    contenders: Sequence[Contender],
    settings: ArenaSettings,
    record: _Record,
    told: Callable[[str], None],
    played: Plays,
) -> ArenaResult:
    plies = opening_plies(game) if settings.plies is None else settings.plies
    # By name, so that it does not matter in which order they were given.
    everyone = list(itertools.combinations(sorted(contenders, key=lambda one: one.name), 2))
    wanted = 0
    while True:
        wanted = min(wanted + settings.batch, settings.most)
        due = []
        for two in everyone:
            done = len(record.pairs.get((two[0].name, two[1].name), ()))
            if done < wanted:
                due.append(Meeting(game, two, settings.seed, range(done, wanted), plies))
        for meeting, pairs in zip(due, played(due), strict=True):
            record.add(meeting.names, pairs)
        there = {one.name for one in contenders}
        counted = {
            names: pairs[:wanted] for names, pairs in record.pairs.items() if there >= {*names}
        }
        result = ArenaResult.of(game, contenders, counted)
        widest = result.widest()
        length = f"is ±{widest:.0f}" if math.isfinite(widest) else "is open"
        told(f"{2 * wanted} games of each two: the longest interval {length}")
        if widest <= settings.within or wanted >= settings.most:
            return result


class _Record:
    """The games that were played, in a file that rows are added to."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.pairs: dict[tuple[str, str], list[PairOfGames]] = {}
        if file is None:
            return
        if not file.exists():
            write_text(file, ",".join(COLUMNS) + "\n")
            return
        text = read_text(file)
        whole = text[: text.rfind("\n\n") + 2] if "\n\n" in text else text.partition("\n")[0] + "\n"
        if whole != text:  # what a kill left of a batch
            write_text(file, whole)
        try:
            for row in csv.DictReader(io.StringIO(whole)):
                pair = PairOfGames(
                    int(row["opening"]),
                    float(row["as_x"]),
                    float(row["as_o"]),
                    int(row["plies_x"]),
                    int(row["plies_o"]),
                )
                self.pairs.setdefault((row["first"], row["second"]), []).append(pair)
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise UserError(f"damaged: {error}", source=file) from None

    def add(self, names: tuple[str, str], pairs: Sequence[PairOfGames]) -> None:
        """Keep a batch, on disk before anything else is played."""
        self.pairs.setdefault(names, []).extend(pairs)
        if self.file is None:
            return
        stream = io.StringIO()
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writerows({"first": names[0], "second": names[1]} | asdict(pair) for pair in pairs)
        try:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(stream.getvalue() + "\n")  # an empty line ends a batch
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(error.strerror or error, source=self.file) from None


def _check_plan(
    game: Game[Any], contenders: Sequence[Contender], settings: ArenaSettings, folder: Path
) -> None:
    """Refuse a folder whose games would not go with these; note who plays.

    The batch is part of it: networks may round otherwise in batches of another size.
    """
    plies = opening_plies(game) if settings.plies is None else settings.plies
    plan: dict[str, Any] = {
        "format": FORMAT,
        "game": repr(game),
        "seed": settings.seed,
        "opening_plies": plies,
        "batch": settings.batch,
    }
    file = folder / PLAN
    before: dict[str, Any] = {}
    if file.exists():
        try:
            before = json.loads(read_text(file))
            known = dict(before["players"])
        except (ValueError, KeyError, TypeError):
            raise UserError("damaged; another folder begins anew", source=file) from None
        for key, value in plan.items():
            if before.get(key) != value:
                raise UserError(
                    f"is an arena with {key} {before.get(key)}, not {value}; give another folder",
                    source=folder,
                )
        for one in contenders:
            if known.get(one.name, one.digest) != one.digest:
                raise UserError(
                    f"{one.name} has other weights than when it played here; give another folder",
                    source=folder,
                )
    players = before.get("players", {}) | {one.name: one.digest for one in contenders}
    if before != plan | {"players": players}:
        write_json(file, plan | {"players": players})
