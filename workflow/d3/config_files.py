"""The files that are made from the configuration's models: the demo's config, the schema, the table.

`python -m d3 config --write` writes them; a test fails with the difference when one is out of date.
"""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from d3.config import Config
from d3.tables import written_whole

ROOT = Path(__file__).parents[2]
HEADER = """\
# The demo: small enough for two cores, runs anywhere. These are also the defaults of every key.
# Made from the models in workflow/d3/config.py by `python -m d3 config --write`: edit freely,
# wrong keys, types and ranges are answered before any job starts.
"""
TABLE_HEADER = """\
# Configuration

`config.yaml` is the demo and the default of every key, `d3.yaml` the scale of the paper. Run another
one with `snakemake --configfile FILE`, or change single values with `--config 'corpus={sample: 10}'`.
What a machine decides (threads, memory, partitions, GPUs) is not here but in `profiles/`.

`[authors' code]`, `[dataset card]` and `[abstract]` mark what is known of the paper; every other
default is ours. `prompts/` holds the templates, `versions.tsv` pins every external thing.

This table is made from the models in `workflow/d3/config.py` by `python -m d3 config --write`.

| key | default | meaning |
|---|---|---|
"""


def one_line(text: str | None) -> str:
    """Give a description on one line."""
    return " ".join((text or "").split())


def written(value: Any) -> str:
    """Write one value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")


def commented_yaml(section: BaseModel, depth: int = 0) -> Iterator[str]:
    """Yield the lines of a section as YAML, each key under its description."""
    indent = "  " * depth
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        text = one_line(description(field, value))
        if depth == 0:
            yield ""
        yield from (f"{indent}# {line}" for line in textwrap.wrap(text, 96 - len(indent)))
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from commented_yaml(value, depth + 1)
        elif isinstance(value, dict):
            yield f"{indent}{name}:"
            for key, item in value.items():
                yield f"{indent}  {key}: {written(item.model_dump(mode='json'))}"
        else:
            yield f"{indent}{name}: {written(section.model_dump(mode='json')[name])}"


def description(field: FieldInfo, value: Any) -> str | None:
    """Give what a field is about: its own description, else that of its section."""
    if field.description:
        return field.description
    return type(value).__doc__ if isinstance(value, BaseModel) else None


def table_rows(section: BaseModel, prefix: str = "") -> Iterator[str]:
    """Yield one line of the table for every key."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from table_rows(value, f"{prefix}{name}.")
            continue
        plain = section.model_dump(mode="json")[name]
        meaning = one_line(description(field, value)).replace("|", "\\|")
        yield f"| `{prefix}{name}` | `{written(plain)}` | {meaning} |"


def config_files() -> dict[Path, str]:
    """Give the text of every generated file by its path."""
    config = Config()
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    return {
        ROOT / "config" / "config.yaml": HEADER + "\n".join(commented_yaml(config)) + "\n",
        ROOT / "config" / "README.md": TABLE_HEADER + "\n".join(table_rows(config)) + "\n",
        ROOT / "workflow" / "schemas" / "config.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
    }


def write_config_files() -> None:
    """Write all generated files."""
    for path, text in config_files().items():
        with written_whole(path) as part:
            part.write_text(text, encoding="utf-8")
