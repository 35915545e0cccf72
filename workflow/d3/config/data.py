"""The sections of the configuration about data: sources, filters, grades, diffs, labels, rows."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from d3.config.engine import Engine, Sampling
from d3.config.fields import (
    EMBEDDED_SOURCE,
    MAXIMUM,
    MINIMUM,
    Count,
    Decides,
    Grade,
    ImportString,
    Limits,
    Neutral,
    NotNegative,
    Number,
    Positive,
    PositiveFloat,
    Section,
    Share,
    Template,
    UserPath,
)


def _columns_of_the_stack(columns: dict[str, str]) -> dict[str, str]:
    """Reject names that are no columns of The Stack."""
    if columns:
        from d3.core.schemas import STACK

        if unknown := sorted(columns.keys() - set(STACK.names)):
            raise ValueError(f"given {', '.join(map(repr, unknown))}, allowed is {', '.join(STACK.names)}")
    return columns


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
    """Whether a job may drop all of its rows. false: a batch of which nothing is kept is an error (after `corpus`, a
    batch of at least 20 rows), unless its rows were opted out, are held out, or are kept in another batch."""
    embedded_shards: Positive = 2
    """Number of shards for the standard library, when `shards` is empty."""
    name: Annotated[str, Limits("stand_in", EMBEDDED_SOURCE)] = EMBEDDED_SOURCE
    """Name of the dataset, stored in the `source` column of every row; `own-files` where only `shards` is set. Use
    a name of its own for each dataset: shards with equal file names in equally named datasets are treated as the
    same shard."""
    shards_per_job: Positive = 1
    """Most shards that form one batch: one corpus file, and one job of every later stage. Choose it before a run
    starts, because it is part of every key; about 200 suits 10,000 shards. It changes the order of rows, not the
    rows. Which shards go together follows from their names: one more or less, anywhere in the list, changes only
    the batch that it belongs to. Batches above one shard are 70 to 80 % full on average."""
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
    min_lines: Annotated[Positive, MINIMUM] = 10
    """Minimum number of lines of a file for mid-training."""
    max_lines: Annotated[Positive, MAXIMUM] = 1500
    """Maximum number of lines of a file for mid-training."""
    max_bytes: Annotated[Positive, MAXIMUM] = 1_000_000
    """Maximum size of a file for mid-training, in bytes of UTF-8."""
    max_line_length: Annotated[Positive, MAXIMUM] = 1000
    """Maximum line length, in characters (StarCoder's filter)."""
    max_mean_line_length: Annotated[PositiveFloat, MAXIMUM] = 100
    """Maximum mean line length, in characters (StarCoder's filter)."""
    min_alphanumeric: Annotated[Share, MINIMUM] = 0.25
    """Minimum share of letters and digits among the characters (StarCoder's filter)."""
    licenses: list[str] | None = PERMISSIVE
    """SPDX identifiers of the licenses that are allowed: a file is kept if its license columns name at least one
    license and no other than these. null: any license and none, for files of your own."""
    max_encoded: Annotated[Share, MAXIMUM] = 0.5
    """Maximum share of base64, hexadecimal numbers and escapes among the characters (StarCoder2's filter)."""
    max_repeated: Annotated[Share, MAXIMUM] = 0.8
    """Maximum share of lines that repeat an earlier one; empty lines do not count."""
    max_comments: Annotated[Share, MAXIMUM] = 0.8
    """Maximum share of comments and docstrings among the characters (StarCoder's filter; its minimum of 0.01 is
    not applied)."""
    max_data: Annotated[Share, MAXIMUM] = 0.95
    """Maximum share of literal tables at the top level among the characters."""
    tests: Annotated[bool, Neutral(True)] = True
    """Whether tests are kept: files in folders `test` or `tests`, `test_*.py`, `*_test.py`, `conftest.py`."""
    min_ascii_letters: Share | None = None
    """Minimum share of ASCII among the letters of a file, such as 0.8 to exclude comments in other alphabets."""
    redact: bool = True
    """Whether e-mail addresses, public IP addresses, keys and passwords in strings and comments are replaced by
    `<EMAIL>`, `<IP>`, `<KEY>` and `<PASSWORD>` before any model sees a file."""
    sample: Annotated[Positive | None, MAXIMUM] = None
    """Files per shard for mid-training, selected by a hash of their content; null keeps all."""
    held_out: Share = 0.02
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


class NearDuplicates(Section):
    """Near-duplicates over all shards: of files whose code is almost the same, one is kept."""

    similarity: Annotated[float, Field(gt=0, le=1), Number] | None = 0.7
    """Share of common shingles (exact Jaccard similarity) from which on two files are near-duplicates; null compares
    nothing. Comments, docstrings and formatting do not count."""
    ngram: Positive = 5
    """Words of a shingle; words are those of names, keywords and literals."""
    min_shingles: Annotated[Positive, MINIMUM] = 10
    """Files with fewer different shingles are near-duplicates of none."""
    permutations: Annotated[int, Field(ge=5, le=320), Number] = 256
    """Permutations of the MinHash signature by which candidates are found."""
    blinded: Annotated[bool, Neutral(False)] = False
    """Whether files are compared a second time without the names of their variables, functions and classes, so that
    renamed copies are found; only files of at least 50 such shingles."""
    algorithm: Literal["rensa-2"] = "rensa-2"
    """Implementation and version of MinHash; part of every key."""


class Pairs(Section):
    """Docstring -> function pairs from the held-out files. The paper's fine-tuning set is not public."""

    max_lines: Annotated[Positive, MAXIMUM] = 60
    """Maximum number of lines of a function, with the imports that it needs."""
    min_words: Annotated[Positive, MINIMUM] = 6
    """Minimum number of words in the first paragraph of the docstring."""
    instructions: Annotated[Literal["docstring", "imperative"], Neutral("docstring")] = "docstring"
    """The instruction: the `docstring`'s first paragraph, or that paragraph as a command (`imperative`): markup
    removed, no colon at the end, "Returns" written as "Return"; functions whose docstring does not begin with a verb
    are left out."""
    sample: Annotated[Positive | None, MAXIMUM] = None
    """Pairs per shard, selected by a hash of their content; null keeps all."""


class Grades(Section):
    """Grading of whole files by a language model."""

    mode: Literal["model", "none", "adopted"] = "model"
    """`model`: a judge model grades every file; `none`: the ungraded ablation, no model is loaded and
    every file passes, whatever the threshold; `adopted`: the grades are those of `adopt.grades`."""
    engine: Engine = Engine()
    """The judge model."""
    sampling: Sampling = Sampling()
    """Sampling of the rationale."""
    prompt: Template = "grade.jinja"
    """Prompt template: a name in `config/prompts`, or a path."""
    read_out: Literal["parse", "constrained"] = "constrained"
    """`parse`: the last `Final score: N` of the response [authors' code requests that line];
    `constrained`: a second decoding step restricted to 0-4, so that no score is missing."""
    threshold: Grade = 0
    """Minimum grade of a file for the later stages. The paper's is not public."""
    threshold_on: Annotated[Literal["expected_score", "score"], Neutral("expected_score")] = "expected_score"
    """Which grade the threshold is for: `expected_score`, the mean over the probabilities of the scores, and `score`
    where the read-out has none (`parse`); `score`: always the likeliest score."""


class JudgeHealth(Section):
    """What the judge of the files must come up to. All bounds are ours; null checks nothing."""

    action: Literal["warn", "stop"] = "warn"
    """`warn`: a broken bound is in the log, the report and `numbers.json`; `stop`: the stage fails too."""
    repeats: Count = 100
    """Files that the judge grades twice more with other seeds, at temperature 1 where `grades.sampling` is greedy; 0
    asks nothing. Chosen by the seed and the files alone."""
    reference: list[UserPath] = []
    """Tables (Parquet or JSON lines) with `id` and `score`, or glob patterns of them, that the judge is compared with:
    grades by hand, or those of a second judge (`results/grades/KEY/*.parquet` of another configuration)."""
    max_entropy: NotNegative | None = 2.0
    """Maximum of the mean entropy of the read-out, in bits; that of a judge who does not know is log2(5) = 2.32."""
    min_margin: Share | None = 0.05
    """Minimum of the median difference between the probabilities of the two likeliest scores."""
    max_same: Share | None = 0.95
    """Maximum share of the files that have the same score."""
    max_cut: Share | None = 0.05
    """Maximum share of rationales that end because `grades.sampling.max_tokens` ran out."""
    min_consistency: Share | None = 0.4
    """Minimum quadratically weighted kappa between the two repeats."""
    min_agreement: Share | None = 0.4
    """Minimum quadratically weighted kappa between the judge and `reference`."""
    max_confound: Share | None = 0.8
    """Maximum AUC with which source, repository, license, length or age alone tell the better half of the files."""


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
    max_depth: Annotated[Positive, MAXIMUM] = 512
    """Maximum number of edits of a sequence [pylintseq]; the lines that remain become the first diff."""
    max_lines: Annotated[Positive, MAXIMUM] = 2000
    """Files with more lines get the status `too_many_lines`."""
    max_cpu_seconds: Annotated[PositiveFloat, MAXIMUM] = 300
    """CPU-time limit of one file, for all its sequences together; beyond it the status is `timeout`."""
    max_wall_seconds: Annotated[PositiveFloat, MAXIMUM] = 1800
    """Wall-time limit of one file, for all its sequences together; beyond it the status is `timeout`."""
    max_memory_mb: Annotated[Positive, MAXIMUM] = 4000
    """Address-space limit of the process that works on a file; beyond it the status is `memory`."""

    @model_validator(mode="after")
    def _only_what_pylintseq_can(self) -> Self:
        if self.sampler == "pylintseq" and (not self.lint or self.unresolved_imports != "error" or self.packages):
            raise ValueError("sampler pylintseq takes only the defaults of lint, unresolved_imports and packages")
        return self


CountOrDrop = Annotated[Literal["count", "drop"], Neutral("count")]


class LabelChecks(Section):
    """Faults of labels that are told without a model: `count` keeps such a label, `drop` makes the fault its status."""

    names: CountOrDrop = "count"
    """`unknown_name`: a name in back quotes that is neither in the program before nor in the one after the change."""
    long: CountOrDrop = "count"
    """`long`: more words than `max_words`."""
    cut: CountOrDrop = "count"
    """`cut`: a sentence that ends in the middle: in a word such as "the", a comma, an open bracket or quote."""
    hedges: CountOrDrop = "count"
    """`hedged`: a sentence with "might", "probably", "seems" and the like."""
    max_words: Annotated[Positive, Neutral(60)] = 60
    """Words of a label above which it is `long`."""


class Labels(Section):
    """Instructions for whole programs and for sub-trajectories, written by a language model."""

    mode: Literal["model", "none", "constant", "adopted"] = "model"
    """`model`: a model writes the instruction of every example; `none`: the instruction-free ablation, all
    instructions are empty; `constant`: all are the same sentence; `adopted`: they are those of `adopt.labels`. The last
    three load no model."""
    constant: Annotated[str, Field(pattern=r"^\S[^\n]*$")] = "Complete the program."
    """The instruction in mode `constant`; one line."""
    engine: Engine = Engine()
    """The model that writes the instructions."""
    sampling: Sampling = Sampling(max_tokens=256)
    """Sampling of the instruction."""
    program_prompt: Template = "label_program.jinja"
    """Prompt template for the whole program: a name in `config/prompts`, or a path."""
    change_prompt: Template = "label_change.jinja"
    """Prompt template for a step from one program to another: a name in `config/prompts`, or a path."""
    whole_program: bool = True
    """Whether the whole sequence is an example as well [authors' code]."""
    sub_trajectories: Annotated[Count, MAXIMUM] = 4
    """Sub-trajectories per sequence [authors' code]; half of them start at the empty program."""
    ends: Literal["all", "authors"] = "all"
    """`all`: a sub-trajectory may end at the finished file; `authors`: it never includes the last diff
    [authors' code]."""
    trivial: Annotated[Literal["keep", "redraw"], Neutral("keep")] = "keep"
    """Sub-trajectories that change comments, quotes or layout alone, or one line of docstrings: `keep` them, or
    `redraw` until one changes more."""
    checks: LabelChecks = LabelChecks()
    """What becomes of labels with a fault."""


class Topics(Section):
    """Topics of the instructions, extracted by a language model; only the target `topics` and `in_report` run it."""

    in_report: Annotated[bool, Decides("nothing")] = False
    """Ask in every run, and show topics and libraries in the report."""
    engine: Engine = Engine(max_length=2048)
    """The model that reads the instructions."""
    sampling: Sampling = Sampling()
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
    duplicate_labels: Annotated[Literal["keep", "drop"], Neutral("keep")] = "keep"
    """Labels that say what a label of another file says: `keep` them (the report counts them), or `drop` all but
    those of one file."""
