"""The contract of a game: two players, turn by turn, nothing hidden, one wins what the other loses.

A game is a set of pure, batched rules on NumPy arrays and torch tensors. It knows neither rewards
of an environment nor Gymnasium. A state is seen by the player to move: the board says "mine" and
"the other's", and in Hex it is turned so that mine connects top and bottom. So one network plays
both sides, and a planner whose discount is -1 needs no more than :meth:`Game.step`.

Actions are places in that same view. :meth:`Game.on_board` takes them to the board as people see
it, where the first player's view is the board itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rl_serial.envs.chain import Array, TokenLayout, array_namespace, device_of, one_hot
from rl_serial.envs.tasks import Transition

MARKS = (".", "X", "O")
"""An empty cell, a stone of the first player and one of the second, in text."""


class GameState(Protocol):
    """A batch of positions; a frozen dataclass of arrays with leading dimension B."""

    @property
    def board(self) -> Array:
        """[B, height * width] int8: 1 a stone of the player to move, -1 of the other, 0 empty."""

    @property
    def player(self) -> Array:
        """[B] int64: whose turn it is, 0 the first player, 1 the second."""

    @property
    def ply(self) -> Array:
        """[B] int64: moves made."""

    @property
    def ended(self) -> Array:
        """[B] bool: whether the game is over."""

    @property
    def result(self) -> Array:
        """[B] int8: 1 won, -1 lost for the player to move; 0 a draw, or not over yet."""


G = TypeVar("G")


@dataclass(frozen=True)
class Symmetry:
    """A turn of the board that leaves the rules as they are.

    ``turned[:, i] = board[:, cells[i]]``, and ``turned_policy[:, a] = policy[:, actions[a]]``.
    """

    cells: tuple[int, ...]  # [height * width]
    actions: tuple[int, ...]  # [num_actions]


class Game(Protocol[G]):
    """The rules of a game; a frozen dataclass whose fields are its options.

    Every function is pure and batched: a row of its result depends on that row of its arguments
    alone.
    """

    name: ClassVar[str]

    @property
    def height(self) -> int:
        """Rows of the board."""

    @property
    def width(self) -> int:
        """Columns of the board."""

    @property
    def has_draws(self) -> bool:
        """Whether a game can end without a winner."""

    @property
    def most_plies(self) -> int:
        """Moves of the longest game."""

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each action is called on the board: d, or b3 (column b, third row from the top)."""

    @property
    def layout(self) -> TokenLayout:
        """A token for each cell, row by row, and the globals, as :meth:`observe` gives them."""

    @property
    def symmetries(self) -> tuple[Symmetry, ...]:
        """Turns of the board, in the view of the player to move; the first changes nothing."""

    def initial(self, batch: int, like: Array | None = None) -> G:
        """``batch`` empty boards, as arrays of ``like``'s library and device; else NumPy's."""

    def legal(self, state: G) -> Array:
        """[B, num_actions] bool: what the player to move may do; nothing once a game is over."""

    def step(self, state: G, action: Array) -> Transition[G]:
        """The moves ``action`` [B] int64, and what they are worth to who made them.

        ``reward`` [B] float32 is 1 for a move that wins, -1 for one that is not legal, which loses
        the game at once, else 0. A game that is over stays as it is and pays nothing.
        """

    def observe(self, state: G) -> Array:
        """[B, layout.size] float32 zeros and ones, as the player to move sees the board."""

    def on_board(self, action: Array, player: Array) -> Array:
        """[B] the actions of ``player`` [B] on the board as people see it; its own inverse."""

    def absolute_board(self, state: G) -> Array:
        """[B, height, width] int8 as people see it: 1 the first player's, -1 the second's."""

    def from_board(self, board: Array, player: Array, ply: Array | None = None) -> G:
        """The states of boards as :meth:`absolute_board` gives them, ``player`` [B] to move.

        ``ply`` [B] is the number of stones where it is not given. A finished game is seen as such.
        """

    def render(self, state: G) -> list[str]:
        """Each of B positions as text with coordinates, several lines."""


def num_actions(game: Game[Any]) -> int:
    """A, how many actions the game has."""
    return len(game.action_names)


def outcome(state: GameState) -> Array:
    """[B] float32: 1 won, -1 lost for the player to move; 0 a draw or not over yet."""
    return array_namespace(state.board).astype(state.result, array_namespace(state.board).float32)


def cell_layout(height: int, width: int, further: int = 0) -> TokenLayout:
    """Three numbers for each cell (mine, the other's, empty); empty cells as a one-hot."""
    cells = height * width
    return TokenLayout(cells, 3, cells + 1 + further, (height, width))


def observed(board: Array, *further: Array) -> Array:
    """[B, size] float32: what :func:`cell_layout` describes of boards [B, cells].

    Args:
        board: 1 mine, -1 the other's, 0 empty.
        further: [B] bool, numbers behind the globals.
    """
    xp = array_namespace(board)
    tokens = xp.astype(xp.stack([board > 0, board < 0, board == 0], axis=2), xp.float32)
    empty = xp.sum(xp.astype(board == 0, xp.int64), axis=1)
    parts = [xp.reshape(tokens, (board.shape[0], -1)), one_hot(empty, board.shape[1] + 1, xp)]
    parts += [xp.astype(one[:, None], xp.float32) for one in further]
    return xp.concat(parts, axis=1)


def planes(game: Game[Any], observations: Array) -> Array:
    """[B, 3, height, width]: the cells of observations [B, layout.size], for convolutions."""
    xp = array_namespace(observations)
    layout = game.layout
    cells = observations[:, : layout.tokens * layout.features]
    shape = (observations.shape[0], game.height, game.width, layout.features)
    return xp.permute_dims(xp.reshape(cells, shape), (0, 3, 1, 2))


def turned_observations(game: Game[Any], observations: Array, symmetry: Symmetry) -> Array:
    """Observations [B, layout.size] of the turned boards."""
    xp = array_namespace(observations)
    layout = game.layout
    split = layout.tokens * layout.features
    tokens = xp.reshape(observations[:, :split], (-1, layout.tokens, layout.features))
    turned = xp.reshape(tokens[:, list(symmetry.cells)], (observations.shape[0], split))
    return xp.concat([turned, observations[:, split:]], axis=1)


def turned_policies(policies: Array, symmetry: Symmetry) -> Array:
    """Numbers of actions [B, num_actions] (probabilities, visits, legality) on turned boards."""
    return policies[:, list(symmetry.actions)]


def row_numbers(array: Array) -> Array:
    """[B] int64: 0, 1, … of the library and device of ``array`` [B, …]."""
    xp = array_namespace(array)
    return xp.arange(array.shape[0], dtype=xp.int64, device=device_of(array))


def blank(batch: int, like: Array | None) -> tuple[Any, Any]:
    """Namespace and device for fresh states: those of ``like``, else NumPy's."""
    like = np.zeros(1) if like is None else like
    return array_namespace(like), device_of(like)


def result_for_next(won: Array, illegal: Array) -> Array:
    """[B] int8: what the player who is to move next has of a move that won or was not legal."""
    xp = array_namespace(won)
    return xp.astype(illegal, xp.int8) - xp.astype(won, xp.int8)


def text_rows(board: NDArray[np.int8]) -> list[list[str]]:
    """The marks of a board [height, width] of 1, -1 and 0."""
    return [[MARKS[value] for value in row] for row in board.tolist()]


def heading(player: int, ply: int, ended: bool, result: int) -> str:
    """The first line of a position's text: who is to move, or who won."""
    mark = MARKS[1 + player]
    if not ended:
        return f"move {ply + 1}: {mark} to play"
    if result == 0:
        return f"a draw after {ply} moves"
    winner = MARKS[1 + (player if result > 0 else 1 - player)]
    return f"{winner} has won after {ply} moves"
