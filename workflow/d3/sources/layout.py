"""Layouts: how the columns of a data set become those of The Stack.

A layout is found by the columns of a shard, or of a line of JSON: the first of `LAYOUTS` whose `needs` are
among them. Only a text is required. Columns that a data set lacks are null, others are ignored. To add a data
set, add a module in `d3.sources.layouts` and its name here.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from d3.core.tables import Row
from d3.sources.layouts import dolma, plain, stack_v2, stack_v3, starcoderdata, the_stack, the_stack_smol
from d3.sources.spec import Layout

LAYOUTS: tuple[Layout, ...] = (
    *(the_stack.SPEC, the_stack_smol.SPEC, starcoderdata.SPEC, stack_v2.SPEC, plain.SPEC, dolma.SPEC, stack_v3.SPEC),
)


def layout_of(names: Iterable[str], columns: Mapping[str, str]) -> Layout | None:
    """Return the layout of a table with these columns, None if it has no text.

    `columns` is the user's map from columns of The Stack to those of the table (`source.columns`).
    """
    return _layout_of(frozenset(names), tuple(sorted(columns.items())))


@lru_cache(maxsize=1000)
def _layout_of(names: frozenset[str], columns: tuple[tuple[str, str], ...]) -> Layout | None:
    found = next((layout for layout in LAYOUTS if layout.needs <= names), None)
    own = {name: (path,) for name, path in columns}
    if "content" in own:
        text = own["content"][0].partition(".")[0]
        known = {} if found is None or found.files else found.columns
        return Layout(name="columns", needs=frozenset([text]), columns={**known, **own}) if text in names else None
    if found is None or not own:
        return found
    return Layout(name=found.name, needs=found.needs, columns={**found.columns, **own}, files=found.files)


def stack_rows(raw: Row, layout: Layout) -> Iterator[Row]:
    """Yield the rows of The Stack that a row of a data set stands for, one for each of its files."""
    if not layout.files:
        yield _mapped(raw, layout)
        return
    files = raw.get(layout.files)
    for file in files if isinstance(files, list) and files else [None]:
        yield _mapped({**raw, layout.files: file if isinstance(file, dict) else {}}, layout)


def _mapped(raw: Row, layout: Layout) -> Row:
    return {
        name: raw.get(paths[0]) if len(paths) == 1 and "." not in paths[0] else _first(raw, paths)
        for name, paths in layout.columns.items()
    }


def _first(raw: Row, paths: Iterable[str]) -> Any:
    """Return what lies at the first path, such as `metadata.path`, that leads to something."""
    for path in paths:
        value: Any = raw
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None
