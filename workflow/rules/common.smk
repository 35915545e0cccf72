"""What all rules share: the checked configuration, the folders of the stages, the command `d3`.

Paths and parameters come from `d3.pipeline.pipeline`, so that rules, commands and lineage agree on them.
"""

import json
import os
import sys
import uuid
from pathlib import Path
from shlex import quote

from snakemake_interface_executor_plugins.settings import ExecMode

ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from rerun_policy import follow_content
from d3.pipeline.pipeline import MODEL_NAME, Chain
from d3.pipeline.source_shards import check_shards
from d3.operate.container_binds import check_checkout, check_images, open_images
from d3.pipeline.resources import needs
from d3.config.models import Config
from d3.config.load import parse_config
from d3.errors import D3Error
from d3.core.ids import canonical_json, digest_of
from d3.pipeline.registry import EMBEDDED_TASKS, STAGES
from d3.provenance.code_digest import BIN
from d3.provenance.runtime import git
from d3.provenance.images import image_path
from d3.core.tables import written_whole
from d3.stages.run_record import record_text, run_record, settings_of

# Whether jobs run in images.
IMAGES = "APPTAINER" in {
    method.name for method in workflow.deployment_settings.deployment_method
}

try:
    CHAIN = Chain(parse_config(config))
    DIR = {stage: CHAIN.folder(stage) for stage in STAGES}
    MODELS = {stage: CHAIN.answering(stage) or [] for stage in STAGES}
    TASKS = [
        f"{name}={CHAIN.tasks_path(item)}"
        for _, (name, item) in CHAIN.benchmarks.items()
    ]
    TASK_FILES = list(
        dict.fromkeys([*(task.split("=", 1)[1] for task in TASKS), *CHAIN.task_files])
    )
    AGAINST = [
        *(["--tasks", *TASKS] if TASKS else []),
        *(["--task-files", *CHAIN.task_files] if CHAIN.task_files else []),
    ]
    OPT_OUT = ["--opt-out", CHAIN.opt_out] if CHAIN.opt_out else []
    SHARDS, ARMS, BENCHMARKS = CHAIN.batches, CHAIN.arms, CHAIN.benchmarks
    MIDTRAINED = [f"{DIR['midtrain']}/model"] * STAGES["midtrain"].when(CHAIN.config)
    LOSSES = [f"{DIR['losses']}/losses.json"] * STAGES["losses"].when(CHAIN.config)
    PREGRADES = [f"{DIR['pregrade']}/{{shard}}.parquet"] * STAGES["pregrade"].when(
        CHAIN.config
    )
    TOPICS = [f"{DIR['topic_counts']}/counts.json"] * CHAIN.config.topics.in_report
    ADOPTED = {
        kind: [f"{DIR[f'adopted_{kind}']}/{{shard}}.parquet"]
        * STAGES[f"adopted_{kind}"].when(CHAIN.config)
        for kind in ("grades", "labels", "dataset")
    }
    REPEATS = [f"{DIR['grade_repeats']}/grade_repeats.parquet"] * STAGES[
        "grade_repeats"
    ].when(CHAIN.config)
    HEALTH = [f"{DIR['judge_health']}/judge_health.json"] * STAGES["judge_health"].when(
        CHAIN.config
    )
    REFERENCES = CHAIN.references
    LABEL_DUPLICATES = [f"{DIR['label_duplicates']}/{{shard}}.txt"] * STAGES[
        "label_duplicates"
    ].when(CHAIN.config)
    check_checkout(images=IMAGES)
    if workflow.exec_mode == ExecMode.DEFAULT:
        check_shards(CHAIN.shards, CHAIN.config.source.columns)
except D3Error as error:
    raise WorkflowError(str(error))

REPORT = f"{DIR['report']}/report.html"
RECORD = f"{DIR['run_record']}/run.json"
WORK = "work"
ALL_CORES = (
    1024  # of the machine: `cores` caps it, a profile for a cluster gives a number
)


wildcard_constraints:
    shard=r"[^/]+",
    version=r"[\d.]+",
    owner=r"[\w.-]+?",
    name=r"[\w.-]+",
    revision=r"[\w.-]+",
    arm=r"[^/]+",
    benchmark=r"[^/]+",


# What jobs write into their statements and only the head can know; jobs on other nodes inherit it.
os.environ.setdefault(
    "D3_RUN", json.dumps({"invocation": str(uuid.uuid4()), "git": git(ROOT)})
)

# Profiles start `d3-scratch` by it, outside of the image.
os.environ.update(D3_BIN=str(BIN))

IS_MODULE = not workflow.modifier.is_main_snakefile()
# Our rules alone find `d3`: a workflow that uses this one as a module keeps its own prefix.
shell = type(
    "shell",
    (shell,),
    {"_process_prefix": f'set -euo pipefail; export PATH={quote(str(BIN))}:"$PATH"; '},
)


if IMAGES:
    try:
        open_images(CHAIN, Path.cwd())
    except D3Error as error:
        raise WorkflowError(str(error))


onstart:
    if IMAGES:
        try:
            check_images(
                job.params.stale["environment"]
                for job in workflow.dag.needrun_jobs()
                if "stale" in job.params.keys()
            )
        except D3Error as error:
            raise WorkflowError(str(error))


follow_content(workflow, CHAIN, images=IMAGES)


def image(name):
    """Return the path of an image; its name carries the hash of its definition and its lock.

    Snakemake refuses white space in it, also in runs without images.
    """
    path = str(image_path(name))
    return path if IMAGES or path == "".join(path.split()) else None


def outside_of(name):
    """Return no image where jobs run in images: the rule runs beside Snakemake, or enters this one itself.

    Where they do not it is named all the same, for `snakemake --lint`, and nothing comes of it.
    """
    return None if IMAGES else image(name)


def write_settings(path, text):
    """Write the settings of a job where it will look for them, unless they are there."""
    if not path.exists():
        with written_whole(path) as part:
            part.write_text(text, encoding="utf-8")


def stale_when(stage, *more):
    """Return what reruns a stage when it changes, as one dict whose order never does."""
    environment = CHAIN.environment(stage)
    settings, text = CHAIN.settings_file(stage, *more)
    write_settings(Path(settings), text)
    return {
        "stage": stage,
        "code": CHAIN.code(stage, *more),
        "prompts": CHAIN.prompts(stage),
        "settings": settings,
        "config": canonical_json(CHAIN.deciding(stage, *more)),
        "environment": environment,
        "image": image(environment) if environment != "main" else None,
    }


def run_plan():
    """Return what decides the record of the run, and the file that the record is a copy of."""
    record = run_record(CHAIN)
    decides = settings_of(record)
    path = f"work/settings/run_record-{digest_of(decides)[:32]}.json"
    write_settings(Path(path), record_text(record))
    return {"settings": path, "config": canonical_json(decides)}


def model_option(wildcards, input):
    """Return the option that names the model of a stage, if it asks one."""
    return ["--model", input.model] if input.model else []


def option(flag, name):
    """Return a function: the option for the files of an input that only some configurations have."""
    return lambda wildcards, input: [flag, *files] if (files := input[name]) else []


def shard_input(wildcards):
    """Return the source files of a batch of shards."""
    return SHARDS[wildcards.shard]


def as_long_as(wildcards):
    """Return the mid-trained model whose number of tokens an arm is trained on in addition, if it is."""
    return MIDTRAINED if ARMS[wildcards.arm][1].same_tokens else []


def trained_on(wildcards):
    """Return the model that an arm's fine-tuning begins with."""
    if ARMS[wildcards.arm][1].midtrain:
        return f"{DIR['midtrain']}/model"
    return MODELS["sft"]


def arm_settings(wildcards):
    """Return what reruns an arm's fine-tuning."""
    return stale_when("sft", f"arms.{ARMS[wildcards.arm][0]}")


def benchmark_settings(stage):
    """Return a function of the wildcards: what reruns a stage of the evaluation."""
    return lambda wildcards: stale_when(
        stage, f"benchmarks.{BENCHMARKS[wildcards.benchmark][0]}"
    )


def line_settings(stage):
    """Return a function of the wildcards: what reruns a stage that an arm's format decides, where it has one."""
    return lambda wildcards: stale_when(
        stage,
        f"benchmarks.{BENCHMARKS[wildcards.benchmark][0]}",
        *(
            f"arms.{ARMS[wildcards.arm][0]}.{name}"
            for name in ("midtrain", "format", "model")
            if arm_option(wildcards)
        ),
    )


def arm_option(wildcards):
    """Return the option that names the arm, if it is not asked in the format of the dataset."""
    name, arm = ARMS[wildcards.arm]
    return ["--arm", name] if arm.format != "diff" or arm.model else []


def evaluated_model(wildcards):
    """Return the model of an arm: the trained one, or one that is evaluated as it is."""
    return CHAIN.model_of_arm(ARMS[wildcards.arm][1]) or f"{DIR['sft']}/{wildcards.arm}"


def tasks_input(wildcards):
    """Return the task file of a benchmark."""
    return CHAIN.tasks_path(BENCHMARKS[wildcards.benchmark][1])


def shard_files(pattern):
    """Return one file a shard."""
    return expand(pattern, shard=SHARDS)


def built(pattern):
    """Return a list of a batch's file, empty if the dataset is adopted: then nothing is graded, sampled or labeled."""
    return [] if ADOPTED["dataset"] else [pattern]


def adopted_inputs(kind):
    """Return what a table made outside of the pipeline is matched to, and the table."""
    return {
        "corpus": shard_files(f"{DIR['corpus']}/{{shard}}.parquet"),
        "rejected": shard_files(f"{DIR['corpus']}/rejected/{{shard}}.parquet"),
        "duplicates": shard_files(f"{DIR['duplicates']}/{{shard}}.txt"),
        "adopted": CHAIN.adopted_files(f"adopt.{kind}"),
    }


def line_files(stage, suffix):
    """Return one file for every (benchmark, arm), benchmarks outermost as in the configuration."""
    return expand(
        f"{DIR[stage]}/{{benchmark}}/{{arm}}.{suffix}", benchmark=BENCHMARKS, arm=ARMS
    )


def named_lines(stage):
    """Return `BENCHMARK/ARM=FILE` for every line of the evaluation."""
    lines = [(benchmark, arm) for benchmark in BENCHMARKS for arm in ARMS]
    return [
        f"{BENCHMARKS[b][0]}/{ARMS[a][0]}={DIR[stage]}/{b}/{a}.parquet"
        for b, a in lines
    ]


def figures(part, content):
    """Return the page with the figures of one part, as `snakemake --report` lists it."""
    return report(
        f"{DIR['report']}/figures/{part}.html",
        caption=f"../report/{part}.rst",
        category="Figures",
        subcategory=part.capitalize(),
        labels={"run": CHAIN.config.run, "content": content},
    )
