"""Checks of what is made of the dataset: tokens, models, verdicts, scores, and the report."""

import json
from math import comb
from pathlib import Path
from typing import Any

from d3 import records
from d3.identity import content_id
from d3.lineage.rowchecks import Checker, Faults
from d3.statement import SHORT
from d3.tables import count_rows


def tokens(check: Checker) -> Faults:
    """Check token maps: their documents, and the tokens of a sample of them."""
    import csv
    import gzip

    import numpy as np

    maps, bounds, manifest = (item.path for item in check.statement.outputs[:3])
    notes = json.loads(check.out(2).read_bytes())
    with gzip.open(check.out(1), "rt", newline="") as lines:
        rows = [(int(start), int(end), name, int(line)) for start, end, name, _, line in csv.reader(lines)]
    kind = np.dtype(notes["dtype"])
    ends = [0, *(end for _, end, _, _ in rows)]
    if [start for start, _, _, _ in rows] != ends[:-1] or check.out().stat().st_size != ends[-1] * kind.itemsize:
        yield bounds, "its documents do not cover the token map"
        return
    if (notes["documents"], notes["tokens"], notes["sha256"]) != (
        len(rows), ends[-1], check.statement.outputs[0].sha256
    ):  # fmt: skip
        yield manifest, "does not describe the token map beside it"
    counts = check.statement.counts
    if (counts["kept"], sum(counts["dropped"].values())) != (notes["documents"], len(notes["dropped"])):
        yield manifest, "counts other documents than the statement"
    chosen = {row[3]: row for row in check.draw.sample(rows, min(check.sample, len(rows)))}
    tokens = np.memmap(check.out(), dtype=kind, mode="r") if rows else np.zeros(0, dtype=kind)
    if rows and (
        int(tokens.max()) >= notes["vocabulary"] or not (tokens[np.array(ends[1:]) - 1] == notes["eos_id"]).all()
    ):
        yield maps, "holds ids outside of the vocabulary, or documents without an end token"
    tokenizer = _tokenizer(check, notes)
    for dataset in check.inputs("dataset"):
        for line, row in enumerate(check.rows(dataset, records.DATASET, "completion"), start=1):
            if line not in chosen:
                continue
            start, end, name, _ = chosen[line]
            if content_id(row["completion"]) != name:
                yield bounds, f"document {line} is not row {line - 1} of {dataset.name}"
            elif tokenizer and tokenizer.encode(row["completion"], add_special_tokens=False).ids != list(
                map(int, tokens[start : end - 1])
            ):
                yield maps, f"the tokens of document {line} are not those of its text"


def _tokenizer(check: Checker, notes: dict[str, Any]) -> Any:
    """Give the tokenizer that made a token map, or None when it is not there any more."""
    for item in check.statement.inputs:
        path = check.run.root / item.path
        if path.name == "tokenizer.json" and item.sha256 == notes["tokenizer_sha256"] and path.is_file():
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(path))
            tokenizer.encode_special_tokens = True
            return tokenizer
    return None


def model(check: Checker) -> Faults:
    """Check a model: its record of rows, and that weights are whole."""
    path = check.statement.outputs[0].path
    record = json.loads((check.out() / "training.json").read_bytes())
    counts = {name: check.statement.counts[name] for name in ("read", "kept", "dropped")}
    if record["rows"] != counts:
        yield path, f"training.json counts {record['rows']}, the statement {counts}"
    for weights in sorted(check.out().glob("*.safetensors")):
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        last = max(item["data_offsets"][1] for name, item in header.items() if name != "__metadata__")
        if weights.stat().st_size != 8 + length + last:
            yield path, f"{weights.name} does not hold the tensors that it announces"


def execute(check: Checker) -> Faults:
    """Check that the samples that were written are those that were judged."""
    path = check.statement.outputs[0].path
    statuses = {(row["task_id"], row["sample"]): row["status"] for source in check.inputs("generate")
                for row in check.rows(source, records.SAMPLES, "task_id", "sample", "status")}  # fmt: skip
    seen: set[tuple[str, int]] = set()
    for row in check.rows(check.out(), records.VERDICTS, "task_id", "sample", "verdict"):
        key = (row["task_id"], row["sample"])
        seen.add(key)
        if (statuses.get(key) == "ok") != (row["verdict"] != "no_program"):
            yield path, f"{key[0]}, sample {key[1]}: {row['verdict']} for a sample that is {statuses.get(key)}"
    if seen != set(statuses):
        yield path, "judges other samples than were written"


def scores(check: Checker) -> Faults:
    """Work pass@k and the counts out again from the verdicts."""
    path = check.statement.outputs[0].path
    score = json.loads(check.out().read_bytes())
    tasks: dict[str, list[str]] = {}
    for source in check.inputs("execute"):
        for row in check.rows(source, records.VERDICTS, "task_id", "verdict"):
            tasks.setdefault(row["task_id"], []).append(row["verdict"])
    for k, said in score["pass_at_k"].items():
        rates = [1 - comb(len(v) - v.count("passed"), int(k)) / comb(len(v), int(k)) for v in tasks.values()]
        if abs(sum(rates) / len(rates) - said["value"]) > 1e-12 or not said["low"] <= said["value"] <= said["high"]:
            yield path, f"pass@{k} is {said['value']}, the verdicts give {sum(rates) / len(rates)}"
    counted = {row["task_id"]: (row["samples"], row["passed"]) for row in score["per_task"]}
    if counted != {name: (len(v), v.count("passed")) for name, v in tasks.items()}:
        yield path, "its counts by task are not those of the verdicts"
    verdicts = [verdict for several in tasks.values() for verdict in several]
    if score["verdicts"] != {name: verdicts.count(name) for name in set(verdicts)}:
        yield path, "its verdicts are not those of the verdict table"


def report(check: Checker) -> Faults:
    """Compare the numbers with the scores, and the page and the table with the numbers."""
    from d3.report.page import attrition_table, render

    files = {Path(item.path).suffix: check.run.root / item.path for item in check.statement.outputs}
    name = {Path(item.path).suffix: item.path for item in check.statement.outputs}
    numbers = json.loads(files[".json"].read_bytes())
    scores = [json.loads(path.read_bytes()) for path in check.inputs("scores")]
    wanted = {
        f"pass@{k}/{score['benchmark']}/{score['arm']}": {part: said[part] for part in ("value", "low", "high")}
        for score in scores
        for k, said in score["pass_at_k"].items()
    }
    key = {row["name"]: row for row in numbers["key"]}
    for number, said in wanted.items():
        if {part: key[number][part] for part in said} != said:
            yield name[".json"], f"{number} is {key[number]['value']}, the scores say {said['value']}"
    counted = {
        "files_kept": [count_rows(path) for path in check.inputs("corpus") if path.parent.name != "rejected"],
        "dataset_rows": [count_rows(path) for path in check.inputs("dataset", "data")],
        "tokens": [json.loads(path.read_bytes())["tokens"] for path in check.inputs("tokens")],
    }
    for number, rows in counted.items():
        if key[number]["value"] != sum(rows):
            yield name[".json"], f"{number} is {key[number]['value']}, the files give {sum(rows)}"
    if files[".tsv"].read_text(encoding="utf-8") != attrition_table(numbers):
        yield name[".tsv"], "is not the table of the numbers beside it"
    if _same_code(check) and files[".html"].read_text(encoding="utf-8") != render(numbers):
        yield name[".html"], "is not the page of the numbers beside it"


def _same_code(check: Checker) -> bool:
    """Tell whether the code that made the report is the code that is here: only then pages can be compared."""
    from d3.provenance import code_digest

    return bool(check.statement.internal.get("code") == code_digest("d3.report.page")[:SHORT])
