"""mctx's golden trees, replayed.

The wheel of mctx holds four searches as JSON. Every node stores its prior, raw value and reward, so
a tree is the table of its own model; a search that leaves the tree asks for what is not there.
Expected are the same expansions in the same order, the same visits, and the same values.

Rows 1 and 2 of the batch have other masks, as in mctx's own test: row 0 must not notice.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rl_serial.planning import (
    ByParentAndSiblings,
    MinMax,
    MixValue,
    RecurrentOutput,
    Root,
    gumbel_muzero_policy,
    muzero_policy,
)

NAMES = ("gumbel_muzero", "gumbel_muzero_reward", "muzero", "muzero_qtransform")
BACKENDS = ("plain numpy", "plain torch", "compiled numpy", "compiled torch")


@dataclass(frozen=True)
class Golden:
    algorithm: str
    config: dict[str, Any]
    discount: float
    parent: np.ndarray  # [N] and so on
    action: np.ndarray
    visits: np.ndarray
    value: np.ndarray
    raw_value: np.ndarray
    reward: np.ndarray
    prior_logits: np.ndarray  # [N, A]


def load(name: str) -> Golden:
    spec = importlib.util.find_spec("mctx")
    assert spec is not None, "make setup installs mctx without its dependencies"
    [folder] = spec.submodule_search_locations or []
    file = Path(folder) / "_src/tests/test_data" / f"{name}_tree.json"
    stored = json.loads(file.read_text())
    nodes: dict[int, tuple[int, dict[str, Any]]] = {}

    def collect(node: dict[str, Any], parent: int) -> None:
        nodes[node["evaluation_index"]] = parent, node
        for child in node["child_stats"]:
            if "evaluation_index" in child:
                collect(child, node["evaluation_index"])

    collect(stored["tree"], -1)
    parents, rows = zip(*(nodes[index] for index in range(len(nodes))), strict=True)

    def column(key: str, default: float) -> np.ndarray:
        return np.array([row.get(key, default) for row in rows])

    priors = [[child["prior"] for child in row["child_stats"]] for row in rows]
    return Golden(
        algorithm=stored["algorithm"],
        config=stored["algorithm_config"],
        discount=stored["env_config"]["discount"],
        parent=np.array(parents),
        action=column("action", -1),
        visits=column("visit", 0),
        value=column("value_view", 0),
        raw_value=column("raw_value_view", 0).astype(np.float32),
        reward=column("reward", 0).astype(np.float32),
        prior_logits=np.log(np.array(priors)).astype(np.float32),
    )


def settings(golden: Golden) -> dict[str, Any]:
    """mctx's names of the options in ours."""
    config = dict(golden.config)
    numbers = config.pop("qtransform_kwargs")
    transforms: dict[str, Any] = {
        "qtransform_completed_by_mix_value": lambda: MixValue(
            value_scale=numbers["value_scale"],
            maxvisit_init=numbers["maxvisit_init"],
            rescale=numbers["rescale_values"],
        ),
        "qtransform_by_min_max": lambda: MinMax(numbers["min_value"], numbers["max_value"]),
        "qtransform_by_parent_and_siblings": ByParentAndSiblings,
    }
    config["qtransform"] = transforms[config["qtransform"]]()
    if "max_num_considered_actions" in config:
        config["max_considered"] = config.pop("max_num_considered_actions")
    return config


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_replay(name: str, backend: str) -> None:
    golden = load(name)
    num_nodes, num_actions = golden.prior_logits.shape
    path, library = backend.split()
    convert = {"numpy": np.asarray, "torch": torch.as_tensor}[library]
    child = {(p, a): i for i, (p, a) in enumerate(zip(golden.parent, golden.action, strict=True))}

    def recurrent_fn(action: Any, node: Any) -> tuple[RecurrentOutput, Any]:
        following = []
        for row, (n, a) in enumerate(zip(node.tolist(), action.tolist(), strict=True)):
            if row == 0:
                assert (n, a) in child, "row 0 left the golden tree"
            following.append(child.get((n, a), 0))
        index = np.array(following)
        output = RecurrentOutput(
            reward=convert(golden.reward[index]),
            discount=convert(np.full(3, golden.discount, np.float32)),
            prior_logits=convert(golden.prior_logits[index]),
            value=convert(golden.raw_value[index]),
        )
        return output, convert(index)

    legal = np.ones((3, num_actions), bool)
    legal[1, 1:] = False
    legal[2, 2:] = False
    root = Root(
        prior_logits=convert(np.tile(golden.prior_logits[0], (3, 1))),
        value=convert(np.tile(golden.raw_value[0], 3)),
        embedding=convert(np.zeros(3, np.int64)),
        legal=convert(legal),
    )
    policy: Any = gumbel_muzero_policy if golden.algorithm == "gumbel_muzero" else muzero_policy
    output = policy(root, recurrent_fn, num_nodes - 1, backend=path, **settings(golden))

    tree = output.tree
    assert np.array_equal(np.asarray(tree.parent[0]), golden.parent)
    assert np.array_equal(np.asarray(tree.action[0]), golden.action)
    assert np.array_equal(np.asarray(tree.visits[0]), golden.visits)
    np.testing.assert_allclose(np.asarray(tree.value[0]), golden.value, rtol=0, atol=1e-5)
    np.testing.assert_allclose(float(output.value[0]), golden.value[0], rtol=0, atol=1e-5)
