"""The site's own pages and links, made when it is built (mkdocs.yml).

Pages of environments and keys come from the registry and from the models of configurations, so that
they cannot differ from them. Links to what is no page of the site lead to the repository.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from mkdocs.structure.files import File, Files
from PIL import Image

from rl_serial.cli.schema import explained, keys
from rl_serial.envs.registry import ENV_IDS, Family, options_of, task_of
from rl_serial.tables import markdown_table

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(\]\()((?:\.\./)+)([^)#]+)(#[^)]*)?\)")
ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):<code>~?")
PARTS = {
    "": "A run",
    "env": "Environments",
    "network": "Networks",
    "agent": "Agents",
    "evaluation": "Examinations",
    "wandb": "Weights & Biases",
}
SAME = ("policy_network", "model_network")
"""Parts that have the keys of ``network``."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made."""
    for uri, content in (
        ("reference/environments.md", environments()),
        ("reference/keys.md", keys_page()),
    ):
        files.append(File.generated(config, uri, content=content))
    for id_, (family, _) in ENV_IDS.items():
        if family.is_own:
            uri = f"images/environments/{_file_name(id_)}.png"
            files.append(File.generated(config, uri, content=picture(id_)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links that leave docs/ lead to the repository."""
    here = (ROOT / "docs" / page.file.src_uri).parent

    def led(found: re.Match[str]) -> str:
        there = (here / (found[2] + found[3])).resolve()
        if there.is_relative_to(ROOT / "docs") or not there.exists():
            return found[0]
        place = there.relative_to(ROOT).as_posix()
        return f"{found[1]}{config.repo_url}/blob/main/{place}{found[4] or ''})"

    return LINK.sub(led, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Docstrings name things with roles (``:class:``), which here are code like any other."""
    return ROLE.sub("<code>", html)


def environments() -> str:
    """A section for each id: picture, actions, observation, options."""
    parts = [
        "# Every environment",
        "Made from the registry. Ids are as `gymnasium.make` takes them after `import rl_serial`; "
        "every option is a keyword of `gymnasium.make` and `make_vec`. All are of version 0, the "
        "first.",
    ]
    for id_, (family, task) in ENV_IDS.items():
        if family.is_own:
            parts += _section(id_, family, task)
    return "\n\n".join(parts) + "\n"


def _section(id_: str, family: Family, task: str) -> list[str]:
    rules = task_of(id_)
    layout = rules.layout
    page = family.chain.__module__.rpartition(".")[2]
    actions = markdown_table(("action", "name"), list(enumerate(rules.action_names)))
    tokens, features, rest = layout.tokens, layout.features, layout.globals
    observation = markdown_table(
        ("numbers", "what"),
        [
            (
                f"0 to {tokens * features - 1}",
                f"{tokens} tokens of {features} numbers; token 0 is the next step where tokens are "
                "steps",
            ),
            (
                f"{tokens * features} to {layout.size - 1}",
                f"{rest} numbers of no token: working state, what is bet on, remaining steps as a "
                "one-hot",
            ),
        ],
    )
    options = markdown_table(
        ("option", "default", "what"),
        [
            (f"`{key}`", f"`{default}`", _meaning(key, id_))
            for key, default in _options(family, task)
        ],
    )
    twins = ", ".join(f"`{family.option}={value}`" for value in family.twins)
    serial = ", ".join(f"`{family.option}={value}`" for value in family.serial)
    return [
        f"## {id_.removeprefix('rl_serial/')}",
        f"`{id_}`: [{family.name}](../chains/{page}.md) under [{task}](../tasks.md). "
        f"Serial: {serial}; twins: {twins}. {family.complexity} ({family.source}).",
        f"![An episode of {id_}](../images/environments/{_file_name(id_)}.png)",
        f"**Actions**: Discrete({len(rules.action_names)})",
        actions,
        f"**Observation**: Box({layout.size}) with the default options, float32",
        observation,
        "**Rewards** lie in [−1, 1] and come at the end; an episode ends by `terminated`. It "
        "begins with `serial_depth` steps remaining, or with `start=uniform` with 1 to "
        "`serial_depth`.",
        options,
    ]


def _options(family: Family, task: str) -> list[tuple[str, Any]]:
    return list(options_of(family.name, task).items())


def _meaning(option: str, id_: str) -> str:
    """What an option means in this environment."""
    for where, _, _, meaning in explained(f"env.{option}"):
        if id_.removeprefix("rl_serial/") in where or id_ in where:
            return _cell(meaning)
    return ""


def picture(id_: str) -> bytes:
    """The end of an episode of optimal play, as PNG."""
    env: Any = gymnasium.make(id_, render_mode="rgb_array", serial_depth=8)
    env.reset(seed=3)
    ended = False
    while not ended:
        legal = env.unwrapped.action_masks()
        values = np.where(legal, env.unwrapped.action_values(), -np.inf)
        ended = env.step(int(values.argmax()))[2]
    stream = io.BytesIO()
    Image.fromarray(env.render()).save(stream, "PNG")
    return stream.getvalue()


def keys_page() -> str:
    """Every key of a run."""
    parts = [
        "# Every key of a run",
        "Made from what configurations are checked with; `rl-serial config --explain KEY` prints "
        "the same.",
    ]
    by_part: dict[str, list[str]] = {part: [] for part in PARTS}
    for key in keys():
        part, dot, _ = key.partition(".")
        if part not in SAME or not dot:
            by_part[part if dot else ""].append(key)
    for part, names in by_part.items():
        parts.append(f"## {PARTS[part]}")
        if part == "network":
            parts.append(f"`{'`, `'.join(SAME)}` have the same keys.")
        rows = [
            (f"`{name}`", *(_cell(cell) for cell in row))
            for name in names
            for row in explained(name)
        ]
        parts.append(markdown_table(("key", "where", "values", "default", "meaning"), rows))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    """A text inside a table; ids without the namespace that all share."""
    return text.replace("|", "\\|").replace("rl_serial/", "").replace("-v0", "")


def _file_name(id_: str) -> str:
    return id_.rpartition("/")[2]
