"""The command ``rl-serial``: envs, configs, config, train, evaluate, watch, study, suite, tune,
arena, play, bench.

Libraries load inside the commands that use them, so that the base install has ``envs`` and
``configs``, and an error names the extra that a command lacks.
"""
# PYTHON_ARGCOMPLETE_OK

from __future__ import annotations

import argparse
import importlib.util
import io
import runpy
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from gymnasium.error import DependencyNotInstalled

from rl_serial import __version__
from rl_serial.arguments import (
    MOST_EPISODES,
    MOST_INSTANCE,
    MOST_SEED,
    MOST_SIMULATIONS,
    MOST_THREADS,
    Parser,
    counts,
    whole,
)
from rl_serial.cli.arena import add_arena
from rl_serial.cli.completing import completed
from rl_serial.cli.configs import add_config, add_configs
from rl_serial.cli.envs import (
    add_envs,
    certificate_table,
    collision_table,
    registry_table,
    shortcut_table,
)
from rl_serial.cli.play import add_play
from rl_serial.cli.suite import add_suite
from rl_serial.cli.tune import add_tune
from rl_serial.errors import RunError, UserError, did_you_mean, missing_extra
from rl_serial.importing import add_import, import_arguments, load_modules
from rl_serial.shipped import resolved
from rl_serial.study.commands import add_parsers as add_study_parsers


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0, 1 for a failed run, 2 for a request that is wrong."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without the minus sign shows "?"
            stream.reconfigure(errors="replace")
    parser = completed(_parser())
    options, further = parser.parse_known_args(arguments)
    if options.command is _train and not any(word.startswith("-") for word in further):
        options.overrides += further  # argparse takes no key=value behind an option
    elif further:
        unknown = next((word for word in further if word.startswith("-")), "")
        near = did_you_mean(unknown.partition("=")[0], options.known_options)
        parser.error(f"unrecognized arguments: {' '.join(further)}{near}")
    try:
        options.modules = load_modules(getattr(options, "imports", ()))
        options.command(options)
    except UserError as error:
        print(f"rl-serial: {error}", file=sys.stderr)
        return 2
    except DependencyNotInstalled as error:
        print(f"rl-serial: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"rl-serial: not enough memory: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"rl-serial: run failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"rl-serial: interrupted{'; ' if str(stop) else ''}{stop}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone
        return 0
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="rl-serial", description="Study serial value functions in reinforcement learning."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add_envs(commands)
    add_configs(commands)
    add_config(commands)

    train = commands.add_parser("train", help="train an agent from a configuration")
    train.add_argument(
        "file", type=Path, metavar="FILE", help="a YAML file, or a name that `configs` lists"
    )
    train.add_argument("overrides", nargs="*", metavar="key=value", help="as in network.depth=8")
    train.add_argument("--runs", type=Path, default=Path("runs"), help="folder of run folders")
    train.add_argument("--resume", action="store_true", help="continue a run that was stopped")
    train.add_argument("--quiet", action="store_true", help="no progress bar")
    add_import(train)
    _add_device(train)
    train.set_defaults(command=_train)

    evaluate = commands.add_parser("evaluate", help="examine trained agents side by side")
    evaluate.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders")
    evaluate.add_argument(
        "--instances", type=whole(2, MOST_EPISODES), help="episodes played for the score"
    )
    evaluate.add_argument(
        "--per-remaining",
        type=whole(1, MOST_EPISODES),
        help="states at each number of remaining steps",
    )
    evaluate.add_argument(
        "--seed", type=whole(0, MOST_SEED), help="chooses the evaluation instances"
    )
    evaluate.add_argument(
        "--figure",
        type=Path,
        help="draw accuracy by remaining steps, success by distance or returns (PNG, SVG)",
    )
    evaluate.add_argument(
        "--simulations", type=counts, metavar="0,1,2,…", help="scores with a search on top instead"
    )
    _add_search(evaluate)
    evaluate.add_argument("--table", type=Path, help="write the scores of --simulations as CSV")
    evaluate.add_argument("--model", type=Path, help="a Stable-Baselines3 zip in place of model.pt")
    _add_trust(evaluate)
    add_import(evaluate)
    _add_device(evaluate)
    evaluate.set_defaults(command=_evaluate)

    watch = commands.add_parser(
        "watch", help="an episode as GIF and text, values beside exact ones"
    )
    watch.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    watch.add_argument(
        "--instance",
        type=whole(0, MOST_INSTANCE),
        default=0,
        help="which evaluation instance",
    )
    watch.add_argument(
        "--simulations",
        type=whole(0, MOST_SIMULATIONS),
        help="search on top, with its trees; default: as trained",
    )
    _add_search(watch)
    _add_trust(watch)
    add_import(watch)
    watch.add_argument("--gif", type=Path, help="where to write it; default RUN/episode_N.gif")
    watch.add_argument(
        "--live", action="store_true", help="play it in place, in a terminal, at the GIF's pace"
    )
    _add_device(watch)
    watch.set_defaults(command=_watch)

    add_study_parsers(commands, _require_libraries)

    add_suite(commands, _require_training)
    add_tune(commands, _require_training)
    add_arena(commands, _require_training)
    add_play(commands, _require_training)

    bench = commands.add_parser("bench", help="side-by-side measurements, in a checkout")
    bench.add_argument("name", help="a file of benchmarks/: envs, train, …")
    bench.add_argument("rest", nargs=argparse.REMAINDER, help="its own options")
    bench.set_defaults(command=_bench)
    return parser


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dynamics", choices=("true", "learned"), help="what is searched in; default: as trained"
    )
    parser.add_argument(
        "--algorithm", choices=("gumbel", "puct"), help="Gumbel MuZero or PUCT; default: as trained"
    )


def _refuse_without_simulations(options: argparse.Namespace, names: Sequence[str]) -> None:
    for name in names:
        if getattr(options, name) is not None:
            raise UserError("goes with --simulations", f"--{name}")


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run code of the folder's maker: unpickle --model, import the module of env.id",
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where networks run"
    )
    # Small networks lose by more, and the number of threads is part of what repeats a run exactly.
    parser.add_argument(
        "--threads",
        type=whole(1, MOST_THREADS),
        default=1,
        help="torch's CPU threads; default 1",
    )


def _require_libraries(command: str) -> None:
    """Name the extra if a library of the training commands is missing."""
    for module, package in (
        ("torch", "torch"),
        ("pydantic", "pydantic"),
        ("yaml", "pyyaml"),
        ("matplotlib", "matplotlib"),
        ("tqdm", "tqdm"),
        ("tensorboard", "tensorboard"),
        ("stable_baselines3", "stable-baselines3"),
        ("sb3_contrib", "sb3-contrib"),
        ("scipy", "scipy"),
    ):
        if importlib.util.find_spec(module) is None:
            raise missing_extra(package, f"rl-serial {command}", "train")


def _require_training(command: str, threads: int) -> None:
    """Name the extra if a library of the training commands is missing; else set the threads."""
    _require_libraries(command)
    from rl_serial.runs.devices import use_threads

    use_threads(threads)


def _train(options: argparse.Namespace) -> None:
    _require_training("train", options.threads)
    from rl_serial.loading import load_config
    from rl_serial.runs.run import is_finished, train

    config = load_config(resolved(options.file, "train"), options.overrides)
    folder = options.runs / config.name
    if options.resume and is_finished(config, folder):
        print(f"{folder}: finished before")
        return
    command = ["rl-serial", "train", str(options.file), *options.overrides]
    command += ["--runs", str(options.runs)] if options.runs != Path("runs") else []
    command += import_arguments(options.imports)
    command += ["--device", options.device] if options.device != "auto" else []
    command += ["--threads", str(options.threads)] if options.threads != 1 else []
    try:
        found = train(
            config,
            folder,
            resume=options.resume,
            device=options.device,
            progress=not options.quiet,
            command=command,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{shlex.join([*command, '--resume'])} continues") from None
    print(f"{folder}: {found.headline()}")


def _evaluate(options: argparse.Namespace) -> None:
    _require_training("evaluate", options.threads)
    from rl_serial.runs.reporting import evaluate_runs
    from rl_serial.runs.searching import search_runs

    if options.simulations is not None:
        for name in ("model", "per_remaining"):
            if getattr(options, name) is not None:
                raise UserError("does not go with --simulations", f"--{name.replace('_', '-')}")
        search_runs(
            options.runs,
            options.simulations,
            dynamics=options.dynamics,
            algorithm=options.algorithm,
            instances=options.instances,
            seed=options.seed,
            table=options.table,
            figure=options.figure,
            device=options.device,
            trust=options.trust,
        )
        return
    _refuse_without_simulations(options, ("table", "dynamics", "algorithm"))
    evaluate_runs(
        options.runs,
        instances=options.instances,
        per_remaining=options.per_remaining,
        seed=options.seed,
        figure=options.figure,
        model=options.model,
        trust=options.trust,
        device=options.device,
    )


def _watch(options: argparse.Namespace) -> None:
    _require_training("watch", options.threads)
    from rl_serial.runs.files import write_atomically
    from rl_serial.runs.load import load_run, load_searcher
    from rl_serial.subjects import subject_of
    from rl_serial.subjects.animation import animated_gif, play

    if options.simulations is None:
        _refuse_without_simulations(options, ("dynamics", "algorithm"))
        config, agent = load_run(options.run, options.device, options.trust)
    else:
        config, agent = load_searcher(
            options.run,
            options.simulations,
            options.dynamics,
            options.algorithm,
            options.device,
            options.trust,
        )
    moments = subject_of(config).watch(agent, options.instance)
    if options.live:
        play([moment.text() for moment in moments])
    else:
        for moment in moments:
            print(moment.text(), end="\n\n")
    file = options.gif or options.run / f"episode_{options.instance}.gif"
    if file.is_dir():
        raise UserError("is a folder; it must name a file", source=f"--gif {file}")
    gif, _ = animated_gif(moments)
    try:
        write_atomically(file, lambda stream: stream.write(gif))
    except OSError as error:
        raise UserError(error.strerror or error, source=file) from None
    print(f"{file}: {len(moments)} frames")


def _bench(options: argparse.Namespace) -> None:
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    file = folder / f"{options.name}.py"
    if not file.exists():
        there = sorted(path.stem for path in folder.glob("[!_]*.py"))
        listed = f"there are {', '.join(there)}{did_you_mean(options.name, there)}"
        raise UserError(
            f"no such benchmark; {listed}" if there else "benchmarks need a checkout",
            source=f"bench {options.name}",
        )
    sys.argv = [str(file), *options.rest]
    sys.path.append(str(folder))  # benchmarks share _ratios.py
    runpy.run_path(str(file), run_name="__main__")


__all__ = ["certificate_table", "collision_table", "main", "registry_table", "shortcut_table"]
