"""The pipeline: its stages, their jobs, and what every job is checked against."""
