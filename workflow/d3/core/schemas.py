"""The columns of every table of the chain: stages never import each other, they meet in these."""

import pyarrow as pa


def _event_columns(event: str) -> list[tuple[str, pa.DataType]]:
    """Return the eight columns that The Stack keeps of a repository's stars, issues or forks."""
    prefix = f"max_{event}"
    return [
        (f"{prefix}_repo_path", pa.string()),
        (f"{prefix}_repo_name", pa.string()),
        (f"{prefix}_repo_head_hexsha", pa.string()),
        (f"{prefix}_repo_licenses", pa.list_(pa.string())),
        (f"{prefix}_count", pa.int64()),
        (f"{prefix}_repo_{event}_event_min_datetime", pa.string()),
        (f"{prefix}_repo_{event}_event_max_datetime", pa.string()),
    ]


STACK = pa.schema(
    [
        ("hexsha", pa.string()),
        ("size", pa.int64()),
        ("ext", pa.string()),
        ("lang", pa.string()),
        *_event_columns("stars"),
        *_event_columns("issues"),
        *_event_columns("forks"),
        ("content", pa.string()),
        ("avg_line_length", pa.float64()),
        ("max_line_length", pa.int64()),
        ("alphanum_fraction", pa.float64()),
    ]
)
"""The 29 columns of the-stack-dedup, in its order."""

METADATA = pa.struct([field for field in STACK if field.name != "content"])
"""The 28 columns of The Stack without the content: the `metadata` of the released D3."""

CORPUS = pa.schema(
    [
        ("id", pa.string()),  # content id of `text`
        ("original", pa.string()),  # content id of the program before redaction
        ("text", pa.string()),  # the normalised program
        ("split", pa.string()),  # "midtrain", or "sft" for files held out from mid-training
        ("shard", pa.string()),
        ("row", pa.int64()),  # position in the source shard, from 0
        ("source", pa.string()),  # name of the source data set
        ("metadata", METADATA),
    ]
)

REJECTED = pa.schema(
    [
        ("shard", pa.string()),
        ("row", pa.int64()),
        ("id", pa.string()),  # content id, null where the text cannot be read
        ("original", pa.string()),  # the same before redaction
        ("hexsha", pa.string()),
        ("repositories", pa.list_(pa.string())),  # that the row names, as far as it can be read
        ("reason", pa.string()),  # one word that counts are made of
        ("detail", pa.string()),
    ]
)
"""Rows that the corpus stage did not keep, each with its reason and without its text."""

BANDS = 64
"""Bands of a signature at most."""

FINGERPRINTS = pa.schema(
    [
        ("id", pa.string()),
        ("view", pa.string()),  # "code", or "blinded": without the names of variables, functions and classes
        ("stars", pa.int64()),
        ("repository", pa.string()),  # these five decide between equal files, see `d3.stages.corpus.sampling`
        ("path", pa.string()),
        ("revision", pa.string()),
        ("hexsha", pa.string()),
        ("shard", pa.string()),
        ("row", pa.int64()),
        ("shingles", pa.list_(pa.uint64())),  # hashes of the different shingles, sorted; empty if there are too few
        ("digest", pa.uint64()),  # of the shingles
        *((f"band_{number:02d}", pa.uint64()) for number in range(BANDS)),  # null where there is none
    ]
)
"""What near-duplicates are found by: a row per file and view."""

NEAR_DUPLICATES = pa.schema(
    [
        ("id", pa.string()),  # the file that is dropped
        ("survivor", pa.string()),  # the file that is kept in its place
        ("similarity", pa.float64()),  # of the two, rounded to four digits
        ("view", pa.string()),
    ]
)

PREGRADE_SAMPLE = pa.schema(
    [
        ("id", pa.string()),
        ("score", pa.float64()),  # the grade that it has
        ("part", pa.string()),  # training | calibration
    ]
)
"""The graded files that the pre-grader learned of."""

PREGRADES = pa.schema(
    [
        ("id", pa.string()),
        ("score", pa.float64()),  # logarithm of the odds to reach the threshold
        ("status", pa.string()),  # ask | pregrade: the judge does not see it
    ]
)

ANSWER = [
    # ok | too_long | unparsable | engine_error | not_adopted; grades also: not_asked, pregrade; labels also: repeated
    ("status", pa.string()),
    ("detail", pa.string()),  # why the status is not ok, else null
    ("raw", pa.string()),  # what the model wrote, to the letter
    ("finish_reason", pa.string()),
    ("prompt_tokens", pa.int32()),
    ("answer_tokens", pa.int32()),
    ("answered_by", pa.string()),  # first digits of the accepted engine, or NAME@VERSION of the adopted table, that
    # it is from; null: the job's own engine
]
"""What every LLM stage keeps of every request."""

TRUNCATED = ("truncated", pa.bool_())
"""Whether the model saw less than the whole: a program was cut at a line end to fit. Grades never
cut, what has no room is `too_long` there; labels do."""

GRADES = pa.schema(
    [
        ("id", pa.string()),
        ("score", pa.int8()),  # 0-4, null unless status is ok
        ("expected_score", pa.float64()),  # mean over the probabilities of 0-4 (constrained read-out)
        ("entropy", pa.float64()),  # of these probabilities, in bits
        ("margin", pa.float64()),  # between the two largest of them
        ("rationale", pa.string()),
        TRUNCATED,
        *ANSWER,
    ]
)

REPEATS = pa.schema([GRADES.field("id"), ("repeat", pa.int32()), *list(GRADES)[1:]])
"""Grades of some files again, `repeat` 0 and 1, each with a seed of its own."""

DIFFS = pa.schema(
    [
        ("id", pa.string()),
        ("sample", pa.int32()),  # k-th sequence of this file, from 0
        ("status", pa.string()),  # ok, or why there is no sequence
        ("detail", pa.string()),
        ("edits", pa.list_(pa.list_(pa.int32()))),  # line numbers deleted by each backward step, from 0
        ("diffs", pa.list_(pa.string())),  # forward unified diffs from the empty program to the file
    ]
)

LABELS = pa.schema(
    [
        ("id", pa.string()),
        ("sample", pa.int32()),
        ("part", pa.int32()),  # 0 is the whole program, 1.. the sub-trajectories
        ("start", pa.int32()),  # the example begins with diffs[:start] applied
        ("end", pa.int32()),  # and holds diffs[start:end]
        ("label", pa.string()),  # one imperative sentence, null unless status is ok
        # whether the label begins with a verb that commands; null without a label or where the template began it
        ("verb_first", pa.bool_()),
        ("faults", pa.list_(pa.string())),  # of a label that is kept: unknown_name, long, cut, hedged; else null
        TRUNCATED,
        *ANSWER,
    ]
)

ADOPTED_LABELS = pa.schema(
    [
        ("id", pa.string()),
        ("sample", pa.int32()),
        ("part", pa.int32()),
        ("label", pa.string()),
    ]
)
"""Labels made outside of the pipeline."""

ADOPTED_ROWS = pa.schema(
    [
        ("id", pa.string()),
        ("sample", pa.int32()),
        ("part", pa.int32()),
        ("prompt", pa.string()),
        ("completion", pa.string()),
        ("program_start", pa.string()),
    ]
)
"""Dataset rows made outside of the pipeline, by the file that they come from."""

TOPICS = pa.schema(
    [
        ("id", pa.string()),
        ("sample", pa.int32()),
        ("part", pa.int32()),
        ("topics", pa.list_(pa.string())),  # what the instruction is about, null unless the JSON could be read
        ("libraries", pa.list_(pa.string())),
        ("tools", pa.list_(pa.string())),
        ("difficulty", pa.string()),  # easy | medium | hard
        ("task_type", pa.string()),  # create | extend | fix | refactor | document | test | configure | other
        TRUNCATED,
        *ANSWER,
    ]
)

DATASET = pa.schema(
    [
        ("prompt", pa.string()),
        ("completion", pa.string()),
        ("program_start", pa.string()),
        ("lines_changed", pa.int64()),
        ("source_program_id", pa.int64()),
        ("metadata", METADATA),
        ("source", pa.string()),
    ]
)
"""The seven columns of the released D3 (dataset card)."""

ROW_IDS = pa.schema(
    [
        ("row", pa.int64()),  # position in the dataset file beside this one, from 0
        ("id", pa.string()),
        ("sample", pa.int32()),
        ("part", pa.int32()),
        ("start", pa.int32()),
        ("end", pa.int32()),  # both are null in rows of an adopted dataset
    ]
)
"""The sidecar of a dataset file: our ids beside its row numbers."""

UNUSED = pa.schema(
    [
        ("id", pa.string()),
        ("sample", pa.int32()),
        ("part", pa.int32()),
        ("reason", pa.string()),
    ]
)
"""Sequences and labels that did not become dataset rows, each with its reason."""

PAIRS = pa.schema(
    [
        ("id", pa.string()),  # content id of `text`
        ("text", pa.string()),  # a function with the imports it needs, its docstring taken out
        ("instruction", pa.string()),  # what its docstring said
        ("name", pa.string()),  # the function's name
        ("file_id", pa.string()),  # the corpus file that it comes from
    ]
)
"""Docstring -> function pairs for supervised fine-tuning."""

SFT = pa.schema(
    [
        ("id", pa.string()),
        ("sample", pa.int32()),
        ("prompt", pa.string()),
        ("completion", pa.string()),  # begins with the prompt; the loss falls on the rest
    ]
)

SAMPLES = pa.schema(
    [
        ("task_id", pa.string()),
        ("sample", pa.int32()),
        ("prompt", pa.string()),
        ("raw", pa.string()),  # what the model wrote after the prompt, to the letter
        ("program", pa.string()),  # the start file after the written diffs, null unless status is ok or repaired
        ("status", pa.string()),  # ok | repaired | no_diff | malformed_diff | no_code | too_long | engine_error
        ("detail", pa.string()),
        ("repairs", pa.list_(pa.string())),  # what the lenient reading forgave, if status is repaired
        ("finish_reason", pa.string()),
        ("answer_tokens", pa.int32()),
        ("seed", pa.int64()),
    ]
)

VERDICTS = pa.schema(
    [
        ("task_id", pa.string()),
        ("sample", pa.int32()),
        ("verdict", pa.string()),  # passed failed error timeout memory crashed unsupported no_program
        ("detail", pa.string()),
        ("lenient_verdict", pa.string()),  # the same with repaired programs; verdict calls them no_program
    ]
)
