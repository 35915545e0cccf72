"""How arms are asked: prompts, tokens and stop strings of each format, and models that are evaluated as they are."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from d3.config.evaluation import Benchmark
from d3.config.load import parse_config
from d3.config.models import Config
from d3.core.example_format import example_prompt
from d3.core.example_tokens import ExampleTokens
from d3.errors import ConfigError
from d3.evals.formats import BASE_STOP, FUNCTION_STOP, PROGRAM_STOP, beginning, message, prompt_ids, prompt_of, stop_of
from d3.evals.generate import run
from d3.evals.tasks import Task, load_tasks
from d3.llm.prompt import backend_settings
from d3.pipeline.job_list import jobs, links
from d3.pipeline.pipeline import Chain
from d3.pipeline.resources import model_mb
from helpers.author_engine import Author, Letters, draw
from helpers.benchmark_files import MBPP_ROW, PACK_ROW, humaneval, written

CHAT = "<|user|>{}<|end|>\n<|assistant|>"


class Chatty(Letters):
    """Bytes, with a chat template."""

    chat_template = CHAT

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids: list[int] = self.backend_tokenizer.encode(text).ids
        return ids

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return CHAT.format(messages[0]["content"])


def tokens_of(tokenizer: Any) -> ExampleTokens:
    return ExampleTokens(backend_settings(tokenizer))


def text_of(tokenizer: Any, ids: tuple[int, ...]) -> str:
    text: str = tokenizer.backend_tokenizer.decode(list(ids))
    return text


def fix_task(tmp_path: Path) -> Task:
    return load_tasks(Benchmark(kind="humanevalfix"), written(tmp_path / "pack.jsonl", PACK_ROW))[0]


def test_a_base_model_is_given_the_prompt_of_the_benchmark(tmp_path: Path) -> None:
    first = load_tasks(Benchmark(tasks=1), humaneval())[0]
    prompt = prompt_of("base", first)
    assert prompt.startswith("from typing import List\n\n\ndef has_close_elements(numbers: List[float], threshold:")
    assert prompt.endswith('True\n    """\n')
    assert stop_of("base", first) == (*FUNCTION_STOP, *BASE_STOP)
    tokenizer = Letters()
    assert text_of(tokenizer, prompt_ids("base", prompt, tokens_of(tokenizer), tokenizer)) == prompt
    mbpp = load_tasks(Benchmark(kind="mbppplus", plus_tests=False), written(tmp_path / "mbpp.jsonl", MBPP_ROW))[0]
    sentence = "Write a function to find the double of Integers."
    assert prompt_of("base", mbpp) == f'"""\n{sentence}\nassert double(2) == math.floor(4.5)\n"""\n'
    assert stop_of("base", mbpp) == (*PROGRAM_STOP, *BASE_STOP)


def test_a_base_model_that_corrects_a_program_is_shown_it(tmp_path: Path) -> None:
    task = fix_task(tmp_path)
    assert prompt_of("base", task) == f"{task.start}\n\n\n# Fix bugs in area.\n{PACK_ROW['prompt']}"
    assert beginning(task) == PACK_ROW["prompt"]  # the wrong program is no part of the result


def test_a_chat_model_is_asked_for_the_whole_program(tmp_path: Path) -> None:
    task = fix_task(tmp_path)
    assert message(task) == (
        f"Fix bugs in area.\n\nThe file area_solution.py contains:\n\n```python\n{task.start}\n```\n\n"
        "Answer with the whole program, which must define `area`, in one block of Python code."
    )
    tokenizer = Chatty()
    ids = prompt_ids("instruct", message(task), tokens_of(tokenizer), tokenizer)
    assert text_of(tokenizer, ids) == CHAT.format(message(task))
    with pytest.raises(ConfigError, match="no chat template; take an instruction-tuned model"):
        prompt_ids("instruct", "x", tokens_of(Letters()), Letters())


def test_a_start_program_with_fences_stays_in_its_block(tmp_path: Path) -> None:
    row = {**PACK_ROW, "buggy_solution": '    return """\n```\n````\n"""\n'}
    (task,) = load_tasks(Benchmark(kind="humanevalfix"), written(tmp_path / "pack.jsonl", row))
    assert f"`````python\n{task.start}\n`````" in message(task)


def test_instructions_stay_text_in_a_docstring(tmp_path: Path) -> None:
    row = {"task_id": 1, "entry_point": "f", "test": "f()", "prompt": 'Print """ and \\n.'}
    (task,) = load_tasks(Benchmark(kind="rows"), written(tmp_path / "rows.jsonl", row))
    namespace: dict[str, Any] = {}
    exec(prompt_of("base", task), namespace)
    assert namespace["__doc__"] == '\nPrint """ and \\n.\n'


ARMS = {
    "d3": {"midtrain": True},
    "base": {"midtrain": False, "model": "embedded", "format": "base"},
    "chat": {"midtrain": False, "model": "embedded", "format": "instruct"},
}


def config(**changes: Any) -> Config:
    benchmarks = {"pack": {"kind": "humanevalsynth", "path": "x"}}
    return parse_config({"arms": ARMS, "benchmarks": benchmarks, "generate": {"max_tokens": 50}, **changes})


BODY = "    return r * r"
CODE = f"def area(r):\n{BODY}"


@pytest.mark.parametrize(
    ("arm", "answer", "program"),
    [
        ("base", f"{BODY}\n\n\ndef more():", PACK_ROW["prompt"] + BODY),
        ("chat", f"Sure:\n```python\n{CODE}\n```", CODE),
        ("chat", CODE, CODE),
        ("base", "", None),
        ("chat", f"<|diff|>@@ -0,0 +1 @@\n+{CODE}", None),
    ],
)
def test_answers_are_read_in_the_format_of_the_arm(
    arm: str, answer: str, program: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    author = Author(lambda request: (answer, "stop"))
    author.tokenizer = Chatty()
    tasks = written(tmp_path / "tasks.jsonl", PACK_ROW)
    (row,) = draw(monkeypatch, author, config(), tasks, tmp_path / "pack-1" / f"{arm}-2.parquet", arm=arm)
    assert row["program"] == program
    assert row["status"] == ("no_code" if program is None else "repaired" if answer == CODE else "ok")
    assert row["repairs"] == (["no_fence"] if answer == CODE else [])
    form = config().format_of(arm)
    task = load_tasks(Benchmark(kind="humanevalsynth"), tasks)[0]
    assert row["prompt"] == prompt_of(form, task) != example_prompt(task.name, task.start, task.instruction)
    (request,) = author.asked
    assert request.stop == stop_of(form, task)
    shown = row["prompt"] if form == "base" else CHAT.format(row["prompt"])
    assert text_of(author.tokenizer, request.ids) == shown


def test_an_unknown_arm_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="other: no such arm; one of d3, base, chat"):
        draw(monkeypatch, Author(), config(), tmp_path / "t.jsonl", tmp_path / "s.parquet", arm="other")


def test_models_that_are_not_trained_here_have_no_training(tmp_path: Path) -> None:
    chain = Chain(config())
    names = [(work.stage, work.name) for work in jobs(chain)]
    assert [name.rpartition("-")[0] for stage, name in names if stage == "sft"] == ["d3"]
    asked = [name.split("/")[1].rpartition("-")[0] for stage, name in names if stage == "generate"]
    assert asked == ["d3", "base", "chat"]
    assert not any(link.startswith("models/sft/base") for link in links(chain))
    commit = "a" * 40
    large = {"midtrain": False, "model": "owner/model-70B", "revision": commit}
    other = Chain(config(arms={**ARMS, "large": large}))
    assert ("hub_model", f"owner--model-70B@{commit}") in [(work.stage, work.name) for work in jobs(other)]
    assert model_mb(other, "generate") == 140_000
    assert model_mb(other, "sft") == model_mb(chain, "generate") == 269


def test_the_default_format_is_in_no_identity() -> None:
    plain = Chain(parse_config({"arms": {"d3": {"midtrain": True}}}))
    written_out = Chain(parse_config({"arms": {"d3": {"midtrain": True, "format": "diff", "model": None}}}))
    assert list(plain.arms) == list(written_out.arms)
    assert next(iter(Chain(config()).arms)) == next(iter(plain.arms))
    other = Chain(parse_config({"arms": {"d3": {"midtrain": True, "format": "base"}}}))
    assert list(plain.arms) != list(other.arms)


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ({"midtrain": True, "model": "x"}, "model is evaluated as it is"),
        ({"midtrain": False, "same_tokens": True, "model": "x"}, "model is evaluated as it is"),
        ({"midtrain": False, "revision": "x"}, "revision needs model"),
        ({"midtrain": False, "format": "chat"}, "'diff', 'base' or 'instruct'"),
    ],
)
def test_arms_that_make_no_sense(arm: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config({"arms": {"x": arm}})


def test_hub_models_need_a_commit_and_some_arm_is_trained() -> None:
    arm = {"midtrain": False, "model": "owner/name"}
    with pytest.raises(ConfigError, match="owner/name"):
        _ = Chain(config(arms={**ARMS, "x": arm})).untrained
    with pytest.raises(ConfigError, match="every arm has a model"):
        _ = Chain(config(arms={"x": arm})).trained


def test_the_format_of_a_name_that_no_arm_has_is_that_of_the_dataset() -> None:
    assert config().format_of("chat") == "instruct"
    assert config().format_of("nobody") == config().format_of(None) == "diff"


@pytest.mark.parametrize("arm", ["base", "chat"])
def test_a_real_model_is_asked_in_both_formats(arm: str, tmp_path: Path, tiny_model: Path) -> None:
    settings = config(generate={"max_tokens": 8, "engine": {"max_length": 2048, "batch": 2}})
    tasks = written(tmp_path / "tasks.jsonl", PACK_ROW)
    run(settings, tasks, tmp_path / "s.parquet", benchmark="pack", model=str(tiny_model), arm=arm)
    (row,) = pq.read_table(tmp_path / "s.parquet").to_pylist()
    assert row["status"] in ("ok", "no_code")
    assert row["answer_tokens"] > 0
