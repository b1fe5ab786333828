"""A subtree kept between moves is the search that would have been made from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.planning import Tree, gumbel_muzero_policy, muzero_policy, reuse

Make = Callable[..., Any]
BACKENDS = ("plain", "compiled")
both_backends = pytest.mark.parametrize("backend", BACKENDS)


def by_path(tree: Tree, row: int) -> dict[tuple[int, ...], tuple[int, float]]:
    """Visits and value of every node, under the actions that lead to it."""
    paths: dict[int, tuple[int, ...]] = {}
    found = {}
    for node in range(tree.visits.shape[1]):
        if tree.visits[row, node] > 0:
            parent = int(tree.parent[row, node])
            paths[node] = (*paths[parent], int(tree.action[row, node])) if node else ()
            assert tree.depth[row, node] == len(paths[node])
            found[paths[node]] = int(tree.visits[row, node]), float(tree.value[row, node])
    return found


@both_backends
@pytest.mark.parametrize("policy", [gumbel_muzero_policy, muzero_policy])
def test_everything_below_the_action_is_kept(policy: Any, backend: str, random_model: Make) -> None:
    model = random_model(np.random.default_rng(0), 500, 4, ends=0.1, illegal=0.2)
    output = policy(model.root(np.arange(25)), model, 60, backend=backend)
    kept = reuse(output.tree, output.action)
    for row, action in enumerate(output.action.tolist()):
        before = by_path(output.tree, row)
        expected = {path[1:]: node for path, node in before.items() if path[:1] == (action,)}
        assert by_path(kept, row) == expected
        states = kept.embedding.state[row]
        assert states[0] == model.following[row, action]


@both_backends
def test_puct_goes_on_as_if_it_had_begun_there(backend: str, random_model: Make) -> None:
    """PUCT looks at nothing above a node: a kept subtree of k visits and m further simulations

    make the tree of k − 1 + m simulations from there.
    """
    model = random_model(np.random.default_rng(1), 500, 4, ends=0.1, illegal=0.2)
    states = np.arange(40)
    first = muzero_policy(model.root(states), model, 50, backend=backend)
    following = model.following[states, first.action]
    kept = reuse(first.tree, first.action)
    visits = kept.visits[:, 0].copy()
    second = muzero_policy(model.root(following), model, 30, reused=kept, backend=backend)
    goes_on = 0
    for row in states:
        if model.discount[row, first.action[row]] == 0:
            continue  # the game ended; nothing was searched below
        goes_on += 1
        fresh = muzero_policy(
            model.root(following[row : row + 1]), model, int(visits[row]) + 29, backend=backend
        )
        expected = by_path(fresh.tree, 0)
        found = by_path(second.tree, int(row))
        assert found.keys() == expected.keys()
        for path, (count, value) in expected.items():
            assert found[path][0] == count
            assert found[path][1] == pytest.approx(value, abs=1e-5)
    assert goes_on > 20


@both_backends
def test_gumbel_halves_this_searchs_simulations(backend: str, random_model: Make) -> None:
    model = random_model(np.random.default_rng(2), 500, 4)
    states = np.arange(30)
    first = gumbel_muzero_policy(model.root(states), model, 40, backend=backend)
    kept = reuse(first.tree, first.action)
    earlier = np.zeros((30, 4), np.int64)
    row, node = np.nonzero(kept.parent == 0)
    earlier[row, kept.action[row, node]] = kept.visits[row, node]
    root = model.root(model.following[states, first.action])
    second = gumbel_muzero_policy(root, model, 24, reused=kept, backend=backend)
    # 2 rounds of 12: 3 passes over 4 actions, 6 over 2.
    spent = second.visit_counts - earlier
    assert np.all(np.sort(spent, axis=1) == [3, 3, 9, 9])
    assert np.all(spent[np.arange(30), second.action] == 9)
    assert np.all(second.tree.visits[:, 0] == kept.visits[:, 0] + 24)


@pytest.mark.parametrize("policy", [gumbel_muzero_policy, muzero_policy])
def test_both_paths_go_on_alike(policy: Any, random_model: Make) -> None:
    """Also over several moves, with new noise, and where rows start afresh."""
    model = random_model(np.random.default_rng(3), 500, 5, ends=0.1, illegal=0.2)
    noise: dict[str, Any] = {"gumbel_scale": 1.0}
    if policy is muzero_policy:
        noise = {"dirichlet_fraction": 0.25}
    states = np.arange(30)
    kept = dict.fromkeys(BACKENDS)
    for move in range(4):
        outputs = {
            backend: policy(
                model.root(states),
                model,
                20,
                reused=kept[backend],
                generator=np.random.default_rng(move),
                backend=backend,
                **noise,
            )
            for backend in BACKENDS
        }
        plain, compiled = outputs["plain"], outputs["compiled"]
        assert np.array_equal(plain.action, compiled.action)
        assert np.array_equal(plain.visit_counts, compiled.visit_counts)
        np.testing.assert_allclose(plain.value, compiled.value, atol=1e-5)
        action = plain.action.copy()
        following = model.following[states, action]
        ended = model.discount[states, action] == 0
        action[ended] = -1
        kept = {backend: reuse(output.tree, action) for backend, output in outputs.items()}
        assert not np.any(kept["plain"].visits[ended])
        states = following


def test_torch(random_model: Make) -> None:
    model = random_model(np.random.default_rng(4), 500, 4)
    tensors = model.converted(torch.as_tensor)
    expected = reuse(muzero_policy(model.root(np.arange(9)), model, 30).tree, np.full(9, 2))
    output = muzero_policy(tensors.root(torch.arange(9)), tensors, 30, backend="plain")
    kept = reuse(output.tree, torch.full((9,), 2))
    for name in ("visits", "parent", "action", "depth"):
        assert np.array_equal(getattr(kept, name).numpy(), getattr(expected, name)), name


def test_an_action_that_was_never_visited_starts_afresh(random_model: Make) -> None:
    model = random_model(np.random.default_rng(5), 500, 4)
    output = muzero_policy(model.root(np.arange(3)), model, 1)
    other = (output.action + 1) % 4
    kept = reuse(output.tree, other)
    assert not np.any(kept.visits)
    states = model.following[np.arange(3), other]
    resumed = muzero_policy(model.root(states), model, 10, reused=kept)
    fresh = muzero_policy(model.root(states), model, 10)
    assert np.array_equal(resumed.visit_counts, fresh.visit_counts)


def test_errors(random_model: Make) -> None:
    model = random_model(np.random.default_rng(6), 500, 4)
    tree = muzero_policy(model.root(np.arange(3)), model, 5).tree
    with pytest.raises(ValueError, match=r"action to reuse must be in \[-1, 4\)"):
        reuse(tree, np.array([0, 4, 1]))
    kept = reuse(tree, np.array([0, 1, 1]))
    with pytest.raises(ValueError, match=r"reused tree has \[B, A\] = \(3, 4\), the root has"):
        muzero_policy(model.root(np.arange(2)), model, 5, reused=kept)
    tensors = model.converted(torch.as_tensor)
    with pytest.raises(ValueError, match="the reused tree holds ndarray, the root Tensor"):
        muzero_policy(tensors.root(torch.arange(3)), tensors, 5, reused=kept)
