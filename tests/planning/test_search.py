"""What a search finds: against enumeration, closed forms and arguments from the papers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.planning import (
    MinMax,
    MixValue,
    PolicyOutput,
    RecurrentOutput,
    Root,
    gumbel_muzero_policy,
    max_backup,
    muzero_policy,
)

POLICIES = (gumbel_muzero_policy, muzero_policy)
BACKENDS = ("plain", "compiled")
Make = Callable[..., Any]

both_policies = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
both_backends = pytest.mark.parametrize("backend", BACKENDS)


def bandit(qvalues: list[float], prior: list[float], batch: int) -> tuple[Root, Any]:
    """One decision: the action pays its value and ends the episode."""
    logits = np.tile(np.log(np.array(prior, np.float32)), (batch, 1))
    zeros = np.zeros(batch, np.float32)
    payment = np.array(qvalues, np.float32)

    def recurrent_fn(action: Any, embedding: Any) -> Any:
        return RecurrentOutput(payment[action], zeros, np.zeros_like(logits), zeros), embedding

    return Root(logits, zeros, zeros), recurrent_fn


@both_backends
def test_danihelkas_counterexample(backend: str) -> None:
    """q = (0, 0, 1), π = (.5, .3, .2): searching the two likeliest actions is worse than π.

    Sampling two without replacement and taking the better one finds the third action with
    probability .2 + .5 · .2/.5 + .3 · .2/.7 = 0.4857.
    """
    root, recurrent_fn = bandit([0, 0, 1], [0.5, 0.3, 0.2], 20_000)
    output = gumbel_muzero_policy(
        root,
        recurrent_fn,
        2,
        max_considered=2,
        gumbel_scale=1.0,
        generator=np.random.default_rng(0),
        qtransform=MixValue(value_scale=1.0, rescale=False),
        backend=backend,
    )
    found = float(np.mean(output.action == 2))
    assert found == pytest.approx(0.2 + 0.2 + 0.3 * 0.2 / 0.7, abs=4 * 0.5 / 20_000**0.5)
    assert found > 0.2
    top_two = gumbel_muzero_policy(root, recurrent_fn, 2, max_considered=2, backend=backend)
    assert not np.any(top_two.action == 2)


def exact_values(model: Any, state: int) -> list[float]:
    """Q* of every legal action by recursion to the ends."""
    found = []
    for action in range(model.reward.shape[1]):
        value = float(model.reward[state, action])
        if model.discount[state, action] != 0:
            below = exact_values(model, int(model.following[state, action]))
            value += float(model.discount[state, action]) * max(below)
        found.append(value)
    return found


def layered_model(table_model: Any, discount: float, depth: int, num_actions: int) -> Any:
    """A full tree of ``depth`` decisions, every number drawn, ends after the last."""
    generator = np.random.default_rng(7)
    inner = sum(num_actions**d for d in range(depth))
    num_states = inner + 1  # what ends leads to one more state
    following = np.arange(num_states)[:, None] * num_actions + 1 + np.arange(num_actions)
    ends = following >= inner
    shape = following.shape
    return table_model(
        following=np.minimum(following, inner),
        reward=generator.uniform(-1, 1, shape).astype(np.float32),
        discount=np.where(ends, 0, discount).astype(np.float32),
        prior_logits=generator.normal(size=shape).astype(np.float32),
        value=generator.normal(size=num_states).astype(np.float32),
    )


@both_backends
@both_policies
@pytest.mark.parametrize("discount", [0.9, -1.0])
def test_full_width_search_finds_the_exact_values(
    policy: Any, backend: str, discount: float, table_model: Any
) -> None:
    """Where the values count for nothing the search spreads out, and the tree is all of the model.

    Dynamic programming over it is then exact, whatever the network says.
    """
    model = layered_model(table_model, discount, depth=4, num_actions=3)
    uniform = type(model)(**{**vars(model), "prior_logits": np.zeros_like(model.prior_logits)})
    blind: Any = MinMax(-1e6, 1e6)
    if policy is gumbel_muzero_policy:
        blind = MixValue(value_scale=0.0, rescale=False)
    root = uniform.root(np.zeros(1, np.int64))
    output = policy(root, uniform, 1000, qtransform=blind, backend=backend)
    assert np.count_nonzero(output.tree.visits) == 1 + 3 + 9 + 27 + 81
    exact = np.array(exact_values(model, 0))
    found = max_backup(output.tree)
    np.testing.assert_allclose(found.qvalues[0], exact, atol=1e-6)
    np.testing.assert_allclose(found.value[0], exact.max(), atol=1e-6)


@both_backends
@pytest.mark.parametrize("discount", [0.9, -1.0])
def test_a_long_search_comes_to_the_exact_values(
    backend: str, discount: float, table_model: Any
) -> None:
    """PUCT, from every state, under a network that knows nothing."""
    model = layered_model(table_model, discount, depth=4, num_actions=3)
    model = type(model)(**{**vars(model), "prior_logits": np.zeros_like(model.prior_logits)})
    states = np.arange(40)  # from the root to the last decisions
    exact = np.array([exact_values(model, state) for state in states])
    output = muzero_policy(model.root(states), model, 2000, backend=backend)
    assert output.action.tolist() == exact.argmax(axis=1).tolist()
    # The mean of returns includes some exploration.
    best = output.qvalues[states, output.action]
    np.testing.assert_allclose(best, exact.max(axis=1), atol=0.1)


@both_backends
def test_exact_values_as_the_network_never_lose(backend: str, table_model: Any) -> None:
    """With V* at the leaves Gumbel's search needs as many simulations as there are actions."""
    model = layered_model(table_model, 0.9, depth=4, num_actions=3)
    states = np.arange(40)
    exact = np.array([exact_values(model, state) for state in states])
    perfect = type(model)(
        **{
            **vars(model),
            "value": np.append(exact.max(axis=1), 0).astype(np.float32),
            "prior_logits": np.zeros_like(model.prior_logits),
        }
    )
    output = gumbel_muzero_policy(perfect.root(states), perfect, 3, backend=backend)
    assert output.action.tolist() == exact.argmax(axis=1).tolist()


@both_backends
@both_policies
def test_no_simulations_is_the_prior(policy: Any, backend: str) -> None:
    logits = np.log(np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]], np.float32))
    legal = np.array([[True, True, True], [False, True, True]])
    root = Root(logits, np.array([0.25, -1.0], np.float32), np.zeros(2), legal)
    output = policy(root, None, 0, backend=backend)
    assert output.action.tolist() == [1, 2]
    np.testing.assert_allclose(output.action_weights, [[0.2, 0.5, 0.3], [0, 0.25, 0.75]], atol=1e-6)
    assert output.value.tolist() == [0.25, -1.0]
    np.testing.assert_allclose(output.qvalues, [[0.25] * 3, [-1.0] * 3])
    assert not np.any(output.visit_counts)
    assert output.depth.tolist() == [0, 0]
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert output.root_entropy[1] == pytest.approx(entropy, abs=1e-6)


@both_backends
@both_policies
def test_other_rows_do_not_change_a_row(policy: Any, backend: str, random_model: Make) -> None:
    """The same state in rows 0 and 3, with other states and masks around it, and alone."""
    model = random_model(np.random.default_rng(2), 500, 5, ends=0.1, illegal=0.3)
    together = policy(model.root(np.array([11, 5, 6, 11, 7])), model, 40, backend=backend)
    alone = policy(model.root(np.array([11])), model, 40, backend=backend)
    for name in ("action", "action_weights", "visit_counts", "value", "qvalues", "depth"):
        rows = np.asarray(getattr(together, name))
        assert np.array_equal(rows[0], rows[3]), name
        np.testing.assert_allclose(rows[0], np.asarray(getattr(alone, name))[0], rtol=1e-6)
    for name in ("visits", "parent", "action", "value"):
        rows = np.asarray(getattr(together.tree, name))
        np.testing.assert_allclose(rows[0], np.asarray(getattr(alone.tree, name))[0], rtol=1e-6)


@both_backends
@both_policies
def test_illegal_actions_are_never_taken(policy: Any, backend: str, random_model: Make) -> None:
    model = random_model(np.random.default_rng(3), 300, 6, illegal=0.6)
    states = np.arange(50)
    output = policy(model.root(states), model, 60, backend=backend)
    tree = output.tree
    assert np.all(model.legal[states, output.action])
    assert not np.any(output.visit_counts[~model.legal[states]])
    assert not np.any(output.action_weights[~model.legal[states]])
    row, node = np.nonzero(tree.parent >= 0)
    parent_state = tree.embedding.state[row, tree.parent[row, node]]
    assert np.all(model.legal[parent_state, tree.action[row, node]])


@both_backends
@both_policies
@pytest.mark.parametrize("max_depth", [1, 2, 3])
def test_max_depth(policy: Any, backend: str, max_depth: int, random_model: Make) -> None:
    model = random_model(np.random.default_rng(4), 300, 3)
    output = policy(model.root(np.arange(20)), model, 60, backend=backend, max_depth=max_depth)
    assert np.all(output.depth == max_depth)
    assert np.all(output.tree.visits[:, 0] == 61)
    # 3 + 9 + 27 nodes at most; what is left over goes to nodes that are there.
    assert np.all(np.count_nonzero(output.tree.visits, axis=1) <= 1 + [0, 3, 12, 39][max_depth])


@both_backends
@both_policies
def test_a_root_whose_every_action_ends(policy: Any, backend: str) -> None:
    """The tree has the root's actions and nothing below, and their values are the rewards."""
    root, recurrent_fn = bandit([0.5, -1.0, 0.75], [0.3, 0.4, 0.3], 2)
    output = policy(root, recurrent_fn, 30, backend=backend)
    assert output.depth.tolist() == [1, 1]
    assert output.action.tolist() == [2, 2]
    np.testing.assert_allclose(output.qvalues, [[0.5, -1.0, 0.75]] * 2)
    assert output.visit_counts.sum(axis=1).tolist() == [30, 30]
    # The mean return, with the root's own value 0 once.
    mean = (output.visit_counts * output.qvalues).sum(axis=1) / 31
    np.testing.assert_allclose(output.value, mean, atol=1e-6)


@both_policies
def test_two_players(policy: Any, table_model: Any) -> None:
    """Taking 0.3 now beats a move after which the opponent can take 1."""
    model = table_model(
        following=np.array([[2, 1], [2, 2], [2, 2]]),
        reward=np.array([[0.3, 0.0], [1.0, -1.0], [0.0, 0.0]], np.float32),
        discount=np.array([[0, -1], [0, 0], [0, 0]], np.float32),
        prior_logits=np.zeros((3, 2), np.float32),
        value=np.zeros(3, np.float32),
    )
    output = policy(model.root(np.array([0])), model, 100)
    assert output.action.tolist() == [0]
    np.testing.assert_allclose(max_backup(output.tree).qvalues, [[0.3, -1.0]])


@both_policies
def test_numpy_and_torch_agree(policy: Any, random_model: Make) -> None:
    model = random_model(np.random.default_rng(5), 300, 4, ends=0.1, illegal=0.2)
    states = np.arange(30)
    expected = policy(model.root(states), model, 40, backend="compiled")
    tensors = model.converted(torch.as_tensor)
    for backend in ("compiled", "auto"):
        output = policy(tensors.root(torch.as_tensor(states)), tensors, 40, backend=backend)
        for name, array in vars(expected).items():
            if name != "tree":
                found = getattr(output, name)
                assert isinstance(found, torch.Tensor)
                np.testing.assert_allclose(found.numpy(), array, rtol=1e-5, atol=1e-6)


def outcome(output: PolicyOutput) -> list[Any]:
    return [np.asarray(x).tolist() for x in (output.action, output.action_weights, output.value)]


@both_backends
@both_policies
def test_deterministic(policy: Any, backend: str, random_model: Make) -> None:
    model = random_model(np.random.default_rng(6), 300, 4)
    root = model.root(np.arange(30))
    first, second = (policy(root, model, 30, backend=backend) for _ in range(2))
    assert outcome(first) == outcome(second)


@both_policies
def test_searches_leave_the_global_generators_alone(policy: Any, random_model: Make) -> None:
    model = random_model(np.random.default_rng(6), 300, 4)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index, union-attr]  # noqa: NPY002
    noise = {"gumbel_scale": 1.0} if policy is gumbel_muzero_policy else {"temperature": 1.0}
    policy(model.root(np.arange(30)), model, 5, generator=np.random.default_rng(0), **noise)
    after = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index, union-attr]  # noqa: NPY002
    assert before == after


@contextmanager
def no_copies_to_the_host() -> Iterator[None]:
    """Whatever takes a tensor's numbers to the host as an array raises."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a tensor was copied to the host")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("numpy", "__array__", "tolist", "cpu"):
            patch.setattr(torch.Tensor, name, refuse)
        yield


@both_policies
def test_the_plain_search_keeps_tensors_where_they_are(policy: Any, random_model: Make) -> None:
    model = random_model(np.random.default_rng(5), 300, 4, ends=0.1, illegal=0.2)
    tensors = model.converted(torch.as_tensor)
    root = tensors.root(torch.arange(30))
    with no_copies_to_the_host():
        output = policy(root, tensors, 20, backend="plain")
    assert isinstance(output.tree.visits, torch.Tensor)


@both_backends
def test_gradients_are_not_followed(backend: str) -> None:
    parameter = torch.ones(1, requires_grad=True)
    zeros = torch.zeros(2)

    def recurrent_fn(action: Any, embedding: Any) -> Any:
        logits = parameter * torch.zeros(2, 3)
        assert not embedding.requires_grad
        output = RecurrentOutput(parameter * zeros, zeros + 0.9, logits, parameter * zeros)
        return output, parameter * embedding

    root = Root(parameter * torch.zeros(2, 3), parameter * zeros, parameter * zeros)
    output = gumbel_muzero_policy(root, recurrent_fn, 5, backend=backend)
    assert not output.value.requires_grad
    assert not output.tree.embedding.requires_grad


@both_backends
def test_embeddings_of_any_structure(backend: str, random_model: Make) -> None:
    """A dict of a tuple and an object array comes to the model as it was given."""
    states = np.array(["a", "b", "c"], dtype=object)
    seen: list[Any] = []

    def recurrent_fn(action: Any, embedding: Any) -> Any:
        seen.append(embedding)
        zeros = np.zeros(3, np.float32)
        longer = np.array(
            [f"{s}{a}" for s, a in zip(embedding["name"], action, strict=True)], object
        )
        following = {
            "name": longer,
            "numbers": (embedding["numbers"][0] + 1, action[:, None]),
            "nothing": None,
        }
        return RecurrentOutput(zeros, zeros + 1, np.zeros((3, 2), np.float32), zeros), following

    numbers = (np.zeros((3, 2, 2)), np.zeros((3, 1), np.int64))
    root = Root(
        np.zeros((3, 2)), np.zeros(3), {"name": states, "numbers": numbers, "nothing": None}
    )
    output = gumbel_muzero_policy(root, recurrent_fn, 6, backend=backend)
    for embedding in seen:
        depth = [len(name) - 1 for name in embedding["name"]]
        assert embedding["numbers"][0][:, 0, 0].tolist() == depth
    assert output.tree.embedding["name"].shape == (3, 7)
    assert output.tree.embedding["name"][0, 0] == "a"
