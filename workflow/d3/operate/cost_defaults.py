"""What stages are assumed to cost where no earlier run was measured: each figure with its source.

Figures of a single stage are in its record. CPU figures are those of this pipeline's demo on two cores
of a 2.x GHz x86 server. They were never checked on other processors. GPU figures come from a data sheet
and a share of it that is usually reached.
"""

from pathlib import Path

from d3.config.engine_kinds import ENGINE_KINDS
from d3.config.evaluation import Benchmark
from d3.config.training import Training
from d3.errors import D3Error
from d3.operate.cost_model import ANSWER_WEIGHT, Seconds
from d3.pipeline.pipeline import Chain
from d3.pipeline.registry import STAGES
from d3.pipeline.resources import BYTES_PER_PARAMETER, MEGABYTE, model_mb

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


def share_scored(threshold: float) -> float:
    """Return the assumed share of files at a threshold of 0 to 4; between whole scores it is interpolated."""
    below = min(int(threshold), max(SCORED) - 1)
    return SCORED[below] + (SCORED[below + 1] - SCORED[below]) * (threshold - below)


def file_tokens(chain: Chain) -> float:
    """Return the tokens of a file that goes to mid-training."""
    return min(SMALL_FILES * chain.config.corpus.max_bytes, FILE_BYTES) / BYTES_PER_TOKEN


def example_tokens(chain: Chain) -> float:
    """Return the tokens of a dataset row."""
    return TOKENS_PER_EXAMPLE * file_tokens(chain) * BYTES_PER_TOKEN / FILE_BYTES


def tasks_of(chain: Chain, benchmark: Benchmark) -> int:
    """Return how many tasks of a benchmark are used: the rows of its file, or what its spec says of a missing one."""
    from d3.evals.task_file import rows_in
    from d3.evals.tasks import reader

    try:
        found = rows_in(Path(chain.tasks_path(benchmark)))
    except (D3Error, OSError, EOFError):
        found = 0
    found = found or reader(benchmark.kind).SPEC.tasks_in_file
    return found if benchmark.tasks is None else min(found, benchmark.tasks)


def request_tokens(chain: Chain, stage: str, most: float) -> tuple[float, float]:
    """Return the tokens of a prompt and of its answer, of which there are `most` at most."""
    cost = STAGES[stage].cost
    share = cost.program_share(chain.config) if callable(cost.program_share) else cost.program_share
    return cost.prompt_tokens + share * file_tokens(chain), min(cost.answer_tokens, most)


def parameters(chain: Chain, stage: str) -> float:
    """Return the number of parameters of the model that a stage asks or trains."""
    return model_mb(chain, stage) * MEGABYTE / BYTES_PER_PARAMETER


def on_gpus(chain: Chain, stage: str) -> bool:
    """Return whether a stage is meant for GPUs: by its engine, or by training in bfloat16."""
    if STAGES[stage].trains:
        return bool(getattr(chain.config, stage).dtype == "bfloat16")
    return chain.asks(stage) and ENGINE_KINDS[chain.engine(stage).kind].needs_gpus


def asking(chain: Chain, stage: str) -> Seconds:
    """Return the seconds of a job that asks a language model, for every prompt token's worth of work.

    Reading a prompt takes 2 operations a parameter and token. Writing takes all weights out of memory
    for every token of a batch; both are put into the one unit by its weight of answers.
    """
    engine = chain.engine(stage)
    size = parameters(chain, stage)
    if not on_gpus(chain, stage):
        return Seconds(STAGES[stage].cost.start, 2 * size / CPU_FLOPS)
    kind = engine.quantization or engine.dtype
    prompt = 2 * size / (GPU_FLOPS[kind] * REACHED * engine.tensor_parallel)
    bytes_read = size * (1 if kind == "fp8" else 4 if kind == "float32" else 2)
    answer = bytes_read / (GPU_BANDWIDTH * REACHED * engine.tensor_parallel * engine.batch)
    return Seconds(GPU_START, max(prompt, answer / ANSWER_WEIGHT))


def training(chain: Chain, stage: str) -> Seconds:
    """Return the seconds of a training job a token: 6 operations a parameter, 8 where activations are recomputed."""
    settings: Training = getattr(chain.config, stage)
    work = (8 if settings.gradient_checkpointing else 6) * parameters(chain, stage)
    if not on_gpus(chain, stage):
        return Seconds(STAGES[stage].cost.start, work / CPU_FLOPS)
    return Seconds(GPU_START, work / (GPU_FLOPS[settings.dtype] * REACHED * settings.processes))


def seconds(chain: Chain, stage: str) -> Seconds:
    """Return the default cost of a stage's jobs."""
    if chain.asks(stage):
        return asking(chain, stage)
    if STAGES[stage].trains:
        return training(chain, stage)
    return Seconds(STAGES[stage].cost.start, STAGES[stage].cost.cpu_per_row)
