"""What `d3 verify` checks, and what no check of one's own files can find."""

COVERED = (
    "every output of every job against the SHA-256, size and rows in its statement",
    "every input against the statement of the job that made it, or against the file if it came from outside",
    "files without a statement, statements without a file, in the wrong folder, or twice",
    "the settings, prompts and arms of a statement against the key in the names of folders",
    "the modules of the code against their digest, and facts against their name",
    "inputs that a job cannot do without, and rows that it read out of them",
    "ids of files and pairs against their text; kept and rejected rows against the rows of the shard",
    "diff sequences, dataset rows, examples and tokens by building a sample of them again",
    "labels, grades and scores against the tables that they were computed from; lists of duplicates against all ids",
    "a sample of the programs against their answers, and of the verdicts by running the programs again where there is "
    "a sandbox",
    "the embedded benchmark against its pinned SHA-256",
    "all numbers of the report but its section `execution` by counting them again, its page and its table against its "
    "numbers; after an update of the report's code only the scores",
    "chunks of journals against their names, and the index against one that is built anew",
    "rows of accepted engines against the counts of the statement; which engine answered which rows is a note",
    "signatures, if there are any",
)
NOT_COVERED = {
    "claims": "what a job records of its surroundings: times, host, SLURM job, GPU, attempts, packages, environment, "
    "commit, and modules of the code when every digest of them is changed, too",
    "answers": "what a model answered or learned, when the file and its digest in every statement are changed "
    "together: grades, labels, answers to tasks, weights, losses",
    "timeouts": "verdicts that are timeouts, or become one when the program runs again: they depend on the machine",
    "whole": "a whole run that was replaced by another consistent one, or removed with all of its statements",
    "journal": "answers in journals whose chunks were renamed to fit, and everything else in work/ and logs/",
    "mtime": "times of files: only contents are compared",
}
"""What a check of one's own files cannot find, by a short name; `sign` covers all but the last two."""


def help_text() -> str:
    """Return the part of the command's help that lists what is checked, and what cannot be."""
    covered = "\n".join(f"  - {line}" for line in COVERED)
    missing = "\n".join(f"  - {line}" for line in NOT_COVERED.values())
    return f"What is checked:\n{covered}\n\nWhat is not covered:\n{missing}\n\nSee `d3 sign`: it covers the first four."
