"""Tokenization with the Dolma toolkit: run for real in its environment, and its output mistrusted."""

import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d3.config.models import Config
from d3.core import schemas
from d3.core.example_tokens import ExampleTokens, begins_with
from d3.core.ids import content_id
from d3.core.tokenizer_file import Vocabulary
from d3.errors import InputError, ToolError
from d3.stages import tokens
from helpers.corpus_tables import write_rows
from helpers.paths import ROOT
from helpers.split_tokenizers import examples, split_tokenizer
from helpers.tiny_models import library_texts

CODE = """
import sys
from pathlib import Path
from d3.stages import tokens
from d3.config.models import Config
from d3.errors import D3Error
try:
    tokens.run(Config(), Path(sys.argv[1]), Path(sys.argv[2]), tokenizer=Path(sys.argv[3]))
except D3Error as error:
    sys.exit(str(error))
"""


@pytest.fixture
def tokenizer(tiny_tokenizer: Path) -> Path:
    return tiny_tokenizer


def write_dataset(path: Path, texts: Sequence[str | None]) -> Path:
    return write_rows(path, schemas.DATASET, [{"completion": text} for text in texts])


def in_dolma_environment(dataset: Path, output: Path, tokenizer: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(ROOT / ".venv-dolma" / "bin" / "python"), "-c", CODE, str(dataset), str(output), str(tokenizer)]
    environment = {"PYTHONPATH": str(ROOT / "workflow"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def read_shard(output: Path) -> tuple[list[list[int]], list[list[str]], dict[str, Any]]:
    notes = json.loads(output.with_suffix(".json").read_bytes())
    ids = np.fromfile(output, dtype=notes["dtype"])
    with gzip.open(output.with_suffix(".csv.gz"), "rt", newline="") as lines:
        rows = list(csv.reader(lines))
    return [ids[int(row[0]) : int(row[1])].tolist() for row in rows], rows, notes


@pytest.mark.slow
def test_every_document_in_order_as_the_current_library_reads_it(tmp_path: Path, tokenizer: Path) -> None:
    from tokenizers import Tokenizer

    texts = [
        "print('<|im_end|><|endoftext|>')",
        "  indented",
        "",
        None,
        "newline at the end\n",
        "twice",
        "twice",
        "é漢字😀\t tab\n\n\n    indented\r\nlast \x0c line",
        *library_texts(6),
    ]
    dataset = write_dataset(tmp_path / "rows, all.parquet", texts)
    outputs = [tmp_path / run / "shard.npy" for run in ("one", "[t]w*?#${x}o=2")]
    for output in outputs:
        done = in_dolma_environment(dataset, output, tokenizer)
        assert done.returncode == 0, done.stderr
        assert "4 rows dropped: {'empty': 1, 'null': 1, 'outer_whitespace': 2}" in done.stderr
        assert sorted(path.name for path in output.parent.iterdir()) == [
            "shard.csv.gz",
            "shard.json",
            "shard.npy",
            "shard.npy.prov.json",
        ]
    for suffix in (".npy", ".csv.gz", ".json"):
        assert outputs[0].with_suffix(suffix).read_bytes() == outputs[1].with_suffix(suffix).read_bytes()

    documents, rows, notes = read_shard(outputs[0])
    reference = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    reference.encode_special_tokens = True
    kept = [(line, text) for line, text in enumerate(texts, start=1) if line not in (2, 3, 4, 5)]
    assert documents == [[*reference.encode(text).ids, 2] for _, text in kept]
    assert [row[2:] for row in rows] == [
        [content_id(text or ""), "rows, all.parquet", str(line)] for line, text in kept
    ]
    assert notes["documents"] == len(kept)
    assert notes["tokens"] == sum(map(len, documents))
    assert (notes["eos_id"], notes["vocabulary"], notes["dtype"]) == (2, 600, "uint16")
    assert [(row["line"], row["reason"]) for row in notes["dropped"]] == [
        (2, "outer_whitespace"),
        (3, "empty"),
        (4, "null"),
        (5, "outer_whitespace"),
    ]
    assert documents[0].count(2) == 1  # the end token alone, not the text that spells it


@pytest.mark.slow
@pytest.mark.parametrize("split", ["smollm2", "llama3"])
def test_documents_are_tokenized_as_examples_are(tmp_path: Path, split: str) -> None:
    folder = split_tokenizer(tmp_path / "tokenizer", split)
    rows = [{"prompt": prompt, "completion": completion} for prompt, completion in examples(40)]
    dataset = write_rows(tmp_path / "rows.parquet", schemas.DATASET, rows)
    done = in_dolma_environment(dataset, tmp_path / "out.npy", folder)
    assert done.returncode == 0, done.stderr
    documents, _, notes = read_shard(tmp_path / "out.npy")
    encoder = ExampleTokens.of_model(folder)
    assert documents == [[*encoder.example(row["completion"]), 1] for row in rows]
    assert all(begins_with(tokens, encoder.prompt(row["prompt"])) for tokens, row in zip(documents, rows, strict=True))
    assert notes["begin_ids"] == encoder.begin == ([0] if split == "llama3" else [])
    assert notes["tokens"] == sum(map(len, documents))


def test_a_prompt_with_other_tokens_than_its_example_is_an_error(tmp_path: Path) -> None:
    encoder = ExampleTokens.of_model(split_tokenizer(tmp_path / "tokenizer", "llama3"))
    prompt, completion = examples(1)[0]
    ids = np.array([*encoder.example(completion)[1:], 1], np.uint16)
    parts = tokens.Parts(maps=[ids], places={1: (0, 0, len(ids))})

    def check(prompt: str | None) -> None:
        tokens._check_prompts([tokens.Document(line=1, id="", prompt=prompt)], parts, encoder, Path("a.parquet"))

    check(prompt)
    check(None)
    for wrong in (prompt.removesuffix("\n"), prompt + "x"):
        with pytest.raises(InputError, match=r"a\.parquet: row 1: this tokenizer writes the prompt alone in other"):
            check(wrong)


@pytest.mark.slow
def test_a_large_vocabulary_takes_four_bytes_a_token(tmp_path: Path, tokenizer: Path) -> None:
    settings = json.loads((tokenizer / "tokenizer.json").read_bytes())
    settings["model"]["vocab"] |= {f"never written {at}": at for at in range(600, 70_000)}
    large = tmp_path / "tokenizer"
    large.mkdir()
    (large / "tokenizer.json").write_text(json.dumps(settings))
    (large / "config.json").write_text('{"eos_token_id": 69999}')
    dataset = write_dataset(tmp_path / "rows.parquet", ["x = 1", "y = 2"])
    done = in_dolma_environment(dataset, tmp_path / "out.npy", large)
    assert done.returncode == 0, done.stderr
    documents, _, notes = read_shard(tmp_path / "out.npy")
    assert notes["dtype"] == "uint32"
    assert [document[-1] for document in documents] == [69999, 69999]


def test_a_shard_without_documents_is_an_empty_map(tmp_path: Path, tokenizer: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")  # the toolkit must not be asked
    dataset = write_dataset(tmp_path / "rows.parquet", [])
    tokens.run(Config(), dataset, tmp_path / "out.npy", tokenizer=tokenizer)
    assert (tmp_path / "out.npy").stat().st_size == 0
    documents, _, notes = read_shard(tmp_path / "out.npy")
    assert (documents, notes["documents"], notes["tokens"]) == ([], 0, 0)


def test_without_the_toolkit_the_error_says_which_environment(tmp_path: Path, tokenizer: Path) -> None:
    dataset = write_dataset(tmp_path / "rows.parquet", ["text"])
    with pytest.raises(ToolError, match=r"run this stage with the python of \.venv-dolma"):
        tokens.run(Config(), dataset, tmp_path / "out.npy", tokenizer=tokenizer)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


@pytest.mark.slow
def test_a_failing_toolkit_is_quoted_and_leaves_nothing(tmp_path: Path, tokenizer: Path) -> None:
    broken = tmp_path / "tokenizer"
    broken.mkdir()
    settings = json.loads((tokenizer / "tokenizer.json").read_bytes())
    settings["pre_tokenizer"] = {"type": "NotInvented"}
    (broken / "tokenizer.json").write_text(json.dumps(settings))
    (broken / "tokenizer_config.json").write_bytes((tokenizer / "tokenizer_config.json").read_bytes())
    dataset = write_dataset(tmp_path / "rows.parquet", ["text"])
    done = in_dolma_environment(dataset, tmp_path / "out.npy", broken)
    assert done.returncode == 1
    assert "`dolma tokens` ended with" in done.stderr
    assert "NotInvented" in done.stderr or "untagged enum" in done.stderr
    assert not done.stderr.startswith("Traceback")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.parquet", "tokenizer"]


def test_a_toolkit_that_does_not_end_is_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("")
    with subprocess.Popen(["sleep", "60"]) as process:
        assert tokens._wait(process, log, 0.1) is None
        process.kill()


def test_texts_that_the_toolkit_cannot_keep_are_named() -> None:
    assert [tokens._unfit(text) for text in (None, " \n", "\ufeffa ", "a\x1c", "\ud800", "a\n\nb")] == [
        "null",
        "empty",
        "outer_whitespace",
        "outer_whitespace",
        "not_unicode",
        None,
    ]


def test_the_output_must_be_a_memory_map_name(tmp_path: Path, tokenizer: Path) -> None:
    with pytest.raises(InputError, match=r"NAME\.npy"):
        tokens.run(Config(), tmp_path / "rows.parquet", tmp_path / "out.bin", tokenizer=tokenizer)


VOCABULARY = Vocabulary(settings={}, sha256="", size=300, eos_id=2)
ROWS = [(0, 3, 1), (3, 5, 2)]


def write_part(folder: Path, ids: list[int], rows: list[tuple[int, int, int]]) -> Path:
    folder.mkdir()
    np.array(ids, np.uint16).tofile(folder / "part-0-00000.npy")
    with gzip.open(folder / "part-0-00000.csv.gz", "wt") as file:
        file.writelines(f"{start},{end},{name},/src,{name}\r\n" for start, end, name in rows)
    return folder


def test_sound_output_passes_the_check(tmp_path: Path) -> None:
    parts = tokens._read_parts(write_part(tmp_path / "out", [5, 6, 2, 7, 2], ROWS), VOCABULARY, 2)
    assert parts.places == {1: (0, 0, 3), 2: (0, 3, 5)}


@pytest.mark.parametrize(
    ("ids", "rows", "fault"),
    [
        ([5, 6, 2, 7, 2, 0], ROWS, "its documents end at token 5"),  # zeros behind the last document
        ([5, 6, 2, 7], ROWS, "its documents end at token 5"),
        ([5, 6, 2], [(0, 3, 1)], "2 documents were given and 1 written"),
        ([5, 6, 2, 7, 2], [(0, 3, 1), (3, 5, 1)], "written twice"),
        ([5, 6, 2, 7, 7, 2], [(0, 3, 1), (4, 6, 2)], "after token 3"),
        ([5, 6, 2, 2], [(0, 3, 1), (3, 4, 2)], "after token 3"),  # a document of its end token alone
        ([5, 2, 2, 7, 2], ROWS, "end tokens elsewhere"),
        ([5, 6, 7, 7, 2], ROWS, "end tokens elsewhere"),
        ([5, 300, 2, 7, 2], ROWS, "foreign tokens"),
        ([0] * 8, [], "8 bytes|16 bytes"),
    ],
)
def test_lost_or_foreign_tokens_are_found(
    tmp_path: Path, ids: list[int], rows: list[tuple[int, int, int]], fault: str
) -> None:
    with pytest.raises(ToolError, match=fault):
        tokens._read_parts(write_part(tmp_path / "out", ids, rows), VOCABULARY, 2)
