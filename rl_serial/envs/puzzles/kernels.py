"""Compiled work on sudoku grids: dice, grids, uniqueness, rounds of singles, digging.

A grid is [N * N] int64, row by row, 0 for blank. A set of digits is a number whose bit d - 1 is
digit d. Everything is int64 and stays below 2**63, so the functions give the same without Numba,
only some hundred times slower.

They stay in one file: Numba's cache knows a function by its own file only, not by those that it
calls into.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rl_serial.compiling import compiled

Array = Any

STREAM = 64
"""Of the random words that puzzles are made of."""
LOW, HIGH, COUNTER, LEFT = range(4)
"""Places of the dice: two halves of the seed, words drawn, the second word of the last pair."""

UNSOLVED, CONTRADICTION = -1, -2
"""What :func:`rate` says of grids that singles do not solve."""

SINGLES, SEARCH = 0, 1
"""Kinds of puzzles: singles solve them, or they do not."""

ANY, FEWEST = 0, -1
"""What can stand in place of a number of rounds."""

TRIES_OF_A_GRID = 8
"""Diggings of a grid that leave too many givens, after which another grid is drawn."""
WALK = 400
"""Exchanges of givens in search of the wanted rounds, after which another grid is drawn."""
COMPLETIONS = 6_000
"""More than a first band and stack of 9 by 9 have ways to be completed (2,700 on average)."""


def _tables() -> tuple[Array, Array, Array]:
    """[10, 81] row, column and box of each cell, by size."""
    found = np.zeros((3, 10, 81), dtype=np.int64)
    for size, rows in ((4, 2), (6, 2), (9, 3)):
        r, c = np.divmod(np.arange(size * size), size)
        box = r // rows * rows + c // (size // rows)
        for table, places in zip(found, (r, c, box), strict=True):
            table[size, : size * size] = places
    return found[0], found[1], found[2]


ROW, COLUMN, BOX = _tables()
BITS = np.array([bin(digits).count("1") for digits in range(512)])
"""How many digits each set has."""
DIGIT = np.array([(digits & -digits).bit_length() for digits in range(512)])
"""The smallest digit of each set."""


@compiled
def draw(dice: Array, bound: int) -> int:
    """The next number in [0, bound) of Threefry-2x32-20 (:mod:`rl_serial.envs.random`)."""
    mask = 0xFFFFFFFF
    if dice[COUNTER] % 2 == 1:
        word = dice[LEFT]
    else:
        low, high = dice[LOW], dice[HIGH]
        third = low ^ high ^ 0x1BD11BDA
        left = ((dice[COUNTER] // 2) + low) & mask
        right = (STREAM + high) & mask
        for group in range(5):
            for step in range(4):
                if group % 2 == 0:
                    turn = 13 if step == 0 else 15 if step == 1 else 26 if step == 2 else 6
                else:
                    turn = 17 if step == 0 else 29 if step == 1 else 16 if step == 2 else 24
                left = (left + right) & mask
                right = (((right << turn) & mask) | (right >> (32 - turn))) ^ left
            first = high if group % 3 == 0 else third if group % 3 == 1 else low
            second = third if group % 3 == 0 else low if group % 3 == 1 else high
            left = (left + first) & mask
            right = (right + second + group + 1) & mask
        word = left
        dice[LEFT] = right
    dice[COUNTER] += 1
    number: int = (word * bound) >> 32
    return number


@compiled
def shuffle(dice: Array, items: Array) -> None:
    """Put items in a random order (Fisher and Yates)."""
    for last in range(len(items) - 1, 0, -1):
        other = draw(dice, last + 1)
        kept = items[last]
        items[last] = items[other]
        items[other] = kept


@compiled
def used_digits(grid: Array, size: int, used: Array) -> bool:
    """Fill ``used`` [3, N], the digits of each row, column and box; False if one comes twice."""
    used[:] = 0
    for cell in range(size * size):
        if grid[cell]:
            r, c, b = ROW[size, cell], COLUMN[size, cell], BOX[size, cell]
            bit = 1 << (grid[cell] - 1)
            if (used[0, r] | used[1, c] | used[2, b]) & bit:
                return False
            used[0, r] |= bit
            used[1, c] |= bit
            used[2, b] |= bit
    return True


@compiled
def rate(grid: Array, size: int, when: Array) -> int:
    """Synchronous rounds of naked and hidden singles that fill ``grid``, which is filled in place.

    In a round every blank cell that has a single candidate, or a candidate that no other cell of
    its row, column or box has, gets it, all by the candidates at the round's beginning. Those are
    the digits that no filled cell of row, column and box has.

    Args:
        grid: [N * N]; what singles tell is filled in.
        size: N.
        when: [N * N] gets the round of each cell: 0 of a given, from 1 on; ``UNSOLVED`` of a cell
            that stays blank.

    Returns:
        The rounds; UNSOLVED where singles do not fill it; CONTRADICTION where a unit has a digit
        twice or a cell none left.
    """
    full = (1 << size) - 1
    used = np.zeros((3, size), dtype=np.int64)
    once = np.zeros((3, size), dtype=np.int64)
    more = np.zeros((3, size), dtype=np.int64)
    open_ = np.zeros(size * size, dtype=np.int64)
    if not used_digits(grid, size, used):
        return CONTRADICTION
    blanks = 0
    for cell in range(size * size):
        when[cell] = 0
        if grid[cell] == 0:
            when[cell] = UNSOLVED
            blanks += 1
    rounds = 0
    while blanks:
        once[:] = 0
        more[:] = 0
        for cell in range(size * size):
            if grid[cell] == 0:
                r, c, b = ROW[size, cell], COLUMN[size, cell], BOX[size, cell]
                left = full & ~(used[0, r] | used[1, c] | used[2, b])
                if left == 0:
                    return CONTRADICTION
                open_[cell] = left
                more[0, r] |= once[0, r] & left
                more[1, c] |= once[1, c] & left
                more[2, b] |= once[2, b] & left
                once[0, r] |= left
                once[1, c] |= left
                once[2, b] |= left
        rounds += 1
        filled = 0
        for cell in range(size * size):
            if grid[cell] == 0:
                r, c, b = ROW[size, cell], COLUMN[size, cell], BOX[size, cell]
                left = open_[cell]
                single = left
                if left & (left - 1):
                    single = left & (
                        (once[0, r] & ~more[0, r])
                        | (once[1, c] & ~more[1, c])
                        | (once[2, b] & ~more[2, b])
                    )
                    if single & (single - 1):  # two digits that have no other place
                        return CONTRADICTION
                if single:
                    if single & (used[0, r] | used[1, c] | used[2, b]):
                        return CONTRADICTION  # filled elsewhere in this round
                    grid[cell] = DIGIT[single]
                    when[cell] = rounds
                    used[0, r] |= single
                    used[1, c] |= single
                    used[2, b] |= single
                    filled += 1
        if filled == 0:
            return UNSOLVED
        blanks -= filled
    return rounds


@compiled
def solve(grid: Array, size: int, most: int, solution: Array, wanted: int) -> int:
    """How many solutions a grid has, counted up to ``most``, by exact search.

    The blank cell with the fewest candidates is filled first.

    Args:
        grid: [N * N]; left as it is.
        size: N.
        most: solutions after which the count ends.
        solution: [N * N] gets solution number ``wanted``, the first being 0.
        wanted: in the order in which they are found.
    """
    full = (1 << size) - 1
    work = grid.copy()
    used = np.zeros((3, size), dtype=np.int64)
    if not used_digits(grid, size, used):
        return 0
    blank = np.zeros(size * size, dtype=np.int64)
    blanks = 0
    for cell in range(size * size):
        if grid[cell] == 0:
            blank[blanks] = cell
            blanks += 1
    untried = np.zeros(size * size + 1, dtype=np.int64)
    found = 0
    level = 0
    fresh = True
    while level >= 0:
        if level == blanks:
            if found == wanted:
                solution[:] = work
            found += 1
            if found >= most:
                return found
            level -= 1
            fresh = False
            continue
        if fresh:
            best, fewest, digits = level, size + 1, 0
            for place in range(level, blanks):
                cell = blank[place]
                r, c, b = ROW[size, cell], COLUMN[size, cell], BOX[size, cell]
                left = full & ~(used[0, r] | used[1, c] | used[2, b])
                count = BITS[left]
                if count < fewest:
                    best, fewest, digits = place, count, left
                    if count <= 1:
                        break
            kept = blank[level]
            blank[level] = blank[best]
            blank[best] = kept
            untried[level] = digits
        cell = blank[level]
        r, c, b = ROW[size, cell], COLUMN[size, cell], BOX[size, cell]
        if work[cell]:  # take the former digit back
            bit = 1 << (work[cell] - 1)
            used[0, r] &= ~bit
            used[1, c] &= ~bit
            used[2, b] &= ~bit
            work[cell] = 0
        if untried[level] == 0:
            level -= 1
            fresh = False
            continue
        bit = untried[level] & -untried[level]
        untried[level] ^= bit
        work[cell] = DIGIT[bit]
        used[0, r] |= bit
        used[1, c] |= bit
        used[2, b] |= bit
        level += 1
        fresh = True
    return found


@compiled
def _draw_band(dice: Array, band: Array) -> None:
    """A uniform first band of 9 by 9 into ``band`` [3, 9], whose first box is 1 … 9 in order.

    Rows of the second and third box are drawn, and thrown away as a whole where a box has a digit
    twice: each of the 2,612,736 bands is as likely.
    """
    others = np.zeros(6, dtype=np.int64)
    box = np.zeros(2, dtype=np.int64)
    while True:
        box[:] = 0
        fine = True
        for r in range(3):
            count = 0
            for digit in range(1, 10):
                if (digit - 1) // 3 != r:
                    others[count] = digit
                    count += 1
            shuffle(dice, others)
            for c in range(6):
                bit = 1 << (others[c] - 1)
                if box[c // 3] & bit:
                    fine = False
                box[c // 3] |= bit
                band[r, 3 + c] = others[c]
            for c in range(3):
                band[r, c] = 3 * r + c + 1
            if not fine:
                break
        if fine:
            return


@compiled
def _draw_nine(dice: Array, grid: Array) -> None:
    """A uniform grid of 9 by 9.

    First band and stack are drawn uniformly, and the number of one of the ways to complete them;
    where there are not so many, all is drawn again. So each pair of them and a way is as likely.
    """
    band = np.zeros((3, 9), dtype=np.int64)
    stack = np.zeros((3, 9), dtype=np.int64)
    start = np.zeros(81, dtype=np.int64)
    while True:
        _draw_band(dice, band)
        _draw_band(dice, stack)
        start[:] = 0
        for r in range(3):
            for c in range(9):
                start[9 * r + c] = band[r, c]
        # The stack is a band turned about its diagonal, its first box named as the band's.
        for r in range(3):
            for c in range(3, 9):
                digit = stack[r, c] - 1
                start[9 * c + r] = 3 * (digit % 3) + digit // 3 + 1
        wanted = draw(dice, COMPLETIONS)
        if solve(start, 9, wanted + 1, grid, wanted) > wanted:
            return


@compiled
def draw_grid(dice: Array, size: int, grids: Array, grid: Array) -> None:
    """A grid, each of all there are as likely, into ``grid`` [N * N].

    Args:
        dice: what it is drawn with.
        size: N.
        grids: those whose first row is 1 … N, [G, N * N]; of 9 by 9 nothing is read.
        grid: the result.
    """
    if size == 9:
        _draw_nine(dice, grid)
    else:
        grid[:] = grids[draw(dice, len(grids))]
    names = np.arange(1, size + 1)
    shuffle(dice, names)
    for cell in range(size * size):
        grid[cell] = names[grid[cell] - 1]


@compiled
def _solvable(givens: Array, size: int, kind: int, work: Array, when: Array) -> bool:
    """Whether a puzzle has one solution; of the kind SINGLES, whether singles find it."""
    work[:] = givens
    if rate(work, size, when) > 0:
        return True
    return kind == SEARCH and solve(givens, size, 2, work, 0) == 1


@compiled
def _dig(
    dice: Array, size: int, blanks: int, kind: int, grid: Array, givens: Array, order: Array
) -> bool:
    """Empty cells of a full grid in random order as long as it stays solvable; False if too few."""
    work = np.zeros(size * size, dtype=np.int64)
    when = np.zeros(size * size, dtype=np.int64)
    givens[:] = grid
    shuffle(dice, order)
    empty = 0
    for place in range(size * size):
        if empty == blanks:
            return True
        if empty + size * size - place < blanks:
            return False
        cell = order[place]
        givens[cell] = 0
        if _solvable(givens, size, kind, work, when):
            empty += 1
        else:
            givens[cell] = grid[cell]
    return empty == blanks


@compiled
def mix(number: int) -> int:
    """A number of 31 bits, scrambled."""
    number = (number * 0x9E3779B1) & 0x7FFFFFFF
    number ^= number >> 15
    number = (number * 0x85EBCA6B) & 0x7FFFFFFF
    return number ^ (number >> 13)


@compiled
def class_key(givens: Array, size: int) -> int:
    """A number in [0, 2**62) that puzzles have in common which are the same but for symmetry.

    Symmetries are other names for the digits, rows of a band and columns of a stack in another
    order, bands and stacks in another order and, where boxes are square, the diagonal's mirror.
    Colours of cells, digits and units are refined by those of their neighbours (Weisfeiler and
    Leman 1968), which no symmetry changes. Two puzzles that are no copies of each other may share
    a key: then both are on the same side of a split, which does no harm.
    """
    cells = size * size
    square = size != 6
    cell_colour = np.ones(cells, dtype=np.int64)
    unit_colour = np.ones((3, size), dtype=np.int64)
    digit_colour = np.ones(size + 1, dtype=np.int64)
    for cell in range(cells):
        cell_colour[cell] = 3 if givens[cell] else 5
    mask = 0x7FFFFFFF
    first = 0
    for turn in range(6):
        new_units = np.zeros((3, size), dtype=np.int64)
        new_digits = np.zeros(size + 1, dtype=np.int64)
        for cell in range(cells):
            r, c, b = ROW[size, cell], COLUMN[size, cell], BOX[size, cell]
            colour = mix(cell_colour[cell] + 11 * turn)
            new_units[0, r] = (new_units[0, r] + colour) & mask
            new_units[1, c] = (new_units[1, c] + colour) & mask
            new_units[2, b] = (new_units[2, b] + colour) & mask
            digit = givens[cell]
            if digit:
                new_digits[digit] = (new_digits[digit] + colour) & mask
        for unit in range(3):
            # Rows and columns are of one kind where the mirror may turn one into the other.
            name = 17 if unit == 2 else 13 if square or unit == 0 else 15
            for place in range(size):
                unit_colour[unit, place] = mix(
                    (mix(new_units[unit, place]) + 7 * unit_colour[unit, place] + name) & mask
                )
        for digit in range(1, size + 1):
            digit_colour[digit] = mix((mix(new_digits[digit]) + 7 * digit_colour[digit]) & mask)
        whole = 0
        for cell in range(cells):
            r, c, b = ROW[size, cell], COLUMN[size, cell], BOX[size, cell]
            lines = (mix(unit_colour[0, r]) + mix(unit_colour[1, c])) & mask
            named = digit_colour[givens[cell]] if givens[cell] else 0
            around = (mix(lines) + mix(unit_colour[2, b] + 1) + mix(named + 2)) & mask
            cell_colour[cell] = mix((around + 7 * cell_colour[cell]) & mask)
            whole = (whole + mix(cell_colour[cell])) & mask
        if turn == 4:
            first = whole
    return (first << 31) | whole


@compiled
def on_side(givens: Array, size: int, side: int, of_four: int) -> bool:
    """Whether a puzzle is of the side that is asked for: 1 for tests, 0 for training.

    ``of_four`` of four classes are for tests.
    """
    tests = mix(class_key(givens, size) & 0x7FFFFFFF) % 4 < of_four
    return (side == 1) == tests


@compiled
def make_one(
    dice: Array,
    size: int,
    blanks: int,
    kind: int,
    target: int,
    side: int,
    of_four: int,
    grids: Array,
    givens: Array,
    solution: Array,
    when: Array,
    most: int,
) -> int:
    """One puzzle; gives its rounds (UNSOLVED of the kind SEARCH), or CONTRADICTION after ``most``.

    A grid is drawn and dug; where the rounds are not the wanted ones, or the puzzle is of the wrong
    side, givens and blanks are exchanged, one for one, and an exchange that leads away from the
    wanted rounds is taken back.

    Args:
        dice: of the puzzle; :func:`draw` says how they are laid out.
        size: N.
        blanks: of the puzzle.
        kind: SINGLES, or SEARCH for those that singles do not solve.
        target: wanted rounds, ANY or FEWEST: as few as the exchanges reach.
        side: 1 for tests, 0 for training.
        of_four: classes of puzzles that are for tests, of four.
        grids: as of :func:`draw_grid`.
        givens: [N * N] gets the puzzle.
        solution: [N * N] gets its solution.
        when: [N * N] gets the round of each cell.
        most: grids that are tried.
    """
    cells = size * size
    work = np.zeros(cells, dtype=np.int64)
    order = np.arange(cells)
    for _ in range(most):
        draw_grid(dice, size, grids, solution)
        dug = False
        for _ in range(TRIES_OF_A_GRID):
            if _dig(dice, size, blanks, kind, solution, givens, order):
                dug = True
                break
        if not dug:
            continue
        work[:] = givens
        rounds = rate(work, size, when)
        for step in range(WALK):
            right = rounds == target if target > 0 else target == ANY or step >= WALK // 2
            if kind == SEARCH:
                right = rounds == UNSOLVED
            if right and on_side(givens, size, side, of_four):
                work[:] = givens
                rate(work, size, when)
                return rounds
            # Exchange a given for a blank.
            back = draw(dice, cells)
            while givens[back]:
                back = draw(dice, cells)
            out = draw(dice, cells)
            while givens[out] == 0:
                out = draw(dice, cells)
            givens[back] = solution[back]
            givens[out] = 0
            keeps = False
            if _solvable(givens, size, kind, work, when):
                work[:] = givens
                now = rate(work, size, when)
                keeps = True
                if kind == SINGLES:
                    if target > 0:
                        keeps = abs(now - target) <= abs(rounds - target)
                    elif target == FEWEST:
                        keeps = now <= rounds
                else:
                    keeps = now == UNSOLVED or rounds != UNSOLVED
                if keeps:
                    rounds = now
            if not keeps:
                givens[back] = 0
                givens[out] = solution[out]
    return CONTRADICTION


@compiled
def make_many(
    first: int,
    last: int,
    keys: Array,
    size: int,
    blanks: int,
    kind: int,
    targets: Array,
    sides: Array,
    of_four: int,
    grids: Array,
    givens: Array,
    solutions: Array,
    when: Array,
    rounds: Array,
    most: int,
) -> None:
    """Puzzles ``first`` to ``last`` of a batch, each of its own two ``keys`` [B, 2].

    After one that cannot be made, whose ``rounds`` are CONTRADICTION, none is made any more.
    """
    dice = np.zeros(4, dtype=np.int64)
    for row in range(first, last):
        dice[:] = 0
        dice[LOW] = keys[row, 0]
        dice[HIGH] = keys[row, 1]
        rounds[row] = make_one(
            dice,
            size,
            blanks,
            kind,
            targets[row],
            sides[row],
            of_four,
            grids,
            givens[row],
            solutions[row],
            when[row],
            most,
        )
        if rounds[row] == CONTRADICTION:
            return


@compiled
def rate_many(grids: Array, size: int, when: Array, rounds: Array) -> None:
    """:func:`rate` of each of ``grids`` [B, N * N], which are filled in place."""
    for row in range(len(grids)):
        rounds[row] = rate(grids[row], size, when[row])


@compiled
def solve_many(grids: Array, size: int, solutions: Array, counts: Array) -> None:
    """:func:`solve` of each of ``grids`` [B, N * N]: the first solution, and the count up to 2."""
    for row in range(len(grids)):
        counts[row] = solve(grids[row], size, 2, solutions[row], 0)


@compiled
def key_many(grids: Array, size: int, keys: Array) -> None:
    """:func:`class_key` of each of ``grids`` [B, N * N]."""
    for row in range(len(grids)):
        keys[row] = class_key(grids[row], size)
