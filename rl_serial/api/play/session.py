"""A game between a person and a player, with what the player thought; knows no screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rl_serial.envs.games import Game, Player, ThinkingPlayer, Thought
from rl_serial.envs.games.game import MARKS, heading
from rl_serial.envs.random import fold_in
from rl_serial.errors import UserError, did_you_mean

FIRST, SECOND = 0, 1


@dataclass(frozen=True)
class Turn:
    """A position, how it came about, and what the player thought before."""

    state: Any
    move: str = ""  # that led here
    thought: dict[str, Any] | None = None  # of the player whose move it was, before it


class Session:
    """Games of a person against a player.

    Args:
        game: the rules.
        player: who the person plays against.
        seat: of the person: 0 is the first player, 1 the second.
        name: of the player.
        seed: of the player's dice.
    """

    def __init__(
        self, game: Game[Any], player: Player, seat: int = FIRST, name: str = "it", seed: int = 0
    ) -> None:
        self.game, self.player, self.name, self.seed = game, player, name, seed
        self.games = 0
        self.begin(seat)

    def begin(self, seat: int) -> None:
        """Begin anew; where the person is second the player opens."""
        self.seat = seat
        self.games += 1
        self.hint: dict[str, Any] | None = None
        self.turns = [Turn(self.game.initial(1))]
        self._answer()

    @property
    def state(self) -> Any:
        """The position, B = 1."""
        return self.turns[-1].state

    @property
    def over(self) -> bool:
        """Whether the game has ended."""
        return bool(np.asarray(self.state.ended)[0])

    @property
    def legal(self) -> list[str]:
        """The names of the legal moves."""
        if self.over:
            return []
        actions = np.flatnonzero(np.asarray(self.game.legal(self.state))[0])
        return [self._name(int(action)) for action in actions]

    def move(self, name: str) -> None:
        """The person's move, and the player's answer.

        Raises:
            UserError: the game is over, or there is no such legal move.
        """
        word, legal = name.strip().lower(), self.legal
        if self.over:
            raise UserError("the game is over")
        if word not in legal:
            if word in self.game.action_names:
                raise UserError("is not legal here", word)
            listed = ", ".join(legal) if len(legal) <= 12 else f"{legal[0]} to {legal[-1]}"
            raise UserError(f"is no move; there are {listed}{did_you_mean(word, legal)}", word)
        self._step(self._action(word), None)
        self._answer()

    def undo(self) -> None:
        """Take back the person's last move and what came after it.

        Raises:
            UserError: the person has not moved yet.
        """
        turns = self.turns[:-1]
        while turns and int(turns[-1].state.player[0]) != self.seat:
            turns.pop()
        if not turns:
            raise UserError("there is no move of yours to take back")
        self.turns, self.hint = turns, None

    def ask(self) -> dict[str, Any] | None:
        """What the player would think in the person's place; None: it shows nothing."""
        self.hint = None if self.over else self._thought()[1]
        return self.hint

    def thought(self) -> dict[str, Any] | None:
        """What the player thought before its last move: move, value, and rows of the moves."""
        return next((turn.thought for turn in reversed(self.turns) if turn.thought), None)

    def status(self) -> str:
        """Whose turn it is, or how the game has ended."""
        state = self.state
        if self.over:
            told = heading(*_numbers(state))
            result = int(state.result[0]) * (1 if int(state.player[0]) == self.seat else -1)
            return f"{told}: {('a draw', 'you have won', 'you have lost')[result]}"
        return f"move {int(state.ply[0]) + 1}: your turn, with {MARKS[1 + self.seat]}"

    def view(self) -> dict[str, Any]:
        """Everything that a screen shows, as plain data.

        ``cells`` are the rows of the board, of dictionaries: stone 1, -1 or 0 (the first player's,
        the second's, none), name, and the legal move that a person makes there, if any. ``others``
        are legal moves that have no cell.
        """
        game, legal = self.game, self.legal
        names = game.action_names
        board = np.asarray(game.absolute_board(self.state))[0]
        by_cell = len(names) >= board.size  # else by column, if at all
        cells, shown = [], set()
        for row in range(game.height):
            line = []
            for column in range(game.width):
                place = row * game.width + column
                move = names[place] if by_cell else names[column] if _falls(game) else ""
                shown.add(move)
                is_move = move in legal and board[row, column] == 0
                line.append(
                    {
                        "stone": int(board[row, column]),
                        "name": move if by_cell else f"{move}{row + 1}",
                        "move": move if is_move else None,
                    }
                )
            cells.append(line)
        return {
            "game": game.name,
            "against": self.name,
            "cells": cells,
            "others": [name for name in legal if name not in shown],
            "you": self.seat,
            "over": self.over,
            "status": self.status(),
            "moves": [turn.move for turn in self.turns[1:]],
            "last": self._last_cell(board),
            "thought": self.thought(),
            "hint": self.hint,
        }

    def _last_cell(self, board: Any) -> list[int] | None:
        """Row and column of the newest stone."""
        if len(self.turns) < 2:
            return None
        before = np.asarray(self.game.absolute_board(self.turns[-2].state))[0]
        changed = np.argwhere((before != board) & (board != 0))
        return [int(i) for i in changed[0]] if len(changed) else None

    def _answer(self) -> None:
        """The player's move where it is its turn."""
        self.hint = None
        if not self.over and int(self.state.player[0]) != self.seat:
            action, thought = self._thought()
            self._step(action, thought or {"move": self._name(action), "value": None, "rows": []})

    def _thought(self) -> tuple[int, dict[str, Any] | None]:
        """The player's action in the position, and what it thinks, if it shows it."""
        seeds = np.full(1, 2**20 * self.seed + self.games, dtype=np.int64)
        seeds = fold_in(seeds, np.asarray(self.state.ply).astype(np.int64))
        if not isinstance(self.player, ThinkingPlayer):
            return int(self.player.act(self.state, seeds)[0]), None
        found = self.player.think(self.state, seeds)
        action = int(found.action[0])
        return action, self._words(action, found)

    def _words(self, action: int, found: Thought) -> dict[str, Any]:
        """A thought in names and plain numbers, the best moves first."""
        legal = np.flatnonzero(np.asarray(self.game.legal(self.state))[0])
        columns = {name: np.asarray(values)[0] for name, values in found.numbers.items()}
        order = legal
        for values in list(columns.values())[:1]:
            order = legal[np.argsort(-values[legal], kind="stable")]
        order = np.array(sorted(order, key=lambda a: a != action), dtype=np.int64)
        rows = [
            {"move": self._name(int(a))}
            | {name: _plain(values[a]) for name, values in columns.items()}
            for a in order
        ]
        value = None if found.value is None else _plain(np.float64(np.asarray(found.value)[0]))
        return {"move": self._name(action), "value": value, "rows": rows if columns else []}

    def _step(self, action: int, thought: dict[str, Any] | None) -> None:
        name = self._name(action)
        after = self.game.step(self.state, np.array([action], dtype=np.int64)).state
        self.turns.append(Turn(after, name, thought))

    def _name(self, action: int) -> str:
        """An action in the view of the player to move by its name on the board."""
        seen = self.game.on_board(np.array([action], dtype=np.int64), self.state.player)
        return self.game.action_names[int(np.asarray(seen)[0])]

    def _action(self, name: str) -> int:
        """The action in the view of the player to move."""
        place = np.array([self.game.action_names.index(name)], dtype=np.int64)
        return int(np.asarray(self.game.on_board(place, self.state.player))[0])


def _plain(number: Any) -> int | float:
    """A number of NumPy as one of Python; 0 for what is not finite, which JSON has not."""
    if np.issubdtype(np.asarray(number).dtype, np.integer):
        return int(number)
    return round(float(number), 4) if np.isfinite(number) else 0.0


def _falls(game: Game[Any]) -> bool:
    """Whether a move is a column."""
    return len(game.action_names) == game.width


def _numbers(state: Any) -> tuple[int, int, bool, int]:
    return int(state.player[0]), int(state.ply[0]), bool(state.ended[0]), int(state.result[0])
