"""Repeats: the judge grades a seeded sample of the files twice more, so that its consistency can be measured.

A judge whose grade hangs on the draw of its rationale gives other grades with another seed; one that reads the file
gives about the same. Both repeats are drawn at the temperature of `grades.sampling`, and at 1 where that is greedy,
since a seed decides nothing there.
"""

import heapq
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

from d3.config.models import Config
from d3.core import schemas
from d3.core.ids import derive_seed
from d3.core.journal import Journal
from d3.core.tables import Row
from d3.errors import ConfigError
from d3.llm.ask import ask_all
from d3.llm.open_engine import open_engine
from d3.llm.prompt import Prompt, find_template
from d3.pipeline.checks import Faults, FinishedJob, read_columns, select
from d3.pipeline.job import Job
from d3.stages.grades import grade_questions, grade_row

REPEATS = range(2)


def run(
    config: Config,
    corpus: Sequence[Path],
    grades: Sequence[Path],
    out: Path,
    *,
    model: str | None,
    journal: Path | None = None,
) -> None:
    """Grade a seeded sample of the graded files twice more with a language model.

    The sample are `judge_health.repeats` files that have a score, those with the smallest numbers derived from the
    seed and their ids, whatever the batches. Rows are in the order of (repeat, id). Raises D3Error.

    Example: d3 grade-repeats --corpus kept.parquet --grades grades.parquet --out repeats.parquet --model MODEL
    """
    settings = config.grades
    if model is None:
        raise ConfigError("no model", where="grade_repeats", remedy="name one with --model")
    engine = open_engine(settings.engine, model)
    template = find_template(settings.prompt)
    prompt = Prompt(template, engine.tokenizer, ("code",))
    with (
        Job("grade_repeats", config=config, engine=engine.identity) as job,
        Journal(journal) if journal else nullcontext() as kept,
    ):
        job.prompt("grades.prompt", template)
        job.model(model, settings.engine.revision)
        table = job.table(out, schemas.REPEATS)
        graded = (row for path in grades for row in job.rows(path, select(schemas.GRADES, "id", "score")))
        chosen = _sample(config, graded)
        job.keep(len(chosen))
        job.drop("not_sampled", job.read - len(chosen))
        columns = select(schemas.CORPUS, "id", "text")
        texts = {row["id"]: row for path in corpus for row in job.side_rows(path, columns) if row["id"] in chosen}
        files = [texts[identifier] for identifier in sorted(chosen)]
        for repeat in REPEATS:
            questions = grade_questions(config, files, engine, prompt, repeat)
            for outcome in ask_all(engine, questions, kept, what="grade_repeats", total=len(files)):
                table.write(grade_row(outcome, settings.read_out) | {"repeat": repeat})


def _sample(config: Config, graded: Iterable[Row]) -> set[str]:
    """Return the ids of the sample among some rows of grades."""
    ids = (row["id"] for row in graded if row["score"] is not None)
    smallest = heapq.nsmallest(
        config.judge_health.repeats, ids, key=lambda identifier: derive_seed(config.seed, "grade_repeats", identifier)
    )
    return set(smallest)


def check(job: FinishedJob) -> Faults:
    """Check that exactly the files of the sample were graded again, once in each repeat."""
    config = Config.model_validate(job.config)
    chosen = sorted(_sample(config, read_columns(job.inputs_of("grades"), schemas.GRADES, "id", "score")))
    known = {row["id"] for row in read_columns(job.inputs_of("corpus"), schemas.CORPUS, "id")}
    if not known >= {row["id"] for row in read_columns(job.inputs_of("grades"), schemas.GRADES, "id")}:
        yield job.name(), "has grades of files that its inputs of the corpus do not have"
    found = [(row["repeat"], row["id"]) for row in read_columns([job.path()], schemas.REPEATS, "repeat", "id")]
    if found != [(repeat, identifier) for repeat in REPEATS for identifier in chosen]:
        yield job.name(), "does not repeat the grades of the sample"
