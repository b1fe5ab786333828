"""Tree search: this package against mctx (JAX on the CPU) and OpenSpiel's MCTS.

Every row is one search by both: the same batch B, actions A, simulations n and network (a small
multilayer perceptron in NumPy, or in JAX). Ours keeps the trees' memory from search to search, as
the agents do; beside it stands what fresh memory costs. mctx runs in two processes of its own, one
pinned to a core and one not, and its better time counts. The contenders take turns within a round,
and medians over rounds are compared; a time is that of one search over n, so of one simulation in
all B trees.

    rl-serial bench search [--rounds 7] [--peers .venv-peers/bin/python] [--quick]

The peers live in an environment of their own, which `make .venv-peers/installed` sets up.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = 32
GROWTH = {
    "B": [(1, 25, 32), (16, 25, 32), (64, 25, 32), (256, 25, 32), (1024, 25, 32)],
    "n": [(64, 25, 8), (64, 25, 32), (64, 25, 128), (64, 25, 512)],
    "A": [(64, 4, 32), (64, 25, 32), (64, 100, 32), (64, 400, 32)],
}
TARGETS = {
    ("gumbel", 64, 25, 32): 1.5,
    ("gumbel", 1024, 25, 32): 2.5,
    ("gumbel", 64, 25, 128): 4.0,
    ("puct", 64, 25, 32): 5.0,
    ("puct", 1024, 25, 32): 5.0,
    ("puct", 64, 25, 128): 5.0,
}
BESIDE_A_NEIGHBOUR = {("gumbel", 1024, 25, 32): 1.5}
"""The same with something else on one core."""
LIMIT = "memory of the trees, and the network between two simulations"
HOW_TO_INSTALL = (
    "install the peers into an environment of their own:\n"
    "    make .venv-peers/installed\n"
    "or name a Python that has mctx, jax and open_spiel: --peers PYTHON"
)


def weights(num_actions: int) -> dict[str, Any]:
    """The network's numbers, the same for every contender."""
    generator = np.random.default_rng(0)

    def drawn(rows: int, columns: int, scale: float) -> Any:
        return (scale * generator.normal(size=(rows, columns))).astype(np.float32)

    return {
        "hidden": drawn(HIDDEN, HIDDEN, HIDDEN**-0.5),
        "action": drawn(num_actions, HIDDEN, 1.0),
        "second": drawn(HIDDEN, HIDDEN, (2 / HIDDEN) ** 0.5),
        "head": drawn(HIDDEN, num_actions + 2, HIDDEN**-0.5),
    }


def root_numbers(batch: int, num_actions: int) -> tuple[Any, Any, Any]:
    """Prior logits, values and embeddings of the roots."""
    generator = np.random.default_rng(1)
    shapes = ((batch, num_actions), (batch,), (batch, HIDDEN))
    logits, value, embedding = (generator.normal(size=s).astype(np.float32) for s in shapes)
    return logits, value, embedding


Search = Callable[[], Any]


def own_model(batch: int, num_actions: int) -> Callable[[Any, Any], Any]:
    """The network as this package's model, in NumPy."""
    from rl_serial.planning import RecurrentOutput

    w = weights(num_actions)
    discount = np.full(batch, 0.99, np.float32)

    def recurrent_fn(action: Any, embedding: Any) -> Any:
        h = embedding @ w["hidden"]
        h += w["action"][action]
        np.maximum(h, 0, out=h)
        h = h @ w["second"]
        np.maximum(h, 0, out=h)
        out = h @ w["head"]
        logits, value, reward = out[:, :-2], out[:, -2], out[:, -1]
        return RecurrentOutput(reward, discount, logits, value), h

    return recurrent_fn


def own_network(batch: int, num_actions: int) -> Search:
    """One call of the network alone."""
    recurrent_fn = own_model(batch, num_actions)
    embedding = root_numbers(batch, num_actions)[2]
    action = np.arange(batch) % num_actions
    return lambda: recurrent_fn(action, embedding)


def own_search(algorithm: str, batch: int, num_actions: int, n: int, kept: bool) -> Search:
    """A search by this package, whose memory is kept from search to search or is fresh in each."""
    from rl_serial.planning import Memory, Root, gumbel_muzero_policy, muzero_policy

    recurrent_fn = own_model(batch, num_actions)
    root = Root(*root_numbers(batch, num_actions))
    policy: Any = gumbel_muzero_policy if algorithm == "gumbel" else muzero_policy
    memory = Memory() if kept else None
    return lambda: policy(root, recurrent_fn, n, memory=memory).action


def mctx_search(algorithm: str, batch: int, num_actions: int, n: int) -> Search:
    """The same by mctx; the first call compiles."""
    import jax
    import mctx
    from jax import numpy as jnp

    w = {name: jnp.asarray(array) for name, array in weights(num_actions).items()}

    def recurrent_fn(w: Any, key: Any, action: Any, embedding: Any) -> Any:
        h = jax.nn.relu(embedding @ w["hidden"] + w["action"][action])
        h = jax.nn.relu(h @ w["second"])
        out = h @ w["head"]
        step = mctx.RecurrentFnOutput(
            reward=out[:, -1],
            discount=jnp.full(batch, 0.99, jnp.float32),
            prior_logits=out[:, :-2],
            value=out[:, -2],
        )
        return step, h

    def run(w: Any, key: Any, logits: Any, value: Any, embedding: Any) -> Any:
        root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=embedding)
        common = {"params": w, "rng_key": key, "root": root, "recurrent_fn": recurrent_fn}
        if algorithm == "gumbel":
            output = mctx.gumbel_muzero_policy(**common, num_simulations=n, gumbel_scale=0.0)
        else:
            output = mctx.muzero_policy(
                **common, num_simulations=n, dirichlet_fraction=0.0, temperature=0.0
            )
        return output.action

    compiled = jax.jit(run)
    key = jax.random.PRNGKey(0)
    root = [jnp.asarray(array) for array in root_numbers(batch, num_actions)]
    return lambda: np.asarray(compiled(w, key, *root))


OWN_GAME = "own"


def game_search(contender: str, game: str, n: int) -> Search:
    """One tree on OpenSpiel's rules of a game, no network: uniform prior, value 0.

    ``cpp`` is OpenSpiel's compiled bot, which has no such evaluation and plays one random game out
    at each leaf instead.
    """
    import pyspiel

    rules = pyspiel.load_game(game)
    start = rules.new_initial_state()
    if contender == OWN_GAME:
        return own_game_search(start, rules.num_distinct_actions(), n)
    if contender == "python":
        from open_spiel.python.algorithms import mcts

        class Uniform(mcts.Evaluator):  # type: ignore[misc]
            def evaluate(self, state: Any) -> Any:
                return np.zeros(2)

            def prior(self, state: Any) -> Any:
                actions = state.legal_actions()
                return [(action, 1 / len(actions)) for action in actions]

        bot = mcts.MCTSBot(
            rules, 1.25, n, Uniform(), solve=False, child_selection_fn=mcts.SearchNode.puct_value
        )
        return lambda: bot.step(start)
    evaluator = pyspiel.RandomRolloutEvaluator(1, 0)
    bot = pyspiel.MCTSBot(
        rules, evaluator, 1.25, n, 100, False, 0, False, pyspiel.ChildSelectionPolicy.PUCT
    )
    return lambda: bot.step(start)


def own_game_search(start: Any, num_actions: int, n: int) -> Search:
    """PUCT by this package, one row, OpenSpiel's states as embeddings."""
    from rl_serial.planning import MinMax, RecurrentOutput, Root, muzero_policy

    zeros = np.zeros((1, num_actions), np.float32)
    zero, minus_one = np.zeros(1, np.float32), np.full(1, -1, np.float32)

    def boxed(state: Any) -> Any:
        box = np.empty(1, object)
        box[0] = state
        return box

    def legal(state: Any) -> Any:
        return np.array([state.legal_actions_mask()], bool)

    def recurrent_fn(action: Any, embedding: Any) -> Any:
        state = embedding[0].clone()
        player = state.current_player()
        state.apply_action(int(action[0]))
        if state.is_terminal():
            reward = np.array([state.returns()[player]], np.float32)
            return RecurrentOutput(reward, zero, zeros, zero), boxed(state)
        return RecurrentOutput(zero, minus_one, zeros, zero, legal(state)), boxed(state)

    root = Root(zeros, zero, boxed(start), legal(start))
    return lambda: muzero_policy(root, recurrent_fn, n, qtransform=MinMax(-1, 1)).action


MAKERS: dict[str, Callable[..., Search]] = {
    "own": own_search,
    "network": own_network,
    "mctx": mctx_search,
    "game": game_search,
}


def seconds(search: Search, at_least: float) -> float:
    """Median duration of a search, over a time and one search at least."""
    spent: list[float] = []
    while sum(spent) < at_least:
        started = time.perf_counter()
        search()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def serve() -> None:
    """A worker: a line of JSON asks for a measurement, a line answers."""
    searches: dict[str, Search] = {}
    for line in sys.stdin:
        maker, arguments, at_least = json.loads(line)
        key = json.dumps([maker, arguments])
        if key not in searches:
            searches[key] = MAKERS[maker](*arguments)
            searches[key]()  # compiles
        print(json.dumps(seconds(searches[key], at_least)), flush=True)


class Worker:
    """A process that measures, on one core or on all."""

    def __init__(self, python: Path, cores: set[int] | None) -> None:
        self.process = subprocess.Popen(
            [python, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
            preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
        )

    def measure(self, maker: str, *arguments: Any, at_least: float = 0.2) -> float:
        """Seconds of one search."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([maker, arguments, at_least]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a process that measures has ended; its error is above")
        return float(json.loads(line))

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def has(python: Path, *modules: str) -> bool:
    """Whether another Python can import these."""
    code = "import importlib.util as u; raise SystemExit(not all(map(u.find_spec, {!r})))"
    return subprocess.run([python, "-c", code.format(modules)], check=False).returncode == 0


@contextmanager
def neighbour() -> Iterator[None]:
    """Something else that keeps a core busy."""
    process = subprocess.Popen(
        [sys.executable, "-c", "while True: pass"],
        preexec_fn=lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}),
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def compare_mctx(
    python: Path,
    rounds: int,
    rows: Sequence[tuple[str, int, int, int]],
    targets: Mapping[tuple[str, int, int, int], float],
    where: str = "",
) -> None:
    """Print the table of rows (algorithm, B, A, n)."""
    from _ratios import Ratio, report

    from rl_serial.tables import markdown_table

    core = {min(os.sched_getaffinity(0))}
    own, pinned, free = (
        Worker(Path(sys.executable), None),
        Worker(python, core),
        Worker(python, None),
    )
    table = []
    for algorithm, batch, num_actions, n in rows:
        arguments = (algorithm, batch, num_actions, n)
        times: dict[str, list[float]] = {"own": [], "fresh": [], "pinned": [], "free": []}
        network = []
        for _ in range(rounds):
            network.append(own.measure("network", batch, num_actions, at_least=0.05))
            times["own"].append(own.measure("own", *arguments, True))
            times["fresh"].append(own.measure("own", *arguments, False))
            times["pinned"].append(pinned.measure("mctx", *arguments))
            times["free"].append(free.measure("mctx", *arguments))
        per_step = {who: 1e6 * statistics.median(t) / n for who, t in times.items()}
        ratio = min(per_step["pinned"], per_step["free"]) / per_step["own"]
        target = targets.get(arguments)
        if target is not None:
            what = f"{algorithm} search, B = {batch:,}, n = {n}, over mctx{where}"
            report([Ratio(what, ratio, target, LIMIT)])
        table.append(
            [
                algorithm,
                *(f"{number:,}" for number in arguments[1:]),
                f"{1e6 * statistics.median(network):,.0f}",
                *(f"{per_step[who]:,.0f}" for who in ("own", "fresh", "pinned", "free")),
                f"{1e6 * batch / per_step['own']:,.0f}",
                f"{ratio:.1f}x",
                "" if target is None else f"{target:g}x",
            ]
        )
        print(".", end="", file=sys.stderr, flush=True)
    for worker in (own, pinned, free):
        worker.close()
    print(file=sys.stderr)
    header = (
        "search",
        "B",
        "A",
        "n",
        "network µs",
        "own µs",
        "fresh memory µs",
        "mctx pinned µs",
        "mctx free µs",
    )
    print(markdown_table((*header, "own simulations/s", "over mctx", "target"), table))


def compare_open_spiel(python: Path, rounds: int) -> None:
    """Print one tree's simulations a second."""
    from rl_serial.tables import markdown_table

    worker = Worker(python, None)
    contenders = (OWN_GAME, "python", "cpp")
    table = []
    for game, n in (("tic_tac_toe", 200), ("connect_four", 400), ("hex(board_size=9)", 400)):
        times: dict[str, list[float]] = {who: [] for who in contenders}
        for _ in range(rounds):
            for who in contenders:
                times[who].append(worker.measure("game", who, game, n))
        rates = [f"{n / statistics.median(times[who]):,.0f}" for who in contenders]
        table.append([game, str(n), *rates])
    worker.close()
    header = ("one tree of", "n", "own simulations/s", "OpenSpiel, Python", "OpenSpiel, C++")
    print(markdown_table(header, table))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="rl-serial bench search", description=__doc__)
    parser.add_argument("--peers", type=Path, help="a Python that has the peers")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="only the rows with a target")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    default = ROOT / ".venv-peers/bin/python"
    python = options.peers or (default if default.exists() else Path(sys.executable))
    if not has(python, "jax", "mctx"):
        raise SystemExit(f"{python} has no mctx with JAX; {HOW_TO_INSTALL}")
    rows = list(TARGETS)
    if not options.quick:
        grown = dict.fromkeys(row for group in GROWTH.values() for row in group)
        rows += [("gumbel", *row) for row in grown if ("gumbel", *row) not in TARGETS]
    print(
        f"{len(os.sched_getaffinity(0))} cores. µs: one simulation in all B trees, median of "
        f"{options.rounds} rounds.\n"
    )
    compare_mctx(python, options.rounds, rows, TARGETS)
    print("\nWith something else on one core:\n")
    with neighbour():
        beside = list(BESIDE_A_NEIGHBOUR)
        compare_mctx(python, options.rounds, beside, BESIDE_A_NEIGHBOUR, " beside a neighbour")
    print()
    if has(python, "pyspiel", "numba"):
        compare_open_spiel(python, options.rounds)
    else:
        print(f"{python} has no open_spiel; {HOW_TO_INSTALL}")


if __name__ == "__main__":
    main()
