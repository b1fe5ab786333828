"""What came of an arena: standings, tables, the figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rl_serial.api.arena.contenders import RANDOM, Contender
from rl_serial.api.arena.games import PairOfGames
from rl_serial.study.ratings import Ladder, Meetings, Rating, fit_ratings, largest_group
from rl_serial.study.table import Record
from rl_serial.styles import PALETTE, REFERENCE, draw_simulations, line_styles, save_figure
from rl_serial.tables import markdown_table

Played = Mapping[tuple[str, str], Sequence[PairOfGames]]
"""The pairs of games of each two, by their names; the first of the two is whom results are of."""


@dataclass(frozen=True)
class Standing:
    """A contender's place on the ladder."""

    contender: Contender
    rating: Rating
    above: Rating | None  # how far above the next one below, where both ratings are finite


@dataclass(frozen=True)
class ArenaResult:
    """The ladder of an arena, and the games that it is made from."""

    game: Any
    standings: tuple[Standing, ...]  # the strongest first
    played: Played
    zero: str  # whose rating is 0

    @classmethod
    def of(cls, game: Any, contenders: Sequence[Contender], played: Played) -> ArenaResult:
        """The ratings that the games say."""
        names = [one.name for one in contenders]
        ladder, zero = rated(names, played)
        order = sorted(range(len(names)), key=lambda i: _rank(ladder.ratings[i]), reverse=True)
        found = []
        for i, below in zip(order, [*order[1:], None], strict=True):
            gap = None if below is None else ladder.difference(i, below)
            known = gap is not None and math.isfinite(gap.low)
            found.append(Standing(contenders[i], ladder.ratings[i], gap if known else None))
        return cls(game, tuple(found), played, zero)

    def __getitem__(self, name: str) -> Standing:
        """The standing of a contender."""
        return next(one for one in self.standings if one.contender.name == name)

    def widest(self) -> float:
        """Half of the longest interval but those of perfect and random play; inf: one is open."""
        widths = [
            s.rating.half_width if s.rating.is_closed else math.inf
            for s in self.standings
            if not s.contender.is_end and s.contender.name != self.zero
        ]
        return max(widths, default=math.inf)

    def table(self) -> str:
        """The ladder as a Markdown table."""
        rows = [
            (
                s.contender.name,
                _number(s.rating.estimate),
                _interval(s.rating) if s.contender.name != self.zero else "the zero",
                f"{s.rating.score:.3f}",
                f"{s.rating.games:,}",
                "" if s.above is None else f"{s.above.estimate:.0f} {_interval(s.above)}",
            )
            for s in self.standings
        ]
        header = ("player", "rating", "95 % interval", "score", "games", "above the next")
        return markdown_table(header, rows)

    def crosstable(self) -> str:
        """What each row's player got of each column's on the average, as a Markdown table."""
        names = [s.contender.name for s in self.standings]
        rows = [[one, *(self._score(one, other) for other in names)] for one in names]
        return markdown_table(("score of", *names), rows)

    def _score(self, one: str, other: str) -> str:
        if pairs := self.played.get((one, other)):
            return f"{np.mean([pair.score for pair in pairs]):.2f}"
        if pairs := self.played.get((other, one)):
            return f"{1 - np.mean([pair.score for pair in pairs]):.2f}"
        return ""

    def notes(self) -> list[str]:
        """What a reader of the table must know."""
        found = [
            f"Elo's scale, {self.zero} is 0; a draw is half a win. Intervals: sandwich of Fisher "
            "information and the spread of pairs of games (one opening, colours exchanged)."
        ]
        if self.zero != RANDOM:
            found.append(
                f"{RANDOM} has won nothing of the others, so that no distance to it is known; "
                "weaker players, such as perfect:0.5, would tell it."
            )
        open_ = [s.contender.name for s in self.standings if not s.rating.is_closed]
        if open_:
            found.append(
                f"{', '.join(open_)}: all games won, or none, against those with numbers: the "
                "interval is open, its end that of the profile likelihood."
            )
        return found

    def rows(self) -> list[Record]:
        """The ladder as rows of a table."""
        return [
            {
                "player": s.contender.name,
                "run": s.contender.run,
                "simulations": s.contender.simulations,
                "rating": s.rating.estimate,
                "low": s.rating.low,
                "high": s.rating.high,
                "games": s.rating.games,
                "score": s.rating.score,
            }
            for s in self.standings
        ]

    def draw(self, file: Path) -> None:
        """Ratings with intervals; over simulations where runs have several, else as a ladder."""
        counts = {s.contender.simulations for s in self.standings} - {None}
        figure = self._over_simulations() if len(counts) > 1 else self._as_ladder()
        save_figure(figure, file, legend=len(counts) > 1)

    def _as_ladder(self) -> Figure:
        names = [s.contender.name for s in self.standings]
        figure = Figure(figsize=(6.4, 1.2 + 0.34 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, **REFERENCE)
        for place, s in enumerate(self.standings):
            colour = PALETTE[6] if s.contender.is_end else PALETTE[0]
            marker = "s" if s.contender.is_end else "o"
            _draw_interval(axes, s.rating, place, colour, marker, self._ends())
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel(f"rating (Elo; {self.zero} is 0), with 95 % interval")
        _plain(axes)
        return figure

    def _over_simulations(self) -> Figure:
        figure = Figure(figsize=(7, 4.4), layout="constrained")
        axes = figure.subplots()
        runs = list(dict.fromkeys(s.contender.run for s in self.standings if s.contender.run))
        for run, style in zip(runs, line_styles(runs), strict=True):
            mine = [s for s in self.standings if s.contender.run == run]
            mine.sort(key=lambda s: s.contender.simulations or 0)
            known = [s for s in mine if s.rating.is_closed]
            axes.errorbar(
                [s.contender.simulations or 0 for s in known],
                [s.rating.estimate for s in known],
                yerr=[s.rating.half_width for s in known],
                capsize=2,
                label=run,
                **style,
            )
            for s in mine:
                if not s.rating.is_closed:
                    _draw_open(axes, s, style["color"])
        for s in self.standings:
            if not s.contender.run and math.isfinite(s.rating.estimate):
                axes.axhline(s.rating.estimate, **REFERENCE)
                axes.annotate(
                    s.contender.name,
                    (1.01, s.rating.estimate),
                    xycoords=("axes fraction", "data"),
                    va="center",
                    fontsize=7,
                    color="0.35",
                )
        draw_simulations(axes, {s.contender.simulations or 0 for s in self.standings}, "a move")
        axes.set_ylabel(f"rating (Elo; {self.zero} is 0)")
        _plain(axes)
        return figure

    def _ends(self) -> tuple[float, float]:
        """The lowest and the highest finite number of the ladder."""
        numbers = [n for s in self.standings for n in (s.rating.low, s.rating.high)]
        finite = [n for n in numbers if math.isfinite(n)] or [0.0]
        return min(finite), max(finite)


def rated(names: Sequence[str], played: Played) -> tuple[Ladder, str]:
    """The ratings of the named, and whose is 0.

    It is random play's where that has won anything; else that of the weakest of the largest group
    whose distances are known.
    """
    place = {name: i for i, name in enumerate(names)}
    meetings = [
        Meetings(place[one], place[other], [pair.score for pair in pairs])
        for (one, other), pairs in played.items()
        if one in place and other in place
    ]
    group = largest_group(len(names), meetings)
    zero = place.get(RANDOM, -1)
    if zero not in group:
        first = fit_ratings(len(names), meetings, group[0])
        zero = min(group, key=lambda i: first.ratings[i].estimate)
    return fit_ratings(len(names), meetings, zero), names[zero]


def _rank(rating: Rating) -> tuple[float, float]:
    """By the rating; among those without one by the end that there is, then by the score."""
    if math.isnan(rating.estimate):
        return -math.inf, -math.inf
    if math.isfinite(rating.estimate):
        return rating.estimate, 0.0
    return rating.estimate, rating.score


def _number(value: float) -> str:
    if math.isnan(value):
        return "unknown"
    return f"{value:.0f}" if math.isfinite(value) else ("∞" if value > 0 else "-∞")


def _interval(rating: Rating) -> str:
    if not math.isfinite(rating.low) and not math.isfinite(rating.high):
        return "open"
    if not math.isfinite(rating.high):
        return f"above {rating.low:.0f}"
    if not math.isfinite(rating.low):
        return f"below {rating.high:.0f}"
    return f"({rating.low:.0f} to {rating.high:.0f})"


def _draw_interval(
    axes: Axes, rating: Rating, place: int, colour: str, marker: str, ends: tuple[float, float]
) -> None:
    """A point and a line; an arrow where the interval is open."""
    if rating.is_closed:
        axes.errorbar(
            rating.estimate, place, xerr=rating.half_width, color=colour, marker=marker, capsize=2
        )
        return
    reach = 0.12 * (ends[1] - ends[0] or 400)
    start = rating.low if math.isfinite(rating.low) else rating.high
    if not math.isfinite(start):
        return
    along = reach if math.isfinite(rating.low) else -reach
    axes.plot([start, start + along], [place, place], color=colour)
    axes.plot(start, place, marker="|", color=colour)
    axes.plot(start + along, place, marker=">" if along > 0 else "<", color=colour)


def _draw_open(axes: Axes, standing: Standing, colour: str) -> None:
    """An arrowhead at the end that there is."""
    rating, x = standing.rating, standing.contender.simulations or 0
    if math.isfinite(rating.low):
        axes.plot(x, rating.low, marker="^", color=colour, fillstyle="none", markersize=8)
    elif math.isfinite(rating.high):
        axes.plot(x, rating.high, marker="v", color=colour, fillstyle="none", markersize=8)


def _plain(axes: Axes) -> None:
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
