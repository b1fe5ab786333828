"""What an update and an evaluation of deep-narrow networks cost beside their matrix products.

The products are those of the same shapes in ``torch.mm``, into memory that is there: forwards
each layer's output from the one before, backwards the gradients of weights and inputs. An update is
loss, gradients and AdamW's step as the fitted agents make them; an evaluation is the network
without gradients. Beside them stand the plain modules, as torch runs them, with its own fused
AdamW. All take turns, several calls a turn; medians of rounds of processor time, one thread.

    rl-serial bench networks [--rounds 9] [--seconds 0.2] [--compile]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from unittest import mock

import torch
from _ratios import Ratio, report

from rl_serial.agents.adamw import QuickAdamW
from rl_serial.networks import build_network, build_trunk, fused
from rl_serial.networks.configured import vector_layout
from rl_serial.tables import markdown_table

INPUTS, OUTPUTS = 64, 4
CASES = ((64, 64, 2048), (64, 64, 256), (16, 128, 2048), (2, 384, 2048))
"""Depth, width, rows."""

UPDATE = "norm, swish and their gradients between the products; at few rows autograd and Python"
EVALUATION = "one pass of norm and swish between two products"
TARGETS = {
    (64, 64, 2048, "update"): (1.5, UPDATE),
    (64, 64, 256, "update"): (2.0, UPDATE),
    (64, 64, 2048, "evaluation"): (1.5, EVALUATION),
}

Call = Callable[[], object]


def products(depth: int, width: int, rows: int) -> tuple[Call, Call]:
    """The matrix products of an evaluation, and of an update."""
    torch.manual_seed(0)
    sizes = [INPUTS, *[width] * (depth + 1), OUTPUTS]
    # Of variance 1 / inputs, so that numbers neither grow nor become denormal.
    weights = [
        torch.randn(outputs, inputs) / inputs**0.5 for inputs, outputs in itertools.pairwise(sizes)
    ]
    layers = [torch.randn(rows, size) for size in sizes]
    of_weights = [torch.empty_like(weight) for weight in weights]
    of_layers = [torch.empty(rows, width) for _ in range(2)]
    first = torch.randn(rows, OUTPUTS)

    def forward() -> None:
        for k, weight in enumerate(weights):
            torch.mm(layers[k], weight.T, out=layers[k + 1])

    def both() -> None:
        forward()
        gradient = first
        for k in reversed(range(len(weights))):
            torch.mm(gradient.T, layers[k], out=of_weights[k])
            if k:
                gradient = torch.mm(gradient, weights[k], out=of_layers[k % 2])

    return forward, both


def calls(depth: int, width: int, rows: int, compiled: bool) -> dict[str, Call]:
    """What takes turns."""
    forward, both = products(depth, width, rows)
    x, wanted = torch.randn(rows, INPUTS), torch.randn(rows, OUTPUTS)

    def network() -> torch.nn.Module:
        torch.manual_seed(0)
        layout = vector_layout(INPUTS)
        return build_network(build_trunk("residual", layout, depth=depth, width=width), OUTPUTS)

    def update(net: Callable[..., torch.Tensor], optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        (net(x) - wanted).square().mean().backward()
        optimizer.step()

    def evaluate(net: Callable[..., torch.Tensor]) -> None:
        with torch.no_grad():
            net(x)

    own, plain = network(), network()
    quick = QuickAdamW(own.parameters(), 1e-3, weight_decay=0.01)
    adamw = torch.optim.AdamW(plain.parameters(), 1e-3, weight_decay=0.01, fused=True)

    def fused_update() -> None:
        with fused.gradients_in_place():
            update(own, quick)

    def with_plain_modules(call: Call) -> Call:
        def unfused() -> None:
            with mock.patch.object(fused, "applies", return_value=False):
                call()

        return unfused

    contenders: dict[str, Call] = {
        "forward": forward,
        "products": both,
        "evaluation": lambda: evaluate(own),
        "update": fused_update,
        "plain evaluation": with_plain_modules(lambda: evaluate(plain)),
        "plain update": with_plain_modules(lambda: update(plain, adamw)),
    }
    if compiled:
        third = network()
        steps = torch.optim.AdamW(third.parameters(), 1e-3, weight_decay=0.01, fused=True)
        quicker = torch.compile(third)
        contenders["compiled evaluation"] = with_plain_modules(lambda: evaluate(quicker))
        contenders["compiled update"] = with_plain_modules(lambda: update(quicker, steps))
    return contenders


def milliseconds(contenders: dict[str, Call], rounds: int, seconds: float) -> dict[str, float]:
    """Of a call: medians of rounds, in each of which every contender has some ``seconds``."""
    counts = {}
    for name, call in contenders.items():
        for _ in range(2):  # compiles, takes memory
            started = time.thread_time()
            call()
            spent = time.thread_time() - started
        counts[name] = max(2, round(seconds / spent))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            started = time.thread_time()
            for _ in range(counts[name]):
                call()
            times[name].append(1000 * (time.thread_time() - started) / counts[name])
    return {name: statistics.median(spent) for name, spent in times.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="rl-serial bench networks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.2, help="of a contender in a round")
    parser.add_argument(
        "--compile", action="store_true", help="also torch.compile, which takes a minute or more"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, ratios = [], []
    for depth, width, batch in CASES:
        found = milliseconds(
            calls(depth, width, batch, options.compile), options.rounds, options.seconds
        )
        for what, base in (("evaluation", "forward"), ("update", "products")):
            ratio = found[what] / found[base]
            others = [found[f"plain {what}"] / found[base]]
            if options.compile:
                others.append(found[f"compiled {what}"] / found[base])
            target, limit = TARGETS.get((depth, width, batch, what), (None, ""))
            rows.append(
                (
                    f"{depth} × {width}",
                    f"{batch:,}",
                    what,
                    f"{found[base]:.2f}",
                    f"{found[what]:.2f}",
                    f"{ratio:.2f}x",
                    *(f"{other:.2f}x" for other in others),
                    "" if target is None else f"{target:g}x",
                )
            )
            if target is not None:
                name = f"{what} of {depth} × {width}, {batch:,} rows, over its products"
                ratios.append(Ratio(name, ratio, target, limit, at_most=True))
    print(f"torch {torch.__version__}, one thread; processor time.\n")
    own = ("depth × width", "rows", "what", "products ms", "ms", "over products", "plain modules")
    more = ("torch.compile",) if options.compile else ()
    print(markdown_table((*own, *more, "target"), rows))
    report(ratios)


if __name__ == "__main__":
    main()
