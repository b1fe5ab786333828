"""Sudoku puzzles: dice, grids, rounds, uniqueness, symmetry, the dial and files.

Solver, rater and canonical form of this file know nothing of the package's.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from rl_serial.envs.puzzles import kernels
from rl_serial.envs.puzzles.generator import (
    BLANKS,
    MOST_GRIDS,
    class_keys,
    first_row_grids,
    for_tests,
    make_puzzles,
    rate_puzzles,
    solve_puzzles,
)
from rl_serial.envs.puzzles.reading import read_puzzles, written
from rl_serial.envs.random import EVALUATION_SEEDS, random_words
from rl_serial.errors import OptionError

BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}
# A puzzle of many pages and books, and its solution as they print it.
WELL_KNOWN = "530070000600195000098000060800060003400803001700020006060000280000419005000080079"
ITS_SOLUTION = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"


@cache
def units(size: int) -> list[list[int]]:
    """The cells of each row, column and box."""
    rows, columns = BOXES[size]
    found: dict[tuple[str, int], list[int]] = {}
    for cell in range(size * size):
        r, c = divmod(cell, size)
        for name in (("row", r), ("column", c), ("box", r // rows * 10 + c // columns)):
            found.setdefault(name, []).append(cell)
    return list(found.values())


@cache
def around(cell: int, size: int) -> set[int]:
    """The cells that share a unit with one."""
    return {other for unit in units(size) if cell in unit for other in unit}


def left(grid: list[int], cell: int, size: int) -> set[int]:
    """The digits that no cell has which shares a unit with ``cell``."""
    return set(range(1, size + 1)) - {grid[other] for other in around(cell, size)}


def rounds_of(grid: list[int], size: int) -> tuple[int, list[int]]:
    """Rounds of singles that solve a puzzle (-1: they do not), and the round of each cell."""
    grid, when = list(grid), [0 if digit else -1 for digit in grid]
    number = 0
    while 0 in grid:
        open_ = {cell: left(grid, cell, size) for cell, digit in enumerate(grid) if not digit}
        told = {cell: min(digits) for cell, digits in open_.items() if len(digits) == 1}
        for unit in units(size):
            places = Counter(digit for cell in unit for digit in open_.get(cell, ()))
            for cell in unit:
                for digit in open_.get(cell, ()):
                    if places[digit] == 1:
                        told[cell] = digit
        if not told:
            return -1, when
        number += 1
        for cell, digit in told.items():
            grid[cell], when[cell] = digit, number
    return number, when


def solutions(grid: list[int], size: int) -> list[list[int]]:
    """Two of the solutions at most, by trying the digits of the cell with the fewest."""
    blank = [cell for cell, digit in enumerate(grid) if not digit]
    if not blank:
        return [grid]
    cell = min(blank, key=lambda cell: len(left(grid, cell, size)))
    found: list[list[int]] = []
    for digit in left(grid, cell, size):
        found += solutions([*grid[:cell], digit, *grid[cell + 1 :]], size)
        if len(found) > 1:
            break
    return found[:2]


def lines(size: int, groups: int) -> list[list[int]]:
    """Every order of rows (or columns) in which those of a group stay together."""
    each = [range(g * size // groups, (g + 1) * size // groups) for g in range(groups)]
    return [
        [row for group in order for row in group]
        for turned in itertools.permutations(each)
        for order in itertools.product(*(itertools.permutations(group) for group in turned))
    ]


def symmetries(size: int) -> np.ndarray:
    """[S, N * N] the cells in every order that keeps rows, columns and boxes."""
    rows, columns = BOXES[size]
    found = [
        [r * size + c for r in by_row for c in by_column]
        for by_row in lines(size, size // rows)
        for by_column in lines(size, size // columns)
    ]
    if rows == columns:
        turn = [c * size + r for r in range(size) for c in range(size)]
        found += [[turn[cell] for cell in cells] for cells in found]
    return np.array(found)


def canonical(givens: np.ndarray, cells: np.ndarray, size: int) -> bytes:
    """The least of all copies of a puzzle, digits named in the order in which they come."""
    copies = givens[cells]
    named = np.zeros_like(copies)
    names = np.zeros((len(copies), size + 1), dtype=np.int8)
    following = np.ones(len(copies), dtype=np.int8)
    for place in range(size * size):
        digit = copies[:, place]
        new = (digit > 0) & (names[np.arange(len(copies)), digit] == 0)
        names[new, digit[new]] = following[new]
        following[new] += 1
        named[:, place] = np.where(digit > 0, names[np.arange(len(copies)), digit], 0)
    return min(row.tobytes() for row in named)


def test_dice_are_threefry() -> None:
    seeds = np.array([5 + (7 << 32), 2**62 + 3], dtype=np.int64)
    words = random_words(seeds, 6, stream=kernels.STREAM)
    for seed, expected in zip(seeds.tolist(), words, strict=True):
        dice = np.array([seed & 0xFFFFFFFF, seed >> 32, 0, 0])
        drawn = [kernels.draw(dice, 2**20) for _ in range(6)]
        assert drawn == [int(word) >> 12 for word in expected]


def test_the_tables_of_grids_are_whole() -> None:
    # 288 grids of 4 by 4 and 28,200,960 of 6 by 6, by the names of the digits.
    assert len(first_row_grids(4)) * 24 == 288
    assert len(first_row_grids(6)) * 720 == 28_200_960
    for size in (4, 6):
        grids = first_row_grids(size)
        assert len(np.unique(grids, axis=0)) == len(grids)
        for unit in units(size):
            assert (np.sort(grids[:, unit], axis=1) == np.arange(1, size + 1)).all()


def test_grids_of_4_by_4_are_uniform() -> None:
    """All 288 as often."""
    dice, grid = np.array([1, 2, 0, 0]), np.zeros(16, dtype=np.int64)
    seen: Counter[bytes] = Counter()
    for _ in range(5760):
        kernels.draw_grid(dice, 4, first_row_grids(4), grid)
        seen[grid.tobytes()] += 1
    assert len(seen) == 288
    assert chisquare(list(seen.values())).pvalue > 1e-3


def test_a_first_band_and_stack_of_9_by_9_take_each_way_to_complete_them_as_often() -> None:
    """Of the digits that the tightest other cell can have each has its share of the ways.

    On 40 grids, too few to tell that bands with more ways come more often. None has more ways than
    the rejection's bound, which is 2.2 times their mean.
    """
    dice, grid = np.array([3, 4, 0, 0]), np.zeros(81, dtype=np.int64)
    counts, ranks = [], []
    for between in np.random.default_rng(0).random(40):
        kernels.draw_grid(dice, 9, first_row_grids(9), grid)
        for unit in units(9):
            assert sorted(grid[unit]) == list(range(1, 10))
        # Named so that the first box is in order; names that come last hide which way it is.
        grid = 1 + np.argsort(grid[[0, 1, 2, 9, 10, 11, 18, 19, 20]])[grid - 1]
        start = np.where((np.arange(81) < 27) | (np.arange(81) % 9 < 3), grid, 0)
        there = {int(cell): left(start.tolist(), cell, 9) for cell in np.flatnonzero(start == 0)}
        cell = min(there, key=lambda cell: len(there[cell]))
        ways = np.zeros(10)
        for digit in there[cell]:
            start[cell] = digit
            ways[digit] = kernels.solve(start, 9, 10**6, grid.copy(), -1)
        counts.append(ways.sum())
        ranks.append((ways[: grid[cell]].sum() + between * ways[grid[cell]]) / ways.sum())
    assert kstest(ranks, "uniform").pvalue > 1e-3
    assert max(counts) < 0.85 * kernels.COMPLETIONS
    # 6,670,903,752,021,072,936,960 grids over 9! * 2,612,736 ** 2 bands with stacks: 2,693; grids
    # have bands with more completions more often.
    assert 2600 < np.mean(counts) < 2950


@pytest.mark.parametrize("size", [4, 6, 9])
def test_rounds_and_solutions_are_those_of_a_plain_solver(size: int) -> None:
    count = {4: 40, 6: 25, 9: 6}[size]
    puzzles = make_puzzles(np.arange(count), size)
    for row in range(count):
        givens = puzzles.givens[row].tolist()
        assert givens.count(0) == BLANKS[size]
        rounds, when = rounds_of(givens, size)
        assert (rounds, when) == (puzzles.rounds[row], puzzles.when[row].tolist())
        assert solutions(givens, size) == [puzzles.solution[row].tolist()]


def test_puzzles_that_need_search_have_one_solution_that_singles_do_not_find() -> None:
    puzzles = make_puzzles(np.arange(8), 6, kind="search")
    assert (puzzles.rounds == -1).all()
    for givens, solution in zip(puzzles.givens.tolist(), puzzles.solution.tolist(), strict=True):
        assert rounds_of(givens, 6)[0] == -1
        assert solutions(givens, 6) == [solution]


def test_a_grid_by_hand() -> None:
    # The last cell of a row, then what only follows from it.
    grid = [1, 2, 3, 0, 3, 4, 0, 0, 2, 1, 4, 3, 4, 3, 2, 1]
    rated = rate_puzzles(np.array([grid]), 4)
    assert rated.rounds.tolist() == [1]
    assert rated.solution[0].tolist() == [1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1]
    twice = rate_puzzles(np.array([[1, 1, *[0] * 14]]), 4)
    assert twice.rounds.tolist() == [-2]
    counts, _ = solve_puzzles(np.array([[0] * 16, [1, 1, *[0] * 14]]), 4)
    assert counts.tolist() == [2, 0]


def test_a_puzzle_is_a_function_of_its_seed() -> None:
    seeds = np.array([7, 2**62 + 9, 123456789, 7])
    whole = make_puzzles(np.concatenate([seeds, np.arange(1000, 1300)]), 6)  # two threads' worth
    for row, seed in enumerate(seeds):
        alone = make_puzzles(np.array([seed]), 6)
        for name in ("givens", "solution", "when", "rounds"):
            assert (getattr(alone, name)[0] == getattr(whole, name)[row]).all()
    assert len(np.unique(whole.givens[4:], axis=0)) == 300


@pytest.mark.parametrize("size", [4, 6, 9])
def test_copies_have_the_same_key(size: int) -> None:
    givens = make_puzzles(np.arange(12), size).givens
    dice = np.random.default_rng(0)
    cells = symmetries(size) if size < 9 else np.array(list(_some_of_nine(dice, 12)))
    for row, puzzle in enumerate(givens):
        names = np.concatenate([[0], 1 + dice.permutation(size)])
        copy = names[puzzle[cells[row % len(cells) if size == 9 else dice.integers(len(cells))]]]
        assert (class_keys(copy[None], size) == class_keys(puzzle[None], size)).all()
        assert for_tests(copy[None], size) == for_tests(puzzle[None], size)
    assert len(np.unique(class_keys(givens, size))) > 9  # and others another one


def _some_of_nine(dice: np.random.Generator, count: int) -> Any:
    """Orders of the cells of 9 by 9, of which there are too many for a list."""
    orders = lines(9, 3)
    for number in range(count):
        rows, columns = (orders[dice.integers(len(orders))] for _ in range(2))
        cells = np.array([[r * 9 + c for c in columns] for r in rows])
        yield (cells.T if number % 2 else cells).ravel()


def test_keys_tell_puzzles_apart_that_are_no_copies() -> None:
    """Of all 4 by 4 puzzles of a sample the keys are those of the canonical forms, one for one."""
    givens = make_puzzles(np.arange(400), 4).givens
    cells = symmetries(4)
    forms = [canonical(puzzle, cells, 4) for puzzle in givens]
    pairs = set(zip(forms, class_keys(givens, 4).tolist(), strict=True))
    assert len({form for form, _ in pairs}) == len(pairs)  # a form has one key
    # Some keys may be of two forms, which then are on one side; they are few.
    assert len({key for _, key in pairs}) > 0.95 * len(pairs)


def test_no_copy_of_a_puzzle_for_tests_is_in_training() -> None:
    cells = symmetries(4)
    sides = [
        {canonical(p, cells, 4) for p in make_puzzles(seeds, 4, 8).givens}
        for seeds in (np.arange(600), EVALUATION_SEEDS + np.arange(300))
    ]
    assert not sides[0] & sides[1]
    assert min(map(len, sides)) > 50
    share = for_tests(make_puzzles(np.arange(50), 6).givens, 6)
    assert not share.any()
    assert for_tests(make_puzzles(EVALUATION_SEEDS + np.arange(50), 6).givens, 6).all()


def test_depth_is_dialled_at_equal_blanks_and_the_twin_is_shallow() -> None:
    seeds = np.arange(40)
    for rounds in (3, 7):
        puzzles = make_puzzles(seeds, 6, 26, rounds)
        assert (puzzles.rounds == rounds).all()
        assert ((puzzles.givens == 0).sum(axis=1) == 26).all()
        assert rounds_of(puzzles.givens[0].tolist(), 6)[0] == rounds
    twin = make_puzzles(seeds, 6, 26, kind="twin")
    assert ((twin.givens == 0).sum(axis=1) == 26).all()
    assert twin.rounds.mean() < 3.5 < make_puzzles(seeds, 6, 26).rounds.mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 5}, "size=5: must be one of 4, 6, 9"),
        ({"size": 6, "blanks": 29}, "blanks=29: must be 1 to 28 of 6 by 6"),
        ({"size": 6, "serial_depth": 27}, "serial_depth=27: must be 1 to blanks = 26"),
        ({"size": 6, "kind": "hard"}, "kind='hard': must be one of singles, twin, search"),
        ({"size": 6, "kind": "twin", "serial_depth": 3}, "serial_depth=3: must be left out"),
        ({"size": 4, "blanks": 3, "serial_depth": 3}, "no puzzle of 4 by 4 with 3 blanks that 3"),
        ({"size": 4, "blanks": 2, "kind": "search"}, "no puzzle of 4 by 4 with 2 blanks (search)"),
    ],
)
def test_a_dial_out_of_range_says_so(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make_puzzles(np.arange(2), **options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("seed", "options", "option", "told", "near"),
    [
        (0, {"size": 6, "blanks": 8, "kind": "search"}, "blanks", "more blanks are easier to find",
         {"blanks": 26}),
        (0, {"size": 4, "kind": "search"}, "kind", "singles solve every puzzle of 4 by 4",
         {"size": 6}),
        (0, {"size": 6, "serial_depth": 1}, "serial_depth", "more rounds are easier to find: "
         "puzzles dug at random need 3 to 6", {"serial_depth": 3}),
        (0, {"size": 4, "blanks": 3, "serial_depth": 3}, "serial_depth", "fewer rounds are easier "
         "to find: puzzles dug at random need 1", {"serial_depth": 1}),
        (2**62, {"size": 4, "blanks": 1}, "blanks", "1 blank (singles) for tests was found on 300 "
         "grids; what is found is for training", {"blanks": 2}),
        (2**62, {"size": 4, "blanks": 1, "serial_depth": 1}, "blanks", "1 blank that 1 round of "
         "singles can solve (singles) for tests was found", {"blanks": 2}),
    ],
)  # fmt: skip
def test_what_is_not_found_is_told_with_what_would_be(
    seed: int, options: dict[str, Any], option: str, told: str, near: dict[str, int]
) -> None:
    seeds = seed + np.arange(2)
    with pytest.raises(OptionError) as error:
        make_puzzles(seeds, **options)
    assert error.value.option == option
    assert told in str(error.value)
    make_puzzles(seeds, **(options | near))  # what the text says is there


def test_too_many_blanks_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MOST_GRIDS, 6, 0)  # in place of minutes of digging
    for options in ({}, {"kind": "twin"}, {"kind": "search"}, {"serial_depth": 5}):
        with pytest.raises(OptionError, match="on 0 grids; fewer blanks are easier to find: 26"):
            make_puzzles(np.arange(2), 6, 28, **options)


def test_singles_solve_every_puzzle_of_4_by_4() -> None:
    """All of a first row in order, by every choice of givens; none needs more than 3 rounds."""
    shown = (np.arange(2**16)[:, None] >> np.arange(16)) & 1
    deepest = 0
    for grid in first_row_grids(4):
        rated = rate_puzzles(shown * grid, 4)
        unsolved = shown[rated.rounds == -1] * grid
        assert len(unsolved) > 1000
        assert (solve_puzzles(unsolved, 4)[0] > 1).all()
        deepest = max(deepest, int(rated.rounds.max()))
    assert deepest == 3


def test_without_compiling_the_puzzles_are_the_same() -> None:
    code = (
        "import numpy as np; from rl_serial.envs.puzzles.generator import make_puzzles\n"
        "print(make_puzzles(np.array([5, 2**62]), 4).givens.tolist())"
    )
    surroundings = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    package = str(Path(__file__).parents[2])
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=surroundings | {"PYTHONPATH": package},
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip() == str(make_puzzles(np.array([5, 2**62]), 4).givens.tolist())


def test_files_of_81_characters(tmp_path: Path) -> None:
    file = tmp_path / "some.csv"
    file.write_text(
        f"quizzes,solutions\n# by hand\n\n{WELL_KNOWN},{ITS_SOLUTION}\n"
        + WELL_KNOWN.replace("0", ".")
        + "\n"
    )
    puzzles = read_puzzles(file)
    assert written(puzzles.solution) == [ITS_SOLUTION] * 2
    assert written(puzzles.givens) == [WELL_KNOWN.replace("0", ".")] * 2
    assert puzzles.rounds.tolist() == [rounds_of([int(c) for c in WELL_KNOWN], 9)[0]] * 2


@pytest.mark.parametrize("lead", ["", "puzzle_text,solution\n", "puzzle-4x4\n", "\ufeff"])
def test_files_may_begin_with_names_and_a_byte_order_mark(lead: str, tmp_path: Path) -> None:
    given = written(make_puzzles(np.arange(3), 4).givens)
    file = tmp_path / "some.csv"
    file.write_text(lead + "\n".join(given) + "\n", encoding="utf-8")
    assert written(read_puzzles(file, 4).givens) == given
    file.write_text("\ufeff" + lead.lstrip("\ufeff") + given[0] + "\n", encoding="utf-8")
    assert written(read_puzzles(file, 4).givens) == given[:1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x1" + "." * 14, "line 1: character 1 is 'x'"),
        ("....\npuzzle", "line 1: 4 characters"),
        ("12", "line 1: 2 characters; a puzzle of 4 by 4 has 16"),
        ("1234" * 3 + "12.5", "line 1: character 16 is '5'; a cell is a digit of 1 to 4"),
        ("." * 16, "line 1: has more than one solution"),
        ("11" + "." * 14, "line 1: has no solution"),
        ("# nothing", "holds no puzzle"),
        ("1234341221434321", "line 1: has no blank cell"),
    ],
)
def test_a_wrong_line_is_named(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "some.txt"
    file.write_text(text + "\n")
    with pytest.raises(ValueError) as error:  # noqa: PT011
        read_puzzles(file, 4)
    assert message in str(error.value)
    with pytest.raises(ValueError, match="No such file"):
        read_puzzles(tmp_path / "none", 4)


@pytest.mark.peers
@pytest.mark.parametrize("size", [4, 6, 9])
def test_a_peer_library_agrees_on_two_thousand(size: int) -> None:
    """Uniqueness and solution by ``py-sudoku``, rounds by the plain rater."""
    if importlib.util.find_spec("sudoku") is None:
        pytest.skip("py-sudoku is not installed")
    from sudoku import Sudoku as Peer

    rows, columns = BOXES[size]
    puzzles = make_puzzles(np.arange(2000), size)
    for givens, solution, rounds in zip(
        puzzles.givens.tolist(), puzzles.solution.tolist(), puzzles.rounds.tolist(), strict=True
    ):
        assert rounds_of(givens, size)[0] == rounds
        board = [
            [digit or None for digit in givens[r * size : (r + 1) * size]] for r in range(size)
        ]
        peer = Peer(columns, rows, board=board)
        assert not peer.has_multiple_solutions()
        assert [digit for row in peer.solve().board for digit in row] == solution
