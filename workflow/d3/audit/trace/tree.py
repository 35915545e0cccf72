"""A trace as a tree of nodes, and how it is shown: as text, JSON, or a Mermaid flowchart."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from d3.core.printable import printable
from d3.core.terminal import Branch, tree_text

PLAIN = " .,:/@_-()…"
"""Characters of a label, besides letters and digits, that mean nothing to Mermaid."""


@dataclass(kw_only=True, slots=True)
class Node:
    """One thing of a trace and what it came from (or, below a file's text, where it went)."""

    name: str
    """What it is, unique in the trace: a second node of that name is only a reference."""
    text: str
    """The line that is printed."""
    notes: list[str] = field(default_factory=list)
    """More lines about it: what its job was given."""
    data: dict[str, Any] = field(default_factory=dict)
    """The same as values, for JSON."""
    children: list["Node"] = field(default_factory=list)


def as_text(root: Node, depth: int | None = None, *, short: bool = False) -> str:
    """Return a tree of lines; a node that stands above already is only named, with its children left out.

    Below `depth` levels the tree says how much it leaves out; `short` leaves out the first
    note of every node below the root.
    """
    return tree_text(_branch(root, depth, set(), 1 if short else 0, 0))


def _branch(node: Node, depth: int | None, seen: set[str], left_out: int, level: int) -> Branch:
    """Return what is shown of a node; `left_out` is how many notes of a node below the root are not."""
    if node.name in seen:
        return Branch(text=f"{node.text} (see above)" if node.children or node.notes else node.text)
    seen.add(node.name)
    branch = Branch(text=node.text, notes=node.notes[left_out if level else 0 :])
    if depth is not None and level >= depth and node.children:
        branch.children = [Branch(text=f"… {_count(node) - 1} more, see --depth")]
    else:
        branch.children = [_branch(child, depth, seen, left_out, level + 1) for child in node.children]
    return branch


def _count(node: Node) -> int:
    return len({name for name, _ in _all(node)})


def _all(node: Node) -> Iterator[tuple[str, Node]]:
    waiting, seen = [node], set()
    while waiting:
        item = waiting.pop(0)
        if item.name not in seen:
            seen.add(item.name)
            yield item.name, item
            waiting += item.children


def as_json(root: Node) -> str:
    """Return `{root, nodes: {name: {text, notes, data, children: [name]}}}` as JSON."""
    nodes = {
        name: {"text": node.text, "notes": node.notes, **node.data, "children": [child.name for child in node.children]}
        for name, node in _all(root)
    }
    return json.dumps({"root": root.name, "nodes": nodes}, indent=1)


def as_mermaid(root: Node) -> str:
    """Return the tree as a Mermaid flowchart, from what is traced to its sources, with every node once.

    GitHub, GitLab, Jupyter and https://mermaid.live draw it.
    """
    nodes = dict(_all(root))
    number = {name: f"n{place}" for place, name in enumerate(nodes)}
    lines = ["flowchart LR"]
    for name, node in nodes.items():
        label = "<br/>".join(map(_escaped, [node.text, *node.notes[:1]]))
        lines.append(f'    {number[name]}["{label}"]')
    for name, node in nodes.items():
        lines += [f"    {number[name]} --> {number[child.name]}" for child in node.children]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Write every character that Mermaid or a browser may interpret as the code of a character."""
    return "".join(letter if letter.isalnum() or letter in PLAIN else f"#{ord(letter)};" for letter in printable(text))
