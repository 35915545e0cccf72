"""What a stage is taken to cost when no earlier run tells: each figure with its source.

CPU figures are those of this pipeline's demo on two cores of a 2.x GHz x86 server. They were never checked on
other processors. GPU figures come from a data sheet and a share of it that is usually reached.
"""

from d3.chain import Chain
from d3.cluster.needs import BYTES_PER_PARAMETER, MEGABYTE, weights_mb
from d3.cluster.rates import ANSWER_WEIGHT, Cost
from d3.config import Engine, Labels, Training
from d3.engine_kinds import ENGINE_KINDS

START = {"grades": 11.0, "labels": 11.0, "generate": 11.0, "topics": 11.0, "midtrain": 22.0, "sft": 22.0,
         "diffs": 2.5, "pair_diffs": 2.5, "tokens": 3.0, "report": 3.0}  # fmt: skip
"""CPU seconds before the first row, the libraries' imports most of all (measured on the demo)."""
START_ELSEWHERE = 1.0
CPU_PER_ROW = {
    "source": 0.005,
    "corpus": 0.011,
    "pairs": 0.02,
    "diffs": 0.15,
    "pair_diffs": 0.15,
    "dataset": 0.002,
    "sft_data": 0.02,
    "tokens": 0.001,
    "execute": 0.35,
}
"""CPU seconds of a row that is read (measured on the demo; LintSeq: `make bench-lintseq`)."""
GPU_START = 180.0
"""Seconds until an engine or a training run on GPUs has loaded its weights (ours)."""

CPU_FLOPS = 75e9
"""Floating-point operations in one CPU second, float32 (measured on the demo: 50e9 in training, 90e9 in asking)."""
GPU_FLOPS = {"float32": 67e12, "bfloat16": 989e12, "float16": 989e12, "fp8": 1979e12}
"""Dense operations a second of one H100 SXM (NVIDIA's data sheet; float32 outside of the tensor cores)."""
GPU_BANDWIDTH = 3.35e12
"""Bytes a second of its memory (the same)."""
REACHED = 0.4
"""Share of both that programs reach (ours: 40 to 50 % is common for dense models)."""

KEPT = {"corpus": 0.3, "pairs": 0.35, "diffs": 0.97, "labels": 0.97, "dataset": 0.86}
"""Rows that go on, of rows that are read. dataset: 4.32 rows a file of 5 asked [dataset card]; others: the demo."""
SCORED = {0: 1.0, 1: 0.95, 2: 0.8, 3: 0.4, 4: 0.1}
"""Share of files whose score reaches a threshold (ours: the paper's scores are not public)."""
FILE_BYTES = 4960.0
"""Bytes of a Python file of the-stack-dedup (64.30 GB in 12,962,249 files)."""
SMALL_FILES = 0.45
"""Mean size of the files under a limit, as a share of it (the demo)."""
BYTES_PER_TOKEN = 3.5
"""Of Python code (the demo's tokenizer)."""
TOKENS_PER_EXAMPLE = 2178.0
"""Tokens of a dataset row, for files of `FILE_BYTES` [dataset card: 8.0 billion tokens in 3,673,873 rows]."""
SFT_TOKENS = 200.0
"""Tokens of a fine-tuning example (the demo)."""
PROMPT_TOKENS = {"grades": (150.0, 1.0), "labels": (150.0, 0.4), "generate": (250.0, 0.0), "topics": (450.0, 0.0)}
"""Tokens of a prompt: of the template, and as a share of the file's (the demo)."""
BOTH_PROGRAMS = 1.5
"""The share where a template for labels shows both programs, as all but our default may."""
ANSWER_TOKENS = {"grades": 90.0, "labels": 25.0, "generate": 250.0, "topics": 80.0}
"""Tokens of an answer, if it may be so long (ours: 50 words of rationale, one sentence, a function as diffs)."""
BYTES_PER_ROW = {
    "source": 3500.0,
    "corpus": 2500.0,
    "grades": 300.0,
    "diffs": 1500.0,
    "labels": 700.0,
    "dataset": 3000.0,
    "tokens": 3000.0,
    "pairs": 900.0,
    "pair_diffs": 700.0,
    "sft_data": 900.0,
    "generate": 600.0,
    "execute": 200.0,
    "topics": 300.0,
}
"""Bytes of outputs a row (first output) that is written (the demo; compressed Parquet)."""
TASKS = {"humaneval": 164, "humanevalsynth": 164, "humanevalfix": 164, "mbppplus": 378}
"""Tasks of the benchmarks as published."""


def file_tokens(chain: Chain) -> float:
    """Give the tokens of a file that goes to mid-training."""
    return min(SMALL_FILES * chain.config.corpus.max_bytes, FILE_BYTES) / BYTES_PER_TOKEN


def example_tokens(chain: Chain) -> float:
    """Give the tokens of a dataset row."""
    return TOKENS_PER_EXAMPLE * file_tokens(chain) * BYTES_PER_TOKEN / FILE_BYTES


def request_tokens(chain: Chain, stage: str, most: float) -> tuple[float, float]:
    """Give the tokens of a prompt and of its answer, of which there are `most` at most."""
    template, share = PROMPT_TOKENS[stage]
    if stage == "labels" and chain.config.labels.change_prompt != Labels().change_prompt:
        share = BOTH_PROGRAMS
    prompt = template + share * file_tokens(chain)
    return prompt, min(ANSWER_TOKENS[stage], most)


def parameters(chain: Chain, stage: str) -> float:
    """Give the number of parameters of the model that a stage asks or trains."""
    if stage in ("midtrain", "sft", "generate"):
        return weights_mb(chain, chain.config.model.path, chain.config.model.revision) * MEGABYTE / BYTES_PER_PARAMETER
    engine: Engine = getattr(chain.config, stage).engine
    return weights_mb(chain, engine.model, engine.revision) * MEGABYTE / BYTES_PER_PARAMETER


def on_gpus(chain: Chain, stage: str) -> bool:
    """Tell whether a stage is meant for GPUs: vLLM, or training in bfloat16."""
    if stage in ("midtrain", "sft"):
        return bool(getattr(chain.config, stage).dtype == "bfloat16")
    if stage not in PROMPT_TOKENS or (stage != "generate" and chain.answering(stage) is None):
        return False
    return ENGINE_KINDS[getattr(chain.config, stage).engine.kind].needs_gpus


def asking(chain: Chain, stage: str) -> Cost:
    """Give the seconds of a job that asks a language model, for every prompt token's worth of work.

    Reading a prompt takes 2 operations a parameter and token. Writing takes all weights out of memory
    for every token of a batch; both are put into the one unit by its weight of answers.
    """
    engine: Engine = getattr(chain.config, stage).engine
    size = parameters(chain, stage)
    if not on_gpus(chain, stage):
        return Cost(START[stage], 2 * size / CPU_FLOPS)
    kind = engine.quantization or engine.dtype
    prompt = 2 * size / (GPU_FLOPS[kind] * REACHED * engine.tensor_parallel)
    bytes_read = size * (1 if kind == "fp8" else 4 if kind == "float32" else 2)
    answer = bytes_read / (GPU_BANDWIDTH * REACHED * engine.tensor_parallel * engine.batch)
    return Cost(GPU_START, max(prompt, answer / ANSWER_WEIGHT))


def training(chain: Chain, stage: str) -> Cost:
    """Give the seconds of a training job a token: 6 operations a parameter, 8 where activations are recomputed."""
    settings: Training = getattr(chain.config, stage)
    work = (8 if settings.gradient_checkpointing else 6) * parameters(chain, stage)
    if not on_gpus(chain, stage):
        return Cost(START[stage], work / CPU_FLOPS)
    return Cost(GPU_START, work / (GPU_FLOPS[settings.dtype] * REACHED * settings.processes))


def cost(chain: Chain, stage: str) -> Cost:
    """Give the default cost of a stage's jobs in seconds."""
    if stage in PROMPT_TOKENS and (stage == "generate" or chain.answering(stage) is not None):
        return asking(chain, stage)
    if stage in ("midtrain", "sft"):
        return training(chain, stage)
    return Cost(START.get(stage, START_ELSEWHERE), CPU_PER_ROW.get(stage, 0.0))
