"""A small run on disk with everything that the report reads; sizes and statuses can be chosen."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from d3.config.load import parse_config
from d3.config.models import Config
from d3.core import schemas
from d3.core.example_format import example_completion, example_prompt
from d3.core.ids import content_id
from d3.core.tables import Row
from d3.core.unified_diff import make_diff
from d3.evals import score
from d3.pipeline.job import Job
from d3.report.page import run
from d3.stages import judge_health
from helpers.demo import over_demo

ARMS = ("baseline", "d3")
NASTY = "</pre><script>alert(1)</script> & \u202eevil $x$ \x07"


def metadata() -> Row:
    return {field.name: None for field in schemas.METADATA}


def write(
    path: Path,
    stage: str,
    schema: pa.Schema,
    rows: Sequence[Row],
    *,
    kept: int | None = None,
    dropped: Mapping[str, int] | None = None,
    more: Sequence[tuple[Path, pa.Schema, Sequence[Row]]] = (),
) -> Path:
    """Write a table, and others of the same job, as a stage would."""
    with Job(stage, config=None) as job:
        for place, form, content in ((path, schema, rows), *more):
            table = job.table(place, form)
            for row in content:
                table.write(row)
        job.keep(len(rows) if kept is None else kept)
        for reason, count in (dropped or {}).items():
            job.drop(reason, count)
        job.read = job.kept + sum(job.dropped.values())
    return path


def programs(number: int, text: str = "") -> list[str]:
    """Return growing programs of one file."""
    lines = [f"def f{number}(x):", "    total = 0", "    for i in range(x):", f"        total += i * {number}"]
    lines += [f"        total -= {step}" for step in range(number % 5)] + ["    return total"]
    lines += [f"# {line}" for line in text.splitlines()]
    return ["", *("\n".join(lines[: end + 1]) for end in range(1, len(lines)))]


def answer(status: str = "ok") -> Row:
    return {
        "status": status,
        "detail": None if status == "ok" else "why",
        "raw": "text",
        "finish_reason": "stop",
        "prompt_tokens": 90,
        "answer_tokens": 12,
        "answered_by": None,
        "truncated": status == "ok",
    }


class Made:
    """A small run on disk; sizes and statuses can be chosen."""

    def __init__(
        self,
        folder: Path,
        *,
        files: int = 40,
        shards: int = 2,
        tasks: int = 8,
        label_status: str | None = None,
        arms: Sequence[str] = ARMS,
        midtrain: bool = True,
        solved: Mapping[str, int] | None = None,
        config: Config | None = None,
        text: str = NASTY,
        steps: int = 6,
    ) -> None:
        self.folder, self.text, self.steps = Path(folder), text, steps
        self.draw = random.Random(7)
        self.folder.mkdir(exist_ok=True)
        self.config = config or parse_config(
            over_demo({"benchmarks": {"humaneval": {"tasks": max(tasks, 1)}}, "grades": {"threshold": 1}})
        )
        self.solved = {"baseline": 1, "d3": 3} if solved is None else solved
        self.paths: dict[str, Any] = {
            name: [] for name in ("corpus", "rejected", "grades", "diffs", "labels", "dataset", "tokens")
        }
        for shard in range(shards):
            self.shard(f"s{shard}", files // shards, label_status)
        self.paths["contamination"] = [self.folder / "contaminated.jsonl"]
        lines = [
            {"kind": kind, "id": str(number), "benchmark": "humaneval", "task": f"HumanEval/{number % 2}", "share": 0.5}
            for number, kind in enumerate(("file", "file", "file", "pair"))
        ]
        self.paths["contamination"][0].write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        self.paths["judge_health"] = self.folder / "judge_health.json"
        judge_health.run(self.config, self.paths["corpus"], self.paths["grades"], self.paths["judge_health"])
        self.paths["midtrain"] = self.trained("midtrain", steps, 4.1) if midtrain else None
        self.paths["sft"] = {arm: self.trained(f"sft-{arm}", steps, 3.2 - 0.3 * (arm == "d3")) for arm in arms}
        self.paths |= {"samples": {}, "verdicts": {}, "scores": []}
        for arm in arms if tasks else ():
            self.evaluated(arm, tasks)

    def shard(self, name: str, files: int, label_status: str | None) -> None:
        folder, texts = (
            self.folder,
            [programs(self.draw.randrange(1, 9999), self.text if place == 0 else "") for place in range(files)],
        )
        kept: list[Row] = [
            {
                "id": content_id(steps[-1]),
                "original": content_id(steps[-1]),
                "text": steps[-1],
                "split": "sft" if place % 4 == 3 else "midtrain",
                "shard": name,
                "row": place,
                "source": "the-stack-dedup",
                "metadata": metadata(),
            }
            for place, steps in enumerate(texts)
        ]
        reasons = Counter({reason: self.draw.randrange(1, 60) for reason in ("too_few_lines", "syntax", "duplicate")})
        rejected: list[Row] = [
            {**dict.fromkeys(schemas.REJECTED.names), "shard": name, "row": 1000 + place, "reason": reason}
            for place, reason in enumerate(reasons.elements())
        ]
        more = [(folder / f"rejected/{name}.parquet", schemas.REJECTED, rejected)]
        self.paths["corpus"].append(
            write(folder / f"corpus/{name}.parquet", "corpus", schemas.CORPUS, kept, dropped=reasons, more=more)
        )
        self.paths["rejected"].append(more[0][0])
        graded: list[Row] = []
        for place, row in enumerate(row for row in kept if row["split"] == "midtrain"):
            value = None if place == 2 else self.draw.choice((0, 1, 1, 2, 3, 3, 4))
            graded.append(
                {
                    "id": row["id"],
                    "score": value,
                    "expected_score": None if value is None else value + 0.25,
                    **{"entropy": None if value is None else 1.5, "margin": None if value is None else 0.01 * place},
                    "rationale": f"Useful for a beginner: loops and sums. {self.text}",
                    **answer("ok" if value is not None else "unparsable"),
                }
            )
        held = {"held_out": len(kept) - len(graded)}
        self.paths["grades"].append(
            write(folder / f"grades/{name}.parquet", "grades", schemas.GRADES, graded, dropped=held)
        )
        good = {row["id"] for row in graded if (row["score"] or 0) >= 1}
        diffs: list[Row] = []
        for steps in texts:
            identifier = content_id(steps[-1])
            if identifier in good:
                pairs = pairwise(steps)
                row = {"id": identifier, "sample": 0, "status": "ok", "detail": None, "edits": []}
                diffs.append({**row, "diffs": [make_diff(before, after) for before, after in pairs]})
        if diffs:
            diffs[0] |= {"status": "timeout", "detail": "120 s", "diffs": None, "edits": None}
        below = {"held_out": held["held_out"], "below_threshold": len(graded) - len(good)}
        self.paths["diffs"].append(
            write(folder / f"diffs/{name}.parquet", "diffs", schemas.DIFFS, diffs, dropped=below)
        )
        sequences = [row for row in diffs if row["status"] == "ok"]
        labels: list[Row] = []
        for row in sequences:
            size = len(row["diffs"])
            for part, (start, end) in enumerate([(0, size), (0, 2), (1, size), (0, size - 1), (2, size)]):
                status = label_status or ("unparsable" if part == 3 and size % 2 else "ok")
                label = f"Write a loop that adds up {size} things. {self.text}" if status == "ok" else None
                names = {"id": row["id"], "sample": 0, "part": part, "start": start, "end": end}
                faults = None if label is None else ["hedged"] * (part == 2)
                said = {"label": label, "verb_first": label and part != 1, "faults": faults}
                labels.append({**names, **said, **answer(status)})
        self.paths["labels"].append(
            write(
                folder / f"labels/{name}.parquet",
                "labels",
                schemas.LABELS,
                labels,
                kept=len(sequences),
                dropped={"timeout": len(diffs) - len(sequences)},
            )
        )
        rows = [
            {
                "prompt": "p",
                "completion": "c",
                "program_start": "" if label["start"] == 0 else "x = 1",
                "lines_changed": self.draw.randrange(2, 30),
                "source_program_id": int(label["id"][:12], 16),
                "metadata": metadata(),
                "source": "the-stack-dedup",
            }
            for label in labels
            if label["status"] == "ok"
        ]
        lost = {f"label_{label_status or 'unparsable'}": len(labels) - len(rows)}
        self.paths["dataset"].append(
            write(folder / f"dataset/{name}.parquet", "dataset", schemas.DATASET, rows, dropped=lost)
        )
        manifest = folder / f"tokens/{name}.json"
        manifest.parent.mkdir(exist_ok=True)
        dropped = [{"line": 3, "reason": "empty"}] if rows else []
        size = max(len(rows) - 1, 0)
        manifest.write_text(
            json.dumps({"documents": size, "tokens": 217 * size, "dtype": "uint16", "dropped": dropped})
        )
        self.paths["tokens"].append(manifest)

    def trained(self, name: str, steps: int, loss: float) -> Path:
        record = [
            {
                "step": step + 1,
                "loss": loss * (0.6 + 0.4 * 0.93 ** (6 * step / steps)) + 0.05 * self.draw.random(),
                "learning_rate": 1e-4 * (1 - step / steps),
                "grad_norm": 1.0 + self.draw.random(),
                "tokens": 2048,
                "loss_tokens": 1500,
            }
            for step in range(steps)
        ]
        values = {
            "stage": name.split("-")[0],
            "steps": steps,
            "tokens": 2048 * steps,
            "loss_tokens": 1500 * steps,
            "rows": {"read": 30, "kept": 29, "dropped": {"too_long": 1}},
            "packing": {
                **{"packing": "best_fit", "cut": 2, "left_out": 345, "sequences": 12, "tokens": 6000},
                **{"torn": 0, "behind_tear": 0, "padding": 0.0234},
            },
            "dropped": [],
            "record": record,
        }
        folder = self.folder / f"models/{name}"
        folder.mkdir(parents=True)
        (folder / "training.json").write_text(json.dumps(values))
        return folder

    def evaluated(self, arm: str, tasks: int) -> None:
        samples: list[Row] = []
        verdicts: list[Row] = []
        for task in range(tasks):
            status = "malformed_diff" if task == 0 else "no_diff" if task == 1 and arm == "baseline" else "ok"
            passed = task >= tasks - self.solved[arm]
            verdict = (
                "no_program" if status != "ok" else "passed" if passed else ("failed", "error", "timeout")[task % 3]
            )
            row = {"task_id": f"HumanEval/{task}", "sample": 0}
            prompt = example_prompt("solution.py", "", f"Write a function that adds up {task} numbers. {self.text}")
            steps = programs(task, self.text)
            diffs = [make_diff(before, after) for before, after in pairwise(steps)] if status == "ok" else []
            raw = example_completion("", diffs) if diffs else f"I cannot. {self.text}"
            samples.append(
                {
                    **dict.fromkeys(schemas.SAMPLES.names),
                    **row,
                    "status": status,
                    "prompt": prompt,
                    "raw": raw,
                    "program": steps[-1] if status == "ok" else None,
                }
            )
            detail = None if passed else f"AssertionError: expected {task}, got 0 {self.text}"
            verdicts.append({**row, "verdict": verdict, "detail": detail, "lenient_verdict": verdict})
        key = ("humaneval", arm)
        place = self.folder / "evals" / arm
        self.paths["samples"][key] = write(place / "samples.parquet", "generate", schemas.SAMPLES, samples)
        self.paths["verdicts"][key] = write(place / "verdicts.parquet", "execute", schemas.VERDICTS, verdicts)
        out, gate = place / "scores.json", place / "gate.json"
        names = sorted({row["task_id"] for row in verdicts})
        found = {
            "benchmark": "humaneval",
            "interpreter": "3.11",
            "tasks": names,
            "left_out": [],
            "starts": [],
            "skipped": [],
        }
        gate.write_text(json.dumps(found))
        score.run(
            self.config,
            self.paths["verdicts"][key],
            self.paths["samples"][key],
            gate,
            out,
            benchmark="humaneval",
            arm=arm,
        )
        self.paths["scores"].append(out)

    def write_report(self, name: str = "report") -> dict[str, Path]:
        """Write the report into a folder; return its page, numbers and attrition table."""
        out = self.folder / name
        outputs = {"report": out / "report.html", "numbers": out / "numbers.json", "attrition": out / "attrition.tsv"}
        renamed = {"midtrain": "midtrained", "sft": "trained", "samples": "written", "verdicts": "judged"}
        paths = {renamed.get(name, name): path for name, path in self.paths.items()}
        run(self.config, **paths, out=outputs["report"], numbers=outputs["numbers"], attrition=outputs["attrition"])
        return outputs
