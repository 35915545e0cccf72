"""What `d3 verify` looks at, and what it cannot find: the text of its help."""

COVERED = (
    "every output of every job against the SHA-256, size and rows in its statement",
    "every input against what its maker says it made, or against the file if it came from outside",
    "files without a statement, statements without a file, at another's place, or twice",
    "the settings, prompts and arms of a statement against the key in the names of folders",
    "the modules of the code against their digest, and facts against their name",
    "ids of files and pairs against their text; kept and rejected rows against the rows of the shard",
    "diff sequences, dataset rows, examples and tokens by making a sample of them again",
    "labels, grades, verdicts and scores against the tables that they were made of",
    "the numbers of the report against scores and tables, its table against its numbers, and its page too "
    "while the code of the report is the one that made it",
    "chunks of journals against their names, and the index against the statements",
    "signatures, where there are some",
)
NOT_COVERED = {
    "claims": "what a job says of its surroundings: times, host, SLURM job, GPU, attempts, packages and environment",
    "answers": "what a model answered or learned, when the file and the digest of it in every statement are changed "
    "together: grades, labels, answers to tasks, weights",
    "whole": "a whole run that was replaced by another consistent one, or removed with all of its statements",
    "journal": "answers in journals whose chunks were renamed to fit, and everything else in work/ and logs/",
    "mtime": "times of files: they do not matter, only what files hold does",
}
"""What a check of one's own files cannot find; `sign` covers all but the last two."""


def help_text() -> str:
    """Give what the help of the command says: what is checked, and what cannot be."""
    covered = "\n".join(f"  - {line}" for line in COVERED)
    missing = "\n".join(f"  - {line}" for line in NOT_COVERED.values())
    return (
        f"What is checked:\n{covered}\n\nWhat is not covered:\n{missing}\n\nSee `d3 sign`: it covers the first three."
    )
