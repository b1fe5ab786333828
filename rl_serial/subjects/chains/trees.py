"""The search tree of a decision, drawn and as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rl_serial.agents.protocols import on_host
from rl_serial.planning import Tree

PANEL = (520, 360)
"""Width and height of a drawn tree in pixels."""
_PAPER, _EDGE, _TEXT, _MARK = (255, 255, 255), (120, 120, 120), (34, 34, 34), (196, 106, 46)


@dataclass(frozen=True, eq=False)  # two that look alike are still two
class TreeNode:
    """A node of one search tree."""

    name: str  # of the action that leads to it; "root" at the root
    depth: int
    visits: int
    value: float  # mean return from here on
    ended: bool
    children: tuple[TreeNode, ...]  # the most visited first


def tree_of(tree: Tree, names: tuple[str, ...], row: int = 0) -> TreeNode:
    """One tree of a batch, as nodes.

    Args:
        tree: the search's.
        names: of the actions.
        row: which of the batch.
    """
    visits, parents = on_host(tree.visits[row]), on_host(tree.parent[row])
    actions, values = on_host(tree.action[row]), on_host(tree.value[row])
    discounts, depths = on_host(tree.discount[row]), on_host(tree.depth[row])
    rewards = on_host(tree.reward[row])

    def node(index: int) -> TreeNode:
        there = np.flatnonzero((parents == index) & (visits > 0))
        order = there[np.argsort(-visits[there], kind="stable")]
        ended = bool(discounts[index] == 0)
        return TreeNode(
            name=names[actions[index]] if index else "root",
            depth=int(depths[index]),
            visits=int(visits[index]),
            value=float(rewards[index] if ended else values[index]),
            ended=ended,
            children=tuple(node(int(child)) for child in order),
        )

    return node(0)


def tree_lines(root: TreeNode, limit: int = 16) -> list[str]:
    """The tree as indented text, the most visited branches first, at most ``limit`` lines."""
    lines: list[str] = []

    def walk(node: TreeNode) -> None:
        name = f"{'  ' * node.depth}{node.name}"
        end = "  end" if node.ended else ""
        lines.append(f"{name:<32}{node.visits:>6} visits{node.value:>+8.3f}{end}")
        for child in node.children:
            walk(child)

    walk(root)
    more = len(lines) - limit
    return lines if more <= 0 else [*lines[:limit], f"… {more} more nodes"]


def draw_tree(root: TreeNode | None, size: tuple[int, int] = PANEL) -> Image.Image:
    """The tree as a picture: depth downwards, a node's grey its value, an edge's width its visits.

    None, where nothing was searched, gives an empty panel.
    """
    image = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(11)
    if root is None:
        draw.text((12, 8), "no search: one legal action", _EDGE, font)
        return image
    draw.text((12, 8), f"search tree: {root.visits - 1} simulations", _TEXT, font)
    columns = _columns(root)
    deepest = max(node.depth for node in columns)
    widest = max(columns.values())
    margin, top = 34, 40

    def place(node: TreeNode) -> tuple[float, float]:
        x = margin + columns[node] / widest * (size[0] - 2 * margin) if widest else size[0] / 2
        return x, top + node.depth / max(1, deepest) * (size[1] - top - 26)

    for parent in columns:
        for child in parent.children:
            line = (*place(parent), *place(child))
            share = child.visits / max(1, root.visits - 1)
            on_the_way = parent.depth == 0 and child is parent.children[0]
            draw.line(line, _MARK if on_the_way else _EDGE, max(1, round(6 * share)))
    for node in columns:
        x, y = place(node)
        radius = 3 + 5 * (node.visits / root.visits) ** 0.5
        grey = round(225 - 190 * min(1.0, max(0.0, (node.value + 1) / 2)))
        box = (x - radius, y - radius, x + radius, y + radius)
        if node.ended:
            draw.rectangle(box, fill=(grey,) * 3, outline=_TEXT)
        else:
            draw.ellipse(box, fill=(grey,) * 3, outline=_TEXT)
        if node.depth == 1:
            draw.text((x, y - radius - 2), node.name, _TEXT, font, anchor="mb")
    legend = "dark: high value · square: end · line: visits"
    draw.text((12, size[1] - 8), legend, _EDGE, font, anchor="lb")
    return image


def _columns(root: TreeNode) -> dict[Any, float]:
    """A place from left to right for each node: leaves side by side, a parent above its middle."""
    places: dict[Any, float] = {}
    leaves = 0

    def walk(node: TreeNode) -> float:
        nonlocal leaves
        if node.children:
            places[node] = sum(walk(child) for child in node.children) / len(node.children)
        else:
            places[node] = float(leaves)
            leaves += 1
        return places[node]

    walk(root)
    return places


def beside(frame: NDArray[np.uint8], panel: Image.Image) -> NDArray[np.uint8]:
    """A picture [height, width, 3] with a panel to its right."""
    width = frame.shape[1] + panel.width
    joined = Image.new("RGB", (width, max(frame.shape[0], panel.height)), _PAPER)
    joined.paste(Image.fromarray(frame), (0, 0))
    joined.paste(panel, (frame.shape[1], 0))
    return np.asarray(joined)
