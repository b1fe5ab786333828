"""The command ``rl-serial suite``: an agent in every setting of a suite."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rl_serial.arguments import MOST_EPISODES, MOST_SEED, MOST_THREADS, whole
from rl_serial.cli.words import assignments
from rl_serial.errors import UserError
from rl_serial.importing import add_import, named_function


def add_suite(commands: Any, require: Callable[[str, int], None]) -> None:
    """Add the command to the subparsers of ``rl-serial``."""
    suite = commands.add_parser(
        "suite", help="examine an agent, of whatever library, in the settings of a suite"
    )
    suite.add_argument(
        "agent",
        nargs="*",
        metavar="AGENT",
        help="run folders, module:function of observations (and masks), or results (JSON) to draw",
    )
    suite.add_argument("--name", default="serial-12", help="of the suite; default serial-12")
    suite.add_argument("--settings", action="store_true", help="print the settings of the suite")
    suite.add_argument(
        "--train", metavar="CONFIG", help="train this configuration in each setting instead"
    )
    suite.add_argument("--set", dest="overrides", action="append", default=[], metavar="key=value")
    suite.add_argument("--runs", type=Path, default=Path("runs/suite"), help="folder of its runs")
    suite.add_argument("--called", metavar="NAME", help="what the result calls the agent")
    suite.add_argument("--instances", type=whole(2, MOST_EPISODES), default=2048)
    suite.add_argument("--per-remaining", type=whole(1, MOST_EPISODES), default=512)
    suite.add_argument("--seed", type=whole(0, MOST_SEED), default=0, help="of the instances")
    suite.add_argument(
        "--trained-on", type=whole(0, 10**12), help="training states, which the floor gets too"
    )
    suite.add_argument("--json", type=Path, help="write the result there")
    suite.add_argument("--figure", type=Path, help="draw the profile by family there")
    suite.add_argument("--trust", action="store_true", help="run code that run folders name")
    suite.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    suite.add_argument("--threads", type=whole(1, MOST_THREADS), default=1, help="torch's")
    add_import(suite)

    def carry_out(options: argparse.Namespace) -> None:
        require("suite", options.threads)
        _suite(options)

    suite.set_defaults(command=carry_out)


def _suite(options: argparse.Namespace) -> None:
    from rl_serial.api.suites import (
        SuiteResult,
        draw_profiles,
        named_suite,
        of_recipe,
        of_runs,
        suite,
    )
    from rl_serial.tables import markdown_table

    chosen = named_suite(options.name)
    if options.settings:
        rows = [(s.name, s.role, *(f"{k}: {v}" for k, v in s.env.items())) for s in chosen.settings]
        print(f"{chosen.name} ({chosen.digest}): {chosen.about}\n")
        print(
            markdown_table(("setting", "role", "env"), [(*r[:2], ", ".join(r[2:])) for r in rows])
        )
        return
    if bool(options.agent) == bool(options.train):
        raise UserError("suite: give an AGENT or --train CONFIG, and one of them")
    if options.overrides and not options.train:
        raise UserError("goes with --train", "--set")
    if all(word.endswith(".json") for word in options.agent) and options.agent:
        results = [SuiteResult.read(word) for word in options.agent]
    else:
        kwargs: dict[str, Any] = {"by_setting": True}
        if options.train:
            agents = of_recipe(
                options.train,
                assignments(options.overrides, "--set"),
                runs=options.runs,
                device=options.device,
            )
            called = options.train
        elif ":" in options.agent[0]:
            agents, kwargs = _function(options.agent), {}
            called = options.agent[0]
        else:
            agents = of_runs(*options.agent, device=options.device, trust=options.trust)
            called = Path(options.agent[0]).name
        result = suite(
            agents,
            options.name,
            agent=options.called or called,
            instances=options.instances,
            per_remaining=options.per_remaining,
            evaluation_seed=options.seed,
            trained_on=options.trained_on,
            told=lambda one: print(one.headline(), file=sys.stderr),
            **kwargs,
        )
        results = [result]
    for result in results:
        print(f"{result.suite.name} ({result.suite.digest}), {result.agent}\n\n{result.table()}\n")
    if options.json is not None:
        if len(results) > 1:
            raise UserError("writes one result", "--json")
        results[0].to_json(options.json)
    if options.figure is not None:
        draw_profiles(results, options.figure)
        print(f"{options.figure}: accuracy by remaining steps")


def _function(words: list[str]) -> Any:
    """What ``module:function`` names."""
    if len(words) > 1:
        raise UserError("one module:function is examined at a time", source=words[1])
    return named_function(words[0])
