"""Tokenization of a dataset shard with the Dolma toolkit, checked and put in the dataset's order.

`dolma tokens` strips documents, drops what it cannot read without an error, writes gigabytes of
zeros when there is nothing to write and orders documents differently at every run. So nothing is
given to it that it would lose, everything that it wrote is checked, and its output is rewritten in
the order of the dataset's rows. The same rows and tokenizer give the same bytes.

A shard is three files, published together:

- `NAME.npy`: token ids without a header (Dolma's format), every document closed by the end token, and begun as the
  tokenizer begins a text (`d3.core.example_tokens`), which the toolkit does not do;
- `NAME.csv.gz`: start, end, id, src, line of each document; `start` and `end` count tokens, `id` is
  the content id of the text, `src` the dataset file's name, `line` its row from 1;
- `NAME.json`: documents, tokens, number type, end token, vocabulary, digests, the rows dropped, and with
  `tokens.held_out` the lines of the documents whose files are held out from training (`held_out`).

This stage runs in the Dolma toolkit's environment, so it imports little.
"""

import csv
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from d3.config.models import Config
from d3.core.example_tokens import ExampleTokens, begins_with
from d3.core.ids import content_id, file_digest
from d3.core.progress import Progress, clock
from d3.core.schemas import DATASET
from d3.core.splits import is_held_out
from d3.core.tables import scratch_folder
from d3.core.tokenizer_file import Vocabulary
from d3.errors import InputError, ToolError
from d3.pipeline.checks import Faults, FinishedJob, read_columns, select
from d3.pipeline.job import Job

MAX_DOCUMENT_BYTES = 2**29
"""The Dolma toolkit never ends on a document of 2**30 tokens or more. No tokenizer makes more than
two tokens of a byte, so a shorter text is safe."""
BASE_SECONDS = 900
BYTES_PER_SECOND = 20_000
"""Time limit of `dolma tokens`: its start-up, and a thirtieth of the speed measured on one core."""
TAIL_LINES = 5
PROMPTS = 100
"""How many prompts are tokenized alone, to see that generation begins with the tokens that training shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A text handed to the Dolma toolkit."""

    line: int
    """Row of the dataset, from 1."""
    id: str
    """Content id of the text."""
    prompt: str | None = None
    """Its prompt; of the first documents only."""
    held_out: bool = False
    """Whether its source file is held out from training."""


def run(config: Config, dataset: Path, out: Path, *, tokenizer: Path) -> None:
    """Tokenize a dataset shard with the Dolma toolkit; needs the dolma environment.

    The column `completion` becomes the memory map `out` (NAME.npy).
    `tokenizer` is a model's folder. Rows that the Dolma toolkit would lose or change are dropped
    with a reason: null, empty, outer_whitespace, not_unicode, too_long. A shard without documents
    becomes an empty map. Raises InputError for what cannot be read and ToolError when the Dolma
    toolkit fails or its output is not what it must be.

    Example: d3 tokens --dataset data.parquet --tokenizer MODEL --out tokens.npy
    """
    if out.suffix != ".npy":
        raise InputError("the output must be named NAME.npy", where=str(out), remedy="rename it")
    vocabulary = Vocabulary.read(tokenizer, config.tokens.added)
    with Job("tokens", config=config) as job, scratch_folder(out, "dolma") as folder:
        job.input(tokenizer / "tokenizer.json")
        maps = job.file(out)
        bounds = job.file(out.with_suffix(".csv.gz"))
        manifest = job.file(out.with_suffix(".json"))
        dropped: list[dict[str, Any]] = []
        documents = list(_write_documents(job, dataset, folder / "documents.jsonl", dropped, config.tokens.held_out))
        if documents:
            _tokenize(folder, vocabulary)
        parts = _read_parts(folder / "out", vocabulary, len(documents))
        encoder = ExampleTokens(vocabulary.legacy(), vocabulary.added)
        _check_prompts(documents, parts, encoder, dataset)
        tokens = _write_shard(documents, parts, encoder.begin, dataset.name, maps, bounds)
        notes = {
            "documents": len(documents),
            "tokens": tokens,
            "dtype": vocabulary.dtype,
            "eos_id": vocabulary.eos_id,
            "begin_ids": encoder.begin,
            "vocabulary": vocabulary.size,
            "tokenizer_sha256": vocabulary.sha256,
            "sha256": file_digest(maps),
            "dropped": dropped,
        }
        if config.tokens.held_out:
            notes["held_out"] = [document.line for document in documents if document.held_out]
        manifest.write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")
    lost = f", {len(dropped)} rows dropped: {dict(sorted(job.dropped.items()))}" if dropped else ""
    print(f"tokens: {len(documents)} documents, {tokens} tokens{lost}", file=sys.stderr)


def _write_documents(
    job: Job, dataset: Path, path: Path, dropped: list[dict[str, Any]], held_out: float
) -> Iterator[Document]:
    """Write Dolma documents, whose id is their line, and yield what was written."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        columns = select(DATASET, "prompt", "completion", *(["source_program_id"] if held_out else []))
        for line, row in enumerate(job.rows(dataset, columns), start=1):
            text = row["completion"]
            reason = _unfit(text)
            if reason:
                job.drop(reason)
                dropped.append({"line": line, "reason": reason})
                continue
            file.write(json.dumps({"id": str(line), "text": text}) + "\n")
            job.keep()
            yield Document(
                line=line,
                id=content_id(text),
                prompt=row["prompt"] if job.kept <= PROMPTS else None,
                held_out=bool(held_out) and is_held_out(row["source_program_id"], held_out),
            )


def _unfit(text: str | None) -> str | None:
    """Say why the Dolma toolkit would lose or change a text, None if it would not."""
    if text is None:
        return "null"
    if not text.strip():
        return "empty"
    if text != text.strip():
        return "outer_whitespace"
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return "not_unicode"
    return "too_long" if size > MAX_DOCUMENT_BYTES else None


def _tokenize(folder: Path, vocabulary: Vocabulary) -> None:
    """Run `dolma tokens` on `documents.jsonl`; its files come to lie in `out`.

    It works in the folder and is given names of ours alone: in paths it resolves patterns, URLs and `${...}`.
    """
    command = Path(sys.executable).with_name("dolma")
    if not command.exists():
        raise ToolError(
            "the Dolma toolkit is not in this environment",
            where=str(command),
            remedy="run this stage with the python of .venv-dolma",
        )
    settings = folder / "tokenizer.json"
    plain = vocabulary.legacy() | {"post_processor": None}  # what it would put before a text, `_write_shard` does
    settings.write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")
    # The toolkit looks for this folder when it is imported, and asks the network if it is missing.
    (folder / "nltk" / "tokenizers" / "punkt").mkdir(parents=True)
    (folder / "tmp").mkdir()
    documents = folder / "documents.jsonl"
    arguments = {
        "documents": documents.name,
        "destination": "out",
        "tokenizer.name_or_path": settings.name,
        "tokenizer.eos_token_id": vocabulary.eos_id,
        "tokenizer.pad_token_id": vocabulary.eos_id,
        "tokenizer.encode_special_tokens": None,
        "dtype": vocabulary.dtype,
        "processes": 1,
        "work_dir.input": "tmp/input",
        "work_dir.output": "tmp/output",
    }
    options = [str(part) for name, value in arguments.items() for part in (f"--{name}", value) if part is not None]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "NLTK_DATA": "nltk",
        "TOKENIZERS_PARALLELISM": "false",
    }
    limit = BASE_SECONDS + documents.stat().st_size / BYTES_PER_SECOND
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(command.absolute()), "tokens", *options],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = _wait(process, log, limit)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code is None:
        raise ToolError(f"`dolma tokens` did not end in {clock(limit)}", remedy="make the shard smaller")
    if code != 0:
        raise ToolError(f"`dolma tokens` ended with {code}: {_tail(log)}", remedy="see the lines quoted here")


def _wait(process: "subprocess.Popen[bytes]", log: Path, limit: float) -> int | None:
    """Wait for the toolkit while showing its own count of documents; None when the limit is reached."""
    start = time.monotonic()
    shown = start
    while True:
        try:
            return process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            now = time.monotonic()
        if now - start > limit:
            return None
        if now - shown >= 10:
            shown = now
            counts = re.findall(rb"documents: ([0-9.]+[kMG]?)d", log.read_bytes()[-4000:])
            done = f"{counts[-1].decode()} documents, " if counts else ""
            print(f"dolma tokens: {done}{clock(now - start)} so far", file=sys.stderr, flush=True)


def _tail(log: Path) -> str:
    """Return the last lines of a log as one line."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", log.read_text(encoding="utf-8", errors="replace"))]
    return " | ".join([line for line in lines if line.strip("^~")][-TAIL_LINES:])


# --- checking and rewriting -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What the Dolma toolkit wrote, checked."""

    maps: list[np.ndarray[Any, Any]]
    """Memory maps of token ids."""
    places: dict[int, tuple[int, int, int]]
    """Line of a document -> number of its map, first token, token after the last."""


def _read_parts(folder: Path, vocabulary: Vocabulary, expected: int) -> Parts:
    """Open and check the toolkit's output; raises ToolError for anything that is not as it must be."""
    maps: list[np.ndarray[Any, Any]] = []
    places: dict[int, tuple[int, int, int]] = {}
    for path in sorted(folder.glob("*.npy")):
        with gzip.open(path.with_suffix(".csv.gz"), "rt", newline="") as lines:
            rows = [(int(start), int(end), int(name)) for start, end, name, _, _ in csv.reader(lines)]
        size = path.stat().st_size
        last = max((end for _, end, _ in rows), default=0)
        if size != last * np.dtype(vocabulary.dtype).itemsize:
            raise _broken(f"{path.name} has {size} bytes but its documents end at token {last}")
        if not rows:
            continue
        tokens = np.memmap(path, dtype=vocabulary.dtype, mode="r")
        at = 0
        for start, end, line in sorted(rows):
            if start != at or end - start < 2:  # at least one token and the end token
                raise _broken(f"document {line} has the tokens {start} to {end}, after token {at}")
            if line in places:
                raise _broken(f"document {line} was written twice")
            places[line] = (len(maps), start, end)
            at = end
        ends = np.fromiter((end for _, end, _ in rows), dtype=np.int64) - 1
        closed = tokens == vocabulary.eos_id
        if not closed[ends].all() or int(closed.sum()) != len(rows) or int(tokens.max()) >= vocabulary.size:
            raise _broken(f"{path.name} holds foreign tokens, or end tokens elsewhere than at the ends of documents")
        maps.append(tokens)
    if len(places) != expected:
        log = folder.parent / "log"
        said = f"; its last lines: {_tail(log)}" if log.exists() else ""
        raise _broken(f"{expected} documents were given and {len(places)} written{said}")
    return Parts(maps=maps, places=places)


def _broken(what: str) -> ToolError:
    return ToolError(f"`dolma tokens` lost something: {what}", remedy="report this with the dataset's first rows")


def _check_prompts(documents: list[Document], parts: Parts, encoder: ExampleTokens, dataset: Path) -> None:
    """Raise InputError if a prompt alone is written in other tokens than before its answer."""
    for document in documents[:PROMPTS]:
        if document.prompt is None:
            continue
        number, start, end = parts.places[document.line]
        prompt = encoder.prompt(document.prompt)[len(encoder.begin) :]
        if not begins_with(parts.maps[number][start:end].tolist(), prompt):
            raise InputError(
                f"row {document.line}: this tokenizer writes the prompt alone in other tokens than before its answer, "
                "so that a model would be asked what it was not trained on",
                where=str(dataset),
                remedy="use another tokenizer, or check that `completion` begins with `prompt`",
            )


def _write_shard(
    documents: list[Document], parts: Parts, begin: list[int], source: str, maps: Path, bounds: Path
) -> int:
    """Write the memory map and its table in the order of `documents`; return the number of tokens."""
    at = 0
    head = np.array(begin, parts.maps[0].dtype if parts.maps else np.uint8).tobytes()
    progress = Progress("tokens", len(documents), "documents")
    with maps.open("wb") as tokens, bounds.open("wb") as raw:
        packed = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)
        with io.TextIOWrapper(packed, encoding="utf-8", newline="") as text:
            table = csv.writer(text)
            for document in documents:
                number, start, end = parts.places[document.line]
                tokens.write(head + parts.maps[number][start:end].tobytes())
                length = len(begin) + end - start
                table.writerow((at, at + length, document.id, source, document.line))
                at += length
                progress.advance()
        for file in (tokens, raw):
            file.flush()
            os.fsync(file.fileno())
    progress.close()
    return at


def check(job: FinishedJob) -> Faults:
    """Check that documents cover the token map, and the tokens of a sample of them."""
    maps, bounds, manifest = (job.name(place) for place in range(3))
    notes = json.loads(job.path(2).read_bytes())
    with gzip.open(job.path(1), "rt", newline="") as lines:
        rows = [(int(start), int(end), name, int(line)) for start, end, name, _, line in csv.reader(lines)]
    kind = np.dtype(notes["dtype"])
    ends = [0, *(end for _, end, _, _ in rows)]
    if [start for start, _, _, _ in rows] != ends[:-1] or job.path().stat().st_size != ends[-1] * kind.itemsize:
        yield bounds, "its documents do not cover the token map"
        return
    if (notes["documents"], notes["tokens"], notes["sha256"]) != (len(rows), ends[-1], job.outputs[maps]):
        yield manifest, "does not describe the token map beside it"
    if (job.counts["kept"], sum(job.counts["dropped"].values())) != (notes["documents"], len(notes["dropped"])):
        yield manifest, "counts other documents than the statement"
    if not rows:
        return
    tokens = np.memmap(job.path(), dtype=kind, mode="r")
    if int(tokens.max()) >= notes["vocabulary"] or not (tokens[np.array(ends[1:]) - 1] == notes["eos_id"]).all():
        yield maps, "contains ids outside of the vocabulary, or documents without an end token"
    chosen = {row[3]: row for row in job.draw.sample(rows, min(job.sample, len(rows)))}
    added = (job.config.get("tokens") or {}).get("added")
    if not added and notes["tokenizer_sha256"] not in job.inputs.values():
        yield manifest, "names a tokenizer that is no input"
    tokenizer = _check_tokenizer(job, notes["tokenizer_sha256"], added)
    if added and tokenizer is None and any((job.root / name).name == "tokenizer.json" for name in job.inputs):
        yield manifest, "names a tokenizer that is no input with the tokens that were added"
    for dataset in job.inputs_of("dataset"):
        for line, row in enumerate(read_columns([dataset], DATASET, "completion"), start=1):
            if line not in chosen:
                continue
            start, end, name, _ = chosen[line]
            if content_id(row["completion"]) != name:
                yield bounds, f"document {line} is not row {line - 1} of {dataset.name}"
            elif tokenizer and tokenizer.example(row["completion"]) != tokens[start : end - 1].tolist():
                yield maps, f"the tokens of document {line} are not those of its text"


def _check_tokenizer(job: FinishedJob, sha256: str, added: list[str] | None) -> ExampleTokens | None:
    """Return the tokenizer that made the token map, or None when its file is lost."""
    for name in job.inputs:
        path = job.root / name
        if path.name == "tokenizer.json" and path.is_file():
            vocabulary = Vocabulary.read(path.parent, added)
            if vocabulary.sha256 == sha256:
                return ExampleTokens(vocabulary.settings, vocabulary.added)
    return None
