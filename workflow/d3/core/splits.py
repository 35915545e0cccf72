"""Which source files are held out from training: by their identity alone, so a file is on one side in every release.

All rows of a file share its side, whatever sequence, part or label they are of. The run's seed takes no part: a
dataset that is made again with another seed, more shards or other labels holds out the same files.
"""

from d3.core.ids import unit_interval

NAMES = ("train", "validation")
"""Splits of a released dataset: what is trained on, and what is held out."""


def is_held_out(program: int, share: float) -> bool:
    """Return whether the rows of a source file (`source_program_id`) are held out; a larger share holds out more."""
    return share > 0 and unit_interval(0, "held-out", program) < share
