"""A trace as a tree of nodes, and how it is shown: as text, JSON, or a drawing."""

import html
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

BOX = (300, 46)
GAP = (40, 26)
SHOWN_LETTERS = 44


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
    """Give a tree of lines; a node that stands above already is only named, with its children left out.

    Below `depth` levels the tree says how much it leaves out; `short` leaves out the first
    note of every node below the root.
    """
    return "\n".join(_lines(root, "", "", depth, set(), short))


def _lines(node: Node, head: str, rest: str, depth: int | None, seen: set[str], short: bool) -> Iterator[str]:
    if node.name in seen:
        yield f"{head}{node.text} (see above)" if node.children or node.notes else f"{head}{node.text}"
        return
    seen.add(node.name)
    yield head + node.text
    deep = depth is not None and depth <= 0
    below = rest + ("│  " if node.children else "   ")
    notes = node.notes if not short or not rest else node.notes[1:]
    yield from (f"{below}{note}" for note in notes)
    if deep and node.children:
        yield f"{rest}└─ … {_count(node) - 1} more, see --depth"
        return
    for place, child in enumerate(node.children, start=1):
        last = place == len(node.children)
        joint, gap = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield from _lines(child, rest + joint, rest + gap, None if depth is None else depth - 1, seen, short)


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
    """Give `{root, nodes: {name: {text, notes, data, children: [name]}}}` as JSON."""
    nodes = {
        name: {"text": node.text, "notes": node.notes, **node.data, "children": [child.name for child in node.children]}
        for name, node in _all(root)
    }
    return json.dumps({"root": root.name, "nodes": nodes}, indent=1, ensure_ascii=False)


def as_svg(root: Node) -> str:
    """Give a drawing: every node once, in a column as far right as its longest way from the root."""
    nodes = dict(_all(root))
    level = {root.name: 0}
    for _ in nodes:  # longest paths settle after as many rounds as there are nodes
        moved = False
        for name, node in nodes.items():
            for child in node.children:
                if name in level and level.get(child.name, -1) < level[name] + 1 <= len(nodes):
                    level[child.name], moved = level[name] + 1, True
        if not moved:
            break
    rows: dict[int, int] = {}
    places = {}
    for name in nodes:
        column = level[name]
        row = rows[column] = rows.get(column, -1) + 1
        places[name] = (GAP[0] + column * (BOX[0] + GAP[0] * 2), GAP[1] + row * (BOX[1] + GAP[1]))
    width = max(x for x, _ in places.values()) + BOX[0] + GAP[0]
    height = max(y for _, y in places.values()) + BOX[1] + GAP[1]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">',
        "<style>rect{fill:#fff;stroke:#456;rx:5}path{fill:none;stroke:#9ab}.n{fill:#567;font-size:10px}"
        "@media(prefers-color-scheme:dark){svg{background:#16191d}rect{fill:#22272e}text{fill:#dde}.n{fill:#9ab}}"
        "</style>",
    ]
    for name, node in nodes.items():
        for child in node.children:
            (x1, y1), (x2, y2) = places[name], places[child.name]
            x1, y1, y2 = x1 + BOX[0], y1 + BOX[1] // 2, y2 + BOX[1] // 2
            parts.append(f'<path d="M{x1} {y1} C{x1 + 40} {y1} {x2 - 40} {y2} {x2} {y2}"/>')
    for name, node in nodes.items():
        x, y = places[name]
        title = html.escape("\n".join([node.text, *node.notes]))
        note = node.notes[0] if node.notes else str(node.data.get("path", ""))
        parts.append(
            f'<g><title>{title}</title><rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}"/>'
            f'<text x="{x + 8}" y="{y + 19}">{_short(node.text)}</text>'
            f'<text class="n" x="{x + 8}" y="{y + 36}">{_short(note)}</text></g>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def as_html(root: Node) -> str:
    """Give a page without scripts or outside resources: the drawing, and the tree as text."""
    title = html.escape(root.text)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        "<style>:root{color-scheme:light dark}body{font-family:sans-serif;margin:2em}div{overflow:auto}"
        "pre{overflow:auto}</style></head>\n"
        f"<body><h1>{title}</h1>\n<div>{as_svg(root)}</div>\n<pre>{html.escape(as_text(root))}</pre></body></html>\n"
    )


def _short(text: str) -> str:
    cut = text if len(text) <= SHOWN_LETTERS else text[: SHOWN_LETTERS - 1] + "…"
    return html.escape("".join(letter if letter.isprintable() else " " for letter in cut))
