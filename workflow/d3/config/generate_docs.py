"""Generate the files made from the configuration's models: the defaults, their reference, the schema.

`python -m d3 config --write` writes them; a test fails with the difference when one is out of date.
"""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from d3.config.fields import Section
from d3.config.models import Config
from d3.core.paths import IMPORT_ROOT, REPOSITORY
from d3.core.tables import written_whole

YAML_HEADER = """\
# The default of every key: a run of full size, limited by nothing.
# A file of your own needs only the keys that differ; demo.yaml is a small run.
"""
README_HEADER = """\
# Configuration

A configuration decides what a run computes. What only concerns the machine (threads, memory, partitions, accounts)
belongs to a [profile](../profiles/README.md). A file needs only the keys that differ from the defaults, and a key that
is unknown or has an invalid value is rejected before any job starts.

| file | what it is |
|---|---|
| [`config.yaml`](config.yaml) | the default of every key: a run of full size |
| [`demo.yaml`](demo.yaml) | the demo: all limits that make a run small |
| [`d3.yaml`](d3.yaml) | the paper's scale, on a SLURM cluster |
| [`examples/own-files.yaml`](examples/own-files.yaml) | a folder of your own Python files |
| [`examples/vllm-node.yaml`](examples/vllm-node.yaml) | one machine with a GPU, vLLM in the jobs |
| [`examples/server.yaml`](examples/server.yaml) | a server with `/v1/completions`, such as `vllm serve` |
| [`examples/chat.yaml`](examples/chat.yaml) | a provider with chat alone; prices and a cap |
| [`examples/replay.yaml`](examples/replay.yaml) | no model: the responses of an earlier run |
| [`examples/adopted.yaml`](examples/adopted.yaml) | grades made elsewhere |
| [`examples/ablations.yaml`](examples/ablations.yaml) | no grades, no linter, no instructions |
| [`prompts/`](prompts) | Jinja templates |
| [`versions.tsv`](versions.tsv) | version, checksum, license and source of every embedded input |

The report names every limit in effect: each setting that leaves out more than its default does, and each embedded
input.

## Order of precedence

Later sources override earlier ones, key by key; a list is replaced as a whole.

1. The defaults below.
2. What follows from your own inputs: `tokens` from `model`, `source.name` from `source.shards`.
3. The profile: its `configfile:` and `config:` entries, if it has any (those of this repository have none).
4. `--configfile FILE ...`, from left to right. It replaces the profile's `configfile:` entry.
5. `--config 'corpus={sample: 10}'`. It replaces the profile's `config:` entry.
6. `--set corpus.sample=10` of commands such as `d3 plan`, which read one file with `--config FILE`.

`d3 config --config FILE` validates a file and prints it with all defaults.

## Keys

`[authors' code]`, `[dataset card]` and `[abstract]` mark facts about the paper, `[pylintseq]` a default of the
pylintseq command; every other default is ours. Blocks that several sections share are at the end; a section shows
where its default differs from the block's. Generated from `workflow/d3/config` by `d3 config --write`.
"""


def one_line(text: str | None) -> str:
    """Join a description into one line."""
    return " ".join((text or "").split())


def as_yaml(value: Any) -> str:
    """Return a value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")


def commented_yaml(section: Section, explained: dict[type, str], path: str = "") -> Iterator[str]:
    """Yield the lines of a section as YAML, each key below its description; a repeated block is explained once."""
    indent = "  " * path.count(".")
    known = explained.setdefault(type(section), path) != path
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        text = one_line(field.description or (type(value).__doc__ if isinstance(value, Section) else None))
        if isinstance(value, Section) and type(value) in explained:
            text += f" Its keys are explained at `{explained[type(value)].removesuffix('.')}`."
        if not path:
            yield ""
        if not known:
            yield from (f"{indent}# {line}" for line in textwrap.wrap(text, 96 - len(indent)))
        plain = section.model_dump(mode="json")[name]
        nested = isinstance(value, Section) or (isinstance(value, dict) and value)
        yield f"{indent}{name}:" if nested else f"{indent}{name}: {as_yaml(plain)}"
        if isinstance(value, Section):
            yield from commented_yaml(value, explained, f"{path}{name}.")
        elif isinstance(value, dict):
            yield from (f"{indent}  {key}: {as_yaml(item)}" for key, item in plain.items())


def table(section: Section, blocks: dict[str, Section]) -> Iterator[str]:
    """Yield the table of a section's keys; add the blocks that it contains to `blocks`, to be explained once."""
    yield from ("", one_line(type(section).__doc__), "", "| key | default | meaning |", "|---|---|---|")
    plain = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        value, meaning = getattr(section, name), one_line(field.description).replace("|", "\\|")
        default = "" if field.is_required() else f"`{as_yaml(plain[name])}`"
        if isinstance(value, Section):
            block = type(value).__name__
            base = blocks.setdefault(block, type(value)()).model_dump(mode="json")
            changed = {key: item for key, item in plain[name].items() if item != base[key]}
            default = f"`{as_yaml(changed)}`" if changed else ""
            meaning += f" See [{block}](#{block.lower()})."
        elif value is None and (optional := _optional_section(field)):
            required: dict[str, Any] = {key: "" for key, inner in optional.model_fields.items() if inner.is_required()}
            blocks.setdefault(optional.__name__, optional.model_construct(**required))
        yield f"| `{name}` | {default} | {meaning} |"


def _optional_section(field: FieldInfo) -> type[Section] | None:
    """Return the section that a field holds unless it is null."""
    kinds = getattr(field.annotation, "__args__", ())
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def reference(config: Config) -> Iterator[str]:
    """Yield one table for each section of the configuration, then one for each block that sections share."""
    blocks: dict[str, Section] = {}
    for name, field in Config.model_fields.items():
        value, meaning = getattr(config, name), one_line(field.description)
        yield from ("", f"### {name}")
        if isinstance(value, Section):
            yield from table(value, blocks)
            continue
        default = as_yaml(config.model_dump(mode="json")[name])
        yield from ("", f"{meaning} Default: `{default}`.")
        if isinstance(value, dict):
            yield from table(next(iter(value.values())), blocks)
    for name, block in list(blocks.items()):
        yield from ("", f"### {name}", *table(block, blocks))


def config_files() -> dict[Path, str]:
    """Return the text of every generated file by its path."""
    config = Config()
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    return {
        REPOSITORY / "config" / "config.yaml": YAML_HEADER + "\n".join(commented_yaml(config, {})) + "\n",
        REPOSITORY / "config" / "README.md": README_HEADER + "\n".join(reference(config)) + "\n",
        IMPORT_ROOT / "schemas" / "config.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
    }


def write_config_files() -> None:
    """Write all generated files."""
    for path, text in config_files().items():
        with written_whole(path) as part:
            part.write_text(text, encoding="utf-8")
