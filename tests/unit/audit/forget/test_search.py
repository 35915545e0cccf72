"""Searching for lines of files in everything that a run may leave."""

import gzip
import html
import json
from pathlib import Path

import numpy as np
import pytest
import zstandard
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from d3.audit.forget.forget import add_entries, entry_of
from d3.audit.forget.search import Probes, search
from d3.core import schemas
from d3.core.journal import Journal
from d3.core.unified_diff import make_diff
from d3.errors import InputError
from helpers.corpus_tables import write_rows

LINE = 'return "the area of this very square"'
TEXT = f"import os\n\n\ndef area_of_a_square(side):\n    {LINE}\n"
OTHER = "def another_function_of_others(side):\n    return side\n"
PROBES = Probes({"one": TEXT}, [OTHER])


def write_table(path: Path, text: str) -> None:
    row = {"id": "x", "sample": 0, "status": "ok", "edits": [[1]], "diffs": [make_diff("", text)]}
    write_rows(path, schemas.DIFFS, [row])


def write_journal(path: Path, text: str) -> None:
    with Journal(path.parent / "journal") as journal:
        journal.put("key", {"raw": f"It says\n{text}"})


def write_html(path: Path, text: str) -> None:
    path.write_text(f"<p>said: <b>{html.escape(text)}</b></p>")


WRITERS = {
    "a.parquet": write_table,
    "journal": write_journal,
    "a.log": lambda path, text: path.write_text(f"error in line 5, namely {text}"),
    "a.json": lambda path, text: path.write_text(json.dumps({"examples": [[{"x": text}]]})),
    "a.jsonl": lambda path, text: path.write_text(json.dumps({"x": 1}) + "\n" + json.dumps({"x": [text]}) + "\n"),
    "b.json": lambda path, text: path.write_text('{"torn": "' + text.replace("\n", "\\n")),
    "a.jsonl.gz": lambda path, text: path.write_bytes(gzip.compress(json.dumps({"x": text}).encode())),
    "a.jsonl.zst": lambda path, text: path.write_bytes(zstandard.compress(json.dumps({"x": text}).encode())),
    "a.html": write_html,
    "a.bin.part": lambda path, text: path.write_bytes(b"\xff\0" + text.encode() + b"\0"),
    ".a.parquet.host-1.part": lambda path, text: write_table(path.with_name("t.parquet"), text),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_line_is_found_wherever_it_lies(tmp_path: Path, name: str) -> None:
    for text, expected in ((TEXT, {"one"}), (OTHER, None)):
        folder = tmp_path / ("mine" if expected else "other")
        folder.mkdir()
        WRITERS[name](folder / name, text)
        found = search([folder], PROBES)
        assert list(found.hits.values()) == ([expected] if expected else [])
        assert found.unread == {}
        assert found.searched == 1


def test_token_maps_are_decoded(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([TEXT, OTHER] * 5, trainers.BpeTrainer(vocab_size=300, special_tokens=["<end>"]))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    maps = tmp_path / "maps"
    maps.mkdir()
    for name, documents in (("a", [OTHER, TEXT]), ("b", [OTHER]), ("c", [])):
        ids = [number for text in documents for number in [*tokenizer.encode(text).ids, 0]]
        np.array(ids, dtype="uint16").tofile(maps / f"{name}.npy")
        (maps / f"{name}.json").write_text(json.dumps({"dtype": "uint16", "eos_id": 0}))
    found = search([maps], PROBES, tokenizer=tmp_path / "tokenizer.json")
    assert found.hits == {maps / "a.npy": {"one"}}
    assert set(search([maps], PROBES).unread) == {maps / f"{name}.npy" for name in "abc"}


def test_lines_that_others_hold_tell_nothing() -> None:
    shared = "    return the_area_of_a_square_of(side)"
    probes = Probes({"one": f"x = 1\n{shared}", "two": TEXT}, [f"y = 2\n\t{shared.strip()}  "])
    assert probes.without == {"one"}
    assert set(probes.lines.values()) == {"two"}
    assert probes.in_lines(f"+{shared}") == set()
    assert probes.in_lines(f"+    {LINE}\n") == {"two"}
    assert probes.in_lines(f"x = {LINE}") == set()
    assert probes.anywhere(f"x = {LINE}, y") == {"two"}
    assert probes.anywhere(f"x = {LINE[:-1]}") == set()


def test_weights_and_inputs_are_named_or_left_out(tmp_path: Path) -> None:
    for name in ("model.safetensors", "source.txt", "damaged.parquet"):
        (tmp_path / name).write_text("PAR1" if name.startswith("damaged") else TEXT)
    found = search([tmp_path, tmp_path / "nowhere"], PROBES, leave_out=[tmp_path / "source.txt"])
    assert found.weights == [tmp_path / "model.safetensors"]
    assert list(found.unread) == [tmp_path / "damaged.parquet"]
    assert found.hits == {}


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("Ann/One", "repo:ann/one"),
        ("https://github.com/Ann/One.git", "repo:ann/one"),
        ("git@github.com:ann/one.git", "repo:ann/one"),
        ("ann/one/", "repo:ann/one"),
        ("ann/*", "user:ann"),
        ("@ann", "user:ann"),
        ("ann", "user:ann"),
        ("user:Ann", "user:ann"),
        ("AB" * 20, f"file:{'ab' * 20}"),
        ("file:" + "0" * 64, f"file:{'0' * 64}"),
    ],
)
def test_a_name_means_an_entry(name: str, entry: str) -> None:
    assert entry_of(name) == entry


@pytest.mark.parametrize("name", ["", "a b", "file:12", "user:a/b", "ann/", "repo:ann", "*", "12ab" * 5, "ab" * 19])
def test_what_means_nothing_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"(is no entry|can match no row).*; name OWNER/NAME"):
        entry_of(name)


def test_a_list_grows_and_keeps_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    assert add_entries(path, ["user:ann"]) == ["user:ann"]
    path.write_text("# by letter\nuser:Ann  # 2024")
    assert add_entries(path, ["repo:b/c", "user:ann"]) == ["repo:b/c"]
    assert path.read_text() == "# by letter\nuser:Ann  # 2024\nrepo:b/c\n"
    assert add_entries(path, ["repo:b/c"]) == []
