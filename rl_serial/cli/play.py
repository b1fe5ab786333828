"""The command ``rl-serial play``: against a player, in the terminal or in a page of the browser."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from rl_serial.arguments import MOST_SEED, MOST_SIMULATIONS, MOST_THREADS, whole
from rl_serial.cli.arena import add_game, game_asked
from rl_serial.importing import add_import

MOST_PORT = 65535


def add_play(commands: Any, require: Callable[[str, int], None]) -> None:
    """Add the command to the subparsers of ``rl-serial``."""
    play = commands.add_parser("play", help="play a game against a run, or perfect or random play")
    play.add_argument(
        "run",
        metavar="RUN",
        help="a run folder; random, perfect or perfect:SHARE (of its moves that are random)",
    )
    play.add_argument(
        "--simulations",
        type=whole(0, MOST_SIMULATIONS),
        default=0,
        metavar="N",
        help="of a search on top of a run; 0, the default, is its network alone",
    )
    add_game(play)
    play.add_argument(
        "--seat", choices=("first", "second"), default="first", help="yours; default first"
    )
    play.add_argument("--page", action="store_true", help="in a page of the browser")
    play.add_argument(
        "--port", type=whole(0, MOST_PORT), default=0, help="of the page; default any that is free"
    )
    play.add_argument("--seed", type=whole(0, MOST_SEED), default=0, help="of the player's dice")
    play.add_argument("--threads", type=whole(1, MOST_THREADS), default=1, help="torch's")
    add_import(play)

    def carry_out(options: argparse.Namespace) -> None:
        require("play", options.threads)
        _play(options)

    play.set_defaults(command=carry_out)


def _play(options: argparse.Namespace) -> None:
    from rl_serial.api.arena import player_named
    from rl_serial.api.play import Session, play_in_terminal, serve
    from rl_serial.api.play.server import HOST

    game, contender = player_named(options.run, options.simulations, game_asked(options))
    seat = ("first", "second").index(options.seat)
    session = Session(game, contender.make(), seat, contender.name, options.seed)
    if not options.page:
        play_in_terminal(session)
        return
    server = serve(session, options.port)
    print(f"http://{HOST}:{server.server_port}/ (Ctrl-C ends)", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
