r"""The sandbox's verdicts beside those of the package evalplus, on the same programs; every difference is listed.

    python -m venv /tmp/evalplus && /tmp/evalplus/bin/pip install --no-deps evalplus appdirs tempdir multipledispatch \
        wget tqdm numpy psutil termcolor
    make bench-evalplus ARGS="HumanEvalPlus-OriginFmt.jsonl.gz --pack humanevalpack-python.jsonl
        --python /tmp/evalplus/bin/python"

Programs of each task of HumanEval+: the reference, the buggy solution of HumanEvalPack, constants and mutants. Both
sides judge by the same inputs (`--inputs` of each task). The file is EvalPlus' own or OriginFmt, whose inputs are read.
"""

import argparse
import ast
import gzip
import json
import math
import random
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from d3.config.evaluation import Benchmark
from d3.evals.execute import judge_all
from d3.evals.sandbox import Limits
from d3.evals.tasks import load_tasks
from d3.evals.wrong_programs import mutants, trivial_programs

THEIRS = """
import copy, json, sys
from evalplus.eval import untrusted_check

def main():
    for line in open(sys.argv[1]):
        row = json.loads(line)
        names = {}
        exec(row["reference"], names)
        expected = [names[row["entry_point"]](*copy.deepcopy(given)) for given in row["inputs"]]
        for program in row["programs"]:
            status, _ = untrusted_check("humaneval", program, row["inputs"], row["entry_point"], expected, row["atol"],
                                        [0.05] * len(expected), fast_check=True)
            print(json.dumps([row["task_id"], status]), flush=True)

if __name__ == "__main__":
    main()
"""


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, with the inputs that OriginFmt has as text."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        if "base_input" not in row:
            tree = ast.parse(row.pop("test"))
            given = next(
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "inputs"
            )
            names = {"inf": math.inf, "nan": math.nan}
            row["base_input"] = eval(compile(ast.Expression(given), "inputs", "eval"), names)
            row["atol"] = 1e-4 if row["entry_point"] == "find_zero" else 0
        row["base_input"] = row["base_input"] + row.pop("plus_input", [])
        row["plus_input"] = []
    return rows


def programs_of(row: dict[str, Any], buggy: dict[str, str], each: int) -> list[tuple[str, str]]:
    """Return a name and a program: the reference, a buggy one, two constants and some mutants."""
    reference = row["prompt"] + row["canonical_solution"]
    number = row["task_id"].rpartition("/")[2]
    found = [("reference", reference)]
    found += [("buggy", row["prompt"] + buggy[number])] if number in buggy else []
    trivial = [one for one in trivial_programs(row["entry_point"]) if one[0].startswith("returns")]
    return [*found, *random.Random(row["task_id"]).sample(trivial, 2), *mutants(reference, row["task_id"], each)]


def main() -> None:
    """Print how often both agree, and where they do not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--pack", type=Path, help="HumanEvalPack's file, for its buggy solutions")
    parser.add_argument("--python", required=True, help="an interpreter that has the package evalplus")
    parser.add_argument("--each", type=int, default=9, help="mutants of a task")
    parser.add_argument("--inputs", type=int, default=30)
    parser.add_argument("--every", type=int, default=1, help="take every n-th task")
    parser.add_argument("--timeout", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    buggy = {}
    for line in options.pack.read_text().splitlines() if options.pack else ():
        pack = json.loads(line)
        buggy[pack["task_id"].rpartition("/")[2]] = pack["buggy_solution"]
    rows = rows_of(options.file)[:: options.every]
    for row in rows:
        row["base_input"] = row["base_input"][: options.inputs]
    programs = {row["task_id"]: programs_of(row, buggy, options.each) for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        tasks_file, jobs, theirs = Path(folder, "tasks.jsonl"), Path(folder, "jobs.jsonl"), Path(folder, "theirs.py")
        tasks_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        jobs.write_text(
            "".join(
                json.dumps(
                    {
                        "task_id": row["task_id"],
                        "entry_point": row["entry_point"],
                        "reference": row["prompt"] + row["canonical_solution"],
                        "inputs": row["base_input"],
                        "atol": row["atol"],
                        "programs": [program for _, program in programs[row["task_id"]]],
                    }
                )
                + "\n"
                for row in rows
            )
        )
        theirs.write_text(THEIRS)
        command = [options.python, str(theirs), str(jobs)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        judged = [json.loads(line) for line in done.stdout.splitlines()]
        tasks = {
            task.task_id: task
            for task in load_tasks(Benchmark.model_validate({"kind": "humanevalplus", "tasks": None}), tasks_file)
        }
    todo = [(task_id, name, program) for task_id, some in programs.items() for name, program in some]
    samples = ({"task_id": task_id, "status": "ok", "program": program} for task_id, _, program in todo)
    counts: Counter[tuple[str, str]] = Counter()
    verdicts = judge_all(samples, tasks, Limits(timeout_seconds=options.timeout), options.workers)
    for (task_id, name, _), (other_id, status), ours in zip(todo, judged, verdicts, strict=True):
        assert task_id == other_id
        counts[ours.verdict, status] += 1
        if (ours.verdict == "passed") != (status == "pass"):
            print(f"{task_id}, {name}: sandbox {ours.verdict} ({ours.detail}), evalplus {status}", flush=True)
    agreed = sum(count for (ours, status), count in counts.items() if (ours == "passed") == (status == "pass"))
    print(f"{agreed} of {len(todo)} verdicts agree: {dict(counts)}")


if __name__ == "__main__":
    main()
