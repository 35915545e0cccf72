"""The registry: one record per stage, in the order in which stages follow each other.

Everything that is asked about stages is derived from these records. To add a stage, add its record
here, its module, and its rule. Figures without a source are ours.
"""

from typing import TYPE_CHECKING

from d3.pipeline.stage import Cost, Output, Resources, Stage

if TYPE_CHECKING:
    from d3.config.models import Config

EMBEDDED_TASKS = "HumanEval.jsonl.gz"
ALLOW_EMPTY = "source.allow_empty"

ASKING = Resources(memory_mb=3000, minutes=720)
TRAINING = Resources(memory_mb=2000, minutes=1440)


def _label_share(config: "Config") -> float:
    """Return the share of a file in a label's prompt: any template but ours may show both programs."""
    return 0.4 if config.labels.change_prompt == type(config.labels)().change_prompt else 1.5


def _sampling(config: "Config") -> Resources:
    """Return the resources of LintSeq: each worker holds the linter and the syntax trees of one file."""
    return Resources(memory_mb=2000, memory_mb_per_thread=min(config.diffs.max_memory_mb, 1000), minutes=720)


def _has_pregrader(config: "Config") -> bool:
    return config.pregrade.graded is not None and config.grades.mode == "model"


def _builds_rows(config: "Config") -> bool:
    """Return whether the rows of the dataset are made here, out of grades, diffs and labels."""
    return config.adopt.dataset is None


def _any_midtrain(config: "Config") -> bool:
    return any(arm.midtrain or arm.same_tokens for arm in config.arms.values())


def _judges(config: "Config") -> bool:
    return config.grades.mode == "model"


def _repeats_grades(config: "Config") -> bool:
    return _judges(config) and config.judge_health.repeats > 0


def _any_embedded_benchmark(config: "Config") -> bool:
    from d3.config.fields import EMBEDDED

    return any(benchmark.path == EMBEDDED for benchmark in config.benchmarks.values())


_RECORDS = (
    Stage(
        name="source",
        module="d3.stages.inputs",
        settings=("source.embedded_shards",),
        environment="main",
        over="once",
        outputs=(Output("{source_shard}.parquet", "STACK"),),
        when=lambda config: not config.source.shards,
        local=True,
        cost=Cost(cpu_per_row=0.005, bytes_per_row=3500),
        shown=("max_stars_repo_name", "max_stars_repo_path", "hexsha"),
    ),
    Stage(
        name="model",
        module="d3.stages.inputs",
        environment="main",
        over="model",
        within="{resources}/models",
        outputs=(Output("{name}/"),),
        local=True,
    ),
    Stage(
        name="hub_model",
        module="d3.stages.hub",
        environment="main",
        over="model",
        within="{resources}/models",
        outputs=(Output("{name}/"),),
        local=True,
    ),
    Stage(
        name="hub_dataset",
        module="d3.stages.hub",
        environment="main",
        over="file",
        within="{resources}/datasets",
        outputs=(Output("{name}"),),
        when=lambda config: any(
            path.startswith("hf://")
            for path in (*config.source.shards, *(benchmark.path for benchmark in config.benchmarks.values()))
        ),
        local=True,
    ),
    Stage(
        name="benchmark",
        module="d3.stages.inputs",
        environment="main",
        over="once",
        within="{resources}/benchmarks",
        outputs=(Output(EMBEDDED_TASKS),),
        when=_any_embedded_benchmark,
        local=True,
    ),
    Stage(
        name="contamination",
        module="d3.stages.contamination",
        settings=("source", "contamination"),
        outputs=(Output("{name}.jsonl"),),
        rows_of="source",
        cost=Cost(start=2, cpu_per_row=0.003, kept=0.0, bytes_per_row=1),
    ),
    Stage(
        name="corpus",
        module="d3.stages.corpus.stage",
        settings=("seed", "source", "corpus"),
        upstream=("contamination",),
        must_keep_of=1,
        imports=("corpus.filters",),
        outputs=(
            Output("{name}.parquet", "CORPUS", ids="corpus"),
            Output("rejected/{name}.parquet", "REJECTED", ids="rejected"),
        ),
        rows_of="source",
        resources=Resources(memory_mb=4000, minutes=240),
        cost=Cost(cpu_per_row=0.011, kept=0.3, bytes_per_row=2500),
        one_row_each=True,
        shown=("split", "reason", "detail", "id"),
    ),
    Stage(
        name="fingerprints",
        module="d3.stages.fingerprints",
        settings=("near_duplicates",),
        upstream=("corpus",),
        outputs=(Output("{name}.parquet", "FINGERPRINTS"),),
        rows_of="corpus",
        cost=Cost(cpu_per_row=0.002, bytes_per_row=2500),
        shown=("view", "stars"),
    ),
    Stage(
        name="near_duplicates",
        module="d3.stages.near_duplicates",
        settings=("near_duplicates.similarity",),
        upstream=("fingerprints",),
        over="once",
        outputs=(Output("near_duplicates.parquet", "NEAR_DUPLICATES"),),
        resources=Resources(memory_mb=4000, minutes=720),
        shown=("survivor", "similarity", "view"),
    ),
    Stage(
        name="duplicates",
        module="d3.stages.duplicates",
        upstream=("corpus", "near_duplicates"),
        over="once",
        outputs=(Output("{shard}.txt"),),
        resources=Resources(memory_mb=4000, minutes=240),
    ),
    Stage(
        name="pregrader",
        module="d3.stages.pregrade",
        settings=("seed", "pregrade", "grades.threshold"),
        upstream=("corpus",),
        over="once",
        outputs=(
            Output("sample.parquet", "PREGRADE_SAMPLE", ids="file"),
            Output("pregrader.json"),
            Output("weights.npy"),
        ),
        when=_has_pregrader,
        resources=Resources(memory_mb=8000, minutes=240),
        cost=Cost(start=5, cpu_per_row=0.004),
    ),
    Stage(
        name="pregrade",
        module="d3.stages.pregrade",
        settings=("pregrade",),
        upstream=("pregrader", "duplicates"),
        looks_up=("corpus",),
        outputs=(Output("{name}.parquet", "PREGRADES", ids="file"),),
        rows_of="corpus",
        when=_has_pregrader,
        cost=Cost(start=5, cpu_per_row=0.004, bytes_per_row=60),  # `make bench-pregrade`
        shown=("score", "status"),
    ),
    Stage(
        name="adopted_grades",
        module="d3.stages.adopted",
        settings=("adopt.grades", ALLOW_EMPTY),
        must_keep_of=1,
        upstream=("corpus", "duplicates"),
        over="once",
        outputs=(Output("{shard}.parquet", "GRADES", ids="file"),),
        when=lambda config: config.adopt.grades is not None,
        resources=Resources(memory_mb=6000, minutes=240),
        cost=Cost(start=2, cpu_per_row=0.0001),
    ),
    Stage(
        name="grades",
        module="d3.stages.grades",
        settings=(
            "seed",
            "grades.mode",
            "grades.engine",
            "grades.sampling",
            "grades.prompt",
            "grades.read_out",
            "pregrade",
            "adopt.grades",
        ),
        upstream=("corpus", "duplicates", "pregrade", "adopted_grades"),
        prompts=("grades.prompt",),
        outputs=(Output("{name}.parquet", "GRADES", ids="file"),),
        rows_of="corpus",
        when=_builds_rows,
        asks=True,
        model="grades.engine.model",
        journal=True,
        resources=ASKING,
        cost=Cost(
            start=11,
            bytes_per_row=300,
            unit="asked token",
            same_as="labels",
            prompt_tokens=150,
            program_share=1.0,
            answer_tokens=90,  # 50 words of rationale
        ),
        shown=("score", "expected_score", "rationale", "status"),
    ),
    Stage(
        name="grade_repeats",
        module="d3.stages.grade_repeats",
        settings=(
            *("seed", "grades.mode", "grades.engine", "grades.sampling", "grades.prompt", "grades.read_out"),
            "judge_health.repeats",
        ),
        upstream=("grades",),
        looks_up=("corpus",),
        prompts=("grades.prompt",),
        over="once",
        outputs=(Output("grade_repeats.parquet", "REPEATS", ids="file"),),
        rows_of="grades",
        asks=True,
        engine_of="grades",
        model="grades.engine.model",
        when=_repeats_grades,
        journal=True,
        resources=ASKING,
        cost=Cost(
            start=11,
            bytes_per_row=300,
            unit="asked token",
            same_as="grades",
            prompt_tokens=150,
            program_share=1.0,
            answer_tokens=90,
        ),
        shown=("repeat", "score", "expected_score", "status"),
    ),
    Stage(
        name="judge_health",
        module="d3.stages.judge_health",
        settings=("seed", "judge_health"),
        upstream=("grades",),
        looks_up=("corpus",),
        over="once",
        outputs=(Output("judge_health.json"),),
        rows_of="grades",
        linked="judge_health",
        when=_judges,
        resources=Resources(memory_mb=4000, minutes=120),
        cost=Cost(start=3, cpu_per_row=0.0002),
    ),
    Stage(
        name="diffs",
        module="d3.stages.diffs",
        settings=("seed", "diffs", "grades.mode", "grades.threshold", "grades.threshold_on", ALLOW_EMPTY),
        must_keep_of=20,
        upstream=("grades",),
        looks_up=("duplicates",),
        outputs=(Output("{name}.parquet", "DIFFS", ids="sequence"),),
        rows_of="corpus",
        when=_builds_rows,
        journal=True,
        resources=_sampling,
        cost=Cost(  # `make bench-lintseq`
            start=2.5, cpu_per_row=0.15, bytes_per_row=1500, unit="sequence", same_as="pair_diffs"
        ),
        shown=("sample", "status"),
    ),
    Stage(
        name="adopted_labels",
        module="d3.stages.adopted",
        settings=("adopt.labels", ALLOW_EMPTY),
        must_keep_of=1,
        upstream=("corpus", "duplicates"),
        over="once",
        outputs=(Output("{shard}.parquet", "ADOPTED_LABELS", ids="example"),),
        when=lambda config: config.adopt.labels is not None,
        resources=Resources(memory_mb=6000, minutes=240),
        cost=Cost(start=2, cpu_per_row=0.0001),
    ),
    Stage(
        name="labels",
        module="d3.stages.labels",
        settings=("seed", "labels", "adopt.labels", ALLOW_EMPTY),
        must_keep_of=20,
        upstream=("diffs", "adopted_labels"),
        prompts=("labels.program_prompt", "labels.change_prompt"),
        looks_up=("corpus",),
        outputs=(Output("{name}.parquet", "LABELS", ids="example"),),
        rows_of="diffs",
        when=_builds_rows,
        asks=True,
        model="labels.engine.model",
        journal=True,
        resources=ASKING,
        cost=Cost(
            start=11,
            kept=0.97,
            bytes_per_row=700,
            unit="asked token",
            same_as="grades",
            prompt_tokens=150,
            program_share=_label_share,
            answer_tokens=25,  # one sentence
        ),
        shown=("sample", "part", "start", "end", "label", "status"),
    ),
    Stage(
        name="adopted_dataset",
        module="d3.stages.adopted",
        settings=("adopt.dataset", ALLOW_EMPTY),
        must_keep_of=1,
        upstream=("corpus", "duplicates"),
        over="once",
        outputs=(Output("{shard}.parquet", "ADOPTED_ROWS", ids="example"),),
        when=lambda config: config.adopt.dataset is not None,
        resources=Resources(memory_mb=6000, minutes=240),
        cost=Cost(start=2, cpu_per_row=0.0001),
    ),
    Stage(
        name="label_contamination",
        module="d3.stages.contamination",
        settings=("contamination", "adopt.dataset"),
        upstream=("labels", "adopted_dataset"),
        outputs=(Output("{name}.jsonl"),),
        rows_of="labels",
        cost=Cost(start=2, cpu_per_row=0.0002, kept=0.0, bytes_per_row=1),
    ),
    Stage(
        name="label_duplicates",
        module="d3.stages.label_duplicates",
        upstream=("labels",),
        over="once",
        outputs=(Output("{shard}.txt"),),
        rows_of="labels",
        when=lambda config: config.dataset.duplicate_labels == "drop",
        resources=Resources(memory_mb=4000, minutes=240),
        cost=Cost(start=2, cpu_per_row=0.00002, bytes_per_row=1),
    ),
    Stage(
        name="dataset",
        module="d3.stages.dataset",
        settings=("seed", "dataset", "adopt.dataset", ALLOW_EMPTY),
        must_keep_of=20,
        upstream=("labels", "adopted_dataset", "label_contamination"),
        looks_up=("corpus", "diffs"),
        outputs=(
            Output("data/{name}.parquet", "DATASET"),
            Output("rows/{name}.parquet", "ROW_IDS", ids="rows"),
            Output("unused/{name}.parquet", "UNUSED"),
        ),
        linked="dataset",
        rows_of="labels",
        # Kept: 4.32 rows per file of 5 requested [dataset card].
        cost=Cost(cpu_per_row=0.002, kept=0.86, bytes_per_row=3000),
        one_row_each=True,
        shown=("source_program_id", "lines_changed"),
    ),
    Stage(
        name="file_counts",
        module="d3.stages.file_counts",
        settings=("grades.threshold", "grades.threshold_on", "adopt.dataset"),
        upstream=("dataset",),
        over="once",
        looks_up=("corpus", "duplicates", "grades", "diffs", "labels"),
        outputs=(Output("attrition.json"), Output("attrition.tsv")),
        linked="file_counts",
        cost=Cost(start=2),
    ),
    Stage(
        name="tokens",
        module="d3.stages.tokens",
        settings=("tokens", ALLOW_EMPTY),
        must_keep_of=20,
        upstream=("dataset",),
        environment="dolma",
        outputs=(Output("{name}.npy"), Output("{name}.csv.gz"), Output("{name}.json")),
        linked="tokens",
        rows_of="dataset",
        model="tokens.tokenizer",
        record=".json",
        resources=Resources(memory_mb=4000, minutes=120),
        cost=Cost(start=3, cpu_per_row=0.001, bytes_per_row=3000),
    ),
    Stage(
        name="midtrain",
        module="d3.train.midtrain",
        settings=("seed", "model", "midtrain", "tokens.added"),
        upstream=("tokens",),
        environment="train",
        over="once",
        outputs=(Output("model/"),),
        linked="models/midtrain",
        rows_of="tokens",
        trains=True,
        scripts=("d3", "d3-train"),
        model="model.path",
        when=_any_midtrain,
        record="training.json",
        resources=TRAINING,
        cost=Cost(start=22, unit="trained token"),
    ),
    Stage(
        name="pairs",
        module="d3.stages.pairs",
        settings=("seed", "pairs"),
        upstream=("corpus", "duplicates"),
        outputs=(Output("{name}.parquet", "PAIRS", ids="pairs"),),
        rows_of="corpus",
        cost=Cost(cpu_per_row=0.02, kept=0.35, bytes_per_row=900),
        shown=("name", "instruction"),
    ),
    Stage(
        name="pair_duplicates",
        module="d3.stages.duplicates",
        upstream=("pairs",),
        over="once",
        outputs=(Output("{shard}.txt"),),
        resources=Resources(memory_mb=4000, minutes=240),
    ),
    Stage(
        name="pair_contamination",
        module="d3.stages.contamination",
        settings=("contamination",),
        upstream=("pairs",),
        over="once",
        outputs=(Output("{shard}.jsonl"),),
        rows_of="pairs",
        cost=Cost(start=2, cpu_per_row=0.0005, kept=0.0, bytes_per_row=1),
    ),
    Stage(
        name="pair_diffs",
        module="d3.stages.diffs",
        settings=("seed", "diffs"),
        upstream=("pairs", "pair_duplicates", "pair_contamination"),
        outputs=(Output("{name}.parquet", "DIFFS", ids="sequence"),),
        rows_of="pairs",
        journal=True,
        resources=_sampling,
        cost=Cost(start=2.5, cpu_per_row=0.15, bytes_per_row=700, unit="sequence", same_as="diffs"),
        shown=("sample", "status"),
    ),
    Stage(
        name="sft_data",
        module="d3.stages.pairs",
        settings=("seed",),
        upstream=("pair_diffs",),
        looks_up=("pairs",),
        outputs=(Output("{name}.parquet", "SFT", ids="sequence"),),
        rows_of="pair_diffs",
        cost=Cost(cpu_per_row=0.02, bytes_per_row=900),
        shown=("sample",),
    ),
    Stage(
        name="sft",
        module="d3.train.sft",
        settings=("seed", "model", "sft", "tokens.added"),
        upstream=("sft_data",),
        environment="train",
        over="arm",
        outputs=(Output("{name}/"),),
        linked="models/sft",
        rows_of="sft_data",
        trains=True,
        scripts=("d3", "d3-train"),
        model="model.path",
        record="training.json",
        resources=TRAINING,
        cost=Cost(start=22, unit="trained token"),
    ),
    Stage(
        name="losses",
        module="d3.train.losses",
        settings=("seed", "model", "tokens.held_out", "tokens.added", "midtrain", "arms"),
        upstream=("tokens", "sft"),
        environment="train",
        over="once",
        outputs=(Output("losses.json"),),
        rows_of="tokens",
        model="model.path",
        when=lambda config: config.tokens.held_out > 0,
        resources=Resources(memory_mb=2000, minutes=240),
        cost=Cost(start=15, cpu_per_row=0.3),
    ),
    Stage(
        name="generate",
        module="d3.evals.generate",
        settings=("seed", "generate", "tokens.added"),
        upstream=("sft",),
        over="evaluation",
        outputs=(Output("{name}.parquet", "SAMPLES"),),
        linked="generate",
        asks=True,
        model="model.path",
        journal=True,
        resources=ASKING,
        cost=Cost(
            start=11, bytes_per_row=600, unit="asked token", prompt_tokens=250, answer_tokens=250
        ),  # an answer is a function as diffs
        one_row_each=True,
        shown=("task_id", "sample", "status"),
    ),
    Stage(
        name="execute",
        module="d3.evals.execute",
        settings=("execute",),
        upstream=("generate",),
        environment="eval",
        over="evaluation",
        outputs=(Output("{name}.parquet", "VERDICTS"),),
        linked="execute",
        journal=True,
        rows_of="generate",
        resources=lambda config: Resources(
            memory_mb=1500, memory_mb_per_thread=2 * config.execute.memory_mb + 100, minutes=120
        ),
        cost=Cost(cpu_per_row=0.35, bytes_per_row=200),
        one_row_each=True,
        shown=("task_id", "sample", "verdict"),
    ),
    Stage(
        name="gate",
        module="d3.evals.gate",
        settings=("seed", "execute"),
        environment="eval",
        over="benchmark",
        outputs=(Output("{name}.json"),),
        resources=lambda config: Resources(
            memory_mb=1500, memory_mb_per_thread=2 * config.execute.memory_mb + 100, minutes=240
        ),
        cost=Cost(start=1),
    ),
    Stage(
        name="scores",
        module="d3.evals.score",
        settings=("scores", "generate.samples", "contamination.ngram", "contamination.share"),
        upstream=("gate", "execute"),
        over="evaluation",
        looks_up=("generate",),
        outputs=(Output("{name}.json"), Output("{name}.jsonl")),
        linked="scores",
        rows_of="execute",
    ),
    Stage(
        name="topics",
        module="d3.stages.topics",
        settings=("seed", "topics.engine", "topics.sampling", "topics.prompt", "topics.read_out"),
        upstream=("labels",),
        prompts=("topics.prompt",),
        outputs=(Output("{name}.parquet", "TOPICS", ids="example"),),
        rows_of="labels",
        asks=True,
        model="topics.engine.model",
        target="topics",
        journal=True,
        resources=ASKING,
        cost=Cost(
            start=11,
            kept=0.86,  # of the labels, as many as become dataset rows
            bytes_per_row=300,
            unit="asked token",
            same_as="labels",
            prompt_tokens=450,
            answer_tokens=80,
        ),
    ),
    Stage(
        name="topic_counts",
        module="d3.stages.topics",
        upstream=("topics",),
        over="once",
        outputs=(Output("counts.json"),),
        target="topics",
        local=True,
    ),
    Stage(
        name="report",
        module="d3.report.page",
        settings=("run", "seed"),
        upstream=("scores",),
        over="once",
        within="{results}/runs/{run}",
        outputs=(
            *(Output(name) for name in ("report.html", "numbers.json", "attrition.tsv")),
            *(Output(f"figures/{part}.html") for part in ("data", "training", "evaluation")),
        ),
        local=True,
        cost=Cost(start=3),
    ),
    Stage(
        name="run_record",
        module="d3.stages.run_record",
        settings=("run",),
        environment="main",
        over="once",
        within="{results}/runs/{run}",
        outputs=(Output("run.json"),),
        local=True,
        cost=Cost(start=0.5),
    ),
)

STAGES: dict[str, Stage] = {stage.name: stage for stage in _RECORDS}
LISTS_OF_MATCHES = ("contamination", "pair_contamination", "label_contamination")
"""Stages that list which texts contain tasks of benchmarks."""
"""Every stage by its name."""


def position(name: str) -> int:
    """Return the place of a stage, by its name or that of its folder, in the pipeline; other names come last."""
    stage = STAGES.get(name) or stage_of_folder(name)
    return list(STAGES).index(stage.name) if stage else len(STAGES)


def stage_of_folder(name: str) -> Stage | None:
    """Return the stage whose folder below the results has this name."""
    return next((stage for stage in STAGES.values() if name and stage.results_folder == name), None)


def has_rows(name: str) -> bool:
    """Return whether a name is that of a stage whose tables hold ids that lead to source files."""
    return name in STAGES and any(output.ids for output in STAGES[name].outputs)


def of_functions(name: str) -> bool:
    """Return whether the ids of a stage are those of functions; the table of pairs names the file of each."""
    above = STAGES.get(STAGES[name].rows_of) if name in STAGES else None
    return above is not None and (above.outputs[0].ids == "pairs" or of_functions(above.name))


LISTS = (".txt", ".jsonl", "{name}.parquet", "near_duplicates.parquet")
"""Endings of the lists of ids, among the outputs in which the lineage finds no rows."""


def lists_ids(name: str) -> bool:
    """Return whether a stage only lists ids that others leave out, so that no row comes from it."""
    return name in STAGES and not STAGES[name].outputs[0].ids and STAGES[name].outputs[0].path.endswith(LISTS)


def before(stage: str) -> set[str]:
    """Return all stages upstream of a stage."""
    found: set[str] = set()
    waiting = [stage]
    while waiting:
        above = STAGES[waiting.pop()].upstream
        waiting += set(above) - found
        found |= set(above)
    return found
