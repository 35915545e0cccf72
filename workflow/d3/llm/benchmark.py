"""What the way from files to answers costs beside vLLM, and what the prefix cache saves.

    .venv-vllm/bin/python -m d3.llm.benchmark --model FOLDER [--prompts 64] [--tokens 64] [--rounds 2]

The same prompts (the grading template around standard library modules) are answered in turns by a
bare `LLM.generate` of ready token ids, and by ours: templates rendered and tokenized, seeds derived,
`ask_all` with a journal on disk. Both use one engine, whose prefix cache is emptied before each turn.
Ours also contains `LLM.generate`, so its overhead is measured twice: as the difference between the
turns, which other work on the machine blurs, and as the time that ours spends outside of it.

The share of prompt tokens that the cache serves is counted for our template, whose fixed words all
stand before the code, and for the same words with the code in their middle, as the authors have it
(rubric, file, then how to answer [authors' code]).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from d3 import config
from d3.embedded import standard_library
from d3.identity import derive_seed
from d3.journal import Journal
from d3.llm.ask import Question, ask_all
from d3.llm.engine import Request, open_engine
from d3.llm.prompt import Prompt, find_template

CODE = "The file:\n```python\n{{ code }}\n```\n"
ANSWER = "Answer in this form:"
LARGEST = 2500
"""Bytes of a file, as in the corpus stage."""

ROW = "{:<26}{:>10}{:>10}"


def texts(count: int) -> list[str]:
    """Give standard library modules, each once, of a size that is graded."""
    found: dict[str, None] = {}
    for _, data in standard_library():
        if 200 <= len(data) <= LARGEST and data.isascii():
            found[data.decode()] = None
    chosen = sorted(found, key=lambda text: derive_seed(0, "benchmark", text))[:count]
    if len(chosen) < count:
        raise SystemExit(f"this Python has only {len(chosen)} modules of that size: ask for fewer --prompts")
    return chosen


def code_in_the_middle(template: Path, folder: Path) -> Path:
    """Write the template with its code before the words on how to answer."""
    text = template.read_text(encoding="utf-8")
    if text.count(CODE) != 1 or text.count(ANSWER) != 1:
        raise SystemExit(f"{template} has changed: mend CODE and ANSWER in {__file__}")
    path = folder / "middle.jinja"
    path.write_text(text.replace(CODE, "").replace(ANSWER, CODE + "\n" + ANSWER), encoding="utf-8")
    return path


def questions(prompt: Prompt, files: list[str], tokens: int) -> list[Question[int]]:
    """Render the prompts as the grades stage does."""
    asked = []
    for number, text in enumerate(files):
        rendered = prompt.render({"code": text})
        seed = derive_seed(0, "benchmark", number)
        options: dict[str, Any] = {"shared": rendered.shared, "max_tokens": tokens, "temperature": 1.0, "seed": seed}
        asked.append(Question(row=number, request=Request(key=str(number), ids=rendered.ids, **options)))
    return asked


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Give wall and CPU seconds of this process, in which the engine lives."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


class Inside:
    """Measures the time inside `LLM.generate`, and gives every answer its full length."""

    def __init__(self, llm: Any) -> None:
        self.generate, self.wall, self.cpu = llm.generate, 0.0, 0.0
        llm.generate = self

    def __call__(self, prompts: Any, sampling: Any, **options: Any) -> Any:
        """Generate, and add the time that it took."""
        for one in sampling:
            one.ignore_eos = True
        outputs: list[Any] = []
        wall, cpu = timed(lambda: outputs.extend(self.generate(prompts, sampling, **options)))
        self.wall, self.cpu = self.wall + wall, self.cpu + cpu
        return outputs


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m d3.llm.benchmark", description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="folder of a model with a chat template")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dtype", default="bfloat16")
    arguments = parser.parse_args(argv)

    settings = config.Engine.model_validate({"kind": "vllm", "dtype": arguments.dtype, "batch": 64, "max_length": 2048})
    engine: Any = open_engine(settings, arguments.model)
    llm = engine._llm
    files = texts(arguments.prompts)
    with tempfile.TemporaryDirectory() as scratch:
        template = find_template("grade.jinja")
        prompts = {
            "code last (ours)": Prompt(template, engine.tokenizer, ("code",)),
            "code in the middle": Prompt(code_in_the_middle(template, Path(scratch)), engine.tokenizer, ("code",)),
        }
        ours = prompts["code last (ours)"]
        ready = [question.request for question in questions(ours, files, arguments.tokens) if question.request]
        ids = [list(request.ids) for request in ready]
        sampling = [engine._sampling(request) for request in ready]
        llm.generate([{"prompt_token_ids": one} for one in ids[:4]], sampling[:4], use_tqdm=False)  # warm
        inside = Inside(llm)

        def bare() -> None:
            llm.generate([{"prompt_token_ids": one} for one in ids], sampling, use_tqdm=False)

        def stage(prompt: Prompt = ours) -> None:
            with tempfile.TemporaryDirectory(dir=scratch) as folder, Journal(Path(folder)) as journal:
                asked = questions(prompt, files, arguments.tokens)
                rows = [outcome.columns() for outcome in ask_all(engine, asked, journal, what="ours", total=len(asked))]
            assert all(row["answer_tokens"] == arguments.tokens for row in rows)

        sums = {bare: [0.0, 0.0], stage: [0.0, 0.0]}
        outside = [0.0, 0.0]
        for number in range(arguments.rounds):
            for work in (bare, stage) if number % 2 == 0 else (stage, bare):
                llm.reset_prefix_cache()
                inside.wall = inside.cpu = 0.0
                wall, cpu = timed(work)
                sums[work][0] += wall / arguments.rounds
                sums[work][1] += cpu / arguments.rounds
                if work is stage:
                    outside[0] += (wall - inside.wall) / arguments.rounds
                    outside[1] += (cpu - inside.cpu) / arguments.rounds
        print(f"\n{len(files)} prompts of {min(map(len, ids))}-{max(map(len, ids))} tokens, {arguments.tokens} each")
        print(ROW.format(f"mean of {arguments.rounds} rounds", "wall s", "CPU s"))
        print(ROW.format("bare LLM.generate", *(f"{value:.2f}" for value in sums[bare])))
        print(ROW.format("ours", *(f"{value:.2f}" for value in sums[stage])))
        difference = [100 * (a / b - 1) for a, b in zip(sums[stage], sums[bare], strict=True)]
        print(ROW.format("ours / bare", *(f"{value:+.2f} %" for value in difference)))
        print(ROW.format("ours outside generate", *(f"{value:.3f}" for value in outside)))
        share = [100 * a / (b - a) for a, b in zip(outside, sums[stage], strict=True)]
        print(ROW.format("outside / inside", *(f"{value:.2f} %" for value in share)))

        size = llm.llm_engine.vllm_config.cache_config.block_size
        print(f"\nprompt tokens from the prefix cache, blocks of {size} tokens")
        for name, prompt in prompts.items():
            llm.reset_prefix_cache()
            engine.prompt_tokens = engine.cached_tokens = 0
            list(ask_all(engine, questions(prompt, files, 1), None, what=name, total=len(files)))
            shared = prompt.render({"code": "x"}).shared
            percent = 100 * engine.cached_tokens / engine.prompt_tokens
            print(f"{name:<22}{shared:>5} fixed first tokens{percent:>8.1f} % of {engine.prompt_tokens}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
