"""Arenas: every player of a game against every other, and a ladder of ratings from their games."""

from rl_serial.api.arena.contenders import (
    Contender,
    called,
    contenders_of,
    game_named,
    own_player,
    player_named,
)
from rl_serial.api.arena.games import PairOfGames, opening_plies, play_pairs
from rl_serial.api.arena.ladder import ArenaResult, Standing
from rl_serial.api.arena.meetings import played_here, played_on_ray
from rl_serial.api.arena.rounds import ArenaSettings, arena

__all__ = [
    "ArenaResult",
    "ArenaSettings",
    "Contender",
    "PairOfGames",
    "Standing",
    "arena",
    "called",
    "contenders_of",
    "game_named",
    "opening_plies",
    "own_player",
    "play_pairs",
    "played_here",
    "played_on_ray",
    "player_named",
]
