"""Let a model solve a benchmark: prompts in the format of its arm, answers as diffs or as code.

A sample's seed comes from the run's seed, the benchmark, the task and the sample's number, and not
from the arm, so two arms are compared with the same randomness.
What is asked and how answers are read stands in `d3.evals.formats`.
"""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from d3.config.models import Config
from d3.config.training import Format
from d3.core import schemas
from d3.core.example_tokens import ExampleTokens
from d3.core.ids import derive_seed
from d3.core.journal import Journal
from d3.core.printable import printable
from d3.core.tables import Row
from d3.core.tokenizer_file import check_added, tokenizer_settings
from d3.errors import ConfigError
from d3.evals.answer import Built
from d3.evals.completion import asked_tasks
from d3.evals.formats import program_of, prompt_ids, prompt_of, stop_of
from d3.evals.tasks import Task
from d3.llm.ask import Outcome, Question, ask_all
from d3.llm.engine import Request
from d3.llm.open_engine import open_engine
from d3.llm.prompt import backend_settings
from d3.pipeline.checks import Faults, FinishedJob
from d3.pipeline.job import Job

log = logging.getLogger(__name__)


class Sample(NamedTuple):
    """One sample to draw."""

    task: Task
    number: int
    prompt: str
    seed: int


def run(
    config: Config,
    tasks: Path,
    out: Path,
    *,
    benchmark: str,
    model: str,
    arm: str | None = None,
    journal: Path | None = None,
) -> None:
    """Write solutions for the tasks of a benchmark with a model.

    Write `schemas.SAMPLES`: `generate.samples` rows for every task, in the tasks' order.
    `arm` names the arm of the configuration in whose format is asked (default: diffs).
    `model` is a folder or hub id; `journal` a folder in which finished answers are kept, so that a
    killed run pays only for what is left. Answers do not depend on the order of the questions beyond
    what the engine's batches do to floating-point sums.

    Example: d3 generate --benchmark humaneval --tasks tasks.jsonl.gz --model MODEL --out samples.parquet
    """
    if benchmark not in config.benchmarks:
        raise ConfigError("no such benchmark", where=benchmark, remedy=f"one of {', '.join(config.benchmarks)}")
    if arm is not None and arm not in config.arms:
        raise ConfigError("no such arm", where=arm, remedy=f"one of {', '.join(config.arms)}")
    form = config.format_of(arm)
    section = config.benchmarks[benchmark]
    with Job("generate", config=config) as job:
        todo, skipped = asked_tasks(section, job.input(tasks), seed=config.seed)
        for task_id, reason in skipped:
            log.warning("%s", printable(f"{benchmark}: task {task_id} is skipped: {reason}"))
        job.model(model, None)
        samples = job.table(out, schemas.SAMPLES)
        engine = open_engine(config.generate.engine, model)
        folder = Path(model)
        # transformers may load another tokenizer than the one that the examples were written with
        added = [] if form != "diff" and arm and config.arms[arm].model else config.tokens.added or []
        settings = tokenizer_settings(folder) if folder.is_dir() else backend_settings(engine.tokenizer)
        check_added(settings, added, folder)
        tokens = ExampleTokens(settings, added)
        total = job.read = len(todo) * config.generate.samples
        questions = (
            question(config, tokens, benchmark, task, number, form, engine.tokenizer)
            for task in todo
            for number in range(config.generate.samples)
        )
        what = f"generate {benchmark}"
        with Journal(journal) if journal else nullcontext() as kept:
            for outcome in ask_all(engine, questions, kept, what=what, total=total, empty_again=False):
                samples.write(sample_row(outcome, form))
                job.keep()


def question(
    config: Config, tokens: ExampleTokens, benchmark: str, task: Task, number: int, form: Format, tokenizer: Any
) -> Question[Sample]:
    """Write the prompt and request of one sample."""
    prompt = prompt_of(form, task)
    seed = derive_seed(config.seed, "generate", benchmark, task.task_id, number)
    request = Request(
        key=f"{task.task_id}#{number}",
        ids=prompt_ids(form, prompt, tokens, tokenizer),
        max_tokens=config.generate.max_tokens,
        temperature=config.generate.temperature,
        top_p=config.generate.top_p,
        seed=seed,
        stop=stop_of(form, task),
    )
    return Question(row=Sample(task, number, prompt, seed), request=request)


def sample_row(outcome: Outcome[Sample], form: Format) -> Row:
    """Return the row of one sample."""
    sample, answer = outcome.row, outcome.answer
    if answer is None:
        built = Built(outcome.status, outcome.detail, None)
    else:
        built = program_of(form, sample.task, answer.text, answer.finish_reason)
    return {
        "task_id": sample.task.task_id,
        "sample": sample.number,
        "prompt": sample.prompt,
        "raw": answer and answer.text,
        "program": built.program,
        "status": built.status,
        "detail": built.detail,
        "repairs": list(built.repairs),
        "finish_reason": answer and answer.finish_reason,
        "answer_tokens": answer and answer.answer_tokens,
        "seed": sample.seed,
    }


def check(job: FinishedJob) -> Faults:
    """Write the prompts of some samples again, and build their programs from the answers again."""
    if not job.config:  # lost facts are a finding of their own
        return
    config = Config.model_validate(job.config)
    benchmark = job.path().parent.name.rpartition("-")[0]
    file = next(path for path in job.inputs_from_outside() if path.is_file())  # a model of others is a folder
    form = config.format_of(job.path().name.rpartition("-")[0])
    section = config.benchmarks[benchmark].model_copy(update={"tasks": None})
    by_id = {task.task_id: task for task in asked_tasks(section, file, seed=config.seed).tasks}
    for row in job.sample_rows(job.path(), schemas.SAMPLES):
        name = f"{row['task_id']}, sample {row['sample']}"
        if (task := by_id.get(row["task_id"])) is None:
            yield job.name(), f"{name} is of no task of the benchmark"
            continue
        seed = derive_seed(config.seed, "generate", benchmark, row["task_id"], row["sample"])
        if (row["prompt"], row["seed"]) != (prompt_of(form, task), seed):
            yield job.name(), f"{name} has another prompt or seed than its task"
        found = Built(row["status"], row["detail"], row["program"], tuple(row["repairs"] or ()))
        unanswered = found._replace(program=None)
        if found != (unanswered if row["raw"] is None else program_of(form, task, row["raw"], row["finish_reason"])):
            yield job.name(), f"{name} has another program or status than its answer"
