"""The lineage graph of a run as SVG: its stages in rows from the source to the report, with an edge for each input."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, BOX, HEIGHT, GAP = 320, 98, 32, 20
"""Pixels of the drawing, a box and the space between rows; text of 11 pixels fits at the width of a phone."""
IN_ROW = 3
ONE_LINE, LONGEST_NAME = 12, 28


def drawing(stages: Sequence[Mapping[str, Any]]) -> str:
    """Return the graph as an SVG element."""
    after = {row["stage"]: row["after"] for row in stages}
    levels: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in levels:
            levels[name] = 1 + max((level(above) for above in after[name]), default=-1)
        return levels[name]

    rows: list[list[str]] = []
    by_level: dict[int, list[str]] = {}
    for name in after:
        by_level.setdefault(level(name), []).append(name)
    for number in sorted(by_level):
        names = by_level[number]
        rows += [names[start : start + IN_ROW] for start in range(0, len(names), IN_ROW)]
    places = {}
    for number, names in enumerate(rows):
        for column, name in enumerate(names):
            left = (column + 0.5) * WIDTH / len(names)
            places[name] = (round(left), number * (HEIGHT + GAP) + HEIGHT // 2 + 4)
    lines = []
    for name, above in after.items():
        for other in above:
            (x1, y1), (x2, y2) = places[other], places[name]
            y1, y2 = y1 + HEIGHT // 2, y2 - HEIGHT // 2
            bend = (y1 + y2) // 2
            lines.append(f'<path d="M{x1} {y1}C{x1} {bend} {x2} {bend} {x2} {y2}"/>')
    size = f'width="{BOX}" height="{HEIGHT}" rx="5"'
    boxes = [
        f'<g><rect x="{x - BOX // 2}" y="{y - HEIGHT // 2}" {size}/>{_name(name, x, y)}</g>'
        for name, (x, y) in places.items()
    ]
    tall = len(rows) * (HEIGHT + GAP) - GAP + 8
    said = "; ".join(f"{name} after {', '.join(above)}" for name, above in after.items() if above)
    head = f'<svg class="lineage" viewBox="0 0 {WIDTH} {tall}" role="img" aria-label="{escape(said)}">'
    return f"{head}{''.join(lines)}{''.join(boxes)}</svg>"


def _name(name: str, x: int, y: int) -> str:
    """Return a name in the middle of its box, a long one in two lines."""
    shown = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    first, bar, rest = shown.partition("_")
    lines = [first + bar, rest] if len(shown) > ONE_LINE and bar else [shown]
    return "".join(
        f'<text x="{x}" y="{y + 4 + 12 * number - 6 * (len(lines) - 1)}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    )
