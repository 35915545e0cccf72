"""Ways to change a finished run behind its back, and what `d3 verify` owes: to find it, or to say it cannot.

`docs/tampering.md` is their table: `python -m helpers.tampering` writes it.
"""

import gzip
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d3.audit.statements import read_statement
from d3.audit.verify.coverage import NOT_COVERED
from d3.audit.verify.data import finished_job
from d3.config.evaluation import Benchmark
from d3.core.example_format import DIFF
from d3.core.ids import digest_of, file_digest
from d3.core.journal_segment import Segment, entries_of, write
from d3.core.unified_diff import make_diff
from d3.evals.answer import build
from d3.evals.tasks import load_tasks
from d3.provenance.code_digest import digest_of_modules
from d3.provenance.statement import FACTS, SHORT, settings_digest
from d3.report.page import PARTS, attrition_table, count_again, render
from helpers.paths import ROOT

Tamper = Callable[[Path], None]


def one(root: Path, pattern: str, place: int = 0) -> Path:
    """Return one of the files of a run that match."""
    return sorted(path for path in root.glob(pattern) if not path.name.endswith(".prov.json"))[place]


def statement_of(root: Path, path: Path) -> Path:
    """Return the statement that names a file among its outputs."""
    name = path.relative_to(root).as_posix()
    for statement in root.glob("re*/**/*.prov.json"):
        if any(item["name"] == name for item in json.loads(statement.read_text())["subject"]):
            return statement
    raise LookupError(name)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file and keep its time."""
    before = path.stat()
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cover_up(root: Path, path: Path, *, everywhere: bool = False) -> None:
    """Put the new digest and size of a changed output into its statement, or into those of all readers too."""
    name, digest = path.relative_to(root).as_posix(), file_digest(path)
    for statement in root.glob("re*/**/*.prov.json") if everywhere else [statement_of(root, path)]:
        body = json.loads(statement.read_text())
        read = body["predicate"]["buildDefinition"]["resolvedDependencies"]
        for item in [*body["subject"], *(read if everywhere else [])]:
            if item["name"] == name:
                item["digest"]["sha256"] = digest
                item["annotations"]["bytes"] = sum(
                    part.stat().st_size for part in ([path] if path.is_file() else path.rglob("*")) if part.is_file()
                )
        statement.write_text(json.dumps(body))


def write_table(path: Path, table: pa.Table) -> None:
    """Replace a table; what its job noted in the footer stays."""
    notes = {key: value for key, value in pq.read_metadata(path).metadata.items() if key != b"ARROW:schema"}
    pq.write_table(table.replace_schema_metadata(notes), path, compression="zstd", write_page_checksum=True)


def change_row(path: Path, column: str, value: Callable[[Any], Any]) -> None:
    """Change one column of a table's first row whose value is not null; the footer stays."""
    table = pq.read_table(path)
    values = table.column(column).to_pylist()
    place = next(number for number, found in enumerate(values) if found is not None)
    values[place] = value(values[place])
    at = table.schema.get_field_index(column)
    changed = table.set_column(at, table.schema.field(at), pa.array(values, type=table.schema.field(at).type))
    write_table(path, changed)


def rewritten(pattern: str, column: str, value: Callable[[Any], Any], *, everywhere: bool = False) -> Tamper:
    """Change a row and cover it up."""

    def tamper(root: Path) -> None:
        path = one(root, pattern)
        change_row(path, column, value)
        cover_up(root, path, everywhere=everywhere)

    return tamper


def flipped(pattern: str) -> Tamper:
    return lambda root: flip(one(root, pattern))


def stated(pattern: str, change: Callable[[Any], None]) -> Tamper:
    """Edit the statement of a file."""
    return lambda root: edit(statement_of(root, one(root, pattern)), change)


def swap(one_path: Path, other: Path) -> None:
    aside = one_path.with_name("aside")
    one_path.rename(aside)
    other.rename(one_path)
    aside.rename(other)


def swap_files(root: Path) -> None:
    swap(one(root, "results/labels/*/*.parquet"), one(root, "results/labels/*/*.parquet", 1))


def swap_statements(root: Path) -> None:
    paths = [statement_of(root, one(root, "results/labels/*/*.parquet", place)) for place in (0, 1)]
    swap(*paths)


def swap_both(root: Path) -> None:
    swap_files(root)
    swap_statements(root)


def swap_all(root: Path) -> None:
    """Swap two shards of the corpus and make their statements say so."""
    paths = [one(root, "results/corpus/*/*.parquet", place) for place in (0, 1)]
    swap(*paths)
    for path in paths:
        cover_up(root, path)


def cut(root: Path) -> None:
    path = one(root, "results/grades/*/*.parquet")
    path.write_bytes(path.read_bytes()[:-100])


def emptied(root: Path) -> None:
    one(root, "results/tokens/*/*.csv.gz").write_bytes(b"")


def removed(pattern: str) -> Tamper:
    return lambda root: one(root, pattern).unlink()


def removed_statement(root: Path) -> None:
    statement_of(root, one(root, "results/diffs/*/*.parquet")).unlink()


def removed_model(root: Path) -> None:
    shutil.rmtree(one(root, "results/midtrain/*/model"))


def orphan(root: Path) -> None:
    path = one(root, "results/dataset/*/data/*.parquet")
    shutil.copyfile(path, path.with_name("more.parquet"))


def twin_statement(root: Path) -> None:
    path = statement_of(root, one(root, "results/grades/*/*.parquet"))
    shutil.copyfile(path, path.with_name("other.parquet.prov.json"))


def broken_statement(root: Path) -> None:
    path = statement_of(root, one(root, "results/pairs/*/*.parquet"))
    path.write_text(path.read_text()[:-50])


def in_definition(*names: str, value: Any) -> Callable[[Any], None]:
    """Set a value below `buildDefinition`."""

    def change(body: Any) -> None:
        place = body["predicate"]["buildDefinition"]
        for name in names[:-1]:
            place = place[name]
        place[names[-1]] = value

    return change


def backdated(body: Any) -> None:
    body["predicate"]["runDetails"]["metadata"] |= {
        "startedOn": "2020-01-01T00:00:00.000Z",
        "finishedOn": "2020-01-01T00:00:01.000Z",
    }


def time_turned(body: Any) -> None:
    body["predicate"]["runDetails"]["metadata"]["startedOn"] = "2999-01-01T00:00:00.000Z"


def counted(body: Any) -> None:
    body["predicate"]["runDetails"]["byproducts"][0]["content"]["read"] += 1


def recounted(body: Any) -> None:
    content = body["predicate"]["runDetails"]["byproducts"][0]["content"]
    content["read"] += 1
    content["dropped"]["too_long"] = content["dropped"].get("too_long", 0) + 1


def rows_said(body: Any) -> None:
    body["subject"][0]["annotations"]["rows"] += 1


def input_said(body: Any) -> None:
    body["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"]["sha256"] = "0" * 64


FIRST_OUTPUTS = {
    "dataset": "results/dataset/*/data/*",
    "midtrain": "results/midtrain/*/model",
    "sft": "results/sft/*/*",
    **dict.fromkeys(("generate", "execute", "scores"), "results/{}/*/*/*"),
    "report": "results/runs/*/report.html",
}


def input_removed(stage: str, place: int) -> Tamper:
    """Take an input out of a statement of a stage."""

    def change(body: Any) -> None:
        del body["predicate"]["buildDefinition"]["resolvedDependencies"][place]

    pattern = FIRST_OUTPUTS.get(stage, "results/{}/*/*.*").format(stage)
    return stated(pattern, change)


def edit_facts(root: Path) -> None:
    edit(one(root, "results/lineage/facts/*.json"), lambda body: body["packages"].update(pyarrow="1.0"))


def settled(pattern: str, *names: str) -> Tamper:
    """Change a setting of a job in facts of its own, and every digest that its statement names them by."""
    return claimed(pattern, "config", *names, value=9)


def claimed(pattern: str, *names: str, value: Any) -> Tamper:
    """Change one of the facts of a job in facts of its own, and every digest that its statement names them by."""

    def tamper(root: Path) -> None:
        def change(body: Any) -> None:
            definition = body["predicate"]["buildDefinition"]
            facts = json.loads((root / FACTS / f"{definition['internalParameters']['facts']}.json").read_bytes())
            place = facts
            for name in names[:-1]:
                place = place[name]
            place[names[-1]] = value
            digest = digest_of(facts)[:SHORT]
            (root / FACTS / f"{digest}.json").write_text(json.dumps(facts))
            definition["internalParameters"] |= {"facts": digest, "code": digest_of_modules(facts["code"])[:SHORT]}
            definition["externalParameters"]["config"] = settings_digest(facts["config"])

        edit(statement_of(root, one(root, pattern)), change)

    return tamper


def edit_duplicates(root: Path) -> None:
    one(root, "results/duplicates/*/*.txt").write_text("x")


def edit_weights(root: Path) -> None:
    flip(one(root, "results/sft/*/*/model.safetensors"))


def covered_weights(root: Path) -> None:
    folder = one(root, "results/midtrain/*/model")
    flip(folder / "model.safetensors")
    cover_up(root, folder)


def learned(root: Path) -> None:
    """Change a weight and every statement that names the model."""
    folder = one(root, "results/sft/*/*")
    flip(folder / "model.safetensors")
    cover_up(root, folder, everywhere=True)


def edit_training(change: Callable[[Any], None]) -> Tamper:
    """Change the record of a training run and every digest that covers it."""

    def tamper(root: Path) -> None:
        path = one(root, "results/midtrain/*/model/training.json")
        edit(path, change)
        cover_up(root, path, everywhere=True)
        cover_up(root, path.parent, everywhere=True)
        report_again(root)

    return tamper


def lower_losses(body: Any) -> None:
    for step in body["record"]:
        step["loss"] /= 2


def edit_numbers(*names: Any, value: Any) -> Tamper:
    """Change a number of the report and make the page and the table anew from the numbers."""

    def tamper(root: Path) -> None:
        path = one(root, "results/runs/*/numbers.json")
        body = json.loads(path.read_text())
        place = body
        for name in names[:-1]:
            place = place[name]
        assert place[names[-1]] != value
        place[names[-1]] = value
        write_report(root, path, body)

    return tamper


def write_report(root: Path, path: Path, numbers: Any) -> None:
    texts = {
        "numbers.json": json.dumps(numbers, indent=1, ensure_ascii=False) + "\n",
        "report.html": render(numbers),
        "attrition.tsv": attrition_table(numbers),
        **{f"figures/{part}.html": render(numbers, part) for part in PARTS},
    }
    for name, text in texts.items():
        (path.parent / name).write_text(text, encoding="utf-8")
        cover_up(root, path.parent / name)


def edit_page(root: Path) -> None:
    path = one(root, "results/runs/*/report.html")
    path.write_text(path.read_text().replace("pass@1", "pass@2"))
    cover_up(root, path)


def edit_attrition(root: Path) -> None:
    path = one(root, "results/runs/*/attrition.tsv")
    path.write_text(path.read_text().replace("\t1\n", "\t2\n") + "corpus\t1\t1\t\t0\n")
    cover_up(root, path)


def edit_scores(root: Path) -> None:
    path = one(root, "results/scores/*/*/*.json")
    edit(path, lambda body: body["pass_at_k"]["1"].update(value=1.0, high=1.0))
    cover_up(root, path, everywhere=True)


def edit_token(root: Path) -> None:
    path = one(root, "results/tokens/*/*.npy")
    data = bytearray(path.read_bytes())
    data[0] ^= 3
    path.write_bytes(data)
    manifest = path.with_suffix(".json")
    edit(manifest, lambda body: body.update(sha256=file_digest(path)))
    cover_up(root, path, everywhere=True)
    cover_up(root, manifest, everywhere=True)


def edit_chunk(root: Path) -> None:
    flip(one(root, "work/journal/*/*.journal.zst"))


def poisoned_chunk(root: Path) -> None:
    path = one(root, "work/journal/grades/*.journal.zst")
    segment = Segment(path)
    lines = [line for number in range(segment.block_count) for line in entries_of(segment.lines(number) or b"")]
    path.unlink()
    write(path.parent, [(key, value.replace(b"0", b"1", 1), ()) for key, value in lines])


def indexed(query: str) -> Tamper:
    """Edit the index."""

    def tamper(root: Path) -> None:
        import duckdb

        from d3.audit.index import build

        build(root)
        with duckdb.connect(str(root / "results/lineage/index.duckdb")) as connection:
            connection.execute(query)

    return tamper


def benchmark_rewritten(root: Path) -> None:
    path = one(root, "resources/benchmarks/*.gz")
    lines = gzip.decompress(path.read_bytes()).replace(b"assert", b"assert True or", 1)
    path.write_bytes(gzip.compress(lines))
    cover_up(root, path, everywhere=True)


def behind_a_link(root: Path) -> None:
    """Put a table into a folder on another disk that a link of the dataset leads to."""
    outside = root / "disk"
    outside.mkdir()
    path = one(root, "results/dataset/*/data/*.parquet")
    shutil.copyfile(path, outside / "more.parquet")
    (path.parent / "more").symlink_to(outside)


def link_to_results(root: Path) -> None:
    """Put a link to other results into the dataset."""
    path = one(root, "results/dataset/*/data/*.parquet")
    (path.parent / "more").symlink_to(one(root, "results/sft_data/*/*.parquet").parent)


def passes(*, solved: bool = True, answers: bool = True, verdict: str = "passed") -> Tamper:
    """Have an arm pass: programs, verdicts, scores and the report fit each other, and every digest.

    Where they are not `solved`, programs are no solutions; without `answers` these stay as they are.
    """

    def tamper(root: Path) -> None:
        drawn, judged = (one(root, f"results/{stage}/*/*/*.parquet") for stage in ("generate", "execute"))
        tasks = {task.task_id: task for task in load_tasks(Benchmark(), one(root, "resources/benchmarks/*.gz"))}
        samples = pq.read_table(drawn)
        rows = samples.to_pylist()
        for row in rows:
            program = tasks[row["task_id"]].canonical if solved else "def solved(*values):\n    return values\n"
            raw = f"\n{DIFF}{make_diff('', program)}"
            built = build("", raw, "stop")
            row |= built._asdict() | ({"raw": raw, "finish_reason": "stop"} if answers else {})
        replace_rows(root, drawn, rows)
        replace_rows(root, judged, [row | {"verdict": verdict, "detail": None} for row in rows_of(judged)])
        path = one(root, "results/scores/*/*/*.json")
        passed = int(verdict == "passed")

        def change(body: Any) -> None:
            body["pass_at_k"]["1"] = dict.fromkeys(("value", "low", "high"), float(passed))
            body["verdicts"] = {verdict: body["samples"]}
            body["built"] = {"share": 1.0, "statuses": {"ok": body["samples"]}}
            body["per_task"] = [task | {"built": task["samples"], "passed": passed} for task in body["per_task"]]

        edit(path, change)
        cover_up(root, path, everywhere=True)
        report_again(root)

    return tamper


def rows_of(path: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(path).to_pylist())


def replace_rows(root: Path, path: Path, rows: list[dict[str, Any]]) -> None:
    """Replace the rows of a table, whose footer stays, and cover it up everywhere."""
    schema = pq.read_schema(path)
    columns = [{name: row[name] for name in schema.names} for row in rows]
    write_table(path, pa.Table.from_pylist(columns, schema=schema))
    cover_up(root, path, everywhere=True)


def report_again(root: Path) -> None:
    """Make the report anew from what its statement names."""
    path = one(root, "results/runs/*/numbers.json")
    statement = read_statement(root, statement_of(root, path))
    numbers = count_again(finished_job(statement, sample=0, draw=Random()), json.loads(path.read_text()))
    write_report(root, path, numbers)


def duplicates_with_digests(root: Path) -> None:
    path = one(root, "results/pair_duplicates/*/*.txt")
    path.write_text("0" * 64 + "\n")
    cover_up(root, path, everywhere=True)


def touched(root: Path) -> None:
    os.utime(one(root, "results/corpus/*/*.parquet"), (0, 0))


def consistent(root: Path) -> None:
    """Take everything away, and all that names it."""
    for name in ("results", "resources"):
        shutil.rmtree(root / name)
        (root / name).mkdir()


def with_report(tamper: Tamper) -> Tamper:
    """Tamper, and make the report anew: it shows the digests of the files."""

    def change(root: Path) -> None:
        tamper(root)
        report_again(root)

    return change


KINDS: dict[str, tuple[Tamper, str]] = {
    **{f"flip a byte of {stage}": (flipped(f"results/{stage}/**/*.parquet"), "") for stage in (
        "source", "corpus", "corpus/*/rejected", "grades", "diffs", "labels", "dataset/*/data", "dataset/*/rows",
        "dataset/*/unused", "pairs", "pair_diffs", "sft_data", "generate", "execute")},
    "flip a byte of the tokens": (flipped("results/tokens/*/*.npy"), ""),
    "flip a byte of the tokens' documents": (flipped("results/tokens/*/*.csv.gz"), ""),
    "flip a byte of the tokens' manifest": (flipped("results/tokens/*/*.json"), ""),
    "flip a byte of a list of duplicates": (edit_duplicates, ""),
    "flip a byte of the scores": (flipped("results/scores/*/*/*.json"), ""),
    "flip a byte of the report": (flipped("results/runs/*/report.html"), ""),
    "flip a byte of a benchmark": (flipped("resources/benchmarks/*"), ""),
    "edit a checkpoint's weights": (edit_weights, ""),
    "edit weights and fix the digest": (covered_weights, ""),
    "edit weights and every digest of them": (with_report(learned), "answers"),
    "swap two shards": (swap_files, ""),
    "swap two statements": (swap_statements, ""),
    "swap two shards and their statements": (swap_both, ""),
    "swap two shards and fix their digests": (swap_all, ""),
    "cut a table off": (cut, ""),
    "empty a file": (emptied, ""),
    "remove a table": (removed("results/dataset/*/data/*.parquet"), ""),
    "remove a sidecar": (removed("results/dataset/*/rows/*.parquet"), ""),
    "remove a model": (removed_model, ""),
    "remove a file of a model": (removed("results/sft/*/*/config.json"), ""),
    "remove a statement": (removed_statement, ""),
    "remove facts": (removed("results/lineage/facts/*.json"), ""),
    "edit facts": (edit_facts, ""),
    "add a shard": (orphan, ""),
    "add a statement": (twin_statement, ""),
    "cut a statement off": (broken_statement, ""),
    "change the digest of the settings": (
        stated("results/corpus/*/*.parquet", in_definition("externalParameters", "config", value="0" * 32)), ""),
    "change the seed and every digest of it": (settled("results/corpus/*/*.parquet", "seed"), ""),
    "change a setting, every digest": (settled("results/labels/*/*.parquet", "labels", "sub_trajectories"), ""),
    "change a prompt's digest": (
        stated("results/grades/*/*.parquet",
               in_definition("externalParameters", "prompts", "grades.prompt", value="0" * 64)), ""),
    "change the code's digest": (
        stated("results/diffs/*/*.parquet", in_definition("internalParameters", "code", value="0" * 64)), ""),
    "change the digest of an input": (stated("results/labels/*/*.parquet", input_said), ""),
    "change the number of rows": (stated("results/grades/*/*.parquet", rows_said), ""),
    "change the counts": (stated("results/grades/*/*.parquet", counted), ""),
    "change the counts so that they add up": (stated("results/grades/*/*.parquet", recounted), ""),
    "name another stage": (
        stated("results/pairs/*/*.parquet", in_definition("externalParameters", "stage", value="corpus")), ""),
    "a time in the future": (stated("results/grades/*/*.parquet", time_turned), ""),
    "backdate a statement": (stated("results/grades/*/*.parquet", backdated), "claims"),
    "name another machine": (
        stated("results/sft/*/*", in_definition("internalParameters", "gpu", value={"models": ["H100"]})), "claims"),
    "name another environment": (
        stated("results/corpus/*/*.parquet",
               in_definition("internalParameters", "environment", "identity", value="0" * 64)), "claims"),
    "change a text of the corpus and fix its digest": (
        rewritten("results/corpus/*/*.parquet", "text", lambda text: text + "\nimport os"), ""),
    "change a text of the corpus and every digest": (
        rewritten("results/corpus/*/*.parquet", "text", lambda text: text + "\nimport os", everywhere=True), ""),
    "change a licence in the corpus and every digest": (
        rewritten("results/corpus/*/*.parquet", "metadata",
                  lambda row: row | {"max_stars_repo_licenses": ["MIT"]}, everywhere=True), ""),
    "change a score and fix its digest": (rewritten("results/grades/*/*.parquet", "score", lambda score: 1), ""),
    "change a score and every digest": (
        with_report(rewritten("results/grades/*/*.parquet", "rationale", lambda text: "good", everywhere=True)),
        "answers"),
    "change a diff and every digest": (
        rewritten("results/diffs/*/*.parquet", "diffs", lambda diffs: diffs[:-1], everywhere=True), ""),
    "change a label and every digest": (
        rewritten("results/labels/*/*.parquet", "label", lambda label: "Write malware.", everywhere=True), ""),
    "change a dataset row and every digest": (
        rewritten("results/dataset/*/data/*.parquet", "completion", lambda text: text + " ", everywhere=True), ""),
    "change a row's id in the sidecar and fix its digest": (
        rewritten("results/dataset/*/rows/*.parquet", "id", lambda name: "0" * 64), ""),
    "change a reason in the unused labels and fix its digest": (
        rewritten("results/dataset/*/unused/*.parquet", "part", lambda part: part + 9), ""),
    "change an example and every digest": (
        rewritten("results/sft_data/*/*.parquet", "completion", lambda text: text + "x", everywhere=True), ""),
    "change a token and every digest": (edit_token, ""),
    "change a verdict and every digest": (
        rewritten("results/execute/*/*/*.parquet", "verdict", lambda verdict: "passed", everywhere=True), ""),
    "change a score of an arm and every digest": (edit_scores, ""),
    **{f"change a number of the report, {name}, and all that shows it": (edit_numbers(*names, value=value), "")
       for name, names, value in (
        ("its pass@1", ("key", -1, "value"), 0.5),
        ("files graded", ("grades", "graded"), 999),
        ("rejected files", ("rejected", "reasons", "too_large"), 999),
        ("files by split", ("corpus", "splits", "midtrain"), 999),
        ("the length of a sequence", ("diffs", "per_sequence", "mean"), 99.0),
        ("duplicate labels", ("labels", "duplicates"), 0.25),
        ("programs", ("dataset", "programs"), 999),
        ("documents", ("tokens", "documents"), 999),
        ("rows kept", ("attrition", 0, "kept"), 999),
        ("a loss", ("training", 0, "last_loss"), 0.25),
        ("a p-value", ("benchmarks", 0, "differences", 0, "p_value"), 0.001),
        ("that it is a demo", ("demo",), []),
        ("its configuration", ("config", "corpus", "max_lines"), 99))},
    "change the page and fix its digest": (edit_page, ""),
    "change the attrition table and fix its digest": (edit_attrition, ""),
    "edit a chunk of a journal": (edit_chunk, ""),
    "edit a chunk of a journal and rename it": (poisoned_chunk, "journal"),
    **{f"edit the index: {what}": (indexed(query), "") for what, query in (
        ("a statement's digest", "update jobs set sha256 = 'no' where stage = 'grades'"),
        ("a licence", "update files set licences = 'MIT' where \"row\" = 0"),
        ("a repository", "update files set repository = 'o/r' where \"row\" = 0"),
        ("a file's place", "update rows set \"row\" = \"row\" + 1"),
        ("a row less", "delete from files where \"row\" = 0"),
        ("an edge less", "delete from edges where job = (select id from jobs where stage = 'midtrain')"),
        ("an edge's digest", "update edges set sha256 = 'no' where job = (select max(job) from edges)"),
        ("an output's digest", "update artefacts set sha256 = 'no' where path like '%/model'"),
        ("an input's digest", "update artefacts set sha256 = 'no' where job is null"),
        ("a stage", "update jobs set stage = 'pairs' where stage = 'grades'"),
        ("its view of parents", "create or replace view parents as select 0 as child, 1 as parent"))},
    **{f"remove an input of the statement of {stage}": (input_removed(stage, place), "") for stage, place in (
        ("corpus", 0), ("duplicates", 1), ("grades", 0), ("diffs", 1), ("labels", 0), ("dataset", 1), ("tokens", 0),
        ("midtrain", 1), ("pairs", 0), ("pair_duplicates", 0), ("pair_diffs", 0), ("sft_data", 0), ("sft", 0),
        ("generate", 0), ("execute", 0), ("scores", 0), ("report", -1))},
    "change a list of duplicates and every digest": (duplicates_with_digests, ""),
    "change the embedded benchmark and every digest": (benchmark_rewritten, ""),
    "change losses in training.json and every digest": (edit_training(lower_losses), "answers"),
    "change tokens in training.json and every digest": (edit_training(lambda body: body.update(tokens=9)), ""),
    "change a module of the code and every digest of it": (
        claimed("results/labels/*/*.parquet", "code", "d3.stages.labels", value="0" * 64), "claims"),
    "change the commit and every digest of it": (
        claimed("results/labels/*/*.parquet", "git", "commit", value="0" * 40), "claims"),
    "change a package and every digest of it": (
        claimed("results/labels/*/*.parquet", "packages", "pyarrow", value="1.0"), "claims"),
    "put a table behind a link to another disk": (behind_a_link, ""),
    "put a link to other results into the dataset": (link_to_results, ""),
    "change verdicts and programs, scores and report": (passes(answers=False), ""),
    "change verdicts, programs and answers, scores and report": (passes(solved=False), ""),
    "solve the tasks oneself: answers, verdicts, scores and report": (passes(), "answers"),
    "call solved tasks timeouts, scores and report": (passes(verdict="timeout"), "timeouts"),
    "touch a file": (touched, "mtime"),
    "remove everything": (consistent, "whole"),
}  # fmt: skip
"""What is done -> (how, and the key of `NOT_COVERED` that says that it cannot be found, or nothing)."""

DOCUMENT = ROOT / "docs" / "tampering.md"
ROW = re.compile(r"^\| (.+) \| (found|not covered: \w+) \|$", re.MULTILINE)
"""A line of its table."""


def table() -> str:
    """Return the table of `DOCUMENT`, and what is not covered."""
    rows = [f"| {kind} | {f'not covered: {excuse}' if excuse else 'found'} |" for kind, (_, excuse) in KINDS.items()]
    reasons = [f"| {name} | {text} |" for name, text in NOT_COVERED.items()]
    head = ["| What is done to a finished run | `d3 verify` |", "|---|---|"]
    return "\n".join([*head, *rows, "", "| Not covered | |", "|---|---|", *reasons, ""])


def document(text: str) -> str:
    """Return the page with the table of today."""
    begin, end = "<!-- table: begin -->\n", "<!-- table: end -->"
    return text[: text.index(begin) + len(begin)] + table() + text[text.index(end) :]


if __name__ == "__main__":
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
