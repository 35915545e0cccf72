"""SWE-bench with oracle retrieval: change the file that the reference patch changes, as an issue asks.

Its instances are judged by the official harness, from the file that `d3 predictions` writes. Only instances whose
reference changes one Python file can be asked in the format of the dataset, which shows one file.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from d3.config.evaluation import Benchmark
from d3.evals.solutions import trimmed
from d3.evals.task_file import TaskLine, task_lines
from d3.evals.tasks import Spec, Task

SPEC = Spec(
    title="SWE-bench (oracle)",
    source="https://huggingface.co/datasets/princeton-nlp/SWE-bench_oracle, or its Lite form",
    license="MIT",
    format="instance_id, problem_statement, patch, and text, in which the files have numbered lines",
    tasks_in_file=2294,
    harness="swebench.harness.run_evaluation",
)
SOURCE = re.compile(r"^--- (?:a/)?([^\t\n]+)", re.MULTILINE)
NUMBERED = re.compile(r"(\d{1,7}) ?(.*)", re.DOTALL)


def read(path: Path, settings: Benchmark) -> Iterator[Task]:
    """Yield a task for each instance that one file answers."""
    for line in task_lines(path):
        file = oracle_file(line)
        if isinstance(file, tuple):
            name, content = file
            yield Task(
                task_id=line.identifier("instance_id"),
                instruction=line.text("problem_statement").strip(),
                name=name,
                start=trimmed(content),
                test="",
                entry_point="",
                canonical="",
            )


def oracle_file(line: TaskLine) -> tuple[str, str] | str:
    """Return name and content of the file that an instance changes, or why it cannot be asked."""
    names = [name for name in dict.fromkeys(SOURCE.findall(line.text("patch"))) if name != "/dev/null"]
    if len(names) != 1:
        return f"its reference changes {len(names)} files"
    (name,) = names
    if not name.endswith(".py"):
        return f"{name} is not Python"
    _, begun, rest = line.text("text").partition(f"\n[start of {name}]\n")
    shown, ended, _ = rest.partition(f"\n[end of {name}]")
    if not begun or not ended:
        return f"field text does not show {name}"
    lines = [NUMBERED.fullmatch(numbered) for numbered in shown.split("\n")]
    if any(found is None or int(found[1]) != number for number, found in enumerate(lines, start=1)):
        return f"the lines of {name} are not numbered"
    content = "\n".join(found[2] for found in lines if found)
    if "\r" in content:
        return f"{name} has carriage returns"
    return name, content
