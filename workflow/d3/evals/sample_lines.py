"""One JSON line a sample: what was asked, what came back, what it became and how it was judged.

For readers of single samples: the report, `d3 compare`, and tools of others. Keys of a line:

| key | content |
|---|---|
| `benchmark`, `arm`, `format`, `task_id`, `sample` | which sample |
| `prompt`, `answer` | what the model was shown and what it wrote, to the letter; `answer` is null if it was not asked |
| `diffs` | the diffs of the answer, in the format `diff`; of a malformed one as far as they can be told apart |
| `program` | what became of it, null for none |
| `status`, `reason`, `repairs` | `ok`, `repaired` or why there is no program; what the lenient reading forgave |
| `verdict`, `lenient_verdict`, `output` | of the tests, and the assertion that failed or the exception |
| `passed` | whether the sample counts as solved |
| `counted` | whether its task counts: false for tasks that the gate leaves out |
| `tokens`, `finish_reason`, `seed` | of the answer |
"""

import json
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import Any

from d3.config.training import Format
from d3.core.tables import Row
from d3.errors import InputError
from d3.evals.answer import LONGEST, read_answer


def sample_lines(
    samples: Iterable[Row],
    verdicts: Iterable[Row],
    *,
    about: dict[str, Any],
    form: Format,
    left_out: Set[str],
    where: Path,
) -> Iterator[str]:
    """Yield a line for each sample, `samples` and `verdicts` being in one order; raise InputError if they are not."""
    for sample, verdict in zip(samples, verdicts, strict=True):
        if (sample["task_id"], sample["sample"]) != (verdict["task_id"], verdict["sample"]):
            reason = f"is not in the order of the samples at task {sample['task_id']}, sample {sample['sample']}"
            raise InputError(reason, where=str(where), remedy="execute the samples again")
        answer = sample["raw"]
        line = {
            **about,
            "format": form,
            "task_id": sample["task_id"],
            "sample": sample["sample"],
            "prompt": sample["prompt"],
            "answer": answer,
            "diffs": read_answer(answer).diffs if form == "diff" and answer and len(answer) <= LONGEST else [],
            "program": sample["program"],
            "status": sample["status"],
            "reason": sample["detail"],
            "repairs": sample["repairs"] or [],
            "verdict": verdict["verdict"],
            "lenient_verdict": verdict["lenient_verdict"],
            "output": None if sample["program"] is None else verdict["detail"],
            "passed": verdict["verdict"] == "passed",
            "counted": sample["task_id"] not in left_out,
            "tokens": sample["answer_tokens"],
            "finish_reason": sample["finish_reason"],
            "seed": sample["seed"],
        }
        yield json.dumps(line, ensure_ascii=False) + "\n"
