"""What runs on games measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rl_serial.config import RunConfig
from rl_serial.metrics import Index, Metric, Place, Profile
from rl_serial.subjects.games.config import duel_of, evaluation_of, plies_of

RIGHT = 0.9
"""Share of right answers that counts as knowing (serial horizon)."""


def _by(what: str) -> Callable[[Index], str]:
    return lambda index: f"{what}, end within {index['plies']} plies" if "plies" in index else what


RETURN = Metric("eval/return", "return against the opponent", progress="return")
WON = Metric("eval/won", "games won")
KEPT_FLOOR = Metric("floor/kept", "moves that keep the value, by the floor", late=True)
KEPT = Metric("eval/kept", "moves that keep the value", progress="kept", floor=KEPT_FLOOR)
OPENINGS = Metric("eval/openings_not_won", "won openings not won", better="lower", late=True)
ABOVE_FLOOR = Metric("eval/kept_above_floor", "moves kept above the floor", late=True)
HORIZON = Metric(
    "eval/serial_horizon", "serial horizon of moves (plies)", counts_steps=True, progress="horizon"
)
KEPT_FLOOR_BY = Metric(
    "floor/kept_by/plies_{plies}", _by("moves that keep the value, by the floor"), late=True
)
KEPT_BY = Metric(
    "eval/kept_by/plies_{plies}",
    _by("moves that keep the value"),
    heat_map=True,
    floor=KEPT_FLOOR_BY,
)
SIGN_FLOOR = Metric("floor/sign", "right value signs, by the floor", late=True)
SIGN = Metric("value/sign", "right value signs", floor=SIGN_FLOOR)
SIGN_HORIZON = Metric(
    "value/sign_horizon", "serial horizon of value signs (plies)", counts_steps=True
)
SIGN_FLOOR_BY = Metric(
    "floor/sign_by/plies_{plies}", _by("right value signs, by the floor"), late=True
)
SIGN_BY = Metric(
    "value/sign_by/plies_{plies}", _by("right value signs"), heat_map=True, floor=SIGN_FLOOR_BY
)
KINDS = ("constant", "linear", "memoriser")
SIGN_OF_KIND = Metric(
    "floor/sign_of/{kind}",
    lambda index: f"right value signs, {index.get('kind', 'each rule')}",
    late=True,
    to_name=("kind",),
)
KEPT_OF_KIND = Metric(
    "floor/kept_of/{kind}",
    lambda index: f"moves that keep the value, {index.get('kind', 'each rule')}",
    late=True,
    to_name=("kind",),
)
LOOPS_SIGN = Metric(
    "loops/{loops}/sign",
    lambda index: f"right value signs after {index.get('loops', 'some')} loops",
    asked_by=("evaluation.loops",),
)
LOOPS_BY = Metric(
    "loops/{loops}/sign_by/plies_{plies}",
    _by("right value signs"),
    asked_by=("evaluation.loops",),
)
"""What the same weights know with another number of loops."""
_SEARCHING = ("agent.kind",)
RAW_KEPT = Metric(
    "raw/kept",
    "moves of the network alone that keep the value",
    floor=KEPT_FLOOR,
    asked_by=_SEARCHING,
)
RAW_SIGN = Metric(
    "raw/sign", "right value signs of the network alone", floor=SIGN_FLOOR, asked_by=_SEARCHING
)
RAW_SIGN_BY = Metric(
    "raw/sign_by/plies_{plies}",
    _by("right value signs of the network alone"),
    heat_map=True,
    asked_by=_SEARCHING,
    floor=SIGN_FLOOR_BY,
)
"""Of an agent that searches, what its network says without."""
_ASKED = ("evaluation.simulations",)


def _searched(what: str) -> Callable[[Index], str]:
    return lambda index: f"{what}, {index.get('simulations', 'some')} simulations"


SEARCHED_KEPT = Metric(
    "search/kept/{simulations}",
    _searched("moves that keep the value"),
    late=True,
    asked_by=_ASKED,
    floor=KEPT_FLOOR,
)
SEARCHED_SIGN = Metric(
    "search/sign/{simulations}",
    _searched("right value signs"),
    late=True,
    asked_by=_ASKED,
    floor=SIGN_FLOOR,
)
SEARCHED_OPENINGS = Metric(
    "search/openings_not_won/{simulations}",
    _searched("won openings not won"),
    better="lower",
    late=True,
    asked_by=_ASKED,
)
ONE_PLY_KEPT = Metric(
    "search/kept/one_ply",
    "moves that keep the value, one ply ahead",
    late=True,
    asked_by=_ASKED,
    floor=KEPT_FLOOR,
)
ONE_PLY_OPENINGS = Metric(
    "search/openings_not_won/one_ply",
    "won openings not won, one ply ahead",
    better="lower",
    late=True,
    asked_by=_ASKED,
)
SEARCHED_RETURN = Metric(
    "search/return_against_{opponent}/{simulations}",
    _searched("return against a player"),
    late=True,
    to_name=("opponent",),
    asked_by=_ASKED,
)
KNOWN_PLAYERS = ("random", "perfect")
METRICS = (
    RETURN, WON, KEPT, KEPT_FLOOR, ABOVE_FLOOR, HORIZON, KEPT_BY, KEPT_FLOOR_BY, SIGN, SIGN_FLOOR,
    SIGN_HORIZON, SIGN_BY, SIGN_FLOOR_BY, SIGN_OF_KIND, KEPT_OF_KIND, LOOPS_SIGN,
    LOOPS_BY, RAW_KEPT, RAW_SIGN, RAW_SIGN_BY, SEARCHED_KEPT, SEARCHED_SIGN, SEARCHED_OPENINGS,
    SEARCHED_RETURN, OPENINGS, ONE_PLY_KEPT, ONE_PLY_OPENINGS,
)  # fmt: skip
NO_VALUES = ("random", "cloning")
"""Agents that say nothing of values."""


def places(config: RunConfig) -> Iterator[Place]:
    """What a run logs when it is done."""
    plies, values = plies_of(config), config.agent.kind not in NO_VALUES
    yield Place(RETURN)
    yield Place(WON)
    for count in evaluation_of(config).simulations:
        for opponent in KNOWN_PLAYERS if plies else ("random",):
            yield Place(SEARCHED_RETURN, {"opponent": opponent, "simulations": count})
        for metric in (SEARCHED_KEPT, SEARCHED_SIGN, SEARCHED_OPENINGS) if plies else ():
            yield Place(metric, {"simulations": count})
    if not plies:
        return
    whole = [KEPT, KEPT_FLOOR, ABOVE_FLOOR, HORIZON, SIGN_FLOOR, OPENINGS]
    if evaluation_of(config).simulations:
        whole += [ONE_PLY_KEPT, ONE_PLY_OPENINGS]
    by = [KEPT_BY, KEPT_FLOOR_BY, SIGN_FLOOR_BY]
    if values:
        whole += [SIGN, SIGN_HORIZON]
        by += [SIGN_BY]
    if config.agent.kind == "search" or getattr(config.agent, "simulations", None):
        whole += [RAW_KEPT, RAW_SIGN]
        by += [RAW_SIGN_BY]
    yield from (Place(metric) for metric in whole)
    yield from (Place(metric, {"plies": count}) for count in plies for metric in by)
    for kind in KINDS:
        yield Place(SIGN_OF_KIND, {"kind": kind})
        yield Place(KEPT_OF_KIND, {"kind": kind})
    for loops in evaluation_of(config).loops:
        yield Place(LOOPS_SIGN, {"loops": loops})
        yield from (Place(LOOPS_BY, {"loops": loops, "plies": count}) for count in plies)


def profile(config: RunConfig) -> Profile:
    """Right value signs, or kept moves of agents without values, by plies to the end."""
    values = config.agent.kind not in NO_VALUES
    metric, floor = (SIGN_BY, SIGN_FLOOR_BY) if values else (KEPT_BY, KEPT_FLOOR_BY)
    what = "right value signs" if values else "moves that keep the value"
    plies = plies_of(config)
    return Profile(
        name="sign_by_plies" if values else "kept_by_plies",
        limits=(-0.02, 1.02),
        title=f"{what[0].upper()}{what[1:]} by plies to the end under perfect play",
        x_label="the end comes within so many plies",
        y_label=what,
        tags={count: metric.at(plies=count) for count in plies},
        floors={count: floor.at(plies=count) for count in plies},
        reference=RIGHT,
        meaning="which the serial horizon asks for",
    )


def most_steps(config: RunConfig) -> int:
    """What a metric that counts plies can reach."""
    return max(plies_of(config), default=duel_of(config).game.most_plies)
