"""Dolma documents: a text, and whatever is known of it below `metadata`."""

from d3.core.schemas import METADATA
from d3.sources.spec import Layout

SPEC = Layout(
    name="dolma",
    needs=frozenset({"text"}),
    columns={"content": ("text",)} | {field.name: (f"metadata.{field.name}",) for field in METADATA},
)
