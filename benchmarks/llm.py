"""What the way from files to answers costs beside vLLM, and what the prefix cache saves.

    .venv-vllm/bin/python benchmarks/llm.py --model FOLDER [--prompts 64] [--tokens 64] [--rounds 3]

The same prompts (the grading template around standard library modules) are answered in turns by a
bare `LLM.generate` of ready token ids, and by ours: templates rendered and tokenized, seeds derived,
`ask_all` with a journal on disk. Both use one engine, whose prefix cache is emptied before each turn,
and every answer has its full length. Other work on the machine blurs wall time, so three things are
given: the best and the median turn of each, CPU-seconds of the process (which the engine lives in),
and the time that ours spends outside of the engine, which no other turn is compared with. The steps
of the engine tell whether its batches are as full as those of the bare call.

The share of prompt tokens that the cache serves is counted for our template, whose fixed words all
stand before the code, for the same words with the code in their middle, as the authors have it
(rubric, file, then how to answer [authors' code]), and for the code before all words.

`--steps N` counts the engine's steps for N requests of uneven length: in one call, by ours, and in
calls of a few batches each. The model does not matter for that.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from d3.config.engine import Engine
from d3.core.ids import derive_seed
from d3.core.journal import Journal
from d3.llm.ask import Question, ask_all
from d3.llm.engine import Request
from d3.llm.open_engine import open_engine
from d3.llm.prompt import Prompt, find_template
from d3.stages.inputs import standard_library

CODE = "The file:\n```python\n{{ code }}\n```\n"
ANSWER = "Answer in this form:"
SMALLEST, LARGEST = 200, 1500
"""Bytes of a file."""

MOST_BESIDE = 3.0
"""Percent of the engine's time that ours may take beside it."""

ROW = "{:<34}{:>10}{:>10}{:>10}{:>10}"


def texts(count: int) -> list[str]:
    """Return standard library modules, each once, of a size that is graded."""
    found: dict[str, None] = {}
    for _, data in standard_library():
        if SMALLEST <= len(data) <= LARGEST and data.isascii():
            found[data.decode()] = None
    chosen = sorted(found, key=lambda text: derive_seed(0, "benchmark", text))[:count]
    if len(chosen) < count:
        raise SystemExit(f"this Python has only {len(chosen)} modules of that size: ask for fewer --prompts")
    return chosen


def other_orders(template: Path, folder: Path) -> dict[str, Path]:
    """Write the template with its code at other places."""
    text = template.read_text(encoding="utf-8")
    begin = text.find("Judge how")
    if text.count(CODE) != 1 or text.count(ANSWER) != 1 or begin < 0:
        raise SystemExit(f"{template} has changed: mend CODE, ANSWER and the first words in {__file__}")
    words = text.replace(CODE, "")
    orders = {
        "code in the middle (authors)": words.replace(ANSWER, CODE + "\n" + ANSWER),
        "code first": words[:begin] + CODE + "\n" + words[begin:],
    }
    paths = {name: folder / f"{number}.jinja" for number, name in enumerate(orders)}
    for name, path in paths.items():
        path.write_text(orders[name], encoding="utf-8")
    return paths


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
    """Return wall and CPU seconds of this process, in which the engine lives."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


class Inside:
    """Measures the time inside the engine, and counts its steps."""

    def __init__(self, llm: Any) -> None:
        self.wall = self.cpu = 0.0
        self.steps = 0
        self._enqueue, self._step = llm.enqueue, llm.llm_engine.step
        llm.enqueue, llm.llm_engine.step = self.enqueue, self.step

    def reset(self) -> None:
        """Begin again."""
        self.wall = self.cpu = 0.0
        self.steps = 0

    def enqueue(self, *given: Any, **options: Any) -> Any:
        """Return a prompt to the engine."""
        return self._timed(lambda: self._enqueue(*given, **options))

    def step(self) -> Any:
        """Let the engine compute one step."""
        self.steps += 1
        return self._timed(self._step)

    def _timed(self, work: Callable[[], Any]) -> Any:
        found: list[Any] = []
        wall, cpu = timed(lambda: found.append(work()))
        self.wall, self.cpu = self.wall + wall, self.cpu + cpu
        return found[0]


@contextmanager
def full_answers(engine: Any) -> Iterator[None]:
    """Let every answer of an engine have its full length."""
    sampling_of = engine._sampling

    def full_length(request: Request) -> Any:
        sampling = sampling_of(request)
        sampling.ignore_eos = True
        return sampling

    engine._sampling = full_length
    try:
        yield
    finally:
        engine._sampling = sampling_of


class Turns:
    """What the turns of one way took: wall and CPU seconds, those outside of the engine, steps."""

    def __init__(self, name: str, work: Callable[[], Any]) -> None:
        self.name, self.work = name, work
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.outside: list[tuple[float, float]] = []
        self.steps: list[int] = []

    def run(self, llm: Any, inside: Inside) -> None:
        """Take one turn."""
        llm.reset_prefix_cache()
        inside.reset()
        wall, cpu = timed(self.work)
        self.wall.append(wall)
        self.cpu.append(cpu)
        self.outside.append((wall - inside.wall, cpu - inside.cpu))
        self.steps.append(inside.steps)
        print(f"turn: {self.name}, {wall:.2f} s wall, {cpu:.2f} s CPU, {inside.steps} steps", file=sys.stderr)

    def figures(self) -> list[float]:
        """Return best and median of wall and of CPU."""
        return [min(self.wall), median(self.wall), min(self.cpu), median(self.cpu)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its tables; 1 when ours costs more beside the engine than it may."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="folder of a model with a chat template")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--shares", type=int, default=64, help="prompts that shares of the prefix cache are counted on")
    parser.add_argument("--steps", type=int, default=0, help="requests that steps of the engine are counted for")
    parser.add_argument("--dtype", default="bfloat16")
    arguments = parser.parse_args(argv)

    settings = {"kind": "vllm", "dtype": arguments.dtype, "batch": arguments.batch, "max_length": 2048}
    engine: Any = open_engine(Engine.model_validate(settings), arguments.model)
    files = texts(max(arguments.prompts, arguments.shares))
    with tempfile.TemporaryDirectory() as scratch:
        template = find_template("grade.jinja")
        ours = Prompt(template, engine.tokenizer, ("code",))
        within = True
        if arguments.rounds:
            within = compare(engine, ours, files[: arguments.prompts], arguments, Path(scratch))
        if arguments.shares:
            orders = {"code last (ours)": template, **other_orders(template, Path(scratch))}
            prompts = {name: Prompt(path, engine.tokenizer, ("code",)) for name, path in orders.items()}
            print_shares(engine, prompts, files[: arguments.shares])
        if arguments.steps:
            print_steps(engine, arguments.steps, arguments.batch)
    if not within:
        print(f"error: ours takes more than {MOST_BESIDE:g} % of the engine's time beside it", file=sys.stderr)
    return 0 if within else 1


def compare(engine: Any, prompt: Prompt, files: list[str], arguments: argparse.Namespace, scratch: Path) -> bool:
    """Take turns, print their figures, and tell whether ours costs little enough beside the engine."""
    llm = engine._llm
    ready = [question.request for question in questions(prompt, files, arguments.tokens) if question.request]
    ids = [list(request.ids) for request in ready]

    def bare() -> None:
        sampling = [engine._sampling(request) for request in ready]
        llm.generate([{"prompt_token_ids": one} for one in ids], sampling, use_tqdm=False)

    def stage() -> None:
        with tempfile.TemporaryDirectory(dir=scratch) as folder, Journal(Path(folder)) as journal:
            asked = questions(prompt, files, arguments.tokens)
            rows = [outcome.columns() for outcome in ask_all(engine, asked, journal, what="ours", total=len(asked))]
        assert all(row["answer_tokens"] == arguments.tokens for row in rows)

    both = Turns("bare LLM.generate", bare), Turns("ours", stage)
    with full_answers(engine):
        engine.ask([replace(request, max_tokens=2) for request in ready[:4]])  # warm
        inside = Inside(llm)
        for number in range(arguments.rounds):
            for turns in both if number % 2 == 0 else both[::-1]:
                turns.run(llm, inside)
    print(
        f"\n{len(files)} prompts of {min(map(len, ids))}-{max(map(len, ids))} tokens, {arguments.tokens} each;", end=" "
    )
    print(f"{arguments.rounds} rounds, batch {arguments.batch}")
    print(ROW.format("seconds", "wall best", "median", "CPU best", "median"))
    for turns in both:
        print(ROW.format(f"{turns.name}, {turns.steps[0]} steps", *(f"{value:.2f}" for value in turns.figures())))
    difference = [100 * (mine / theirs - 1) for theirs, mine in zip(*(turns.figures() for turns in both), strict=True)]
    print(ROW.format("ours against bare", *(f"{value:+.2f} %" for value in difference)))
    outside = [min(times) for times in zip(*both[1].outside, strict=True)]
    shares = [100 * time / (whole - time) for time, whole in zip(outside, both[1].figures()[::2], strict=True)]
    print(ROW.format("ours outside of the engine", f"{outside[0]:.3f}", "", f"{outside[1]:.3f}", ""))
    print(ROW.format("outside / inside", f"{shares[0]:.2f} %", "", f"{shares[1]:.2f} %", ""))
    return bool(max(shares) <= MOST_BESIDE)


def print_shares(engine: Any, prompts: dict[str, Prompt], files: list[str]) -> None:
    """Print the share of prompt tokens that the prefix cache serves, by the place of the code."""
    size = engine._llm.llm_engine.vllm_config.cache_config.block_size
    print(f"\nprompt tokens from the prefix cache, {len(files)} prompts, blocks of {size} tokens")
    for name, prompt in prompts.items():
        engine._llm.reset_prefix_cache()
        engine.prompt_tokens = engine.cached_tokens = 0
        list(ask_all(engine, questions(prompt, files, 1), None, what=name, total=len(files)))
        shared = prompt.render({"code": "x"}).shared
        percent = 100 * engine.cached_tokens / engine.prompt_tokens
        print(f"{name:<30}{shared:>5} fixed first tokens{percent:>8.1f} % of {engine.prompt_tokens:,}", flush=True)


def print_steps(engine: Any, count: int, batch: int) -> None:
    """Print how many steps the engine takes for requests of uneven length, and ours and chunks in comparison."""
    requests = []
    for number in range(count):
        draws = [derive_seed(0, "steps", number, place) for place in range(64)]
        ids = tuple(20 + draw % 400 for draw in draws[: 20 + draws[0] % 40])
        requests.append(Request(key=str(number), ids=ids, max_tokens=4 + draws[1] % 45, temperature=1.0, seed=number))
    with full_answers(engine):
        sampling = [engine._sampling(request) for request in requests]
        inside = Inside(engine._llm)

        def one_call() -> None:
            engine._llm.generate([{"prompt_token_ids": list(one.ids)} for one in requests], sampling, use_tqdm=False)

        def ours() -> None:
            asked = [Question(row=request.key, request=request) for request in requests]
            list(ask_all(engine, asked, None, what="ours", total=count))

        def chunks(size: int) -> None:
            for begin in range(0, count, size):
                engine.ask(requests[begin : begin + size])

        ways: dict[str, Callable[[], Any]] = {"one call of LLM.generate": one_call, "ours": ours}
        ways |= {f"calls of {times * batch}": partial(chunks, times * batch) for times in (16, 8, 4, 2)}
        print(f"\nsteps of the engine for {count} requests of uneven length, {batch} at a time")
        for name, work in ways.items():
            inside.reset()
            work()
            print(f"{name:<30}{inside.steps:>6}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
