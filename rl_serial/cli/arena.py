"""The command ``rl-serial arena``: everyone plays everyone, and a ladder of ratings."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rl_serial.arguments import MOST_SEED, MOST_THREADS, counts, whole
from rl_serial.cli.words import assignments
from rl_serial.errors import UserError
from rl_serial.importing import add_import, named_function

MOST_PLIES, MOST_PAIRS = 64, 2**20


def add_arena(commands: Any, require: Callable[[str, int], None]) -> None:
    """Add the command to the subparsers of ``rl-serial``."""
    arena = commands.add_parser("arena", help="let players of a game meet, and rate them")
    arena.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="run folders, or perfect:SHARE (of its moves that are random); perfect play of boards "
        "that can be solved and random play are always there",
    )
    arena.add_argument(
        "--simulations",
        type=counts,
        default=[0],
        metavar="0,1,4,…",
        help="of the search on top of each run; 0, the default, is its network alone",
    )
    add_game(arena)
    arena.add_argument(
        "--players",
        dest="own",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION",
        help="a function of the game that gives a player of your own; repeatable",
    )
    arena.add_argument("--out", type=Path, metavar="FOLDER", help="default runs/arena/<game>")
    arena.add_argument(
        "--within",
        type=positive,
        default=50.0,
        metavar="ELO",
        help="play until half of the longest 95 %% interval is this small; default 50",
    )
    arena.add_argument(
        "--games",
        type=whole(2, 2 * MOST_PAIRS),
        default=512,
        help="of each two players at most; default 512",
    )
    arena.add_argument(
        "--batch",
        type=whole(2, 2 * MOST_PAIRS),
        default=32,
        help="games of each two players that are played at once in a round; default 32",
    )
    arena.add_argument(
        "--opening-plies",
        type=whole(0, MOST_PLIES),
        help="random moves before a game; default an eighth of the cells, 1 to 6",
    )
    arena.add_argument("--seed", type=whole(0, MOST_SEED), default=0, help="of openings and dice")
    arena.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where games are played: in this process, or as tasks of Ray (extra `ray`)",
    )
    arena.add_argument(
        "--workers", type=whole(1, MOST_THREADS), help="with ray: meetings at a time"
    )
    arena.add_argument(
        "--address", help="with ray: of a cluster; else RAY_ADDRESS, or started here"
    )
    arena.add_argument("--quiet", action="store_true", help="no line for each round")
    arena.add_argument("--threads", type=whole(1, MOST_THREADS), default=1, help="torch's")
    add_import(arena)

    def carry_out(options: argparse.Namespace) -> None:
        require("arena", options.threads)
        _arena(options)

    arena.set_defaults(command=carry_out)


def add_game(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--game``."""
    parser.add_argument(
        "--game",
        nargs="+",
        metavar=("NAME", "key=value"),
        help="hex or connect_four with options, as in --game hex size=4; default that of the runs",
    )


def game_asked(options: argparse.Namespace) -> Any:
    """The rules that ``--game`` says; None without it."""
    from rl_serial.api.arena import game_named

    if not options.game:
        return None
    name, *words = options.game
    return game_named(name, assignments(words, f"--game {name}"))


def positive(text: str) -> float:
    """Parses a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: must be a number above 0")
    return number


@contextmanager
def _players(options: argparse.Namespace) -> Iterator[Any]:
    """What plays the games of a round."""
    from rl_serial.api.arena.meetings import played_here, played_on_ray

    if options.engine == "local":
        for key in ("workers", "address"):
            if getattr(options, key) is not None:
                raise UserError("goes with --engine ray; leave it out", f"--{key}")
        yield played_here
        return
    with played_on_ray(options.workers, options.address) as played:
        yield played


def _arena(options: argparse.Namespace) -> None:
    from rl_serial.api.arena import ArenaSettings, arena, contenders_of

    own = {word: named_function(word) for word in options.own}
    game, contenders = contenders_of(options.runs, options.simulations, game_asked(options), own)
    folder = options.out or Path("runs/arena") / game.name
    settings = ArenaSettings(
        seed=options.seed,
        plies=options.opening_plies,
        within=options.within,
        batch=-(-options.batch // 2),
        most=-(-options.games // 2),
    )
    told = (lambda _: None) if options.quiet else lambda line: print(line, flush=True)
    try:
        with _players(options) as played:
            result = arena(game, contenders, settings, folder, told, played)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command continues") from None
    print(f"\n{result.table()}\n")
    for note in result.notes():
        print(note)
    print(f"\n{folder}: games.csv, ratings.csv, ladder.md, ladder.png")
