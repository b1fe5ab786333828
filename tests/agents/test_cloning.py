"""The cloning agent: targets against brute force, its loss by hand, what it learns and refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rl_serial.agents.cloning import (
    CloningTrainer,
    PolicyNetworkAgent,
    StartsPolicyAgent,
    policy_loss,
    right_shares,
)
from rl_serial.agents.fitted import probabilities, visited_states
from rl_serial.agents.protocols import decide
from rl_serial.agents.search import SearchAgent, prior_logits
from rl_serial.agents.settings import CloningAgentConfig
from rl_serial.agents.targets import bet_shares, horizon_returns, starts_of
from rl_serial.envs import make_task
from rl_serial.envs.chain import map_state
from rl_serial.errors import UserError
from rl_serial.loading import parse_config
from rl_serial.metrics import tagged
from rl_serial.networks import HorizonHead, build_network, build_trunk
from rl_serial.subjects.chains.subject import ChainSubject

torch.set_num_threads(1)
CPU = torch.device("cpu")
SEEDS = np.arange(40, dtype=np.int64)
TASKS = {
    "bet": make_task("PermutationAutomaton", "Bet", serial_depth=3, start="uniform"),
    "dear": make_task("PointerChase", "Bet", serial_depth=3, think_budget=2, think_cost=0.25),
    "free": make_task("PointerChase", "Bet", serial_depth=3, think_budget=2, think_cost=0.0),
    "steer": make_task("PointerChase", "Steer", serial_depth=4, decisions=2),
    "later": make_task("CellularAutomaton", "Steer", serial_depth=3, start="uniform"),
}
# How many actions are right in some state: THINK for nothing ties with what it leads to.
MOST_RIGHT = {"bet": 1, "dear": 1, "free": 2, "steer": 4, "later": 4}


class Says(nn.Module):
    """A network that gives the same numbers whatever it sees."""

    def __init__(self, numbers: Any) -> None:
        super().__init__()
        self.numbers = nn.Parameter(torch.as_tensor(numbers, dtype=torch.float32))

    def forward(self, observation: Tensor) -> Tensor:
        return self.numbers.repeat(len(observation), *(1 for _ in self.numbers.shape))


def best_return(task: Any, state: Any) -> float:
    """The largest return of all sequences of legal actions from one state."""
    (legal,) = task.legal_actions(state)
    return max(return_of(task, state, action) for action in np.flatnonzero(legal))


def return_of(task: Any, state: Any, action: int) -> float:
    transition = task.step(state, np.array([action]))
    following = 0.0 if transition.terminated[0] else best_return(task, transition.state)
    return float(transition.reward[0]) + following


@pytest.mark.parametrize("name", TASKS)
def test_targets_are_the_actions_that_brute_force_finds_best(name: str) -> None:
    task = TASKS[name]
    state = visited_states(task, SEEDS)
    legal = task.legal_actions(state)
    shares = right_shares(task.action_values(state), legal)
    assert shares.dtype == np.float32
    for row in range(SEEDS.size):
        alone = map_state(lambda array, row=row: array[row : row + 1], state)
        returns = {int(a): return_of(task, alone, a) for a in np.flatnonzero(legal[row])}
        best = [a for a, found in returns.items() if found > max(returns.values()) - 1e-5]
        expected = [1 / len(best) if a in best else 0 for a in range(legal.shape[1])]
        np.testing.assert_allclose(shares[row], expected, atol=1e-6)
    if name in ("bet", "dear", "free"):
        assert (shares > 0).sum(axis=1).max() == MOST_RIGHT[name]


def test_targets_of_all_starts_follow_the_table() -> None:
    """Node after node in a dictionary: BET from where k steps lead to a node that pays."""
    task = make_task("PointerChase", "Bet", serial_depth=4, nodes=6, start="uniform")
    state = visited_states(task, SEEDS)
    shares = bet_shares(horizon_returns(starts_of(task), task.chain_state(state)))
    assert shares.shape == (40, 6, 4)
    for row, (table, bit) in enumerate(zip(state.chain.successor, state.chain.bit, strict=True)):
        follow = dict(enumerate(table.tolist()))
        for node in range(6):
            place = node
            for k in range(4):
                place = follow[place]
                assert shares[row, node, k] == ((place >= 3) == bool(bit))


def test_a_payoff_of_nothing_is_a_tie() -> None:
    for array in (np.asarray, torch.as_tensor):
        shares = bet_shares(array(np.array([[-0.5, 0.0, 1e-9, 2e-3]], dtype=np.float32)))
        assert np.asarray(shares).tolist() == [[0.0, 0.5, 0.5, 1.0]]
        assert str(shares.dtype).endswith("float32")


def loss_of(trainer: CloningTrainer, state: Any, seeds: np.ndarray[Any, Any]) -> torch.Tensor:
    lesson = trainer.lesson(state, seeds, lambda _: pytest.fail("leans on no network"))
    return trainer.loss(trainer.network, *lesson.on(CPU))


def test_the_loss_is_the_cross_entropy_over_legal_actions() -> None:
    """Worked out state by state from the definition, in double precision."""
    task = TASKS["free"]
    states = [task.initial(SEEDS)]
    for _ in range(2):  # until no THINK is left
        states.append(task.step(states[-1], np.full_like(SEEDS, 2)).state)
    state = map_state(lambda *arrays: np.concatenate(arrays), *states)
    logits = np.array([0.3, -1.2, 2.0])
    losses = []
    for legal, values in zip(task.legal_actions(state), task.action_values(state), strict=True):
        allowed = [a for a in range(3) if legal[a]]
        best = [a for a in allowed if values[a] == max(values[b] for b in allowed)]
        total = sum(math.exp(logits[a]) for a in allowed)
        losses.append(-sum(math.log(math.exp(logits[a]) / total) for a in best) / len(best))
    # PASS or BET, each with THINK and, where none is left, alone.
    assert len({round(loss, 6) for loss in losses}) == 4
    config = CloningAgentConfig(kind="cloning", updates=1)
    network = Says(logits)
    found = loss_of(CloningTrainer(task, config, network, 0, CPU), state, np.tile(SEEDS, 3))
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-5)
    found.backward()  # type: ignore[no-untyped-call]
    assert network.numbers.grad is not None
    assert network.numbers.grad.isfinite().all()


def test_the_loss_of_all_starts_leaves_out_what_is_not_held() -> None:
    """Two letters left of four: horizons 1 and 2 of five points, word by word."""
    task = make_task("PermutationAutomaton", "Bet", serial_depth=4)
    seeds = SEEDS[:4]
    state = task.at_remaining(seeds, np.full_like(seeds, 2))
    logits = np.random.default_rng(0).normal(size=(5, 4))
    config = CloningAgentConfig(kind="cloning", starts="all", updates=1)
    found = loss_of(CloningTrainer(task, config, Says(logits), 0, CPU), state, seeds)
    losses = []
    for seed in seeds:
        for point in range(5):
            for k in (1, 2):
                # What the point pays k letters later: the automaton itself, put there.
                chain = map_state(lambda array, s=seed: array[s : s + 1], state.chain)
                chain = type(chain)(**(vars(chain) | {"point": np.array([point])}))
                for _ in range(k):
                    chain = task.chain.advance(chain)
                bets = task.chain.payoff(chain)[0] > 0
                chance = 1 / (1 + math.exp(-logits[point, k - 1]))
                losses.append(-math.log(chance if bets else 1 - chance))
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_perfect_policy_has_the_entropy_of_its_ties_as_loss() -> None:
    shares = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    legal = torch.tensor([[True, True, True], [True, False, False]])
    logits = torch.tensor([[30.0, 30.0, -30.0], [0.0, 9.0, 9.0]])
    assert policy_loss(logits, shares, legal).item() == pytest.approx(math.log(2) / 2)


def test_probabilities_are_a_softmax_over_legal_actions() -> None:
    logits = np.log(np.array([[1.0, 2.0, 5.0]], dtype=np.float32))
    legal = np.array([[True, True, False]])
    for array in (np.asarray, torch.as_tensor):
        found = probabilities(array(logits), array(legal))
        np.testing.assert_allclose(np.asarray(found), [[1 / 3, 2 / 3, 0]], rtol=1e-6)
    large = probabilities(np.array([[1e4, -1e4]]), np.array([[True, True]]))
    np.testing.assert_array_equal(large, [[1, 0]])


def test_the_agent_bets_by_the_logit_of_its_own_start_and_horizon() -> None:
    task = make_task("PointerChase", "Bet", serial_depth=4, nodes=6, start="uniform")
    logits = np.random.default_rng(1).normal(size=(6, 4))
    state = task.initial(SEEDS)
    judged = StartsPolicyAgent(task, Says(logits), CPU).judge(state)
    own = logits[state.chain.pointer, state.chain.remaining - 1]
    np.testing.assert_allclose(judged.preferences[:, 1], 1 / (1 + np.exp(-own)), rtol=1e-5)
    assert judged.values is None
    assert decide(judged, task.legal_actions(state)).tolist() == (own > 0).tolist()
    tensors = map_state(torch.as_tensor, state)
    judged_tensors = StartsPolicyAgent(task, Says(logits), CPU).judge(tensors)
    np.testing.assert_allclose(judged_tensors.preferences.numpy(), judged.preferences, rtol=1e-6)


def test_it_has_priors_and_no_values_for_a_search() -> None:
    task = TASKS["steer"]
    agent = PolicyNetworkAgent(task, Says([0.0, 1.0, 2.0, 3.0]), CPU)
    state = task.initial(SEEDS[:2])
    logits = prior_logits(agent, agent.judge(state))
    np.testing.assert_allclose(np.diff(logits, axis=1), np.ones((2, 3)), rtol=1e-5)
    with pytest.raises(ValueError, match="PolicyNetworkAgent has no values to search with"):
        SearchAgent(task, agent, None, simulations=2).judge(state)  # type: ignore[arg-type]


LEARNED: dict[str, dict[str, Any]] = {
    "own": {
        "env": {"id": "rl_serial/PermutationAutomatonBet-v0", "group": "z5", "serial_depth": 3},
        "network": {"kind": "residual", "depth": 2, "width": 64},
        "agent": {"updates": 300, "batch_size": 256, "learning_rate": 5e-3},
    },
    "steer": {
        "env": {
            "id": "rl_serial/PermutationAutomatonSteer-v0",
            "group": "z5",
            "serial_depth": 2,
            "decisions": 1,
        },
        "network": {"kind": "residual", "depth": 2, "width": 64},
        "agent": {"updates": 300, "batch_size": 256, "learning_rate": 5e-3},
    },
    "all": {
        "env": {"id": "rl_serial/PointerChaseBet-v0", "serial_depth": 2, "nodes": 4},
        "network": {"kind": "transformer", "layers": 2, "width": 24},
        "agent": {
            "starts": "all",
            "head": "per_token",
            "readout": "layerwise",
            "updates": 250,
            "batch_size": 64,
            "learning_rate": 5e-3,
        },
    },
}


@pytest.mark.parametrize("name", LEARNED)
def test_the_optimal_policy_is_learned(name: str) -> None:
    """Easy worlds: nearly every decision is right, and more than the floor's."""
    data = {**LEARNED[name], "evaluation": {"instances": 256, "per_remaining": 256}}
    data |= {
        "env": data["env"] | {"start": "uniform"},
        "agent": {"kind": "cloning"} | data["agent"],
    }
    subject = ChainSubject(parse_config(data, "test"))
    trainer = subject.trainer(CPU, lambda *_: None)
    assert set(trainer.networks) == {"policy"}
    states = data["agent"]["updates"] * data["agent"]["batch_size"]
    assert trainer.instances == states * (4 if name == "all" else 1)
    trainer.train(lambda: None)
    examine = subject.examiner()
    found = examine(trainer.agent)
    assert found.score > 0.9
    metrics = tagged(found.measurements())
    assert "eval/serial_reach" in metrics
    assert "value/rmse" not in metrics
    # As many instances hold every state of these small worlds, so the floor is one of few.
    floor = examine.floor(64, seed=0).highest.reach
    assert found.serial_reach > floor + 0.3


@pytest.mark.parametrize(
    ("env", "agent", "message"),
    [
        ("PointerChaseSteer", {"starts": "all"}, "agent.starts: all needs a Bet environment"),
        ("CircuitBet", {"starts": "all"}, "agent.starts: all needs a chain that says which starts"),
        (
            "PermutationAutomatonBet",
            {"starts": "all", "head": "per_token"},
            "agent.head: per_token needs starts that are tokens",
        ),
        ("PointerChaseBet", {"head": "per_token"}, "head: only starts all has it, not own"),
        ("PointerChaseBet", {"readout": "layerwise"}, "readout: only starts all has it, not own"),
        ("PointerChaseBet", {"starts": "some"}, "agent.starts: must be 'own' or 'all'"),
    ],
)
def test_what_does_not_go_together_is_refused(
    env: str, agent: dict[str, Any], message: str
) -> None:
    data = {
        "env": {"id": f"rl_serial/{env}-v0"},
        "network": {"kind": "transformer", "layers": 1, "width": 8},
        "agent": {"kind": "cloning"} | agent,
    }
    with pytest.raises(UserError) as refused:
        parse_config(data, "run.yaml")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluation": {"simulations": [2]}}, "evaluation.simulations: the agent cloning has no"),
        (
            {"policy_network": {"width": 8}},
            "policy_network: the agent cloning has no policy_network",
        ),
        (
            {"env": {"id": "rl_serial/PointerChaseBet-v0", "think_budget": 1}},
            "agent.starts: all needs a Bet environment with think_budget 0",
        ),
        (
            {
                "env": {"id": "rl_serial/CellularAutomatonSteer-v0", "decisions": 8},
                "agent": {"kind": "cloning"},
            },
            "env.decisions: exact action values would enumerate",
        ),
    ],
)
def test_keys_that_it_has_no_use_for_are_refused(changes: dict[str, Any], message: str) -> None:
    data = {
        "env": {"id": "rl_serial/PointerChaseBet-v0"},
        "network": {"width": 8},
        "agent": {"kind": "cloning", "starts": "all"},
    }
    with pytest.raises(UserError) as refused:
        parse_config(data | changes, "run.yaml")
    assert message in str(refused.value)


def test_rules_on_torch_give_the_same_targets() -> None:
    """What a GPU would compute."""
    for task in TASKS.values():
        shares = []
        for seeds in (SEEDS, torch.as_tensor(SEEDS)):
            state = visited_states(task, seeds)
            shares.append(right_shares(task.action_values(state), task.legal_actions(state)))
        np.testing.assert_array_equal(shares[0], shares[1].numpy())


@torch.fx.experimental._config.patch(meta_nonzero_assume_all_nonzero=True)
@pytest.mark.parametrize("starts", ["own", "all"])
def test_rules_of_numpy_only_chains_stay_numpy_while_the_network_is_elsewhere(starts: Any) -> None:
    """The meta device stands for a GPU."""
    pytest.importorskip("mujoco")
    meta = torch.device("meta")
    config = CloningAgentConfig(kind="cloning", starts=starts, updates=10, batch_size=8)
    task = make_task("ManyBody", "Bet", serial_depth=2)
    trunk = build_trunk(kind="transformer", layout=task.layout, depth=6, width=8)
    network = build_network(trunk, HorizonHead(4, 2, "per_token") if starts == "all" else 2)
    trainer = CloningTrainer(task, config, network.to(meta), seed=0, device=meta)
    trainer._update()
    assert trainer.step == 1
