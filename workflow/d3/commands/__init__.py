"""The commands of `python -m d3`, by what they are for."""
