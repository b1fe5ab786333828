"""The compiled search makes the plain search's trees.

Both work in float32 but add in different orders, so they may part where the two best scores of a
node are closer than rounding. The plain search is watched for that: rows that met such a tie are
left out, and there must be few of them.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
import pytest
import torch

from rl_serial.planning import (
    ByParentAndSiblings,
    Memory,
    MinMax,
    MixValue,
    compiled,
    gumbel_muzero_policy,
    kernels,
)
from rl_serial.planning.checks import check_root
from rl_serial.planning.compiled import Team, compiled_search, most_threads
from rl_serial.planning.search import search
from rl_serial.planning.selection import Gumbel, Puct, is_legal, visits_table
from rl_serial.planning.types import NodeStatistics, Tree
from rl_serial.pytrees import leaves

TIE = 3e-6
"""Scores closer than this count as a tie; they are of the order of 1."""


@dataclass
class Watched:
    """A rule that notes the least gap between the best two scores that each row has met."""

    rule: Gumbel | Puct
    gap: Any = field(default=np.inf)

    def note(self, scores: Any, node: NodeStatistics) -> Any:
        masked = np.where(np.asarray(is_legal(node)), np.asarray(scores), -np.inf)
        best = np.sort(masked, axis=1)[:, ::-1]
        if best.shape[1] > 1:
            with np.errstate(invalid="ignore"):
                gap = best[:, 0] - best[:, 1]
            self.gap = np.minimum(self.gap, np.where(np.isnan(gap), np.inf, gap))
        return scores

    def scores_at_root(self, node: NodeStatistics) -> Any:
        return self.note(self.rule.scores_at_root(node), node)

    def scores_below_root(self, node: NodeStatistics) -> Any:
        return self.note(self.rule.scores_below_root(node), node)


@dataclass(frozen=True)
class Case:
    name: str
    num_actions: int
    num_simulations: int
    transform: MixValue | ByParentAndSiblings | MinMax
    model: dict[str, float] = field(default_factory=dict)
    noise: float = 0.0
    max_considered: int = 16
    max_depth: int = 2**31 - 1
    batch: int = 300


HARD = {"ends": 0.2, "illegal": 0.3}
PLAYERS = {"discount": -1.0, "ends": 0.1, "illegal": 0.2}
BOARD = MixValue(value_scale=1.0, rescale=False)
CASES = [
    Case("gumbel", 6, 40, MixValue()),
    Case("gumbel, ends and masks", 6, 40, MixValue(), HARD),
    Case("gumbel, noise", 9, 60, MixValue(), HARD, noise=1.0),
    Case("gumbel, few considered", 12, 50, MixValue(), HARD, noise=1.0, max_considered=4),
    Case("gumbel, one considered", 5, 20, MixValue(), HARD, max_considered=1),
    Case("gumbel, two players", 8, 60, BOARD, PLAYERS),
    Case("gumbel, max depth", 4, 80, MixValue(), HARD, max_depth=3),
    Case("gumbel, depth one", 4, 30, MixValue(), HARD, max_depth=1),
    Case("gumbel, sharp prior", 30, 50, MixValue(), {**HARD, "spread": 12.0}),
    Case("gumbel, many actions", 70, 90, MixValue(), HARD, noise=1.0),
    Case("gumbel, one action", 1, 12, MixValue()),
    Case("gumbel, two actions", 2, 24, MixValue(), batch=600),
    Case("puct", 6, 40, ByParentAndSiblings(), HARD),
    Case("puct, bounds", 8, 60, MinMax(-3.0, 3.0), PLAYERS),
    Case("puct, max depth", 4, 80, ByParentAndSiblings(), HARD, max_depth=3),
    Case("puct, sharp prior", 30, 50, ByParentAndSiblings(), {**HARD, "spread": 4.0}),
    Case("puct, many actions", 70, 90, ByParentAndSiblings(), HARD),
    Case("puct, several threads", 5, 30, ByParentAndSiblings(), HARD, batch=1200),
    Case("gumbel, several threads", 5, 30, MixValue(), HARD, batch=1200),
]


def make_rule(case: Case, generator: np.random.Generator, earlier: Any = None) -> Gumbel | Puct:
    if not isinstance(case.transform, MixValue):
        return Puct(case.transform)
    shape = (case.batch, case.num_actions)
    noise = (case.noise * generator.gumbel(size=shape)).astype(np.float32)
    table = visits_table(min(case.max_considered, case.num_actions), case.num_simulations)
    if earlier is None:
        earlier = np.zeros(shape, np.int32)
    return Gumbel(case.transform, noise, np.asarray(table), earlier)


def assert_same(plain: Tree, compiled: Tree, gap: Any, allowed: float) -> None:
    clear = np.broadcast_to(gap > TIE, len(plain.visits))
    assert clear.mean() >= 1 - allowed
    for name in ("visits", "parent", "action", "depth", "discount", "prior_logits"):
        ours, theirs = np.asarray(getattr(compiled, name)), np.asarray(getattr(plain, name))
        there = np.asarray(plain.visits) > 0
        for row in np.nonzero(clear)[0]:
            assert np.array_equal(ours[row][there[row]], theirs[row][there[row]]), (name, row)
    for name in ("value", "raw_value", "reward"):
        ours, theirs = np.asarray(getattr(compiled, name)), np.asarray(getattr(plain, name))
        error = np.abs(np.where(np.asarray(plain.visits) > 0, ours - theirs, 0))[clear]
        assert error.max() < 1e-5, name
    ours, theirs = np.asarray(compiled.embedding.state), np.asarray(plain.embedding.state)
    assert np.array_equal(
        ours[clear][np.asarray(plain.visits)[clear] > 0],
        theirs[clear][np.asarray(plain.visits)[clear] > 0],
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_trees(case: Case, random_model: Callable[..., Any]) -> None:
    generator = np.random.default_rng(len(case.name))
    model = random_model(generator, 4000, case.num_actions, **case.model)
    root = check_root(model.root(generator.integers(4000, size=case.batch)))
    rule = make_rule(case, generator)
    watched = Watched(rule)
    plain = search(root, model, case.num_simulations, watched, case.max_depth).tree
    compiled = compiled_search(root, model, case.num_simulations, rule, case.max_depth).tree
    assert_same(plain, compiled, watched.gap, allowed=0.03)


def test_kernels_compile_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a package folder that cannot be written to, without a home."""
    compile_ = numba.njit

    def without_a_place(*functions: Any, **options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return compile_(*functions, **options)

    monkeypatch.setattr(numba, "njit", without_a_place)

    def successor(x: int) -> int:
        return x + 1

    assert kernels.kernel(successor)(2) == 3


def test_the_exponential() -> None:
    """Against double precision, to 3 units in the last place of a float32."""

    def row(numbers: Any, out: Any) -> None:
        for i in range(numbers.size):
            out[i] = kernels.exponential(numbers[i])

    numbers = np.linspace(-87, 20, 200_001, dtype=np.float32)
    found = np.empty_like(numbers)
    kernels.kernel(row)(numbers, found)
    exact = np.exp(numbers.astype(np.float64))
    assert np.max(np.abs(found / exact - 1)) < 3 * 2.0**-23
    below = np.array([-87.5, -200, -np.inf], np.float32)
    kernels.kernel(row)(below, found[:3])
    assert not np.any(found[:3])


def search_many(random_model: Callable[..., Any]) -> Any:
    """A batch large enough for several threads."""
    generator = np.random.default_rng(0)
    model = random_model(generator, 2000, 5)
    assert Team(1200).helpers > 0 or most_threads() == 1
    root = check_root(model.root(generator.integers(2000, size=1200)))
    case = Case("", 5, 20, MixValue(), batch=1200)
    return compiled_search(root, model, 20, make_rule(case, generator), 100).tree.visits


@pytest.mark.filterwarnings("ignore:This process")  # newer Pythons warn of forks with threads
def test_a_fork_searches_too(random_model: Callable[..., Any]) -> None:
    """Threads do not come along into a fork, such as those of vectorised environments."""
    expected = search_many(random_model)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(search_many(random_model)))
    child.start()
    assert np.array_equal(queue.get(), expected)
    child.join()
    assert child.exitcode == 0


@pytest.mark.parametrize("batch", [1, 129, 1023, 1024, 1200])
def test_pieces_are_all_rows_once(batch: int, random_model: Callable[..., Any]) -> None:
    """However many take them, and whichever way: the trees are those of one thread."""
    trees = []
    for helpers in (0, 3):
        generator = np.random.default_rng(0)
        model = random_model(generator, 500, 4)
        root = check_root(model.root(generator.integers(500, size=batch)))
        rule = make_rule(Case("", 4, 8, MixValue(), batch=batch), generator)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Team, "__init__", _with_helpers(helpers))
            trees.append(compiled_search(root, model, 8, rule, 100).tree)
    for one, other in zip(leaves(trees[0]), leaves(trees[1]), strict=True):
        assert np.array_equal(one, other)


def _with_helpers(helpers: int) -> Any:
    made = Team.__init__

    def make(team: Team, batch: int) -> None:
        made(team, batch)
        team.helpers = helpers

    return make


def test_nobody_waits_for_a_helper_that_never_comes(
    random_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another process keeps its core: its calls come after the search, to nothing."""
    expected = search_many(random_model)
    late: list[Any] = []

    class Nobody:
        def submit(self, *call: Any) -> Future[None]:
            late.append(call)
            return Future()

    monkeypatch.setattr(compiled, "_threads", lambda _: Nobody())
    monkeypatch.setattr(compiled, "most_threads", lambda: 2)
    found = search_many(random_model)
    assert np.array_equal(found, expected)
    assert len(late) == 5  # no further ones while they are not answered
    for function, *arguments in late:
        function(*arguments)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("as_torch", [False, True])
def test_memory_is_used_again_and_changes_nothing(
    as_torch: bool, random_model: Callable[..., Any]
) -> None:
    memory = Memory()
    trees, places = [], []
    for seed in range(4):
        generator = np.random.default_rng(seed)
        states = generator.integers(300, size=16)
        model = random_model(generator, 300, 3)
        if as_torch:
            model, states = model.converted(torch.from_numpy), torch.from_numpy(states)
        root = model.root(states)
        fresh = gumbel_muzero_policy(root, model, 12)
        kept = gumbel_muzero_policy(root, model, 12, memory=memory)
        for one, other in zip(leaves(fresh), leaves(kept), strict=True):
            assert np.array_equal(one, other)
        trees.append(kept)
        places.append(np.asarray(kept.tree.visits).ctypes.data)
        earlier = trees[seed - 1] if seed else kept
        assert bool((earlier.tree.visits[:, 0] == earlier.visit_counts.sum(1) + 1).all())
    assert places[0] == places[2] != places[1] == places[3]
    # The one before the last has been written over; what else was found of it stays.
    assert np.array_equal(trees[0].tree.prior_logits, trees[2].tree.prior_logits)
    assert not np.array_equal(trees[0].action_weights, trees[2].action_weights)
