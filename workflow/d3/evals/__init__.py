"""Evaluation: what the trained models write, run in a sandbox and scored."""
