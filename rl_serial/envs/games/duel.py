"""A game against a fixed opponent, as a decision problem of one agent.

The rules are batched functions with the names that tasks on chains have
(:class:`rl_serial.envs.tasks.Task`), so that environments, agents and examinations use them alike.
They run on NumPy arrays only. A step is the agent's move and the opponent's answer. Its dice come
from the episode's seed, so a search in these rules would see them: who searches does it in the game
itself, where the other side plays its best.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.chain import TokenLayout, map_state, select
from rl_serial.envs.episodes import put
from rl_serial.envs.games.game import Game, heading
from rl_serial.envs.games.perfect import PerfectPlay, is_solvable, perfect_play, take
from rl_serial.envs.games.players import (
    PerfectPlayer,
    Player,
    PlayerByGame,
    RandomPlayer,
    one_of,
)
from rl_serial.envs.games.registry import GAMES, make_game
from rl_serial.envs.random import below, fold_in, random_words
from rl_serial.envs.tasks import STARTS, Transition
from rl_serial.errors import OptionError, refuse_unknown, require

SEATS = ("random", "first", "second")
OPPONENTS = ("random", "perfect")
RUN = "run:"
"""Begins the name of an opponent that a run has trained."""
RUN_PLAYER = "rl_serial.api.opponents:run_player"
"""Makes that opponent: of game, folder and simulations."""


@dataclass(frozen=True)
class DuelState:
    """A batch of games in which the agent is to move, or which are over."""

    game: Any  # positions; of a game that is over as who would be to move next sees it
    seeds: NDArray[np.int64]  # [B]
    seat: NDArray[np.int64]  # [B] 0 where the agent is the first player, else 1

    @property
    def ended(self) -> NDArray[np.bool_]:
        """[B]."""
        ended: NDArray[np.bool_] = self.game.ended
        return ended


@dataclass(frozen=True)
class Plies:
    """What a game has of a chain: how many moves it can last.

    Args:
        serial_depth: moves of the longest game.
    """

    serial_depth: int
    numpy_only = True
    binary_observations = True


@dataclass(frozen=True)
class Duel:
    """A game against a fixed opponent.

    A win pays 1, a loss -1, a draw 0. A move that is not legal loses.

    Args:
        game: the rules.
        opponent: random, perfect (boards that :func:`is_solvable` admits), run:FOLDER (what a run
            has trained), run:FOLDER@N (with a search of N simulations on top), or a
            :class:`rl_serial.envs.games.players.Player` or ``PlayerByGame``.
        mistakes: share of its moves that a perfect opponent draws at random, 0 to 1.
        seat: first, second, or random: as the episode's seed says.
        start: full (the empty board) or uniform (after a uniform number of random moves; the agent
            is who is to move then, wherever it would sit).

    Raises:
        OptionError: an option outside its range; it is a ValueError.
    """

    game: Game[Any]
    opponent: Any = "random"
    mistakes: float = 0.0
    seat: str = "random"
    start: str = "full"
    player: Player | PlayerByGame = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require(self.seat in SEATS, "seat", self.seat, f"one of {', '.join(SEATS)}")
        require(self.start in STARTS, "start", self.start, f"one of {', '.join(STARTS)}")
        if self.opponent != "perfect":
            require(self.mistakes == 0, "mistakes", self.mistakes, "0 but of opponent perfect")
        object.__setattr__(self, "player", self._player())

    def _player(self) -> Player | PlayerByGame:
        if self.opponent == "random":
            return RandomPlayer(self.game)
        if self.opponent == "perfect":
            if not is_solvable(self.game):
                raise OptionError("opponent", f"perfect play of {self.game} takes too long")
            return PerfectPlayer(self.game, self.mistakes)
        if isinstance(self.opponent, str) and self.opponent.startswith(RUN):
            module, _, function = RUN_PLAYER.partition(":")
            folder, at, simulations = self.opponent.removeprefix(RUN).rpartition("@")
            if not at or not simulations.isdecimal():  # an @ can be part of a folder's name
                folder, simulations = self.opponent.removeprefix(RUN), "0"
            found: Player = getattr(import_module(module), function)(
                self.game, folder, int(simulations)
            )
            return found
        right = f"{', '.join(OPPONENTS)}, run:FOLDER, run:FOLDER@N or a Player"
        known = isinstance(self.opponent, Player | PlayerByGame)
        require(known, "opponent", self.opponent, right)
        player: Player | PlayerByGame = self.opponent
        return player

    @cached_property
    def perfect(self) -> PerfectPlay | None:
        """The solver, where the board can be solved."""
        return perfect_play(self.game) if is_solvable(self.game) else None

    @property
    def chain(self) -> Plies:
        """How long a game can be."""
        return Plies(self.game.most_plies)

    @property
    def action_names(self) -> tuple[str, ...]:
        """The game's, in the view of the player to move."""
        return self.game.action_names

    @property
    def layout(self) -> TokenLayout:
        """The game's."""
        return self.game.layout

    def initial(self, seeds: NDArray[np.int64]) -> DuelState:
        """Fresh games; where the agent is second the opponent has opened."""
        words = random_words(seeds, 1, stream=97)[:, 0]
        if self.start == "uniform":
            plies = below(random_words(seeds, 1, stream=98)[:, 0], self.game.most_plies)
            state = random_positions(self.game, seeds, plies)
            return DuelState(state, seeds, np.asarray(state.player))
        seat = {"random": below(words, 2), "first": 0 * seeds, "second": 0 * seeds + 1}
        seats = seat[self.seat]
        state = DuelState(self.game.initial(len(seeds)), seeds, seats)
        return self._answered(state, np.flatnonzero(seats == 1))[0]

    def step(self, state: DuelState, action: NDArray[np.int64]) -> Transition[DuelState]:
        """The agent's move and the opponent's answer."""
        moved = self.game.step(state.game, action)
        after = replace(state, game=moved.state)
        answered, paid = self._answered(after, np.flatnonzero(~moved.state.ended))
        return Transition(answered, moved.reward - paid, answered.ended)

    def _answered(
        self, state: DuelState, rows: NDArray[np.int64]
    ) -> tuple[DuelState, NDArray[np.float32]]:
        """The states after the opponent's move in ``rows``, and what it won by it [B]."""
        paid = np.zeros(len(state.seeds), dtype=np.float32)
        if not rows.size:
            return state, paid
        some, games = take(state.game, rows), state.seeds[rows]
        dice = fold_in(games, np.asarray(some.ply))
        if isinstance(self.player, PlayerByGame):
            action = self.player.act_in(some, dice, games)
        else:
            action = self.player.act(some, dice)
        moved = self.game.step(some, action)
        paid[rows] = moved.reward
        game = map_state(lambda old, new: put(old, rows, new), state.game, moved.state)
        return replace(state, game=game), paid

    def serial_step(
        self, state: DuelState, action: NDArray[np.int64]
    ) -> tuple[Transition[DuelState], NDArray[np.bool_]]:
        """A step is one serial step."""
        transition = self.step(state, action)
        return transition, np.zeros_like(transition.terminated)

    def observe(self, state: DuelState) -> NDArray[np.float32]:
        """[B, layout.size]: the game's, as the agent sees the board."""
        observations: NDArray[np.float32] = self.game.observe(state.game)
        return observations

    def legal_actions(self, state: DuelState) -> NDArray[np.bool_]:
        """[B, num_actions]: the legal moves; all actions after the end."""
        legal: NDArray[np.bool_] = self.game.legal(state.game) | state.ended[:, None]
        return legal

    def examined(self, state: DuelState) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """The legal moves, by their exact values."""
        return self.legal_actions(state), self.action_values(state)

    @property
    def deliberates(self) -> bool:
        """A move is a move."""
        return False

    def notes(self, state: DuelState) -> list[str]:
        """Which stones are the agent's."""
        return [f"agent: {'XO'[int(state.seat[0])]}"]

    def action_values(self, state: DuelState) -> NDArray[np.float32]:
        """[B, num_actions] float32: the game's value after each move, 0 once it is over.

        With perfect play of both sides: what a move is worth against the perfect opponent, and what
        it is sure to bring against any other. A move that is not legal is worth -1.

        Raises:
            ValueError: the board is too large to be solved.
        """
        if self.perfect is None:
            raise ValueError(f"{self.game}: perfect play of so large a board is not known")
        moves = self.perfect.moves(state.game)
        values = np.where(moves.legal, moves.values, -1).astype(np.float32)
        values[state.ended] = 0
        return values

    def remaining(self, state: DuelState) -> NDArray[np.int64]:
        """[B] int64: plies to the end under perfect play, 0 after it.

        On a board that is too large to be solved it is the number of empty cells.
        """
        if self.perfect is not None:
            return self.perfect.plies(state.game)
        empty = (np.asarray(state.game.board) == 0).sum(axis=1)
        return np.where(state.ended, 0, empty)

    def status(self, state: DuelState) -> str:
        """Who is to move or who has won, of a state with B = 1."""
        game = state.game
        return heading(
            int(game.player[0]), int(game.ply[0]), bool(game.ended[0]), int(game.result[0])
        )


def random_positions(game: Game[Any], seeds: NDArray[np.int64], plies: NDArray[np.int64]) -> Any:
    """Positions after ``plies`` [B] random moves, or the last before the end of a shorter game.

    Args:
        game: the rules.
        seeds: [B] int64, of the dice.
        plies: [B] int64, at least 0.
    """
    state = kept = game.initial(len(seeds))
    for ply in range(int(plies.max(initial=0))):
        words = random_words(seeds, 1, stream=128 + ply)[:, 0]
        state = game.step(state, one_of(np.asarray(game.legal(state)), words)).state
        kept = select((ply < plies) & ~np.asarray(state.ended), state, kept)
    return kept


def make_duel(name: str, /, **options: Any) -> Duel:
    """The rules of a game against an opponent, from the options of both.

    Raises:
        UnknownOption: one that there is not; it is a ValueError and a TypeError.
        ValueError: one out of its range, or no such game.
    """
    own = [f.name for f in fields(Duel) if f.init and f.name != "game"]
    if name in GAMES:
        known = [*(f.name for f in fields(GAMES[name].rules)), *own]
        refuse_unknown(options, known, name)
    rules = {key: value for key, value in options.items() if key not in own}
    rest = {key: value for key, value in options.items() if key in own}
    for key, kinds, right in (
        ("mistakes", (int, float), "a share, 0 to 1"),
        ("seat", (str,), "a text"),
        ("start", (str,), "a text"),
    ):
        value = rest.get(key, kinds[0]())
        require(isinstance(value, kinds) and not isinstance(value, bool), key, value, right)
    return Duel(make_game(name, **rules), **rest)
