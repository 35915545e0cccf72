"""Samples: prompts, seeds, and what is built from what a model wrote."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from d3.config.load import parse_config
from d3.config.models import Config
from d3.core.example_format import example_completion, example_prompt
from d3.core.ids import derive_seed
from d3.core.tokenizer_file import Vocabulary
from d3.errors import ConfigError
from d3.evals.generate import run
from d3.llm.engine import Request
from d3.train.sft_data import Encoded, Encoder
from helpers.author_engine import Author, draw
from helpers.benchmark_files import PACK_ROW, written
from helpers.split_tokenizers import SPLITS, split_tokenizer

SECOND = "@@ -2,1 +2,1 @@\n-    return 0\n+    return r * r"
FIRST = "@@ -0,0 +1,2 @@\n+def area(r):\n+    return 0"


def written_by_model(*diffs: str) -> str:
    """Return what a perfect model writes after a prompt."""
    return example_completion("", list(diffs))


def config(samples: int = 2, kind: str = "humanevalsynth", **settings: object) -> Config:
    benchmark = {"kind": kind, "path": "x"}
    return parse_config(
        {
            "seed": 3,
            "benchmarks": {"pack": benchmark, "other": benchmark},
            "generate": {"samples": samples, "max_tokens": 50, **settings},
        }
    )


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    long = {**PACK_ROW, "task_id": "Python/2", "instruction": "Long. " * 200}
    return written(tmp_path / "tasks.jsonl", PACK_ROW, {**PACK_ROW, "task_id": "Python/1"}, long)


def test_rows_of_every_task_and_sample(tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    author = Author()
    rows = draw(monkeypatch, author, config(temperature=0.5, top_p=0.9), tasks, tmp_path / "samples.parquet")
    names = [(row["task_id"], row["sample"]) for row in rows]
    assert names == [(f"Python/{task}", sample) for task in range(3) for sample in range(2)]
    assert [row["status"] for row in rows] == ["ok"] * 4 + ["too_long"] * 2
    first = rows[0]
    assert first["prompt"] == example_prompt("area_solution.py", "", PACK_ROW["instruction"])
    assert first["raw"] == written_by_model(FIRST)
    assert first["program"] == "def area(r):\n    return 0"
    assert first["finish_reason"] == "stop"
    assert first["seed"] == derive_seed(3, "generate", "pack", "Python/0", 0)
    assert len({row["seed"] for row in rows}) == 6
    assert rows[4]["raw"] is rows[4]["program"] is None
    assert "tokens of 1000" in rows[4]["detail"]
    assert len(author.asked) == 4
    request = author.asked[1]
    assert bytes_of(author, request) == first["prompt"]
    assert (request.max_tokens, request.temperature, request.top_p) == (50, 0.5, 0.9)
    assert request.stop == ("\n</code>",)
    assert request.seed == rows[1]["seed"]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", ["humanevalsynth", "humanevalfix"])
def test_generation_begins_with_the_tokens_that_training_shows(
    split: str, kind: str, tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = split_tokenizer(tmp_path / "model", split)
    author = Author()
    rows = draw(monkeypatch, author, config(kind=kind), tasks, tmp_path / "samples.parquet", model=str(model))
    encoder = Encoder(Vocabulary.read(model), sequence_length=4000)
    prompts = {f"{row['task_id']}#{row['sample']}": row["prompt"] for row in rows}
    assert author.asked
    for request in author.asked:
        row = encoder.encode(prompts[request.key], example_completion(prompts[request.key], [FIRST, SECOND]))
        assert isinstance(row, Encoded)
        assert list(request.ids) == row.tokens[: row.loss_from]
        assert (request.ids[0] == 0) == (split == "llama3")


def bytes_of(author: Author, request: Request) -> str:
    text: str = author.tokenizer.backend_tokenizer.decode(list(request.ids))
    return text


def test_seeds_know_the_benchmark_and_not_the_model(
    tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = draw(monkeypatch, Author(), config(), tasks, tmp_path / "a.parquet")
    two = draw(monkeypatch, Author(), config(), tasks, tmp_path / "b.parquet", benchmark="other")
    assert [row["prompt"] for row in one] == [row["prompt"] for row in two]
    assert not {row["seed"] for row in one} & {row["seed"] for row in two}
    draw(monkeypatch, Author(), config(), tasks, tmp_path / "c.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "c.parquet").read_bytes()


def test_failures_of_the_engine_and_of_the_model(tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "Python/0#0": ("", "error"),
        "Python/0#1": ("", "stop"),
        "Python/1#0": (written_by_model(FIRST)[:32], "length"),
        "Python/1#1": (written_by_model(FIRST, FIRST[:-1] + "1"), "stop"),
    }
    author = Author(lambda request: answers[request.key])
    rows = draw(monkeypatch, author, config(), tasks, tmp_path / "s.parquet")
    assert [row["status"] for row in rows[:4]] == ["engine_error", "no_diff", "malformed_diff", "ok"]
    assert [row["repairs"] for row in rows[:4]] == [[]] * 4
    assert rows[0]["detail"] == "finished with 'error'"
    assert rows[0]["raw"] is None
    assert rows[1]["raw"] == ""
    assert [request.key for request in author.asked].count("Python/0#1") == 1  # no second try for an empty answer
    assert rows[3]["program"] == "def area(r):\n    return 1\ndef area(r):\n    return 0"


def test_a_killed_run_pays_only_for_what_is_left(tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = draw(monkeypatch, Author(), config(4), tasks, tmp_path / "whole.parquet")

    def fail(request: Request) -> tuple[str, str]:
        if request.key.startswith("Python/1"):
            raise KeyboardInterrupt
        return written_by_model(FIRST), "stop"

    killed = Author(fail)
    with pytest.raises(KeyboardInterrupt):
        draw(monkeypatch, killed, config(4), tasks, tmp_path / "s.parquet", journal=tmp_path / "journal")
    assert not (tmp_path / "s.parquet").exists()
    again = Author()
    rows = draw(monkeypatch, again, config(4), tasks, tmp_path / "s.parquet", journal=tmp_path / "journal")
    assert rows == whole
    assert len(again.asked) == 8 - 3  # the first chunk of three was whole
    idle = Author()
    draw(monkeypatch, idle, config(4), tasks, tmp_path / "s.parquet", journal=tmp_path / "journal")
    assert idle.asked == []
    other = Author()
    other.identity = {"model": "another"}
    draw(monkeypatch, other, config(4), tasks, tmp_path / "s.parquet", journal=tmp_path / "journal")
    assert len(other.asked) == 8


def test_a_real_model_writes_something(tasks: Path, tmp_path: Path, tiny_model: Path) -> None:
    settings = config(1, max_tokens=8, engine={"max_length": 2048, "batch": 2})
    for name in ("a.parquet", "b.parquet"):
        run(settings, tasks, tmp_path / name, benchmark="pack", model=str(tiny_model))
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert {row["status"] for row in rows} <= {"no_diff", "malformed_diff", "ok"}
    assert all(row["answer_tokens"] > 0 for row in rows)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_an_unknown_benchmark_is_named(tasks: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing: no such benchmark; one of pack, other"):
        run(config(), tasks, tmp_path / "s.parquet", benchmark="nothing", model="x")
