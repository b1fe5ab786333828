"""Compiled search for perfect play: alpha-beta with a table of positions.

A position is two sets of cells as bits, mine and the other's, and the same two mirrored by the
board's symmetry, so that both mirror images share a place in the table. A score says who wins and
when: cells + 1 - n, where the winning stone is the n-th on the board, or its negative for a loss, 0
for a draw. So an earlier win is a better one and a later loss a better loss. Everything is int64.

They stay in one file: Numba's cache knows a function by its own file only, not by those that it
calls into.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rl_serial.compiling import compiled

Array = Any

CONNECT_FOUR, HEX = 0, 1
"""Games that there are kernels for."""
NOT_SOLVED = 127
"""In place of a score: more positions were looked at than allowed."""
KIND, HEIGHT, WIDTH = range(3)
"""Places of a game's numbers."""


@compiled
def floods(stones: int, start: int, height: int, width: int, vertical: bool) -> bool:
    """Whether the Hex group of the stone ``start`` (a bit) among ``stones`` touches both edges."""
    left = right = 0
    for row in range(height):
        left |= 1 << (row * width)
        right |= 1 << (row * width + width - 1)
    if vertical:
        first = (1 << width) - 1
        last = first << (width * (height - 1))
    else:
        first, last = left, right
    group = start
    while True:
        inner, outer = group & ~left, group & ~right
        grown = group | (group << width) | (group >> width) | (inner >> 1) | (outer << 1)
        grown |= (outer >> (width - 1)) | (inner << (width - 1))
        grown &= stones
        if grown == group:
            return (group & first) != 0 and (group & last) != 0
        group = grown


@compiled
def wins(numbers: Array, lines: Array, stones: int, cell: int, vertical: bool) -> bool:
    """Whether a stone at ``cell`` wins beside ``stones``, a set of the same player's cells."""
    after = stones | (1 << cell)
    if numbers[KIND] == HEX:
        return floods(after, 1 << cell, numbers[HEIGHT], numbers[WIDTH], vertical)
    for i in range(lines.shape[1]):
        line = lines[cell, i]
        if line == 0:
            return False
        if after & line == line:
            return True
    return False


@compiled
def playable(numbers: Array, taken: int, action: int) -> int:
    """The cell that a stone comes to; -1 where there is no room."""
    if numbers[KIND] == HEX:
        return -1 if taken >> action & 1 else int(action)
    for row in range(numbers[HEIGHT] - 1, -1, -1):
        cell = row * numbers[WIDTH] + action
        if not taken >> cell & 1:
            return int(cell)
    return -1


@compiled
def search(
    numbers: Array,
    lines: Array,
    order: Array,
    mirror: Array,
    table: Array,
    found: Array,
    count: Array,
    mine: int,
    others: int,
    mine_mirrored: int,
    others_mirrored: int,
    stones: int,
    alpha: int,
    beta: int,
) -> int:
    """The score if it lies between ``alpha`` and ``beta``, else a bound of it (fail-soft).

    Args:
        numbers: kind, height, width.
        lines: [cells, L] sets of cells that win in a row, by a cell in them; 0 behind the last.
        order: actions, the likeliest first.
        mirror: [cells] the mirror image of each cell.
        table: [size] keys, 0 where nothing is.
        found: [size, 4] int8 of each key: least score, greatest score, best action, stones.
        count: [2] positions looked at, and how many may be.
        mine: cells of the player to move.
        others: cells of the other.
        mine_mirrored: mirror image of ``mine``.
        others_mirrored: mirror image of ``others``.
        stones: on the board; in Hex an even number means that mine connect top and bottom.
        alpha: a score that is not interesting any more, as is any lower one.
        beta: a score that is enough.
    """
    cells = mirror.shape[0]
    key = mine | (others << 31)
    mirrored_key = mine_mirrored | (others_mirrored << 31)
    is_mirrored = mirrored_key < key
    if is_mirrored:
        key = mirrored_key
    key += 1
    place = (key * 0x9E3779B1 ^ (key >> 29) * 0x85EBCA77) & (table.shape[0] - 2)
    # Of two places the first is for what took long, as positions with few stones do.
    if table[place] != key and (
        table[place + 1] == key or (table[place] != 0 and found[place, 3] < stones)
    ):
        place += 1
    least, most = -cells, cells
    first = -1
    known = table[place] == key
    if known:
        least, most = found[place, 0], found[place, 1]
        if least >= beta or least == most:
            return int(least)
        if most <= alpha:
            return int(most)
        first = found[place, 2]
        if is_mirrored and first >= 0:
            first = mirror[first] if numbers[KIND] == HEX else numbers[WIDTH] - 1 - first
    vertical = stones % 2 == 0
    taken = mine | others
    threats, must, score = 0, -1, NOT_SOLVED
    for i in range(order.shape[0]):
        cell = playable(numbers, taken, order[i])
        if cell < 0:
            continue
        if not known and wins(numbers, lines, mine, cell, vertical):
            score = cells - stones
            break
        if wins(numbers, lines, others, cell, not vertical):
            threats += 1
            must = order[i]
    if score == NOT_SOLVED and stones + 1 >= cells:
        score = 0
    if score == NOT_SOLVED and threats > 1:
        score = stones + 1 - cells
    if score != NOT_SOLVED:
        table[place] = key
        found[place, 0] = found[place, 1] = score
        found[place, 2], found[place, 3] = -1, stones
        return int(score)
    count[0] += 1
    if count[0] > count[1]:
        return NOT_SOLVED
    # No win before the next stone but one of mine, no loss before the other's next.
    least, most = max(least, stones + 1 - cells), min(most, max(cells - 2 - stones, 0))
    if most <= alpha:
        return int(most)
    if least >= beta:
        return int(least)
    lowest, high = max(alpha, least), min(beta, most)
    low = lowest
    best = -NOT_SOLVED
    best_action = -1
    lowest, high = max(alpha, least), min(beta, most)
    low = lowest
    for i in range(-1, order.shape[0]):
        action = first if i < 0 else order[i]
        if action < 0 or (i >= 0 and action == first) or (must >= 0 and action != must):
            continue
        cell = playable(numbers, taken, action)
        if cell < 0:
            continue
        bit, mirrored_bit = 1 << cell, 1 << mirror[cell]
        score = search(
            numbers, lines, order, mirror, table, found, count,
            others, mine | bit, others_mirrored, mine_mirrored | mirrored_bit,
            stones + 1, -high, -low,
        )  # fmt: skip
        if score == NOT_SOLVED:
            return NOT_SOLVED
        if -score > best:
            best, best_action = -score, action
            low = max(low, best)
            if low >= high:
                break
    table[place] = key
    if best <= lowest:
        most = min(most, best)
    elif best >= high:
        least = max(least, best)
    else:
        least = most = best
    found[place, 0], found[place, 1] = least, most
    if is_mirrored and best_action >= 0:
        mirrored = numbers[WIDTH] - 1 - best_action
        best_action = mirror[best_action] if numbers[KIND] == HEX else mirrored
    found[place, 2], found[place, 3] = best_action, stones
    return int(best)


@compiled
def solve(
    numbers: Array,
    lines: Array,
    order: Array,
    mirror: Array,
    table: Array,
    found: Array,
    limit: int,
    positions: Array,
    scores: Array,
) -> None:
    """Write the ``scores`` [N] of ``positions`` [N, 3]: mine, the other's, stones.

    Whether the player to move wins with the next stone is asked first, then whether the other does
    with the one behind it, and so on: the search never looks further than the end that it finds.
    Where there are draws it is asked before whether there is a winner at all.
    """
    cells = mirror.shape[0]
    count = np.zeros(2, dtype=np.int64)
    for row in range(positions.shape[0]):
        mine, others, stones = positions[row, 0], positions[row, 1], positions[row, 2]
        mine_mirrored = others_mirrored = 0
        for cell in range(cells):
            mine_mirrored |= (mine >> cell & 1) << mirror[cell]
            others_mirrored |= (others >> cell & 1) << mirror[cell]
        count[0], count[1] = 0, limit
        scores[row] = 0
        sides = 0  # 1: the player to move can win; -1: the other can; 0: not known
        if numbers[KIND] == CONNECT_FOUR:
            for alpha in (-1, 0):
                score = search(
                    numbers, lines, order, mirror, table, found, count,
                    mine, others, mine_mirrored, others_mirrored, stones, alpha, alpha + 1,
                )  # fmt: skip
                if score == NOT_SOLVED:
                    break
                if (alpha < 0 and score < 0) or (alpha == 0 and score > 0):
                    sides = 1 if score > 0 else -1
            if score == NOT_SOLVED:
                scores[row] = NOT_SOLVED
                continue
            if sides == 0:
                continue
        for end in range(stones + 1, cells + 1):
            own = (end - stones) % 2 == 1
            if (own and sides < 0) or (not own and sides > 0):
                continue
            target = cells + 1 - end if own else end - cells - 1
            alpha = target - 1 if own else target
            score = search(
                numbers, lines, order, mirror, table, found, count,
                mine, others, mine_mirrored, others_mirrored, stones, alpha, alpha + 1,
            )  # fmt: skip
            if score == NOT_SOLVED or (own and score >= target) or (not own and score <= target):
                scores[row] = target if score != NOT_SOLVED else NOT_SOLVED
                break
