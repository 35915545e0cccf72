"""What all rules share: the checked configuration, the folders of the stages, the interpreters.

Paths and parameters come from `d3.chain`, so that rules, commands and lineage agree on them.
"""

import sys
from pathlib import Path

ROOT = Path(workflow.basedir).parent
sys.path.insert(0, str(ROOT / "workflow"))

from d3.chain import MODEL_NAME, STAGES, Chain
from d3.config import Config, parse_config
from d3.errors import D3Error

try:
    CHAIN = Chain(parse_config(config))
    DIR = {stage: CHAIN.folder(stage) for stage in STAGES}
    GRADER, LABELER = (CHAIN.model_path(stage.engine.model, stage.engine.revision) for stage in (CHAIN.config.grades, CHAIN.config.labels))
    BASE = CHAIN.model_path(CHAIN.config.model.path, CHAIN.config.model.revision)
    TOKENIZER = CHAIN.model_path(CHAIN.config.tokens.tokenizer, CHAIN.config.tokens.revision)
    SHARDS, ARMS, BENCHMARKS = CHAIN.shards, CHAIN.arms, CHAIN.benchmarks
except D3Error as error:
    raise WorkflowError(str(error))

RUN = f"results/runs/{CHAIN.config.run}"
REPORT = f"{RUN}/report.html"
WORK = "work"


wildcard_constraints:
    shard=r"[^/]+",
    version=r"[\d.]+",
    owner=r"[\w.-]+?",
    name=r"[\w.-]+",
    revision=r"[\w.-]+",
    arm=r"[^/]+",
    benchmark=r"[^/]+",


def d3(environment="venv"):
    """Give the command that runs a stage with the interpreter of one environment of `envs/`."""
    return f"PYTHONPATH={ROOT / 'workflow'} {ROOT / f'.{environment}'}/bin/python -m d3"


D3 = d3()
D3_DOLMA = d3("venv-dolma")


def stale_when(stage, *more):
    """Give what reruns a stage when it changes, as one dict whose order never does."""
    return {"code": CHAIN.code(stage), "prompts": CHAIN.prompts(stage), "config": CHAIN.config_text(stage, *more)}


def model_input(path):
    """Give a model's folder as a rule's input if a rule makes it, else nothing."""
    return [path] if path.startswith(CHAIN.models) else []


def shard_input(wildcards):
    """Give the source file of a shard."""
    return SHARDS[wildcards.shard]


def trained_on(wildcards):
    """Give the mid-trained model of an arm, or the embedded base model, or nothing to wait for."""
    if ARMS[wildcards.arm][1].midtrain:
        return [f"{DIR['midtrain']}/model"]
    return model_input(BASE)


def arm_settings(wildcards):
    """Give what reruns an arm's fine-tuning."""
    return stale_when("sft", f"arms.{ARMS[wildcards.arm][0]}")


def benchmark_settings(stage):
    """Give a function of the wildcards: what reruns a stage of the evaluation."""
    return lambda wildcards: stale_when(stage, f"benchmarks.{BENCHMARKS[wildcards.benchmark][0]}")


def tasks_input(wildcards):
    """Give the task file of a benchmark."""
    return CHAIN.tasks_path(BENCHMARKS[wildcards.benchmark][1])
