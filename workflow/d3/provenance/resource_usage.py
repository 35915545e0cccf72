"""What this process has used so far: CPU time, memory, answers and tokens of language models.

Statements carry it, so that a later run can be planned from what this one took. It decides no row.
"""

import resource
import time
from collections import Counter
from typing import Any

_COUNTS: Counter[str] = Counter()
_RULES: list[dict[str, list[float]]] = []
"""One entry while a job counts its rules."""


def count(**numbers: int) -> None:
    """Add to what is counted: answers `asked` and from the `journal`, `prompt_tokens`, `answer_tokens`."""
    _COUNTS.update(numbers)


def count_rules() -> None:
    """Begin to count the rules of a job; its statement ends it."""
    _RULES[:] = [{}]


def count_rule(name: str, seconds: float, *, rejected: bool) -> None:
    """Add one judgement of a rule, such as a filter, and the CPU seconds that it took."""
    for rules in _RULES:
        judged = rules.setdefault(name, [0, 0, 0.0])
        judged[0] += 1
        judged[1] += rejected
        judged[2] += seconds


def used() -> dict[str, Any]:
    """Return CPU seconds and peak memory of this process with its ended children, and all counts.

    The peak is that of the largest process, in MB. `rules` holds rows judged, rows rejected and CPU seconds by rule.
    """
    rules = {name: _rule(*values) for name, values in _RULES.pop().items()} if _RULES else {}
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = time.process_time() + children.ru_utime + children.ru_stime
    return {
        "cpu_seconds": round(cpu, 2),
        "peak_mb": max(own.ru_maxrss, children.ru_maxrss) // 1000,
        **dict(sorted(_COUNTS.items())),
        **({"rules": rules} if rules else {}),
    }


def _rule(judged: float, rejected: float, seconds: float) -> dict[str, float]:
    return {"judged": int(judged), "rejected": int(rejected), "cpu_seconds": round(seconds, 3)}
