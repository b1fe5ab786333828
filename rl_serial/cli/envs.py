"""The command ``rl-serial envs`` and its tables."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from rl_serial.envs.puzzles import is_puzzle
from rl_serial.envs.registry import (
    ENV_IDS,
    FAMILIES,
    NAMESPACE,
    TASKS,
    UnknownEnvironment,
    known_env,
    options_of,
)
from rl_serial.errors import UserError
from rl_serial.importing import add_import
from rl_serial.tables import markdown_table


def add_envs(commands: Any) -> None:
    """Add the command to the subparsers of ``rl-serial``."""
    envs = commands.add_parser("envs", help="the environments as a table, or their certificate")
    envs.add_argument(
        "--certify",
        metavar="ID",
        help="measure the influence of the chain's steps, or of a puzzle's rounds",
    )
    envs.add_argument("--options", metavar="ID", help="list an environment's options")
    add_import(envs)
    envs.set_defaults(command=_print_envs)


def _print_envs(options: argparse.Namespace) -> None:
    if options.certify and is_puzzle(options.certify):
        print(rounds_tables())
    elif options.certify:
        print(certificate_table(options.certify))
        print("\n" + shortcut_table(options.certify))
        if table := collision_table(options.certify):
            print(table)
    elif options.options and is_puzzle(options.options):
        print(markdown_table(("option", "default"), puzzle_options().items()))
    elif options.options:
        family, task = _known(options.options)
        defaults = options_of(family, task).items()
        print(markdown_table(("option", "default"), defaults))
    else:
        print(registry_table())


def _known(id_: str) -> tuple[str, str]:
    try:
        family, task = known_env(id_)
    except UnknownEnvironment as error:
        raise UserError(error, "--options") from None
    return family.name, task


def registry_table() -> str:
    """The registry as a table: id, class, twin, spaces, what to set.

    Ids are as ``gymnasium.make`` takes them anywhere: what stands before the colon is imported.
    Those of a user's own family have nothing there: the user imports it.
    """
    rows = []
    for id_, (family, task) in ENV_IDS.items():
        rules = TASKS[task](family.chain())  # what they need may be missing: nothing is played
        serial = ", ".join(str(value) for value in family.serial)
        twins = ", ".join(str(value) for value in family.twins)
        rows.append(
            (
                f"`{NAMESPACE}:{id_}`" if family.is_own else f"`{id_}`",
                f"{family.complexity} ({family.source})",
                f"`{family.option}`: {serial}",
                f"`{family.option}`: {twins}",
                f"Box({rules.layout.size})",
                f"Discrete({len(rules.action_names)})",
                ", ".join(f"`{option}`" for option in options_of(family.name, task)),
            )
        )
    header = ("id", "class", "serial", "twin", "observation", "action", "options")
    return markdown_table(header, rows)


def certificate_table(id_: str) -> str:
    """The seriality certificate of an environment's chain, for every setting and serial depth."""
    from rl_serial.envs.certificate import certify

    family, _ = _known(id_)
    header = ("setting", "serial depth", "first step", "middle step", "last step", "mean payoff")
    return markdown_table(
        header,
        [
            (
                setting,
                row.serial_depth,
                *(f"{share:.2f}" for share in (row.first, row.middle, row.last)),
                f"{row.payoff_mean:+.3f}",
            )
            for setting, row in certify(FAMILIES[family], {})
        ],
    )


def shortcut_table(id_: str) -> str:
    """How far rules without serial computation get, for every setting and serial depth.

    Below the table stands what was left out, and why.
    """
    from rl_serial.envs.certificate import certify_shortcuts

    header = ("setting", "serial depth", "blind κ", "at", "reach", "linear κ", "at", "reach")
    rows: list[tuple[object, ...]] = []
    notes = []
    for setting, depth, found in certify_shortcuts(FAMILIES[_known(id_)[0]], {}):
        if isinstance(found, str):
            notes.append(f"{setting}, serial depth {depth}: {found}")
            rows.append((setting, depth, *["–"] * 6))
            continue
        cells: list[object] = []
        for kind in ("blind", "linear"):
            row = found[kind]
            cells += [f"{row.largest:+.2f}", row.remaining, f"{row.reach:+.1f}"]
        rows.append((setting, depth, *cells))
    return "\n".join([markdown_table(header, rows), *notes])


def rounds_tables() -> str:
    """What of puzzles is solved after so many rounds and guesses at the rest, a table a size."""
    from rl_serial.envs.puzzles.certificate import ROUNDS, certify_rounds

    tables = []
    for size, asked in ROUNDS.items():
        header = (f"{size} × {size}: rounds needed", *(f"after {r}" for r in range(asked[-1] + 1)))
        rows = []
        for rounds in asked:
            chances = certify_rounds(size, rounds)
            rows.append((rounds, *(f"{c:.3f}" for c in chances), *[""] * (asked[-1] - rounds)))
        tables.append(markdown_table(header, rows))
    return "\n\n".join(tables)


def puzzle_options() -> dict[str, object]:
    """The options of puzzles with their defaults."""
    from rl_serial.envs.puzzles.sudoku import Sudoku

    return {field.name: field.default for field in fields(Sudoku)}


def collision_table(id_: str) -> str | None:
    """Influence and sensitivity to the time step by collisions, where the chain counts them."""
    from rl_serial.envs.certificate import influence_by_collisions

    family = FAMILIES[_known(id_)[0]]
    if not hasattr(family.chain, "causal_collisions"):
        return None
    twin = family.chain(**{family.option: family.twins[0]})
    header = ("collisions", "instances", "contacts", "first step", "too close to call")
    rows = [
        (
            row.collisions,
            row.instances,
            f"{row.contacts:.2f}",
            f"{row.first:.2f}",
            f"{row.too_close:.3f}",
        )
        for row in influence_by_collisions(family.chain(), twin)
    ]
    return "\n" + markdown_table(header, rows)
