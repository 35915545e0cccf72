"""Tokenizer settings read without a tokenizer library."""

import json
from pathlib import Path
from typing import Any

import pytest

from d3.core.tokenizer_file import Vocabulary
from d3.errors import InputError


def write(folder: Path, tokenizer: dict[str, Any], **files: dict[str, Any]) -> Path:
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


BPE = {
    "truncation": {"max_length": 5},
    "padding": {"strategy": "BatchLongest"},
    "added_tokens": [{"id": 3, "content": "<end>"}, {"id": 0, "content": "a"}],
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
}


def test_size_counts_added_tokens_once_and_the_name_of_the_end_token_decides(tmp_path: Path) -> None:
    folder = write(tmp_path, BPE, tokenizer_config={"eos_token": {"content": "<end>"}}, config={"eos_token_id": 1})
    vocabulary = Vocabulary.read(folder)
    assert (vocabulary.size, vocabulary.eos_id) == (4, 3)


def test_the_end_token_of_the_model_is_used_when_the_tokenizer_names_none(tmp_path: Path) -> None:
    folder = write(tmp_path, BPE, tokenizer_config={"eos_token": None}, config={"eos_token_id": [2, 1]})
    assert Vocabulary.read(folder).eos_id == 2


@pytest.mark.parametrize(("size", "dtype"), [(256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")])
def test_dtype_is_the_smallest_that_fits(size: int, dtype: str) -> None:
    assert Vocabulary(settings={}, sha256="", size=size, eos_id=0).dtype == dtype


def test_older_form_joins_merges_and_forgets_truncation(tmp_path: Path) -> None:
    folder = write(tmp_path, BPE, config={"eos_token_id": 3})
    older = Vocabulary.read(folder).legacy()
    assert older["model"]["merges"] == ["a b"]
    assert older["truncation"] is None
    assert older["padding"] is None
    assert older["added_tokens"] == [token | {"special": True} for token in BPE["added_tokens"]]


def test_merges_that_the_older_form_cannot_say_are_refused(tmp_path: Path) -> None:
    model = {"type": "BPE", "vocab": {"a": 0, " b": 1, "a b": 2}, "merges": [["a", " b"]]}
    folder = write(tmp_path, {"model": model}, config={"eos_token_id": 0})
    with pytest.raises(InputError, match="holds a space"):
        Vocabulary.read(folder).legacy()


def test_a_unigram_vocabulary_is_a_list(tmp_path: Path) -> None:
    model = {"type": "Unigram", "vocab": [["a", -1.0], ["b", -2.0]]}
    folder = write(tmp_path, {"model": model}, tokenizer_config={"eos_token": "b"})
    vocabulary = Vocabulary.read(folder)
    assert (vocabulary.size, vocabulary.eos_id) == (2, 1)
    assert vocabulary.legacy()["model"] == model


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({}, "no such file"),
        ({"tokenizer": "{"}, "no JSON"),
        ({"tokenizer": "[]"}, "no JSON object"),
        ({"tokenizer": "{}"}, "holds no vocabulary"),
        ({"tokenizer": json.dumps(BPE)}, "nothing names the end token"),
        ({"tokenizer": json.dumps(BPE), "tokenizer_config": '{"eos_token": "zz"}'}, "'zz' is not in the vocabulary"),
    ],
)
def test_broken_folders_are_refused(tmp_path: Path, files: dict[str, str], fault: str) -> None:
    for name, text in files.items():
        (tmp_path / f"{name}.json").write_text(text)
    with pytest.raises(InputError, match=fault):
        Vocabulary.read(tmp_path)
