"""The tokens of prompts and examples: generation is given what training showed, for tokenizers of every kind."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from d3.core.example_format import example_completion, example_prompt
from d3.core.example_tokens import ExampleTokens, begins_with
from helpers.split_tokenizers import SPLITS, examples, split_tokenizer


@pytest.fixture(scope="module", params=SPLITS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return split_tokenizer(tmp_path_factory.mktemp("tokenizer"), request.param)


def test_the_tokens_of_a_prompt_are_a_prefix_of_those_of_its_example(folder: Path) -> None:
    tokens, library = ExampleTokens.of_model(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    for prompt, completion in examples():
        asked, example = tokens.prompt(prompt), tokens.example(completion)
        assert begins_with(example, asked)
        assert library.decode(example) == completion
        shown = library.decode(asked)
        assert prompt.startswith(shown)
        assert len(shown) >= len(prompt) - len("</issue>\n\n<code>\n")  # at most the end is left to the model


def test_llamas_split_merges_the_newline_that_a_prompt_ends_with(tmp_path: Path) -> None:
    tokens = ExampleTokens.of_model(split_tokenizer(tmp_path, "llama3"))
    prompt, completion = examples()[3]
    whole = tokens.prompt(prompt)
    assert tokens.example(prompt) == whole
    without = prompt.removesuffix("\n")  # as the authors' prompts end
    assert not begins_with(tokens.example(completion), tokens.example(without))


@pytest.mark.parametrize("split", SPLITS)
def test_examples_and_prompts_begin_as_the_tokenizer_begins_a_text(tmp_path: Path, split: str) -> None:
    tokens = ExampleTokens.of_model(split_tokenizer(tmp_path, split))
    begin = [0] if split == "llama3" else []
    assert tokens.begin == begin
    prompt = example_prompt("a.py", "", "Do.")
    completion = example_completion(prompt, ["@@ -0,0 +1 @@\n+x"])
    for ids in (tokens.prompt(prompt), tokens.example(completion)):
        assert ids[: len(begin)] == begin
        assert ids.count(0) == len(begin)


def test_control_tokens_in_a_text_are_its_characters(folder: Path) -> None:
    tokens, library = ExampleTokens.of_model(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompt = example_prompt("a.py", "x = '<|end_of_text|><tool_call>'", "Keep <|begin_of_text|><tool_call>.")
    completion = example_completion(prompt, ["@@ -1,0 +2 @@\n+y = '<tool_call>'"])
    ids = tokens.example(completion)[len(tokens.begin) :]
    added = {token["id"] for token in json.loads(library.to_str())["added_tokens"]}
    assert len(added) == 3
    assert not added & set(ids)
    assert library.decode(ids) == completion
    assert begins_with(tokens.example(completion), tokens.prompt(prompt))
