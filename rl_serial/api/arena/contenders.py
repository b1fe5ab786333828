"""Who plays in an arena: runs with numbers of simulations, perfect and random play, and others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from rl_serial.api.opponents import run_player
from rl_serial.envs.games import (
    GAMES,
    Game,
    PerfectPlayer,
    Player,
    RandomPlayer,
    game_name,
    is_solvable,
    make_game,
)
from rl_serial.errors import OptionError, UserError, did_you_mean
from rl_serial.loading import read_yaml
from rl_serial.runs.files import MODEL

RANDOM, PERFECT = "random", "perfect"
"""The ends of a ladder."""


@dataclass(frozen=True)
class Contender:
    """A player by name, who is made when he is needed."""

    name: str
    make: Callable[[], Player]
    run: str = ""  # the name of the run that it is of
    simulations: int | None = None  # of its search; None: it is no run
    digest: str = ""  # of the run's weights: other weights are another player

    @property
    def is_end(self) -> bool:
        """Whether it is perfect or random play."""
        return self.name in (RANDOM, PERFECT)


def called(word: str) -> str:
    """The name of the rules that a word means: hex, connect_four and ConnectFour are known.

    Raises:
        UserError: no such game.
    """
    plain = {name.casefold().replace("_", ""): name for name in GAMES}
    key = word.casefold().replace("_", "")
    if key not in plain:
        raise UserError(
            f"no such game; there are {', '.join(GAMES)}{did_you_mean(key, plain)}", word
        )
    return plain[key]


def game_named(word: str, options: Mapping[str, Any]) -> Game[Any]:
    """The rules of a game with options, as size and swap.

    Raises:
        UserError: no such game or option, or one out of its range.
    """
    try:
        return make_game(called(word), **options)
    except OptionError as error:
        raise UserError(error.message or error, f"--game {word} {error.option}") from None


def game_of(folder: Path) -> Game[Any]:
    """The rules that a run was trained by.

    Raises:
        UserError: no run, or not one on a game.
    """
    file = folder / "config.yaml"
    if not file.exists():
        raise UserError("no run here (config.yaml is missing)", source=folder)
    env = read_yaml(file).get("env")
    env = env if isinstance(env, dict) else {}
    name = game_name(str(env.get("id")))
    if name is None:
        raise UserError(f"was trained in {env.get('id')}, which is no game", source=folder)
    known = [field.name for field in fields(GAMES[name].rules)]
    try:
        return make_game(name, **{key: value for key, value in env.items() if key in known})
    except OptionError as error:
        raise UserError(error.message, f"env.{error.option}", file) from None


def known_player(game: Game[Any], word: str) -> Contender | None:
    """The player of known strength that a word means: random, perfect or perfect:SHARE.

    The share is of moves that are drawn at random, 0 to 1. None: the word means something else.

    Raises:
        UserError: a share that is none, perfect play of a board that is too large.
    """
    kind, colon, share = word.partition(":")
    if word == RANDOM:
        return Contender(word, partial(RandomPlayer, game))
    if kind != PERFECT:
        return None
    if not is_solvable(game):
        raise UserError(f"perfect play of {game} takes too long", word)
    try:
        mistakes = float(share) if colon else 0.0
        PerfectPlayer(game, mistakes)
    except ValueError:
        raise UserError("must be perfect:SHARE with a share from 0 to 1", word) from None
    return Contender(word, partial(PerfectPlayer, game, mistakes))


def run_contender(game: Game[Any], folder: Path, simulations: int) -> Contender:
    """The agent of a run with a search of so many simulations on top; 0 is its network alone."""
    maker: Callable[..., Player] = run_player
    name = folder.resolve().name

    def make() -> Player:
        try:
            if simulations:
                return maker(game, str(folder), simulations=simulations)
            return maker(game, str(folder))
        except OptionError as error:
            raise UserError(error.message or error, source=folder) from None

    at = f"{name}@{simulations}"
    return Contender(at, make, name, simulations, _digest(folder / MODEL))


def own_player(game: Game[Any], word: str, function: Callable[..., Any]) -> Contender:
    """A player of one's own.

    Args:
        game: the rules.
        word: what named it.
        function: makes the player of the game.

    Raises:
        UserError: it makes no player.
    """
    player = function(game)
    if not isinstance(player, Player):
        raise UserError(f"gives {type(player).__name__}, which has no act(state, seeds)", word)
    return Contender(word, lambda: player)


def contenders_of(
    words: Sequence[str],
    simulations: Sequence[int],
    game: Game[Any] | None,
    own: Mapping[str, Callable[..., Any]] | None = None,
) -> tuple[Game[Any], list[Contender]]:
    """The game that is played, and all who play it, the ends of the ladder among them.

    Args:
        words: folders of runs, or random, perfect or perfect:SHARE.
        simulations: of each run.
        game: None: that of the runs.
        own: functions that make players of one's own, by name.

    Raises:
        UserError: no run to tell the game by, runs on different boards, two of the same name, or
            as of the players.
    """
    folders = [Path(w) for w in words if w.partition(":")[0] not in (RANDOM, PERFECT)]
    games = {str(folder): game_of(folder) for folder in folders}
    if game is None:
        if not games:
            raise UserError("is needed where no run says what is played", "--game")
        game = next(iter(games.values()))
    for place, other in games.items():
        if other != game:
            raise UserError(f"was trained on {other}, not {game}", source=place)
    found = []
    for word in [*words, RANDOM, *([PERFECT] if is_solvable(game) else [])]:
        known = known_player(game, word)
        if known is None:
            found += [run_contender(game, Path(word), n) for n in simulations]
        elif not (known.is_end and known.name in [one.name for one in found]):
            found.append(known)
    found += [own_player(game, word, function) for word, function in (own or {}).items()]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError("is named twice; runs are known by the names of their folders", name)
    return game, found


def player_named(
    word: str, simulations: int, game: Game[Any] | None
) -> tuple[Game[Any], Contender]:
    """The player that a word means, and the game that it plays.

    Arguments and errors as of :func:`contenders_of`.
    """
    if word.partition(":")[0] in (RANDOM, PERFECT):
        if game is None:
            raise UserError("is needed where no run says what is played", "--game")
        known = known_player(game, word)
        if known is None:
            raise UserError("must be random, perfect or perfect:SHARE", word)
        return game, known
    own = game_of(Path(word))
    if game not in (None, own):
        raise UserError(f"was trained on {own}, not {game}", source=word)
    return own, run_contender(own, Path(word), simulations)


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""  # the run's loading says what is wrong
