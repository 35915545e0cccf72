"""LintSeq: files as sequences of diffs that each leave a program without lint errors."""
