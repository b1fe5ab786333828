"""CellularAutomaton: a ring of cells under an elementary rule; the middle cell is the target.

Predicting rule 110 is P-complete (Neary and Woods 2006). Twins: rule 170 shifts the ring, so the
outcome is a look-up; rule 90 adds the two neighbours modulo 2, so it is a parity whose terms
Lucas' theorem gives. Rules are numbered as by Wolfram (1983).

Under rules 110 and 54 uniform cells end in more ones than zeros, or in fewer. So instances are
drawn by their outcome: a fair coin says what the target ends as, and uniform cells are drawn until
they end so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rl_serial.envs.chain import (
    Array,
    TokenLayout,
    array_namespace,
    count_down,
    device_of,
    each_place,
    is_traced,
    kept_table,
    one_hot,
)
from rl_serial.envs.random import below, random_words
from rl_serial.errors import require

NUM_SITES = 5
_ATTEMPTS = 64
"""Rings drawn for an instance at most: a rule whose outcome never varies stays as it is."""
_OUTCOME_STREAM, _RETRY_STREAM = 4096, 4097
"""Random streams of the outcome that is wanted, and of the first ring after the first attempt."""


@kept_table
def _marks(chain: CellularAutomaton, xp: Any, device: Any) -> Array:
    """[serial_depth + 1, cells, 1 + 5] int16: by remaining steps, the target and the sites."""
    remaining = xp.arange(chain.serial_depth + 1, dtype=xp.int64, device=device)
    target = xp.full_like(remaining, chain.target)[:, None]
    marked = xp.concat([target, chain.sites(remaining)], axis=1)
    places = xp.arange(chain.num_cells, dtype=xp.int64, device=device)
    return xp.astype(marked[:, None, :] == places[:, None], xp.int16)


@dataclass(frozen=True)
class CellularAutomatonState:
    """A batch of rings."""

    cells: Array  # [B, cells] int16, 0 or 1
    bit: Array  # [B] int16, 0 or 1: the outcome that pays
    remaining: Array  # [B] int64


@dataclass(frozen=True)
class CellularAutomaton:
    """A ring of cells under one of the 256 elementary rules.

    Args:
        rule: Wolfram's number of the rule, 0 to 255.
        serial_depth: steps of the rule, at least 1.
        cells: length of the ring, at least 2 * serial_depth + 1, so that the light cone of the
            target does not meet itself; None takes that length.

    Raises:
        ValueError: an option outside its range.
    """

    rule: int = 110
    serial_depth: int = 16
    cells: int | None = None

    def __post_init__(self) -> None:
        require(0 <= self.rule <= 255, "rule", self.rule, "an elementary rule, 0 to 255")
        require(self.serial_depth >= 1, "serial_depth", self.serial_depth, "at least 1")
        shortest = 2 * self.serial_depth + 1
        if self.cells is None:
            object.__setattr__(self, "cells", shortest)
        require(
            self.num_cells >= shortest,
            "cells",
            self.cells,
            f"at least 2 * serial_depth + 1 = {shortest}, the light cone of the target",
        )

    @property
    def num_cells(self) -> int:
        """Length of the ring."""
        assert self.cells is not None
        return self.cells

    @property
    def target(self) -> int:
        """Index of the cell whose last value is the outcome."""
        return self.num_cells // 2

    @property
    def num_kicks(self) -> int:
        """Kick a flips the cell at site a."""
        return NUM_SITES

    @property
    def layout(self) -> TokenLayout:
        """A token a cell: its value, whether it is the target, which site; global: bit, steps."""
        return TokenLayout(self.num_cells, 2 + NUM_SITES, 1 + self.serial_depth + 1)

    @property
    def working_size(self) -> int:
        """The cells of the ring."""
        return self.num_cells

    def sites(self, remaining: Array) -> Array:
        """[B, 5] int64: the cells that a kick can flip, with ``remaining`` [B] steps to go.

        They spread evenly over the light cone of the target, from ``remaining`` cells to its left
        to ``remaining`` cells to its right. At the chain's end they are all the target.
        """
        xp = array_namespace(remaining)
        spread = xp.arange(NUM_SITES, dtype=xp.int64, device=device_of(remaining))[None, :]
        left = remaining[:, None]
        return self.target - left + (2 * left * spread) // (NUM_SITES - 1)

    def initial(self, seeds: Array) -> CellularAutomatonState:
        """Bit and outcome uniform, cells uniform among those that have this outcome."""
        xp = array_namespace(seeds)
        bits = xp.astype(below(random_words(seeds, 1 + self.num_cells), 2), xp.int16)
        outcome = below(random_words(seeds, 1, stream=_OUTCOME_STREAM)[:, 0], 2)
        return CellularAutomatonState(
            cells=self._cells_with(outcome, seeds, bits[:, 1:]),
            bit=bits[:, 0],
            remaining=xp.full_like(seeds, self.serial_depth),
        )

    def _cells_with(self, outcome: Array, seeds: Array, first: Array) -> Array:
        """[B, cells] int16: of ``first`` [B, cells] and further draws those that end as wanted."""
        if is_traced(seeds):
            return self._traced_cells_with(outcome, seeds, first)
        xp = array_namespace(seeds)
        pending = xp.arange(seeds.shape[0], dtype=xp.int64, device=device_of(seeds))
        cells, rows, drawn = first, [], []
        for attempt in range(_ATTEMPTS):
            ends_so = self._outcome(cells) == outcome[pending]
            if attempt == _ATTEMPTS - 1:
                ends_so = xp.ones_like(ends_so)
            rows.append(pending[ends_so])
            drawn.append(cells[ends_so])
            pending = pending[~ends_so]
            if pending.shape[0] == 0:
                break
            words = random_words(seeds[pending], self.num_cells, stream=_RETRY_STREAM + attempt)
            cells = xp.astype(below(words, 2), xp.int16)
        return xp.concat(drawn, axis=0)[xp.argsort(xp.concat(rows, axis=0))]

    def _traced_cells_with(self, outcome: Array, seeds: Array, first: Array) -> Array:
        """The same where no row can be taken out of the batch."""
        from jax import lax

        xp = array_namespace(seeds)

        def fits(cells: Array) -> Array:
            return self._outcome(cells) == outcome

        def searching(carried: tuple[Array, Array]) -> Array:
            attempt, cells = carried
            return (attempt < _ATTEMPTS - 1) & ~xp.all(fits(cells))

        def next_attempt(carried: tuple[Array, Array]) -> tuple[Array, Array]:
            attempt, cells = carried
            words = random_words(seeds, self.num_cells, stream=_RETRY_STREAM + attempt)
            drawn = xp.astype(below(words, 2), xp.int16)
            return attempt + 1, xp.where(fits(cells)[:, None], cells, drawn)

        cells: Array = lax.while_loop(searching, next_attempt, (0, first))[1]
        return cells

    def _outcome(self, cells: Array) -> Array:
        """[B] int16: what the target is after all steps, from its light cone in ``cells``."""
        cone = cells[:, self.target - self.serial_depth : self.target + self.serial_depth + 1]
        for _ in range(self.serial_depth):
            cone = self._apply(cone[:, :-2], cone[:, 1:-1], cone[:, 2:])
        return cone[:, 0]

    def _apply(self, left: Array, centre: Array, right: Array) -> Array:
        """The rule on neighbourhoods, arrays of 0 and 1 of one shape."""
        return (self.rule >> (4 * left + 2 * centre + right)) & 1

    def kick(self, state: CellularAutomatonState, action: Array) -> CellularAutomatonState:
        """Flip the cell at site ``action``."""
        xp = array_namespace(action)
        rows = xp.arange(action.shape[0], dtype=xp.int64, device=device_of(action))
        site = self.sites(state.remaining)[rows, action]
        places = xp.arange(self.num_cells, dtype=xp.int64, device=device_of(action))
        flips = xp.astype(site[:, None] == places, xp.int16)
        return CellularAutomatonState(state.cells ^ flips, state.bit, state.remaining)

    def advance(self, state: CellularAutomatonState) -> CellularAutomatonState:
        """Apply the rule to every cell at once."""
        xp = array_namespace(state.cells)
        centre = state.cells
        left = xp.concat([centre[:, -1:], centre[:, :-1]], axis=1)
        right = xp.concat([centre[:, 1:], centre[:, :1]], axis=1)
        after = self._apply(left, centre, right)
        running = state.remaining > 0
        return CellularAutomatonState(
            cells=xp.where(running[:, None], after, centre),
            bit=state.bit,
            remaining=count_down(state.remaining),
        )

    def payoff(self, state: CellularAutomatonState) -> Array:
        """+1 if the target equals the bit, else -1: fair, since bit and outcome are fair coins."""
        xp = array_namespace(state.cells)
        return xp.astype(state.cells[:, self.target] == state.bit, xp.float32) * 2 - 1

    def observe(self, state: CellularAutomatonState) -> Array:
        """Cells with marks for the target and the sites, then the bit and the remaining steps."""
        xp = array_namespace(state.cells)
        batch = state.cells.shape[0]
        marks = _marks(self, xp, device_of(state.cells))[state.remaining]
        tokens = xp.concat([state.cells[:, :, None], marks], axis=2)
        steps = one_hot(state.remaining, self.serial_depth + 1, xp, xp.int16)
        shown = [xp.reshape(tokens, (batch, -1)), state.bit[:, None], steps]
        return xp.astype(xp.concat(shown, axis=1), xp.float32)

    def working(self, state: CellularAutomatonState) -> Array:
        """The cells."""
        xp = array_namespace(state.cells)
        return xp.astype(state.cells, xp.float32)

    def redraw_step(self, state: CellularAutomatonState, seeds: Array) -> CellularAutomatonState:
        """One cell of the target's light cone turned over, each equally often."""
        xp = array_namespace(seeds)
        word = random_words(seeds, 1, stream=1)[:, 0]
        left = state.remaining
        site = self.target - left + ((word * (2 * left + 1)) >> 32)
        places = xp.arange(self.num_cells, dtype=xp.int64, device=device_of(seeds))
        flips = xp.astype(site[:, None] == places, xp.int16)
        return CellularAutomatonState(state.cells ^ flips, state.bit, left)

    @property
    def num_starts(self) -> int:
        """The cells: any of them could have been the target."""
        return self.num_cells

    @property
    def starts_are_tokens(self) -> bool:
        """A token is a cell."""
        return True

    def own_start(self, state: CellularAutomatonState) -> Array:
        """The target."""
        return array_namespace(state.remaining).full_like(state.remaining, self.target)

    def start_payoffs(self, state: CellularAutomatonState) -> Array:
        """+1 for every cell that equals the bit, else -1."""
        xp = array_namespace(state.cells)
        return xp.astype(state.cells == state.bit[:, None], xp.float32) * 2 - 1

    def start_successors(self, state: CellularAutomatonState) -> Array:
        """Every cell stays where it is."""
        return each_place(state.remaining, self.num_cells)

    def rewind(self, state: CellularAutomatonState) -> CellularAutomatonState:
        """All steps: the ring and the rule do not wear out."""
        xp = array_namespace(state.remaining)
        return replace(state, remaining=xp.full_like(state.remaining, self.serial_depth))
