"""An engine that writes what a test says, and the samples that `generate` makes of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from d3.config.models import Config
from d3.core import schemas
from d3.core.example_format import example_completion
from d3.evals import generate
from d3.evals.generate import run
from d3.llm.engine import Answer, Request

FIRST = "@@ -0,0 +1,2 @@\n+def area(r):\n+    return 0"


class Letters:
    """A tokenizer as far as prompts need one: bytes."""

    bos_token_id, eos_token_id = 1, 0

    def __init__(self) -> None:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        self.backend_tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
        self.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.backend_tokenizer.decoder = decoders.ByteLevel()

    def __call__(self, text: str) -> Any:
        return type("Encoded", (), {"input_ids": []})


class Author:
    """An engine that writes what a function of the request says."""

    max_length, chunk, tries = 1000, 3, 3

    def __init__(self, write: Any = lambda request: (example_completion("", [FIRST]), "stop")) -> None:
        self.tokenizer: Any = Letters()
        self.identity: dict[str, Any] = {"model": "author"}
        self.write = write
        self.asked: list[Request] = []

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        self.asked += requests
        answers = [(request, *self.write(request)) for request in requests]
        return [
            Answer(text=text, finish_reason=reason, prompt_tokens=len(request.ids), answer_tokens=len(text))
            for request, text, reason in answers
        ]


def draw(
    monkeypatch: pytest.MonkeyPatch, author: Author, config: Config, tasks: Path, output: Path, **more: Any
) -> list[dict[str, Any]]:
    monkeypatch.setattr(generate, "open_engine", lambda settings, model: author)
    run(config, tasks, output, **{"model": "author", "benchmark": "pack", **more})
    table = pq.read_table(output)
    assert table.schema.equals(schemas.SAMPLES)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
