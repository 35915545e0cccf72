"""What this process has used so far: CPU time, memory, answers and tokens of language models.

Statements carry it, so that a later run can be planned from what this one took. It decides no row.
"""

import resource
import time
from collections import Counter

_COUNTS: Counter[str] = Counter()


def count(**numbers: int) -> None:
    """Add to what is counted: answers `asked` and from the `journal`, `prompt_tokens`, `answer_tokens`."""
    _COUNTS.update(numbers)


def used() -> dict[str, float | int]:
    """Give CPU seconds and peak memory of this process with its ended children, and all counts.

    The peak is that of the largest process, in MB.
    """
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = time.process_time() + children.ru_utime + children.ru_stime
    return {
        "cpu_seconds": round(cpu, 2),
        "peak_mb": max(own.ru_maxrss, children.ru_maxrss) // 1000,
        **dict(sorted(_COUNTS.items())),
    }
