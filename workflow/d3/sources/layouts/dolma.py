"""Dolma documents: a text, and whatever is known of it below `metadata`."""

from d3.core.schemas import METADATA
from d3.sources.spec import Layout

ALSO = {"max_stars_repo_name": "repo_name", "max_stars_repo_path": "path", "max_stars_repo_licenses": "licenses"}

SPEC = Layout(
    name="dolma",
    needs=frozenset({"text"}),
    columns={"content": ("text",)}
    | {name: (f"metadata.{name}", f"metadata.{ALSO.get(name, name)}") for name in (field.name for field in METADATA)},
)
