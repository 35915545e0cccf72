"""The D3 pipeline: raw source files in, models that write code diff by diff out."""

__version__ = "0.1.0"
