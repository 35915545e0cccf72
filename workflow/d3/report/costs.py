"""What the answers of a run cost, as the statements of its jobs hold it; jobs without `engine.price` count nothing.

A job that took answers from its journal paid nothing for them, so the figures are those of the jobs that made the
files, and not of the whole history of a run.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from d3.core.tables import Row
from d3.errors import InputError
from d3.provenance.statement import read_statement, statement_path

ADDED_UP = ("asked", "journal", "prompt_tokens", "answer_tokens")


def costs(tables: Mapping[str, Iterable[Path]]) -> Iterator[Row]:
    """Yield a row for each stage with prices, from the first output of each of its jobs.

    `spent` is what the answers cost, `expected` the same with those of the journal at the same mean price, `at_most`
    what the requests could have cost with all tokens that they were allowed. In the currency of `engine.price`.
    """
    for stage, paths in tables.items():
        found = [usage for path in paths if "cost_millionths" in (usage := _usage(path))]
        if not found:
            continue
        sums = Counter[str]()
        for usage in found:
            sums.update({name: value for name, value in usage.items() if type(value) is int})
        spent = sums["cost_millionths"] / 1e6
        each = spent / sums["asked"] if sums["asked"] else 0.0
        yield {
            "stage": stage,
            "jobs": len(found),
            **{name: sums[name] for name in ADDED_UP},
            "spent": spent,
            "expected": round(spent + each * sums["journal"], 6),
            "at_most": sums["cost_at_most_millionths"] / 1e6,
        }


def _usage(path: Path) -> Mapping[str, Any]:
    """Return what the job of a file used; empty without a sound statement."""
    try:
        products = read_statement(statement_path(path))["predicate"]["runDetails"]["byproducts"]
        found: Any = next((item["content"] for item in products if item["name"] == "usage"), {})
    except (InputError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
