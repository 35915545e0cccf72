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
